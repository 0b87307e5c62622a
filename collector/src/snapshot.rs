//! Snapshots: the books, lanes and schemas as they stand after one record of the journal, so that a
//! start need not replay what came before, and old segments of the journal can be let go.
//!
//! The journal asks for one when it has grown by so much ([`crate::frame::Frame::Snapshot`]); the
//! bookkeeper takes it when it comes to that record, and puts its hash in a leaf. So whether, when
//! and with which bytes a snapshot was taken follows from the journal, and a replay finds out.
//!
//! # Invariants
//! - A start believes a snapshot only if its own checksum is right, the journal has its record, and
//!   the ledger log has the leaf with its hash ([`Begin::newest`]).
//! - No segment is let go before two snapshots behind it are durable, and its own hash in the
//!   journal and by it in a leaf.
//!
//! The format is in `docs/formats/snapshot.md`.

mod choose;
mod file;
mod pack;
mod store;
#[cfg(test)]
mod tests;
mod thread;

use bijli_seglog::RecordSeq;

use crate::frame::FrameDigest;

pub use choose::{Begin, Grounds, NoBegin};
pub use file::FileError;
pub use pack::Packer;
pub use store::Store;
#[cfg(test)]
pub(crate) use thread::keep;
pub use thread::{Keeping, Snapshots};

/// A snapshot that was taken, compressed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The record that it stands after.
    pub record: RecordSeq,
    /// Of that record, so that it is not taken for one of another journal.
    pub digest: FrameDigest,
    /// Index of the leaf after the one with its hash.
    pub next_leaf: u64,
    /// Bytes of the books' part before compression, and their hash.
    pub bytes: u64,
    pub sha256: [u8; 32],
    pub books: Vec<u8>,
    pub views: Vec<u8>,
}

/// A snapshot as it is read, decompressed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    pub record: RecordSeq,
    pub next_leaf: u64,
    pub sha256: [u8; 32],
    pub books: Vec<u8>,
    pub views: Vec<u8>,
}

/// Why a snapshot cannot be gone on from.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("its file is not whole")]
    File(#[from] FileError),
    #[error("it is cut short")]
    Cut,
    #[error("what is in it is not of this version")]
    Content(#[source] postcard::Error),
    #[error("no books can be kept by the rules in it")]
    Rules,
    #[error("the journal ends before its record {record}")]
    Ahead { record: RecordSeq },
    #[error("record {record} of the journal is not the one that it was taken after")]
    OtherJournal { record: RecordSeq },
    #[error("leaf {leaf} of the ledger log does not have its hash")]
    NoLeaf { leaf: u64 },
}

impl Loaded {
    /// The intake's bytes, and those of the books.
    ///
    /// # Errors
    /// When they are cut short.
    pub fn sections(&self) -> Result<(&[u8], &[u8]), LoadError> {
        let (length, rest) = self.books.split_first_chunk::<8>().ok_or(LoadError::Cut)?;
        let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|_| LoadError::Cut)?;
        rest.split_at_checked(length).ok_or(LoadError::Cut)
    }
}
