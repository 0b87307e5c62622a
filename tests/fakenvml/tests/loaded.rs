//! The fake loaded as the real library is: by path, symbol by symbol, and unloaded again.
//!
//! One test only, since it is about what a process that starts with nothing sees.

use std::path::Path;
use std::time::{Duration, Instant};

use fakenvml::{Scenario, expected_energy_mj};
use nvml_wrapper_sys::bindings::{NvmlLib, nvmlDevice_t};

const SUCCESS: u32 = 0;
const UNINITIALIZED: u32 = 1;
const DRIVER_NOT_LOADED: u32 = 9;

/// Goal: a client that unloads the library after a failure, as nvml-wrapper does, and loads it
/// again finds the driver where it was, and not a fresh one that is never loaded and has counted
/// nothing.
#[test]
fn the_driver_outlives_the_library() {
    let scenario_path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/loaded.toml");
    // SAFETY: this process has a single test, and only std reads the environment.
    unsafe { std::env::set_var("BIJLI_FAKENVML_SCENARIO", &scenario_path) };
    let scenario = Scenario::load(&scenario_path).unwrap();

    let before_start = now();
    with_library(|nvml| {
        assert_eq!(call(&nvml.nvmlShutdown)(), UNINITIALIZED);
        assert_eq!(call(&nvml.nvmlInit_v2)(), DRIVER_NOT_LOADED);
    });
    let after_start = now();
    std::thread::sleep(Duration::from_millis(scenario.driver.load_after_ms));
    with_library(|nvml| {
        assert_eq!(call(&nvml.nvmlInit_v2)(), SUCCESS);
        for _ in 0..20 {
            let earliest_ms = millis(after_start);
            let energy_mj = energy_mj(nvml);
            let latest_ms = millis(before_start);
            assert!(energy_mj >= expected_energy_mj(&scenario, 0, earliest_ms));
            assert!(energy_mj <= expected_energy_mj(&scenario, 0, latest_ms));
            std::thread::sleep(Duration::from_millis(17));
        }
        assert_eq!(call(&nvml.nvmlShutdown)(), SUCCESS);
    });
}

fn energy_mj(nvml: &NvmlLib) -> u64 {
    let mut device: nvmlDevice_t = std::ptr::null_mut();
    let mut energy_mj = 0;
    let open = nvml.nvmlDeviceGetHandleByIndex_v2.as_ref().expect("exported");
    let read = nvml.nvmlDeviceGetTotalEnergyConsumption.as_ref().expect("exported");
    // SAFETY: the place for the handle lives on this stack.
    assert_eq!(unsafe { open(0, &raw mut device) }, SUCCESS);
    // SAFETY: the place for the energy lives on this stack.
    assert_eq!(unsafe { read(device, &raw mut energy_mj) }, SUCCESS);
    energy_mj
}

/// A call without arguments.
fn call<E: std::fmt::Debug>(symbol: &Result<unsafe extern "C" fn() -> u32, E>) -> impl Fn() -> u32 {
    let function = *symbol.as_ref().expect("exported");
    // SAFETY: it takes no pointers and may be called at any time.
    move || unsafe { function() }
}

fn with_library(check: impl FnOnce(&NvmlLib)) {
    // SAFETY: the library is ours and runs no code on being loaded.
    let nvml = unsafe { NvmlLib::new(fakenvml::library_path()) }.expect("the library loads");
    check(&nvml);
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).expect("a test is short")
}

#[expect(clippy::disallowed_methods, reason = "the fake runs in real time, so its test must look")]
fn now() -> Instant {
    Instant::now()
}
