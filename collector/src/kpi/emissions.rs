//! What E_DC emitted, by the factors in force on each day.
//!
//! Electricity times a factor a kilowatt-hour, and of generators also fuel times a factor a litre:
//! then the fuel of all intervals counts, because paper does not say in which of them it was burnt.
//! Never both for one day. A day without a factor withholds the whole sum.

use std::collections::BTreeMap;

use bijli_ledger::{Date, Role};

use super::figure::{Quantity, Term, Unit, Withheld, rounded};
use super::figures::Slices;
use super::tables::{Crossed, Factor, Method, Per};

/// Micrograms a kilowatt-hour times millijoules, in a gram.
const KILOWATT_HOUR: u128 = 3_600_000_000 * 1_000_000;
/// Micrograms a litre times millilitres, in a gram.
const LITRE: u128 = 1_000 * 1_000_000;

/// Grams by factor, each with what it was multiplied with.
pub(super) fn terms(slices: &Slices<'_>, method: Method) -> Result<Vec<Term>, Withheld> {
    let mut counted: BTreeMap<usize, u128> = BTreeMap::new();
    let mut missing: BTreeMap<Role, (Date, u32)> = BTreeMap::new();
    for slice in &slices.all {
        for role in [Role::Grid, Role::Generator, Role::Solar] {
            let energy = slice.of.by_source.get(&role).copied().unwrap_or(0);
            let amount = match slices.tables.factor(role, method, slice.date) {
                Some((index, factor)) if factor.per == Per::Litre => {
                    Some((index, slices.crossed(slice, &[Crossed::Fuel])?))
                }
                Some((index, _)) => Some((index, energy)),
                None => None,
            };
            match amount {
                Some((index, amount)) => *counted.entry(index).or_default() += amount,
                None if energy > 0 => missing.entry(role).or_insert((slice.date, 0)).1 += 1,
                None => {}
            }
        }
    }
    if let Some((role, (date, intervals))) = missing.first_key_value() {
        let message = format!(
            "no {}-based factor of {role} holds in {intervals} of the intervals, first on {date}",
            method.word()
        );
        return Err(Withheld::new("no_factor", message));
    }
    let one = |(index, amount): (usize, u128)| {
        slices.tables.factors.get(index).map(|factor| term(factor, amount))
    };
    Ok(counted.into_iter().filter(|(_, amount)| *amount > 0).filter_map(one).collect())
}

pub(super) fn term(factor: &Factor, amount: u128) -> Term {
    let (per, unit, what) = match factor.per {
        Per::KilowattHour => (KILOWATT_HOUR, Unit::Millijoule, "energy"),
        Per::Litre => (LITRE, Unit::Millilitre, "fuel"),
    };
    let Factor { id, of, value, scope, source, year, .. } = factor;
    let grams = rounded(amount.saturating_mul(factor.micrograms.into()), per);
    let name = format!("{of} at {value}, factor {id}, scope {scope}: {source}, {year}");
    Term {
        part: Quantity::new(name, grams, Unit::Gram),
        from: Some(Quantity::new(format!("{of} {what}"), amount, unit)),
    }
}
