//! What `nvml-wrapper` 0.13 lacks, through its bindings: fields with a scope and of every type,
//! events of every bit, and the newer calls.
//!
//! # Traps
//! - Answers of a field batch are matched by position: drivers from 580.82 on count some fields
//!   otherwise (CUDA 13.0 update 1, NVML's known issues), and answer with their own numbers.
//! - Each field has its own return code and type. A type that is no integer was not filled in:
//!   believing it would book a double's bits as power (PAPI pull request 564).
//! - A symbol that an elder library lacks is "not supported", found when it is called.
#![expect(unsafe_code, reason = "a C library; each call states what it relies on")]

use nvml_wrapper::{Device, FieldIdScheme, Nvml};
use nvml_wrapper_sys::bindings as nvml;

use super::super::library::{Answer, DriverNews, Field, GPU, GpuError, Told};

/// `NVML_FI_DEV_NVLINK_LINK_COUNT`.
const LINK_COUNT: u32 = 91;
/// Fields of one call.
const FIELDS_MAX: usize = 128;
/// All that `nvml.h` 13 names, but clocks, P-states and power sources, which are no news.
const NEWS_WANTED: u64 = 0x1 | 0x2 | 0x8 | 0x100 | 0xfe00;
/// Events taken in one tick.
const NEWS_MAX: usize = 32;

/// A GPU as the driver numbers it: never followed here, only handed back.
#[derive(Clone, Copy)]
pub(super) struct Handle(nvml::nvmlDevice_t);

// SAFETY: NVML is thread-safe by its documentation, and a handle is used for nothing but its calls;
// `nvml_wrapper::Device` states the same.
unsafe impl Send for Handle {}

impl Handle {
    pub(super) fn of(device: &Device<'_>) -> Self {
        // SAFETY: it is handed back to the library that gave it, as long as that is open.
        Self(unsafe { device.handle() })
    }

    pub(super) fn device(self, library: &Nvml) -> Device<'_> {
        // SAFETY: the handle came from this library, which is still open.
        unsafe { Device::new(self.0, library) }
    }
}

/// A return code as an outcome.
fn check(code: nvml::nvmlReturn_t) -> Answer<()> {
    match code {
        nvml::nvmlReturn_enum_NVML_SUCCESS => Ok(()),
        nvml::nvmlReturn_enum_NVML_ERROR_NOT_SUPPORTED
        | nvml::nvmlReturn_enum_NVML_ERROR_FUNCTION_NOT_FOUND
        | nvml::nvmlReturn_enum_NVML_ERROR_ARGUMENT_VERSION_MISMATCH
        | nvml::nvmlReturn_enum_NVML_ERROR_DEPRECATED => Err(GpuError::NotSupported),
        nvml::nvmlReturn_enum_NVML_ERROR_NO_PERMISSION => Err(GpuError::NotPermitted),
        nvml::nvmlReturn_enum_NVML_ERROR_GPU_IS_LOST
        | nvml::nvmlReturn_enum_NVML_ERROR_RESET_REQUIRED => Err(GpuError::Lost),
        nvml::nvmlReturn_enum_NVML_ERROR_UNINITIALIZED
        | nvml::nvmlReturn_enum_NVML_ERROR_DRIVER_NOT_LOADED
        | nvml::nvmlReturn_enum_NVML_ERROR_LIB_RM_VERSION_MISMATCH => Err(GpuError::Gone),
        other => Err(GpuError::Other(format!("NVML's return code {other}"))),
    }
}

/// Calls a symbol that may not be there.
macro_rules! call {
    ($library:expr, $symbol:ident, $($argument:expr),*) => {{
        let symbol = $library.lib().$symbol.as_ref().map_err(|_| GpuError::NotSupported)?;
        // SAFETY: the handle is of this open library, and every pointer is to a local that the
        // symbol's signature in nvml.h lets it fill.
        check(unsafe { symbol($($argument),*) })
    }};
}

/// The driver's own number of a field.
fn number_of(library: &Nvml, number: u32) -> u32 {
    match (library.field_id_scheme(), number) {
        (FieldIdScheme::V13Update1, 251..=255) => number + 18,
        (FieldIdScheme::V13Update1, 256..=273) => number - 5,
        (FieldIdScheme::V12 | FieldIdScheme::V13Update1, _) => number,
    }
}

pub(super) fn fields(library: &Nvml, handle: Handle, asked: &[Field]) -> Answer<Vec<Answer<Told>>> {
    let mut answers = Vec::with_capacity(asked.len());
    for asked in asked.chunks(FIELDS_MAX) {
        let mut places: Vec<nvml::nvmlFieldValue_t> = asked
            .iter()
            .map(|field| nvml::nvmlFieldValue_t {
                fieldId: number_of(library, field.number),
                scopeId: field.scope,
                timestamp: 0,
                latencyUsec: 0,
                valueType: nvml::nvmlValueType_enum_NVML_VALUE_TYPE_DOUBLE,
                nvmlReturn: nvml::nvmlReturn_enum_NVML_ERROR_UNKNOWN,
                value: nvml::nvmlValue_t { ullVal: 0 },
            })
            .collect();
        let count = i32::try_from(places.len()).unwrap_or(0);
        call!(library, nvmlDeviceGetFieldValues, handle.0, count, places.as_mut_ptr())?;
        answers.extend(places.iter().map(value));
    }
    Ok(answers)
}

fn value(place: &nvml::nvmlFieldValue_t) -> Answer<Told> {
    check(place.nvmlReturn)?;
    let union = place.value;
    let value = match place.valueType {
        // SAFETY: the type says which member was written; all were zeroed before, and every bit
        // pattern is a valid integer.
        nvml::nvmlValueType_enum_NVML_VALUE_TYPE_UNSIGNED_INT => i64::from(unsafe { union.uiVal }),
        nvml::nvmlValueType_enum_NVML_VALUE_TYPE_UNSIGNED_LONG
        | nvml::nvmlValueType_enum_NVML_VALUE_TYPE_UNSIGNED_LONG_LONG => {
            // SAFETY: as above; a long has eight bytes where this runs.
            super::whole(unsafe { union.ullVal })?
        }
        // SAFETY: as above.
        nvml::nvmlValueType_enum_NVML_VALUE_TYPE_SIGNED_LONG_LONG => unsafe { union.sllVal },
        // SAFETY: as above.
        nvml::nvmlValueType_enum_NVML_VALUE_TYPE_SIGNED_INT => i64::from(unsafe { union.siVal }),
        nvml::nvmlValueType_enum_NVML_VALUE_TYPE_UNSIGNED_SHORT => {
            // SAFETY: as above.
            i64::from(unsafe { union.usVal })
        }
        other => {
            let words = format!("the driver answered with a value of type {other}, no integer");
            return Err(GpuError::Other(words));
        }
    };
    Ok(Told { value, at_us: place.timestamp, latency_us: place.latencyUsec })
}

pub(super) fn links(library: &Nvml, handle: Handle) -> u32 {
    let asked = [Field { number: LINK_COUNT, scope: GPU }];
    let answers = fields(library, handle, &asked).unwrap_or_default();
    let count = answers.into_iter().next().and_then(Result::ok).map_or(0, |told| told.value);
    u32::try_from(count).unwrap_or(0)
}

/// The version word of a struct: its size and number.
fn version<T>(number: u32) -> u32 {
    u32::try_from(size_of::<T>()).unwrap_or(0) | (number << 24)
}

pub(super) fn celsius(library: &Nvml, handle: Handle) -> Answer<i64> {
    let mut place = nvml::nvmlTemperature_t {
        version: version::<nvml::nvmlTemperature_t>(1),
        sensorType: 0,
        temperature: 0,
    };
    call!(library, nvmlDeviceGetTemperatureV, handle.0, &raw mut place)?;
    Ok(i64::from(place.temperature))
}

pub(super) fn margin_celsius(library: &Nvml, handle: Handle) -> Answer<i64> {
    let mut place = nvml::nvmlMarginTemperature_t {
        version: version::<nvml::nvmlMarginTemperature_t>(1),
        marginTemperature: 0,
    };
    call!(library, nvmlDeviceGetMarginTemperature, handle.0, &raw mut place)?;
    Ok(i64::from(place.marginTemperature))
}

/// The number of the GPU instance that a MIG device is in.
pub(super) fn gpu_instance(library: &Nvml, handle: Handle) -> Answer<u32> {
    let mut number = 0;
    call!(library, nvmlDeviceGetGpuInstanceId, handle.0, &raw mut number)?;
    Ok(number)
}

pub(super) fn clock_reasons(library: &Nvml, handle: Handle) -> Answer<i64> {
    let mut bits = 0;
    call!(library, nvmlDeviceGetCurrentClocksEventReasons, handle.0, &raw mut bits)?;
    super::whole(bits)
}

pub(super) fn performance_state(library: &Nvml, handle: Handle) -> Answer<i64> {
    let mut state = 0;
    call!(library, nvmlDeviceGetPerformanceState, handle.0, &raw mut state)?;
    Ok(i64::from(state))
}

pub(super) fn sram_threshold(library: &Nvml, handle: Handle) -> Answer<i64> {
    let mut place = nvml::nvmlEccSramErrorStatus_t {
        version: version::<nvml::nvmlEccSramErrorStatus_t>(1),
        aggregateUncParity: 0,
        aggregateUncSecDed: 0,
        aggregateCor: 0,
        volatileUncParity: 0,
        volatileUncSecDed: 0,
        volatileCor: 0,
        aggregateUncBucketL2: 0,
        aggregateUncBucketSm: 0,
        aggregateUncBucketPcie: 0,
        aggregateUncBucketMcu: 0,
        aggregateUncBucketOther: 0,
        bThresholdExceeded: 0,
    };
    call!(library, nvmlDeviceGetSramEccErrorStatus, handle.0, &raw mut place)?;
    Ok(i64::from(place.bThresholdExceeded != 0))
}

pub(super) fn remap_banks_spent(library: &Nvml, handle: Handle) -> Answer<i64> {
    let mut place =
        nvml::nvmlRowRemapperHistogramValues_t { max: 0, high: 0, partial: 0, low: 0, none: 0 };
    call!(library, nvmlDeviceGetRowRemapperHistogram, handle.0, &raw mut place)?;
    Ok(i64::from(place.none))
}

pub(super) fn fabric_state(library: &Nvml, handle: Handle) -> Answer<i64> {
    let mut place = nvml::nvmlGpuFabricInfoV_t {
        version: version::<nvml::nvmlGpuFabricInfoV_t>(3),
        clusterUuid: [0; 16],
        status: 0,
        cliqueId: 0,
        state: 0,
        healthMask: 0,
        healthSummary: 0,
    };
    call!(library, nvmlDeviceGetGpuFabricInfoV, handle.0, &raw mut place)?;
    Ok(i64::from(place.state))
}

/// The events of one GPU: a set of its own, because one lost GPU ends the set that it is in.
pub(super) struct News(nvml::nvmlEventSet_t);

// SAFETY: as for `Handle`; the set is used by one thread at a time.
unsafe impl Send for News {}

impl News {
    /// `None`: this GPU or driver tells nothing.
    pub(super) fn register(library: &Nvml, handle: Handle) -> Option<Self> {
        let mut set: nvml::nvmlEventSet_t = std::ptr::null_mut();
        create(library, &mut set).ok()?;
        let news = Self(set);
        if subscribe(library, handle, set).is_ok() {
            return Some(news);
        }
        news.free(library);
        None
    }

    /// Without waiting.
    pub(super) fn take(&self, library: &Nvml) -> Vec<DriverNews> {
        std::iter::from_fn(|| wait(library, self.0).ok()).take(NEWS_MAX).collect()
    }

    pub(super) fn free(self, library: &Nvml) {
        // Nothing is to be done if it fails: the driver forgets all sets when it is let go.
        let free = || -> Answer<()> { call!(library, nvmlEventSetFree, self.0) };
        free().ok();
    }
}

fn create(library: &Nvml, set: &mut nvml::nvmlEventSet_t) -> Answer<()> {
    call!(library, nvmlEventSetCreate, &raw mut *set)
}

fn subscribe(library: &Nvml, handle: Handle, set: nvml::nvmlEventSet_t) -> Answer<()> {
    let mut offered = 0;
    call!(library, nvmlDeviceGetSupportedEventTypes, handle.0, &raw mut offered)?;
    call!(library, nvmlDeviceRegisterEvents, handle.0, offered & NEWS_WANTED, set)
}

fn wait(library: &Nvml, set: nvml::nvmlEventSet_t) -> Answer<DriverNews> {
    let mut data = nvml::nvmlEventData_t {
        device: std::ptr::null_mut(),
        eventType: 0,
        eventData: 0,
        gpuInstanceId: 0,
        computeInstanceId: 0,
    };
    call!(library, nvmlEventSetWait_v2, set, &raw mut data, 0)?;
    Ok(DriverNews { kind: data.eventType, data: data.eventData })
}
