//! PUE as an exact ratio of two energies over the same closed intervals, with everything that a
//! published figure must carry; or the reason why there is none. Never a float.
//!
//! # Invariants
//! - Nothing gives the ratio alone: there are the two integers, and [`Pue`]'s text with kind,
//!   category, period and ±.
//! - A period's figure is the ratio of sums. Ratios are never averaged over time.
//!
//! `docs/pue.md` says what each field means, and recomputes an example.

mod doubt;
mod kind;
mod policy;
mod posted;
mod rollup;
mod show;
mod sum;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

use bijli_wire::units::human_energy;
use bijli_wire::{Millis, SubjectId, UtcMillis};

use crate::diagram::{Category, Role};
use crate::meter::{Meter, as_percent};

pub use doubt::{Counted, Relative, Uncertainty};
pub use kind::{PueKind, PueStatus};
pub use policy::{ESTIMATE_DOUBT_PPM, ESTIMATED_PPM_MAX, PuePolicy};
pub use posted::{Posted, of_posted, terms};
pub use rollup::{CannotMix, RollUp, Weighting, roll_up};
pub use sum::Terms;
pub(crate) use sum::{Added, Asked, PueParts, PueSum};

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

/// One of the two energies of a PUE.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Term {
    /// E_DC: what came into the data centre.
    Total,
    /// E_IT: what IT equipment used.
    It,
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Total => "E_DC",
            Self::It => "E_IT",
        })
    }
}

/// What one meter counted of a term, with what was declared of it at the time: after a swap, the
/// same name stands here twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeterShare {
    pub term: Term,
    pub id: SubjectId,
    /// `None`: nothing was declared.
    pub meter: Option<Meter>,
    pub millijoules: u128,
}

/// Why an uncertainty is not stated. It is never made up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unstated {
    #[error("meter {meter} {why}")]
    Meter { meter: SubjectId, why: &'static str },
    #[error("nodes that are not described counted {}", human_energy(*.millijoules))]
    Undescribed { millijoules: u128 },
    #[error("of {hub}: {why}")]
    Hub { hub: String, why: String },
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
    /// In force at the end of the period.
    pub policy: PuePolicy,
    /// Length of the intervals over which both terms are compared.
    pub interval: Millis,
    /// How many intervals both terms are summed over...
    pub intervals_complete: u32,
    /// ...of how many in the period, whether booked or not.
    pub intervals_expected: u32,
    /// How many of those that are booked a late fact can still change.
    pub intervals_provisional: u32,
    /// How often late facts changed one.
    pub adjustments: u64,
    /// What the books know of both terms in the whole period, counted or not.
    pub known: Terms,
    /// The longest stretch that is not counted.
    pub gap: Millis,
    /// The total by kind of supply.
    pub by_source: BTreeMap<Role, u128>,
    /// What UPS batteries gave beyond what their inputs took. Not in the total: it came in when
    /// they were charged.
    pub store_drawn: u128,
    /// Part of total plus IT that was estimated over blind stretches...
    pub estimated: u128,
    /// ...and of IT alone.
    pub it_estimated: u128,
    /// What came in and no meter below explains: the residual of the balance...
    pub unexplained: u128,
    /// ...and what meters below show beyond the ones above, where it leaves both terms alone.
    pub contradicted: u128,
    /// What nodes used that no diagram places: outside of both terms.
    pub outside: u128,
    /// Every meter that counted, of nodes only the described ones.
    pub meters: Vec<MeterShare>,
    /// Expanded, k = 2.
    pub uncertainty: Result<Uncertainty, Unstated>,
    /// Why the other closed intervals add nothing, with their number.
    pub withheld: BTreeMap<Withheld, u32>,
}

impl Pue {
    #[must_use]
    pub const fn status(&self) -> PueStatus {
        match self.intervals_provisional {
            0 => PueStatus::Settled,
            _ => PueStatus::Provisional,
        }
    }

    /// Part of the total that was estimated.
    #[must_use]
    pub const fn total_estimated(&self) -> u128 {
        self.estimated.saturating_sub(self.it_estimated)
    }

    /// The level of The Green Grid's WP49: how near to the equipment and how often, the lesser of
    /// the two. 1: UPS output, or less than daily; 2: PDU output, or less than every 15 minutes;
    /// 3: at the equipment's input, each 15 minutes or oftener.
    #[must_use]
    pub fn level(&self) -> u8 {
        let often = match self.interval.get() {
            ..=900_000 => 3,
            900_001..=86_400_000 => 2,
            _ => 1,
        };
        self.category.number().min(often)
    }

    /// The same in that paper's manner: `PUE_L1,YC`, level, averaging period (Y, M, W, D, or -) and
    /// frequency (C: each 15 minutes or oftener; else D).
    #[must_use]
    pub fn wp49(&self) -> String {
        let zone = self.policy.zone();
        let months = zone.months(self.from, self.to);
        let averaged = match (months, zone.days(self.from, self.to)) {
            (Some(12), _) => "Y",
            (Some(1), _) => "M",
            (_, Some(7)) => "W",
            (_, Some(1)) => "D",
            _ => "-",
        };
        let often = if self.interval.get() <= 900_000 { "C" } else { "D" };
        format!("{}_L{},{averaged}{often}", self.kind.word(), self.level())
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
    #[error(
        "{estimated} of {of} mJ of {term} are estimated, more than the {} that this hub allows",
        as_percent(*.limit_ppm)
    )]
    TooMuchEstimated { term: Term, estimated: u128, of: u128, limit_ppm: u32 },
}
