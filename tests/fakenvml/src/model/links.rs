//! PCIe and NVLink at one time.

use super::latest;
use crate::scenario::{GpuSpec, LinkError, Nvlink, Pcie, PcieError};

impl Pcie {
    pub(crate) fn errors(&self, error: PcieError, at_ms: u64) -> u32 {
        let past = self.steps.iter().filter(|step| step.at_ms <= at_ms);
        let added = past.filter_map(|step| step.errors.get(&error));
        added.fold(0, |total: u32, added| total.saturating_add(*added))
    }

    pub(crate) fn width(&self, at_ms: u64) -> u32 {
        latest(&self.steps, at_ms, |step| (step.at_ms, step.width)).unwrap_or(self.width)
    }
}

impl GpuSpec {
    /// No more than what a step has left of it.
    pub(crate) fn pcie_generation(&self, at_ms: u64) -> u32 {
        let pcie = &self.pcie;
        let wanted = if self.is_idle(at_ms) { pcie.generation_idle } else { pcie.generation_busy };
        let most = latest(&pcie.steps, at_ms, |step| (step.at_ms, step.generation));
        most.map_or(wanted, |most| wanted.min(most))
    }
}

impl Nvlink {
    /// A count since scenario time 0, or a rate as last set.
    pub(crate) fn errors(&self, link: u32, error: LinkError, at_ms: u64) -> u64 {
        let of_link = self.steps.iter().filter(|step| step.link == link);
        if error.is_rate() {
            let steps: Vec<_> = of_link.collect();
            let set = latest(&steps, at_ms, |s| (s.at_ms, s.errors.get(&error).copied()));
            return set.unwrap_or(0);
        }
        let past = of_link.filter(|step| step.at_ms <= at_ms);
        let added = past.filter_map(|step| step.errors.get(&error));
        added.fold(0, |total: u64, added| total.saturating_add(*added))
    }

    pub(crate) fn total_errors(&self, error: LinkError, at_ms: u64) -> u64 {
        let each = (0..self.links).map(|link| self.errors(link, error, at_ms));
        each.fold(0, u64::saturating_add)
    }

    pub(crate) fn is_active(&self, link: u32, at_ms: u64) -> bool {
        let steps: Vec<_> = self.steps.iter().filter(|step| step.link == link).collect();
        latest(&steps, at_ms, |step| (step.at_ms, step.is_active)).unwrap_or(true)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::gpu;
    use super::*;

    #[test]
    fn pcie_degrades_and_counts() {
        let gpu = gpu("[gpus.pcie]\ngeneration_idle = 1\nsteps = [\
                       {errors = {replay = 2}}, {at_ms = 10, errors = {replay = 3, lane = 1}, \
                       generation = 3, width = 8}]");
        assert_eq!([0, 10].map(|at_ms| gpu.pcie.errors(PcieError::Replay, at_ms)), [2, 5]);
        assert_eq!([9, 10].map(|at_ms| gpu.pcie.width(at_ms)), [16, 8]);
        // Idle, so slower than it may be.
        assert_eq!(gpu.pcie_generation(10), 1);
        let busy = GpuSpec { power_idle_mw: 0, ..gpu };
        assert_eq!([9, 10].map(|at_ms| busy.pcie_generation(at_ms)), [5, 3]);
    }

    #[test]
    fn links_count_for_themselves() {
        let gpu = gpu("[gpus.nvlink]\nlinks = 4\nsteps = [\
                       {link = 1, errors = {crc = 7, effective_ber = 1285}}, \
                       {at_ms = 10, link = 1, errors = {crc = 1, effective_ber = 1286}}, \
                       {at_ms = 10, link = 3, is_active = false, errors = {crc = 100}}]");
        let nvlink = &gpu.nvlink;
        assert_eq!([9, 10].map(|at_ms| nvlink.errors(1, LinkError::Crc, at_ms)), [7, 8]);
        let ber = |at_ms| nvlink.errors(1, LinkError::EffectiveBer, at_ms);
        assert_eq!((ber(9), ber(10)), (1_285, 1_286));
        assert_eq!(nvlink.total_errors(LinkError::Crc, 10), 108);
        assert_eq!([9, 10].map(|at_ms| nvlink.is_active(3, at_ms)), [true, false]);
    }
}
