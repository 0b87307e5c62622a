//! The files of a log: how they are named, how one is born, what is known of each in memory.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::RecordSeq;
use crate::disk::{Disk, DiskFile};
use crate::error::LogError;
use crate::format::{HEADER_BYTES, Header};
use crate::scan::{self, Mark};

pub(crate) const LOCK_NAME: &str = "lock";
pub(crate) const CURSOR_NAME: &str = "cursor";
pub(crate) const QUARANTINE_NAME: &str = "quarantine";
/// What ends so is unfinished and means nothing.
pub(crate) const UNFINISHED_SUFFIX: &str = ".tmp";
const SEGMENT_SUFFIX: &str = ".seg";
const ID_DIGITS: usize = 20;

/// One mark each so many bytes, so that a reader finds its place without reading a whole
/// segment: 16 bytes of memory for 256 KiB of disk.
const MARK_STRIDE_BYTES: u64 = 256 << 10;

/// The number of a segment: from 1, rising by one, never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentId(pub(crate) u64);

impl SegmentId {
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A segment that is never written again: its bytes may be hashed, copied, kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedSegment {
    pub id: SegmentId,
    pub path: PathBuf,
    pub bytes: u64,
    /// The records it was made for; damage may have taken some.
    pub first: RecordSeq,
    /// Before `first` if the segment is empty.
    pub last: RecordSeq,
}

/// What is known of a segment on disk.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub(crate) id: u64,
    /// Without one nothing in the segment can be read.
    pub(crate) header: Option<Header>,
    pub(crate) first_seq: u64,
    /// No record of this segment has this sequence or a later one.
    pub(crate) end_seq: u64,
    /// For the active segment: durable bytes.
    pub(crate) bytes: u64,
    /// Frame boundaries, rising.
    pub(crate) marks: Vec<Mark>,
}

impl Segment {
    pub(crate) fn fresh(header: Header) -> Self {
        Self {
            id: header.segment,
            header: Some(header),
            first_seq: header.first_seq,
            end_seq: header.first_seq,
            bytes: HEADER_BYTES,
            marks: vec![scan::start(&header)],
        }
    }

    /// Remembers a frame boundary if the last remembered one is far behind.
    pub(crate) fn mark(&mut self, mark: Mark) {
        if self.marks.last().is_none_or(|last| mark.offset >= last.offset + MARK_STRIDE_BYTES) {
            self.marks.push(mark);
        }
    }

    /// The nearest remembered place at or before a record.
    pub(crate) fn mark_before(&self, seq: u64) -> Option<Mark> {
        let count = self.marks.partition_point(|mark| mark.seq <= seq);
        self.marks.get(count.saturating_sub(1)).copied()
    }

    pub(crate) fn sealed(&self, dir: &Path) -> SealedSegment {
        SealedSegment {
            id: SegmentId(self.id),
            path: segment_path(dir, self.id),
            bytes: self.bytes,
            first: RecordSeq::new(self.first_seq),
            last: RecordSeq::new(self.end_seq.saturating_sub(1)),
        }
    }
}

pub(crate) fn segment_path(dir: &Path, id: u64) -> PathBuf {
    dir.join(format!("{id:0ID_DIGITS$}{SEGMENT_SUFFIX}"))
}

/// The id, if this is the name of a segment.
pub(crate) fn segment_id(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(SEGMENT_SUFFIX)?;
    let is_ours = digits.len() == ID_DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| is_ours)
}

pub(crate) fn unfinished(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(UNFINISHED_SUFFIX);
    PathBuf::from(name)
}

/// Makes an empty segment under a temporary name and gives it its own only when it is whole,
/// so that no cut can leave a segment without a header.
pub(crate) fn create_segment<D: Disk>(
    disk: &D,
    dir: &Path,
    header: &Header,
) -> Result<D::File, LogError> {
    let path = segment_path(dir, header.segment);
    let temporary = unfinished(&path);
    let failed = |source| LogError::CreateSegment { path: path.clone(), source };
    let file = disk.create(&temporary).map_err(failed)?;
    file.write_at(0, &header.encode()).map_err(failed)?;
    file.sync().map_err(|source| LogError::SyncSegment { path: path.clone(), source })?;
    disk.rename(&temporary, &path).map_err(failed)?;
    disk.sync_dir(dir)
        .map_err(|source| LogError::SyncDirectory { path: dir.to_owned(), source })?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_names_are_segments() {
        assert_eq!(segment_path(Path::new("d"), 7), Path::new("d/00000000000000000007.seg"));
        for (name, id) in [
            ("00000000000000000007.seg", Some(7)),
            ("18446744073709551615.seg", Some(u64::MAX)),
            ("99999999999999999999.seg", None),
            ("0000000000000000007.seg", None),
            ("+0000000000000000007.seg", None),
            ("00000000000000000007.seg.tmp", None),
            ("cursor", None),
        ] {
            assert_eq!(segment_id(name), id, "{name}");
        }
    }

    #[test]
    fn a_mark_is_kept_each_stride_and_found_again() {
        let header = Header { record_bytes_max: 1, segment: 1, first_seq: 10, salt: 0 };
        let mut segment = Segment::fresh(header);
        for step in 1..=8 {
            segment.mark(Mark { seq: 10 + step, offset: 1024 + step * (MARK_STRIDE_BYTES / 2) });
        }
        assert_eq!(
            segment.marks.iter().map(|mark| mark.seq).collect::<Vec<_>>(),
            [10, 12, 14, 16, 18]
        );
        for (seq, at) in [(10, 10), (11, 10), (12, 12), (17, 16), (99, 18)] {
            assert_eq!(segment.mark_before(seq).unwrap().seq, at);
        }
    }
}
