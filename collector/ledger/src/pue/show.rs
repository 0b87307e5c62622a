//! The only form in which a figure is printed: kind, category, period, value and ±.

use std::fmt;

use super::Pue;
use super::doubt::{Uncertainty, divided};

/// Decimals where no uncertainty tells how many: ordinary metering supports no third one.
const DECIMALS_USUAL: u32 = 2;
const DECIMALS_MAX: u32 = 4;
const MILLION: u128 = 1_000_000;

/// `PUE2 (2026-07-01/2027-06-30) = 1.31 ± 0.02`. The ± is k = 2 and the larger of its two bounds,
/// rounded up to its first digit; the value has as many decimals.
impl fmt::Display for Pue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, intervals_complete, intervals_expected, .. } = self;
        let period = self.policy.zone().period(self.from, self.to);
        write!(f, "{kind}{} ({period}) = {}", self.category.number(), self.value())?;
        if let Err(why) = &self.uncertainty {
            write!(f, " ({why})")?;
        }
        if intervals_complete < intervals_expected {
            write!(f, ", coverage {intervals_complete} of {intervals_expected} intervals")?;
        }
        Ok(())
    }
}

impl Pue {
    /// The value with its ±, for a place that says kind, category and period beside it.
    #[must_use]
    pub fn value(&self) -> String {
        let at = |scale: u128| rounded(self.total.saturating_mul(scale), self.it);
        value(&at, self.uncertainty.as_ref().ok())
    }
}

/// A value that `at` gives for each scale, with its uncertainty.
pub(super) fn value(at: &dyn Fn(u128) -> u128, uncertainty: Option<&Uncertainty>) -> String {
    match uncertainty {
        Some(known) => {
            let (decimals, last) = spread(known.correlated_micro);
            let scale = 10_u128.saturating_pow(decimals);
            format!("{} ± {}", decimal(at(scale), decimals), decimal(last, decimals))
        }
        None => {
            let scale = 10_u128.saturating_pow(DECIMALS_USUAL);
            format!("{} ± not stated", decimal(at(scale), DECIMALS_USUAL))
        }
    }
}

/// How many decimals an uncertainty of so many millionths leaves, and itself in units of the last
/// one, rounded up.
fn spread(micro: u128) -> (u32, u128) {
    let step = |decimals: u32| divided(MILLION, 10_u128.saturating_pow(decimals)).max(1);
    let first = (0..=DECIMALS_MAX).find(|decimals| micro >= step(*decimals));
    let decimals = first.unwrap_or(DECIMALS_MAX);
    match micro.div_ceil(step(decimals)) {
        // 0.0096 is 0.01, not 0.010.
        10 if decimals > 0 => (decimals.saturating_sub(1), 1),
        last => (decimals, last),
    }
}

/// Rounded half up.
pub(super) fn rounded(part: u128, whole: u128) -> u128 {
    divided(part.saturating_mul(2).saturating_add(whole), whole.saturating_mul(2))
}

fn decimal(units: u128, decimals: u32) -> String {
    let scale = 10_u128.saturating_pow(decimals);
    let (whole, part) = (divided(units, scale), units.checked_rem(scale).unwrap_or(0));
    let width = usize::try_from(decimals).unwrap_or(0);
    if decimals == 0 { whole.to_string() } else { format!("{whole}.{part:0width$}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_decimals_follow_the_uncertainty_which_is_rounded_up() {
        for (micro, shown) in [
            (15_012, "0.02"),
            (10_000, "0.01"),
            (10_001, "0.02"),
            (6_005, "0.007"),
            (9_600, "0.01"),
            (99_001, "0.1"),
            (120_000, "0.2"),
            (1_200_000, "2"),
            (40, "0.0001"),
            (0, "0.0000"),
        ] {
            let (decimals, last) = spread(micro);
            assert_eq!(decimal(last, decimals), shown, "{micro}");
        }
        assert_eq!((rounded(5, 10), rounded(4, 10), rounded(7, 0)), (1, 0, 0));
    }
}
