//! The board's health and place: SRAM errors, thermal margin, NVLink, fabric, platform, firmware.

use std::ffi::{c_char, c_uint, c_ulonglong};

use nvml_wrapper_sys::bindings::{
    NVML_GSP_FIRMWARE_VERSION_BUF_SIZE, nvmlDevice_t, nvmlEccSramErrorStatus_t, nvmlEnableState_t,
    nvmlGpuFabricInfo_t, nvmlGpuFabricInfo_v2_t, nvmlGpuFabricInfo_v3_t, nvmlInforomObject_t,
    nvmlMarginTemperature_t, nvmlNvLinkErrorCounter_t, nvmlPlatformInfo_v2_t, nvmlReturn_t,
};

use crate::answer::{
    Answer, Refusal, code_of, non_null, read_versioned, version_of, write, write_pair, write_text,
};
use crate::gpu::Gpu;
use crate::scenario::{Feature, LinkError};

/// `NVML_GPU_FABRIC_*`: the status says whether the fabric's own setting up went well.
const FABRIC_STATUS_SUCCESS: nvmlReturn_t = 0;
const ENABLED: c_uint = 1;

/// The third version is the second with one byte more, after it.
const FABRIC_V2: c_uint = version_of::<nvmlGpuFabricInfo_v2_t>(2);
const FABRIC_V3: c_uint = version_of::<nvmlGpuFabricInfo_v3_t>(3);
/// Both versions of the platform's place have one layout; the second has better names for it.
const PLATFORM_V1: c_uint = version_of::<nvmlPlatformInfo_v2_t>(1);
const PLATFORM_V2: c_uint = version_of::<nvmlPlatformInfo_v2_t>(2);

/// The buckets of uncorrected errors are not told apart: all are "other".
///
/// # Safety
///
/// `out` is null or points to a struct that is valid for reading and writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetSramEccErrorStatus(
    device: nvmlDevice_t,
    out: *mut nvmlEccSramErrorStatus_t,
) -> nvmlReturn_t {
    // SAFETY: passes on this function's contract; the version comes first.
    let asked = unsafe { read_versioned::<_, 1>(out, |status| status.version) };
    let answer = asked.and_then(|asked| {
        let sram = Gpu::of(device)?.sram()?;
        Ok(nvmlEccSramErrorStatus_t {
            version: asked.version,
            aggregateUncParity: sram.uncorrected_parity,
            aggregateUncSecDed: sram.uncorrected_secded,
            aggregateCor: sram.corrected,
            volatileUncParity: sram.uncorrected_parity,
            volatileUncSecDed: sram.uncorrected_secded,
            volatileCor: sram.corrected,
            aggregateUncBucketL2: 0,
            aggregateUncBucketSm: 0,
            aggregateUncBucketPcie: 0,
            aggregateUncBucketMcu: 0,
            aggregateUncBucketOther: sram
                .uncorrected_parity
                .saturating_add(sram.uncorrected_secded),
            bThresholdExceeded: u32::from(sram.is_threshold_exceeded),
        })
    });
    // SAFETY: passes on this function's contract.
    unsafe { write(out, answer) }
}

/// # Safety
///
/// `out` is null or points to a struct that is valid for reading and writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetMarginTemperature(
    device: nvmlDevice_t,
    out: *mut nvmlMarginTemperature_t,
) -> nvmlReturn_t {
    // SAFETY: passes on this function's contract; the version comes first.
    let asked = unsafe { read_versioned::<_, 1>(out, |margin| margin.version) };
    let answer = asked.and_then(|asked| {
        let margin_celsius = Gpu::of(device)?.margin_celsius()?;
        Ok(nvmlMarginTemperature_t { marginTemperature: margin_celsius, ..asked })
    });
    // SAFETY: passes on this function's contract.
    unsafe { write(out, answer) }
}

/// # Safety
///
/// `is_active` is null or valid for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetNvLinkState(
    device: nvmlDevice_t,
    link: c_uint,
    is_active: *mut nvmlEnableState_t,
) -> nvmlReturn_t {
    let answer = Gpu::of(device).and_then(|gpu| {
        gpu.need(Feature::Nvlink)?;
        let nvlink = &gpu.spec.nvlink;
        if link >= nvlink.links {
            return Err(Refusal::InvalidArgument);
        }
        Ok(u32::from(nvlink.is_active(link, gpu.at_ms)))
    });
    // SAFETY: passes on this function's contract.
    unsafe { write(is_active, answer) }
}

/// All CRC errors are of flits; generation 5 has none of these.
///
/// # Safety
///
/// `count` is null or valid for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetNvLinkErrorCounter(
    device: nvmlDevice_t,
    link: c_uint,
    counter: nvmlNvLinkErrorCounter_t,
    count: *mut c_ulonglong,
) -> nvmlReturn_t {
    let answer = Gpu::of(device).and_then(|gpu| match counter {
        0 => gpu.link_errors(link, LinkError::Replay),
        1 => gpu.link_errors(link, LinkError::Recovery),
        2 => gpu.link_errors(link, LinkError::Crc),
        3 | 4 => gpu.link_errors(link, LinkError::Crc).map(|_| 0),
        _ => Err(Refusal::InvalidArgument),
    });
    // SAFETY: passes on this function's contract.
    unsafe { write(count, answer) }
}

/// Deprecated for [`nvmlDeviceGetGpuFabricInfoV`].
///
/// # Safety
///
/// `out` is null or valid for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetGpuFabricInfo(
    device: nvmlDevice_t,
    out: *mut nvmlGpuFabricInfo_t,
) -> nvmlReturn_t {
    let answer = Gpu::of(device).and_then(|gpu| {
        gpu.need_deprecated()?;
        let whole = fabric(&gpu)?;
        Ok(nvmlGpuFabricInfo_t {
            clusterUuid: whole.clusterUuid,
            status: whole.status,
            cliqueId: whole.cliqueId,
            state: whole.state,
        })
    });
    // SAFETY: passes on this function's contract.
    unsafe { write(out, answer) }
}

/// The second and third version, told apart by what the caller states.
///
/// # Safety
///
/// `out` is null or points to a struct of the version that its first member states, valid for
/// reading and writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetGpuFabricInfoV(
    device: nvmlDevice_t,
    out: *mut nvmlGpuFabricInfo_v3_t,
) -> nvmlReturn_t {
    // SAFETY: passes on this function's contract; the version comes first.
    let asked = non_null(out).map(|()| unsafe { out.cast::<c_uint>().read() });
    let answer = asked.and_then(|version| Ok((version, fabric(&Gpu::of(device)?)?)));
    code_of(answer.and_then(|(version, whole)| {
        if version == FABRIC_V3 {
            // SAFETY: not null, and the caller states that it has room for the third version.
            unsafe { out.write(nvmlGpuFabricInfo_v3_t { version, ..whole }) };
            Ok(())
        } else if version == FABRIC_V2 {
            let shorter = nvmlGpuFabricInfo_v2_t {
                version,
                clusterUuid: whole.clusterUuid,
                status: whole.status,
                cliqueId: whole.cliqueId,
                state: whole.state,
                healthMask: whole.healthMask,
            };
            // SAFETY: not null, and the caller states that it has room for the second version.
            unsafe { out.cast::<nvmlGpuFabricInfo_v2_t>().write(shorter) };
            Ok(())
        } else {
            Err(Refusal::VersionMismatch)
        }
    }))
}

/// # Safety
///
/// `out` is null or points to a struct that is valid for reading and writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetPlatformInfo(
    device: nvmlDevice_t,
    out: *mut nvmlPlatformInfo_v2_t,
) -> nvmlReturn_t {
    // SAFETY: passes on this function's contract; the version comes first.
    let asked = non_null(out).map(|()| unsafe { (*out).version });
    let answer = asked.and_then(|version| {
        if version != PLATFORM_V1 && version != PLATFORM_V2 {
            return Err(Refusal::VersionMismatch);
        }
        let gpu = Gpu::of(device)?;
        let platform = gpu.spec.platform.as_ref().ok_or(Refusal::NotSupported)?;
        let mut chassis_serial = [0; 16];
        for (place, byte) in chassis_serial.iter_mut().zip(platform.chassis_serial.bytes()) {
            *place = byte;
        }
        let module_id = gpu.spec.module_id.unwrap_or(gpu.index.saturating_add(1));
        Ok(nvmlPlatformInfo_v2_t {
            version,
            ibGuid: [0; 16],
            chassisSerialNumber: chassis_serial,
            slotNumber: platform.slot,
            trayIndex: platform.tray,
            hostId: platform.host_id,
            peerType: platform.peer_type,
            moduleId: u8::try_from(module_id).map_err(|_| Refusal::Unknown)?,
        })
    });
    // SAFETY: passes on this function's contract.
    unsafe { write(out, answer) }
}

/// # Safety
///
/// `version` is null or valid for writing `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetInforomVersion(
    device: nvmlDevice_t,
    object: nvmlInforomObject_t,
    version: *mut c_char,
    length: c_uint,
) -> nvmlReturn_t {
    let answer = Gpu::of(device).and_then(|gpu| match object {
        0 => gpu.inforom(|rom| &rom.oem_version),
        1 => gpu.inforom(|rom| &rom.ecc_version),
        2 => gpu.inforom(|rom| &rom.power_version),
        3 => Err(Refusal::NotSupported),
        _ => Err(Refusal::InvalidArgument),
    });
    // SAFETY: passes on this function's contract.
    unsafe { write_text(version, length, answer) }
}

/// Enabled, as by default.
///
/// # Safety
///
/// `is_enabled` and `default_mode` are null or valid for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetGspFirmwareMode(
    device: nvmlDevice_t,
    is_enabled: *mut c_uint,
    default_mode: *mut c_uint,
) -> nvmlReturn_t {
    let answer = Gpu::of(device).and_then(|gpu| gpu.need(Feature::Gsp).map(|()| [ENABLED; 2]));
    // SAFETY: passes on this function's contract.
    unsafe { write_pair([is_enabled, default_mode], answer) }
}

/// The driver's own version, as the firmware comes with it.
///
/// # Safety
///
/// `version` is null or valid for writing 64 bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetGspFirmwareVersion(
    device: nvmlDevice_t,
    version: *mut c_char,
) -> nvmlReturn_t {
    let answer = Gpu::of(device).and_then(|gpu| {
        gpu.need(Feature::Gsp)?;
        Ok(gpu.driver.scenario.driver.version(gpu.at_ms).to_owned())
    });
    // SAFETY: passes on this function's contract.
    unsafe { write_text(version, NVML_GSP_FIRMWARE_VERSION_BUF_SIZE, answer) }
}

fn fabric(gpu: &Gpu) -> Answer<nvmlGpuFabricInfo_v3_t> {
    gpu.need(Feature::Fabric)?;
    let now = gpu.spec.fabric.at(gpu.at_ms);
    Ok(nvmlGpuFabricInfo_v3_t {
        version: 0,
        clusterUuid: gpu.spec.fabric.cluster_uuid,
        status: FABRIC_STATUS_SUCCESS,
        cliqueId: gpu.spec.fabric.clique_id,
        state: now.state,
        healthMask: now.health_mask,
        healthSummary: now.health_summary,
    })
}
