//! A register of our own for a device that has none: power integrated in integers.
//!
//! # Invariants
//! - Counts never go down within one stretch, and energy is only booked between two readings at
//!   most `hold_max` apart. A longer silence ends the stretch: a value is never held across it.
//! - After a stretch ended the count is missing until [`PowerRegister::begin_stretch`] gave it a
//!   new epoch. So the ledger sees a restart, and estimates the silence in its own class or calls
//!   it missing; continuing the count would book it as zero.
//! - The rest below one count is carried (`Integrator`), so cutting time differently changes
//!   resolution and never energy.

use bijli_wire::batch::Register;
use bijli_wire::{Integrator, Method, Millis, Milliwatts};
use serde::Deserialize;

use crate::probe::epoch;

/// How power between two readings is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rule {
    /// Each reading stands for the time since the previous one: right for meters and GPUs that
    /// show the average of the last second.
    Previous,
    /// A straight line between the readings: right for momentary power.
    Trapezoid,
}

#[derive(Clone, Debug)]
pub(super) struct PowerRegister {
    rule: Rule,
    hold_max: Option<Millis>,
    /// When the last reading was, in any clock that does not step back, and what it said.
    last: Option<(Millis, Milliwatts)>,
    integrator: Integrator,
    count: u64,
    stretch: u64,
    is_broken: bool,
}

impl PowerRegister {
    /// `hold_max: None` is for recorded traces, whose silences are as they were recorded.
    pub(super) fn new(rule: Rule, hold_max: Option<Millis>) -> Self {
        Self {
            rule,
            hold_max,
            last: None,
            integrator: Integrator::default(),
            count: 0,
            stretch: 0,
            is_broken: false,
        }
    }

    /// How the count is to be declared. A trapezoid is counted in half millijoules, which keeps
    /// `(p0 + p1) x dt / 2` exact.
    pub(super) fn declare(&self, id: &str, start: u64, shape: (Milliwatts, Millis)) -> Register {
        let (power_max, gap) = shape;
        Register {
            numerator: 1,
            denominator: match self.rule {
                Rule::Previous => 1,
                Rule::Trapezoid => 2,
            },
            modulus: None,
            power_max,
            epoch: epoch(&[id, &start.to_string(), &self.stretch.to_string()]),
            method: match self.rule {
                Rule::Previous => Method::Integrated,
                Rule::Trapezoid => Method::Sampled,
            },
            gap,
        }
    }

    /// The count with `power` read at `at`; `None` without power or after the stretch ended.
    pub(super) fn step(&mut self, power: Option<Milliwatts>, at: Millis) -> Option<i64> {
        if self.is_broken {
            return None;
        }
        let silence = self.last.and_then(|(then, _)| at.checked_sub(then));
        if let (Some(silence), Some(hold_max)) = (silence, self.hold_max)
            && silence > hold_max
        {
            self.is_broken = true;
            return None;
        }
        let power = power?;
        if let (Some((_, before)), Some(held_for)) = (self.last, silence) {
            let power = match self.rule {
                Rule::Previous => power,
                Rule::Trapezoid => before.checked_add(power)?,
            };
            let energy = self.integrator.step(power, held_for)?;
            self.count = self.count.checked_add(energy.get())?;
        }
        self.last = Some((at, power));
        i64::try_from(self.count).ok()
    }

    /// What is counted so far; `None` before the first power and after the stretch ended.
    pub(super) fn count(&self) -> Option<i64> {
        let is_counting = self.last.is_some() && !self.is_broken;
        is_counting.then(|| i64::try_from(self.count).ok()).flatten()
    }

    /// Whether a silence ended the stretch.
    pub(super) fn is_broken(&self) -> bool {
        self.is_broken
    }

    /// After a silence: from zero, with another epoch. Does nothing in the midst of a stretch.
    pub(super) fn begin_stretch(&mut self) {
        if self.is_broken {
            let stretch = self.stretch.saturating_add(1);
            *self = Self { stretch, ..Self::new(self.rule, self.hold_max) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn steps(register: &mut PowerRegister, readings: &[(u64, u64)]) -> Vec<Option<i64>> {
        readings
            .iter()
            .map(|(at, mw)| register.step(Some(Milliwatts::new(*mw)), Millis::new(*at)))
            .collect()
    }

    #[test]
    fn both_rules_by_hand() {
        let readings = [(0, 1_000), (1_000, 3_000), (2_500, 1)];
        let mut previous = PowerRegister::new(Rule::Previous, None);
        // 3 W x 1 s, then 1 mW x 1.5 s = 1.5 mJ of which the half is carried.
        assert_eq!(steps(&mut previous, &readings), [Some(0), Some(3_000), Some(3_001)]);
        let mut trapezoid = PowerRegister::new(Rule::Trapezoid, None);
        // Half millijoules: (1000 + 3000) x 1 s, then 3001 x 1.5 s = 4501.5, the half carried.
        assert_eq!(steps(&mut trapezoid, &readings), [Some(0), Some(4_000), Some(8_501)]);
        let register = trapezoid.declare("a", 1, (Milliwatts::new(1), Millis::new(1)));
        assert_eq!((register.numerator, register.denominator), (1, 2));
    }

    /// Guards against P5 broken: a held last value through an outage was booked as energy.
    #[test]
    fn a_silence_ends_the_stretch_and_the_next_has_another_epoch() {
        let mut register = PowerRegister::new(Rule::Previous, Some(Millis::new(3_000)));
        let shape = (Milliwatts::new(1), Millis::new(1));
        let first = register.declare("a", 7, shape).epoch;
        assert_eq!(steps(&mut register, &[(0, 500), (1_000, 500)]), [Some(0), Some(500)]);
        assert_eq!(register.step(None, Millis::new(2_000)), None);
        assert_eq!(steps(&mut register, &[(4_000, 500)]), [Some(2_000)], "one miss is bridged");
        assert_eq!(steps(&mut register, &[(7_001, 500), (8_000, 500)]), [None, None]);
        assert!(register.is_broken());
        register.begin_stretch();
        assert_ne!(register.declare("a", 7, shape).epoch, first);
        assert_eq!(steps(&mut register, &[(9_000, 500), (10_000, 500)]), [Some(0), Some(500)]);
        let second = register.declare("a", 7, shape).epoch;
        register.begin_stretch();
        assert_eq!(register.declare("a", 7, shape).epoch, second, "no silence, no new stretch");
    }

    proptest! {
        #[test]
        fn the_count_is_the_sum_rounded_down_once(
            readings in proptest::collection::vec((1_u64..5_000, 0_u64..2_000_000), 2..60)
        ) {
            let mut at = 0;
            let times: Vec<(u64, u64)> =
                readings.iter().map(|(dt, mw)| { at += dt; (at, *mw) }).collect();
            let mut previous = PowerRegister::new(Rule::Previous, None);
            let mut trapezoid = PowerRegister::new(Rule::Trapezoid, None);
            let last_previous = *steps(&mut previous, &times).last().expect("some");
            let last_trapezoid = *steps(&mut trapezoid, &times).last().expect("some");
            let pairs = || times.windows(2).map(|w| (w[1].0 - w[0].0, w[0].1, w[1].1));
            let held: u64 = pairs().map(|(dt, _, p1)| dt * p1).sum();
            let line: u64 = pairs().map(|(dt, p0, p1)| dt * (p0 + p1)).sum();
            prop_assert_eq!(last_previous, i64::try_from(held / 1_000).ok());
            prop_assert_eq!(last_trapezoid, i64::try_from(line / 1_000).ok());
        }
    }
}
