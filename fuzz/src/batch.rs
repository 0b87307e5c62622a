//! The batch decoder: no panic, the quick reader says what prost's says, and what is read can be
//! written and read again.

use std::sync::LazyLock;

use bijli_wire::{Batch, BatchError, Schema, SchemaId, codec};

/// The golden schema: the golden batch is of it.
static SCHEMA: LazyLock<(SchemaId, Schema)> = LazyLock::new(|| {
    let plain = include_bytes!("../../tests/golden/wire/v1/schema.pb");
    let body = codec::compress(plain).expect("small");
    codec::decode_schema(&body).expect("golden")
});

/// The first byte says whether the rest is a body, or what is inside its frame.
pub fn check(data: &[u8]) {
    let Some((mode, rest)) = data.split_first() else { return };
    let is_plain = mode & 1 == 0;
    let framed = if is_plain { codec::compress(rest).ok() } else { None };
    let body = framed.as_deref().unwrap_or(rest);
    let (id, schema) = &*SCHEMA;
    let [quick, general] =
        [codec::open, codec::open_by_prost].map(|open| open(body)?.read(*id, schema));
    let both_zstd = |a: &BatchError, b: &BatchError| {
        matches!((a, b), (BatchError::Zstd { .. }, BatchError::Zstd { .. }))
    };
    match (&quick, &general) {
        (Err(_), Err(BatchError::Protobuf { .. })) => {}
        (Err(a), Err(b)) if both_zstd(a, b) => {}
        _ => assert_eq!(quick, general, "the two readers differ"),
    }
    if let Ok(batch) = general {
        again(&batch, *id, schema);
    }
    if let Ok((id, schema)) = codec::decode_schema(body) {
        let (_, written) = codec::encode_schema(&schema).expect("what was read can be written");
        let (read_id, read) = codec::decode_schema(&written).expect("what was written can be read");
        assert_eq!(read, schema, "schema {id} changed on its way, now {read_id}");
    }
}

fn again(batch: &Batch, id: SchemaId, schema: &Schema) {
    let written = codec::encode_batch(batch).expect("what was read can be written");
    let read = codec::open(&written).and_then(|opened| opened.read(id, schema));
    assert_eq!(read.as_ref(), Ok(batch), "a batch changed on its way");
}
