//! Maximum demand, and what the energy from the grid cost by the tariff in force in each interval.
//!
//! # Invariants
//! - The energy of an interval has one rate: tables whose hours cut an interval are refused.
//! - Every line is rounded to the paisa once, half up, and the lines sum to the bill.

use std::collections::BTreeMap;

use bijli_ledger::{Date, Offset, Role, Zone};
use bijli_wire::{Millis, UtcMillis};

use super::figure::{Quantity, Term, Unit, Withheld, decimal, rounded};
use super::figures::{Slice, Slices};
use super::tables::{Tariff, Window};

/// Millionths of a rupee a kilowatt-hour times millijoules, in a paisa.
const KILOWATT_HOUR: u128 = 3_600_000_000 * 10_000;
/// Millionths of a rupee a kilowatt times milliwatts, in a paisa.
const KILOWATT: u128 = 1_000_000 * 10_000;
const MILLION: u128 = 1_000_000;

/// The highest average power from the grid over one of the windows that are complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Demand {
    pub(super) milliwatts: u128,
    pub(super) at: UtcMillis,
    /// Average power over all complete windows.
    pub(super) average: u128,
    pub(super) windows: u32,
}

/// One window of the local clock: its day, its number, and the offset, because an hour may come
/// twice.
type Place = (Date, u16, Offset);

/// `None`: no window is complete.
pub(super) fn demand(
    slices: &[&Slice<'_>],
    zone: &Zone,
    (window, interval): (Millis, Millis),
) -> Option<Demand> {
    let minutes = u16::try_from(window.get() / 60_000).ok().filter(|minutes| *minutes > 0)?;
    let needed = window.get().checked_div(interval.get())?;
    let mut windows: BTreeMap<Place, (UtcMillis, u64, u128)> = BTreeMap::new();
    for slice in slices {
        let at = slice.of.start;
        let place = (zone.date(at), zone.minute(at) / minutes, zone.offset(at));
        let (_, count, energy) = windows.entry(place).or_insert((at, 0, 0));
        *count += 1;
        *energy += slice.grid();
    }
    let span = u128::from(window.get());
    let complete = windows.into_values().filter(|(_, count, _)| *count == needed);
    let powers: Vec<(UtcMillis, u128)> =
        complete.map(|(at, _, energy)| (at, rounded(energy * 1_000, span))).collect();
    // The first of equal ones.
    let (at, milliwatts) = powers.iter().rev().max_by_key(|(_, power)| *power).copied()?;
    let count = u128::try_from(powers.len()).ok()?;
    let average = rounded(powers.iter().map(|(_, power)| *power).sum(), count);
    Some(Demand { milliwatts, at, average, windows: u32::try_from(powers.len()).ok()? })
}

/// A bill: its lines with tax, and what is not in it.
pub(super) struct Bill {
    pub(super) terms: Vec<Term>,
    pub(super) notes: Vec<String>,
}

pub(super) fn bill(slices: &Slices<'_>) -> Result<Bill, Withheld> {
    let tables = slices.tables;
    let mut energy: BTreeMap<(usize, usize), u128> = BTreeMap::new();
    let mut missing: Option<(Date, u32)> = None;
    for slice in &slices.all {
        let found = tables.tariff(slice.of.start);
        let line = found.and_then(|(index, of)| Some((index, of.window(slice.of.start)?)));
        match line {
            Some(line) => *energy.entry(line).or_default() += slice.grid(),
            None => missing.get_or_insert((slice.date, 0)).1 += 1,
        }
    }
    if let Some((date, intervals)) = missing {
        let message = format!("no tariff holds in {intervals} of the intervals, first on {date}");
        return Err(Withheld::new("no_tariff", message));
    }
    let mut notes = Vec::new();
    let fixed = fixed(slices, &mut notes);
    let mut terms = Vec::new();
    for (index, tariff) in tables.tariffs.iter().enumerate() {
        let lines = energy.range((index, 0)..=(index, usize::MAX));
        let lines =
            lines.filter_map(|((_, at), sum)| Some(line(tariff, tariff.windows.get(*at)?, *sum)));
        let mut own: Vec<Term> = lines.collect();
        own.extend(fixed.iter().filter(|(of, _)| *of == index).map(|(_, term)| term.clone()));
        if tariff.tax_ppm > 0 && !own.is_empty() {
            let sum: u128 = own.iter().map(|term| term.part.amount).sum();
            let tax = rounded(sum * u128::from(tariff.tax_ppm), MILLION);
            let share = decimal(u128::from(tariff.tax_ppm), 10_000, 2);
            let name = format!("tax of {share} % on tariff {}", tariff.id);
            own.push(Term { part: Quantity::new(name, tax, Unit::Paisa), from: None });
        }
        terms.extend(own);
    }
    Ok(Bill { terms, notes })
}

pub(super) fn line(tariff: &Tariff, window: &Window, energy: u128) -> Term {
    let paisa = rounded(energy.saturating_mul(window.rate_micro.into()), KILOWATT_HOUR);
    let Tariff { id, source, .. } = tariff;
    let name = format!("{} at {}, tariff {id}: {source}", window.name, window.rate);
    Term {
        part: Quantity::new(name, paisa, Unit::Paisa),
        from: Some(Quantity::new("grid energy", energy, Unit::Millijoule)),
    }
}

/// The fixed charges of whole months, by tariff. What keeps one out is noted.
fn fixed(slices: &Slices<'_>, notes: &mut Vec<String>) -> Vec<(usize, Term)> {
    let mut months: BTreeMap<String, Vec<&Slice<'_>>> = BTreeMap::new();
    let mut zone = None;
    for slice in &slices.all {
        let Some((_, tariff)) = slices.tables.tariff(slice.of.start) else { continue };
        let date = tariff.zone.date(slice.of.start).to_string();
        let month = date.get(..7).unwrap_or(&date).to_owned();
        months.entry(month).or_default().push(slice);
        zone.get_or_insert(&tariff.zone);
    }
    let is_fixed = slices.tables.tariffs.iter().any(|tariff| tariff.fixed_micro.is_some());
    let Some(zone) = zone.filter(|_| is_fixed) else { return Vec::new() };
    let (from, to) = (slices.pue.from, slices.pue.to);
    if zone.months(from, to).is_none_or(|months| months == 0) {
        let months = "whole calendar months";
        notes.push(format!("without fixed charges: the period is not made of {months} of {zone}"));
        return Vec::new();
    }
    let mut terms = Vec::new();
    for (month, of) in months {
        match fixed_of(slices, &of) {
            Ok(term) => terms.extend(term.map(|(index, rate, demand)| {
                let name = format!("fixed charge of {month} at {rate}");
                (index, charge(name, demand, rate))
            })),
            Err(why) => notes.push(format!("without the fixed charge of {month}: {why}")),
        }
    }
    terms
}

/// A rate in words and millionths of a rupee.
#[derive(Clone, Copy)]
struct Rate(u64);

impl std::fmt::Display for Rate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Rs {}/kW", decimal(self.0.into(), MILLION, 2))
    }
}

fn charge(name: String, demand: Demand, rate: Rate) -> Term {
    let paisa = rounded(demand.milliwatts.saturating_mul(rate.0.into()), KILOWATT);
    Term {
        part: Quantity::new(name, paisa, Unit::Paisa),
        from: Some(Quantity::new("maximum demand", demand.milliwatts, Unit::Milliwatt)),
    }
}

/// A month's tariff with its rate and demand; `None`: it has no fixed charge.
fn fixed_of(
    slices: &Slices<'_>,
    of: &[&Slice<'_>],
) -> Result<Option<(usize, Rate, Demand)>, &'static str> {
    let tariff = |slice: Option<&&Slice<'_>>| slices.tables.tariff(slice?.of.start);
    let (Some((index, first)), Some((last, _))) = (tariff(of.first()), tariff(of.last())) else {
        return Ok(None);
    };
    if index != last {
        return Err("its tariff changed within the month");
    }
    let Some(rate) = first.fixed_micro.map(Rate) else { return Ok(None) };
    let window = slices.tables.demand_window.ok_or("no demand_window is declared")?;
    let demand = demand(of, &first.zone, (window, slices.pue.interval));
    Ok(Some((index, rate, demand.ok_or("no demand window of it is complete")?)))
}

impl Slice<'_> {
    pub(super) fn grid(&self) -> u128 {
        self.of.by_source.get(&Role::Grid).copied().unwrap_or(0)
    }
}
