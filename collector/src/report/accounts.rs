//! Sums by account over the kept intervals: sources and uses, the trial balance, what corrections
//! changed, and what is drawn.

use std::collections::BTreeMap;

use bijli_ledger::{Account, ByClass, Nature};

use super::cited::Cited;
use super::figures::{AccountFigure, AllKept, RestatedAccount, Trial, TrialRow};
use super::fold::Fold;
use crate::page::place::Flows;

pub(super) fn accounts(fold: &Fold, kept: &AllKept<'_>) -> Vec<AccountFigure> {
    let mut sums: BTreeMap<&Account, ByClass> = BTreeMap::new();
    for one in kept.values() {
        for (flow, amount) in &one.flows {
            for (account, is_end) in [
                (&flow.credit, flow.credit.nature() == Nature::Source),
                (&flow.debit, flow.debit.nature() == Nature::Sink),
            ] {
                if is_end {
                    sums.entry(account).or_default().add(flow.class, *amount);
                }
            }
        }
    }
    let mut figures: Vec<AccountFigure> = Vec::new();
    for (number, sides) in &fold.sides {
        let Some(account) = fold.chart.account(*number) else { continue };
        if account.nature() == Nature::Through {
            continue;
        }
        let by_class = sums.get(account).copied().unwrap_or_default();
        let (account, energy) = (account.clone(), by_class.total());
        figures.push(AccountFigure { account, energy, by_class, cited: sides.leaves.cited() });
    }
    figures.sort_by(|a, b| a.account.cmp(&b.account));
    figures
}

/// Many accounts of one kind are one row.
const fn row_of_many(account: &Account) -> Option<&'static str> {
    if matches!(account, Account::Gpu(_)) {
        Some("gpu:*")
    } else if matches!(account, Account::Cpu(_)) {
        Some("cpu:*")
    } else if matches!(account, Account::Dram(_)) {
        Some("dram:*")
    } else if matches!(account, Account::Node(_)) {
        Some("node:*")
    } else {
        None
    }
}

pub(super) fn trial(fold: &Fold, month: &Cited) -> Trial {
    let mut trial = Trial::default();
    let mut rows: BTreeMap<(Nature, String), TrialRow> = BTreeMap::new();
    for (number, sides) in &fold.sides {
        let Some(account) = fold.chart.account(*number) else { continue };
        let (nature, many) = (account.nature(), row_of_many(account));
        let name = many.map_or_else(|| account.to_string(), str::to_owned);
        let cited = match many {
            Some(_) => Cited { is_exact: false, ..month.clone() },
            None => sides.leaves.cited(),
        };
        let (accounts, debits, credits) = (0, 0, 0);
        let row = rows.entry((nature, name.clone())).or_insert_with(|| TrialRow {
            account: name,
            nature,
            accounts,
            debits,
            credits,
            cited,
        });
        row.accounts += 1;
        row.debits = row.debits.saturating_add(sides.debits);
        row.credits = row.credits.saturating_add(sides.credits);
        trial.debits = trial.debits.saturating_add(sides.debits);
        trial.credits = trial.credits.saturating_add(sides.credits);
        trial.accounts += 1;
        if nature == Nature::Through && sides.debits != sides.credits {
            trial.unbalanced.push(account.to_string());
        }
    }
    trial.rows = rows.into_values().collect();
    trial
}

pub(super) fn restated(fold: &Fold, accounts: &[AccountFigure]) -> Vec<RestatedAccount> {
    let mut changes: BTreeMap<&Account, (i128, u64)> = BTreeMap::new();
    let all = fold.intervals.values().flat_map(|interval| &interval.corrections);
    for (number, amount) in all.flat_map(|correction| &correction.moved) {
        let Some(account) = fold.chart.account(*number) else { continue };
        let (sum, count) = changes.entry(account).or_default();
        *sum += amount;
        *count += 1;
    }
    let figure = |(account, (change, corrections)): (&Account, (i128, u64))| {
        let now = accounts.iter().find(|one| one.account == *account).map_or(0, |one| one.energy);
        let first = now.checked_add_signed(-change).unwrap_or(0);
        RestatedAccount { account: account.clone(), first, now, corrections }
    };
    changes.into_iter().map(figure).collect()
}

pub(super) fn drawn(kept: &AllKept<'_>) -> Flows {
    let mut flows = Flows::new();
    for (flow, amount) in kept.values().flat_map(|one| &one.flows) {
        *flows.entry((flow.credit.clone(), flow.debit.clone())).or_default() += amount;
    }
    flows
}

/// What came through each point: into it from above, or out of a supply.
pub(super) fn points(kept: &AllKept<'_>) -> BTreeMap<String, u128> {
    let mut points: BTreeMap<String, u128> = BTreeMap::new();
    for (flow, amount) in kept.values().flat_map(|one| &one.flows) {
        let point = match (&flow.credit, &flow.debit) {
            (Account::Grid(id) | Account::Generator(id) | Account::Solar(id), Account::Main)
            | (Account::Main | Account::Point(_), Account::Point(id)) => id,
            _ => continue,
        };
        *points.entry(point.to_string()).or_default() += amount;
    }
    points
}
