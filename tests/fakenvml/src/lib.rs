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
//! | `BIJLI_FAKENVML_REFUSALS` | a file to which each call that is not supported adds a line |
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
//!   GPU is lost, removed, or its handle is from before a reload, and only then looks at what is
//!   unsupported. While NVML was initialised before a reload, every call is `UNINITIALIZED`.
//! - A null pointer or an invented handle is answered with `INVALID_ARGUMENT`; no call panics.
//!
//! # Exports
//!
//! Each `…` stands for `nvmlDevice`.
//!
//! - system: `nvmlInit`, `nvmlInit_v2`, `nvmlInitWithFlags`, `nvmlShutdown`, `nvmlErrorString`,
//!   `nvmlSystemGetDriverVersion`, `nvmlSystemGetNVMLVersion`, `nvmlSystemGetCudaDriverVersion`,
//!   `nvmlSystemGetCudaDriverVersion_v2`;
//! - finding: `…GetCount_v2`, `…GetHandleByIndex_v2`, `…GetHandleByUUID`, `…GetHandleBySerial`,
//!   `…GetHandleByPciBusId_v2`;
//! - identity: `…GetUUID`, `…GetName`, `…GetSerial`, `…GetBoardPartNumber`, `…GetVbiosVersion`,
//!   `…GetIndex`, `…GetMinorNumber`, `…GetPciInfo_v3`, `…GetArchitecture`,
//!   `…GetCudaComputeCapability`, `…GetPersistenceMode`, `…GetModuleId`, `…GetPlatformInfo` (v1,
//!   v2), `…GetInforomVersion`, `…GetInforomImageVersion`, `…GetGspFirmwareMode`,
//!   `…GetGspFirmwareVersion`;
//! - MIG: `…GetMigMode`, `…GetMaxMigDeviceCount`, `…GetMigDeviceHandleByIndex`,
//!   `…IsMigDeviceHandle`, `…GetDeviceHandleFromMigDeviceHandle`, `…GetGpuInstanceId`,
//!   `…GetComputeInstanceId`, `…GetAttributes_v2`; UUID, name, index, memory and processes also
//!   answer for an instance, everything else is `NOT_SUPPORTED` there;
//! - power: `…GetTotalEnergyConsumption`, `…GetPowerUsage`, `…GetEnforcedPowerLimit`,
//!   `…GetPowerManagementLimit`, `…GetPowerManagementDefaultLimit`,
//!   `…GetPowerManagementLimitConstraints`;
//! - condition: `…GetTemperature`, `…GetTemperatureV`, `…GetMarginTemperature`,
//!   `…GetUtilizationRates`, `…GetMemoryInfo`, `…GetMemoryInfo_v2`, `…GetClockInfo`,
//!   `…GetMaxClockInfo`, `…GetPerformanceState`, `…GetPowerState`, `…GetNumFans`,
//!   `…GetFanSpeed`, `…GetFanSpeed_v2`, `…GetFanSpeedRPM`, `…GetCurrentClocksEventReasons`,
//!   `…GetSupportedClocksEventReasons`, `…GetCurrentClocksThrottleReasons`,
//!   `…GetSupportedClocksThrottleReasons`;
//! - memory errors: `…GetEccMode`, `…GetTotalEccErrors`, `…GetMemoryErrorCounter`,
//!   `…GetSramEccErrorStatus`, `…GetRemappedRows`, `…GetRowRemapperHistogram`;
//! - links: `…GetMaxPcieLinkGeneration`, `…GetMaxPcieLinkWidth`, `…GetCurrPcieLinkGeneration`,
//!   `…GetCurrPcieLinkWidth`, `…GetPcieReplayCounter`, `…GetNvLinkState`,
//!   `…GetNvLinkErrorCounter`, `…GetGpuFabricInfo`, `…GetGpuFabricInfoV` (v2, v3);
//! - fields: `…GetFieldValues` for
//!   - 1–6 ECC, 82 memory temperature, 83 energy, 142–145 remapped rows, 230 recovery action;
//!   - 185–192 power, limits and energy, at scope 1 those of the module; 193–196 signed distances
//!     to thermal limits;
//!   - 74 and 76 and 251–253 throttle durations (269–271 on drivers from 580.82 on);
//!   - 94, 95, 169, 173–183 PCIe errors; 170, 231–233 the link to a Grace CPU;
//!   - 38, 52, 59, 91, and by link as scope 161–166; from NVLink 5 on 206–211, 213–215, 219–222;
//! - processes: `…GetComputeRunningProcesses`, `…GetGraphicsRunningProcesses`,
//!   `…GetMPSComputeRunningProcesses`, each also `_v2` and `_v3`;
//! - events: `nvmlEventSetCreate`, `nvmlEventSetFree`, `nvmlEventSetWait`, `nvmlEventSetWait_v2`,
//!   `…RegisterEvents`, `…GetSupportedEventTypes`, with scripted XIDs and events of all types.
//!
//! **Architecture invariant:** no vGPU and no GPM; nothing that writes to a GPU.

mod answer;
mod clock;
mod driver;
mod energy;
pub mod exports;
mod gpu;
mod handle;
mod model;
mod refusals;
pub mod scenario;

pub use energy::{
    drawn_energy_uj, expected_energy_mj, expected_module_energy_mj, expected_powers_mw,
};
pub use scenario::Scenario;

/// The library itself, to be loaded: Cargo leaves it beside the tests of every crate that depends
/// on this one, and in `deps/` beside its programs.
///
/// # Panics
///
/// If it is in neither place: an agent without it would run without GPUs.
#[must_use]
pub fn library_path() -> std::path::PathBuf {
    let this_program = std::env::current_exe().expect("a running program has a path");
    let places = ["libfakenvml.so", "deps/libfakenvml.so"];
    let mut places = places.map(|place| this_program.with_file_name(place)).into_iter();
    places.find(|place| place.is_file()).expect("libfakenvml.so is built with this program")
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "this test reads the sources")]
mod tests {
    use std::path::Path;

    /// The names after `fn ` or at the beginning of a table's line.
    fn exported(folder: &Path, names: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                exported(&path, names);
                continue;
            }
            for line in std::fs::read_to_string(&path).unwrap().lines() {
                let name = line.trim_start();
                let name = name.split("extern \"C\" fn ").last().unwrap_or(name);
                let end = name.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(0);
                let (name, rest) = name.split_at(end);
                let is_call = rest.starts_with(['(', ':']) || rest.starts_with(" =");
                let is_import = rest.starts_with("::");
                if name.starts_with("nvml") && !name.ends_with("_t") && is_call && !is_import {
                    names.push(name.to_owned());
                }
            }
        }
    }

    /// Goal: the list of exports is true.
    #[test]
    fn every_export_is_listed() {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut names = Vec::new();
        exported(&source.join("exports"), &mut names);
        assert!(names.len() > 80, "{names:?}");
        let list = std::fs::read_to_string(source.join("lib.rs")).unwrap();
        let list = list.split("mod answer;").next().unwrap();
        for name in names {
            let plain = name.trim_end_matches("_v2").trim_end_matches("_v3");
            let is_process_list = plain.ends_with("RunningProcesses");
            let name = if is_process_list { plain } else { &name };
            let short = name.replace("nvmlDevice", "…");
            assert!(list.contains(&format!("`{short}`")), "{name} is not listed");
        }
    }
}
