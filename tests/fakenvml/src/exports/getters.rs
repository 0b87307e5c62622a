//! The calls that take a GPU and fill one value or one text: a table, name by name.

use std::ffi::{c_char, c_uint, c_ulonglong};

use nvml_wrapper_sys::bindings::{
    nvmlDevice_t, nvmlDeviceArchitecture_t, nvmlEnableState_t, nvmlMemory_t, nvmlPciInfo_t,
    nvmlPstates_t, nvmlReturn_t, nvmlRowRemapperHistogramValues_t, nvmlUtilization_t,
};

use crate::answer::{Answer, Refusal, write, write_text};
use crate::gpu::Gpu;
use crate::scenario::{Feature, Histogram, PcieError};

/// Idle, application clocks, power cap, hardware slowdown, sync boost, both thermal ones, power
/// brake.
const REASONS_SUPPORTED: u64 = 0xff;
/// Double-bit ECC errors and XIDs.
const EVENTS_SUPPORTED: u64 = 0x2 | 0x8;
const NO: c_uint = 0;
const ENABLED: nvmlEnableState_t = 1;
/// Device and vendor: H100 SXM5 80GB.
const PCI_DEVICE_ID: c_uint = 0x2330_10de;
const PCI_SUBSYSTEM_ID: c_uint = 0x16c1_10de;
/// No GPU sits on bus 0.
const PCI_BUS_FIRST: usize = 0x10;

macro_rules! value_getters {
    ($($(#[$doc:meta])* $name:ident: $value:ty = $read:expr;)*) => {$(
        $(#[$doc])*
        ///
        /// # Safety
        ///
        /// `out` is null or valid for writing.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name(device: nvmlDevice_t, out: *mut $value) -> nvmlReturn_t {
            let read: fn(&Gpu) -> Answer<$value> = $read;
            let answer = Gpu::of(device).and_then(|gpu| read(&gpu));
            // SAFETY: passes on this function's contract.
            unsafe { write(out, answer) }
        }
    )*};
}

macro_rules! text_getters {
    ($($(#[$doc:meta])* $name:ident = $read:expr;)*) => {$(
        $(#[$doc])*
        ///
        /// # Safety
        ///
        /// `text` is null or valid for writing `length` bytes.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name(
            device: nvmlDevice_t,
            text: *mut c_char,
            length: c_uint,
        ) -> nvmlReturn_t {
            let read: fn(&Gpu) -> Answer<String> = $read;
            let answer = Gpu::of(device).and_then(|gpu| read(&gpu));
            // SAFETY: passes on this function's contract.
            unsafe { write_text(text, length, answer) }
        }
    )*};
}

text_getters! {
    nvmlDeviceGetUUID = |gpu| Ok(gpu.spec.uuid.clone());
    nvmlDeviceGetName = |gpu| Ok(gpu.spec.name.clone());
    nvmlDeviceGetSerial = Gpu::serial;
    nvmlDeviceGetBoardPartNumber = |gpu| Ok(gpu.spec.part_number.clone());
    nvmlDeviceGetVbiosVersion = |gpu| Ok(gpu.spec.vbios_version.clone());
    nvmlDeviceGetInforomImageVersion = |gpu| gpu.inforom(|rom| &rom.image_version);
}

value_getters! {
    nvmlDeviceGetIndex: c_uint = |gpu| Ok(gpu.index);
    /// The index, too: `/dev/nvidia<minor>`.
    nvmlDeviceGetMinorNumber: c_uint = |gpu| Ok(gpu.index);
    nvmlDeviceGetPciInfo_v3: nvmlPciInfo_t = pci_info;
    nvmlDeviceGetArchitecture: nvmlDeviceArchitecture_t = |gpu| Ok(gpu.spec.architecture);
    nvmlDeviceGetPersistenceMode: nvmlEnableState_t = |_| Ok(ENABLED);
    nvmlDeviceGetMaxMigDeviceCount: c_uint = |_| Ok(0);
    nvmlDeviceIsMigDeviceHandle: c_uint = |_| Ok(NO);

    /// Millijoules since the driver was loaded.
    nvmlDeviceGetTotalEnergyConsumption: c_ulonglong = Gpu::energy_mj;
    /// Milliwatts, as are all limits.
    nvmlDeviceGetPowerUsage: c_uint = Gpu::power_usage_mw;
    nvmlDeviceGetEnforcedPowerLimit: c_uint =
        |gpu| gpu.power_limit_mw(|spec| spec.power_limits.enforced_mw);
    nvmlDeviceGetPowerManagementLimit: c_uint =
        |gpu| gpu.power_limit_mw(|spec| spec.power_limits.requested_mw);
    nvmlDeviceGetPowerManagementDefaultLimit: c_uint =
        |gpu| gpu.power_limit_mw(|spec| spec.power_limits.default_mw);

    nvmlDeviceGetUtilizationRates: nvmlUtilization_t = Gpu::utilization;
    nvmlDeviceGetMemoryInfo: nvmlMemory_t = Gpu::memory;
    nvmlDeviceGetPerformanceState: nvmlPstates_t = Gpu::performance_state;
    /// The old name of the performance state, deprecated.
    nvmlDeviceGetPowerState: nvmlPstates_t =
        |gpu| gpu.need_deprecated().and_then(|()| gpu.performance_state());
    nvmlDeviceGetModuleId: c_uint =
        |gpu| Ok(gpu.spec.module_id.unwrap_or(gpu.index.saturating_add(1)));

    nvmlDeviceGetMaxPcieLinkGeneration: c_uint = |gpu| gpu.pcie(|pcie| pcie.generation_max);
    nvmlDeviceGetMaxPcieLinkWidth: c_uint = |gpu| gpu.pcie(|pcie| pcie.width_max);
    nvmlDeviceGetCurrPcieLinkGeneration: c_uint = |gpu| {
        gpu.need(Feature::Pcie)?;
        Ok(gpu.spec.pcie_generation(gpu.at_ms))
    };
    nvmlDeviceGetCurrPcieLinkWidth: c_uint = |gpu| {
        gpu.need(Feature::Pcie)?;
        Ok(gpu.spec.pcie.width(gpu.at_ms))
    };
    nvmlDeviceGetPcieReplayCounter: c_uint = |gpu| gpu.pcie_errors(PcieError::Replay);
    nvmlDeviceGetRowRemapperHistogram: nvmlRowRemapperHistogramValues_t = histogram;

    nvmlDeviceGetNumFans: c_uint = |gpu| Ok(u32::from(gpu.spec.fan_percent(gpu.at_ms).is_some()));
    nvmlDeviceGetFanSpeed: c_uint = Gpu::fan_percent;

    nvmlDeviceGetCurrentClocksEventReasons: c_ulonglong = Gpu::throttle_bits;
    nvmlDeviceGetSupportedClocksEventReasons: c_ulonglong = reasons_supported;
    /// The old name of the event reasons, deprecated.
    nvmlDeviceGetCurrentClocksThrottleReasons: c_ulonglong =
        |gpu| gpu.need_deprecated().and_then(|()| gpu.throttle_bits());
    /// The old name of the event reasons, deprecated.
    nvmlDeviceGetSupportedClocksThrottleReasons: c_ulonglong =
        |gpu| gpu.need_deprecated().and_then(|()| reasons_supported(gpu));
    nvmlDeviceGetSupportedEventTypes: c_ulonglong =
        |gpu| gpu.need(Feature::Events).map(|()| EVENTS_SUPPORTED);
}

fn reasons_supported(gpu: &Gpu) -> Answer<u64> {
    gpu.need(Feature::Throttle)?;
    Ok(REASONS_SUPPORTED)
}

fn histogram(gpu: &Gpu) -> Answer<nvmlRowRemapperHistogramValues_t> {
    let Histogram { max, high, partial, low, none } = gpu.row_histogram()?;
    Ok(nvmlRowRemapperHistogramValues_t { max, high, partial, low, none })
}

/// Domain 0, a bus for each GPU.
pub(crate) fn pci_bus_id(index: usize) -> String {
    format!("00000000:{:02X}:00.0", PCI_BUS_FIRST + index)
}

fn pci_info(gpu: &Gpu) -> Answer<nvmlPciInfo_t> {
    let index = usize::try_from(gpu.index).map_err(|_| Refusal::Unknown)?;
    let bus_id = pci_bus_id(index);
    let legacy = bus_id.get(4..).ok_or(Refusal::Unknown)?;
    Ok(nvmlPciInfo_t {
        busIdLegacy: fixed_text(legacy),
        domain: 0,
        bus: u32::try_from(PCI_BUS_FIRST + index).map_err(|_| Refusal::Unknown)?,
        device: 0,
        pciDeviceId: PCI_DEVICE_ID,
        pciSubSystemId: PCI_SUBSYSTEM_ID,
        busId: fixed_text(&bus_id),
    })
}

/// Cut so that a NUL always follows.
fn fixed_text<const BYTES: usize>(text: &str) -> [c_char; BYTES] {
    let mut fixed = [0; BYTES];
    let room = fixed.iter_mut().take(BYTES.saturating_sub(1));
    for (place, byte) in room.zip(text.bytes()) {
        *place = c_char::from_ne_bytes([byte]);
    }
    fixed
}
