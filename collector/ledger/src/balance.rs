//! What the books show of a period: sums per account, and whether they balance.

use std::collections::BTreeMap;

use crate::account::{Account, Nature, Share};
use crate::class::{ByClass, Class};

/// Both sides of one account, in millijoules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AccountSums {
    /// What it received.
    pub debits: u128,
    /// What it gave.
    pub credits: u128,
}

/// A trial balance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Balance {
    pub accounts: BTreeMap<Account, AccountSums>,
}

impl Balance {
    /// Adds an amount that one account received from another.
    pub fn add(&mut self, debit: &Account, credit: &Account, millijoules: u128) {
        let sums = self.accounts.entry(debit.clone()).or_default();
        sums.debits = sums.debits.saturating_add(millijoules);
        let sums = self.accounts.entry(credit.clone()).or_default();
        sums.credits = sums.credits.saturating_add(millijoules);
    }

    fn of(&self, nature: Nature) -> impl Iterator<Item = &AccountSums> {
        self.accounts.iter().filter(move |(a, _)| a.nature() == nature).map(|(_, sums)| sums)
    }

    /// What all sources gave, reversals taken back.
    #[must_use]
    pub fn supplied(&self) -> u128 {
        self.of(Nature::Source).fold(0, |sum: u128, account| {
            sum.saturating_add(account.credits.saturating_sub(account.debits))
        })
    }

    /// What all sinks received, reversals taken back. Equal to [`Balance::supplied`].
    #[must_use]
    pub fn used(&self) -> u128 {
        self.of(Nature::Sink).fold(0, |sum: u128, account| {
            sum.saturating_add(account.debits.saturating_sub(account.credits))
        })
    }

    /// Accounts of passage that are not zero: none, or the program is wrong.
    pub fn imbalances(&self) -> impl Iterator<Item = (&Account, &AccountSums)> {
        self.accounts
            .iter()
            .filter(|(a, sums)| a.nature() == Nature::Through && sums.debits != sums.credits)
    }

    #[must_use]
    pub fn is_balanced(&self) -> bool {
        self.imbalances().next().is_none() && self.supplied() == self.used()
    }
}

/// What one project used in a period, in millijoules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProjectEnergy {
    pub gpu_active: u128,
    pub gpu_held_idle: u128,
    pub host: u128,
    /// The same energy by how it is known.
    pub by_class: ByClass,
    /// The part of it in intervals that have a PUE...
    pub it_with_pue: u128,
    /// ...and that part times each interval's PUE, rounded down per interval.
    pub facility: u128,
}

impl ProjectEnergy {
    /// All IT energy of the project.
    #[must_use]
    pub fn it(&self) -> u128 {
        self.gpu_active.saturating_add(self.gpu_held_idle).saturating_add(self.host)
    }

    /// Adds one use.
    pub fn add(&mut self, share: Share, class: Class, millijoules: u128) {
        let slot = self.slot(share);
        *slot = slot.saturating_add(millijoules);
        self.by_class.add(class, millijoules);
    }

    /// What the facility needed for the energy of one interval that is in here, by the two terms of
    /// that interval's PUE; `None`: it has none.
    pub fn cover(&mut self, pue: Option<(u128, u128)>) {
        let Some((total, it)) = pue else { return };
        self.it_with_pue = self.it();
        // Both are energies of one interval, below 2^64 each.
        let product = self.it_with_pue.saturating_mul(total);
        self.facility = product.checked_div(it).unwrap_or(0);
    }

    pub(crate) fn slot(&mut self, share: Share) -> &mut u128 {
        match share {
            Share::GpuActive => &mut self.gpu_active,
            Share::GpuHeldIdle => &mut self.gpu_held_idle,
            Share::Host => &mut self.host,
        }
    }

    pub fn add_all(&mut self, other: &Self) {
        for share in [Share::GpuActive, Share::GpuHeldIdle, Share::Host] {
            let more = *other.clone().slot(share);
            let slot = self.slot(share);
            *slot = slot.saturating_add(more);
        }
        self.by_class.add_all(&other.by_class);
        self.it_with_pue = self.it_with_pue.saturating_add(other.it_with_pue);
        self.facility = self.facility.saturating_add(other.facility);
    }
}
