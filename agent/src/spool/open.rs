//! How a spool starts: what its records say about epoch, sequences and what is still to be sent.
//!
//! # Recovery
//! Reads every record once. A sequence whose bytes are gone is not given out again: it is found
//! unreadable when its turn comes, and filled by a gap record.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;

use bijli_seglog::{Disk, Log, LogError, Options, RecordSeq, Recovery};
use bijli_wire::{BatchSeq, SchemaId, SpoolEpoch, limits};

use super::record::{HEAD_BYTES_MAX, Head, Record};
use super::{Limits, Owner, PLACE_STRIDE, Place, SEGMENT_BYTES, Spool, SpoolError};

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
        let record_bytes_max = u32::try_from(HEAD_BYTES_MAX + limits::BODY_BYTES_MAX)
            .expect("a head and a body are far below 4 GiB");
        let options = Options::new(SEGMENT_BYTES, record_bytes_max)
            .expect("4 MiB hold a record of the largest body")
            .with_salt(fresh.salt);
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
        let spool = Self {
            disk,
            dir: dir.to_owned(),
            limits: Limits { bytes_max: limits.bytes_max.max(super::BYTES_MIN), ..limits },
            owner,
            epoch: found.newest.map_or(fresh.epoch, |(_, head)| head.epoch),
            next,
            lowest,
            released: log.cursor(),
            gaps: found.gaps,
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
                if self.newest.is_some_and(|(_, newest)| newest.epoch != head.epoch) {
                    // An elder epoch's batches cannot be numbered with this one's.
                    self.places.clear();
                    self.gaps.clear();
                    (self.first_batch, self.released) = (None, None);
                }
                self.first_batch.get_or_insert(head.sequence);
                self.newest = Some((at, *head));
                if at <= cursor {
                    self.released = Some(head.sequence);
                }
                if head.sequence.get() % PLACE_STRIDE == 1 || self.places.is_empty() {
                    self.places.insert(head.sequence, Place { record: at, created: head.created });
                }
            }
        }
    }

    /// Whether nothing readable waits and the end is damaged: how many sequences went with it is
    /// unknown, and a new epoch is cheaper than filling as many as there may have been.
    fn is_spent<D: Disk>(&self, log: &Log<D>) -> bool {
        let last = self.last_record.unwrap_or(RecordSeq::NONE);
        let waits = self.newest.is_some_and(|(at, _)| at > log.cursor());
        !waits && log.next_seq() > last.next()
    }

    fn forget_batches(&mut self) {
        self.places.clear();
        self.gaps.clear();
        (self.first_batch, self.newest, self.released) = (None, None, None);
    }

    /// The eldest batch to send, and what the next one gets.
    fn bounds<D: Disk>(&self, log: &Log<D>) -> (BatchSeq, BatchSeq) {
        let (Some((_, newest)), Some(first)) = (self.newest, self.first_batch) else {
            return (BatchSeq::FIRST, BatchSeq::FIRST);
        };
        // Records lost at the end may have been batches: their sequences are spent.
        let last = self.last_record.unwrap_or(RecordSeq::NONE).get();
        let lost = log.next_seq().get().saturating_sub(last + 1);
        let next = plus(newest.sequence, lost + 1);
        let released_of_lost = log.cursor().get().saturating_sub(last);
        let lowest = match self.released {
            Some(released) => plus(released, released_of_lost + 1),
            // Nothing readable was released: what was lost before the first batch is owed too.
            None => BatchSeq::new(first.get().saturating_sub(self.lost_before_first))
                .unwrap_or(BatchSeq::FIRST),
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
    found.gaps.retain(|sequence, _| found.released.is_none_or(|released| *sequence > released));
    Ok(found)
}
