//! A driver that goes and comes back, and GPUs that are taken out and replaced.
//!
//! One test only, since it sets the clock of its process.

mod common;

use std::ffi::{CStr, c_char};
use std::path::Path;
use std::ptr::null_mut;

use common::{handle, one, utc_ms};
use fakenvml::exports::{events, getters, system};
use fakenvml::{Scenario, expected_energy_mj};
use nvml_wrapper_sys::bindings::{nvmlDevice_t, nvmlEventSet_t};

const UNINITIALIZED: u32 = 1;
const INVALID_ARGUMENT: u32 = 2;
const NOT_FOUND: u32 = 6;
const DRIVER_NOT_LOADED: u32 = 9;
const GPU_IS_LOST: u32 = 15;
const LIBRARY_MISMATCH: u32 = 18;

/// Sets the clock and initialises.
fn init_at(scenario_ms: u128) -> u32 {
    let epoch = (utc_ms() - scenario_ms).to_string();
    // SAFETY: this process has a single test, and only std reads the environment.
    unsafe { std::env::set_var("BIJLI_FAKENVML_EPOCH_UTC_MS", epoch) };
    system::nvmlInit_v2()
}

fn count() -> (u32, u32) {
    let mut count = 0;
    // SAFETY: the place is valid.
    let code = unsafe { system::nvmlDeviceGetCount_v2(&raw mut count) };
    (code, count)
}

fn by_index(index: u32) -> (u32, nvmlDevice_t) {
    let mut device = null_mut();
    // SAFETY: the place is valid.
    let code = unsafe { system::nvmlDeviceGetHandleByIndex_v2(index, &raw mut device) };
    (code, device)
}

fn energy_mj(device: nvmlDevice_t) -> (u32, u64) {
    let mut energy_mj = 0;
    // SAFETY: the place is valid.
    let code = unsafe { getters::nvmlDeviceGetTotalEnergyConsumption(device, &raw mut energy_mj) };
    (code, energy_mj)
}

fn text(call: impl FnOnce(*mut c_char, u32) -> u32) -> String {
    let mut buffer = [0; 96];
    assert_eq!(call(buffer.as_mut_ptr(), 96), 0);
    // SAFETY: the buffer ends in NUL.
    unsafe { CStr::from_ptr(buffer.as_ptr()) }.to_str().expect("ASCII").to_owned()
}

fn driver_version() -> String {
    // SAFETY: the buffer is as long as said.
    text(|out, length| unsafe { system::nvmlSystemGetDriverVersion(out, length) })
}

fn uuid(device: nvmlDevice_t) -> String {
    // SAFETY: the buffer is as long as said.
    text(|out, length| unsafe { getters::nvmlDeviceGetUUID(device, out, length) })
}

#[test]
fn what_begins_anew_and_who_is_still_there() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reload.toml");
    // SAFETY: this process has a single test, and only std reads the environment.
    unsafe { std::env::set_var("BIJLI_FAKENVML_SCENARIO", &path) };
    let scenario = Scenario::load(&path).expect("the scenario is valid");
    let old_set = a_process_that_keeps_nvml_open(&scenario);
    a_driver_that_is_back(&scenario, old_set);
    gpus_that_leave_and_come(&scenario);
}

/// It is told, and nothing helps but to shut down and to initialise again.
fn a_process_that_keeps_nvml_open(scenario: &Scenario) -> nvmlEventSet_t {
    assert_eq!(init_at(998_000), 0);
    let first = by_index(0).1;
    assert_eq!((count(), first, driver_version().as_str()), ((0, 3), handle(0), "570.148.08"));
    assert!(energy_mj(first).1 >= expected_energy_mj(scenario, 0, 998_000));
    assert_eq!(one(first, 3, 0).2, 5);
    let mut set = null_mut();
    // SAFETY: the place is valid.
    assert_eq!(unsafe { events::nvmlEventSetCreate(&raw mut set) }, 0);
    assert_eq!(events::nvmlDeviceRegisterEvents(first, 8, set), 0);
    // SAFETY: the place is valid, and the driver goes while this waits.
    let code = unsafe {
        let mut event = std::mem::zeroed();
        events::nvmlEventSetWait_v2(set, &raw mut event, 60_000)
    };
    assert_eq!(code, UNINITIALIZED);
    assert_eq!((count().0, energy_mj(first).0), (UNINITIALIZED, UNINITIALIZED));
    assert_eq!(system::nvmlInit_v2(), DRIVER_NOT_LOADED);
    assert_eq!(system::nvmlShutdown(), 0);
    set
}

fn a_driver_that_is_back(scenario: &Scenario, old_set: nvmlEventSet_t) {
    assert_eq!(init_at(1_500_000), DRIVER_NOT_LOADED);
    assert_eq!(init_at(2_050_000), LIBRARY_MISMATCH);
    assert_eq!(init_at(2_500_000), 0);
    assert_eq!(driver_version(), "595.91");
    assert_eq!(energy_mj(handle(0)).0, GPU_IS_LOST);
    assert_eq!(events::nvmlEventSetFree(old_set), 0);
    let (code, first) = by_index(0);
    assert_eq!(code, 0);
    assert_ne!(first, handle(0));
    // 300 W since 2000 s: the start and everything before the reload is gone.
    let energy = energy_mj(first).1;
    assert!(energy >= expected_energy_mj(scenario, 0, 2_500_000));
    assert!((300 * 500_000..300 * 999_000).contains(&energy), "{energy}");
    assert_eq!([3, 5].map(|field| one(first, field, 0).2), [0, 50]);
    // Renumbered now, and counted since the reload.
    let throttled_ns = one(first, 270, 0).2;
    assert!((500_000_000_000..999_000_000_000).contains(&throttled_ns), "{throttled_ns}");
    assert_eq!(system::nvmlShutdown(), 0);
}

fn gpus_that_leave_and_come(scenario: &Scenario) {
    assert_eq!(init_at(3_500_000), 0);
    assert_eq!(count(), (0, 1));
    assert_eq!(by_index(1).0, INVALID_ARGUMENT);
    assert_eq!(system::nvmlShutdown(), 0);

    assert_eq!(init_at(4_500_000), 0);
    assert_eq!(count(), (0, 2));
    let (_, new) = by_index(1);
    assert_eq!(uuid(new), "GPU-new");
    let energy = energy_mj(new).1;
    assert!(energy >= expected_energy_mj(scenario, 2, 4_500_000));
    assert!((200 * 500_000..200 * 999_000).contains(&energy), "{energy}");
    assert_eq!([6, 143, 145].map(|field| one(new, field, 0).2), [0; 3]);
    let mut found = null_mut();
    let old = c"GPU-00000000-0000-0000-0000-000000000002".as_ptr();
    // SAFETY: the text ends in NUL and the place is valid.
    assert_eq!(unsafe { system::nvmlDeviceGetHandleByUUID(old, &raw mut found) }, NOT_FOUND);
    // SAFETY: as above; it sits where it sat.
    let code = unsafe {
        system::nvmlDeviceGetHandleByPciBusId_v2(c"00000000:12:00.0".as_ptr(), &raw mut found)
    };
    assert_eq!((code, found), (0, new));
    assert_eq!(system::nvmlShutdown(), 0);
}
