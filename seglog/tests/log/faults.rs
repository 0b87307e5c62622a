//! The Nth operation fails, for every N: nothing durable is lost and the log goes on.

use std::path::Path;

use bijli_seglog::testing::{Fault, ModelDisk};
use bijli_seglog::{Log, LogError, RecordSeq};

use crate::world::{Action, DIR, World, options};

/// Every call, over several segments.
fn script() -> Vec<Action> {
    let mut actions = Vec::new();
    for bytes in [10, 700, 800, 300, 900] {
        actions.extend([Action::Append { bytes }, Action::Append { bytes: 30 }, Action::Commit]);
        actions.push(Action::Advance { back: 1 });
    }
    actions.extend([Action::Seal, Action::Rewind { back: 1 }, Action::Unlink { back: 0 }]);
    actions.extend([Action::Append { bytes: 77 }, Action::Commit, Action::Advance { back: 0 }]);
    actions
}

/// Runs the script with a fault planned; a poisoned log is closed and opened again.
fn run(world: &mut World) -> Result<(), String> {
    if !world.open()? && !world.open()? {
        return Ok(());
    }
    for action in script() {
        let Err(_) = world.write(action)? else { continue };
        if world.log.as_ref().is_some_and(Log::is_poisoned) {
            let refused = world.write(Action::Append { bytes: 1 })?;
            assert!(matches!(refused, Err(LogError::Poisoned { .. })));
            world.log = None;
            world.disk.kill();
            if !world.open()? {
                return Ok(());
            }
        }
    }
    Ok(())
}

fn operations_of_script() -> u64 {
    let mut world = World::new(0);
    run(&mut world).expect("no fault planned");
    world.disk.operations()
}

fn keep_one_more(world: &mut World) -> Result<(), String> {
    world.restart()?;
    world.apply(Action::Append { bytes: 50 })?;
    world.apply(Action::Commit)?;
    world.apply(Action::PowerCut)
}

#[test]
fn d3_d4_every_operation_fails_once() {
    let operations = operations_of_script();
    assert!(operations > 70, "{operations}");
    for fault in [Fault::Io, Fault::Full, Fault::Sync, Fault::PowerCut] {
        for nth in 0..operations {
            for is_cut in [false, true] {
                let mut world = World::new(nth);
                world.disk.fail_at(nth, fault);
                let outcome = run(&mut world).and_then(|()| {
                    world.log = None;
                    if is_cut || fault == Fault::PowerCut {
                        world.disk.power_cut();
                    } else {
                        world.disk.kill();
                    }
                    keep_one_more(&mut world)
                });
                outcome.unwrap_or_else(|e| panic!("{fault:?} at {nth}, cut {is_cut}: {e}"));
            }
        }
    }
}

/// Goal: recovery may itself be interrupted anywhere, twice, and ends the same.
#[test]
fn c4_every_operation_of_recovery_fails_once() {
    for seed in 0..20 {
        let mut before = World::new(seed);
        run(&mut before).expect("no fault planned");
        for bytes in [600, 300, 10] {
            before.write(Action::Append { bytes }).expect("open").expect("healthy");
        }
        before.disk.fail_at(seed % 2, Fault::PowerCut);
        assert!(before.write(Action::Commit).expect("open").is_err());
        before.disk.power_cut();
        for fault in [Fault::Io, Fault::Sync, Fault::Full, Fault::PowerCut] {
            for nth in 0.. {
                let mut world = before.fork(nth);
                world.disk.fail_at(nth, fault);
                let start = world.disk.operations();
                let opened = world.open().unwrap_or_else(|e| panic!("{fault:?} at {nth}: {e}"));
                let is_over = opened && world.disk.operations() - start <= nth;
                world.log = None;
                world.disk.power_cut();
                keep_one_more(&mut world).unwrap_or_else(|e| panic!("{fault:?} at {nth}: {e}"));
                if is_over {
                    break;
                }
            }
        }
    }
}

#[test]
fn d4_a_full_disk_keeps_what_waits_and_goes_on_when_there_is_room() {
    for room in 0..3000 {
        let mut world = World::new(room);
        world.restart().expect("an empty disk");
        world.apply(Action::Append { bytes: 100 }).expect("healthy");
        world.apply(Action::Commit).expect("healthy");
        let taken: usize =
            world.disk.files().iter().filter_map(|f| world.disk.contents(f)).map(|b| b.len()).sum();
        world.disk.set_bytes_max(u64::try_from(taken).expect("small") + room);
        for _ in 0..5 {
            world.write(Action::Append { bytes: 700 }).expect("open").expect("memory is free");
        }
        let full = world.write(Action::Commit).expect("open");
        let is_full = full.as_ref().is_err_and(LogError::is_storage_full);
        assert!(is_full || (full.is_ok() && room > 4000 - 1024 - 132), "{room}: {full:?}");
        world.disk.set_bytes_max(u64::MAX);
        let kept = world.write(Action::Commit).expect("all that waited is durable");
        assert!(kept.is_ok(), "{room}: {kept:?}");
        world.apply(Action::PowerCut).unwrap_or_else(|e| panic!("{room}: {e}"));
        let log = world.log.as_ref().expect("open");
        assert_eq!(log.durable_seq(), RecordSeq::new(6));
    }
}

#[test]
fn d3_a_failed_sync_poisons_writing_and_not_reading() {
    let disk = ModelDisk::new(1);
    let (mut log, _) = Log::open(disk.clone(), Path::new(DIR), options()).unwrap();
    log.append(b"kept").unwrap();
    log.commit().unwrap();
    log.append(b"never acknowledged").unwrap();
    disk.fail_at(1, Fault::Sync);
    assert!(matches!(log.commit(), Err(LogError::SyncSegment { .. })));
    assert!(matches!(log.commit(), Err(LogError::Poisoned { .. })));
    assert!(matches!(log.append(b"x"), Err(LogError::Poisoned { .. })));
    assert!(matches!(log.advance_cursor(RecordSeq::FIRST), Err(LogError::Poisoned { .. })));
    assert_eq!(log.durable_seq(), RecordSeq::FIRST);
    let read: Vec<_> = log.read_from(RecordSeq::FIRST).map(Result::unwrap).collect();
    assert_eq!(read, [(RecordSeq::FIRST, b"kept".to_vec())]);

    // The next process must not find in the page cache what the disk does not have.
    disk.kill();
    let (log, _) = Log::open(disk, Path::new(DIR), options()).unwrap();
    assert_eq!(log.durable_seq(), RecordSeq::FIRST);
}

/// Goal: a file system that becomes read-only cannot be cut back, and need not be: reading goes
/// on, and so does writing when it is writable again.
#[test]
fn d9_a_read_only_disk_refuses_and_goes_on_when_it_is_writable_again() {
    let disk = ModelDisk::new(1);
    let (mut log, _) = Log::open(disk.clone(), Path::new(DIR), options()).unwrap();
    log.append(b"kept").unwrap();
    log.commit().unwrap();
    disk.set_read_only(true);
    log.append(b"given up while nothing can be written").unwrap();
    assert!(matches!(log.commit(), Err(LogError::WriteFrames { .. })));
    assert!(!log.is_poisoned());
    assert_eq!(log.discard_pending(), 1);
    assert_eq!(log.read_from(RecordSeq::FIRST).count(), 1);
    disk.set_read_only(false);
    log.append(b"later").unwrap();
    let last = log.commit().unwrap();
    disk.power_cut();
    let (log, recovery) = Log::open(disk, Path::new(DIR), options()).unwrap();
    assert_eq!(log.durable_seq(), last);
    assert!(recovery.is_clean(), "{recovery:?}");
    let read: Vec<_> = log.read_from(RecordSeq::FIRST).map(|record| record.unwrap().1).collect();
    assert_eq!(read, [b"kept".to_vec(), b"later".to_vec()]);
}

/// Goal: what was refused for want of room must not be booked after a restart.
#[test]
fn d4_what_was_given_up_after_a_failed_write_stays_away() {
    let disk = ModelDisk::new(1);
    let (mut log, _) = Log::open(disk.clone(), Path::new(DIR), options()).unwrap();
    log.append(b"kept").unwrap();
    log.commit().unwrap();
    for _ in 0..6 {
        log.append(b"whole frames that fit, though not all of them do").unwrap();
    }
    disk.fail_at(0, Fault::Full);
    assert!(log.commit().unwrap_err().is_storage_full());
    assert_eq!(log.discard_pending(), 6);
    disk.kill();
    let (log, recovery) = Log::open(disk, Path::new(DIR), options()).unwrap();
    assert_eq!((log.durable_seq(), recovery.torn_bytes), (RecordSeq::FIRST, 0));
}

#[test]
fn limits_are_kept_and_what_waits_can_be_given_up() {
    let tight = options().with_pending_bytes_max(2 * 932);
    let (mut log, _) = Log::open(ModelDisk::new(1), Path::new(DIR), tight).unwrap();
    assert!(matches!(
        log.append(&[0; 901]),
        Err(LogError::RecordTooLarge { bytes: 901, bytes_max: 900 })
    ));
    assert_eq!(log.append(&[0; 900]).unwrap(), RecordSeq::new(1));
    assert_eq!(log.append(&[0; 900]).unwrap(), RecordSeq::new(2));
    assert!(matches!(log.append(b""), Err(LogError::PendingFull { .. })));
    assert_eq!(log.discard_pending(), 2);
    assert_eq!(log.append(b"").unwrap(), RecordSeq::new(1));
    assert!(matches!(
        log.advance_cursor(RecordSeq::new(1)),
        Err(LogError::CursorAhead { asked, durable })
            if asked == RecordSeq::new(1) && durable == RecordSeq::NONE
    ));
    assert_eq!(log.commit().unwrap(), RecordSeq::new(1));
}
