//! A bounded view into a file, for scanning it without holding it in memory.
//!
//! Bytes that cannot be read show as zeros and are remembered as unreadable: a bad sector then
//! costs the frames it touches, like any other damage, instead of the whole log.

use crate::disk::DiskFile;

/// What is read at once.
const CHUNK_BYTES: u64 = 128 << 10;
/// The smallest piece that is given up on: one sector of a modern drive.
const SECTOR_BYTES: usize = 4096;

#[derive(Debug)]
pub(crate) struct Window<F> {
    file: F,
    /// Bytes of the file that count.
    end: u64,
    start: u64,
    buffer: Vec<u8>,
    /// Where reading failed, in the order met.
    unreadable: Vec<(u64, u64)>,
}

impl<F: DiskFile> Window<F> {
    pub(crate) fn new(file: F, end: u64) -> Self {
        Self { file, end, start: 0, buffer: Vec::new(), unreadable: Vec::new() }
    }

    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// These bytes, or nothing if the file ends before.
    pub(crate) fn get(&mut self, offset: u64, len: u64) -> Option<&[u8]> {
        if offset.checked_add(len)? > self.end {
            return None;
        }
        if offset < self.start || offset + len > self.start + as_u64(self.buffer.len()) {
            self.fill(offset, len);
        }
        let from = as_usize(offset - self.start);
        self.buffer.get(from..from + as_usize(len))
    }

    /// Whether reading failed anywhere at or after `offset`.
    pub(crate) fn is_unreadable_from(&self, offset: u64) -> bool {
        self.unreadable.iter().any(|(_, end)| *end > offset)
    }

    fn fill(&mut self, offset: u64, len: u64) {
        let wanted = len.max(CHUNK_BYTES).min(self.end - offset);
        self.start = offset;
        self.buffer.clear();
        self.buffer.resize(as_usize(wanted), 0);
        let mut buffer = std::mem::take(&mut self.buffer);
        if !self.read_exact(offset, &mut buffer) {
            let mut at = offset;
            for piece in buffer.chunks_mut(SECTOR_BYTES) {
                if !self.read_exact(at, piece) {
                    piece.fill(0);
                    self.unreadable.push((at, at + as_u64(piece.len())));
                }
                at += as_u64(piece.len());
            }
        }
        self.buffer = buffer;
    }

    fn read_exact(&self, mut offset: u64, mut into: &mut [u8]) -> bool {
        while !into.is_empty() {
            match self.file.read_at(offset, into) {
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) | Ok(0) => return false,
                Ok(count) => {
                    offset += as_u64(count);
                    into = into.get_mut(count..).unwrap_or_default();
                }
            }
        }
        true
    }
}

pub(crate) fn as_u64(count: usize) -> u64 {
    u64::try_from(count).expect("usize is at most 64 bits")
}

/// For sizes bounded by a window or a record.
pub(crate) fn as_usize(count: u64) -> usize {
    usize::try_from(count).expect("what is held in memory fits usize")
}
