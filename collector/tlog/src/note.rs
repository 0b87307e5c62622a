//! Signed notes: a text, an empty line, and who signed it.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::checkpoint::cosigned;
use crate::key::{KeyKind, SigningKey, VerifierKey, is_name};

const NOTE_BYTES_MAX: usize = 64 << 10;
/// Sixteen must be taken; keys in change and many witnesses are more.
pub const SIGNATURES_MAX: usize = 64;
const DASH: &str = "— ";

/// A text and its signatures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Ends with a newline.
    text: String,
    pub signatures: Vec<Signature>,
}

/// One signature, not yet believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    pub name: String,
    pub id: u32,
    pub bytes: Vec<u8>,
}

/// A signature that was believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signed {
    /// When, in seconds since 1970: a cosignature says so.
    pub at: Option<u64>,
}

/// Why a note is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    #[error("the note has {bytes} bytes, the limit is {NOTE_BYTES_MAX}")]
    TooLong { bytes: usize },
    #[error("the note has a control character")]
    Control,
    #[error("the note has no empty line with signatures after it")]
    Unsigned,
    #[error("signature {number} of the note is not written like one")]
    Signature { number: usize },
    #[error("the note has more than {SIGNATURES_MAX} signatures")]
    TooMany,
    #[error("the signature of {key} does not verify: the text is not what was signed")]
    Forged { key: String },
    #[error("the note is not signed by {key}")]
    NotBy { key: String },
}

impl Note {
    /// A text without a signature.
    #[must_use]
    pub fn new(text: String) -> Self {
        debug_assert!(text.ends_with('\n'), "a note's text ends with a newline");
        Self { text, signatures: Vec::new() }
    }

    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// # Errors
    /// Says what is wrong with it. Nothing is believed yet.
    pub fn parse(note: &str) -> Result<Self, NoteError> {
        if note.len() > NOTE_BYTES_MAX {
            return Err(NoteError::TooLong { bytes: note.len() });
        }
        if note.chars().any(|c| c.is_ascii_control() && c != '\n') {
            return Err(NoteError::Control);
        }
        let place = note.rfind("\n\n").ok_or(NoteError::Unsigned)?;
        let (text, signatures) = note.split_at(place + 1);
        let signatures = signatures.strip_prefix('\n').filter(|lines| lines.ends_with('\n'));
        let signatures = Signature::parse_lines(signatures.ok_or(NoteError::Unsigned)?)?;
        if signatures.is_empty() {
            return Err(NoteError::Unsigned);
        }
        Ok(Self { text: text.to_owned(), signatures })
    }

    /// Adds a signature, or a cosignature of this time, in seconds since 1970.
    pub fn sign(&mut self, key: &SigningKey, at: u64) {
        let bytes = match key.verifier().kind {
            KeyKind::Note => key.sign(self.text.as_bytes()),
            KeyKind::Cosignature => {
                let signature = key.sign(cosigned(at, &self.text).as_bytes());
                at.to_be_bytes().into_iter().chain(signature).collect()
            }
        };
        let (name, id) = (key.verifier().name().to_owned(), key.verifier().id());
        self.signatures.push(Signature { name, id, bytes });
    }

    /// Whether this key signed: `None` if it did not.
    ///
    /// # Errors
    /// When a signature says that it is of this key and is not: such a note is not to be used.
    pub fn signed_by(&self, key: &VerifierKey) -> Result<Option<Signed>, NoteError> {
        let id = key.id();
        let theirs = self.signatures.iter().filter(|one| one.name == key.name() && one.id == id);
        let mut found = None;
        for signature in theirs {
            let forged = NoteError::Forged { key: key.to_string() };
            let signed = signature.check(&self.text, key).ok_or(forged)?;
            found = found.or(Some(signed));
        }
        Ok(found)
    }

    /// The text, if this key signed it.
    ///
    /// # Errors
    /// When it did not.
    pub fn by(&self, key: &VerifierKey) -> Result<&str, NoteError> {
        match self.signed_by(key)? {
            Some(_) => Ok(&self.text),
            None => Err(NoteError::NotBy { key: key.to_string() }),
        }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.signatures.iter().try_for_each(|signature| writeln!(f, "{signature}"))
    }
}

impl Signature {
    /// Lines as after a note's text, or as a witness answers.
    ///
    /// # Errors
    /// When one is not written like a signature, or there are too many.
    pub fn parse_lines(lines: &str) -> Result<Vec<Self>, NoteError> {
        let mut signatures = Vec::new();
        for (line, number) in lines.split_terminator('\n').zip(1..) {
            if number > SIGNATURES_MAX {
                return Err(NoteError::TooMany);
            }
            signatures.push(Self::parse(line).ok_or(NoteError::Signature { number })?);
        }
        Ok(signatures)
    }

    fn parse(line: &str) -> Option<Self> {
        let (name, bytes) = line.strip_prefix(DASH)?.split_once(' ')?;
        let bytes = STANDARD.decode(bytes).ok()?;
        let (id, bytes) = bytes.split_first_chunk::<4>()?;
        let is_one = is_foreign_name(name) && !bytes.is_empty();
        is_one.then(|| Self {
            name: name.to_owned(),
            id: u32::from_be_bytes(*id),
            bytes: bytes.to_vec(),
        })
    }

    fn check(&self, text: &str, key: &VerifierKey) -> Option<Signed> {
        match key.kind {
            KeyKind::Note => {
                key.has_signed(text.as_bytes(), &self.bytes).then_some(Signed { at: None })
            }
            KeyKind::Cosignature => {
                let (at, signature) = self.bytes.split_first_chunk::<8>()?;
                let at = u64::from_be_bytes(*at);
                let is_signed = key.has_signed(cosigned(at, text).as_bytes(), signature);
                is_signed.then_some(Signed { at: Some(at) })
            }
        }
    }
}

/// What others may call their keys: more than we do.
fn is_foreign_name(name: &str) -> bool {
    is_name(name) || !(name.is_empty() || name.contains('+') || name.contains(char::is_whitespace))
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes: Vec<u8> = self.id.to_be_bytes().iter().chain(&self.bytes).copied().collect();
        write!(f, "{DASH}{} {}", self.name, STANDARD.encode(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "If you think cryptography is the answer to your problem,\n\
        then you don't know what your problem is.\n";
    /// From the documentation of Go's `golang.org/x/mod/sumdb/note`.
    const SIGNED: &str = "— PeterNeumann \
        x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
    const VERIFIER: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";

    fn key(name: &str, kind: KeyKind) -> SigningKey {
        SigningKey::from_seed(name, kind, [7; 32]).expect("a name")
    }

    fn signed(by: &[&SigningKey]) -> Note {
        let mut note = Note::new("origin\n1\n".to_owned());
        by.iter().for_each(|key| note.sign(key, 1_700_000_000));
        note
    }

    #[test]
    fn a_note_of_go_is_believed_and_written_alike() {
        let text = format!("{TEXT}\n{SIGNED}");
        let note = Note::parse(&text).expect("a note");
        let key = VerifierKey::parse(VERIFIER).expect("a key");
        assert_eq!(note.by(&key), Ok(TEXT));
        assert_eq!(note.to_string(), text);
        let forged = Note::parse(&text.replace("think", "thank")).expect("a note");
        assert!(matches!(forged.by(&key), Err(NoteError::Forged { .. })));
    }

    #[test]
    fn what_is_no_note_by_table() {
        let good = signed(&[&key("a", KeyKind::Note)]).to_string();
        assert!(Note::parse(&good).is_ok());
        let long = format!("{}\n\n— a {}\n", "x".repeat(70_000), "AAAAAAAA");
        for (note, words) in [
            ("", "no empty line"),
            ("text\n", "no empty line"),
            ("text\n\n", "no empty line"),
            (&good.replace("origin", "ori\tgin"), "control"),
            (&good.replace("origin", "ori\rgin"), "control"),
            (good.trim_end(), "no empty line"),
            (&good.replace("— a", "- a"), "not written like one"),
            (&good.replace("— a", "— a+b"), "not written like one"),
            (&good.replace("— a", "—  a"), "not written like one"),
            ("text\n\n— a AAAA\n", "not written like one"),
            ("text\n\n— a !!!!\n", "not written like one"),
            (&long, "bytes"),
        ] {
            let error = Note::parse(note).expect_err(note).to_string();
            assert!(error.contains(words), "{error} for {note:?}");
        }
    }

    /// Goal: more signatures than the sixteen that every reader takes are no trap.
    #[test]
    fn seventeen_signatures_are_read_and_hundreds_refused() {
        let keys: Vec<SigningKey> =
            (0..17).map(|number| key(&format!("w{number}"), KeyKind::Cosignature)).collect();
        let note = signed(&keys.iter().collect::<Vec<_>>());
        let read = Note::parse(&note.to_string()).expect("a note");
        for key in &keys {
            assert!(read.signed_by(key.verifier()).expect("true").is_some());
        }
        let many: Vec<&SigningKey> = keys.iter().cycle().take(65).collect();
        assert_eq!(Note::parse(&signed(&many).to_string()), Err(NoteError::TooMany));
    }

    /// Goal: one secret under both kinds is two keys, and neither passes for the other.
    #[test]
    fn one_key_of_both_kinds_is_two() {
        let (log, witness) = (key("a", KeyKind::Note), key("a", KeyKind::Cosignature));
        assert_ne!(log.verifier().id(), witness.verifier().id());
        let note = signed(&[&log]);
        assert_eq!(note.signed_by(witness.verifier()), Ok(None));
        let mut mixed = signed(&[&witness]);
        assert_eq!(mixed.signed_by(log.verifier()), Ok(None));
        assert!(mixed.signed_by(witness.verifier()).expect("true").is_some());
        // A cosignature passed off under the other id.
        let id = log.verifier().id();
        mixed.signatures.iter_mut().for_each(|signature| signature.id = id);
        assert!(matches!(mixed.signed_by(log.verifier()), Err(NoteError::Forged { .. })));
    }

    #[test]
    fn unknown_keys_are_passed_over_and_a_false_signature_condemns() {
        let (known, other) = (key("a", KeyKind::Note), key("b", KeyKind::Note));
        let mut note = signed(&[&other, &known]);
        assert!(note.by(known.verifier()).is_ok());
        let mut false_one = note.signatures.last().cloned().expect("two");
        false_one.bytes[0] ^= 1;
        note.signatures.push(false_one);
        assert!(matches!(note.by(known.verifier()), Err(NoteError::Forged { .. })));
    }
}
