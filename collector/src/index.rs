//! The query face of the ledger log: the same leaves as rows of SQLite, a file a month.
//!
//! # Invariants
//! - A row follows from a leaf of the log; nothing is only here. In doubt the files are deleted
//!   and made again from the log, and until that is done there is no answer: half a sum is no sum.
//! - A leaf's rows and the index of the leaf are in one transaction, so after any crash the index
//!   knows what it has. Files: WAL, synchronous FULL, STRICT tables.
//! - One thread owns every connection; no other process may write here.
//! - What somebody edited by hand is found by comparing rows to the log, named, and made again.
//!
//! The tables are in `docs/formats/index.md`. `store` is the files, `rows` what is in them,
//! `thread` who owns them, `used` sums of what was used, made when an interval's leaves are there.

mod month;
mod rows;
mod store;
mod summaries;
#[cfg(test)]
mod tests;
mod thread;
mod used;

pub use rows::{EntryRow, Sum};
pub use store::{Difference, IndexError, Scope, Store};
pub use thread::{Asked, Index, Unavailable, start};
pub use used::{Posted, Terms};
