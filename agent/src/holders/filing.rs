//! Which records wait for the spool. A record may go when the batch with its fact is on disk.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bijli_wire::{BatchSeq, SpoolEpoch};

use super::folder;
use crate::spool::Stored;

/// Records that are on their way: not read again, and not removed yet.
#[derive(Debug, Default)]
pub struct Desk(Mutex<BTreeSet<PathBuf>>);

impl Desk {
    pub(super) fn hand(&self, records: &[PathBuf]) {
        self.lock().extend(records.iter().cloned());
    }

    pub(super) fn is_handed(&self, record: &Path) -> bool {
        self.lock().contains(record)
    }

    /// Their facts are on disk.
    fn remove(&self, records: &[PathBuf]) {
        for record in records {
            match folder::remove(record) {
                // One that cannot be removed is not read again before the next start.
                Err(e) => tracing::error!("cannot remove {}: {e}", record.display()),
                Ok(()) => {
                    self.lock().remove(record);
                }
            }
        }
    }

    /// Their facts were not kept: they are read again.
    fn lay_back(&self, records: &[PathBuf]) {
        let mut handed = self.lock();
        handed.retain(|record| !records.contains(record));
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<PathBuf>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Follows the facts of records through batches to the disk.
#[derive(Debug)]
pub struct Filing {
    desk: std::sync::Arc<Desk>,
    /// Their facts are in the batch that is gathered.
    gathered: Vec<PathBuf>,
    /// By batch, not durable yet.
    waiting: Vec<(SpoolEpoch, BatchSeq, Vec<PathBuf>)>,
}

impl Filing {
    #[must_use]
    pub const fn new(desk: std::sync::Arc<Desk>) -> Self {
        Self { desk, gathered: Vec::new(), waiting: Vec::new() }
    }

    pub fn gather(&mut self, records: Vec<PathBuf>) {
        self.gathered.extend(records);
    }

    /// The batch found no place.
    pub fn refused(&mut self, records: &[PathBuf]) {
        self.desk.lay_back(records);
    }

    /// What became of the batch that was gathered, and which epoch is written now.
    pub fn follow(
        &mut self,
        (epoch, sequence): (SpoolEpoch, BatchSeq),
        outcome: Option<&Stored>,
        now: SpoolEpoch,
    ) {
        let records = std::mem::take(&mut self.gathered);
        match outcome {
            Some(Stored::Full) | None => self.desk.lay_back(&records),
            Some(Stored::Waiting) => self.waiting.push((epoch, sequence, records)),
            Some(Stored::Durable { through }) => {
                self.waiting.push((epoch, sequence, records));
                self.durable(now, *through);
            }
        }
    }

    /// Everything of an epoch through a batch is on disk. Of a former epoch nothing is said any
    /// more: what waits of it is told again.
    fn durable(&mut self, epoch: SpoolEpoch, through: BatchSeq) {
        for (of, sequence, records) in std::mem::take(&mut self.waiting) {
            if of != epoch {
                self.desk.lay_back(&records);
            } else if sequence <= through {
                self.desk.remove(&records);
            } else {
                self.waiting.push((of, sequence, records));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::record::{Edge, Record, When};
    use super::*;

    fn seq(number: u64) -> BatchSeq {
        BatchSeq::new(number).expect("from 1")
    }

    /// Goal: a record outlives everything but the fsync of its fact.
    #[test]
    fn a_record_goes_when_its_batch_is_durable_and_not_before() {
        let home = tempfile::tempdir().expect("a folder");
        let left = |at_ms: i64| {
            let when = When { at_ms, uptime_ms: 1, boot: String::new() };
            let record = Record::of(Edge::Start, when, &|_| Some("7".to_owned()));
            folder::leave(home.path(), &record.expect("a record"), 1).expect("left");
        };
        (1..=3).for_each(left);
        let desk = Arc::new(Desk::default());
        let unread =
            || folder::list(home.path(), |path| desk.is_handed(path), 64).expect("a folder");
        let mut filing = Filing::new(Arc::clone(&desk));
        let (epoch, other) = (SpoolEpoch::new([1; 16]), SpoolEpoch::new([2; 16]));
        for (number, record) in (1..).zip(unread()) {
            desk.hand(std::slice::from_ref(&record));
            filing.gather(vec![record]);
            filing.follow((epoch, seq(number)), Some(&Stored::Waiting), epoch);
        }
        assert_eq!(unread(), Vec::<PathBuf>::new());
        let there = || folder::list(home.path(), |_| false, 64).expect("a folder").len();
        filing.follow((epoch, seq(4)), Some(&Stored::Durable { through: seq(1) }), epoch);
        assert_eq!((there(), unread().len()), (2, 0));
        // The spool began another epoch: nobody knows of the second and third.
        filing.follow((other, seq(1)), Some(&Stored::Durable { through: seq(1) }), other);
        assert_eq!((there(), unread().len()), (2, 2));
    }
}
