//! Bytes that change, vanish or turn up in the wrong place: the damage stays as small as it is,
//! and it is told.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bijli_seglog::testing::{Fault, ModelDisk};
use bijli_seglog::{FRAME_BYTES, HEADER_BYTES, Log, LogError, Loss, Missing, RecordSeq, Recovery};

use crate::world::{DIR, options};

/// Frames of the first segment: 300-byte payloads, so many to a segment.
const PAYLOAD: usize = 300;
const FRAME: usize = PAYLOAD + 32;
const HEADER: usize = 1024;
const PER_SEGMENT: u64 = (4096 - 1024) / 332;

fn segment(id: u64) -> PathBuf {
    Path::new(DIR).join(format!("{id:020}.seg"))
}

fn payload(seq: u64) -> Vec<u8> {
    (0..PAYLOAD)
        .map(|at| u8::try_from((seq * 31 + at as u64) % 251).expect("a healthy disk"))
        .collect()
}

fn open(disk: &ModelDisk) -> (Log<ModelDisk>, Recovery) {
    Log::open(disk.clone(), Path::new(DIR), options()).expect("a healthy disk")
}

/// A log of two full segments and a third with three frames, each frame committed alone.
fn sound() -> (ModelDisk, u64) {
    let disk = ModelDisk::new(5);
    let (mut log, _) = open(&disk);
    let records = 2 * PER_SEGMENT + 3;
    for seq in 1..=records {
        log.append(&payload(seq)).expect("a healthy disk");
        log.commit().expect("a healthy disk");
    }
    assert_eq!(log.sealed_segments().count(), 2);
    (disk, records)
}

/// The good records, each checked to be the one that was written, and what is told as lost.
fn read(log: &Log<ModelDisk>) -> (Vec<u64>, Vec<(u64, u64)>) {
    let (mut good, mut lost) = (Vec::new(), Vec::new());
    for record in log.read_from(RecordSeq::FIRST) {
        match record {
            Ok((seq, bytes)) => {
                assert_eq!(bytes, payload(seq.get()), "record {seq} was changed");
                good.push(seq.get());
            }
            Err(LogError::Lost { first, last, .. }) => lost.push((first.get(), last.get())),
            Err(e) => panic!("{e}"),
        }
    }
    (good, lost)
}

fn all_but(records: u64, lost: &[u64]) -> Vec<u64> {
    (1..=records).filter(|seq| !lost.contains(seq)).collect()
}

fn change(disk: &ModelDisk, path: &Path, edit: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = disk.contents(path).expect("a healthy disk");
    edit(&mut bytes);
    disk.set_contents(path, &bytes);
}

/// Appends one more record and sees it after a restart, so damage does not stop the log.
fn goes_on(disk: &ModelDisk, log: Log<ModelDisk>, seq: u64) {
    let mut log = log;
    assert_eq!(log.append(&payload(seq)).expect("a healthy disk").get(), seq);
    log.commit().expect("a healthy disk");
    drop(log);
    disk.power_cut();
    let (log, _) = open(disk);
    assert_eq!(read(&log).0.last(), Some(&seq));
}

#[test]
fn d5_a_flip_anywhere_costs_one_record_at_most_and_is_told() {
    let (sound, records) = sound();
    for id in 1..=3 {
        let bytes = sound.contents(&segment(id)).unwrap();
        for at in 0..bytes.len() {
            let disk = sound.fork(at as u64);
            change(&disk, &segment(id), |bytes| bytes[at] ^= 1 << (at % 8));
            let (log, recovery) = open(&disk);
            let told = format!("segment {id}, byte {at}: {recovery:?}");
            let Some(frame) = at.checked_sub(HEADER).map(|at| (at / FRAME) as u64) else {
                assert!(recovery.is_clean() && recovery.torn_bytes == 0, "{told}");
                assert_eq!(read(&log).0, all_but(records, &[]), "{told}");
                continue;
            };
            let hit = (id - 1) * PER_SEGMENT + frame + 1;
            if hit == records {
                // Nothing valid behind it: it looks torn, and it is told as that.
                assert_eq!(recovery.torn_bytes, FRAME as u64, "{told}");
                assert_eq!(read(&log), (all_but(records, &[hit]), vec![]), "{told}");
                continue;
            }
            assert_eq!(read(&log), (all_but(records, &[hit]), vec![(hit, hit)]), "{told}");
            let [quarantined] = &recovery.quarantined[..] else { panic!("{told}") };
            assert_eq!(recovery.torn_bytes, 0, "{told}");
            assert_eq!(quarantined.loss, Loss::Durable, "{told}");
            let lost = RecordSeq::new(hit);
            assert_eq!(quarantined.lost, Some((lost, lost)), "{told}");
            assert_eq!(quarantined.bytes, FRAME as u64, "{told}");
            let copy = disk.contents(quarantined.file.as_ref().unwrap()).unwrap();
            let start = HEADER + usize::try_from(frame).unwrap() * FRAME;
            assert_eq!(copy, disk.contents(&segment(id)).unwrap()[start..start + FRAME]);
            drop(log);
            assert_eq!(open(&disk).1, recovery, "a second start tells the same");
        }
    }
}

#[test]
fn a7_a_log_with_damage_goes_on() {
    let (sound, records) = sound();
    for (id, frame) in [(1, 2), (2, 8), (3, 0), (3, 1)] {
        let disk = sound.fork(9);
        change(&disk, &segment(id), |bytes| bytes[HEADER + frame * FRAME + 50] ^= 4);
        let (log, _) = open(&disk);
        goes_on(&disk, log, records + 1);
    }
}

/// Goal: a start must not turn "perhaps never synced" into "was synced" by writing on.
#[test]
fn a_gap_in_the_last_group_stays_unproven() {
    let disk = ModelDisk::new(3);
    let (mut log, _) = open(&disk);
    for seq in 1..=4 {
        log.append(&payload(seq)).unwrap();
    }
    log.commit().unwrap();
    drop(log);
    change(&disk, &segment(1), |bytes| bytes[HEADER + FRAME + 40] ^= 1);
    for restart in 0..3 {
        let (mut log, recovery) = open(&disk);
        let [quarantined] = &recovery.quarantined[..] else { panic!("{recovery:?}") };
        assert_eq!(quarantined.loss, Loss::Unproven);
        assert_eq!(log.append(&payload(5 + restart)).unwrap().get(), 5 + restart);
        log.commit().unwrap();
    }
}

#[test]
fn d1_a_tail_torn_at_any_byte_is_cut_and_costs_nothing_else() {
    let (sound, records) = sound();
    let whole = sound.contents(&segment(3)).unwrap();
    let last = whole.len() - FRAME;
    for written in 0..FRAME {
        for shape in ["short", "zeros", "stale"] {
            let disk = sound.fork(written as u64);
            change(&disk, &segment(3), |bytes| match shape {
                "short" => bytes.truncate(last + written),
                "zeros" => bytes[last + written..].fill(0),
                _ => bytes[last + written..].fill(0xA5),
            });
            let (log, recovery) = open(&disk);
            let torn = disk.contents(&segment(3)).unwrap();
            let told = format!("{written} {shape}: {recovery:?}");
            assert_eq!(read(&log), (all_but(records, &[records]), vec![]), "{told}");
            let expected = if shape == "short" { written } else { FRAME };
            assert!(recovery.is_clean(), "{told}");
            assert_eq!(recovery.torn_bytes, expected as u64, "{told}");
            assert_eq!(torn, whole[..last], "{told}");
            if written % 50 == 0 {
                goes_on(&disk, log, records);
            }
        }
    }
}

#[test]
fn a_bad_tail_that_the_cursor_shows_to_have_been_durable_is_never_cut() {
    let (disk, records) = sound();
    let (mut log, _) = open(&disk);
    log.advance_cursor(RecordSeq::new(records)).unwrap();
    drop(log);
    change(&disk, &segment(3), |bytes| *bytes.last_mut().unwrap() ^= 1);
    let (log, recovery) = open(&disk);
    assert_eq!((recovery.torn_bytes, recovery.quarantined.len()), (0, 1));
    assert_eq!(recovery.quarantined[0].loss, Loss::Durable);
    assert!(log.next_seq().get() > records, "a spent sequence is not given out again");
}

#[test]
fn d2_a_sector_that_cannot_be_read_costs_its_frames_and_is_never_cut() {
    let (sound, records) = sound();
    for id in 1..=3_u64 {
        let end = sound.contents(&segment(id)).unwrap().len() as u64;
        let disk = sound.fork(id);
        disk.spoil(&segment(id), end - 1..end);
        let (log, recovery) = open(&disk);
        assert_eq!(disk.contents(&segment(id)).unwrap().len() as u64, end);
        assert_eq!(recovery.torn_bytes, 0);
        assert_eq!(recovery.quarantined.len(), 1, "{recovery:?}");
        let others = read(&log).0;
        assert!(others.iter().all(|seq| (seq - 1) / PER_SEGMENT + 1 != id), "one 4 KiB piece");
        assert!(others.len() as u64 >= records - PER_SEGMENT);
        assert!(log.next_seq().get() > records);
    }
}

#[test]
fn d7_a_frame_of_another_place_is_no_frame_here() {
    let (sound, records) = sound();
    let bytes = |id| sound.contents(&segment(id)).unwrap();
    let frame = |id: u64, nth: usize| bytes(id)[HEADER + nth * FRAME..][..FRAME].to_vec();
    // From another segment, from earlier and from later in the same one.
    for foreign in [frame(1, 2), frame(2, 0), frame(2, 5)] {
        let disk = sound.fork(1);
        change(&disk, &segment(2), |bytes| {
            bytes[HEADER + 2 * FRAME..][..FRAME].copy_from_slice(&foreign);
        });
        let (log, recovery) = open(&disk);
        let hit = PER_SEGMENT + 3;
        assert_eq!(recovery.quarantined.len(), 1);
        assert_eq!(read(&log), (all_but(records, &[hit]), vec![(hit, hit)]));
    }
}

/// Goal: the segment is checked, not only the sequence: here the sequence would fit.
#[test]
fn d7_the_next_segments_first_frame_is_no_frame_of_this_one() {
    let (disk, records) = sound();
    let next = disk.contents(&segment(2)).unwrap()[HEADER..][..FRAME].to_vec();
    change(&disk, &segment(1), |bytes| bytes.extend(&next));
    let (log, recovery) = open(&disk);
    let [quarantined] = &recovery.quarantined[..] else { panic!("{recovery:?}") };
    assert_eq!((quarantined.bytes, quarantined.lost), (FRAME as u64, None));
    assert_eq!(read(&log), (all_but(records, &[]), vec![]));
}

#[test]
fn o2_a_removed_segment_is_named() {
    let (sound, records) = sound();
    let missing = |id: u64, first: u64, last: u64| {
        let id = {
            let (log, _) = open(&sound.fork(id));
            let mut sealed = log.sealed_segments();
            sealed.find(|it| it.first.get() == first).map(|it| it.id)
        };
        id.map(|id| Missing {
            segment_first: id,
            segment_last: id,
            seq_first: RecordSeq::new(first),
            seq_last: RecordSeq::new(last),
        })
    };
    for (id, first, last) in [(1, 1, PER_SEGMENT), (2, PER_SEGMENT + 1, 2 * PER_SEGMENT)] {
        let disk = sound.fork(id);
        disk.remove(&segment(id));
        let (log, recovery) = open(&disk);
        assert_eq!(recovery.missing, Vec::from_iter(missing(id, first, last)));
        let (good, lost) = read(&log);
        assert_eq!(good.len() as u64, records - PER_SEGMENT);
        // What lies before the first record kept is told by the start, and by `first_seq`.
        assert_eq!(lost, if id == 1 { vec![] } else { vec![(first, last)] });
    }
}

#[test]
fn nothing_is_unlinked_that_the_cursor_has_not_released() {
    let (disk, records) = sound();
    let (mut log, _) = open(&disk);
    for (cursor, unlinked) in [(PER_SEGMENT - 1, 0), (PER_SEGMENT, 1), (records, 1)] {
        log.advance_cursor(RecordSeq::new(cursor)).unwrap();
        assert_eq!(log.unlink_before(RecordSeq::new(records + 9)).unwrap(), unlinked);
    }
}

/// Goal: an emptied log must not look like a robbed one, nor start again from 1.
#[test]
fn the_newest_segment_stays_even_when_damage_has_ended_it() {
    let (disk, records) = sound();
    change(&disk, &segment(3), |bytes| bytes[HEADER + 60] ^= 1);
    let (mut log, _) = open(&disk);
    log.advance_cursor(RecordSeq::new(records)).unwrap();
    assert_eq!(log.unlink_before(RecordSeq::new(records + 1)).unwrap(), 2);
    drop(log);
    let (log, recovery) = open(&disk);
    assert_eq!((recovery.segments, &recovery.missing[..]), (1, &[][..]));
    goes_on(&disk, log, records + 1);
}

/// Regression: of two unlinks a power cut kept the second and not the first; the hole between
/// looked like a loss, though all of it had been given up.
#[test]
fn a4_an_unlinking_that_was_cut_is_ended_at_the_next_start() {
    let (disk, records) = sound();
    let oldest = disk.contents(&segment(1)).unwrap();
    let (mut log, _) = open(&disk);
    log.advance_cursor(RecordSeq::new(records - 1)).unwrap();
    assert_eq!(log.unlink_before(RecordSeq::new(records)).unwrap(), 2);
    drop(log);
    disk.set_contents(&segment(1), &oldest);
    let (log, recovery) = open(&disk);
    assert!(recovery.is_clean(), "{recovery:?}");
    assert_eq!(log.first_seq().get(), 2 * PER_SEGMENT + 1);
    assert_eq!(read(&log).0.len(), 3);
    assert_eq!(disk.contents(&segment(1)), None);
}

/// Regression (found by the simulation, seed 49434): the sync of the directory failed after the
/// cursor got its name. The next start saw the new floor, unlinked by it and lost its power: the
/// cut kept the old cursor, and one unlinking of two.
#[test]
fn a4_d3_a_start_unlinks_only_by_a_durable_cursor() {
    let (sound, records) = sound();
    let (mut log, _) = open(&sound);
    log.advance_cursor(RecordSeq::new(records - 1)).unwrap();
    // Make, write, sync, rename, sync the directory.
    sound.fail_at(4, Fault::Sync);
    let failed = log.unlink_before(RecordSeq::new(records)).unwrap_err();
    assert!(matches!(failed, LogError::SyncDirectory { .. }), "{failed}");
    drop(log);
    for (seed, nth) in (0..32).flat_map(|seed| (0..40).map(move |nth| (seed, nth))) {
        let disk = sound.fork(seed);
        disk.fail_at(nth, Fault::PowerCut);
        drop(Log::open(disk.clone(), Path::new(DIR), options()));
        disk.power_cut();
        let (log, recovery) = open(&disk);
        assert!(recovery.is_clean(), "cut at {nth}, seed {seed}: {recovery:?}");
        assert_eq!(log.next_seq().get(), records + 1);
    }
}

#[test]
fn a_removed_or_shortened_newest_segment_is_noticed_by_the_cursor() {
    let (sound, records) = sound();
    let (mut log, _) = open(&sound);
    log.advance_cursor(RecordSeq::new(records - 1)).unwrap();
    drop(log);
    let short = HEADER_BYTES + FRAME_BYTES + PAYLOAD as u64;
    for keep in [None, Some(short)] {
        let disk = sound.fork(4);
        match keep {
            None => disk.remove(&segment(3)),
            Some(bytes) => {
                change(&disk, &segment(3), |it| it.truncate(usize::try_from(bytes).unwrap()));
            }
        }
        let (log, recovery) = open(&disk);
        assert_eq!(recovery.missing.len(), 1, "{recovery:?}");
        assert_eq!(log.next_seq(), RecordSeq::new(records), "released sequences are spent");
        goes_on(&disk, log, records);
    }
}

#[test]
fn a_sealed_segment_cut_at_a_frame_boundary_is_missing_records() {
    let (disk, records) = sound();
    change(&disk, &segment(1), |bytes| bytes.truncate(HEADER + 2 * FRAME));
    let (log, recovery) = open(&disk);
    let [missing] = &recovery.missing[..] else { panic!("{recovery:?}") };
    assert_eq!((missing.seq_first.get(), missing.seq_last.get()), (3, PER_SEGMENT));
    let lost: Vec<u64> = (3..=PER_SEGMENT).collect();
    assert_eq!(read(&log), (all_but(records, &lost), vec![(3, PER_SEGMENT)]));
}

#[test]
fn a_segment_without_a_header_costs_only_itself() {
    let (sound, records) = sound();
    for id in 1..=3 {
        for bytes in [0, 10, HEADER, HEADER + FRAME] {
            let disk = sound.fork(id);
            change(&disk, &segment(id), |it| {
                it[..HEADER].fill(0);
                it.truncate(bytes);
            });
            let (log, recovery) = open(&disk);
            assert_eq!(recovery.quarantined.len(), 1, "{recovery:?}");
            let of = |seq: &u64| (seq - 1) / PER_SEGMENT + 1;
            let kept: Vec<u64> = (1..=records).filter(|seq| of(seq) != id).collect();
            assert_eq!(read(&log).0, kept);
            let next = log.next_seq().get();
            goes_on(&disk, log, next);
        }
    }
}

/// Guards against a loss that the fuzzer found: a record was written, and acknowledged, in the
/// place of the second header block of a newest segment that somebody had cut.
#[test]
fn d5_nothing_is_written_into_a_cut_header() {
    for length in [512, 700, 1023] {
        let (disk, _) = sound();
        change(&disk, &segment(3), |bytes| bytes.truncate(length));
        let (log, report) = open(&disk);
        assert!(!report.is_clean(), "{length}: {report:?}");
        assert_eq!(read(&log).0, all_but(2 * PER_SEGMENT, &[]), "{length}");
        goes_on(&disk, log, 2 * PER_SEGMENT + 1);
    }
}

#[test]
fn a_segment_of_another_name_is_not_believed() {
    let (disk, records) = sound();
    let first = disk.contents(&segment(1)).unwrap();
    disk.set_contents(&segment(4), &first);
    disk.set_contents(&segment(2), &first);
    let (log, recovery) = open(&disk);
    assert_eq!(recovery.quarantined.len(), 2);
    let kept: Vec<u64> =
        (1..=records).filter(|seq| *seq <= PER_SEGMENT || *seq > 2 * PER_SEGMENT).collect();
    assert_eq!(read(&log).0, kept);
}

#[test]
fn a_damaged_cursor_means_nothing_was_released() {
    let (disk, records) = sound();
    let path = Path::new(DIR).join("cursor");
    let (mut log, _) = open(&disk);
    log.advance_cursor(RecordSeq::new(2)).unwrap();
    drop(log);
    change(&disk, &path, |bytes| bytes[20] ^= 1);
    let (log, recovery) = open(&disk);
    assert!(recovery.cursor_damaged);
    assert_eq!(log.cursor(), RecordSeq::NONE);
    assert_eq!(read(&log).0, all_but(records, &[]));
}

#[test]
fn c9_a_newer_format_is_refused_and_not_touched() {
    let (sound, _) = sound();
    let (mut log, _) = open(&sound);
    log.advance_cursor(RecordSeq::new(2)).unwrap();
    drop(log);
    for path in [segment(1), segment(3), Path::new(DIR).join("cursor")] {
        let disk = sound.fork(1);
        change(&disk, &path, |bytes| {
            bytes[8] = 2;
            let crc = crc32c(&bytes[..40]);
            bytes[40..44].copy_from_slice(&crc.to_le_bytes());
            // A torn tail that a start would cut, if it went on.
            if bytes.len() > HEADER {
                bytes.push(0);
            }
        });
        let snapshot = |disk: &ModelDisk| -> BTreeMap<PathBuf, _> {
            disk.files().into_iter().map(|it| (it.clone(), disk.contents(&it))).collect()
        };
        let before = snapshot(&disk);
        let refused = Log::open(disk.clone(), Path::new(DIR), options());
        assert!(matches!(refused, Err(LogError::NewerFormat { found: 2, .. })), "{refused:?}");
        assert_eq!(snapshot(&disk), before);
    }
}

/// CRC-32C bit by bit, so that the tests do not believe the library they check.
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0x82F6_3B78 & (crc & 1).wrapping_neg())
        })
    })
}
