//! Format version 1, byte by byte: what was ever written must always read, and what is written
//! today must be the same bytes. `docs/formats/seglog.md` describes them.

use std::path::{Path, PathBuf};

use bijli_seglog::{Disk, DiskFile, Log, Options, RealDisk, RecordSeq};

use crate::damage::crc32c;

const NAMES: [&str; 3] = ["00000000000000000001.seg", "00000000000000000002.seg", "cursor"];
const SALT: u64 = 0x0123_4567_89AB_CDEF;

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/seglog/v1")
}

fn records() -> Vec<Vec<u8>> {
    let one = |text: &str| text.as_bytes().to_vec();
    vec![one("bijli"), vec![], (0..=255).collect(), vec![0; 400], one("one group"), one("of two")]
}

fn options() -> Options {
    Options::new(2048, 500).expect("a segment holds a record").with_salt(SALT)
}

/// The log that the fixture is: four records each committed alone, two together, a cursor.
fn write(dir: &Path) {
    let (mut log, _) = Log::open(RealDisk, dir, options()).expect("a fresh directory");
    for (record, seq) in records().iter().zip(1..) {
        log.append(record).expect("a small record");
        if seq == 4 {
            log.seal().expect("a healthy disk");
        } else if seq != 5 {
            log.commit().expect("a healthy disk");
        }
    }
    log.advance_cursor(RecordSeq::new(3)).expect("a healthy disk");
}

fn bytes(path: &Path) -> Vec<u8> {
    let file = RealDisk.open_read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let len = file.len().expect("an open file");
    let mut bytes = vec![0; usize::try_from(len).expect("small")];
    assert_eq!(DiskFile::read_at(&file, 0, &mut bytes).expect("an open file"), bytes.len());
    bytes
}

fn copy(from: &Path, to: &Path) {
    RealDisk.create(to).and_then(|file| file.write_at(0, &bytes(from))).expect("a writable place");
}

/// Goal: a change of the format cannot happen by accident. `BIJLI_BLESS=1` writes a fixture for
/// a new version; the files of a version that was shipped are never written again.
#[test]
fn what_is_written_is_version_1() {
    let home = tempfile::tempdir().unwrap();
    write(home.path());
    for name in NAMES {
        let (written, kept) = (home.path().join(name), fixture().join(name));
        if std::env::var_os("BIJLI_BLESS").is_some() {
            RealDisk.create_dir_all(&fixture()).unwrap();
            copy(&written, &kept);
        }
        assert_eq!(bytes(&written), bytes(&kept), "{name}");
    }
}

#[test]
fn version_1_reads() {
    let home = tempfile::tempdir().unwrap();
    for name in NAMES {
        copy(&fixture().join(name), &home.path().join(name));
    }
    let (log, recovery) = Log::open(RealDisk, home.path(), Options::default()).unwrap();
    assert!(recovery.is_clean());
    assert_eq!((recovery.segments, recovery.records, recovery.torn_bytes), (2, 6, 0));
    assert_eq!(log.cursor(), RecordSeq::new(3));
    let read: Vec<_> = log.read_from(RecordSeq::FIRST).map(|it| it.unwrap().1).collect();
    assert_eq!(read, records());
}

/// Goal: the document is enough to write a reader. This one knows only the document.
#[test]
fn a_reader_written_from_the_document_agrees() {
    let number = |bytes: &[u8], at: usize, width: usize| {
        bytes[at..at + width].iter().rev().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte))
    };
    let mut found = Vec::new();
    for (name, id) in NAMES.iter().zip(1..=2) {
        let file = bytes(&fixture().join(name));
        assert_eq!(&file[..8], b"BIJLISEG");
        assert_eq!(file[..512], file[512..1024]);
        assert_eq!([(8, 4), (12, 4), (16, 8)].map(|(at, n)| number(&file, at, n)), [1, 500, id]);
        assert_eq!(number(&file, 24, 8), found.len() as u64 + 1);
        assert_eq!(number(&file, 40, 4), u64::from(crc32c(&file[..40])));
        let salt = &file[32..40];
        let mut rest = &file[1024..];
        while !rest.is_empty() {
            let length = usize::try_from(number(rest, 4, 4)).unwrap();
            let (frame, behind) = rest.split_at(32 + length);
            assert_eq!(number(frame, 0, 4), u64::from(crc32c(&[salt, &frame[4..]].concat())));
            let seq = found.len() as u64 + 1;
            assert_eq!(number(frame, 8, 8), id);
            assert_eq!(number(frame, 16, 8), seq);
            // The last two are one group, so the last one's word is of before its group.
            assert_eq!(number(frame, 24, 8), if seq == 6 { 4 } else { seq - 1 });
            found.push(frame[32..].to_vec());
            rest = behind;
        }
    }
    assert_eq!(found, records());
    let cursor = bytes(&fixture().join("cursor"));
    assert_eq!((cursor.len(), &cursor[..8]), (44, &b"BIJLICUR"[..]));
    assert_eq!([8, 12].map(|at| number(&cursor, at, 4)), [1, 0]);
    assert_eq!([16, 24, 32].map(|at| number(&cursor, at, 8)), [3, 0, 2]);
    assert_eq!(number(&cursor, 40, 4), u64::from(crc32c(&cursor[..40])));
}
