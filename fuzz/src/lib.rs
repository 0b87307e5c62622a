//! What must hold for any bytes whatever. Each module is one target of `make fuzz`; `check` panics
//! where a promise is broken.

pub mod batch;
#[cfg(feature = "programs")]
pub mod config;
pub mod seglog;
#[cfg(feature = "programs")]
pub mod snapshot;
#[cfg(feature = "programs")]
pub mod texts;
