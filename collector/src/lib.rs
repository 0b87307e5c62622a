//! bijli-collector: journals what agents send, books every millijoule, answers for PUE and
//! projects.
//!
//! One direction: `ingest` → `journal` → `bookkeeper` → `state` → readers (`api`, `page`,
//! `export`). The books are a pure function of the journal's frames: a restart replays them.
//!
//! # Invariants
//! - A 200 to a batch means: its frame is fsynced. No exception, whatever is retried or killed.
//! - Every (node, epoch, sequence) is booked at most once, and in sequence order.
//! - Receive times come from frames; no clock reaches the books.

pub mod calendar;
pub mod clock;
pub mod diagram;
pub mod health;
pub mod live;
pub mod refusal;
