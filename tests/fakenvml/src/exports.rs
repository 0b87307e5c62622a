//! The C side: NVML's names, NVML's layouts. Each call looks up a `Gpu`, asks
//! it, and writes the answer; what the answer is, is decided in `gpu.rs` and `model.rs`.
//!
//! Public so that tests can call them without a dynamic loader.

pub mod board;
pub mod device;
pub mod events;
pub mod fields;
pub mod getters;
pub mod mig;
pub mod processes;
pub mod system;
