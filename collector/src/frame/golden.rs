//! Journal format version 1, byte by byte: what was ever written must always read and be booked
//! alike. `docs/formats/journal.md` describes the bytes. `BIJLI_BLESS=1` writes the files of a new
//! version; those of a version that was shipped are never written again.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bijli_ledger::Rules;
use bijli_ledger::leaf::Pruned;
use bijli_seglog::{Disk, DiskFile, RealDisk};
use bijli_wire::{
    Batch, BatchSeq, ErrorCode, HubId, NodeId, SpoolEpoch, SubjectId, UtcMillis, codec,
};

use super::{Frame, Incident};
use crate::allocation::{EndText, PutText};
use crate::bookkeeper::Bookkeeper;
use crate::calibration::{CalibrationText, StepText};
use crate::clock::Clock;
use crate::diagram::{Plan, PlanNode, PlanPoint, PlanRole};
use crate::health::Health;
use crate::ingest::admission::LaneKey;
use crate::intake::Intake;
use crate::meterbook::{RestartText, TypedText};
use crate::period::PeriodText;
use crate::projects::text::{ChangeText, ClaimText, DatedText, ProjectText};
use crate::retirement::RetirementText;
use crate::state::State;

/// The order in which a journal has them.
const NAMES: [&str; 18] = [
    "7-rules.frame",
    "5-diagram.frame",
    "1-schema.frame",
    "2-batch.frame",
    "3-allocation-put.frame",
    "4-allocation-end.frame",
    "10-incident.frame",
    "6-tick.frame",
    "8-floor.frame",
    "9-corrected.frame",
    "11-snapshot.frame",
    "12-pruned.frame",
    "13-calibration.frame",
    "14-typed.frame",
    "16-period.frame",
    "17-project.frame",
    "18-tables.frame",
    "20-retirement.frame",
];

/// As an operator wrote it, with a remark.
const TABLES: &str = "# Of 2025.\ndemand_window = \"30m\"\n";

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden")
}

fn read(path: &Path) -> Vec<u8> {
    let file = RealDisk.open_read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut bytes = vec![0; usize::try_from(file.len().expect("an open file")).expect("small")];
    assert_eq!(file.read_at(0, &mut bytes).expect("an open file"), bytes.len());
    bytes
}

fn kept(name: &str) -> Vec<u8> {
    read(&golden().join("journal/v1").join(name))
}

const fn at(second: i64) -> UtcMillis {
    UtcMillis::new(1_760_000_000_000 + second * 1_000)
}

fn hub() -> HubId {
    HubId::new("lahore").expect("valid")
}

fn plan() -> Plan {
    let point = |id: &str, role, meter: Option<&str>| PlanPoint {
        id: id.into(),
        role,
        meter: meter.map(Into::into),
        fed_by: None,
    };
    Plan {
        pue_category: Some(2),
        points: vec![
            point("incomer", PlanRole::Grid, Some("m-incomer")),
            point("pdu-a", PlanRole::Pdu, None),
        ],
        nodes: vec![PlanNode { id: "lhe-n001".into(), fed_by: "pdu-a".into() }],
        ..Plan::default()
    }
}

fn put() -> PutText {
    PutText {
        id: "1042".into(),
        hub: Some("lahore".into()),
        project: "climate/monsoon".into(),
        node: None,
        devices: vec!["GPU-0001".into()],
        from: "2025-10-09T08:53:20Z".into(),
        to: None,
        who: "slurm".into(),
        why: "job 1042".into(),
    }
}

fn retirement() -> RetirementText {
    RetirementText {
        node: "lhe-n001".into(),
        hub: Some("lahore".into()),
        who: "A. Khan".into(),
        why: "scrapped after the flood".into(),
    }
}

fn project() -> ChangeText {
    let dated =
        DatedText { name: "water".into(), from: Some("2025-10-15T00:00:00Z".into()), to: None };
    ChangeText::Put(ProjectText {
        id: "monsoon".into(),
        title: "Monsoon forecasts".into(),
        organisation: "PMD".into(),
        grant: "NTF-2025-17".into(),
        accounts: vec![ClaimText::Name("climate/monsoon".into()), ClaimText::Dated(dated)],
        namespaces: vec![ClaimText::Name("monsoon-prod".into())],
        from: "2025-10-01T00:00:00Z".into(),
        to: Some("2026-10-01T00:00:00Z".into()),
        budget: Some("120000 kWh".into()),
        who: "A. Khan".into(),
        why: "grant letter of 28 September".into(),
    })
}

/// From a moment after all readings, so that the entries stay as they were before it came.
fn calibration() -> CalibrationText {
    let step = StepText {
        from: "2025-10-09T08:00:00Z".into(),
        to: "2025-10-09T08:10:00Z".into(),
        device_mj: 240_000_000,
        reference_mj: 243_216_000,
        covered_ppm: 1_000_000,
    };
    CalibrationText {
        id: "2025-10".into(),
        hub: Some("lahore".into()),
        devices: vec!["GPU-0001".into()],
        gain_ppm: 1_013_400,
        doubt_ppm: 7_200,
        from: "2025-10-10T00:00:00Z".into(),
        to: None,
        who: "A. Khan".into(),
        why: "yearly".into(),
        reference: "pdu-a3, class 0.5".into(),
        steps: vec![step],
    }
}

/// The first of its meter: no energy yet, so that the entries stay as they were.
/// Of a month that is not over in these books: it is refused, each time.
fn period() -> PeriodText {
    PeriodText {
        month: "2025-09".into(),
        hub: Some("lahore".into()),
        by: "A. Khan".into(),
        despite: Some("begun in October".into()),
        cause: None,
    }
}

fn typed() -> TypedText {
    TypedText {
        id: "m-incomer/2025-10-09".into(),
        hub: Some("lahore".into()),
        meter: "m-incomer".into(),
        at: "2025-10-09T13:53:20+05:00".into(),
        value: "001234.50 kWh".into(),
        factor: 160,
        rollover_digits: Some(6),
        restart: Some(RestartText { value: "0.00 kWh".into(), factor: 200 }),
        who: "A. Khan".into(),
        why: "new transformers".into(),
        photo_sha256: Some("5a".repeat(32)),
    }
}

fn incident() -> Incident {
    Incident {
        hub: hub(),
        node: NodeId::new("lhe-n002").expect("valid"),
        code: ErrorCode::ForeignIdentity,
        text: "sent as lhe-n001 of hub lahore".into(),
    }
}

/// The schema and the batch are the golden ones of the wire, the batch as its sender's first.
fn bodies() -> (Vec<u8>, Vec<u8>) {
    let body = |name| codec::compress(&read(&golden().join("wire/v1").join(name))).expect("small");
    let (id, schema) = codec::decode_schema(&body("schema.pb")).expect("golden");
    let opened = codec::open(&body("batch.pb")).expect("golden");
    let batch = Batch { sequence: BatchSeq::FIRST, ..opened.read(id, &schema).expect("golden") };
    (body("schema.pb"), codec::encode_batch(&batch).expect("valid"))
}

fn lane() -> LaneKey {
    let node = NodeId::new("lhe-n001").expect("valid");
    LaneKey { hub: hub(), node, epoch: SpoolEpoch::new([0xab; 16]) }
}

fn frames() -> [Frame; 18] {
    let (schema, batch) = bodies();
    // The same again, behind the floor: it is on disk twice and booked once.
    let second = batch.clone();
    let end =
        EndText { hub: "lahore".into(), id: "1042".into(), at: "2025-10-09T08:53:22Z".into() };
    let sha256 = [0x5A; 32];
    let pruned = Pruned { segment: 1, first: 1, last: 480, bytes: 67_108_864, sha256 };
    let floor = BatchSeq::new(17_281).expect("from 1");
    [
        Frame::Rules { received: at(0), rules: Rules::default() },
        Frame::Diagram { received: at(0), from: at(-800), hub: hub(), toml: plan().to_toml() },
        Frame::Schema { received: at(4), body: schema },
        Frame::Batch { received: at(5), body: batch },
        Frame::AllocationPut { received: at(6), json: put().to_json() },
        Frame::AllocationEnd { received: at(7), json: end.to_json() },
        Frame::Incident { received: at(8), incident: Box::new(incident()) },
        Frame::Tick { received: at(1_200) },
        Frame::Floor { received: at(1_201), lane: lane(), floor },
        Frame::Corrected { received: at(1_202), offset_ms: -3_600_000, body: second },
        Frame::Snapshot { received: at(1_203) },
        Frame::Pruned { received: at(1_204), pruned },
        Frame::Calibration { received: at(1_205), json: calibration().to_json() },
        Frame::Typed { received: at(1_206), json: typed().to_json() },
        Frame::Period { received: at(1_207), json: period().to_json() },
        Frame::Project { received: at(1_207), json: project().to_json() },
        Frame::Tables { received: at(1_207), hub: hub(), toml: TABLES.to_owned() },
        Frame::Retirement { received: at(1_207), json: retirement().to_json() },
    ]
}

/// The zstd frame in a body is not pinned: another zstd version may compress otherwise.
fn plain(frame: Frame) -> Frame {
    let open = |body: Vec<u8>| codec::decompress(&body).expect("our own frame");
    match frame {
        Frame::Schema { received, body } => Frame::Schema { received, body: open(body) },
        Frame::Batch { received, body } => Frame::Batch { received, body: open(body) },
        Frame::Corrected { received, offset_ms, body } => {
            Frame::Corrected { received, offset_ms, body: open(body) }
        }
        Frame::AllocationPut { .. }
        | Frame::AllocationEnd { .. }
        | Frame::Calibration { .. }
        | Frame::Typed { .. }
        | Frame::Period { .. }
        | Frame::Project { .. }
        | Frame::Retirement { .. }
        | Frame::Diagram { .. }
        | Frame::Tables { .. }
        | Frame::Tick { .. }
        | Frame::Rules { .. }
        | Frame::Floor { .. }
        | Frame::Incident { .. }
        | Frame::Snapshot { .. }
        | Frame::Pruned { .. } => frame,
    }
}

#[test]
fn what_is_written_is_version_1() {
    for (name, frame) in NAMES.iter().zip(frames()) {
        if std::env::var_os("BIJLI_BLESS").is_some() {
            let folder = golden().join("journal/v1");
            RealDisk.create_dir_all(&folder).expect("a writable place");
            let file = RealDisk.create(&folder.join(name)).expect("a writable place");
            file.write_at(0, &frame.encode()).expect("a writable place");
        }
        let bytes = kept(name);
        let found = Frame::decode(&bytes).expect("version 1 reads");
        assert_eq!(found.encode(), bytes, "{name}");
        assert_eq!(plain(found), plain(frame), "{name}");
    }
}

/// What the document says of the kinds that are JSON.
fn json_of(kind: u8) -> &'static [u8] {
    match kind {
        3 => {
            br#"{"id":"1042","hub":"lahore","project":"climate/monsoon","devices":["GPU-0001"],"from":"2025-10-09T08:53:20Z","who":"slurm","why":"job 1042"}"#
        }
        4 => {
            br#"{"hub":"lahore","id":"1042","at":"2025-10-09T08:53:22Z"}"#
        }
        13 => {
            br#"{"id":"2025-10","hub":"lahore","devices":["GPU-0001"],"gain_ppm":1013400,"doubt_ppm":7200,"from":"2025-10-10T00:00:00Z","who":"A. Khan","why":"yearly","reference":"pdu-a3, class 0.5","steps":[{"from":"2025-10-09T08:00:00Z","to":"2025-10-09T08:10:00Z","device_mj":240000000,"reference_mj":243216000,"covered_ppm":1000000}]}"#
        }
        14 => {
            br#"{"id":"m-incomer/2025-10-09","hub":"lahore","meter":"m-incomer","at":"2025-10-09T13:53:20+05:00","value":"001234.50 kWh","factor":160,"rollover_digits":6,"restart":{"value":"0.00 kWh","factor":200},"who":"A. Khan","why":"new transformers","photo_sha256":"5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a"}"#
        }
        16 => {
            br#"{"month":"2025-09","hub":"lahore","by":"A. Khan","despite":"begun in October"}"#
        }
        17 => {
            br#"{"put":{"id":"monsoon","title":"Monsoon forecasts","organisation":"PMD","grant":"NTF-2025-17","accounts":["climate/monsoon",{"name":"water","from":"2025-10-15T00:00:00Z"}],"namespaces":["monsoon-prod"],"from":"2025-10-01T00:00:00Z","to":"2026-10-01T00:00:00Z","budget":"120000 kWh","who":"A. Khan","why":"grant letter of 28 September"}}"#
        }
        20 => {
            br#"{"node":"lhe-n001","hub":"lahore","who":"A. Khan","why":"scrapped after the flood"}"#
        }
        _ => unreachable!("a kind that is no JSON"),
    }
}

/// Goal: the document is enough to write a reader. This one knows only the document.
#[test]
fn a_reader_written_from_the_document_agrees() {
    let number = |bytes: &[u8], at: usize| {
        bytes[at..at + 8].iter().rev().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte))
    };
    let received: [u64; NAMES.len()] = [
        0, 0, 4_000, 5_000, 6_000, 7_000, 8_000, 1_200_000, 1_201_000, 1_202_000, 1_203_000,
        1_204_000, 1_205_000, 1_206_000, 1_207_000, 1_207_000, 1_207_000, 1_207_000,
    ];
    for (name, received) in NAMES.iter().zip(received) {
        let bytes = kept(name);
        let kind = name.split('-').next().expect("a name");
        assert_eq!(kind, bytes[0].to_string(), "the kind is the name's number");
        assert_eq!(number(&bytes, 1), 1_760_000_000_000 + received, "{name}");
        let body = &bytes[9..];
        match bytes[0] {
            1 | 2 => assert_eq!(body[..4], [0x28, 0xb5, 0x2f, 0xfd], "a zstd frame"),
            3 | 4 | 13 | 14 | 16 | 17 | 20 => assert_eq!(body, json_of(bytes[0])),
            5 => {
                assert_eq!(number(body, 0), 1_760_000_000_000 - 800_000);
                assert_eq!((body[8], &body[9..15]), (6, &b"lahore"[..]));
                assert!(
                    body[15..].starts_with(b"pue_category = 2\n\n[[point]]\nid = \"incomer\"\n")
                );
            }
            6 => assert!(body.is_empty()),
            8 => {
                assert_eq!((&body[..16], number(body, 16)), (&[0xab; 16][..], 17_281));
                assert_eq!((body[24], &body[25..31]), (6, &b"lahore"[..]));
                assert_eq!(&body[31..], b"lhe-n001");
            }
            9 => {
                assert_eq!(number(body, 0), 3_600_000_u64.wrapping_neg());
                assert_eq!(body[8..12], [0x28, 0xb5, 0x2f, 0xfd], "a zstd frame");
            }
            10 => assert_eq!(
                body,
                b"\x06lahore\x08lhe-n002\x10foreign_identitysent as lhe-n001 of hub lahore"
            ),
            11 => assert!(body.is_empty()),
            12 => {
                let numbers = [0, 8, 16, 24].map(|at| number(body, at));
                assert_eq!(numbers, [1, 1, 480, 67_108_864]);
                assert_eq!(body[32..], [0x5A; 32]);
            }
            18 => {
                assert_eq!((body[0], &body[1..7]), (6, &b"lahore"[..]));
                assert_eq!(&body[7..], TABLES.as_bytes());
            }
            _ => {
                let spans = [0, 8, 16].map(|at| number(body, at));
                assert_eq!(spans, [900_000, 120_000, 3_024_000_000]);
            }
        }
    }
}

/// Goal: not only the bytes read; they still book the same entries.
#[test]
fn version_1_is_booked_alike() {
    let state = Arc::new(State::new(Clock, Rules::default(), Health::new(), None));
    let mut keeper = Bookkeeper::new(Arc::clone(&state));
    let (mut intake, mut facts) = (Intake::default(), Vec::new());
    for name in NAMES {
        intake
            .replay(bijli_seglog::RecordSeq::FIRST, &kept(name), &mut facts)
            .unwrap_or_else(|e| panic!("{name}: {e}"));
        facts.drain(..).for_each(|fact| keeper.book(fact));
    }
    assert_eq!(keeper.unusable(), 0);
    let hub = state.hub(&hub()).expect("the journal names it");
    let books = hub.books();
    let gpu = books.subject(&SubjectId::new("GPU-0001").expect("valid")).expect("declared");
    assert_eq!(gpu.booked.total(), 2_000_000, "126,274,101,025 less 126,272,101,025 mJ");
    let entries: Vec<String> = books
        .entries(UtcMillis::new(0), UtcMillis::new(i64::MAX))
        .map(|entry| entry.to_string())
        .collect();
    assert_eq!(entries, ENTRIES);
    assert_eq!(books.imbalance(), 0);
}

/// What the frames book; see `docs/formats/ledger.md`.
const ENTRIES: [&str; 6] = [
    "entry=1 interval=1759999500000 debit=point:pdu-a credit=main \
     class=measured amount_mj=2000000 rule=1",
    "entry=2 interval=1759999500000 debit=node:lhe-n001 credit=point:pdu-a \
     class=measured amount_mj=2000000 rule=1",
    "entry=3 interval=1759999500000 debit=gpu:GPU-0001 credit=node:lhe-n001 \
     class=measured amount_mj=2000000 rule=1",
    "entry=4 interval=1759999500000 debit=main credit=missing:main \
     class=derived amount_mj=2000000 rule=1",
    "entry=5 interval=1759999500000 debit=idle:unallocated credit=gpu:GPU-0001 \
     class=measured amount_mj=700000 rule=1",
    "entry=6 interval=1759999500000 debit=project:climate/monsoon/gpu_active \
     credit=gpu:GPU-0001 class=measured amount_mj=1300000 rule=1",
];
