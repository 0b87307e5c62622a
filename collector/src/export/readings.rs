//! From one reading, as it is journalled, to the metric of the table that it is: what remote write
//! sends, each with its own time. The same tables that `/metrics/fleet` is written from.
//!
//! What the books make of registers is not here: it is corrected later, and a point cannot say so.
//! A register is sent as it was read, under names of its own ([`REGISTERS`]).

use bijli_wire::batch::Subject;
use bijli_wire::{Quantity, Schema, SubjectKind};

use super::catalogue as c;
use super::catalogue::{Metric, Type};
use super::text::{self, Unit, Value};
use super::{gpus, meters, write};

macro_rules! register {
    ($name:literal [$($label:literal)*]) => {
        Metric {
            name: $name,
            kind: Type::Counter,
            unit: "J",
            labels: &[$($label),*],
            help: "The register as it was read; begins anew when the register does.",
        }
    };
}

/// Registers as they were read.
pub(crate) const REGISTERS: [Metric; 4] = [
    register!("bijli_node_register_joules_total" ["hub" "node" "source"]),
    register!("bijli_cpu_register_joules_total" ["hub" "node" "package" "domain"]),
    register!("bijli_gpu_register_joules_total" ["hub" "node" "gpu"]),
    register!("bijli_meter_register_joules_total" ["hub" "meter"]),
];

/// How a number of the journal becomes one of the metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    AsIs(Unit),
    /// A count of the subject's register, whose scale is the schema's.
    Register,
}

impl Told {
    /// Of a register, `number` is in millijoules already.
    pub(crate) fn text(self, number: i64, out: &mut String) {
        let value = match self {
            Self::AsIs(unit) => unit.value(number),
            Self::Register => Value::Milli(i128::from(number)),
        };
        text::number(out, value);
    }
}

/// `name{labels}` of a series, and how its numbers are told; `None`: the table has no metric of it.
pub(crate) fn head(
    schema: &Schema,
    subject: &Subject,
    quantity: Quantity,
    part: u32,
) -> Option<(String, Told)> {
    let (metric, word, told) = metric(subject.kind, quantity)?;
    let part = if part == 0 { String::new() } else { part.to_string() };
    let (hub, node) = (schema.hub.as_str(), schema.node.as_str());
    let place = match subject.kind {
        SubjectKind::Gpu if subject.label.is_empty() => subject.id.as_str(),
        SubjectKind::Gpu => &subject.label,
        SubjectKind::CpuPackage | SubjectKind::Dram => place(node, subject.id.as_str()),
        SubjectKind::Meter => subject.id.as_str(),
        SubjectKind::Node | SubjectKind::Unspecified => "",
    };
    let word = word.unwrap_or(&part);
    let labels: Vec<&str> = metric
        .labels
        .iter()
        .map(|label| match *label {
            "hub" => hub,
            "node" => node,
            "gpu" | "package" | "meter" => place,
            // The one closed label of the row.
            _ => word,
        })
        .collect();
    let mut head = String::new();
    text::head(&mut head, &metric, &labels);
    Some((head, told))
}

/// `0` of `isb-n01/cpu0`.
fn place<'a>(node: &str, id: &'a str) -> &'a str {
    let own = id.strip_prefix(node).map_or(id, |rest| rest.trim_start_matches('/'));
    own.trim_start_matches(|c: char| c.is_ascii_alphabetic())
}

fn metric(kind: SubjectKind, quantity: Quantity) -> Option<(Metric, Option<&'static str>, Told)> {
    let as_is = |metric, word, unit| (metric, word, Told::AsIs(unit));
    if quantity == Quantity::EnergyRegister {
        let [node, cpu, gpu, meter] = REGISTERS;
        return match kind {
            SubjectKind::Node => Some((node, Some("input"), Told::Register)),
            SubjectKind::CpuPackage => Some((cpu, Some("package"), Told::Register)),
            SubjectKind::Dram => Some((cpu, Some("dram"), Told::Register)),
            SubjectKind::Gpu => Some((gpu, None, Told::Register)),
            SubjectKind::Meter => Some((meter, None, Told::Register)),
            SubjectKind::Unspecified => None,
        };
    }
    if matches!(quantity, Quantity::PowerInstant | Quantity::PowerAverage) {
        return match kind {
            SubjectKind::Gpu => Some(as_is(c::GPU_POWER, None, Unit::Milli)),
            SubjectKind::Meter => Some(as_is(c::METER_POWER, None, Unit::Milli)),
            SubjectKind::Node => Some(as_is(c::NODE_POWER, Some("input"), Unit::Milli)),
            SubjectKind::CpuPackage | SubjectKind::Dram | SubjectKind::Unspecified => None,
        };
    }
    let plain = |values: &'static [(Metric, Quantity, Unit)]| {
        let found = values.iter().find(|(_, of, _)| *of == quantity);
        found.map(|(metric, _, unit)| as_is(*metric, None, *unit))
    };
    match kind {
        SubjectKind::Gpu => {
            let found = gpus::VALUES.iter().find(|(_, _, of, _)| *of == quantity);
            found.map(|(metric, word, _, unit)| as_is(*metric, *word, *unit))
        }
        SubjectKind::Meter => plain(meters::VALUES).or_else(|| {
            let found = meters::PHASES.iter().find(|(_, of)| *of == quantity);
            found.map(|(metric, _)| as_is(*metric, None, Unit::Milli))
        }),
        SubjectKind::Node => plain(write::NODE_VALUES),
        SubjectKind::CpuPackage | SubjectKind::Dram | SubjectKind::Unspecified => None,
    }
}
