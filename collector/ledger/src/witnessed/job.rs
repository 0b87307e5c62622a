//! One job on one node: the facts about it, and the runs that follow from them.
//!
//! A requeued job keeps its number, and its epilog already tells the restart count of the next run
//! (Slurm 22.05), so runs are told apart by time: an end belongs to the run that was on.

use std::collections::{BTreeMap, BTreeSet};

use bijli_wire::hold::{Fact, Grant, Hold};
use bijli_wire::message::Witness;
use serde::{Deserialize, Serialize};

use super::Placed;

/// A scheduler's clock and a node's may differ by this, and its times are whole seconds.
const APART_MS: i64 = 5_000;

/// The facts, merged: each part grows only, so any order leads to the same.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Job {
    /// By the moment at which the prolog told it.
    began: BTreeMap<i64, Grant>,
    ended: BTreeSet<i64>,
    /// By the scheduler's own time of the begin.
    polled: BTreeMap<i64, Polled>,
    /// Who is asked for it, where somebody is.
    asked: Option<Witness>,
    /// What follows, as it is in the lines.
    pub(super) held: Vec<Placed>,
}

/// What asking the scheduler told of one run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Polled {
    grant: Option<Grant>,
    /// Last.
    seen: Option<i64>,
    ended: Option<i64>,
}

/// One run of the job.
#[derive(Debug)]
pub(super) struct Run<'a> {
    pub(super) from: i64,
    pub(super) to: i64,
    pub(super) grant: Option<&'a Grant>,
    pub(super) start: Start,
    pub(super) end: End,
    asked: Option<Witness>,
}

impl Run<'_> {
    /// How it is known when it began and ended, for people. `is_cut`: another began there.
    pub(super) fn words(&self, is_cut: bool, every_s: u64) -> (String, String) {
        let whose = match self.asked {
            Some(Witness::File) => "as the file on the node told",
            Some(Witness::Kubelet) => "as the kubelet told",
            Some(Witness::JobFiles) => "as the files of jobs told",
            Some(Witness::Poll | Witness::Hook | Witness::Unspecified) | None => {
                "as the scheduler told, to the second"
            }
        };
        let began = match self.start {
            Start::Told => "began as the prolog told".to_owned(),
            Start::Scheduler => format!("began {whose}"),
        };
        let ended = match self.end {
            End::Running if is_cut => "its end was not told: another job began there".to_owned(),
            End::Running => "it runs".to_owned(),
            End::Told => "ended as the epilog told".to_owned(),
            End::Scheduler => format!("ended {whose}"),
            End::LastSeen => {
                format!("its end was not told: it was last seen then, looked for each {every_s} s")
            }
            End::Again => "its end was not told: it began again".to_owned(),
        };
        (began, ended)
    }
}

/// How it is known when it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// To the millisecond.
    Told,
    /// To the second.
    Scheduler,
}

/// How it is known when it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// To the millisecond.
    Told,
    /// To the second.
    Scheduler,
    /// A later look did not find it.
    LastSeen,
    /// The next run began.
    Again,
    Running,
}

/// A begin that was told, and what else is known of the same run.
struct Begin<'a> {
    from: i64,
    told: Option<&'a Grant>,
    polled: Option<&'a Polled>,
}

impl Job {
    pub(super) fn add(&mut self, told: &Hold) {
        let at = told.at.get();
        match &told.fact {
            Fact::Began { grant, .. } => {
                let known = self.began.entry(at).or_default();
                // Two tellings of one moment: the same, whichever comes first.
                if *known < *grant {
                    known.clone_from(grant);
                }
            }
            Fact::Ended { began: None, .. } => {
                self.ended.insert(at);
            }
            Fact::Ended { began: Some(began), .. } => {
                let polled = self.polled.entry(began.get()).or_default();
                polled.ended = polled.ended.max(Some(at));
            }
            Fact::Seen { began, grant, .. } => {
                self.asked = self.asked.max(Some(told.witness));
                let polled = self.polled.entry(began.get()).or_default();
                polled.seen = polled.seen.max(Some(at));
                if polled.grant < *grant {
                    polled.grant.clone_from(grant);
                }
            }
            Fact::Looked { .. } => {}
        }
    }

    /// Who is asked for it: a look of this witness that does not find it ends it.
    pub(super) const fn asked(&self) -> Option<Witness> {
        self.asked
    }

    /// How many times it was told of.
    pub(super) fn times(&self) -> usize {
        let told = self.began.len().saturating_add(self.ended.len());
        told.saturating_add(self.polled.len())
    }

    /// The latest moment of any fact.
    pub(super) fn latest(&self) -> i64 {
        let began = self.began.last_key_value().map(|(at, _)| *at);
        let polled = self.polled.values().flat_map(|polled| [polled.seen, polled.ended]).flatten();
        let started = self.polled.last_key_value().map(|(at, _)| *at);
        let told = began.into_iter().chain(self.ended.last().copied()).chain(started);
        told.chain(polled).max().unwrap_or(i64::MIN)
    }

    /// The runs that have devices.
    pub(super) fn placed(&self, looked: Option<i64>) -> Vec<Placed> {
        self.runs(looked).iter().filter_map(Placed::of).collect()
    }

    /// Whether a further look may change anything.
    pub(super) fn is_watched(&self, looked: Option<i64>) -> bool {
        // A look ends what was seen and not told to end; once it has, the next ones do not.
        let depends = |run: &Run<'_>| matches!(run.end, End::Again | End::Running);
        !self.polled.is_empty() && self.runs(looked).iter().any(depends)
    }

    /// The runs by their begin. `looked`: when everything on the node was last asked for.
    pub(super) fn runs(&self, looked: Option<i64>) -> Vec<Run<'_>> {
        let begins = self.begins();
        let nexts = begins.iter().skip(1).map(|begin| begin.from).chain([i64::MAX]);
        let runs = begins.iter().zip(nexts).map(|(begin, next)| {
            let (to, end) = self.end(begin, next, looked);
            let polled = begin.polled.and_then(|polled| polled.grant.as_ref());
            // The prolog's devices are of this very node and moment.
            let told = begin.told.filter(|grant| grant.project.is_some() || polled.is_none());
            let start = if begin.told.is_some() { Start::Told } else { Start::Scheduler };
            let (from, grant, asked) = (begin.from, told.or(polled), self.asked);
            Run { from, to, grant, start, end, asked }
        });
        runs.collect()
    }

    /// Begins that the prolog told, each with what the scheduler said of the same run, and those
    /// that only the scheduler knows.
    fn begins(&self) -> Vec<Begin<'_>> {
        let told = self.began.iter();
        let mut begins: Vec<Begin<'_>> =
            told.map(|(at, grant)| Begin { from: *at, told: Some(grant), polled: None }).collect();
        for (began, polled) in &self.polled {
            let after = began.saturating_add(1);
            let next = self.polled.range(after..).next().map_or(i64::MAX, |(at, _)| *at);
            let earliest = began.saturating_sub(APART_MS);
            let until = if next == i64::MAX { next } else { next.saturating_sub(APART_MS) };
            let is_same = |begin: &&mut Begin<'_>| {
                let is_near = earliest <= begin.from && begin.from < until;
                begin.told.is_some() && begin.polled.is_none() && is_near
            };
            match begins.iter_mut().find(is_same) {
                Some(begin) => begin.polled = Some(polled),
                None => begins.push(Begin { from: *began, told: None, polled: Some(polled) }),
            }
        }
        begins.sort_by_key(|begin| begin.from);
        begins
    }

    fn end(&self, begin: &Begin<'_>, next: i64, looked: Option<i64>) -> (i64, End) {
        let from = begin.from;
        if let Some(told) = self.ended.range(from..=next).next() {
            return (*told, End::Told);
        }
        let bounded = |at: i64| at.max(from).min(next);
        if let Some(ended) = begin.polled.and_then(|polled| polled.ended) {
            return (bounded(ended), End::Scheduler);
        }
        let seen = begin.polled.and_then(|polled| polled.seen);
        if let (Some(seen), Some(looked)) = (seen, looked)
            && looked > seen
        {
            return (bounded(seen), End::LastSeen);
        }
        if next == i64::MAX { (next, End::Running) } else { (next, End::Again) }
    }
}
