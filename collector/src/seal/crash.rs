//! Tiles and checkpoints on a simulated disk, cut wherever it is written.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use bijli_seglog::Log;
use bijli_seglog::testing::{Fault, ModelDisk};
use bijli_tlog::{Checkpoint, Edge, Note, Policy, Shelf, Tile, Tiles, tree};

use super::tests::{DIR_HERE, Machine, append, hub, leaf, ledger, signer};
use super::*;

/// Leaves that there are when it looks; a bundle fills in the third and the fifth round.
const ROUNDS: [u64; 6] = [1, 40, 256, 300, 513, 520];

fn machine(disk: &ModelDisk, log: &Arc<Mutex<Log<ModelDisk>>>) -> Machine {
    let signer = signer(&[1], Policy::of_log(Vec::new()));
    let heads = Some(Path::new("/heads"));
    Machine::new(disk, log, Some(Sealer::new(signer, disk.clone(), heads, Box::new(Nobody))))
}

/// Lives through the rounds that are left, until the disk is off.
fn live(disk: &ModelDisk, log: &Arc<Mutex<Log<ModelDisk>>>) {
    let mut machine = machine(disk, log);
    for round in ROUNDS {
        let from = log.lock().expect("no panic").durable_seq().get();
        append(log, (from..round.max(from)).map(|number| leaf("isb", number, "x")));
        machine.work();
        if disk.is_off() {
            return;
        }
    }
}

/// What a checkpoint names is there, whole, and has its root. Gives its size.
fn check(disk: &ModelDisk) -> u64 {
    let files = Files::new(disk.clone(), &Path::new(DIR_HERE).join("isb"));
    let heads = Files::new(disk.clone(), Path::new("/heads"));
    let key = super::tests::key(1).named(&origin(super::tests::BASE, &hub("isb"), 1));
    let key = key.expect("a name");
    let open = |text: String| {
        let note = Note::parse(&text).expect("a note is whole or not there");
        Checkpoint::open(&note, key.verifier()).expect("signed")
    };
    let head = heads.text("isb").expect("readable").map(open);
    let Some(checkpoint) = files.text("checkpoint").expect("readable").map(open) else { return 0 };
    let size = checkpoint.size;
    assert!(head.is_some_and(|head| head.size >= size), "the head elsewhere was first");
    let mut edge = Edge::default();
    for tile in Tile::all(size) {
        let bytes = files.tile(tile).unwrap_or_else(|error| panic!("{tile} of {size}: {error}"));
        if tile.shelf == Shelf::Entries {
            tile.entries(&bytes).expect("whole").iter().for_each(|entry| drop(edge.push(entry)));
        }
    }
    assert_eq!(edge.root(), checkpoint.root, "the entries of {size}");
    let root = tree::root(&mut Tiles::new(size, |tile| files.tile(tile)), size);
    assert_eq!(root.expect("readable"), checkpoint.root, "the hashes of {size}");
    size
}

/// Checkpoint, head and every tile, by name.
fn contents(disk: &ModelDisk) -> BTreeMap<String, Vec<u8>> {
    let files = Files::new(disk.clone(), &Path::new(DIR_HERE).join("isb"));
    let size = *ROUNDS.last().expect("some");
    let tiles = Tile::all(size).map(|tile| (tile.path(), files.tile(tile).expect("there")));
    let texts = ["checkpoint", "head", "key"]
        .map(|name| (name.to_owned(), files.read(name).expect("readable").expect("there")));
    tiles.chain(texts).collect()
}

/// Goal: C3, C4. A cut at every operation of the life of a log, and a second one in its recovery:
/// a checkpoint never names what is not there, and in the end the files are the same.
#[test]
fn c3_c4_cuts_while_tiles_and_checkpoints_are_written() {
    let disk = ModelDisk::new(1);
    live(&disk, &ledger(&ModelDisk::new(2)));
    let (expected, operations) = (contents(&disk), disk.operations());
    assert_eq!(check(&disk), 520);
    for first in 0..operations {
        let (disk, log) = (ModelDisk::new(first), ledger(&ModelDisk::new(2)));
        disk.fail_at(first, Fault::PowerCut);
        live(&disk, &log);
        disk.clear_fault();
        disk.power_cut();
        let before = check(&disk);
        disk.fail_at(first % 23, Fault::PowerCut);
        live(&disk, &log);
        disk.clear_fault();
        disk.power_cut();
        assert!(check(&disk) >= before, "cuts at {first}");
        live(&disk, &log);
        assert_eq!(check(&disk), 520, "cuts at {first}");
        assert!(contents(&disk) == expected, "cuts at {first} end in other files");
    }
}

/// Goal: D4, D9. A disk that takes nothing for a while: the same thread goes on when it does.
#[test]
fn d4_a_disk_that_fails_once_is_gone_on_with() {
    for fault in [Fault::Io, Fault::Full, Fault::Sync] {
        for nth in (0..400).step_by(7) {
            let (disk, log) = (ModelDisk::new(nth), ledger(&ModelDisk::new(2)));
            let mut machine = machine(&disk, &log);
            disk.fail_at(nth, fault);
            append(&log, (0..520).map(|number| leaf("isb", number, "x")));
            for _ in 0..4 {
                machine.work();
                machine.worker.try_again();
            }
            // It may have struck in what was looked at last.
            disk.clear_fault();
            machine.work();
            let seal = machine.seals.of(&hub("isb")).expect("a log");
            assert_eq!((seal.signed_size.as_deref(), seal.refused), (Some("520"), None));
            assert_eq!(check(&disk), 520, "{fault:?} at {nth}");
        }
    }
}
