//! The energy register of a GPU, computed and never accumulated, so that a test can predict it.
//!
//! A step of the power trace lasts whole milliseconds and draws whole milliwatts, so its energy is
//! a whole number of microjoules (1 mW × 1 ms = 1 µJ) and nothing is rounded before the register
//! itself, which shows whole millijoules.
//!
//! # Invariants
//!
//! - Between resets the register shows the energy of `[last reset, last counter step)`, rounded
//!   down; before the first reset, the scripted start plus the energy since scenario time 0.
//! - A reset or step back shows at its own millisecond; energy only at multiples of the counter
//!   step.

use crate::scenario::{GpuSpec, PowerStep, Scenario};

const MICROJOULES_PER_MILLIJOULE: u128 = 1_000;

/// What GPU number `gpu` of `scenario` shows in its energy register at scenario time `at_ms`.
///
/// # Panics
///
/// If the scenario has no such GPU.
#[must_use]
pub fn expected_energy_mj(scenario: &Scenario, gpu: usize, at_ms: u64) -> u64 {
    scenario.gpus.get(gpu).expect("the scenario has this GPU").energy_mj(at_ms)
}

impl GpuSpec {
    pub(crate) fn energy_mj(&self, at_ms: u64) -> u64 {
        let reset_ms = self.faults.last_reset_ms(at_ms);
        let counted_to_ms = at_ms - at_ms % u64::from(self.counter_step_ms);
        let (counted_from_ms, start_mj) = match reset_ms {
            Some(reset_ms) => (reset_ms, 0),
            None => (0, self.energy_start_mj),
        };
        let drawn_uj = drawn_uj(&self.power_trace, counted_from_ms, counted_to_ms);
        let register_mj = u128::from(start_mj) + drawn_uj / MICROJOULES_PER_MILLIJOULE;
        let stepped_back_mj = self.faults.stepped_back_mj(counted_from_ms, at_ms);
        u64::try_from(register_mj.saturating_sub(stepped_back_mj)).unwrap_or(u64::MAX)
    }

    /// Mean power of the second before `at_ms`, or of what there was of it.
    pub(crate) fn power_average_mw(&self, at_ms: u64) -> u32 {
        let from_ms = at_ms.saturating_sub(1_000);
        match u128::from(at_ms - from_ms) {
            0 => self.power_instant_mw(at_ms),
            window_ms => {
                let mean_mw = drawn_uj(&self.power_trace, from_ms, at_ms) / window_ms;
                u32::try_from(mean_mw).expect("a mean of u32 values is no larger than they are")
            }
        }
    }

    /// Power of the step that holds `at_ms`.
    pub(crate) fn power_instant_mw(&self, at_ms: u64) -> u32 {
        let mut into_ms = at_ms % period_ms(&self.power_trace);
        for step in &self.power_trace {
            match into_ms.checked_sub(u64::from(step.for_ms)) {
                Some(beyond_ms) => into_ms = beyond_ms,
                None => return step.power_mw,
            }
        }
        unreachable!("a remainder of the period lies within the trace")
    }
}

/// Energy of `[from_ms, to_ms)`; none if that is empty.
fn drawn_uj(trace: &[PowerStep], from_ms: u64, to_ms: u64) -> u128 {
    drawn_since_start_uj(trace, to_ms).saturating_sub(drawn_since_start_uj(trace, from_ms))
}

fn drawn_since_start_uj(trace: &[PowerStep], to_ms: u64) -> u128 {
    let period_ms = period_ms(trace);
    let whole_periods = u128::from(to_ms / period_ms);
    whole_periods * drawn_within_uj(trace, period_ms) + drawn_within_uj(trace, to_ms % period_ms)
}

/// Energy of the first `to_ms` of one pass through the trace.
fn drawn_within_uj(trace: &[PowerStep], to_ms: u64) -> u128 {
    let mut left_ms = to_ms;
    let mut total_uj = 0;
    for step in trace {
        let held_ms = left_ms.min(u64::from(step.for_ms));
        total_uj += u128::from(held_ms) * u128::from(step.power_mw);
        left_ms -= held_ms;
    }
    total_uj
}

/// Never 0: the scenario refuses an empty trace and empty steps.
fn period_ms(trace: &[PowerStep]) -> u64 {
    trace.iter().map(|step| u64::from(step.for_ms)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::StepBack;

    /// 300 ms at 1001 mW, 450 ms at 700 W, 77 ms at nothing: no step is a multiple of another.
    fn uneven() -> GpuSpec {
        let step = |for_ms, power_mw| PowerStep { for_ms, power_mw };
        GpuSpec {
            power_trace: vec![step(300, 1_001), step(450, 700_000), step(77, 0)],
            energy_start_mj: 5_000,
            ..GpuSpec::default()
        }
    }

    /// Goal: the closed form agrees with adding up every millisecond on its own.
    #[test]
    fn energy_is_the_sum_of_its_milliseconds() {
        let gpu = uneven();
        let mut summed_uj = 0_u128;
        for at_ms in 0..5_000 {
            assert_eq!(drawn_since_start_uj(&gpu.power_trace, at_ms), summed_uj, "at {at_ms}");
            summed_uj += u128::from(gpu.power_instant_mw(at_ms));
        }
    }

    #[test]
    fn pieces_equal_the_whole() {
        let trace = uneven().power_trace;
        let whole = drawn_uj(&trace, 0, 10_000);
        for cut_ms in 0..=10_000 {
            let pieces = drawn_uj(&trace, 0, cut_ms) + drawn_uj(&trace, cut_ms, 10_000);
            assert_eq!(pieces, whole, "cut at {cut_ms}");
        }
    }

    #[test]
    fn the_register_moves_only_at_its_steps_and_only_forwards() {
        let gpu = uneven();
        for at_ms in 1..5_000 {
            let (before, now) = (gpu.energy_mj(at_ms - 1), gpu.energy_mj(at_ms));
            assert!(now >= before);
            assert!(now == before || at_ms % 100 == 0, "moved at {at_ms}");
        }
        assert_eq!(gpu.energy_mj(0), 5_000);
        assert_eq!(gpu.energy_mj(99), 5_000);
        // 100 ms at 1001 mW are 100.1 mJ.
        assert_eq!(gpu.energy_mj(100), 5_100);
        // 300.3 mJ, then 100 ms at 700 W.
        assert_eq!(gpu.energy_mj(400), 5_000 + 300 + 70_000);
    }

    #[test]
    fn a_reset_empties_the_register_at_once_and_forgets_the_start() {
        let mut gpu = uneven();
        gpu.faults.energy_resets_at_ms = vec![1_950, 350];
        assert_eq!(gpu.energy_mj(349), 5_300);
        assert_eq!(gpu.energy_mj(350), 0);
        assert_eq!(gpu.energy_mj(399), 0);
        assert_eq!(gpu.energy_mj(400), 35_000);
        assert_eq!(gpu.energy_mj(1_950), 0);
        assert_eq!(gpu.energy_mj(2_000), drawn_mj(&gpu, 1_950, 2_000));
    }

    #[test]
    fn a_step_back_lasts_until_the_next_reset_and_stops_at_nothing() {
        let mut gpu = uneven();
        let whole = uneven();
        gpu.faults.energy_steps_back = vec![StepBack { at_ms: 410, by_mj: 10_000 }];
        assert_eq!(gpu.energy_mj(409), whole.energy_mj(409));
        assert_eq!(gpu.energy_mj(410), whole.energy_mj(410) - 10_000);
        assert_eq!(gpu.energy_mj(9_000), whole.energy_mj(9_000) - 10_000);
        gpu.faults.energy_resets_at_ms = vec![1_000];
        assert_eq!(gpu.energy_mj(2_000), drawn_mj(&gpu, 1_000, 2_000));
        gpu.faults.energy_steps_back = vec![StepBack { at_ms: 1_200, by_mj: u64::MAX }];
        assert_eq!(gpu.energy_mj(2_000), 0);
    }

    #[test]
    fn the_average_covers_one_second() {
        let mut gpu = uneven();
        gpu.power_trace = vec![
            PowerStep { for_ms: 2_000, power_mw: 100_000 },
            PowerStep { for_ms: 2_000, power_mw: 500_000 },
        ];
        assert_eq!(gpu.power_average_mw(0), 100_000);
        assert_eq!(gpu.power_average_mw(1_000), 100_000);
        assert_eq!(gpu.power_average_mw(2_250), 200_000);
        assert_eq!(gpu.power_average_mw(3_000), 500_000);
        assert_eq!(gpu.power_instant_mw(1_999), 100_000);
        assert_eq!(gpu.power_instant_mw(2_000), 500_000);
    }

    #[test]
    fn the_largest_times_and_powers_do_not_overflow() {
        let mut gpu = uneven();
        gpu.power_trace = vec![PowerStep { for_ms: u32::MAX, power_mw: u32::MAX }; 3];
        assert_eq!(gpu.energy_mj(u64::MAX), u64::MAX);
        assert_eq!(gpu.power_average_mw(u64::MAX), u32::MAX);
    }

    fn drawn_mj(gpu: &GpuSpec, from_ms: u64, to_ms: u64) -> u64 {
        u64::try_from(drawn_uj(&gpu.power_trace, from_ms, to_ms) / 1_000).unwrap()
    }
}
