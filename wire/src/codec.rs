//! Bodies: protobuf under zstd, columns as packed differences with missing marks.
//!
//! Reading is two steps, because a batch is read with its schema and names it only inside:
//! [`open`] bounds, decompresses and parses the envelope; [`Opened::read`] checks every matrix.
//! Nothing decompresses past [`limits::DECOMPRESSED_BYTES_MAX`], whatever a frame says of itself.

use std::cell::RefCell;
use std::io::Read;

use prost::Message as _;
use sha2::{Digest, Sha256};

use crate::batch::{Batch, BatchError, Envelope, Event, Group, Matrix, Schema, Uptime, VERSION};
use crate::hold::Hold;
use crate::id::{BatchSeq, BootId, ContentHash, HubId, NodeId, SchemaId, SpoolEpoch};
use crate::limits;
use crate::message::{self, EventKind};
use crate::quick;
use crate::table::{self, Table};
use crate::units::{Millis, UtcMillis};

/// SHA-256 of a body as it is sent.
#[must_use]
pub fn hash(body: &[u8]) -> ContentHash {
    ContentHash::new(Sha256::digest(body).into())
}

/// A schema's body and id.
///
/// # Errors
/// When the schema breaks a limit.
pub fn encode_schema(schema: &Schema) -> Result<(SchemaId, Vec<u8>), BatchError> {
    let message = schema.to_message();
    // What we would refuse to read we refuse to write.
    Schema::from_message(message.clone())?;
    let plain = message.encode_to_vec();
    let id = SchemaId::new(Sha256::digest(&plain).into());
    Ok((id, compress(&plain)?))
}

/// The schema in a body, and its id.
///
/// # Errors
/// Says which rule the body breaks.
pub fn decode_schema(body: &[u8]) -> Result<(SchemaId, Schema), BatchError> {
    let plain = decompress(body)?;
    let message = message::Schema::decode(plain.as_slice()).map_err(protobuf)?;
    let id = SchemaId::new(Sha256::digest(&plain).into());
    Ok((id, Schema::from_message(message)?))
}

/// A batch's body.
///
/// # Errors
/// When the batch breaks a limit.
pub fn encode_batch(batch: &Batch) -> Result<Vec<u8>, BatchError> {
    at_most("events", batch.events.len(), limits::EVENTS_MAX)?;
    at_most("holds", batch.holds.len(), limits::HOLDS_MAX)?;
    let message = message::Batch {
        version: VERSION,
        hub: batch.hub.to_string(),
        node: batch.node.to_string(),
        epoch: batch.epoch.as_bytes().to_vec(),
        sequence: batch.sequence.get(),
        schema: batch.schema.as_bytes().to_vec(),
        created_ms: batch.created.get(),
        matrices: batch.matrices.iter().map(pack_matrix).collect::<Result<_, _>>()?,
        events: batch.events.iter().map(pack_event).collect(),
        boot: batch.uptime.map_or_else(Vec::new, |uptime| uptime.boot.as_bytes().to_vec()),
        uptime_ms: batch.uptime.map_or(0, |uptime| uptime.at.get()),
        holds: batch.holds.iter().map(Hold::to_message).collect(),
    };
    compress(&message.encode_to_vec())
}

/// A body whose envelope was read and whose matrices were not yet.
#[derive(Debug)]
pub struct Opened {
    pub envelope: Envelope,
    rest: Rest,
}

/// What waits for the schema.
#[derive(Debug)]
enum Rest {
    /// Found by the quick reader.
    Parts(quick::Parts),
    Message(message::Batch),
}

/// Bounds, decompresses and parses a batch's body.
///
/// # Errors
/// Says which rule the body breaks.
pub fn open(body: &[u8]) -> Result<Opened, BatchError> {
    let plain = decompress(body)?;
    let hash = hash(body);
    match quick::open(plain, hash) {
        Ok((envelope, parts)) => Ok(Opened { envelope, rest: Rest::Parts(parts) }),
        Err(plain) => open_general(&plain, hash),
    }
}

/// The same by the general reader alone, which has the last word: for comparison.
///
/// # Errors
/// As [`open`].
pub fn open_by_prost(body: &[u8]) -> Result<Opened, BatchError> {
    open_general(&decompress_streaming(body, plain_bytes_max(body)?)?, hash(body))
}

fn open_general(plain: &[u8], hash: ContentHash) -> Result<Opened, BatchError> {
    let message = message::Batch::decode(plain).map_err(protobuf)?;
    if message.version != VERSION {
        return Err(BatchError::Version { found: message.version });
    }
    at_most("matrices", message.matrices.len(), limits::GROUPS_MAX)?;
    at_most("events", message.events.len(), limits::EVENTS_MAX)?;
    at_most("holds", message.holds.len(), limits::HOLDS_MAX)?;
    let key =
        |what, bytes: &[u8], expected| BatchError::KeyLength { what, bytes: bytes.len(), expected };
    let envelope = Envelope {
        hub: HubId::new(&message.hub)?,
        node: NodeId::new(&message.node)?,
        epoch: SpoolEpoch::from_slice(&message.epoch)
            .ok_or_else(|| key("the spool epoch", &message.epoch, 16))?,
        sequence: BatchSeq::new(message.sequence).ok_or(BatchError::SequenceZero)?,
        schema: SchemaId::from_slice(&message.schema)
            .ok_or_else(|| key("the schema id", &message.schema, 32))?,
        created: UtcMillis::new(message.created_ms),
        uptime: uptime(&message.boot, message.uptime_ms)
            .map_err(|bytes| BatchError::KeyLength { what: "the boot id", bytes, expected: 16 })?,
        hash,
    };
    Ok(Opened { envelope, rest: Rest::Message(message) })
}

impl Opened {
    /// The batch, read with the schema that its envelope names.
    ///
    /// # Errors
    /// Says which matrix and column breaks which rule.
    pub fn read(self, id: SchemaId, schema: &Schema) -> Result<Batch, BatchError> {
        self.read_tables(id, schema).map(table::convert)
    }

    /// The same with each group's rows in one piece.
    ///
    /// # Errors
    /// As [`Opened::read`].
    pub fn read_tables(self, id: SchemaId, schema: &Schema) -> Result<Batch<Table>, BatchError> {
        let envelope = self.envelope;
        if envelope.schema != id {
            return Err(BatchError::WrongSchema { found: envelope.schema, given: id });
        }
        if envelope.hub != schema.hub || envelope.node != schema.node {
            return Err(BatchError::WrongNode {
                found: format!("{}/{}", envelope.hub, envelope.node),
                schema: format!("{}/{}", schema.hub, schema.node),
            });
        }
        let message = match self.rest {
            Rest::Message(message) => message,
            Rest::Parts(parts) => match parts.read(&envelope, schema) {
                Some(batch) => return Ok(batch),
                None => message::Batch::decode(parts.plain.as_slice()).map_err(protobuf)?,
            },
        };
        values_at_most(&message)?;
        let matrices = message.matrices.iter();
        let events = message.events.iter();
        let holds = message.holds.iter().cloned();
        let batch: Batch = Batch {
            hub: envelope.hub,
            node: envelope.node,
            epoch: envelope.epoch,
            sequence: envelope.sequence,
            schema: envelope.schema,
            created: envelope.created,
            uptime: envelope.uptime,
            matrices: matrices.map(|m| unpack_matrix(m, schema)).collect::<Result<_, _>>()?,
            events: events.map(|e| unpack_event(e, schema)).collect::<Result<_, _>>()?,
            holds: holds.map(Hold::from_message).collect::<Result<_, _>>()?,
        };
        Ok(batch.into_tables())
    }
}

/// A missing value takes a bit on the wire: a small body could claim very many.
fn values_at_most(message: &message::Batch) -> Result<(), BatchError> {
    let of = |matrix: &message::Matrix| matrix.times.len().saturating_mul(matrix.columns.len());
    let values = message.matrices.iter().map(of).fold(0, usize::saturating_add);
    at_most("values", values, limits::VALUES_MAX)
}

/// No boot: the sender does not tell. The error: how many bytes a boot id of another length has.
pub(crate) fn uptime(boot: &[u8], ms: u64) -> Result<Option<Uptime>, usize> {
    if boot.is_empty() {
        return Ok(None);
    }
    let boot = BootId::from_slice(boot).ok_or(boot.len())?;
    Ok(Some(Uptime { boot, at: Millis::new(ms) }))
}

fn at_most(what: &'static str, count: usize, max: usize) -> Result<(), BatchError> {
    if count > max { Err(BatchError::TooMany { what, count, max }) } else { Ok(()) }
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
fn protobuf(error: prost::DecodeError) -> BatchError {
    BatchError::Protobuf { reason: error.to_string() }
}

fn pack_matrix(matrix: &Matrix) -> Result<message::Matrix, BatchError> {
    at_most("rows", matrix.times.len(), limits::ROWS_MAX)?;
    let refuse = |column, rule| BatchError::Column { group: matrix.group, column, rule };
    let mut columns = Vec::with_capacity(matrix.columns.len());
    for (index, column) in matrix.columns.iter().enumerate() {
        if column.len() != matrix.times.len() {
            return Err(refuse(index, "it is not as long as the times"));
        }
        columns.push(pack_column(column));
    }
    let mut before = 0;
    let times = matrix.times.iter().map(|time| {
        let delta = time.get().wrapping_sub(before);
        before = time.get();
        delta
    });
    Ok(message::Matrix {
        group: u32::try_from(matrix.group).unwrap_or(u32::MAX),
        times: times.collect(),
        columns,
    })
}

fn pack_column(column: &[Option<i64>]) -> message::Column {
    let mut packed = message::Column::default();
    let mut before = 0_i64;
    for (row, value) in column.iter().enumerate() {
        match value {
            Some(value) => {
                packed.deltas.push(value.wrapping_sub(before));
                before = *value;
            }
            None => {
                packed.missing.resize(column.len().div_ceil(8), 0);
                if let Some(byte) = packed.missing.get_mut(row / 8) {
                    *byte |= 1 << (row % 8);
                }
            }
        }
    }
    packed
}

fn unpack_matrix(packed: &message::Matrix, schema: &Schema) -> Result<Matrix, BatchError> {
    let index = usize::try_from(packed.group).unwrap_or(usize::MAX);
    let refuse = |rule| BatchError::Group { group: index, rule };
    let group: &Group =
        schema.groups.get(index).ok_or_else(|| refuse("the schema has no such group"))?;
    at_most("rows", packed.times.len(), limits::ROWS_MAX)?;
    if packed.columns.len() != group.series.len() {
        return Err(refuse("the matrix has not one column per series"));
    }
    let mut times: Vec<UtcMillis> = Vec::with_capacity(packed.times.len());
    for delta in &packed.times {
        let before = times.last().map_or(0, |time| time.get());
        let time = before.checked_add(*delta).ok_or_else(|| refuse("a time overflows"))?;
        if !times.is_empty() && *delta <= 0 {
            return Err(refuse("its times do not increase"));
        }
        times.push(UtcMillis::new(time));
    }
    let columns = packed.columns.iter().enumerate().map(|(column, values)| {
        unpack_column(values, times.len()).map_err(|rule| BatchError::Column {
            group: index,
            column,
            rule,
        })
    });
    let columns = columns.collect::<Result<_, _>>()?;
    Ok(Matrix { group: index, times, columns })
}

fn unpack_column(packed: &message::Column, rows: usize) -> Result<Vec<Option<i64>>, &'static str> {
    if !packed.missing.is_empty() && packed.missing.len() != rows.div_ceil(8) {
        return Err("its missing marks are not one bit per row");
    }
    let mut deltas = packed.deltas.iter();
    let mut value = 0_i64;
    let mut column = Vec::with_capacity(rows);
    for row in 0..rows {
        let mark = packed.missing.get(row / 8).copied().unwrap_or(0);
        if mark & (1 << (row % 8)) != 0 {
            column.push(None);
        } else {
            let delta = deltas.next().ok_or("it has fewer values than rows")?;
            value = value.wrapping_add(*delta);
            column.push(Some(value));
        }
    }
    if deltas.next().is_some() {
        return Err("it has more values than rows");
    }
    Ok(column)
}

fn pack_event(event: &Event) -> message::Event {
    let mut text = event.text.clone();
    while text.len() > limits::EVENT_TEXT_BYTES_MAX {
        text.pop();
    }
    let subject = event.subject.and_then(|index| u32::try_from(index + 1).ok()).unwrap_or(0);
    message::Event {
        at_ms: event.at.get(),
        subject,
        kind: event.kind as i32,
        text,
        code: event.code,
        // Once is what it says without a count, so that elder events keep their bytes.
        count: if event.count == 1 { 0 } else { event.count },
    }
}

pub(crate) fn unpack_event(event: &message::Event, schema: &Schema) -> Result<Event, BatchError> {
    at_most("bytes of an event's text", event.text.len(), limits::EVENT_TEXT_BYTES_MAX)?;
    let subject = usize::try_from(event.subject).unwrap_or(usize::MAX).checked_sub(1);
    let count = schema.subjects.len();
    if let Some(index) = subject.filter(|index| *index >= count) {
        return Err(BatchError::TooMany { what: "subject of an event", count: index, max: count });
    }
    Ok(Event {
        at: UtcMillis::new(event.at_ms),
        subject,
        kind: EventKind::try_from(event.kind).unwrap_or(EventKind::Unspecified),
        text: event.text.clone(),
        code: event.code,
        count: event.count.max(1),
    })
}

/// One zstd frame around `plain`.
///
/// # Errors
/// When the result would be larger than a body may be.
pub fn compress(plain: &[u8]) -> Result<Vec<u8>, BatchError> {
    let body = zstd::bulk::compress(plain, limits::ZSTD_LEVEL)
        .map_err(|error| BatchError::Zstd { reason: error.to_string() })?;
    if plain.len() > limits::DECOMPRESSED_BYTES_MAX || body.len() > limits::BODY_BYTES_MAX {
        let (bytes, max) = (body.len(), limits::BODY_BYTES_MAX);
        return Err(BatchError::BodySize { bytes, max });
    }
    Ok(body)
}

/// What a zstd frame holds, read no further than the limits allow.
///
/// # Errors
/// When the body is too large, is a bomb, or is no zstd frame.
pub fn decompress(body: &[u8]) -> Result<Vec<u8>, BatchError> {
    let max = plain_bytes_max(body)?;
    // A frame that states its size and needs no large window is read in one go, by a decoder that
    // this thread keeps. Whatever is unusual about it, the streaming decoder has the last word.
    let stated = stated_bytes(body).filter(|bytes| *bytes <= max);
    let whole = stated.and_then(|bytes| DECODER.with_borrow_mut(|kept| one_go(kept, body, bytes)));
    whole.map_or_else(|| decompress_streaming(body, max), Ok)
}

type Decompressor = zstd::bulk::Decompressor<'static>;

thread_local! {
    static DECODER: RefCell<Option<Decompressor>> = const { RefCell::new(None) };
}

/// How many plain bytes a body of this length may have.
fn plain_bytes_max(body: &[u8]) -> Result<usize, BatchError> {
    if body.len() > limits::BODY_BYTES_MAX {
        let (bytes, max) = (body.len(), limits::BODY_BYTES_MAX);
        return Err(BatchError::BodySize { bytes, max });
    }
    let by_ratio = body.len().saturating_mul(limits::RATIO_MAX).max(limits::RATIO_FREE_BYTES);
    Ok(by_ratio.min(limits::DECOMPRESSED_BYTES_MAX))
}

/// What a frame's header says of its plain size; `None` also where its window may be too large.
fn stated_bytes(body: &[u8]) -> Option<usize> {
    const SINGLE_SEGMENT: u8 = 1 << 5;
    // RFC 8878: magic 4, descriptor 1, then the window unless all of it is one segment.
    let (descriptor, window) = (*body.get(4)?, *body.get(5)?);
    let is_small = u32::from(window >> 3) + 10 < limits::ZSTD_WINDOW_LOG_MAX;
    if descriptor & SINGLE_SEGMENT == 0 && !is_small {
        return None;
    }
    let stated = zstd::zstd_safe::get_frame_content_size(body).ok()??;
    usize::try_from(stated).ok()
}

fn one_go(kept: &mut Option<Decompressor>, body: &[u8], bytes: usize) -> Option<Vec<u8>> {
    let decoder = match kept {
        Some(decoder) => decoder,
        None => kept.insert(Decompressor::new().ok()?),
    };
    let mut plain = Vec::with_capacity(bytes);
    decoder.decompress_to_buffer(body, &mut plain).ok().filter(|written| *written == bytes)?;
    Some(plain)
}

fn decompress_streaming(body: &[u8], max: usize) -> Result<Vec<u8>, BatchError> {
    let refuse = |error: std::io::Error| BatchError::Zstd { reason: error.to_string() };
    let mut decoder = zstd::stream::read::Decoder::new(body).map_err(refuse)?;
    decoder.window_log_max(limits::ZSTD_WINDOW_LOG_MAX).map_err(refuse)?;
    let mut plain = Vec::new();
    let bound = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    decoder.take(bound).read_to_end(&mut plain).map_err(refuse)?;
    if plain.len() > max { Err(BatchError::Bomb { max }) } else { Ok(plain) }
}
