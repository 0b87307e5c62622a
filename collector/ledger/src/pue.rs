//! PUE as an exact ratio of two energies over the same closed intervals, with everything that a
//! published figure must carry; or the reason why there is none. Never a float.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

use bijli_wire::UtcMillis;

use crate::diagram::{Category, Role};

/// What one complete interval adds to both terms.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PueParts {
    pub(crate) total: u128,
    pub(crate) it: u128,
    pub(crate) by_source: BTreeMap<Role, u128>,
    pub(crate) store_drawn: u128,
    pub(crate) estimated: u128,
    pub(crate) category: Category,
}

/// Why one interval adds nothing.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error, Serialize, Deserialize,
)]
pub enum Withheld {
    #[error("no supply meter is declared")]
    NoSupplyMeter,
    #[error("no point measures IT energy in the declared category")]
    NoItMeter,
    #[error("{meter} does not cover the interval")]
    MissingMeter { meter: String },
    #[error("the meters around {point} contradict each other")]
    Disputed { point: String },
}

/// What a figure may call itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PueKind {
    /// Shorter or other than twelve months: iPUE. All that this version says.
    Interim,
}

/// Energy into the data centre over energy to IT, both in millijoules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pue {
    pub total: u128,
    pub it: u128,
    pub category: Category,
    pub kind: PueKind,
    pub from: UtcMillis,
    pub to: UtcMillis,
    /// How many intervals both terms are summed over...
    pub intervals_complete: u32,
    /// ...of how many in the period, whether booked or not.
    pub intervals_expected: u32,
    /// The total by kind of supply.
    pub by_source: BTreeMap<Role, u128>,
    /// What UPS batteries gave beyond what their inputs took. Not in the total: it came in when
    /// they were charged.
    pub store_drawn: u128,
    /// Part of total plus IT that was estimated over blind stretches.
    pub estimated: u128,
    /// Why the other closed intervals add nothing, with their number.
    pub withheld: BTreeMap<Withheld, u32>,
}

impl Pue {
    /// The ratio in thousandths, rounded to nearest, half up.
    #[must_use]
    pub fn milli(&self) -> u128 {
        let doubled = self.total.saturating_mul(2_000).saturating_add(self.it);
        doubled.checked_div(self.it.saturating_mul(2)).unwrap_or(0)
    }
}

/// `iPUE2 = 1.312 (41 of 96 intervals)`: never a bare number.
impl fmt::Display for Pue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let milli = self.milli();
        let (whole, thousandths) =
            (milli.checked_div(1_000).unwrap_or(0), milli.checked_rem(1_000).unwrap_or(0));
        let Self { intervals_complete, intervals_expected, .. } = self;
        write!(
            f,
            "iPUE{} = {whole}.{thousandths:03} ({intervals_complete} of {intervals_expected} intervals)",
            self.category.number()
        )
    }
}

/// Why a period has no PUE.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoPue {
    #[error("no interval of the period is closed")]
    NothingClosed,
    #[error(
        "meter {meter} does not cover {intervals} of the closed intervals, and none is complete"
    )]
    MissingMeter { meter: String, intervals: u32 },
    #[error("no supply meter is declared, so nobody knows what came in")]
    NoSupplyMeter,
    #[error("no point measures IT energy in the declared category")]
    NoItMeter,
    #[error("the meters around {point} contradict each other")]
    Disputed { point: String },
    #[error("the category changed within the period; ask for each part on its own")]
    CategoryChanged,
    #[error("{total} mJ came in and IT used {it} mJ: a PUE of 1 or less is a fault of metering")]
    BelowOne { total: u128, it: u128 },
    #[error("IT used no energy in the complete intervals")]
    NoItEnergy,
}

/// Sums complete intervals into a period.
#[derive(Debug, Default)]
pub(crate) struct PueSum {
    parts: Option<PueParts>,
    complete: u32,
    withheld: BTreeMap<Withheld, u32>,
    has_two_categories: bool,
}

impl PueSum {
    pub(crate) fn add(&mut self, interval: &Result<PueParts, Withheld>) {
        let parts = match interval {
            Ok(parts) => parts,
            Err(withheld) => {
                let count = self.withheld.entry(withheld.clone()).or_default();
                *count = count.saturating_add(1);
                return;
            }
        };
        self.complete = self.complete.saturating_add(1);
        let Some(sum) = &mut self.parts else {
            self.parts = Some(parts.clone());
            return;
        };
        self.has_two_categories |= sum.category != parts.category;
        sum.total = sum.total.saturating_add(parts.total);
        sum.it = sum.it.saturating_add(parts.it);
        sum.store_drawn = sum.store_drawn.saturating_add(parts.store_drawn);
        sum.estimated = sum.estimated.saturating_add(parts.estimated);
        for (role, energy) in &parts.by_source {
            let source = sum.by_source.entry(*role).or_default();
            *source = source.saturating_add(*energy);
        }
    }

    pub(crate) fn finish(
        self,
        from: UtcMillis,
        to: UtcMillis,
        intervals_expected: u32,
    ) -> Result<Pue, NoPue> {
        let Some(parts) = self.parts else { return Err(why_none(&self.withheld)) };
        if self.has_two_categories {
            return Err(NoPue::CategoryChanged);
        }
        let PueParts { total, it, by_source, store_drawn, estimated, category } = parts;
        if it == 0 {
            return Err(NoPue::NoItEnergy);
        }
        if total <= it {
            return Err(NoPue::BelowOne { total, it });
        }
        Ok(Pue {
            total,
            it,
            category,
            kind: PueKind::Interim,
            from,
            to,
            intervals_complete: self.complete,
            intervals_expected,
            by_source,
            store_drawn,
            estimated,
            withheld: self.withheld,
        })
    }
}

/// The reason that most intervals give; the first in order among equals.
fn why_none(withheld: &BTreeMap<Withheld, u32>) -> NoPue {
    let most = withheld.iter().rev().max_by_key(|(_, intervals)| **intervals);
    match most {
        None => NoPue::NothingClosed,
        Some((Withheld::NoSupplyMeter, _)) => NoPue::NoSupplyMeter,
        Some((Withheld::NoItMeter, _)) => NoPue::NoItMeter,
        Some((Withheld::MissingMeter { meter }, intervals)) => {
            NoPue::MissingMeter { meter: meter.clone(), intervals: *intervals }
        }
        Some((Withheld::Disputed { point }, _)) => NoPue::Disputed { point: point.clone() },
    }
}
