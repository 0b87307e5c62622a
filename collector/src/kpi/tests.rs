//! Figures by hand: the example of `docs/kpis.md` from books of its readings, days at their edges,
//! places that change their clocks, and what is refused or withheld.

use std::collections::BTreeMap;

use bijli_ledger::{Books, Rules};
use bijli_wire::{HubId, Millis, ProjectId, UtcMillis};
use proptest::prelude::*;

use super::shares::split;
use super::{Kpi, Tables, of, shares};
use crate::calendar;
use crate::diagram::Plan;
use crate::meterbook::TypedText;

const PAGE: &str = include_str!("../../../docs/kpis.md");
const HALF_HOUR: i64 = 1_800_000;

fn plan(zone: &str) -> Plan {
    let mut text = format!("pue_category = 2\ntime_zone = \"{zone}\"\n");
    for (id, role) in
        [("incomer", "grid"), ("genset", "generator"), ("roof", "solar"), ("hall", "pdu")]
    {
        text += &format!("[[point]]\nid = \"{id}\"\nrole = \"{role}\"\nmeter = \"{id}\"\n");
    }
    Plan::from_toml(&text).expect("a plan")
}

/// Closed books of typed readings: meter, time, value.
fn books(zone: &str, readings: &[(&str, &str, &str)]) -> Books {
    let rules = Rules { interval: Millis::new(1_800_000), ..Rules::default() };
    let mut books = Books::new(HubId::new("isb").expect("a name"), rules);
    let diagram = plan(zone).diagram().expect("sound").expect("not empty");
    books.set_diagram(UtcMillis::ZERO, diagram);
    let times = readings.iter().map(|(_, at, _)| calendar::parse(at).expect("a time"));
    let mut now = times.max().expect("readings").get() + HALF_HOUR;
    for (meter, at, value) in readings {
        let text = TypedText {
            id: format!("{meter}@{at}"),
            hub: Some("isb".into()),
            meter: (*meter).into(),
            at: (*at).into(),
            value: (*value).into(),
            factor: 1,
            rollover_digits: None,
            restart: None,
            who: "A. Khan".into(),
            why: "round".into(),
            photo_sha256: None,
        };
        let (_, reading) = text.read().expect("a reading");
        let _verdict = books.put_typed(reading, UtcMillis::new(now)).expect("taken");
    }
    // Late facts are booked some a time.
    for _ in 0..40 {
        now += HALF_HOUR;
        let _closed = books.advance(UtcMillis::new(now));
    }
    books
}

fn asked(books: &Books, tables: &str, from: &str, to: &str) -> Vec<Kpi> {
    let tables = Tables::read(tables).expect("sound tables");
    let at = |text: &str| calendar::parse(text).expect("a time");
    let pue = books.pue(at(from), at(to)).expect("a PUE");
    of(books, &tables, &pue)
}

fn shown(kpis: &[Kpi], name: &str) -> String {
    let kpi = kpis.iter().find(|kpi| kpi.name == name).expect("a figure of that name");
    match &kpi.outcome {
        Ok(figure) => figure.shown.clone(),
        Err(why) => why.message.clone(),
    }
}

/// Meter, time, value.
type Row = (&'static str, &'static str, &'static str);

/// The readings, the tables and the figures of the page.
fn page() -> (Vec<Row>, &'static str, Vec<&'static str>) {
    let rows = PAGE.lines().filter(|line| line.starts_with("| ") && line.contains("+05:00"));
    let readings = rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [meter, at, value] = cells[..] else { panic!("three cells: {row}") };
        (meter, at, value)
    });
    let tables = PAGE.split("```toml").nth(1).and_then(|rest| rest.split("```").next());
    let after = PAGE.rsplit("```").next().expect("a rest").lines();
    let figures = after.filter_map(|line| line.strip_prefix("    ")).collect();
    (readings.collect(), tables.expect("the tables"), figures)
}

/// Goal: the page's example is what the program answers, line by line.
#[test]
fn the_example_of_the_page_is_recomputed() {
    let (readings, tables, figures) = page();
    assert_eq!((readings.len(), figures.len()), (16, 9));
    let books = books("Asia/Karachi", &readings);
    let kpis = asked(&books, tables, "2026-07-01T00:00:00+05:00", "2026-08-01T00:00:00+05:00");
    let found: Vec<String> = kpis.iter().map(|kpi| shown(&kpis, kpi.name)).collect();
    assert_eq!(found, figures);
    for kpi in &kpis {
        let figure = kpi.outcome.as_ref().expect("a figure");
        let parts: u128 = figure.terms.iter().map(|term| term.part.amount).sum();
        assert_eq!(parts, figure.numerator.amount, "{}", kpi.name);
    }
}

fn factor(id: &str, days: &str, value: &str) -> String {
    format!(
        "[[factor]]\nid = \"{id}\"\nof = \"grid\"\nmethod = \"location\"\nvalue = \"{value}\"\n\
         scope = 2\nsource = \"an example\"\nyear = 2026\n{days}\n"
    )
}

/// 100 kW for two days of July, and nothing but the grid.
fn two_days() -> Books {
    let (first, last) = ("2026-07-01T00:00:00+05:00", "2026-07-03T00:00:00+05:00");
    let mut readings = Vec::new();
    for (meter, end) in
        [("incomer", "4800 kWh"), ("genset", "0 kWh"), ("roof", "0 kWh"), ("hall", "4000 kWh")]
    {
        readings.extend([(meter, first, "0 kWh"), (meter, last, end)]);
    }
    books("Asia/Karachi", &readings)
}

const DAYS: (&str, &str) = ("2026-07-01T00:00:00+05:00", "2026-07-03T00:00:00+05:00");

/// Goal: a factor ends with its last day by the hub's clock, and the next one begins there.
#[test]
fn factors_hold_by_the_day_of_the_hub() {
    let books = two_days();
    let elder = factor("a", "from = \"2026-01-01\"\nthrough = \"2026-07-01\"", "400 g/kWh");
    let newer = factor("b", "from = \"2026-07-02\"", "500 g/kWh");
    let kpis = asked(&books, &format!("{elder}{newer}"), DAYS.0, DAYS.1);
    // 2400 kWh each: 960 and 1200 kg, over 4000 kWh.
    let cue = shown(&kpis, "CUE location-based");
    assert!(cue.contains("= 0.540 kg CO2e/kWh: emissions 2.160 t CO2e"), "{cue}");
    let kpis = asked(&books, &elder, DAYS.0, DAYS.1);
    let why = "no location-based factor of grid holds in 48 of the intervals, first on 2026-07-02";
    assert_eq!(shown(&kpis, "CUE location-based"), why);
    assert!(shown(&kpis, "CUE market-based").contains("in 96 of the intervals"));
}

/// Goal: what nobody declared withholds each figure with its reason, and nothing is made up.
#[test]
fn without_tables_nothing_is_made_up() {
    let kpis = asked(&two_days(), "", DAYS.0, DAYS.1);
    for (name, words) in [
        ("WUE", "no crossing of water or potable_water is declared"),
        ("CUE location-based", "no location-based factor of grid holds in 96"),
        ("ERF", "no crossing of reused_heat is declared"),
        ("demand", "no demand_window is declared"),
        ("load factor", "no demand_window is declared"),
        ("cost", "no tariff holds in 96 of the intervals, first on 2026-07-01"),
    ] {
        assert!(shown(&kpis, name).contains(words), "{name}: {}", shown(&kpis, name));
    }
    // These rest on meters alone.
    assert!(shown(&kpis, "REF").contains("= 0.000: E_RES-TOT 0.000 J over E_DC 4.800 MWh"));
    assert!(shown(&kpis, "E_DC-BG share").contains("= 0.000"));
}

/// Goal: water that is read for one of two days counts with the IT energy of that day.
#[test]
fn both_terms_are_of_the_intervals_that_the_readings_span() {
    let mut books = two_days();
    for (at, value) in
        [("2026-07-01T00:00:00+05:00", "0 l"), ("2026-07-02T00:00:00+05:00", "3000 l")]
    {
        let json = format!(
            r#"{{"id":"{at}","hub":"isb","meter":"w","at":"{at}","value":"{value}","who":"A","why":"b"}}"#
        );
        let (_, reading) =
            TypedText::from_json(json.as_bytes()).expect("JSON").read().expect("a reading");
        let received = calendar::parse("2026-07-03T12:00:00+05:00").expect("a time");
        let _verdict = books.put_typed(reading, received).expect("taken");
    }
    let tables = "[[crossing]]\nid = \"t\"\nwhat = \"water\"\nmeter = \"w\"\n";
    let wue = shown(&asked(&books, tables, DAYS.0, DAYS.1), "WUE");
    assert!(
        wue.contains("= 1.500 l/kWh: water 3.000 m3 over E_IT (category 2) 2.000 MWh"),
        "{wue}"
    );
    assert!(wue.ends_with("coverage 48 of 96 intervals"), "{wue}");
}

fn tariff(id: &str, lines: &str) -> String {
    format!("[[tariff]]\nid = \"{id}\"\nsource = \"an example\"\n{lines}\n")
}

const FLAT: &str = "[[tariff.window]]\nname = \"all\"\nrate = \"30 Rs/kWh\"\n";

/// Goal: each mistake is told with where and what, and most of all two tables for one day.
#[test]
fn mistakes_by_table() {
    let zone = "time_zone = \"Asia/Karachi\"";
    let from = "from = \"2026-01-01\"";
    let window =
        |hours: &str| format!("[[tariff.window]]\nname = \"w\"\nrate = \"1 Rs/kWh\"\n{hours}\n");
    let morning = window("from = \"06:00\"\nto = \"12:00\"");
    let rows = [
        ("tarif = 1".to_owned(), "unknown field `tarif`"),
        ("demand_window = 30".into(), "bare number"),
        ("demand_window = \"7m\"".into(), "divide a day"),
        (factor("a", from, "440 g"), "value = \"440 g\""),
        (factor("a", from, "0.1234567 g/kWh"), "six decimals at most"),
        (factor("a", from, "2.7 kg/l"), "only generators burn litres"),
        (factor("a", "from = \"2026-02-30\"", "1 g/kWh"), "from = \"2026-02-30\""),
        (factor("a", "from = \"2026-02-02\"\nthrough = \"2026-02-01\"", "1 g/kWh"), "before from"),
        (factor("a", from, "1 g/kWh").replace("method = \"location\"", ""), "have a method"),
        (
            factor("a", from, "1 g/kWh") + &factor("b", "from = \"2026-05-01\"", "2 g/kWh"),
            "factor \"b\": on 2026-05-01 factor \"a\" holds too",
        ),
        (factor("a", from, "1 g/kWh") + &factor("a", from, "1 g/kWh"), "declared twice"),
        (tariff("t", &format!("time_zone = \"Lahore\"\n{from}\n{FLAT}")), "time_zone = \"Lahore\""),
        (tariff("t", &format!("{zone}\n{from}\n{morning}")), "no rate at 00:00"),
        (tariff("t", &format!("{zone}\n{from}\n{FLAT}{FLAT}")), "two windows have no hours"),
        (tariff("t", &format!("{zone}\n{from}\n{FLAT}{morning}{morning}")), "one rate at 06:00"),
        (
            tariff("t", &format!("{zone}\n{from}\n{FLAT}"))
                + &tariff("u", &format!("{zone}\nfrom = \"2026-03-01\"\n{FLAT}")),
            "tariff \"u\": on 2026-03-01 tariff \"t\" holds too",
        ),
        ("[designed]\npue = \"0.9\"\nsource = \"x\"\nyear = 2025".into(), "a PUE is above 1"),
        ("[[crossing]]\nid = \"x\"\nwhat = \"wine\"\nmeter = \"m\"".into(), "what = \"wine\""),
    ];
    for (text, words) in rows {
        let problems = Tables::read(&text).expect_err(&text);
        let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert!(told.iter().any(|told| told.contains(words)), "{words:?} in {told:?} of {text}");
    }
    let fits = tariff("t", &format!("{zone}\n{from}\n{FLAT}{morning}"));
    let tables = Tables::read(&fits).expect("sound");
    assert!(tables.misfits(Millis::new(900_000)).is_empty());
    let told = tables.misfits(Millis::new(86_400_000));
    assert!(told.iter().any(|told| told.what.contains("06:00 is within an interval")), "{told:?}");
}

/// Goal: what is missing today, or was between two, is told before an auditor asks.
#[test]
fn gaps_are_told_in_words() {
    let text = factor("a", "from = \"2026-01-01\"\nthrough = \"2026-03-31\"", "1 g/kWh")
        + &factor("b", "from = \"2026-05-01\"\nthrough = \"2026-06-30\"", "1 g/kWh");
    let tables = Tables::read(&text).expect("sound");
    let today = "2026-07-15".parse().expect("a date");
    let told = tables.warnings(today, &[bijli_ledger::Role::Grid]);
    for words in [
        "no location-based factor of grid holds from 2026-04-01 on, before 2026-05-01",
        "no location-based factor of grid holds from 2026-07-01 on, before 2026-07-16",
        "no market-based factor of grid is declared: CUE is withheld",
        "no tariff is declared: cost is withheld",
        "no demand_window",
    ] {
        assert!(told.iter().any(|told| told.contains(words)), "{words:?} in {told:?}");
    }
}

/// Goal: on the day of 25 hours, rates go by the clock on the wall, and no hour is lost.
#[test]
fn k4_tariff_hours_go_by_the_clock_on_the_wall() {
    let (first, last) = ("2026-10-25T00:00:00+02:00", "2026-10-26T00:00:00+01:00");
    let mut readings = Vec::new();
    for (meter, end) in
        [("incomer", "2500 kWh"), ("genset", "0 kWh"), ("roof", "0 kWh"), ("hall", "2000 kWh")]
    {
        readings.extend([(meter, first, "0 kWh"), (meter, last, end)]);
    }
    let books = books("Europe/Berlin", &readings);
    let peak = "[[tariff.window]]\nname = \"peak\"\nrate = \"2 Rs/kWh\"\nfrom = \"22:00\"\nto = \"06:00\"\n";
    let text =
        tariff("t", &format!("time_zone = \"Europe/Berlin\"\nfrom = \"2026-01-01\"\n{FLAT}{peak}"));
    let kpis = asked(&books, &text, first, last);
    let cost = kpis.iter().find(|kpi| kpi.name == "cost").expect("there");
    let figure = cost.outcome.as_ref().expect("a figure");
    let energy: Vec<u128> =
        figure.terms.iter().filter_map(|term| Some(term.from.as_ref()?.amount)).collect();
    // 0:00 to 6:00 has the hour from 2:00 twice, and 22:00 to 24:00: 9 hours of 100 kW; 16 others.
    assert_eq!(energy, [1_600 * 3_600_000_000, 900 * 3_600_000_000]);
    assert!(figure.shown.contains("2026-10-25/2026-10-25 Europe/Berlin"), "{}", figure.shown);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever the rates and hours, every millijoule from the grid has one rate, and the lines sum
    /// to the bill.
    #[test]
    fn every_millijoule_is_priced_once(
        from in 0_u16..48,
        length in 1_u16..47,
        rates in (1_u64..90_000_000, 1_u64..90_000_000),
        tax in 0_u32..40,
    ) {
        let books = two_days();
        let clock = |half: u16| format!("{:02}:{:02}", half % 48 / 2, half % 2 * 30);
        let rate = |micro: u64| format!("{}.{:06} Rs/kWh", micro / 1_000_000, micro % 1_000_000);
        let text = tariff("t", &format!(
            "time_zone = \"Asia/Karachi\"\nfrom = \"2026-01-01\"\ntax = \"{tax} %\"\n\
             [[tariff.window]]\nname = \"peak\"\nrate = \"{}\"\nfrom = \"{}\"\nto = \"{}\"\n\
             [[tariff.window]]\nname = \"off\"\nrate = \"{}\"\n",
            rate(rates.0), clock(from), clock(from + length), rate(rates.1),
        ));
        let kpis = asked(&books, &text, DAYS.0, DAYS.1);
        let cost = kpis.iter().find(|kpi| kpi.name == "cost").expect("there");
        let figure = cost.outcome.as_ref().expect("a figure");
        let energy = |term: &super::Term| term.from.as_ref().map_or(0, |from| from.amount);
        prop_assert_eq!(figure.terms.iter().map(energy).sum::<u128>(), 4_800 * 3_600_000_000);
        let parts: u128 = figure.terms.iter().map(|term| term.part.amount).sum();
        prop_assert_eq!(parts, figure.numerator.amount);
        // 100 kW: half an hour of either window is 50 kWh, on both days.
        let peak = u128::from(length) * 100;
        let paisa = |kwh: u128, micro: u64| (kwh * u128::from(micro) * 2 + 10_000) / 20_000;
        let net = paisa(peak, rates.0) + paisa(4_800 - peak, rates.1);
        let gross = net + (net * u128::from(tax) * 2 + 100) / 200;
        prop_assert_eq!(figure.numerator.amount, gross);
    }

    /// Whatever the weights, the parts sum to the amount, and none is a unit off its share.
    #[test]
    fn shares_sum_to_the_last_paisa(
        amount in 0_u128..1_000_000_000_000,
        weights in proptest::collection::vec(0_u128..2_000_000_000_000_000_000, 1..20),
    ) {
        let party = |index: usize| Some(ProjectId::new(&format!("p{index}")).expect("a name"));
        let parties: BTreeMap<_, _> =
            weights.iter().enumerate().map(|(index, weight)| (party(index), *weight)).collect();
        let parts = split(amount, &parties);
        prop_assert_eq!(parts.values().sum::<u128>(), amount);
        let whole: u128 = weights.iter().sum();
        for (party, weight) in parties.iter().filter(|_| whole > 0) {
            let exact = amount * weight / whole;
            prop_assert!(parts[party] == exact || parts[party] == exact + 1);
        }
    }
}

/// Goal: projects' cost and emissions sum to the hub's, and what nobody used has its share.
#[test]
fn what_projects_cost_sums_to_the_bill() {
    use crate::api::tests::hub::{NINE, QUARTER, state};

    let state = state(NINE, 4);
    let isb = state.hub(&HubId::new("isb").expect("a name")).expect("the small hub");
    let text = factor("grid", "from = \"2026-01-01\"", "440.608 g/kWh")
        + &tariff(
            "t",
            &format!(
                "time_zone = \"Asia/Karachi\"\nfrom = \"2026-01-01\"\ntax = \"17 %\"\n\
                 {FLAT}[[tariff.window]]\nname = \"p\"\nrate = \"41.37 Rs/kWh\"\n\
                 from = \"14:30\"\nto = \"18:00\"\n"
            ),
        );
    let tables = Tables::read(&text).expect("sound");
    let books = isb.books();
    let (from, to) = (UtcMillis::new(NINE), UtcMillis::new(NINE + 4 * QUARTER));
    let pue = books.pue(from, to).expect("a PUE");
    let figures = of(&books, &tables, &pue);
    let found = shares(&books, &tables, &pue);
    for name in ["cost", "CUE location-based"] {
        let figure = figures.iter().find(|kpi| kpi.name == name).expect("there");
        let whole = figure.outcome.as_ref().expect("a figure").numerator.amount;
        let shared = found.iter().find(|shares| shares.name == name).expect("there");
        let (told, parties) = shared.outcome.as_ref().expect("shares");
        assert_eq!((told.amount, parties.values().sum::<u128>()), (whole, whole), "{name}");
        // 1350 W of IT: climate's two GPUs with their host 710 W, in the peak as outside it.
        let climate = Some(ProjectId::new("climate").expect("a name"));
        assert!(parties[&climate].abs_diff(whole * 710 / 1_350) <= 2, "{name}: {parties:?}");
        assert!(parties[&None] > 0, "{parties:?}");
    }
    let market = found.iter().find(|shares| shares.name == "CUE market-based").expect("there");
    assert!(market.outcome.is_err());
}
