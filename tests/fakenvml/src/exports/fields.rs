//! `nvmlDeviceGetFieldValues`: many values of one moment, each with its own return code and type.

use std::ffi::{c_int, c_uint};

use nvml_wrapper_sys::bindings::field_id as id;
use nvml_wrapper_sys::bindings::{nvmlDevice_t, nvmlFieldValue_t, nvmlReturn_t, nvmlValue_t};

use crate::answer::{Answer, Refusal, SUCCESS, code_of, non_null};
use crate::gpu::Gpu;
use crate::model::{EccCounter, SENTINEL_64};
use crate::scenario::{Feature, Module, TLimit};

mod links;
mod remapped;

/// `NVML_POWER_SCOPE_*`.
const SCOPE_GPU: c_uint = 0;
const SCOPE_MODULE: c_uint = 1;
/// `nvmlValueType_t`.
const TYPE_DOUBLE: u32 = 0;
const TYPE_UNSIGNED_INT: u32 = 1;
const TYPE_UNSIGNED_LONG_LONG: u32 = 3;
const TYPE_SIGNED_INT: u32 = 5;
/// What a field that fails leaves in its value: the milliwatts that PAPI once took for a power.
const RUBBISH: u64 = 4_991_201_436_214_789_335;
/// The throttle durations moved up by this much at driver 580.82.
const RENUMBERED_BY: u32 = 18;

/// Bits of `nvmlClocksEventReason*`.
const SW_POWER_CAP: u64 = 0x4;
const SYNC_BOOST: u64 = 0x10;
const SW_THERMAL: u64 = 0x20;
const HW_THERMAL: u64 = 0x40;
const HW_POWER_BRAKE: u64 = 0x80;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Value {
    Narrow(u32),
    Wide(u64),
    Signed(i32),
}

/// # Safety
///
/// `values` is null or points to `count` structs that are valid for reading and writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetFieldValues(
    device: nvmlDevice_t,
    count: c_int,
    values: *mut nvmlFieldValue_t,
) -> nvmlReturn_t {
    let count = usize::try_from(count).map_err(|_| Refusal::InvalidArgument);
    let count = count.and_then(|count| non_null(values).map(|()| count));
    let gpu = Gpu::of(device).and_then(|gpu| gpu.need(Feature::Fields).map(|()| gpu));
    code_of(gpu.and_then(|gpu| {
        // SAFETY: `values` is not null where the count is Ok, and the caller owns `count` of them.
        let values = unsafe { std::slice::from_raw_parts_mut(values, count?) };
        for value in values {
            fill(&gpu, value);
        }
        Ok(())
    }))
}

fn fill(gpu: &Gpu, place: &mut nvmlFieldValue_t) {
    place.timestamp = i64::try_from(gpu.at_utc_us).unwrap_or(i64::MAX);
    place.latencyUsec = 0;
    // The union is cleared as a whole before its smaller members are set.
    place.value = nvmlValue_t { ullVal: 0 };
    if gpu.spec.faults.failing_fields.contains(&place.fieldId) {
        place.value = nvmlValue_t { ullVal: RUBBISH };
        place.nvmlReturn = Refusal::Unknown.code();
        return;
    }
    match read(gpu, place.fieldId, place.scopeId) {
        Ok(value) if gpu.spec.faults.wrong_type_fields.contains(&place.fieldId) => {
            place.nvmlReturn = SUCCESS;
            place.valueType = TYPE_DOUBLE;
            place.value.dVal = value.as_double();
        }
        Ok(value) => {
            place.nvmlReturn = SUCCESS;
            value.write_to(place);
        }
        Err(refusal) => place.nvmlReturn = refusal.code(),
    }
}

impl Value {
    fn write_to(self, place: &mut nvmlFieldValue_t) {
        match self {
            Self::Narrow(value) => {
                place.valueType = TYPE_UNSIGNED_INT;
                place.value.uiVal = value;
            }
            Self::Wide(value) => {
                place.valueType = TYPE_UNSIGNED_LONG_LONG;
                place.value.ullVal = value;
            }
            Self::Signed(value) => {
                place.valueType = TYPE_SIGNED_INT;
                place.value.siVal = value;
            }
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a wrong type is the fault that is scripted")]
    fn as_double(self) -> f64 {
        match self {
            Self::Narrow(value) => value.into(),
            Self::Wide(value) => value as f64,
            Self::Signed(value) => value.into(),
        }
    }
}

fn read(gpu: &Gpu, field: c_uint, scope: c_uint) -> Answer<Value> {
    match field {
        id::NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION => gpu.energy_mj().map(Value::Wide),
        id::NVML_FI_DEV_POWER_AVERAGE..=id::NVML_FI_DEV_POWER_REQUESTED_LIMIT => match scope {
            SCOPE_GPU => power(gpu, field),
            SCOPE_MODULE => module_power(gpu, field),
            _ => Err(Refusal::NotSupported),
        },
        id::NVML_FI_DEV_TEMPERATURE_SHUTDOWN_TLIMIT => t_limit(gpu, |t| t.shutdown_celsius),
        id::NVML_FI_DEV_TEMPERATURE_SLOWDOWN_TLIMIT => t_limit(gpu, |t| t.slowdown_celsius),
        id::NVML_FI_DEV_TEMPERATURE_MEM_MAX_TLIMIT => t_limit(gpu, |t| t.memory_max_celsius),
        id::NVML_FI_DEV_TEMPERATURE_GPU_MAX_TLIMIT => t_limit(gpu, |t| t.gpu_max_celsius),
        id::NVML_FI_DEV_MEMORY_TEMP => memory_temperature(gpu),
        id::NVML_FI_DEV_ECC_CURRENT | id::NVML_FI_DEV_ECC_PENDING => {
            gpu.need(Feature::Ecc).map(|()| Value::Narrow(1))
        }
        id::NVML_FI_DEV_ECC_SBE_VOL_TOTAL => ecc(gpu, true, true),
        id::NVML_FI_DEV_ECC_DBE_VOL_TOTAL => ecc(gpu, false, true),
        id::NVML_FI_DEV_ECC_SBE_AGG_TOTAL => ecc(gpu, true, false),
        id::NVML_FI_DEV_ECC_DBE_AGG_TOTAL => ecc(gpu, false, false),
        id::NVML_FI_DEV_REMAPPED_COR..=id::NVML_FI_DEV_REMAPPED_FAILURE => {
            remapped::read(gpu, field)
        }
        id::NVML_FI_DEV_GET_GPU_RECOVERY_ACTION => {
            gpu.need(Feature::RecoveryAction)?;
            Ok(Value::Narrow(gpu.spec.recovery_action(gpu.at_ms)))
        }
        _ if links::has(field) => links::read(gpu, field, scope),
        _ => throttled(gpu, field),
    }
}

/// All of these at the GPU's own scope.
fn power(gpu: &Gpu, field: c_uint) -> Answer<Value> {
    let limit = |read| gpu.power_limit_mw(read).map(Value::Narrow);
    let is_power = matches!(field, id::NVML_FI_DEV_POWER_AVERAGE | id::NVML_FI_DEV_POWER_INSTANT);
    if is_power && gpu.spec.module.as_ref().is_some_and(|m| m.gpu_scope_power_unsupported) {
        return Err(Refusal::NotSupported);
    }
    match field {
        id::NVML_FI_DEV_POWER_AVERAGE => {
            gpu.need(Feature::PowerAverage)?;
            Ok(Value::Narrow(gpu.spec.power_average_mw(gpu.at_ms)))
        }
        id::NVML_FI_DEV_POWER_INSTANT => {
            gpu.need(Feature::PowerInstant)?;
            Ok(Value::Narrow(gpu.spec.power_instant_mw(gpu.at_ms)))
        }
        id::NVML_FI_DEV_POWER_MIN_LIMIT => limit(|spec| spec.power_limits.min_mw),
        id::NVML_FI_DEV_POWER_MAX_LIMIT => limit(|spec| spec.power_limits.max_mw),
        id::NVML_FI_DEV_POWER_DEFAULT_LIMIT => limit(|spec| spec.power_limits.default_mw),
        id::NVML_FI_DEV_POWER_CURRENT_LIMIT => limit(|spec| spec.power_limits.enforced_mw),
        id::NVML_FI_DEV_POWER_REQUESTED_LIMIT => limit(|spec| spec.power_limits.requested_mw),
        id::NVML_FI_DEV_ENERGY => gpu.energy_mj().map(Value::Wide),
        _ => Err(Refusal::NotSupported),
    }
}

/// The same at the scope of the module. What the GPU's board lacks, its module lacks too.
fn module_power(gpu: &Gpu, field: c_uint) -> Answer<Value> {
    let module: &Module = gpu.spec.module.as_ref().ok_or(Refusal::NotSupported)?;
    let (narrow, feature) = match field {
        id::NVML_FI_DEV_ENERGY => {
            gpu.need(Feature::Energy)?;
            let energy_mj = gpu.spec.module_energy_mj(gpu.at_ms);
            return energy_mj.map(Value::Wide).ok_or(Refusal::NotSupported);
        }
        id::NVML_FI_DEV_POWER_AVERAGE => {
            (gpu.spec.module_power_average_mw(gpu.at_ms), Feature::PowerAverage)
        }
        id::NVML_FI_DEV_POWER_INSTANT => {
            (gpu.spec.module_power_instant_mw(gpu.at_ms), Feature::PowerInstant)
        }
        id::NVML_FI_DEV_POWER_MIN_LIMIT => (None, Feature::PowerLimits),
        _ => (module.limit_mw, Feature::PowerLimits),
    };
    gpu.need(feature)?;
    narrow.map(Value::Narrow).ok_or(Refusal::NotSupported)
}

fn t_limit(gpu: &Gpu, read: fn(&TLimit) -> i32) -> Answer<Value> {
    gpu.need(Feature::TLimit)?;
    Ok(Value::Signed(read(&gpu.spec.t_limit)))
}

fn memory_temperature(gpu: &Gpu) -> Answer<Value> {
    gpu.need(Feature::MemoryTemperature)?;
    if gpu.spec.has_temperature_sentinel(gpu.at_ms) {
        return Ok(Value::Wide(SENTINEL_64));
    }
    Ok(Value::Narrow(gpu.spec.memory_temperature_celsius(gpu.at_ms)))
}

fn ecc(gpu: &Gpu, is_corrected: bool, is_volatile: bool) -> Answer<Value> {
    gpu.ecc_total(EccCounter { is_corrected, is_volatile }).map(Value::Wide)
}

/// Nanoseconds throttled. Three of the five have another number on newer drivers, where the old
/// numbers mean power smoothing, which is not supported.
fn throttled(gpu: &Gpu, field: c_uint) -> Answer<Value> {
    let moved =
        if gpu.driver.scenario.driver.has_renumbered_fields(gpu.at_ms) { RENUMBERED_BY } else { 0 };
    let is = |canonical: u32| field == canonical + moved;
    let reason_bits = match field {
        id::NVML_FI_DEV_CLOCKS_EVENT_REASON_SW_POWER_CAP => SW_POWER_CAP,
        id::NVML_FI_DEV_CLOCKS_EVENT_REASON_SYNC_BOOST => SYNC_BOOST,
        _ if is(id::NVML_FI_DEV_CLOCKS_EVENT_REASON_SW_THERM_SLOWDOWN) => SW_THERMAL,
        _ if is(id::NVML_FI_DEV_CLOCKS_EVENT_REASON_HW_THERM_SLOWDOWN) => HW_THERMAL,
        _ if is(id::NVML_FI_DEV_CLOCKS_EVENT_REASON_HW_POWER_BRAKE_SLOWDOWN) => HW_POWER_BRAKE,
        _ => return Err(Refusal::NotSupported),
    };
    gpu.need(Feature::Throttle)?;
    Ok(Value::Wide(gpu.spec.throttled_ns(reason_bits, gpu.at_ms)))
}
