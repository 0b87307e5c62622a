//! The simulated hub that the demo, the tests and the load generator share; knows its own energy.
//!
//! [`Fleet`] is one hub: nodes with GPUs, PDUs, a UPS with its battery, a cooling plant, lighting,
//! a grid incomer that is shed every few minutes, and a diesel generator. [`Fleet::step`] lives one
//! second of it; [`Fleet::rows`] gives what every agent would have read, [`Feed`] the batches it
//! would have sent, and [`Fleet::truth`] what the books must come to, to the millijoule.
//!
//! # Invariants
//! - Same [`FleetSpec`], same history, byte for byte: seeded by itself, no clock, no float, no I/O.
//! - Power is in milliwatts and constant for a second, so power and energy of a second are one
//!   number and every register is exact.
//! - In every second: grid + generator = UPS input + cooling + lighting; UPS input + battery
//!   discharge = UPS output + UPS loss + recharge; UPS output = PDUs + distribution loss;
//!   PDU = its nodes + its loss; node = GPUs + CPU packages + DRAM + rest.
//! - Every hub, node and device it names says that it is simulated.

mod diagram;
mod feed;
mod fleet;
mod gpu;
mod meter;
mod node;
mod plant;
mod register;
mod rng;
mod schedule;
mod sender;
mod shedding;
mod spec;
#[cfg(test)]
mod tests;
mod truth;

pub use feed::{Feed, FeedError};
pub use fleet::Fleet;
pub use meter::{Point, Role};
pub use schedule::Job;
pub use sender::{Row, Sender};
pub use shedding::Supply;
pub use spec::{FleetSpec, SpecError};
pub use truth::{ProjectEnergy, StoreEnergy, Truth};
