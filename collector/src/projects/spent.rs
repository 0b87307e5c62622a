//! What projects with a budget have used, kept from one moment to the next: each asks the index
//! only for what was posted since the one before.
//!
//! # Invariants
//! - What is kept as of N leaves and C changes is what a bill as of `N.C` says, to the millijoule.
//! - Another registry begins anew: a claim that changed may move energy of long ago.

use std::collections::BTreeMap;

use bijli_ledger::Account;
use bijli_wire::{HubId, ProjectId, UtcMillis};

use super::Projects;
use crate::as_of::AsOf;

/// By hub and project, in millijoules of IT energy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    used: BTreeMap<(HubId, ProjectId), i128>,
    /// `None`: nothing was reckoned yet.
    as_of: Option<AsOf>,
}

impl Spent {
    /// The first leaf that is to be read to go on as of a moment; anew where that must be.
    #[must_use]
    pub fn begin(self, as_of: AsOf) -> (Self, u64) {
        match self.as_of {
            Some(known) if known.changes == as_of.changes && known.leaves <= as_of.leaves => {
                (Self { as_of: Some(as_of), ..self }, known.leaves)
            }
            _ => (Self { used: BTreeMap::new(), as_of: Some(as_of) }, 0),
        }
    }

    /// Takes one sum of a hub.
    pub fn add(
        &mut self,
        (projects, hub): (&Projects, &HubId),
        start: UtcMillis,
        user: &Account,
        amount: i128,
    ) {
        let Some((account, _)) = user.project() else { return };
        let Some(project) = projects.owner(account, start) else { return };
        if projects.project(project).is_some_and(|project| project.budget.is_some()) {
            *self.used.entry((hub.clone(), project.clone())).or_default() += amount;
        }
    }

    /// As of when it is; `None`: nothing was reckoned yet.
    #[must_use]
    pub const fn as_of(&self) -> Option<AsOf> {
        self.as_of
    }

    /// What a project used at a hub.
    #[must_use]
    pub fn of(&self, hub: &HubId, project: &ProjectId) -> u128 {
        let used = self.used.get(&(hub.clone(), project.clone())).copied().unwrap_or(0);
        // Postings as they stand give nobody less than nothing.
        u128::try_from(used).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests;
