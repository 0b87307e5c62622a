//! The epochs of a spool, one after the other in its log, and which of them is sent.
//!
//! A new epoch begins when the collector knows more of ours than we do: this disk was rolled back
//! to an elder state, or there are two of it. What waits of the elder epoch keeps its numbers and
//! is sent first; nothing is encoded twice.
//!
//! # Invariants
//! - Only the last epoch is written, and none is written again after it.
//! - An elder epoch is kept as long as its batches, so that they can be sent again.

use std::collections::BTreeMap;

use bijli_seglog::{Disk, LogError, RecordSeq};
use bijli_wire::{BatchSeq, SpoolEpoch};

use super::record::Record;
use super::room::Standing;
use super::{Loaded, Owner, PLACE_STRIDE, Place, Spool, SpoolError};

/// The batches of one epoch.
#[derive(Clone, Debug)]
pub(super) struct Era {
    pub(super) epoch: SpoolEpoch,
    /// What the next batch gets.
    pub(super) next: BatchSeq,
    /// The eldest batch not released.
    pub(super) lowest: BatchSeq,
    /// Every [`PLACE_STRIDE`]th batch.
    pub(super) places: BTreeMap<BatchSeq, Place>,
    /// Batches read since the last release: where exactly.
    pub(super) located: BTreeMap<BatchSeq, RecordSeq>,
    /// What stands in the place of a batch, while that is on disk.
    pub(super) gaps: BTreeMap<BatchSeq, RecordSeq>,
    /// Gap records that waited in memory for the disk when they were made: one for a sequence,
    /// however often it is asked for meanwhile. In force when it is asked for and durable.
    pub(super) gaps_to_come: BTreeMap<BatchSeq, RecordSeq>,
    /// Those that stand for all that waited before them, and are the eldest.
    pub(super) thinned: BTreeMap<BatchSeq, Standing>,
    /// The largest [`Self::lowest`] there was: what was sent lies not far beyond it.
    pub(super) peak: BatchSeq,
}

/// The epoch that is sent now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    pub epoch: SpoolEpoch,
    /// The eldest batch not released.
    pub lowest: BatchSeq,
    /// One after the newest on disk.
    pub next: BatchSeq,
    /// It is also the one that is written.
    pub is_last: bool,
}

impl Era {
    pub(super) const fn new(epoch: SpoolEpoch) -> Self {
        Self {
            epoch,
            next: BatchSeq::FIRST,
            lowest: BatchSeq::FIRST,
            places: BTreeMap::new(),
            located: BTreeMap::new(),
            gaps: BTreeMap::new(),
            gaps_to_come: BTreeMap::new(),
            thinned: BTreeMap::new(),
            peak: BatchSeq::FIRST,
        }
    }

    /// Gives the next number to the batch there.
    pub(super) fn number(&mut self, place: Place) {
        if self.next.get() % PLACE_STRIDE == 1 {
            self.places.insert(self.next, place);
        }
        self.next = self.next.next();
    }

    /// Returns the last record that is released by it, if it was read.
    pub(super) fn release(&mut self, through: BatchSeq) -> Option<RecordSeq> {
        self.lowest = self.lowest.max(through.next());
        self.peak = self.peak.max(self.lowest);
        self.thinned = self.thinned.split_off(&self.lowest);
        let at = self.located.range(..=through).next_back().map(|(_, at)| *at);
        self.located = self.located.split_off(&self.lowest);
        self.gaps_to_come = self.gaps_to_come.split_off(&self.lowest);
        at
    }

    /// A set of thinned batches is in force: everything through `last` is in it.
    pub(super) fn thin(&mut self, thinned: BTreeMap<BatchSeq, Standing>, last: BatchSeq) {
        if let Some((lowest, _)) = thinned.first_key_value() {
            self.lowest = *lowest;
            self.peak = self.peak.max(self.lowest);
        }
        let behind = last.next();
        self.gaps = self.gaps.split_off(&behind);
        self.gaps_to_come = self.gaps_to_come.split_off(&behind);
        self.located = self.located.split_off(&behind);
        self.thinned = thinned;
    }

    /// Batches that are not released.
    pub(super) fn waiting(&self) -> u64 {
        self.next.get().saturating_sub(self.lowest.get())
    }

    /// A record at or before a batch.
    pub(super) fn before(&self, sequence: BatchSeq) -> Option<RecordSeq> {
        self.places.range(..=sequence).next_back().map(|(_, place)| place.record)
    }
}

impl<D: Disk> Spool<D> {
    /// The epoch that is sent.
    #[must_use]
    pub fn page(&self) -> Page {
        let Era { epoch, lowest, next, .. } = *self.sent();
        let is_last = self.at + 1 == self.eras.len();
        // What waits in memory for the disk is never sent; elder epochs have none of it.
        let pending = self.pending.front().filter(|_| is_last).map(|(_, sequence)| *sequence);
        Page { epoch, lowest, next: pending.unwrap_or(next), is_last }
    }

    /// Goes on with the next epoch, if there is one.
    pub fn turn(&mut self) {
        self.open_at((self.at + 1).min(self.eras.len() - 1));
    }

    /// Goes back to the eldest epoch of which anything is on disk.
    pub fn turn_to_first(&mut self) {
        self.open_at(0);
    }

    /// Whether batches of an epoch before the page are on disk.
    #[must_use]
    pub fn has_elder(&self) -> bool {
        self.at > 0
    }

    /// Whose batches these are.
    #[must_use]
    pub fn owner(&self) -> &Owner {
        &self.owner
    }

    /// Batches of all epochs that are not released.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        self.eras.iter().map(Era::waiting).sum()
    }

    /// A batch of the page out of its turn: reading on in order is not disturbed.
    ///
    /// # Errors
    /// As [`Spool::load`].
    pub fn peek(&mut self, sequence: BatchSeq) -> Result<Loaded, SpoolError> {
        let ahead = self.ahead.take();
        let loaded = self.load(sequence);
        self.ahead = ahead;
        loaded
    }

    /// The eldest batch of the page that can be sent: released ones are, while they are kept.
    ///
    /// # Errors
    /// If the disk cannot be read.
    pub fn oldest(&mut self) -> Result<BatchSeq, SpoolError> {
        let Page { epoch, lowest, .. } = self.page();
        // What a set of thinned batches stands for will never come.
        if lowest == BatchSeq::FIRST || !self.sent().thinned.is_empty() {
            return Ok(lowest);
        }
        let elder = self.at.checked_sub(1).and_then(|before| self.eras.get(before));
        let last = elder.and_then(|elder| elder.places.values().next_back());
        let from = last.map_or(self.log.first_seq(), |place| place.record);
        for found in self.log.read_from(from) {
            match found {
                Ok((_, payload)) => {
                    if let Some(Record::Batch { head, .. }) = Record::decode(&payload)
                        && head.epoch == epoch
                    {
                        return Ok(head.sequence.min(lowest));
                    }
                }
                Err(LogError::Lost { .. }) => {}
                Err(source) => return Err(SpoolError::Read { dir: self.dir.clone(), source }),
            }
        }
        Ok(lowest)
    }

    /// Takes releases of the page back, durably: everything from `to` on is to be sent again, as
    /// far as it is on disk. Returns the eldest batch to send.
    ///
    /// # Errors
    /// If the disk fails; then nothing is taken back.
    pub fn rewind(&mut self, to: BatchSeq) -> Result<BatchSeq, SpoolError> {
        let to = to.max(self.oldest()?);
        let era = self.sent();
        if to >= era.lowest {
            return Ok(era.lowest);
        }
        // At most a stride too far: after a restart those are sent once more, as duplicates.
        let from = era.before(to).unwrap_or(self.log.first_seq());
        let through = RecordSeq::new(from.get().saturating_sub(1));
        self.log.rewind_cursor(through).map_err(|source| SpoolError::Release { source })?;
        self.released = self.released.min(through);
        self.ahead = None;
        let era = self.sent_mut();
        era.lowest = to;
        era.located.clear();
        Ok(to)
    }

    /// Numbers new batches from 1 in another epoch. False: not while batches wait for the disk.
    pub fn renew_epoch(&mut self, epoch: SpoolEpoch) -> bool {
        if !self.pending.is_empty() {
            return false;
        }
        if self.next() == BatchSeq::FIRST {
            // Nothing was ever written in it.
            self.written_mut().epoch = epoch;
        } else {
            self.eras.push(Era::new(epoch));
        }
        true
    }

    pub(super) fn sent(&self) -> &Era {
        self.eras.get(self.at).expect("a page is always open")
    }

    pub(super) fn sent_mut(&mut self) -> &mut Era {
        self.eras.get_mut(self.at).expect("a page is always open")
    }

    pub(super) fn written(&self) -> &Era {
        self.eras.last().expect("there is always an epoch")
    }

    pub(super) fn written_mut(&mut self) -> &mut Era {
        self.eras.last_mut().expect("there is always an epoch")
    }

    /// Whether this epoch began after the one that is sent.
    pub(super) fn is_later(&self, epoch: SpoolEpoch) -> bool {
        self.eras.iter().skip(self.at + 1).any(|era| era.epoch == epoch)
    }

    /// What waited in memory is given up, and its records are numbered again.
    pub(super) fn discard_pending(&mut self) {
        let durable = self.log.durable_seq();
        self.log.discard_pending();
        self.eras.iter_mut().for_each(|era| era.gaps_to_come.retain(|_, at| *at <= durable));
    }

    /// Records before `first` are gone.
    pub(super) fn forget_before(&mut self, first: RecordSeq) {
        for era in &mut self.eras {
            era.places.retain(|_, place| place.record >= first);
            era.gaps.retain(|_, at| *at >= first);
            era.gaps_to_come.retain(|_, at| *at >= first);
        }
        let is_over = |era: &Era| era.places.is_empty() && era.lowest >= era.next;
        while self.at > 0 && self.eras.first().is_some_and(is_over) {
            self.eras.remove(0);
            self.at -= 1;
        }
    }

    fn open_at(&mut self, at: usize) {
        if at != self.at {
            self.at = at;
            self.ahead = None;
        }
    }
}
