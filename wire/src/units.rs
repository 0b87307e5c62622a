//! Physical numbers as newtypes with a private integer, and the integrator from power to energy.
//!
//! # Invariants
//! - No `Add`, no `From<u64>`, no `Deref`: a sum that could overflow says so.
//! - Widths: 40 MW for a year is 1.26e18 mJ, so `u64` millijoules last 14.6 years of a whole hub;
//!   sums over hubs and years are `u128`. Power is `u64` because a hub's incomer passes the
//!   4.29 MW that `u32` milliwatts can hold.
//! - Nothing here is a float.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! unit {
    ($(#[$doc:meta])* $name:ident($inner:ty), $symbol:literal) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash,
            Serialize, Deserialize,
        )]
        pub struct $name($inner);

        impl $name {
            pub const ZERO: Self = Self(0);

            #[must_use]
            pub const fn new(value: $inner) -> Self {
                Self(value)
            }

            #[must_use]
            pub const fn get(self) -> $inner {
                self.0
            }

            #[must_use]
            pub const fn checked_add(self, other: Self) -> Option<Self> {
                match self.0.checked_add(other.0) {
                    Some(sum) => Some(Self(sum)),
                    None => None,
                }
            }

            #[must_use]
            pub const fn checked_sub(self, other: Self) -> Option<Self> {
                match self.0.checked_sub(other.0) {
                    Some(difference) => Some(Self(difference)),
                    None => None,
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!("{} ", $symbol), self.0)
            }
        }
    };
}

unit!(
    /// Energy. One kilowatt-hour is 3,600,000,000 mJ.
    Millijoules(u64), "mJ"
);
unit!(
    /// Power.
    Milliwatts(u64), "mW"
);
unit!(
    /// A span of time.
    Millis(u64), "ms"
);
unit!(
    /// A moment: milliseconds since 1970-01-01T00:00:00Z, leap seconds not counted.
    UtcMillis(i64), "ms since 1970 UTC"
);
unit!(
    /// A ratio in millionths.
    PartsPerMillion(u32), "ppm"
);

impl UtcMillis {
    /// Milliseconds from `earlier` to `self`; `None` when `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Option<Millis> {
        let span = self.0.checked_sub(earlier.0)?;
        u64::try_from(span).ok().map(Millis)
    }

    /// The moment `span` later; `None` past the end of time.
    #[must_use]
    pub fn plus(self, span: Millis) -> Option<Self> {
        i64::try_from(span.0).ok().and_then(|ms| self.0.checked_add(ms)).map(Self)
    }

    /// The start of the interval of `length` that contains this moment, counted from 1970 UTC.
    #[must_use]
    pub fn floor_to(self, length: Millis) -> Self {
        let length = i64::try_from(length.0).unwrap_or(i64::MAX).max(1);
        Self(self.0.saturating_sub(self.0.rem_euclid(length)))
    }
}

const MICROJOULES_PER_MILLIJOULE: u128 = 1_000;

/// Turns power into a register: integer millijoules, the sub-millijoule rest carried.
///
/// Integrating in pieces equals integrating at once (property below), so a reading schedule
/// changes resolution and never energy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Integrator {
    residue_microjoules: u128,
}

impl Integrator {
    /// Energy of `power` held for `held_for`, with what earlier steps left over.
    /// `None` if it passes what [`Millijoules`] can hold.
    #[must_use]
    pub fn step(&mut self, power: Milliwatts, held_for: Millis) -> Option<Millijoules> {
        // u64 x u64 plus a residue below 1,000 always fits u128.
        let microjoules = u128::from(power.0) * u128::from(held_for.0) + self.residue_microjoules;
        let whole = u64::try_from(microjoules / MICROJOULES_PER_MILLIJOULE).ok()?;
        if !planted!(DropResidue) {
            self.residue_microjoules = microjoules % MICROJOULES_PER_MILLIJOULE;
        }
        assert!(self.residue_microjoules < MICROJOULES_PER_MILLIJOULE, "residue is below one mJ");
        Some(Millijoules(whole))
    }
}

/// An energy for people, from integers only: `"1.235 kWh"`, `"87.600 MWh"`, `"950 J"`.
///
/// Digits below the third decimal are cut, never rounded up: a page never shows energy that
/// the books do not have.
#[must_use]
pub fn human_energy(millijoules: u128) -> String {
    const SCALES: [(u128, &str); 4] = [
        (3_600_000_000_000_000, "GWh"),
        (3_600_000_000_000, "MWh"),
        (3_600_000_000, "kWh"),
        (3_600_000, "Wh"),
    ];
    for (per_unit, symbol) in SCALES {
        if millijoules >= per_unit {
            return decimal(millijoules, per_unit, 3, symbol);
        }
    }
    decimal(millijoules, 1_000, 3, "J")
}

/// A volume for people: `"12.500 m3"`.
#[must_use]
pub fn human_volume(millilitres: u128) -> String {
    match millilitres {
        0..1_000_000 => decimal(millilitres, 1_000, 3, "l"),
        _ => decimal(millilitres, 1_000_000, 3, "m3"),
    }
}

/// A power for people: `"97.312 kW"`.
#[must_use]
pub fn human_power(milliwatts: u64) -> String {
    let milliwatts = u128::from(milliwatts);
    match milliwatts {
        0..1_000_000 => decimal(milliwatts, 1_000, 1, "W"),
        1_000_000..1_000_000_000 => decimal(milliwatts, 1_000_000, 3, "kW"),
        _ => decimal(milliwatts, 1_000_000_000, 3, "MW"),
    }
}

/// `value / per_unit` with `digits` decimals, cut, and a symbol.
fn decimal(value: u128, per_unit: u128, digits: u32, symbol: &str) -> String {
    let whole = value / per_unit;
    let scale = 10_u128.pow(digits);
    // The remainder is below per_unit (at most 3.6e15), so the product fits u128.
    let fraction = (value % per_unit) * scale / per_unit;
    let width = usize::try_from(digits).unwrap_or(0);
    format!("{whole}.{fraction:0width$} {symbol}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_watt_for_a_second_is_a_joule() {
        let mut integrator = Integrator::default();
        let energy = integrator.step(Milliwatts::new(1_000), Millis::new(1_000));
        assert_eq!(energy, Some(Millijoules::new(1_000)));
    }

    #[test]
    fn energy_beyond_u64_is_refused_and_the_residue_kept() {
        let mut integrator = Integrator::default();
        assert!(integrator.step(Milliwatts::new(u64::MAX), Millis::new(u64::MAX)).is_none());
        assert_eq!(integrator, Integrator::default());
    }

    #[test]
    fn human_energy_by_table() {
        for (millijoules, shown) in [
            (0, "0.000 J"),
            (1, "0.001 J"),
            (3_599_999, "3599.999 J"),
            (3_600_000, "1.000 Wh"),
            (3_600_000_000 - 1, "999.999 Wh"),
            (3_600_000_000, "1.000 kWh"),
            (36_000_000_000_000, "10.000 MWh"),
        ] {
            assert_eq!(human_energy(millijoules), shown);
        }
    }

    #[test]
    fn human_power_by_table() {
        for (milliwatts, shown) in [(0, "0.0 W"), (700_000, "700.0 W"), (97_312_500, "97.312 kW")] {
            assert_eq!(human_power(milliwatts), shown);
        }
    }

    #[test]
    fn intervals_floor_towards_the_past_even_before_1970() {
        let quarter = Millis::new(900_000);
        assert_eq!(UtcMillis::new(900_001).floor_to(quarter), UtcMillis::new(900_000));
        assert_eq!(UtcMillis::new(-1).floor_to(quarter), UtcMillis::new(-900_000));
    }

    proptest! {
        #[test]
        fn integrating_in_pieces_equals_integrating_at_once(
            power in 0_u64..10_000_000_000,
            cuts in proptest::collection::vec(0_u64..10_000, 1..50),
        ) {
            let mut pieces = Integrator::default();
            let mut sum = 0_u64;
            for cut in &cuts {
                sum += pieces.step(Milliwatts::new(power), Millis::new(*cut)).expect("fits").get();
            }
            let mut whole = Integrator::default();
            let at_once = whole.step(Milliwatts::new(power), Millis::new(cuts.iter().sum()));
            prop_assert_eq!(Some(Millijoules::new(sum)), at_once);
            prop_assert_eq!(pieces, whole);
        }
    }
}
