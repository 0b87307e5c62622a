//! What a schema leads to: for each column the metric and labels before its values.

use bijli_wire::batch::{Group, Register};
use bijli_wire::{Batch, Quantity, Schema, Table};

use super::super::shape::millijoules;
use crate::export::readings::{self, Told};

/// A schema, ready to write lines of its batches.
#[derive(Debug)]
pub(crate) struct Shape {
    /// By group.
    groups: Vec<Vec<Column>>,
}

#[derive(Debug)]
struct Column {
    index: usize,
    head: String,
    told: Told,
    register: Option<Register>,
}

impl Shape {
    pub(crate) fn new(schema: &Schema) -> Self {
        let groups = schema.groups.iter().map(|group| {
            let columns = (0..group.series.len()).filter_map(|index| column(schema, group, index));
            columns.collect()
        });
        Self { groups: groups.collect() }
    }

    /// Appends the lines of a batch; returns how many values they have.
    pub(crate) fn write(&self, batch: &Batch<Table>, out: &mut String) -> usize {
        let mut values = 0;
        for table in &batch.matrices {
            let columns = self.groups.get(table.group).map_or(&[][..], Vec::as_slice);
            let read: Vec<_> = table.columns().collect();
            for Column { index, head, told, register } in columns {
                let Some(column) = read.get(*index) else { continue };
                for (at, value) in table.times.iter().zip(column.iter()) {
                    let value = value.and_then(|read| match register {
                        Some(register) => millijoules(read, register),
                        None => Some(read),
                    });
                    let Some(value) = value else { continue };
                    out.push_str(head);
                    out.push(' ');
                    told.text(value, out);
                    out.push(' ');
                    out.push_str(&at.get().to_string());
                    out.push('\n');
                    values += 1;
                }
            }
        }
        values
    }
}

/// `None`: the table has no metric of it, or another column tells it better.
fn column(schema: &Schema, group: &Group, index: usize) -> Option<Column> {
    let series = group.series.get(index)?;
    let (quantity, subject) = (series.quantity?, schema.subjects.get(series.subject)?);
    // One metric has the power of a GPU: instantaneous where it tells, else its average.
    let tells_instant = || {
        let all = schema.groups.iter().flat_map(|group| &group.series);
        all.filter(|other| other.subject == series.subject)
            .any(|other| other.quantity == Some(Quantity::PowerInstant))
    };
    if quantity == Quantity::PowerAverage && tells_instant() {
        return None;
    }
    let (head, told) = readings::head(schema, subject, quantity, series.part)?;
    let register = match told {
        Told::Register => Some(subject.register?),
        Told::AsIs(_) => None,
    };
    Some(Column { index, head, told, register })
}
