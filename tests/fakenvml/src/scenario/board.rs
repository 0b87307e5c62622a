//! What is around a GPU: its module, its fans, its place in a chassis, its firmware.

use serde::Deserialize;

use super::gpu::{PowerStep, is_empty_trace};

/// The module that holds a Grace CPU and this GPU, and on GB200 another one. Two GPUs of one module
/// each say all of this, alike.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Module {
    /// Of everything in the module, this GPU included. Repeats for ever.
    pub power_trace: Vec<PowerStep>,
    #[serde(default)]
    pub energy_start_mj: u64,
    /// Fields 188, 189, 190 and 192 at scope 1; none: not supported.
    pub limit_mw: Option<u32>,
    /// Fields 185 and 186 answer at scope 1 only, as met on GH200.
    #[serde(default)]
    pub gpu_scope_power_unsupported: bool,
    /// The GPU's own energy register counts the module, as met on GH200.
    #[serde(default)]
    pub counter_is_module: bool,
    #[serde(default)]
    pub c2c: C2c,
}

/// The link between CPU and GPU.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct C2c {
    pub links: u32,
    /// Fields 231 to 233 at scenario time 0.
    pub interrupts: u32,
    pub replays: u32,
    pub replays_back_to_back: u32,
    /// Added to the replays.
    pub steps: Vec<C2cStep>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct C2cStep {
    pub at_ms: u64,
    pub replays: u32,
}

/// Distances to thermal limits, as boards since Ada have them. Offsets count from the temperature
/// of the margin's zero, and those beyond it are negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TLimit {
    /// Where the margin is 0.
    pub reference_celsius: i32,
    pub shutdown_celsius: i32,
    pub slowdown_celsius: i32,
    pub memory_max_celsius: i32,
    pub gpu_max_celsius: i32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FanStep {
    pub at_ms: u64,
    /// From then on; none: as it was.
    pub percent: Option<u32>,
    pub rpm: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecoveryStep {
    pub at_ms: u64,
    /// `nvmlDeviceGpuRecoveryAction_t`: 0 none, 1 GPU reset, 2 reboot, 3 drain, 4 drain and reset.
    pub action: u32,
}

/// The NVLink fabric as this GPU sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Fabric {
    pub clique_id: u32,
    /// The first is most significant; all zero outside of racks.
    pub cluster_uuid: [u8; 16],
    /// Before, the state is "in progress".
    pub completed_at_ms: u64,
    /// `NVML_GPU_FABRIC_HEALTH_MASK_*`.
    pub health_mask: u32,
    /// 1 healthy, 2 unhealthy, 3 limited capacity.
    pub health_summary: u8,
    /// From then on the health is that of `unhealthy_mask` and the summary 2.
    pub unhealthy_at_ms: Option<u64>,
    pub unhealthy_mask: u32,
}

/// Where in a rack; boards that are in none do not support it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Platform {
    /// At most 15 bytes.
    pub chassis_serial: String,
    pub slot: u8,
    pub tray: u8,
    #[serde(default)]
    pub host_id: u8,
    #[serde(default)]
    pub peer_type: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Inforom {
    pub image_version: String,
    pub oem_version: String,
    pub ecc_version: String,
    /// Empty: not supported.
    pub power_version: String,
}

impl Module {
    pub(super) fn rules(&self) -> [(bool, &'static str); 1] {
        [(
            is_empty_trace(&self.power_trace),
            "the module's power_trace is empty or has empty steps",
        )]
    }
}

impl Default for TLimit {
    fn default() -> Self {
        // H100 SXM: slowdown at 89 °C, shutdown at 95 °C.
        Self {
            reference_celsius: 87,
            shutdown_celsius: -8,
            slowdown_celsius: -2,
            memory_max_celsius: 0,
            gpu_max_celsius: 0,
        }
    }
}

impl Default for Fabric {
    fn default() -> Self {
        Self {
            clique_id: 0,
            cluster_uuid: [0; 16],
            completed_at_ms: 0,
            // Every one of the two-bit groups says "not so"; no misconfiguration.
            health_mask: 0x1aa,
            health_summary: 1,
            unhealthy_at_ms: None,
            // As above, but with degraded bandwidth.
            unhealthy_mask: 0x1a9,
        }
    }
}

impl Default for Inforom {
    fn default() -> Self {
        Self {
            image_version: "G520.0200.00.05".to_owned(),
            oem_version: "2.1".to_owned(),
            ecc_version: "7.16".to_owned(),
            power_version: String::new(),
        }
    }
}
