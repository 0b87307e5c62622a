//! Memory errors and what a GPU does about them, at one time.

use super::latest;
use crate::scenario::{EccStep, GpuSpec, Histogram, RemappedRows, RemappedStep, Sram, SramStep};

/// Which of the ECC totals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EccCounter {
    pub(crate) is_corrected: bool,
    pub(crate) is_volatile: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RemappedNow {
    pub(crate) correctable: u32,
    pub(crate) uncorrectable: u32,
    pub(crate) is_pending: bool,
    pub(crate) has_failed: bool,
    pub(crate) histogram: Histogram,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SramNow {
    pub(crate) corrected: u64,
    pub(crate) uncorrected_parity: u64,
    pub(crate) uncorrected_secded: u64,
    pub(crate) is_threshold_exceeded: bool,
}

impl GpuSpec {
    pub(crate) fn recovery_action(&self, at_ms: u64) -> u32 {
        let set = latest(&self.recovery_action_steps, at_ms, |s| (s.at_ms, Some(s.action)));
        set.unwrap_or(self.recovery_action)
    }

    /// What is volatile counts from the driver's loading on.
    pub(crate) fn ecc_total(&self, counter: EccCounter, at_ms: u64) -> u64 {
        let begun_ms = if counter.is_volatile { self.begun_ms(at_ms) } else { None };
        let start = match (counter.is_corrected, counter.is_volatile) {
            (_, true) if begun_ms.is_some() => 0,
            (true, true) => self.ecc.volatile_corrected,
            (false, true) => self.ecc.volatile_uncorrected,
            (true, false) => self.ecc.aggregate_corrected,
            (false, false) => self.ecc.aggregate_uncorrected,
        };
        let counted = begun_ms.unwrap_or(0)..=at_ms;
        let past = self.ecc.steps.iter().filter(|step| counted.contains(&step.at_ms));
        let added = |step: &EccStep| {
            if counter.is_corrected { step.corrected } else { step.uncorrected }
        };
        past.fold(start, |total, step| total.saturating_add(added(step)))
    }
}

impl Sram {
    pub(crate) fn at(&self, at_ms: u64) -> SramNow {
        let total = |start: u64, read: fn(&SramStep) -> u64| {
            let past = self.steps.iter().filter(|step| step.at_ms <= at_ms);
            past.fold(start, |total, step| total.saturating_add(read(step)))
        };
        let is_exceeded = latest(&self.steps, at_ms, |s| (s.at_ms, s.is_threshold_exceeded));
        SramNow {
            corrected: total(self.corrected, |step| step.corrected),
            uncorrected_parity: total(self.uncorrected_parity, |step| step.uncorrected_parity),
            uncorrected_secded: total(self.uncorrected_secded, |step| step.uncorrected_secded),
            is_threshold_exceeded: is_exceeded.unwrap_or(self.is_threshold_exceeded),
        }
    }
}

impl RemappedRows {
    pub(crate) fn at(&self, at_ms: u64) -> RemappedNow {
        let total = |start: u32, read: fn(&RemappedStep) -> u32| {
            let past = self.steps.iter().filter(|step| step.at_ms <= at_ms);
            past.fold(start, |total, step| total.saturating_add(read(step)))
        };
        let is_pending = latest(&self.steps, at_ms, |step| (step.at_ms, step.is_pending));
        let has_failed = latest(&self.steps, at_ms, |step| (step.at_ms, step.has_failed));
        let histogram = latest(&self.steps, at_ms, |step| (step.at_ms, step.histogram));
        RemappedNow {
            correctable: total(self.correctable, |step| step.correctable),
            uncorrectable: total(self.uncorrectable, |step| step.uncorrectable),
            is_pending: is_pending.unwrap_or(self.is_pending),
            has_failed: has_failed.unwrap_or(self.has_failed),
            histogram: histogram.unwrap_or(self.histogram),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::gpu;
    use super::*;

    #[test]
    fn ecc_totals_grow_by_their_steps() {
        let gpu = gpu("[gpus.ecc]\naggregate_corrected = 5\n\
                       steps = [{at_ms = 10, corrected = 2}, {at_ms = 20, uncorrected = 1}]");
        let total = |is_corrected, is_volatile, at_ms| {
            gpu.ecc_total(EccCounter { is_corrected, is_volatile }, at_ms)
        };
        assert_eq!((total(true, false, 9), total(true, false, 10)), (5, 7));
        assert_eq!((total(true, true, 10), total(false, true, 19)), (2, 0));
        assert_eq!(total(false, false, 20), 1);
    }

    #[test]
    fn sram_errors_may_pass_the_threshold() {
        let gpu = gpu("[gpus.sram]\ncorrected = 1\nsteps = [{at_ms = 10, uncorrected_secded = 2, \
                       is_threshold_exceeded = true}, {at_ms = 5, corrected = 3}]");
        assert_eq!((gpu.sram.at(4).corrected, gpu.sram.at(5).corrected), (1, 4));
        assert!(!gpu.sram.at(9).is_threshold_exceeded);
        let late = gpu.sram.at(10);
        assert_eq!((late.is_threshold_exceeded, late.uncorrected_secded), (true, 2));
    }

    #[test]
    fn rows_are_remapped_step_by_step() {
        let gpu = gpu("[gpus.remapped_rows]\nuncorrectable = 1\nsteps = [\
                       {at_ms = 10, uncorrectable = 1, is_pending = true}, \
                       {at_ms = 20, is_pending = false, histogram = {max = 639, high = 1}}]");
        let at = |at_ms| gpu.remapped_rows.at(at_ms);
        assert_eq!([at(9), at(10), at(20)].map(|rows| rows.uncorrectable), [1, 2, 2]);
        assert_eq!([at(9), at(10), at(20)].map(|rows| rows.is_pending), [false, true, false]);
        assert_eq!([at(9), at(20)].map(|rows| rows.histogram.max), [640, 639]);
    }

    #[test]
    fn the_recovery_action_is_the_latest_set() {
        let gpu = gpu("recovery_action = 3\nrecovery_action_steps = [{at_ms = 20, action = 0}, \
                       {at_ms = 10, action = 1}]");
        assert_eq!([9, 10, 20].map(|at_ms| gpu.recovery_action(at_ms)), [3, 1, 0]);
    }
}
