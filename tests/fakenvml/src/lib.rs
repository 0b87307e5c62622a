//! A `libnvidia-ml.so` without a GPU, driven by a scenario file.
//!
//! The agent's unsafe path to NVML (dynamic loading, struct layouts, return codes, buffers that are
//! too short, GPUs that fall off the bus) can only be tested by something that is loaded as the
//! real library is. This crate is that something: a cdylib whose exports have NVML's names and
//! layouts, and an rlib whose [`expected_energy_mj`] tells a test what the energy register must
//! read.
//!
//! # Use
//!
//! | environment | meaning |
//! | --- | --- |
//! | `BIJLI_FAKENVML_SCENARIO` | path of the scenario, see [`Scenario`]; unset: eight idle GPUs |
//! | `BIJLI_FAKENVML_EPOCH_UTC_MS` | when scenario time 0 was; unset: the first `nvmlInit` |
//!
//! With an epoch, scenario time goes on while the process that loaded the library is down, as a
//! driver's counters do, several processes see one and the same GPU, and the time stamp of a field
//! value less the epoch is the scenario time of that value, to be asked of [`expected_energy_mj`].
//!
//! # Invariants
//!
//! - Every answer is a function of the scenario and the scenario time alone, in integers.
//! - The energy register moves only at multiples of its counter step, and only forwards, apart from
//!   the scripted resets and steps back.
//! - A call that names a GPU first waits out a scripted hang, then fails with `GPU_IS_LOST` if the
//!   GPU is lost, and only then looks at what is unsupported.
//! - A null pointer or a stale handle is answered with `INVALID_ARGUMENT`; no call panics.
//!
//! # Exports
//!
//! - system: `nvmlInit`, `nvmlInit_v2`, `nvmlInitWithFlags`, `nvmlShutdown`, `nvmlErrorString`,
//!   `nvmlSystemGetDriverVersion`, `…GetNVMLVersion`, `…GetCudaDriverVersion`, `…_v2`;
//! - finding: `nvmlDeviceGetCount_v2`, `nvmlDeviceGetHandleByIndex_v2`, `…ByUUID`, `…BySerial`,
//!   `…ByPciBusId_v2`;
//! - identity: `…GetUUID`, `…GetName`, `…GetSerial`, `…GetBoardPartNumber`, `…GetVbiosVersion`,
//!   `…GetIndex`, `…GetMinorNumber`, `…GetPciInfo_v3`, `…GetArchitecture`,
//!   `…GetCudaComputeCapability`, `…GetPersistenceMode`, `…GetMigMode`, `…GetMaxMigDeviceCount`,
//!   `…IsMigDeviceHandle`;
//! - power: `…GetTotalEnergyConsumption`, `…GetPowerUsage`, `…GetEnforcedPowerLimit`,
//!   `…GetPowerManagementLimit`, `…GetPowerManagementDefaultLimit`,
//!   `…GetPowerManagementLimitConstraints`;
//! - condition: `…GetTemperature`, `…GetTemperatureV`, `…GetUtilizationRates`, `…GetMemoryInfo`,
//!   `…_v2`, `…GetClockInfo`, `…GetMaxClockInfo`, `…GetPerformanceState`, `…GetPowerState`,
//!   `…GetNumFans`, `…GetFanSpeed`, `…GetFanSpeed_v2`, current and supported
//!   `…ClocksThrottleReasons` and `…ClocksEventReasons`;
//! - memory errors: `…GetEccMode`, `…GetTotalEccErrors`, `…GetMemoryErrorCounter`,
//!   `…GetRemappedRows`;
//! - fields: `nvmlDeviceGetFieldValues` for 1–6, 74, 76, 82, 83, 142–145, 185–192, 230 and the
//!   throttle durations 251–253 (269–271 on drivers from 580.82 on);
//! - processes: compute, graphics and MPS running processes, v1 to v3;
//! - events: `nvmlEventSetCreate`, `…Free`, `…Wait`, `…Wait_v2`, `nvmlDeviceRegisterEvents`,
//!   `nvmlDeviceGetSupportedEventTypes`, with scripted XIDs.
//!
//! **Architecture invariant:** no MIG instances, vGPU, NVLink, module scope or GPM; nothing that
//! writes to a GPU.

mod answer;
mod clock;
mod driver;
mod energy;
pub mod exports;
mod gpu;
mod handle;
mod model;
pub mod scenario;

pub use energy::{
    drawn_energy_uj, expected_energy_mj, expected_module_energy_mj, expected_powers_mw,
};
pub use scenario::Scenario;

/// The library itself, to be loaded: Cargo leaves it beside the tests of every crate that depends
/// on this one.
///
/// # Panics
///
/// If the running program has no path.
#[must_use]
pub fn library_path() -> std::path::PathBuf {
    let this_test = std::env::current_exe().expect("a running program has a path");
    this_test.with_file_name("libfakenvml.so")
}
