//! The keys that sign, and where they are.

use std::path::{Path, PathBuf};

use bijli_tlog::{KeyError, KeyKind, Policy, SigningKey};

use crate::disk;

/// Who signs, under which name, and whose cosignatures are asked for.
#[derive(Debug)]
pub struct Signer {
    /// What origins begin with.
    pub base: String,
    /// The key in use, then those that it takes over from.
    pub keys: Vec<SigningKey>,
    pub policy: Policy,
}

/// Why a key's file is not used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    #[error("cannot read {path}; `bijli-collector seal key` makes one", path = path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error(
        "{path} has mode {mode:04o}, a signing key must have 0400: chmod 0400, and make another if \
         somebody may have read it", path = path.display()
    )]
    Mode { path: PathBuf, mode: u32 },
    #[error("{path} holds no signing key", path = path.display())]
    Key { path: PathBuf, source: KeyError },
    #[error("{path} holds a key of the other kind: a log's is made without --witness, a witness's \
         with it", path = path.display())]
    Kind { path: PathBuf },
    #[error("cannot write {path}; a key is never written over another", path = path.display())]
    Write { path: PathBuf, source: std::io::Error },
    #[error("the system gives no random numbers")]
    Random,
    #[error("the name cannot be given to a key")]
    Name(#[source] KeyError),
}

impl Signer {
    /// The keys under the name of a log.
    ///
    /// # Errors
    /// When it cannot be a name.
    pub fn keys(&self, origin: &str) -> Result<Vec<SigningKey>, KeyError> {
        self.keys.iter().map(|key| key.named(origin)).collect()
    }
}

/// Reads a key that only its owner may read.
///
/// # Errors
/// When it is not there, open to others, or no key of this kind.
pub fn read_key(path: &Path, kind: KeyKind) -> Result<SigningKey, KeyFileError> {
    let of = || path.to_owned();
    let mode = disk::mode(path).map_err(|source| KeyFileError::Read { path: of(), source })?;
    if mode != 0o400 {
        return Err(KeyFileError::Mode { path: of(), mode });
    }
    let text = disk::read_text(path).map_err(|source| KeyFileError::Read { path: of(), source })?;
    let key = SigningKey::parse(text.trim_end_matches('\n'));
    let key = key.map_err(|source| KeyFileError::Key { path: of(), source })?;
    if key.verifier().kind == kind { Ok(key) } else { Err(KeyFileError::Kind { path: of() }) }
}

/// Makes a key and its file, which must not be there.
///
/// # Errors
/// When the name is none, or the file cannot be written.
pub fn make_key(path: &Path, name: &str, kind: KeyKind) -> Result<SigningKey, KeyFileError> {
    let seed = bijli_tlog::key::random_seed().ok_or(KeyFileError::Random)?;
    let key = SigningKey::from_seed(name, kind, seed).map_err(KeyFileError::Name)?;
    let text = format!("{}\n", key.secret_text());
    let written = disk::write_secret(path, &text).and_then(|()| disk::set_mode(path, 0o400));
    written.map_err(|source| KeyFileError::Write { path: path.to_owned(), source })?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_others_may_read_is_refused() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("seal.key");
        let made = make_key(&path, "ledger.example.pk", KeyKind::Note).expect("made");
        assert_eq!(disk::mode(&path).expect("there"), 0o400);
        let read = read_key(&path, KeyKind::Note).expect("read");
        assert_eq!(read.verifier(), made.verifier());
        let kind = read_key(&path, KeyKind::Cosignature);
        assert!(matches!(kind, Err(KeyFileError::Kind { .. })));
        let again = make_key(&path, "x", KeyKind::Note).expect_err("there already");
        assert!(again.to_string().contains("never written over"), "{again}");
        for mode in [0o600, 0o440, 0o404, 0o644] {
            disk::set_mode(&path, mode).expect("set");
            let refused = read_key(&path, KeyKind::Note).expect_err("open").to_string();
            assert!(refused.contains(&format!("mode {mode:04o}")), "{refused}");
        }
    }
}
