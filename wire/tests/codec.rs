//! The codec from outside: what goes in comes out, and no foreign body harms.

use bijli_wire::batch::{
    Batch, BatchError, Event, Group, Matrix, Register, Schema, Series, Subject,
};
use bijli_wire::hold::{Fact, Grant};
use bijli_wire::message::{EventKind, Witness};
use bijli_wire::{
    BatchSeq, ClusterId, ErrorCode, Hold, HubId, JobId, Method, Millis, Milliwatts, NodeId,
    ProjectId, Quantity, SchemaId, SpoolEpoch, SubjectId, SubjectKind, UtcMillis, codec, limits,
};
use proptest::prelude::*;

const START: i64 = 1_760_000_000_000;

fn schema(columns: usize) -> Schema {
    let register = Register {
        numerator: 1,
        denominator: 1_000,
        modulus: Some(262_143_328_850),
        power_max: Milliwatts::new(700_000),
        epoch: 7,
        method: Method::Hardware,
        gap: Millis::new(3_000),
    };
    Schema {
        hub: HubId::new("lahore").expect("fine"),
        node: NodeId::new("n01").expect("fine"),
        agent: "bijli-agent 0.1.0".into(),
        subjects: vec![Subject {
            id: SubjectId::new("GPU-1").expect("fine"),
            kind: SubjectKind::Gpu,
            label: "0".into(),
            model: "H100".into(),
            serial: String::new(),
            register: Some(register),
        }],
        groups: vec![Group {
            cadence: Millis::new(1_000),
            series: vec![Series::new(0, Quantity::EnergyRegister, 0); columns],
        }],
    }
}

fn batch(id: SchemaId, matrices: Vec<Matrix>) -> Batch {
    Batch {
        hub: HubId::new("lahore").expect("fine"),
        node: NodeId::new("n01").expect("fine"),
        epoch: SpoolEpoch::new([3; 16]),
        sequence: BatchSeq::FIRST,
        schema: id,
        created: UtcMillis::new(START),
        uptime: None,
        matrices,
        holds: Vec::new(),
        events: vec![Event {
            code: 0,
            count: 1,
            at: UtcMillis::new(START),
            subject: Some(0),
            kind: EventKind::ProbeHung,
            text: "no answer for 5 s".into(),
        }],
    }
}

fn matrix_of(columns: Vec<Vec<Option<i64>>>) -> Matrix {
    let rows = columns.first().map_or(0, Vec::len);
    let times =
        (0..rows).map(|row| UtcMillis::new(START + 1_000 * i64::try_from(row).expect("few")));
    Matrix { group: 0, times: times.collect(), columns }
}

fn read_back(schema: &Schema, batch: &Batch) -> Result<Batch, BatchError> {
    let (id, _) = codec::encode_schema(schema).expect("schema encodes");
    codec::open(&codec::encode_batch(batch)?)?.read(id, schema)
}

proptest! {
    #[test]
    fn a_batch_survives_its_journey(
        (columns, rows) in (1_usize..6, 0_usize..40),
        values in proptest::collection::vec(proptest::option::weighted(0.8, any::<i64>()), 240),
    ) {
        let schema = schema(columns);
        let (id, body) = codec::encode_schema(&schema).expect("encodes");
        prop_assert_eq!(codec::decode_schema(&body), Ok((id, schema.clone())));
        let columns = values.chunks(40).take(columns).map(|c| c[..rows].to_vec()).collect();
        let batch = batch(id, vec![matrix_of(columns)]);
        prop_assert_eq!(read_back(&schema, &batch), Ok(batch));
    }

    #[test]
    fn no_body_panics(body in proptest::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(codec::open(&body).is_err() || !body.is_empty());
        drop(codec::decode_schema(&body));
        // The same bytes inside a valid frame reach the protobuf reader.
        let framed = codec::compress(&body).expect("small");
        if let Ok(opened) = codec::open(&framed) {
            let schema = schema(1);
            let (id, _) = codec::encode_schema(&schema).expect("encodes");
            drop(opened.read(id, &schema));
        }
    }

    #[test]
    fn no_flipped_bit_panics(at in 0_usize..4_000, bit in 0_u8..8) {
        let schema = schema(2);
        let (id, _) = codec::encode_schema(&schema).expect("encodes");
        let columns = vec![vec![Some(5), None, Some(9)]; 2];
        let mut body = codec::encode_batch(&batch(id, vec![matrix_of(columns)])).expect("encodes");
        let at = at % body.len();
        body[at] ^= 1 << bit;
        if let Ok(opened) = codec::open(&body) {
            drop(opened.read(id, &schema));
        }
    }
}

/// A change of plain bytes: at which place, what.
#[derive(Clone, Debug)]
enum Change {
    Set(usize, u8),
    Insert(usize, u8),
    Remove(usize),
    /// Copies a stretch behind the end: a field that comes again, or out of its order.
    Again(usize, usize),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        (any::<usize>(), any::<u8>()).prop_map(|(at, byte)| Change::Set(at, byte)),
        (any::<usize>(), any::<u8>()).prop_map(|(at, byte)| Change::Insert(at, byte)),
        any::<usize>().prop_map(Change::Remove),
        (any::<usize>(), 0_usize..60).prop_map(|(at, bytes)| Change::Again(at, bytes)),
    ]
}

impl Change {
    fn apply(&self, plain: &mut Vec<u8>) {
        let length = plain.len().max(1);
        match self {
            Self::Set(at, byte) => plain.splice(at % length..=at % length, [*byte]).for_each(drop),
            Self::Insert(at, byte) => plain.insert(at % length, *byte),
            Self::Remove(at) => drop(plain.remove(at % length)),
            Self::Again(at, bytes) => {
                let at = at % length;
                plain.extend_from_within(at..(at + bytes).min(length));
            }
        }
    }
}

/// Both readers' outcomes on one body.
fn both(body: &[u8], schema: &Schema) -> [Result<Batch, BatchError>; 2] {
    let (id, _) = codec::encode_schema(schema).expect("encodes");
    [codec::open, codec::open_by_prost].map(|open| open(body)?.read(id, schema))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Goal: the quick reader never differs from the general one, on what encoders write and on
    /// whatever else is sent. Both refuse the same bodies; in the same words, unless a body is no
    /// protobuf behind its envelope: that is seen by one when it opens, by the other when it reads.
    #[test]
    fn the_quick_reader_says_what_the_general_one_says(
        (columns, rows) in (1_usize..4, 0_usize..12),
        values in proptest::collection::vec(proptest::option::weighted(0.8, any::<i64>()), 36),
        changes in proptest::collection::vec(change(), 0..4),
        has_events in any::<bool>(),
    ) {
        let schema = schema(columns);
        let (id, _) = codec::encode_schema(&schema).expect("encodes");
        let columns = values.chunks(12).take(columns).map(|c| c[..rows].to_vec()).collect();
        let mut batch = batch(id, vec![matrix_of(columns)]);
        if !has_events {
            batch.events.clear();
        }
        let mut plain = codec::decompress(&codec::encode_batch(&batch).expect("encodes"))
            .expect("a frame");
        for change in &changes {
            change.apply(&mut plain);
        }
        let [quick, general] = both(&codec::compress(&plain).expect("small"), &schema);
        match &general {
            Err(BatchError::Protobuf { .. }) => prop_assert!(quick.is_err()),
            Ok(_) | Err(_) => prop_assert_eq!(&quick, &general),
        }
        prop_assert!(!changes.is_empty() || quick == Ok(batch));
    }

    /// Goal: a frame is read the same in one go and in a stream, whatever it says of itself.
    #[test]
    fn a_frame_in_one_go_is_the_frame_in_a_stream(
        plain in proptest::collection::vec(0_u8..4, 0..600),
        changes in proptest::collection::vec(change(), 0..3),
    ) {
        let mut body = codec::compress(&plain).expect("small");
        for change in &changes {
            change.apply(&mut body);
        }
        let [quick, general] = [codec::open, codec::open_by_prost].map(|open| {
            open(&body).map(|opened| opened.envelope)
        });
        let is_zstd = |outcome: &Result<_, _>| matches!(outcome, Err(BatchError::Zstd { .. }));
        prop_assert!(quick == general || (is_zstd(&quick) && is_zstd(&general)));
    }
}

#[test]
fn a_bomb_is_refused_before_it_fills_memory() {
    let bomb = zstd::bulk::compress(&vec![0; 64 << 20], 19).expect("compresses");
    assert!(bomb.len() < limits::BODY_BYTES_MAX);
    let refused = codec::decompress(&bomb).expect_err("a bomb");
    assert!(matches!(refused, BatchError::Bomb { max } if max <= limits::DECOMPRESSED_BYTES_MAX));
    assert_eq!(ErrorCode::of_batch(&refused), ErrorCode::BodyTooLarge);
}

#[test]
fn a_small_frame_that_asks_for_a_huge_window_is_refused() {
    let mut encoder = zstd::stream::Encoder::new(Vec::new(), 3).expect("encoder");
    encoder.window_log(27).expect("a window of 128 MiB");
    std::io::copy(&mut &b"hello"[..], &mut encoder).expect("written");
    let body = encoder.finish().expect("finished");
    assert!(matches!(codec::decompress(&body), Err(BatchError::Zstd { .. })));
}

#[test]
fn an_oversize_body_is_refused_by_its_length() {
    let body = vec![0; limits::BODY_BYTES_MAX + 1];
    assert!(matches!(codec::decompress(&body), Err(BatchError::BodySize { .. })));
}

#[test]
fn rules_are_refused_with_their_words() {
    let schema = schema(1);
    let (id, _) = codec::encode_schema(&schema).expect("encodes");
    let good = || matrix_of(vec![vec![Some(1), Some(2)]]);

    let mut backwards = good();
    backwards.times.reverse();
    let mut no_such_group = good();
    no_such_group.group = 4;
    let mut too_many_columns = good();
    too_many_columns.columns.push(vec![None, None]);

    for (matrix, words) in [
        (backwards, "its times do not increase"),
        (no_such_group, "the schema has no such group"),
        (too_many_columns, "the matrix has not one column per series"),
    ] {
        let refused = read_back(&schema, &batch(id, vec![matrix])).expect_err(words);
        assert!(refused.to_string().ends_with(words), "{refused}");
        assert_eq!(ErrorCode::of_batch(&refused), ErrorCode::MalformedBody);
    }
    let rows = limits::ROWS_MAX + 1;
    let long = matrix_of(vec![vec![Some(1); rows]]);
    assert!(matches!(
        codec::encode_batch(&batch(id, vec![long])),
        Err(BatchError::TooMany { what: "rows", .. })
    ));
}

#[test]
fn schemas_break_no_rule_unseen() {
    let refuse = |change: &dyn Fn(&mut Schema), words: &str| {
        let mut schema = schema(1);
        change(&mut schema);
        let refused = codec::encode_schema(&schema).expect_err(words);
        assert!(refused.to_string().contains(words), "{refused} lacks {words:?}");
    };
    refuse(&|s| s.subjects.push(s.subjects[0].clone()), "listed twice");
    refuse(&|s| s.groups[0].cadence = Millis::ZERO, "cadence is zero");
    refuse(&|s| s.groups[0].series[0].subject = 9, "does not have");
    refuse(&|s| s.subjects[0].kind = SubjectKind::Unspecified, "kind");
    refuse(&|s| s.groups = vec![s.groups[0].clone(); 17], "groups");
    let register = |change: &dyn Fn(&mut Register), words: &str| {
        refuse(&|s| change(s.subjects[0].register.as_mut().expect("has one")), words);
    };
    register(&|r| r.denominator = 0, "scale is zero");
    register(&|r| r.power_max = Milliwatts::ZERO, "largest power");
    register(&|r| r.gap = Millis::ZERO, "gap is zero");
    register(&|r| r.method = Method::Unspecified, "method");
}

/// Goal: facts about holds go both ways, and a newer witness or fact is refused, not misread.
#[test]
fn holds_travel_beside_readings() {
    let schema = schema(1);
    let (id, _) = codec::encode_schema(&schema).expect("encodes");
    let began = Hold {
        fact: Fact::Began {
            job: JobId::new("4711").expect("fine"),
            grant: Grant {
                project: Some(ProjectId::new("ignite-llm").expect("fine")),
                user: None,
                devices: vec![SubjectId::new("GPU-7").expect("fine")],
                shares: Vec::new(),
            },
        },
        witness: Witness::Hook,
        cluster: ClusterId::new("hub").expect("fine"),
        at: UtcMillis::new(START),
    };
    let looked = Hold {
        fact: Fact::Looked { every: Millis::new(30_000) },
        witness: Witness::Poll,
        ..began.clone()
    };
    let whole = Batch { holds: vec![began, looked], ..batch(id, Vec::new()) };
    let body = codec::encode_batch(&whole).expect("encodes");
    let [quick, general] = both(&body, &schema);
    assert_eq!(quick, Ok(whole.clone()));
    assert_eq!(general, Ok(whole.clone()));
    let many = Batch { holds: vec![whole.holds[0].clone(); 257], ..whole };
    assert!(codec::encode_batch(&many).is_err());
}

#[test]
fn a_newer_senders_quantity_is_kept_as_unknown() {
    let mut schema = schema(1);
    schema.groups[0].series[0].quantity = None;
    schema.groups[0].series[0].quantity_number = 60_000;
    let (id, body) = codec::encode_schema(&schema).expect("encodes");
    assert_eq!(codec::decode_schema(&body), Ok((id, schema)));
}

#[test]
fn five_rows_of_an_eight_gpu_node_stay_small() {
    // 200 series of 5 rows, one batch each 5 s. Peers need 3 to 9 bytes a sample.
    let schema = schema(200);
    let (id, _) = codec::encode_schema(&schema).expect("encodes");
    let walk = |column: i64| (0..5).map(|row| Some(column * 9_000_000 + row * 687_123)).collect();
    let matrix = matrix_of((0..200).map(walk).collect());
    let body = codec::encode_batch(&batch(id, vec![matrix])).expect("encodes");
    assert!(body.len() < 3_000, "{} bytes for 1,000 samples", body.len());
}
