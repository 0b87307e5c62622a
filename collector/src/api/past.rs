//! Entries older than those the books hold: asked of the index of the ledger log.
//!
//! # Invariants
//! - An answer has everything that the books had posted when it was asked for. While the log or
//!   the index lags behind them there is no answer, and "ask again" is said instead.

use std::collections::BTreeMap;

use bijli_ledger::{Account, Balance, Books, Flow};
use bijli_wire::{ErrorCode, UtcMillis};

use super::asked::Asked;
use super::query::Period;
use crate::index::{EntryRow, Index, Scope, Sum, Unavailable};
use crate::refusal::Refusal;
use crate::state::Hub;

/// A period of one hub that the books do not hold all entries of.
pub(super) struct Past<'a> {
    index: &'a Index,
    scope: Scope,
    /// Leaves that the books had made when they were looked at.
    leaves: u64,
}

impl<'a> Past<'a> {
    /// `None`: the books hold all entries of the period themselves.
    pub(super) fn of(
        asked: &'a Asked,
        hub: &Hub,
        books: &Books,
        period: &Period,
    ) -> Result<Option<Self>, Refusal> {
        if period.from >= books.entries_from() || period.from >= period.to {
            return Ok(None);
        }
        let Some(index) = asked.state.index() else {
            // Only a test has books without an index; nothing was released there unnoticed.
            return Ok(None);
        };
        let scope = Scope { hub: hub.id.clone(), from: period.from, to: period.to };
        Ok(Some(Self { index, scope, leaves: asked.state.leaves_made() }))
    }

    pub(super) fn entries(&self, after: u64, limit: usize) -> Result<Vec<EntryRow>, Refusal> {
        self.index.entries(self.leaves, self.scope.clone(), after, limit).map_err(refuse)
    }

    /// The balance, the number of entries and how many of them are adjustments.
    pub(super) fn balance(&self) -> Result<(Balance, usize, usize), Refusal> {
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
    pub(super) fn flows(&self) -> Result<BTreeMap<(Account, Account), u128>, Refusal> {
        let sums = self.sums(false)?;
        let mut flows: BTreeMap<(Account, Account), u128> = BTreeMap::new();
        for (flow, amount) in net(sums).into_values().flatten() {
            *flows.entry((flow.credit, flow.debit)).or_default() += amount;
        }
        Ok(flows)
    }

    /// Net flows of each interval.
    pub(super) fn by_interval(&self) -> Result<BTreeMap<UtcMillis, BTreeMap<Flow, u128>>, Refusal> {
        Ok(net(self.sums(true)?))
    }

    fn sums(&self, by_interval: bool) -> Result<Vec<Sum>, Refusal> {
        self.index.sums(self.leaves, self.scope.clone(), by_interval).map_err(refuse)
    }
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
