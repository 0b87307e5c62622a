//! A GPU as one call sees it: looked up, awake, not lost, at one moment of scenario time.
//!
//! # Invariants
//!
//! - A handle is a number in the clothes of a pointer, see [`Handle`]. It is never followed, so any
//!   handle, stale or invented, can be refused.
//! - Everything a call answers is taken at [`Gpu::at_ms`], so a batch of fields is of one moment,
//!   and its time stamp less the epoch is the scenario time that a test must ask for.

use std::sync::Arc;

use nvml_wrapper_sys::bindings::{nvmlDevice_t, nvmlMemory_t, nvmlUtilization_t};

use crate::answer::{Answer, Refusal};
use crate::driver::{self, Driver};
use crate::handle::Handle;
use crate::model::{EccCounter, RemappedNow, SENTINEL_32, SramNow};
use crate::refusals;
use crate::scenario::{
    Feature, GpuSpec, Histogram, Inforom, MigInstance, Pcie, PowerUsage, Process,
};

#[derive(Debug)]
pub(crate) struct Gpu {
    pub(crate) driver: Arc<Driver>,
    pub(crate) spec: Arc<GpuSpec>,
    handle: Handle,
    pub(crate) index: u32,
    pub(crate) at_ms: u64,
    /// The same moment as NVML's time stamps show it.
    pub(crate) at_utc_us: u64,
}

impl Gpu {
    /// A GPU as a whole; what is asked of one of its instances is not supported.
    pub(crate) fn of(device: nvmlDevice_t) -> Answer<Self> {
        let gpu = Self::of_any(device)?;
        if gpu.handle.instance.is_none() { Ok(gpu) } else { Err(Refusal::NotSupported) }
    }

    /// A GPU or a MIG instance of it. Waits as long as the GPU hangs, then refuses if it is lost.
    pub(crate) fn of_any(device: nvmlDevice_t) -> Answer<Self> {
        let driver = driver::current()?;
        let handle = Handle::from_raw(device)?;
        let gpu = driver.scenario.gpus.get(handle.place).ok_or(Refusal::InvalidArgument)?;
        if let Some(end_ms) = gpu.faults.hangs_until_ms(driver.clock.now_ms()) {
            driver.clock.sleep_until_ms(end_ms);
        }
        let at_us = driver.clock.now_us();
        let (at_ms, at_utc_us) = (at_us / 1_000, driver.clock.utc_us(at_us));
        let spec = driver.board(handle.place, at_ms).ok_or(Refusal::InvalidArgument)?;
        let mut present = driver.present(at_ms).into_iter();
        let index = present.position(|place| place == handle.place).ok_or(Refusal::GpuIsLost)?;
        let index = u32::try_from(index).map_err(|_| Refusal::InvalidArgument)?;
        if handle.generation != driver.generation() || spec.faults.is_lost(at_ms) {
            return Err(Refusal::GpuIsLost);
        }
        let gpu = Self { driver, spec, handle, index, at_ms, at_utc_us };
        match gpu.handle.instance {
            Some(_) if gpu.instance().is_none() => Err(Refusal::InvalidArgument),
            Some(_) | None => Ok(gpu),
        }
    }

    /// Where it sits, whatever has been removed before it.
    pub(crate) fn place(&self) -> usize {
        self.handle.place
    }

    pub(crate) fn handle(&self) -> Handle {
        self.handle
    }

    /// The MIG instance that was asked for: its rank and what it is. None: the GPU as a whole.
    pub(crate) fn instance(&self) -> Option<(usize, &MigInstance)> {
        let mut live = self.instances().enumerate();
        let found = live.find(|(_, (number, _))| Some(*number) == self.handle.instance);
        found.map(|(rank, (_, instance))| (rank, instance))
    }

    /// All there are at this moment, each with its number in the scenario.
    pub(crate) fn instances(&self) -> impl Iterator<Item = (usize, &MigInstance)> {
        self.spec.mig.iter().flat_map(|mig| mig.live(self.at_ms))
    }

    pub(crate) fn is_mig_on(&self) -> bool {
        self.spec.mig.as_ref().is_some_and(|mig| mig.is_on(self.at_ms))
    }

    /// For what NVML refuses of a GPU in MIG mode.
    fn need_whole(&self) -> Answer<()> {
        if !self.is_mig_on() {
            return Ok(());
        }
        refusals::note(&self.spec.uuid, "of a GPU in MIG mode");
        Err(Refusal::NotSupported)
    }

    pub(crate) fn need(&self, feature: Feature) -> Answer<()> {
        if !self.spec.faults.unsupported.contains(&feature) {
            return Ok(());
        }
        refusals::note(&self.spec.uuid, feature);
        Err(Refusal::NotSupported)
    }

    /// For the calls that CUDA 13 deprecates.
    pub(crate) fn need_deprecated(&self) -> Answer<()> {
        if !self.driver.scenario.driver.is_refusing_deprecated {
            return Ok(());
        }
        refusals::note(&self.spec.uuid, "deprecated");
        Err(Refusal::Deprecated)
    }

    pub(crate) fn serial(&self) -> Answer<String> {
        self.need(Feature::Serial)?;
        Ok(self.spec.serial.clone())
    }

    pub(crate) fn energy_mj(&self) -> Answer<u64> {
        self.need(Feature::Energy)?;
        Ok(self.spec.energy_mj(self.at_ms))
    }

    pub(crate) fn power_usage_mw(&self) -> Answer<u32> {
        self.need(Feature::PowerUsage)?;
        Ok(match self.spec.power_usage {
            PowerUsage::Average => self.spec.power_average_mw(self.at_ms),
            PowerUsage::Instant => self.spec.power_instant_mw(self.at_ms),
        })
    }

    pub(crate) fn power_limit_mw(&self, read: fn(&GpuSpec) -> u32) -> Answer<u32> {
        self.need(Feature::PowerLimits)?;
        Ok(read(&self.spec))
    }

    pub(crate) fn temperature_celsius(&self) -> Answer<u32> {
        self.need(Feature::Temperature)?;
        if self.spec.has_temperature_sentinel(self.at_ms) {
            return Ok(SENTINEL_32);
        }
        Ok(self.spec.temperature_celsius(self.at_ms))
    }

    pub(crate) fn utilization(&self) -> Answer<nvmlUtilization_t> {
        self.need(Feature::Utilization)?;
        self.need_whole()?;
        let [gpu, memory] = self.spec.utilization_percent(self.at_ms);
        Ok(nvmlUtilization_t { gpu, memory })
    }

    /// Here `used` includes what is reserved, as in the first version of the call.
    pub(crate) fn memory(&self) -> Answer<nvmlMemory_t> {
        self.need(Feature::Memory)?;
        let memory = &self.spec.memory;
        let (total, used) = match self.instance() {
            Some((_, instance)) => {
                let own = self.processes()?.into_iter().map(|process| process.used_bytes);
                (instance.memory_bytes(memory), own.fold(0, u64::saturating_add))
            }
            None => {
                let used = self.spec.memory_used_bytes(self.at_ms);
                (memory.total_bytes, used.saturating_add(memory.reserved_bytes))
            }
        };
        Ok(nvmlMemory_t { total, free: total.saturating_sub(used), used })
    }

    /// Of the instance, if one was asked for.
    pub(crate) fn processes(&self) -> Answer<Vec<Process>> {
        self.need(Feature::Processes)?;
        let mut processes = self.spec.running(self.at_ms);
        if let Some((_, MigInstance { gi_id, ci_id, .. })) = self.instance() {
            let is_own = |process: &Process| {
                process.gi_id == Some(*gi_id) && process.ci_id.unwrap_or(0) == *ci_id
            };
            processes.retain(is_own);
        }
        Ok(processes)
    }

    /// P0 while busy, P8 while idle.
    pub(crate) fn performance_state(&self) -> Answer<u32> {
        self.need(Feature::Clocks)?;
        Ok(if self.spec.is_idle(self.at_ms) { 8 } else { 0 })
    }

    pub(crate) fn throttle_bits(&self) -> Answer<u64> {
        self.need(Feature::Throttle)?;
        Ok(self.spec.throttle_bits(self.at_ms))
    }

    pub(crate) fn fan_percent(&self) -> Answer<u32> {
        self.need(Feature::Fan)?;
        self.spec.fan_percent(self.at_ms).ok_or(Refusal::NotSupported)
    }

    /// Refused while there are MIG instances.
    pub(crate) fn remapped_rows(&self) -> Answer<RemappedNow> {
        self.need(Feature::RemappedRows)?;
        if self.instances().next().is_some() {
            return Err(Refusal::NotSupported);
        }
        Ok(self.spec.remapped_rows.at(self.at_ms))
    }

    pub(crate) fn row_histogram(&self) -> Answer<Histogram> {
        self.need(Feature::RemappedRows)?;
        Ok(self.spec.remapped_rows.at(self.at_ms).histogram)
    }

    pub(crate) fn sram(&self) -> Answer<SramNow> {
        self.need(Feature::Sram)?;
        Ok(self.spec.sram.at(self.at_ms))
    }

    pub(crate) fn margin_celsius(&self) -> Answer<i32> {
        self.need(Feature::TLimit)?;
        Ok(self.spec.margin_celsius(self.at_ms))
    }

    pub(crate) fn pcie(&self, read: fn(&Pcie) -> u32) -> Answer<u32> {
        self.need(Feature::Pcie)?;
        Ok(read(&self.spec.pcie))
    }

    /// Empty is not supported.
    pub(crate) fn inforom(&self, read: fn(&Inforom) -> &String) -> Answer<String> {
        self.need(Feature::Inforom)?;
        let version = read(&self.spec.inforom);
        if version.is_empty() { Err(Refusal::NotSupported) } else { Ok(version.clone()) }
    }

    pub(crate) fn ecc_total(&self, counter: EccCounter) -> Answer<u64> {
        self.need(Feature::Ecc)?;
        Ok(self.spec.ecc_total(counter, self.at_ms))
    }
}
