//! Uncertainty by the table of the design's reference, how figures are printed, and what may not
//! be put together.

use std::collections::BTreeMap;

use bijli_wire::{HubId, Millis, SubjectId, UtcMillis};

use super::*;
use crate::meter::Limits;

const DAY: i64 = 86_400_000;
/// 2026-07-01 and 2027-07-01.
const YEAR: (i64, i64) = (20_635 * DAY, 21_000 * DAY);

const fn limits(meter_ppm: u32, ct_ppm: u32) -> Limits {
    Limits { meter_ppm, ct_ppm }
}

/// One supply meter and `count` IT meters of equal share.
struct Metering {
    supply: Limits,
    it: Limits,
    count: u128,
    /// Part of IT that is estimated, in millionths.
    estimated_ppm: u128,
}

fn uncertainty(metering: &Metering, pue_milli: u128) -> Uncertainty {
    let it = 1_000_000_000_000_u128;
    let total = it.saturating_mul(pue_milli).div_euclid(1_000);
    let millijoules = it.div_euclid(metering.count);
    let supply = [Counted { millijoules: total, limits: metering.supply }];
    let meters = (0..metering.count).map(|_| Counted { millijoules, limits: metering.it });
    let meters: Vec<Counted> = meters.collect();
    let estimated = it.saturating_mul(metering.estimated_ppm).div_euclid(1_000_000);
    let of_total = Relative::of(&supply, 0, ESTIMATE_DOUBT_PPM);
    let of_it = Relative::of(&meters, estimated, ESTIMATE_DOUBT_PPM);
    Uncertainty::of((total, of_total), (it, of_it))
}

/// Every row of the table: metering, then both bounds at PUE 1.30 and at 1.08, exact in
/// millionths and as the table prints them in thousandths. The table rounded to four decimals
/// first and to three then, so two of its cells are one more than they would be: 0.012471 is there
/// 0.013, and 0.026454 is 0.027.
#[test]
fn every_row_of_the_table_of_uncertainties_is_reproduced() {
    let half = limits(5_000, 5_000);
    let metering = |supply, it, count, estimated_ppm| Metering { supply, it, count, estimated_ppm };
    let fifth = limits(2_000, 2_000);
    let rows = [
        (metering(fifth, fifth, 8, 0), [4_504, 6_005, 3_742, 4_989], [5, 6, 4, 5]),
        (metering(half, half, 8, 0), [11_259, 15_012, 9_354, 12_471], [11, 15, 9, 13]),
        (
            metering(half, limits(10_000, 10_000), 40, 0),
            [11_133, 23_735, 9_249, 19_719],
            [11, 24, 9, 20],
        ),
        (
            metering(half, limits(20_000, 0), 8, 0),
            [15_012, 31_844, 12_471, 26_455],
            [15, 32, 13, 27],
        ),
        (metering(half, half, 8, 20_000), [13_697, 16_917, 11_379, 14_054], [14, 17, 11, 14]),
    ];
    for (metering, micro, table) in rows {
        let [high, low] = [1_300, 1_080].map(|pue| uncertainty(&metering, pue));
        let found = [
            high.independent_micro,
            high.correlated_micro,
            low.independent_micro,
            low.correlated_micro,
        ];
        assert_eq!(found, micro);
        let twice = |micro: u128| {
            let tenths = micro.saturating_add(50).div_euclid(100);
            tenths.saturating_add(5).div_euclid(10)
        };
        assert_eq!(found.map(twice), table);
    }
}

#[test]
fn shares_weigh_and_a_meter_that_counted_nothing_adds_nothing() {
    let counted = |millijoules, ppm| Counted { millijoules, limits: limits(ppm, 0) };
    let one = Relative::of(&[counted(900, 10_000), counted(100, 50_000)], 0, 0);
    // 0.9 x 0.01/sqrt(3) and 0.1 x 0.05/sqrt(3).
    assert_eq!((one.independent, one.correlated), (5_944_184_831, 8_082_903_766));
    let none = Relative::of(&[counted(900, 10_000), counted(0, 50_000)], 0, 0);
    assert_eq!(none.independent, none.correlated);
    assert_eq!(Relative::of(&[], 0, 1), Relative { independent: 0, correlated: 0 });
}

fn meter(class: &str) -> Meter {
    Meter { class: class.parse().ok(), ..Meter::default() }
}

/// A hub with one meter on each side.
fn figure(total: u128, it: u128, classes: [&str; 2]) -> Pue {
    let share = |term, id: &str, class: &str, millijoules| MeterShare {
        term,
        id: SubjectId::new(id).expect("a name"),
        meter: (!class.is_empty()).then(|| meter(class)),
        millijoules,
    };
    let [supply, load] = classes;
    let meters = vec![share(Term::Total, "inc", supply, total), share(Term::It, "ups", load, it)];
    let uncertainty = (|| {
        let of = |term, whole| {
            Ok::<_, Unstated>((whole, Relative::of(&sum::counted(term, whole, &meters)?, 0, 0)))
        };
        Ok(Uncertainty::of(of(Term::Total, total)?, of(Term::It, it)?))
    })();
    Pue {
        total,
        it,
        category: Category::PduOutput,
        kind: PueKind::Annual,
        from: UtcMillis::new(YEAR.0),
        to: UtcMillis::new(YEAR.1),
        policy: PuePolicy { standard: Some("ISO/IEC 30134-2:2026".into()), ..Default::default() },
        interval: Millis::new(900_000),
        intervals_complete: 35_040,
        intervals_expected: 35_040,
        intervals_provisional: 0,
        adjustments: 0,
        known: Terms { total, it },
        gap: Millis::ZERO,
        by_source: [(Role::Grid, total)].into(),
        store_drawn: 0,
        estimated: 0,
        it_estimated: 0,
        unexplained: 0,
        contradicted: 0,
        outside: 0,
        meters,
        uncertainty,
        withheld: BTreeMap::new(),
    }
}

#[test]
fn a_figure_is_printed_with_kind_category_period_and_uncertainty() {
    let pue = figure(1_311_000, 1_000_000, ["0.5S", "1"]);
    assert_eq!(pue.to_string(), "PUE2 (2026-07-01/2027-06-30) = 1.31 ± 0.02");
    let fine = figure(1_311_000, 1_000_000, ["0.2S", "0.2S"]);
    assert_eq!(fine.to_string(), "PUE2 (2026-07-01/2027-06-30) = 1.311 ± 0.005");
    let mut part = Pue { kind: PueKind::Interim, intervals_complete: 35_000, ..pue };
    let coverage = ", coverage 35000 of 35040 intervals";
    let shown = format!("iPUE2 (2026-07-01/2027-06-30) = 1.31 ± 0.02{coverage}");
    assert_eq!(part.to_string(), shown);
    part.kind = PueKind::Partial { boundary: "hall-B cooling".to_owned() };
    assert!(part.to_string().starts_with("pPUE[hall-B cooling]2 ("), "{part}");
    assert_eq!((part.level(), part.wp49().as_str()), (2, "pPUE_L2,YC"));
}

/// Goal: what nobody declared is said, never filled in.
#[test]
fn an_unknown_class_states_no_uncertainty_and_names_the_meter() {
    let pue = figure(1_311_000, 1_000_000, ["0.5S", ""]);
    let why = "not stated (meter ups has no class)";
    assert_eq!(pue.to_string(), format!("PUE2 (2026-07-01/2027-06-30) = 1.31 ± {why}"));
}

fn hub(name: &str) -> HubId {
    HubId::new(name).expect("a name")
}

/// The reference's example: 130/100 and 16/10.
fn two_hubs() -> Vec<(HubId, Pue)> {
    vec![
        (hub("isb"), figure(130_000_000, 100_000_000, ["0.2S", "0.2S"])),
        (hub("khi"), figure(16_000_000, 10_000_000, ["0.2S", "0.2S"])),
    ]
}

#[test]
fn hubs_are_put_together_in_two_ways_and_each_says_which() {
    let all = roll_up(two_hubs()).expect("alike");
    assert_eq!((all.total(), all.it()), (146_000_000, 110_000_000));
    let head = "PUE2 of isb, khi (2026-07-01/2027-06-30) = ";
    let sums = all.shown(Weighting::Sums);
    let expected = "1.327 ± 0.005, sum of E_DC over sum of E_IT";
    assert_eq!(sums, format!("{head}{expected}"));
    let mean = all.shown(Weighting::TotalEnergy);
    let expected = "1.333 ± 0.005, mean weighted by total energy, as (EU) 2024/1364 aggregates";
    assert_eq!(mean, format!("{head}{expected}"));
    // By hand, in millionths. u = 0.002/sqrt(3) each; weights 130/146 and 16/146, which depend on
    // the energies themselves: 2 u times the roots of what each of the four energies moves.
    let of = |weighting| all.uncertainty(weighting).expect("all classes are declared");
    let sums = of(Weighting::Sums);
    assert_eq!((sums.independent_micro, sums.correlated_micro), (3_925, 4_335));
    let mean = of(Weighting::TotalEnergy);
    assert_eq!((mean.independent_micro, mean.correlated_micro), (3_785, 4_354));
}

#[test]
fn a_figure_of_one_hub_is_the_same_in_both_ways() {
    let one = roll_up(two_hubs().into_iter().take(1).collect()).expect("one");
    let of = |weighting| one.uncertainty(weighting).expect("declared");
    let near = |a: u128, b: u128| a.abs_diff(b) <= 1;
    let (sums, mean) = (of(Weighting::Sums), of(Weighting::TotalEnergy));
    assert!(near(sums.independent_micro, mean.independent_micro), "{sums:?} {mean:?}");
    assert!(near(sums.correlated_micro, mean.correlated_micro), "{sums:?} {mean:?}");
    assert_eq!(roll_up(Vec::new()), Err(CannotMix::Nothing));
}

/// Goal: two figures that share the name and nothing else are never put together.
#[test]
fn figures_of_different_kind_are_not_put_together() {
    let refused = |change: &dyn Fn(&mut Pue), words: &str| {
        let mut figures = two_hubs();
        change(&mut figures[1].1);
        let error = roll_up(figures).expect_err(words).to_string();
        assert!(error.contains(words), "{error}");
    };
    refused(&|pue| pue.kind = PueKind::Interim, "the kinds of isb and khi differ: PUE and iPUE");
    refused(&|pue| pue.kind = PueKind::Designed, "differ: PUE and dPUE");
    let partial = |pue: &mut Pue| pue.kind = PueKind::Partial { boundary: "hall-B".into() };
    refused(&partial, "differ: PUE and pPUE[hall-B]");
    refused(&|pue| pue.category = Category::UpsOutput, "the categories of isb and khi differ");
    refused(&|pue| pue.policy.standard = None, "the standards of isb and khi differ");
    refused(&|pue| pue.to = UtcMillis::new(YEAR.1 - DAY), "the periods of isb and khi differ");
}

#[test]
fn a_hub_without_a_class_leaves_the_whole_unstated() {
    let mut figures = two_hubs();
    figures[1].1 = figure(16_000_000, 10_000_000, ["0.2S", ""]);
    let all = roll_up(figures).expect("alike");
    let words = "1.33 ± not stated (of khi: meter ups has no class)";
    assert!(all.shown(Weighting::Sums).contains(words), "{}", all.shown(Weighting::Sums));
}
