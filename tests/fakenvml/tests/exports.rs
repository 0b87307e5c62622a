//! The exported functions, called as C calls them, without a loader in between.

use std::ffi::{CStr, c_char};
use std::path::Path;
use std::sync::LazyLock;
use std::time::{SystemTime, UNIX_EPOCH};

use fakenvml::exports::{device, events, fields, getters, mig, processes, system};
use fakenvml::{Scenario, expected_energy_mj, expected_powers_mw};
use nvml_wrapper_sys::bindings as nvml;

const SUCCESS: u32 = 0;
const INVALID_ARGUMENT: u32 = 2;
const NOT_SUPPORTED: u32 = 3;
const NOT_FOUND: u32 = 6;
const INSUFFICIENT_SIZE: u32 = 7;
const TIMEOUT: u32 = 10;
const GPU_IS_LOST: u32 = 15;
const VERSION_MISMATCH: u32 = 25;
const DEPRECATED: u32 = 26;

/// Version 1 in the top byte, the size below.
const TEMPERATURE_ASKED: nvml::nvmlTemperature_t =
    nvml::nvmlTemperature_t { version: 12 | (1 << 24), sensorType: 0, temperature: 0 };

const LOST: usize = 1;
const HANGING: usize = 2;
const BARE: usize = 3;
const BLANK: usize = 4;
const TALKATIVE: usize = 5;

struct Fake {
    scenario: Scenario,
    epoch_utc_us: i64,
}

/// The one scenario of this process, initialised once for all tests and never shut down.
static FAKE: LazyLock<Fake> = LazyLock::new(|| {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/exports.toml");
    let epoch_utc_ms = utc_ms();
    // SAFETY: only std reads the environment of this process, and std locks it.
    unsafe {
        std::env::set_var("BIJLI_FAKENVML_SCENARIO", &path);
        std::env::set_var("BIJLI_FAKENVML_EPOCH_UTC_MS", epoch_utc_ms.to_string());
    }
    assert_eq!(system::nvmlInit_v2(), SUCCESS);
    let scenario = Scenario::load(&path).expect("the scenario is valid");
    Fake { scenario, epoch_utc_us: epoch_utc_ms * 1_000 }
});

#[expect(clippy::disallowed_methods, reason = "the fake's epoch is a wall-clock time")]
fn utc_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970");
    i64::try_from(since.as_millis()).expect("it is before the year 292 million")
}

/// A call that fills one place: its code and what it has filled in.
fn filled<T: Default>(call: impl FnOnce(*mut T) -> u32) -> (u32, T) {
    let mut place = T::default();
    let code = call(&raw mut place);
    (code, place)
}

/// The handle of a GPU, also of one that the library would not open.
fn gpu(index: usize) -> nvml::nvmlDevice_t {
    LazyLock::force(&FAKE);
    std::ptr::without_provenance_mut(index + 1)
}

fn read_fields(gpu: nvml::nvmlDevice_t, ids: &[u32]) -> (u32, Vec<nvml::nvmlFieldValue_t>) {
    // SAFETY: all zero is a valid field value.
    let blank: nvml::nvmlFieldValue_t = unsafe { std::mem::zeroed() };
    let mut values: Vec<_> =
        ids.iter().map(|&id| nvml::nvmlFieldValue_t { fieldId: id, ..blank }).collect();
    let count = i32::try_from(values.len()).expect("a handful");
    // SAFETY: there are `count` values.
    let code = unsafe { fields::nvmlDeviceGetFieldValues(gpu, count, values.as_mut_ptr()) };
    (code, values)
}

fn text_of(buffer: &[c_char]) -> String {
    // SAFETY: every byte of the buffer lies behind the pointer, and one of them is NUL.
    let text = unsafe { CStr::from_ptr(buffer.as_ptr()) };
    text.to_str().expect("ASCII").to_owned()
}

/// Goal: a reading's own time stamp is enough to predict it to the millijoule.
#[test]
fn energy_is_what_the_scenario_says_at_the_time_stamp() {
    let gpu = gpu(0);
    for _ in 0..500 {
        let (code, values) = read_fields(gpu, &[83, 185, 186, 191]);
        assert_eq!(code, SUCCESS);
        let at_us = u64::try_from(values[0].timestamp - FAKE.epoch_utc_us).unwrap();
        // SAFETY: the union was written as a whole.
        let read = |index: usize| unsafe { values[index].value.ullVal };
        assert_eq!(read(0), expected_energy_mj(&FAKE.scenario, 0, at_us / 1_000));
        assert_eq!(read(3), read(0));
        let powers_mw = expected_powers_mw(&FAKE.scenario, 0, at_us / 1_000).map(u64::from);
        assert_eq!([read(1), read(2)], powers_mw);
    }
}

#[test]
fn every_field_has_its_own_code_and_type() {
    let (code, values) = read_fields(gpu(0), &[83, 186, 4, 143, 230, 302, 252, 270]);
    assert_eq!(code, SUCCESS);
    let codes: Vec<_> = values.iter().map(|value| value.nvmlReturn).collect();
    // Driver 580.105 has the throttle durations under their new numbers.
    assert_eq!(codes, [0, 0, 0, 0, 0, NOT_SUPPORTED, NOT_SUPPORTED, 0]);
    let types: Vec<_> = values.iter().map(|value| value.valueType).collect();
    assert_eq!(types[..5], [3, 1, 3, 1, 1]);
    // SAFETY: the union was written as a whole.
    let read = |index: usize| unsafe { values[index].value.ullVal };
    assert_eq!((read(2), read(3), read(4)), (4, 2, 3));
    assert!(read(7) > 0);
}

#[test]
fn a_module_scope_is_not_supported() {
    // SAFETY: all zero is a valid field value.
    let mut value: nvml::nvmlFieldValue_t = unsafe { std::mem::zeroed() };
    (value.fieldId, value.scopeId) = (186, 1);
    // SAFETY: there is one value.
    assert_eq!(unsafe { fields::nvmlDeviceGetFieldValues(gpu(0), 1, &raw mut value) }, SUCCESS);
    assert_eq!(value.nvmlReturn, NOT_SUPPORTED);
}

#[test]
fn a_lost_gpu_says_so_to_everybody() {
    let lost = gpu(LOST);
    assert_eq!(read_fields(lost, &[83]).0, GPU_IS_LOST);
    // SAFETY: the place is valid; a handle is never followed.
    let (code, _) = filled(|out| unsafe { getters::nvmlDeviceGetPowerUsage(lost, out) });
    assert_eq!(code, GPU_IS_LOST);
    let mut handle = std::ptr::null_mut();
    // SAFETY: the place is valid.
    let code = unsafe { system::nvmlDeviceGetHandleByIndex_v2(1, &raw mut handle) };
    assert_eq!(code, GPU_IS_LOST);
    // SAFETY: the place is valid.
    let (code, count) = filled(|out| unsafe { system::nvmlDeviceGetCount_v2(out) });
    assert_eq!((code, count), (SUCCESS, 6));
}

#[test]
fn a_hanging_gpu_answers_when_it_hangs_no_longer() {
    let (code, values) = read_fields(gpu(HANGING), &[83]);
    assert_eq!(code, SUCCESS);
    assert!(values[0].timestamp - FAKE.epoch_utc_us >= 50_000_000);
}

/// Goal: each feature of the scenario reaches the call that it is about.
#[test]
fn what_is_not_supported_says_so() {
    let bare = gpu(BARE);
    let mut wide = 0_u64;
    let mut narrow = [0_u32; 4];
    let [a, b, c, d] = narrow.each_mut().map(std::ptr::from_mut);
    let mut utilization = nvml::nvmlUtilization_t { gpu: 0, memory: 0 };
    let mut memory = nvml::nvmlMemory_t { total: 0, free: 0, used: 0 };
    let mut temperature = TEMPERATURE_ASKED;
    let mut serial = [0; 30];
    let set = std::ptr::null_mut();
    // SAFETY: all places live on this stack and have the size they are said to have.
    let codes = unsafe {
        [
            getters::nvmlDeviceGetTotalEnergyConsumption(bare, &raw mut wide),
            getters::nvmlDeviceGetPowerUsage(bare, a),
            getters::nvmlDeviceGetEnforcedPowerLimit(bare, a),
            getters::nvmlDeviceGetPowerManagementLimit(bare, a),
            getters::nvmlDeviceGetPowerManagementDefaultLimit(bare, a),
            getters::nvmlDeviceGetUtilizationRates(bare, &raw mut utilization),
            getters::nvmlDeviceGetMemoryInfo(bare, &raw mut memory),
            getters::nvmlDeviceGetPerformanceState(bare, a),
            getters::nvmlDeviceGetFanSpeed(bare, a),
            getters::nvmlDeviceGetCurrentClocksEventReasons(bare, &raw mut wide),
            getters::nvmlDeviceGetSupportedClocksEventReasons(bare, &raw mut wide),
            getters::nvmlDeviceGetSupportedEventTypes(bare, &raw mut wide),
            getters::nvmlDeviceGetSerial(bare, serial.as_mut_ptr(), 30),
            device::nvmlDeviceGetPowerManagementLimitConstraints(bare, a, b),
            device::nvmlDeviceGetEccMode(bare, a, b),
            device::nvmlDeviceGetTemperatureV(bare, &raw mut temperature),
            device::nvmlDeviceGetClockInfo(bare, 1, a),
            device::nvmlDeviceGetTotalEccErrors(bare, 0, 0, &raw mut wide),
            device::nvmlDeviceGetMemoryErrorCounter(bare, 0, 0, 2, &raw mut wide),
            device::nvmlDeviceGetRemappedRows(bare, a, b, c, d),
            processes::nvmlDeviceGetComputeRunningProcesses_v3(bare, a, std::ptr::null_mut()),
            events::nvmlDeviceRegisterEvents(bare, 8, set),
        ]
    };
    assert_eq!(codes, [NOT_SUPPORTED; 22]);
    let (code, values) = read_fields(bare, &[83, 185, 186, 82, 187, 191, 1, 3, 142, 74]);
    assert_eq!(code, SUCCESS);
    assert!(values.iter().all(|value| value.nvmlReturn == NOT_SUPPORTED));
}

#[test]
fn blank_temperatures_are_no_temperatures() {
    let mut temperature = TEMPERATURE_ASKED;
    // SAFETY: the struct is valid for reading and writing.
    let code = unsafe { device::nvmlDeviceGetTemperatureV(gpu(BLANK), &raw mut temperature) };
    assert_eq!((code, temperature.temperature), (SUCCESS, 2_147_483_634));
    let (_, values) = read_fields(gpu(BLANK), &[82]);
    // SAFETY: the union was written as a whole.
    assert_eq!(unsafe { values[0].value.ullVal }, 9_223_372_036_854_775_794);
    // SAFETY: the place is valid.
    let fan =
        |number| filled(|out| unsafe { device::nvmlDeviceGetFanSpeed_v2(gpu(BLANK), number, out) });
    assert_eq!(fan(0), (SUCCESS, 30));
    assert_eq!(fan(1).0, INVALID_ARGUMENT);
}

#[test]
fn deprecated_calls_may_be_gone_and_their_successors_stay() {
    let (mut narrow, mut wide) = (0, 0);
    // SAFETY: the places are valid.
    let codes = unsafe {
        [
            device::nvmlDeviceGetTemperature(gpu(0), 0, &raw mut narrow),
            getters::nvmlDeviceGetPowerState(gpu(0), &raw mut narrow),
            getters::nvmlDeviceGetCurrentClocksThrottleReasons(gpu(0), &raw mut wide),
            getters::nvmlDeviceGetSupportedClocksThrottleReasons(gpu(0), &raw mut wide),
        ]
    };
    assert_eq!(codes, [DEPRECATED; 4]);
    // SAFETY: the place is valid.
    let code = unsafe { getters::nvmlDeviceGetCurrentClocksEventReasons(gpu(0), &raw mut wide) };
    assert_eq!((code, wide & 0x40), (SUCCESS, 0x40));
}

#[test]
fn gpus_are_found_by_every_name() {
    let wanted = gpu(0);
    let mut found = [std::ptr::null_mut(); 4];
    let [by_index, by_uuid, by_serial, by_bus] = found.each_mut().map(std::ptr::from_mut);
    let uuid = c"GPU-00000000-0000-0000-0000-000000000000".as_ptr();
    // SAFETY: texts are NUL-terminated and places are valid.
    let codes = unsafe {
        [
            system::nvmlDeviceGetHandleByIndex_v2(0, by_index),
            system::nvmlDeviceGetHandleByUUID(uuid, by_uuid),
            system::nvmlDeviceGetHandleBySerial(c"SERIAL-0".as_ptr(), by_serial),
            system::nvmlDeviceGetHandleByPciBusId_v2(c"00000000:10:00.0".as_ptr(), by_bus),
        ]
    };
    assert_eq!(codes, [SUCCESS; 4]);
    assert_eq!(found, [wanted; 4]);
    let mut handle = std::ptr::null_mut();
    // SAFETY: the text is NUL-terminated and the place is valid.
    let code = unsafe { system::nvmlDeviceGetHandleByUUID(c"GPU-".as_ptr(), &raw mut handle) };
    assert_eq!(code, NOT_FOUND);
}

#[test]
fn a_buffer_must_hold_the_text_and_its_nul() {
    let mut buffer = [0; 41];
    // SAFETY: the buffer has 41 bytes, and no call is told of more.
    let mut uuid =
        |length| unsafe { getters::nvmlDeviceGetUUID(gpu(0), buffer.as_mut_ptr(), length) };
    assert_eq!(uuid(40), INSUFFICIENT_SIZE);
    assert_eq!(uuid(41), SUCCESS);
    assert_eq!(text_of(&buffer), "GPU-00000000-0000-0000-0000-000000000000");
}

#[test]
fn nothing_and_strangers_are_invalid_arguments() {
    let gpu = gpu(0);
    let stranger = std::ptr::without_provenance_mut(100);
    let null = std::ptr::null_mut();
    let (mut place, mut handle) = (0, null);
    // SAFETY: null is allowed everywhere, handles are never followed, the place is valid.
    let codes = unsafe {
        [
            getters::nvmlDeviceGetPowerUsage(gpu, std::ptr::null_mut()),
            getters::nvmlDeviceGetPowerUsage(null, &raw mut place),
            getters::nvmlDeviceGetPowerUsage(stranger, &raw mut place),
            getters::nvmlDeviceGetUUID(gpu, std::ptr::null_mut(), 80),
            system::nvmlDeviceGetHandleByIndex_v2(6, &raw mut handle),
            system::nvmlDeviceGetHandleByUUID(std::ptr::null(), &raw mut handle),
            mig::nvmlDeviceGetMigMode(gpu, &raw mut place, std::ptr::null_mut()),
            fields::nvmlDeviceGetFieldValues(gpu, 1, std::ptr::null_mut()),
            fields::nvmlDeviceGetFieldValues(gpu, -1, std::ptr::null_mut()),
            events::nvmlEventSetFree(std::ptr::without_provenance_mut(999)),
        ]
    };
    assert_eq!(codes, [INVALID_ARGUMENT; 10]);
}

#[test]
fn processes_come_in_all_versions_and_only_if_they_fit() {
    let gpu = gpu(0);
    let mut count = 1;
    // SAFETY: null is allowed, and nothing is written without room.
    let code = unsafe {
        let nowhere = std::ptr::null_mut();
        processes::nvmlDeviceGetComputeRunningProcesses_v3(gpu, &raw mut count, nowhere)
    };
    assert_eq!((code, count), (INSUFFICIENT_SIZE, 2));
    let blank = nvml::nvmlProcessInfo_t {
        pid: 0,
        usedGpuMemory: 0,
        gpuInstanceId: 0,
        computeInstanceId: 0,
    };
    let mut infos = [blank; 4];
    count = 4;
    // SAFETY: there are four places.
    let code = unsafe {
        processes::nvmlDeviceGetComputeRunningProcesses_v3(gpu, &raw mut count, infos.as_mut_ptr())
    };
    assert_eq!((code, count), (SUCCESS, 2));
    assert_eq!(infos.map(|info| (info.pid, info.usedGpuMemory))[..2], [(11, 1_000), (12, 2_000)]);
    assert_eq!(infos[0].gpuInstanceId, u32::MAX);
    let mut old_infos = [nvml::nvmlProcessInfo_v1_t { pid: 0, usedGpuMemory: 0 }; 2];
    // SAFETY: there are two places.
    let code = unsafe {
        let places = old_infos.as_mut_ptr();
        processes::nvmlDeviceGetComputeRunningProcesses(gpu, &raw mut count, places)
    };
    assert_eq!((code, old_infos.map(|info| info.pid)), (SUCCESS, [11, 12]));
    // SAFETY: null is allowed where there is nothing to write.
    let code = unsafe {
        let nowhere = std::ptr::null_mut();
        processes::nvmlDeviceGetGraphicsRunningProcesses_v3(gpu, &raw mut count, nowhere)
    };
    assert_eq!((code, count), (SUCCESS, 0));
}

#[test]
fn versioned_structs_must_state_their_version() {
    let mut temperature = TEMPERATURE_ASKED;
    // SAFETY: the struct is valid for reading and writing.
    let read = |temperature: &mut nvml::nvmlTemperature_t| unsafe {
        device::nvmlDeviceGetTemperatureV(gpu(0), temperature)
    };
    assert_eq!(read(&mut temperature), SUCCESS);
    assert!((30..80).contains(&temperature.temperature));
    temperature.version = 12 | (2 << 24);
    assert_eq!(read(&mut temperature), VERSION_MISMATCH);
}

#[test]
fn ecc_counters_are_told_apart() {
    let total = |error, counter| {
        // SAFETY: the place is valid.
        filled(|out| unsafe { device::nvmlDeviceGetTotalEccErrors(gpu(0), error, counter, out) })
    };
    assert_eq!(
        [total(0, 0), total(1, 0), total(0, 1), total(1, 1)].map(|(_, count)| count),
        [3, 4, 5, 6]
    );
    assert_eq!(total(2, 0).0, INVALID_ARGUMENT);
}

#[test]
fn a_wait_ends_in_time_or_with_an_xid() {
    let (quiet, talkative) = (gpu(0), gpu(TALKATIVE));
    let mut set = std::ptr::null_mut();
    // SAFETY: the place is valid.
    assert_eq!(unsafe { events::nvmlEventSetCreate(&raw mut set) }, SUCCESS);
    assert_eq!(events::nvmlDeviceRegisterEvents(quiet, 8, set), SUCCESS);
    let mut event = nvml::nvmlEventData_t {
        device: std::ptr::null_mut(),
        eventType: 0,
        eventData: 0,
        gpuInstanceId: 0,
        computeInstanceId: 0,
    };
    // SAFETY: the place is valid.
    let mut wait =
        |timeout_ms| unsafe { events::nvmlEventSetWait_v2(set, &raw mut event, timeout_ms) };
    assert_eq!(wait(20), TIMEOUT);
    assert_eq!(events::nvmlDeviceRegisterEvents(talkative, 8, set), SUCCESS);
    assert_eq!(wait(20_000), SUCCESS);
    assert_eq!((event.device, event.eventType, event.eventData), (talkative, 8, 13));
    assert_eq!(events::nvmlEventSetFree(set), SUCCESS);
    assert_eq!(events::nvmlEventSetFree(set), INVALID_ARGUMENT);
}

#[test]
fn errors_have_texts() {
    // SAFETY: every text is a C string that lives for ever.
    let text = |code| unsafe { CStr::from_ptr(system::nvmlErrorString(code)) };
    assert_eq!(text(GPU_IS_LOST), c"GPU is lost");
    assert_eq!(text(12_345), c"Unknown Error");
}
