//! Keys of signed notes: Ed25519 under a name, in the texts that the Go tools read and write.
//!
//! # Layout
//! ```text
//! verifier   <name>+<id, 8 hex digits>+<base64 of kind 1 · public key 32>
//! signer     PRIVATE+KEY+<name>+<id>+<base64 of kind 1 · seed 32>
//! id         SHA-256(name · 0x0A · kind · public key), its first 4 bytes
//! ```

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use sha2::{Digest as _, Sha256};

const SECRET: &str = "PRIVATE+KEY+";
const NAME_BYTES_MAX: usize = 200;

/// What a key signs. Append only, and given by the C2SP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyKind {
    /// The text of a note.
    Note,
    /// A witness's timestamped statement about a checkpoint.
    Cosignature,
}

/// A public key under a name. Shown as its verifier text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct VerifierKey {
    name: String,
    pub kind: KeyKind,
    pub public: [u8; 32],
}

/// A secret key under a name. Never shown but by [`SigningKey::secret_text`].
pub struct SigningKey {
    verifier: VerifierKey,
    seed: [u8; 32],
    pair: Ed25519KeyPair,
}

/// Why a text is no key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("a key is written <name>+<8 hex digits>+<base64>, a secret one PRIVATE+KEY+ before it")]
    Form,
    #[error(
        "{name:?} is no key name: 1 to {NAME_BYTES_MAX} bytes without spaces, control characters, + \
         or quotes"
    )]
    Name { name: String },
    #[error("kind {found} of key is not known; 1 is Ed25519, 4 is an Ed25519 cosignature")]
    Kind { found: u8 },
    #[error("the id in the key is {found}, its name and bytes have {expected}: was it mistyped?")]
    Id { found: String, expected: String },
}

impl KeyKind {
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Note => 1,
            Self::Cosignature => 4,
        }
    }

    const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Note),
            4 => Some(Self::Cosignature),
            _ => None,
        }
    }
}

/// Whether a text may name a key. Stricter than the C2SP: what a terminal or a page would make
/// something of is refused as well.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let is_plain = |c: char| {
        !c.is_whitespace()
            && !c.is_control()
            && !matches!(c, '+' | '"' | '\'' | '<' | '>' | '\u{200B}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}')
    };
    !name.is_empty() && name.len() <= NAME_BYTES_MAX && name.chars().all(is_plain)
}

impl VerifierKey {
    /// # Errors
    /// When the name cannot name a key.
    pub fn new(name: &str, kind: KeyKind, public: [u8; 32]) -> Result<Self, KeyError> {
        if is_name(name) {
            Ok(Self { name: name.to_owned(), kind, public })
        } else {
            Err(KeyError::Name { name: name.to_owned() })
        }
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    #[must_use]
    pub fn id(&self) -> u32 {
        let hash = Sha256::new()
            .chain_update(&self.name)
            .chain_update([b'\n', self.kind.number()])
            .chain_update(self.public)
            .finalize();
        hash.first_chunk::<4>().map_or(0, |first| u32::from_be_bytes(*first))
    }

    /// # Errors
    /// Says what is wrong with the text.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let (name, id, kind, public) = parts(text)?;
        let key = Self::new(name, kind, public)?;
        let expected = format!("{:08x}", key.id());
        if id != expected {
            return Err(KeyError::Id { found: id.to_owned(), expected });
        }
        Ok(key)
    }

    /// Whether these bytes are signed with this key. Not what the key's kind wraps around them.
    #[must_use]
    pub fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, self.public).verify(message, signature).is_ok()
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes: Vec<u8> = std::iter::once(self.kind.number()).chain(self.public).collect();
        write!(f, "{}+{:08x}+{}", self.name, self.id(), STANDARD.encode(bytes))
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("verifier", &self.verifier).finish_non_exhaustive()
    }
}

impl SigningKey {
    /// # Errors
    /// When the name cannot name a key.
    pub fn from_seed(name: &str, kind: KeyKind, seed: [u8; 32]) -> Result<Self, KeyError> {
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|_| KeyError::Form)?;
        let public = pair.public_key().as_ref().try_into().map_err(|_| KeyError::Form)?;
        Ok(Self { verifier: VerifierKey::new(name, kind, public)?, seed, pair })
    }

    /// # Errors
    /// Says what is wrong with the text, and nothing of what is in it.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let (name, id, kind, seed) = parts(text.strip_prefix(SECRET).ok_or(KeyError::Form)?)?;
        let key = Self::from_seed(name, kind, seed)?;
        let expected = format!("{:08x}", key.verifier.id());
        if id != expected {
            return Err(KeyError::Id { found: id.to_owned(), expected });
        }
        Ok(key)
    }

    /// The same key under another name.
    ///
    /// # Errors
    /// When the name cannot name a key.
    pub fn named(&self, name: &str) -> Result<Self, KeyError> {
        Self::from_seed(name, self.verifier.kind, self.seed)
    }

    #[must_use]
    pub const fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.pair.sign(message).as_ref().to_vec()
    }

    /// For the key's file, and nothing else.
    #[must_use]
    pub fn secret_text(&self) -> String {
        let VerifierKey { name, kind, .. } = &self.verifier;
        let bytes: Vec<u8> = std::iter::once(kind.number()).chain(self.seed).collect();
        format!("{SECRET}{name}+{:08x}+{}", self.verifier.id(), STANDARD.encode(bytes))
    }
}

/// A seed that nobody knows, from the system. The one thing here that is not a function of its
/// arguments.
#[must_use]
pub fn random_seed() -> Option<[u8; 32]> {
    let mut seed = [0; 32];
    SystemRandom::new().fill(&mut seed).ok().map(|()| seed)
}

/// Name, id, kind and the 32 bytes of a key's text.
fn parts(text: &str) -> Result<(&str, &str, KeyKind, [u8; 32]), KeyError> {
    let mut parts = text.splitn(3, '+');
    let (Some(name), Some(id), Some(bytes)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(KeyError::Form);
    };
    let bytes = STANDARD.decode(bytes).map_err(|_| KeyError::Form)?;
    let (kind, bytes) = bytes.split_first().ok_or(KeyError::Form)?;
    let kind = KeyKind::from_number(*kind).ok_or(KeyError::Kind { found: *kind })?;
    Ok((name, id, kind, bytes.try_into().map_err(|_| KeyError::Form)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The key pair of the documentation of Go's `golang.org/x/mod/sumdb/note`.
    const SIGNER: &str =
        "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
    const VERIFIER: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";

    #[test]
    fn the_keys_of_go_are_read_and_written() {
        let signer = SigningKey::parse(SIGNER).expect("a key");
        assert_eq!(signer.secret_text(), SIGNER);
        assert_eq!(signer.verifier().to_string(), VERIFIER);
        assert_eq!(VerifierKey::parse(VERIFIER).as_ref(), Ok(signer.verifier()));
        assert!(!format!("{signer:?}").contains("AYEK"), "a secret is not shown");
    }

    #[test]
    fn mistakes_in_keys_by_table() {
        for (text, words) in [
            ("", "written"),
            ("a+b", "written"),
            ("PeterNeumann+c74f20a3+ARpc", "written"),
            ("PeterNeumann+c74f20a4+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW", "mistyped"),
            ("Peter Neumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW", "no key name"),
            ("PeterNeumann+c74f20a3+AhpC2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW", "kind 2"),
        ] {
            let error = VerifierKey::parse(text).expect_err(text).to_string();
            assert!(error.contains(words), "{error}");
        }
        for name in ["", "a+b", "a b", "a\nb", "a\u{a0}b", "a\u{202E}b", "<b>", &"x".repeat(201)] {
            assert!(VerifierKey::new(name, KeyKind::Note, [0; 32]).is_err(), "{name:?}");
        }
    }
}
