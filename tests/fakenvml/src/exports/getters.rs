//! The calls that take a GPU and fill one value or one text: a table, name by name.

use std::ffi::{c_char, c_uint, c_ulonglong};

use nvml_wrapper_sys::bindings::{
    nvmlDevice_t, nvmlDeviceArchitecture_t, nvmlDeviceAttributes_t, nvmlEnableState_t,
    nvmlMemory_t, nvmlPciInfo_t, nvmlPstates_t, nvmlReturn_t, nvmlRowRemapperHistogramValues_t,
    nvmlUtilization_t,
};

use super::mig;
use crate::answer::{Answer, Refusal, write, write_text};
use crate::gpu::Gpu;
use crate::scenario::{DEVICES_MAX, Feature, Histogram, PcieError};

/// Idle, application clocks, power cap, hardware slowdown, sync boost, both thermal ones, power
/// brake.
const REASONS_SUPPORTED: u64 = 0xff;
const ENABLED: nvmlEnableState_t = 1;
/// Device and vendor: H100 SXM5 80GB.
const PCI_DEVICE_ID: c_uint = 0x2330_10de;
const PCI_SUBSYSTEM_ID: c_uint = 0x16c1_10de;
/// No GPU sits on bus 0.
const PCI_BUS_FIRST: usize = 0x10;

macro_rules! value_getters {
    (of $find:path; $($(#[$doc:meta])* $name:ident: $value:ty = $read:expr;)*) => {$(
        $(#[$doc])*
        ///
        /// # Safety
        ///
        /// `out` is null or valid for writing.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name(device: nvmlDevice_t, out: *mut $value) -> nvmlReturn_t {
            let read: fn(&Gpu) -> Answer<$value> = $read;
            let answer = $find(device).and_then(|gpu| read(&gpu));
            // SAFETY: passes on this function's contract.
            unsafe { write(out, answer) }
        }
    )*};
}

macro_rules! text_getters {
    (of $find:path; $($(#[$doc:meta])* $name:ident = $read:expr;)*) => {$(
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
            let answer = $find(device).and_then(|gpu| read(&gpu));
            // SAFETY: passes on this function's contract.
            unsafe { write_text(text, length, answer) }
        }
    )*};
}

text_getters! {
    of Gpu::of_any;

    nvmlDeviceGetUUID = |gpu| Ok(gpu.uuid());
    nvmlDeviceGetName = |gpu| Ok(gpu.name());
}

value_getters! {
    of Gpu::of_any;

    /// Of an instance its rank within its GPU.
    nvmlDeviceGetIndex: c_uint = |gpu| match gpu.instance() {
        Some((rank, _)) => u32::try_from(rank).map_err(|_| Refusal::Unknown),
        None => Ok(gpu.index),
    };
    nvmlDeviceGetMemoryInfo: nvmlMemory_t = Gpu::memory;
    nvmlDeviceIsMigDeviceHandle: c_uint = |gpu| Ok(u32::from(gpu.instance().is_some()));
    nvmlDeviceGetGpuInstanceId: c_uint = |gpu| gpu.need_instance().map(|mig| mig.gi_id);
    nvmlDeviceGetComputeInstanceId: c_uint = |gpu| gpu.need_instance().map(|mig| mig.ci_id);
    nvmlDeviceGetAttributes_v2: nvmlDeviceAttributes_t = mig::attributes;
    nvmlDeviceGetDeviceHandleFromMigDeviceHandle: nvmlDevice_t =
        |gpu| gpu.need_instance().map(|_| gpu.handle().whole().to_raw());
}

text_getters! {
    of Gpu::of;

    nvmlDeviceGetSerial = Gpu::serial;
    nvmlDeviceGetBoardPartNumber = |gpu| Ok(gpu.spec.part_number.clone());
    nvmlDeviceGetVbiosVersion = |gpu| Ok(gpu.spec.vbios_version.clone());
    nvmlDeviceGetInforomImageVersion = |gpu| gpu.inforom(|rom| &rom.image_version);
}

value_getters! {
    of Gpu::of;

    /// `/dev/nvidia<minor>`: the place, unless the scenario has another.
    nvmlDeviceGetMinorNumber: c_uint = |gpu| match gpu.spec.minor {
        Some(minor) => Ok(minor),
        None => u32::try_from(gpu.place()).map_err(|_| Refusal::Unknown),
    };
    nvmlDeviceGetPciInfo_v3: nvmlPciInfo_t = pci_info;
    nvmlDeviceGetArchitecture: nvmlDeviceArchitecture_t = |gpu| Ok(gpu.spec.architecture);
    nvmlDeviceGetPersistenceMode: nvmlEnableState_t = |_| Ok(ENABLED);
    /// 0 while the mode is off.
    nvmlDeviceGetMaxMigDeviceCount: c_uint =
        |gpu| Ok(if gpu.is_mig_on() { DEVICES_MAX } else { 0 });

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
        |gpu| gpu.need(Feature::Events).map(|()| gpu.spec.event_types_supported);
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
pub(crate) fn pci_bus_id(place: usize) -> String {
    format!("00000000:{:02X}:00.0", PCI_BUS_FIRST + place)
}

fn pci_info(gpu: &Gpu) -> Answer<nvmlPciInfo_t> {
    let bus_id = pci_bus_id(gpu.place());
    let legacy = bus_id.get(4..).ok_or(Refusal::Unknown)?;
    Ok(nvmlPciInfo_t {
        busIdLegacy: fixed_text(legacy),
        domain: 0,
        bus: u32::try_from(PCI_BUS_FIRST + gpu.place()).map_err(|_| Refusal::Unknown)?,
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
