//! The rows of one group in one piece: what a reader of very many batches wants.
//!
//! A [`Matrix`] has a vector for each column, which is handy to build; at a collector they would be
//! two hundred small allocations a batch, made by one thread and freed by another. A [`Table`] says
//! the same with two.
//!
//! # Invariants
//! - Every column has as many values as there are times.

use crate::batch::{Batch, Matrix};
use crate::units::UtcMillis;

/// Rows of one group, column by column.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    pub group: usize,
    pub times: Vec<UtcMillis>,
    columns: usize,
    /// Column after column; what a missing value's place holds says nothing.
    values: Vec<i64>,
    /// As long as `values`, or empty: nothing is missing.
    missing: Vec<bool>,
}

/// One column of a table.
#[derive(Clone, Copy, Debug)]
pub struct Column<'a> {
    values: &'a [i64],
    /// As long, or empty.
    missing: &'a [bool],
}

impl Table {
    /// Without columns yet, and room for so many values.
    pub(crate) fn new(group: usize, times: Vec<UtcMillis>, values: usize) -> Self {
        let values = Vec::with_capacity(values);
        Self { group, times, columns: 0, values, missing: Vec::new() }
    }

    /// Adds a column; `None` if the filler finds not exactly one value a row.
    pub(crate) fn push_column(
        &mut self,
        has_missing: bool,
        mut next: impl FnMut(usize) -> Option<Option<i64>>,
    ) -> Option<()> {
        if has_missing && self.missing.is_empty() {
            self.missing.resize(self.values.len(), false);
        }
        let has_marks = has_missing || !self.missing.is_empty();
        for row in 0..self.times.len() {
            let value = next(row)?;
            self.values.push(value.unwrap_or(0));
            if has_marks {
                self.missing.push(value.is_none());
            }
        }
        self.columns = self.columns.saturating_add(1);
        Some(())
    }

    /// In the schema's order.
    pub fn columns(&self) -> impl Iterator<Item = Column<'_>> {
        let rows = self.times.len();
        (0..self.columns).map(move |index| {
            let range = index * rows..(index + 1) * rows;
            Column {
                values: self.values.get(range.clone()).unwrap_or_default(),
                missing: self.missing.get(range).unwrap_or_default(),
            }
        })
    }

    /// How many values it has, missing ones not counted.
    #[must_use]
    pub fn readings(&self) -> usize {
        let missing = self.missing.iter().filter(|is_missing| **is_missing).count();
        self.values.len() - missing
    }

    /// The memory that it takes, nearly.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.values.capacity() * size_of::<i64>()
            + self.missing.capacity()
            + self.times.capacity() * size_of::<UtcMillis>()
    }
}

impl<'a> Column<'a> {
    /// One for each time; `None`: missing.
    pub fn iter(self) -> impl Iterator<Item = Option<i64>> + 'a {
        let missing = self.missing;
        let is_missing = move |row| missing.get(row).copied().unwrap_or(false);
        self.values.iter().enumerate().map(move |(row, value)| (!is_missing(row)).then_some(*value))
    }

    /// The value of the last row; `None`: missing, or there is no row.
    #[must_use]
    pub fn last(self) -> Option<i64> {
        let is_missing = self.missing.last().copied().unwrap_or(false);
        self.values.last().copied().filter(|_| !is_missing)
    }
}

impl From<&Matrix> for Table {
    fn from(matrix: &Matrix) -> Self {
        let values = matrix.times.len().saturating_mul(matrix.columns.len());
        let mut table = Self::new(matrix.group, matrix.times.clone(), values);
        for column in &matrix.columns {
            let has_missing = column.iter().any(Option::is_none);
            // A matrix in hand has columns as long as its times.
            let _whole = table.push_column(has_missing, |row| column.get(row).copied());
        }
        table
    }
}

impl From<&Table> for Matrix {
    fn from(table: &Table) -> Self {
        let columns = table.columns().map(|column| column.iter().collect());
        Self { group: table.group, times: table.times.clone(), columns: columns.collect() }
    }
}

impl Batch {
    /// The same with each group's rows in one piece.
    #[must_use]
    pub fn into_tables(self) -> Batch<Table> {
        convert(self)
    }
}

/// The same batch with its rows in another form.
pub(crate) fn convert<A, B: for<'a> From<&'a A>>(batch: Batch<A>) -> Batch<B> {
    Batch {
        hub: batch.hub,
        node: batch.node,
        epoch: batch.epoch,
        sequence: batch.sequence,
        schema: batch.schema,
        created: batch.created,
        uptime: batch.uptime,
        matrices: batch.matrices.iter().map(B::from).collect(),
        events: batch.events,
        holds: batch.holds,
    }
}

impl Batch<Table> {
    /// The latest time of any reading; `None` for a batch of events only.
    #[must_use]
    pub fn latest(&self) -> Option<UtcMillis> {
        self.matrices.iter().filter_map(|table| table.times.last().copied()).max()
    }

    /// The earliest time of any reading; `None` for a batch of events only.
    #[must_use]
    pub fn earliest(&self) -> Option<UtcMillis> {
        self.matrices.iter().filter_map(|table| table.times.first().copied()).min()
    }

    /// How many values it carries, missing ones not counted.
    #[must_use]
    pub fn readings(&self) -> usize {
        self.matrices.iter().map(Table::readings).sum()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_table_says_what_its_matrix_says(
            rows in 0_usize..6,
            cells in proptest::collection::vec(proptest::option::weighted(0.9, any::<i64>()), 30),
        ) {
            let columns: Vec<_> = cells.chunks(6).map(|cells| cells[..rows].to_vec()).collect();
            let times = (0_i64..6).take(rows).map(UtcMillis::new).collect();
            let matrix = Matrix { group: 3, times, columns };
            let table = Table::from(&matrix);
            prop_assert_eq!(&Matrix::from(&table), &matrix);
            let all = || matrix.columns.iter().flatten();
            prop_assert_eq!(table.readings(), all().flatten().count());
            for (column, values) in table.columns().zip(&matrix.columns) {
                prop_assert_eq!(column.last(), values.last().copied().flatten());
            }
        }
    }
}
