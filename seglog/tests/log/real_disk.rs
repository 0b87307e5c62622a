//! The log on the real file system: that the model disk did not lie about what files are.

use bijli_seglog::{Log, LogError, Options, RealDisk, RecordSeq};

fn options() -> Options {
    Options::new(4096, 1000).expect("a segment holds a record")
}

#[test]
fn records_come_back_after_reopening_across_segments() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("deep/spool");
    let (mut log, recovery) = Log::open(RealDisk, &dir, options()).unwrap();
    assert!(recovery.is_clean());
    let payloads: Vec<Vec<u8>> = (0..40_u8).map(|n| vec![n; usize::from(n) * 20]).collect();
    for (payload, seq) in payloads.iter().zip(1..) {
        assert_eq!(log.append(payload).unwrap(), RecordSeq::new(seq));
    }
    assert_eq!(log.read_from(RecordSeq::FIRST).count(), 0, "nothing is durable before a commit");
    assert_eq!(log.commit().unwrap(), RecordSeq::new(40));
    assert!(log.sealed_segments().count() > 3);
    drop(log);

    let (mut log, recovery) = Log::open(RealDisk, &dir, options()).unwrap();
    assert!(recovery.is_clean());
    assert_eq!((recovery.records, recovery.torn_bytes), (40, 0));
    let read: Vec<Vec<u8>> =
        log.read_from(RecordSeq::FIRST).map(|record| record.unwrap().1).collect();
    assert_eq!(read, payloads);

    log.advance_cursor(RecordSeq::new(30)).unwrap();
    assert!(log.unlink_before(RecordSeq::new(20)).unwrap() > 0);
    let first = log.first_seq();
    assert!(first > RecordSeq::FIRST && first <= RecordSeq::new(20));
    drop(log);

    let (log, recovery) = Log::open(RealDisk, &dir, options()).unwrap();
    assert!(recovery.is_clean(), "{recovery:?}");
    assert_eq!((log.cursor(), log.first_seq()), (RecordSeq::new(30), first));
    assert_eq!(log.next_seq(), RecordSeq::new(41));
}

#[test]
fn a16_a_second_opener_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let (first, _) = Log::open(RealDisk, home.path(), options()).unwrap();
    let second = Log::open(RealDisk, home.path(), options());
    assert!(matches!(second, Err(LogError::AlreadyOpen { .. })));
    drop(first);
    assert!(Log::open(RealDisk, home.path(), options()).is_ok());
}
