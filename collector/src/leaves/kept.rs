//! The leaves that a log has, one after the other.

use std::iter::Peekable;

use bijli_seglog::{Disk, LogError, Reader, RecordSeq};

use crate::journal::chain;

/// Reads the leaves of a log in the order of their indexes.
#[derive(Debug)]
pub struct Kept<D: Disk>(Peekable<Reader<D>>);

impl<D: Disk> Kept<D> {
    #[must_use]
    pub fn new(reader: Reader<D>) -> Self {
        Self(reader.peekable())
    }

    /// The leaf at an index, which must not be below one asked before; `None` if it is damaged
    /// or not there.
    ///
    /// # Errors
    /// When it cannot be read now. What comes next may be missing: read anew from this index.
    pub fn leaf(&mut self, index: u64) -> Result<Option<Vec<u8>>, LogError> {
        let seq = RecordSeq::new(index + 1);
        loop {
            let is_passed = match self.0.peek() {
                None => true,
                Some(Ok((found, _))) => *found > seq,
                Some(Err(LogError::Lost { last, .. })) => *last >= seq,
                Some(Err(_)) => false,
            };
            if is_passed {
                return Ok(None);
            }
            match self.0.next() {
                Some(Ok((found, bytes))) if found == seq => return Ok(Some(bytes)),
                Some(Err(error @ LogError::Lost { .. })) => {
                    tracing::error!(error = chain(&error), "a gap in the ledger log");
                }
                Some(Err(error)) => return Err(error),
                Some(Ok(_)) | None => {}
            }
        }
    }
}
