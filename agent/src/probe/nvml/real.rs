//! NVML itself, through `nvml-wrapper`, and through its bindings for what that lacks. Only this
//! file and those below it name them.

use std::path::Path;
use std::sync::Arc;

use bijli_wire::SubjectId;
use nvml_wrapper::enum_wrappers::device::{Clock, EccCounter, MemoryError, TemperatureSensor};
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device, Nvml};

use super::library::{
    Answer, Ask, DriverNews, Field, GpuError, GpuLibrary, GpuReader, Identity, Told,
};
use crate::probe::ProbeError;
use crate::probe::numbers::{Instance, Mig};

mod raw;

use raw::{Handle, News};

/// More fans than any board has.
const FANS_MAX: u32 = 16;

/// Opens the library at `path`; it is closed when the last reader is gone.
pub(super) fn open(path: &Path) -> Result<Arc<dyn GpuLibrary>, ProbeError> {
    let nvml = Nvml::builder().lib_path(path.as_os_str()).init().map_err(|error| {
        ProbeError::Library { library: path.display().to_string(), reason: words(&error) }
    })?;
    Ok(Arc::new(Library { nvml }))
}

struct Library {
    nvml: Nvml,
}

impl GpuLibrary for Library {
    fn driver_version(&self) -> Answer<String> {
        self.nvml.sys_driver_version().map_err(said)
    }

    fn count(&self) -> Answer<u32> {
        self.nvml.device_count().map_err(said)
    }

    fn uuid(&self, index: u32) -> Answer<String> {
        self.nvml.device_by_index(index).and_then(|device| device.uuid()).map_err(said)
    }

    fn minor(&self, index: u32) -> Answer<u32> {
        self.nvml.device_by_index(index).and_then(|device| device.minor_number()).map_err(said)
    }

    fn mig(&self, index: u32) -> Answer<Option<Mig>> {
        let gpu = self.nvml.device_by_index(index).map_err(said)?;
        match gpu.mig_mode().map_err(said) {
            Err(GpuError::NotSupported) => return Ok(None),
            Ok(mode) if mode.current == 0 => return Ok(None),
            Ok(_) => {}
            Err(error) => return Err(error),
        }
        let of = gpu.mig_device_count().map_err(said)?;
        // Places without an instance answer that there is none.
        let there = (0..of).filter_map(|place| gpu.mig_device_by_index(place).ok());
        let instances = there.map(|device| self.instance(&device)).collect::<Result<_, _>>()?;
        Ok(Some(Mig { of, instances }))
    }

    fn open(self: Arc<Self>, uuid: &str) -> Answer<Box<dyn GpuReader>> {
        let handle = Handle::of(&self.nvml.device_by_uuid(uuid).map_err(said)?);
        let news = News::register(&self.nvml, handle);
        Ok(Box::new(Gpu { library: self, handle, news }))
    }
}

impl Library {
    fn instance(&self, device: &Device<'_>) -> Answer<Instance> {
        let uuid = device.uuid().map_err(said)?;
        let slices = device.attributes().map_err(said)?.compute_instance_slice_count;
        let id = SubjectId::new(&uuid).map_err(|error| GpuError::Other(error.to_string()))?;
        let gi = raw::gpu_instance(&self.nvml, Handle::of(device))?;
        Ok(Instance { id, gi, slices })
    }
}

struct Gpu {
    library: Arc<Library>,
    handle: Handle,
    /// `None`: this GPU tells no events.
    news: Option<News>,
}

impl Gpu {
    fn device(&self) -> Device<'_> {
        self.handle.device(&self.library.nvml)
    }

    fn fastest_fan(&self) -> Answer<i64> {
        let device = self.device();
        let fans = device.num_fans().map_err(said)?.min(FANS_MAX);
        let speeds = (0..fans).map(|fan| device.fan_speed(fan).map(i64::from));
        let speeds: Vec<i64> = speeds.collect::<Result<_, _>>().map_err(said)?;
        speeds.into_iter().max().ok_or(GpuError::NotSupported)
    }

    fn mig_instances(&self) -> Answer<i64> {
        let device = self.device();
        if device.mig_mode().map_err(said)?.current == 0 {
            return Ok(0);
        }
        let places = device.mig_device_count().map_err(said)?;
        let is_there = |place: &u32| device.mig_device_by_index(*place).is_ok();
        i64::try_from((0..places).filter(is_there).count()).map_err(|_| beyond())
    }
}

impl GpuReader for Gpu {
    fn identity(&self) -> Identity {
        let device = self.device();
        let constraints = device.power_management_limit_constraints().ok();
        Identity {
            index: device.index().ok(),
            name: device.name().unwrap_or_default(),
            serial: device.serial().unwrap_or_default(),
            pci: device.pci_info().map(|pci| pci.bus_id).unwrap_or_default(),
            power_mw_max: constraints.map(|limits| u64::from(limits.max_limit)),
            is_mig: device.mig_mode().is_ok_and(|mode| mode.current != 0),
            links: raw::links(&self.library.nvml, self.handle),
        }
    }

    fn fields(&mut self, asked: &[Field]) -> Answer<Vec<Answer<Told>>> {
        raw::fields(&self.library.nvml, self.handle, asked)
    }

    fn ask(&mut self, question: Ask) -> Answer<i64> {
        let gpu = self.device();
        let nvml = &self.library.nvml;
        let ecc = |kind| gpu.total_ecc_errors(kind, EccCounter::Aggregate).map_err(said);
        match question {
            Ask::Energy => gpu.total_energy_consumption().map_err(said).and_then(whole),
            Ask::Power => told(gpu.power_usage()),
            // The elder call is deprecated from CUDA 13 on.
            Ask::Celsius => match raw::celsius(nvml, self.handle) {
                Err(GpuError::NotSupported) => told(gpu.temperature(TemperatureSensor::Gpu)),
                answer => answer,
            },
            Ask::MarginCelsius => raw::margin_celsius(nvml, self.handle),
            Ask::Utilization => told(gpu.utilization_rates().map(|rates| rates.gpu)),
            Ask::MemoryUtilization => told(gpu.utilization_rates().map(|rates| rates.memory)),
            Ask::PowerLimit => told(gpu.enforced_power_limit()),
            Ask::MemoryUsed => {
                gpu.memory_info().map_err(said).and_then(|memory| whole(memory.used))
            }
            Ask::MemorySize => {
                gpu.memory_info().map_err(said).and_then(|memory| whole(memory.total))
            }
            Ask::ClockSm => told(gpu.clock_info(Clock::SM)),
            Ask::ClockMemory => told(gpu.clock_info(Clock::Memory)),
            Ask::ThrottleReasons => match raw::clock_reasons(nvml, self.handle) {
                Err(GpuError::NotSupported) => elder_reasons(&gpu),
                answer => answer,
            },
            Ask::PerformanceState => raw::performance_state(nvml, self.handle),
            Ask::Processes => told(gpu.running_compute_processes_count()),
            Ask::Fan => self.fastest_fan(),
            Ask::EccCorrected => ecc(MemoryError::Corrected).and_then(whole),
            Ask::EccUncorrected => ecc(MemoryError::Uncorrected).and_then(whole),
            Ask::SramThreshold => raw::sram_threshold(nvml, self.handle),
            Ask::RemapBanksSpent => raw::remap_banks_spent(nvml, self.handle),
            Ask::PcieGeneration => told(gpu.current_pcie_link_gen()),
            Ask::PcieWidth => told(gpu.current_pcie_link_width()),
            Ask::FabricState => raw::fabric_state(nvml, self.handle),
            Ask::MigInstances => self.mig_instances(),
        }
    }

    fn news(&mut self) -> Vec<DriverNews> {
        self.news.as_ref().map(|news| news.take(&self.library.nvml)).unwrap_or_default()
    }
}

impl Drop for Gpu {
    fn drop(&mut self) {
        if let Some(news) = self.news.take() {
            news.free(&self.library.nvml);
        }
    }
}

fn elder_reasons(gpu: &Device<'_>) -> Answer<i64> {
    match gpu.current_throttle_reasons_strict() {
        Ok(bits) => whole(bits.bits()),
        // Bits that the wrapper does not know are bits all the same.
        Err(NvmlError::IncorrectBits(nvml_wrapper::error::Bits::U64(bits))) => whole(bits),
        Err(error) => Err(said(error)),
    }
}

fn told(answer: Result<u32, NvmlError>) -> Answer<i64> {
    answer.map(i64::from).map_err(said)
}

fn whole(value: u64) -> Answer<i64> {
    i64::try_from(value).map_err(|_| beyond())
}

fn beyond() -> GpuError {
    GpuError::Other("a value beyond what can be".to_owned())
}

#[expect(clippy::wildcard_enum_match_arm, reason = "not our enum")]
fn said(error: NvmlError) -> GpuError {
    match error {
        NvmlError::NotSupported
        | NvmlError::FunctionNotFound
        | NvmlError::FailedToLoadSymbol(_)
        // Version mismatch and deprecated, which the wrapper does not know: this driver refuses
        // for good.
        | NvmlError::UnexpectedVariant(25 | 26) => GpuError::NotSupported,
        NvmlError::NoPermission => GpuError::NotPermitted,
        NvmlError::GpuLost | NvmlError::ResetRequired => GpuError::Lost,
        NvmlError::Uninitialized | NvmlError::DriverNotLoaded | NvmlError::LibRmVersionMismatch => {
            GpuError::Gone
        }
        other => GpuError::Other(words(&other)),
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "not our enum")]
fn words(error: &NvmlError) -> String {
    match error {
        NvmlError::LibloadingError(_) => format!("{error} (is the NVIDIA driver installed?)"),
        NvmlError::DriverNotLoaded => "the NVIDIA driver is not loaded".to_owned(),
        other => other.to_string(),
    }
}
