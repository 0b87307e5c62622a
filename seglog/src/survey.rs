//! What is in one segment: read only, nothing is decided here.

use crate::disk::DiskFile;
use crate::format::{Decoded, HEADER_BYTES, Header};
use crate::scan::{self, Found, Mark, Scanner};
use crate::segment::Segment;
use crate::window::Window;

/// A segment as it was found.
#[derive(Debug)]
pub(crate) struct Survey {
    pub(crate) segment: Segment,
    pub(crate) records: u64,
    pub(crate) damage: Vec<Damage>,
    pub(crate) tail: Option<BadTail>,
}

/// Bytes that are no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Damage {
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
    pub(crate) lost_from: u64,
    pub(crate) lost_before: u64,
    /// A later frame says that the first of the lost ones had been fdatasynced.
    pub(crate) is_proven: bool,
}

/// Bytes that are no frame, with nothing good behind them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadTail {
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
    /// Some of it could not even be read, so it cannot be called torn.
    pub(crate) is_unreadable: bool,
}

/// Surveys a file, or says which newer version it has.
pub(crate) fn survey<F: DiskFile>(file: F, id: u64, bytes: u64) -> Result<Survey, u32> {
    let mut window = Window::new(file, bytes);
    let area = window.get(0, HEADER_BYTES.min(bytes)).unwrap_or_default();
    match Header::decode(area) {
        Decoded::Newer(version) => Err(version),
        Decoded::Valid(header) if header.segment == id && header.first_seq > 0 => {
            Ok(walk(window, header))
        }
        // A header of another segment is as good as none: the file is not where it belongs.
        Decoded::Valid(_) | Decoded::Damaged => Ok(Survey::headless(id, bytes)),
    }
}

impl Survey {
    /// A segment of which nothing can be believed.
    pub(crate) fn headless(id: u64, bytes: u64) -> Self {
        let marks = Vec::new();
        let segment = Segment { id, header: None, first_seq: 0, end_seq: 0, bytes, marks };
        let tail = BadTail { offset: 0, bytes, is_unreadable: true };
        Self { segment, records: 0, damage: Vec::new(), tail: Some(tail) }
    }
}

fn walk<F: DiskFile>(window: Window<F>, header: Header) -> Survey {
    let mut segment = Segment { bytes: window.end(), ..Segment::fresh(header) };
    let mut damage: Vec<Damage> = cut_header(&segment).into_iter().collect();
    let mut scanner = Scanner::new(window, header, scan::start(&header));
    let (mut records, mut tail) = (0, None);
    loop {
        match scanner.step() {
            Found::Frame { offset, head } => {
                records += 1;
                segment.mark(Mark { seq: head.seq, offset });
                for earlier in &mut damage {
                    earlier.is_proven |= head.synced >= earlier.lost_from;
                }
            }
            Found::Damage { offset, .. } if planted!(CorruptionAsTornTail) => {
                let bytes = segment.bytes.saturating_sub(offset);
                tail = Some(BadTail { offset, bytes, is_unreadable: false });
                segment.end_seq = segment.first_seq + records;
                return Survey { segment, records, damage, tail };
            }
            Found::Damage { offset, bytes, lost_from, lost_before } => {
                damage.push(Damage { offset, bytes, lost_from, lost_before, is_proven: false });
            }
            Found::BadTail { offset, bytes, .. } => {
                let is_unreadable = scanner.is_unreadable_from(offset);
                tail = Some(BadTail { offset, bytes, is_unreadable });
            }
            Found::End => break,
        }
    }
    segment.end_seq = scanner.expected();
    Survey { segment, records, damage, tail }
}

/// A file that ends within its header blocks: somebody cut it, since a segment gets its name when
/// both are durable. One block suffices to read it; what is written behind it would be lost.
fn cut_header(segment: &Segment) -> Option<Damage> {
    let Segment { bytes, first_seq, .. } = *segment;
    let (lost_from, lost_before) = (first_seq, first_seq);
    let damage = Damage { offset: 0, bytes, lost_from, lost_before, is_proven: false };
    (bytes < HEADER_BYTES).then_some(damage)
}
