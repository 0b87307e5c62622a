//! A collector on one simulated disk, journal and ledger log together, cut wherever it writes.

use bijli_ledger::Leaf;
use bijli_seglog::testing::{Fault, ModelDisk};

use super::*;
use crate::index::{self, Store};
use crate::intake::{Note, Reply};
use crate::journal::{self, Request};
use crate::replay;
use crate::testing::{FIVE, Machine, at, leaves, schema, story};

/// The leaves of a life without a cut, and how many I/O operations it took.
fn reference() -> (Vec<(u64, Vec<u8>)>, u64) {
    let disk = ModelDisk::new(1);
    Machine::boot(&disk).expect("opens").live();
    (leaves(&disk), disk.operations())
}

/// Goal: P6. What was made live is what a replay makes.
#[test]
fn p6_leaves_made_live_are_those_of_a_replay() {
    let disk = ModelDisk::new(1);
    Machine::boot(&disk).expect("opens").live();
    let (kept, _) = reference();
    let bodies = kept.iter().map(|(_, bytes)| Leaf::decode(bytes).expect("whole").body);
    let adjusted =
        bodies.filter(|body| matches!(body, bijli_ledger::leaf::Body::Adjustment { .. }));
    assert!(adjusted.count() >= 2, "the late allocation corrected closed intervals");
    let again = Machine::boot(&disk).expect("opens");
    assert_eq!(again.keeping(), (Keeping::Same, 0, 0));
    let ledger = again.ledger.lock().expect("no panic");
    assert_eq!(ledger.log().durable_seq().get(), kept.len() as u64);
}

/// Goal: C2, C4. A cut at any operation of its life, a second one at any of its recovery: in the
/// end the ledger log has the same bytes as after a life without one.
#[test]
fn c4_cuts_in_life_and_in_recovery_end_in_the_same_ledger() {
    let (expected, operations) = reference();
    let step = usize::try_from(operations / 48).expect("small").max(1);
    for (round, first) in (0..operations).step_by(step).zip(0_u64..).map(|(a, b)| (b, a)) {
        let disk = ModelDisk::new(first);
        disk.fail_at(first, Fault::PowerCut);
        if let Ok(mut machine) = Machine::boot(&disk) {
            machine.live();
        }
        disk.clear_fault();
        disk.power_cut();
        disk.fail_at(round % 17, Fault::PowerCut);
        if let Ok(mut machine) = Machine::boot(&disk) {
            machine.live();
        }
        disk.clear_fault();
        disk.power_cut();
        let mut machine = Machine::boot(&disk).expect("opens");
        machine.live();
        assert_eq!(machine.keeping(), (Keeping::Same, 0, 0), "cuts at {first}, {}", round % 17);
        drop(machine);
        assert_eq!(leaves(&disk), expected, "cuts at {first} and {}", round % 17);
    }
}

/// Goal: O2, C5. The ledger log removed as a whole, or one segment of it: made again from the
/// journal; and the index of it follows.
#[test]
fn o2_a_removed_ledger_log_is_made_again_from_the_journal() {
    let (expected, _) = reference();
    let disk = ModelDisk::new(1);
    Machine::boot(&disk).expect("opens").live();
    let files = disk.files();
    let files = files.iter().filter(|path| path.starts_with("/ledger"));
    files.for_each(|path| disk.remove(path));
    assert_eq!(Machine::boot(&disk).expect("opens").keeping(), (Keeping::Same, 0, 0));
    assert_eq!(leaves(&disk), expected);
    let dir = tempfile::tempdir().expect("a directory");
    let (mut store, _) = Store::open(dir.path()).expect("opens");
    let decoded = expected.iter().map(|(_, bytes)| Leaf::decode(bytes).ok()).collect::<Vec<_>>();
    store.take(&decoded).expect("taken");
    let (from, to) = (at(0), at(3 * 3_600_000));
    let scope = index::Scope { hub: schema().hub, from, to, before: None };
    let sums = store.sums(&scope, false).expect("whole");
    let to_gpu = sums.iter().filter(|sum| sum.debit.to_string() == "gpu:GPU-1");
    let signed = to_gpu.map(|sum| {
        i128::try_from(sum.amount).expect("small") * if sum.is_reversal { 0 } else { 1 }
    });
    assert_eq!(signed.sum::<i128>(), i128::from(23 * FIVE + 150_000) * 100, "100 W all the time");
}

/// Goal: C11. Yesterday's journal under today's ledger log: what comes now is another story.
#[test]
fn c11_a_restored_journal_rewrites_nothing() {
    let (expected, _) = reference();
    let old = ModelDisk::new(1);
    let mut machine = Machine::boot(&old).expect("opens");
    for frame in story().into_iter().take(8) {
        let note = Note::of(&frame).expect("our own");
        machine.journal.write(vec![Request { frame, note, reply: Reply::none() }]).expect("room");
    }
    drop(machine);
    let disk = ModelDisk::new(2);
    Machine::boot(&disk).expect("opens").live();
    for path in disk.files().iter().filter(|path| path.starts_with("/journal")) {
        disk.remove(path);
    }
    for path in old.files().iter().filter(|path| path.starts_with("/journal")) {
        disk.set_contents(path, &old.contents(path).expect("there"));
    }
    let mut restored = Machine::boot(&disk).expect("opens");
    let (keeping, ahead, _) = restored.keeping();
    assert_eq!(keeping, Keeping::Same);
    assert!(ahead > 0);
    // An hour passes in which nobody sends: the intervals close otherwise than they had.
    for minutes in [60, 61, 122, 130, 140] {
        let received = at(minutes * 60_000);
        let request = journal::tick(received);
        restored.journal.write(vec![request]).expect("room");
        restored.book();
    }
    assert!(matches!(restored.keeping().0, Keeping::Differs { .. }));
    drop(restored);
    assert_eq!(leaves(&disk), expected, "the log stands");
}

/// Guards against books with a hole for one life (found by the simulation): a segment that did not
/// open once was passed over like a damaged one.
#[test]
fn d2_a_start_that_cannot_read_the_journal_fails_and_the_next_is_whole() {
    let disk = ModelDisk::new(9);
    Machine::boot(&disk).expect("boots").live();
    let whole = replay::digest(&Machine::boot(&disk).expect("boots").state).sha256;
    disk.kill();
    let mut failed = 0;
    for nth in 0..400 {
        disk.fail_at(nth, Fault::Io);
        match Machine::boot(&disk) {
            Ok(machine) => assert_eq!(replay::digest(&machine.state).sha256, whole, "{nth}"),
            Err(_) => failed += 1,
        }
        disk.clear_fault();
        disk.kill();
    }
    assert!(failed > 0, "some operation of a start is a read of the journal");
}
