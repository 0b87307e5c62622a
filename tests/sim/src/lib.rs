//! One seed drives agents, collector, ledger, disks, networks, clocks, power cuts and sensors in
//! virtual time, over the state machines that are shipped.
//!
//! What is real: the agent's batcher, spool, uplink and line; the collector's door, intake, group
//! commit, replay, bookkeeper, books and ledger log; the segment log under them. What is a model:
//! the disk (`bijli_seglog::testing::ModelDisk`), the network ([`link`]), clocks ([`node`]) and
//! registers that know their own exact energy ([`sensor`]).
//!
//! [`plan`] draws from the seed which faults this history has and how strong (swarm testing: most
//! seeds leave most faults out, so that each is also met alone). [`world`] plays the history;
//! [`oracle`] holds after every step what must be true. The same seed gives the same history,
//! which is checked first.

pub mod dice;
pub mod fault;
pub mod history;
pub mod hub;
pub mod ledger;
pub mod link;
pub mod node;
pub mod oracle;
pub mod plan;
pub mod run;
pub mod sensor;
pub mod world;

pub use run::{Outcome, run};
