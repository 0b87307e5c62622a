//! What the ledger log says of a period: asked of its index, for entries older than those that the
//! books hold, and for what the books said at an earlier moment.
//!
//! # Invariants
//! - An answer has everything that the books had posted when it was asked for. While the log or
//!   the index lags behind them there is no answer, and "ask again" is said instead.
//! - An answer as of so many leaves depends on those leaves alone: it is the same for ever.

use std::collections::BTreeMap;

use bijli_ledger::{Account, Balance, Books, Flow, ProjectEnergy, projects_of};
use bijli_wire::{ErrorCode, HubId, ProjectId, UtcMillis};

use super::asked::Asked;
use super::query::{Parameters, Period};
use crate::as_of::AsOf;
use crate::index::{EntryRow, Index, IndexError, Scope, Store, Sum, Unavailable};
use crate::refusal::Refusal;
use crate::state::{Hub, State};

/// A period of one hub, by the first so many leaves.
#[derive(Debug)]
pub(crate) struct Past {
    index: Index,
    scope: Scope,
    /// Leaves that the index must have.
    leaves: u64,
}

impl Past {
    /// `None`: nothing is asked as of an earlier moment, and the books hold all entries of the
    /// period themselves.
    pub(super) fn of(
        asked: &Asked,
        (hub, books): (&Hub, &Books),
        period: &Period,
        as_of: Option<AsOf>,
    ) -> Result<Option<Self>, Refusal> {
        if let Some(as_of) = as_of {
            return Self::at(&asked.state, &hub.id, *period, as_of.leaves).map(Some);
        }
        if period.from >= books.entries_from() || period.from >= period.to {
            return Ok(None);
        }
        let Some(index) = asked.state.index().cloned() else {
            // Only a test has books without an index; nothing was released there unnoticed.
            return Ok(None);
        };
        let (Period { from, to }, before) = (*period, None);
        let scope = Scope { hub: hub.id.clone(), from, to, before };
        Ok(Some(Self { index, scope, leaves: asked.state.leaves_made() }))
    }

    /// What the first `leaves` leaves of the log say of a period of a hub.
    ///
    /// # Errors
    /// While there is no index.
    pub(crate) fn at(
        state: &State,
        hub: &HubId,
        period: Period,
        leaves: u64,
    ) -> Result<Self, Refusal> {
        let index = state.index().cloned().ok_or_else(|| {
            let words = "the ledger log is being opened; ask again in a moment";
            Refusal::new(ErrorCode::Overloaded, words)
        })?;
        let Period { from, to } = period;
        let scope = Scope { hub: hub.clone(), from, to, before: Some(leaves) };
        Ok(Self { index, scope, leaves })
    }

    pub(crate) fn entries(&self, after: u64, limit: usize) -> Result<Vec<EntryRow>, Refusal> {
        self.index.entries(self.leaves, self.scope.clone(), after, limit).map_err(refuse)
    }

    /// The balance, the number of entries and how many of them are adjustments.
    pub(crate) fn balance(&self) -> Result<(Balance, usize, usize), Refusal> {
        let (mut balance, mut entries, mut adjustments) = (Balance::default(), 0, 0);
        for sum in self.sums(false)? {
            balance.add(&sum.debit, &sum.credit, sum.amount);
            entries += sum.entries;
            adjustments += sum.adjustments;
        }
        let count = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        Ok((balance, count(entries), count(adjustments)))
    }

    /// Net flows by giver and receiver.
    pub(crate) fn flows(&self) -> Result<BTreeMap<(Account, Account), u128>, Refusal> {
        let sums = self.sums(false)?;
        let mut flows: BTreeMap<(Account, Account), u128> = BTreeMap::new();
        for (flow, amount) in net(sums).into_values().flatten() {
            *flows.entry((flow.credit, flow.debit)).or_default() += amount;
        }
        Ok(flows)
    }

    /// What each account of a project used, with the PUE that each interval had then.
    pub(crate) fn projects(&self) -> Result<BTreeMap<ProjectId, ProjectEnergy>, Refusal> {
        let terms = self.read(|store, scope| store.terms(scope))?;
        let mut projects: BTreeMap<ProjectId, ProjectEnergy> = BTreeMap::new();
        for (start, flows) in net(self.sums(true)?) {
            for (project, energy) in projects_of(&flows, terms.get(&start).copied()) {
                projects.entry(project).or_default().add_all(&energy);
            }
        }
        Ok(projects)
    }

    fn sums(&self, by_interval: bool) -> Result<Vec<Sum>, Refusal> {
        self.index.sums(self.leaves, self.scope.clone(), by_interval).map_err(refuse)
    }

    /// What `read` makes of the index.
    pub(crate) fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Store, &Scope) -> Result<T, IndexError> + Send + 'static,
    ) -> Result<T, Refusal> {
        let scope = self.scope.clone();
        self.index.read(self.leaves, move |store| read(store, &scope)).map_err(refuse)
    }
}

impl Asked {
    /// As of when an answer is asked for; `None`: as of now, and nothing was said.
    pub(super) fn as_of(&self, parameters: &Parameters) -> Result<Option<AsOf>, Refusal> {
        let Some(text) = parameters.text("as_of") else { return Ok(None) };
        as_of(&self.state, Some(text)).map(Some)
    }
}

/// What an answer rests on that is asked for as of `text`.
pub(crate) fn as_of(state: &State, text: Option<&str>) -> Result<AsOf, Refusal> {
    let found = state.as_of(text);
    found.map_err(|error| Refusal::new(ErrorCode::InvalidRequest, error.to_string()))
}

/// What was posted less what was taken back. Files of two months may have parts of one flow.
fn net(sums: Vec<Sum>) -> BTreeMap<UtcMillis, BTreeMap<Flow, u128>> {
    let mut signed: BTreeMap<UtcMillis, BTreeMap<Flow, i128>> = BTreeMap::new();
    for Sum { interval, debit, credit, class, is_reversal, amount, .. } in sums {
        let amount = i128::try_from(amount).unwrap_or(i128::MAX);
        let (debit, credit, amount) =
            if is_reversal { (credit, debit, -amount) } else { (debit, credit, amount) };
        let flows = signed.entry(interval).or_default();
        *flows.entry(Flow { debit, credit, class }).or_default() += amount;
    }
    let positive = |(flow, amount): (Flow, i128)| {
        let amount = u128::try_from(amount).ok().filter(|amount| *amount > 0)?;
        Some((flow, amount))
    };
    let interval = |(start, flows): (UtcMillis, BTreeMap<Flow, i128>)| {
        (start, flows.into_iter().filter_map(positive).collect())
    };
    signed.into_iter().map(interval).collect()
}

fn refuse(why: Unavailable) -> Refusal {
    Refusal::new(ErrorCode::Overloaded, why.to_string())
}
