//! The calls about a GPU that take more than a place for the answer: pairs, selectors and versioned
//! structs.

use std::ffi::{c_int, c_uint, c_ulonglong};

use nvml_wrapper_sys::bindings::{
    nvmlClockType_t, nvmlDevice_t, nvmlEccCounterType_t, nvmlEnableState_t, nvmlFanSpeedInfo_t,
    nvmlMemory_v2_t, nvmlMemoryErrorType_t, nvmlMemoryLocation_t, nvmlReturn_t, nvmlTemperature_t,
    nvmlTemperatureSensors_t,
};

use crate::answer::{Answer, Refusal, code_of, non_null, read_versioned, write, write_pair};
use crate::gpu::Gpu;
use crate::model::EccCounter;
use crate::scenario::Feature;

const SENSOR_GPU: nvmlTemperatureSensors_t = 0;
const LOCATION_DRAM: nvmlMemoryLocation_t = 2;
const LOCATION_SRAM: nvmlMemoryLocation_t = 7;

/// # Safety
///
/// `min_mw` and `max_mw` are null or valid for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetPowerManagementLimitConstraints(
    device: nvmlDevice_t,
    min_mw: *mut c_uint,
    max_mw: *mut c_uint,
) -> nvmlReturn_t {
    let answer = Gpu::of(device).and_then(|gpu| {
        let min_mw = gpu.power_limit_mw(|spec| spec.power_limits.min_mw)?;
        let max_mw = gpu.power_limit_mw(|spec| spec.power_limits.max_mw)?;
        Ok([min_mw, max_mw])
    });
    // SAFETY: passes on this function's contract.
    unsafe { write_pair([min_mw, max_mw], answer) }
}

/// # Safety
///
/// `major` and `minor` are null or valid for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetCudaComputeCapability(
    device: nvmlDevice_t,
    major: *mut c_int,
    minor: *mut c_int,
) -> nvmlReturn_t {
    let answer = Gpu::of(device).map(|gpu| gpu.spec.compute_capability);
    // SAFETY: passes on this function's contract.
    unsafe { write_pair([major, minor], answer) }
}

/// Enabled, and not about to change.
///
/// # Safety
///
/// `current` and `pending` are null or valid for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetEccMode(
    device: nvmlDevice_t,
    current: *mut nvmlEnableState_t,
    pending: *mut nvmlEnableState_t,
) -> nvmlReturn_t {
    let answer = Gpu::of(device).and_then(|gpu| gpu.need(Feature::Ecc).map(|()| [1, 1]));
    // SAFETY: passes on this function's contract.
    unsafe { write_pair([current, pending], answer) }
}

/// Deprecated for [`nvmlDeviceGetTemperatureV`].
///
/// # Safety
///
/// `celsius` is null or valid for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetTemperature(
    device: nvmlDevice_t,
    sensor: nvmlTemperatureSensors_t,
    celsius: *mut c_uint,
) -> nvmlReturn_t {
    let answer = Gpu::of(device).and_then(|gpu| {
        gpu.need_deprecated()?;
        temperature(&gpu, sensor)
    });
    // SAFETY: passes on this function's contract.
    unsafe { write(celsius, answer) }
}

/// # Safety
///
/// `temperature` is null or points to a struct that is valid for reading and writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetTemperatureV(
    device: nvmlDevice_t,
    out: *mut nvmlTemperature_t,
) -> nvmlReturn_t {
    // SAFETY: passes on this function's contract; the version comes first.
    let asked = unsafe { read_versioned::<_, 1>(out, |temperature| temperature.version) };
    let answer = asked.and_then(|asked| {
        let celsius = temperature(&Gpu::of(device)?, asked.sensorType)?;
        let celsius = c_int::try_from(celsius).map_err(|_| Refusal::Unknown)?;
        Ok(nvmlTemperature_t { temperature: celsius, ..asked })
    });
    // SAFETY: passes on this function's contract.
    unsafe { write(out, answer) }
}

/// Here `used` leaves out what is reserved.
///
/// # Safety
///
/// `out` is null or points to a struct that is valid for reading and writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetMemoryInfo_v2(
    device: nvmlDevice_t,
    out: *mut nvmlMemory_v2_t,
) -> nvmlReturn_t {
    // SAFETY: passes on this function's contract.
    let asked = unsafe { read_versioned::<_, 2>(out, |memory| memory.version) };
    let answer = asked.and_then(|asked| {
        let gpu = Gpu::of_any(device)?;
        let first_version = gpu.memory()?;
        let reserved = if gpu.instance().is_some() { 0 } else { gpu.spec.memory.reserved_bytes };
        Ok(nvmlMemory_v2_t {
            version: asked.version,
            total: first_version.total,
            reserved,
            free: first_version.free,
            used: first_version.used.saturating_sub(reserved),
        })
    });
    // SAFETY: passes on this function's contract.
    unsafe { write(out, answer) }
}

/// # Safety
///
/// `mhz` is null or valid for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetClockInfo(
    device: nvmlDevice_t,
    kind: nvmlClockType_t,
    mhz: *mut c_uint,
) -> nvmlReturn_t {
    let answer = Gpu::of(device).and_then(|gpu| clock_mhz(&gpu, kind, gpu.spec.sm_mhz(gpu.at_ms)));
    // SAFETY: passes on this function's contract.
    unsafe { write(mhz, answer) }
}

/// # Safety
///
/// `mhz` is null or valid for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetMaxClockInfo(
    device: nvmlDevice_t,
    kind: nvmlClockType_t,
    mhz: *mut c_uint,
) -> nvmlReturn_t {
    let answer = Gpu::of(device).and_then(|gpu| clock_mhz(&gpu, kind, gpu.spec.clocks.sm_busy_mhz));
    // SAFETY: passes on this function's contract.
    unsafe { write(mhz, answer) }
}

/// # Safety
///
/// `percent` is null or valid for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetFanSpeed_v2(
    device: nvmlDevice_t,
    fan: c_uint,
    percent: *mut c_uint,
) -> nvmlReturn_t {
    let answer = Gpu::of(device).and_then(|gpu| match (gpu.fan_percent()?, fan) {
        (fan_percent, 0) => Ok(fan_percent),
        (_, _) => Err(Refusal::InvalidArgument),
    });
    // SAFETY: passes on this function's contract.
    unsafe { write(percent, answer) }
}

/// # Safety
///
/// `out` is null or points to a struct that is valid for reading and writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetFanSpeedRPM(
    device: nvmlDevice_t,
    out: *mut nvmlFanSpeedInfo_t,
) -> nvmlReturn_t {
    // SAFETY: passes on this function's contract; the version comes first.
    let asked = unsafe { read_versioned::<_, 1>(out, |info| info.version) };
    let answer = asked.and_then(|asked| {
        let gpu = Gpu::of(device)?;
        gpu.need(Feature::Fan)?;
        let rpm = gpu.spec.fan_rpm(gpu.at_ms).ok_or(Refusal::NotSupported)?;
        match asked.fan {
            0 => Ok(nvmlFanSpeedInfo_t { speed: rpm, ..asked }),
            _ => Err(Refusal::InvalidArgument),
        }
    });
    // SAFETY: passes on this function's contract.
    unsafe { write(out, answer) }
}

/// # Safety
///
/// `count` is null or valid for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetTotalEccErrors(
    device: nvmlDevice_t,
    error: nvmlMemoryErrorType_t,
    counter: nvmlEccCounterType_t,
    count: *mut c_ulonglong,
) -> nvmlReturn_t {
    let answer = Gpu::of(device).and_then(|gpu| gpu.ecc_total(ecc_counter(error, counter)?));
    // SAFETY: passes on this function's contract.
    unsafe { write(count, answer) }
}

/// All errors of a scenario are in DRAM.
///
/// # Safety
///
/// `count` is null or valid for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetMemoryErrorCounter(
    device: nvmlDevice_t,
    error: nvmlMemoryErrorType_t,
    counter: nvmlEccCounterType_t,
    location: nvmlMemoryLocation_t,
    count: *mut c_ulonglong,
) -> nvmlReturn_t {
    let answer = Gpu::of(device).and_then(|gpu| {
        let total = gpu.ecc_total(ecc_counter(error, counter)?)?;
        match location {
            LOCATION_DRAM => Ok(total),
            LOCATION_SRAM => Ok(0),
            _ => Err(Refusal::NotSupported),
        }
    });
    // SAFETY: passes on this function's contract.
    unsafe { write(count, answer) }
}

/// # Safety
///
/// Each of the four places is null or valid for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetRemappedRows(
    device: nvmlDevice_t,
    correctable: *mut c_uint,
    uncorrectable: *mut c_uint,
    is_pending: *mut c_uint,
    has_failed: *mut c_uint,
) -> nvmlReturn_t {
    let places = non_null(correctable).and(non_null(uncorrectable));
    let places = places.and(non_null(is_pending)).and(non_null(has_failed));
    let answer = places.and_then(|()| Gpu::of(device)).and_then(|gpu| gpu.remapped_rows());
    code_of(answer.map(|rows| {
        // SAFETY: none of them is null, so each is valid by this function's contract.
        unsafe {
            correctable.write(rows.correctable);
            uncorrectable.write(rows.uncorrectable);
            is_pending.write(u32::from(rows.is_pending));
            has_failed.write(u32::from(rows.has_failed));
        }
    }))
}

fn temperature(gpu: &Gpu, sensor: nvmlTemperatureSensors_t) -> Answer<u32> {
    if sensor == SENSOR_GPU { gpu.temperature_celsius() } else { Err(Refusal::InvalidArgument) }
}

fn clock_mhz(gpu: &Gpu, kind: nvmlClockType_t, sm_mhz: u32) -> Answer<u32> {
    gpu.need(Feature::Clocks)?;
    match kind {
        // Graphics and SM.
        0 | 1 => Ok(sm_mhz),
        2 => Ok(gpu.spec.clocks.memory_mhz),
        3 => Ok(gpu.spec.clocks.video_mhz),
        _ => Err(Refusal::InvalidArgument),
    }
}

fn ecc_counter(error: nvmlMemoryErrorType_t, counter: nvmlEccCounterType_t) -> Answer<EccCounter> {
    let is_corrected = one_of_two(error)?;
    let is_volatile = one_of_two(counter)?;
    Ok(EccCounter { is_corrected, is_volatile })
}

/// Whether it is the first, number 0, of two.
fn one_of_two(number: c_uint) -> Answer<bool> {
    match number {
        0 => Ok(true),
        1 => Ok(false),
        _ => Err(Refusal::InvalidArgument),
    }
}
