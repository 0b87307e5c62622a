//! A hub's year against its own truth: load shedding each evening, batteries, a generator, solar
//! power, a maintenance bypass, a meter that is swapped and one that is silent for three hours.
//! Where every meter is right the figure equals the simulation to the millijoule; where each is
//! off within its class, it lies within its ±.

#![expect(clippy::unwrap_used, reason = "a test says what it expects")]

use std::collections::BTreeMap;
use std::sync::OnceLock;

use bijli_ledger::leaf::PueShown;
use bijli_ledger::pue::{self, MeterShare, Posted, Term};
use bijli_ledger::{
    Activity, Books, Category, Closed, Diagram, Flow, Meter, Point, PointId, Pue, PueKind,
    PuePolicy, PueStatus, Role, Rules, Withheld,
};
use bijli_wire::batch::{Register, Subject};
use bijli_wire::{HubId, Method, Millis, Milliwatts, NodeId, SubjectId, SubjectKind, UtcMillis};

const QUARTER: i64 = 900_000;
const DAY: i64 = 96 * QUARTER;
/// 2026-07-01 at midnight of Pakistan: 19:00 UTC of the day before.
const START: i64 = 20_635 * DAY - 20 * QUARTER;
const QUARTERS: i64 = 365 * 96;
/// Intervals, counted from the start: what happens once.
const SWAP: i64 = 100 * 96 + 40;
const SILENT: std::ops::Range<i64> = 200 * 96 + 8..200 * 96 + 20;
const BYPASS: std::ops::Range<i64> = 250 * 96 + 30..250 * 96 + 38;

/// What a meter hangs at, with what feeds it.
const POINTS: [(&str, Role, &str); 8] = [
    ("grid", Role::Grid, ""),
    ("genset", Role::Generator, ""),
    ("roof", Role::Solar, ""),
    ("ups-in", Role::UpsIn, ""),
    ("ups-out", Role::UpsOut, "ups-in"),
    ("pdu", Role::Pdu, "ups-out"),
    ("chiller", Role::Cooling, ""),
    ("lights", Role::Lighting, ""),
];

/// Watts at each meter during one quarter of an hour, and the truth.
#[derive(Clone, Copy, Debug, Default)]
struct Watts {
    grid: u64,
    genset: u64,
    roof: u64,
    ups_in: u64,
    ups_out: u64,
    load: u64,
    chiller: u64,
    lights: u64,
}

impl Watts {
    /// The hub at a quarter. Cables that no meter sees take 2 kW of what comes in.
    fn at(quarter: i64) -> Self {
        let (day, of_day) = (quarter / 96, quarter % 96);
        let wave = u64::try_from((quarter * 7_919) % 1_000).unwrap();
        let load = 800_000 + 200 * wave;
        let heat = u64::try_from((day - 182).abs()).unwrap();
        let mut now = Self { load, ups_out: load, lights: 5_000, ..Self::default() };
        // The feeder is cut from 17:00 to 19:00. A quarter of an hour on batteries without
        // cooling, then the generator; afterwards the batteries are charged for two quarters.
        let is_on_battery = of_day == 68;
        let is_cut = (68..76).contains(&of_day);
        let charge = if (76..78).contains(&of_day) { 500_000 } else { 0 };
        if !is_on_battery {
            now.chiller = 200_000 + 500 * heat;
            now.ups_in = load + load / 20 + charge;
        } else {
            now.lights = 0;
        }
        let spilled = if is_on_battery { 0 } else { 2_000 };
        let need = now.ups_in + now.chiller + now.lights + spilled;
        if is_on_battery {
            assert_eq!(need, 0, "batteries carry the load alone");
        } else if is_cut {
            now.genset = need;
        } else {
            now.roof = if (32..64).contains(&of_day) { 50_000 + 100 * wave } else { 0 };
            now.grid = need - now.roof;
        }
        // In a bypass the load is fed around the UPS, and its meters see nothing.
        if BYPASS.contains(&quarter) {
            now.ups_out = 0;
            now.ups_in = 0;
        }
        now
    }

    fn of(&self, meter: &str) -> u64 {
        match meter {
            "grid" => self.grid,
            "genset" => self.genset,
            "roof" => self.roof,
            "ups-in" => self.ups_in,
            "ups-out" => self.ups_out,
            "pdu" => self.load,
            "chiller" => self.chiller,
            _ => self.lights,
        }
    }

    fn supplied(&self) -> u64 {
        self.grid + self.genset + self.roof
    }

    /// In millijoules over the quarter.
    fn energy(watts: u64) -> u128 {
        u128::from(watts) * 900_000
    }
}

fn subject_id(name: &str) -> SubjectId {
    SubjectId::new(name).unwrap()
}

fn subject(name: &str, epoch: u64) -> Subject {
    let register = Register {
        numerator: 1,
        denominator: 1,
        modulus: None,
        power_max: Milliwatts::new(3_000_000_000),
        epoch,
        method: Method::Hardware,
        gap: Millis::new(1_200_000),
    };
    Subject {
        id: subject_id(name),
        kind: SubjectKind::Meter,
        label: String::new(),
        model: String::new(),
        serial: String::new(),
        register: Some(register),
    }
}

fn described(serial: &str, class: &str) -> Meter {
    let class = class.parse().ok();
    Meter { serial: Some(serial.to_owned()), class, ..Meter::default() }
}

/// The diagram before and after the UPS output's meter was swapped.
fn diagram(ups_out: Meter) -> Diagram {
    let point = |(id, role, fed_by): (&str, Role, &str)| Point {
        id: PointId::new(id).unwrap(),
        role,
        meter: Some(subject_id(id)),
        fed_by: PointId::new(fed_by).ok(),
    };
    let points = POINTS.into_iter().map(point).collect();
    let supplies = [("grid", "0.5S"), ("genset", "1"), ("roof", "1")];
    let mut meters: BTreeMap<SubjectId, Meter> = supplies
        .into_iter()
        .map(|(id, class)| (subject_id(id), described(&format!("{id}-1"), class)))
        .collect();
    meters.insert(subject_id("ups-out"), ups_out);
    let policy = PuePolicy {
        standard: Some("ISO/IEC 30134-2:2026".to_owned()),
        offset: "+05:00".parse().unwrap(),
        ..PuePolicy::default()
    };
    let diagram = Diagram::new(points, BTreeMap::new(), Category::UpsOutput).unwrap();
    diagram.with(meters, policy).unwrap()
}

/// What each meter shows for a million of what there was.
type Gains = BTreeMap<&'static str, u64>;

/// Plays the year, and 36 days without anything so that it can no longer be corrected.
fn year(gains: &Gains) -> Books {
    year_told(gains, |_, _| ())
}

/// The same, each posting handed on.
fn year_told(gains: &Gains, mut tell: impl FnMut(&Books, &[Closed])) -> Books {
    let mut books = Books::new(HubId::new("isb").unwrap(), Rules::default());
    books.set_diagram(UtcMillis::new(0), diagram(described("old", "1")));
    let gateway = NodeId::new("gateway").unwrap();
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for (name, ..) in POINTS {
        let handle = books.declare(&gateway, &subject(name, 1)).handle();
        let _verdict = books.read_at(handle, UtcMillis::new(START), Some(0), Activity::Unknown);
        counts.insert(name, 0);
    }
    for quarter in 0..QUARTERS {
        let watts = Watts::at(quarter);
        let at = UtcMillis::new(START + (quarter + 1) * QUARTER);
        for (name, ..) in POINTS {
            let gain = gains.get(name).copied().unwrap_or(1_000_000);
            let count = counts.get_mut(name).unwrap();
            *count += watts.of(name) * 900 * gain / 1_000;
            if name == "ups-out" && quarter == SWAP {
                // Another meter, which counted elsewhere before.
                let _known = books.declare(&gateway, &subject(name, 2));
                *count = 7_000_000_000_000_000;
            }
            // A silent meter comes back as another one: what it counted meanwhile is lost.
            let is_silent = name == "grid" && (SILENT.start..SILENT.end - 1).contains(&quarter);
            if name == "grid" && quarter == SILENT.end - 1 {
                let _known = books.declare(&gateway, &subject(name, 2));
                *count = 5_000_000_000_000_000;
            }
            let shown = (!is_silent).then(|| i64::try_from(*count).unwrap());
            let _verdict = books.read(&subject_id(name), at, shown, Activity::Unknown);
        }
        if quarter == SWAP {
            books.set_diagram(at, diagram(described("new", "0.5S")));
        }
        let closed = books.advance(UtcMillis::new(at.get() + 120_000));
        tell(&books, &closed);
    }
    let closed = books.advance(UtcMillis::new(START + QUARTERS * QUARTER + 36 * DAY));
    tell(&books, &closed);
    assert_eq!(books.imbalance(), 0);
    assert!(books.faults().next().is_none());
    books
}

/// The year with every meter right, and what was posted of it.
fn ideal_and_kept() -> &'static (Books, BTreeMap<i64, Kept>) {
    static IDEAL: OnceLock<(Books, BTreeMap<i64, Kept>)> = OnceLock::new();
    IDEAL.get_or_init(|| {
        let mut kept = BTreeMap::new();
        let books = year_told(&Gains::new(), |books, closed| {
            closed.iter().for_each(|closed| keep(&mut kept, books, closed));
        });
        (books, kept)
    })
}

fn ideal() -> &'static Books {
    &ideal_and_kept().0
}

fn figure(books: &Books) -> Pue {
    books.pue(UtcMillis::new(START), UtcMillis::new(START + QUARTERS * QUARTER)).unwrap()
}

/// The quarters that no figure can be of: a swap, a silence, a bypass.
fn is_lost(quarter: i64) -> bool {
    quarter == SWAP || SILENT.contains(&quarter) || BYPASS.contains(&quarter)
}

fn truth(of: impl Fn(&Watts) -> u64) -> u128 {
    let counted = (0..QUARTERS).filter(|quarter| !is_lost(*quarter));
    counted.map(|quarter| Watts::energy(of(&Watts::at(quarter)))).sum()
}

fn share<'a>(pue: &'a Pue, term: Term, serial: &str) -> &'a MeterShare {
    let is_it = |share: &&MeterShare| {
        share.term == term
            && share.meter.as_ref().and_then(|meter| meter.serial.as_deref()) == Some(serial)
    };
    pue.meters.iter().find(is_it).unwrap()
}

/// Goal: S8, S11 and load shedding over a whole year: what is counted is the truth to the
/// millijoule, and what is not is told by number, energy and reason.
#[test]
fn a_year_with_every_trouble_equals_the_simulations_own_truth() {
    let pue = figure(ideal());
    assert_eq!(pue.total, truth(Watts::supplied));
    assert_eq!(pue.it, truth(|watts| watts.load));
    assert_eq!(pue.by_source[&Role::Grid], truth(|watts| watts.grid));
    assert_eq!(pue.by_source[&Role::Generator], truth(|watts| watts.genset));
    assert_eq!(pue.by_source[&Role::Solar], truth(|watts| watts.roof));
    // Batteries gave what the load took while nothing came in.
    let drawn = |watts: &Watts| if watts.ups_in == 0 { watts.load } else { 0 };
    assert_eq!(pue.store_drawn, truth(drawn));
    assert_eq!(pue.unexplained, truth(|watts| if watts.ups_in == 0 { 0 } else { 2_000 }));
    assert_eq!((pue.estimated, pue.contradicted, pue.outside), (0, 0, 0));

    // 1 quarter of the swap, 12 of silence, 8 of the bypass.
    assert_eq!((pue.intervals_complete, pue.intervals_expected), (35_040 - 21, 35_040));
    let missing = |meter: &str| Withheld::MissingMeter { meter: meter.to_owned() };
    let reasons = [
        (missing("grid"), 12),
        (missing("ups-out"), 1),
        (Withheld::Disputed { point: "ups-out".to_owned() }, 8),
    ];
    assert_eq!(pue.withheld, reasons.into_iter().collect());
    assert_eq!(pue.gap, Millis::new(3 * 3_600_000));
    // Of what is known: IT in the silence, what came in during swap and bypass.
    let known = |quarters: &dyn Fn(i64) -> bool, of: &dyn Fn(&Watts) -> u64| -> u128 {
        let quarters = (0..QUARTERS).filter(|quarter| is_lost(*quarter) && quarters(*quarter));
        quarters.map(|quarter| Watts::energy(of(&Watts::at(quarter)))).sum()
    };
    let silent_it = known(&|quarter| SILENT.contains(&quarter), &|watts| watts.load);
    let swapped_it = known(&|quarter| quarter == SWAP, &|watts| watts.load);
    assert_eq!(
        pue.known.it,
        pue.it + silent_it + swapped_it,
        "the PDU saw what its feeder did not"
    );
    let not_grid = known(&|quarter| SILENT.contains(&quarter), &|watts| watts.genset + watts.roof);
    let others = known(&|quarter| !SILENT.contains(&quarter), &Watts::supplied);
    assert_eq!(pue.known.total, pue.total + not_grid + others);

    assert_eq!((&pue.kind, pue.status()), (&PueKind::Annual, PueStatus::Settled));
    assert_eq!(pue.wp49(), "PUE_L1,YC");
    let coverage = "coverage 35019 of 35040 intervals";
    let shown = format!("PUE1 (2026-07-01/2027-06-30 +05:00) = 1.33 ± 0.02, {coverage}");
    assert_eq!(pue.to_string(), shown);
}

/// Goal: a swap is two instruments of one name, each with what it counted and its own class.
#[test]
fn both_meters_of_a_swap_stand_in_the_figure_with_what_each_counted() {
    let pue = figure(ideal());
    assert_eq!(pue.meters.len(), 5, "three supplies, and two meters at the UPS output");
    let before = (0..SWAP).map(|quarter| Watts::energy(Watts::at(quarter).load)).sum::<u128>();
    let old = share(&pue, Term::It, "old");
    let new = share(&pue, Term::It, "new");
    assert_eq!(old.millijoules, before);
    assert_eq!(old.millijoules + new.millijoules, pue.it);
    assert_eq!(old.id, new.id);
    // Independently they weigh less than if both were off alike.
    let known = pue.uncertainty.clone().unwrap();
    assert!(known.independent_micro < known.correlated_micro, "{known:?}");
}

/// Goal: meters that are off within their classes leave the truth within ±; one that is off by
/// more than its class does not, so the ± is no ornament.
#[test]
fn meters_off_within_their_class_leave_the_truth_within_the_uncertainty() {
    let ideal = figure(ideal());
    let gap = |gains: &[(&'static str, u64)]| {
        let pue = figure(&year(&gains.iter().copied().collect()));
        let micro = |pue: &Pue| i128::try_from(pue.total * 1_000_000 / pue.it).unwrap();
        let known = pue.uncertainty.clone().unwrap();
        ((micro(&pue) - micro(&ideal)).unsigned_abs(), known.independent_micro)
    };
    let within = [
        ("grid", 1_003_000),
        ("genset", 1_007_000),
        ("roof", 994_000),
        ("ups-out", 997_000),
        ("pdu", 997_000),
    ];
    let (off, uncertainty) = gap(&within);
    assert!(off > 6_000 && off < uncertainty, "{off} of {uncertainty}");
    let (off, uncertainty) = gap(&[("grid", 1_020_000)]);
    assert!(off > uncertainty, "{off} of {uncertainty}");
}

/// An interval as its leaves leave it.
struct Kept {
    flows: BTreeMap<Flow, u128>,
    pue: PueShown,
    adjustments: u64,
}

/// Takes what a posting said into what stands.
fn keep(kept: &mut BTreeMap<i64, Kept>, books: &Books, closed: &Closed) {
    let said = books.statement(closed);
    let nothing = || Kept { flows: BTreeMap::new(), pue: said.summary.pue.clone(), adjustments: 0 };
    let known = kept.contains_key(&closed.start.get());
    let one = kept.entry(closed.start.get()).or_insert_with(nothing);
    one.pue = said.summary.pue.clone();
    one.adjustments += u64::from(known && said.summary.entries > 0);
    for line in said.owned.into_values().flatten() {
        let (debit, credit) =
            if line.is_reversal { (line.credit, line.debit) } else { (line.debit, line.credit) };
        let sum = one.flows.entry(Flow { debit, credit, class: line.class }).or_default();
        let amount = u128::from(line.amount);
        *sum = if line.is_reversal { *sum - amount } else { *sum + amount };
    }
}

/// Goal: years later, from leaves alone, the figure is the one that the books gave, in each of its
/// fields: terms, sources, coverage, meters, uncertainty and what is withheld.
#[test]
fn the_figure_from_what_was_posted_is_the_books_own() {
    let (books, kept) = ideal_and_kept();
    let diagram = diagram(described("new", "0.5S"));
    for (from, days) in [(101, 264), (200, 1), (200, 30), (250, 2), (364, 1)] {
        let (from, to) = (START + from * DAY, START + (from + days) * DAY);
        let posted = kept.range(from..to).map(|(start, kept)| Posted {
            start: UtcMillis::new(*start),
            pue: &kept.pue,
            flows: &kept.flows,
            adjustments: kept.adjustments,
            is_settled: true,
        });
        let period = (UtcMillis::new(from), UtcMillis::new(to));
        let mut found = pue::of_posted(&diagram, period, Millis::new(900_000), posted).unwrap();
        let mut expected = books.pue(period.0, period.1).unwrap();
        let order = |pue: &mut Pue| pue.meters.sort_by_key(|share| (share.term, share.id.clone()));
        order(&mut found);
        order(&mut expected);
        assert_eq!(found, expected);
    }
}
