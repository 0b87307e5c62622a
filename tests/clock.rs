//! Nodes whose clock is wrong, end to end: the real agent under a false wall clock, against a
//! collector whose clock is right. Energy is exact, and booked when it was used.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use harness::gpus::{self, Course};
use harness::site::{Site, millijoules};
use harness::{eventually, faketime};

const HUB: &str = "[[hub]]\nid = \"lahore\"\ntitle = \"Lahore\"\n";
const ONLY_GPUS: &str = "[rapl]\nenabled = false\n";

/// A moment as the API wants it.
fn utc(seconds: u128) -> String {
    let told = Command::new("date").args(["-u", "-d", &format!("@{seconds}"), "+%FT%TZ"]).output();
    String::from_utf8(told.expect("date").stdout).expect("text").trim().to_owned()
}

/// The environment of an agent with eight fake GPUs and a wall clock as the file says. Without an
/// epoch the course begins when the agent loads the library, so a slow start costs no energy.
fn environment(site: &Site, course: Course, clock: &Path) -> Vec<(&'static str, String)> {
    let mut env = gpus::environment(site, &fakenvml::library_path(), course);
    env.retain(|(name, _)| *name != "BIJLI_FAKENVML_EPOCH_UTC_MS");
    env.extend([
        ("LD_PRELOAD", faketime::LIBRARY.to_owned()),
        ("FAKETIME_TIMESTAMP_FILE", clock.display().to_string()),
        ("FAKETIME_NO_CACHE", "1".to_owned()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
    ]);
    env
}

/// What a GPU used between two moments, by the closed books.
fn used(site: &Site, index: u64, from_s: u128) -> u128 {
    let path = format!("/v1/hubs/lahore/balance?from={}", utc(from_s));
    let balance = site.json(&path);
    assert_eq!(balance["imbalance_mj"], "0");
    let account = format!("gpu:{}", gpus::uuid(index));
    let accounts = balance["accounts"].as_array().expect("a list");
    let line = accounts.iter().find(|line| line["account"] == account.as_str());
    line.map_or(0, |line| millijoules(&line["debits_mj"]))
}

/// All of every GPU's energy is booked, in intervals that began at `from_s` or later.
fn is_booked_since(site: &Site, course: Course, from_s: u128) -> bool {
    (0..8).all(|index| {
        let found = used(site, index, from_s);
        assert!(found <= gpus::energy_mj(course, index), "GPU {index}: {found} mJ is too much");
        found == gpus::energy_mj(course, index)
    })
}

fn set_clock(file: &Path, text: &str) {
    // In one step: the agent reads it at any moment.
    let new = file.with_extension("new");
    std::fs::write(&new, text).expect("written");
    std::fs::rename(&new, file).expect("renamed");
}

/// Goal: K1, and K6 with it. A node whose battery is dead boots in 1970. Its certificate is not
/// valid yet by that clock, and every time it tells is 56 years off.
#[test]
fn k1_a_node_that_boots_in_1970_is_booked_when_it_used_its_energy() {
    let course = Course { still_s: 8, busy_s: 15 };
    let site = Site::start_tls(HUB);
    let clock = site.path("clock");
    set_clock(&clock, "@1970-01-01 00:10:00");
    let begin_s = harness::utc_ms() / 1_000 - 20;
    let agent = site.agent("lahore", "n01", ONLY_GPUS, &environment(&site, course, &clock));
    let found = harness::within(120, || is_booked_since(&site, course, begin_s).then_some(()));
    assert!(found.is_some(), "{}", agent.printed());
}

/// Goal: K2. The wall clock goes back an hour, then ahead a day, then right again, while GPUs draw
/// their power: nothing negative, nothing twice, nothing an hour ago, nothing refused for ever.
#[test]
fn k2_a_clock_that_is_set_back_and_ahead_costs_no_energy() {
    let course = Course { still_s: 8, busy_s: 40 };
    let site = Site::start_tls(HUB);
    let clock = site.path("clock");
    set_clock(&clock, "+0s");
    let begin_s = harness::utc_ms() / 1_000 - 20;
    let agent = site.agent("lahore", "n01", ONLY_GPUS, &environment(&site, course, &clock));
    eventually("a first batch", 30, || {
        site.json("/v1/hubs/lahore/nodes").to_string().contains("n01").then_some(())
    });
    for text in ["-3600s", "+86400s", "+0s"] {
        std::thread::sleep(Duration::from_secs(11));
        set_clock(&clock, text);
    }
    let found = harness::within(120, || is_booked_since(&site, course, begin_s).then_some(()));
    assert!(found.is_some(), "{}", agent.printed());
}
