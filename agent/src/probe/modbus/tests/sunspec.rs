//! A SunSpec meter in raw frames: what changes under the agent.

use super::*;

const TEXT: &str = r#"
meter = "isb/pv"
address = "ADDRESS"
timeout = "300ms"
power_max = "2 MW"
profile = "sunspec"
"#;

/// Model 203 at 40,002: 230.1 V, 50.02 Hz, 9,842 times 10 W, a count of tens of watt hours.
fn meter() -> Meter {
    let meter = Meter::start();
    let mut words = vec![0_u16; 55];
    words[..2].copy_from_slice(&[203, 105]);
    for (at, word) in [(8, 2_301), (9, 2_297), (10, 2_310), (15, 0xffff), (16, 5_002)] {
        words[at] = word;
    }
    for (at, word) in [(17, 0xfffe), (18, 9_842), (22, 1), (46, 1), (47, 2), (54, 1)] {
        words[at] = word;
    }
    meter.set(3, 40_000, &[0x5375, 0x6e53]);
    meter.set(3, 40_002, &words);
    // The model ends where its length says; behind it the list ends.
    meter.set(3, 40_002 + 107, &[0xffff, 0]);
    meter
}

#[test]
fn all_is_read_in_one_request_and_a_factor_that_changes_costs_the_row() {
    let meter = meter();
    let mut probe = probe(TEXT, meter.address);
    let before = probe.describe().expect("found").subjects[0].register.expect("its own");
    assert_eq!((before.numerator, before.denominator), (36_000_000, 1));
    assert_eq!(before.modulus, Some(1 << 32));
    let requests = meter.requests();
    let values = read(&mut probe, 0);
    let volts = [230_100, 229_700, 231_000].map(Some);
    assert_eq!(values[..3], [Some(65_538), Some(98_420_000), Some(50_020)]);
    assert_eq!(values[3..], volts);
    assert_eq!(meter.requests() - requests, 1);
    // Auto-range: power in kilowatts from now on.
    meter.set(3, 40_002 + 18, &[98]);
    meter.set(3, 40_002 + 22, &[3]);
    assert!(read(&mut probe, 5_000).iter().all(Option::is_none));
    let trouble = probe.trouble().expect("words");
    assert!(trouble.ends_with("the scale factor at 40024 was 1 and is 3"), "{trouble}");
    assert!(probe.wants_describe());
    let after = probe.describe().expect("found").subjects[0].register.expect("its own");
    assert_eq!(after, before, "the count is the same");
    assert_eq!(read(&mut probe, 10_000)[..2], [Some(65_538), Some(98_000_000)]);
}

#[test]
fn a_count_that_is_not_kept_is_integrated_and_two_meters_are_not_guessed_at() {
    let meter = meter();
    meter.set(3, 40_002 + 46, &[0, 0]);
    let mut probe = probe(TEXT, meter.address);
    let description = probe.describe().expect("found");
    assert_eq!(description.notes[0].how, How::Integrated);
    let method = description.subjects[0].register.map(|register| register.method);
    assert_eq!(method, Some(Method::Sampled));
    meter.set(3, 40_002 + 107, &[213, 124]);
    meter.set(3, 40_002 + 107 + 126, &[0xffff, 0]);
    let refused = probe.describe().expect_err("two").to_string();
    assert!(refused.contains("several meters (203 at 40002, 213 at 40109)"), "{refused}");
    meter.set(3, 40_002, &[120, 105]);
    meter.set(3, 40_002 + 107, &[0xffff, 0]);
    let refused = probe.describe().expect_err("none").to_string();
    assert!(refused.contains("lists no meter"), "{refused}");
}
