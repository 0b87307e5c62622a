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
    pub fn leaf(&mut self, index: u64) -> Option<Vec<u8>> {
        let seq = RecordSeq::new(index + 1);
        loop {
            match self.0.peek()? {
                Ok((found, _)) if *found > seq => return None,
                Ok((found, _)) => {
                    let is_it = *found == seq;
                    let record = self.0.next()?.ok();
                    if is_it {
                        return record.map(|(_, bytes)| bytes);
                    }
                }
                Err(LogError::Lost { last, .. }) if *last >= seq => return None,
                Err(error) => {
                    tracing::error!(error = chain(error), "a gap in the ledger log");
                    self.0.next();
                }
            }
        }
    }
}
