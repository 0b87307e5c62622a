//! When the journal asks for a snapshot, and which of its segments it lets go.
//!
//! # Invariants
//! - A segment goes only when every record in it is older than is to be kept, when two snapshots
//!   stand behind it, and when its hash is durable in the journal.

use bijli_ledger::leaf::Pruned;
use bijli_seglog::{Disk, Log, LogError, SealedSegment, SegmentId};
use bijli_wire::{Millis, UtcMillis};
use sha2::{Digest as _, Sha256};

use super::{Writer, chain, lock, plain};
use crate::frame::Frame;
use crate::snapshot::Keeping;

/// What is set, and how far it is.
#[derive(Debug)]
pub struct Retention {
    /// A snapshot is asked for when so many bytes of records came since the one before.
    pub snapshot_after: u64,
    /// So many came.
    pub grown: u64,
    /// How long raw segments are kept; `None`: for ever.
    pub keep: Option<Millis>,
    /// Which records snapshots stand for.
    pub keeping: Keeping,
    /// When the eldest segment had ended: it may wait for a year, and each group asks for it.
    pub ended: Option<(SegmentId, UtcMillis)>,
}

impl Retention {
    /// No snapshots, and every segment is kept.
    #[must_use]
    pub fn none() -> Self {
        let keeping = Keeping::default();
        Self { snapshot_after: u64::MAX, grown: 0, keep: None, keeping, ended: None }
    }
}

impl<D: Disk> Writer<D> {
    /// Asks for a snapshot if one is due, and lets one segment go if one may.
    ///
    /// # Errors
    /// Only what cannot be recovered from without a restart.
    pub fn tend(&mut self) -> Result<(), LogError> {
        let now = self.setting.clock.now();
        self.tend_at(now)
    }

    /// The same at a moment of the caller's.
    ///
    /// # Errors
    /// As [`Writer::tend`].
    pub fn tend_at(&mut self, now: UtcMillis) -> Result<(), LogError> {
        if self.setting.retention.grown >= self.setting.retention.snapshot_after {
            self.setting.retention.grown = 0;
            self.write(vec![plain(Frame::Snapshot { received: now })])?;
        }
        match self.eldest_needless(now) {
            Some(segment) => self.let_go(&segment, now),
            None => Ok(()),
        }
    }

    fn eldest_needless(&mut self, now: UtcMillis) -> Option<SealedSegment> {
        let Retention { keep, keeping, .. } = &self.setting.retention;
        let keep = i64::try_from((*keep)?.get()).unwrap_or(i64::MAX);
        let segment = self.log.sealed_segments().next()?;
        // The record of the snapshot itself must stay: it says whose snapshot that is.
        if segment.last >= keeping.needed_from() {
            return None;
        }
        let known = self.setting.retention.ended.filter(|(id, _)| *id == segment.id);
        let ended = known.map_or_else(|| self.end_of(&segment), |(_, ended)| Some(ended))?;
        self.setting.retention.ended = Some((segment.id, ended));
        (ended.get() < now.get().saturating_sub(keep)).then_some(segment)
    }

    /// Records are in the order of their coming, so the first one behind it says enough.
    fn end_of(&self, segment: &SealedSegment) -> Option<UtcMillis> {
        let mut behind = self.log.read_from(segment.last.next());
        behind.find_map(|record| Some(Frame::decode(&record.ok()?.1).ok()?.received()))
    }

    fn let_go(&mut self, segment: &SealedSegment, now: UtcMillis) -> Result<(), LogError> {
        // A crash may have come between the record and the unlinking.
        if lock(&self.intake).pruned() < segment.id.get() {
            let pruned = match hashed(&self.log, segment) {
                Ok(pruned) => pruned,
                Err(error) => {
                    tracing::error!(error = chain(&error), "a segment cannot be read to be let go");
                    return Ok(());
                }
            };
            self.write(vec![plain(Frame::Pruned { received: now, pruned })])?;
        }
        if lock(&self.intake).pruned() < segment.id.get() {
            // The disk took nothing; it was told.
            return Ok(());
        }
        let gone = self.log.advance_cursor(segment.last);
        match gone.and_then(|()| self.log.unlink_before(segment.last.next())) {
            Ok(count) => {
                self.setting.health.snapshots.segments_pruned.inc_by(count);
                tracing::info!(segment = %segment.id, last = %segment.last, "let go of a segment");
                Ok(())
            }
            Err(error) if self.log.is_poisoned() => Err(error),
            Err(error) => {
                tracing::error!(error = chain(&error), "a segment cannot be let go of");
                Ok(())
            }
        }
    }
}

fn hashed<D: Disk>(log: &Log<D>, segment: &SealedSegment) -> Result<Pruned, LogError> {
    let (mut hash, mut bytes) = (Sha256::new(), 0);
    log.read_raw(segment, |read| {
        hash.update(read);
        bytes += super::len(read);
    })?;
    Ok(Pruned {
        segment: segment.id.get(),
        first: segment.first.get(),
        last: segment.last.get(),
        bytes,
        sha256: hash.finalize().into(),
    })
}
