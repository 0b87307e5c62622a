//! Which batches are taken, and in which order they are booked. Pure: no I/O, no clock.
//!
//! A *lane* is the sequence of one spool epoch of one node. [`Admission::admit`] decides before
//! the journal; [`Admission::settle`] is told what became durable, in journal order, and hands it
//! out in sequence order. Replaying the journal through `settle` alone gives the same hand-outs.
//!
//! # Invariants
//! - Every (lane, sequence) is handed out at most once, and never before it is durable.
//! - Two requests with one sequence are never both on their way to the journal.
//! - A sequence that never comes does not block its lane for ever: its sender says so
//!   ([`Admission::floor`]), begins another epoch ([`Admission::begin`]), or [`PATIENCE`] ends.
//! - At most [`SEQUENCE_WINDOW`] items of a lane are held back, and what is remembered of a lane
//!   is bounded (`known.rs`).

mod kept;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use bijli_wire::hello::Reached;
use bijli_wire::limits::{FUTURE_MS_MAX, SEQUENCE_WINDOW};
use bijli_wire::{BatchSeq, ContentHash, HubId, Millis, NodeId, SpoolEpoch, UtcMillis};

use serde::{Deserialize, Serialize};

use super::known::{Found, Known, Prefix};

pub use kept::KeptLanes;

/// Spool epochs of one node; a new one begins when its spool was lost or its disk imaged anew.
pub const EPOCHS_PER_NODE_MAX: usize = 256;
/// How long a lane may be refused for a sequence that does not come. Its sender put it aside or
/// lost it; after this its later batches are taken, and the lost one still may come late.
pub const PATIENCE: Millis = Millis::new(2 * 60 * 1_000);

/// A batch that was made so long after a newer epoch of its node began cannot be a left-over of
/// the elder one: clocks differ by less, or the batch is refused for its times.
const CONTEST_GRACE_MS: i64 = 2 * FUTURE_MS_MAX;

/// Names a lane.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LaneKey {
    pub hub: HubId,
    pub node: NodeId,
    pub epoch: SpoolEpoch,
}

/// What to do with a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admit {
    /// Journal it, then call [`Admission::settle`] or [`Admission::give_up`].
    New,
    /// It is durable already: acknowledge it again.
    Duplicate,
    /// Its sequence is durable, so long ago that its hash is not kept.
    Forgotten,
    /// Another content is durable under its sequence.
    Fork,
    /// It was made while a newer epoch of its node was alive: two senders, one name.
    Contested,
    /// Another request with its sequence is on its way to the journal.
    Busy,
    /// Too far ahead; `next` is awaited.
    Gap { next: BatchSeq },
    /// This node has begun too many spools.
    TooManyEpochs,
}

/// All lanes. `T` is what is handed out.
#[derive(Debug, Deserialize)]
pub struct Admission<T> {
    lanes: BTreeMap<LaneKey, Lane<T>>,
    skips: u64,
}

#[derive(Debug, Deserialize)]
struct Lane<T> {
    /// Every sequence before it was handed out or given up.
    next: u64,
    /// What is not durable below it will never come: its sender has said so.
    floor: u64,
    known: Known,
    /// Durable, and waiting for an elder one.
    held: BTreeMap<u64, T>,
    #[serde(skip)]
    in_flight: BTreeSet<u64>,
    /// When it was first refused for the sequence that is awaited now.
    #[serde(skip)]
    stalled: Option<UtcMillis>,
    is_begun: bool,
    /// When the node first wrote in another epoch after this one: nothing is awaited here any
    /// more, what comes is booked as it comes.
    left: Option<UtcMillis>,
}

impl<T> Default for Admission<T> {
    fn default() -> Self {
        Self { lanes: BTreeMap::new(), skips: 0 }
    }
}

impl<T> Admission<T> {
    /// Decides about one batch; [`Admit::New`] reserves its sequence.
    pub fn admit(
        &mut self,
        key: &LaneKey,
        seq: BatchSeq,
        hash: ContentHash,
        now: UtcMillis,
    ) -> Admit {
        if !self.lanes.contains_key(key) {
            if !self.has_room(key) {
                return Admit::TooManyEpochs;
            }
            self.lanes.insert(key.clone(), Lane::new());
        }
        let lane = self.lanes.get_mut(key).expect("inserted above");
        lane.admit(seq.get(), Prefix::of(hash), now)
    }

    /// Whether the node may write in this epoch.
    #[must_use]
    pub fn has_room(&self, key: &LaneKey) -> bool {
        self.lanes.contains_key(key)
            || self.lanes.range(epochs_of(key)).count() < EPOCHS_PER_NODE_MAX
    }

    /// A reserved batch did not become durable: its sequence is free again.
    pub fn give_up(&mut self, key: &LaneKey, seq: BatchSeq) {
        if let Some(lane) = self.lanes.get_mut(key) {
            lane.in_flight.remove(&seq.get());
        }
    }

    /// A batch is durable. Returns what may be booked now, in booking order.
    #[must_use]
    pub fn settle(&mut self, key: &LaneKey, seq: BatchSeq, hash: ContentHash, item: T) -> Vec<T> {
        let lane = self.lanes.entry(key.clone()).or_insert_with(Lane::new);
        let mut ready = Vec::new();
        self.skips += lane.settle(seq.get(), Prefix::of(hash), item, &mut ready);
        ready
    }

    /// A frame of a lane, received then, became durable. If it is the lane's first, the node has
    /// left its elder lanes: returns what was held back in them, in booking order.
    #[must_use]
    pub fn begin(&mut self, key: &LaneKey, received: UtcMillis) -> Vec<T> {
        let lane = self.lanes.entry(key.clone()).or_insert_with(Lane::new);
        let mut ready = Vec::new();
        if std::mem::replace(&mut lane.is_begun, true) {
            return ready;
        }
        for (elder, lane) in self.lanes.range_mut(epochs_of(key)) {
            if lane.is_begun && elder != key {
                lane.leave(received, &mut ready);
            }
        }
        ready
    }

    /// The sender has nothing below `floor` any more. Returns what may be booked now.
    #[must_use]
    pub fn floor(&mut self, key: &LaneKey, floor: BatchSeq) -> Vec<T> {
        let lane = self.lanes.entry(key.clone()).or_insert_with(Lane::new);
        let mut ready = Vec::new();
        lane.raise_floor(floor.get(), &mut ready);
        ready
    }

    /// How far a lane is, if nothing below `floor` comes any more.
    #[must_use]
    pub fn reached(&self, key: &LaneKey, floor: BatchSeq) -> Reached {
        let below = floor.get() - 1;
        self.lanes.get(key).map_or(Reached { contiguous: below, newest: 0 }, |lane| Reached {
            contiguous: lane.known.through(floor.get().max(lane.floor)),
            newest: lane.known.newest(),
        })
    }

    /// Whether a batch was made while a newer epoch of its node was alive already.
    #[must_use]
    pub fn is_contested(&self, key: &LaneKey, created: UtcMillis) -> bool {
        let left = self.lanes.get(key).and_then(|lane| lane.left);
        left.is_some_and(|left| created.get() > left.get().saturating_add(CONTEST_GRACE_MS))
    }

    /// How often a sequence was given up since the journal begins.
    #[must_use]
    pub const fn skips(&self) -> u64 {
        self.skips
    }
}

/// Every lane of the same node.
fn epochs_of(key: &LaneKey) -> RangeInclusive<LaneKey> {
    let first = LaneKey { epoch: SpoolEpoch::new([0; 16]), ..key.clone() };
    let last = LaneKey { epoch: SpoolEpoch::new([0xff; 16]), ..key.clone() };
    first..=last
}

impl<T> Lane<T> {
    fn new() -> Self {
        Self {
            next: BatchSeq::FIRST.get(),
            floor: BatchSeq::FIRST.get(),
            known: Known::default(),
            held: BTreeMap::new(),
            in_flight: BTreeSet::new(),
            stalled: None,
            is_begun: false,
            left: None,
        }
    }

    fn admit(&mut self, seq: u64, prefix: Prefix, now: UtcMillis) -> Admit {
        if planted!(WatermarkOffByOne) && seq > 1 && seq == self.next {
            return Admit::Duplicate;
        }
        if planted!(BookEachReceipt) && self.known.find(seq) == Some(Found::Content(prefix)) {
            return Admit::New;
        }
        match self.known.find(seq) {
            Some(Found::Content(found)) if found == prefix => return Admit::Duplicate,
            Some(Found::Content(_) | Found::Blurred) => return Admit::Fork,
            Some(Found::Forgotten) => return Admit::Forgotten,
            None => {}
        }
        if self.in_flight.contains(&seq) {
            return Admit::Busy;
        }
        let is_ahead = seq.saturating_sub(self.next) >= SEQUENCE_WINDOW;
        if is_ahead && self.left.is_none() && !self.is_out_of_patience(now) {
            let next = BatchSeq::new(self.next).expect("it starts at 1 and rises");
            return Admit::Gap { next };
        }
        self.in_flight.insert(seq);
        Admit::New
    }

    /// Whether the awaited sequence has been awaited for long enough; starts the wait.
    fn is_out_of_patience(&mut self, now: UtcMillis) -> bool {
        // What is on its way to the journal may be what is awaited.
        if self.in_flight.contains(&self.next) {
            return false;
        }
        let since = *self.stalled.get_or_insert(now);
        match now.since(since) {
            Some(waited) => waited >= PATIENCE,
            None => {
                // The clock was set back: wait anew rather than for ever.
                self.stalled = Some(now);
                false
            }
        }
    }

    /// Returns how often an awaited sequence was given up.
    fn settle(&mut self, seq: u64, prefix: Prefix, item: T, ready: &mut Vec<T>) -> u64 {
        self.in_flight.remove(&seq);
        if self.known.find(seq).is_some() {
            if planted!(BookEachReceipt) {
                ready.push(item);
            }
            return 0;
        }
        self.known.record(seq, prefix);
        if seq < self.next || self.left.is_some() {
            // Given up earlier and come after all: late, and still booked once.
            ready.push(item);
            return 0;
        }
        self.held.insert(seq, item);
        let mut skips = 0;
        self.release(ready);
        while let Some(last) = self.held.keys().next_back().copied() {
            if last - self.next < SEQUENCE_WINDOW {
                break;
            }
            let first = *self.held.keys().next().expect("it has a last one");
            self.advance(first);
            skips += 1;
            self.release(ready);
        }
        skips
    }

    fn release(&mut self, ready: &mut Vec<T>) {
        while let Some(item) = self.held.remove(&self.next) {
            ready.push(item);
            self.advance(self.next.saturating_add(1));
        }
    }

    fn advance(&mut self, next: u64) {
        self.next = next;
        self.stalled = None;
    }

    fn raise_floor(&mut self, floor: u64, ready: &mut Vec<T>) {
        if floor <= self.floor {
            return;
        }
        self.floor = floor;
        while let Some(held) = self.held.first_entry().filter(|held| *held.key() < floor) {
            ready.push(held.remove());
        }
        if floor > self.next {
            self.advance(floor);
            self.release(ready);
        }
    }

    fn leave(&mut self, received: UtcMillis, ready: &mut Vec<T>) {
        if self.left.is_none() {
            self.left = Some(received);
            ready.extend(std::mem::take(&mut self.held).into_values());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key() -> LaneKey {
        LaneKey {
            hub: HubId::new("isb").expect("valid"),
            node: NodeId::new("n01").expect("valid"),
            epoch: SpoolEpoch::new([7; 16]),
        }
    }

    fn hash(of: u8) -> ContentHash {
        ContentHash::new([of; 32])
    }

    enum Step {
        /// Ask at a second, for a sequence and content.
        Ask(i64, u64, u8, Admit),
        /// It became durable; these are handed out.
        Durable(u64, u8, &'static [u64]),
        Lost(u64),
    }
    use Step::{Ask, Durable, Lost};

    fn check(admission: &mut Admission<u64>, steps: &[Step]) {
        let seq = |n| BatchSeq::new(n).expect("from 1");
        for (index, step) in steps.iter().enumerate() {
            match step {
                Ask(second, n, content, expected) => {
                    let now = UtcMillis::new(*second * 1_000);
                    let found = admission.admit(&key(), seq(*n), hash(*content), now);
                    assert_eq!(found, *expected, "step {index}");
                }
                Durable(n, content, expected) => {
                    let ready = admission.settle(&key(), seq(*n), hash(*content), *n);
                    assert_eq!(ready, *expected, "step {index}");
                }
                Lost(n) => admission.give_up(&key(), seq(*n)),
            }
        }
    }

    #[test]
    fn n1_n2_a_resent_batch_is_a_duplicate_and_another_content_a_fork() {
        check(
            &mut Admission::default(),
            &[
                Ask(0, 1, 1, Admit::New),
                Ask(0, 1, 1, Admit::Busy),
                Durable(1, 1, &[1]),
                Ask(0, 1, 1, Admit::Duplicate),
                Ask(0, 1, 2, Admit::Fork),
            ],
        );
    }

    #[test]
    fn a_batch_that_did_not_become_durable_may_come_again_with_another_content() {
        check(
            &mut Admission::default(),
            &[Ask(0, 1, 1, Admit::New), Lost(1), Ask(0, 1, 2, Admit::New), Durable(1, 2, &[1])],
        );
    }

    #[test]
    fn out_of_order_is_taken_at_once_and_handed_out_in_order() {
        check(
            &mut Admission::default(),
            &[
                Ask(0, 3, 3, Admit::New),
                Durable(3, 3, &[]),
                Ask(0, 2, 2, Admit::New),
                Durable(2, 2, &[]),
                Ask(0, 3, 3, Admit::Duplicate),
                Ask(0, 1, 1, Admit::New),
                Durable(1, 1, &[1, 2, 3]),
            ],
        );
    }

    #[test]
    fn the_window_ends_where_it_says() {
        let next = BatchSeq::FIRST;
        check(
            &mut Admission::default(),
            &[
                Ask(0, SEQUENCE_WINDOW, 1, Admit::New),
                Ask(0, SEQUENCE_WINDOW + 1, 1, Admit::Gap { next }),
                Ask(119, SEQUENCE_WINDOW + 1, 1, Admit::Gap { next }),
            ],
        );
    }

    /// Guards against a lane that is blocked for ever because its sender put a batch aside.
    #[test]
    fn a_sequence_that_never_comes_is_given_up_and_still_taken_late() {
        let next = BatchSeq::FIRST;
        check(
            &mut Admission::default(),
            &[
                Ask(0, 2, 2, Admit::New),
                Durable(2, 2, &[]),
                Ask(10, 5_000_000_000, 9, Admit::Gap { next }),
                Ask(129, 5_000_000_000, 9, Admit::Gap { next }),
                Ask(130, 5_000_000_000, 9, Admit::New),
                Durable(5_000_000_000, 9, &[2, 5_000_000_000]),
                Ask(131, 1, 1, Admit::New),
                Durable(1, 1, &[1]),
                Ask(131, 1, 1, Admit::Duplicate),
                Ask(131, 1, 3, Admit::Fork),
                Ask(131, 5_000_000_001, 4, Admit::New),
            ],
        );
    }

    #[test]
    fn a_clock_set_back_does_not_make_it_wait_for_ever() {
        let next = BatchSeq::FIRST;
        check(
            &mut Admission::default(),
            &[
                Ask(1_000_000, 100, 1, Admit::Gap { next }),
                Ask(0, 100, 1, Admit::Gap { next }),
                Ask(120, 100, 1, Admit::New),
            ],
        );
    }

    fn contiguous(admission: &Admission<u64>) -> u64 {
        admission.reached(&key(), BatchSeq::FIRST).contiguous
    }

    fn settled(admission: &mut Admission<u64>, key: &LaneKey, seqs: &[u64]) -> Vec<u64> {
        let seq = |n| BatchSeq::new(n).expect("from 1");
        let settle = |n: &u64| admission.settle(key, seq(*n), hash(1), *n);
        seqs.iter().flat_map(settle).collect()
    }

    /// Goal: what the sender has no more is not awaited, and what it has is still asked for.
    #[test]
    fn c10_a_floor_lets_the_lane_go_on_and_moves_what_is_contiguous() {
        let mut admission = Admission::default();
        let floor = |n| BatchSeq::new(n).expect("from 1");
        assert_eq!(contiguous(&admission), 0);
        assert_eq!(settled(&mut admission, &key(), &[5, 9, 10]), [0; 0]);
        assert_eq!(contiguous(&admission), 0);
        assert_eq!(admission.floor(&key(), floor(8)), [5]);
        assert_eq!(contiguous(&admission), 7);
        assert_eq!(settled(&mut admission, &key(), &[8]), [8, 9, 10]);
        assert_eq!(contiguous(&admission), 10);
        assert_eq!(admission.floor(&key(), floor(3)), [0; 0], "it never goes down");
        // One that was said never to come and comes all the same is booked once.
        assert_eq!(settled(&mut admission, &key(), &[6, 6]), [6]);
        assert_eq!(contiguous(&admission), 10);
    }

    /// Goal: D5. A hole that a lost record left is named, though the lane went on long ago.
    #[test]
    fn d5_a_hole_that_was_given_up_is_still_asked_for() {
        let mut admission = Admission::default();
        let rest: Vec<u64> = (4..200).collect();
        assert_eq!(settled(&mut admission, &key(), &[1, 2]), [1, 2]);
        assert_eq!(settled(&mut admission, &key(), &rest).len(), rest.len());
        assert_eq!((admission.skips(), contiguous(&admission)), (1, 2));
        assert_eq!(settled(&mut admission, &key(), &[3]), [3]);
        assert_eq!(contiguous(&admission), 199);
    }

    /// Goal: A8, A10. What a lane holds back is booked when its node goes on in another epoch.
    #[test]
    fn a8_nothing_is_awaited_in_an_epoch_that_its_node_has_left() {
        let mut admission = Admission::default();
        let at = UtcMillis::new(1_000_000);
        let newer = LaneKey { epoch: SpoolEpoch::new([1; 16]), ..key() };
        let stranger = LaneKey { node: NodeId::new("n02").expect("valid"), ..newer.clone() };
        assert_eq!(admission.begin(&key(), at), [0; 0]);
        assert_eq!(settled(&mut admission, &key(), &[2, 3]), [0; 0]);
        assert_eq!(admission.begin(&stranger, at), [0; 0], "another node's");
        assert_eq!(admission.begin(&newer, at), [2, 3]);
        assert_eq!(admission.begin(&newer, at), [0; 0]);
        // Left-overs are booked as they come, however far ahead.
        assert_eq!(settled(&mut admission, &key(), &[900, 1]), [900, 1]);
        let seq = BatchSeq::new(5_000).expect("from 1");
        assert_eq!(admission.admit(&key(), seq, hash(1), at), Admit::New);
        assert_eq!(settled(&mut admission, &newer, &[1]), [1]);
    }

    #[test]
    fn a9_an_elder_epoch_that_is_still_alive_is_contested() {
        let mut admission: Admission<u64> = Admission::default();
        let newer = LaneKey { epoch: SpoolEpoch::new([1; 16]), ..key() };
        let at = |ms| UtcMillis::new(ms);
        assert!(admission.begin(&key(), at(0)).is_empty());
        assert!(!admission.is_contested(&key(), at(9_000_000)), "there is no other one");
        assert!(admission.begin(&newer, at(1_000_000)).is_empty());
        assert!(!admission.is_contested(&key(), at(1_600_000)), "clocks may differ so much");
        assert!(admission.is_contested(&key(), at(1_600_001)));
        assert!(!admission.is_contested(&newer, at(9_000_000)));
    }

    #[test]
    fn a_node_cannot_begin_spools_without_end() {
        let mut admission: Admission<()> = Admission::default();
        let mut ask = |epoch: usize| {
            let byte = u8::try_from(epoch % 256).expect("small");
            let mut bytes = [byte; 16];
            bytes[0] = u8::try_from(epoch / 256).expect("small");
            let lane = LaneKey { epoch: SpoolEpoch::new(bytes), ..key() };
            admission.admit(&lane, BatchSeq::FIRST, hash(1), UtcMillis::ZERO)
        };
        assert!((0..EPOCHS_PER_NODE_MAX).all(|epoch| ask(epoch) == Admit::New));
        assert_eq!(ask(EPOCHS_PER_NODE_MAX), Admit::TooManyEpochs);
    }

    /// What a request does: which sequence, whether its write succeeds.
    fn requests() -> impl Strategy<Value = Vec<(u64, bool)>> {
        proptest::collection::vec((1_u64..200, proptest::bool::weighted(0.8)), 0..800)
    }

    proptest! {
        #[test]
        fn any_order_and_duplication_books_each_once_and_in_order(requests in requests()) {
            let (mut admission, mut journal, mut booked) =
                (Admission::default(), Vec::new(), Vec::new());
            for (n, is_written) in requests {
                let seq = BatchSeq::new(n).expect("from 1");
                let content = hash(u8::try_from(n % 251).expect("small"));
                match admission.admit(&key(), seq, content, UtcMillis::ZERO) {
                    Admit::New if is_written => {
                        journal.push((seq, content));
                        booked.extend(admission.settle(&key(), seq, content, n));
                    }
                    Admit::New => admission.give_up(&key(), seq),
                    Admit::Duplicate => prop_assert!(journal.contains(&(seq, content))),
                    Admit::Gap { next } => prop_assert!(n >= next.get() + SEQUENCE_WINDOW),
                    Admit::Fork
                    | Admit::Forgotten
                    | Admit::Contested
                    | Admit::Busy
                    | Admit::TooManyEpochs => {
                        prop_assert!(false);
                    }
                }
            }
            // In order, without a hole, and each once.
            let length = u64::try_from(booked.len()).expect("small");
            prop_assert_eq!(&booked, &(1..=length).collect::<Vec<u64>>());
            // What was journalled and not booked waits for an elder one that never came.
            let missing = length + 1;
            prop_assert!(journal.iter().all(|(seq, _)| seq.get() != missing));
            // A replay hands out the same.
            let (mut replayed, mut again) = (Admission::default(), Vec::new());
            for (seq, content) in &journal {
                again.extend(replayed.settle(&key(), *seq, *content, seq.get()));
            }
            prop_assert_eq!(again, booked);
        }

        #[test]
        fn even_a_journal_with_lost_records_books_each_of_the_rest_once(
            mut order in proptest::collection::vec(1_u64..500, 0..400),
        ) {
            order.sort_unstable();
            order.dedup();
            let (mut admission, mut booked) = (Admission::default(), Vec::new());
            for n in &order {
                let seq = BatchSeq::new(*n).expect("from 1");
                booked.extend(admission.settle(&key(), seq, hash(1), *n));
            }
            prop_assert!(booked.is_sorted());
            prop_assert!(order.len() - booked.len() <= usize::try_from(SEQUENCE_WINDOW).expect("small"));
            prop_assert!(booked.iter().all(|n| order.contains(n)));
        }
    }
}
