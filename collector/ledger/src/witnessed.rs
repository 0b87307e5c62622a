//! Who held which device, as nodes' witnesses told it: facts in any order become allocations.
//!
//! # Invariants
//! - What is held follows from the set of facts alone, never from the order in which they came;
//!   the same fact told again changes nothing.
//! - A node's facts count for devices of that node only.
//! - At no moment has a device two holders. Of several jobs that have it, the one that began last
//!   has it; a job whose end nobody told ends where the next one begins on that device.
//! - An allocation that was put by hand or by a scheduler is in `allocation.rs` and goes before.
//!
//! The rules are in `docs/attribution.md`, in words.

mod job;

use std::collections::{BTreeMap, BTreeSet};

use bijli_wire::hold::{Fact, Hold as HoldFact};
use bijli_wire::{ClusterId, JobId, NodeId, ProjectId, SubjectId, UtcMillis};
use serde::{Deserialize, Serialize};

use self::job::{End, Job, Run, Start};
use crate::allocation::{Allocation, Hold, Holds, Line, Touched};
use crate::rules::{JOBS_PER_NODE_MAX, TIMES_PER_JOB_MAX};

/// What telling a fact led to. Append only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum HoldVerdict {
    /// What is held is other than before.
    Changed,
    /// It was known, or changes nothing yet.
    Unchanged,
    /// Its node has told of so many jobs, or of one so often, that no more are taken.
    TooMany,
}

/// A job on one node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Key {
    node: NodeId,
    cluster: ClusterId,
    job: JobId,
}

/// When a scheduler was last asked for everything on a node, and how often it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Look {
    last: i64,
    every_ms: u64,
}

/// All facts, and what follows from them.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Witnessed {
    jobs: BTreeMap<Key, Job>,
    looks: BTreeMap<NodeId, Look>,
    /// By node the jobs whose end depends on further looks.
    watched: BTreeMap<NodeId, BTreeSet<Key>>,
    /// Jobs of each node.
    counts: BTreeMap<NodeId, usize>,
    /// By node and device: the runs that have it.
    lines: BTreeMap<(NodeId, SubjectId), Line>,
}

impl Witnessed {
    /// Takes a fact; tells from when on it changes who holds what.
    pub(crate) fn tell(
        &mut self,
        node: &NodeId,
        told: &HoldFact,
    ) -> (HoldVerdict, Option<Touched>) {
        let at = told.at.get();
        let job = match &told.fact {
            Fact::Looked { every } => {
                let look = self.looks.entry(node.clone()).or_default();
                if at <= look.last {
                    return (HoldVerdict::Unchanged, None);
                }
                *look = Look { last: at, every_ms: every.get() };
                return self.look(node);
            }
            Fact::Began { job, .. } | Fact::Ended { job, .. } | Fact::Seen { job, .. } => job,
        };
        let key = Key { node: node.clone(), cluster: told.cluster.clone(), job: job.clone() };
        if !self.has_room(&key) {
            return (HoldVerdict::TooMany, None);
        }
        let mut known = self.take(&key);
        let before = known.held.clone();
        known.add(&told.fact, at);
        self.put(key, known, &before)
    }

    /// Everything that ends by this look, or does not any more.
    fn look(&mut self, node: &NodeId) -> (HoldVerdict, Option<Touched>) {
        let keys = self.watched.get(node).cloned().unwrap_or_default();
        let (mut verdict, mut touched) = (HoldVerdict::Unchanged, None);
        for key in keys {
            let known = self.take(&key);
            let before = known.held.clone();
            if let (HoldVerdict::Changed, span) = self.put(key, known, &before) {
                verdict = HoldVerdict::Changed;
                touched = earliest(touched, span);
            }
        }
        (verdict, touched)
    }

    fn has_room(&self, key: &Key) -> bool {
        match self.jobs.get(key) {
            Some(job) => job.times() < TIMES_PER_JOB_MAX,
            None => self.counts.get(&key.node).copied().unwrap_or(0) < JOBS_PER_NODE_MAX,
        }
    }

    fn take(&mut self, key: &Key) -> Job {
        self.jobs.remove(key).unwrap_or_else(|| {
            let count = self.counts.entry(key.node.clone()).or_default();
            *count = count.saturating_add(1);
            Job::default()
        })
    }

    fn looked(&self, key: &Key) -> Option<i64> {
        self.looks.get(&key.node).map(|look| look.last)
    }

    /// Puts a job back, with the lines that follow from it now.
    fn put(&mut self, key: Key, mut job: Job, before: &[Placed]) -> (HoldVerdict, Option<Touched>) {
        let looked = self.looked(&key);
        let after = job.placed(looked);
        if job.is_watched(looked) {
            self.watched.entry(key.node.clone()).or_default().insert(key.clone());
        } else {
            self.unwatch(&key);
        }
        let mut touched = None;
        if before != after.as_slice() {
            let id = key.id();
            let differs = |one: &&Placed, others: &[Placed]| !others.contains(one);
            for gone in before.iter().filter(|one| differs(one, &after)) {
                self.each_line(&key.node, gone, |line| line.remove(gone.from, &id));
                touched = earliest(touched, Some(gone.touched()));
            }
            for new in after.iter().filter(|one| differs(one, before)) {
                let add = |line: &mut Line| line.insert(new.from, new.to, &id, &new.project);
                self.each_line(&key.node, new, add);
                touched = earliest(touched, Some(new.touched()));
            }
        }
        job.held = after;
        self.jobs.insert(key, job);
        let is_changed = touched.is_some();
        (if is_changed { HoldVerdict::Changed } else { HoldVerdict::Unchanged }, touched)
    }

    fn unwatch(&mut self, key: &Key) {
        if let Some(keys) = self.watched.get_mut(&key.node) {
            keys.remove(key);
            if keys.is_empty() {
                self.watched.remove(&key.node);
            }
        }
    }

    fn each_line(&mut self, node: &NodeId, placed: &Placed, change: impl Fn(&mut Line)) {
        for device in &placed.devices {
            let key = (node.clone(), device.clone());
            let line = self.lines.entry(key.clone()).or_default();
            change(line);
            if line.is_empty() {
                self.lines.remove(&key);
            }
        }
    }

    /// Who held a device of a node in `[start, end)`: by time, without overlaps, cut to it.
    pub(crate) fn of_device(
        &self,
        device: &SubjectId,
        node: &NodeId,
        start: i64,
        end: i64,
    ) -> Vec<Hold<'_>> {
        let Some(line) = self.lines.get(&(node.clone(), device.clone())) else { return Vec::new() };
        // By start: of those that have a moment, the last one has it.
        let claims: Vec<Hold<'_>> = line
            .reaching(start, end)
            .into_iter()
            .map(|(from, id, to, project)| Hold { from, to: line.end_of(from, id, to), project })
            .filter(|hold| hold.to > start)
            .collect();
        let edges: BTreeSet<i64> =
            claims.iter().flat_map(|hold| [hold.from.max(start), hold.to.min(end)]).collect();
        let mut holds: Vec<Hold<'_>> = Vec::new();
        for (from, to) in edges.iter().zip(edges.iter().skip(1)) {
            let has_it = |hold: &&Hold<'_>| hold.from <= *from && *to <= hold.to;
            let Some(claim) = claims.iter().rev().find(has_it) else { continue };
            match holds.last_mut() {
                Some(last) if last.to == *from && last.project == claim.project => last.to = *to,
                Some(_) | None => {
                    holds.push(Hold { from: *from, to: *to, project: claim.project });
                }
            }
        }
        holds
    }

    /// Where runs that have a device begin or end strictly inside `[start, end)`.
    pub(crate) fn edges_of_device(
        &self,
        device: &SubjectId,
        node: &NodeId,
        start: i64,
        end: i64,
    ) -> Vec<i64> {
        let Some(line) = self.lines.get(&(node.clone(), device.clone())) else { return Vec::new() };
        let claims = line.reaching(start, end).into_iter();
        let edges = claims.flat_map(|(from, _, to, _)| [from, to]);
        edges.filter(|at| start < *at && *at < end).collect()
    }

    /// What is held, as allocations, job by job.
    pub(crate) fn allocations(&self) -> impl Iterator<Item = Allocation> + '_ {
        self.jobs.iter().flat_map(|(key, job)| {
            let runs = job.runs(self.looked(key));
            runs.into_iter().filter_map(|run| self.allocation(key, &run))
        })
    }

    fn allocation(&self, key: &Key, run: &Run<'_>) -> Option<Allocation> {
        let grant = run.grant?;
        let placed = Placed::of(run)?;
        let id = key.id();
        let ends = placed.devices.iter().map(|device| {
            let line = self.lines.get(&(key.node.clone(), device.clone()));
            line.map_or(placed.to, |line| line.end_of(placed.from, &id, placed.to))
        });
        let to = ends.max().unwrap_or(placed.to);
        let is_cut = placed.to == i64::MAX && to != i64::MAX;
        let look = self.looks.get(&key.node);
        let every_s = look.map_or(0, |look| look.every_ms.div_ceil(1_000));
        let ended = match run.end {
            End::Running if is_cut => "its end was not told: another job began there".to_owned(),
            End::Running => "it runs".to_owned(),
            End::Told => "ended as the epilog told".to_owned(),
            End::Scheduler => "ended as the scheduler told, to the second".to_owned(),
            End::LastSeen => {
                format!("its end was not told: it was last seen then, looked for each {every_s} s")
            }
            End::Again => "its end was not told: it began again".to_owned(),
        };
        let began = match run.start {
            Start::Told => "began as the prolog told",
            Start::Scheduler => "began as the scheduler told, to the second",
        };
        let user = grant.user.as_ref().map_or(String::new(), |user| format!(" of {user}"));
        Some(Allocation {
            id: format!("{id}/{}", placed.from),
            project: placed.project,
            holds: Holds::Devices(placed.devices),
            from: UtcMillis::new(placed.from),
            to: (to != i64::MAX).then(|| UtcMillis::new(to)),
            who: format!("{} on {}", key.cluster, key.node),
            why: format!("job {}{user}; {began}; {ended}", key.job),
        })
    }

    /// Forgets what ended before `horizon`: no interval that it touches can be derived again.
    pub(crate) fn release(&mut self, horizon: i64) {
        let is_over = |key: &Key, job: &Job| {
            let id = key.id();
            let is_past = |placed: &Placed| {
                placed.devices.iter().all(|device| {
                    let line = self.lines.get(&(key.node.clone(), device.clone()));
                    let end = line.map(|line| line.end_of(placed.from, &id, placed.to));
                    end.is_none_or(|end| end <= horizon)
                })
            };
            job.latest() <= horizon && job.held.iter().all(is_past)
        };
        let over = self.jobs.iter().filter(|(key, job)| is_over(key, job));
        let over: Vec<Key> = over.map(|(key, _)| key.clone()).collect();
        for key in over {
            let Some(job) = self.jobs.remove(&key) else { continue };
            let id = key.id();
            for gone in &job.held {
                self.each_line(&key.node, gone, |line| line.remove(gone.from, &id));
            }
            self.unwatch(&key);
            if let Some(count) = self.counts.get_mut(&key.node) {
                *count = count.saturating_sub(1);
            }
        }
        self.counts.retain(|_, count| *count > 0);
    }
}

impl Key {
    fn id(&self) -> String {
        format!("{}/{}/{}", self.cluster, self.job, self.node)
    }
}

/// A run that has devices for a project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Placed {
    from: i64,
    /// Exclusive; `i64::MAX` while it runs.
    to: i64,
    project: ProjectId,
    devices: Vec<SubjectId>,
}

impl Placed {
    /// `None`: it has no project or no devices, or lasted no millisecond.
    fn of(run: &Run<'_>) -> Option<Self> {
        let grant = run.grant.filter(|grant| !grant.devices.is_empty())?;
        let project = grant.project.clone()?;
        let (from, to) = (run.from, run.to);
        (from < to).then(|| Self { from, to, project, devices: grant.devices.clone() })
    }

    /// It may also change what another job had before or after it.
    const fn touched(&self) -> Touched {
        Touched { from: self.from, to: i64::MAX }
    }
}

fn earliest(one: Option<Touched>, other: Option<Touched>) -> Option<Touched> {
    match (one, other) {
        (Some(one), Some(other)) => Some(if one.from <= other.from { one } else { other }),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests;
