//! From the intervals of a period to its figures, each with its terms.

use bijli_ledger::books::Counting;
use bijli_ledger::{Books, Date, Pue, Role};

use super::bill::{bill, demand};
use super::emissions;
use super::figure::{Figure, Kpi, Quantity, Term, Unit, Withheld, decimal};
use super::tables::{Crossed, Crossing, Method, Tables};

/// Millilitres, or grams, over millijoules, in litres, or kilograms, over kilowatt-hours.
const PER_KILOWATT_HOUR: u128 = 3_600_000;
pub(super) const COST: &str = "cost";
/// In the order of [`Method::ALL`].
pub(super) const CUES: [&str; 2] = ["CUE location-based", "CUE market-based"];
const NAMES: [&str; 9] =
    ["WUE", CUES[0], CUES[1], "REF", "ERF", "E_DC-BG share", "demand", "load factor", COST];

/// An interval that counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slice<'a> {
    pub(super) of: Counting<'a>,
    /// By the hub's clock.
    pub(super) date: Date,
}

/// What all figures are made of.
pub(super) struct Slices<'a> {
    pub(super) books: &'a Books,
    pub(super) tables: &'a Tables,
    pub(super) pue: &'a Pue,
    pub(super) all: Vec<Slice<'a>>,
}

/// Why all of them are withheld: so is PUE.
#[must_use]
pub fn withheld(code: &'static str, why: &str) -> Vec<Kpi> {
    let message = format!("there is no PUE of the period: {why}");
    let none = |name| Kpi { name, outcome: Err(Withheld::new(code, message.clone())) };
    NAMES.map(none).to_vec()
}

/// The figures of a period that has this PUE.
#[must_use]
pub fn of(books: &Books, tables: &Tables, pue: &Pue) -> Vec<Kpi> {
    let slices = Slices::of(books, tables, pue);
    let outcomes = [
        slices.wue(),
        slices.cue(Method::Location),
        slices.cue(Method::Market),
        slices.renewable(),
        slices.reuse(),
        slices.generators(),
        slices.demand(),
        slices.load_factor(),
        slices.cost(),
    ];
    NAMES.into_iter().zip(outcomes).map(|(name, outcome)| Kpi { name, outcome }).collect()
}

/// A crossing's sum over the intervals that all of its kind span, and a term of those.
struct Crossings {
    terms: Vec<Term>,
    sum: u128,
    total: u128,
    it: u128,
    intervals: u32,
}

impl<'a> Slices<'a> {
    pub(super) fn of(books: &'a Books, tables: &'a Tables, pue: &'a Pue) -> Self {
        let zone = pue.policy.zone();
        let counting = books.counting(pue.from, pue.to);
        let all = counting.map(|of| Slice { of, date: zone.date(of.start) }).collect();
        Self { books, tables, pue, all }
    }

    fn period(&self) -> String {
        self.pue.policy.zone().period(self.pue.from, self.pue.to)
    }

    fn sum(&self, of: impl Fn(&Slice<'a>) -> u128) -> u128 {
        self.all.iter().map(of).sum()
    }

    fn it(&self) -> u128 {
        self.sum(|slice| slice.of.it)
    }

    fn total(&self) -> u128 {
        self.sum(|slice| slice.of.total)
    }

    fn intervals(&self) -> u32 {
        u32::try_from(self.all.len()).unwrap_or(u32::MAX)
    }

    fn it_term(&self, it: u128) -> Quantity {
        let name = format!("E_IT (category {})", self.pue.category.number());
        Quantity::new(name, it, Unit::Millijoule)
    }

    /// What crossings counted in an interval together; withheld if one does not span it.
    pub(super) fn crossed(&self, slice: &Slice<'_>, of: &[Crossed]) -> Result<u128, Withheld> {
        let crossings = self.tables.crossings(of);
        let words: Vec<&str> = of.iter().map(|what| what.word()).collect();
        if crossings.is_empty() {
            let message = format!("no crossing of {} is declared", words.join(" or "));
            return Err(Withheld::new("no_crossing", message));
        }
        let mut sum = 0;
        for Crossing { what, meter, .. } in crossings {
            let span = (slice.of.start, slice.of.end);
            let counted = self.books.typed_between(meter, what.measure(), span);
            sum += counted.map(u128::from).ok_or_else(|| {
                let message = format!(
                    "the readings of {} meter {meter} do not span the intervals",
                    what.word()
                );
                Withheld::new("missing_readings", message)
            })?;
        }
        Ok(sum)
    }

    fn crossings(&self, of: &[Crossed]) -> Result<Crossings, Withheld> {
        let mut found = Crossings { terms: Vec::new(), sum: 0, total: 0, it: 0, intervals: 0 };
        let mut last = Withheld::new("nothing_closed", "no interval counts");
        let mut spanned = Vec::new();
        for slice in &self.all {
            match self.crossed(slice, of) {
                Err(why) => last = why,
                Ok(sum) => {
                    spanned.push(slice);
                    found.sum += sum;
                    found.total += slice.of.total;
                    found.it += slice.of.it;
                    found.intervals += 1;
                }
            }
        }
        if found.intervals == 0 {
            return Err(last);
        }
        for crossing in self.tables.crossings(of) {
            let counted = |slice: &&Slice<'_>| {
                let span = (slice.of.start, slice.of.end);
                self.books.typed_between(&crossing.meter, crossing.what.measure(), span)
            };
            let sum = spanned.iter().filter_map(counted).map(u128::from).sum();
            let unit = match crossing.what {
                Crossed::ReusedHeat => Unit::Millijoule,
                Crossed::Water | Crossed::PotableWater | Crossed::Fuel => Unit::Millilitre,
            };
            let name = format!("{} at {}", crossing.what.word(), crossing.id);
            found.terms.push(Term { part: Quantity::new(name, sum, unit), from: None });
        }
        Ok(found)
    }

    fn wue(&self) -> Result<Figure, Withheld> {
        let found = self.crossings(&[Crossed::Water, Crossed::PotableWater])?;
        let numerator = Quantity::new("water", found.sum, Unit::Millilitre);
        let denominator = self.it_term(found.it);
        self.ratio("WUE", " l/kWh", (numerator, denominator), (found.terms, found.intervals))
    }

    fn cue(&self, method: Method) -> Result<Figure, Withheld> {
        let terms = emissions::terms(self, method)?;
        let grams = terms.iter().map(|term| term.part.amount).sum();
        let numerator = Quantity::new("emissions", grams, Unit::Gram);
        let name = format!("CUE {}-based", method.word());
        let denominator = self.it_term(self.it());
        self.ratio(&name, " kg CO2e/kWh", (numerator, denominator), (terms, self.intervals()))
    }

    /// Solar supplies, and what was bought for days that are all in the period.
    fn renewable(&self) -> Result<Figure, Withheld> {
        let solar = self.sum(|slice| slice.of.by_source.get(&Role::Solar).copied().unwrap_or(0));
        let has_solar = self.all.iter().any(|slice| slice.of.by_source.contains_key(&Role::Solar));
        if !has_solar && self.tables.renewables.is_empty() {
            let message = "neither a solar supply nor renewable energy is declared";
            return Err(Withheld::new("no_renewable", message));
        }
        let own = Quantity::new("solar supplies of the hub", solar, Unit::Millijoule);
        let mut terms: Vec<Term> =
            has_solar.then_some(Term { part: own, from: None }).into_iter().collect();
        let mut notes = Vec::new();
        let zone = self.pue.policy.zone();
        for one in &self.tables.renewables {
            let begins = zone.midnight(one.days.from);
            let ends = one.days.through.map_or(self.pue.to, |last| zone.midnight(last.next()));
            let (is_in, is_out) = (
                begins >= self.pue.from && ends <= self.pue.to,
                begins >= self.pue.to || ends <= self.pue.from,
            );
            let name = format!("{}: {}", one.id, one.source);
            if is_in && one.is_retired {
                let part = Quantity::new(name, one.millijoules.into(), Unit::Millijoule);
                terms.push(Term { part, from: None });
            } else if is_in {
                notes.push(format!("{name} is not retired and not counted"));
            } else if !is_out {
                notes.push(format!("{name} is not of this period alone and not counted"));
            }
        }
        let sum = terms.iter().map(|term| term.part.amount).sum();
        let pair =
            (Quantity::new("E_RES-TOT", sum, Unit::Millijoule), self.total_term(self.total()));
        let figure = self.ratio("REF", "", pair, (terms, self.intervals()))?;
        Ok(Figure { notes, ..figure })
    }

    fn reuse(&self) -> Result<Figure, Withheld> {
        let found = self.crossings(&[Crossed::ReusedHeat])?;
        let numerator = Quantity::new("E_REUSE", found.sum, Unit::Millijoule);
        let pair = (numerator, self.total_term(found.total));
        self.ratio("ERF", "", pair, (found.terms, found.intervals))
    }

    fn generators(&self) -> Result<Figure, Withheld> {
        let of = |slice: &Slice<'_>| slice.of.by_source.get(&Role::Generator).copied();
        if self.all.iter().all(|slice| of(slice).is_none()) {
            return Err(Withheld::new("no_generator", "no generator is in the diagram"));
        }
        let sum = self.sum(|slice| of(slice).unwrap_or(0));
        let part = Quantity::new("E_DC-BG", sum, Unit::Millijoule);
        let terms = vec![Term { part: part.clone(), from: None }];
        let pair = (part, self.total_term(self.total()));
        self.ratio("E_DC-BG share", "", pair, (terms, self.intervals()))
    }

    fn total_term(&self, total: u128) -> Quantity {
        Quantity::new("E_DC", total, Unit::Millijoule)
    }

    fn demanded(&self) -> Result<super::bill::Demand, Withheld> {
        let window = self.tables.demand_window;
        let window = window.ok_or_else(|| {
            Withheld::new("no_demand_window", "no demand_window is declared in the hub's tables")
        })?;
        let all: Vec<&Slice<'_>> = self.all.iter().collect();
        let found = demand(&all, &self.pue.policy.zone(), (window, self.pue.interval));
        found.ok_or_else(|| {
            let message = format!("no window of {} min is complete", window.get() / 60_000);
            Withheld::new("no_window", message)
        })
    }

    fn demand(&self) -> Result<Figure, Withheld> {
        let found = self.demanded()?;
        let minutes = self.tables.demand_window.map_or(0, |window| window.get() / 60_000);
        let power = Quantity::new("maximum demand", found.milliwatts, Unit::Milliwatt);
        let at = crate::calendar::rfc3339(found.at);
        let (period, human) = (self.period(), power.human());
        let shown = format!("demand ({period}) = {human} from the grid, {minutes} min from {at}");
        let terms = vec![Term { part: power.clone(), from: None }];
        let notes = vec![format!("{} windows are complete", found.windows)];
        Ok(self.figure(shown, (power, None), terms, (self.intervals(), notes)))
    }

    fn load_factor(&self) -> Result<Figure, Withheld> {
        let found = self.demanded()?;
        if found.milliwatts == 0 {
            return Err(Withheld::new("no_demand", "nothing came from the grid"));
        }
        let average = Quantity::new("average power", found.average, Unit::Milliwatt);
        let most = Quantity::new("maximum demand", found.milliwatts, Unit::Milliwatt);
        let terms = vec![Term { part: average.clone(), from: None }];
        self.ratio("load factor", "", (average, most), (terms, self.intervals()))
    }

    fn cost(&self) -> Result<Figure, Withheld> {
        let bill = bill(self)?;
        let sum = bill.terms.iter().map(|term| term.part.amount).sum();
        let cost = Quantity::new("energy from the grid", sum, Unit::Paisa);
        let mut shown = format!("cost ({}) = {}", self.period(), cost.human());
        bill.notes.iter().for_each(|note| shown.push_str(&format!(", {note}")));
        Ok(self.figure(shown, (cost, None), bill.terms, (self.intervals(), bill.notes)))
    }

    /// With three decimals, and both terms beside it.
    fn ratio(
        &self,
        name: &str,
        unit: &str,
        (numerator, denominator): (Quantity, Quantity),
        (terms, intervals): (Vec<Term>, u32),
    ) -> Result<Figure, Withheld> {
        if denominator.amount == 0 {
            let message = format!("{} is nothing", denominator.name);
            return Err(Withheld::new("no_energy", message));
        }
        let scale = if unit.is_empty() { 1 } else { PER_KILOWATT_HOUR };
        let value = decimal(numerator.amount.saturating_mul(scale), denominator.amount, 3);
        let (of, over) = (numerator.human(), denominator.human());
        let shown = format!(
            "{name} ({}) = {value}{unit}: {} {of} over {} {over}",
            self.period(),
            numerator.name,
            denominator.name
        );
        Ok(self.figure(shown, (numerator, Some(denominator)), terms, (intervals, Vec::new())))
    }

    fn figure(
        &self,
        mut shown: String,
        (numerator, denominator): (Quantity, Option<Quantity>),
        terms: Vec<Term>,
        (intervals_complete, notes): (u32, Vec<String>),
    ) -> Figure {
        let intervals_expected = self.pue.intervals_expected;
        if intervals_complete < intervals_expected {
            shown.push_str(&format!(
                ", coverage {intervals_complete} of {intervals_expected} intervals"
            ));
        }
        Figure {
            shown,
            numerator,
            denominator,
            terms,
            intervals_complete,
            intervals_expected,
            notes,
        }
    }
}
