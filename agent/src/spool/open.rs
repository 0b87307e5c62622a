//! How a spool starts: what its records say about epoch, sequences and what is still to be sent.
//!
//! # Recovery
//! Reads every record once. A set of thinned batches is in force once its last one was read: the
//! batches it stands for are void, whether or not they were unlinked. A sequence whose bytes are gone is not given out again: it is found
//! unreadable when its turn comes, and filled by a gap record.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;

use bijli_seglog::{Disk, FRAME_BYTES, HEADER_BYTES, Log, LogError, Options, RecordSeq, Recovery};
use bijli_wire::{BatchSeq, SchemaId, SpoolEpoch, limits};

use super::record::{HEAD_BYTES_MAX, Head, Record, Stands};
use super::room::Standing;
use super::{Limits, Owner, PLACE_STRIDE, Place, Spool, SpoolError};

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
    /// No batch was there: a new spool, or one that lost everything.
    pub is_new_epoch: bool,
}

/// What the records say.
#[derive(Default)]
struct Found {
    places: BTreeMap<BatchSeq, Place>,
    gaps: BTreeMap<BatchSeq, RecordSeq>,
    schemas: BTreeMap<SchemaId, RecordSeq>,
    first_batch: Option<BatchSeq>,
    newest: Option<(RecordSeq, Head)>,
    /// The newest batch that the cursor releases.
    released: Option<BatchSeq>,
    last_record: Option<RecordSeq>,
    /// Records lost behind the cursor and before the first batch that is left.
    lost_before_first: u64,
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
        let mut found =
            scan(&log).map_err(|source| SpoolError::Read { dir: dir.to_owned(), source })?;
        if found.is_spent(&log) {
            found.forget_batches();
        }
        let (lowest, next) = found.bounds(&log);
        let is_new_epoch = found.newest.is_none();
        let until = found.set.as_ref().map_or(RecordSeq::NONE, |set| set.until);
        let spool = Self {
            disk,
            dir: dir.to_owned(),
            limits,
            owner,
            epoch: found.newest.map_or(fresh.epoch, |(_, head)| head.epoch),
            next,
            lowest,
            // A cut may have kept the cursor from moving past what was thinned.
            released: log.cursor().max(until),
            gaps: found.gaps,
            thinned: found.set.map(|set| set.batches).unwrap_or_default(),
            peak: lowest,
            tries_apart: 0,
            places: found.places,
            located: BTreeMap::new(),
            schemas: found.schemas,
            in_segment: Vec::new(),
            pending: VecDeque::new(),
            ahead: None,
            log,
        };
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
                self.gaps.insert(head.sequence, at);
            }
            Record::Batch { head, .. } => {
                self.enter(head);
                self.first_batch.get_or_insert(head.sequence);
                self.newest = Some((at, *head));
                if at <= cursor {
                    self.released = Some(head.sequence);
                }
                if head.sequence.get() % PLACE_STRIDE == 1 || self.places.is_empty() {
                    self.places.insert(head.sequence, Place { record: at, created: head.created });
                }
            }
            Record::Thinned { head, stands, .. } => {
                self.enter(head);
                self.note_thinned(at, head, stands);
            }
        }
    }

    /// An elder epoch's batches cannot be numbered with a younger one's.
    fn enter(&mut self, head: &Head) {
        if self.newest.is_some_and(|(_, newest)| newest.epoch != head.epoch) {
            self.forget_batches();
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
        self.gaps = self.gaps.split_off(&stands.last.next());
        let newest = self.newest.map(|(_, newest)| newest.sequence);
        self.first_batch =
            newest.filter(|newest| *newest > stands.last).map(|_| stands.last.next());
        if self.first_batch.is_none() {
            self.newest = Some((at, *head));
        }
    }

    /// Whether nothing readable waits and the end is damaged: how many sequences went with it is
    /// unknown, and a new epoch is cheaper than filling as many as there may have been.
    fn is_spent<D: Disk>(&self, log: &Log<D>) -> bool {
        let last = self.last_record.unwrap_or(RecordSeq::NONE);
        let waits = self.set.is_some() || self.newest.is_some_and(|(at, _)| at > log.cursor());
        !waits && log.next_seq() > last.next()
    }

    fn forget_batches(&mut self) {
        self.places.clear();
        self.gaps.clear();
        (self.first_batch, self.newest, self.released) = (None, None, None);
        (self.begun, self.set) = (None, None);
    }

    /// Drops what turned out to be released: whatever stood before a released batch.
    fn settle(&mut self) {
        let last = self.set.as_ref().map(|set| set.last);
        // A batch that was thinned is not released by the cursor, only void.
        self.released = self.released.filter(|released| last.is_none_or(|last| *released > last));
        if self.released.is_some() {
            self.set = None;
        }
        self.gaps.retain(|sequence, _| self.released.is_none_or(|released| *sequence > released));
    }

    /// The eldest batch to send, and what the next one gets.
    fn bounds<D: Disk>(&self, log: &Log<D>) -> (BatchSeq, BatchSeq) {
        let Some((_, newest)) = self.newest else { return (BatchSeq::FIRST, BatchSeq::FIRST) };
        // Records lost at the end may have been batches: their sequences are spent.
        let last = self.last_record.unwrap_or(RecordSeq::NONE).get();
        let lost = log.next_seq().get().saturating_sub(last + 1);
        let next = plus(newest.sequence, lost + 1);
        let released_of_lost = log.cursor().get().saturating_sub(last);
        let thinned = self.set.as_ref().and_then(|set| set.batches.first_key_value());
        let lowest = match (self.released, thinned, self.first_batch) {
            (Some(released), _, _) => plus(released, released_of_lost + 1),
            (None, Some((first, _)), _) => *first,
            // Nothing readable was released: what was lost before the first batch is owed too.
            (None, None, Some(first)) => {
                BatchSeq::new(first.get().saturating_sub(self.lost_before_first))
                    .unwrap_or(BatchSeq::FIRST)
            }
            (None, None, None) => next,
        };
        (lowest.min(next), next)
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
                if found.first_batch.is_none() {
                    let from = first.get().max(cursor.get() + 1);
                    found.lost_before_first += (last.get() + 1).saturating_sub(from);
                }
            }
            Err(e) => return Err(e),
        }
    }
    found.settle();
    Ok(found)
}
