//! One entry proven in one text, as the C2SP's tlog-proof has it.

use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::hash::Hash;
use crate::key::VerifierKey;
use crate::note::{Note, NoteError};
use crate::{check_inclusion, number};

const FIRST: &str = "c2sp.org/tlog-proof@v1";

/// That an entry is in a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    pub index: u64,
    pub hashes: Vec<Hash>,
    pub checkpoint: Note,
}

/// Why a proof is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    #[error("line {line} is not that of a tlog-proof")]
    Line { line: usize },
    #[error("the proof's note is none")]
    Note(#[from] NoteError),
    #[error("the proof's checkpoint is none")]
    Checkpoint(#[from] CheckpointError),
    #[error("the entry is not at place {index} of this log")]
    NotIn { index: u64 },
}

impl Proof {
    #[must_use]
    pub fn show(&self) -> String {
        let hashes: String = self.hashes.iter().map(|hash| format!("{hash}\n")).collect();
        format!("{FIRST}\nindex {}\n{hashes}\n{}", self.index, self.checkpoint)
    }

    /// # Errors
    /// Says which line is wrong.
    pub fn parse(text: &str) -> Result<Self, ProofError> {
        let (head, checkpoint) = text.split_once("\n\n").ok_or(ProofError::Line { line: 1 })?;
        let mut lines = head.split('\n').zip(1..).peekable();
        let line = |line| ProofError::Line { line };
        lines.next().filter(|(first, _)| *first == FIRST).ok_or_else(|| line(1))?;
        lines.next_if(|(extra, _)| extra.starts_with("extra "));
        let index = lines.next().and_then(|(words, _)| number(words.strip_prefix("index ")?));
        let index = index.ok_or_else(|| line(2))?;
        let hash =
            |(text, number): (&str, usize)| Hash::from_base64(text).ok_or_else(|| line(number));
        let hashes = lines.map(hash).collect::<Result<_, _>>()?;
        Ok(Self { index, hashes, checkpoint: Note::parse(checkpoint)? })
    }

    /// Checks that the log's key signed a tree that has this entry at its place.
    ///
    /// # Errors
    /// Says what does not hold.
    pub fn check(&self, entry: &[u8], log: &VerifierKey) -> Result<Checkpoint, ProofError> {
        let tree = Checkpoint::open(&self.checkpoint, log)?;
        let leaf = Hash::leaf(entry);
        if check_inclusion(leaf, self.index, &self.hashes, tree.size, tree.root) {
            Ok(tree)
        } else {
            Err(ProofError::NotIn { index: self.index })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{KeyKind, SigningKey};

    #[test]
    fn a_proof_survives_its_text_and_nothing_else() {
        let (one, two) = (Hash::leaf(b"one"), Hash::leaf(b"two"));
        let (origin, size, root) = ("log.example".to_owned(), 2, Hash::node(&one, &two));
        let key = SigningKey::from_seed(&origin, KeyKind::Note, [1; 32]).expect("a name");
        let mut checkpoint = Note::new(Checkpoint { origin, size, root }.text());
        checkpoint.sign(&key, 0);
        let proof = Proof { index: 1, hashes: vec![one], checkpoint };
        let read = Proof::parse(&proof.show()).expect("a proof");
        assert_eq!(read, proof);
        assert!(read.check(b"two", key.verifier()).is_ok());
        assert_eq!(read.check(b"one", key.verifier()), Err(ProofError::NotIn { index: 1 }));
        let extra = proof.show().replace("\nindex", "\nextra AAAA\nindex");
        assert_eq!(Proof::parse(&extra), Ok(proof.clone()));
        let zeroes = proof.show().replace("index 1", "index 01");
        assert_eq!(Proof::parse(&zeroes), Err(ProofError::Line { line: 2 }));
    }
}
