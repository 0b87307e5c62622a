//! Running processes. All have a compute context; none has graphics or is a client of MPS.
//!
//! The caller says how many fit and is told how many there are; too few places are refused with
//! `INSUFFICIENT_SIZE` and the number, which is how callers ask for it.

use std::ffi::c_uint;

use nvml_wrapper_sys::bindings::{
    nvmlDevice_t, nvmlProcessInfo_t, nvmlProcessInfo_v1_t, nvmlProcessInfo_v2_t, nvmlReturn_t,
};

use crate::answer::{Answer, Refusal, code_of, non_null};
use crate::gpu::Gpu;
use crate::scenario::{Feature, Process};

/// Not in a MIG instance.
const NO_INSTANCE: c_uint = u32::MAX;

macro_rules! process_lists {
    ($($name:ident: $info:ty = $list:expr, $convert:expr;)*) => {$(
        /// # Safety
        ///
        /// `count` is null or valid for reading and writing; `infos` is null or valid for writing
        /// as many structs as `count` says.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name(
            device: nvmlDevice_t,
            count: *mut c_uint,
            infos: *mut $info,
        ) -> nvmlReturn_t {
            let list: fn(&Gpu) -> Answer<Vec<Process>> = $list;
            let processes = Gpu::of_any(device).and_then(|gpu| list(&gpu));
            // SAFETY: passes on this function's contract.
            code_of(unsafe { write_list(count, infos, processes, $convert) })
        }
    )*};
}

process_lists! {
    nvmlDeviceGetComputeRunningProcesses: nvmlProcessInfo_v1_t = Gpu::processes, info_v1;
    nvmlDeviceGetComputeRunningProcesses_v2: nvmlProcessInfo_v2_t = Gpu::processes, info_v2;
    nvmlDeviceGetComputeRunningProcesses_v3: nvmlProcessInfo_t = Gpu::processes, info_v2;
    nvmlDeviceGetGraphicsRunningProcesses: nvmlProcessInfo_v1_t = none, info_v1;
    nvmlDeviceGetGraphicsRunningProcesses_v2: nvmlProcessInfo_v2_t = none, info_v2;
    nvmlDeviceGetGraphicsRunningProcesses_v3: nvmlProcessInfo_t = none, info_v2;
    nvmlDeviceGetMPSComputeRunningProcesses: nvmlProcessInfo_v1_t = none, info_v1;
    nvmlDeviceGetMPSComputeRunningProcesses_v2: nvmlProcessInfo_v2_t = none, info_v2;
    nvmlDeviceGetMPSComputeRunningProcesses_v3: nvmlProcessInfo_t = none, info_v2;
}

fn none(gpu: &Gpu) -> Answer<Vec<Process>> {
    gpu.need(Feature::Processes)?;
    Ok(Vec::new())
}

fn info_v1(process: &Process) -> nvmlProcessInfo_v1_t {
    nvmlProcessInfo_v1_t { pid: process.pid, usedGpuMemory: process.used_bytes }
}

/// The third version has the layout of the second.
fn info_v2(process: &Process) -> nvmlProcessInfo_v2_t {
    nvmlProcessInfo_v2_t {
        pid: process.pid,
        usedGpuMemory: process.used_bytes,
        gpuInstanceId: process.gi_id.unwrap_or(NO_INSTANCE),
        computeInstanceId: process.ci_id.or(process.gi_id.map(|_| 0)).unwrap_or(NO_INSTANCE),
    }
}

/// # Safety
///
/// `count` is null or valid for reading and writing; `infos` is null or valid for writing as many
/// structs as `count` says.
unsafe fn write_list<T>(
    count: *mut c_uint,
    infos: *mut T,
    processes: Answer<Vec<Process>>,
    convert: fn(&Process) -> T,
) -> Answer<()> {
    let processes = processes?;
    let needed = u32::try_from(processes.len()).map_err(|_| Refusal::Unknown)?;
    non_null(count)?;
    // SAFETY: not null, so valid for reading by this function's contract.
    let places = unsafe { count.read() };
    // SAFETY: not null, so valid for writing by this function's contract.
    unsafe { count.write(needed) };
    if places < needed {
        return Err(Refusal::InsufficientSize);
    }
    if needed > 0 {
        non_null(infos)?;
    }
    for (index, process) in processes.iter().enumerate() {
        // SAFETY: not null, and `index` is below the number of places the caller has.
        unsafe { infos.add(index).write(convert(process)) };
    }
    Ok(())
}
