//! What one register booked within one interval: sums by class, coverage, and for GPUs the steps
//! that show what a holder used.
//!
//! # Invariants
//! - Until an interval is posted, the steps of a GPU are those that were read: only steps of one
//!   class, activity and exactly one power are one, which no cut in time can tell from two.
//! - Posting compacts what was read since the posting before into runs, never across an edge of a
//!   hold known then. So what a hold known then used is the sum of the steps within it, before
//!   and after, and deriving again changes nothing. A hold known later is cut inside the runs.
//! - The steps of a GPU sum to its energy by class.

use crate::class::{Activity, ByClass, Class};
use crate::rules::{OPEN_STEPS_MAX, STEPS_MAX};
use serde::{Deserialize, Serialize};

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

impl Step {
    /// This step and a later one as one; `None` if their energy is beyond what a step can hold.
    fn with(&self, later: &Self) -> Option<Self> {
        let energy = self.energy.checked_add(later.energy)?;
        let (from, to) = (self.from.min(later.from), self.to.max(later.to));
        (energy <= Packed::ENERGY_MAX).then_some(Self { from, to, energy, ..*self })
    }
}

/// A step in 16 bytes: a hub of 8,000 GPUs keeps 7.2 million of them until its interval is posted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Packed {
    from: u32,
    to: u32,
    energy_low: u32,
    energy_high: u16,
    class: Class,
    activity: Activity,
}

const _: () = assert!(size_of::<Packed>() == 16, "what the memory of a hub is reckoned with");

impl Packed {
    /// 48 bits: 26 times what a device at the highest power that any may declare, and at the
    /// most that is plausible of it, takes in the longest interval.
    const ENERGY_MAX: u64 = (1 << 48) - 1;

    fn new(step: &Step) -> Self {
        let Step { from, to, energy, class, activity } = *step;
        let energy_low = u32::try_from(energy & u64::from(u32::MAX)).expect("masked to 32 bits");
        let energy_high = u16::try_from(energy >> 32).expect("a step is within its rating");
        Self { from, to, energy_low, energy_high, class, activity }
    }

    fn step(&self) -> Step {
        let Self { from, to, class, activity, .. } = *self;
        let energy = (u64::from(self.energy_high) << 32) | u64::from(self.energy_low);
        Step { from, to, energy, class, activity }
    }
}

/// One device-interval.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cell {
    energy: ByClass,
    covered_ms: u32,
    /// So many of the steps, from the first, are runs; those after them are as read.
    runs: usize,
    /// In the order of time. Empty for subjects that nobody can hold on their own.
    steps: Vec<Packed>,
}

impl Cell {
    pub(crate) fn energy(&self) -> &ByClass {
        &self.energy
    }

    pub(crate) fn covered_ms(&self) -> u32 {
        self.covered_ms
    }

    pub(crate) fn steps(&self) -> impl Iterator<Item = Step> {
        self.steps.iter().map(Packed::step)
    }

    /// Books a step. Two steps of one stretch (what a reset register shows, and the estimate of
    /// what it lost) cover it once: `covers` is true for one of them.
    pub(crate) fn push(&mut self, step: Step, covers: bool, keeps_steps: bool) {
        if covers {
            self.covered_ms = self.covered_ms.saturating_add(step.to.saturating_sub(step.from));
        }
        self.energy.add(step.class, u128::from(step.energy));
        if keeps_steps && step.energy > 0 {
            self.keep(&step);
        }
    }

    fn keep(&mut self, step: &Step) {
        let has_read = self.as_read() > 0;
        if let Some(last) = self.steps.last_mut().filter(|_| has_read) {
            let before = last.step();
            if let Some(both) = before.with(step).filter(|_| is_same_power(&before, step)) {
                *last = Packed::new(&both);
                return;
            }
        }
        self.steps.push(Packed::new(step));
    }

    fn as_read(&self) -> usize {
        self.steps.len().saturating_sub(self.runs)
    }

    /// Whether so much was read that it must be compacted before it is posted.
    pub(crate) fn is_full(&self) -> bool {
        self.as_read() >= OPEN_STEPS_MAX
    }

    /// Whether steps are still as they were read.
    pub(crate) fn is_open(&self) -> bool {
        self.as_read() > 0
    }

    /// Makes runs of the steps as read; what is a run already may only grow. `edges` are the
    /// offsets at which holds begin or end, in order.
    pub(crate) fn compact(&mut self, edges: &[u32]) {
        for packed in self.steps.split_off(self.runs) {
            self.settle(&packed.step(), edges);
        }
        self.runs = self.steps.len();
        self.steps.shrink_to_fit();
    }

    fn settle(&mut self, step: &Step, edges: &[u32]) {
        let is_beyond = self.steps.len() >= STEPS_MAX;
        if let Some(last) = self.steps.last_mut() {
            let run = last.step();
            let both = run.with(step).filter(|both| !has_edge_within(edges, both));
            if let Some(both) = both {
                if joins(&run, step) {
                    *last = Packed::new(&both);
                    return;
                }
                if is_beyond {
                    *last = Packed::new(&folded(&both, [&run, step], &mut self.energy));
                    return;
                }
            }
        }
        self.steps.push(Packed::new(step));
    }
}

/// Whether two steps are one that was read twice: without a break, of one class and activity, and
/// of exactly one power. Any cut of the one is then, to the millijoule, the cut of the two.
fn is_same_power(before: &Step, step: &Step) -> bool {
    let span = |step: &Step| u128::from(step.to.saturating_sub(step.from));
    let across = |energy: u64, other: &Step| u128::from(energy).saturating_mul(span(other));
    before.to == step.from
        && before.class == step.class
        && before.activity == step.activity
        && across(before.energy, step) == across(step.energy, before)
}

/// Whether an edge lies strictly inside a step, so that a cut there would be interpolated.
fn has_edge_within(edges: &[u32], step: &Step) -> bool {
    let after = edges.partition_point(|edge| *edge <= step.from);
    edges.get(after).is_some_and(|edge| *edge < step.to)
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
fn folded(both: &Step, parts: [&Step; 2], energy: &mut ByClass) -> Step {
    let [last, step] = parts;
    let class = last.class.max(step.class);
    for part in parts.iter().filter(|part| part.class != class) {
        energy.subtract(part.class, u128::from(part.energy));
        energy.add(class, u128::from(part.energy));
    }
    let is_one = last.activity == step.activity;
    let activity = if is_one { last.activity } else { Activity::Unknown };
    Step { class, activity, ..*both }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::interpolate::Ramp;

    fn second(at: u32, energy: u64, activity: Activity) -> Step {
        let (from, to) = (at.saturating_mul(1_000), at.saturating_add(1).saturating_mul(1_000));
        Step { from, to, energy, class: Class::Measured, activity }
    }

    fn sum(cell: &Cell) -> u128 {
        cell.steps().map(|step| u128::from(step.energy)).sum()
    }

    fn spans(cell: &Cell) -> Vec<(u32, u32)> {
        cell.steps().map(|step| (step.from, step.to)).collect()
    }

    #[test]
    fn a_steady_quarter_hour_is_one_step() {
        let mut cell = Cell::default();
        for at in 0..900 {
            cell.push(second(at, 400_000, Activity::Busy), true, true);
        }
        assert_eq!(spans(&cell), [(0, 900_000)]);
        assert_eq!((cell.covered_ms(), sum(&cell)), (900_000, 360_000_000));
    }

    #[test]
    fn steps_stay_as_read_until_they_are_compacted() {
        let mut cell = Cell::default();
        for at in 0..900 {
            cell.push(second(at, 400_000 + u64::from(at % 2), Activity::Busy), true, true);
        }
        assert_eq!(cell.steps().count(), 900);
        cell.compact(&[]);
        assert_eq!(spans(&cell), [(0, 900_000)]);
        assert_eq!(sum(&cell), 360_000_450);
        assert!(!cell.is_open());
    }

    #[test]
    fn a_jump_in_power_or_activity_starts_a_run() {
        let mut cell = Cell::default();
        cell.push(second(0, 70_000, Activity::Unknown), true, true);
        cell.push(second(1, 80_000, Activity::Unknown), true, true);
        cell.push(second(2, 600_000, Activity::Unknown), true, true);
        cell.push(second(3, 600_000, Activity::Busy), true, true);
        cell.compact(&[]);
        assert_eq!(spans(&cell), [(0, 2_000), (2_000, 3_000), (3_000, 4_000)]);
    }

    #[test]
    fn no_run_crosses_an_edge_and_a_step_with_one_inside_stays_alone() {
        let mut cell = Cell::default();
        for at in 0..8 {
            cell.push(second(at, 400_000 + u64::from(at), Activity::Busy), true, true);
        }
        cell.compact(&[2_000, 5_500]);
        let parts = [(0, 2_000), (2_000, 5_000), (5_000, 6_000), (6_000, 8_000)];
        assert_eq!(spans(&cell), parts);
    }

    #[test]
    fn compacting_again_changes_nothing_and_what_follows_may_extend_the_last_run() {
        let mut cell = Cell::default();
        for at in 0..4 {
            cell.push(second(at, 400_000 + u64::from(at), Activity::Busy), true, true);
        }
        cell.compact(&[1_000]);
        let once = cell.clone();
        cell.compact(&[3_000]);
        assert_eq!(cell, once);
        cell.push(second(4, 401_500, Activity::Busy), true, true);
        assert_eq!(spans(&cell), [(0, 1_000), (1_000, 4_000), (4_000, 5_000)], "as read");
        cell.compact(&[1_000]);
        assert_eq!(spans(&cell), [(0, 1_000), (1_000, 5_000)]);
    }

    #[test]
    fn resolution_is_bounded_and_energy_is_not_lost() {
        let mut cell = Cell::default();
        for at in 0..5_000_u32 {
            let activity = if at.is_multiple_of(2) { Activity::Busy } else { Activity::Idle };
            let class = if at.is_multiple_of(3) { Class::Bridged } else { Class::Measured };
            let step = Step { from: at, to: at.saturating_add(1), energy: 9, class, activity };
            cell.push(step, true, true);
            assert_eq!(cell.is_full(), cell.steps.len() == OPEN_STEPS_MAX);
            if cell.is_full() {
                cell.compact(&[]);
            }
        }
        cell.compact(&[4_500]);
        assert_eq!(cell.steps().count(), STEPS_MAX + 1, "the last run ends at the edge");
        assert_eq!(cell.steps().last().map(|step| (step.from, step.to)), Some((4_500, 5_000)));
        assert_eq!(cell.energy().total(), 45_000);
        for class in [Class::Measured, Class::Bridged] {
            let steps = cell.steps().filter(|step| step.class == class);
            let steps: u64 = steps.map(|step| step.energy).sum();
            assert_eq!(u128::from(steps), cell.energy().get(class));
        }
    }

    #[test]
    fn energy_beyond_what_a_step_holds_starts_another() {
        let mut cell = Cell::default();
        for at in 0..3 {
            cell.push(second(at, Packed::ENERGY_MAX / 2, Activity::Busy), true, true);
        }
        assert_eq!(cell.steps().count(), 2);
        cell.compact(&[]);
        assert_eq!(spans(&cell), [(0, 2_000), (2_000, 3_000)]);
        assert_eq!(sum(&cell), u128::from(Packed::ENERGY_MAX / 2) * 3);
    }

    proptest! {
        /// Steps of one power are one, and nobody can tell: any cut gives the same amounts.
        #[test]
        fn one_power_is_cut_alike_in_one_step_and_in_many(
            lengths in proptest::collection::vec(1_u32..5_000, 1..30),
            power in 1_u64..9_000,
            cut in 0_i64..150_000,
        ) {
            let (mut cell, mut arrived, mut from) = (Cell::default(), 0, 0_u32);
            for length in lengths {
                let energy = u64::from(length).saturating_mul(power);
                let to = from.saturating_add(length);
                let step = Step { from, to, energy, ..second(0, 0, Activity::Busy) };
                cell.push(step, true, true);
                arrived = ramp(&step).at(cut).saturating_add(arrived);
                from = step.to;
            }
            let merged: Vec<Step> = cell.steps().collect();
            prop_assert_eq!(merged.len(), 1);
            prop_assert_eq!(ramp(&merged[0]).at(cut), arrived);
        }
    }

    fn ramp(step: &Step) -> Ramp {
        Ramp { from: i64::from(step.from), to: i64::from(step.to), energy: step.energy }
    }
}
