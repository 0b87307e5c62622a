//! What must be true, whatever happens: held after every step against what really was.
//!
//! The oracle knows what no machine in the world knows: the exact energy behind every count that
//! was shown, every batch that became durable on an agent's disk, every acknowledgement that was
//! given. It decodes bodies itself and asks the books only what their readers may ask.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bijli_collector::bookkeeper::Bookkeeper;
use bijli_collector::intake::{Fact, Readings};
use bijli_collector::state::State;
use bijli_ledger::Books;
use bijli_wire::{
    BatchSeq, ContentHash, HubId, NodeId, Schema, SchemaId, SpoolEpoch, SubjectId, codec,
};

use crate::sensor::{POWER_MW_MAX, Truth, Truths};

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub invariant: &'static str,
    pub words: String,
}

impl Violation {
    pub fn new(invariant: &'static str, words: impl Into<String>) -> Self {
        Self { invariant, words: words.into() }
    }
}

pub type Lane = (NodeId, SpoolEpoch);
/// One batch.
pub type Key = (Lane, u64);

/// What really was.
#[derive(Debug, Default)]
pub struct Oracle {
    pub truths: Truths,
    /// Durable on the agent's disk, and nothing has happened to that disk since.
    pub spooled: BTreeSet<Key>,
    acked: BTreeMap<Key, ContentHash>,
    /// Ever acknowledged, whatever the collector's disk has lost since.
    told: BTreeSet<Key>,
    /// Booked by the collector that runs now.
    booked: BTreeSet<Key>,
    followed: BTreeMap<SubjectId, Base>,
    /// Since when the books hold the count they hold. A held register moves the time they tell.
    marked: BTreeMap<SubjectId, (i64, u64)>,
    /// The lowest sequence of each lane that its agent has not released.
    released: BTreeMap<Lane, BatchSeq>,
    /// How far the collector was in each lane.
    watermarks: BTreeMap<Lane, u64>,
    /// Batches that were refused because another sender of their name was taken to live: their
    /// agent keeps them aside as evidence.
    evidence: BTreeMap<Lane, BTreeSet<u64>>,
}

/// Where a subject's exact account begins, and what the books had then.
#[derive(Clone, Copy, Debug)]
struct Base {
    truth: Truth,
    booked: u128,
    /// What was carried below a millijoule then is not known.
    is_loose: bool,
}

/// A batch as it is booked, to be looked into if need be.
struct Booked {
    id: SchemaId,
    schema: Arc<Schema>,
    body: Vec<u8>,
    offset_ms: i64,
}

impl Booked {
    /// When a register first showed a count in it, as the books are told.
    fn shown_at(&self, subject: &SubjectId, count: u64) -> Option<i64> {
        let batch = codec::open(&self.body).ok()?.read(self.id, &self.schema).ok()?;
        let is_subject = |index: usize| self.schema.subjects[index].id == *subject;
        let count = i64::try_from(count).ok()?;
        let mut first: Option<i64> = None;
        for matrix in &batch.matrices {
            let series = &self.schema.groups[matrix.group].series;
            let of_it = series.iter().zip(&matrix.columns).filter(|(it, _)| is_subject(it.subject));
            for (time, value) in of_it.flat_map(|(_, column)| matrix.times.iter().zip(column)) {
                if *value == Some(count) {
                    let at = time.get() + self.offset_ms;
                    first = Some(first.map_or(at, |first| first.min(at)));
                }
            }
        }
        first
    }
}

/// What the books say of a subject at one moment.
#[derive(Clone, Copy, Debug)]
struct Said {
    last: Option<(i64, u64)>,
    booked: u128,
    flags: u128,
}

impl Oracle {
    pub fn collector_started(&mut self) {
        self.booked.clear();
        self.followed.clear();
        self.marked.clear();
    }

    /// A 200 was given to a batch.
    pub fn ack(&mut self, lane: Lane, sequence: u64, hash: ContentHash) {
        self.watermarks.entry(lane.clone()).or_default();
        let key = (lane, sequence);
        self.told.insert(key.clone());
        self.acked.insert(key, hash);
    }

    /// A batch was refused as another sender's.
    pub fn refuse_as_fork(&mut self, lane: Lane, sequence: u64) {
        self.evidence.entry(lane).or_default().insert(sequence);
    }

    #[must_use]
    pub fn is_evidence(&self, (lane, sequence): &Key) -> bool {
        self.evidence.get(lane).is_some_and(|sequences| sequences.contains(sequence))
    }

    #[must_use]
    pub fn acks(&self) -> usize {
        self.acked.len()
    }

    /// Acknowledged batches that are not in the journal are lost with a disk that lied, was
    /// replaced or set back. If agents still have them they are owed again; else their energy is
    /// in the next reading of each register, which is asked for at the end.
    pub fn forgive_lost(&mut self, journalled: &[ContentHash], are_kept: bool) {
        let there: BTreeSet<&ContentHash> = journalled.iter().collect();
        let lost = self.acked.extract_if(.., |_, hash| !there.contains(hash));
        for (key, _) in lost {
            if !are_kept {
                self.spooled.remove(&key);
            }
        }
        self.watermarks.values_mut().for_each(|reached| *reached = 0);
    }

    /// An agent's disk lied, went or was set back: nothing is promised of what it held.
    pub fn forgive_spool(&mut self, node: &NodeId) {
        self.spooled.retain(|((of, _), _)| of != node);
    }

    /// Hands a fact to the bookkeeper and holds what must be true before and after.
    ///
    /// # Errors
    /// Names the promise that is broken.
    pub fn book(
        &mut self,
        fact: Fact,
        bookkeeper: &mut Bookkeeper,
        state: &State,
    ) -> Result<(), Violation> {
        let mut subjects = Vec::new();
        let mut hub = None;
        let mut batch = None;
        if let Fact::Batch { schema, readings, id, offset_ms, .. } = &fact {
            self.invariant_booked_once(readings)?;
            hub = Some(schema.hub.clone());
            subjects.extend(schema.subjects.iter().map(|subject| subject.id.clone()));
            let (schema, body) = (Arc::clone(schema), readings.body.clone());
            batch = Some(Booked { id: *id, schema, body, offset_ms: *offset_ms });
        }
        let before = said(state, hub.as_ref(), &subjects);
        bookkeeper.book(fact);
        let after = said(state, hub.as_ref(), &subjects);
        for ((subject, before), after) in subjects.iter().zip(before).zip(after) {
            if let (Some(after), Some(batch)) = (after, &batch) {
                let held = self.invariant_energy_is_the_registers(batch, subject, before, after);
                held.map_err(|violation| with_events(violation, state, subject))?;
            }
        }
        state.hubs().iter().try_for_each(|hub| invariant_books_balance(&hub.books()))
    }

    /// I2.
    fn invariant_booked_once(&mut self, readings: &Readings) -> Result<(), Violation> {
        let broken = |words: String| Violation::new("booked once", words);
        let key = match &readings.decoded {
            Some(carried) => {
                let batch = carried.batch();
                ((batch.node.clone(), batch.epoch), batch.sequence.get())
            }
            None => {
                let envelope =
                    codec::open(&readings.body).map_err(|error| broken(error.to_string()))?;
                let envelope = envelope.envelope;
                ((envelope.node, envelope.epoch), envelope.sequence.get())
            }
        };
        let words = format!("batch {} of {} is booked again", key.1, key.0.0);
        if self.booked.insert(key) { Ok(()) } else { Err(broken(words)) }
    }

    /// I7: what is booked is the difference of the register, to the millijoule, or it is flagged
    /// and no more than the device can draw.
    fn invariant_energy_is_the_registers(
        &mut self,
        batch: &Booked,
        subject: &SubjectId,
        before: Option<Said>,
        after: Said,
    ) -> Result<(), Violation> {
        let broken = |words: String| {
            let words = format!("{subject}: {words}; before {before:?}, after {after:?}");
            Err(Violation::new("energy is the register's", words))
        };
        let Some((at, count)) = after.last else { return Ok(()) };
        let truth = self.truths.get(subject).and_then(|counts| counts.get(&count));
        let Some(truth) = truth.copied() else { return broken("a count nobody showed".into()) };
        let marked = self.marked.get(subject).copied();
        let flags_before = before.map_or(0, |said| said.flags);
        if marked.is_none_or(|(_, marked)| marked != count) {
            // If one batch brought the count and a step back from it, the books tell when it was
            // held; but they bound the next difference by the time since it was read, and so does
            // the promise: no more than the device can draw between two readings.
            let may_be_held = after.flags > flags_before;
            let read = if may_be_held { batch.shown_at(subject, count) } else { None };
            self.marked.insert(subject.clone(), (read.unwrap_or(at), count));
        }
        let base = self.followed.get(subject).copied();
        if after.flags > flags_before {
            let booked = after.booked - before.map_or(0, |said| said.booked);
            let Some((since, _)) = marked else { return self.follow_anew(subject, truth, after) };
            let span = u128::from(at.abs_diff(since)) + 2_000;
            // The books allow a device a quarter more than its rating.
            if booked > span * u128::from(POWER_MW_MAX) / 800 {
                return broken(format!("{booked} mJ in {span} ms is more than it can draw"));
            }
            return self.follow_anew(subject, truth, after);
        }
        if truth.is_vague {
            return Ok(());
        }
        let Some(base) = base else {
            self.follow(subject, truth, after.booked, before.is_some_and(|it| it.last.is_some()));
            return Ok(());
        };
        if base.truth.stretch != truth.stretch {
            if base.truth.epoch != truth.epoch {
                return broken("a reset that was announced is not flagged".into());
            }
            // A register that began again unannounced and has passed its old count: nobody can
            // tell, and what it shows is what is booked.
            self.follow(subject, truth, after.booked, true);
            return Ok(());
        }
        let expected = truth.units.saturating_sub(base.truth.units) / truth.per_mj;
        let found = after.booked - base.booked;
        let slack = u128::from(base.is_loose && truth.per_mj > 1);
        if found.abs_diff(expected) > slack {
            return broken(format!("{found} mJ booked, the register says {expected} mJ"));
        }
        Ok(())
    }

    fn follow_anew(
        &mut self,
        subject: &SubjectId,
        truth: Truth,
        after: Said,
    ) -> Result<(), Violation> {
        self.followed.remove(subject);
        self.follow(subject, truth, after.booked, true);
        Ok(())
    }

    fn follow(&mut self, subject: &SubjectId, truth: Truth, booked: u128, is_loose: bool) {
        if !truth.is_vague {
            self.followed.insert(subject.clone(), Base { truth, booked, is_loose });
        }
    }

    /// I1: every acknowledged batch is among these bodies.
    ///
    /// # Errors
    /// Names one that is not.
    pub fn invariant_acked_is_durable(&self, there: &[ContentHash]) -> Result<(), Violation> {
        let there: BTreeSet<&ContentHash> = there.iter().collect();
        let lost = self.acked.iter().find(|(_, hash)| !there.contains(hash));
        lost.map_or(Ok(()), |(((node, epoch), sequence), _)| {
            let words = format!("batch {sequence} of {node}, epoch {epoch}, was acknowledged");
            Err(Violation::new("acked is durable", words))
        })
    }

    /// I5: what is in the journal without a hole grows, whatever restarts.
    ///
    /// # Errors
    /// Names a lane that went back.
    pub fn invariant_watermarks_rise(
        &mut self,
        reached: impl Fn(&Lane) -> Option<u64>,
    ) -> Result<(), Violation> {
        for (lane, before) in &mut self.watermarks {
            let Some(now) = reached(lane) else { continue };
            if now < *before {
                let words = format!("{}, epoch {}: {before}, then {now}", lane.0, lane.1);
                return Err(Violation::new("watermarks rise", words));
            }
            *before = now;
        }
        Ok(())
    }

    /// What an agent forgets, the collector has; and it never takes a release back by itself.
    ///
    /// # Errors
    /// Names a batch that nobody has.
    pub fn invariant_released_is_acked(
        &mut self,
        lane: &Lane,
        lowest: BatchSeq,
    ) -> Result<(), Violation> {
        let known = self.released.get(lane).copied().unwrap_or(BatchSeq::FIRST);
        for sequence in known.get()..lowest.get() {
            let key = (lane.clone(), sequence);
            let is_forked = self.evidence.contains_key(lane);
            if !self.told.contains(&key) && !is_forked && self.spooled.contains(&key) {
                let words = format!("batch {sequence} of {} is released, never acked", lane.0);
                return Err(Violation::new("released is acked", words));
            }
        }
        self.released.insert(lane.clone(), lowest);
        Ok(())
    }

    /// What lies below is thinned away, unless it was released before.
    pub fn forget_below(&mut self, lane: &Lane, lowest: BatchSeq) {
        let known = self.released.get(lane).copied().unwrap_or(BatchSeq::FIRST);
        if lowest > known {
            for sequence in known.get()..lowest.get() {
                self.spooled.remove(&(lane.clone(), sequence));
            }
            self.released.insert(lane.clone(), lowest);
        }
    }

    /// I10: when faults are over, everything that was spooled is booked.
    ///
    /// # Errors
    /// Names a batch that is not.
    pub fn invariant_spooled_is_booked(&self) -> Result<(), Violation> {
        let missing = self
            .spooled
            .iter()
            .find(|key| !self.booked.contains(*key) && !self.evidence.contains_key(&key.0));
        missing.map_or(Ok(()), |(lane, sequence)| {
            let words = format!("batch {sequence} of {} was spooled", lane.0);
            Err(Violation::new("spooled is booked", words))
        })
    }

    #[must_use]
    pub fn batches_booked(&self) -> usize {
        self.booked.len()
    }
}

/// The newest count that the books know of a subject.
#[must_use]
pub fn booked_until(state: &State, hub: &HubId, subject: &SubjectId) -> Option<u64> {
    let hub = state.hub(hub)?;
    let (_, count) = hub.books().subject(subject)?.last?;
    Some(count)
}

/// What the books noted of a subject lately, for whoever looks into it.
#[must_use]
pub fn with_events(violation: Violation, state: &State, subject: &SubjectId) -> Violation {
    let mut words = violation.words;
    for hub in state.hubs() {
        let books = hub.books();
        let events = books.events().into_iter().filter(|event| event.subject == subject.as_str());
        events.rev().take(5).for_each(|event| words.push_str(&format!("\n    {event:?}")));
    }
    Violation { words, ..violation }
}

fn said(state: &State, hub: Option<&HubId>, subjects: &[SubjectId]) -> Vec<Option<Said>> {
    let Some(hub) = hub.and_then(|hub| state.hub(hub)) else {
        return vec![None; subjects.len()];
    };
    let books = hub.books();
    let said = subjects.iter().map(|id| {
        let status = books.subject(id)?;
        let counts = status.counts;
        let flags = [counts.resets, counts.step_backs, counts.implausible, counts.broken];
        let flags: u128 = flags.into_iter().map(u128::from).sum();
        Some(Said {
            last: status.last.map(|(at, count)| (at.get(), count)),
            booked: status.booked.total(),
            flags: flags + status.too_old_mj,
        })
    });
    said.collect()
}

/// I3: every account of passage is at zero, and every interval could be posted.
fn invariant_books_balance(books: &Books) -> Result<(), Violation> {
    if books.imbalance() != 0 {
        return Err(Violation::new("books balance", format!("off by {} mJ", books.imbalance())));
    }
    match books.faults().next() {
        Some(fault) => Err(Violation::new("books balance", fault.to_string())),
        None => Ok(()),
    }
}
