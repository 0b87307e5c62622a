//! Cost and emissions of a period by project.
//!
//! What a supply gave in an interval is shared by the IT energy of that interval, so cooling and
//! losses follow IT, and whoever computes in the peak pays the peak's rate. IT energy that no
//! project used is nobody's, and has its share.
//!
//! # Invariants
//! - Millijoules are shared within each interval, grams and paisa once for each factor and rate,
//!   both by largest remainder: the shares sum to the figure, to the gram and the paisa.

use std::collections::BTreeMap;

use bijli_ledger::{Books, Pue, Role};
use bijli_wire::ProjectId;

use super::bill::{bill, line};
use super::emissions;
use super::figure::{Quantity, Unit, Withheld};
use super::figures::{COST, CUES, Slice, Slices};
use super::tables::{Crossed, Method, Per, Tables};

/// A project; `None`: nobody.
pub type Party = Option<ProjectId>;
type Parties = BTreeMap<Party, u128>;

/// A figure's numerator by project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shares {
    pub name: &'static str,
    pub outcome: Result<(Quantity, Parties), Withheld>,
}

/// Shares of the cost and of the emissions of a period that has this PUE. The books must hold the
/// entries of it.
#[must_use]
pub fn shares(books: &Books, tables: &Tables, pue: &Pue) -> Vec<Shares> {
    let slices = Slices::of(books, tables, pue);
    let used: Vec<Parties> = slices.all.iter().map(|slice| parties(books, slice)).collect();
    let cost = Shares { name: COST, outcome: cost(&slices, &used) };
    let by_method = Method::ALL.into_iter().zip(CUES);
    let emitted = |(method, name)| Shares { name, outcome: emissions(&slices, &used, method) };
    [cost].into_iter().chain(by_method.map(emitted)).collect()
}

/// The IT energy of an interval by project.
fn parties(books: &Books, slice: &Slice<'_>) -> Parties {
    let projects = books.projects(slice.of.start, slice.of.end).into_iter();
    let mut parties: Parties =
        projects.map(|(project, energy)| (Some(project), energy.it())).collect();
    let known: u128 = parties.values().sum();
    parties.insert(None, slice.of.it.saturating_sub(known));
    parties
}

fn cost(slices: &Slices<'_>, used: &[Parties]) -> Result<(Quantity, Parties), Withheld> {
    let whole: u128 = bill(slices)?.terms.iter().map(|term| term.part.amount).sum();
    let mut energy: BTreeMap<(usize, usize), Parties> = BTreeMap::new();
    for (slice, used) in slices.all.iter().zip(used) {
        let found = slices.tables.tariff(slice.of.start);
        let at = found.and_then(|(index, of)| Some((index, of.window(slice.of.start)?)));
        if let Some(at) = at {
            add(energy.entry(at).or_default(), split(slice.grid(), used));
        }
    }
    let mut shared = Parties::new();
    for ((index, window), parts) in &energy {
        let tariff = slices.tables.tariffs.get(*index);
        let Some((tariff, window)) =
            tariff.and_then(|tariff| Some((tariff, tariff.windows.get(*window)?)))
        else {
            continue;
        };
        let paisa = line(tariff, window, parts.values().sum()).part.amount;
        add(&mut shared, split(paisa, parts));
    }
    // Fixed charges and tax go as the energy.
    let rest = whole.saturating_sub(shared.values().sum());
    let weights = shared.clone();
    add(&mut shared, split(rest, &weights));
    Ok((Quantity::new("energy from the grid", whole, Unit::Paisa), shared))
}

fn emissions(
    slices: &Slices<'_>,
    used: &[Parties],
    method: Method,
) -> Result<(Quantity, Parties), Withheld> {
    let terms = emissions::terms(slices, method)?;
    let whole = terms.iter().map(|term| term.part.amount).sum();
    let mut counted: BTreeMap<usize, Parties> = BTreeMap::new();
    for (slice, used) in slices.all.iter().zip(used) {
        for role in [Role::Grid, Role::Generator, Role::Solar] {
            let Some((index, factor)) = slices.tables.factor(role, method, slice.date) else {
                continue;
            };
            let amount = match factor.per {
                Per::Litre => slices.crossed(slice, &[Crossed::Fuel])?,
                Per::KilowattHour => slice.of.by_source.get(&role).copied().unwrap_or(0),
            };
            add(counted.entry(index).or_default(), split(amount, used));
        }
    }
    let mut shared = Parties::new();
    for (index, parts) in &counted {
        let Some(factor) = slices.tables.factors.get(*index) else { continue };
        let grams = emissions::term(factor, parts.values().sum()).part.amount;
        add(&mut shared, split(grams, parts));
    }
    Ok((Quantity::new("emissions", whole, Unit::Gram), shared))
}

fn add(sums: &mut Parties, more: Parties) {
    for (party, amount) in more {
        *sums.entry(party).or_default() += amount;
    }
}

/// An amount by weights, to its last unit: rounded down, and what is left goes to the largest
/// remainders, among equals to the first. Without any weight it is nobody's.
pub(super) fn split(amount: u128, weights: &Parties) -> Parties {
    let whole: u128 = weights.values().sum();
    if whole == 0 {
        return Parties::from([(None, amount)]);
    }
    let product = |weight: &u128| amount.saturating_mul(*weight);
    let mut parts: Parties =
        weights.iter().map(|(party, weight)| (party.clone(), product(weight) / whole)).collect();
    let given: u128 = parts.values().sum();
    let mut order: Vec<(&Party, u128)> =
        weights.iter().map(|(party, weight)| (party, product(weight) % whole)).collect();
    order.sort_by_key(|(_, remainder)| std::cmp::Reverse(*remainder));
    let left = usize::try_from(amount.saturating_sub(given)).unwrap_or(usize::MAX);
    for (party, _) in order.into_iter().take(left) {
        if let Some(part) = parts.get_mut(party) {
            *part += 1;
        }
    }
    parts
}
