//! bijli-agent: reads sensors of a node or of a facility gateway, spools, and streams to the
//! collector.
//!
//! Arrows point inward: `main` and `cli` introduce `agent`, which introduces the probes, the
//! batcher, the spool and the uplink to each other. Batcher and uplink are pure: they are handed
//! events and the time, and answer with what to do.

/// Whether a bug is planted here (`tests/planted`); plainly `false` in what is shipped.
#[cfg(feature = "planted")]
macro_rules! planted {
    ($bug:ident) => {
        bijli_planted::is(bijli_planted::Bug::$bug)
    };
}
#[cfg(not(feature = "planted"))]
macro_rules! planted {
    ($bug:ident) => {
        false
    };
}

pub mod agent;
pub mod batcher;
pub mod calibrate;
pub mod cli;
pub mod clock;
pub mod config;
pub mod draft;
pub mod health;
pub mod holders;
pub mod pause;
pub mod probe;
pub mod report;
pub mod schedule;
pub mod simulate;
pub mod spool;
pub mod uplink;
pub mod xids;
