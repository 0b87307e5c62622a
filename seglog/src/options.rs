//! The limits of a log, checked once.

use thiserror::Error;

use crate::format::{FRAME_BYTES, HEADER_BYTES};

/// What may wait for a commit unless told otherwise; more if a segment holds more.
const PENDING_BYTES: u64 = 64 << 20;

/// How large things may become. Segments already on disk keep the limits they were made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    segment_bytes_max: u64,
    record_bytes_max: u32,
    pending_bytes_max: u64,
    salt: u64,
}

/// A combination of limits that no log can keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InvalidOptions {
    #[error(
        "a segment of {segment_bytes_max} bytes cannot hold a record of {record_bytes_max} bytes"
    )]
    SegmentTooSmall { segment_bytes_max: u64, record_bytes_max: u32 },
    #[error("records of 0 bytes at most hold nothing")]
    RecordTooSmall,
}

impl Options {
    /// # Errors
    /// If the largest record does not fit into an empty segment, or records may hold nothing.
    pub const fn new(
        segment_bytes_max: u64,
        record_bytes_max: u32,
    ) -> Result<Self, InvalidOptions> {
        if record_bytes_max == 0 {
            return Err(InvalidOptions::RecordTooSmall);
        }
        let frame_bytes_max = FRAME_BYTES + record_bytes_max as u64;
        if segment_bytes_max < HEADER_BYTES + frame_bytes_max {
            return Err(InvalidOptions::SegmentTooSmall { segment_bytes_max, record_bytes_max });
        }
        let pending_bytes_max =
            if segment_bytes_max > PENDING_BYTES { segment_bytes_max } else { PENDING_BYTES };
        Ok(Self { segment_bytes_max, record_bytes_max, pending_bytes_max, salt: 0 })
    }

    /// Seeds the checksums of the segments made from now on. Records that carry bytes chosen by
    /// a stranger need a number he cannot guess: else he could hide a valid frame inside his
    /// record, and it would come alive when the frame around it is damaged. Give a fresh random
    /// number at each open; each segment keeps its own in its header.
    #[must_use]
    pub const fn with_salt(self, salt: u64) -> Self {
        Self { salt, ..self }
    }

    /// Bounds the memory between append and commit; never below one record of the largest size.
    #[must_use]
    pub const fn with_pending_bytes_max(self, bytes: u64) -> Self {
        let floor = FRAME_BYTES + self.record_bytes_max as u64;
        let pending_bytes_max = if bytes > floor { bytes } else { floor };
        Self { pending_bytes_max, ..self }
    }

    /// Largest file of a segment, in bytes.
    #[must_use]
    pub const fn segment_bytes_max(&self) -> u64 {
        self.segment_bytes_max
    }

    /// Largest payload, in bytes.
    #[must_use]
    pub const fn record_bytes_max(&self) -> u32 {
        self.record_bytes_max
    }

    /// Memory that records may take between append and commit.
    #[must_use]
    pub const fn pending_bytes_max(&self) -> u64 {
        self.pending_bytes_max
    }

    pub(crate) const fn salt(&self) -> u64 {
        self.salt
    }
}

impl Default for Options {
    /// Segments of 64 MiB, records of 16 MiB.
    fn default() -> Self {
        Self::new(64 << 20, 16 << 20).expect("16 MiB and a header fit into 64 MiB")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_that_cannot_be_kept_are_refused() {
        let smallest = HEADER_BYTES + FRAME_BYTES + 100;
        assert!(Options::new(smallest, 100).is_ok());
        assert_eq!(
            Options::new(smallest - 1, 100),
            Err(InvalidOptions::SegmentTooSmall {
                segment_bytes_max: smallest - 1,
                record_bytes_max: 100
            })
        );
        assert_eq!(Options::new(1 << 20, 0), Err(InvalidOptions::RecordTooSmall));
    }
}
