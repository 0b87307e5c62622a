//! What one record of the journal holds: a kind, the receive time, and the fact as it came.
//!
//! # Layout
//! | bytes | field |
//! | --- | --- |
//! | 1 | kind (below; append only) |
//! | 8 | receive time, milliseconds since 1970 UTC, `i64` little endian |
//! | rest | by kind |
//!
//! 1 schema and 2 batch: the body exactly as received. 3 allocation put and 4 allocation end:
//! JSON. 5 diagram: effective from (`i64` little endian), length of the hub id (1 byte), hub id,
//! canonical TOML. 6 tick: nothing. 7 rules: interval, close-after and keep in milliseconds (`u64`
//! little endian each); the first record of every journal. 8 floor: spool epoch (16 bytes), first
//! sequence that may still come (`u64` little endian), length of the hub id (1 byte), hub id, node
//! id. 9 corrected batch: what was added to its times (milliseconds, `i64` little endian), then the
//! body exactly as received. 10 incident: hub id, node id and error code (each its length in 1
//! byte, then its bytes), then words. 11 snapshot: nothing. 12 pruned: segment, first record, last
//! record and bytes (`u64` little endian each), SHA-256 of its file (32 bytes). 13 calibration:
//! JSON. 14 typed reading: JSON. 16 period closed or restated: JSON. 17 change of projects: JSON.
//! 18 tables: length of the hub id (1 byte), hub id, TOML as written. 20 node retired: JSON.
//!
//! The format is in `docs/formats/journal.md` and pinned by `tests/golden/journal/v1`.

#[cfg(test)]
mod golden;

use bijli_ledger::Rules;
use bijli_ledger::leaf::Pruned;
use bijli_wire::{BatchSeq, ContentHash, ErrorCode, HubId, Millis, NodeId, SpoolEpoch, UtcMillis};
use sha2::{Digest as _, Sha256};

use crate::ingest::admission::LaneKey;

/// One fact, as the journal keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    Schema {
        received: UtcMillis,
        body: Vec<u8>,
    },
    Batch {
        received: UtcMillis,
        body: Vec<u8>,
    },
    AllocationPut {
        received: UtcMillis,
        json: Vec<u8>,
    },
    AllocationEnd {
        received: UtcMillis,
        json: Vec<u8>,
    },
    Calibration {
        received: UtcMillis,
        json: Vec<u8>,
    },
    Typed {
        received: UtcMillis,
        json: Vec<u8>,
    },
    /// Somebody closes or restates a month.
    Period {
        received: UtcMillis,
        json: Vec<u8>,
    },
    /// A change of the registry of projects.
    Project {
        received: UtcMillis,
        json: Vec<u8>,
    },
    /// Somebody says that a node is gone for good.
    Retirement {
        received: UtcMillis,
        json: Vec<u8>,
    },
    Diagram {
        received: UtcMillis,
        from: UtcMillis,
        hub: HubId,
        toml: String,
    },
    /// What the figures beside PUE rest on, in place of all before.
    Tables {
        received: UtcMillis,
        hub: HubId,
        toml: String,
    },
    Tick {
        received: UtcMillis,
    },
    Rules {
        received: UtcMillis,
        rules: Rules,
    },
    /// What is not in the journal of the lane below `floor` will never come.
    Floor {
        received: UtcMillis,
        lane: LaneKey,
        floor: BatchSeq,
    },
    /// A batch whose sender's clock is wrong: `offset_ms` is added to all its times.
    Corrected {
        received: UtcMillis,
        offset_ms: i64,
        body: Vec<u8>,
    },
    /// Somebody tried what he may not. It is on record, and books nothing.
    Incident {
        received: UtcMillis,
        incident: Box<Incident>,
    },
    /// The books as they stand after this record are to be kept.
    Snapshot {
        received: UtcMillis,
    },
    /// A segment of this journal whose bytes are no longer kept.
    Pruned {
        received: UtcMillis,
        pruned: Pruned,
    },
}

/// Who tried what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incident {
    /// By the certificate.
    pub hub: HubId,
    pub node: NodeId,
    pub code: ErrorCode,
    /// What was tried, for people.
    pub text: String,
}

/// Why a record is no frame of this format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("the record has {bytes} bytes, a frame has at least {HEAD_BYTES}")]
    Short { bytes: usize },
    #[error("frame kind {found} is not known here: the journal was written by a newer version")]
    Kind { found: u8 },
    #[error("a {kind} frame is cut short")]
    Cut { kind: &'static str },
    #[error("a diagram or tables frame names no valid hub: {reason}")]
    Hub { reason: String },
    #[error("a text in a frame is not UTF-8")]
    NotText,
    #[error("a floor frame names no valid lane: {reason}")]
    Lane { reason: String },
    #[error("an incident frame names no valid node: {reason}")]
    Node { reason: String },
    #[error("an incident frame has no known error code")]
    Code,
    #[error("no books can be kept by the spans of a rules frame: {spans}")]
    Rules { spans: String },
}

/// SHA-256 over a record's first 9 bytes and the SHA-256 of the rest: what a leaf's hash is made
/// of. For a batch the inner hash is the one that its ack names, so no body is hashed twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameDigest(pub [u8; 32]);

impl FrameDigest {
    /// Of any record, known kind or not.
    #[must_use]
    pub fn of(record: &[u8]) -> Self {
        let (head, rest) = record.split_at_checked(HEAD_BYTES).unwrap_or((record, &[]));
        Self::joined(head, &Sha256::digest(rest).into())
    }

    /// Of a batch whose content hash is known.
    #[must_use]
    pub fn of_batch(received: UtcMillis, body: ContentHash) -> Self {
        Self::joined(&framed(KIND_BATCH, received, &[]), body.as_bytes())
    }

    fn joined(head: &[u8], rest: &[u8; 32]) -> Self {
        let mut hash = Sha256::new();
        hash.update(head);
        hash.update(rest);
        Self(hash.finalize().into())
    }
}

const HEAD_BYTES: usize = 9;
const KIND_SCHEMA: u8 = 1;
const KIND_BATCH: u8 = 2;
const KIND_ALLOCATION_PUT: u8 = 3;
const KIND_ALLOCATION_END: u8 = 4;
const KIND_DIAGRAM: u8 = 5;
const KIND_TICK: u8 = 6;
const KIND_RULES: u8 = 7;
const KIND_FLOOR: u8 = 8;
const KIND_CORRECTED: u8 = 9;
const KIND_INCIDENT: u8 = 10;
const KIND_SNAPSHOT: u8 = 11;
const KIND_PRUNED: u8 = 12;
const KIND_CALIBRATION: u8 = 13;
const KIND_TYPED: u8 = 14;
const KIND_PERIOD: u8 = 16;
const KIND_PROJECT: u8 = 17;
const KIND_TABLES: u8 = 18;
const KIND_RETIREMENT: u8 = 20;

impl Frame {
    /// When the collector received it, by its own clock. The only time the books know.
    #[must_use]
    pub const fn received(&self) -> UtcMillis {
        match self {
            Self::Schema { received, .. }
            | Self::Batch { received, .. }
            | Self::AllocationPut { received, .. }
            | Self::AllocationEnd { received, .. }
            | Self::Calibration { received, .. }
            | Self::Typed { received, .. }
            | Self::Period { received, .. }
            | Self::Project { received, .. }
            | Self::Retirement { received, .. }
            | Self::Diagram { received, .. }
            | Self::Tables { received, .. }
            | Self::Tick { received }
            | Self::Rules { received, .. }
            | Self::Floor { received, .. }
            | Self::Corrected { received, .. }
            | Self::Incident { received, .. }
            | Self::Snapshot { received }
            | Self::Pruned { received, .. } => *received,
        }
    }

    /// The record's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Schema { received, body } => framed(KIND_SCHEMA, *received, &[body]),
            Self::Batch { received, body } => framed(KIND_BATCH, *received, &[body]),
            Self::Corrected { received, offset_ms, body } => {
                framed(KIND_CORRECTED, *received, &[&offset_ms.to_le_bytes(), body])
            }
            Self::AllocationPut { received, json } => {
                framed(KIND_ALLOCATION_PUT, *received, &[json])
            }
            Self::AllocationEnd { received, json } => {
                framed(KIND_ALLOCATION_END, *received, &[json])
            }
            Self::Calibration { received, json } => framed(KIND_CALIBRATION, *received, &[json]),
            Self::Typed { received, json } => framed(KIND_TYPED, *received, &[json]),
            Self::Period { received, json } => framed(KIND_PERIOD, *received, &[json]),
            Self::Project { received, json } => framed(KIND_PROJECT, *received, &[json]),
            Self::Retirement { received, json } => framed(KIND_RETIREMENT, *received, &[json]),
            Self::Diagram { received, from, hub, toml } => {
                let hub = hub.as_str().as_bytes();
                let length = u8::try_from(hub.len()).expect("an id has at most 96 bytes");
                let parts = [&from.get().to_le_bytes()[..], &[length], hub, toml.as_bytes()];
                framed(KIND_DIAGRAM, *received, &parts)
            }
            Self::Tables { received, hub, toml } => {
                let hub = hub.as_str().as_bytes();
                let length = u8::try_from(hub.len()).expect("an id has at most 96 bytes");
                framed(KIND_TABLES, *received, &[&[length], hub, toml.as_bytes()])
            }
            Self::Tick { received } => framed(KIND_TICK, *received, &[]),
            Self::Rules { received, rules } => {
                let spans = [rules.interval, rules.close_after, rules.keep];
                let spans = spans.map(|span| span.get().to_le_bytes());
                framed(KIND_RULES, *received, &spans.each_ref().map(|span| &span[..]))
            }
            Self::Floor { received, lane, floor } => {
                let hub = lane.hub.as_str().as_bytes();
                let length = u8::try_from(hub.len()).expect("an id has at most 96 bytes");
                let floor = floor.get().to_le_bytes();
                let node = lane.node.as_str().as_bytes();
                let parts = [&lane.epoch.as_bytes()[..], &floor, &[length], hub, node];
                framed(KIND_FLOOR, *received, &parts)
            }
            Self::Incident { received, incident } => {
                framed(KIND_INCIDENT, *received, &[&incident.encode()])
            }
            Self::Snapshot { received } => framed(KIND_SNAPSHOT, *received, &[]),
            Self::Pruned { received, pruned } => {
                let Pruned { segment, first, last, bytes, sha256 } = pruned;
                let numbers = [segment, first, last, bytes].map(|number| number.to_le_bytes());
                let parts = [&numbers.concat()[..], &sha256[..]];
                framed(KIND_PRUNED, *received, &parts)
            }
        }
    }

    /// The frame in a record.
    ///
    /// # Errors
    /// Says what is wrong with it; the bytes of a batch are not looked into here.
    pub fn decode(record: &[u8]) -> Result<Self, FrameError> {
        let short = || FrameError::Short { bytes: record.len() };
        let (kind, rest) = record.split_first().ok_or_else(short)?;
        let (received, body) = split_i64(rest).ok_or_else(short)?;
        match *kind {
            KIND_SCHEMA => Ok(Self::Schema { received, body: body.to_vec() }),
            KIND_BATCH => Ok(Self::Batch { received, body: body.to_vec() }),
            KIND_CORRECTED => {
                let cut = || FrameError::Cut { kind: "corrected batch" };
                let (offset, body) = split_i64(body).ok_or_else(cut)?;
                Ok(Self::Corrected { received, offset_ms: offset.get(), body: body.to_vec() })
            }
            KIND_ALLOCATION_PUT => Ok(Self::AllocationPut { received, json: body.to_vec() }),
            KIND_ALLOCATION_END => Ok(Self::AllocationEnd { received, json: body.to_vec() }),
            KIND_CALIBRATION => Ok(Self::Calibration { received, json: body.to_vec() }),
            KIND_TYPED => Ok(Self::Typed { received, json: body.to_vec() }),
            KIND_PERIOD => Ok(Self::Period { received, json: body.to_vec() }),
            KIND_PROJECT => Ok(Self::Project { received, json: body.to_vec() }),
            KIND_RETIREMENT => Ok(Self::Retirement { received, json: body.to_vec() }),
            KIND_DIAGRAM => decode_diagram(received, body),
            KIND_TABLES => decode_tables(received, body),
            KIND_TICK => Ok(Self::Tick { received }),
            KIND_RULES => decode_rules(received, body),
            KIND_FLOOR => decode_floor(received, body),
            KIND_INCIDENT => {
                Ok(Self::Incident { received, incident: Box::new(Incident::decode(body)?) })
            }
            KIND_SNAPSHOT => Ok(Self::Snapshot { received }),
            KIND_PRUNED => decode_pruned(received, body),
            found => Err(FrameError::Kind { found }),
        }
    }
}

impl Incident {
    fn encode(&self) -> Vec<u8> {
        let code = serde_json::to_value(self.code).ok();
        let code = code.as_ref().and_then(serde_json::Value::as_str).unwrap_or_default();
        let mut body = Vec::new();
        for name in [self.hub.as_str(), self.node.as_str(), code] {
            body.push(u8::try_from(name.len()).expect("an id has at most 96 bytes"));
            body.extend_from_slice(name.as_bytes());
        }
        body.extend_from_slice(self.text.as_bytes());
        body
    }

    fn decode(body: &[u8]) -> Result<Self, FrameError> {
        let (hub, rest) = split_name(body, "incident")?;
        let (node, rest) = split_name(rest, "incident")?;
        let (code, text) = split_name(rest, "incident")?;
        let hub = HubId::new(hub).map_err(|error| FrameError::Hub { reason: error.to_string() })?;
        let node =
            NodeId::new(node).map_err(|error| FrameError::Node { reason: error.to_string() })?;
        let code = serde_json::from_value(code.into()).map_err(|_| FrameError::Code)?;
        let text = std::str::from_utf8(text).map_err(|_| FrameError::NotText)?.to_owned();
        Ok(Self { hub, node, code, text })
    }
}

fn framed(kind: u8, received: UtcMillis, parts: &[&[u8]]) -> Vec<u8> {
    let bytes = HEAD_BYTES + parts.iter().map(|part| part.len()).sum::<usize>();
    let mut record = Vec::with_capacity(bytes);
    record.push(kind);
    record.extend_from_slice(&received.get().to_le_bytes());
    for part in parts {
        record.extend_from_slice(part);
    }
    record
}

fn split_i64(bytes: &[u8]) -> Option<(UtcMillis, &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<8>()?;
    Some((UtcMillis::new(i64::from_le_bytes(*head)), rest))
}

/// A text behind its length in one byte.
fn split_name<'a>(bytes: &'a [u8], kind: &'static str) -> Result<(&'a str, &'a [u8]), FrameError> {
    let cut = || FrameError::Cut { kind };
    let (length, rest) = bytes.split_first().ok_or_else(cut)?;
    let (name, rest) = rest.split_at_checked(usize::from(*length)).ok_or_else(cut)?;
    Ok((std::str::from_utf8(name).map_err(|_| FrameError::NotText)?, rest))
}

fn decode_diagram(received: UtcMillis, body: &[u8]) -> Result<Frame, FrameError> {
    let cut = || FrameError::Cut { kind: "diagram" };
    let (from, rest) = split_i64(body).ok_or_else(cut)?;
    let (hub, toml) = split_name(rest, "diagram")?;
    let hub = HubId::new(hub).map_err(|error| FrameError::Hub { reason: error.to_string() })?;
    let toml = std::str::from_utf8(toml).map_err(|_| FrameError::NotText)?.to_owned();
    Ok(Frame::Diagram { received, from, hub, toml })
}

fn decode_tables(received: UtcMillis, body: &[u8]) -> Result<Frame, FrameError> {
    let (hub, toml) = split_name(body, "tables")?;
    let hub = HubId::new(hub).map_err(|error| FrameError::Hub { reason: error.to_string() })?;
    let toml = std::str::from_utf8(toml).map_err(|_| FrameError::NotText)?.to_owned();
    Ok(Frame::Tables { received, hub, toml })
}

fn decode_rules(received: UtcMillis, body: &[u8]) -> Result<Frame, FrameError> {
    let cut = || FrameError::Cut { kind: "rules" };
    let (interval, rest) = split_span(body).ok_or_else(cut)?;
    let (close_after, rest) = split_span(rest).ok_or_else(cut)?;
    let (keep, _) = split_span(rest).ok_or_else(cut)?;
    let rules = Rules { interval, close_after, keep };
    if !rules.are_valid() {
        return Err(FrameError::Rules { spans: format!("{interval}, {close_after}, {keep}") });
    }
    Ok(Frame::Rules { received, rules })
}

fn decode_pruned(received: UtcMillis, body: &[u8]) -> Result<Frame, FrameError> {
    let cut = || FrameError::Cut { kind: "pruned" };
    let (segment, rest) = split_u64(body).ok_or_else(cut)?;
    let (first, rest) = split_u64(rest).ok_or_else(cut)?;
    let (last, rest) = split_u64(rest).ok_or_else(cut)?;
    let (bytes, rest) = split_u64(rest).ok_or_else(cut)?;
    let sha256 = *rest.first_chunk::<32>().ok_or_else(cut)?;
    Ok(Frame::Pruned { received, pruned: Pruned { segment, first, last, bytes, sha256 } })
}

fn decode_floor(received: UtcMillis, body: &[u8]) -> Result<Frame, FrameError> {
    let cut = || FrameError::Cut { kind: "floor" };
    let wrong = |reason: String| FrameError::Lane { reason };
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).map_err(|e| wrong(e.to_string()));
    let (epoch, rest) = body.split_first_chunk::<16>().ok_or_else(cut)?;
    let (floor, rest) = rest.split_first_chunk::<8>().ok_or_else(cut)?;
    let (length, rest) = rest.split_first().ok_or_else(cut)?;
    let (hub, node) = rest.split_at_checked(usize::from(*length)).ok_or_else(cut)?;
    let floor = BatchSeq::new(u64::from_le_bytes(*floor));
    let lane = LaneKey {
        hub: HubId::new(&text(hub)?).map_err(|e| wrong(e.to_string()))?,
        node: NodeId::new(&text(node)?).map_err(|e| wrong(e.to_string()))?,
        epoch: SpoolEpoch::new(*epoch),
    };
    let floor = floor.ok_or_else(|| wrong("its floor is 0".to_owned()))?;
    Ok(Frame::Floor { received, lane, floor })
}

fn split_span(bytes: &[u8]) -> Option<(Millis, &[u8])> {
    let (span, rest) = split_u64(bytes)?;
    Some((Millis::new(span), rest))
}

fn split_u64(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<8>()?;
    Some((u64::from_le_bytes(*head), rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const AT: UtcMillis = UtcMillis::new(0x0102_0304_0506);

    fn hub() -> HubId {
        HubId::new("isb").expect("valid")
    }

    /// Goal: a journal written by any version is read by all later ones. Never edit a row.
    #[test]
    fn golden_bytes() {
        let head = [0x06, 0x05, 0x04, 0x03, 0x02, 0x01, 0, 0];
        let minute = Millis::new(60_000);
        let rules = Rules { interval: minute, close_after: minute, keep: minute };
        let lane = LaneKey {
            hub: hub(),
            node: NodeId::new("n1").expect("valid"),
            epoch: SpoolEpoch::new([0xE0; 16]),
        };
        let floor = BatchSeq::new(258).expect("from 1");
        let incident = Incident {
            hub: hub(),
            node: NodeId::new("n1").expect("valid"),
            code: ErrorCode::ForeignIdentity,
            text: "x".into(),
        };
        let pruned = Pruned { segment: 2, first: 2, last: 2, bytes: 2, sha256: [7; 32] };
        let rows: [(Frame, u8, Vec<u8>); 15] = [
            (Frame::Schema { received: AT, body: vec![9] }, 1, vec![9]),
            (Frame::Batch { received: AT, body: vec![8, 7] }, 2, vec![8, 7]),
            (Frame::AllocationPut { received: AT, json: b"{}".to_vec() }, 3, b"{}".to_vec()),
            (Frame::AllocationEnd { received: AT, json: b"[]".to_vec() }, 4, b"[]".to_vec()),
            (Frame::Calibration { received: AT, json: b"{}".to_vec() }, 13, b"{}".to_vec()),
            (Frame::Period { received: AT, json: b"{}".to_vec() }, 16, b"{}".to_vec()),
            (Frame::Project { received: AT, json: b"{}".to_vec() }, 17, b"{}".to_vec()),
            (Frame::Retirement { received: AT, json: b"{}".to_vec() }, 20, b"{}".to_vec()),
            (
                Frame::Diagram {
                    received: AT,
                    from: UtcMillis::new(-2),
                    hub: hub(),
                    toml: "x=1".into(),
                },
                5,
                [&[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 3][..], b"isbx=1"].concat(),
            ),
            (Frame::Tick { received: AT }, 6, vec![]),
            (Frame::Rules { received: AT, rules }, 7, [0x60, 0xea, 0, 0, 0, 0, 0, 0].repeat(3)),
            (
                Frame::Floor { received: AT, lane, floor },
                8,
                [&[0xE0; 16][..], &[2, 1, 0, 0, 0, 0, 0, 0, 3], b"isbn1"].concat(),
            ),
            (
                Frame::Incident { received: AT, incident: Box::new(incident) },
                10,
                b"\x03isb\x02n1\x10foreign_identityx".to_vec(),
            ),
            (Frame::Snapshot { received: AT }, 11, vec![]),
            (
                Frame::Pruned { received: AT, pruned },
                12,
                [&[2, 0, 0, 0, 0, 0, 0, 0].repeat(4)[..], &[7; 32]].concat(),
            ),
        ];
        for (frame, kind, body) in rows {
            let golden = [&[kind][..], &head, &body].concat();
            assert_eq!(frame.encode(), golden, "{frame:?}");
            assert_eq!(Frame::decode(&golden).as_ref(), Ok(&frame));
            assert_eq!(frame.received(), AT);
        }
    }

    #[test]
    fn a_batch_has_one_digest_whether_its_hash_is_known_or_not() {
        let record = Frame::Batch { received: AT, body: vec![8, 7] }.encode();
        let hash = ContentHash::new(Sha256::digest([8, 7]).into());
        assert_eq!(FrameDigest::of(&record), FrameDigest::of_batch(AT, hash));
        let tick = Frame::Tick { received: AT }.encode();
        assert_ne!(FrameDigest::of(&tick), FrameDigest::of(&tick[..8]));
    }

    #[test]
    fn what_is_no_frame_is_named() {
        let mut newer = Frame::Tick { received: AT }.encode();
        newer[0] = 99;
        assert_eq!(Frame::decode(&newer), Err(FrameError::Kind { found: 99 }));
        assert_eq!(Frame::decode(&[]), Err(FrameError::Short { bytes: 0 }));
        assert_eq!(Frame::decode(&[6, 0]), Err(FrameError::Short { bytes: 2 }));
        // Found by `make fuzz`: a replay stopped, or filled its memory with intervals.
        let usual = Rules::default();
        let day = 86_400_000;
        let spans = [0, 999, day + 1, u64::MAX].map(Millis::new);
        let no_intervals = spans.map(|interval| Rules { interval, ..usual });
        let too_long =
            [day + 1, u64::MAX].map(|ms| Rules { close_after: Millis::new(ms), ..usual });
        let too_many = [367 * day, u64::MAX].map(|ms| Rules { keep: Millis::new(ms), ..usual });
        for rules in no_intervals.into_iter().chain(too_long).chain(too_many) {
            let none = Frame::Rules { received: AT, rules }.encode();
            assert!(matches!(Frame::decode(&none), Err(FrameError::Rules { .. })), "{rules:?}");
        }
        let toml = String::new();
        let diagram = Frame::Diagram { received: AT, from: AT, hub: hub(), toml }.encode();
        let cut = Frame::decode(&diagram[..diagram.len() - 1]);
        assert_eq!(cut, Err(FrameError::Cut { kind: "diagram" }));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(record in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(frame) = Frame::decode(&record) {
                // Rules may carry trailing bytes of a later version; all else is read whole.
                prop_assert!(record.starts_with(&frame.encode()));
            }
        }
    }
}
