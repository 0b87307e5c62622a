//! How a spool starts: what its records say about epoch, sequences and what is still to be sent.
//!
//! # Recovery
//! Reads every record once. A set of thinned batches is in force once its last one was read: the
//! batches it stands for are void, whether or not they were unlinked. A sequence whose bytes are
//! gone is not given out again: it is found unreadable when its turn comes, and filled by a gap
//! record. Each epoch is numbered on its own.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;

use bijli_seglog::{Disk, FRAME_BYTES, HEADER_BYTES, Log, LogError, Options, RecordSeq, Recovery};
use bijli_wire::{BatchSeq, SchemaId, SpoolEpoch, limits};

use super::era::Era;
use super::record::{HEAD_BYTES_MAX, Head, Record, Stands};
use super::room::Standing;
use super::{Limits, Owner, PLACE_STRIDE, Place, Spool, SpoolError};
use crate::uplink::AHEAD_MAX;

/// At a damaged end more sequences than this are not filled: a lost segment may have held one for
/// each 32 bytes, and gap records of so many would take several times its room. As many as this
/// may be on their way anyhow.
const FILLED_MAX: u64 = AHEAD_MAX;

/// Random bytes of this start, drawn by the caller.
#[derive(Clone, Copy, Debug)]
pub struct Fresh {
    /// Taken if the spool holds no batch.
    pub epoch: SpoolEpoch,
    /// Seeds the checksums of new segments.
    pub salt: u64,
}

/// What a start found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    pub recovery: Recovery,
    /// No batch was there: a new spool, or one that lost everything. Or so much may be lost at its
    /// end that a new epoch begins behind what waits.
    pub is_new_epoch: bool,
}

/// What the records say.
#[derive(Default)]
struct Found {
    /// In the order of the log.
    eras: Vec<FoundEra>,
    schemas: BTreeMap<SchemaId, RecordSeq>,
    last_record: Option<RecordSeq>,
    /// Records lost behind the cursor and before the first batch that is left.
    lost_before_first: u64,
}

/// What they say of one epoch.
struct FoundEra {
    era: Era,
    first: Option<BatchSeq>,
    newest: Option<(RecordSeq, BatchSeq)>,
    /// The newest batch that the cursor releases.
    released: Option<BatchSeq>,
    /// A set of thinned batches of which the last record did not come yet.
    begun: Option<Set>,
    /// The set in force.
    set: Option<Set>,
}

/// Thinned batches that were made together.
struct Set {
    last: BatchSeq,
    until: RecordSeq,
    batches: BTreeMap<BatchSeq, Standing>,
}

impl<D: Disk> Spool<D> {
    /// Opens the spool in `dir`, making it if need be.
    ///
    /// # Errors
    /// If another agent has it, or the disk fails. Damage is no error: see [`Opened`].
    pub fn open(
        disk: D,
        dir: &Path,
        limits: Limits,
        owner: Owner,
        fresh: Fresh,
    ) -> Result<(Self, Opened), SpoolError> {
        let options = options(limits).with_salt(fresh.salt);
        let (log, recovery) = Log::open(disk.clone(), dir, options).map_err(|source| {
            let dir = dir.to_owned();
            if matches!(source, LogError::AlreadyOpen { .. }) {
                SpoolError::Locked { dir }
            } else {
                SpoolError::Open { dir, source }
            }
        })?;
        let found =
            scan(&log).map_err(|source| SpoolError::Read { dir: dir.to_owned(), source })?;
        let is_new_epoch = found.eras.is_empty() || found.is_spent(&log);
        let until = found.until();
        let (mut eras, schemas) = found.eras(&log);
        if is_new_epoch {
            eras.push(Era::new(fresh.epoch));
        }
        let mut spool = Self {
            disk,
            dir: dir.to_owned(),
            limits,
            owner,
            at: eras.len() - 1,
            eras,
            // A cut may have kept the cursor from moving past what was thinned.
            released: log.cursor().max(until),
            tries_apart: 0,
            schemas,
            in_segment: Vec::new(),
            latest: None,
            pending: VecDeque::new(),
            ahead: None,
            log,
        };
        spool.release_rest();
        Ok((spool, Opened { recovery, is_new_epoch }))
    }
}

/// A spool below [`super::BYTES_MIN`], as tests have it, takes smaller batches only.
fn options(limits: Limits) -> Options {
    let segment_bytes = limits.segment_bytes();
    let largest = u64::try_from(HEAD_BYTES_MAX + limits::BODY_BYTES_MAX).unwrap_or(u64::MAX);
    let record_bytes_max = largest.min(segment_bytes.saturating_sub(HEADER_BYTES + FRAME_BYTES));
    let record_bytes_max = u32::try_from(record_bytes_max).expect("far below 4 GiB");
    Options::new(segment_bytes, record_bytes_max).expect("the largest record fits a segment")
}

impl Found {
    fn note(&mut self, at: RecordSeq, record: &Record<'_>, cursor: RecordSeq) {
        self.last_record = Some(at);
        match record {
            Record::Schema { id, .. } => {
                self.schemas.insert(*id, at);
            }
            Record::Gap { head, .. } => {
                // A gap stands behind its batch; without any batch of its epoch it fills nothing.
                let mut eras = self.eras.iter_mut();
                if let Some(found) = eras.find(|found| found.era.epoch == head.epoch) {
                    found.era.gaps.insert(head.sequence, at);
                }
            }
            Record::Batch { head, .. } => self.enter(head).note_batch(at, head, cursor),
            Record::Thinned { head, stands, .. } => self.enter(head).note_thinned(at, head, stands),
        }
    }

    /// The epoch of a record: the last one, or a new one behind it.
    fn enter(&mut self, head: &Head) -> &mut FoundEra {
        if self.eras.last().is_none_or(|found| found.era.epoch != head.epoch) {
            self.eras.push(FoundEra::new(head.epoch));
        }
        self.eras.last_mut().expect("there is one now")
    }

    /// Whether the end is damaged and a new epoch cheaper than filling as many sequences as may
    /// have gone with it: nothing readable waits, or they may be very many.
    fn is_spent<D: Disk>(&self, log: &Log<D>) -> bool {
        let last = self.last_record.unwrap_or(RecordSeq::NONE);
        let lost = log.next_seq().get().saturating_sub(last.next().get());
        let is_waiting = |found: &FoundEra| {
            found.set.is_some() || found.newest.is_some_and(|(at, _)| at > log.cursor())
        };
        lost > FILLED_MAX || (lost > 0 && !self.eras.last().is_some_and(is_waiting))
    }

    /// Records lost at the end may have been batches: their sequences are spent, and filled. Not
    /// where another epoch begins: nothing is numbered behind them any more.
    fn lost_at_end<D: Disk>(&self, log: &Log<D>) -> Lost {
        if self.is_spent(log) {
            return Lost::default();
        }
        let last = self.last_record.unwrap_or(RecordSeq::NONE).get();
        let behind = log.next_seq().get().saturating_sub(last + 1);
        Lost { behind, released: log.cursor().get().saturating_sub(last), before: 0 }
    }

    /// Records through this one are void, whatever the cursor says.
    fn until(&self) -> RecordSeq {
        let sets = self.eras.iter().filter_map(|found| found.set.as_ref());
        sets.map(|set| set.until).max().unwrap_or(RecordSeq::NONE)
    }

    /// The epochs, each with the eldest batch to send and what the next one gets; and the schemas.
    fn eras<D: Disk>(self, log: &Log<D>) -> (Vec<Era>, BTreeMap<SchemaId, RecordSeq>) {
        let at_end = self.lost_at_end(log);
        let count = self.eras.len();
        let eras = self.eras.into_iter().enumerate().map(|(index, found)| {
            let lost = if index + 1 == count { at_end } else { Lost::default() };
            let before = if index == 0 { self.lost_before_first } else { 0 };
            found.bounded(Lost { before, ..lost })
        });
        (eras.collect(), self.schemas)
    }
}

/// Records that cannot be read, where they may have been batches.
#[derive(Clone, Copy, Default)]
struct Lost {
    /// Before the first batch, and not released.
    before: u64,
    /// Behind the last one.
    behind: u64,
    /// Of those, released.
    released: u64,
}

impl FoundEra {
    fn new(epoch: SpoolEpoch) -> Self {
        let (first, newest, released) = (None, None, None);
        Self { era: Era::new(epoch), first, newest, released, begun: None, set: None }
    }

    fn note_batch(&mut self, at: RecordSeq, head: &Head, cursor: RecordSeq) {
        self.first.get_or_insert(head.sequence);
        self.newest = Some((at, head.sequence));
        if at <= cursor {
            self.released = Some(head.sequence);
        }
        let places = &mut self.era.places;
        if head.sequence.get() % PLACE_STRIDE == 1 || places.is_empty() {
            places.insert(head.sequence, Place { record: at, created: head.created });
        }
    }

    fn note_thinned(&mut self, at: RecordSeq, head: &Head, stands: &Stands) {
        let is_next = |set: &Set| {
            let before = set.batches.last_key_value();
            set.last == stands.last && before.is_none_or(|(before, _)| *before < head.sequence)
        };
        let Stands { last, until, .. } = *stands;
        let begun = self.begun.take().filter(is_next);
        let set = self.begun.insert(begun.unwrap_or(Set { last, until, batches: BTreeMap::new() }));
        let Stands { first, since, .. } = *stands;
        let standing = Standing { record: at, schema: head.schema, first, since };
        set.batches.insert(head.sequence, standing);
        if head.sequence < stands.last {
            return;
        }
        // Complete: what it stands for is void, with the gaps in it.
        self.set = self.begun.take();
        self.era.gaps = self.era.gaps.split_off(&stands.last.next());
        let newest = self.newest.map(|(_, newest)| newest);
        self.first = newest.filter(|newest| *newest > stands.last).map(|_| stands.last.next());
        if self.first.is_none() {
            self.newest = Some((at, head.sequence));
        }
    }

    /// Drops what turned out to be released: whatever stood before a released batch.
    fn settle(&mut self) {
        let last = self.set.as_ref().map(|set| set.last);
        // A batch that was thinned is not released by the cursor, only void.
        self.released = self.released.filter(|released| last.is_none_or(|last| *released > last));
        if self.released.is_some() {
            self.set = None;
        }
    }

    /// With the eldest batch to send, and what the next one gets.
    fn bounded(self, lost: Lost) -> Era {
        let Some((_, newest)) = self.newest else { return self.era };
        let next = plus(newest, lost.behind + 1);
        let thinned = self.set.map(|set| set.batches).unwrap_or_default();
        let eldest = thinned.first_key_value().map(|(first, _)| *first);
        let lowest = match (self.released, eldest, self.first) {
            (Some(released), _, _) => plus(released, lost.released + 1),
            (None, Some(first), _) => first,
            // Nothing readable was released: what was lost before the first batch is owed too.
            (None, None, Some(first)) => {
                BatchSeq::new(first.get().saturating_sub(lost.before)).unwrap_or(BatchSeq::FIRST)
            }
            (None, None, None) => next,
        };
        let lowest = lowest.min(next);
        Era { lowest, next, thinned, peak: lowest, ..self.era }
    }
}

fn plus(sequence: BatchSeq, count: u64) -> BatchSeq {
    BatchSeq::new(sequence.get().saturating_add(count)).expect("more than a sequence is not zero")
}

fn scan<D: Disk>(log: &Log<D>) -> Result<Found, LogError> {
    let mut found = Found::default();
    let cursor = log.cursor();
    for record in log.read_from(log.first_seq()) {
        match record {
            Ok((at, payload)) => match Record::decode(&payload) {
                Some(record) => found.note(at, &record, cursor),
                // Of a later version of this program: kept, and not counted as lost.
                None => found.last_record = Some(at),
            },
            Err(LogError::Lost { first, last, .. }) => {
                if found.eras.iter().all(|found| found.first.is_none()) {
                    let from = first.get().max(cursor.get() + 1);
                    found.lost_before_first += (last.get() + 1).saturating_sub(from);
                }
            }
            Err(e) => return Err(e),
        }
    }
    found.eras.iter_mut().for_each(FoundEra::settle);
    // Thinned batches of a set that was never completed are none.
    found.eras.retain(|found| found.newest.is_some());
    Ok(found)
}
