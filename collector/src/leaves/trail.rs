//! Which records of the journal came since the leaves before, and their hash.

use bijli_ledger::leaf::Source;
use bijli_seglog::RecordSeq;
use sha2::{Digest as _, Sha256};

use crate::frame::FrameDigest;

/// Follows the journal record by record.
#[derive(Clone, Debug, Default)]
pub struct Trail {
    /// The record after the last one that leaves name.
    first: u64,
    last: u64,
    hash: Sha256,
}

impl Trail {
    /// As after leaves that name records through this one.
    #[must_use]
    pub fn after(record: RecordSeq) -> Self {
        Self { first: record.get() + 1, last: record.get(), hash: Sha256::new() }
    }

    /// The last record that the books have seen; 0: none.
    #[must_use]
    pub const fn last(&self) -> u64 {
        self.last
    }

    /// The next record that the books see. One that the journal lost is not among them.
    pub fn add(&mut self, seq: RecordSeq, digest: FrameDigest) {
        self.first = self.first.max(1);
        self.last = seq.get();
        self.hash.update(seq.get().to_le_bytes());
        self.hash.update(digest.0);
    }

    /// What leaves made now follow from.
    #[must_use]
    pub fn source(&self) -> Source {
        let hash = self.hash.clone().finalize().into();
        Source { first: self.first, last: self.last, hash }
    }

    /// Leaves were made: the next ones follow from later records.
    pub fn turn(&mut self) {
        *self = Self { first: self.last + 1, last: self.last, hash: Sha256::new() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_tile_the_journal_and_hash_what_is_in_them() {
        let mut trail = Trail::default();
        let add = |trail: &mut Trail, seq| {
            trail.add(RecordSeq::new(seq), FrameDigest([u8::try_from(seq).expect("small"); 32]));
        };
        (1..=3).for_each(|seq| add(&mut trail, seq));
        let one = trail.source();
        trail.turn();
        (4..=5).for_each(|seq| add(&mut trail, seq));
        let two = trail.source();
        assert_eq!((one.first, one.last, two.first, two.last), (1, 3, 4, 5));
        let mut bytes = Vec::new();
        for seq in 4..=5_u8 {
            bytes.extend(u64::from(seq).to_le_bytes());
            bytes.extend([seq; 32]);
        }
        assert_eq!(two.hash, <[u8; 32]>::from(Sha256::digest(&bytes)));
        assert_ne!(one.hash, two.hash);
    }
}
