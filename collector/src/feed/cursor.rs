//! How far a feed is, in a small file that is replaced whole.

use std::io;
use std::path::{Path, PathBuf};

use bijli_seglog::RecordSeq;

use crate::disk;

/// The file, and the next record that the store has not taken.
#[derive(Debug)]
pub(super) struct Cursor {
    path: PathBuf,
    next: RecordSeq,
}

impl Cursor {
    /// Where nothing is kept, or nothing that can be read, it begins with the first record: a
    /// store that is told again has no point more.
    pub(super) fn open(dir: &Path) -> Self {
        let path = dir.join("cursor");
        let text = disk::read_text(&path).ok();
        let next = text.as_deref().and_then(|text| text.trim().parse().ok()).map(RecordSeq::new);
        if text.is_some() && next.is_none() {
            tracing::warn!(path = %path.display(), "no cursor: the feed begins anew");
        }
        Self { path, next: next.unwrap_or(RecordSeq::FIRST) }
    }

    pub(super) const fn next(&self) -> RecordSeq {
        self.next
    }

    /// # Errors
    /// When it cannot be written; then a start sends some readings again.
    pub(super) fn advance(&mut self, next: RecordSeq) -> io::Result<()> {
        self.next = next;
        disk::replace_text(&self.path, &format!("{next}\n"))
    }
}
