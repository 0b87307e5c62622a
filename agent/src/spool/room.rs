//! Room in a full spool: what is acknowledged goes, and then the eldest batches that wait are
//! thinned (`thin.rs`), so that an outage of any length costs shape and never energy.
//!
//! # Order
//! The thinned batches are appended and synced; then the cursor moves past the batches they stand
//! for; then those are unlinked. A set is in force once its last record is durable, whatever of the
//! rest a power cut prevents: a start puts the rest right (`open.rs`).
//!
//! # Sequences
//! A set carries the newest sequences of the run that it stands for; the elder ones will never
//! come. None of them was ever sent with another body: see [`UNSENT`].
//!
//! # Cost
//! A set takes at most half a segment ([`Limits::spare_bytes`]) and replaces at least a segment,
//! twice as much: what a spool writes because it is full is at most half of what it writes anyway.

use std::collections::BTreeMap;

use bijli_seglog::{Disk, HEADER_BYTES, LogError, RecordSeq, SealedSegment};
use bijli_wire::{Batch, BatchSeq, Schema, SchemaId, UtcMillis, codec};

use super::record::{Head, Record, Stands};
use super::thin::{Input, Thinned, Thinner};
use super::{CURSOR_LAG_MAX, Limits, Spool, SpoolError, frame_bytes};
use crate::draft::EncodedSchema;
use crate::uplink::AHEAD_MAX;

/// Sequences so far beyond the eldest that waits were never sent: sending runs [`AHEAD_MAX`]
/// ahead, and a restart may have forgotten the last [`CURSOR_LAG_MAX`] releases.
const UNSENT: u64 = 128;
const _: () = assert!(AHEAD_MAX + CURSOR_LAG_MAX < UNSENT);
/// After a try that did not help, so many batches pass before the next.
const TRIES_APART: u32 = 64;

impl Limits {
    /// Room kept for a set of thinned batches before what it stands for is unlinked.
    fn spare_bytes(self) -> u64 {
        self.segment_bytes() / 2
    }
}

/// A thinned batch in force.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    pub(super) record: RecordSeq,
    pub(super) schema: SchemaId,
    pub(super) first: BatchSeq,
    pub(super) since: UtcMillis,
}

/// Batches that wait, being read back.
struct Run {
    thinner: Thinner,
    schemas: BTreeMap<SchemaId, Option<Schema>>,
    /// The newest batch read.
    last: Option<BatchSeq>,
    /// Records through this one are read.
    until: RecordSeq,
    /// Bytes of the segments that go.
    bytes: u64,
}

/// A set of thinned batches, encoded.
struct Set {
    records: Vec<(BatchSeq, Standing, Vec<u8>)>,
    schemas: Vec<EncodedSchema>,
    last: BatchSeq,
    until: RecordSeq,
}

impl<D: Disk> Spool<D> {
    /// Makes room for `bytes` more; false if there is none to be made.
    pub(super) fn make_room(&mut self, bytes: u64) -> Result<bool, SpoolError> {
        while self.bytes() + bytes + self.limits.spare_bytes() > self.limits.bytes_max {
            if !self.unlink_eldest()? && !self.thin()? {
                break;
            }
        }
        Ok(self.bytes() + bytes <= self.limits.bytes_max)
    }

    /// Makes room for a gap record, as far as what is acknowledged goes. It is written in any case:
    /// it lets the line go on, and is smaller than what it stands for.
    pub(super) fn free_acked(&mut self, bytes: u64) -> Result<(), SpoolError> {
        // A segment may begin with it.
        let bytes = HEADER_BYTES + bytes;
        while self.bytes() + bytes > self.limits.bytes_max && self.unlink_eldest()? {}
        Ok(())
    }

    /// Unlinks the eldest segment if nothing in it waits.
    fn unlink_eldest(&mut self) -> Result<bool, SpoolError> {
        let Some(eldest) = self.log.sealed_segments().next() else { return Ok(false) };
        let released = self.released.min(self.log.durable_seq());
        if eldest.last > released {
            return Ok(false);
        }
        match self.log.advance_cursor(released) {
            Ok(()) => Ok(self.unlink_before(eldest.last.next())? > 0),
            Err(e) if e.is_storage_full() => Ok(false),
            Err(source) => Err(SpoolError::Release { source }),
        }
    }

    /// Thins the eldest batches that wait; false if that would not help.
    fn thin(&mut self) -> Result<bool, SpoolError> {
        if self.tries_apart > 0 {
            self.tries_apart -= 1;
            return Ok(false);
        }
        let set = match self.run()? {
            Some(run) => self.encode_set(run)?,
            None => None,
        };
        let is_thinned = match set {
            Some(set) => self.append_set(set)?,
            None => false,
        };
        if !is_thinned {
            self.tries_apart = TRIES_APART;
        }
        Ok(is_thinned)
    }

    /// Reads what waits in the eldest segments: in the fewest that reach beyond what may have been
    /// sent. `None`: all that are sealed do not.
    fn run(&mut self) -> Result<Option<Run>, SpoolError> {
        // What waits in memory while the disk is full would be mixed with the set.
        if !self.pending.is_empty() {
            return Ok(None);
        }
        // An elder epoch's batches stand in the same segments, and would go with them.
        if !self.page().is_last || self.waiting() > self.written().waiting() {
            return Ok(None);
        }
        let mut run = Run {
            thinner: Thinner::default(),
            schemas: BTreeMap::new(),
            last: None,
            until: RecordSeq::NONE,
            bytes: 0,
        };
        let standing: Vec<BatchSeq> = self.sent().thinned.keys().copied().collect();
        for sequence in standing {
            // Damaged ones are lost to thinning as they are to sending.
            if let Ok(loaded) = self.load(sequence) {
                self.join(&mut run, sequence, &loaded.body);
            }
        }
        let segments: Vec<SealedSegment> = self.log.sealed_segments().collect();
        for segment in segments {
            self.read_segment(&mut run, &segment)?;
            let count = u64::try_from(run.thinner.len()).unwrap_or(u64::MAX);
            let unsent = self.sent().peak.get().saturating_add(UNSENT).saturating_add(count);
            if run.last.is_some_and(|last| last.get() >= unsent) {
                return Ok(Some(run));
            }
        }
        Ok(None)
    }

    fn read_segment(&self, run: &mut Run, segment: &SealedSegment) -> Result<(), SpoolError> {
        let era = self.sent();
        let eldest = era.thinned.last_key_value().map_or(era.lowest, |(last, _)| last.next());
        for record in self.log.read_from(segment.first) {
            let (at, payload) = match record {
                Ok(record) => record,
                Err(LogError::Lost { .. }) => continue,
                Err(source) => return Err(SpoolError::Read { dir: self.dir.clone(), source }),
            };
            if at > segment.last {
                break;
            }
            let Some(Record::Batch { head, body }) = Record::decode(&payload) else { continue };
            if head.epoch != era.epoch || head.sequence < eldest {
                continue;
            }
            match era.gaps.get(&head.sequence) {
                Some(gap) => {
                    let body = self.gap_at(*gap, head.sequence).unwrap_or_default();
                    self.join(run, head.sequence, &body);
                }
                None => self.join(run, head.sequence, body),
            }
            run.last = Some(head.sequence);
        }
        run.until = segment.last;
        run.bytes += segment.bytes;
        Ok(())
    }

    /// Hands a batch to the thinner. What does not decode no collector would take either.
    fn join(&self, run: &mut Run, sequence: BatchSeq, body: &[u8]) {
        let Ok(opened) = codec::open(body) else { return };
        let id = opened.envelope.schema;
        let schema = run.schemas.entry(id).or_insert_with(|| {
            let body = self.schema_body(id).ok()?;
            codec::decode_schema(&body).ok().map(|(_, schema)| schema)
        });
        let Some(schema) = schema else { return };
        let Ok(batch) = opened.read(id, schema) else { return };
        let standing = self.sent().thinned.get(&sequence);
        let (first, since) =
            standing.map_or((sequence, batch.created), |standing| (standing.first, standing.since));
        run.thinner.take(Input { schema, first, since, batch });
    }

    /// `None`: the set is so large that it would not help.
    fn encode_set(&self, run: Run) -> Result<Option<Set>, SpoolError> {
        let Run { thinner, until, last, bytes: replaced, .. } = run;
        let parts = thinner.finish();
        let count = u64::try_from(parts.len()).unwrap_or(u64::MAX);
        let Some(last) = last else { return Ok(None) };
        let mut set = Set { records: Vec::new(), schemas: Vec::new(), last, until };
        let sequences = (last.get().saturating_sub(count).saturating_add(1)..)
            .map(|number| BatchSeq::new(number).expect("after a sequence comes a sequence"));
        let mut bytes = 0;
        for (sequence, part) in sequences.zip(parts) {
            if set.schemas.iter().all(|schema| schema.id != part.schema) {
                let body = self.schema_body(part.schema)?;
                bytes += frame_bytes(33 + body.len());
                set.schemas.push(EncodedSchema { id: part.schema, body });
            }
            let Some(record) = self.encode_part(sequence, part, &set)? else { return Ok(None) };
            bytes += frame_bytes(record.2.len());
            set.records.push(record);
        }
        let fits = bytes <= self.limits.spare_bytes() && bytes <= replaced / 2;
        let has_room = self.bytes() + bytes <= self.limits.bytes_max;
        Ok((fits && has_room).then_some(set))
    }

    fn encode_part(
        &self,
        sequence: BatchSeq,
        part: Thinned,
        set: &Set,
    ) -> Result<Option<(BatchSeq, Standing, Vec<u8>)>, SpoolError> {
        let Thinned { schema, created, uptime, first, since, matrices, events, holds } = part;
        let batch = Batch {
            hub: self.owner.hub.clone(),
            node: self.owner.node.clone(),
            epoch: self.epoch(),
            sequence,
            schema,
            created,
            uptime,
            matrices,
            events,
            holds,
        };
        let body = codec::encode_batch(&batch).map_err(|source| SpoolError::Encode { source })?;
        if codec::decompress(&body).is_err() {
            // A collector would take it for a bomb.
            return Ok(None);
        }
        let stands = Stands { last: set.last, first, since, until: set.until };
        let head = Head { epoch: self.epoch(), sequence, created, schema };
        let record = Record::Thinned { head, stands, body: &body }.encode();
        let standing = Standing { record: RecordSeq::NONE, schema, first, since };
        Ok(Some((sequence, standing, record)))
    }

    /// Makes a set durable, and so puts it in force. False: the disk has no room.
    fn append_set(&mut self, set: Set) -> Result<bool, SpoolError> {
        let bytes = set.records.iter().map(|(_, _, record)| frame_bytes(record.len())).sum();
        self.begin_segment_if_full(bytes)?;
        let before = self.schemas.clone();
        match self.try_append(&set) {
            Ok(thinned) => {
                self.enforce(set, thinned);
                Ok(true)
            }
            Err(e) if e.is_storage_full() || matches!(e, LogError::PendingFull { .. }) => {
                self.discard_pending();
                self.schemas = before;
                self.in_segment.clear();
                Ok(false)
            }
            Err(source) => Err(SpoolError::Store { source }),
        }
    }

    fn try_append(&mut self, set: &Set) -> Result<BTreeMap<BatchSeq, Standing>, LogError> {
        for EncodedSchema { id, body } in &set.schemas {
            if !self.in_segment.contains(id) {
                let at = self.log.append(&Record::Schema { id: *id, body }.encode())?;
                self.schemas.insert(*id, at);
                self.in_segment.push(*id);
            }
        }
        let mut thinned = BTreeMap::new();
        for (sequence, standing, record) in &set.records {
            let record = self.log.append(record)?;
            thinned.insert(*sequence, Standing { record, ..*standing });
        }
        self.log.commit()?;
        Ok(thinned)
    }

    fn enforce(&mut self, set: Set, thinned: BTreeMap<BatchSeq, Standing>) {
        self.sent_mut().thin(thinned, set.last);
        self.released = self.released.max(set.until);
        self.ahead = None;
    }

    /// The bytes of a thinned batch.
    pub(super) fn thinned_at(
        &self,
        standing: Standing,
        sequence: BatchSeq,
    ) -> Result<Vec<u8>, SpoolError> {
        if let Some(Ok((found, payload))) = self.log.read_from(standing.record).next()
            && found == standing.record
            && let Some(Record::Thinned { head, body, .. }) = Record::decode(&payload)
            && head.sequence == sequence
        {
            return Ok(body.to_vec());
        }
        Err(SpoolError::Unreadable { sequence })
    }
}
