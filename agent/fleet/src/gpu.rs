//! One simulated GPU: what it is asked to do in a second, and what it then shows.
//!
//! Magnitudes are those of an H100 80GB HBM3 SXM: limit 700 W, idle 66 to 72 W, slowdown at 89 °C
//! (`nvidia-smi -q` captures of real boards).

use bijli_wire::{ProjectId, SubjectId};

use crate::register::{Dial, Register, reading};
use crate::rng::{noise, spread};

pub(crate) const POWER_MW_MAX: u64 = 700_000;
pub(crate) const MEMORY_BYTES: u64 = 85_520_809_984;
/// NVML's clock event reasons.
const REASON_IDLE: u64 = 0x1;
const REASON_SOFTWARE_POWER_CAP: u64 = 0x4;
const PPM: u64 = 1_000_000;

/// Whose a GPU's second is. The number is the project's place in the specification.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Tenure {
    #[default]
    Unallocated,
    HeldIdle(usize),
    Active(usize),
}

/// What a GPU is asked to do in a second.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Demand {
    pub(crate) tenure: Tenure,
    /// Share of the power between idle and the limit.
    pub(crate) load_ppm: u64,
    pub(crate) utilization_ppm: u64,
    pub(crate) memory_ppm: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct Gpu {
    pub(crate) id: SubjectId,
    pub(crate) register: Register,
    pub(crate) demand: Demand,
    seed: u64,
    floor_mw: u64,
    instant_mw: u64,
    temperature_mc: i64,
    ecc_corrected: u64,
}

impl Gpu {
    pub(crate) fn new(id: SubjectId, seed: u64) -> Self {
        Self {
            id,
            register: Register::new(Dial::GPU, noise(seed, 1, 0), POWER_MW_MAX),
            demand: Demand::default(),
            seed,
            // The noise below moves this by at most 0.5 W either way: 66 to 72 W.
            floor_mw: 66_500 + spread(noise(seed, 2, 0), 5_000),
            instant_mw: 0,
            temperature_mc: 34_000,
            ecc_corrected: spread(noise(seed, 3, 0), 40),
        }
    }

    /// Lives the second; its energy is not counted yet.
    pub(crate) fn run(&mut self, demand: Demand, second: i64, inlet_mc: i64) {
        let bits = noise(self.seed, 4, second);
        let idle_mw = self.floor_mw - 500 + spread(bits, 1_000);
        let above_mw = (POWER_MW_MAX - self.floor_mw) * demand.load_ppm / PPM;
        let power_mw = (idle_mw + above_mw).min(POWER_MW_MAX);
        // Power moves within the second; the average is what the register counts.
        let swing_mw = above_mw / 16;
        let instant_mw =
            power_mw - swing_mw.min(power_mw) + spread(bits.rotate_left(32), 2 * swing_mw);
        let target_mc = inlet_mc + 8_000 + reading(power_mw) * 55 / 1_000;
        self.demand = demand;
        self.register.power_mw = power_mw;
        self.instant_mw = instant_mw;
        self.temperature_mc += (target_mc - self.temperature_mc) / 12;
        self.ecc_corrected += u64::from(bits.trailing_zeros() >= 20);
    }

    fn is_active(&self) -> bool {
        matches!(self.demand.tenure, Tenure::Active(_))
    }

    pub(crate) fn power_instant(&self) -> i64 {
        reading(self.instant_mw)
    }

    pub(crate) fn temperature(&self) -> i64 {
        self.temperature_mc
    }

    /// HBM runs a few degrees warmer than the die.
    pub(crate) fn memory_temperature(&self) -> i64 {
        self.temperature_mc + 4_000 + self.register.power() / 100
    }

    pub(crate) fn utilization(&self) -> i64 {
        reading(self.demand.utilization_ppm)
    }

    pub(crate) fn memory_utilization(&self) -> i64 {
        reading(self.demand.utilization_ppm * 3 / 5)
    }

    pub(crate) fn processes(&self) -> i64 {
        i64::from(self.is_active())
    }

    pub(crate) fn memory_used(&self) -> i64 {
        const DRIVER_BYTES: u64 = 550_000_000;
        let rest = MEMORY_BYTES - DRIVER_BYTES;
        let used = u128::from(rest) * u128::from(self.demand.memory_ppm) / u128::from(PPM);
        reading(DRIVER_BYTES + u64::try_from(used).expect("at most the memory's size"))
    }

    pub(crate) fn clock_sm(&self) -> i64 {
        if self.is_active() {
            // The power cap costs clock: 1,980 MHz when free, down to 1,600 at the limit.
            1_980_000_000 - self.register.power() * 380_000_000 / reading(POWER_MW_MAX)
        } else {
            345_000_000
        }
    }

    pub(crate) fn clock_memory(&self) -> i64 {
        2_619_000_000
    }

    pub(crate) fn throttle_reasons(&self) -> i64 {
        let idle = if self.is_active() { 0 } else { REASON_IDLE };
        let capped = self.register.power_mw >= POWER_MW_MAX * 98 / 100;
        reading(idle | if capped { REASON_SOFTWARE_POWER_CAP } else { 0 })
    }

    pub(crate) fn ecc_corrected(&self) -> i64 {
        reading(self.ecc_corrected)
    }
}

/// Energy of GPUs by whose it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// (active, held idle) by place in the specification.
    pub(crate) projects: Vec<(u64, u64)>,
    pub(crate) unallocated: u64,
}

impl Tally {
    pub(crate) fn new(projects: &[ProjectId]) -> Self {
        Self { projects: vec![(0, 0); projects.len()], unallocated: 0 }
    }

    pub(crate) fn count(&mut self, gpu: &Gpu) {
        const HELD: &str = "only projects of the specification hold GPUs";
        let energy = gpu.register.power_mw;
        match gpu.demand.tenure {
            Tenure::Unallocated => self.unallocated += energy,
            Tenure::Active(project) => self.projects.get_mut(project).expect(HELD).0 += energy,
            Tenure::HeldIdle(project) => self.projects.get_mut(project).expect(HELD).1 += energy,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gpu() -> Gpu {
        Gpu::new(SubjectId::new("GPU-SIM-0").expect("a good name"), 7)
    }

    #[test]
    fn idle_draws_66_to_72_watts_and_shows_no_work() {
        let mut gpu = gpu();
        for second in 0..10_000 {
            gpu.run(Demand::default(), second, 22_000);
            assert!((66_000..=72_000).contains(&gpu.register.power_mw));
            assert_eq!((gpu.utilization(), gpu.processes()), (0, 0));
        }
        assert!((30_000..40_000).contains(&gpu.temperature()));
    }

    #[test]
    fn full_load_stays_within_the_limit_and_below_slowdown() {
        let mut gpu = gpu();
        let tenure = Tenure::Active(0);
        let demand = Demand { tenure, load_ppm: PPM, utilization_ppm: PPM, memory_ppm: PPM };
        for second in 0..10_000 {
            gpu.run(demand, second, 22_000);
            assert!(gpu.register.power_mw <= POWER_MW_MAX && gpu.register.power_mw > 690_000);
        }
        assert!((60_000..87_000).contains(&gpu.temperature()));
        assert_eq!(gpu.throttle_reasons(), 0x4);
        assert_eq!(gpu.memory_used(), reading(MEMORY_BYTES));
    }
}
