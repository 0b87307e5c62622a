//! Fakes of the disk, for this crate's tests and for the simulations of others.

mod model;

pub use model::{Fault, ModelDisk, ModelFile, ModelLock};
