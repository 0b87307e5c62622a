//! From sums of use to a bill: who used what, by project, account, day, month, node or model.
//!
//! # Invariants
//! - Every millijoule that is handed in and asked for is in exactly one row: rows sum to the whole.
//! - An interval belongs to the project that has its account when it begins.
//! - What the facility needed is reckoned per account and interval, rounded down, and then added
//!   up, so that a project of several accounts has the sum of theirs.

use std::collections::BTreeMap;

use bijli_ledger::{Account, Class, Date, Offset, ProjectEnergy, Share};
use bijli_wire::{ProjectId, UtcMillis};

use super::Projects;
use crate::index::{IndexError, Scope, Store, Terms};

/// Whose energy is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Whose {
    /// A project of the registry.
    Project(ProjectId),
    /// An account that no project claims: it stands under its own name.
    Account(ProjectId),
    /// What no account used: idle and unattributed GPUs, and hosts of GPUs that nobody held.
    Nobody(Account),
}

/// What a row is of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    Whose(Whose),
    /// What the books have: an account, and whose it was.
    Account(Account, Option<ProjectId>),
    /// By the calendar that was asked for.
    Day(Date),
    /// By its first letters: `2026-08`.
    Month(String),
    /// `None`: of no node any more.
    Node(Option<String>),
    /// `None`: nobody declared it lately.
    Model(Option<String>),
    /// Of no GPU.
    Host,
}

/// What was used, by how and by class.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Used {
    active: i128,
    held_idle: i128,
    host: i128,
    nobody: i128,
    classes: BTreeMap<Class, i128>,
    it_with_pue: u128,
    facility: u128,
}

impl Used {
    pub(crate) fn add(&mut self, user: &Account, class: Class, amount: i128) {
        let part = match user.project() {
            Some((_, Share::GpuActive)) => &mut self.active,
            Some((_, Share::GpuHeldIdle)) => &mut self.held_idle,
            Some((_, Share::Host)) => &mut self.host,
            None => &mut self.nobody,
        };
        *part += amount;
        *self.classes.entry(class).or_default() += amount;
    }

    pub fn add_all(&mut self, other: &Self) {
        self.active += other.active;
        self.held_idle += other.held_idle;
        self.host += other.host;
        self.nobody += other.nobody;
        for (class, amount) in &other.classes {
            *self.classes.entry(*class).or_default() += amount;
        }
        self.it_with_pue += other.it_with_pue;
        self.facility += other.facility;
    }

    pub(crate) fn it(&self) -> i128 {
        self.active + self.held_idle + self.host + self.nobody
    }

    /// What nobody used, in millijoules.
    #[must_use]
    pub fn nobody(&self) -> u128 {
        whole(self.nobody)
    }

    /// What GPUs used while they were held and busy, and while they were held and idle.
    #[must_use]
    pub fn gpus(&self) -> (u128, u128) {
        (whole(self.active), whole(self.held_idle))
    }

    /// All of it, as the ledger tells a project's energy.
    #[must_use]
    pub fn energy(&self) -> ProjectEnergy {
        let mut by_class = bijli_ledger::ByClass::default();
        self.classes.iter().for_each(|(class, amount)| by_class.add(*class, whole(*amount)));
        ProjectEnergy {
            gpu_active: whole(self.active),
            gpu_held_idle: whole(self.held_idle),
            host: whole(self.host),
            by_class,
            it_with_pue: self.it_with_pue,
            facility: self.facility,
        }
    }

    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.it() == 0 && self.classes.values().all(|amount| *amount == 0)
    }
}

/// Postings as they stand give nobody less than nothing.
fn whole(amount: i128) -> u128 {
    u128::try_from(amount).unwrap_or(0)
}

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Ask {
    pub projects: Projects,
    /// Only this project, or the account of that name where there is no such project.
    pub only: Option<ProjectId>,
    /// Where days begin.
    pub offset: Offset,
}

impl Ask {
    /// Whose an account is in the interval that begins at `start`.
    #[must_use]
    pub fn whose(&self, user: &Account, start: UtcMillis) -> Whose {
        match user.project() {
            None => Whose::Nobody(user.clone()),
            Some((account, _)) => match self.projects.owner(account, start) {
                Some(project) => Whose::Project(project.clone()),
                None => Whose::Account(account.clone()),
            },
        }
    }

    /// Whether any of an account's energy may be asked for.
    #[must_use]
    pub fn wants(&self, user: &Account) -> bool {
        let Some(only) = &self.only else { return true };
        let Some((account, _)) = user.project() else { return false };
        match self.projects.project(only) {
            Some(project) => project.claims().any(|claim| claim.account == *account),
            None => account == only,
        }
    }

    /// Whether energy is asked for; [`Ask::wants`] was asked before of its account.
    #[must_use]
    pub fn takes(&self, whose: &Whose) -> bool {
        let Some(only) = &self.only else { return true };
        match whose {
            Whose::Project(project) => project == only,
            Whose::Account(account) => account == only && self.projects.project(only).is_none(),
            Whose::Nobody(_) => false,
        }
    }
}

/// A bill in the making, of sums that come account by account.
#[derive(Debug)]
pub struct Bill<'a> {
    ask: &'a Ask,
    by: By,
    terms: BTreeMap<UtcMillis, Terms>,
    rows: BTreeMap<Key, Used>,
    /// IT energy by interval of the account that comes now.
    account: Option<ProjectId>,
    it: BTreeMap<UtcMillis, i128>,
}

/// What the rows of a bill of sums are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    Whose,
    Account,
    Day,
    Month,
}

impl<'a> Bill<'a> {
    #[must_use]
    pub fn new(ask: &'a Ask, by: By, terms: BTreeMap<UtcMillis, Terms>) -> Self {
        let (rows, it) = (BTreeMap::new(), BTreeMap::new());
        Self { ask, by, terms, rows, account: None, it }
    }

    /// The rows of one hub's period, from the sums that the index keeps.
    ///
    /// # Errors
    /// If SQLite refuses.
    pub fn read(
        store: &Store,
        scope: &Scope,
        ask: &'a Ask,
        by: By,
    ) -> Result<BTreeMap<Key, Used>, IndexError> {
        let mut bill = Self::new(ask, by, store.terms(scope)?);
        let mut add = |start, user: &Account, class, amount| bill.add(start, user, class, amount);
        store.used(scope, &|user| ask.wants(user), &mut add)?;
        Ok(bill.rows())
    }

    /// Takes one sum.
    pub fn add(&mut self, start: UtcMillis, user: &Account, class: Class, amount: i128) {
        let whose = self.ask.whose(user, start);
        if !self.ask.takes(&whose) {
            return;
        }
        let account = user.project().map(|(account, _)| account);
        if self.account.as_ref() != account {
            self.cover();
            self.account = account.cloned();
        }
        if account.is_some() {
            *self.it.entry(start).or_default() += amount;
        }
        let key = self.key(start, user, whose);
        self.rows.entry(key).or_default().add(user, class, amount);
    }

    /// What the facility needed for the account that came last.
    fn cover(&mut self) {
        let Some(account) = self.account.take() else { return };
        let user = Account::Project(account, Share::Host);
        for (start, it) in std::mem::take(&mut self.it) {
            let mut energy = ProjectEnergy { host: whole(it), ..ProjectEnergy::default() };
            energy.cover(self.terms.get(&start).copied());
            let whose = self.ask.whose(&user, start);
            let key = self.key(start, &user, whose);
            // By account it is of no single share, so of no row.
            if let Some(row) = self.rows.get_mut(&key).filter(|_| self.by != By::Account) {
                row.it_with_pue += energy.it_with_pue;
                row.facility += energy.facility;
            }
        }
    }

    fn key(&self, start: UtcMillis, user: &Account, whose: Whose) -> Key {
        match self.by {
            By::Whose => Key::Whose(whose),
            By::Account => {
                let project =
                    if let Whose::Project(project) = whose { Some(project) } else { None };
                Key::Account(user.clone(), project)
            }
            By::Day => Key::Day(self.ask.offset.date(start)),
            By::Month => Key::Month(month(self.ask.offset.date(start))),
        }
    }

    /// The rows, in the order of their keys; without those of nothing.
    #[must_use]
    pub fn rows(mut self) -> BTreeMap<Key, Used> {
        self.cover();
        self.rows.retain(|_, used| !used.is_nothing());
        self.rows
    }
}

fn month(date: Date) -> String {
    let text = date.to_string();
    text.rsplit_once('-').map_or(text.clone(), |(month, _)| month.to_owned())
}

#[cfg(test)]
mod tests;
