//! What a schema leads to: for each group, which columns make one line, and what stands before
//! their values.
//!
//! One line has the values of one subject (and one part of it, e.g. a phase) of one row. The
//! measurement is the subject's kind, a field the quantity with its unit as the catalogue has it:
//! `bijli_gpu,hub=isb,node=n1,subject=GPU-5b1c energy_millijoules=81000i`, and so on.

use bijli_wire::batch::{Register, Subject};
use bijli_wire::message::SubjectKind;
use bijli_wire::{Batch, Quantity, Schema, Table, UtcMillis};

use super::line;

/// A schema, ready to write lines of its batches.
#[derive(Debug)]
pub(super) struct Shape {
    /// By group.
    groups: Vec<Vec<Line>>,
}

/// One line of each row.
#[derive(Debug)]
struct Line {
    head: String,
    fields: Vec<Field>,
}

#[derive(Debug)]
struct Field {
    column: usize,
    name: String,
    /// Counts become millijoules by it.
    register: Option<Register>,
}

impl Shape {
    pub(super) fn new(schema: &Schema) -> Self {
        let groups = schema.groups.iter().map(|group| {
            let mut lines: Vec<((usize, u32), Line)> = Vec::new();
            for (column, series) in group.series.iter().enumerate() {
                let (Some(quantity), Some(subject)) =
                    (series.quantity, schema.subjects.get(series.subject))
                else {
                    continue;
                };
                let key = (series.subject, series.part);
                let at = lines.iter().position(|(other, _)| *other == key).unwrap_or_else(|| {
                    let head = head(schema, subject, series.part);
                    lines.push((key, Line { head, fields: Vec::new() }));
                    lines.len() - 1
                });
                let field = field(column, quantity, subject);
                if let (Some((_, line)), Some(field)) = (lines.get_mut(at), field) {
                    line.fields.push(field);
                }
            }
            lines.into_iter().map(|(_, line)| line).collect()
        });
        Self { groups: groups.collect() }
    }

    /// Appends the lines of a batch; returns how many values they have.
    pub(super) fn write(&self, batch: &Batch<Table>, out: &mut String) -> usize {
        let mut values = 0;
        for table in &batch.matrices {
            let lines = self.groups.get(table.group).map_or(&[][..], Vec::as_slice);
            let columns: Vec<Vec<Option<i64>>> =
                table.columns().map(|column| column.iter().collect()).collect();
            for (row, at) in table.times.iter().enumerate() {
                values += write_row(lines, &columns, row, *at, out);
            }
        }
        values
    }
}

fn write_row(
    lines: &[Line],
    columns: &[Vec<Option<i64>>],
    row: usize,
    at: UtcMillis,
    out: &mut String,
) -> usize {
    let mut values = 0;
    for Line { head, fields } in lines {
        let present = fields.iter().filter_map(|field| {
            let read = columns.get(field.column)?.get(row).copied().flatten()?;
            Some((field.name.as_str(), field.value(read)?))
        });
        values += line::push_line(out, head, present, at.get());
    }
    values
}

impl Field {
    /// `None`: more than line protocol's integers hold.
    fn value(&self, read: i64) -> Option<i64> {
        match &self.register {
            Some(register) => millijoules(read, register),
            None => Some(read),
        }
    }
}

/// A count in millijoules, cut; `None`: more than an integer here holds.
pub(super) fn millijoules(count: i64, register: &Register) -> Option<i64> {
    let Register { numerator, denominator, .. } = *register;
    let scaled = u128::try_from(count).ok()?.checked_mul(numerator.into())?;
    i64::try_from(scaled.checked_div(denominator.into())?).ok()
}

fn head(schema: &Schema, subject: &Subject, part: u32) -> String {
    let kind = match subject.kind {
        SubjectKind::Node => "node",
        SubjectKind::Gpu => "gpu",
        SubjectKind::CpuPackage => "cpu",
        SubjectKind::Dram => "dram",
        SubjectKind::Meter => "meter",
        SubjectKind::Unspecified => "other",
    };
    let mut head = format!("bijli_{kind}");
    let part = if part == 0 { String::new() } else { part.to_string() };
    let tags = [
        ("hub", schema.hub.as_str()),
        ("label", &subject.label),
        ("model", &subject.model),
        ("node", schema.node.as_str()),
        ("part", &part),
        ("subject", subject.id.as_str()),
    ];
    for (name, value) in tags {
        let _is_there = line::push_tag(&mut head, name, value);
    }
    head
}

/// `None`: a register whose subject has no scale says nothing.
fn field(column: usize, quantity: Quantity, subject: &Subject) -> Option<Field> {
    if quantity == Quantity::EnergyRegister {
        let register = Some(subject.register?);
        return Some(Field { column, name: "energy_millijoules".to_owned(), register });
    }
    let spec = quantity.spec();
    let unit = unit(spec.unit);
    let has_unit = unit.is_empty() || spec.name.ends_with(unit);
    let name = if has_unit { spec.name.to_owned() } else { format!("{}_{unit}", spec.name) };
    Some(Field { column, name, register: None })
}

/// A unit of the catalogue as part of a name; empty where the name says enough.
fn unit(symbol: &str) -> &str {
    match symbol {
        "mW" => "milliwatts",
        "mJ" => "millijoules",
        "m°C" => "millicelsius",
        "ppm" => "ppm",
        "byte" => "bytes",
        "Hz" => "hertz",
        "mHz" => "millihertz",
        "mV" => "millivolts",
        "mA" => "milliamperes",
        "mL/s" => "milliliters_per_second",
        "Pa" => "pascals",
        "ns" => "nanoseconds",
        "us" => "microseconds",
        "s" => "seconds",
        "count" | "number" | "bits" | "0/1" | "rows" | "banks" | "lanes" | "links" | "lines" => "",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use bijli_wire::series::CATALOGUE;

    use super::*;

    #[test]
    fn every_unit_of_the_catalogue_makes_a_name() {
        for spec in CATALOGUE {
            let unit = unit(spec.unit);
            let is_plain = unit.chars().all(|c| c.is_ascii_lowercase() || c == '_');
            assert!(is_plain, "{}: {unit:?} has no words here", spec.name);
        }
    }
}
