//! Which projects there are, and every change that led to them. Pure.

use std::collections::BTreeMap;

use bijli_wire::{Millijoules, ProjectId, UtcMillis};

use super::text::{ChangeText, DeleteText, ProjectText};
use crate::as_of::AsOfError;
use crate::calendar;

/// Projects at any one time.
pub const PROJECTS_MAX: usize = 10_000;
/// Changes that are ever taken: ten a day for 27 years.
const CHANGES_MAX: usize = 100_000;
/// Accounts and namespaces of one project.
const CLAIMS_MAX: usize = 256;
/// Bytes of a text for people.
const TEXT_BYTES_MAX: usize = 256;

/// One project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Project {
    pub id: ProjectId,
    /// For people, as all texts here: foreign, without control characters.
    pub title: String,
    pub organisation: String,
    pub grant: String,
    pub accounts: Vec<Claim>,
    pub namespaces: Vec<Claim>,
    pub from: UtcMillis,
    /// Exclusive; `None`: no end is set.
    pub to: Option<UtcMillis>,
    /// IT energy over the whole of its time; `None`: none is set.
    pub budget: Option<Millijoules>,
    /// As it was written.
    pub budget_words: Option<String>,
    pub who: String,
    pub why: String,
}

/// An account of the ledger that is a project's for a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// What the ledger books under.
    pub account: ProjectId,
    pub from: UtcMillis,
    pub to: Option<UtcMillis>,
}

/// What a change is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Put(Box<Project>),
    Delete { id: ProjectId, who: String, why: String },
}

/// What a change led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Registered {
    New,
    Unchanged,
    Replaced,
    Deleted,
}

impl Registered {
    /// The word in answers.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Unchanged => "unchanged",
            Self::Replaced => "replaced",
            Self::Deleted => "deleted",
        }
    }
}

/// Why a change was refused. Nothing changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProjectError {
    #[error("a project's {what} has {bytes} bytes; it needs {least} to {TEXT_BYTES_MAX}")]
    TextLength { what: &'static str, bytes: usize, least: usize },
    #[error("a project's {what} has a control character")]
    Control { what: &'static str },
    #[error("{what} ends at {to}, not after its start at {from}")]
    Backwards { what: String, from: String, to: String },
    #[error("{what} {at} lies within an interval: they begin and end each {interval_s} s of UTC")]
    NoEdge { what: &'static str, at: String, interval_s: u64 },
    #[error("account {account} is claimed beyond the time of the project")]
    Outside { account: ProjectId },
    #[error("a project has {CLAIMS_MAX} accounts and namespaces at most, not {count}")]
    Claims { count: usize },
    #[error("account {account} is project {other}'s from {from} to {to}; end that claim first")]
    Claimed { account: ProjectId, other: ProjectId, from: String, to: String },
    #[error("there is no project {id}")]
    Unknown { id: ProjectId },
    #[error("the registry is full: {PROJECTS_MAX} projects, or {CHANGES_MAX} changes")]
    Full,
}

/// A change that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    pub received: UtcMillis,
    /// Leaves that the books had then.
    pub leaves: u64,
    pub change: Change,
}

/// Every change that was made, in order, and the projects as they stand.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    made: Vec<Made>,
    now: Projects,
}

/// The projects of one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Projects {
    projects: BTreeMap<ProjectId, Project>,
    /// By account: from, to and whose.
    claims: BTreeMap<ProjectId, Vec<(i64, i64, ProjectId)>>,
}

impl Registry {
    /// The projects as they stand.
    #[must_use]
    pub const fn now(&self) -> &Projects {
        &self.now
    }

    /// How many changes were made.
    #[must_use]
    pub fn changes(&self) -> usize {
        self.made.len()
    }

    /// Every change of one project, oldest first.
    pub fn history<'a>(&'a self, id: &'a ProjectId) -> impl Iterator<Item = &'a Made> {
        self.made.iter().filter(move |made| made.change.id() == id)
    }

    /// Changes that were made before the books had more than so many leaves.
    #[must_use]
    pub fn changes_by_leaves(&self, leaves: u64) -> usize {
        self.made.partition_point(|made| made.leaves <= leaves)
    }

    /// Changes that were heard by a moment, in their order: from the first later one on none.
    #[must_use]
    pub fn changes_by(&self, at: UtcMillis) -> usize {
        let is_later = |made: &Made| made.received > at;
        self.made.iter().position(is_later).unwrap_or(self.made.len())
    }

    /// The projects after the first so many changes.
    ///
    /// # Errors
    /// When there are fewer.
    pub fn as_of(&self, changes: usize) -> Result<Projects, AsOfError> {
        if changes == self.made.len() {
            return Ok(self.now.clone());
        }
        let made = self.made.get(..changes).ok_or_else(|| {
            let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
            let what = "changes of the registry";
            AsOfError::Beyond { what, asked: number(changes), known: number(self.made.len()) }
        })?;
        Ok(folded(made))
    }

    /// What a change would lead to.
    ///
    /// # Errors
    /// Says which rule it breaks.
    pub fn judge(&self, change: &Change, interval_ms: u64) -> Result<Registered, ProjectError> {
        let known = self.now.project(change.id());
        let verdict = match change {
            Change::Put(project) if known == Some(project) => return Ok(Registered::Unchanged),
            Change::Put(project) => {
                project.check(interval_ms)?;
                self.now.check_claims(project)?;
                if known.is_some() { Registered::Replaced } else { Registered::New }
            }
            Change::Delete { id, who, why } => {
                check_text("who", who, 1)?;
                check_text("why", why, 1)?;
                if known.is_none() {
                    return Err(ProjectError::Unknown { id: id.clone() });
                }
                Registered::Deleted
            }
        };
        let is_full = self.now.projects.len() >= PROJECTS_MAX && verdict == Registered::New;
        if is_full || self.made.len() >= CHANGES_MAX {
            return Err(ProjectError::Full);
        }
        Ok(verdict)
    }

    /// Makes a change that was heard at `received`, when the books had so many leaves.
    ///
    /// # Errors
    /// Says which rule it breaks; nothing changes.
    pub fn make(
        &mut self,
        change: Change,
        (received, leaves): (UtcMillis, u64),
        interval_ms: u64,
    ) -> Result<Registered, ProjectError> {
        let verdict = self.judge(&change, interval_ms)?;
        if verdict == Registered::Unchanged {
            return Ok(verdict);
        }
        self.now.apply(&change);
        self.made.push(Made { received, leaves, change });
        Ok(verdict)
    }

    /// What a snapshot keeps.
    pub(crate) fn kept(&self) -> Kept {
        let json = |made: &Made| made.change.text().to_json();
        self.made.iter().map(|made| (made.received.get(), made.leaves, json(made))).collect()
    }

    /// From what a snapshot kept; what cannot be read was refused when it came.
    pub(crate) fn restored(kept: Kept) -> Self {
        let read = |(received, leaves, json): (i64, u64, Vec<u8>)| {
            let change = ChangeText::from_json(&json).ok()?.read().ok()?;
            Some(Made { received: UtcMillis::new(received), leaves, change })
        };
        let made: Vec<Made> = kept.into_iter().filter_map(read).collect();
        Self { now: folded(&made), made }
    }
}

/// Time, leaves and text of each change.
pub(crate) type Kept = Vec<(i64, u64, Vec<u8>)>;

fn folded(made: &[Made]) -> Projects {
    let mut projects = Projects::default();
    made.iter().for_each(|made| projects.apply(&made.change));
    projects
}

impl Projects {
    /// By id.
    pub fn iter(&self) -> impl Iterator<Item = &Project> {
        self.projects.values()
    }

    #[must_use]
    pub fn project(&self, id: &ProjectId) -> Option<&Project> {
        self.projects.get(id)
    }

    /// Whose an account is in the interval that begins at `start`; `None`: no project's.
    #[must_use]
    pub fn owner(&self, account: &ProjectId, start: UtcMillis) -> Option<&ProjectId> {
        let start = start.get();
        let claims = self.claims.get(account)?;
        let claim = claims.iter().find(|(from, to, _)| (*from..*to).contains(&start))?;
        Some(&claim.2)
    }

    /// The accounts that a project ever claims.
    #[must_use]
    pub fn accounts(&self, id: &ProjectId) -> Vec<ProjectId> {
        let mut accounts: Vec<ProjectId> = self
            .project(id)
            .map(|project| project.claims().map(|claim| claim.account.clone()).collect())
            .unwrap_or_default();
        accounts.sort_unstable();
        accounts.dedup();
        accounts
    }

    fn apply(&mut self, change: &Change) {
        if let Some(old) = self.projects.remove(change.id()) {
            for claim in old.claims() {
                if let Some(claims) = self.claims.get_mut(&claim.account) {
                    claims.retain(|(_, _, whose)| *whose != old.id);
                    if claims.is_empty() {
                        self.claims.remove(&claim.account);
                    }
                }
            }
        }
        let Change::Put(project) = change else { return };
        for claim in project.claims() {
            let (from, to) = claim.span();
            let claims = self.claims.entry(claim.account.clone()).or_default();
            claims.push((from, to, project.id.clone()));
            claims.sort_unstable();
        }
        self.projects.insert(project.id.clone(), Project::clone(project));
    }

    /// Whether another project has what this one claims.
    fn check_claims(&self, project: &Project) -> Result<(), ProjectError> {
        for claim in project.claims() {
            let (from, to) = claim.span();
            let claims = self.claims.get(&claim.account).into_iter().flatten();
            let mut rivals = claims.filter(|(_, _, whose)| *whose != project.id);
            if let Some((start, end, other)) = rivals.find(|(f, t, _)| *f < to && from < *t) {
                return Err(ProjectError::Claimed {
                    account: claim.account.clone(),
                    other: other.clone(),
                    from: calendar::rfc3339(UtcMillis::new(*start)),
                    to: end_words(*end),
                });
            }
        }
        Ok(())
    }
}

fn end_words(end: i64) -> String {
    if end == i64::MAX { "now on".to_owned() } else { calendar::rfc3339(UtcMillis::new(end)) }
}

impl Claim {
    fn span(&self) -> (i64, i64) {
        (self.from.get(), self.to.map_or(i64::MAX, UtcMillis::get))
    }
}

impl Change {
    #[must_use]
    pub fn id(&self) -> &ProjectId {
        match self {
            Self::Put(project) => &project.id,
            Self::Delete { id, .. } => id,
        }
    }

    /// As the journal keeps it.
    #[must_use]
    pub fn text(&self) -> ChangeText {
        match self {
            Self::Put(project) => ChangeText::Put(ProjectText::of(project)),
            Self::Delete { id, who, why } => {
                let (id, who, why) = (id.to_string(), who.clone(), why.clone());
                ChangeText::Delete(DeleteText { id, who, why })
            }
        }
    }
}

impl Project {
    /// Accounts and namespaces: one account of the ledger where both have one name.
    pub fn claims(&self) -> impl Iterator<Item = &Claim> {
        self.accounts.iter().chain(&self.namespaces)
    }

    fn check(&self, interval_ms: u64) -> Result<(), ProjectError> {
        for (what, text, least) in [
            ("title", &self.title, 1),
            ("organisation", &self.organisation, 0),
            ("grant", &self.grant, 0),
            ("who", &self.who, 1),
            ("why", &self.why, 1),
        ] {
            check_text(what, text, least)?;
        }
        check_span("the project", (self.from, self.to), interval_ms)?;
        let count = self.claims().count();
        if count > CLAIMS_MAX {
            return Err(ProjectError::Claims { count });
        }
        let (from, to) = (self.from.get(), self.to.map_or(i64::MAX, UtcMillis::get));
        for claim in self.claims() {
            check_span(claim.account.as_str(), (claim.from, claim.to), interval_ms)?;
            let (claim_from, claim_to) = claim.span();
            if claim_from < from || claim_to > to {
                return Err(ProjectError::Outside { account: claim.account.clone() });
            }
        }
        Ok(())
    }
}

fn check_text(what: &'static str, text: &str, least: usize) -> Result<(), ProjectError> {
    if text.chars().any(char::is_control) {
        return Err(ProjectError::Control { what });
    }
    let bytes = text.len();
    if (least..=TEXT_BYTES_MAX).contains(&bytes) {
        return Ok(());
    }
    Err(ProjectError::TextLength { what, bytes, least })
}

fn check_span(
    what: &str,
    (from, to): (UtcMillis, Option<UtcMillis>),
    interval_ms: u64,
) -> Result<(), ProjectError> {
    let step = i64::try_from(interval_ms.max(1)).unwrap_or(i64::MAX);
    for (edge, at) in [("the start", Some(from)), ("the end", to)] {
        if let Some(at) = at.filter(|at| at.get().rem_euclid(step) != 0) {
            let interval_s = interval_ms / 1_000;
            return Err(ProjectError::NoEdge { what: edge, at: calendar::rfc3339(at), interval_s });
        }
    }
    match to {
        Some(to) if to <= from => {
            let [from, to] = [from, to].map(calendar::rfc3339);
            Err(ProjectError::Backwards { what: what.to_owned(), from, to })
        }
        Some(_) | None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
