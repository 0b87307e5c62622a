//! Event sets. The only events are a scenario's; a wait without one ends in `TIMEOUT`, or in
//! `GPU_IS_LOST` if a GPU of the set is.
//!
//! Sets are numbered and a handle is a number, never followed, so a stale one is refused. As with
//! the real library, a GPU with several XIDs since the last wait delivers the last of them. Of the
//! other types each event is delivered, and only to who registered for its type.

use std::collections::BTreeMap;
use std::ffi::{c_uint, c_ulonglong};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nvml_wrapper_sys::bindings::{nvmlDevice_t, nvmlEventData_t, nvmlEventSet_t, nvmlReturn_t};

use crate::answer::{Answer, Refusal, code_of, non_null, write};
use crate::clock;
use crate::driver::{self, Driver};
use crate::gpu::Gpu;
use crate::handle::Handle;
use crate::scenario::{Feature, GpuSpec, Report, XID_BIT};

const NO_INSTANCE: c_uint = u32::MAX;
/// How often a waiting call looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

#[derive(Debug)]
struct Sets {
    next_number: usize,
    by_number: BTreeMap<usize, Set>,
}

#[derive(Debug)]
struct Set {
    /// Of the driver, whose reload ends the set.
    generation: usize,
    registrations: Vec<Registration>,
}

#[derive(Debug)]
struct Registration {
    place: usize,
    event_types: u64,
    registered_ms: u64,
    /// Up to when events of a type have been delivered, by its bit.
    delivered_ms: BTreeMap<u64, u64>,
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
    let answer = non_null(set).and(driver::current()).map(|driver| {
        let mut sets = lock();
        let number = sets.next_number;
        sets.next_number += 1;
        let set = Set { generation: driver.generation(), registrations: Vec::new() };
        sets.by_number.insert(number, set);
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
        if event_types & !gpu.spec.event_types_supported != 0 {
            return Err(Refusal::NotSupported);
        }
        let registration = Registration {
            place: gpu.place(),
            event_types,
            registered_ms: gpu.at_ms,
            delivered_ms: BTreeMap::new(),
        };
        lock().find(set.addr(), &gpu.driver)?.registrations.push(registration);
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
    let present = driver.present(now_ms);
    let mut sets = lock();
    let set = sets.find(number, &driver)?;
    let mut is_one_lost = false;
    for registration in &mut set.registrations {
        let gpu = driver.board(registration.place, now_ms).ok_or(Refusal::InvalidArgument)?;
        if let Some(report) = registration.take(&gpu, now_ms) {
            let device = Handle {
                place: registration.place,
                instance: None,
                generation: driver.generation(),
            };
            return Ok(Some(data_of(device, &report)));
        }
        let is_removed = !present.contains(&registration.place);
        is_one_lost = is_one_lost || is_removed || gpu.faults.is_lost(now_ms);
    }
    if is_one_lost { Err(Refusal::GpuIsLost) } else { Ok(None) }
}

fn data_of(device: Handle, report: &Report) -> nvmlEventData_t {
    nvmlEventData_t {
        device: device.to_raw(),
        eventType: report.bit,
        eventData: report.data,
        gpuInstanceId: report.gi_id.unwrap_or(NO_INSTANCE),
        computeInstanceId: report.ci_id.unwrap_or(NO_INSTANCE),
    }
}

impl Sets {
    fn find(&mut self, number: usize, driver: &Driver) -> Answer<&mut Set> {
        let set = self.by_number.get_mut(&number).ok_or(Refusal::InvalidArgument)?;
        let is_current = set.generation == driver.generation();
        if is_current { Ok(set) } else { Err(Refusal::InvalidArgument) }
    }
}

impl Registration {
    /// The next event of its types: the last XID or the first of the others, whichever is older.
    fn take(&mut self, gpu: &GpuSpec, now_ms: u64) -> Option<Report> {
        let after_ms = |bit| *self.delivered_ms.get(&bit).unwrap_or(&self.registered_ms);
        let wanted = || gpu.reports().filter(|report| report.bit & self.event_types != 0);
        let xids = wanted()
            .filter(|report| report.bit == XID_BIT)
            .filter_map(|report| Some((report.last_within(after_ms(XID_BIT), now_ms)?, report)));
        let others = wanted().filter(|report| report.bit != XID_BIT).filter_map(|report| {
            Some((report.first_within(after_ms(report.bit), now_ms)?, report))
        });
        let xid = xids.max_by_key(|(at_ms, _)| *at_ms);
        let other = others.min_by_key(|(at_ms, _)| *at_ms);
        let (at_ms, report) = xid.into_iter().chain(other).min_by_key(|(at_ms, _)| *at_ms)?;
        let delivered_ms = if report.bit == XID_BIT { now_ms } else { at_ms };
        self.delivered_ms.insert(report.bit, delivered_ms);
        Some(report)
    }
}
