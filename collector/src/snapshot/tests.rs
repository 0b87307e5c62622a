//! Starts from snapshots against starts from the journal's first record, cut and damaged anywhere.

use std::path::{Path, PathBuf};

use bijli_ledger::Leaf;
use bijli_ledger::leaf::{Body, Pruned};
use bijli_seglog::testing::{Fault, ModelDisk};
use bijli_seglog::{Disk as _, DiskFile as _, RealDisk};
use bijli_wire::batch::Event;
use bijli_wire::message::EventKind;
use bijli_wire::{Batch, BatchSeq, Millis, SpoolEpoch, UtcMillis, codec};
use sha2::{Digest as _, Sha256};

use crate::events::NodeEvent;
use crate::frame::Frame;
use crate::leaves::Keeping;
use crate::replay::{self, Digest};
use crate::testing::{Machine, NoBoot, at, leaves, story};

/// The story, with a snapshot after every five of its facts.
fn told() -> Vec<Frame> {
    let mut told = Vec::new();
    for (number, frame) in story().into_iter().enumerate() {
        let received = frame.received();
        told.push(frame);
        if number % 5 == 4 {
            told.push(Frame::Snapshot { received });
        }
    }
    told
}

fn files(disk: &ModelDisk, dir: &str) -> Vec<PathBuf> {
    disk.files().into_iter().filter(|path| path.starts_with(dir)).collect()
}

/// The books, without what depends on how they were started.
fn books(machine: &Machine) -> Digest {
    let digest = replay::digest(&machine.state);
    Digest { frames: String::new(), ..digest }
}

/// Ledger log and books of a life that was never interrupted.
fn reference() -> (Vec<(u64, Vec<u8>)>, Digest, u64) {
    let disk = ModelDisk::new(1);
    let mut machine = Machine::boot(&disk).expect("opens");
    machine.live_through(&told());
    let (whole, operations) = (books(&machine), disk.operations());
    drop(machine);
    (leaves(&disk), whole, operations)
}

/// Goal: P6. Wherever it is stopped, a start from the newest snapshot goes on with the same leaves
/// and the same books as if it had never stopped; and so does a replay of the whole journal.
#[test]
fn p6_a_start_from_a_snapshot_goes_on_as_if_it_had_not_stopped() {
    let (expected, whole, _) = reference();
    for stop in 1..told().len() {
        let disk = ModelDisk::new(1);
        let mut first = Machine::boot(&disk).expect("opens");
        first.live_through(&told()[..stop]);
        drop(first);
        let mut second = Machine::boot(&disk).expect("opens");
        assert!(stop < 6 || second.replayed < 6, "{} records after {stop}", second.replayed);
        assert_eq!(second.keeping(), (Keeping::Same, 0, 0));
        second.live_through(&told());
        assert_eq!(books(&second), whole, "stopped after {stop}");
        drop(second);
        assert_eq!(leaves(&disk), expected, "stopped after {stop}");
        for path in files(&disk, "/snapshots") {
            disk.remove(&path);
        }
        let third = Machine::boot(&disk).expect("opens");
        assert_eq!(third.replayed, told().len() as u64);
        assert_eq!((third.keeping(), books(&third)), ((Keeping::Same, 0, 0), whole.clone()));
    }
}

/// Goal: D5, D7. A snapshot with a flipped bit anywhere is passed over for the one before it, and
/// made again on the way; with both spoilt the books begin with the journal's first record.
#[test]
fn d5_a_spoilt_snapshot_is_passed_over() {
    let (expected, whole, _) = reference();
    let disk = ModelDisk::new(1);
    Machine::boot(&disk).expect("opens").live_through(&told());
    let kept = files(&disk, "/snapshots");
    assert_eq!(kept.len(), 2, "{kept:?}");
    let newest = disk.contents(&kept[1]).expect("there");
    let usual = Machine::boot(&disk).expect("opens").replayed;
    for at in (0..newest.len()).step_by(newest.len() / 40) {
        let mut spoilt = newest.clone();
        spoilt[at] ^= 0x10;
        disk.set_contents(&kept[1], &spoilt);
        let machine = Machine::boot(&disk).expect("opens");
        assert!(machine.replayed > usual, "byte {at}");
        assert_eq!((machine.keeping(), books(&machine)), ((Keeping::Same, 0, 0), whole.clone()));
    }
    assert_eq!(disk.contents(&kept[1]).expect("there"), newest, "made again");
    disk.set_contents(&kept[0], &newest);
    disk.set_contents(&kept[1], &newest[1..]);
    let machine = Machine::boot(&disk).expect("opens");
    assert_eq!(machine.replayed, told().len() as u64);
    assert_eq!(books(&machine), whole);
    drop(machine);
    assert_eq!(leaves(&disk), expected);
}

/// Goal: C10, C11. Snapshots of another life, of a journal that is further, and without their leaf
/// are not believed.
#[test]
fn c10_c11_a_snapshot_of_another_journal_is_not_believed() {
    let disk = ModelDisk::new(1);
    Machine::boot(&disk).expect("opens").live_through(&told());
    // The same, but every snapshot was asked for a millisecond later.
    let later = |received: UtcMillis| received.plus(Millis::new(1)).expect("small");
    let mut other = told();
    for frame in &mut other {
        if let Frame::Snapshot { received } = frame {
            *received = later(*received);
        }
    }
    for (journal, ledger) in [(other.len(), 0), (9, 0), (0, 0), (told().len(), 1)] {
        let stage = ModelDisk::new(2);
        let mut machine = Machine::boot(&stage).expect("opens");
        let lived = if ledger == 0 { other[..journal].to_vec() } else { told() };
        machine.live_through(&lived);
        drop(machine);
        for path in files(&stage, "/snapshots") {
            stage.remove(&path);
        }
        if ledger == 1 {
            files(&stage, "/ledger").iter().for_each(|path| stage.remove(path));
        }
        for path in files(&disk, "/snapshots") {
            stage.set_contents(&path, &disk.contents(&path).expect("there"));
        }
        let machine = Machine::boot(&stage).expect("opens");
        assert_eq!(machine.replayed, journal as u64);
        assert_eq!(machine.keeping(), (Keeping::Same, 0, 0));
    }
}

/// The story, an XID, a snapshot, and another XID behind it.
fn told_with_xids() -> Vec<Frame> {
    let mut told = told();
    let last = told.last().expect("there").received();
    let (schema, _) = codec::encode_schema(&crate::testing::schema()).expect("encodes");
    for (sequence, code) in [(25, 79), (26, 94)] {
        let event = Event {
            code,
            count: code,
            ..Event::plain(last, Some(0), EventKind::GpuXid, format!("told as {code}"))
        };
        let batch = Batch {
            hub: crate::testing::schema().hub,
            node: crate::testing::schema().node,
            epoch: SpoolEpoch::new([3; 16]),
            sequence: BatchSeq::new(sequence).expect("from 1"),
            schema,
            created: last,
            uptime: None,
            matrices: Vec::new(),
            events: vec![event],
            holds: Vec::new(),
        };
        let body = codec::encode_batch(&batch).expect("encodes");
        told.push(Frame::Batch { received: last, body });
        told.push(Frame::Snapshot { received: last });
    }
    told.pop();
    told
}

/// Guards against a restart that forgets why a GPU was drained: events and their counts are the
/// same whether they are made from a snapshot or from the whole journal.
#[test]
fn events_and_their_counts_survive_a_restart() {
    let disk = ModelDisk::new(1);
    let mut machine = Machine::boot(&disk).expect("opens");
    machine.live_through(&told_with_xids());
    let events = |machine: &Machine| {
        let hub = machine.state.hub(&crate::testing::schema().hub).expect("there");
        let live = hub.live();
        let list: Vec<NodeEvent> = live.events().list().into_iter().cloned().collect();
        (list, live.events().counts().clone())
    };
    let (list, counts) = events(&machine);
    drop(machine);
    assert_eq!(list.iter().map(|event| event.code).collect::<Vec<_>>(), [79, 94]);
    assert_eq!(list[1].words(), "XID 94: told as 94, 94 times");
    let again = Machine::boot(&disk).expect("opens");
    assert_eq!((again.replayed, events(&again)), (1, (list.clone(), counts.clone())));
    drop(again);
    files(&disk, "/snapshots").iter().for_each(|path| disk.remove(path));
    let whole = Machine::boot(&disk).expect("opens");
    assert!(whole.replayed > 20, "{}", whole.replayed);
    assert_eq!(events(&whole), (list, counts));
}

/// The story with long segments behind it, of which all but the last may go.
fn outgrown(disk: &ModelDisk) -> Vec<Frame> {
    let mut told = told();
    let last = told.last().expect("there").received();
    for number in 0..160_u64 {
        let received = last.plus(Millis::new(1_000 * number)).expect("small");
        let toml = format!("# {number}\n{}", "#".repeat(900));
        let hub = crate::testing::schema().hub;
        told.push(Frame::Diagram { received, from: received, hub, toml });
        if number % 40 == 39 {
            told.push(Frame::Snapshot { received });
        }
    }
    Machine::boot(disk).expect("opens").live_through(&told);
    told
}

fn tended(disk: &ModelDisk) -> Result<Machine, NoBoot> {
    let keep = Some(Millis::new(60_000));
    let mut machine = Machine::boot_keeping(disk, keep)?;
    // Two snapshots more, so that it believes what it has.
    let now = at(24 * 3_600_000);
    for _ in 0..2 {
        let snapshot = Frame::Snapshot { received: now };
        let note = crate::intake::Note::Other;
        let reply = crate::intake::Reply::none();
        let request = crate::journal::Request { frame: snapshot, note, reply };
        machine.journal.write(vec![request])?;
        machine.book();
    }
    for _ in 0..20 {
        machine.journal.tend_at(now)?;
        machine.book();
    }
    Ok(machine)
}

/// Goal: retention. What is old and stood for by two snapshots goes, segment by segment; its hash
/// stays in the ledger; a start needs no more, and without any snapshot says what is missing.
#[test]
fn old_segments_go_and_leave_their_hashes() {
    let disk = ModelDisk::new(1);
    outgrown(&disk);
    let segments: Vec<_> = files(&disk, "/journal").into_iter().collect();
    let raw = |path: &Path| <[u8; 32]>::from(Sha256::digest(disk.contents(path).expect("there")));
    let hashes: Vec<[u8; 32]> = segments.iter().map(|path| raw(path)).collect();
    let machine = tended(&disk).expect("opens");
    let whole = books(&machine);
    drop(machine);
    let left = files(&disk, "/journal");
    let gone = segments.iter().filter(|path| !left.contains(path)).count();
    assert!(gone >= 5, "{gone} of {}", segments.len());
    let kept = leaves(&disk);
    let bodies = kept.iter().map(|(_, leaf)| Leaf::decode(leaf).expect("whole").body);
    let pruned =
        bodies.filter_map(|body| if let Body::Pruned(it) = body { Some(it) } else { None });
    let pruned: Vec<Pruned> = pruned.collect();
    assert_eq!(pruned.len(), gone);
    assert!(pruned.iter().all(|one| hashes.contains(&one.sha256)));
    assert!(pruned.windows(2).all(|two| two[0].last + 1 == two[1].first));
    let again = Machine::boot(&disk).expect("opens");
    assert_eq!((again.keeping(), books(&again)), ((Keeping::Same, 0, 0), whole));
    drop(again);
    files(&disk, "/snapshots").iter().for_each(|path| disk.remove(path));
    assert!(matches!(Machine::boot(&disk), Err(NoBoot::NoBegin)));
}

/// Goal: without the setting nothing goes.
#[test]
fn without_a_setting_every_segment_stays() {
    let disk = ModelDisk::new(1);
    outgrown(&disk);
    let segments = files(&disk, "/journal");
    let mut machine = Machine::boot(&disk).expect("opens");
    for _ in 0..20 {
        machine.journal.tend_at(at(400 * 24 * 3_600_000)).expect("room");
    }
    assert_eq!(files(&disk, "/journal"), segments);
}

/// Goal: C1, C4. A power cut at any operation of letting go, and of taking snapshots, and at one of
/// the start after it: it starts, keeps the same leaves, and ends as without the cut.
#[test]
fn c1_c4_a_cut_while_letting_go_loses_nothing() {
    let disk = ModelDisk::new(1);
    outgrown(&disk);
    let before = leaves(&disk);
    let total = {
        let uncut = ModelDisk::new(1);
        outgrown(&uncut);
        let from = uncut.operations();
        drop(tended(&uncut).expect("opens"));
        uncut.operations() - from
    };
    for cut in (0..total).step_by(usize::try_from(total / 60).expect("small").max(1)) {
        let disk = ModelDisk::new(cut);
        outgrown(&disk);
        disk.fail_at(cut, Fault::PowerCut);
        drop(tended(&disk));
        disk.clear_fault();
        disk.power_cut();
        disk.fail_at(cut % 23, Fault::PowerCut);
        drop(tended(&disk));
        disk.clear_fault();
        disk.power_cut();
        let machine = Machine::boot(&disk).unwrap_or_else(|error| panic!("cut {cut}: {error:?}"));
        assert_eq!(machine.keeping(), (Keeping::Same, 0, 0), "cut at {cut}");
        drop(machine);
        assert_eq!(leaves(&disk)[..before.len()], before[..], "cut at {cut}");
        let machine = tended(&disk).expect("opens");
        assert_eq!(machine.keeping(), (Keeping::Same, 0, 0), "cut at {cut}");
    }
}

/// Goal: a start after an upgrade can go on. The bytes of version 4 are pinned: whoever changes
/// what is kept must give it another number. They still read, and lead to the same books.
#[test]
fn what_version_4_keeps_is_pinned_and_still_reads() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/snapshots/v4");
    let disk = ModelDisk::new(1);
    let mut machine = Machine::boot(&disk).expect("opens");
    machine.live_through(&told());
    let whole = books(&machine);
    drop(machine);
    let newest = files(&disk, "/snapshots").pop().expect("there");
    let file = disk.contents(&newest).expect("there");
    let name = path.join("newest.snapshot");
    if std::env::var_os("BIJLI_BLESS").is_some() {
        RealDisk.create_dir_all(&path).expect("a writable place");
        RealDisk.create(&name).and_then(|to| to.write_at(0, &file)).expect("written");
    }
    let golden = RealDisk.open_read(&name).expect("a golden file");
    let mut kept = vec![0; usize::try_from(golden.len().expect("there")).expect("small")];
    assert_eq!(golden.read_at(0, &mut kept).expect("there"), kept.len());
    // Another zstd may compress otherwise: what is compressed is pinned.
    let (old, new) = (super::file::decode(&kept), super::file::decode(&file));
    assert_eq!(old.expect("version 4 reads").loaded.books, new.expect("just made").loaded.books);
    disk.set_contents(&newest, &kept);
    let machine = Machine::boot(&disk).expect("opens");
    assert!(machine.replayed < 6, "it was believed");
    assert_eq!(books(&machine), whole);
}
