//! Fields 142 to 145: what `nvmlDeviceGetRemappedRows` says in one call.

use std::ffi::c_uint;

use nvml_wrapper_sys::bindings::field_id as id;

use super::Value;
use crate::answer::{Answer, Refusal};
use crate::gpu::Gpu;

pub(super) fn read(gpu: &Gpu, field: c_uint) -> Answer<Value> {
    let rows = gpu.remapped_rows()?;
    Ok(Value::Narrow(match field {
        id::NVML_FI_DEV_REMAPPED_COR => rows.correctable,
        id::NVML_FI_DEV_REMAPPED_UNC => rows.uncorrectable,
        id::NVML_FI_DEV_REMAPPED_PENDING => u32::from(rows.is_pending),
        id::NVML_FI_DEV_REMAPPED_FAILURE => u32::from(rows.has_failed),
        _ => return Err(Refusal::NotSupported),
    }))
}
