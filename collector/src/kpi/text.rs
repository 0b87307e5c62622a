//! The hub's tables as they are written in TOML, and how they are checked.
//!
//! The journal keeps the text as it was written, with its comments: who reads the evidence sees
//! what the operator saw.

use bijli_ledger::meter::percent;
use bijli_ledger::{Date, Role};
use bijli_wire::quantity::{self, Decimal};
use bijli_wire::{Millis, SubjectId};
use serde::Deserialize;

use super::tables::{
    Crossed, Crossing, Days, Designed, Factor, MINUTES_OF_DAY, Method, Per, Renewable, Tables,
    Tariff, Window,
};
use crate::calendar;
use crate::config::Problem;

/// Bytes of the whole text: years of tariffs.
pub(crate) const TEXT_BYTES_MAX: usize = 256 << 10;
const MILLION: u128 = 1_000_000;
const BILLION: u128 = 1_000_000_000;
const FACTOR_UNITS: [(&str, u128); 4] =
    [("g/kWh", MILLION), ("kg/kWh", BILLION), ("g/l", MILLION), ("kg/l", BILLION)];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    #[serde(default, deserialize_with = "quantity::de_some_duration")]
    demand_window: Option<Millis>,
    #[serde(default, rename = "crossing")]
    crossings: Vec<CrossingText>,
    #[serde(default, rename = "factor")]
    factors: Vec<FactorText>,
    #[serde(default, rename = "tariff")]
    tariffs: Vec<TariffText>,
    #[serde(default, rename = "renewable")]
    renewables: Vec<RenewableText>,
    #[serde(default)]
    designed: Option<DesignedText>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CrossingText {
    id: String,
    what: String,
    meter: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FactorText {
    id: String,
    of: String,
    #[serde(default)]
    method: Option<String>,
    value: String,
    scope: u8,
    source: String,
    year: u16,
    from: String,
    #[serde(default)]
    through: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TariffText {
    id: String,
    source: String,
    time_zone: String,
    from: String,
    #[serde(default)]
    through: Option<String>,
    #[serde(default)]
    fixed_per_month: Option<String>,
    #[serde(default)]
    tax: Option<String>,
    #[serde(default, rename = "window")]
    windows: Vec<WindowText>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WindowText {
    name: String,
    rate: String,
    #[serde(default)]
    from: Option<String>,
    #[serde(default)]
    to: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RenewableText {
    id: String,
    source: String,
    energy: String,
    retired: bool,
    from: String,
    through: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DesignedText {
    pue: String,
    source: String,
    year: u16,
}

/// Where something is, and the problems found so far.
struct Check<'a> {
    place: String,
    problems: &'a mut Vec<Problem>,
}

fn at(place: String, problems: &mut Vec<Problem>) -> Check<'_> {
    Check { place, problems }
}

impl Check<'_> {
    fn note(&mut self, what: impl Into<String>, remedy: &str) {
        let (place, what) = (self.place.clone(), what.into());
        self.problems.push(Problem { place, what, remedy: remedy.to_owned() });
    }

    fn need<T>(&mut self, found: Option<T>, key: &str, text: &str, remedy: &str) -> Option<T> {
        if found.is_none() {
            self.note(format!("{key} = {text:?} is none"), remedy);
        }
        found
    }

    fn date(&mut self, key: &str, text: &str) -> Option<Date> {
        self.need(text.parse().ok(), key, text, "write it like \"2026-07-01\"")
    }

    fn days(&mut self, from: &str, through: Option<&str>) -> Option<Days> {
        let from = self.date("from", from)?;
        let through = match through {
            None => None,
            Some(text) => Some(self.date("through", text)?),
        };
        if through.is_some_and(|last| last < from) {
            self.note("through is before from", "through is the last day on which it holds");
            return None;
        }
        Some(Days { from, through })
    }

    fn scaled(&mut self, key: &str, text: &str, units: &[(&str, u128)]) -> Option<(usize, u64)> {
        let names: Vec<&str> = units.iter().map(|(name, _)| *name).collect();
        let remedy = format!("a number and one of {}, six decimals at most", names.join(", "));
        self.need(scaled(text, units), key, text, &remedy)
    }
}

/// A number with one of the units, in millionths of the unit that has a million; which one it was.
fn scaled(text: &str, units: &[(&str, u128)]) -> Option<(usize, u64)> {
    let text = text.trim();
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit() && c != '.')?);
    let number = Decimal::parse(number)?;
    let place = units.iter().position(|(name, _)| *name == unit.trim())?;
    let product = number.digits.checked_mul(units.get(place)?.1)?;
    let is_whole = product.is_multiple_of(number.denominator());
    let value = u64::try_from(product / number.denominator()).ok()?;
    is_whole.then_some((place, value))
}

/// `18:30`, or `24:00` for the end of the day.
fn minute(text: &str) -> Option<u16> {
    let (hours, minutes) = text.split_once(':')?;
    let number = |part: &str| {
        let is_plain = part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
        part.parse::<u16>().ok().filter(|_| is_plain)
    };
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    Some(hours * 60 + minutes).filter(|at| minutes < 60 && *at <= MINUTES_OF_DAY)
}

impl Tables {
    /// Reads and checks a text.
    ///
    /// # Errors
    /// Everything that is wrong with it, each with what to do.
    pub fn read(written: &str) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        if written.len() > TEXT_BYTES_MAX {
            at("tables".into(), &mut problems)
                .note("longer than 256 KiB", "leave out what is long over");
            return Err(problems);
        }
        let text: Text = match toml::from_str(written) {
            Ok(text) => text,
            Err(error) => {
                at("tables".into(), &mut problems)
                    .note(error.to_string().trim_end(), "correct that line");
                return Err(problems);
            }
        };
        let minutes = |window: &Millis| {
            let ms = window.get();
            ms > 0 && ms.is_multiple_of(60_000) && 86_400_000_u64.is_multiple_of(ms)
        };
        if text.demand_window.as_ref().is_some_and(|window| !minutes(window)) {
            let what = "demand is averaged over whole minutes that divide a day";
            at("demand_window".into(), &mut problems).note(what, "30m is usual in Pakistan");
        }
        let named = |kind: &str, id: &str| format!("{kind} {id:?}");
        let noted = &mut problems;
        let crossings = text.crossings.into_iter();
        let crossings = crossings
            .filter_map(|text| {
                let place = named("crossing", &text.id);
                text.check(at(place, noted))
            })
            .collect();
        let factors = text.factors.into_iter();
        let factors: Vec<Factor> = factors
            .filter_map(|text| {
                let place = named("factor", &text.id);
                text.check(at(place, noted))
            })
            .collect();
        let tariffs = text.tariffs.into_iter();
        let tariffs: Vec<Tariff> = tariffs
            .filter_map(|text| {
                let place = named("tariff", &text.id);
                text.check(at(place, noted))
            })
            .collect();
        let renewables = text.renewables.into_iter();
        let renewables = renewables
            .filter_map(|text| {
                let place = named("renewable", &text.id);
                text.check(at(place, noted))
            })
            .collect();
        let meets = |a: &Factor, b: &Factor| a.of == b.of && is_same(a.method, b.method);
        let named = factors.iter().map(|one| (one.id.as_str(), one.days, one)).collect();
        overlaps("factor", named, meets, &mut problems);
        let named = tariffs.iter().map(|one| (one.id.as_str(), one.days, one)).collect();
        overlaps("tariff", named, |_: &Tariff, _| true, &mut problems);
        let designed = text.designed;
        let designed = designed.and_then(|text| text.check(at("designed".into(), &mut problems)));
        let demand_window = text.demand_window;
        let tables = Self {
            text: written.to_owned(),
            demand_window,
            crossings,
            factors,
            tariffs,
            renewables,
            designed,
        };
        if problems.is_empty() { Ok(tables) } else { Err(problems) }
    }
}

/// A factor without a method is of both.
fn is_same(one: Option<Method>, other: Option<Method>) -> bool {
    one.is_none() || other.is_none() || one == other
}

fn overlaps<T>(
    kind: &str,
    named: Vec<(&str, Days, &T)>,
    meets: impl Fn(&T, &T) -> bool,
    problems: &mut Vec<Problem>,
) {
    for (index, (id, days, one)) in named.iter().enumerate() {
        for (other, others, two) in named.iter().skip(index + 1) {
            if *id == *other {
                Check { place: format!("{kind} {id:?}"), problems }
                    .note("it is declared twice", "give each an id of its own");
            } else if let Some(day) = days.common(others).filter(|_| meets(one, two)) {
                Check { place: format!("{kind} {other:?}"), problems }.note(
                    format!("on {day} {kind} {id:?} holds too"),
                    "end the elder one with `through`, the day before the newer begins",
                );
            }
        }
    }
}

impl CrossingText {
    fn check(self, mut check: Check<'_>) -> Option<Crossing> {
        let what = Crossed::ALL.into_iter().find(|what| what.word() == self.what);
        let words = "write water, potable_water, fuel or reused_heat";
        let what = check.need(what, "what", &self.what, words);
        let meter = SubjectId::new(&self.meter).ok();
        let words = "use 1 to 96 letters, digits . _ - : /";
        let meter = check.need(meter, "meter", &self.meter, words);
        Some(Crossing { what: what?, meter: meter?, id: self.id })
    }
}

impl FactorText {
    fn check(self, mut check: Check<'_>) -> Option<Factor> {
        let of = Role::from_word(&self.of).filter(|role| role.is_supply());
        let of = check.need(of, "of", &self.of, "write grid, generator or solar")?;
        let method = match &self.method {
            None => None,
            Some(text) => {
                let found = Method::ALL.into_iter().find(|method| method.word() == text);
                Some(check.need(found, "method", text, "write location or market")?)
            }
        };
        if (of == Role::Grid) != method.is_some() {
            let what = "the grid's factors have a method, location or market, and no other has";
            check.note(what, "declare one of each for the grid; leave it out elsewhere");
        }
        let (unit, micrograms) = check.scaled("value", &self.value, &FACTOR_UNITS)?;
        let per = if unit < 2 { Per::KilowattHour } else { Per::Litre };
        if per == Per::Litre && of != Role::Generator {
            check.note("only generators burn litres", "write it in g/kWh");
        }
        if !(1..=3).contains(&self.scope) {
            check.note(format!("scope {} does not exist", self.scope), "write 1, 2 or 3");
        }
        if self.source.trim().is_empty() {
            check.note("it has no source", "say who published it, and where");
        }
        let days = check.days(&self.from, self.through.as_deref())?;
        let Self { id, value, scope, source, year, .. } = self;
        Some(Factor { id, of, method, value, micrograms, per, scope, source, year, days })
    }
}

impl TariffText {
    fn check(self, mut check: Check<'_>) -> Option<Tariff> {
        let zone = calendar::zone(&self.time_zone);
        let words = "name the place as the tz database does: \"Asia/Karachi\"";
        let zone = check.need(zone, "time_zone", &self.time_zone, words);
        let days = check.days(&self.from, self.through.as_deref());
        let fixed_micro = match &self.fixed_per_month {
            None => None,
            Some(text) => Some(check.scaled("fixed_per_month", text, &[("Rs/kW", MILLION)])?.1),
        };
        let tax_ppm = match &self.tax {
            None => 0,
            Some(text) => check.need(percent(text), "tax", text, "write it like \"18 %\"")?,
        };
        let count = self.windows.len();
        let windows: Vec<Window> =
            self.windows.into_iter().filter_map(|text| text.check(&mut check)).collect();
        if windows.len() == count {
            cover(&windows, &mut check);
        }
        let (zone, days, id, source) = (zone?, days?, self.id, self.source);
        Some(Tariff { id, source, zone, days, windows, fixed_micro, tax_ppm })
    }
}

/// Every minute has one rate.
fn cover(windows: &[Window], check: &mut Check<'_>) {
    let rest = windows.iter().filter(|window| window.hours.is_none()).count();
    if rest > 1 {
        check.note("two windows have no hours", "one window takes all other hours");
    }
    for minute in 0..MINUTES_OF_DAY {
        let rates = windows.iter().filter(|window| window.has(minute)).count();
        let what = match rates {
            0 if rest == 0 => "no rate",
            0 | 1 => continue,
            _ => "more than one rate",
        };
        let clock = format!("{:02}:{:02}", minute / 60, minute % 60);
        check.note(format!("{what} at {clock}"), "give every minute of the day one window");
        return;
    }
}

impl WindowText {
    fn check(self, check: &mut Check<'_>) -> Option<Window> {
        let (_, rate_micro) = check.scaled("rate", &self.rate, &[("Rs/kWh", MILLION)])?;
        let hours = match (&self.from, &self.to) {
            (None, None) => None,
            (Some(from), Some(to)) => {
                let words = "write it like \"18:30\"";
                let (from, to) = (
                    check.need(minute(from), "from", from, words)?,
                    check.need(minute(to), "to", to, words)?,
                );
                Some((from, to))
            }
            (Some(_), None) | (None, Some(_)) => {
                let what = format!("window {:?} has one of from and to", self.name);
                check.note(what, "write both, or neither for all other hours");
                return None;
            }
        };
        Some(Window { name: self.name, rate: self.rate, rate_micro, hours })
    }
}

impl DesignedText {
    fn check(self, mut check: Check<'_>) -> Option<Designed> {
        let is_above_one =
            Decimal::parse(&self.pue).is_some_and(|pue| pue.digits > pue.denominator());
        let words = "a PUE is above 1: write it like \"1.25\"";
        check.need(is_above_one.then_some(()), "pue", &self.pue, words)?;
        if self.source.trim().is_empty() {
            check.note("it has no source", "say which design says so");
        }
        let Self { pue, source, year } = self;
        Some(Designed { pue, source, year })
    }
}

impl RenewableText {
    fn check(self, mut check: Check<'_>) -> Option<Renewable> {
        let energy = quantity::energy(&self.energy).ok();
        let energy = check.need(energy, "energy", &self.energy, "write it like \"120 MWh\"");
        let days = check.days(&self.from, Some(&self.through));
        let Self { id, source, retired: is_retired, .. } = self;
        Some(Renewable { id, source, millijoules: energy?.get(), is_retired, days: days? })
    }
}
