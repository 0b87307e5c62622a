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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::disk::Disk;
    use crate::format::{push_frame, stamp};
    use crate::testing::ModelDisk;
    use crate::window::as_u64;

    const HEADER: Header = Header { record_bytes_max: 600, segment: 4, first_seq: 10, salt: 99 };

    fn frame(seq: u64, payload: &[u8], salt: u64) -> Vec<u8> {
        let mut frame = Vec::new();
        push_frame(&mut frame, seq, payload);
        stamp(&mut frame, &Header { salt, ..HEADER }, seq - 1);
        frame
    }

    /// What a walk over a segment with these frames finds: sequences, and bytes of damage.
    fn walk(frames: &[u8]) -> (Vec<u64>, Vec<u64>) {
        let (disk, path) = (ModelDisk::new(0), Path::new("/segment"));
        let file = [HEADER.encode(), frames.to_vec()].concat();
        disk.set_contents(path, &file);
        let window = Window::new(disk.open_read(path).unwrap(), as_u64(file.len()));
        let mut scanner = Scanner::new(window, HEADER, start(&HEADER));
        let (mut seqs, mut bad) = (Vec::new(), Vec::new());
        loop {
            match scanner.step() {
                Found::Frame { head, .. } => seqs.push(head.seq),
                Found::Damage { bytes, .. } | Found::BadTail { bytes, .. } => bad.push(bytes),
                Found::End => return (seqs, bad),
            }
        }
    }

    /// Goal: a record that carries a frame inside must not bring it to life by being damaged.
    #[test]
    fn a_forged_frame_inside_a_damaged_record_stays_dead() {
        let cases = [
            // (salt the forger used, byte that breaks, sequences found)
            ("length broken, salt unknown", 0, 4, vec![10, 12]),
            ("payload broken, salt unknown", 0, 40, vec![10, 12]),
            ("payload broken, salt known", 99, 40, vec![10, 12]),
            // Why strangers' records need a secret salt.
            ("length broken, salt known", 99, 4, vec![10, 11, 12]),
        ];
        for (name, salt, at, expected) in cases {
            let forged = [vec![b'x'; 20], frame(11, b"not mine", salt)].concat();
            let mut frames = frame(10, b"first", 99);
            let hit = frames.len() + at;
            frames.extend(frame(11, &forged, 99));
            frames.extend(frame(12, b"last", 99));
            frames[hit] ^= 1;
            assert_eq!(walk(&frames).0, expected, "{name}");
        }
    }

    #[test]
    fn a_frame_counts_only_in_its_turn() {
        let one = |seq| frame(seq, b"0123456789", 99);
        for (name, frames, seqs, bad) in [
            ("in order", vec![one(10), one(11)], vec![10, 11], vec![]),
            ("again", vec![one(10), one(10), one(11)], vec![10, 11], vec![42]),
            ("too early", vec![one(10), one(12), one(12)], vec![10, 12], vec![42]),
            ("far too late", vec![one(10), vec![0; 42], one(999)], vec![10], vec![84]),
            ("before the first", vec![one(9), one(10)], vec![10], vec![42]),
            ("larger than allowed", vec![frame(10, &[0; 601], 99)], vec![], vec![633]),
        ] {
            assert_eq!(walk(&frames.concat()), (seqs, bad), "{name}");
        }
    }
}
