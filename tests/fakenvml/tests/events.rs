//! Events of all types, and what a lost GPU does to a set.

mod common;

use std::ptr::null_mut;
use std::sync::LazyLock;

use common::handle;
use fakenvml::Scenario;
use fakenvml::exports::events;
use nvml_wrapper_sys::bindings as nvml;

const NOT_SUPPORTED: u32 = 3;
const GPU_IS_LOST: u32 = 15;

const STORMY: usize = 0;
const LOST: usize = 1;
const LOST_LATER: usize = 2;
const OLD: usize = 3;

const XID: u64 = 0x8;
const DRAM_RETIREMENT: u64 = 0x400;

static SCENARIO: LazyLock<Scenario> = LazyLock::new(|| common::start("events.toml"));

fn gpu(index: usize) -> nvml::nvmlDevice_t {
    LazyLock::force(&SCENARIO);
    handle(index)
}

fn set_of(registrations: &[(usize, u64)]) -> nvml::nvmlEventSet_t {
    LazyLock::force(&SCENARIO);
    let mut set = null_mut();
    // SAFETY: the place is valid.
    assert_eq!(unsafe { events::nvmlEventSetCreate(&raw mut set) }, 0);
    for &(index, types) in registrations {
        assert_eq!(events::nvmlDeviceRegisterEvents(gpu(index), types, set), 0);
    }
    set
}

fn wait(set: nvml::nvmlEventSet_t) -> (u32, nvml::nvmlEventData_t) {
    // SAFETY: all zero is valid event data.
    let mut event: nvml::nvmlEventData_t = unsafe { std::mem::zeroed() };
    // SAFETY: the place is valid.
    let code = unsafe { events::nvmlEventSetWait_v2(set, &raw mut event, 30_000) };
    (code, event)
}

#[test]
fn only_what_was_registered_for_appears() {
    for (types, data) in [(XID, 119), (DRAM_RETIREMENT, 7)] {
        let set = set_of(&[(STORMY, types)]);
        for _ in 0..10 {
            let (code, event) = wait(set);
            assert_eq!((code, event.eventType, event.eventData), (0, types, data));
            assert_eq!(event.device, gpu(STORMY));
        }
    }
    let (_, event) = wait(set_of(&[(STORMY, XID)]));
    assert_eq!((event.gpuInstanceId, event.computeInstanceId), (4, u32::MAX));
}

/// Goal: of a storm of XIDs a slow reader gets the last, of the other events each one.
#[test]
fn a_slow_reader_loses_xids_only() {
    let set = set_of(&[(STORMY, XID | DRAM_RETIREMENT)]);
    std::thread::sleep(std::time::Duration::from_millis(200));
    let (mut xids, mut others) = (0, 0);
    while others < 40 {
        let (code, event) = wait(set);
        assert_eq!(code, 0);
        if event.eventType == XID { xids += 1 } else { others += 1 }
    }
    // The 40 retirements took 200 ms, the first 20 XIDs of which came as one.
    assert!(xids < 15, "{xids}");
}

#[test]
fn one_lost_gpu_refuses_and_spoils_its_set_only() {
    let set = set_of(&[(STORMY, XID)]);
    assert_eq!(events::nvmlDeviceRegisterEvents(gpu(LOST), XID, set), GPU_IS_LOST);
    assert_eq!(wait(set).0, 0);
    assert_eq!(wait(set_of(&[(LOST_LATER, XID)])).0, GPU_IS_LOST);
    assert_eq!(wait(set).0, 0);
}

#[test]
fn older_boards_know_fewer_types() {
    let set = set_of(&[(OLD, 0x0a)]);
    assert_eq!(events::nvmlDeviceRegisterEvents(gpu(OLD), XID | 0x200, set), NOT_SUPPORTED);
}
