//! Checkpoints: what a log signs of itself, and what a witness signs of that.

use crate::hash::Hash;
use crate::key::VerifierKey;
use crate::note::{Note, NoteError};
use crate::number;

/// The first line of what a cosignature signs. No log may call itself so.
const COSIGNATURE: &str = "cosignature/v1";

/// A log's name, size and root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    pub origin: String,
    pub size: u64,
    pub root: Hash,
}

/// Why a note is no checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    #[error("the checkpoint is no note")]
    Note(#[from] NoteError),
    #[error("the checkpoint's {line} is none")]
    Line { line: &'static str },
    #[error("the checkpoint is of {found}, not of {expected}")]
    Origin { found: String, expected: String },
}

impl Checkpoint {
    /// What is signed: three lines.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, self.root)
    }

    /// Reads a note's text. Lines after the third are others' extensions.
    ///
    /// # Errors
    /// Says which line is wrong.
    pub fn parse(text: &str) -> Result<Self, CheckpointError> {
        let line = |line| CheckpointError::Line { line };
        let body = text.strip_suffix('\n').ok_or_else(|| line("end"))?;
        let mut lines = body.split('\n');
        let origin = lines.next().filter(|origin| !origin.is_empty() && *origin != COSIGNATURE);
        let origin = origin.ok_or_else(|| line("origin"))?.to_owned();
        let size = lines.next().and_then(number).ok_or_else(|| line("size"))?;
        let root = lines.next().and_then(Hash::from_base64).ok_or_else(|| line("root"))?;
        if size == 0 && root != Hash::empty() {
            return Err(line("root"));
        }
        if lines.any(str::is_empty) {
            return Err(line("extension"));
        }
        Ok(Self { origin, size, root })
    }

    /// The checkpoint of a note that the log signed under its own name.
    ///
    /// # Errors
    /// When it is none, another log's, or not signed by this key.
    pub fn open(note: &Note, log: &VerifierKey) -> Result<Self, CheckpointError> {
        let checkpoint = Self::parse(note.by(log)?)?;
        if checkpoint.origin != log.name() {
            let (found, expected) = (checkpoint.origin, log.name().to_owned());
            return Err(CheckpointError::Origin { found, expected });
        }
        Ok(checkpoint)
    }
}

/// What a cosignature of this time signs.
pub(crate) fn cosigned(at: u64, text: &str) -> String {
    format!("{COSIGNATURE}\ntime {at}\n{text}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{KeyKind, SigningKey};

    /// The checkpoint of the C2SP's tlog-checkpoint.
    const TEXT: &str =
        "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";

    #[test]
    fn the_example_of_the_spec_is_read_and_written_alike() {
        let checkpoint = Checkpoint::parse(TEXT).expect("one");
        assert_eq!((checkpoint.size, checkpoint.text().as_str()), (20_852_163, TEXT));
        assert!(Checkpoint::parse(&format!("{TEXT}more\n")).is_ok());
        let signed = cosigned(1_679_315_147, TEXT);
        assert_eq!(signed, format!("cosignature/v1\ntime 1679315147\n{TEXT}"));
    }

    #[test]
    fn what_is_no_checkpoint_by_table() {
        let of = |from: &str, to: &str| TEXT.replace(from, to);
        for (text, line) in [
            (of("example.com/behind-the-sofa", ""), "origin"),
            (of("example.com/behind-the-sofa", "cosignature/v1"), "origin"),
            (of("20852163", "020852163"), "size"),
            (of("20852163", "-1"), "size"),
            (of("20852163", "+1"), "size"),
            (of("20852163", "99999999999999999999"), "size"),
            (of("20852163", "0"), "root"),
            (of("q2I=", "q2J="), "root"),
            (of("q2I=\n", "\n"), "root"),
            (of("q2I=\n", "q2I="), "end"),
            (format!("{TEXT}\nmore\n"), "extension"),
        ] {
            let error = Checkpoint::parse(&text).expect_err(&text);
            assert_eq!(error, CheckpointError::Line { line }, "{text}");
        }
    }

    #[test]
    fn a_log_speaks_under_its_own_name() {
        let key = SigningKey::from_seed("example.com/other", KeyKind::Note, [1; 32]).expect("one");
        let mut note = Note::new(TEXT.to_owned());
        note.sign(&key, 0);
        let opened = Checkpoint::open(&note, key.verifier());
        assert!(matches!(opened, Err(CheckpointError::Origin { .. })), "{opened:?}");
    }
}
