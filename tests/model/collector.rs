//! The collector of the model: a journal, and what follows from it.

use std::collections::{BTreeMap, BTreeSet};

use crate::world::{Broken, Content, Epoch, Seq};

/// What is said to a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Durable,
    Fork,
}

/// The answer to a hello.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// Everything through it is durable, or will never come.
    pub contiguous: Seq,
    /// The last one that is durable.
    pub newest: Seq,
}

/// The collector's disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Collector {
    pub lanes: BTreeMap<Epoch, Lane>,
}

/// The frames of one epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lane {
    /// Everything before it is durable or will never come. 0 in a new lane, as 1.
    floor: Seq,
    /// The node wrote in another epoch since: what still comes is booked as it comes.
    is_left: bool,
    durable: BTreeMap<Seq, Content>,
    /// In the order of booking.
    pub booked: Vec<Content>,
}

impl Lane {
    /// Everything through this is durable or will never come.
    pub fn contiguous(&self) -> Seq {
        let mut through = self.floor.saturating_sub(1);
        while self.durable.contains_key(&(through + 1)) {
            through += 1;
        }
        through
    }

    fn newest(&self) -> Seq {
        self.durable.keys().next_back().copied().unwrap_or(0)
    }

    fn keep(&mut self, seq: Seq, content: Content) {
        let was = self.contiguous();
        self.durable.insert(seq, content);
        if seq <= was || self.is_left {
            self.booked.push(content);
        } else {
            self.book(was);
        }
    }

    fn raise_floor(&mut self, floor: Seq) {
        let was = self.contiguous();
        if floor > was + 1 {
            self.book_held(was, floor);
            self.floor = floor;
            self.book(floor - 1);
        }
    }

    fn leave(&mut self) {
        if !self.is_left {
            self.book_held(self.contiguous(), Seq::MAX);
            self.is_left = true;
        }
    }

    /// Books what is held back between two sequences.
    fn book_held(&mut self, after: Seq, before: Seq) {
        if !self.is_left {
            let held = self.durable.range(after + 1..before).map(|(_, content)| *content);
            self.booked.extend(held.collect::<Vec<Content>>());
        }
    }

    /// Books what has become contiguous.
    fn book(&mut self, was: Seq) {
        self.book_held(was, self.contiguous() + 1);
    }
}

impl Collector {
    /// Answers a hello. What a sender has no more will never come.
    pub fn greet(&mut self, epoch: Epoch, oldest: Seq, broken: Broken) -> Known {
        let contiguous = self.lanes.get(&epoch).map_or(0, Lane::contiguous);
        if oldest > contiguous + 1 && broken != Broken::NoFloor {
            self.begin(epoch, broken).raise_floor(oldest);
        }
        let lane = self.lanes.get(&epoch);
        Known { contiguous: lane.map_or(0, Lane::contiguous), newest: lane.map_or(0, Lane::newest) }
    }

    /// The lane of a frame that becomes durable. With its first one the node has left its elder
    /// lanes: nothing is awaited there any more.
    fn begin(&mut self, epoch: Epoch, broken: Broken) -> &mut Lane {
        if !self.lanes.contains_key(&epoch) && broken != Broken::EldersAwaited {
            self.lanes.values_mut().for_each(Lane::leave);
        }
        self.lanes.entry(epoch).or_default()
    }

    /// Journals a batch unless it is there; the answer is given when it is.
    pub fn take(&mut self, epoch: Epoch, seq: Seq, content: Content, broken: Broken) -> Verdict {
        let known = self.lanes.get(&epoch).and_then(|lane| lane.durable.get(&seq)).copied();
        match known {
            Some(known) if known == content => {
                if broken == Broken::BookedOnReceipt {
                    self.begin(epoch, broken).booked.push(content);
                }
                Verdict::Durable
            }
            Some(_) if broken == Broken::ForkIsDuplicate => Verdict::Durable,
            Some(_) => Verdict::Fork,
            None => {
                self.begin(epoch, broken).keep(seq, content);
                Verdict::Durable
            }
        }
    }

    /// Everything in the journal.
    pub fn held(&self) -> BTreeSet<Content> {
        self.lanes.values().flat_map(|lane| lane.durable.values().copied()).collect()
    }

    /// Everything booked, in order, epoch by epoch.
    pub fn booked(&self) -> impl Iterator<Item = Content> {
        self.lanes.values().flat_map(|lane| lane.booked.iter().copied())
    }
}
