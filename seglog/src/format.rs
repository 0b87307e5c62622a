//! The bytes of segments, frames and the cursor. Append only: `docs/formats/seglog.md` and the
//! golden files under `tests/golden/seglog` hold them fixed.
//!
//! # Layout
//! ```text
//! segment   block 0 (512)   block 1 (512, equal)   frame  frame  frame ...
//! block     magic 8 · version 4 · record_bytes_max 4 · segment 8 · first_seq 8 · salt 8 ·
//!           crc 4
//! frame     crc 4 · length 4 · segment 8 · seq 8 · synced 8 · payload
//! cursor    magic 8 · version 4 · zero 4 · cursor 8 · floor 8 · newest_segment 8 · crc 4
//! ```
//! All numbers are little-endian. A frame's checksum covers the segment's salt and every byte
//! of the frame behind the checksum.

use crate::window::as_u64;

/// Of segments and cursor alike.
pub const FORMAT_VERSION: u32 = 1;
/// Where the first frame of a segment starts.
pub const HEADER_BYTES: u64 = 2 * BLOCK_BYTES as u64;
/// What a frame adds to its payload.
pub const FRAME_BYTES: u64 = FRAME_HEAD as u64;

pub(crate) const FRAME_HEAD: usize = 32;
pub(crate) const CURSOR_BYTES: usize = STATED_BYTES + 4;

const SEGMENT_MAGIC: [u8; 8] = *b"BIJLISEG";
const CURSOR_MAGIC: [u8; 8] = *b"BIJLICUR";
const BLOCK_BYTES: usize = 512;
/// What the checksum of a block or cursor covers. Every later version keeps magic, version and
/// checksum at these places, so that "newer" and "damaged" can be told apart.
const STATED_BYTES: usize = 40;

/// What the header of a segment states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) record_bytes_max: u32,
    pub(crate) segment: u64,
    pub(crate) first_seq: u64,
    pub(crate) salt: u64,
}

/// What the cursor file states.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CursorStated {
    /// Everything through here may be forgotten.
    pub(crate) cursor: u64,
    /// Records before this one may have been unlinked.
    pub(crate) floor: u64,
    /// The newest segment when this was written.
    pub(crate) newest_segment: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decoded<T> {
    Valid(T),
    /// Intact, and of a version this program does not know.
    Newer(u32),
    Damaged,
}

impl Header {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut block = Vec::with_capacity(2 * BLOCK_BYTES);
        block.extend_from_slice(&SEGMENT_MAGIC);
        block.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        block.extend_from_slice(&self.record_bytes_max.to_le_bytes());
        block.extend_from_slice(&self.segment.to_le_bytes());
        block.extend_from_slice(&self.first_seq.to_le_bytes());
        block.extend_from_slice(&self.salt.to_le_bytes());
        block.extend_from_slice(&crc32c::crc32c(&block).to_le_bytes());
        block.resize(BLOCK_BYTES, 0);
        block.extend_from_within(..);
        block
    }

    /// The header is written twice, so that one lost sector does not cost a segment.
    pub(crate) fn decode(area: &[u8]) -> Decoded<Self> {
        let mut best = Decoded::Damaged;
        for block in area.chunks(BLOCK_BYTES).take(2) {
            best = match (best, Self::decode_block(block)) {
                (Decoded::Damaged, verdict) => verdict,
                (verdict, _) => verdict,
            };
        }
        best
    }

    fn decode_block(block: &[u8]) -> Decoded<Self> {
        let Some(version) = intact_version(block, SEGMENT_MAGIC) else { return Decoded::Damaged };
        if version > FORMAT_VERSION {
            return Decoded::Newer(version);
        }
        Decoded::Valid(Self {
            record_bytes_max: u32_at(block, 12),
            segment: u64_at(block, 16),
            first_seq: u64_at(block, 24),
            salt: u64_at(block, 32),
        })
    }
}

impl CursorStated {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(CURSOR_BYTES);
        bytes.extend_from_slice(&CURSOR_MAGIC);
        bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes.extend_from_slice(&0_u32.to_le_bytes());
        bytes.extend_from_slice(&self.cursor.to_le_bytes());
        bytes.extend_from_slice(&self.floor.to_le_bytes());
        bytes.extend_from_slice(&self.newest_segment.to_le_bytes());
        bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Decoded<Self> {
        match intact_version(bytes, CURSOR_MAGIC) {
            None => Decoded::Damaged,
            Some(version) if version > FORMAT_VERSION => Decoded::Newer(version),
            Some(_) => Decoded::Valid(Self {
                cursor: u64_at(bytes, 16),
                floor: u64_at(bytes, 24),
                newest_segment: u64_at(bytes, 32),
            }),
        }
    }
}

/// The version, if magic and checksum hold.
fn intact_version(bytes: &[u8], magic: [u8; 8]) -> Option<u32> {
    let (stated, rest) = bytes.split_at_checked(STATED_BYTES)?;
    let is_intact = stated.starts_with(&magic)
        && rest.len() >= 4
        && crc32c::crc32c(stated) == u32_at(rest, 0)
        && u32_at(stated, 8) > 0;
    is_intact.then(|| u32_at(stated, 8))
}

/// The fixed part of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHead {
    pub(crate) crc: u32,
    pub(crate) length: u32,
    pub(crate) segment: u64,
    pub(crate) seq: u64,
    /// Everything through here had been fdatasynced when this frame was written.
    pub(crate) synced: u64,
}

impl FrameHead {
    pub(crate) fn decode(head: &[u8; FRAME_HEAD]) -> Self {
        Self {
            crc: u32_at(head, 0),
            length: u32_at(head, 4),
            segment: u64_at(head, 8),
            seq: u64_at(head, 16),
            synced: u64_at(head, 24),
        }
    }

    /// Of the whole frame, head included.
    pub(crate) fn frame_bytes(&self) -> u64 {
        FRAME_BYTES + u64::from(self.length)
    }
}

/// Adds a frame whose segment is not known yet; [`stamp`] completes it.
pub(crate) fn push_frame(frames: &mut Vec<u8>, seq: u64, payload: &[u8]) {
    let length = u32::try_from(payload.len()).expect("append checked the length");
    frames.extend_from_slice(&[0; 4]);
    frames.extend_from_slice(&length.to_le_bytes());
    frames.extend_from_slice(&[0; 8]);
    frames.extend_from_slice(&seq.to_le_bytes());
    frames.extend_from_slice(&[0; 8]);
    frames.extend_from_slice(payload);
}

/// Completes one frame for its segment: the id, what is synced so far, the checksum.
pub(crate) fn stamp(frame: &mut [u8], header: &Header, synced: u64) {
    put(frame, 8, &header.segment.to_le_bytes());
    put(frame, 24, &synced.to_le_bytes());
    let crc = frame_crc(header.salt, frame);
    put(frame, 0, &crc.to_le_bytes());
}

/// What the checksum of this whole frame must be.
pub(crate) fn frame_crc(salt: u64, frame: &[u8]) -> u32 {
    let covered = frame.get(4..).unwrap_or_default();
    crc32c::crc32c_append(crc32c::crc32c(&salt.to_le_bytes()), covered)
}

/// The frames of a buffer that [`push_frame`] filled, as ends: how many bytes through each.
pub(crate) fn frame_ends(frames: &[u8]) -> impl Iterator<Item = usize> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let head = frames.get(at..)?.first_chunk::<FRAME_HEAD>()?;
        at += FRAME_HEAD + usize::try_from(FrameHead::decode(head).length).ok()?;
        Some(at)
    })
}

/// How many frames these bytes could hold at most.
pub(crate) fn frames_at_most(bytes: u64) -> u64 {
    bytes.div_ceil(as_u64(FRAME_HEAD))
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes.get_mut(at..at + value.len()).expect("a frame holds its head").copy_from_slice(value);
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let field = bytes.get(at..).and_then(|rest| rest.first_chunk());
    u32::from_le_bytes(*field.expect("callers check the length"))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let field = bytes.get(at..).and_then(|rest| rest.first_chunk());
    u64::from_le_bytes(*field.expect("callers check the length"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: Header =
        Header { record_bytes_max: 100, segment: 3, first_seq: 17, salt: 0xABCD };

    #[test]
    fn a_header_survives_the_loss_of_either_block() {
        let whole = HEADER.encode();
        for lost in [0..512, 512..1024] {
            let mut area = whole.clone();
            area[lost].fill(0xFF);
            assert_eq!(Header::decode(&area), Decoded::Valid(HEADER));
        }
        assert_eq!(Header::decode(&[0; 1024]), Decoded::Damaged);
        assert_eq!(Header::decode(&[]), Decoded::Damaged);
    }

    #[test]
    fn a_flipped_version_is_damage_and_a_true_one_is_newer() {
        let mut area = HEADER.encode();
        area.truncate(512);
        area[8] = 2;
        assert_eq!(Header::decode(&area), Decoded::Damaged);
        let crc = crc32c::crc32c(&area[..40]);
        area[40..44].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(Header::decode(&area), Decoded::Newer(2));
    }

    #[test]
    fn a_frame_belongs_to_its_segment_salt_and_sequence() {
        let mut frame = Vec::new();
        push_frame(&mut frame, 17, b"joule");
        stamp(&mut frame, &HEADER, 16);
        let head = FrameHead::decode(frame.first_chunk().unwrap());
        assert_eq!((head.seq, head.synced, head.segment, head.length), (17, 16, 3, 5));
        assert_eq!(head.crc, frame_crc(HEADER.salt, &frame));
        assert_ne!(head.crc, frame_crc(HEADER.salt + 1, &frame));
        assert_eq!(frame_ends(&frame).collect::<Vec<_>>(), [37]);
    }

    #[test]
    fn a_cursor_reads_back_and_any_flip_is_noticed() {
        let stated = CursorStated { cursor: 9, floor: 4, newest_segment: 2 };
        let bytes = stated.encode();
        assert_eq!(CursorStated::decode(&bytes), Decoded::Valid(stated));
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            assert_eq!(CursorStated::decode(&flipped), Decoded::Damaged, "byte {at}");
        }
    }
}
