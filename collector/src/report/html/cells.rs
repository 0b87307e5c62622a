//! A table on the page. An energy is rounded for the eye; the exact millijoules are its value, as
//! HTML's `data` has it, so that a program reads from the page what is in the files.

use maud::{Markup, html};

use super::unit::{Unit, grouped};
use crate::report::table::{Cell, Column, Table};

/// A longer text may be broken anywhere.
const LONG: usize = 20;

/// How a table stands on the page.
pub(super) struct Shown<'a> {
    pub(super) number: &'static str,
    pub(super) title: &'static str,
    pub(super) unit: Unit,
    /// Rows beyond it are in the file only.
    pub(super) rows_max: usize,
    /// Said where there are no rows.
    pub(super) none: &'a str,
}

pub(super) fn table(table: &Table, shown: &Shown<'_>) -> Markup {
    let label = format!("Table {}: {}", shown.number, shown.title);
    let file = format!("{}.csv", table.name);
    html! {
        @if table.rows.is_empty() {
            p.hint { (label) ". " (shown.none) }
        } @else {
            div.scroll role="region" aria-label=(label) tabindex="0" {
                table data-table=(table.name) {
                    caption { b { "Table " (shown.number) } " " (shown.title)
                        span.file { (file) } }
                    thead { tr { @for (place, column) in columns(table) {
                        th scope="col" class=[numeric(table, place)] { (head(table, column, place,
                            shown.unit)) }
                    } } }
                    tbody {
                        @for row in table.rows.iter().take(shown.rows_max) {
                            tr { @for (place, column) in columns(table) {
                                @if let Some(one) = row.get(place) {
                                    (cell(one, column, numeric(table, place), shown.unit))
                                }
                            } }
                        }
                    }
                }
            }
            @if table.rows.len() > shown.rows_max {
                p.hint { "and " (table.rows.len() - shown.rows_max) " more rows in " (file) }
            }
        }
    }
}

fn columns(table: &Table) -> impl Iterator<Item = (usize, &Column)> {
    table.columns.iter().enumerate().filter(|(_, column)| column.title.is_some())
}

fn first(table: &Table, place: usize) -> Option<&Cell> {
    let cells = table.rows.iter().filter_map(|row| row.get(place));
    cells.into_iter().find(|cell| **cell != Cell::Missing)
}

fn numeric(table: &Table, place: usize) -> Option<&'static str> {
    match first(table, place) {
        Some(Cell::Energy(_) | Cell::Difference(_) | Cell::Count(_)) => Some("n"),
        Some(Cell::Text(_) | Cell::Word(_) | Cell::Time(_) | Cell::Flag(_) | Cell::Missing)
        | None => None,
    }
}

/// Its exact amount is shown.
fn is_exact(column: &Column) -> bool {
    column.title.is_some_and(|title| title.ends_with("mJ"))
}

fn head(table: &Table, column: &Column, place: usize, unit: Unit) -> Markup {
    let is_energy = matches!(first(table, place), Some(Cell::Energy(_) | Cell::Difference(_)));
    html! {
        (column.title.unwrap_or(""))
        @if is_energy && !is_exact(column) { span.unit { " " (unit.symbol) } }
    }
}

fn cell(cell: &Cell, column: &Column, class: Option<&'static str>, unit: Unit) -> Markup {
    html! {
        td class=[class] data-key=(column.key) {
            @match cell {
                Cell::Missing => span.missing { "–" },
                Cell::Energy(amount) if is_exact(column) => {
                    data value=(amount) { (grouped(*amount)) }
                }
                Cell::Energy(amount) => data value=(amount) { (unit.show(*amount)) },
                Cell::Difference(amount) if is_exact(column) => {
                    data value=(amount) { (sign(*amount)) (grouped(amount.unsigned_abs())) }
                }
                Cell::Difference(amount) => {
                    data value=(amount) { (sign(*amount)) (unit.show(amount.unsigned_abs())) }
                }
                Cell::Count(count) => data value=(count) { (grouped((*count).into())) },
                Cell::Time(_) => time datetime=(cell.plain()) { (minute(&cell.plain())) },
                Cell::Flag(true) => span.yes { "yes" },
                Cell::Flag(false) => span.no { "no" },
                Cell::Text(text) => bdi.long[text.chars().count() > LONG] { (text) },
                Cell::Word(word) => (word),
            }
        }
    }
}

const fn sign(amount: i128) -> &'static str {
    if amount < 0 { "−" } else { "" }
}

/// `2026-07-01 04:00`; times on the page are UTC, and say so in the text around.
fn minute(text: &str) -> String {
    text.get(..16).unwrap_or(text).replace('T', " ")
}
