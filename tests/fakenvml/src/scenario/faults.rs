//! What goes wrong with a GPU, and what its board lacks.

use serde::Deserialize;

use super::is_within;

/// All absent by default.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// The energy register goes to 0, in any order.
    pub energy_resets_at_ms: Vec<u64>,
    /// The energy register loses an amount, but not more than it has.
    pub energy_steps_back: Vec<StepBack>,
    /// The energy register stands still; what is drawn meanwhile is never counted.
    pub energy_stuck_from_ms: Option<u64>,
    /// None: stuck for good.
    pub energy_stuck_until_ms: Option<u64>,
    /// The energy register counts too much by this, or too little if negative.
    pub energy_gain_ppm: i32,
    /// Calls answer `GPU_IS_LOST`; the GPU goes on drawing power.
    pub lost_at_ms: Option<u64>,
    /// None: lost for good.
    pub back_at_ms: Option<u64>,
    /// It leaves the count and the indices behind it move up; who still has its handle is told
    /// `GPU_IS_LOST`. For good, unless it is replaced later.
    pub removed_at_ms: Option<u64>,
    /// Calls that come while it hangs return when it does no longer.
    pub hang_at_ms: Option<u64>,
    pub hang_for_ms: Option<u64>,
    /// It hangs again so long after each time that it began to. None: once.
    pub hang_every_ms: Option<u64>,
    /// From then on temperatures are DCGM's blank values instead of degrees.
    pub temperature_sentinel_at_ms: Option<u64>,
    /// Calls for these answer `NOT_SUPPORTED`.
    pub unsupported: Vec<Feature>,
    /// Fields answered with the type double, whatever they should have.
    pub wrong_type_fields: Vec<u32>,
    /// Fields whose own code is `UNKNOWN` and whose value is rubbish, in a call that succeeds.
    pub failing_fields: Vec<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepBack {
    pub at_ms: u64,
    pub by_mj: u64,
}

/// What a board may lack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Feature {
    Energy,
    PowerUsage,
    PowerAverage,
    PowerInstant,
    PowerLimits,
    Fields,
    Serial,
    Temperature,
    MemoryTemperature,
    TLimit,
    Utilization,
    Memory,
    Clocks,
    Throttle,
    Ecc,
    Sram,
    RemappedRows,
    RecoveryAction,
    Processes,
    Fan,
    Events,
    Pcie,
    Nvlink,
    Fabric,
    Inforom,
    Gsp,
}

impl Faults {
    pub(super) fn rules(&self) -> [(bool, &'static str); 7] {
        let stuck_ends = self.energy_stuck_until_ms.is_some();
        let hangs_anew = self.hang_every_ms.is_some();
        [
            (
                self.back_at_ms.is_some() && self.lost_at_ms.is_none(),
                "faults have back_at_ms without lost_at_ms",
            ),
            (
                self.back_at_ms.is_some() && self.back_at_ms <= self.lost_at_ms,
                "back_at_ms is not after lost_at_ms",
            ),
            (
                self.hang_at_ms.is_some() != self.hang_for_ms.is_some(),
                "hang_at_ms and hang_for_ms make sense only together",
            ),
            (
                stuck_ends && self.energy_stuck_from_ms.is_none(),
                "faults have energy_stuck_until_ms without energy_stuck_from_ms",
            ),
            (
                stuck_ends && self.energy_stuck_until_ms <= self.energy_stuck_from_ms,
                "energy_stuck_until_ms is not after energy_stuck_from_ms",
            ),
            (
                hangs_anew && self.hang_every_ms <= self.hang_for_ms,
                "hang_every_ms is not more than hang_for_ms",
            ),
            (self.energy_gain_ppm < -1_000_000, "energy_gain_ppm takes away more than all"),
        ]
    }

    /// Sum of the steps back within `[from_ms, to_ms]`.
    pub(crate) fn stepped_back_mj(&self, from_ms: u64, to_ms: u64) -> u128 {
        let steps = self.energy_steps_back.iter();
        let within = steps.filter(|step| (from_ms..=to_ms).contains(&step.at_ms));
        within.map(|step| u128::from(step.by_mj)).sum()
    }

    pub(crate) fn is_lost(&self, at_ms: u64) -> bool {
        self.lost_at_ms.is_some_and(|lost_ms| is_within(at_ms, lost_ms, self.back_at_ms))
    }

    /// When the hang ends that holds `at_ms`.
    pub(crate) fn hangs_until_ms(&self, at_ms: u64) -> Option<u64> {
        let (first_ms, for_ms) = self.hang_at_ms.zip(self.hang_for_ms)?;
        let since_ms = at_ms.checked_sub(first_ms)?;
        let into_ms = self.hang_every_ms.map_or(since_ms, |every_ms| since_ms % every_ms);
        let end_ms = (at_ms - into_ms).saturating_add(for_ms);
        (into_ms < for_ms).then_some(end_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::Faults;

    #[test]
    fn a_hang_may_come_back() {
        let once = Faults { hang_at_ms: Some(10), hang_for_ms: Some(4), ..Faults::default() };
        let again = Faults { hang_every_ms: Some(5), ..once.clone() };
        let until = |faults: &Faults| [9, 10, 13, 14, 15, 19].map(|at| faults.hangs_until_ms(at));
        assert_eq!(until(&once), [None, Some(14), Some(14), None, None, None]);
        assert_eq!(until(&again), [None, Some(14), Some(14), None, Some(19), None]);
    }
}
