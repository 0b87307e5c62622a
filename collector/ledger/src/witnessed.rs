//! Who held which device, as nodes' witnesses told it: facts in any order become allocations.
//!
//! # Invariants
//! - What is held follows from the set of facts alone, never from the order in which they came;
//!   the same fact told again changes nothing.
//! - A node's facts count for devices of that node only.
//! - At no moment has a device two holders, unless a witness told them as shares of it; and then
//!   no share has two. Of several jobs that have it, the one that began last has it; a job whose
//!   end nobody told ends where the next one begins on that device or share.
//! - An allocation that was put by hand or by a scheduler is in `allocation.rs` and goes before.
//!
//! The rules are in `docs/attribution.md`, in words.

mod claims;
mod job;

use std::collections::{BTreeMap, BTreeSet};

use bijli_wire::hold::{Fact, Hold as HoldFact, Share};
use bijli_wire::message::Witness;
use bijli_wire::{ClusterId, JobId, NodeId, ProjectId, SubjectId, UtcMillis};
use serde::{Deserialize, Serialize};

use self::claims::{Claims, Span};
use self::job::{Job, Run};
use crate::allocation::{Allocation, Holds, Touched};
use crate::rules::{JOBS_PER_NODE_MAX, TIMES_PER_JOB_MAX};
use crate::share::Slot;

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

/// When a witness was last asked for everything on a node, and how often it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Look {
    last: i64,
    every_ms: u64,
}

/// All facts, and what follows from them.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Witnessed {
    jobs: BTreeMap<Key, Job>,
    looks: BTreeMap<(NodeId, Witness), Look>,
    /// By node the jobs whose end depends on further looks.
    watched: BTreeMap<NodeId, BTreeSet<Key>>,
    /// Jobs of each node.
    counts: BTreeMap<NodeId, usize>,
    claims: Claims,
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
                let look = self.looks.entry((node.clone(), told.witness)).or_default();
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
        known.add(told);
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

    /// When the witness that is asked for a job was last asked, and how often it is.
    fn look_for(&self, key: &Key, job: &Job) -> Option<&Look> {
        self.looks.get(&(key.node.clone(), job.asked()?))
    }

    /// Puts a job back, with the lines that follow from it now.
    fn put(&mut self, key: Key, mut job: Job, before: &[Placed]) -> (HoldVerdict, Option<Touched>) {
        let looked = self.look_for(&key, &job).map(|look| look.last);
        let after = job.placed(looked);
        if job.is_watched(looked) {
            self.watched.entry(key.node.clone()).or_default().insert(key.clone());
        } else {
            self.unwatch(&key);
        }
        let mut touched = None;
        if before != after.as_slice() {
            let differs = |one: &&Placed, others: &[Placed]| !others.contains(one);
            for gone in before.iter().filter(|one| differs(one, &after)) {
                self.take_off(&key, gone);
                touched = earliest(touched, Some(gone.touched()));
            }
            for new in after.iter().filter(|one| differs(one, before)) {
                self.place(&key, new);
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

    fn place(&mut self, key: &Key, placed: &Placed) {
        let id = key.id();
        let span = placed.span(&id);
        if let Some(project) = &placed.project {
            for device in &placed.devices {
                self.claims.insert_whole(&key.node, device, span, project);
            }
        }
        for share in &placed.shares {
            self.claims.insert_share(&key.node, share, span, &placed.project);
        }
    }

    fn take_off(&mut self, key: &Key, placed: &Placed) {
        let id = key.id();
        for (device, share) in placed.places() {
            self.claims.remove(&key.node, device, share, placed.span(&id));
        }
    }

    /// When a run has let go of everything.
    fn end_of(&self, key: &Key, placed: &Placed) -> i64 {
        let id = key.id();
        let ends = placed
            .places()
            .map(|(device, share)| self.claims.end_of(&key.node, device, share, placed.span(&id)));
        ends.max().unwrap_or(placed.to)
    }

    /// Who held a device of a node in `[start, end)`: by time, without overlaps, cut to it.
    pub(crate) fn of_device(
        &self,
        device: &SubjectId,
        node: &NodeId,
        start: i64,
        end: i64,
    ) -> Vec<Slot<'_>> {
        self.claims.of_device(device, node, start, end)
    }

    /// Where runs that have a device begin or end strictly inside `[start, end)`.
    pub(crate) fn edges_of_device(
        &self,
        device: &SubjectId,
        node: &NodeId,
        start: i64,
        end: i64,
    ) -> Vec<i64> {
        self.claims.edges_of_device(device, node, start, end)
    }

    /// What is held, as allocations, job by job.
    pub(crate) fn allocations(&self) -> impl Iterator<Item = Allocation> + '_ {
        self.jobs.iter().flat_map(move |(key, job)| {
            let look = self.look_for(key, job).copied();
            let runs = job.runs(look.map(|look| look.last));
            let every_s = look.unwrap_or_default().every_ms.div_ceil(1_000);
            runs.into_iter().filter_map(move |run| self.allocation(key, &run, every_s))
        })
    }

    /// `None`: it has nothing, or nobody knows for whom.
    fn allocation(&self, key: &Key, run: &Run<'_>, every_s: u64) -> Option<Allocation> {
        let grant = run.grant?;
        let placed = Placed::of(run)?;
        let project = placed.project.clone()?;
        let id = key.id();
        let to = self.end_of(key, &placed);
        let is_cut = placed.to == i64::MAX && to != i64::MAX;
        let (began, ended) = run.words(is_cut, every_s);
        let user = grant.user.as_ref().map_or(String::new(), |user| format!(" of {user}"));
        let shares = placed.shares.iter().map(|share| share.id.clone());
        Some(Allocation {
            id: format!("{id}/{}", placed.from),
            project,
            holds: Holds::Devices(placed.devices.iter().cloned().chain(shares).collect()),
            from: UtcMillis::new(placed.from),
            to: (to != i64::MAX).then(|| UtcMillis::new(to)),
            who: format!("{} on {}", key.cluster, key.node),
            why: format!("job {}{user}; {began}; {ended}", key.job),
        })
    }

    /// Forgets what ended before `horizon`: no interval that it touches can be derived again.
    pub(crate) fn release(&mut self, horizon: i64) {
        let is_over = |key: &Key, job: &Job| {
            let is_past = |placed: &Placed| self.end_of(key, placed) <= horizon;
            job.latest() <= horizon && job.held.iter().all(is_past)
        };
        let over = self.jobs.iter().filter(|(key, job)| is_over(key, job));
        let over: Vec<Key> = over.map(|(key, _)| key.clone()).collect();
        for key in over {
            let Some(job) = self.jobs.remove(&key) else { continue };
            for gone in &job.held {
                self.take_off(&key, gone);
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

/// A run that has devices or shares of devices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Placed {
    from: i64,
    /// Exclusive; `i64::MAX` while it runs.
    to: i64,
    /// `None`: it has shares only, and whose they are is not known.
    project: Option<ProjectId>,
    devices: Vec<SubjectId>,
    shares: Vec<Share>,
}

impl Placed {
    /// `None`: it has nothing, or whole devices for nobody who is known, or lasted no millisecond.
    /// A share whose project is not known is one all the same: the others do not get it.
    fn of(run: &Run<'_>) -> Option<Self> {
        let grant = run.grant?;
        let project = grant.project.clone();
        let devices = if project.is_some() { grant.devices.clone() } else { Vec::new() };
        let (shares, from, to) = (grant.shares.clone(), run.from, run.to);
        let has_any = !devices.is_empty() || !shares.is_empty();
        (has_any && from < to).then_some(Self { from, to, project, devices, shares })
    }

    /// Each device, and the share of it where it is one.
    fn places(&self) -> impl Iterator<Item = (&SubjectId, Option<&Share>)> {
        let devices = self.devices.iter().map(|device| (device, None));
        devices.chain(self.shares.iter().map(|share| (&share.device, Some(share))))
    }

    const fn span<'a>(&self, id: &'a str) -> Span<'a> {
        Span { from: self.from, to: self.to, id }
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
