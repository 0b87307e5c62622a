//! NVML itself, through `nvml-wrapper`: the only file that names it.
//!
//! # Traps
//! - Results of a field batch are matched by position: drivers from 580.82 renumbered some fields.
//! - A field whose own return code is success but whose type is no unsigned integer was not
//!   filled in. Believing it would book a double's bits as power.

use std::path::Path;
use std::sync::Arc;

use nvml_wrapper::enum_wrappers::device::{Clock, EccCounter, MemoryError, TemperatureSensor};
use nvml_wrapper::enums::device::SampleValue;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::struct_wrappers::device::FieldValueSample;
use nvml_wrapper::structs::device::FieldId;
use nvml_wrapper::sys_exports::field_id::{
    NVML_FI_DEV_MEMORY_TEMP, NVML_FI_DEV_POWER_AVERAGE, NVML_FI_DEV_POWER_INSTANT,
    NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION,
};
use nvml_wrapper::{Device, Nvml};

use super::{Ask, Fields, GpuError, GpuLibrary, GpuReader, Identity};
use crate::probe::ProbeError;

const FIELDS: [FieldId; 4] = [
    FieldId(NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION),
    FieldId(NVML_FI_DEV_POWER_AVERAGE),
    FieldId(NVML_FI_DEV_POWER_INSTANT),
    FieldId(NVML_FI_DEV_MEMORY_TEMP),
];

/// Opens the library at `path` for the rest of the process's life.
pub(super) fn open(path: &Path) -> Result<Arc<dyn GpuLibrary>, ProbeError> {
    let nvml = Nvml::builder().lib_path(path.as_os_str()).init().map_err(|error| {
        ProbeError::Library { library: path.display().to_string(), reason: words(&error) }
    })?;
    // Leaked on purpose, once per process: GPUs borrow it on threads of their own for as long as
    // the agent runs, and closing it could unload the driver and with it the energy registers.
    Ok(Arc::new(Library { nvml: Box::leak(Box::new(nvml)) }))
}

struct Library {
    nvml: &'static Nvml,
}

impl GpuLibrary for Library {
    fn driver_version(&self) -> Result<String, GpuError> {
        self.nvml.sys_driver_version().map_err(said)
    }

    fn count(&self) -> Result<u32, GpuError> {
        self.nvml.device_count().map_err(said)
    }

    fn uuid(&self, index: u32) -> Result<String, GpuError> {
        self.nvml.device_by_index(index).and_then(|device| device.uuid()).map_err(said)
    }

    fn open(&self, uuid: &str) -> Result<Box<dyn GpuReader>, GpuError> {
        let device = self.nvml.device_by_uuid(uuid).map_err(said)?;
        Ok(Box::new(Gpu { device }))
    }
}

struct Gpu {
    device: Device<'static>,
}

impl GpuReader for Gpu {
    fn identity(&self) -> Identity {
        let constraints = self.device.power_management_limit_constraints().ok();
        Identity {
            index: self.device.index().ok(),
            name: self.device.name().unwrap_or_default(),
            serial: self.device.serial().unwrap_or_default(),
            power_mw_max: constraints.map(|limits| u64::from(limits.max_limit)),
            is_mig: self.device.mig_mode().is_ok_and(|mode| mode.current != 0),
        }
    }

    fn fields(&mut self) -> Result<Fields, GpuError> {
        let answers = self.device.field_values_for(&FIELDS).map_err(said)?;
        let mut answers = answers.into_iter();
        let mut next = || match answers.next() {
            Some(Ok(answer)) => unsigned(answer),
            Some(Err(error)) => Err(said(error)),
            None => Err(GpuError::Other("the driver answered fewer fields than asked".to_owned())),
        };
        Ok(Fields {
            energy_mj: next(),
            power_average_mw: next(),
            power_instant_mw: next(),
            memory_celsius: next(),
        })
    }

    fn ask(&mut self, question: Ask) -> Result<u64, GpuError> {
        let gpu = &self.device;
        let ecc = |kind| gpu.total_ecc_errors(kind, EccCounter::Aggregate);
        let answer = match question {
            Ask::Energy => gpu.total_energy_consumption(),
            Ask::Power => gpu.power_usage().map(u64::from),
            Ask::Celsius => gpu.temperature(TemperatureSensor::Gpu).map(u64::from),
            Ask::Utilization => gpu.utilization_rates().map(|rates| u64::from(rates.gpu)),
            Ask::MemoryUtilization => gpu.utilization_rates().map(|rates| u64::from(rates.memory)),
            Ask::PowerLimit => gpu.enforced_power_limit().map(u64::from),
            Ask::MemoryUsed => gpu.memory_info().map(|memory| memory.used),
            Ask::MemorySize => gpu.memory_info().map(|memory| memory.total),
            Ask::ClockSm => gpu.clock_info(Clock::SM).map(u64::from),
            Ask::ClockMemory => gpu.clock_info(Clock::Memory).map(u64::from),
            Ask::ThrottleReasons => gpu.current_throttle_reasons_strict().map(|bits| bits.bits()),
            Ask::Processes => gpu.running_compute_processes_count().map(u64::from),
            Ask::EccCorrected => ecc(MemoryError::Corrected),
            Ask::EccUncorrected => ecc(MemoryError::Uncorrected),
        };
        match answer {
            // Bits that the wrapper does not know are bits all the same.
            Err(NvmlError::IncorrectBits(nvml_wrapper::error::Bits::U64(bits))) => Ok(bits),
            answer => answer.map_err(said),
        }
    }
}

fn unsigned(answer: FieldValueSample) -> Result<u64, GpuError> {
    match answer.value.map_err(said)? {
        SampleValue::U32(value) => Ok(u64::from(value)),
        SampleValue::U64(value) => Ok(value),
        SampleValue::I64(value) => {
            u64::try_from(value).map_err(|_| GpuError::Other(format!("a negative value: {value}")))
        }
        SampleValue::F64(_) => {
            Err(GpuError::Other("the driver left the field without a value".to_owned()))
        }
    }
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
