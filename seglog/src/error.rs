//! What can go wrong outside the log, one variant per operation.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::{RecordSeq, SegmentId};

#[derive(Debug, Error)]
pub enum LogError {
    #[error("cannot create directory {path}", path = path.display())]
    CreateDirectory { path: PathBuf, source: io::Error },
    #[error("cannot list directory {path}", path = path.display())]
    ListDirectory { path: PathBuf, source: io::Error },
    #[error("cannot sync directory {path}", path = path.display())]
    SyncDirectory { path: PathBuf, source: io::Error },
    #[error("cannot take lock file {path}", path = path.display())]
    Lock { path: PathBuf, source: io::Error },
    #[error("{path} is held: another process has this log open", path = path.display())]
    AlreadyOpen { path: PathBuf },

    #[error(
        "{path} has format version {found}, this program reads up to {supported}: upgrade it, \
         nothing was touched",
        path = path.display()
    )]
    NewerFormat { path: PathBuf, found: u32, supported: u32 },
    #[error("cannot open segment {path}", path = path.display())]
    OpenSegment { path: PathBuf, source: io::Error },
    #[error("cannot read segment {path}", path = path.display())]
    ReadSegment { path: PathBuf, source: io::Error },
    #[error("cannot create segment {path}", path = path.display())]
    CreateSegment { path: PathBuf, source: io::Error },
    #[error("cannot write frames to {path}", path = path.display())]
    WriteFrames { path: PathBuf, source: io::Error },
    #[error("cannot sync segment {path}", path = path.display())]
    SyncSegment { path: PathBuf, source: io::Error },
    #[error("cannot cut the tail of {path}", path = path.display())]
    CutTail { path: PathBuf, source: io::Error },
    #[error("cannot unlink segment {path}", path = path.display())]
    UnlinkSegment { path: PathBuf, source: io::Error },

    #[error("cannot read cursor {path}", path = path.display())]
    ReadCursor { path: PathBuf, source: io::Error },
    #[error("cannot write cursor {path}", path = path.display())]
    WriteCursor { path: PathBuf, source: io::Error },
    #[error("cannot sync cursor {path}", path = path.display())]
    SyncCursor { path: PathBuf, source: io::Error },

    #[error("record of {bytes} bytes is larger than the limit of {bytes_max}")]
    RecordTooLarge { bytes: usize, bytes_max: u32 },
    #[error("{bytes} bytes wait for a commit, the limit is {bytes_max}")]
    PendingFull { bytes: u64, bytes_max: u64 },
    #[error("cursor {asked} is ahead of what is durable ({durable})")]
    CursorAhead { asked: RecordSeq, durable: RecordSeq },

    /// Told by a [`crate::Reader`] once per gap; the records after it follow.
    #[error("records {first} to {last} are damaged or missing (looked in segment {segment})")]
    Lost { first: RecordSeq, last: RecordSeq, segment: SegmentId },
    #[error(
        "an fsync failed earlier: {path} takes no more writes until it is opened anew",
        path = path.display()
    )]
    Poisoned { path: PathBuf },
}

impl LogError {
    /// The disk is full: wait for space and try the same call again.
    #[must_use]
    pub fn is_storage_full(&self) -> bool {
        std::error::Error::source(self)
            .and_then(|source| source.downcast_ref::<io::Error>())
            .is_some_and(|e| {
                matches!(e.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
            })
    }
}
