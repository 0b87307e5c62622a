//! Fields about links: PCIe, NVLink with the link's number as scope, and the link to a Grace CPU.
//!
//! The header gives no value types for them: counters of PCIe are `unsigned int` here, as
//! `nvmlDeviceGetPcieReplayCounter` is, and counters of NVLink `unsigned long long`, as
//! `nvmlDeviceGetNvLinkErrorCounter` is. Who reads them must look at the type.

use std::ffi::c_uint;

use nvml_wrapper_sys::bindings::field_id as id;

use super::Value;
use crate::answer::{Answer, Refusal};
use crate::gpu::Gpu;
use crate::scenario::{C2c, Feature, LinkError, Nvlink, PcieError};

const PCIE: [(c_uint, PcieError); 14] = [
    (id::NVML_FI_DEV_PCIE_REPLAY_COUNTER, PcieError::Replay),
    (id::NVML_FI_DEV_PCIE_REPLAY_ROLLOVER_COUNTER, PcieError::ReplayRollover),
    (id::NVML_FI_DEV_PCIE_L0_TO_RECOVERY_COUNTER, PcieError::L0ToRecovery),
    (id::NVML_FI_DEV_PCIE_COUNT_CORRECTABLE_ERRORS, PcieError::Correctable),
    (id::NVML_FI_DEV_PCIE_COUNT_NAKS_RECEIVED, PcieError::NaksReceived),
    (id::NVML_FI_DEV_PCIE_COUNT_RECEIVER_ERROR, PcieError::Receiver),
    (id::NVML_FI_DEV_PCIE_COUNT_BAD_TLP, PcieError::BadTlp),
    (id::NVML_FI_DEV_PCIE_COUNT_NAKS_SENT, PcieError::NaksSent),
    (id::NVML_FI_DEV_PCIE_COUNT_BAD_DLLP, PcieError::BadDllp),
    (id::NVML_FI_DEV_PCIE_COUNT_NON_FATAL_ERROR, PcieError::NonFatal),
    (id::NVML_FI_DEV_PCIE_COUNT_FATAL_ERROR, PcieError::Fatal),
    (id::NVML_FI_DEV_PCIE_COUNT_UNSUPPORTED_REQ, PcieError::UnsupportedRequest),
    (id::NVML_FI_DEV_PCIE_COUNT_LCRC_ERROR, PcieError::Lcrc),
    (id::NVML_FI_DEV_PCIE_COUNT_LANE_ERROR, PcieError::Lane),
];

/// Of one link, which is the scope.
const LINK: [(c_uint, LinkError); 16] = [
    (id::NVML_FI_DEV_NVLINK_ERROR_DL_REPLAY, LinkError::Replay),
    (id::NVML_FI_DEV_NVLINK_ERROR_DL_RECOVERY, LinkError::Recovery),
    (id::NVML_FI_DEV_NVLINK_ERROR_DL_CRC, LinkError::Crc),
    (id::NVML_FI_DEV_NVLINK_COUNT_MALFORMED_PACKET_ERRORS, LinkError::MalformedPackets),
    (id::NVML_FI_DEV_NVLINK_COUNT_BUFFER_OVERRUN_ERRORS, LinkError::BufferOverruns),
    (id::NVML_FI_DEV_NVLINK_COUNT_RCV_ERRORS, LinkError::Received),
    (id::NVML_FI_DEV_NVLINK_COUNT_RCV_REMOTE_ERRORS, LinkError::ReceivedRemote),
    (id::NVML_FI_DEV_NVLINK_COUNT_RCV_GENERAL_ERRORS, LinkError::ReceivedGeneral),
    (id::NVML_FI_DEV_NVLINK_COUNT_LOCAL_LINK_INTEGRITY_ERRORS, LinkError::LinkIntegrity),
    (id::NVML_FI_DEV_NVLINK_COUNT_LINK_RECOVERY_SUCCESSFUL_EVENTS, LinkError::RecoveriesSucceeded),
    (id::NVML_FI_DEV_NVLINK_COUNT_LINK_RECOVERY_FAILED_EVENTS, LinkError::RecoveriesFailed),
    (id::NVML_FI_DEV_NVLINK_COUNT_LINK_RECOVERY_EVENTS, LinkError::Recoveries),
    (id::NVML_FI_DEV_NVLINK_COUNT_EFFECTIVE_ERRORS, LinkError::Effective),
    (id::NVML_FI_DEV_NVLINK_COUNT_EFFECTIVE_BER, LinkError::EffectiveBer),
    (id::NVML_FI_DEV_NVLINK_COUNT_SYMBOL_ERRORS, LinkError::Symbol),
    (id::NVML_FI_DEV_NVLINK_COUNT_SYMBOL_BER, LinkError::SymbolBer),
];

/// Over all links, whatever the scope.
const LINKS: [(c_uint, LinkError); 3] = [
    (id::NVML_FI_DEV_NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL, LinkError::Crc),
    (id::NVML_FI_DEV_NVLINK_REPLAY_ERROR_COUNT_TOTAL, LinkError::Replay),
    (id::NVML_FI_DEV_NVLINK_RECOVERY_ERROR_COUNT_TOTAL, LinkError::Recovery),
];

const LINK_FACTS: [c_uint; 4] = [
    id::NVML_FI_DEV_NVLINK_LINK_COUNT,
    id::NVML_FI_DEV_NVLINK_GET_SPEED,
    id::NVML_FI_DEV_NVLINK_GET_STATE,
    id::NVML_FI_DEV_NVLINK_GET_VERSION,
];

type C2cCount = fn(&C2c, u64) -> u32;

const C2C: [(c_uint, C2cCount); 4] = [
    (id::NVML_FI_DEV_C2C_LINK_COUNT, |c2c, _| c2c.links),
    (id::NVML_FI_DEV_C2C_LINK_ERROR_INTR, |c2c, _| c2c.interrupts),
    (id::NVML_FI_DEV_C2C_LINK_ERROR_REPLAY, C2c::replays),
    (id::NVML_FI_DEV_C2C_LINK_ERROR_REPLAY_B2B, |c2c, _| c2c.replays_back_to_back),
];

fn find<T: Copy>(table: &[(c_uint, T)], field: c_uint) -> Option<T> {
    table.iter().find(|(id, _)| *id == field).map(|(_, what)| *what)
}

pub(super) fn has(field: c_uint) -> bool {
    find(&PCIE, field).is_some()
        || find(&LINK, field).is_some()
        || find(&LINKS, field).is_some()
        || find(&C2C, field).is_some()
        || LINK_FACTS.contains(&field)
}

pub(super) fn read(gpu: &Gpu, field: c_uint, scope: c_uint) -> Answer<Value> {
    if let Some(error) = find(&PCIE, field) {
        return gpu.pcie_errors(error).map(Value::Narrow);
    }
    if let Some(count) = find(&C2C, field) {
        let module = gpu.spec.module.as_ref().ok_or(Refusal::NotSupported)?;
        return Ok(Value::Narrow(count(&module.c2c, gpu.at_ms)));
    }
    gpu.need(Feature::Nvlink)?;
    if let Some(error) = find(&LINK, field) {
        return gpu.link_errors(scope, error).map(Value::Wide);
    }
    let nvlink = &gpu.spec.nvlink;
    if let Some(error) = find(&LINKS, field) {
        need_generation_of(nvlink, error)?;
        return Ok(Value::Wide(nvlink.total_errors(error, gpu.at_ms)));
    }
    Ok(Value::Narrow(match field {
        id::NVML_FI_DEV_NVLINK_LINK_COUNT => nvlink.links,
        _ if scope >= nvlink.links => return Err(Refusal::InvalidArgument),
        id::NVML_FI_DEV_NVLINK_GET_SPEED => nvlink.speed_mbps,
        id::NVML_FI_DEV_NVLINK_GET_STATE => u32::from(nvlink.is_active(scope, gpu.at_ms)),
        // `nvmlNvlinkVersion_t`: 6 is 4.0 and 7 is 5.0.
        id::NVML_FI_DEV_NVLINK_GET_VERSION => nvlink.generation + 2,
        _ => return Err(Refusal::NotSupported),
    }))
}

fn need_generation_of(nvlink: &Nvlink, error: LinkError) -> Answer<()> {
    let is_5 = nvlink.generation >= 5;
    if is_5 == error.is_of_generation_5() { Ok(()) } else { Err(Refusal::NotSupported) }
}

impl Gpu {
    pub(crate) fn pcie_errors(&self, error: PcieError) -> Answer<u32> {
        self.need(Feature::Pcie)?;
        Ok(self.spec.pcie.errors(error, self.at_ms))
    }

    pub(crate) fn link_errors(&self, link: u32, error: LinkError) -> Answer<u64> {
        self.need(Feature::Nvlink)?;
        let nvlink = &self.spec.nvlink;
        need_generation_of(nvlink, error)?;
        if link >= nvlink.links {
            return Err(Refusal::InvalidArgument);
        }
        Ok(nvlink.errors(link, error, self.at_ms))
    }
}
