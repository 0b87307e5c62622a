//! The cursor file: what may be forgotten, and what may already be gone.
//!
//! Written whole under a temporary name, synced, renamed, and the directory synced. A lost or
//! damaged cursor is no disaster: it reads as "nothing released", and records are sent again.

use std::path::Path;

use crate::disk::{Disk, DiskFile};
use crate::error::LogError;
use crate::format::{CURSOR_BYTES, CursorStated, Decoded, FORMAT_VERSION};
use crate::segment::{CURSOR_NAME, unfinished};
use crate::window::{Window, as_u64};

/// What a start finds where the cursor should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CursorFound {
    Intact(CursorStated),
    Absent,
    Damaged,
}

impl CursorFound {
    pub(crate) fn stated(self) -> CursorStated {
        match self {
            Self::Intact(stated) => stated,
            Self::Absent | Self::Damaged => CursorStated::default(),
        }
    }
}

pub(crate) fn load<D: Disk>(disk: &D, dir: &Path) -> Result<CursorFound, LogError> {
    let path = dir.join(CURSOR_NAME);
    let file = match disk.open_read(&path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(CursorFound::Absent),
        outcome => outcome.map_err(|source| LogError::ReadCursor { path: path.clone(), source })?,
    };
    // A failed read shows as zeros, and those do not check.
    let mut window = Window::new(file, as_u64(CURSOR_BYTES));
    let bytes = window.get(0, as_u64(CURSOR_BYTES)).unwrap_or_default();
    match CursorStated::decode(bytes) {
        Decoded::Valid(stated) => Ok(CursorFound::Intact(stated)),
        Decoded::Damaged => Ok(CursorFound::Damaged),
        Decoded::Newer(found) => {
            Err(LogError::NewerFormat { path, found, supported: FORMAT_VERSION })
        }
    }
}

pub(crate) fn persist<D: Disk>(
    disk: &D,
    dir: &Path,
    stated: &CursorStated,
) -> Result<(), LogError> {
    let path = dir.join(CURSOR_NAME);
    let temporary = unfinished(&path);
    let failed = |source| LogError::WriteCursor { path: path.clone(), source };
    let file = disk.create(&temporary).map_err(failed)?;
    file.write_at(0, &stated.encode()).map_err(failed)?;
    file.sync().map_err(|source| LogError::SyncCursor { path: path.clone(), source })?;
    disk.rename(&temporary, &path).map_err(failed)?;
    disk.sync_dir(dir).map_err(|source| LogError::SyncDirectory { path: dir.to_owned(), source })
}
