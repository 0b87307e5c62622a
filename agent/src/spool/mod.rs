//! The agent's disk queue: a segment log of batches, kept until the collector has them and for
//! [`Limits::keep_acked`] after, so that a collector that lost its disk can ask again.
//!
//! # Invariants
//! - A sequence is told to the uplink only when its record is fdatasynced, and is then never
//!   given to other bytes, whatever was damaged or removed.
//! - Every retained suffix explains itself: each segment holds the schema of each of its batches,
//!   before the batch. Each record carries its epoch, so there is no second file to lose: a
//!   directory without a readable batch begins a new epoch.
//! - Batches of several epochs stand one after the other (`era.rs`); one epoch is written, and
//!   one is sent: the eldest that has anything to send.
//! - Only what was released is unlinked, and its release is durable first.
//! - A full spool thins the batches that wait longest to their energy registers (`room.rs`); it
//!   never grows past its limit. Where that does not help it refuses the newest batch and says so:
//!   registers are cumulative, so the next stored reading carries the energy.
//!
//! # Gap records
//! The collector takes sequences in order, with a window. A batch that it will never accept is
//! copied to `refused/`, and an empty batch of one event is sent with the same sequence instead.

mod aside;
mod era;
#[cfg(test)]
mod gaps;
#[cfg(test)]
mod golden;
mod open;
mod record;
mod room;
#[cfg(test)]
mod tests;
mod thin;
#[cfg(test)]
mod thinning;

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;

use bijli_seglog::{Disk, FRAME_BYTES, Log, LogError, Reader, RealDisk, RecordSeq};
use bijli_wire::{
    Batch, BatchError, BatchSeq, ContentHash, HubId, Millis, NodeId, SchemaId, SpoolEpoch,
    UtcMillis, codec,
};

use crate::draft::{Draft, EncodedSchema};
use era::Era;
use record::{Head, Record};

pub use aside::Reason;
pub use era::Page;
pub use open::{Fresh, Opened};

/// Small segments: a released one is unlinked whole, and a full spool frees room in such steps.
const SEGMENT_BYTES: u64 = 4 << 20;
/// The least that holds the active segment, some that wait and the quarantine.
pub const BYTES_MIN: u64 = 4 * SEGMENT_BYTES;
/// One remembered place each so many batches: 24 bytes of memory for about 100 KiB of disk.
const PLACE_STRIDE: u64 = 32;
/// The cursor is made durable after so many records, and at stop. Losing it costs duplicates.
const CURSOR_LAG_MAX: u64 = 64;

/// How much a spool may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// At least [`BYTES_MIN`].
    pub bytes_max: u64,
    /// How long a batch stays after its ack, while there is room.
    pub keep_acked: Millis,
}

impl Limits {
    /// A quarter of the whole at most, so that making room never takes everything.
    pub(crate) fn segment_bytes(self) -> u64 {
        SEGMENT_BYTES.min(self.bytes_max / 4)
    }
}

/// Whose batches these are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    pub hub: HubId,
    pub node: NodeId,
    /// Program and version, for the schema of gap records.
    pub agent: String,
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// On disk: everything through this sequence.
    Durable { through: BatchSeq },
    /// In memory only: the disk is full of other people's files. Stored with a later batch.
    Waiting,
    /// Not kept: the spool has reached its limit and thinning does not help, or too much waits in
    /// memory.
    Full,
}

/// A batch as it goes out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    pub body: Vec<u8>,
    pub hash: ContentHash,
}

#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    #[error(
        "another bijli-agent uses the spool {dir}: one spool serves one agent", dir = dir.display()
    )]
    Locked { dir: PathBuf },
    #[error("cannot open the spool {dir}", dir = dir.display())]
    Open { dir: PathBuf, source: LogError },
    #[error("cannot read the spool {dir}", dir = dir.display())]
    Read { dir: PathBuf, source: LogError },
    #[error("cannot store a batch")]
    Store { source: LogError },
    #[error("cannot encode a batch")]
    Encode { source: BatchError },
    #[error("cannot release what was acknowledged")]
    Release { source: LogError },
    #[error("batch {sequence} is not readable: its bytes are damaged or gone")]
    Unreadable { sequence: BatchSeq },
    #[error("schema {id} is not readable: its bytes are damaged or gone")]
    UnreadableSchema { id: SchemaId },
    #[error("cannot put a refused batch aside in {path}", path = path.display())]
    PutAside { path: PathBuf, source: std::io::Error },
}

impl SpoolError {
    /// An fsync failed: nothing written since may be believed. Stop, and recover from disk.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        match self {
            Self::Store { source } | Self::Release { source } => matches!(
                source,
                LogError::Poisoned { .. }
                    | LogError::SyncSegment { .. }
                    | LogError::SyncCursor { .. }
                    | LogError::SyncDirectory { .. }
            ),
            Self::Locked { .. } | Self::Open { .. } => true,
            Self::Read { .. }
            | Self::Encode { .. }
            | Self::Unreadable { .. }
            | Self::UnreadableSchema { .. }
            | Self::PutAside { .. } => false,
        }
    }
}

/// Where a batch lies, and when it was made.
#[derive(Clone, Copy, Debug)]
struct Place {
    record: RecordSeq,
    created: UtcMillis,
}

/// One agent's disk queue, locked while it lives.
pub struct Spool<D: Disk = RealDisk> {
    disk: D,
    dir: PathBuf,
    log: Log<D>,
    limits: Limits,
    owner: Owner,
    /// Never empty, eldest first; the last one is written.
    eras: Vec<Era>,
    /// The one that is sent.
    at: usize,
    /// Everything through this record is released, durably or not yet.
    released: RecordSeq,
    /// So many batches until thinning is tried again.
    tries_apart: u32,
    /// The latest record of each schema.
    schemas: BTreeMap<SchemaId, RecordSeq>,
    /// Schemas written to the active segment.
    in_segment: Vec<SchemaId>,
    /// Of the batch stored last in this life.
    latest: Option<Arc<EncodedSchema>>,
    /// Appended and not yet durable.
    pending: VecDeque<(RecordSeq, BatchSeq)>,
    ahead: Option<Ahead<D>>,
}

/// Reading on where the last read ended.
struct Ahead<D: Disk> {
    reader: Reader<D>,
    next: BatchSeq,
}

impl<D: Disk> Spool<D> {
    /// Numbers, encodes, appends and fsyncs a batch.
    ///
    /// # Errors
    /// If the draft breaks a limit of the wire or the disk fails; see [`SpoolError::is_fatal`].
    pub fn store(&mut self, draft: &Draft) -> Result<Stored, SpoolError> {
        let (epoch, sequence) = (self.epoch(), self.next());
        let batch = Batch {
            hub: self.owner.hub.clone(),
            node: self.owner.node.clone(),
            epoch,
            sequence,
            schema: draft.schema.id,
            created: draft.created,
            uptime: draft.uptime,
            matrices: draft.matrices.clone(),
            events: draft.events.clone(),
            holds: draft.holds.clone(),
        };
        let body = codec::encode_batch(&batch).map_err(|source| SpoolError::Encode { source })?;
        let head = Head { epoch, sequence, created: draft.created, schema: draft.schema.id };
        let record = Record::Batch { head, body: &body }.encode();
        let bytes = frame_bytes(record.len()) + frame_bytes(33 + draft.schema.body.len());
        if !self.make_room(bytes)? {
            return Ok(Stored::Full);
        }
        self.begin_segment_if_full(bytes)?;
        self.latest = Some(Arc::clone(&draft.schema));
        self.append_schema(draft.schema.id, &draft.schema.body)?;
        match self.log.append(&record) {
            Ok(at) => {
                self.pending.push_back((at, sequence));
                let place = Place { record: at, created: draft.created };
                self.written_mut().number(place);
            }
            Err(LogError::PendingFull { .. }) => return Ok(Stored::Full),
            Err(source) => return Err(SpoolError::Store { source }),
        }
        self.commit()
    }

    /// Makes durable what waits. [`Stored::Waiting`] if the disk is full.
    ///
    /// # Errors
    /// If the disk fails otherwise.
    pub fn commit(&mut self) -> Result<Stored, SpoolError> {
        let outcome = self.log.commit();
        let durable = self.log.durable_seq();
        let mut through = None;
        while let Some((_, sequence)) = self.pending.pop_front_if(|(at, _)| *at <= durable) {
            through = Some(sequence);
        }
        match (outcome, through) {
            (Ok(_), None) => Ok(Stored::Waiting),
            (Err(e), None) if e.is_storage_full() => Ok(Stored::Waiting),
            (Err(e), Some(through)) if e.is_storage_full() => Ok(Stored::Durable { through }),
            (Err(source), _) => Err(SpoolError::Store { source }),
            (Ok(_), Some(through)) => Ok(Stored::Durable { through }),
        }
    }

    /// The bytes of a batch of the page, or of the gap record that has its place.
    ///
    /// # Errors
    /// [`SpoolError::Unreadable`] if the disk does not have them any more.
    pub fn load(&mut self, sequence: BatchSeq) -> Result<Loaded, SpoolError> {
        let body = match self.sent().gaps.get(&sequence) {
            Some(at) => self.gap_at(*at, sequence)?,
            None => match self.sent().thinned.get(&sequence) {
                Some(standing) => self.thinned_at(*standing, sequence)?,
                None => self.batch(sequence)?.1,
            },
        };
        Ok(Loaded { hash: codec::hash(&body), body })
    }

    /// The schema that a batch names.
    ///
    /// # Errors
    /// If batch or schema are not readable.
    pub fn schema_of(&mut self, sequence: BatchSeq) -> Result<(SchemaId, Vec<u8>), SpoolError> {
        let era = self.sent();
        let id = match (era.gaps.get(&sequence), era.thinned.get(&sequence)) {
            (Some(_), _) => self.bare_schema()?.id,
            (None, Some(standing)) => standing.schema,
            (None, None) => self.batch(sequence)?.0.schema,
        };
        match self.schema_body(id) {
            Err(SpoolError::UnreadableSchema { .. }) => self.schema_at_hand(id),
            read => read,
        }
        .map(|body| (id, body))
    }

    /// The schema of the latest batch is at hand whatever became of its record; the next batch
    /// writes it again. Else one flipped bit would cost every batch of the segment.
    fn schema_at_hand(&mut self, id: SchemaId) -> Result<Vec<u8>, SpoolError> {
        self.in_segment.retain(|written| *written != id);
        let latest = self.latest.as_ref().filter(|schema| schema.id == id);
        latest.map(|schema| schema.body.clone()).ok_or(SpoolError::UnreadableSchema { id })
    }

    /// Forgets everything of the page through a batch; what is forgotten stays on disk for a while.
    ///
    /// # Errors
    /// If the disk fails; the batches are then sent again after a restart, as duplicates.
    pub fn release(&mut self, through: BatchSeq, now: UtcMillis) -> Result<(), SpoolError> {
        self.tries_apart = 0;
        if let Some(at) = self.sent_mut().release(through) {
            self.released = self.released.max(at);
        }
        self.release_rest();
        if self.released.get() >= self.log.cursor().get() + CURSOR_LAG_MAX {
            self.persist(now)?;
        }
        Ok(())
    }

    /// When nothing waits, what stands behind the last batch is released with it: gap records that
    /// were sent in the place of elder ones. Else nothing ever would, and they could fill the
    /// spool.
    fn release_rest(&mut self) {
        if self.waiting() == 0 && self.pending.is_empty() {
            self.released = self.log.durable_seq();
        }
    }

    /// Makes the release durable and unlinks what need not be kept. Also at stop.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn persist(&mut self, now: UtcMillis) -> Result<(), SpoolError> {
        let refused = |source| SpoolError::Release { source };
        self.log.advance_cursor(self.released.min(self.log.durable_seq())).map_err(refused)?;
        let kept_from = now
            .get()
            .saturating_sub(i64::try_from(self.limits.keep_acked.get()).unwrap_or(i64::MAX));
        let floor = self.log.sealed_segments().find(|segment| {
            self.created_near(segment.last).is_none_or(|created| created.get() >= kept_from)
        });
        let floor = floor.map_or(self.released.next(), |segment| segment.first);
        self.unlink_before(floor)?;
        Ok(())
    }

    /// The epoch that is written.
    #[must_use]
    pub fn epoch(&self) -> SpoolEpoch {
        self.written().epoch
    }

    /// The eldest batch of the written epoch that no ack covers; the next one to come if there
    /// is none.
    #[must_use]
    pub fn lowest(&self) -> BatchSeq {
        self.written().lowest
    }

    /// What the next batch gets.
    #[must_use]
    pub fn next(&self) -> BatchSeq {
        self.written().next
    }

    /// Bytes on disk and waiting for it.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.log.bytes() + self.log.pending_bytes()
    }

    /// Of these, about what no ack covers: exact but for the segment in which the acks stand,
    /// where records count as equally large.
    #[must_use]
    pub fn waiting_bytes(&self) -> u64 {
        let (mut waiting, mut sealed, mut next) = (0, 0, self.log.first_seq());
        for segment in self.log.sealed_segments() {
            next = segment.last.next();
            waiting += self.waiting_of(segment.bytes, segment.first, next);
            sealed += segment.bytes;
        }
        waiting + self.waiting_of(self.bytes().saturating_sub(sealed), next, self.log.next_seq())
    }

    /// Of the bytes of the records from `first` to before `end`, the share that is not released.
    fn waiting_of(&self, bytes: u64, first: RecordSeq, end: RecordSeq) -> u64 {
        let records = end.get().saturating_sub(first.get());
        let waiting = end.get().saturating_sub(self.released.next().get()).min(records);
        // Segments are small: the product stays far below the end of u64.
        bytes.saturating_mul(waiting).checked_div(records).unwrap_or(0)
    }

    #[must_use]
    pub fn bytes_max(&self) -> u64 {
        self.limits.bytes_max
    }

    /// About when the eldest waiting batch was made, to within `PLACE_STRIDE` batches; `None`:
    /// nothing waits.
    #[must_use]
    pub fn oldest_waiting(&self) -> Option<UtcMillis> {
        let era = self.eras.iter().find(|era| era.lowest < era.next)?;
        if let Some((_, standing)) = era.thinned.first_key_value() {
            return Some(standing.since);
        }
        let before = era.places.range(..=era.lowest).next_back();
        before.or_else(|| era.places.first_key_value()).map(|(_, place)| place.created)
    }

    /// Writes a schema unless the active segment has it.
    fn append_schema(&mut self, id: SchemaId, body: &[u8]) -> Result<(), SpoolError> {
        if self.in_segment.contains(&id) {
            return Ok(());
        }
        match self.log.append(&Record::Schema { id, body }.encode()) {
            Ok(at) => {
                self.schemas.insert(id, at);
                self.in_segment.push(id);
                Ok(())
            }
            // The batch that follows finds the same and is refused as full.
            Err(LogError::PendingFull { .. }) => Ok(()),
            Err(source) => Err(SpoolError::Store { source }),
        }
    }

    /// A segment is ended here, not inside a commit, so that the next begins with its schemas.
    fn begin_segment_if_full(&mut self, bytes: u64) -> Result<(), SpoolError> {
        let sealed: u64 = self.log.sealed_segments().map(|segment| segment.bytes).sum();
        let active = self.bytes().saturating_sub(sealed);
        if active + bytes <= self.limits.segment_bytes() {
            return Ok(());
        }
        self.in_segment.clear();
        match self.log.seal() {
            Ok(()) => Ok(()),
            Err(e) if e.is_storage_full() => Ok(()),
            Err(source) => Err(SpoolError::Store { source }),
        }
    }

    fn unlink_before(&mut self, floor: RecordSeq) -> Result<u64, SpoolError> {
        let count =
            self.log.unlink_before(floor).map_err(|source| SpoolError::Release { source })?;
        if count > 0 {
            let first = self.log.first_seq();
            self.forget_before(first);
            self.schemas.retain(|_, at| *at >= first);
            self.ahead = None;
        }
        Ok(count)
    }

    /// When the records around this one were made.
    fn created_near(&self, record: RecordSeq) -> Option<UtcMillis> {
        let mut places = self.eras.iter().rev().flat_map(|era| era.places.values().rev());
        places.find(|place| place.record <= record).map(|place| place.created)
    }

    /// A batch's head and body, reading on from the last one if that fits.
    fn batch(&mut self, sequence: BatchSeq) -> Result<(Head, Vec<u8>), SpoolError> {
        if let Some(found) = self.read_on(sequence)? {
            return Ok(found);
        }
        let era = self.sent();
        let exact = era.located.get(&sequence).copied();
        let from = exact.or_else(|| era.before(sequence)).unwrap_or(self.log.first_seq());
        self.ahead = Some(Ahead { reader: self.log.read_from(from), next: BatchSeq::FIRST });
        self.read_on(sequence)?.ok_or(SpoolError::Unreadable { sequence })
    }

    fn read_on(&mut self, sequence: BatchSeq) -> Result<Option<(Head, Vec<u8>)>, SpoolError> {
        let Some(mut ahead) = self.ahead.take_if(|ahead| ahead.next <= sequence) else {
            return Ok(None);
        };
        for found in ahead.reader.by_ref() {
            let (at, payload) = match found {
                Ok(record) => record,
                // What was in a damaged stretch is found missing below.
                Err(LogError::Lost { .. }) => continue,
                Err(source) => return Err(SpoolError::Read { dir: self.dir.clone(), source }),
            };
            let Some(Record::Batch { head, body }) = Record::decode(&payload) else { continue };
            if self.is_later(head.epoch) {
                break;
            }
            if head.epoch != self.sent().epoch || head.sequence < sequence {
                continue;
            }
            if head.sequence > sequence {
                break;
            }
            let found = (head, body.to_vec());
            self.sent_mut().located.insert(sequence, at);
            ahead.next = sequence.next();
            self.ahead = Some(ahead);
            return Ok(Some(found));
        }
        Ok(None)
    }

    fn schema_body(&self, id: SchemaId) -> Result<Vec<u8>, SpoolError> {
        let unreadable = || SpoolError::UnreadableSchema { id };
        let at = *self.schemas.get(&id).ok_or_else(unreadable)?;
        if let Some(Ok((found, payload))) = self.log.read_from(at).next()
            && found == at
            && let Some(Record::Schema { id: found, body }) = Record::decode(&payload)
            && found == id
        {
            return Ok(body.to_vec());
        }
        Err(unreadable())
    }

    fn gap_at(&self, at: RecordSeq, sequence: BatchSeq) -> Result<Vec<u8>, SpoolError> {
        if let Some(Ok((found, payload))) = self.log.read_from(at).next()
            && found == at
            && let Some(Record::Gap { body, .. }) = Record::decode(&payload)
        {
            return Ok(body.to_vec());
        }
        Err(SpoolError::Unreadable { sequence })
    }
}

fn frame_bytes(payload: usize) -> u64 {
    FRAME_BYTES + u64::try_from(payload).unwrap_or(u64::MAX / 2)
}

impl<D: Disk> std::fmt::Debug for Spool<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Spool")
            .field("dir", &self.dir)
            .field("epoch", &self.epoch())
            .field("lowest", &self.lowest())
            .field("next", &self.next())
            .finish_non_exhaustive()
    }
}
