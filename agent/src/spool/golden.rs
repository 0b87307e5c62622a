//! Spool format version 1, byte by byte: what was ever written must always read.
//! `docs/formats/spool.md` describes the bytes. `BIJLI_BLESS=1` writes the files of a new version;
//! those of a version that was shipped are never written again.

use std::path::{Path, PathBuf};

use bijli_seglog::{Disk, DiskFile, Log, Options, RealDisk, RecordSeq};
use bijli_wire::message::EventKind;
use bijli_wire::{Batch, BatchSeq, HubId, Millis, NodeId, Schema, SpoolEpoch, UtcMillis, codec};

use super::record::{Head, Record, Stands};
use super::{BYTES_MIN, Fresh, Limits, Owner, Reason, Spool, Stored};
use crate::draft::{Draft, EncodedSchema};

const EPOCH: SpoolEpoch = SpoolEpoch::new(*b"0123456789abcdef");
const CREATED: UtcMillis = UtcMillis::new(1_760_000_000_000);
const NOW: UtcMillis = UtcMillis::new(1_760_000_060_000);
const SEGMENT: &str = "00000000000000000001.seg";
const REFUSED: &str =
    "refused/30313233343536373839616263646566-00000000000000000002-malformed_body.batch";

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/spool/v1")
}

fn seq(number: u64) -> BatchSeq {
    BatchSeq::new(number).unwrap()
}

fn draft(number: u64) -> Draft {
    let schema = Schema {
        hub: HubId::new("lahore").unwrap(),
        node: NodeId::new("lhe-n001").unwrap(),
        agent: "bijli-agent 0.1.0".to_owned(),
        subjects: Vec::new(),
        groups: Vec::new(),
    };
    Draft {
        schema: std::sync::Arc::new(EncodedSchema::new(&schema).unwrap()),
        created: CREATED,
        uptime: None,
        matrices: Vec::new(),
        holds: Vec::new(),
        events: vec![bijli_wire::batch::Event {
            code: 0,
            count: 1,
            at: CREATED,
            subject: None,
            kind: EventKind::AgentStarted,
            text: format!("batch {number}"),
        }],
    }
}

fn open(dir: &Path) -> Spool<RealDisk> {
    let limits = Limits { bytes_max: BYTES_MIN, keep_acked: Millis::new(86_400_000) };
    let owner = Owner {
        hub: HubId::new("lahore").unwrap(),
        node: NodeId::new("lhe-n001").unwrap(),
        agent: "bijli-agent 0.1.0, a gap".to_owned(),
    };
    Spool::open(RealDisk, dir, limits, owner, Fresh { epoch: EPOCH, salt: 7 }).unwrap().0
}

/// Three batches; the first is acknowledged, the second was refused for ever.
fn write(dir: &Path) {
    let mut spool = open(dir);
    for number in 1..=3 {
        let stored = spool.store(&draft(number)).unwrap();
        assert_eq!(stored, Stored::Durable { through: seq(number) });
    }
    spool.load(seq(1)).unwrap();
    spool.release(seq(1), NOW).unwrap();
    spool.persist(NOW).unwrap();
    let reason = Reason { code: "malformed_body", leaves_gap: true, is_bare: false };
    spool.put_aside(seq(2), reason, NOW).unwrap();
}

fn bytes(path: &Path) -> Vec<u8> {
    let file = RealDisk.open_read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    assert_eq!(file.read_at(0, &mut bytes).unwrap(), bytes.len());
    bytes
}

/// The schema beside the refused batch is named by its own hash.
fn names() -> [String; 4] {
    let schema = format!("refused/{}.schema", draft(1).schema.id);
    [SEGMENT.to_owned(), "cursor".to_owned(), schema, REFUSED.to_owned()]
}

fn copy(from: &Path, to: &Path) {
    for name in names() {
        RealDisk.create_dir_all(&to.join("refused")).unwrap();
        let file = RealDisk.create(&to.join(&name)).unwrap();
        file.write_at(0, &bytes(&from.join(name))).unwrap();
    }
}

/// A working copy of the golden spool.
fn kept() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    copy(&golden(), home.path());
    home
}

fn records(dir: &Path) -> Vec<Vec<u8>> {
    let (log, recovery) = Log::open(RealDisk, dir, Options::default()).unwrap();
    assert!(recovery.is_clean());
    log.read_from(RecordSeq::FIRST).map(|record| record.unwrap().1).collect()
}

/// A record with its body as it was before zstd, whose versions may compress otherwise.
fn plain(record: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let decoded = Record::decode(record).unwrap();
    assert_eq!(decoded.encode(), record);
    let (Record::Schema { body, .. }
    | Record::Batch { body, .. }
    | Record::Gap { body, .. }
    | Record::Thinned { body, .. }) = decoded;
    let head = record[..record.len() - body.len()].to_vec();
    (head, codec::decompress(body).unwrap())
}

#[test]
fn what_is_written_is_version_1() {
    let home = tempfile::tempdir().unwrap();
    write(home.path());
    if std::env::var_os("BIJLI_BLESS").is_some() {
        copy(home.path(), &golden());
    }
    let (written, kept) = (records(home.path()), records(kept().path()));
    let both = written.iter().zip(&kept);
    assert!(both.clone().all(|(written, kept)| plain(written) == plain(kept)));
    assert_eq!((written.len(), kept.len()), (6, 6));
    for name in names() {
        let there = RealDisk.open_read(&home.path().join(&name));
        assert!(there.is_ok(), "{name}");
    }
    assert_eq!(bytes(&home.path().join("cursor")), bytes(&golden().join("cursor")));
}

/// Goal: an agent of a later version goes on where this one stopped.
#[test]
fn version_1_reads() {
    let home = kept();
    let mut spool = open(home.path());
    assert_eq!((spool.epoch(), spool.lowest(), spool.next()), (EPOCH, seq(2), seq(4)));
    let kinds = [(2, EventKind::BatchesQuarantined), (3, EventKind::AgentStarted)];
    for (number, kind) in kinds {
        let (id, schema) = spool.schema_of(seq(number)).unwrap();
        let schema = codec::decode_schema(&schema).unwrap().1;
        let opened = codec::open(&spool.load(seq(number)).unwrap().body).unwrap();
        let batch = opened.read(id, &schema).unwrap();
        assert_eq!((batch.epoch, batch.sequence), (EPOCH, seq(number)));
        assert_eq!(batch.events[0].kind, kind);
    }
    assert_eq!(spool.store(&draft(4)).unwrap(), Stored::Durable { through: seq(4) });
}

/// Three batches of which the first two were thinned, just before the power went: the cursor did
/// not move yet. Record 4 came later than version 1, and so did its golden file.
fn write_thinned(dir: &Path) {
    let (mut log, _) = Log::open(RealDisk, dir, Options::default().with_salt(7)).unwrap();
    let schema = draft(1).schema;
    let mut records = vec![Record::Schema { id: schema.id, body: &schema.body }.encode()];
    let encode = |number: u64, thinned: bool| {
        let (hub, node) = (HubId::new("lahore").unwrap(), NodeId::new("lhe-n001").unwrap());
        let mut events = draft(number).events;
        if thinned {
            events[0].kind = EventKind::ResolutionReduced;
        }
        let Draft { created, uptime, matrices, .. } = draft(number);
        let (epoch, sequence, schema) = (EPOCH, seq(number), schema.id);
        let head = Head { epoch, sequence, created, schema };
        let holds = Vec::new();
        let batch =
            Batch { hub, node, epoch, sequence, schema, created, uptime, matrices, events, holds };
        (head, codec::encode_batch(&batch).unwrap())
    };
    for number in 1..=3 {
        let (head, body) = encode(number, false);
        records.push(Record::Batch { head, body: &body }.encode());
    }
    let (head, body) = encode(2, true);
    let until = RecordSeq::new(3);
    let stands = Stands { last: seq(2), first: seq(1), since: CREATED, until };
    records.push(Record::Thinned { head, stands, body: &body }.encode());
    for record in &records {
        log.append(record).unwrap();
    }
    log.commit().unwrap();
}

#[test]
fn thinned_batches_are_written_and_read_as_documented() {
    let home = tempfile::tempdir().unwrap();
    write_thinned(home.path());
    let golden = golden().join("../v1-thinned");
    if std::env::var_os("BIJLI_BLESS").is_some() {
        RealDisk.create_dir_all(&golden).unwrap();
        let file = RealDisk.create(&golden.join(SEGMENT)).unwrap();
        file.write_at(0, &bytes(&home.path().join(SEGMENT))).unwrap();
    }
    let kept = tempfile::tempdir().unwrap();
    let file = RealDisk.create(&kept.path().join(SEGMENT)).unwrap();
    file.write_at(0, &bytes(&golden.join(SEGMENT))).unwrap();
    let (written, old) = (records(home.path()), records(kept.path()));
    assert!(written.iter().zip(&old).all(|(written, old)| plain(written) == plain(old)));
    assert_eq!((written.len(), old.len()), (5, 5));
    // By the document alone: last, first, since, until.
    let number = |at: usize| u64::from_le_bytes(old[4][at..at + 8].try_into().unwrap());
    assert_eq!((old[4][0], number(17)), (4, 2));
    assert_eq!([65, 73, 81, 89].map(number), [2, 1, CREATED.get().unsigned_abs(), 3]);

    let mut spool = open(kept.path());
    assert_eq!((spool.epoch(), spool.lowest(), spool.next()), (EPOCH, seq(2), seq(4)));
    for (number, kind) in [(2, EventKind::ResolutionReduced), (3, EventKind::AgentStarted)] {
        let (id, schema) = spool.schema_of(seq(number)).unwrap();
        let schema = codec::decode_schema(&schema).unwrap().1;
        let batch = codec::open(&spool.load(seq(number)).unwrap().body).unwrap();
        assert_eq!(batch.read(id, &schema).unwrap().events[0].kind, kind);
    }
    assert_eq!(spool.oldest_waiting(), Some(CREATED));
}

/// Goal: the document is enough to write a reader. This one knows only the document.
#[test]
fn a_reader_written_from_the_document_agrees() {
    let number = |bytes: &[u8], at: usize| {
        bytes[at..at + 8].iter().rev().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte))
    };
    let home = kept();
    let (mut schemas, mut found) = (Vec::new(), Vec::new());
    for record in records(home.path()) {
        if record[0] == 1 {
            let plain = codec::decompress(&record[33..]).unwrap();
            assert_eq!(codec::hash(&plain).as_bytes()[..], record[1..33]);
            schemas.push(record[1..33].to_vec());
        } else {
            assert_eq!(record[1..17], *b"0123456789abcdef");
            assert!(schemas.contains(&record[33..65].to_vec()), "its schema is before it");
            assert_eq!(record[65..69], [0x28, 0xb5, 0x2f, 0xfd], "a zstd frame");
            found.push((record[0], number(&record, 17), number(&record, 25)));
        }
    }
    let (created, now) = (1_760_000_000_000, 1_760_000_060_000);
    assert_eq!(found, [(2, 1, created), (2, 2, created), (2, 3, created), (3, 2, now)]);
    assert_eq!(schemas.len(), 2);
    // What was refused is the body of record 3, byte for byte.
    assert_eq!(bytes(&golden().join(REFUSED)), records(home.path())[2][65..]);
    assert_eq!(number(&bytes(&golden().join("cursor")), 16), 2);
}
