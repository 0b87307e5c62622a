//! What a witness is told and answers: the C2SP's tlog-witness, add-checkpoint.
//!
//! Pure: who decides keeps the state, and must have stored the new one before it answers.

use sha2::{Digest as _, Sha256};

use crate::checkpoint::Checkpoint;
use crate::hash::Hash;
use crate::key::{SigningKey, VerifierKey};
use crate::note::Note;
use crate::{check_consistency, number};

/// The longest proof that is read.
const HASHES_MAX: usize = 63;

/// A log says: I have grown, and here is the proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The size that the witness is believed to know.
    pub old: u64,
    pub proof: Vec<Hash>,
    pub checkpoint: Note,
}

/// What a witness knows of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    pub size: u64,
    pub root: Hash,
}

/// Why a witness does not cosign. Each has its HTTP status.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("the request is not written like one")]
    Form,
    #[error("the old size is above the checkpoint's")]
    OldSize,
    #[error("this log is not known here")]
    Unknown,
    #[error("no key that is known here signed the checkpoint")]
    NotSigned,
    #[error("the last one cosigned has {size} entries")]
    Conflict { size: u64 },
    #[error("the checkpoint does not follow from the last one cosigned: the log has forked")]
    Inconsistent,
}

/// Where a witness takes requests; `url` has no slash at its end.
#[must_use]
pub fn add_url(url: &str) -> String {
    format!("{url}/add-checkpoint")
}

/// Where our witness tells the last checkpoint that it cosigned of a log: the C2SP leaves open how
/// a witness is asked for it.
#[must_use]
pub fn latest_url(url: &str, origin: &str) -> String {
    format!("{url}/latest/{}", log_id(origin))
}

/// A log's name as one part of a path: SHA-256 of its origin, in hex.
#[must_use]
pub fn log_id(origin: &str) -> String {
    Sha256::digest(origin).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The size in the answer to a request whose old size was another.
#[must_use]
pub fn size_of_conflict(body: &str) -> Option<u64> {
    number(body.strip_suffix('\n')?)
}

impl Default for Known {
    fn default() -> Self {
        Self { size: 0, root: Hash::empty() }
    }
}

impl Request {
    #[must_use]
    pub fn show(&self) -> String {
        let hashes: String = self.proof.iter().map(|hash| format!("{hash}\n")).collect();
        format!("old {}\n{hashes}\n{}", self.old, self.checkpoint)
    }

    /// # Errors
    /// [`Refused::Form`].
    pub fn parse(text: &str) -> Result<Self, Refused> {
        let (head, checkpoint) = text.split_once("\n\n").ok_or(Refused::Form)?;
        let mut lines = head.split('\n');
        let old = lines.next().and_then(|line| number(line.strip_prefix("old ")?));
        let old = old.ok_or(Refused::Form)?;
        let proof: Option<Vec<Hash>> = lines.map(Hash::from_base64).collect();
        let proof = proof.filter(|proof| proof.len() <= HASHES_MAX).ok_or(Refused::Form)?;
        let checkpoint = Note::parse(checkpoint).map_err(|_| Refused::Form)?;
        Ok(Self { old, proof, checkpoint })
    }

    /// Which log it is about, before anything is believed.
    ///
    /// # Errors
    /// [`Refused::Form`].
    pub fn origin(&self) -> Result<String, Refused> {
        let checkpoint = Checkpoint::parse(self.checkpoint.text()).map_err(|_| Refused::Form)?;
        Ok(checkpoint.origin)
    }

    /// Whether a witness that knows this much may cosign; what it then knows.
    ///
    /// # Errors
    /// Why it may not.
    pub fn judge(&self, keys: &[VerifierKey], known: Known) -> Result<Known, Refused> {
        if keys.is_empty() {
            return Err(Refused::Unknown);
        }
        let opened = keys.iter().find_map(|key| Checkpoint::open(&self.checkpoint, key).ok());
        let Checkpoint { size, root, .. } = opened.ok_or(Refused::NotSigned)?;
        if self.old > size {
            return Err(Refused::OldSize);
        }
        if self.old != known.size || (size == known.size && root != known.root) {
            return Err(Refused::Conflict { size: known.size });
        }
        if !check_consistency((known.size, known.root), (size, root), &self.proof) {
            return Err(Refused::Inconsistent);
        }
        Ok(Known { size, root })
    }

    /// The lines that a witness answers with, once it has stored what it now knows.
    #[must_use]
    pub fn cosign(&self, key: &SigningKey, at: u64) -> String {
        let mut note = Note::new(self.checkpoint.text().to_owned());
        note.sign(key, at);
        note.signatures.iter().map(|signature| format!("{signature}\n")).collect()
    }
}

impl Refused {
    #[must_use]
    pub const fn status(&self) -> u16 {
        match self {
            Self::Form | Self::OldSize => 400,
            Self::NotSigned => 403,
            Self::Unknown => 404,
            Self::Conflict { .. } => 409,
            Self::Inconsistent => 422,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::Edge;
    use crate::key::KeyKind;
    use crate::tiles::Tiles;
    use crate::tree;
    use std::collections::BTreeMap;

    const ORIGIN: &str = "log.example/hub/isb";

    fn log_key(seed: u8) -> SigningKey {
        SigningKey::from_seed(ORIGIN, KeyKind::Note, [seed; 32]).expect("a name")
    }

    /// A request for a log of entries that are all `kind`, from `old` entries to `size`.
    fn request(kind: u8, old: u64, size: u64, key: &SigningKey) -> Request {
        let (mut edge, mut files) = (Edge::default(), BTreeMap::new());
        (0..size).for_each(|_| files.extend(edge.push(&[kind])));
        files.extend(edge.partial());
        let mut tiles = Tiles::new(size, |tile| files.get(&tile).cloned().ok_or(()));
        let proof = tree::consistency(&mut tiles, old.min(size), size).expect("there");
        let root = edge.root();
        let text = Checkpoint { origin: ORIGIN.to_owned(), size, root }.text();
        let mut checkpoint = Note::new(text);
        checkpoint.sign(key, 0);
        Request { old, proof, checkpoint }
    }

    /// Goal: a witness says to each request what the C2SP says it must.
    #[test]
    fn x9_x10_what_a_witness_cosigns_by_table() {
        let keys = [log_key(1).verifier().clone()];
        let key = log_key(1);
        let known = request(0, 0, 300, &key).judge(&keys, Known::default()).expect("consistent");
        assert_eq!(known.size, 300);
        let forged = |mut request: Request| {
            request.proof.iter_mut().for_each(|hash| hash.0[0] ^= 1);
            request
        };
        for (request, expected) in [
            (request(0, 300, 700, &key), Ok(700)),
            (request(0, 300, 300, &key), Ok(300)),
            (request(0, 0, 700, &key), Err(Refused::Conflict { size: 300 })),
            (request(0, 200, 200, &key), Err(Refused::Conflict { size: 300 })),
            (request(1, 300, 300, &key), Err(Refused::Conflict { size: 300 })),
            (request(1, 300, 700, &key), Err(Refused::Inconsistent)),
            (forged(request(0, 300, 700, &key)), Err(Refused::Inconsistent)),
            (request(0, 301, 300, &key), Err(Refused::OldSize)),
            (request(0, 300, 700, &log_key(2)), Err(Refused::NotSigned)),
        ] {
            let again = Request::parse(&request.show()).expect("its own form");
            assert_eq!(again, request);
            assert_eq!(again.judge(&keys, known).map(|known| known.size), expected);
        }
        assert_eq!(request(0, 0, 1, &key).judge(&[], known), Err(Refused::Unknown));
    }

    #[test]
    fn what_is_no_request_is_refused() {
        let good = request(0, 1, 2, &log_key(1)).show();
        for text in [
            String::new(),
            good.replace("old 1", "old 01"),
            good.replace("old 1", "1"),
            good.replacen("=\n\n", "\n\n", 1),
            good.replace("\n\n— ", "\n— "),
            format!("old 1\n{}\n{good}", format!("{}\n", Hash::empty()).repeat(64)),
        ] {
            assert_eq!(Request::parse(&text), Err(Refused::Form), "{text}");
        }
    }

    #[test]
    fn a_cosignature_holds_for_the_checkpoint_it_was_given_for() {
        let witness = SigningKey::from_seed("w.example", KeyKind::Cosignature, [5; 32]);
        let witness = witness.expect("a name");
        let asked = request(0, 0, 5, &log_key(1));
        let lines = asked.cosign(&witness, 1_700_000_000);
        let note = format!("{}{lines}", asked.checkpoint);
        let note = Note::parse(&note).expect("a note");
        let signed = note.signed_by(witness.verifier()).expect("true").expect("there");
        assert_eq!(signed.at, Some(1_700_000_000));
    }
}
