//! The few bytes that this crate reads from files.
#![expect(clippy::disallowed_methods, reason = "this is the disk.rs that may touch files")]

use std::io::{self, Read as _};
use std::path::Path;

/// No certificate file is larger: a full chain has a few kilobytes.
const FILE_BYTES_MAX: u64 = 256 << 10;

/// A small file.
///
/// # Errors
/// When it cannot be read, or is larger than any file of certificates.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|count| count <= FILE_BYTES_MAX) {
        Ok(bytes)
    } else {
        Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than any file of certificates"))
    }
}

/// Whether other users of the machine may read it; `false` where nobody can tell.
#[must_use]
pub fn is_open_to_others(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).is_ok_and(|found| found.permissions().mode() & 0o007 != 0)
}
