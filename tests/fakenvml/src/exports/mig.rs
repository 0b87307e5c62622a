//! MIG: the mode, and the instances that a GPU is split into. What takes a handle and fills one
//! value is in `getters.rs`.

use std::ffi::c_uint;

use nvml_wrapper_sys::bindings::{nvmlDevice_t, nvmlDeviceAttributes_t, nvmlReturn_t};

use crate::answer::{Answer, Refusal, write, write_pair};
use crate::gpu::Gpu;
use crate::handle::Handle;
use crate::scenario::MigInstance;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
/// Streaming multiprocessors of a slice of an H100.
const SM_PER_SLICE: u32 = 16;

/// What is current is also what is pending.
///
/// # Safety
///
/// `current` and `pending` are null or valid for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetMigMode(
    device: nvmlDevice_t,
    current: *mut c_uint,
    pending: *mut c_uint,
) -> nvmlReturn_t {
    let answer = Gpu::of(device).map(|gpu| [u32::from(gpu.is_mig_on()); 2]);
    // SAFETY: passes on this function's contract.
    unsafe { write_pair([current, pending], answer) }
}

/// # Safety
///
/// `instance` is null or valid for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetMigDeviceHandleByIndex(
    device: nvmlDevice_t,
    index: c_uint,
    instance: *mut nvmlDevice_t,
) -> nvmlReturn_t {
    let answer = Gpu::of(device).and_then(|gpu| {
        let index = usize::try_from(index).map_err(|_| Refusal::InvalidArgument)?;
        let (number, _) = gpu.instances().nth(index).ok_or(Refusal::NotFound)?;
        Ok(Handle { instance: Some(number), ..gpu.handle() }.to_raw())
    });
    // SAFETY: passes on this function's contract.
    unsafe { write(instance, answer) }
}

/// Of instances only, which have their share of everything.
pub(super) fn attributes(gpu: &Gpu) -> Answer<nvmlDeviceAttributes_t> {
    let instance = gpu.need_instance()?;
    Ok(nvmlDeviceAttributes_t {
        multiprocessorCount: SM_PER_SLICE * instance.slices,
        sharedCopyEngineCount: instance.slices,
        sharedDecoderCount: instance.slices,
        sharedEncoderCount: 0,
        sharedJpegCount: instance.slices,
        sharedOfaCount: 0,
        gpuInstanceSliceCount: instance.slices,
        computeInstanceSliceCount: instance.slices,
        memorySizeMB: instance.memory_bytes(&gpu.spec.memory) / MIB,
    })
}

impl Gpu {
    /// For what only an instance has.
    pub(super) fn need_instance(&self) -> Answer<&MigInstance> {
        self.instance().map(|(_, instance)| instance).ok_or(Refusal::NotSupported)
    }

    pub(super) fn uuid(&self) -> String {
        match self.instance() {
            Some((_, instance)) => instance.uuid.clone(),
            None => self.spec.uuid.clone(),
        }
    }

    /// Of an instance with its profile, such as `MIG 1g.10gb`.
    pub(super) fn name(&self) -> String {
        match self.instance() {
            Some((_, instance)) => {
                let memory_gib = (instance.memory_bytes(&self.spec.memory) + GIB / 2) / GIB;
                format!("{} MIG {}g.{memory_gib}gb", self.spec.name, instance.slices)
            }
            None => self.spec.name.clone(),
        }
    }
}
