//! The ledger log: every leaf that the books ever made, in a segment log beside the journal.
//!
//! The bookkeeper makes leaves while it books, live and at replay alike; this writes those that
//! the log lacks and compares those that it has. A leaf never changes: one that differs is an
//! alarm, and nothing is written any more until a person has looked.
//!
//! # Invariants
//! - A leaf's index is its record's sequence minus 1, and the record's payload is its bytes.
//! - A leaf in the log is never written again, whatever the books say.
//! - An interval's leaves are there wholly or are completed with the same bytes at the next start.
//! - An ack never waits for this: leaves have a thread and a queue of their own.

#[cfg(test)]
mod crash;
mod kept;
#[cfg(test)]
mod tests;
mod thread;
mod trail;
mod verify;
mod writer;

use bijli_ledger::Leaf;

use crate::snapshot::Taken;

pub use kept::Kept;
pub use thread::{Ledger, Started, start};
pub use trail::Trail;
pub use verify::{Verdict, VerifyError, verify};
pub use writer::{Keeping, Writer, open};

/// The leaves that one record of the journal led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lot {
    /// Index of the first.
    pub first: u64,
    pub leaves: Vec<Leaf>,
    /// What the last of them has the hash of. It is of use only once that leaf is durable.
    pub snapshot: Option<Box<Taken>>,
}
