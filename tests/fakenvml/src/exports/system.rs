//! Initialising, versions, error texts, and finding GPUs.

use std::ffi::{c_char, c_int, c_uint};
use std::sync::Arc;

use nvml_wrapper_sys::bindings::{nvmlDevice_t, nvmlReturn_t};

use super::getters::pci_bus_id;
use crate::answer::{Answer, Refusal, code_of, describe, read_text, write, write_text};
use crate::driver;
use crate::handle::Handle;
use crate::scenario::GpuSpec;

#[unsafe(no_mangle)]
pub extern "C" fn nvmlInit() -> nvmlReturn_t {
    code_of(driver::init())
}

#[unsafe(no_mangle)]
pub extern "C" fn nvmlInit_v2() -> nvmlReturn_t {
    code_of(driver::init())
}

/// The flags only say whether GPUs must be present and attached; here they always are.
#[unsafe(no_mangle)]
pub extern "C" fn nvmlInitWithFlags(_flags: c_uint) -> nvmlReturn_t {
    code_of(driver::init())
}

#[unsafe(no_mangle)]
pub extern "C" fn nvmlShutdown() -> nvmlReturn_t {
    code_of(driver::shutdown())
}

#[unsafe(no_mangle)]
pub extern "C" fn nvmlErrorString(result: nvmlReturn_t) -> *const c_char {
    describe(result).as_ptr()
}

/// # Safety
///
/// `version` is null or valid for writing `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlSystemGetDriverVersion(
    version: *mut c_char,
    length: c_uint,
) -> nvmlReturn_t {
    let answer = driver::current()
        .map(|driver| driver.scenario.driver.version(driver.clock.now_ms()).to_owned());
    // SAFETY: passes on this function's contract.
    unsafe { write_text(version, length, answer) }
}

/// # Safety
///
/// `version` is null or valid for writing `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlSystemGetNVMLVersion(
    version: *mut c_char,
    length: c_uint,
) -> nvmlReturn_t {
    let answer = driver::current()
        .map(|driver| driver.scenario.driver.nvml_version(driver.clock.now_ms()).to_owned());
    // SAFETY: passes on this function's contract.
    unsafe { write_text(version, length, answer) }
}

/// # Safety
///
/// `version` is null or valid for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlSystemGetCudaDriverVersion(version: *mut c_int) -> nvmlReturn_t {
    let answer = driver::current().map(|driver| driver.scenario.driver.cuda_version);
    // SAFETY: passes on this function's contract.
    unsafe { write(version, answer) }
}

/// # Safety
///
/// `version` is null or valid for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlSystemGetCudaDriverVersion_v2(version: *mut c_int) -> nvmlReturn_t {
    let answer = driver::current().map(|driver| driver.scenario.driver.cuda_version);
    // SAFETY: passes on this function's contract.
    unsafe { write(version, answer) }
}

/// Lost GPUs count, since the driver has not forgotten them; removed ones do not.
///
/// # Safety
///
/// `count` is null or valid for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetCount_v2(count: *mut c_uint) -> nvmlReturn_t {
    let answer = driver::current().and_then(|driver| {
        let count = driver.present(driver.clock.now_ms()).len();
        u32::try_from(count).map_err(|_| Refusal::Unknown)
    });
    // SAFETY: passes on this function's contract.
    unsafe { write(count, answer) }
}

/// # Safety
///
/// `device` is null or valid for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetHandleByIndex_v2(
    index: c_uint,
    device: *mut nvmlDevice_t,
) -> nvmlReturn_t {
    let wanted = usize::try_from(index);
    let answer = find(Refusal::InvalidArgument, |gpu| Ok(gpu.index) == wanted);
    // SAFETY: passes on this function's contract.
    unsafe { write(device, answer) }
}

/// Of a GPU or of a MIG instance.
///
/// # Safety
///
/// `uuid` is null or NUL-terminated; `device` is null or valid for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetHandleByUUID(
    uuid: *const c_char,
    device: *mut nvmlDevice_t,
) -> nvmlReturn_t {
    // SAFETY: passes on this function's contract.
    let uuid = unsafe { read_text(uuid) };
    let answer = uuid.and_then(|uuid| {
        let whole = find(Refusal::NotFound, |gpu| gpu.board.uuid == uuid);
        whole.or_else(|missing| if missing == Refusal::NotFound { instance(uuid) } else { whole })
    });
    // SAFETY: passes on this function's contract.
    unsafe { write(device, answer) }
}

/// # Safety
///
/// `serial` is null or NUL-terminated; `device` is null or valid for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetHandleBySerial(
    serial: *const c_char,
    device: *mut nvmlDevice_t,
) -> nvmlReturn_t {
    // SAFETY: passes on this function's contract.
    let serial = unsafe { read_text(serial) };
    let answer =
        serial.and_then(|serial| find(Refusal::NotFound, |gpu| gpu.board.serial == serial));
    // SAFETY: passes on this function's contract.
    unsafe { write(device, answer) }
}

/// # Safety
///
/// `bus_id` is null or NUL-terminated; `device` is null or valid for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetHandleByPciBusId_v2(
    bus_id: *const c_char,
    device: *mut nvmlDevice_t,
) -> nvmlReturn_t {
    // SAFETY: passes on this function's contract.
    let bus_id = unsafe { read_text(bus_id) };
    let answer = bus_id.and_then(|bus_id| {
        find(Refusal::NotFound, |gpu| pci_bus_id(gpu.place).eq_ignore_ascii_case(bus_id))
    });
    // SAFETY: passes on this function's contract.
    unsafe { write(device, answer) }
}

/// A GPU that may be looked for.
struct Found {
    index: usize,
    place: usize,
    board: Arc<GpuSpec>,
}

/// The first GPU wanted. A lost one cannot be opened; a hanging one can, the driver knows its name.
fn find(missing: Refusal, is_wanted: impl Fn(&Found) -> bool) -> Answer<nvmlDevice_t> {
    let driver = driver::current()?;
    let now_ms = driver.clock.now_ms();
    let mut present =
        driver.present(now_ms).into_iter().enumerate().filter_map(|(index, place)| {
            Some(Found { index, place, board: driver.board(place, now_ms)? })
        });
    let gpu = present.find(is_wanted).ok_or(missing)?;
    if gpu.board.faults.is_lost(now_ms) {
        return Err(Refusal::GpuIsLost);
    }
    Ok(Handle { place: gpu.place, instance: None, generation: driver.generation() }.to_raw())
}

/// The MIG instance with this UUID.
fn instance(uuid: &str) -> Answer<nvmlDevice_t> {
    let driver = driver::current()?;
    let now_ms = driver.clock.now_ms();
    let mut found = driver.present(now_ms).into_iter().filter_map(|place| {
        let board = driver.board(place, now_ms)?;
        let mut live = board.mig.as_ref()?.live(now_ms);
        let (number, _) = live.find(|(_, instance)| instance.uuid == uuid)?;
        Some(Handle { place, instance: Some(number), generation: driver.generation() })
    });
    found.next().map(Handle::to_raw).ok_or(Refusal::NotFound)
}
