//! `report.html`: the report for people, one file that needs no other. It prints on A4 and reads on
//! a telephone; the first page stands again in Urdu.
//!
//! # Invariants
//! - Every number is a cell of a table or a field of the statement; nothing is computed here but
//!   rounding and where a line is drawn.
//! - No script, and nothing is loaded from elsewhere. maud escapes every text of a stranger.

mod cells;
mod charts;
mod sections;
mod unit;
mod urdu;

use bijli_ledger::Month;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::document::Document;
use super::figures::Figures;
use super::table::Table;
use crate::diagram::Plan;
use crate::page::svg;
use unit::Unit;

/// Rules for screen and paper; part of this program, so it needs no escaping.
const STYLE: &str = include_str!("report.css");

/// What the page is made from.
pub(super) struct Report<'a> {
    pub(super) figures: &'a Figures,
    pub(super) plan: &'a Plan,
    pub(super) tables: &'a [Table],
    pub(super) document: &'a Document,
    /// Of `report.json`.
    pub(super) json_sha256: &'a str,
}

impl Report<'_> {
    fn table(&self, name: &str) -> &Table {
        let found = self.tables.iter().find(|table| table.name == name);
        found.expect("a table of this report")
    }

    fn unit(&self) -> Unit {
        Unit::of(self.figures.sums().supplied())
    }
}

/// The whole file.
pub(super) fn page(report: &Report<'_>) -> String {
    let figures = report.figures;
    let title = format!("Energy report, {}, {}", figures.title, figures.month);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="generator" content={ "bijli-collector " (env!("CARGO_PKG_VERSION")) };
                meta http-equiv="Content-Security-Policy"
                    content="default-src 'none'; style-src 'unsafe-inline'; img-src data:";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                a.skip href="#statement" { "Skip to the statement" }
                (masthead(report))
                nav.contents aria-labelledby="contents" {
                    h2 #contents { "Contents" }
                    ol {
                        @for section in &sections::ALL {
                            li { a href={ "#" (section.id) } { (section.title) } }
                        }
                        li { a lang="ur" dir="rtl" href="#urdu" { "خلاصہ اردو میں" } }
                    }
                }
                main {
                    @for (number, section) in (1..).zip(&sections::ALL) {
                        section id=(section.id) aria-labelledby={ "h-" (section.id) } {
                            h2 id={ "h-" (section.id) } {
                                span.number { (number) } " " (section.title)
                            }
                            ((section.body)(report))
                        }
                    }
                    (urdu::headline(report))
                }
                (footer(report))
            }
        }
    };
    page.into_string()
}

fn masthead(report: &Report<'_>) -> Markup {
    let Figures { title, month, hub, .. } = report.figures;
    let statement = &report.document.statement;
    html! {
        header.masthead {
            p.brand { b { "bijli" } " " span lang="ur" dir="rtl" { "بجلی" }
                span.kind { "Monthly energy report" } }
            h1 { bdi { (title) } }
            p.month { (month_words(*month)) " · hub " bdi { (hub) } " · days of UTC"
                (statement.utc_offset) }
            p class={ "status " (statement.status) } { (statement.status) }
        }
    }
}

fn footer(report: &Report<'_>) -> Markup {
    html! {
        footer {
            p { "The report is " code { "report.json" } "; this page shows it. SHA-256 of that file:" }
            p.hash { code { (report.json_sha256) } }
        }
    }
}

/// `July 2026`.
pub(super) fn month_words(month: Month) -> String {
    const NAMES: [&str; 12] = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    let place = usize::from(month.number()).saturating_sub(1);
    format!("{} {}", NAMES.get(place).copied().unwrap_or(""), month.year())
}

/// A tile with an energy, exact beside the rounded one.
fn tile(label: &str, amount: u128, share_of: Option<u128>, unit: Unit) -> Markup {
    html! {
        div.tile {
            dt { (label) }
            dd { data value=(amount) { (unit.show(amount)) }
                small { (unit.symbol)
                    @if let Some(whole) = share_of { " · " (svg::share(amount, whole)) } } }
        }
    }
}
