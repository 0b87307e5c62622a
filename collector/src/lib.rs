//! bijli-collector: journals what agents send, books every millijoule, answers for PUE and
//! projects.
//!
//! One direction: `ingest` → `journal` → `intake` → `bookkeeper` → `state` → readers (`api`,
//! `page`, `export`). The books are a pure function of the journal's frames: a restart replays
//! them.
//!
//! # Invariants
//! - A 200 to a batch means: its frame is fsynced. No exception, whatever is retried or killed.
//! - Every (node, epoch, sequence) is booked at most once, and in sequence order.
//! - Receive times come from frames; no clock reaches the books.

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

pub mod activity;
pub mod allocation;
pub mod answers;
pub mod api;
pub mod as_of;
pub mod ask;
pub mod bookkeeper;
pub mod ca;
pub mod calendar;
pub mod calibration;
pub mod caller;
pub mod carried;
pub mod cli;
pub mod clock;
pub mod collector;
pub mod config;
pub mod crosscheck;
pub mod demo;
pub mod diagram;
pub mod disk;
pub mod events;
pub mod export;
pub mod feed;
pub mod firing;
pub mod frame;
pub mod health;
pub mod index;
pub mod ingest;
pub mod intake;
pub mod journal;
pub mod kpi;
pub mod leaves;
pub mod live;
pub mod meterbook;
pub mod pack;
pub mod page;
pub mod period;
pub mod projects;
pub mod replay;
pub mod report;
pub mod retirement;
pub mod scrub;
pub mod seal;
pub mod severity;
pub mod snapshot;
pub mod state;
pub mod status;
#[cfg(test)]
mod testing;
pub mod verify;
pub mod witness;
pub mod xids;

pub use ingest::refusal;
