//! A table of a report: the same cells as JSON, as CSV and on the page.
//!
//! # Invariants
//! - A number is written once, here; no other file computes what a table shows.
//! - In CSV and JSON an energy is its exact millijoules; the page rounds, and keeps the exact
//!   number beside it.

use bijli_wire::UtcMillis;
use serde_json::{Map, Value};

use crate::answers::csv;
use crate::calendar::rfc3339;

/// One cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cell {
    /// Nothing is known; never a zero.
    Missing,
    Text(String),
    /// A word of this program, never a stranger's.
    Word(&'static str),
    Count(u64),
    Energy(u128),
    Difference(i128),
    Time(UtcMillis),
    Flag(bool),
}

/// One column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name in files.
    pub key: &'static str,
    /// On the page; `None`: it is in files only.
    pub title: Option<&'static str>,
}

/// A table. Its name is that of its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    pub name: &'static str,
    pub columns: Vec<Column>,
    pub rows: Vec<Vec<Cell>>,
}

impl Cell {
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    pub(super) fn some(text: &Option<impl ToString>) -> Self {
        text.as_ref().map_or(Self::Missing, |text| Self::Text(text.to_string()))
    }

    pub(super) fn energy(amount: Option<u128>) -> Self {
        amount.map_or(Self::Missing, Self::Energy)
    }

    /// As it stands in a file.
    #[must_use]
    pub fn plain(&self) -> String {
        match self {
            Self::Missing => String::new(),
            Self::Text(text) => text.clone(),
            Self::Word(word) => (*word).to_owned(),
            Self::Count(count) => count.to_string(),
            Self::Energy(amount) => amount.to_string(),
            Self::Difference(amount) => amount.to_string(),
            Self::Time(at) => rfc3339(*at),
            Self::Flag(flag) => flag.to_string(),
        }
    }

    /// Counts and flags as JSON has them; energies as strings, for they may pass 2^53.
    fn json(&self) -> Value {
        match self {
            Self::Missing => Value::Null,
            Self::Count(count) => Value::from(*count),
            Self::Flag(flag) => Value::from(*flag),
            Self::Text(_)
            | Self::Word(_)
            | Self::Energy(_)
            | Self::Difference(_)
            | Self::Time(_) => Value::from(self.plain()),
        }
    }

    /// The cell of a CSV file. A number below zero is no formula.
    fn csv(&self) -> String {
        match self {
            Self::Text(text) => csv::cell(text),
            Self::Word(word) => csv::cell(word),
            Self::Missing
            | Self::Count(_)
            | Self::Energy(_)
            | Self::Difference(_)
            | Self::Time(_)
            | Self::Flag(_) => self.plain(),
        }
    }
}

impl Table {
    pub(super) fn new(
        name: &'static str,
        columns: &[(&'static str, &'static str)],
        rows: Vec<Vec<Cell>>,
    ) -> Self {
        let column = |(key, title): &(&'static str, &'static str)| Column {
            key,
            title: (!title.is_empty()).then_some(*title),
        };
        let columns: Vec<Column> = columns.iter().map(column).collect();
        debug_assert!(rows.iter().all(|row| row.len() == columns.len()), "{name}");
        Self { name, columns, rows }
    }

    /// A list of objects.
    #[must_use]
    pub fn json(&self) -> Value {
        let keys = || self.columns.iter().map(|column| column.key.to_owned());
        let row = |row: &Vec<Cell>| -> Value {
            Value::Object(keys().zip(row.iter().map(Cell::json)).collect::<Map<_, _>>())
        };
        self.rows.iter().map(row).collect()
    }

    /// RFC 4180 with a line of names, in UTF-8.
    #[must_use]
    pub fn csv(&self) -> String {
        let mut text = csv::line(self.columns.iter().map(|column| column.key));
        for row in &self.rows {
            text += &row.iter().map(Cell::csv).collect::<Vec<_>>().join(",");
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strangers_text_is_tamed_and_a_number_is_not() {
        let row = vec![
            Cell::text("=HYPERLINK(\"http://x\")"),
            Cell::Difference(-5),
            Cell::Energy(u128::from(u64::MAX)),
            Cell::Missing,
            Cell::Count(7),
        ];
        let columns = [("a", "A"), ("b_mj", ""), ("c_mj", ""), ("d", ""), ("e", "")];
        let table = Table::new("t", &columns, vec![row]);
        let line = "\"'=HYPERLINK(\"\"http://x\"\")\",-5,18446744073709551615,,7";
        assert_eq!(table.csv(), format!("a,b_mj,c_mj,d,e\n{line}\n"));
        let json = table.json();
        let row = &json[0];
        assert_eq!((&row["b_mj"], &row["c_mj"]), (&"-5".into(), &"18446744073709551615".into()));
        assert_eq!((&row["d"], &row["e"]), (&Value::Null, &7.into()));
        assert_eq!(row["a"], "=HYPERLINK(\"http://x\")");
    }
}
