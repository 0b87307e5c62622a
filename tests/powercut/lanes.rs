//! Senders of the tests' own: four nodes, each with one GPU of known energy and noise beside it.

use bijli_wire::batch::Series;
use bijli_wire::{
    Batch, BatchSeq, Matrix, Quantity, Schema, SchemaId, SpoolEpoch, UtcMillis, codec,
};
use harness::rng::Rng;
use harness::schema::of_one_gpu;

pub const HUB: &str = "isb";
const LANES: u8 = 4;
const BATCHES: u64 = 10;
const ROWS: i64 = 10;
const STEP_MJ: i64 = 100_000;
/// Series without meaning, so that a batch spans sectors.
const NOISE: usize = 64;

/// A batch's name, and its bytes.
pub type Key = ([u8; 16], u64);

/// One node's course.
#[derive(Clone, Debug)]
pub struct Lane {
    pub gpu: String,
    pub schema: SchemaId,
    pub schema_body: Vec<u8>,
    pub batches: Vec<(Key, Vec<u8>)>,
    pub energy_mj: u128,
}

/// The lanes of a seed, from an hour ago on: their intervals close as soon as they are booked.
pub fn lanes(rng: &mut Rng, now_ms: i64) -> Vec<Lane> {
    (1..=LANES).map(|number| lane(number, rng, now_ms - 3_600_000)).collect()
}

fn schema(number: u8) -> Schema {
    let mut schema = of_one_gpu(HUB, &format!("n{number}"), &format!("GPU-{number}"));
    let noise = (0..NOISE)
        .map(|part| Series::new(0, Quantity::Temperature, u32::try_from(part).expect("few")));
    schema.groups[0].series.extend(noise);
    schema
}

fn lane(number: u8, rng: &mut Rng, begin_ms: i64) -> Lane {
    let schema = schema(number);
    let (id, schema_body) = codec::encode_schema(&schema).expect("encodes");
    let epoch = [number; 16];
    let batches = (1..=BATCHES).map(|sequence| {
        let before = (i64::try_from(sequence).expect("few") - 1) * ROWS;
        let rows = before..before + ROWS;
        let energy = rows.clone().map(|row| Some(row * STEP_MJ)).collect();
        let mut columns = vec![energy];
        columns.resize_with(NOISE + 1, || {
            rows.clone().map(|_| Some(i64::try_from(rng.below(90_000)).expect("small"))).collect()
        });
        let times = rows.map(|row| UtcMillis::new(begin_ms + row * 1_000)).collect();
        let batch = Batch {
            hub: schema.hub.clone(),
            node: schema.node.clone(),
            epoch: SpoolEpoch::new(epoch),
            sequence: BatchSeq::new(sequence).expect("from 1"),
            schema: id,
            created: UtcMillis::new(begin_ms),
            uptime: None,
            matrices: vec![Matrix { group: 0, times, columns }],
            events: Vec::new(),
            holds: Vec::new(),
        };
        ((epoch, sequence), codec::encode_batch(&batch).expect("encodes"))
    });
    let steps = u128::from(BATCHES) * u128::try_from(ROWS).expect("some") - 1;
    Lane {
        gpu: format!("GPU-{number}"),
        schema: id,
        schema_body,
        batches: batches.collect(),
        energy_mj: steps * u128::try_from(STEP_MJ).expect("some"),
    }
}
