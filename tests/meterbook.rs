//! Readings that a person types, with the real collector, the real command line and, for a witness,
//! third-party Modbus meters.

use std::process::{Command, Output};

use harness::eventually;
use harness::meters::Meters;
use harness::program::binary;
use harness::site::{Site, millijoules};
use serde_json::Value;

/// A hub that has no agent at all yet.
const PAPER: &str = r#"
[[hub]]
id = "lahore"
pue_category = 2
[[hub.point]]
id = "incomer"
role = "grid"
meter = "lahore/incomer"
[[hub.point]]
id = "hall"
role = "pdu"
meter = "lahore/hall"
"#;

const KWH: u128 = 3_600_000_000;

/// The edge of the interval that is open now.
fn edge() -> i64 {
    i64::try_from(harness::utc_ms() / 10_000 * 10_000).expect("this age")
}

fn utc(at_ms: i64) -> String {
    bijli_collector::calendar::rfc3339(bijli_wire::UtcMillis::new(at_ms))
}

fn meterbook(site: &Site, words: &[&str]) -> Output {
    let url = format!("http://127.0.0.1:{}", site.port);
    let mut command = Command::new(binary("bijli-collector"));
    command.arg("meterbook").args(words).args(["--url", &url]);
    command.output().expect("it starts")
}

/// Writes a reading down; what is printed of it.
fn add(site: &Site, meter: &str, at_ms: i64, value: &str, more: &[&str]) -> Result<String, String> {
    let at = rfc3339(at_ms);
    let words = ["add", "--meter", meter, "--at", &at, "--value", value];
    let signed = ["--who", "A. Khan", "--why", "round of the day"];
    let output = meterbook(site, &[&words[..], &signed, more].concat());
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

/// With an offset of five hours, as in Pakistan.
fn rfc3339(at_ms: i64) -> String {
    let shifted = utc(at_ms + 5 * 3_600_000);
    format!("{}+05:00", shifted.trim_end_matches('Z'))
}

/// What one account gave, by the balance of all that is closed since a moment.
fn given(site: &Site, account: &str, from_ms: i64) -> u128 {
    let from = utc(from_ms);
    let balance = site.json(&format!("/v1/hubs/lahore/balance?from={from}"));
    assert_eq!(balance["imbalance_mj"], "0", "{balance}");
    let accounts = balance["accounts"].as_array().expect("a list");
    let line = accounts.iter().find(|line| line["account"] == account);
    line.map_or(0, |line| millijoules(&line["credits_mj"]) - millijoules(&line["debits_mj"]))
}

/// Goal: a hub on its first day, with pencil and paper: two meters, two rounds. The books have
/// exactly what the displays counted, the PUE is the ratio of the two, a typing error is put right
/// by an adjustment, and the leaves are those of a replay.
#[test]
fn a_hub_without_an_agent_is_booked_from_its_meter_book() {
    let mut site = Site::start(PAPER);
    let now = edge();
    let (first, second) = (now - 613_000, now - 7_000);
    let said = add(&site, "lahore/incomer", first, "123400.0 kWh", &[]).expect("taken");
    assert!(said.contains("kept: the first of its meter"), "{said}");
    add(&site, "lahore/hall", first, "0700.00 kWh", &["--factor", "40"]).expect("taken");
    let said = add(&site, "lahore/incomer", second, "123460.0 kWh", &[]).expect("taken");
    assert!(said.contains("60.000 kWh (216000000000 mJ)"), "{said}");
    assert!(said.contains("booked: exact in sum"), "{said}");
    add(&site, "lahore/hall", second, "0701.00 kWh", &["--factor", "40"]).expect("taken");
    eventually("both meters in the closed books", 90, || {
        let grid = given(&site, "grid:incomer", first - 10_000);
        (grid == 60 * KWH).then_some(())
    });
    let from = utc(first);
    let pue = site.json(&format!("/v1/hubs/lahore/pue?from={from}"))["pue"].clone();
    let (total, it) = (millijoules(&pue["total_mj"]), millijoules(&pue["it_mj"]));
    // Intervals that a reading cuts are not covered, and count for no PUE.
    assert!(total < 60 * KWH && total > 57 * KWH, "{pue}");
    assert!((total * 2).abs_diff(it * 3) <= 3 * 60, "60 to 40, cut to the millijoule: {pue}");

    let refused = add(&site, "lahore/incomer", now - 3_000, "123406.0 kWh", &[]).expect_err("back");
    for words in ["does not count back", "123460.0 kWh", "123406.0 kWh"] {
        assert!(refused.contains(words), "{refused}");
    }
    let said = add(&site, "lahore/incomer", second, "123450.0 kWh", &[]).expect("corrected");
    assert!(said.starts_with("replaced"), "{said}");
    eventually("the correction in the books", 90, || {
        (given(&site, "grid:incomer", first - 10_000) == 50 * KWH).then_some(())
    });
    // The meter is swapped; the new one has other transformers.
    let swap = ["--restart", "00002.0 kWh", "--restart-factor", "10"];
    add(&site, "lahore/incomer", now - 2_000, "123451.0 kWh", &swap).expect("a swap");
    let other = ["--factor", "10"];
    let said = add(&site, "lahore/incomer", now - 1_000, "00002.1 kWh", &other).expect("after");
    assert!(said.contains("1.000 kWh"), "{said}");
    let list = String::from_utf8(meterbook(&site, &["list"]).stdout).expect("UTF-8");
    assert!(list.contains("123451.0 kWh, then 00002.0 kWh x 10"), "{list}");

    let path = site.path("collector");
    let before = site.json("/v1/meterbook");
    let _status = site.collector.stop(30);
    let replay = Command::new(binary("bijli-collector"))
        .args(["replay", "--verify", "--dir"])
        .arg(path)
        .output()
        .expect("it starts");
    let said = String::from_utf8_lossy(&[replay.stdout, replay.stderr].concat()).into_owned();
    assert!(replay.status.success(), "{said}");
    assert_eq!(before["readings"].as_array().map(Vec::len), Some(6));
}

/// Goal: an agent reads the incomer; a person reads it too. Nothing is booked twice, the two agree
/// to the millijoule, and one who typed ten kWh too much is told.
#[test]
fn a_typed_reading_is_a_witness_where_an_agent_reads() {
    let site = Site::start_tls(&PAPER.replace("pue_category = 2", ""));
    let meters = Meters::start(&site.path(""), 45, 15);
    let settings = meters.settings("lahore");
    let agent = site.agent("lahore", "gateway", &settings, &[]);
    eventually(&format!("a reading of the incomer\n{}", agent.printed()), 30, || {
        let answer = site.json("/v1/hubs/lahore/meters");
        let incomer = answer["meters"]
            .as_array()?
            .iter()
            .find(|meter| meter["subject"] == "lahore/incomer" && meter["register"].is_object())?;
        incomer["register"]["last_reading"].as_str().map(|_| ())
    });
    // The next interval is covered from its begin; the meters still stand then.
    let first = edge() + 15_000;
    let (start, end) = (meters.at_start(), meters.at_end(120));
    let second = edge() + 15_000;
    let counted = end.incomer - start.incomer;
    let wh = |mj: u128| format!("{} Wh", mj / 3_600_000);
    add(&site, "lahore/incomer", first, &wh(start.incomer), &[]).expect("taken");
    add(&site, "lahore/incomer", second, &wh(end.incomer), &[]).expect("taken");
    let compared = |what: &str| -> Value {
        eventually(what, 90, || {
            let list = site.json("/v1/meterbook?meter=lahore/incomer");
            let last = list["readings"].as_array()?.last()?.clone();
            last["compared"].is_object().then_some(last)
        })
    };
    let last = compared("both compared, once their intervals are closed");
    assert_eq!(last["use"], "witness");
    assert_eq!(millijoules(&last["since"]["energy_mj"]), counted);
    assert_eq!(last["compared"]["difference_mj"], "0", "{last}");
    assert_eq!(last["compared"]["is_disputed"], false);
    assert_eq!(given(&site, "grid:incomer", first - 600_000), counted, "once, by the agent");

    add(&site, "lahore/incomer", second, &wh(end.incomer + 10 * KWH), &[]).expect("taken");
    let last = compared("compared again");
    assert_eq!(last["compared"]["difference"], "10.000 kWh", "{last}");
    assert_eq!(last["compared"]["is_disputed"], true);
    let events = site.json("/v1/events").to_string();
    assert!(events.contains("they are 10.000 kWh apart"), "{events}");
    assert_eq!(given(&site, "grid:incomer", first - 600_000), counted, "still once");
}

/// Goal: C8. A meter moves to another place of the diagram, in the configuration of a hub that
/// runs: what was posted stands byte for byte, the new place counts from the next interval on, and
/// both together have what the display counted.
#[test]
fn c8_a_meter_that_moves_in_the_diagram_keeps_its_energy_and_its_past() {
    let mut site = Site::start(PAPER);
    let first = edge() - 60_000;
    let hall = |site: &Site, at: i64, value: &str| {
        add(site, "lahore/hall", at, value, &[]).expect("taken");
    };
    hall(&site, first, "100.0 kWh");
    hall(&site, edge() - 10_000, "105.0 kWh");
    let taken = |site: &Site, account: &str| {
        let balance = site.json(&format!("/v1/hubs/lahore/balance?from={}", utc(first)));
        let accounts = balance["accounts"].as_array().expect("a list");
        let line = accounts.iter().find(|line| line["account"] == account);
        line.map_or(0, |line| millijoules(&line["debits_mj"]))
    };
    eventually("the first stretch", 90, || (taken(&site, "point:hall") == 5 * KWH).then_some(()));
    let entries = |site: &Site| -> Vec<Value> {
        let path = format!("/v1/hubs/lahore/entries?from={}&limit=10000", utc(first));
        site.json(&path)["entries"].as_array().expect("a list").clone()
    };
    let before = entries(&site);

    let _status = site.collector.stop(30);
    let config = site.path("collector.toml");
    let text = std::fs::read_to_string(&config).expect("written at the start");
    std::fs::write(&config, text.replace("id = \"hall\"", "id = \"hall-b\"")).expect("written");
    site.restart();
    // So long after the change that its interval has begun.
    let second = edge() + 30_000;
    eventually("that moment", 60, || (edge() >= second).then_some(()));
    hall(&site, second, "125.0 kWh");
    let (old, new) = eventually("the second stretch", 90, || {
        let both = (taken(&site, "point:hall"), taken(&site, "point:hall-b"));
        (both.0 + both.1 == 25 * KWH).then_some(both)
    });
    assert!(old > 5 * KWH && new > 0, "before the change {old}, after it {new}");
    let after = entries(&site);
    let is_there = |entry: &&Value| after.iter().any(|one| one["canonical"] == entry["canonical"]);
    assert_eq!(before.iter().filter(is_there).count(), before.len(), "what was posted stands");
    assert!(after.len() > before.len());
}
