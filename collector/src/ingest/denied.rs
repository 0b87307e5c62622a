//! Keys that are refused, by their SHA-256: what to do when a node's key was stolen or left in a
//! ticket. The file is read again while the collector runs, and asked at every request, so that it
//! counts for connections that are open.
//!
//! One hash a line, 64 hexadecimal digits; the rest of the line is for people, and so is a line
//! that begins with `#`. A file that cannot be read or understood takes nobody off the list.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use bijli_identity::{KeyHash, disk};

/// Why the list is not taken.
#[derive(Debug, thiserror::Error)]
pub enum DeniedError {
    #[error("cannot read {path}", path = path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("line {line} of {path} is no key hash: write the 64 digits that `ca issue` showed", path = path.display())]
    Line { path: PathBuf, line: usize },
}

/// The keys of a file.
///
/// # Errors
/// When it cannot be read, or a line is no hash.
pub fn read(path: &Path) -> Result<BTreeSet<KeyHash>, DeniedError> {
    let bytes =
        disk::read(path).map_err(|source| DeniedError::Read { path: path.to_owned(), source })?;
    let text = String::from_utf8_lossy(&bytes);
    let mut keys = BTreeSet::new();
    for (index, line) in text.lines().enumerate() {
        let word = line.split_whitespace().next().filter(|word| !word.starts_with('#'));
        if let Some(word) = word {
            let bad = || DeniedError::Line { path: path.to_owned(), line: index + 1 };
            keys.insert(KeyHash::from_hex(word).ok_or_else(bad)?);
        }
    }
    Ok(keys)
}

/// The list in force.
#[derive(Debug, Default)]
pub struct Denied {
    file: Option<PathBuf>,
    keys: RwLock<BTreeSet<KeyHash>>,
}

impl Denied {
    /// # Errors
    /// See [`read`].
    pub fn open(file: Option<PathBuf>) -> Result<Self, DeniedError> {
        let keys = file.as_deref().map(read).transpose()?.unwrap_or_default();
        Ok(Self { file, keys: RwLock::new(keys) })
    }

    #[must_use]
    pub fn has(&self, key: &KeyHash) -> bool {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).contains(key)
    }

    /// Reads the file again; says how many keys are on the list, if that changed.
    ///
    /// # Errors
    /// When the file is unusable: the old list stays.
    pub fn look(&self) -> Result<Option<usize>, DeniedError> {
        let Some(file) = &self.file else { return Ok(None) };
        let found = read(file)?;
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        if *keys == found {
            return Ok(None);
        }
        *keys = found;
        Ok(Some(keys.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn o7_a_key_is_denied_as_soon_as_it_is_listed_and_bad_lines_free_nobody() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("denied");
        let write = |text: &str| crate::disk::write_text(&path, text).expect("written");
        let key = KeyHash::of(b"stolen");
        write("# nobody yet\n\n");
        let denied = Denied::open(Some(path.clone())).expect("readable");
        assert!(!denied.has(&key));
        write(&format!("# ticket 17\n  {key}  isb-n01, stolen\n"));
        assert_eq!(denied.look().expect("readable"), Some(1));
        assert!(denied.has(&key));
        assert_eq!(denied.look().expect("readable"), None);
        write("something\n");
        let error = denied.look().expect_err("no hash").to_string();
        assert!(error.contains("line 1 of") && denied.has(&key), "{error}");
        drop(folder);
        assert!(denied.look().is_err() && denied.has(&key));
    }
}
