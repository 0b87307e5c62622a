//! Which trees are signed, and by whom they are cosigned; several hubs; lost tiles.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bijli_ledger::leaf::{Body, Pruned, Source, Statement};
use bijli_ledger::{Leaf, RULE_VERSION};
use bijli_seglog::Log;
use bijli_seglog::testing::ModelDisk;
use bijli_tlog::witness::{Known, Request, log_id};
use bijli_tlog::{Checkpoint, KeyKind, Note, Policy, SigningKey, Tile, VerifierKey};
use bijli_wire::{HubId, UtcMillis};

use super::thread::{Setting, Worker};
use super::*;
use crate::clock::Clock;
use crate::health::Health;
use crate::leaves;

pub(super) const BASE: &str = "ledger.example.pk";
pub(super) const DIR_HERE: &str = "/tlog";
const HEADS: &str = "/heads";

pub(super) fn hub(name: &str) -> HubId {
    HubId::new(name).expect("valid")
}

/// A small whole leaf of a hub, told apart by its number and `kind`.
pub(super) fn leaf(name: &str, number: u64, kind: &str) -> Vec<u8> {
    let (at, about) = (UtcMillis::new(1), kind.to_owned());
    let body = Body::Statement(Statement { at, about, text: number.to_string() });
    let source = Source { first: number, last: number, hash: [1; 32] };
    Leaf { rule_version: RULE_VERSION, hub: Some(hub(name)), source, body }.encode()
}

fn pruned(number: u64) -> Vec<u8> {
    let pruned = Pruned { segment: number, first: 1, last: 2, bytes: 3, sha256: [9; 32] };
    let source = Source { first: number, last: number, hash: [1; 32] };
    Leaf::of_journal(Body::Pruned(pruned), source).encode()
}

pub(super) fn ledger(disk: &ModelDisk) -> Arc<Mutex<Log<ModelDisk>>> {
    Arc::new(Mutex::new(leaves::open(disk.clone(), Path::new("/ledger")).expect("opens").0))
}

pub(super) fn append(log: &Arc<Mutex<Log<ModelDisk>>>, leaves: impl Iterator<Item = Vec<u8>>) {
    let mut log = log.lock().expect("no panic");
    for leaf in leaves {
        log.append(&leaf).expect("room");
    }
    log.commit().expect("no fault");
}

pub(super) fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(BASE, KeyKind::Note, [seed; 32]).expect("a name")
}

pub(super) fn signer(seeds: &[u8], policy: Policy) -> Signer {
    let keys = seeds.iter().map(|seed| key(*seed)).collect();
    Signer { base: BASE.to_owned(), keys, policy }
}

/// A collector's sealing without its thread.
pub(super) struct Machine {
    pub(super) disk: ModelDisk,
    pub(super) worker: Worker<ModelDisk>,
    pub(super) seals: Seals,
    pub(super) health: Health,
}

impl Machine {
    pub(super) fn new(
        disk: &ModelDisk,
        log: &Arc<Mutex<Log<ModelDisk>>>,
        sealer: Option<Sealer<ModelDisk>>,
    ) -> Self {
        let (seals, health) = (Seals::default(), Health::new());
        let worker = Worker::new(Setting {
            disk: disk.clone(),
            dir: DIR_HERE.into(),
            log: Arc::clone(log),
            sealer,
            clock: Clock,
            seals: seals.clone(),
            health: health.clone(),
        });
        Self { disk: disk.clone(), worker, seals, health }
    }

    /// With a key, heads elsewhere, and nobody to ask.
    fn alone(disk: &ModelDisk, log: &Arc<Mutex<Log<ModelDisk>>>, heads: &ModelDisk) -> Self {
        let signer = signer(&[1], Policy::of_log(Vec::new()));
        let sealer = Sealer::new(signer, heads.clone(), Some(Path::new(HEADS)), Box::new(Nobody));
        Self::new(disk, log, Some(sealer))
    }

    /// Works until there is nothing to do.
    pub(super) fn work(&mut self) {
        while self.worker.turn(false) == Duration::ZERO {}
    }

    fn seal(&mut self) -> Seal {
        self.work();
        self.seals.of(&hub("isb")).expect("a log")
    }

    pub(super) fn files(&self) -> Files<ModelDisk> {
        Files::new(self.disk.clone(), &Path::new(DIR_HERE).join("isb"))
    }
}

/// Small leaves of one hub.
fn some(from: u64, to: u64, kind: &str) -> impl Iterator<Item = Vec<u8>> {
    (from..to).map(move |number| leaf("isb", number, kind))
}

/// A witness in memory; all clones are one.
#[derive(Clone)]
struct Near {
    key: Arc<SigningKey>,
    log: VerifierKey,
    known: Arc<Mutex<(Known, Option<String>)>>,
    /// Whether it also tells its last one, as ours does.
    tells: bool,
    is_away: Arc<AtomicBool>,
}

impl Near {
    fn new(name: &str, tells: bool) -> Self {
        let seed = [name.len().try_into().expect("short"); 32];
        let key = Arc::new(SigningKey::from_seed(name, KeyKind::Cosignature, seed).expect("named"));
        let log = key_of("isb");
        Self { key, log, known: Arc::default(), tells, is_away: Arc::default() }
    }

    fn policy(&self) -> Policy {
        let key = self.key.verifier();
        Policy::parse(&format!("witness w {key} http://w\nquorum w\n")).expect("valid")
    }

    fn sealer(&self, seeds: &[u8]) -> Sealer<ModelDisk> {
        let signer = signer(seeds, self.policy());
        Sealer::new(signer, ModelDisk::new(0), None, Box::new(self.clone()))
    }
}

fn key_of(name: &str) -> VerifierKey {
    let origin = origin(BASE, &hub(name), 1);
    key(1).named(&origin).expect("a name").verifier().clone()
}

impl Ask for Near {
    fn get(&self, url: &str) -> Result<(u16, String), String> {
        if self.is_away.load(Ordering::Relaxed) {
            return Err("away".to_owned());
        }
        assert_eq!(url, format!("http://w/latest/{}", log_id(self.log.name())));
        let known = self.known.lock().expect("no panic").1.clone();
        Ok(known.filter(|_| self.tells).map_or((404, String::new()), |note| (200, note)))
    }

    fn post(&self, url: &str, body: String) -> Result<(u16, String), String> {
        if self.is_away.load(Ordering::Relaxed) {
            return Err("away".to_owned());
        }
        assert_eq!(url, "http://w/add-checkpoint");
        let mut known = self.known.lock().expect("no panic");
        let request = Request::parse(&body).map_err(|error| error.to_string())?;
        Ok(match request.judge(std::slice::from_ref(&self.log), known.0) {
            Ok(now) => {
                *known = (now, Some(request.checkpoint.to_string()));
                (200, request.cosign(&self.key, 1_790_000_000))
            }
            Err(refused @ bijli_tlog::witness::Refused::Conflict { size }) => {
                (refused.status(), format!("{size}\n"))
            }
            Err(refused) => (refused.status(), refused.to_string()),
        })
    }
}

#[test]
fn each_hub_has_its_own_log_and_what_all_rest_on() {
    let log = ledger(&ModelDisk::new(1));
    let disk = ModelDisk::new(2);
    let mut machine = Machine::alone(&disk, &log, &ModelDisk::new(3));
    append(
        &log,
        [pruned(0), leaf("isb", 1, "x"), leaf("lhe", 2, "x"), pruned(3), leaf("isb", 4, "x")]
            .into_iter(),
    );
    machine.work();
    for (name, indexes) in [("isb", vec![1, 3, 4]), ("lhe", vec![2, 3])] {
        let files = Files::new(disk.clone(), &Path::new(DIR_HERE).join(name));
        let note = Note::parse(&files.text("checkpoint").expect("readable").expect("there"));
        let head = Checkpoint::open(&note.expect("a note"), &key_of(name)).expect("signed");
        assert_eq!(head.size, indexes.len() as u64, "{name}");
        let tile = Tile::all(head.size).next().expect("entries");
        let bytes = files.tile(tile).expect("there");
        let entries = tile.entries(&bytes).expect("whole");
        let found: Vec<u64> =
            entries.iter().map(|entry| tree::split(entry).expect("an index").0).collect();
        assert_eq!(found, indexes, "{name}");
    }
    assert_eq!(machine.health.seals.signed_entries.get(), 5);
}

#[test]
fn without_a_key_there_are_tiles_and_a_later_key_signs_them() {
    let (log, disk) = (ledger(&ModelDisk::new(1)), ModelDisk::new(2));
    append(&log, some(0, 300, "x"));
    let mut unsigned = Machine::new(&disk, &log, None);
    let seal = unsigned.seal();
    assert_eq!((seal.size.as_str(), seal.signed_size), ("300", None));
    assert!(seal.words.contains("no [seal] key"), "{}", seal.words);
    drop(unsigned);
    let seal = Machine::alone(&disk, &log, &ModelDisk::new(3)).seal();
    assert_eq!((seal.signed_size.as_deref(), seal.refused), (Some("300"), None));
    assert_eq!(seal.words, "300 entries, self-signed");
}

/// Goal: C11. An older disk is not signed for; the same leaves again are, other ones never.
#[test]
fn c11_an_older_disk_signs_again_only_when_the_same_leaves_are_back() {
    let (log, disk, heads) = (ledger(&ModelDisk::new(1)), ModelDisk::new(2), ModelDisk::new(3));
    append(&log, some(0, 100, "x"));
    assert_eq!(Machine::alone(&disk, &log, &heads).seal().refused, None);
    let backup = disk.fork(4);
    append(&log, some(100, 150, "x"));
    assert_eq!(Machine::alone(&disk, &log, &heads).seal().signed_size.as_deref(), Some("150"));

    let other = ledger(&ModelDisk::new(5));
    append(&other, some(0, 120, "x"));
    let mut restored = Machine::alone(&backup.fork(6), &other, &heads);
    let refused = restored.seal().refused.expect("behind");
    assert!(refused.contains("has 150 entries, this log 120"), "{refused}");
    assert_eq!(restored.health.seals.refused.get(), 1);
    append(&other, some(120, 160, "x"));
    let seal = restored.seal();
    assert_eq!((seal.signed_size.as_deref(), seal.refused), (Some("160"), None));
    assert_eq!(restored.health.seals.refused.get(), 0);

    let forked = ledger(&ModelDisk::new(7));
    append(&forked, some(0, 100, "x").chain(some(100, 200, "other")));
    let mut restored = Machine::alone(&backup, &forked, &heads);
    let refused = restored.seal().refused.expect("another log");
    assert!(refused.contains("another root at 160 entries"), "{refused}");
    let text = restored.files().text("checkpoint").expect("readable").expect("the old one");
    assert!(text.contains("\n100\n"), "{text}");
}

#[test]
fn a_device_with_the_heads_that_is_away_stops_signing() {
    let (log, disk, heads) = (ledger(&ModelDisk::new(1)), ModelDisk::new(2), ModelDisk::new(3));
    append(&log, some(0, 10, "x"));
    assert_eq!(Machine::alone(&disk, &log, &heads).seal().refused, None);
    append(&log, some(10, 20, "x"));
    // Mounted is another, empty one.
    let refused = Machine::alone(&disk, &log, &ModelDisk::new(4)).seal().refused;
    assert!(refused.expect("refused").contains("and had one: is the device there?"));
    assert_eq!(Machine::alone(&disk, &log, &heads).seal().refused, None);
}

/// Goal: C12. The second collector of a hub finds the first one's head, on a shared device or at a
/// witness, whether that tells its last one or not.
#[test]
fn c12_x9_a_second_collector_finds_the_first_ones_head() {
    for tells in [true, false] {
        let witness = Near::new("w.example", tells);
        let log = ledger(&ModelDisk::new(1));
        append(&log, some(0, 300, "x"));
        let mut first = Machine::new(&ModelDisk::new(2), &log, Some(witness.sealer(&[1])));
        let seal = first.seal();
        assert_eq!(seal.words, "300 entries, witnessed by 1 of 1");
        assert!(first.files().text("witnessed").expect("readable").is_some());

        let other = ledger(&ModelDisk::new(3));
        append(&other, some(0, 200, "other"));
        let mut second = Machine::new(&ModelDisk::new(4), &other, Some(witness.sealer(&[1])));
        let refused = second.seal().refused.expect("behind");
        assert!(refused.contains("witness w has 300 entries, this log 200"), "{refused}");
        append(&other, some(200, 400, "other"));
        let refused = second.seal().refused.expect("another log");
        assert!(refused.contains("witness w has another root at 300 entries"), "{refused}");
        let witnessed = second.files().text("witnessed").expect("readable");
        assert_eq!(witnessed, None, "no fork is ever cosigned");
        append(&log, some(300, 301, "x"));
        assert!(first.seal().is_witnessed);
    }
}

/// Goal: N3. A hub without its witness signs alone; what it signed meanwhile is cosigned at once.
#[test]
fn n3_a_witness_that_was_away_cosigns_when_it_is_back() {
    let witness = Near::new("w.example", true);
    let log = ledger(&ModelDisk::new(1));
    append(&log, some(0, 10, "x"));
    let mut machine = Machine::new(&ModelDisk::new(2), &log, Some(witness.sealer(&[1])));
    assert!(machine.seal().is_witnessed);
    witness.is_away.store(true, Ordering::Relaxed);
    for to in [20, 300, 900] {
        append(&log, some(to - 10, to, "x"));
        let seal = machine.seal();
        assert_eq!((seal.refused, seal.is_witnessed), (None, false));
        assert!(seal.words.ends_with("self-signed"), "{}", seal.words);
    }
    let kept = machine.files().text("witnessed").expect("readable").expect("the older one");
    assert!(kept.contains("\n10\n"), "{kept}");
    witness.is_away.store(false, Ordering::Relaxed);
    machine.worker.try_again();
    let seal = machine.seal();
    assert_eq!(seal.words, "40 entries, witnessed by 1 of 1");
}

/// Goal: X10. Another key is refused; while a key is changed both sign; a thief's key alone gets
/// no cosignature for another tree (`x9_x10_what_a_witness_cosigns_by_table`).
#[test]
fn x10_keys_are_changed_by_both_signing() {
    let (log, disk) = (ledger(&ModelDisk::new(1)), ModelDisk::new(2));
    let with = |seeds: &[u8]| {
        let signer = signer(seeds, Policy::of_log(Vec::new()));
        let sealer = Sealer::new(signer, ModelDisk::new(9), None, Box::new(Nobody));
        Machine::new(&disk, &log, Some(sealer))
    };
    append(&log, some(0, 10, "x"));
    assert_eq!(with(&[1]).seal().refused, None);
    let refused = with(&[2]).seal().refused.expect("another key");
    assert!(refused.contains("another key signed it"), "{refused}");
    let seal = with(&[2, 1]).seal();
    assert_eq!((seal.refused, seal.keys.len()), (None, 2));
    let text = with(&[2]).files().text("checkpoint").expect("readable").expect("there");
    let note = Note::parse(&text).expect("a note");
    assert_eq!(note.signatures.len(), 2, "the same tree, signed by both");
    append(&log, some(10, 20, "x"));
    let seal = with(&[2]).seal();
    assert_eq!((seal.refused, seal.keys.len()), (None, 1));
}

/// Goal: O2, D5. A tile that is removed or rots is found by looking again, and made again.
#[test]
fn o2_a_removed_or_rotten_tile_is_made_again_from_the_ledger() {
    for (path, removes) in [
        ("tile/entries/000", true),
        ("tile/entries/001", false),
        ("tile/0/000", true),
        ("tile/0/001", false),
        ("tile/1/000.p/2", true),
        ("tile/1/000.p/2", false),
        ("tile/entries/002.p/88", false),
        ("head", true),
        ("head", false),
    ] {
        let (log, disk, heads) = (ledger(&ModelDisk::new(1)), ModelDisk::new(2), ModelDisk::new(3));
        append(&log, some(0, 600, "x"));
        let mut machine = Machine::alone(&disk, &log, &heads);
        machine.work();
        drop(machine);
        let path = Path::new(DIR_HERE).join("isb").join(path);
        let whole = disk.contents(&path).expect("there");
        if removes {
            disk.remove(&path);
        } else {
            let mut rotten = whole.clone();
            rotten[whole.len() / 2] ^= 1;
            disk.set_contents(&path, &rotten);
        }
        let mut machine = Machine::alone(&disk, &log, &heads);
        (0..20).for_each(|_| machine.work());
        assert_eq!(disk.contents(&path).as_ref(), Some(&whole), "{}", path.display());
        let seal = machine.seal();
        assert_eq!((seal.signed_size.as_deref(), seal.refused), (Some("600"), None));
    }
}

/// Goal: X8. The ledger log is edited and the tiles made again: what was signed before finds it.
#[test]
fn x8_edited_leaves_are_not_signed_over_the_old_checkpoint() {
    let disk = ModelDisk::new(2);
    let log = ledger(&ModelDisk::new(1));
    append(&log, some(0, 300, "x"));
    let heads = ModelDisk::new(3);
    Machine::alone(&disk, &log, &heads).work();
    let edited = ledger(&ModelDisk::new(4));
    append(&edited, some(0, 10, "x").chain(some(10, 11, "edited")).chain(some(11, 301, "x")));
    for path in disk.files().iter().filter(|path| !path.ends_with("checkpoint")) {
        disk.remove(path);
    }
    let refused = Machine::alone(&disk, &edited, &heads).seal().refused.expect("another log");
    assert!(refused.contains("the last checkpoint has another root at 300"), "{refused}");
}

#[test]
fn a_posting_is_sealed_wholly_or_not() {
    let disk = ModelDisk::new(1);
    crate::testing::Machine::boot(&disk).expect("opens").live();
    let leaves: Vec<Vec<u8>> =
        crate::testing::leaves(&disk).into_iter().map(|(_, bytes)| bytes).collect();
    let is_end = |bytes: &Vec<u8>| !Leaf::peek(bytes).expect("a leaf").is_within_posting;
    let log = ledger(&ModelDisk::new(2));
    let mut machine = Machine::alone(&ModelDisk::new(3), &log, &ModelDisk::new(4));
    let (mut whole, mut count) = (0_u64, 0_u64);
    for bytes in leaves {
        count += 1;
        whole = if is_end(&bytes) { count } else { whole };
        append(&log, std::iter::once(bytes));
        machine.work();
        let seal = machine.seals.of(&hub("isb"));
        let signed = seal
            .and_then(|seal| seal.signed_size)
            .map_or(0, |size| size.parse().expect("a number"));
        assert_eq!(signed, whole, "after {count} leaves");
    }
    assert!(whole > 20, "{whole}");
}
