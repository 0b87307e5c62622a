//! The standard load for bijli: schemas and batches, made before anything is timed.

use bijli_wire::batch::{Group, Register, Series, Subject};
use bijli_wire::{
    Batch, BatchSeq, HubId, Matrix, Method, Millis, Milliwatts, NodeId, Quantity, Schema, SchemaId,
    SpoolEpoch, SubjectId, SubjectKind, UtcMillis, codec,
};

use super::telemetry::{GPU_COLUMNS, GPUS, HOST_COLUMNS, NodeSensors, SERIES};

/// Rows of a batch, one a second.
pub(crate) const ROWS: usize = 5;
/// Samples of a batch.
pub(crate) const BATCH_SAMPLES: usize = ROWS * SERIES;
/// A hub of this many nodes.
pub(crate) const NODES: usize = 1_000;
pub(crate) const HUB: &str = "bench";

/// What one node will send.
#[derive(Debug)]
pub(crate) struct NodeLoad {
    pub(crate) schema_id: SchemaId,
    pub(crate) schema: Vec<u8>,
    /// In sequence order.
    pub(crate) bodies: Vec<Vec<u8>>,
}

pub(crate) fn node_name(node: usize) -> String {
    format!("gpu-node-{node:04}")
}

/// So many batches of one node, the first of them at `start`.
pub(crate) fn node_load(node: usize, batches: usize, start: UtcMillis) -> NodeLoad {
    let order = order();
    let schema = schema(node, &order);
    let (schema_id, body) = codec::encode_schema(&schema).expect("a valid schema");
    let mut sensors = NodeSensors::new(node);
    let mut at = start;
    let mut sequence = BatchSeq::FIRST;
    let mut bodies = Vec::with_capacity(batches);
    for _ in 0..batches {
        let matrix = rows(&mut sensors, &mut at, &order);
        let batch = Batch {
            hub: schema.hub.clone(),
            node: schema.node.clone(),
            epoch: epoch(node),
            sequence,
            schema: schema_id,
            created: at,
            uptime: None,
            matrices: vec![matrix],
            events: Vec::new(),
            holds: Vec::new(),
        };
        bodies.push(codec::encode_batch(&batch).expect("a valid batch"));
        sequence = sequence.next();
    }
    NodeLoad { schema_id, schema: body, bodies }
}

/// Sixteen bytes that look as random as true ones.
fn epoch(node: usize) -> SpoolEpoch {
    let hash = codec::hash(&node.to_le_bytes());
    SpoolEpoch::from_slice(&hash.as_bytes()[..16]).expect("sixteen bytes")
}

/// The columns in the order of the wire: like by like, as agents lay them out.
fn order() -> Vec<(usize, Series)> {
    let of = |subject, (quantity, part): &(Quantity, u32)| Series::new(subject, *quantity, *part);
    let gpu = |gpu| GPU_COLUMNS.iter().map(move |column| of(gpu, column));
    let mut series: Vec<Series> = (0..GPUS).flat_map(gpu).collect();
    for (quantity, parts) in HOST_COLUMNS {
        series.extend((0..parts).map(|part| Series::new(GPUS, quantity, part)));
    }
    assert_eq!(series.len(), SERIES, "the columns are those of the sensors");
    let mut order: Vec<(usize, Series)> = series.into_iter().enumerate().collect();
    order.sort_by_key(|(_, series)| (series.quantity_number, series.part, series.subject));
    order
}

fn rows(sensors: &mut NodeSensors, at: &mut UtcMillis, order: &[(usize, Series)]) -> Matrix {
    let mut times = Vec::with_capacity(ROWS);
    let mut columns = vec![Vec::new(); SERIES];
    for _ in 0..ROWS {
        sensors.step();
        *at = at.plus(Millis::new(1_000)).expect("a time of today");
        times.push(*at);
        let values: Vec<i64> = sensors.values().collect();
        for (column, (sensor, _)) in columns.iter_mut().zip(order) {
            column.push(values.get(*sensor).copied());
        }
    }
    Matrix { group: 0, times, columns }
}

fn schema(node: usize, order: &[(usize, Series)]) -> Schema {
    let name = node_name(node);
    let mut subjects: Vec<Subject> = (0..GPUS).map(|gpu| gpu_subject(&name, gpu)).collect();
    subjects.push(subject(&name, SubjectKind::Node, "node", None));
    let series = order.iter().map(|(_, series)| *series).collect();
    Schema {
        hub: HubId::new(HUB).expect("a valid id"),
        node: NodeId::new(&name).expect("a valid id"),
        agent: "bijli-bench".to_owned(),
        subjects,
        groups: vec![Group { cadence: Millis::new(1_000), series }],
    }
}

fn gpu_subject(node: &str, gpu: usize) -> Subject {
    let register = Register {
        numerator: 1,
        denominator: 1,
        modulus: None,
        power_max: Milliwatts::new(1_000_000),
        epoch: 1,
        method: Method::Hardware,
        gap: Millis::new(15_000),
    };
    let id = format!("GPU-5a1e-{node}-{gpu}");
    subject(&id, SubjectKind::Gpu, &gpu.to_string(), Some(register))
}

fn subject(id: &str, kind: SubjectKind, label: &str, register: Option<Register>) -> Subject {
    Subject {
        id: SubjectId::new(id).expect("a valid id"),
        kind,
        label: label.to_owned(),
        model: String::new(),
        serial: String::new(),
        register,
    }
}
