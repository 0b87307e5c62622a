//! What a year's PUE costs, for three hubs of quarter hours, each and together.

use std::time::Instant;

use bijli_ledger::pue::roll_up;
use bijli_ledger::{
    Activity, Books, Category, Diagram, Meter, Point, PointId, PuePolicy, Role, Rules, Weighting,
};
use bijli_wire::batch::{Register, Subject};
use bijli_wire::{HubId, Method, Millis, Milliwatts, NodeId, SubjectId, SubjectKind, UtcMillis};

const HUBS: [&str; 3] = ["isb", "khi", "lhe"];
const QUARTER: i64 = 900_000;
const QUARTERS: i64 = 365 * 96;
const BEGIN: i64 = 1_782_864_000_000;
/// Three supplies and as many UPS outputs as a hub of some megawatts has.
const OUTPUTS: usize = 8;
const ASKED: u32 = 20;

pub fn run() {
    println!("\n## PUE of a year: 3 hubs, {QUARTERS} intervals, {} meters each\n", 3 + OUTPUTS);
    println!("| what | |\n| --- | --- |");
    let hubs: Vec<(HubId, Books)> = HUBS.into_iter().map(|name| (id(name), year(name))).collect();
    let mut times: Vec<u128> = (0..ASKED).map(|_| ask(&hubs)).collect();
    times.sort_unstable();
    let (median, most) = (times[times.len() / 2], times[times.len() - 1]);
    println!(
        "| three figures and both ways together, in words: median, most | {median}, {most} µs |"
    );
}

fn ask(hubs: &[(HubId, Books)]) -> u128 {
    let begun = Instant::now();
    let (from, to) = (UtcMillis::new(BEGIN), UtcMillis::new(BEGIN + QUARTERS * QUARTER));
    let figures =
        hubs.iter().map(|(hub, books)| (hub.clone(), books.pue(from, to).expect("a figure")));
    let all = roll_up(figures.collect()).expect("alike");
    for weighting in [Weighting::Sums, Weighting::TotalEnergy] {
        assert!(all.shown(weighting).starts_with("PUE1 of isb, khi, lhe"), "{all:?}");
    }
    begun.elapsed().as_micros()
}

fn id(hub: &str) -> HubId {
    HubId::new(hub).expect("a name")
}

fn meters() -> Vec<(String, Role, i64)> {
    let supplies = [("grid", Role::Grid, 900), ("genset", Role::Generator, 50)];
    let supplies = supplies.into_iter().chain([("roof", Role::Solar, 80)]);
    let supplies = supplies.map(|(name, role, kw)| (name.to_owned(), role, kw));
    supplies.chain((0..OUTPUTS).map(|ups| (format!("ups-{ups}"), Role::UpsOut, 100))).collect()
}

fn diagram() -> Diagram {
    let meter = |name: &str| SubjectId::new(name).expect("a name");
    let point = |(name, role, _): (String, Role, i64)| Point {
        id: PointId::new(&name).expect("a name"),
        role,
        meter: Some(meter(&name)),
        fed_by: None,
    };
    let facts = |(name, ..): (String, Role, i64)| {
        let class = "0.5S".parse().ok();
        (meter(&name), Meter { class, ..Meter::default() })
    };
    let points = meters().into_iter().map(point).collect();
    let diagram = Diagram::new(points, Default::default(), Category::UpsOutput).expect("sound");
    diagram.with(meters().into_iter().map(facts).collect(), PuePolicy::default()).expect("sound")
}

fn year(hub: &str) -> Books {
    let mut books = Books::new(id(hub), Rules::default());
    books.set_diagram(UtcMillis::new(0), diagram());
    let gateway = NodeId::new("gateway").expect("a name");
    let register = Register {
        numerator: 1,
        denominator: 1,
        modulus: None,
        power_max: Milliwatts::new(3_000_000_000),
        epoch: 1,
        method: Method::Hardware,
        gap: Millis::new(1_200_000),
    };
    let declare = |(name, _, kilowatts): (String, Role, i64)| {
        let subject = Subject {
            id: SubjectId::new(&name).expect("a name"),
            kind: SubjectKind::Meter,
            label: String::new(),
            model: String::new(),
            serial: String::new(),
            register: Some(register),
        };
        (books.declare(&gateway, &subject).handle(), kilowatts)
    };
    let handles: Vec<_> = meters().into_iter().map(declare).collect();
    for quarter in 0..=QUARTERS {
        let at = UtcMillis::new(BEGIN + quarter * QUARTER);
        for (handle, kilowatts) in &handles {
            // A kilowatt is a million millijoules a second.
            let count = Some(quarter * 900 * kilowatts * 1_000_000);
            let _verdict = books.read_at(*handle, at, count, Activity::Unknown);
        }
        books.advance(UtcMillis::new(at.get() + 120_000));
    }
    books
}
