//! What the tests of the exports share: one scenario a process, and field values.

#![allow(dead_code, reason = "each of the tests uses its part of it")]

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use fakenvml::Scenario;
use fakenvml::exports::{fields, system};
use nvml_wrapper_sys::bindings as nvml;

/// Initialises the fake with a scenario of this folder, a minute after its beginning.
pub fn start(name: &str) -> Scenario {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name);
    let epoch_utc_ms = utc_ms() - 60_000;
    // SAFETY: only std reads the environment of this process, and std locks it.
    unsafe {
        std::env::set_var("BIJLI_FAKENVML_SCENARIO", &path);
        std::env::set_var("BIJLI_FAKENVML_EPOCH_UTC_MS", epoch_utc_ms.to_string());
    }
    assert_eq!(system::nvmlInit_v2(), 0);
    Scenario::load(&path).expect("the scenario is valid")
}

#[expect(clippy::disallowed_methods, reason = "the fake's epoch is a wall-clock time")]
pub fn utc_ms() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_millis()
}

/// The handle of a GPU as it is before any reload.
pub fn handle(index: usize) -> nvml::nvmlDevice_t {
    std::ptr::without_provenance_mut(index + 1)
}

/// Fields, each with its scope, in one call that succeeds.
pub fn read(gpu: nvml::nvmlDevice_t, fields: &[(u32, u32)]) -> Vec<nvml::nvmlFieldValue_t> {
    // SAFETY: all zero is a valid field value.
    let blank: nvml::nvmlFieldValue_t = unsafe { std::mem::zeroed() };
    let ask = |&(field, scope): &(u32, u32)| nvml::nvmlFieldValue_t {
        fieldId: field,
        scopeId: scope,
        ..blank
    };
    let mut values: Vec<_> = fields.iter().map(ask).collect();
    let count = i32::try_from(values.len()).expect("a handful");
    // SAFETY: there are `count` values.
    let code = unsafe { fields::nvmlDeviceGetFieldValues(gpu, count, values.as_mut_ptr()) };
    assert_eq!(code, 0);
    values
}

/// The return code, the type, and the first 8 bytes of one field.
pub fn one(gpu: nvml::nvmlDevice_t, field: u32, scope: u32) -> (u32, u32, u64) {
    let value = read(gpu, &[(field, scope)])[0];
    // SAFETY: the union was written as a whole.
    (value.nvmlReturn, value.valueType, unsafe { value.value.ullVal })
}
