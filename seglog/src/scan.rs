//! Walks the frames of one segment, and finds the next good one after damage.
//!
//! Recovery and readers share this walk, so they cannot disagree about what is there.
//!
//! # Invariants
//! - A frame counts only if checksum, segment and sequence hold, and it lies inside the file.
//! - After damage the walk goes on at the next frame that counts, if there is one.

use crate::disk::DiskFile;
use crate::format::{FRAME_BYTES, FRAME_HEAD, FrameHead, HEADER_BYTES, Header};
use crate::format::{frame_crc, frames_at_most};
use crate::window::Window;

#[derive(Debug)]
pub(crate) struct Scanner<F> {
    window: Window<F>,
    header: Header,
    at: u64,
    expected: u64,
}

/// What lies at the place the walk has reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Frame {
        offset: u64,
        head: FrameHead,
    },
    /// Bytes that are no frame, with a good frame behind them: that is corruption.
    Damage {
        offset: u64,
        bytes: u64,
        lost_from: u64,
        lost_before: u64,
    },
    /// Bytes that are no frame, and nothing good behind them.
    BadTail {
        offset: u64,
        bytes: u64,
        lost_from: u64,
    },
    End,
}

/// Where to start: a frame boundary and the sequence that belongs there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) seq: u64,
    pub(crate) offset: u64,
}

/// The mark of a segment's first frame.
pub(crate) fn start(header: &Header) -> Mark {
    Mark { seq: header.first_seq, offset: HEADER_BYTES }
}

impl<F: DiskFile> Scanner<F> {
    pub(crate) fn new(window: Window<F>, header: Header, from: Mark) -> Self {
        Self { window, header, at: from.offset, expected: from.seq }
    }

    /// The sequence after the last good frame met.
    pub(crate) fn expected(&self) -> u64 {
        self.expected
    }

    pub(crate) fn is_unreadable_from(&self, offset: u64) -> bool {
        self.window.is_unreadable_from(offset)
    }

    pub(crate) fn step(&mut self) -> Found {
        let (offset, end) = (self.at, self.window.end());
        if offset >= end {
            return Found::End;
        }
        if let Some(head) = self.frame_at(offset).filter(|head| head.seq == self.expected) {
            self.at += head.frame_bytes();
            self.expected += 1;
            return Found::Frame { offset, head };
        }
        let lost_from = self.expected;
        match self.resync(offset) {
            Some(next) => {
                (self.at, self.expected) = (next.offset, next.seq);
                let bytes = next.offset - offset;
                Found::Damage { offset, bytes, lost_from, lost_before: next.seq }
            }
            None => {
                self.at = end;
                Found::BadTail { offset, bytes: end - offset, lost_from }
            }
        }
    }

    /// The payload of a frame that [`Self::step`] found.
    pub(crate) fn payload(&mut self, offset: u64, head: &FrameHead) -> Vec<u8> {
        let length = u64::from(head.length);
        self.window.get(offset + FRAME_BYTES, length).unwrap_or_default().to_vec()
    }

    fn frame_at(&mut self, offset: u64) -> Option<FrameHead> {
        let head =
            FrameHead::decode(self.window.get(offset, FRAME_BYTES)?.first_chunk::<FRAME_HEAD>()?);
        let is_plausible = head.segment == self.header.segment
            && head.length <= self.header.record_bytes_max
            && head.synced < head.seq;
        if !is_plausible {
            return None;
        }
        let frame = self.window.get(offset, head.frame_bytes())?;
        (frame_crc(self.header.salt, frame) == head.crc).then_some(head)
    }

    /// The next good frame after the bad one at `bad_at`.
    fn resync(&mut self, bad_at: u64) -> Option<Mark> {
        self.behind_stated_length(bad_at).or_else(|| {
            (bad_at + 1..self.window.end().saturating_sub(FRAME_BYTES - 1))
                .find_map(|offset| self.later_frame_at(bad_at, offset))
        })
    }

    /// Most damage hits a payload and leaves the length true; then nothing inside the record
    /// is looked at, and a record that is full of frames cannot slow the search down.
    fn behind_stated_length(&mut self, bad_at: u64) -> Option<Mark> {
        let head = self.window.get(bad_at, FRAME_BYTES)?.first_chunk::<FRAME_HEAD>()?;
        let offset = bad_at + FrameHead::decode(head).frame_bytes();
        self.later_frame_at(bad_at, offset).filter(|mark| mark.seq == self.expected + 1)
    }

    /// A frame here counts if it is later than the bad one, and the bytes between could hold
    /// the frames that are missing between.
    fn later_frame_at(&mut self, bad_at: u64, offset: u64) -> Option<Mark> {
        let seq = self.frame_at(offset)?.seq;
        let seq_max = self.expected.saturating_add(frames_at_most(offset - bad_at));
        (self.expected..=seq_max).contains(&seq).then_some(Mark { seq, offset })
    }
}
