//! Event sets. The only events are a scenario's XIDs; a wait without one ends in `TIMEOUT`.
//!
//! Sets are numbered and a handle is a number, never followed, so a stale one is refused. As with
//! the real library, a GPU with several XIDs since the last wait delivers the last of them.

use std::collections::BTreeMap;
use std::ffi::{c_uint, c_ulonglong};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nvml_wrapper_sys::bindings::{nvmlDevice_t, nvmlEventData_t, nvmlEventSet_t, nvmlReturn_t};

use crate::answer::{Answer, Refusal, code_of, non_null, write};
use crate::clock;
use crate::driver;
use crate::gpu::{Gpu, handle_of};
use crate::scenario::Feature;

const EVENT_XID: u64 = 0x8;
const NO_INSTANCE: c_uint = u32::MAX;
/// How often a waiting call looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

#[derive(Debug)]
struct Sets {
    next_number: usize,
    by_number: BTreeMap<usize, Vec<Registration>>,
}

#[derive(Debug)]
struct Registration {
    gpu_index: usize,
    event_types: u64,
    /// XIDs up to here have been delivered or are older than the registration.
    seen_ms: u64,
}

static SETS: Mutex<Sets> = Mutex::new(Sets { next_number: 1, by_number: BTreeMap::new() });

fn lock() -> MutexGuard<'static, Sets> {
    // A panic under the lock can lose a registration but not break the map.
    SETS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// # Safety
///
/// `set` is null or valid for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlEventSetCreate(set: *mut nvmlEventSet_t) -> nvmlReturn_t {
    let answer = non_null(set).and(driver::current()).map(|_| {
        let mut sets = lock();
        let number = sets.next_number;
        sets.next_number += 1;
        sets.by_number.insert(number, Vec::new());
        std::ptr::without_provenance_mut(number)
    });
    // SAFETY: passes on this function's contract.
    unsafe { write(set, answer) }
}

#[unsafe(no_mangle)]
pub extern "C" fn nvmlEventSetFree(set: nvmlEventSet_t) -> nvmlReturn_t {
    let freed = driver::current().map(|_| lock().by_number.remove(&set.addr()));
    code_of(freed.and_then(|set| set.map(drop).ok_or(Refusal::InvalidArgument)))
}

#[unsafe(no_mangle)]
pub extern "C" fn nvmlDeviceRegisterEvents(
    device: nvmlDevice_t,
    event_types: c_ulonglong,
    set: nvmlEventSet_t,
) -> nvmlReturn_t {
    code_of(Gpu::of(device).and_then(|gpu| {
        gpu.need(Feature::Events)?;
        let gpu_index = usize::try_from(gpu.index).map_err(|_| Refusal::Unknown)?;
        let mut sets = lock();
        let registrations = sets.by_number.get_mut(&set.addr()).ok_or(Refusal::InvalidArgument)?;
        registrations.push(Registration { gpu_index, event_types, seen_ms: gpu.at_ms });
        Ok(())
    }))
}

/// The timeout is in the caller's milliseconds, whatever the scenario's speed.
///
/// # Safety
///
/// `data` is null or valid for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlEventSetWait_v2(
    set: nvmlEventSet_t,
    data: *mut nvmlEventData_t,
    timeout_ms: c_uint,
) -> nvmlReturn_t {
    let answer = non_null(data).and_then(|()| wait(set.addr(), timeout_ms));
    // SAFETY: passes on this function's contract.
    unsafe { write(data, answer) }
}

/// The first version differs only in what it says about MIG.
///
/// # Safety
///
/// `data` is null or valid for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlEventSetWait(
    set: nvmlEventSet_t,
    data: *mut nvmlEventData_t,
    timeout_ms: c_uint,
) -> nvmlReturn_t {
    let answer = non_null(data).and_then(|()| wait(set.addr(), timeout_ms));
    // SAFETY: passes on this function's contract.
    unsafe { write(data, answer) }
}

fn wait(number: usize, timeout_ms: c_uint) -> Answer<nvmlEventData_t> {
    let started = clock::now();
    let timeout = Duration::from_millis(u64::from(timeout_ms));
    loop {
        if let Some(event) = next_event(number)? {
            return Ok(event);
        }
        let left = timeout.saturating_sub(started.elapsed());
        if left.is_zero() {
            return Err(Refusal::Timeout);
        }
        std::thread::sleep(left.min(LOOK_AGAIN));
    }
}

/// Takes the event of the first GPU that has one.
fn next_event(number: usize) -> Answer<Option<nvmlEventData_t>> {
    let driver = driver::current()?;
    let now_ms = driver.clock.now_ms();
    let mut sets = lock();
    let registrations = sets.by_number.get_mut(&number).ok_or(Refusal::InvalidArgument)?;
    for registration in registrations {
        let gpu = driver.gpus.get(registration.gpu_index).ok_or(Refusal::InvalidArgument)?;
        let news =
            gpu.xids.iter().filter(|xid| registration.seen_ms < xid.at_ms && xid.at_ms <= now_ms);
        let last = news.max_by_key(|xid| xid.at_ms);
        registration.seen_ms = now_ms;
        if let Some(xid) = last
            && registration.event_types & EVENT_XID != 0
        {
            return Ok(Some(xid_event(registration.gpu_index, xid.code)));
        }
    }
    Ok(None)
}

fn xid_event(gpu_index: usize, code: u64) -> nvmlEventData_t {
    nvmlEventData_t {
        device: handle_of(gpu_index),
        eventType: EVENT_XID,
        eventData: code,
        gpuInstanceId: NO_INSTANCE,
        computeInstanceId: NO_INSTANCE,
    }
}
