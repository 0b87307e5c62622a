//! Gap records where there are many of them: after a stretch of damage, in a small spool.

use std::path::{Path, PathBuf};

use bijli_seglog::testing::ModelDisk;
use bijli_wire::{Millis, SpoolEpoch, UtcMillis, codec};

use super::tests::{NOW, draft_of, owner, seq};
use super::{Fresh, Limits, Opened, Reason, Spool, Stored};

const NEVER: Reason<'_> = Reason { code: "malformed_body", leaves_gap: true, is_bare: false };
const BYTES_MAX: u64 = 64 << 10;
/// Of a segment.
const HEADER_BYTES: usize = 1_024;

fn open(disk: &ModelDisk, epoch: u8) -> (Spool<ModelDisk>, Opened) {
    let limits = Limits { bytes_max: BYTES_MAX, keep_acked: Millis::new(1_000_000) };
    let fresh = Fresh { epoch: SpoolEpoch::new([epoch; 16]), salt: 1 };
    Spool::open(disk.clone(), Path::new("/spool"), limits, owner(), fresh).expect("it opens")
}

fn store(spool: &mut Spool<ModelDisk>, number: u64) {
    let stored = spool.store(&draft_of(200, number)).expect("the disk is well");
    assert!(matches!(stored, Stored::Durable { .. }));
}

/// Guards against a segment without the schema of its batches: a gap record that came to the end of
/// a segment began the next one behind the spool's back, and the schema went with the elder one.
#[test]
fn a7_a_segment_that_a_gap_record_begins_explains_itself() {
    let disk = ModelDisk::new(1);
    let (mut spool, _) = open(&disk, 1);
    (1..=10).for_each(|number| store(&mut spool, number));
    let sealed = |spool: &Spool<ModelDisk>| spool.log.sealed_segments().count();
    let before = sealed(&spool);
    while sealed(&spool) == before {
        spool.put_aside(seq(10), NEVER, NOW).expect("the disk is well");
    }
    (11..=12).for_each(|number| store(&mut spool, number));
    let first = spool.log.sealed_segments().last().expect("one is sealed").last.next();
    spool.load(seq(11)).expect("it is there");
    spool.release(seq(11), NOW).expect("the disk is well");
    spool.persist(NOW).expect("the disk is well");
    spool.log.unlink_before(first).expect("the disk is well");
    drop(spool);
    let (mut spool, _) = open(&disk, 2);
    spool.schema_of(seq(12)).expect("it stands before its batch");
}

/// Guards against a spool that grew past its limit (found by the simulation, seed 1358): gap
/// records were written however full it was, while acknowledged batches that nobody needs took the
/// room.
#[test]
fn a7_gap_records_take_the_room_of_what_is_acknowledged() {
    let disk = ModelDisk::new(2);
    let (mut spool, _) = open(&disk, 1);
    let mut number = 0;
    while spool.bytes() + 2_000 < BYTES_MAX - spool.limits.segment_bytes() / 2 {
        number += 1;
        store(&mut spool, number);
        spool.load(seq(number)).expect("it is there");
    }
    spool.release(seq(number - 2), NOW).expect("the disk is well");
    for _ in 0..60 {
        spool.put_aside(seq(number), NEVER, NOW).expect("the disk is well");
        assert!(spool.bytes() <= BYTES_MAX, "{} bytes", spool.bytes());
    }
}

/// Guards against a spool that is full for ever (found by the simulation, seed 364): gap records
/// stand behind the last batch, so that nothing released them, and no other batch could come behind
/// them.
#[test]
fn a7_gap_records_are_released_with_the_last_batch() {
    let disk = ModelDisk::new(4);
    let (mut spool, _) = open(&disk, 1);
    (1..=10).for_each(|number| store(&mut spool, number));
    while spool.bytes() < BYTES_MAX {
        spool.put_aside(seq(10), NEVER, NOW).expect("the disk is well");
    }
    assert_eq!(spool.store(&draft_of(200, 11)).expect("the disk is well"), Stored::Full);
    spool.release(seq(10), NOW).expect("the disk is well");
    let copy = disk.fork(1);
    store(&mut spool, 11);
    assert_eq!((spool.lowest(), spool.next()), (seq(11), seq(12)));
    // And by a start, where nothing is left to be released (seed 12252).
    store(&mut open(&copy, 2).0, 11);
}

/// Guards against a gap record for each refusal while the disk is full (found by the simulation,
/// seeds 64371 and 93690): they piled up in memory, and were all written when there was room.
#[test]
fn a6_a_full_disk_gathers_one_gap_record_for_a_sequence() {
    let disk = ModelDisk::new(6);
    let (mut spool, _) = open(&disk, 1);
    store(&mut spool, 1);
    store(&mut spool, 2);
    let batch = spool.load(seq(1)).expect("it is there").body;
    disk.set_bytes_max(0);
    spool.put_aside(seq(1), NEVER, NOW).expect_err("the disk is full");
    let waits = spool.bytes();
    for _ in 0..50 {
        spool.put_aside(seq(1), NEVER, NOW).expect_err("the disk is full");
    }
    assert_eq!(spool.bytes(), waits);
    assert_eq!(spool.load(seq(1)).expect("it is there").body, batch, "nothing durable replaces it");
    disk.set_bytes_max(u64::MAX);
    // It comes with whatever is written next; the batch keeps its place until it is copied.
    store(&mut spool, 3);
    let bytes = spool.bytes();
    assert_eq!(spool.load(seq(1)).expect("it is there").body, batch);
    assert!(spool.put_aside(seq(1), NEVER, NOW).expect("there is room"), "it is copied");
    assert!(spool.load(seq(1)).expect("it is the gap record").body != batch);
    assert_eq!(spool.bytes(), bytes);
}

/// Guards against two gap records for each batch of a node in 1970 (found by the simulation, seed
/// 14512): an event of that year is always refused.
#[test]
fn k1_a_gap_record_of_1970_says_nothing() {
    let disk = ModelDisk::new(5);
    let (mut spool, _) = open(&disk, 1);
    store(&mut spool, 1);
    for (at, events) in [(UtcMillis::new(90_000), 0), (NOW, 1)] {
        spool.put_aside(seq(1), NEVER, at).expect("the disk is well");
        let body = spool.load(seq(1)).expect("it is the gap record").body;
        let bare = spool.bare_schema().expect("it encodes");
        let (_, schema) = codec::decode_schema(&bare.body).expect("our own");
        let opened = codec::open(&body).expect("our own");
        assert_eq!(opened.read(bare.id, &schema).expect("our own").events.len(), events);
    }
}

/// Guards against gap records that nobody asked for (found by the simulation, seed 1358): a spool
/// whose end is damaged begins a new epoch so that it need not fill what was lost, and filled it.
#[test]
fn a_lost_end_before_a_new_epoch_is_not_filled() {
    let disk = ModelDisk::new(3);
    let (mut spool, _) = open(&disk, 1);
    let mut number = 0;
    while spool.log.sealed_segments().count() < 2 {
        number += 1;
        store(&mut spool, number);
        spool.load(seq(number)).expect("it is there");
    }
    // All that the first segment has behind its schema, and no more.
    let released = spool.log.sealed_segments().next().expect("it is sealed").last.get() - 1;
    spool.release(seq(released), NOW).expect("the disk is well");
    spool.persist(NOW).expect("the disk is well");
    drop(spool);
    for path in segments(&disk).iter().skip(1) {
        let mut bytes = disk.contents(path).expect("it is listed");
        bytes.iter_mut().skip(HEADER_BYTES).step_by(64).for_each(|byte| *byte ^= 1);
        disk.set_contents(path, &bytes);
    }
    let (spool, found) = open(&disk, 2);
    assert!(found.is_new_epoch, "nothing readable waits, and the end is damaged");
    assert_eq!(spool.waiting(), 0);
}

/// Guards against a spool that grows to twice its limit (found by the simulation, seed 67224): a
/// newest segment without its header may have held a batch for each 32 bytes, and each was filled.
#[test]
fn a7_what_a_lost_segment_may_have_held_is_not_filled() {
    let disk = ModelDisk::new(7);
    let (mut spool, _) = open(&disk, 1);
    let mut number = 0;
    while spool.log.sealed_segments().count() < 1 {
        number += 1;
        store(&mut spool, number);
    }
    let waits = number - 1;
    (0..20).for_each(|more| store(&mut spool, number + 1 + more));
    let epoch = spool.epoch();
    drop(spool);
    let newest = segments(&disk).pop().expect("it is listed");
    let mut bytes = disk.contents(&newest).expect("it is listed");
    bytes.iter_mut().take(HEADER_BYTES).for_each(|byte| *byte ^= 1);
    disk.set_contents(&newest, &bytes);
    let (mut spool, found) = open(&disk, 2);
    assert!(found.is_new_epoch);
    assert_eq!((spool.lowest(), spool.next()), (seq(1), seq(1)));
    // The elder epoch has what was before the lost segment, and nothing else.
    spool.turn_to_first();
    assert_eq!(spool.page().epoch, epoch);
    assert_eq!((spool.page().lowest, spool.page().next), (seq(1), seq(waits + 1)));
    store(&mut spool, 1);
    drop(spool);
    // And so it stays: the first batch of the new epoch says where it begins.
    let (mut spool, found) = open(&disk, 3);
    assert!(!found.is_new_epoch);
    assert_eq!(spool.epoch(), SpoolEpoch::new([2; 16]));
    assert_eq!((spool.lowest(), spool.next()), (seq(1), seq(2)));
    spool.turn_to_first();
    assert_eq!((spool.page().lowest, spool.page().next), (seq(1), seq(waits + 1)));
}

fn segments(disk: &ModelDisk) -> Vec<PathBuf> {
    let is_segment = |path: &PathBuf| path.extension().is_some_and(|end| end == "seg");
    disk.files().into_iter().filter(is_segment).collect()
}
