//! The standard load in other people's formats: Prometheus remote write and Influx lines.

use std::fmt::Write as _;

use super::load::{NODES, ROWS, node_name};
use super::telemetry::{GPU_COLUMNS, GPUS, HOST_COLUMNS, NodeSensors, SERIES};

/// Bodies of some nodes, round after round, five rows each, from a time on.
pub(crate) type Encode = fn(&[usize], usize, i64) -> Vec<Vec<u8>>;

/// The values of five seconds: by row, then series.
type Rows = Vec<Vec<i64>>;

fn bodies(
    nodes: &[usize],
    rounds: usize,
    start_ms: i64,
    encode: impl Fn(usize, i64, &Rows) -> Vec<u8>,
) -> Vec<Vec<u8>> {
    assert!(nodes.iter().all(|node| *node < NODES));
    let mut sensors: Vec<NodeSensors> = nodes.iter().map(|node| NodeSensors::new(*node)).collect();
    let mut bodies = Vec::with_capacity(nodes.len() * rounds);
    for round in 0..rounds {
        let step_ms = i64::try_from(round * ROWS * 1_000).expect("minutes");
        for (node, sensors) in nodes.iter().zip(&mut sensors) {
            let mut read = || {
                sensors.step();
                sensors.values().collect()
            };
            let rows: Rows = (0..ROWS).map(|_| read()).collect();
            bodies.push(encode(*node, start_ms + step_ms, &rows));
        }
    }
    bodies
}

fn row_ms(start_ms: i64, row: usize) -> i64 {
    start_ms + 1_000 * i64::try_from(row + 1).expect("few rows")
}

/// Every column: its metric's name, its GPU or none, its part.
fn columns() -> Vec<(&'static str, Option<usize>, u32)> {
    let gpu = |gpu| {
        let of = move |(quantity, part): &(bijli_wire::Quantity, u32)| {
            (quantity.spec().name, Some(gpu), *part)
        };
        GPU_COLUMNS.iter().map(of)
    };
    let host = HOST_COLUMNS
        .iter()
        .flat_map(|(quantity, parts)| (0..*parts).map(|part| (quantity.spec().name, None, part)));
    (0..GPUS).flat_map(gpu).chain(host).collect()
}

/// Lines with a field a series: one line for each GPU and one for the host, each second.
pub(crate) fn influx_lines(nodes: &[usize], rounds: usize, start_ms: i64) -> Vec<Vec<u8>> {
    let columns = columns();
    bodies(nodes, rounds, start_ms, |node, start_ms, rows| {
        let mut text = String::with_capacity(SERIES * ROWS * 30);
        for (row, values) in rows.iter().enumerate() {
            let mut subject = None;
            for ((name, gpu, part), value) in columns.iter().zip(values) {
                let is_new = subject.replace(*gpu) != Some(*gpu);
                if is_new && text.ends_with('i') {
                    end_line(&mut text, start_ms, row);
                }
                let node = node_name(node);
                let written = match gpu {
                    _ if !is_new => write!(text, ","),
                    Some(gpu) => write!(text, "gpu,node={node},gpu={gpu} "),
                    None => write!(text, "host,node={node} "),
                };
                written.and_then(|()| write!(text, "{name}_{part}={value}i")).expect("to memory");
            }
            end_line(&mut text, start_ms, row);
        }
        text.into_bytes()
    })
}

fn end_line(text: &mut String, start_ms: i64, row: usize) {
    writeln!(text, " {}000000", row_ms(start_ms, row)).expect("to memory");
}

/// `prometheus.WriteRequest` in a snappy block.
pub(crate) fn remote_write(nodes: &[usize], rounds: usize, start_ms: i64) -> Vec<Vec<u8>> {
    let columns = columns();
    bodies(nodes, rounds, start_ms, |node, start_ms, rows| {
        let mut request = Vec::with_capacity(SERIES * 200);
        for (index, (name, gpu, part)) in columns.iter().enumerate() {
            let mut series = Vec::with_capacity(200);
            label(&mut series, "__name__", name);
            if let Some(gpu) = gpu {
                label(&mut series, "gpu", &gpu.to_string());
            }
            label(&mut series, "node", &node_name(node));
            label(&mut series, "part", &part.to_string());
            for (row, values) in rows.iter().enumerate() {
                sample(&mut series, values[index], row_ms(start_ms, row));
            }
            field(&mut request, 1, &series);
        }
        snap::raw::Encoder::new().compress_vec(&request).expect("a small message")
    })
}

pub(crate) fn label(series: &mut Vec<u8>, name: &str, value: &str) {
    let mut label = Vec::with_capacity(64);
    field(&mut label, 1, name.as_bytes());
    field(&mut label, 2, value.as_bytes());
    field(series, 1, &label);
}

#[expect(clippy::cast_precision_loss, reason = "it is what remote write carries")]
pub(crate) fn sample(series: &mut Vec<u8>, value: i64, at_ms: i64) {
    let mut sample = vec![1 << 3 | 1];
    sample.extend_from_slice(&(value as f64).to_le_bytes());
    sample.push(2 << 3);
    varint(&mut sample, u64::try_from(at_ms).expect("after 1970"));
    field(series, 2, &sample);
}

pub(crate) fn field(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    out.push(number << 3 | 2);
    varint(out, u64::try_from(bytes.len()).expect("64 bits"));
    out.extend_from_slice(bytes);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}
