//! What one register booked within one interval: sums by class, coverage, and for GPUs the steps
//! that later show what a holder used.
//!
//! # Invariants
//! - A profile is a function of the readings alone. It never depends on when the interval was
//!   closed or which allocations were known, so deriving again gives the same amounts.
//! - The steps of a GPU sum to its energy by class.

use crate::class::{Activity, ByClass, Class};
use crate::rules::STEPS_MAX;

const MINUTE_MS: u32 = 60_000;
/// Below this power two steps count as alike: a GPU's idle flicker.
const FLICKER_MW: u128 = 20_000;

/// Energy of a part of an interval; offsets in milliseconds from the interval's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) from: u32,
    pub(crate) to: u32,
    pub(crate) energy: u64,
    pub(crate) class: Class,
    pub(crate) activity: Activity,
}

/// One device-interval.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cell {
    energy: ByClass,
    covered_ms: u32,
    /// Empty for subjects that nobody can hold on their own.
    steps: Vec<Step>,
}

impl Cell {
    pub(crate) fn energy(&self) -> &ByClass {
        &self.energy
    }

    pub(crate) fn covered_ms(&self) -> u32 {
        self.covered_ms
    }

    pub(crate) fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Books a step. Two steps of one stretch (what a reset register shows, and the estimate of
    /// what it lost) cover it once: `covers` is true for one of them.
    pub(crate) fn push(&mut self, step: Step, covers: bool, keeps_steps: bool) {
        if covers {
            self.covered_ms = self.covered_ms.saturating_add(step.to.saturating_sub(step.from));
        }
        self.energy.add(step.class, u128::from(step.energy));
        if keeps_steps && step.energy > 0 {
            self.keep(step);
        }
    }

    fn keep(&mut self, step: Step) {
        let count = self.steps.len();
        let Some(last) = self.steps.last_mut() else {
            self.steps.push(step);
            return;
        };
        if joins(last, &step) {
            last.to = step.to;
            last.energy = last.energy.checked_add(step.energy).expect("an interval fits u64");
        } else if count < STEPS_MAX {
            self.steps.push(step);
        } else {
            fold(last, step, &mut self.energy);
        }
    }

    pub(crate) fn shrink(&mut self) {
        self.steps.shrink_to_fit();
    }
}

/// Whether a step continues a run: without a break, of one class and activity, and alike in power.
/// Within a minute of the clock alike means within a factor of two, across minutes an eighth.
fn joins(run: &Step, step: &Step) -> bool {
    if run.to != step.from || run.class != step.class || run.activity != step.activity {
        return false;
    }
    let (old, new) = (power_mw(run), power_mw(step));
    let (low, high) = (old.min(new), old.max(new));
    let minute = |t: u32| t.checked_div(MINUTE_MS);
    let same_minute = minute(run.from) == minute(step.to.saturating_sub(1));
    let apart = high.saturating_sub(low);
    let alike = if same_minute { low } else { low.checked_div(8).unwrap_or(0) };
    apart <= alike.max(FLICKER_MW)
}

fn power_mw(step: &Step) -> u128 {
    let span = u128::from(step.to.saturating_sub(step.from).max(1));
    u128::from(step.energy).saturating_mul(1_000).checked_div(span).unwrap_or(0)
}

/// Gives up resolution, not energy: a step beyond the limit joins the last one, at the worse class
/// of the two.
fn fold(last: &mut Step, step: Step, energy: &mut ByClass) {
    let class = last.class.max(step.class);
    for part in [*last, step].iter().filter(|part| part.class != class) {
        energy.subtract(part.class, u128::from(part.energy));
        energy.add(class, u128::from(part.energy));
    }
    last.class = class;
    if last.activity != step.activity {
        last.activity = Activity::Unknown;
    }
    last.from = last.from.min(step.from);
    last.to = last.to.max(step.to);
    last.energy = last.energy.checked_add(step.energy).expect("an interval fits u64");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(at: u32, energy: u64, activity: Activity) -> Step {
        let (from, to) = (at.saturating_mul(1_000), at.saturating_add(1).saturating_mul(1_000));
        Step { from, to, energy, class: Class::Measured, activity }
    }

    fn sum(cell: &Cell) -> u128 {
        cell.steps().iter().map(|step| u128::from(step.energy)).sum()
    }

    #[test]
    fn a_steady_quarter_hour_is_one_step() {
        let mut cell = Cell::default();
        for at in 0..900 {
            cell.push(second(at, 400_000, Activity::Busy), true, true);
        }
        assert_eq!(cell.steps().len(), 1);
        assert_eq!((cell.covered_ms(), sum(&cell)), (900_000, 360_000_000));
    }

    #[test]
    fn a_jump_in_power_or_activity_starts_a_step() {
        let mut cell = Cell::default();
        cell.push(second(0, 70_000, Activity::Unknown), true, true);
        cell.push(second(1, 80_000, Activity::Unknown), true, true);
        cell.push(second(2, 600_000, Activity::Unknown), true, true);
        cell.push(second(3, 600_000, Activity::Busy), true, true);
        assert_eq!(cell.steps().len(), 3);
    }

    #[test]
    fn resolution_is_bounded_and_energy_is_not_lost() {
        let mut cell = Cell::default();
        for at in 0..5_000_u32 {
            let activity = if at.is_multiple_of(2) { Activity::Busy } else { Activity::Idle };
            let class = if at.is_multiple_of(3) { Class::Bridged } else { Class::Measured };
            let step = Step { from: at, to: at.saturating_add(1), energy: 9, class, activity };
            cell.push(step, true, true);
        }
        assert_eq!(cell.steps().len(), STEPS_MAX);
        assert_eq!(cell.energy().total(), 45_000);
        for class in [Class::Measured, Class::Bridged] {
            let of = |step: &&Step| step.class == class;
            let steps: u64 = cell.steps().iter().filter(of).map(|step| step.energy).sum();
            assert_eq!(u128::from(steps), cell.energy().get(class));
        }
    }
}
