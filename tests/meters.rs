//! Real programs against third-party Modbus meters: what the API says is what the registers say.

use harness::eventually;
use harness::meters::Meters;
use harness::site::{Site, millijoules};
use serde_json::{Value, json};

const HUB: &str = r#"
[[hub]]
id = "lahore"
title = "Lahore"
pue_category = 1
[[hub.point]]
id = "incomer"
role = "grid"
meter = "lahore/incomer"
[[hub.point]]
id = "ups-in"
role = "ups_in"
[[hub.point]]
id = "ups-out"
role = "ups_out"
meter = "lahore/ups-out"
fed_by = "ups-in"
[[hub.meter]]
id = "lahore/incomer"
class = "0.5S"
standard = "IEC 62053-22:2020"
serial = "50 123 456"
[[hub.meter]]
id = "lahore/ups-out"
class = "1"
standard = "IEC 62053-21:2020"
[[hub.node]]
id = "gateway"
fed_by = "ups-out"
"#;

/// Goal: incomer (int64 Wh) and UPS output (float32 kWh) of a pymodbus server, read by the real
/// agent, which also reads this machine's own sensors; booked by the real collector. Energies
/// and PUE equal the registers to the millijoule.
#[test]
fn the_api_says_what_the_registers_say() {
    let site = Site::start_tls(HUB);
    let meters = Meters::start(&site.path(""), 12, 25);
    let settings = meters.settings("lahore");
    let agent = site.agent("lahore", "gateway", &settings, &[]);
    let (start, end) = (meters.at_start(), meters.at_end(90));
    let incomer = end.incomer - start.incomer;
    let ups_out = end.ups_out - start.ups_out;
    assert!(incomer > 0 && ups_out > 0, "the meters moved");

    // Everything that moved lies in closed intervals once these passed the end.
    let pue = eventually(
        &format!(
            "the meters' energy in the closed books\nagent: {}\ncollector: {}\npue: {}",
            agent.printed(),
            site.collector.printed(),
            site.json("/v1/hubs/lahore/pue")
        ),
        90,
        || {
            let answer = site.json("/v1/hubs/lahore/pue");
            let pue = answer.get("pue").filter(|pue| pue.is_object())?.clone();
            (millijoules(&pue["total_mj"]) == incomer).then_some(pue)
        },
    );
    assert_eq!(millijoules(&pue["it_mj"]), ups_out);
    let hundredths = (incomer * 100 + ups_out / 2) / ups_out;
    let value = format!(" = {}.{:02} ± ", hundredths / 100, hundredths % 100);
    assert!(pue["shown"].as_str().expect("words").contains(&value), "{value}: {pue}");
    assert_eq!(pue["category"], 1);
    // One meter on either side: u^2 is a third of the sum of the squares of their limits.
    let relative = ((0.005_f64.powi(2) + 0.01_f64.powi(2)) / 3.0).sqrt();
    let float = |millijoules: u128| millijoules.to_string().parse::<f64>().expect("a number");
    let expected = 2.0 * relative * float(incomer) / float(ups_out);
    let stated = pue["uncertainty"]["correlated"].as_str().expect("stated").parse::<f64>();
    let stated = stated.expect("a number");
    assert!((stated - expected).abs() < 2e-6, "{stated} {expected}");
    assert_eq!(pue["meters"][0]["serial"], "50 123 456");

    let balance = site.json("/v1/hubs/lahore/balance");
    assert_eq!(balance["imbalance_mj"], "0");
    let accounts = balance["accounts"].as_array().expect("a list").clone();
    let sum = |account: &str, side: &str| {
        let line = accounts.iter().find(|line| line["account"] == account);
        millijoules(&line.unwrap_or_else(|| panic!("no account {account}"))[side])
    };
    assert_eq!(sum("grid:incomer", "credits_mj"), incomer);
    assert_eq!(sum("point:ups-out", "debits_mj"), ups_out);

    // So does the command line, with kind, category, period and coverage before any number.
    let printed = asked(&site, "pue");
    assert!(printed.starts_with("iPUE1 ("), "{printed}");
    for amount in [incomer, ups_out] {
        assert!(printed.contains(&format!("  {amount}")), "{amount}\n{printed}");
    }
    let printed = asked(&site, "balance");
    assert!(printed.ends_with("\nbalanced to the millijoule\n"), "{printed}");
    let line = printed.lines().find(|line| line.starts_with("grid:incomer ")).expect("a row");
    assert!(line.contains(&format!(" {incomer} ")), "{line}");

    // This machine's own sensors came along.
    let node = site.json("/v1/hubs/lahore/nodes/gateway").to_string();
    assert!(node.contains("cpu_utilization"), "{node}");
}

/// What `bijli-collector COMMAND` prints of all that is closed.
fn asked(site: &Site, command: &str) -> String {
    let url = format!("http://127.0.0.1:{}", site.port);
    let hub = site.json("/v1/hubs/lahore");
    let from = hub["closed_from"].as_str().expect("a time");
    let program = std::process::Command::new(harness::program::binary("bijli-collector"))
        .args([command, "--hub", "lahore", "--from", from, "--url", &url])
        .output()
        .expect("it starts");
    let words = String::from_utf8(program.stderr).expect("UTF-8");
    assert!(program.status.success(), "{command}: {words}");
    String::from_utf8(program.stdout).expect("UTF-8")
}

/// Goal: one dead meter costs its own values only, and there is no PUE, with the reason.
#[test]
fn a_dead_meter_costs_itself_and_the_pue() {
    let site = Site::start_tls(HUB);
    let mut meters = Meters::start(&site.path(""), 1, 600);
    // The second meter is somewhere where nobody answers.
    let dead = harness::program::free_port();
    let settings = meters.settings("lahore");
    let (first, second) = settings.rsplit_once("[[modbus]]").expect("two meters");
    let second = second.replace(&meters.port.to_string(), &dead.to_string());
    let agent = site.agent("lahore", "gateway", &format!("{first}[[modbus]]{second}"), &[]);

    // The first interval lacks the beginning of both meters; later ones lack only one meter.
    eventually("no PUE, and words that name the meter", 60, || {
        let answer = site.json("/v1/hubs/lahore/pue");
        assert!(answer["pue"].is_null(), "{answer}");
        let why = answer["no_pue"]["message"].as_str()?.to_owned();
        why.contains("lahore/ups-out").then_some(())
    });
    let balance = site.json("/v1/hubs/lahore/balance").to_string();
    assert!(balance.contains("grid:incomer"), "the other meter is booked: {balance}");
    assert!(agent.printed().contains("lahore/ups-out"), "the agent says so: {}", agent.printed());
    meters.program.kill();
}

/// What the API says of a meter.
fn shown(site: &Site, subject: &str) -> Option<Value> {
    let answer = site.json("/v1/hubs/lahore/meters");
    let meters = answer["meters"].as_array().expect("a list");
    meters.iter().find(|meter| meter["subject"] == subject).cloned()
}

fn booked(site: &Site, subject: &str) -> u128 {
    let meter = shown(site, subject).filter(|meter| meter["register"].is_object());
    meter.map_or(0, |meter| millijoules(&meter["register"]["booked_mj"]))
}

/// Texts of one kind of event.
fn told(site: &Site, kind: &str) -> Vec<String> {
    let events = site.json("/v1/hubs/lahore/events");
    let of_kind = events["nodes"].as_array().expect("a list").iter();
    let text = |event: &Value| event["text"].as_str().expect("text").to_owned();
    of_kind.filter(|event| event["kind"] == kind).map(text).collect()
}

/// Goal: two meters by their profiles, nothing else said of them. Behind both the word order turns
/// while they count, each another way: it is told, and in the end the books say what the registers
/// say, to the millijoule.
#[test]
fn s9_a_word_order_that_turns_is_told_and_nothing_wrong_is_booked() {
    let site = Site::start_tls(HUB);
    let meters = Meters::start(&site.path(""), 14, 24);
    let kinds = [("incomer", 1, "schneider-iem3000"), ("ups-out", 2, "eastron-sdm630")];
    let settings = meters.by_profile("lahore", &kinds);
    let agent = site.agent("lahore", "gateway", &settings, &[]);
    let (incomer, ups_out) = ("lahore/incomer", "lahore/ups-out");
    eventually("both are counted", 40, || {
        (booked(&site, incomer) > 0 && booked(&site, ups_out) > 0).then_some(())
    });
    let meter = shown(&site, incomer).expect("a meter");
    assert_eq!(meter["model"], "Schneider iEM3000");
    assert!(told(&site, "meter_changed").is_empty(), "nothing has changed yet");

    meters.control(&json!({"order": {"1": "CDAB", "2": "DCBA"}}));
    let changed = eventually("both changes", 40, || {
        let changed = told(&site, "meter_changed");
        (changed.len() == 2).then_some(changed)
    });
    for order in ["CDAB", "DCBA"] {
        let words = format!("its word order was ABCD and is {order}");
        assert!(changed.iter().any(|text| text.starts_with(&words)), "{changed:?}");
    }

    let (start, end) = (meters.at_start(), meters.at_end(60));
    let wanted = (end.incomer - start.incomer, end.ups_out - start.ups_out);
    eventually(&format!("the registers' energy\nagent: {}", agent.printed()), 30, || {
        let now = (booked(&site, incomer), booked(&site, ups_out));
        assert!(now.0 <= wanted.0 && now.1 <= wanted.1, "{now:?} is more than {wanted:?}");
        (now == wanted).then_some(())
    });
    for subject in [incomer, ups_out] {
        let register = shown(&site, subject).expect("a meter")["register"].clone();
        assert_eq!((&register["implausible"], &register["resets"]), (&json!(0), &json!(0)));
    }
}

/// Goal: of eight meters behind one address one is silent and one answers with an exception; the
/// other six are read each second, and the two come back by themselves.
#[test]
fn one_dead_and_one_refusing_meter_of_eight_cost_only_themselves() {
    let site = Site::start_tls(HUB);
    let mut meters = Meters::start(&site.path(""), 1, 600);
    let names: Vec<String> = (2..=8).map(|unit| format!("pdu-{unit}")).collect();
    let mut kinds = vec![("incomer", 1, "schneider-pm5000")];
    kinds.extend((2..=8).zip(&names).map(|(unit, name)| (name.as_str(), unit, "eastron-sdm630")));
    // 4: the device has failed.
    meters.control(&json!({"silent": [3], "refuses": {"4": 4}}));
    let agent = site.agent("lahore", "gateway", &meters.by_profile("lahore", &kinds), &[]);
    let is_read = |name: &str| {
        let meter = shown(&site, &format!("lahore/{name}"))?;
        let readings = meter["readings"].as_array()?.clone();
        let is_volts = |one: &&Value| one["quantity"] == "voltage" && one["part"] == 1;
        let volts = readings.iter().find(is_volts)?["value"].as_str()?.to_owned();
        let is_fresh = meter["register"]["age_s"].as_u64()? < 10;
        is_fresh.then_some(volts)
    };
    let are_read = || kinds.iter().filter(|(name, ..)| is_read(name).is_some()).count();
    eventually("six meters", 40, || (are_read() == 6).then_some(()));
    assert_eq!(is_read("incomer").as_deref(), Some("230100"));
    assert_eq!(is_read("pdu-8").as_deref(), Some("229700"));
    for name in ["pdu-3", "pdu-4"] {
        assert_eq!(is_read(name), None, "{name} answers nothing");
        assert!(agent.printed().contains(name), "the agent says so: {}", agent.printed());
    }
    meters.control(&json!({}));
    eventually("all eight", 40, || (are_read() == 8).then_some(()));
    meters.program.kill();
}

/// Goal: another meter in the place of one that was known. Its serial number is told, its count is
/// not subtracted from the other's, and what was booked stays.
#[test]
fn s8_another_meter_is_told_and_the_counts_are_not_mixed() {
    let site = Site::start_tls(HUB);
    let mut meters = Meters::start(&site.path(""), 1, 3);
    let settings = meters.by_profile("lahore", &[("ups-out", 2, "eastron-sdm630")]);
    let settings = format!("{}\nserial_object = 128\n", settings.trim_end());
    let _agent = site.agent("lahore", "gateway", &settings, &[]);
    let ups_out = "lahore/ups-out";
    let register = |key: &str| shown(&site, ups_out).map(|meter| meter["register"][key].clone());
    let shown_last = json!(meters.at_end(30).ups_out.to_string());
    eventually("its count", 30, || (register("last_count")? == shown_last).then_some(()));
    assert_eq!(shown(&site, ups_out).expect("a meter")["serial"], "1024");

    meters.control(&json!({"silent": [2]}));
    eventually("its silence", 30, || register("age_s")?.as_u64().filter(|age| *age > 5));
    let before = booked(&site, ups_out);
    meters.control(&json!({"serial": "2048", "kwh": {"2": 5000.0}}));
    let told = eventually("another meter", 60, || told(&site, "meter_changed").pop());
    assert_eq!(told, "another meter answers: serial 1024 was, 2048 is");
    // 5,000 kWh in millijoules.
    eventually("its count", 30, || {
        (register("last_count")? == json!("18000000000000")).then_some(())
    });
    assert_eq!(shown(&site, ups_out).expect("a meter")["serial"], "2048");
    assert_eq!(booked(&site, ups_out), before, "5,000 kWh are not of this site");
    meters.program.kill();
}
