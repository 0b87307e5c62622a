//! The records of the spool, byte by byte. Append only; `docs/formats/spool.md` describes them,
//! `tests/golden/spool/v1` pins them.
//!
//! # Layout
//! ```text
//! schema   1 · schema id 32 · body
//! batch    2 · epoch 16 · sequence 8 · created 8 · schema id 32 · body
//! gap      3 · (as batch)            fills a sequence whose batch will never be accepted
//! thinned  4 · (head as batch) · last 8 · first 8 · since 8 · until 8 · body
//! ```
//! Numbers are little-endian. A body is exactly what goes to the collector; it was encoded once
//! and its hash never changes. What stands before it is there so that sending and starting need
//! not decompress it.

use bijli_seglog::RecordSeq;
use bijli_wire::{BatchSeq, SchemaId, SpoolEpoch, UtcMillis};

const SCHEMA: u8 = 1;
const BATCH: u8 = 2;
const GAP: u8 = 3;
const THINNED: u8 = 4;
/// What stands before the body of a batch.
const BATCH_HEAD_BYTES: usize = 1 + 16 + 8 + 8 + 32;
/// What the longest head adds to a body.
pub(crate) const HEAD_BYTES_MAX: usize = BATCH_HEAD_BYTES + 4 * 8;

/// What stands before a batch's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) epoch: SpoolEpoch,
    pub(crate) sequence: BatchSeq,
    /// The agent's clock when the batch was made.
    pub(crate) created: UtcMillis,
    pub(crate) schema: SchemaId,
}

/// What a thinned batch replaces. Several that were made together are a set: they carry the
/// sequences up to `last`, and are in force once the record of `last` is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stands {
    /// The newest sequence that the set stands for.
    pub(crate) last: BatchSeq,
    /// The eldest sequence that this one stands for.
    pub(crate) first: BatchSeq,
    /// When that one was made.
    pub(crate) since: UtcMillis,
    /// Records through this one hold nothing that is still wanted.
    pub(crate) until: RecordSeq,
}

/// A record as it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Record<'a> {
    Schema { id: SchemaId, body: &'a [u8] },
    Batch { head: Head, body: &'a [u8] },
    Gap { head: Head, body: &'a [u8] },
    Thinned { head: Head, stands: Stands, body: &'a [u8] },
}

impl<'a> Record<'a> {
    pub(crate) fn encode(&self) -> Vec<u8> {
        match self {
            Self::Schema { id, body } => [&[SCHEMA], id.as_bytes().as_slice(), *body].concat(),
            Self::Batch { head, body } => head.encode(BATCH, body),
            Self::Gap { head, body } => head.encode(GAP, body),
            Self::Thinned { head, stands, body } => {
                head.encode(THINNED, &[&stands.encode(), *body].concat())
            }
        }
    }

    /// `None`: a kind of a later version, or too short to be one of ours.
    pub(crate) fn decode(payload: &'a [u8]) -> Option<Self> {
        let (kind, rest) = payload.split_first()?;
        match *kind {
            SCHEMA => {
                let (id, body) = rest.split_at_checked(32)?;
                Some(Self::Schema { id: SchemaId::from_slice(id)?, body })
            }
            BATCH => Head::decode(rest).map(|(head, body)| Self::Batch { head, body }),
            GAP => Head::decode(rest).map(|(head, body)| Self::Gap { head, body }),
            THINNED => {
                let (head, rest) = Head::decode(rest)?;
                let (stands, body) = Stands::decode(rest)?;
                Some(Self::Thinned { head, stands, body })
            }
            _ => None,
        }
    }
}

impl Head {
    fn encode(&self, kind: u8, body: &[u8]) -> Vec<u8> {
        let mut record = Vec::with_capacity(BATCH_HEAD_BYTES + body.len());
        record.push(kind);
        record.extend_from_slice(self.epoch.as_bytes());
        record.extend_from_slice(&self.sequence.get().to_le_bytes());
        record.extend_from_slice(&self.created.get().to_le_bytes());
        record.extend_from_slice(self.schema.as_bytes());
        record.extend_from_slice(body);
        record
    }

    fn decode(rest: &[u8]) -> Option<(Self, &[u8])> {
        let (epoch, rest) = rest.split_at_checked(16)?;
        let (sequence, rest) = rest.split_first_chunk::<8>()?;
        let (created, rest) = rest.split_first_chunk::<8>()?;
        let (schema, body) = rest.split_at_checked(32)?;
        let head = Self {
            epoch: SpoolEpoch::from_slice(epoch)?,
            sequence: BatchSeq::new(u64::from_le_bytes(*sequence))?,
            created: UtcMillis::new(i64::from_le_bytes(*created)),
            schema: SchemaId::from_slice(schema)?,
        };
        Some((head, body))
    }
}

impl Stands {
    fn encode(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        let words = [
            self.last.get().to_le_bytes(),
            self.first.get().to_le_bytes(),
            self.since.get().to_le_bytes(),
            self.until.get().to_le_bytes(),
        ];
        for (place, word) in bytes.chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word);
        }
        bytes
    }

    fn decode(rest: &[u8]) -> Option<(Self, &[u8])> {
        let (last, rest) = rest.split_first_chunk::<8>()?;
        let (first, rest) = rest.split_first_chunk::<8>()?;
        let (since, rest) = rest.split_first_chunk::<8>()?;
        let (until, body) = rest.split_first_chunk::<8>()?;
        let stands = Self {
            last: BatchSeq::new(u64::from_le_bytes(*last))?,
            first: BatchSeq::new(u64::from_le_bytes(*first))?,
            since: UtcMillis::new(i64::from_le_bytes(*since)),
            until: RecordSeq::new(u64::from_le_bytes(*until)),
        };
        Some((stands, body))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_read_back_and_short_ones_are_refused() {
        let head = Head {
            epoch: SpoolEpoch::new([5; 16]),
            sequence: BatchSeq::new(258).unwrap(),
            created: UtcMillis::new(-2),
            schema: SchemaId::new([6; 32]),
        };
        let body = b"body".as_slice();
        let stands = Stands {
            last: BatchSeq::new(9).unwrap(),
            first: BatchSeq::new(2).unwrap(),
            since: UtcMillis::new(-3),
            until: RecordSeq::new(77),
        };
        for record in [
            Record::Thinned { head, stands, body },
            Record::Schema { id: SchemaId::new([9; 32]), body },
            Record::Batch { head, body },
            Record::Gap { head, body },
        ] {
            let bytes = record.encode();
            assert_eq!(Record::decode(&bytes), Some(record));
            assert_eq!(Record::decode(&bytes[..20]), None);
        }
        assert_eq!(Record::decode(&[]), None);
        assert_eq!(Record::decode(&[99; 100]), None);
    }

    #[test]
    fn the_layout_is_pinned() {
        let head = Head {
            epoch: SpoolEpoch::new([0xE0; 16]),
            sequence: BatchSeq::new(1).unwrap(),
            created: UtcMillis::new(2),
            schema: SchemaId::new([0x5C; 32]),
        };
        let bytes = Record::Batch { head, body: &[0xB0] }.encode();
        let mut expected = vec![2];
        expected.extend([0xE0; 16]);
        expected.extend([1, 0, 0, 0, 0, 0, 0, 0]);
        expected.extend([2, 0, 0, 0, 0, 0, 0, 0]);
        expected.extend([0x5C; 32]);
        expected.push(0xB0);
        assert_eq!(bytes, expected);
        assert_eq!(bytes.len(), BATCH_HEAD_BYTES + 1);
        let stands = Stands {
            last: BatchSeq::new(3).unwrap(),
            first: BatchSeq::new(4).unwrap(),
            since: UtcMillis::new(5),
            until: RecordSeq::new(6),
        };
        let bytes = Record::Thinned { head, stands, body: &[0xB0] }.encode();
        expected[0] = 4;
        let words = [3_u64, 4, 5, 6].map(u64::to_le_bytes).concat();
        expected.splice(BATCH_HEAD_BYTES..BATCH_HEAD_BYTES, words);
        assert_eq!(bytes, expected);
        assert_eq!(bytes.len(), HEAD_BYTES_MAX + 1);
    }
}
