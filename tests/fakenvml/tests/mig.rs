//! GPUs split into MIG instances, as C sees them.

mod common;

use std::ffi::{CStr, c_char};
use std::ptr::null_mut;
use std::sync::LazyLock;

use common::{handle, one};
use fakenvml::Scenario;
use fakenvml::exports::{events, fields, getters, mig, processes, system};
use nvml_wrapper_sys::bindings as nvml;

const NOT_SUPPORTED: u32 = 3;
const NOT_FOUND: u32 = 6;

const IN_SEVEN: usize = 0;
const IN_TWO: usize = 1;
const WHOLE: usize = 2;

static SCENARIO: LazyLock<Scenario> = LazyLock::new(|| common::start("mig.toml"));

fn gpu(index: usize) -> nvml::nvmlDevice_t {
    LazyLock::force(&SCENARIO);
    handle(index)
}

fn number(call: impl FnOnce(*mut u32) -> u32) -> (u32, u32) {
    let mut place = 0;
    let code = call(&raw mut place);
    (code, place)
}

fn instance(gpu_index: usize, index: u32) -> (u32, nvml::nvmlDevice_t) {
    let mut handle = null_mut();
    // SAFETY: the place is valid.
    let code =
        unsafe { mig::nvmlDeviceGetMigDeviceHandleByIndex(gpu(gpu_index), index, &raw mut handle) };
    (code, handle)
}

fn text(call: impl FnOnce(*mut c_char, u32) -> u32) -> String {
    let mut buffer = [0; 96];
    assert_eq!(call(buffer.as_mut_ptr(), 96), 0);
    // SAFETY: the buffer ends in NUL.
    unsafe { CStr::from_ptr(buffer.as_ptr()) }.to_str().expect("ASCII").to_owned()
}

fn uuid(device: nvml::nvmlDevice_t) -> String {
    // SAFETY: the buffer is as long as said.
    text(|out, length| unsafe { getters::nvmlDeviceGetUUID(device, out, length) })
}

#[test]
fn the_mode_is_that_of_the_gpu() {
    let mode = |index| {
        let (mut current, mut pending) = (9, 9);
        // SAFETY: the places are valid.
        let code =
            unsafe { mig::nvmlDeviceGetMigMode(gpu(index), &raw mut current, &raw mut pending) };
        (code, current, pending)
    };
    assert_eq!([IN_SEVEN, WHOLE].map(mode), [(0, 1, 1), (0, 0, 0)]);
    let most = |index| {
        // SAFETY: the place is valid.
        number(|out| unsafe { getters::nvmlDeviceGetMaxMigDeviceCount(gpu(index), out) })
    };
    assert_eq!([IN_SEVEN, WHOLE].map(most), [(0, 7), (0, 0)]);
    assert_eq!(instance(WHOLE, 0).0, NOT_FOUND);
    assert_eq!(instance(IN_SEVEN, 7).0, NOT_FOUND);
}

#[test]
fn instances_know_who_they_are_and_whose() {
    let mut uuids = std::collections::BTreeSet::new();
    for index in 0..7 {
        let (code, device) = instance(IN_SEVEN, index);
        assert_eq!(code, 0);
        assert!(uuids.insert(uuid(device)));
        // SAFETY: the places are valid.
        let facts = unsafe {
            [
                number(|out| getters::nvmlDeviceIsMigDeviceHandle(device, out)),
                number(|out| getters::nvmlDeviceGetIndex(device, out)),
                number(|out| getters::nvmlDeviceGetGpuInstanceId(device, out)),
                number(|out| getters::nvmlDeviceGetComputeInstanceId(device, out)),
            ]
        };
        assert_eq!(facts, [(0, 1), (0, index), (0, 7 + index), (0, 0)]);
        let mut parent = null_mut();
        // SAFETY: the place is valid.
        let code = unsafe {
            getters::nvmlDeviceGetDeviceHandleFromMigDeviceHandle(device, &raw mut parent)
        };
        assert_eq!((code, parent), (0, gpu(IN_SEVEN)));
    }
    assert!(uuids.iter().all(|uuid| uuid.len() == 40 && uuid.starts_with("MIG-")), "{uuids:?}");
    // SAFETY: the places are valid.
    let of_a_whole = unsafe {
        [
            number(|out| getters::nvmlDeviceIsMigDeviceHandle(gpu(IN_SEVEN), out)),
            number(|out| getters::nvmlDeviceGetGpuInstanceId(gpu(IN_SEVEN), out)),
        ]
    };
    assert_eq!(of_a_whole, [(0, 0), (NOT_SUPPORTED, 0)]);
}

#[test]
fn instances_have_their_shares() {
    let shares = [0, 1].map(|index| {
        let (_, device) = instance(IN_TWO, index);
        // SAFETY: all zero is a valid struct of numbers.
        let mut attributes: nvml::nvmlDeviceAttributes_t = unsafe { std::mem::zeroed() };
        // SAFETY: the place is valid.
        let code = unsafe { getters::nvmlDeviceGetAttributes_v2(device, &raw mut attributes) };
        // SAFETY: the buffer is as long as said.
        let name = text(|out, length| unsafe { getters::nvmlDeviceGetName(device, out, length) });
        (code, attributes.gpuInstanceSliceCount, attributes.memorySizeMB, name)
    });
    assert_eq!(shares[0], (0, 4, 40_779, "NVIDIA H100 80GB HBM3 MIG 4g.40gb".to_owned()));
    assert_eq!(shares[1], (0, 3, 40_960, "NVIDIA H100 80GB HBM3 MIG 3g.40gb".to_owned()));
}

#[test]
fn an_instance_is_found_by_its_uuid() {
    let mut found = null_mut();
    LazyLock::force(&SCENARIO);
    // SAFETY: the text ends in NUL and the place is valid.
    let code = unsafe { system::nvmlDeviceGetHandleByUUID(c"MIG-named".as_ptr(), &raw mut found) };
    assert_eq!((code, found), (0, instance(IN_TWO, 0).1));
    assert_eq!(uuid(found), "MIG-named");
}

#[test]
fn processes_are_in_their_instances() {
    let running = |device| {
        // SAFETY: all zero is a valid struct of numbers.
        let mut infos: [nvml::nvmlProcessInfo_t; 4] = unsafe { std::mem::zeroed() };
        let mut count = 4;
        let place = infos.as_mut_ptr();
        // SAFETY: there are four places.
        let code = unsafe {
            processes::nvmlDeviceGetComputeRunningProcesses_v3(device, &raw mut count, place)
        };
        assert_eq!(code, 0);
        let count = usize::try_from(count).expect("a few");
        infos[..count].iter().map(|info| (info.pid, info.gpuInstanceId)).collect::<Vec<_>>()
    };
    assert_eq!(running(gpu(IN_SEVEN)), [(11, 9), (12, 10)]);
    assert_eq!(running(instance(IN_SEVEN, 2).1), [(11, 9)]);
    assert_eq!(running(instance(IN_SEVEN, 0).1), []);
    // SAFETY: all zero is a valid struct of numbers.
    let mut memory: nvml::nvmlMemory_t = unsafe { std::mem::zeroed() };
    // SAFETY: the place is valid.
    let code =
        unsafe { getters::nvmlDeviceGetMemoryInfo(instance(IN_SEVEN, 3).1, &raw mut memory) };
    assert_eq!((code, memory.used, memory.total), (0, 2_000_000, 85_520_809_984 / 8));
}

/// Goal: there is no energy, power or temperature of an instance, and none must be made up.
#[test]
fn what_nvml_refuses_of_instances_and_their_gpu() {
    let (_, device) = instance(IN_SEVEN, 0);
    let (mut wide, mut narrow) = (0, 0);
    let mut utilization = nvml::nvmlUtilization_t { gpu: 0, memory: 0 };
    // SAFETY: all zero is a valid field value.
    let mut field: nvml::nvmlFieldValue_t = unsafe { std::mem::zeroed() };
    // SAFETY: the places are valid.
    let codes = unsafe {
        [
            getters::nvmlDeviceGetTotalEnergyConsumption(device, &raw mut wide),
            getters::nvmlDeviceGetPowerUsage(device, &raw mut narrow),
            getters::nvmlDeviceGetUtilizationRates(device, &raw mut utilization),
            fields::nvmlDeviceGetFieldValues(device, 1, &raw mut field),
            events::nvmlDeviceRegisterEvents(device, 8, null_mut()),
            getters::nvmlDeviceGetUtilizationRates(gpu(IN_SEVEN), &raw mut utilization),
        ]
    };
    assert_eq!(codes, [NOT_SUPPORTED; 6]);
    assert_eq!(one(gpu(IN_SEVEN), 142, 0).0, NOT_SUPPORTED);
    // SAFETY: the place is valid.
    let whole = unsafe { getters::nvmlDeviceGetUtilizationRates(gpu(WHOLE), &raw mut utilization) };
    assert_eq!((whole, utilization.gpu, one(gpu(WHOLE), 142, 0).0), (0, 98, 0));
    assert_eq!(one(gpu(IN_SEVEN), 83, 0).0, 0);
}
