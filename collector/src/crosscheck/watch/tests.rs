//! Stretches by example, and of published measurements.

use super::super::Verdict;
use super::*;

const SECOND: i64 = 1_000;

/// A meter with a register of one millijoule a count.
fn meter(step_mj: u64) -> Meter {
    let scale = Some(Scale { numerator: step_mj, denominator: 1, epoch: 1 });
    Meter { scale, ..Meter::default() }
}

/// Reads `power` (mW at second) for so many seconds, each `every`, with a register that counts
/// `gain` thousandths of it.
fn play(meter: &mut Meter, seconds: i64, every: i64, gain: i64, power: impl Fn(i64) -> i64) {
    let step = i64::try_from(meter.scale.expect("a register").numerator).expect("small");
    let mut energy = 0_i64;
    for second in 0..=seconds {
        if second > 0 {
            energy += (power(second - 1) + power(second)) / 2 * gain / 1_000;
        }
        if second % every == 0 {
            let row =
                Row { at: second * SECOND, count: Some(energy / step), power: Some(power(second)) };
            meter.take(row);
        }
    }
}

fn register(meter: &Meter) -> (Verdict, Option<i64>) {
    let found = meter.register("m").expect("it has one");
    (found.verdict, found.measured.map(|measured| measured.value))
}

#[test]
fn a_register_is_compared_with_its_power_by_table() {
    for (gain, verdict) in [
        (1_000, Verdict::Pass),
        (1_019, Verdict::Pass),
        (1_021, Verdict::Fail),
        (979, Verdict::Fail),
        // A transformer's ratio that was forgotten.
        (200, Verdict::Fail),
    ] {
        let mut meter = meter(1);
        play(&mut meter, 3_600, 2, gain, |second| 1_000_000 + second * 10);
        let (found, value) = register(&meter);
        assert_eq!(found, verdict, "{gain}");
        let off = (value.expect("compared") - (gain - 1_000) * 1_000).abs();
        assert!(off < 1_000, "{gain}: {value:?}");
    }
}

/// A job's steps of 5 s, two thirds of each at full power, always read at the same place of a step:
/// the meter is right, its power is not what passed. Who looks more often sees it; a wrong ratio is
/// told all the same.
#[test]
fn a_load_that_pulses_in_step_with_the_polling_accuses_no_meter() {
    let base = |second: i64| if second % 5 < 3 { 1_000_000 } else { 700_000 };
    for (every, gain, verdict) in [
        (15, 1_000, Verdict::CannotSay),
        (10, 1_000, Verdict::CannotSay),
        (1, 1_000, Verdict::Pass),
        (1, 900, Verdict::Fail),
        (15, 500, Verdict::Fail),
    ] {
        let mut meter = meter(1);
        play(&mut meter, 3_600, every, gain, base);
        assert_eq!(register(&meter).0, verdict, "each {every} s, {gain}");
    }
}

#[test]
fn a_coarse_register_is_waited_for_and_one_that_stands_still_is_told() {
    // 0.1 kWh a count, 3 kW: a count every two minutes, 200 of them in 6.7 hours.
    let mut coarse = meter(360_000_000);
    play(&mut coarse, 6 * 3_600, 15, 1_000, |_| 3_000_000);
    assert_eq!(register(&coarse), (Verdict::CannotSay, None));
    play(&mut coarse, 7 * 3_600, 15, 1_000, |_| 3_000_000);
    let mut coarse = meter(360_000_000);
    play(&mut coarse, 7 * 3_600, 15, 1_000, |_| 3_000_000);
    assert_eq!(register(&coarse).0, Verdict::Pass);
    let mut still = meter(1);
    play(&mut still, 7 * 3_600, 15, 0, |_| 3_000_000);
    assert_eq!(register(&still), (Verdict::Fail, Some(-1_000_000)));
}

#[test]
fn what_is_missing_is_not_filled() {
    let mut meter = meter(1);
    for (at, count, power) in [
        (0, Some(0), Some(1_000_000)),
        (5, None, Some(1_000_000)),
        (10, Some(10_000_000), None),
        (15, Some(15_000_000), Some(1_000_000)),
        // A gap of an hour, then a register that was set back.
        (3_700, Some(3_700_000_000), Some(1_000_000)),
        (3_705, Some(0), Some(1_000_000)),
        (3_710, Some(5_000_000), Some(1_000_000)),
    ] {
        meter.take(Row { at: at * SECOND, count, power });
    }
    assert_eq!((meter.stretch.pairs, meter.stretch.span_ms), (1, 5_000));
    assert_eq!(register(&meter), (Verdict::CannotSay, None));
}

#[test]
fn a_power_that_never_changes_is_stuck() {
    let stuck = |seconds: i64, power: fn(i64) -> i64| {
        let mut meter = meter(1);
        play(&mut meter, seconds, 15, 1_000, power);
        meter.stuck("m").verdict
    };
    assert_eq!(stuck(1_900, |_| 5_000_000), Verdict::Fail);
    assert_eq!(stuck(1_000, |_| 5_000_000), Verdict::CannotSay);
    assert_eq!(stuck(1_900, |_| 0), Verdict::CannotSay);
    assert_eq!(stuck(1_900, |second| 5_000_000 + second), Verdict::Pass);
}

#[test]
fn two_meters_that_tell_the_same_are_found_and_others_are_not() {
    let mut watch = Watch::default();
    let noise = |second: i64, seed: i64| 1_000_000 + second.wrapping_mul(seed * 7_919) % 1_013;
    for (name, seed, late) in [("isb/a", 3, 0), ("isb/b", 5, 0), ("isb/c", 3, 45)] {
        let mut one = meter(1);
        play(&mut one, 900 + late, 15, 1_000, |second| noise(second - late, seed));
        watch.meters.insert(SubjectId::new(name).expect("a name"), one);
    }
    let findings = watch.findings();
    let of = |id: &str| {
        let mut found = findings.iter().filter(|one| one.kind == Kind::Copy && one.subject == id);
        found.next().expect("one").clone()
    };
    assert!(of("isb/a").words.ends_with("as isb/c's"), "{}", of("isb/a").words);
    assert_eq!(of("isb/c").verdict, Verdict::Fail);
    assert_eq!(of("isb/b").verdict, Verdict::Pass);
}
