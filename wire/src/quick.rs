//! The quick reader: one pass over a batch's plain bytes, without messages in between.
//!
//! It takes what encoders write: fields in the order of their numbers, each once (matrices, events
//! and columns as often as they like), numbers packed, keys of one byte. Everything else, and
//! everything that breaks a rule, is `None`: then the general reader, prost's, is asked and has the
//! last word. So there is one set of rules and one set of refusals; this file only has to be right
//! about what it accepts. The property in `tests/codec.rs` and the fuzzer hold both against each
//! other. Why: `docs/decisions/0014-a-quick-reader-beside-prost.md`.
//!
//! # Invariants
//! - What it returns is what the general reader returns.
//! - Nothing is allocated for a number that was not there: rows, columns and parts are bounded by
//!   the bytes at hand and by `limits` before they take memory.

use std::ops::Range;

use prost::Message as _;

use crate::batch::{Batch, Envelope, Event, Schema, VERSION};
use crate::codec::{self, unpack_event};
use crate::id::{BatchSeq, ContentHash, HubId, NodeId, SchemaId, SpoolEpoch};
use crate::limits;
use crate::message;
use crate::table::Table;
use crate::units::UtcMillis;

/// Keys of one byte: the field's number and how it is written (0 a number, 2 bytes).
const fn number(field: u8) -> u8 {
    field << 3
}

const fn bytes(field: u8) -> u8 {
    field << 3 | 2
}

/// A batch whose parts were found and not read yet.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) plain: Vec<u8>,
    matrices: Vec<Range<usize>>,
    events: Vec<Range<usize>>,
}

/// What the envelope says, and where the parts are.
#[derive(Default)]
struct Found<'a> {
    version: u64,
    hub: &'a [u8],
    node: &'a [u8],
    epoch: &'a [u8],
    sequence: u64,
    schema: &'a [u8],
    created: u64,
    matrices: Vec<Range<usize>>,
    events: Vec<Range<usize>>,
    boot: &'a [u8],
    uptime: u64,
}

/// The envelope, and the parts for later; the bytes back where the general reader must look.
pub(crate) fn open(plain: Vec<u8>, hash: ContentHash) -> Result<(Envelope, Parts), Vec<u8>> {
    let opened = find(&plain).and_then(|found| {
        let envelope = envelope(&found, hash)?;
        Some((envelope, found.matrices, found.events))
    });
    match opened {
        Some((envelope, matrices, events)) => Ok((envelope, Parts { plain, matrices, events })),
        None => Err(plain),
    }
}

fn find(plain: &[u8]) -> Option<Found<'_>> {
    let mut found = Found::default();
    let mut cursor = Cursor { bytes: plain, at: 0 };
    let mut before = 0;
    while let Some(key) = cursor.key() {
        let is_part = key == bytes(8) || key == bytes(9);
        if key < before || (key == before && !is_part) {
            return None;
        }
        before = key;
        match key {
            _ if key == number(1) => found.version = cursor.varint()?,
            _ if key == bytes(2) => found.hub = cursor.slice()?,
            _ if key == bytes(3) => found.node = cursor.slice()?,
            _ if key == bytes(4) => found.epoch = cursor.slice()?,
            _ if key == number(5) => found.sequence = cursor.varint()?,
            _ if key == bytes(6) => found.schema = cursor.slice()?,
            _ if key == number(7) => found.created = cursor.varint()?,
            _ if key == bytes(8) && found.matrices.len() < limits::GROUPS_MAX => {
                found.matrices.push(cursor.range()?);
            }
            _ if key == bytes(9) && found.events.len() < limits::EVENTS_MAX => {
                found.events.push(cursor.range()?);
            }
            _ if key == bytes(10) => found.boot = cursor.slice()?,
            _ if key == number(11) => found.uptime = cursor.varint()?,
            _ => return None,
        }
    }
    Some(found)
}

fn envelope(found: &Found<'_>, hash: ContentHash) -> Option<Envelope> {
    if found.version != u64::from(VERSION) {
        return None;
    }
    Some(Envelope {
        hub: HubId::new(std::str::from_utf8(found.hub).ok()?).ok()?,
        node: NodeId::new(std::str::from_utf8(found.node).ok()?).ok()?,
        epoch: SpoolEpoch::from_slice(found.epoch)?,
        sequence: BatchSeq::new(found.sequence)?,
        schema: SchemaId::from_slice(found.schema)?,
        created: UtcMillis::new(zigzag(found.created)),
        uptime: codec::uptime(found.boot, found.uptime).ok()?,
        hash,
    })
}

impl Parts {
    /// The batch; its schema is the envelope's, and of its node.
    pub(crate) fn read(&self, envelope: &Envelope, schema: &Schema) -> Option<Batch<Table>> {
        let of = |range: &Range<usize>| self.plain.get(range.clone());
        let mut tables = Vec::with_capacity(self.matrices.len());
        let mut room = limits::VALUES_MAX;
        for range in &self.matrices {
            tables.push(table(of(range)?, schema, &mut room)?);
        }
        let events = self.events.iter().map(|range| event(of(range)?, schema));
        Some(Batch {
            hub: envelope.hub.clone(),
            node: envelope.node.clone(),
            epoch: envelope.epoch,
            sequence: envelope.sequence,
            schema: envelope.schema,
            created: envelope.created,
            uptime: envelope.uptime,
            matrices: tables,
            events: events.collect::<Option<_>>()?,
            // A batch with holds is the general reader's: they are rare.
            holds: Vec::new(),
        })
    }
}

fn event(bytes: &[u8], schema: &Schema) -> Option<Event> {
    let message = message::Event::decode(bytes).ok()?;
    unpack_event(&message, schema).ok()
}

/// `room`: values that the batch may still have.
fn table(plain: &[u8], schema: &Schema, room: &mut usize) -> Option<Table> {
    let mut cursor = Cursor { bytes: plain, at: 0 };
    let mut key = cursor.key();
    let mut group = 0;
    if key == Some(number(1)) {
        group = usize::try_from(cursor.varint()?).ok()?;
        key = cursor.key();
    }
    let series = schema.groups.get(group)?.series.len();
    let mut times = Vec::new();
    if key == Some(bytes(2)) {
        times = times_of(cursor.slice()?)?;
        key = cursor.key();
    }
    let values = times.len().checked_mul(series)?;
    *room = room.checked_sub(values)?;
    // A value that is there takes a byte at least; what is missing may make it grow.
    let mut table = Table::new(group, times, values.min(plain.len()));
    let mut columns = 0;
    while let Some(found) = key {
        if found != bytes(3) || columns == series {
            return None;
        }
        push_column(&mut table, cursor.slice()?)?;
        columns += 1;
        key = cursor.key();
    }
    (columns == series).then_some(table)
}

fn times_of(packed: &[u8]) -> Option<Vec<UtcMillis>> {
    // Each takes a byte at least.
    let mut times = Vec::with_capacity(packed.len().min(limits::ROWS_MAX));
    let mut cursor = Cursor { bytes: packed, at: 0 };
    let mut before = 0_i64;
    while !cursor.is_at_end() {
        let delta = zigzag(cursor.varint()?);
        let is_fine = times.is_empty() || delta > 0;
        if !is_fine || times.len() == limits::ROWS_MAX {
            return None;
        }
        before = before.checked_add(delta)?;
        times.push(UtcMillis::new(before));
    }
    Some(times)
}

fn push_column(table: &mut Table, plain: &[u8]) -> Option<()> {
    let mut cursor = Cursor { bytes: plain, at: 0 };
    let (mut deltas, mut missing): (&[u8], &[u8]) = (&[], &[]);
    let mut key = cursor.key();
    if key == Some(bytes(1)) {
        deltas = cursor.slice()?;
        key = cursor.key();
    }
    if key == Some(bytes(2)) {
        missing = cursor.slice()?;
        key = cursor.key();
    }
    let rows = table.times.len();
    if key.is_some() || (!missing.is_empty() && missing.len() != rows.div_ceil(8)) {
        return None;
    }
    let mut cursor = Cursor { bytes: deltas, at: 0 };
    let mut value = 0_i64;
    let mut next = || {
        value = value.wrapping_add(zigzag(cursor.varint()?));
        Some(value)
    };
    if missing.is_empty() {
        table.push_column(false, |_| next().map(Some))?;
    } else {
        table.push_column(true, |row| {
            let mark = missing.get(row / 8).copied().unwrap_or(0);
            if mark & (1 << (row % 8)) == 0 { next().map(Some) } else { Some(None) }
        })?;
    }
    cursor.is_at_end().then_some(())
}

const fn zigzag(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -(number & 1).cast_signed()
}

/// A place in bytes.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    const fn is_at_end(&self) -> bool {
        self.at >= self.bytes.len()
    }

    fn key(&mut self) -> Option<u8> {
        let key = self.bytes.get(self.at).copied()?;
        self.at += 1;
        Some(key)
    }

    #[inline]
    fn varint(&mut self) -> Option<u64> {
        let first = *self.bytes.get(self.at)?;
        self.at += 1;
        if first < 0x80 { Some(u64::from(first)) } else { self.long_varint(first) }
    }

    fn long_varint(&mut self, first: u8) -> Option<u64> {
        let mut value = u64::from(first & 0x7f);
        for shift in (7..70).step_by(7) {
            let byte = *self.bytes.get(self.at)?;
            self.at += 1;
            // The tenth byte has room for one bit.
            if shift == 63 && byte > 1 {
                return None;
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    /// Where the bytes of a field lie.
    fn range(&mut self) -> Option<Range<usize>> {
        let length = usize::try_from(self.varint()?).ok()?;
        let end = self.at.checked_add(length).filter(|end| *end <= self.bytes.len())?;
        let range = self.at..end;
        self.at = end;
        Some(range)
    }

    fn slice(&mut self) -> Option<&'a [u8]> {
        let range = self.range()?;
        self.bytes.get(range)
    }
}
