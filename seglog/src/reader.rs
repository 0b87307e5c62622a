//! Reads durable records in order, across segments, and checks every one again.
//!
//! A reader holds one record and one window of a file, and it sees what was durable when it was
//! made. It is independent of its log: it may live in another thread while the log goes on.

use std::collections::VecDeque;
use std::iter::FusedIterator;
use std::path::PathBuf;

use crate::RecordSeq;
use crate::disk::Disk;
use crate::error::LogError;
use crate::format::{FrameHead, Header};
use crate::scan::{Found, Mark, Scanner};
use crate::segment::{SegmentId, segment_path};
use crate::window::Window;

/// An iterator over records. Where records are damaged or missing it says so once, with
/// [`LogError::Lost`], and goes on with the next good one: nothing is skipped silently.
pub struct Reader<D: Disk> {
    disk: D,
    dir: PathBuf,
    chapters: VecDeque<Chapter>,
    current: Option<Scanner<D::File>>,
    segment: u64,
    /// The record to be told next.
    expected: u64,
    /// The last record that was durable when this reader was made.
    last: u64,
    /// A good record that waits until the gap before it has been told.
    held: Option<(u64, Vec<u8>)>,
}

/// A segment to read: where to start and how far it counts.
#[derive(Debug)]
pub(crate) struct Chapter {
    pub(crate) header: Header,
    pub(crate) from: Mark,
    pub(crate) end_seq: u64,
    pub(crate) bytes: u64,
}

/// Which records a reader tells, both included.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) from: u64,
    pub(crate) through: u64,
}

impl<D: Disk> Reader<D> {
    pub(crate) fn new(disk: D, dir: PathBuf, chapters: VecDeque<Chapter>, span: Span) -> Self {
        let segment = chapters.front().map_or(0, |chapter| chapter.header.segment);
        let (expected, last) = (span.from, span.through);
        Self { disk, dir, chapters, current: None, segment, expected, last, held: None }
    }

    /// The next good record from here on, as far as the chapters go.
    fn find(&mut self) -> Result<Option<(u64, Vec<u8>)>, LogError> {
        loop {
            let Some(scanner) = &mut self.current else {
                if !self.open_next()? {
                    return Ok(None);
                }
                continue;
            };
            match scanner.step() {
                Found::Frame { offset, head } if self.is_wanted(&head) => {
                    let scanner = self.current.as_mut().expect("it is being stepped");
                    return Ok(Some((head.seq, scanner.payload(offset, &head))));
                }
                Found::Frame { .. } | Found::Damage { .. } | Found::BadTail { .. } => {}
                Found::End => self.current = None,
            }
        }
    }

    fn is_wanted(&self, head: &FrameHead) -> bool {
        (self.expected..=self.last).contains(&head.seq)
    }

    fn open_next(&mut self) -> Result<bool, LogError> {
        let Some(chapter) = self.chapters.pop_front() else { return Ok(false) };
        self.segment = chapter.header.segment;
        let path = segment_path(&self.dir, self.segment);
        let file = self.disk.open_read(&path).map_err(|source| {
            // The error speaks for these records, so they are not told as lost as well.
            self.expected = self.expected.max(chapter.end_seq);
            LogError::OpenSegment { path, source }
        })?;
        let window = Window::new(file, chapter.bytes);
        self.current = Some(Scanner::new(window, chapter.header, chapter.from));
        Ok(true)
    }

    fn tell_lost(&mut self, before: u64) -> LogError {
        let first = RecordSeq::new(self.expected);
        self.expected = before;
        let last = RecordSeq::new(before - 1);
        LogError::Lost { first, last, segment: SegmentId(self.segment) }
    }
}

impl<D: Disk> Iterator for Reader<D> {
    type Item = Result<(RecordSeq, Vec<u8>), LogError>;

    fn next(&mut self) -> Option<Self::Item> {
        let found = match self.held.take() {
            Some(held) => Some(held),
            None => match self.find() {
                Ok(found) => found,
                Err(e) => return Some(Err(e)),
            },
        };
        match found {
            Some((seq, payload)) if seq > self.expected => {
                self.held = Some((seq, payload));
                Some(Err(self.tell_lost(seq)))
            }
            Some((seq, payload)) => {
                self.expected = seq + 1;
                Some(Ok((RecordSeq::new(seq), payload)))
            }
            None if self.expected <= self.last => Some(Err(self.tell_lost(self.last + 1))),
            None => None,
        }
    }
}

impl<D: Disk> FusedIterator for Reader<D> {}

impl<D: Disk> std::fmt::Debug for Reader<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader")
            .field("dir", &self.dir)
            .field("expected", &self.expected)
            .field("last", &self.last)
            .finish_non_exhaustive()
    }
}
