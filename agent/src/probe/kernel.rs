//! Small files of the kernel and recorded traces: the only file access of the probes.
#![expect(clippy::disallowed_methods, reason = "sysfs and procfs are devices, read where they are")]

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Kernel files that we read hold one short line.
const LINE_BYTES_MAX: usize = 128;
/// A day at 1 Hz in the longest recorded format takes 30 MB.
const TRACE_BYTES_MAX: u64 = 64 << 20;

/// A kernel file with one number, kept open: each reading is one `pread`.
#[derive(Debug)]
pub(super) struct NumberFile(File);

impl NumberFile {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        File::open(path).map(Self)
    }

    /// The number as it is now; `None` if it cannot be read.
    pub(super) fn read(&self) -> Option<u64> {
        let mut line = [0_u8; LINE_BYTES_MAX];
        let bytes = self.0.read_at(&mut line, 0).ok()?;
        std::str::from_utf8(line.get(..bytes)?).ok()?.trim().parse().ok()
    }
}

/// The one line of a kernel file, trimmed.
pub(super) fn text(path: &Path) -> io::Result<String> {
    let mut line = String::new();
    File::open(path)?.take(LINE_BYTES_MAX as u64).read_to_string(&mut line)?;
    Ok(line.trim().to_owned())
}

/// The one number of a kernel file.
pub(super) fn number(path: &Path) -> Option<u64> {
    text(path).ok()?.parse().ok()
}

/// A whole recorded trace, bounded.
pub(super) fn trace(path: &Path) -> io::Result<String> {
    let file = File::open(path)?;
    if file.metadata()?.len() > TRACE_BYTES_MAX {
        let words = format!("larger than {} MiB", TRACE_BYTES_MAX >> 20);
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, words));
    }
    let mut trace = String::new();
    file.take(TRACE_BYTES_MAX).read_to_string(&mut trace)?;
    Ok(trace)
}
