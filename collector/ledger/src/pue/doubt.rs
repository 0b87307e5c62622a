//! How far a PUE can be off: expanded uncertainty after the GUM (k = 2) from the class limits of
//! its meters, in integers.
//!
//! A limit c is taken as a rectangle, u = c / sqrt(3); meter and transformer add in quadrature. The
//! meters of a term are weighted by the energy that each counted, once as if they were independent
//! and once as if all were off to the same side: meters of one model and batch lie between. The two
//! terms are taken as independent, which is never too small a figure: what makes both wrong alike
//! cancels in the ratio. Estimated energy adds its share times its own uncertainty, in quadrature.
//!
//! # Invariants
//! - Relative uncertainties are parts per trillion, cut at each step: below a millionth of what a
//!   class limit is. What is shown is rounded up.

use crate::meter::Limits;

const TRILLION: u128 = 1_000_000_000_000;
const MILLION: u128 = 1_000_000;

/// What one meter counted, and how far it may be off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    pub millijoules: u128,
    pub limits: Limits,
}

/// Relative standard uncertainty (k = 1) of a term, in parts per trillion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Relative {
    /// As if no two meters shared a cause.
    pub independent: u128,
    /// As if all meters of the term were off to the same side.
    pub correlated: u128,
}

/// Expanded uncertainty (k = 2) of a PUE, in millionths, rounded up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uncertainty {
    pub independent_micro: u128,
    pub correlated_micro: u128,
}

impl Limits {
    /// Standard uncertainty of the chain, in parts per trillion.
    #[must_use]
    pub fn standard_ppt(self) -> u128 {
        let square = |ppm: u32| u128::from(ppm).saturating_mul(u128::from(ppm));
        let squares = square(self.meter_ppm).saturating_add(square(self.ct_ppm));
        divided(squares.saturating_mul(TRILLION), 3).isqrt()
    }
}

impl Relative {
    /// Of the sum of what these meters counted, of which so much was `estimated`, each with a
    /// standard uncertainty of `doubt_ppm` millionths. Nothing for a term without energy.
    #[must_use]
    pub fn of(meters: &[Counted], estimated: u128, doubt_ppm: u32) -> Self {
        let whole = meters.iter().fold(0, |sum: u128, one| sum.saturating_add(one.millijoules));
        let share = |part: u128| divided(part.saturating_mul(TRILLION), whole);
        let (mut squares, mut sum) = (0_u128, 0_u128);
        for Counted { millijoules, limits } in meters {
            let part = share(*millijoules).saturating_mul(limits.standard_ppt());
            let part = divided(part, TRILLION);
            squares = squares.saturating_add(square(part));
            sum = sum.saturating_add(part);
        }
        let estimated = share(estimated).saturating_mul(u128::from(doubt_ppm));
        let estimated = square(divided(estimated, MILLION));
        Self {
            independent: squares.saturating_add(estimated).isqrt(),
            correlated: square(sum).saturating_add(estimated).isqrt(),
        }
    }
}

impl Uncertainty {
    /// Of `total` over `it` with the uncertainties of both.
    #[must_use]
    pub fn of(total: (u128, Relative), it: (u128, Relative)) -> Self {
        let ((total, of_total), (it, of_it)) = (total, it);
        let expanded = |a: u128, b: u128| {
            let relative = square(a).saturating_add(square(b)).isqrt();
            // 2 u total / it, in millionths: a trillionth is a million of them.
            let doubled = total.saturating_mul(relative).saturating_mul(2);
            doubled.div_ceil(it.max(1).saturating_mul(MILLION))
        };
        Self {
            independent_micro: expanded(of_total.independent, of_it.independent),
            correlated_micro: expanded(of_total.correlated, of_it.correlated),
        }
    }
}

pub(super) fn square(number: u128) -> u128 {
    number.saturating_mul(number)
}

/// 0 of nothing.
pub(super) fn divided(part: u128, whole: u128) -> u128 {
    part.checked_div(whole).unwrap_or(0)
}
