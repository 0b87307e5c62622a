//! The energy registers and powers of a GPU, computed and never accumulated, so that a test can
//! predict them.
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
//! - A register that sees only the windows of the instant power takes each window that has ended
//!   for its whole refresh; gain and that scaling are one exact fraction, rounded down once.

use crate::scenario::{CounterSees, GpuSpec, PowerStep, Scenario};

const MICROJOULES_PER_MILLIJOULE: u128 = 1_000;
const PARTS_PER_MILLION: u128 = 1_000_000;

/// What GPU number `gpu` of `scenario` shows in its energy register at scenario time `at_ms`.
///
/// # Panics
///
/// If the scenario has no such GPU.
#[must_use]
pub fn expected_energy_mj(scenario: &Scenario, gpu: usize, at_ms: u64) -> u64 {
    spec(scenario, gpu).energy_mj(at_ms)
}

/// What the register of the module around it shows, field 191 at scope 1; none without a module.
///
/// # Panics
///
/// If the scenario has no such GPU.
#[must_use]
pub fn expected_module_energy_mj(scenario: &Scenario, gpu: usize, at_ms: u64) -> Option<u64> {
    spec(scenario, gpu).module_energy_mj(at_ms)
}

/// What its average and its instant power show, fields 185 and 186 at scope 0.
///
/// # Panics
///
/// If the scenario has no such GPU.
#[must_use]
pub fn expected_powers_mw(scenario: &Scenario, gpu: usize, at_ms: u64) -> [u32; 2] {
    let spec = spec(scenario, gpu);
    [spec.power_average_mw(at_ms), spec.power_instant_mw(at_ms)]
}

/// What it truly draws in `[from_ms, to_ms)`, in microjoules, whatever any reading says.
///
/// # Panics
///
/// If the scenario has no such GPU.
#[must_use]
pub fn drawn_energy_uj(scenario: &Scenario, gpu: usize, from_ms: u64, to_ms: u64) -> u128 {
    drawn_uj(&spec(scenario, gpu).power_trace, from_ms, to_ms)
}

fn spec(scenario: &Scenario, gpu: usize) -> &GpuSpec {
    scenario.gpus.get(gpu).expect("the scenario has this GPU")
}

impl GpuSpec {
    /// The GPU's own register, also where it counts the module.
    pub(crate) fn energy_mj(&self, at_ms: u64) -> u64 {
        match &self.module {
            Some(module) if module.counter_is_module => {
                self.register_mj(&module.power_trace, module.energy_start_mj, at_ms)
            }
            Some(_) | None => self.register_mj(&self.power_trace, self.energy_start_mj, at_ms),
        }
    }

    pub(crate) fn module_energy_mj(&self, at_ms: u64) -> Option<u64> {
        let module = self.module.as_ref()?;
        Some(self.register_mj(&module.power_trace, module.energy_start_mj, at_ms))
    }

    fn register_mj(&self, trace: &[PowerStep], start_mj: u64, at_ms: u64) -> u64 {
        let (from_ms, start_mj) = match self.last_reset_ms(at_ms) {
            Some(reset_ms) => (reset_ms, 0),
            None => (0, start_mj),
        };
        let counted_uj = self.counted_uj(trace, from_ms, self.step_before(at_ms));
        let register_mj = u128::from(start_mj) + counted_uj / MICROJOULES_PER_MILLIJOULE;
        let stepped_back_mj = self.faults.stepped_back_mj(from_ms, at_ms);
        u64::try_from(register_mj.saturating_sub(stepped_back_mj)).unwrap_or(u64::MAX)
    }

    /// The last time the registers moved, or could have.
    fn step_before(&self, at_ms: u64) -> u64 {
        at_ms - at_ms % u64::from(self.counter_step_ms)
    }

    /// What a register adds up from `from_ms` to `to_ms`, less what it is stuck for.
    fn counted_uj(&self, trace: &[PowerStep], from_ms: u64, to_ms: u64) -> u128 {
        let seen_uj = |from_ms, to_ms| match self.counter_sees {
            CounterSees::All => drawn_uj(trace, from_ms, to_ms),
            CounterSees::InstantWindow => self.windows_uj(trace, from_ms, to_ms),
        };
        let stuck_ms = self.faults.energy_stuck_from_ms.map(|stuck_ms| self.step_before(stuck_ms));
        let seen_uj = match (stuck_ms, self.faults.energy_stuck_until_ms) {
            (None, _) => seen_uj(from_ms, to_ms),
            (Some(stuck_ms), None) => seen_uj(from_ms, to_ms.min(stuck_ms)),
            (Some(stuck_ms), Some(until_ms)) => {
                seen_uj(from_ms, to_ms.min(stuck_ms)) + seen_uj(from_ms.max(until_ms), to_ms)
            }
        };
        let (times, of) = match self.counter_sees {
            CounterSees::All => (1, 1),
            CounterSees::InstantWindow => {
                (u128::from(self.instant_refresh_ms), u128::from(self.instant_window_ms))
            }
        };
        let gain = PARTS_PER_MILLION.saturating_add_signed(self.faults.energy_gain_ppm.into());
        seen_uj.saturating_mul(times).saturating_mul(gain) / (of * PARTS_PER_MILLION)
    }

    /// Energy of the windows that end within `(from_ms, to_ms]`.
    fn windows_uj(&self, trace: &[PowerStep], from_ms: u64, to_ms: u64) -> u128 {
        let refresh_ms = u64::from(self.instant_refresh_ms);
        let until = |at_ms| self.first_windows_uj(trace, at_ms / refresh_ms);
        until(to_ms).saturating_sub(until(from_ms))
    }

    /// Energy of the first `count` windows. They repeat as soon as trace and refresh do.
    fn first_windows_uj(&self, trace: &[PowerStep], count: u64) -> u128 {
        let refresh_ms = u64::from(self.instant_refresh_ms);
        let window_ms = u64::from(self.instant_window_ms);
        let window_uj = |number: u64| {
            let end_ms = number * refresh_ms;
            drawn_uj(trace, end_ms.saturating_sub(window_ms), end_ms)
        };
        let sum = |count: u64| (1..=count).map(window_uj).sum::<u128>();
        let cycle = period_ms(trace) / greatest_common_divisor(period_ms(trace), refresh_ms);
        match count / cycle {
            0 => sum(count),
            cycles => u128::from(cycles) * sum(cycle) + sum(count % cycle),
        }
    }

    /// Mean power of the window before the last refresh, or of what there was of it.
    pub(crate) fn power_average_mw(&self, at_ms: u64) -> u32 {
        self.average_of(&self.power_trace, at_ms)
    }

    /// As the average, with its own shorter window.
    pub(crate) fn power_instant_mw(&self, at_ms: u64) -> u32 {
        self.instant_of(&self.power_trace, at_ms)
    }

    pub(crate) fn module_power_average_mw(&self, at_ms: u64) -> Option<u32> {
        Some(self.average_of(&self.module.as_ref()?.power_trace, at_ms))
    }

    pub(crate) fn module_power_instant_mw(&self, at_ms: u64) -> Option<u32> {
        Some(self.instant_of(&self.module.as_ref()?.power_trace, at_ms))
    }

    /// What it draws in this very millisecond, which no sensor shows.
    pub(crate) fn power_present_mw(&self, at_ms: u64) -> u32 {
        power_at_mw(&self.power_trace, at_ms)
    }

    fn average_of(&self, trace: &[PowerStep], at_ms: u64) -> u32 {
        let refreshed_ms = at_ms - at_ms % u64::from(self.average_refresh_ms);
        mean_mw(trace, refreshed_ms, self.average_window_ms)
    }

    fn instant_of(&self, trace: &[PowerStep], at_ms: u64) -> u32 {
        let refreshed_ms = at_ms - at_ms % u64::from(self.instant_refresh_ms);
        mean_mw(trace, refreshed_ms, self.instant_window_ms)
    }
}

/// Mean power of the window that ends at `end_ms`; at time 0, where there was nothing, the first.
fn mean_mw(trace: &[PowerStep], end_ms: u64, window_ms: u32) -> u32 {
    let from_ms = end_ms.saturating_sub(u64::from(window_ms));
    match u128::from(end_ms - from_ms) {
        0 => power_at_mw(trace, end_ms),
        held_ms => {
            let mean_mw = drawn_uj(trace, from_ms, end_ms) / held_ms;
            u32::try_from(mean_mw).expect("a mean of u32 values is no larger than they are")
        }
    }
}

/// Power of the step that holds `at_ms`.
fn power_at_mw(trace: &[PowerStep], at_ms: u64) -> u32 {
    let mut into_ms = at_ms % period_ms(trace);
    for step in trace {
        match into_ms.checked_sub(u64::from(step.for_ms)) {
            Some(beyond_ms) => into_ms = beyond_ms,
            None => return step.power_mw,
        }
    }
    unreachable!("a remainder of the period lies within the trace")
}

fn greatest_common_divisor(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
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
    use crate::scenario::{C2c, Module, StepBack};

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
            summed_uj += u128::from(gpu.power_present_mw(at_ms));
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
    fn powers_are_means_of_their_windows() {
        let mut gpu = uneven();
        gpu.power_trace = vec![
            PowerStep { for_ms: 2_010, power_mw: 100_000 },
            PowerStep { for_ms: 2_000, power_mw: 500_000 },
        ];
        assert_eq!(gpu.power_average_mw(0), 100_000);
        assert_eq!(gpu.power_average_mw(1_000), 100_000);
        // Refreshed at 2300 ms for the last time, of which 290 ms are busy.
        assert_eq!(gpu.power_average_mw(2_399), 216_000);
        assert_eq!(gpu.power_average_mw(3_100), 500_000);
        // The window before 2000 ms is idle, that before 2100 ms is not.
        assert_eq!((gpu.power_instant_mw(2_099), gpu.power_instant_mw(2_100)), (100_000, 500_000));
        (gpu.instant_window_ms, gpu.instant_refresh_ms) = (20, 20);
        assert_eq!(gpu.power_instant_mw(2_020), 300_000);
        (gpu.average_window_ms, gpu.average_refresh_ms) = (100, 1);
        assert_eq!(gpu.power_average_mw(2_035), 200_000);
    }

    /// Goal: the closed form agrees with adding up window by window, across its repetitions.
    #[test]
    fn a_register_of_windows_takes_each_for_its_refresh() {
        let mut gpu = uneven();
        (gpu.instant_refresh_ms, gpu.counter_step_ms, gpu.energy_start_mj) = (101, 101, 0);
        gpu.counter_sees = CounterSees::InstantWindow;
        let mut seen_uj = 0;
        for number in 0..2_000_u64 {
            let at_ms = number * 101;
            if number > 0 {
                seen_uj += drawn_uj(&gpu.power_trace, at_ms - 25, at_ms);
            }
            assert_eq!(u128::from(gpu.energy_mj(at_ms)), seen_uj * 101 / 25 / 1_000, "at {at_ms}");
        }
        // Steady power is seen right, whatever part of it is looked at.
        gpu.power_trace = vec![PowerStep { for_ms: 7, power_mw: 400_000 }];
        assert_eq!(gpu.energy_mj(101_000), 400 * 101_000);
    }

    #[test]
    fn a_stuck_register_never_counts_what_was_drawn_meanwhile() {
        let (mut gpu, whole) = (uneven(), uneven());
        gpu.faults.energy_stuck_from_ms = Some(1_030);
        assert_eq!(gpu.energy_mj(1_099), whole.energy_mj(1_000));
        assert_eq!(gpu.energy_mj(90_000), whole.energy_mj(1_000));
        gpu.faults.energy_stuck_until_ms = Some(3_000);
        assert_eq!(gpu.energy_mj(3_000), whole.energy_mj(1_000));
        let after_mj = gpu.energy_mj(5_000) - gpu.energy_mj(3_000);
        assert!(after_mj.abs_diff(drawn_mj(&whole, 3_000, 5_000)) <= 1);
        gpu.faults.energy_resets_at_ms = vec![2_000];
        assert_eq!((gpu.energy_mj(2_000), gpu.energy_mj(2_900)), (0, 0));
        assert_eq!(gpu.energy_mj(4_000), drawn_mj(&whole, 3_000, 4_000));
    }

    #[test]
    fn a_gain_is_of_what_is_counted_and_not_of_the_start() {
        let mut gpu = uneven();
        gpu.faults.energy_gain_ppm = -55_000;
        let right_mj = drawn_mj(&gpu, 0, 100_000);
        assert_eq!(gpu.energy_mj(0), 5_000);
        assert_eq!(gpu.energy_mj(100_000) - 5_000, right_mj * 945 / 1_000);
        gpu.faults.energy_gain_ppm = -1_000_000;
        assert_eq!(gpu.energy_mj(100_000), 5_000);
    }

    #[test]
    fn the_largest_times_and_powers_do_not_overflow() {
        let mut gpu = uneven();
        gpu.power_trace = vec![PowerStep { for_ms: u32::MAX, power_mw: u32::MAX }; 3];
        assert_eq!(gpu.energy_mj(u64::MAX), u64::MAX);
        assert_eq!(gpu.power_average_mw(u64::MAX), u32::MAX);
    }

    #[test]
    fn a_module_has_a_register_of_its_own() {
        let mut gpu = uneven();
        assert_eq!(gpu.module_energy_mj(1_000), None);
        gpu.module = Some(Module {
            power_trace: vec![PowerStep { for_ms: 10, power_mw: 900_000 }],
            energy_start_mj: 3,
            limit_mw: None,
            gpu_scope_power_unsupported: false,
            counter_is_module: false,
            c2c: C2c::default(),
        });
        assert_eq!(gpu.module_energy_mj(1_000), Some(900_003));
        assert_eq!(gpu.energy_mj(1_000), 5_000 + drawn_mj(&gpu, 0, 1_000));
        gpu.module.as_mut().unwrap().counter_is_module = true;
        assert_eq!(gpu.energy_mj(1_000), 900_003);
        assert_eq!(gpu.module_power_instant_mw(1_000), Some(900_000));
    }

    fn drawn_mj(gpu: &GpuSpec, from_ms: u64, to_ms: u64) -> u64 {
        u64::try_from(drawn_uj(&gpu.power_trace, from_ms, to_ms) / 1_000).unwrap()
    }
}
