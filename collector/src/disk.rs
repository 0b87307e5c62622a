//! The few files that this crate touches itself; the journal's are `bijli_seglog`'s.
#![expect(clippy::disallowed_methods, reason = "this is the disk.rs that may touch files")]

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// The text of a small file, e.g. a configuration.
///
/// # Errors
/// When it cannot be read or is not UTF-8.
pub fn read_text(path: &Path) -> io::Result<String> {
    std::fs::read_to_string(path)
}

/// The whole of a file.
///
/// # Errors
/// When it cannot be read.
pub fn read_bytes(path: &Path) -> io::Result<Vec<u8>> {
    std::fs::read(path)
}

/// Writes a whole file. Not atomic: for files that only the demo reads.
///
/// # Errors
/// When it cannot be written.
pub fn write_text(path: &Path, text: &str) -> io::Result<()> {
    std::fs::write(path, text)
}

/// Writes a file that only its owner may read, durably. Never replaces one.
///
/// # Errors
/// When it is there already, or cannot be written.
pub fn write_secret(path: &Path, text: &str) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// Who may do what with a file: the lowest twelve bits.
///
/// # Errors
/// When it is not there.
pub fn mode(path: &Path) -> io::Result<u32> {
    use std::os::unix::fs::PermissionsExt as _;
    Ok(std::fs::metadata(path)?.permissions().mode() & 0o7777)
}

/// Sets who may do what with a file.
///
/// # Errors
/// When it is not ours.
pub fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
}

/// Writes a small file whole or not at all: who reads it meanwhile sees the old one.
///
/// # Errors
/// When it cannot be written.
pub fn replace_text(path: &Path, text: &str) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    let mut file = std::fs::File::create(&temporary)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)
}

/// Appends to a file that may grow to `bytes_max`; beyond it nothing is written.
///
/// # Errors
/// When it cannot be written.
pub fn append_text(path: &Path, text: &str, bytes_max: u64) -> io::Result<()> {
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path)?;
    if file.metadata()?.len() >= bytes_max {
        return Ok(());
    }
    file.write_all(text.as_bytes())
}

/// An empty file for a child's log.
///
/// # Errors
/// When it cannot be created.
pub fn create(path: &Path) -> io::Result<std::fs::File> {
    std::fs::File::create(path)
}

/// Makes a directory and its parents.
///
/// # Errors
/// When one cannot be made.
pub fn make_dir(path: &Path) -> io::Result<()> {
    std::fs::create_dir_all(path)
}

/// The names in a directory.
///
/// # Errors
/// When it cannot be listed.
pub fn list(dir: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// Removes a file; one that is not there is removed.
///
/// # Errors
/// When it stays.
pub fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}

/// A directory of one's own that is removed with everything in it when dropped.
#[derive(Debug)]
pub struct TempDir {
    path: PathBuf,
}

impl TempDir {
    /// Makes one in the system's temporary directory. `tag` is the process id, say.
    ///
    /// # Errors
    /// When it cannot be made, or is there already: what another process made is not ours.
    pub fn make(name: &str, tag: u64) -> io::Result<Self> {
        let path = std::env::temp_dir().join(format!("{name}-{tag:016x}"));
        std::fs::create_dir(&path)?;
        Ok(Self { path })
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "a temporary directory stays");
        }
    }
}
