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
    /// The node greeted in another epoch since: what still comes is booked as it comes.
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

    fn raise_floor(&mut self, floor: Seq) {
        let was = self.contiguous();
        if floor > was + 1 {
            self.floor = floor;
            let passed = (was + 1..floor).filter_map(|seq| self.durable.get(&seq).copied());
            self.booked.extend(passed.collect::<Vec<Content>>());
            let from = self.floor - 1;
            self.book(from, None);
        }
    }

    /// Books what its turn has come for: each once, in sequence.
    fn book(&mut self, was: Seq, late: Option<Seq>) {
        let late = late.filter(|seq| *seq <= was);
        let due = late.into_iter().chain(was + 1..=self.contiguous());
        let due: Vec<Content> = due.filter_map(|seq| self.durable.get(&seq).copied()).collect();
        self.booked.extend(due);
    }
}

impl Collector {
    /// Answers a hello. What a sender has no more will never come; and when a node greets in
    /// another epoch, nothing more is awaited in its elder ones.
    pub fn greet(&mut self, epoch: Epoch, oldest: Seq, broken: Broken) -> Known {
        for (of, lane) in &mut self.lanes {
            lane.is_left = *of != epoch && broken != Broken::EldersAwaited;
            if lane.is_left {
                lane.raise_floor(lane.newest() + 1);
            }
        }
        if oldest > 1 && broken != Broken::NoFloor {
            self.lanes.entry(epoch).or_default().raise_floor(oldest);
        }
        let lane = self.lanes.get(&epoch);
        Known { contiguous: lane.map_or(0, Lane::contiguous), newest: lane.map_or(0, Lane::newest) }
    }

    /// Journals a batch unless it is there; the answer is given when it is.
    pub fn take(&mut self, epoch: Epoch, seq: Seq, content: Content, broken: Broken) -> Verdict {
        let lane = self.lanes.entry(epoch).or_default();
        match lane.durable.get(&seq).copied() {
            Some(known) if known == content => {
                if broken == Broken::BookedOnReceipt {
                    lane.booked.push(content);
                }
                Verdict::Durable
            }
            Some(_) if broken == Broken::ForkIsDuplicate => Verdict::Durable,
            Some(_) => Verdict::Fork,
            None => {
                let was = lane.contiguous();
                lane.durable.insert(seq, content);
                lane.book(was, Some(seq));
                if lane.is_left {
                    lane.raise_floor(lane.newest() + 1);
                }
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
