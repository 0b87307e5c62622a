//! What a GPU shows besides power and energy, as a function of its scenario and the time. Pure.

mod board;
mod links;
mod memory;

pub(crate) use memory::{EccCounter, RemappedNow, SramNow};

use crate::scenario::{GpuSpec, Process};

/// DCGM's "not supported" in 32 and 64 bits, met in exported temperatures; not a temperature.
pub(crate) const SENTINEL_32: u32 = 2_147_483_634;
pub(crate) const SENTINEL_64: u64 = 9_223_372_036_854_775_794;

pub(crate) const REASON_IDLE: u64 = 1;

impl GpuSpec {
    pub(crate) fn is_idle(&self, at_ms: u64) -> bool {
        self.power_present_mw(at_ms) <= self.power_idle_mw
    }

    /// Of the GPU and of its memory controller.
    pub(crate) fn utilization_percent(&self, at_ms: u64) -> [u32; 2] {
        if self.is_idle(at_ms) {
            [0, 0]
        } else {
            [self.utilization_gpu_percent, self.utilization_memory_percent]
        }
    }

    pub(crate) fn has_temperature_sentinel(&self, at_ms: u64) -> bool {
        self.faults.temperature_sentinel_at_ms.is_some_and(|from_ms| from_ms <= at_ms)
    }

    pub(crate) fn temperature_celsius(&self, at_ms: u64) -> u32 {
        let above_idle_mw = self.power_average_mw(at_ms).saturating_sub(self.power_idle_mw);
        let rise = u64::from(above_idle_mw)
            * u64::from(self.temperature.rise_millicelsius_per_watt)
            / 1_000_000;
        let rise_celsius = u32::try_from(rise).unwrap_or(u32::MAX);
        self.temperature.idle_celsius.saturating_add(rise_celsius)
    }

    pub(crate) fn memory_temperature_celsius(&self, at_ms: u64) -> u32 {
        let above = self.temperature.memory_above_gpu_celsius;
        self.temperature_celsius(at_ms).saturating_add(above)
    }

    pub(crate) fn sm_mhz(&self, at_ms: u64) -> u32 {
        if self.is_idle(at_ms) { self.clocks.sm_idle_mhz } else { self.clocks.sm_busy_mhz }
    }

    pub(crate) fn throttle_bits(&self, at_ms: u64) -> u64 {
        let idle = if self.is_idle(at_ms) { REASON_IDLE } else { 0 };
        let active = self.throttle.iter().filter(|throttle| {
            crate::scenario::is_within(at_ms, throttle.from_ms, throttle.until_ms)
        });
        active.fold(idle, |bits, throttle| bits | throttle.reason_bits)
    }

    /// How long any of `reason_bits` has been set since the driver was loaded, spans that overlap
    /// counting twice.
    pub(crate) fn throttled_ns(&self, reason_bits: u64, at_ms: u64) -> u64 {
        let begun_ms = self.begun_ms(at_ms).unwrap_or(0);
        let spans = self.throttle.iter().filter(|span| span.reason_bits & reason_bits != 0);
        let lasted = spans.map(|span| {
            span.until_ms.unwrap_or(at_ms).min(at_ms).saturating_sub(span.from_ms.max(begun_ms))
        });
        lasted.fold(0_u64, u64::saturating_add).saturating_mul(1_000_000)
    }

    pub(crate) fn running(&self, at_ms: u64) -> Vec<Process> {
        let is_running = |process: &&Process| {
            crate::scenario::is_within(at_ms, process.from_ms, process.until_ms)
        };
        self.processes.iter().filter(is_running).copied().collect()
    }

    pub(crate) fn memory_used_bytes(&self, at_ms: u64) -> u64 {
        let running = self.running(at_ms).into_iter().map(|process| process.used_bytes);
        let available = self.memory.total_bytes.saturating_sub(self.memory.reserved_bytes);
        running.fold(self.memory.base_bytes, u64::saturating_add).min(available)
    }
}

/// What the latest of the steps that have passed sets, if any of them sets it.
fn latest<S, T>(steps: &[S], at_ms: u64, read: impl Fn(&S) -> (u64, Option<T>)) -> Option<T> {
    let set = steps.iter().filter_map(|step| {
        let (step_ms, value) = read(step);
        (step_ms <= at_ms).then_some(()).and(value).map(|value| (step_ms, value))
    });
    set.max_by_key(|(step_ms, _)| *step_ms).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Scenario;

    pub(super) fn gpu(text: &str) -> GpuSpec {
        let scenario = Scenario::parse(&format!("[[gpus]]\n{text}")).unwrap();
        scenario.gpus.into_iter().next().unwrap()
    }

    #[test]
    fn temperature_follows_the_average_power() {
        assert_eq!(gpu("").temperature_celsius(5_000), 30);
        let busy = gpu("power_trace = [{for_ms = 1, power_mw = 700000}]");
        assert_eq!(busy.temperature_celsius(5_000), 68);
        assert_eq!(busy.memory_temperature_celsius(5_000), 80);
    }

    #[test]
    fn idle_is_a_matter_of_power() {
        let gpu =
            gpu("power_trace = [{for_ms = 10, power_mw = 80000}, {for_ms = 10, power_mw = 80001}]");
        assert_eq!(gpu.utilization_percent(9), [0, 0]);
        assert_eq!(gpu.utilization_percent(10), [98, 45]);
        assert_eq!((gpu.sm_mhz(0), gpu.sm_mhz(10)), (345, 1_980));
        assert_eq!((gpu.throttle_bits(0), gpu.throttle_bits(10)), (REASON_IDLE, 0));
    }

    #[test]
    fn throttling_is_counted_while_it_lasts() {
        let gpu = gpu("throttle = [{from_ms = 100, until_ms = 300, reason_bits = 4}, \
                       {from_ms = 200, reason_bits = 64}]");
        assert_eq!(gpu.throttle_bits(250), REASON_IDLE | 4 | 64);
        assert_eq!(gpu.throttled_ns(4, 50), 0);
        assert_eq!(gpu.throttled_ns(4, 150), 50_000_000);
        assert_eq!(gpu.throttled_ns(4, 9_000), 200_000_000);
        assert_eq!(gpu.throttled_ns(64, 1_200), 1_000_000_000);
    }

    #[test]
    fn processes_come_and_go_with_their_memory() {
        let gpu = gpu("processes = [{pid = 7, used_bytes = 1000, from_ms = 10, until_ms = 20}]");
        assert!(gpu.running(9).is_empty());
        assert_eq!(gpu.running(10).len(), 1);
        assert!(gpu.running(20).is_empty());
        assert_eq!(gpu.memory_used_bytes(10) - gpu.memory_used_bytes(9), 1_000);
    }
}
