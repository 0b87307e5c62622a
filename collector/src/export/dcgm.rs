//! `/metrics/dcgm`: GPUs under the names and labels of NVIDIA's dcgm-exporter, so that dashboards
//! and rules which exist go on when bijli reads the GPUs.
//!
//! # Invariants
//! - One table from a series of the wire to a DCGM field; nothing else is written here.
//! - Only readings that exist: a field that NVML's readings do not give exactly (FB_FREE, which
//!   leaves out what the driver reserves, and the profiling fields) is not made up.
//! - `instance` is the node, which a scrape keeps by `honor_labels: true`; pages choose by it.

use bijli_wire::Quantity;

use super::catalogue::{Metric, Type};
use super::gpus::each_listed;
use super::scene::Scene;
use super::text::{Text, Value};
use super::write::booked;
use crate::api::fleet::{Node, Subject};

const LABELS: &[&str] = &["gpu", "UUID", "device", "modelName", "Hostname", "instance", "hub"];

/// How a reading becomes a field's value.
#[derive(Clone, Copy, Debug)]
enum Source {
    /// Hz to MHz.
    Hertz(Quantity),
    /// Thousandths of the field's unit.
    Milli(Quantity),
    /// Parts per million to percent.
    Ppm(Quantity),
    /// Bytes to MiB, cut.
    Bytes(Quantity),
    Whole(Quantity),
    /// What the books have of the register, in millijoules.
    Booked,
    Power,
    LastXid,
}

macro_rules! fields {
    ($($name:literal $kind:ident $unit:literal $from:expr, $help:literal)*) => {
        const FIELDS: &[(Metric, Source)] = &[$((
            Metric {
                name: concat!("DCGM_FI_DEV_", $name),
                kind: Type::$kind,
                unit: $unit,
                labels: LABELS,
                help: $help,
            },
            $from,
        )),*];
    };
}

fields! {
    "SM_CLOCK" Gauge "MHz" Source::Hertz(Quantity::ClockSm), "SM clock."
    "MEM_CLOCK" Gauge "MHz" Source::Hertz(Quantity::ClockMemory), "Memory clock."
    "MEMORY_TEMP" Gauge "°C" Source::Milli(Quantity::MemoryTemperature), "Memory temperature."
    "GPU_TEMP" Gauge "°C" Source::Milli(Quantity::Temperature), "Core temperature."
    "POWER_USAGE" Gauge "W" Source::Power, "Power, instantaneous where it tells, else its average."
    "POWER_MGMT_LIMIT" Gauge "W" Source::Milli(Quantity::PowerLimit), "Power limit in force."
    "TOTAL_ENERGY_CONSUMPTION" Counter "mJ" Source::Booked,
        "Energy booked of the register since the journal begins, over resets; not since the boot."
    "PCIE_REPLAY_COUNTER" Counter "replays" Source::Whole(Quantity::PcieReplays), "PCIe replays."
    "GPU_UTIL" Gauge "%" Source::Ppm(Quantity::GpuUtilization), "Busy share of the SMs."
    "MEM_COPY_UTIL" Gauge "%" Source::Ppm(Quantity::MemoryUtilization), "Busy share of the memory."
    "FB_USED" Gauge "MiB" Source::Bytes(Quantity::MemoryUsed), "Used memory."
    "FAN_SPEED" Gauge "%" Source::Ppm(Quantity::FanSpeed), "Speed of the fastest fan."
    "PSTATE" Gauge "number" Source::Whole(Quantity::PerformanceState), "Performance state."
    "XID_ERRORS" Gauge "number" Source::LastXid, "The last XID; no line for a GPU that had none."
    "ECC_SBE_VOL_TOTAL" Counter "errors" Source::Whole(Quantity::EccCorrectedNow),
        "Corrected memory errors since the driver was loaded."
    "ECC_DBE_VOL_TOTAL" Counter "errors" Source::Whole(Quantity::EccUncorrectedNow),
        "Uncorrected memory errors since the driver was loaded."
    "ECC_SBE_AGG_TOTAL" Counter "errors" Source::Whole(Quantity::EccCorrected),
        "Corrected memory errors of the board's life."
    "ECC_DBE_AGG_TOTAL" Counter "errors" Source::Whole(Quantity::EccUncorrected),
        "Uncorrected memory errors of the board's life."
    "CORRECTABLE_REMAPPED_ROWS" Counter "rows" Source::Whole(Quantity::RemappedCorrected),
        "Rows replaced after corrected errors."
    "UNCORRECTABLE_REMAPPED_ROWS" Counter "rows" Source::Whole(Quantity::RemappedUncorrected),
        "Rows replaced after uncorrected errors."
    "ROW_REMAP_FAILURE" Gauge "0 or 1" Source::Whole(Quantity::RemapFailed),
        "1: a row could not be replaced."
}

pub(super) fn write(text: &mut Text, scenes: &[Scene]) {
    for (metric, from) in FIELDS {
        each_listed(text, scenes, |text, [hub, node, index], scene, at, gpu| {
            if at.is_up {
                let device = format!("nvidia{index}");
                let (id, model) = (gpu.id.as_str(), gpu.model.as_str());
                let labels = [index, id, &device, model, node, node, hub];
                text.line_if(metric, &labels, value(*from, scene, at, (index, gpu)));
            }
        });
    }
}

fn value(
    from: Source,
    scene: &Scene,
    node: &Node,
    (index, gpu): (&str, &Subject),
) -> Option<Value> {
    let read = |quantity| gpu.fresh_signed(quantity, scene.now).map(i128::from);
    let count = |number: i128| u64::try_from(number).ok().map(Value::Count);
    match from {
        Source::Hertz(quantity) => read(quantity).map(Value::Micro),
        Source::Milli(quantity) => read(quantity).map(Value::Milli),
        Source::Ppm(quantity) => read(quantity).map(|ppm| Value::Milli(ppm / 10)),
        Source::Bytes(quantity) => read(quantity).and_then(|bytes| count(bytes >> 20)),
        Source::Whole(quantity) => read(quantity).and_then(count),
        Source::Booked => {
            booked(scene, node, gpu).and_then(|energy| count(energy.try_into().ok()?))
        }
        Source::Power => gpu.power(scene.now).map(|power| Value::Milli(power.into())),
        Source::LastXid => {
            let at_gpu = scene.counts.get(&node.id)?.xids.iter();
            let at_gpu = at_gpu.filter(|((gpu, _), _)| gpu == index);
            let known = at_gpu.filter_map(|((_, code), xid)| Some((xid.last, (*code)?)));
            known.max().map(|(_, code)| Value::Count(code.into()))
        }
    }
}

/// Its part of `docs/metrics.md`.
pub(super) fn document() -> String {
    let mut text = String::from(DOCUMENT_HEAD);
    for (Metric { name, kind, unit, help, .. }, _) in FIELDS {
        text.push_str(&format!("| `{name}` | {} | {unit} | {help} |\n", kind.word()));
    }
    text
}

const DOCUMENT_HEAD: &str = "
## As dcgm-exporter names them

`GET /metrics/dcgm` says the same of GPUs under the names of NVIDIA's dcgm-exporter, for dashboards
and rules that exist; labels gpu, UUID, device, modelName, Hostname, instance (the node) and hub.
Scrape it with `honor_labels: true`. Fields that are not exactly read are left out: FB_FREE, the
profiling fields (DCGM_FI_PROF_*), throttle times. This is the table of
`collector/src/export/dcgm.rs`.

| name | type | unit | meaning |
| --- | --- | --- | --- |
";
