//! The append-only segment log: the agent's spool and the collector's journal.
//!
//! A record is framed, checksummed, written and fdatasynced before anybody may acknowledge it;
//! what was acknowledged is there after any crash, kill or power cut. Everything is synchronous:
//! no threads, no clock, no randomness. The disk is behind [`Disk`], so that one seed replays a
//! month of power cuts against [`testing::ModelDisk`].
//!
//! # Invariants
//! - A [`RecordSeq`] that [`Log::commit`] returned names bytes that were fdatasynced.
//! - Sequences rise by one and a durable one is never used again, whatever was damaged or removed.
//! - A sealed segment is never written again.
//! - Damage costs the frames it touched and is reported; it never shortens the log silently.
//! - A failed fsync poisons the log: it refuses writes and still reads.
//!
//! The format, byte by byte, and the rules of recovery: `docs/formats/seglog.md`.

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

mod cursor;
pub mod disk;
mod error;
mod format;
mod log;
mod options;
mod reader;
mod recovery;
mod scan;
mod segment;
mod survey;
pub mod testing;
mod window;

pub use disk::{Disk, DiskFile, RealDisk};
pub use error::LogError;
pub use format::{FORMAT_VERSION, FRAME_BYTES, HEADER_BYTES};
pub use log::Log;
pub use options::{InvalidOptions, Options};
pub use reader::Reader;
pub use recovery::{Loss, Missing, Quarantine, Recovery};
pub use segment::{SealedSegment, SegmentId};

use std::fmt;

/// The sequence of a record in its log: from 1, rising by one, never used again once durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordSeq(u64);

impl RecordSeq {
    /// Before the first record: "nothing durable yet", "nothing released yet".
    pub const NONE: Self = Self(0);
    /// The first record of a log.
    pub const FIRST: Self = Self(1);

    #[must_use]
    pub const fn new(seq: u64) -> Self {
        Self(seq)
    }

    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The sequence after this one. A log that writes a million records a second reaches the
    /// end of `u64` after half a million years.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for RecordSeq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
