//! What the operator declares for the figures beside PUE, checked: meters of water, fuel and reused
//! heat, emission factors, tariffs and renewable energy, each with the days on which it holds.
//!
//! # Invariants
//! - On any day at most one factor of a source and method holds, and at most one tariff.
//! - The windows of a tariff have every minute of a day once.

use bijli_ledger::{Date, Measure, PueKind, Role, Zone};
use bijli_wire::{Millis, SubjectId, UtcMillis};

use crate::config::Problem;

/// Everything that is declared; nothing has a usual value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tables {
    /// As the journal keeps it.
    pub text: String,
    /// Over which maximum demand is averaged.
    pub demand_window: Option<Millis>,
    pub(super) crossings: Vec<Crossing>,
    pub(super) factors: Vec<Factor>,
    pub(super) tariffs: Vec<Tariff>,
    pub(super) renewables: Vec<Renewable>,
    pub(super) designed: Option<Designed>,
}

/// What the design says that PUE would be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Designed {
    /// As it was written.
    pub(super) pue: String,
    pub(super) source: String,
    pub(super) year: u16,
}

/// What crosses the boundary beside electricity, and the meter that counts it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Crossing {
    pub(super) id: String,
    pub(super) what: Crossed,
    pub(super) meter: SubjectId,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Crossed {
    Water,
    PotableWater,
    Fuel,
    ReusedHeat,
}

impl Crossed {
    pub(super) const ALL: [Self; 4] =
        [Self::Water, Self::PotableWater, Self::Fuel, Self::ReusedHeat];

    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Water => "water",
            Self::PotableWater => "potable_water",
            Self::Fuel => "fuel",
            Self::ReusedHeat => "reused_heat",
        }
    }

    pub(super) const fn measure(self) -> Measure {
        match self {
            Self::Water | Self::PotableWater | Self::Fuel => Measure::Volume,
            Self::ReusedHeat => Measure::Energy,
        }
    }
}

/// The days on which something holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Days {
    pub(super) from: Date,
    /// The last of them; `None`: until further notice.
    pub(super) through: Option<Date>,
}

impl Days {
    pub(super) fn has(&self, date: Date) -> bool {
        self.from <= date && self.through.is_none_or(|last| date <= last)
    }

    /// The first day that both have.
    pub(super) fn common(&self, other: &Self) -> Option<Date> {
        let first = self.from.max(other.from);
        (self.has(first) && other.has(first)).then_some(first)
    }
}

/// How emissions of electricity from the grid are accounted (GHG Protocol, Scope 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Method {
    Location,
    Market,
}

impl Method {
    pub(super) const ALL: [Self; 2] = [Self::Location, Self::Market];

    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Location => "location",
            Self::Market => "market",
        }
    }
}

/// What a factor is multiplied with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Per {
    KilowattHour,
    /// Of fuel.
    Litre,
}

/// An emission factor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Factor {
    pub(super) id: String,
    pub(super) of: Role,
    /// `None`: it is the same under both.
    pub(super) method: Option<Method>,
    /// As it was written, with its unit.
    pub(super) value: String,
    pub(super) micrograms: u64,
    pub(super) per: Per,
    pub(super) scope: u8,
    pub(super) source: String,
    pub(super) year: u16,
    pub(super) days: Days,
}

/// A tariff of the utility.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tariff {
    pub(super) id: String,
    pub(super) source: String,
    /// By whose clocks its days and hours go.
    pub(super) zone: Zone,
    pub(super) days: Days,
    pub(super) windows: Vec<Window>,
    /// For each kilowatt of a month's maximum demand, in millionths of a rupee.
    pub(super) fixed_micro: Option<u64>,
    /// On energy and fixed charges, in millionths of them.
    pub(super) tax_ppm: u32,
}

/// The hours of one rate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) name: String,
    /// As it was written, with its unit.
    pub(super) rate: String,
    /// In millionths of a rupee for a kilowatt-hour.
    pub(super) rate_micro: u64,
    /// Minutes of the day, the second excluded; `None`: all that no other window has.
    pub(super) hours: Option<(u16, u16)>,
}

pub(super) const MINUTES_OF_DAY: u16 = 24 * 60;

impl Window {
    pub(super) fn has(&self, minute: u16) -> bool {
        match self.hours {
            None => false,
            Some((from, to)) if from < to => (from..to).contains(&minute),
            // Over midnight.
            Some((from, to)) => minute >= from || minute < to,
        }
    }
}

impl Tariff {
    pub(super) fn window(&self, at: UtcMillis) -> Option<usize> {
        let minute = self.zone.minute(at);
        let named = self.windows.iter().position(|window| window.has(minute));
        named.or_else(|| self.windows.iter().position(|window| window.hours.is_none()))
    }
}

/// Renewable energy that was bought: certificates or a power purchase agreement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Renewable {
    pub(super) id: String,
    pub(super) source: String,
    pub(super) millijoules: u64,
    pub(super) is_retired: bool,
    pub(super) days: Days,
}

impl Tables {
    /// Whether nothing is declared at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// The designed figure, to be shown beside what was measured and never with it.
    #[must_use]
    pub fn designed(&self) -> Option<String> {
        let Designed { pue, source, year } = self.designed.as_ref()?;
        let kind = PueKind::Designed;
        Some(format!("{kind} = {pue} by design, nothing was measured: {source}, {year}"))
    }

    pub(super) fn factor(&self, of: Role, method: Method, on: Date) -> Option<(usize, &Factor)> {
        self.factors.iter().enumerate().find(|(_, factor)| {
            let is_of = factor.of == of && factor.method.is_none_or(|own| own == method);
            is_of && factor.days.has(on)
        })
    }

    pub(super) fn tariff(&self, at: UtcMillis) -> Option<(usize, &Tariff)> {
        let mut tariffs = self.tariffs.iter().enumerate();
        tariffs.find(|(_, tariff)| tariff.days.has(tariff.zone.date(at)))
    }

    pub(super) fn crossings(&self, of: &[Crossed]) -> Vec<&Crossing> {
        self.crossings.iter().filter(|crossing| of.contains(&crossing.what)).collect()
    }

    /// What intervals of this length cannot be summed into.
    #[must_use]
    pub fn misfits(&self, interval: Millis) -> Vec<Problem> {
        let mut found = Vec::new();
        let length = interval.get();
        if let Some(window) = self.demand_window.filter(|w| !w.get().is_multiple_of(length)) {
            found.push(Problem {
                place: "demand_window".to_owned(),
                what: format!("{} ms are no whole intervals of {length} ms", window.get()),
                remedy: "choose an interval that divides it: 15m divides 30m".to_owned(),
            });
        }
        let edges = self.tariffs.iter().flat_map(|tariff| {
            let hours = tariff.windows.iter().filter_map(|window| window.hours);
            hours.flat_map(|(from, to)| [from, to]).map(move |edge| (tariff, edge))
        });
        for (tariff, edge) in edges {
            if !(u64::from(edge) * 60_000).is_multiple_of(length) {
                found.push(Problem {
                    place: format!("tariff {:?}", tariff.id),
                    what: format!(
                        "{:02}:{:02} is within an interval of {length} ms, whose energy has one rate",
                        edge / 60,
                        edge % 60
                    ),
                    remedy: "choose an interval that divides the tariff's hours".to_owned(),
                });
            }
        }
        found
    }

    /// In words, what these tables leave open on a day: for `check`.
    #[must_use]
    pub fn warnings(&self, today: Date, sources: &[Role]) -> Vec<String> {
        let mut open = Vec::new();
        for (role, method) in
            sources.iter().flat_map(|role| Method::ALL.map(|method| (*role, method)))
        {
            let known = self.factors.iter().filter(|factor| {
                factor.of == role && factor.method.is_none_or(|own| own == method)
            });
            let days: Vec<Days> = known.map(|factor| factor.days).collect();
            let what = format!("{}-based factor of {role}", method.word());
            open.extend(gaps(&what, "CUE", days, today));
        }
        let days = self.tariffs.iter().map(|tariff| tariff.days).collect();
        open.extend(gaps("tariff", "cost", days, today));
        if self.demand_window.is_none() {
            open.push("no demand_window: demand and load factor are withheld".to_owned());
        }
        open
    }
}

/// The days for which something is not declared, up to today.
fn gaps(what: &str, kpi: &str, mut days: Vec<Days>, today: Date) -> Vec<String> {
    days.sort_unstable_by_key(|days| days.from);
    let Some(first) = days.first() else {
        return vec![format!("no {what} is declared: {kpi} is withheld")];
    };
    let mut open = Vec::new();
    if first.from > today {
        open.push(format!("no {what} holds before {}: {kpi} is withheld until then", first.from));
    }
    let next = days.iter().skip(1).map(|days| days.from);
    for (one, next) in days.iter().zip(next.chain([today.next()])) {
        let Some(missing) = one.through.map(Date::next).filter(|missing| *missing < next) else {
            continue;
        };
        open.push(format!("no {what} holds from {missing} on, before {next}: {kpi} is withheld"));
    }
    open
}
