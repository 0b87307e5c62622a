//! Fans, margins, module links and fabric at one time.

use super::latest;
use crate::scenario::{C2c, Fabric, GpuSpec};

/// `NVML_GPU_FABRIC_STATE_*`.
const STATE_IN_PROGRESS: u8 = 2;
const STATE_COMPLETED: u8 = 3;
/// `NVML_GPU_FABRIC_HEALTH_SUMMARY_UNHEALTHY`.
const SUMMARY_UNHEALTHY: u8 = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FabricNow {
    pub(crate) state: u8,
    pub(crate) health_mask: u32,
    pub(crate) health_summary: u8,
}

impl GpuSpec {
    pub(crate) fn fan_percent(&self, at_ms: u64) -> Option<u32> {
        latest(&self.fan_steps, at_ms, |step| (step.at_ms, step.percent)).or(self.fan_percent)
    }

    pub(crate) fn fan_rpm(&self, at_ms: u64) -> Option<u32> {
        latest(&self.fan_steps, at_ms, |step| (step.at_ms, step.rpm)).or(self.fan_rpm)
    }

    /// How far below the limit; negative beyond it.
    pub(crate) fn margin_celsius(&self, at_ms: u64) -> i32 {
        let celsius = i32::try_from(self.temperature_celsius(at_ms)).unwrap_or(i32::MAX);
        self.t_limit.reference_celsius.saturating_sub(celsius)
    }
}

impl C2c {
    pub(crate) fn replays(&self, at_ms: u64) -> u32 {
        let past = self.steps.iter().filter(|step| step.at_ms <= at_ms);
        past.fold(self.replays, |total, step| total.saturating_add(step.replays))
    }
}

impl Fabric {
    pub(crate) fn at(&self, at_ms: u64) -> FabricNow {
        let state = if at_ms < self.completed_at_ms { STATE_IN_PROGRESS } else { STATE_COMPLETED };
        let is_unhealthy = self.unhealthy_at_ms.is_some_and(|from_ms| from_ms <= at_ms);
        let (health_mask, health_summary) = if is_unhealthy {
            (self.unhealthy_mask, SUMMARY_UNHEALTHY)
        } else {
            (self.health_mask, self.health_summary)
        };
        FabricNow { state, health_mask, health_summary }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::gpu;

    #[test]
    fn fans_change_and_boards_without_have_none() {
        let bare = gpu("");
        assert_eq!((bare.fan_percent(9), bare.fan_rpm(9)), (None, None));
        let gpu = gpu("fan_percent = 30\nfan_rpm = 2000\n\
                       fan_steps = [{at_ms = 10, rpm = 0}, {at_ms = 20, percent = 100}]");
        assert_eq!((gpu.fan_percent(10), gpu.fan_rpm(10)), (Some(30), Some(0)));
        assert_eq!((gpu.fan_percent(20), gpu.fan_rpm(20)), (Some(100), Some(0)));
    }

    #[test]
    fn a_margin_may_be_negative() {
        assert_eq!(gpu("").margin_celsius(0), 57);
        assert_eq!(gpu("temperature = {idle_celsius = 90}").margin_celsius(0), -3);
    }

    #[test]
    fn a_fabric_completes_and_may_sicken() {
        let gpu = gpu("fabric = {completed_at_ms = 10, unhealthy_at_ms = 20}");
        let summary = |at_ms| (gpu.fabric.at(at_ms).state, gpu.fabric.at(at_ms).health_summary);
        assert_eq!([9, 10, 20].map(summary), [(2, 1), (3, 1), (3, 2)]);
        assert_eq!(gpu.fabric.at(20).health_mask & 3, 1);
    }
}
