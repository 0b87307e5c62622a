//! Numbers leaves, names the old ones in corrections, and splits what is too long.
//!
//! # Invariants
//! - Indexes count the leaves of the log from 0, over all hubs, in the order of their making.
//! - What is made is a function of the statements in their order.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

use bijli_wire::{HubId, UtcMillis};

use super::bytes::{LINE_BYTES, accounts_bytes};
use super::{Body, LEAF_BYTES_MAX, Leaf, Line, Owner, Posting, Source, Summary};
use crate::account::Account;
use crate::books::Statement;
use crate::rules::RULE_VERSION;

/// Room for a posting's fields besides accounts and lines.
const HEAD_BYTES: usize = 512;

/// Makes the leaves of one log.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct LeafMaker {
    next: u64,
    hubs: BTreeMap<HubId, OfHub>,
}

/// What corrections of one hub's intervals must name.
#[derive(Debug, Default, Serialize, Deserialize)]
struct OfHub {
    /// Owners by a number of our own, so that an interval keeps four bytes of each.
    owners: BTreeMap<Owner, u32>,
    intervals: BTreeMap<i64, OfInterval>,
}

#[derive(Debug, Serialize, Deserialize)]
struct OfInterval {
    /// Index of the first leaf with entries; the owners of it and those after it.
    first: u64,
    owners: Vec<u32>,
    first_summary: u64,
    last_summary: u64,
    revision: u32,
}

impl LeafMaker {
    /// Index of the next leaf; so many were made.
    #[must_use]
    pub const fn next(&self) -> u64 {
        self.next
    }

    /// The leaves of one posting, in the order of their indexes; the summary is the last.
    pub fn make(&mut self, hub: &HubId, statement: Statement, source: Source) -> Vec<Leaf> {
        let Statement { owned, corrects, mut summary } = statement;
        let start = summary.interval;
        let of_hub = self.hubs.entry(hub.clone()).or_default();
        let mut bodies = Vec::new();
        let mut owners = Vec::new();
        for (owner, lines) in owned {
            let old_leaf = of_hub.old_leaf(start, &owner);
            for posting in split(start, &owner, lines) {
                owners.push(of_hub.number(&owner));
                bodies.push(match corrects {
                    None => Body::Posting(posting),
                    Some(corrects) => Body::Adjustment { old_leaf, corrects, posting },
                });
            }
        }
        summary.leaves = u32::try_from(bodies.len()).expect("a posting has fewer entries");
        let first = self.next;
        let at = first.saturating_add(u64::from(summary.leaves));
        of_hub.note(&mut summary, Batch { first, owners, at, is_first: corrects.is_none() });
        bodies.push(Body::Summary(summary));
        self.next = at.saturating_add(1);
        let leaf = |body| Leaf { rule_version: RULE_VERSION, hub: Some(hub.clone()), source, body };
        bodies.into_iter().map(leaf).collect()
    }

    /// Gives the next index to a leaf that its caller makes: about the journal, or a month.
    pub const fn skip(&mut self) {
        self.next = self.next.saturating_add(1);
    }

    /// Forgets intervals before the horizon: nothing corrects them any more.
    pub fn release(&mut self, hub: &HubId, horizon: UtcMillis) {
        if let Some(of_hub) = self.hubs.get_mut(hub) {
            of_hub.intervals = of_hub.intervals.split_off(&horizon.get());
        }
    }
}

/// The leaves of a posting that is being made.
struct Batch {
    first: u64,
    owners: Vec<u32>,
    /// Index of the summary.
    at: u64,
    /// Its entries correct none.
    is_first: bool,
}

impl OfHub {
    fn number(&mut self, owner: &Owner) -> u32 {
        let next = u32::try_from(self.owners.len()).expect("fewer than 2^32 owners");
        *self.owners.entry(owner.clone()).or_insert(next)
    }

    fn old_leaf(&self, start: UtcMillis, owner: &Owner) -> u64 {
        let Some(interval) = self.intervals.get(&start.get()) else { return 0 };
        let number = self.owners.get(owner);
        let place = number.and_then(|number| interval.owners.iter().position(|one| one == number));
        let place = place.and_then(|place| u64::try_from(place).ok());
        place.map_or(interval.first_summary, |place| interval.first.saturating_add(place))
    }

    fn note(&mut self, summary: &mut Summary, batch: Batch) {
        let Batch { first, owners, at, is_first } = batch;
        let start = summary.interval.get();
        let Some(interval) = self.intervals.get_mut(&start) else {
            let (first_summary, last_summary) = (at, at);
            let interval = OfInterval { first, owners, first_summary, last_summary, revision: 0 };
            self.intervals.insert(start, interval);
            return;
        };
        interval.revision = interval.revision.saturating_add(1);
        (summary.revision, summary.old_leaf) = (interval.revision, Some(interval.last_summary));
        interval.last_summary = at;
        if is_first && interval.owners.is_empty() {
            (interval.first, interval.owners) = (first, owners);
        }
    }
}

/// One owner's entries as leaves can hold them. Parts are cut between entries.
fn split(interval: UtcMillis, owner: &Owner, lines: Vec<Line>) -> Vec<Posting> {
    let mut parts: Vec<Vec<Line>> = Vec::new();
    let mut known: BTreeSet<Account> = BTreeSet::new();
    let mut bytes = LEAF_BYTES_MAX;
    for line in lines {
        let new = [&line.debit, &line.credit].into_iter().filter(|one| !known.contains(*one));
        let more = accounts_bytes(new).saturating_add(LINE_BYTES);
        bytes = bytes.saturating_add(more);
        if bytes > LEAF_BYTES_MAX {
            known.clear();
            parts.push(Vec::new());
            let both = accounts_bytes([&line.debit, &line.credit].into_iter());
            bytes = HEAD_BYTES.saturating_add(both).saturating_add(LINE_BYTES);
        }
        known.extend([line.debit.clone(), line.credit.clone()]);
        parts.last_mut().expect("the first line begins a part").push(line);
    }
    let count = u16::try_from(parts.len()).expect("a node has fewer entries than 2^16 leaves hold");
    let numbered = parts.into_iter().zip(1_u16..);
    let posting = |(lines, part)| {
        let owner = owner.clone();
        Posting { interval, owner, part, parts: count, lines }
    };
    numbered.map(posting).collect()
}
