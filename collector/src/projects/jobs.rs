//! Which job used what: the energy of each GPU and interval, given to the jobs that held the GPU.
//!
//! The ledger books to accounts, not to jobs, so a job's energy is made here, from the entries and
//! from who held what when. A GPU's energy of an interval that one job alone held for the account
//! is that job's, to the millijoule; where several held it one after the other, it is split by the
//! time that each held it, and what was so split is said. A host's energy follows the time for
//! which GPUs were held, as the account itself got it.
//!
//! # Invariants
//! - The rows sum to what the account was booked, to the millijoule, whatever holds are known.
//! - What no known job held stands in a row of its own, never in a job's.

use std::collections::{BTreeMap, BTreeSet};

use bijli_ledger::{Account, Class, Share, split};
use bijli_wire::{NodeId, ProjectId, SubjectId, UtcMillis};

use super::bill::Used;
use crate::index::Posted;

/// A job holding GPUs of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The scheduler's name of it.
    pub job: String,
    /// What its energy was booked under.
    pub account: ProjectId,
    pub node: Option<NodeId>,
    pub devices: Vec<SubjectId>,
    pub from: UtcMillis,
    /// Exclusive; `None`: it still runs.
    pub to: Option<UtcMillis>,
}

/// What one job used in the period.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobUse {
    pub used: Used,
    /// Of it, what was split by time among several jobs.
    pub split: u128,
    /// Time for which it held any GPU.
    pub wall_ms: u64,
    /// The same for each GPU, added up.
    pub gpu_ms: u64,
    /// Of that, in intervals in which the GPU was read.
    pub covered_ms: u64,
    pub nodes: BTreeSet<NodeId>,
    pub gpus: usize,
    pub accounts: BTreeSet<ProjectId>,
}

/// Where energy was used.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Gpu(SubjectId),
    Host(String),
}

type Lines = BTreeMap<(Share, Class), i128>;

/// The energy of a period, place by place.
#[derive(Debug, Default)]
pub struct Places {
    used: BTreeMap<(UtcMillis, ProjectId, Place), Lines>,
}

impl Places {
    /// Takes one entry of a project's account.
    pub fn add(&mut self, posted: &Posted<'_>) {
        let Some((account, share)) = posted.user.project() else { return };
        let place = if let Account::Gpu(gpu) = posted.giver {
            Place::Gpu(gpu.clone())
        } else {
            Place::Host(posted.owner.to_owned())
        };
        let lines = self.used.entry((posted.interval, account.clone(), place)).or_default();
        *lines.entry((share, posted.class)).or_default() += posted.amount;
    }

    /// Each job's part, and under `None` what no known job held.
    #[must_use]
    pub fn by_job(
        &self,
        held: &[Held],
        period: (UtcMillis, UtcMillis),
        interval_ms: i64,
    ) -> BTreeMap<Option<String>, JobUse> {
        let holds = Holds::of(held, interval_ms);
        let mut jobs: BTreeMap<Option<String>, JobUse> = BTreeMap::new();
        for ((start, account, place), lines) in &self.used {
            let weights = holds.weights(*start, account, place);
            let names: Vec<Option<String>> =
                weights.keys().map(|job| Some((*job).to_owned())).collect();
            let numbers: Vec<u64> = weights.values().copied().collect();
            for ((share, class), amount) in lines {
                let user = Account::Project(account.clone(), *share);
                let (whole, sign) = (amount.unsigned_abs(), amount.signum());
                if names.is_empty() {
                    let job = jobs.entry(None).or_default();
                    job.used.add(&user, *class, *amount);
                    job.accounts.insert(account.clone());
                    continue;
                }
                for (name, part) in names.iter().zip(split(whole, &numbers)) {
                    let job = jobs.entry(name.clone()).or_default();
                    job.used.add(&user, *class, sign * i128::try_from(part).unwrap_or(i128::MAX));
                    if names.len() > 1 {
                        job.split = job.split.saturating_add(part);
                    }
                }
            }
        }
        self.note_times(held, period, interval_ms, &mut jobs);
        jobs.retain(|_, job| !job.used.is_nothing() || job.gpu_ms > 0);
        jobs
    }

    fn note_times(
        &self,
        held: &[Held],
        (from, to): (UtcMillis, UtcMillis),
        interval_ms: i64,
        jobs: &mut BTreeMap<Option<String>, JobUse>,
    ) {
        let read: BTreeSet<(&UtcMillis, &SubjectId)> = self
            .used
            .keys()
            .filter_map(|(start, _, place)| match place {
                Place::Gpu(gpu) => Some((start, gpu)),
                Place::Host(_) => None,
            })
            .collect();
        let mut walls: BTreeMap<&str, Vec<(i64, i64)>> = BTreeMap::new();
        let mut gpus: BTreeMap<&str, BTreeSet<&SubjectId>> = BTreeMap::new();
        for hold in held {
            let start = hold.from.get().max(from.get());
            let end = hold.to.map_or(i64::MAX, UtcMillis::get).min(to.get());
            if start >= end {
                continue;
            }
            walls.entry(&hold.job).or_default().push((start, end));
            gpus.entry(&hold.job).or_default().extend(&hold.devices);
            let job = jobs.entry(Some(hold.job.clone())).or_default();
            job.nodes.extend(hold.node.clone());
            job.accounts.insert(hold.account.clone());
            for (begin, ms) in pieces(start, end, interval_ms) {
                let begin = UtcMillis::new(begin);
                for device in &hold.devices {
                    job.gpu_ms = job.gpu_ms.saturating_add(ms);
                    if read.contains(&(&begin, device)) {
                        job.covered_ms = job.covered_ms.saturating_add(ms);
                    }
                }
            }
        }
        for (name, job) in jobs.iter_mut() {
            let Some(name) = name.as_deref() else { continue };
            job.wall_ms = walls.remove(name).map_or(0, together);
            job.gpus = gpus.get(name).map_or(0, BTreeSet::len);
        }
    }
}

/// Intervals that a stretch of time touches, each with how long.
fn pieces(from: i64, to: i64, interval_ms: i64) -> impl Iterator<Item = (i64, u64)> {
    let first = from.saturating_sub(from.rem_euclid(interval_ms));
    let starts = std::iter::successors(Some(first), move |start| start.checked_add(interval_ms));
    starts.take_while(move |start| *start < to).map(move |start| {
        let end = start.saturating_add(interval_ms).min(to);
        (start, end.abs_diff(start.max(from)))
    })
}

/// How long stretches are together, what they share counted once.
fn together(mut stretches: Vec<(i64, i64)>) -> u64 {
    stretches.sort_unstable();
    let (mut sum, mut done) = (0_u64, i64::MIN);
    for (from, to) in stretches {
        let from = from.max(done);
        if to > from {
            sum = sum.saturating_add(to.abs_diff(from));
            done = to;
        }
    }
    sum
}

/// Holds by what they are looked up by.
struct Holds<'a> {
    by_gpu: BTreeMap<&'a SubjectId, Vec<&'a Held>>,
    by_node: BTreeMap<String, Vec<&'a Held>>,
    interval_ms: i64,
}

impl<'a> Holds<'a> {
    fn of(held: &'a [Held], interval_ms: i64) -> Self {
        let (mut by_gpu, mut by_node) = (BTreeMap::new(), BTreeMap::new());
        for hold in held {
            for device in &hold.devices {
                by_gpu.entry(device).or_insert_with(Vec::new).push(hold);
            }
            if let Some(node) = &hold.node {
                by_node.entry(format!("node {node}")).or_insert_with(Vec::new).push(hold);
            }
        }
        Self { by_gpu, by_node, interval_ms }
    }

    /// Milliseconds for which each job held a place for an account in an interval.
    fn weights(
        &self,
        start: UtcMillis,
        account: &ProjectId,
        place: &Place,
    ) -> BTreeMap<&'a str, u64> {
        let holds = match place {
            Place::Gpu(gpu) => self.by_gpu.get(gpu),
            Place::Host(node) => self.by_node.get(node),
        };
        let (start, end) = (start.get(), start.get().saturating_add(self.interval_ms));
        let mut weights: BTreeMap<&str, u64> = BTreeMap::new();
        for hold in holds.into_iter().flatten().filter(|hold| hold.account == *account) {
            let from = hold.from.get().max(start);
            let to = hold.to.map_or(i64::MAX, UtcMillis::get).min(end);
            if from < to {
                let gpus = match place {
                    Place::Gpu(_) => 1,
                    Place::Host(_) => u64::try_from(hold.devices.len().max(1)).unwrap_or(1),
                };
                let weight = weights.entry(&hold.job).or_default();
                *weight = weight.saturating_add(to.abs_diff(from).saturating_mul(gpus));
            }
        }
        weights
    }
}

#[cfg(test)]
mod tests;
