//! `report.json`: the report itself. Page and CSV files show what is in here.
//!
//! Its form is in `docs/formats/report.md`: energies are decimal strings of millijoules, counts and
//! indexes are numbers, times are RFC 3339 in UTC, and what is not known is null.

use std::collections::BTreeMap;

use bijli_ledger::RULE_VERSION;
use bijli_ledger::leaf::LEAF_VERSION;
use bijli_ledger::pue::{Relative, Term};
use serde::Serialize;
use serde_json::Value;

use super::cited::Cited;
use super::figures::{Figures, State, wide};
use super::instruments;
use super::table::Table;
use crate::api::pue::{PueFigure, WhyNot};
use crate::calendar::rfc3339;
use crate::diagram::Plan;

/// Raised with each change that a reader must know of.
pub const FORMAT: &str = "bijli-report/1";

#[derive(Debug, Serialize)]
pub(super) struct Document {
    format: &'static str,
    pub(super) statement: Statement,
    pue: Option<PueFigure>,
    no_pue: Option<WhyNot>,
    /// Relative standard uncertainty (k = 1) of both terms.
    budget: Option<Budget>,
    pub(super) methods: Methods,
    pub(super) not_part: Vec<NotPart>,
    pub(super) verification: Verification,
    tables: BTreeMap<&'static str, Value>,
}

/// The first page in numbers.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Statement {
    pub(super) hub: String,
    pub(super) title: String,
    pub(super) month: String,
    pub(super) from: String,
    pub(super) to: String,
    pub(super) utc_offset: String,
    /// The end of the last interval that the leaves close.
    pub(super) as_of: Option<String>,
    /// `provisional` or `settled`.
    pub(super) status: &'static str,
    pub(super) settled_until: Option<String>,
    pub(super) pue_shown: Option<String>,
    pub(super) supplied_mj: String,
    pub(super) used_mj: String,
    pub(super) it_mj: String,
    pub(super) cooling_mj: String,
    pub(super) losses_mj: String,
    pub(super) rest_mj: String,
    pub(super) interval_ms: u64,
    pub(super) intervals: Counts,
    pub(super) corrections: u64,
    pub(super) projects: u64,
    pub(super) nodes: u64,
    pub(super) checks_failed: u64,
}

/// Intervals by how they stand.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Counts {
    pub(super) expected: u64,
    pub(super) complete: u64,
    pub(super) incomplete: u64,
    pub(super) disputed: u64,
    pub(super) missing: u64,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Budget {
    pub(super) total: OfTerm,
    pub(super) it: OfTerm,
    pub(super) estimate_doubt_ppm: u32,
}

/// In parts per trillion.
#[derive(Clone, Debug, Serialize)]
pub(super) struct OfTerm {
    pub(super) independent_ppt: String,
    pub(super) correlated_ppt: String,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Methods {
    pub(super) program: &'static str,
    pub(super) version: &'static str,
    pub(super) leaf_version: u8,
    /// Of the derivation rules: those that the leaves name, and the program's own.
    pub(super) rule_versions: Vec<u32>,
    pub(super) rule_version_of_program: u32,
    pub(super) standard: Option<String>,
    /// The diagram as it was declared when the report was made, in its canonical text.
    pub(super) diagram: String,
}

/// What a reader may look for here, and why it is not there.
#[derive(Clone, Debug, Serialize)]
pub(super) struct NotPart {
    pub(super) what: &'static str,
    pub(super) why: &'static str,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Verification {
    /// So many leaves of the log were read, from index 0: the size of the tree that this rests on.
    pub(super) leaves: u64,
    /// The root hash of that tree, where a checkpoint gives it.
    pub(super) root_hash: Option<String>,
    /// Those of the month.
    pub(super) cited: Cited,
    /// First and last record of the journal that they follow from.
    pub(super) records: Option<(u64, u64)>,
}

const NOT_PART: [NotPart; 5] = [
    NotPart {
        what: "events: load shedding, generator tests, bypass, who was called",
        why: "the leaves keep energy and its doubts, not events; the command events has them",
    },
    NotPart {
        what: "emission factors, tariffs, water, heat reuse",
        why: "they rest on factors and meters beside the energy ledger",
    },
    NotPart {
        what: "heat balance, the utility's bill, frequency and power factor of meters",
        why: "the ledger has one energy per meter and interval, and no second opinion on it",
    },
    NotPart {
        what: "the cause of a correction",
        why: "a leaf names the journal's record that led to it; the fact is there",
    },
    NotPart {
        what: "installation and removal readings, firmware, photographs of meters",
        why: "they are not declared in the configuration",
    },
];

impl Document {
    pub(super) fn of(figures: &Figures, plan: &Plan, all: &[Table]) -> Self {
        let pue = figures.pue.as_ref();
        Self {
            format: FORMAT,
            statement: Statement::of(figures),
            pue: pue.ok().map(PueFigure::of),
            no_pue: pue.err().cloned(),
            budget: Budget::of(figures),
            methods: Methods {
                program: "bijli-collector",
                version: env!("CARGO_PKG_VERSION"),
                leaf_version: LEAF_VERSION,
                rule_versions: figures.rule_versions.clone(),
                rule_version_of_program: RULE_VERSION,
                standard: plan.pue_standard.clone(),
                diagram: plan.to_toml(),
            },
            not_part: NOT_PART.to_vec(),
            verification: Verification {
                leaves: figures.leaves,
                root_hash: None,
                cited: figures.cited.clone(),
                records: figures.records,
            },
            tables: all.iter().map(|table| (table.name, table.json())).collect(),
        }
    }

    /// The file. Equal documents are equal bytes.
    pub(super) fn json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("a report is JSON");
        text.push('\n');
        text
    }
}

impl Statement {
    fn of(figures: &Figures) -> Self {
        let sums = figures.sums();
        let [it, cooling, losses, rest] = sums.four();
        let failed = figures.checks.iter().filter(|check| !check.is_passed);
        Self {
            hub: figures.hub.to_string(),
            title: figures.title.clone(),
            month: figures.month.to_string(),
            from: rfc3339(figures.from),
            to: rfc3339(figures.to),
            utc_offset: figures.offset.to_string(),
            as_of: figures.as_of.map(rfc3339),
            status: figures.status(),
            settled_until: figures.settled_until.map(rfc3339),
            pue_shown: figures.pue.as_ref().ok().map(ToString::to_string),
            supplied_mj: sums.supplied().to_string(),
            used_mj: sums.used().to_string(),
            it_mj: it.to_string(),
            cooling_mj: cooling.to_string(),
            losses_mj: losses.to_string(),
            rest_mj: rest.to_string(),
            interval_ms: figures.interval.get(),
            intervals: Counts {
                expected: wide(figures.intervals.len()),
                complete: figures.count(State::Complete),
                incomplete: figures.count(State::Incomplete),
                disputed: figures.count(State::Disputed),
                missing: figures.count(State::Missing),
            },
            corrections: wide(figures.corrections().count()),
            projects: wide(figures.projects.len()),
            nodes: wide(figures.nodes),
            checks_failed: wide(failed.count()),
        }
    }
}

impl Budget {
    pub(super) fn of(figures: &Figures) -> Option<Self> {
        let pue = figures.pue.as_ref().ok()?;
        let of = |term| Some(OfTerm::of(instruments::of_term(pue, term)?));
        let (total, it) = (of(Term::Total)?, of(Term::It)?);
        Some(Self { total, it, estimate_doubt_ppm: pue.policy.estimate_doubt_ppm })
    }
}

impl OfTerm {
    fn of(relative: Relative) -> Self {
        Self {
            independent_ppt: relative.independent.to_string(),
            correlated_ppt: relative.correlated.to_string(),
        }
    }
}
