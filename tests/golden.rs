//! Golden files: every format version ever shipped still reads, and bytes equal the documents.
//!
//! `BIJLI_BLESS=1 cargo test -p bijli-tests --test golden` writes new ones; a changed golden
//! file in a commit means a changed format, and needs a new version.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use bijli_ledger::leaf::{
    Body, Line, Owner, Posting, Pruned, PueShown, ReasonShown, Snapshot, Source, Statement, Summary,
};
use bijli_ledger::period::{Doubt, DoubtKind, Doubts, PeriodClosed};
use bijli_ledger::{Category, Class, Figures, Leaf, Restatement, Role};
use bijli_wire::batch::{Batch, Event, Group, Matrix, Register, Schema, Series, Subject};
use bijli_wire::hold::{Fact, Grant, Instance, Share};
use bijli_wire::message::{EventKind, Witness};
use bijli_wire::series::CATALOGUE;
use bijli_wire::{
    BatchSeq, BootId, ClusterId, Hold, HubId, JobId, Method, Millis, Milliwatts, NodeId, ProjectId,
    Quantity, SchemaId, SpoolEpoch, SubjectId, SubjectKind, Uptime, UserId, UtcMillis, codec,
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ is in the root").to_owned()
}

fn golden(name: &str) -> PathBuf {
    root().join("tests/golden").join(name)
}

fn compare(name: &str, bytes: &[u8]) {
    let path = golden(name);
    if std::env::var_os("BIJLI_BLESS").is_some() {
        fs::create_dir_all(path.parent().expect("in a folder")).expect("created");
        fs::write(&path, bytes).expect("written");
    }
    let kept = fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    assert_eq!(kept, bytes, "{name} changed: that is a new format version");
}

fn schema() -> Schema {
    let register = |denominator, modulus| Register {
        numerator: 1,
        denominator,
        modulus,
        power_max: Milliwatts::new(700_000),
        epoch: 42,
        method: Method::Hardware,
        gap: Millis::new(3_000),
    };
    let subject = |id: &str, kind, register| Subject {
        id: SubjectId::new(id).expect("fine"),
        kind,
        label: "0".into(),
        model: "NVIDIA H100 80GB HBM3".into(),
        serial: "1652".into(),
        register,
    };
    Schema {
        hub: HubId::new("lahore").expect("fine"),
        node: NodeId::new("lhe-n001").expect("fine"),
        agent: "bijli-agent 0.1.0".into(),
        subjects: vec![
            subject("lhe-n001", SubjectKind::Node, None),
            subject("GPU-0001", SubjectKind::Gpu, Some(register(1, None))),
            subject("lhe-n001/cpu0", SubjectKind::CpuPackage, Some(register(1_000, Some(262_143)))),
        ],
        groups: vec![
            Group {
                cadence: Millis::new(1_000),
                series: vec![
                    Series::new(1, Quantity::EnergyRegister, 0),
                    Series::new(1, Quantity::PowerAverage, 0),
                    Series::new(2, Quantity::EnergyRegister, 0),
                ],
            },
            Group {
                cadence: Millis::new(10_000),
                series: vec![Series::new(0, Quantity::CpuUtilization, 0)],
            },
        ],
    }
}

fn batch(schema: SchemaId) -> Batch {
    let at = |ms: i64| UtcMillis::new(1_760_000_000_000 + ms);
    Batch {
        hub: HubId::new("lahore").expect("fine"),
        node: NodeId::new("lhe-n001").expect("fine"),
        epoch: SpoolEpoch::new(*b"0123456789abcdef"),
        sequence: BatchSeq::new(7).expect("not zero"),
        schema,
        created: at(4_005),
        uptime: None,
        holds: Vec::new(),
        matrices: vec![
            Matrix {
                group: 0,
                times: vec![at(0), at(1_000), at(2_000), at(3_000)],
                columns: vec![
                    vec![Some(126_272_101_025), None, Some(126_273_401_025), Some(126_274_101_025)],
                    vec![Some(650_000), None, Some(650_500), Some(649_250)],
                    vec![Some(262_100), Some(262_140), Some(37), Some(90)],
                ],
            },
            Matrix { group: 1, times: vec![at(0)], columns: vec![vec![None]] },
        ],
        events: vec![Event {
            code: 0,
            count: 1,
            at: at(1_000),
            subject: Some(1),
            kind: EventKind::ProbeHung,
            text: "no answer in 600 ms".into(),
        }],
    }
}

/// The zstd frame is not pinned: another zstd version may compress otherwise. What it holds is.
#[test]
fn wire_version_1_is_what_the_document_says() {
    let (id, body) = codec::encode_schema(&schema()).expect("encodes");
    compare("wire/v1/schema.pb", &codec::decompress(&body).expect("our own frame"));
    let body = codec::encode_batch(&batch(id)).expect("encodes");
    compare("wire/v1/batch.pb", &codec::decompress(&body).expect("our own frame"));
}

/// Fields that came later: what was written without them stays as it was.
#[test]
fn a_batch_that_tells_its_uptime_is_what_the_document_says() {
    let (id, _) = codec::encode_schema(&schema()).expect("encodes");
    let boot = BootId::new(*b"fedcba9876543210");
    let uptime = Some(Uptime { boot, at: Millis::new(86_400_123) });
    let told = Batch { uptime, ..batch(id) };
    let body = codec::encode_batch(&told).expect("encodes");
    compare("wire/v1/batch-uptime.pb", &codec::decompress(&body).expect("our own frame"));
    let opened = codec::open(&body).expect("reads");
    assert_eq!(opened.envelope.uptime, uptime);
    assert_eq!(opened.read(id, &schema()).expect("reads"), told);
    assert_eq!(codec::open_by_prost(&body).expect("reads").envelope.uptime, uptime);
}

/// Kinds of events that came later: an elder collector keeps them as unspecified.
#[test]
fn a_meter_that_changed_is_what_the_document_says() {
    let (id, _) = codec::encode_schema(&schema()).expect("encodes");
    let mut told = batch(id);
    told.events[0].kind = EventKind::MeterChanged;
    told.events[0].code = 1;
    told.events[0].text = "its word order was ABCD and is CDAB".into();
    let body = codec::encode_batch(&told).expect("encodes");
    compare("wire/v1/batch-meter.pb", &codec::decompress(&body).expect("our own frame"));
    assert_eq!(codec::open(&body).expect("reads").read(id, &schema()).expect("reads"), told);
}

/// Facts about holds, and shares, which came later still.
#[test]
fn a_batch_that_tells_holds_is_what_the_document_says() {
    let (id, _) = codec::encode_schema(&schema()).expect("encodes");
    let subject = |text: &str| SubjectId::new(text).expect("fine");
    let instance = Instance { id: subject("MIG-0001"), slices: 3, of: 7 };
    let part =
        |id: &str, instance| Share { device: subject("GPU-0001"), id: subject(id), instance };
    let grant = Grant {
        project: ProjectId::new("climate").ok(),
        user: UserId::new("aisha").ok(),
        devices: vec![subject("GPU-0002")],
        shares: vec![part("GPU-0001::3", None), part("MIG-0001::0", Some(instance))],
    };
    let job = JobId::new("team-a/trainer-0").expect("fine");
    let began = UtcMillis::new(1_760_000_000_000);
    let told = |fact, witness| Hold {
        fact,
        witness,
        cluster: ClusterId::new("k8s").expect("fine"),
        at: UtcMillis::new(1_760_000_003_000),
    };
    let holds = vec![
        told(Fact::Seen { job: job.clone(), began, grant: Some(grant) }, Witness::Kubelet),
        told(Fact::Ended { job, began: Some(began) }, Witness::JobFiles),
        told(Fact::Looked { every: Millis::new(30_000) }, Witness::File),
    ];
    let told = Batch { holds, ..batch(id) };
    let body = codec::encode_batch(&told).expect("encodes");
    compare("wire/v1/batch-holds.pb", &codec::decompress(&body).expect("our own frame"));
    assert_eq!(codec::open(&body).expect("reads").read(id, &schema()).expect("reads"), told);
}

#[test]
fn wire_version_1_still_reads() {
    let bytes = |name| fs::read(golden(name)).expect("a golden file");
    let body = |name| codec::compress(&bytes(name)).expect("small");
    let (id, read) = codec::decode_schema(&body("wire/v1/schema.pb")).expect("reads");
    assert_eq!(read, schema());
    let opened = codec::open(&body("wire/v1/batch.pb")).expect("opens");
    assert_eq!(opened.read(id, &read), Ok(batch(id)));
}

/// A September of thirty days, of which one hour was not read.
fn period() -> PeriodClosed {
    let doubt = Doubt {
        from: UtcMillis::new(1_757_000_700_000),
        to: UtcMillis::new(1_757_004_300_000),
        kind: DoubtKind::Incomplete,
        words: "meter m-incomer at incomer was not read".into(),
    };
    PeriodClosed {
        month: "2025-09".parse().expect("a month"),
        from: UtcMillis::new(1_756_666_800_000),
        to: UtcMillis::new(1_759_258_800_000),
        leaves: 57,
        figures: Figures {
            expected: 2_880,
            posted: 2_880,
            incomplete: 4,
            disputed: 0,
            supplied: 700_000_000,
            used: 700_000_000,
            counted: 2_876,
            total: 690_000_000,
            it: 585_000_000,
            estimated: 9,
        },
        by: "A. Khan".into(),
        despite: Some("the incomer's gateway was changed".into()),
        doubts: Doubts { list: vec![doubt], more: 0 },
    }
}

fn restatement() -> Restatement {
    let PeriodClosed { month, from, to, leaves, figures: old, .. } = period();
    Restatement {
        month,
        from,
        to,
        closed: leaves,
        old_leaf: leaves,
        by: None,
        cause: "1 intervals posted again".into(),
        entries: Some((30, 31)),
        old,
        new: Figures { used: 700_000_009, supplied: 700_000_009, ..old },
        moved: 9,
    }
}

/// One leaf of each kind.
fn leaves() -> [(&'static str, Leaf); 8] {
    let account = |text: &str| text.parse().expect(text);
    let line = |seq, debit, credit, amount| Line {
        seq,
        debit: account(debit),
        credit: account(credit),
        class: Class::Measured,
        amount,
        is_reversal: false,
    };
    let posting = |lines| Posting {
        interval: UtcMillis::new(1_760_000_400_000),
        owner: Owner::Node(NodeId::new("lhe-n001").expect("fine")),
        part: 1,
        parts: 1,
        lines,
    };
    let of = |hub, body| {
        let source = Source { first: 12, last: 480, hash: [0xA5; 32] };
        Leaf { rule_version: 1, hub, source, body }
    };
    let lahore = || Some(HubId::new("lahore").expect("fine"));
    let first = vec![
        line(4, "node:lhe-n001", "point:pdu-a", 585_000_000),
        line(6, "gpu:GPU-0001", "node:lhe-n001", 585_000_000),
        line(9, "project:climate/gpu_active", "gpu:GPU-0001", 585_000_000),
    ];
    let taken_back =
        Line { is_reversal: true, ..line(31, "gpu:GPU-0001", "project:climate/gpu_active", 9) };
    let corrected = vec![line(30, "idle:unallocated", "gpu:GPU-0001", 9), taken_back];
    let summary = Summary {
        interval: UtcMillis::new(1_760_000_400_000),
        end: UtcMillis::new(1_760_001_300_000),
        revision: 1,
        old_leaf: Some(41),
        leaves: 1,
        first_entry: 30,
        entries: 2,
        supplied: 700_000_000,
        used: 700_000_000,
        pue: PueShown::Parts {
            total: 700_000_000,
            it: 585_000_000,
            by_source: [(Role::Grid, 700_000_000)].into(),
            store_drawn: 0,
            estimated: 0,
            category: Category::PduOutput,
        },
        reasons: vec![ReasonShown { is_dispute: false, words: "point lights has no meter".into() }],
        reasons_more: 0,
    };
    let pruned = Pruned { segment: 3, first: 12, last: 480, bytes: 67_108_864, sha256: [0x5A; 32] };
    let snapshot = Snapshot { bytes: 1_048_576, sha256: [0xA5; 32] };
    let statement = Statement {
        at: UtcMillis::new(1_760_000_400_000),
        about: "old head".into(),
        text: "ledger.example.pk/hub/lahore/ledger\n".into(),
    };
    let adjustment = Body::Adjustment { old_leaf: 38, corrects: 2, posting: posting(corrected) };
    [
        ("1-posting.leaf", of(lahore(), Body::Posting(posting(first)))),
        ("2-adjustment.leaf", of(lahore(), adjustment)),
        ("3-summary.leaf", of(lahore(), Body::Summary(summary))),
        ("4-pruned.leaf", of(None, Body::Pruned(pruned))),
        ("5-snapshot.leaf", of(None, Body::Snapshot(snapshot))),
        ("6-statement.leaf", of(lahore(), Body::Statement(statement))),
        ("9-period.leaf", of(lahore(), Body::Period(Box::new(period())))),
        ("10-restatement.leaf", of(lahore(), Body::Restatement(Box::new(restatement())))),
    ]
}

#[test]
fn leaf_version_1_is_what_the_document_says_and_still_reads() {
    for (name, leaf) in leaves() {
        let name = format!("leaves/v1/{name}");
        compare(&name, &leaf.encode());
        let kept = fs::read(golden(&name)).expect("a golden file");
        assert_eq!(Leaf::decode(&kept), Ok(leaf), "{name}");
    }
}

/// The published .proto read by Google's own protoc, not by us.
#[test]
fn the_published_proto_reads_the_golden_batch() {
    let proto = root().join("wire/proto/bijli.v1.proto");
    let out = Command::new("protoc")
        .arg("--decode=bijli.v1.Batch")
        .arg(format!("--proto_path={}", proto.parent().expect("a folder").display()))
        .arg(&proto)
        .stdin(fs::File::open(golden("wire/v1/batch.pb")).expect("a golden file"))
        .output()
        .expect("protoc is installed by tests/install.sh");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let text = String::from_utf8(out.stdout).expect("text");
    for line in ["sequence: 7", "times: 1760000000000", "deltas: 126272101025", "kind: PROBE_HUNG"]
    {
        assert!(text.contains(line), "protoc's reading lacks {line:?}:\n{text}");
    }
}

#[test]
fn the_document_has_the_catalogue() {
    let mut table = String::from("| number | name | unit | kind | from | to | missing means |\n");
    table.push_str("| --- | --- | --- | --- | --- | --- | --- |\n");
    for spec in CATALOGUE {
        table.push_str(&format!(
            "| {} | `{}` | {} | {} | {} | {} | {} |\n",
            spec.quantity as u32,
            spec.name,
            spec.unit,
            format!("{:?}", spec.kind).to_lowercase(),
            spec.min,
            spec.max,
            spec.absence
        ));
    }
    let path = root().join("docs/formats/wire.md");
    let text = fs::read_to_string(&path).expect("the document");
    let marker = "<!-- catalogue -->\n";
    let (before, shown) = text.split_once(marker).expect("the document has its marker");
    if std::env::var_os("BIJLI_BLESS").is_some() {
        fs::write(&path, format!("{before}{marker}{table}")).expect("written");
    } else {
        assert_eq!(shown, table, "docs/formats/wire.md is behind wire/src/series.rs");
    }
}
