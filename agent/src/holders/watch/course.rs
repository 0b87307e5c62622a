//! From looks to facts: what is new, what goes on, what is gone. Pure.
//!
//! # Invariants
//! - What is held began at the first look that had exactly this, and ended at the first look that
//!   had it no more. Both are late by less than one look.
//! - A change is told at once; everything is told together each half minute, so that what was lost
//!   on the way is made up for.

use std::collections::BTreeMap;

use bijli_wire::hold::{Fact, Grant, Hold};
use bijli_wire::limits::HOLD_DEVICES_MAX;
use bijli_wire::message::{EventKind, Witness};
use bijli_wire::{ClusterId, JobId, Millis, ProjectId, UserId, UtcMillis};
use serde::{Deserialize, Serialize};

use super::parts;
use crate::clock::Moment;
use crate::probe::numbers::Numbered;

/// So often everything is told, and the collector told that it is everything.
const ROUND: Millis = Millis::new(30_000);
/// Jobs of one node at once; a node of GPUs has some dozen.
const JOBS_MAX: usize = 1_024;
/// A job's GPUs are told again after so long, should the batch that had them be lost.
const AGAIN: Millis = Millis::new(600_000);

/// What a source shows of one job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) job: String,
    pub(super) project: Whose,
    pub(super) user: String,
    /// As the source writes them; see `parts`.
    pub(super) ids: Vec<String>,
    /// Why not everything that it has can be told.
    pub(super) unclear: Option<String>,
}

/// Whose energy it is, as far as the source knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    Named(String),
    /// Nobody told, and why.
    Untold(String),
}

impl Default for Whose {
    fn default() -> Self {
        Self::Untold("nobody told whose it is".to_owned())
    }
}

/// Something that is held since a moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Standing {
    pub(super) began_ms: i64,
    pub(super) ids: Vec<String>,
}

/// By job.
pub(super) type Known = BTreeMap<String, Standing>;

/// What one look led to.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) facts: Vec<Hold>,
    pub(super) news: Vec<(EventKind, String)>,
    /// Something began or ended.
    pub(super) is_changed: bool,
}

/// Follows one source.
#[derive(Debug)]
pub(super) struct Course {
    witness: Witness,
    cluster: ClusterId,
    known: Known,
    /// What was told of each job since the start, and when.
    told: BTreeMap<JobId, (Grant, Moment)>,
    round: Option<Moment>,
}

impl Course {
    pub(super) const fn new(witness: Witness, cluster: ClusterId, known: Known) -> Self {
        Self { witness, cluster, known, told: BTreeMap::new(), round: None }
    }

    pub(super) const fn known(&self) -> &Known {
        &self.known
    }

    /// Takes all that a source shows.
    ///
    /// # Errors
    /// It is more than can be told.
    pub(super) fn look(
        &mut self,
        claims: &[Claim],
        gpus: &[Numbered],
        at: UtcMillis,
        now: Moment,
    ) -> Result<Seen, String> {
        let claims = merged(claims);
        if claims.len() > JOBS_MAX {
            return Err(format!("{} jobs are more than can be told", claims.len()));
        }
        let is_round = self.round.is_none_or(|before| now.since(before) >= ROUND);
        let mut seen = Seen::default();
        self.end_what_is_gone(&claims, at, &mut seen);
        for claim in claims.values() {
            self.take(claim, (gpus, at, now), is_round, &mut seen);
        }
        if is_round {
            self.round = Some(now);
            // Last: it counts for all before it.
            seen.facts.push(self.hold(Fact::Looked { every: ROUND }, at));
        }
        Ok(seen)
    }

    fn hold(&self, fact: Fact, at: UtcMillis) -> Hold {
        Hold { fact, witness: self.witness, cluster: self.cluster.clone(), at }
    }

    /// A job that has other GPUs than before is another run of it.
    fn end_what_is_gone(&mut self, claims: &BTreeMap<&str, Claim>, at: UtcMillis, seen: &mut Seen) {
        let is_there = |name: &str, standing: &Standing| {
            claims.get(name).is_some_and(|claim| claim.ids == standing.ids)
        };
        let gone: Vec<(String, i64)> = self
            .known
            .iter()
            .filter(|(name, standing)| !is_there(name, standing))
            .map(|(name, standing)| (name.clone(), standing.began_ms))
            .collect();
        for (name, began_ms) in gone {
            seen.is_changed = true;
            self.known.remove(&name);
            let Ok(job) = JobId::new(&name) else { continue };
            self.told.remove(&job);
            let began = Some(UtcMillis::new(began_ms));
            seen.facts.push(self.hold(Fact::Ended { job, began }, at));
        }
    }

    fn take(
        &mut self,
        claim: &Claim,
        (gpus, at, now): (&[Numbered], UtcMillis, Moment),
        is_round: bool,
        seen: &mut Seen,
    ) {
        let job = match JobId::new(&claim.job) {
            Ok(job) => job,
            Err(error) => return seen.news.push((EventKind::HoldRefused, error.to_string())),
        };
        let ids = &claim.ids;
        let standing = self.known.entry(claim.job.clone()).or_insert_with(|| {
            seen.is_changed = true;
            Standing { began_ms: at.get(), ids: ids.clone() }
        });
        let began = UtcMillis::new(standing.began_ms);
        let grant = match grant(&job, claim, gpus, &mut seen.news) {
            Ok(grant) => grant,
            Err(words) => {
                // When it is known what it has, it is told since when.
                let words = format!("job {job}: {words}");
                return seen.news.push((EventKind::HoldUnresolved, words));
            }
        };
        let is_known = self
            .told
            .get(&job)
            .is_some_and(|(told, since)| *told == grant && now.since(*since) < AGAIN);
        if is_known && !is_round {
            return;
        }
        let told = (!is_known).then(|| grant.clone());
        if !is_known {
            self.told.insert(job.clone(), (grant, now));
        }
        seen.facts.push(self.hold(Fact::Seen { job, began, grant: told }, at));
    }
}

/// By name, each once, with its ids in order.
fn merged(claims: &[Claim]) -> BTreeMap<&str, Claim> {
    let mut merged: BTreeMap<&str, Claim> = BTreeMap::new();
    for claim in claims {
        let known =
            merged.entry(&claim.job).or_insert_with(|| Claim { ids: Vec::new(), ..claim.clone() });
        known.ids.extend(claim.ids.iter().cloned());
        known.ids.sort_unstable();
        known.ids.dedup();
        if known.unclear.is_none() {
            known.unclear.clone_from(&claim.unclear);
        }
    }
    merged
}

/// # Errors
/// Says what of it is nothing of this node.
fn grant(
    job: &JobId,
    claim: &Claim,
    gpus: &[Numbered],
    news: &mut Vec<(EventKind, String)>,
) -> Result<Grant, String> {
    if let Some(words) = &claim.unclear {
        return Err(words.clone());
    }
    let parts = parts::resolve(&claim.ids, gpus)?;
    let count = parts.devices.len() + parts.shares.len();
    if count > HOLD_DEVICES_MAX {
        return Err(format!("it has {count} devices, {HOLD_DEVICES_MAX} can be told"));
    }
    let project = match &claim.project {
        Whose::Named(name) => ProjectId::new(name).map_err(|error| {
            let name: String = name.chars().take(64).collect();
            format!("{name:?} is no project: {error}")
        }),
        Whose::Untold(words) => Err(words.clone()),
    };
    if let Err(words) = &project {
        let words = format!("job {job}: {words}; its energy stays unattributed");
        news.push((EventKind::HoldRefused, words.chars().take(250).collect()));
    }
    let (project, user) = (project.ok(), UserId::new(&claim.user).ok());
    Ok(Grant { project, user, devices: parts.devices, shares: parts.shares })
}

#[cfg(test)]
mod tests {
    use super::super::parts::tests::gpus;
    use super::*;

    fn course(known: Known) -> Course {
        let cluster = ClusterId::new("k8s").expect("a name");
        Course::new(Witness::Kubelet, cluster, known)
    }

    fn claim(job: &str, project: &str, ids: &[&str]) -> Claim {
        Claim {
            job: job.to_owned(),
            project: Whose::Named(project.to_owned()),
            ids: ids.iter().map(|id| (*id).to_owned()).collect(),
            ..Claim::default()
        }
    }

    /// A look so many seconds after the first; what it tells, in words.
    #[track_caller]
    fn check(course: &mut Course, second: u32, claims: &[Claim], expected: &[&str]) -> Seen {
        let at = UtcMillis::new(1_000_000 + i64::from(second) * 1_000);
        let now = Moment::new(u64::from(second) * 1_000);
        let seen = course.look(claims, &gpus(), at, now).expect("few");
        let since = |at: &UtcMillis| (at.get() - 1_000_000) / 1_000;
        let words = |hold: &Hold| match &hold.fact {
            Fact::Seen { job, began, grant } => {
                let grant = grant.as_ref().map(|grant| {
                    let project = grant.project.as_ref().map_or("?", ProjectId::as_str);
                    format!(": {project} {}", grant.devices.len() + grant.shares.len())
                });
                format!("{job} since {}{}", since(began), grant.unwrap_or_default())
            }
            Fact::Ended { job, began: Some(began) } => format!("{job} of {} ended", since(began)),
            Fact::Looked { .. } => "looked".to_owned(),
            other @ (Fact::Began { .. } | Fact::Ended { .. }) => format!("{other:?}"),
        };
        assert!(seen.facts.iter().all(|hold| hold.at == at));
        assert_eq!(seen.facts.iter().map(words).collect::<Vec<_>>(), expected);
        seen
    }

    #[test]
    fn what_is_new_goes_on_and_is_gone() {
        let mut course = course(Known::new());
        let a = claim("ns/a", "fire", &["GPU-0::0", "GPU-0::1"]);
        let b = claim("ns/b", "water", &["MIG-a"]);
        assert!(
            check(&mut course, 0, std::slice::from_ref(&a), &["ns/a since 0: fire 2", "looked"])
                .is_changed
        );
        assert!(!check(&mut course, 10, std::slice::from_ref(&a), &[]).is_changed);
        let both = [a.clone(), b.clone()];
        check(&mut course, 20, &both, &["ns/b since 20: water 1"]);
        check(&mut course, 30, &both, &["ns/a since 0", "ns/b since 20", "looked"]);
        // Other GPUs are another run.
        let other = claim("ns/a", "fire", &["GPU-0::0"]);
        let told = ["ns/a of 0 ended", "ns/a since 40: fire 1"];
        check(&mut course, 40, &[other.clone(), b.clone()], &told);
        check(&mut course, 50, &[other], &["ns/b of 20 ended"]);
        assert!(check(&mut course, 60, &[], &["ns/a of 40 ended", "looked"]).is_changed);
    }

    #[test]
    fn a_restart_goes_on_with_what_is_still_there() {
        let mut before = course(Known::new());
        let a = claim("ns/a", "fire", &["GPU-0"]);
        let b = claim("ns/b", "fire", &["MIG-a"]);
        let both = [a.clone(), b];
        check(&mut before, 0, &both, &["ns/a since 0: fire 1", "ns/b since 0: fire 1", "looked"]);
        let mut after = course(before.known().clone());
        let told = ["ns/b of 0 ended", "ns/a since 0: fire 1", "looked"];
        check(&mut after, 500, &[a], &told);
    }

    /// Goal: nothing is given to anybody by guessing; what is known later is told since when.
    #[test]
    fn what_cannot_be_joined_is_told_to_people_and_waits() {
        let mut course = course(Known::new());
        let unknown = claim("ns/a", "fire", &["GPU-0", "MIG-new"]);
        let seen = check(&mut course, 0, std::slice::from_ref(&unknown), &["looked"]);
        assert_eq!(seen.news[0].0, EventKind::HoldUnresolved);
        assert!(seen.news[0].1.contains("MIG-new"), "{:?}", seen.news);
        let mut gpus = gpus();
        gpus[1].mig.as_mut().expect("split").instances[0].id = "MIG-new".parse().expect("a name");
        let later = course.look(&[unknown], &gpus, UtcMillis::new(1_060_000), Moment::new(60_000));
        let fact = &later.expect("few").facts[0].fact;
        let Fact::Seen { began, grant: Some(grant), .. } = fact else { panic!("{fact:?}") };
        assert_eq!((began.get(), grant.devices.len(), grant.shares.len()), (1_000_000, 1, 1));
        let unclear =
            Claim { unclear: Some("a claim".to_owned()), ..claim("ns/b", "p", &["GPU-0"]) };
        let seen = check(&mut course, 70, &[unclear], &["ns/a of 0 ended"]);
        assert!(seen.news[0].1.contains("job ns/b: a claim"), "{:?}", seen.news);
    }

    #[test]
    fn a_project_that_is_not_told_or_none_leaves_the_share_and_says_so() {
        let mut course = course(Known::new());
        let refused = claim("7", "=cmd|' /C calc'!A0", &["GPU-0::7"]);
        let untold = Claim { project: Whose::default(), ..claim("8", "", &["GPU-0::8"]) };
        let told = ["7 since 0: ? 1", "8 since 0: ? 1", "looked"];
        let seen = check(&mut course, 0, &[refused, untold], &told);
        for (part, (kind, words)) in ["is no project", "nobody told"].iter().zip(&seen.news) {
            assert_eq!(*kind, EventKind::HoldRefused);
            assert!(words.contains(part), "{words}");
        }
        // Told once it is known.
        let known = [claim("7", "fire", &["GPU-0::7"]), claim("8", "fire", &["GPU-0::8"])];
        check(&mut course, 1, &known, &["7 since 0: fire 1", "8 since 0: fire 1"]);
    }

    #[test]
    fn a_name_that_is_none_is_refused_and_more_than_can_be_told_is_no_look() {
        let mut course = course(Known::new());
        let seen = check(&mut course, 0, &[claim("a b", "p", &["GPU-0"])], &["looked"]);
        assert_eq!(seen.news[0].0, EventKind::HoldRefused);
        let many: Vec<Claim> = (0..1_025).map(|n| claim(&n.to_string(), "p", &["GPU-0"])).collect();
        let refused = course.look(&many, &gpus(), UtcMillis::new(1), Moment::new(1));
        assert!(refused.expect_err("many").contains("1025 jobs"));
    }
}
