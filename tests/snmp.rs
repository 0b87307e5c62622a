//! Real programs against third-party SNMP agents: what the API says is what net-snmp's own snmpget
//! reads.

use std::path::Path;
use std::process::Command;

use harness::eventually;
use harness::program::{binary, free_port};
use harness::site::{Site, millijoules};
use harness::snmp::{Snmpd, Snmpsim, community_settings, rpdu2, user_settings};
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
meter = "lahore/ups"
fed_by = "ups-in"
[[hub.node]]
id = "gateway"
fed_by = "ups-out"
"#;

const ENERGY: &str = "1.3.6.1.4.1.318.1.1.26.4.3.1.9.1";
const POWER: &str = "1.3.6.1.4.1.318.1.1.26.4.3.1.5.1";
/// A tenth of a kWh.
const COUNT_MJ: u128 = 360_000_000;

/// `[[snmp]]`: where, as whom, what it is, and its meters as `{ ... }`.
fn device(port: u16, who: &str, profile: &str, meters: &str) -> String {
    format!(
        "[[snmp]]\naddress = \"127.0.0.1:{port}\"\nprofile = \"{profile}\"\n{who}every = \"1s\"\n\
         meters = [{meters}]\n\n"
    )
}

fn meter(name: &str) -> String {
    format!("{{ meter = \"lahore/{name}\", power_max = \"2 MW\" }}")
}

fn settings(devices: &str) -> String {
    format!(
        "[nvml]\nenabled = false\n[rapl]\nenabled = false\n[host]\nenabled = false\n\n{devices}"
    )
}

/// What the API says of a meter.
fn shown(site: &Site, name: &str) -> Option<Value> {
    let answer = site.json("/v1/hubs/lahore/meters");
    let meters = answer["meters"].as_array().expect("a list");
    meters.iter().find(|meter| meter["subject"] == format!("lahore/{name}")).cloned()
}

/// One reading, lately.
fn reading(site: &Site, name: &str, quantity: &str, part: u32) -> Option<i64> {
    let meter = shown(site, name)?;
    let readings = meter["readings"].as_array()?;
    let is_it = |one: &&Value| one["quantity"] == quantity && one["part"] == part;
    readings.iter().find(is_it)?["value"].as_str()?.parse().ok()
}

fn booked(site: &Site, name: &str) -> u128 {
    let meter = shown(site, name).filter(|meter| meter["register"].is_object());
    meter.map_or(0, |meter| millijoules(&meter["register"]["booked_mj"]))
}

fn last_count(site: &Site, name: &str) -> Option<i64> {
    shown(site, name)?["register"]["last_count"].as_str()?.parse().ok()
}

/// Texts of one kind of event.
fn told(site: &Site, kind: &str) -> Vec<String> {
    let events = site.json("/v1/hubs/lahore/events");
    let of_kind = events["nodes"].as_array().expect("a list").iter();
    let text = |event: &Value| event["text"].as_str().expect("text").to_owned();
    of_kind.filter(|event| event["kind"] == kind).map(text).collect()
}

/// Goal: version 3 with SHA-256 and AES-128 against net-snmp's own agent; the count that moves is
/// booked to the millijoule, the rest of the readings are what snmpget reads.
#[test]
fn a_rack_pdu_by_version_3_is_booked_as_snmpget_reads_it() {
    let site = Site::start_tls(HUB);
    let pdu = Snmpd::start(&site.path(""), &rpdu2(845_213, 982, "ZA1"));
    let who = user_settings(&site.path(""), harness::snmp::AUTH_PASSWORD);
    let meters = format!(
        "{}, {{ meter = \"lahore/phase\", at = \"phase\", index = \"1\", power_max = \"9 kW\" }}",
        meter("pdu")
    );
    let agent = site.agent(
        "lahore",
        "gateway",
        &settings(&device(pdu.port, &who, "apc-rpdu2", &meters)),
        &[],
    );
    let why = || format!("agent: {}", agent.printed());
    eventually(&format!("its count\n{}", why()), 60, || {
        (last_count(&site, "pdu")? == pdu.number(ENERGY)).then_some(())
    });
    for (name, quantity, oid, factor) in [
        ("pdu", "power_instant", POWER, 10_000),
        ("pdu", "power_factor", "1.3.6.1.4.1.318.1.1.26.4.3.1.17.1", 10_000),
        ("phase", "power_instant", "1.3.6.1.4.1.318.1.1.26.6.3.1.7.1", 10_000),
        ("phase", "voltage", "1.3.6.1.4.1.318.1.1.26.6.3.1.6.1", 1_000),
        ("phase", "current", "1.3.6.1.4.1.318.1.1.26.6.3.1.5.1", 100),
    ] {
        let expected = pdu.number(oid) * factor;
        eventually(&format!("{quantity} of {name}\n{}", why()), 30, || {
            (reading(&site, name, quantity, 0)? == expected).then_some(())
        });
    }
    let is = shown(&site, "pdu").expect("a meter");
    assert_eq!((&is["serial"], &is["model"]), (&json!("ZA1"), &json!("APC rPDU2")));

    let before = booked(&site, "pdu");
    for step in 1..=3 {
        pdu.show(&rpdu2(845_213 + step, 982, "ZA1"));
        eventually(&format!("count {step}\n{}", why()), 30, || {
            (last_count(&site, "pdu")? == pdu.number(ENERGY)).then_some(())
        });
    }
    eventually(&format!("three tenths of a kWh\n{}", why()), 30, || {
        (booked(&site, "pdu") == before + 3 * COUNT_MJ).then_some(())
    });
    // The phase has no count: its power is integrated, and moves although nobody counts.
    eventually(&format!("the phase's energy\n{}", why()), 30, || {
        (booked(&site, "phase") > 0).then_some(())
    });
    assert!(told(&site, "meter_changed").is_empty(), "nothing changed");
    assert!(told(&site, "meter_reset").is_empty(), "nobody set it back");
}

/// Goal: a recorded UPS and four written ones of snmpsim, each by its own MIB: every value equals
/// what snmpget reads; a sensor that does not work, and lines without power, are no zero.
#[test]
fn recorded_and_simulated_devices_are_read_as_snmpget_reads_them() {
    let site = Site::start_tls(HUB);
    let sim = Snmpsim::start(&site.path(""));
    let who = |community: &str| community_settings(&site.path(""), community);
    let inlet_and_outlet = format!(
        "{}, {{ meter = \"lahore/outlet\", at = \"outlet\", index = \"1.4\", power_max = \"3 kW\" }}",
        meter("inlet")
    );
    let sensor = |name: &str, index: u32| {
        format!("{{ meter = \"lahore/{name}\", index = \"{index}\", power_max = \"9 kW\" }}")
    };
    let sensors = [sensor("watts", 1001), sensor("celsius", 1002), sensor("broken", 1003)];
    let devices = [
        device(sim.port, &who("eaton9px"), "eaton-ups", &meter("eaton")),
        device(sim.port, &who("raritanpdu2"), "raritan-pdu2", &inlet_and_outlet),
        device(sim.port, &who("upsmib"), "ups-mib", &meter("ups")),
        device(sim.port, &who("entity"), "entity-sensor", &sensors.join(", ")),
    ];
    let agent = site.agent("lahore", "gateway", &settings(&devices.concat()), &[]);
    let xups = "1.3.6.1.4.1.534.1";
    let pdu2 = "1.3.6.1.4.1.13742.6.5";
    let ups = "1.3.6.1.2.1.33.1";
    let sensors = "1.3.6.1.2.1.99.1.1.1.4";
    // Meter, quantity, part; community, object; of the catalogue's unit in one.
    for (name, quantity, part, community, oid, factor) in [
        ("eaton", "power_instant", 0, "eaton9px", format!("{xups}.4.4.1.4.1"), 1_000),
        ("eaton", "voltage", 1, "eaton9px", format!("{xups}.4.4.1.2.1"), 1_000),
        ("eaton", "frequency", 0, "eaton9px", format!("{xups}.4.2.0"), 100),
        ("eaton", "battery_charge", 0, "eaton9px", format!("{xups}.2.4.0"), 10_000),
        ("eaton", "battery_time_left", 0, "eaton9px", format!("{xups}.2.1.0"), 1),
        ("inlet", "power_instant", 0, "raritanpdu2", format!("{pdu2}.2.3.1.4.1.1.5"), 1_000),
        // Three digits behind the point, and none at the energy.
        ("inlet", "current", 0, "raritanpdu2", format!("{pdu2}.2.3.1.4.1.1.1"), 1),
        ("inlet", "energy_register", 0, "raritanpdu2", format!("{pdu2}.2.3.1.4.1.1.8"), 1),
        ("outlet", "power_instant", 0, "raritanpdu2", format!("{pdu2}.4.3.1.4.1.4.5"), 100),
        ("outlet", "energy_register", 0, "raritanpdu2", format!("{pdu2}.4.3.1.4.1.4.8"), 1),
        ("ups", "power_instant", 2, "upsmib", format!("{ups}.4.4.1.4.2"), 1_000),
        ("ups", "current", 1, "upsmib", format!("{ups}.4.4.1.3.1"), 100),
        ("ups", "battery_charge", 0, "upsmib", format!("{ups}.2.4.0"), 10_000),
        ("ups", "seconds_on_battery", 0, "upsmib", format!("{ups}.2.2.0"), 1),
        ("ups", "battery_time_left", 0, "upsmib", format!("{ups}.2.3.0"), 60),
        ("watts", "power_instant", 0, "entity", format!("{sensors}.1001"), 100),
        ("celsius", "temperature", 0, "entity", format!("{sensors}.1002"), 100),
    ] {
        let expected = sim.number(community, &oid) * factor;
        eventually(&format!("{quantity} {part} of {name}\n{}", agent.printed()), 60, || {
            (reading(&site, name, quantity, part)? == expected).then_some(())
        });
    }
    // xupsOutputSource is normal(3), upsOutputSource is battery(5).
    assert_eq!(reading(&site, "eaton", "on_battery", 0), Some(0));
    assert_eq!(reading(&site, "ups", "on_battery", 0), Some(1));
    let lines = [1, 2, 3].map(|line| sim.number("upsmib", &format!("{ups}.4.4.1.4.{line}")));
    let whole = lines.iter().sum::<i64>() * 1_000;
    assert_eq!(reading(&site, "ups", "power_instant", 0), Some(whole));
    // Raritan says that its voltage sensor does not measure, the switch that one does not work.
    assert_eq!(reading(&site, "inlet", "voltage", 0), None);
    assert_eq!(reading(&site, "broken", "power_instant", 0), None);
    let printed = agent.printed();
    assert!(printed.contains("measurementsInletSensorIsAvailable is 2"), "{printed}");
    assert!(printed.contains("entPhySensorOperStatus is 2"), "{printed}");
    eventually("integrated energy of both UPSs", 30, || {
        (booked(&site, "ups") > 0 && booked(&site, "eaton") > 0).then_some(())
    });
    assert_eq!(shown(&site, "inlet").expect("a meter")["serial"], "QFG7100123");
}

/// Goal: somebody sets the energy meter of a PDU back. It is told, the count begins anew, what was
/// booked stays, and what it shows then is booked from zero: nothing negative, nothing invented.
#[test]
fn s8_a_count_that_was_set_back_is_told_and_begins_anew() {
    let site = Site::start_tls(HUB);
    let pdu = Snmpd::start(&site.path(""), &rpdu2(845_213, 982, "ZA1"));
    let who = user_settings(&site.path(""), harness::snmp::AUTH_PASSWORD);
    let device = device(pdu.port, &who, "apc-rpdu2", &meter("pdu"));
    let agent = site.agent("lahore", "gateway", &settings(&device), &[]);
    let follow = |count: i64| {
        pdu.show(&rpdu2(count, 982, "ZA1"));
        eventually(&format!("count {count}\nagent: {}", agent.printed()), 60, || {
            (last_count(&site, "pdu")? == count).then_some(())
        });
    };
    follow(845_213);
    follow(845_214);
    follow(0);
    let told = eventually("the event", 30, || told(&site, "meter_reset").pop());
    assert_eq!(told, "its energy was set back: 845214 was, 0 is");
    let after = eventually("the ledger's word", 30, || {
        let register = shown(&site, "pdu")?["register"].clone();
        (register["resets"] == json!(1)).then(|| booked(&site, "pdu"))
    });
    // One tenth of a kWh before; the blind second is at most what was drawn until then.
    assert!((COUNT_MJ..3 * COUNT_MJ).contains(&after), "{after} mJ");
    follow(1);
    follow(2);
    eventually("two more tenths of a kWh", 30, || {
        (booked(&site, "pdu") == after + 2 * COUNT_MJ).then_some(())
    });
    let register = shown(&site, "pdu").expect("a meter")["register"].clone();
    assert_eq!((&register["resets"], &register["implausible"]), (&json!(1), &json!(0)));
}

/// Goal: of four devices of one gateway one has another password, one nobody answers for, and one
/// refuses its community in silence; each says so in words, and the fourth is read each second.
#[test]
fn a_wrong_password_and_a_dead_device_cost_only_themselves() {
    let site = Site::start_tls(HUB);
    let pdu = Snmpd::start(&site.path(""), &rpdu2(845_213, 982, "ZA1"));
    let good = user_settings(&site.path(""), harness::snmp::AUTH_PASSWORD);
    let wrong = user_settings(&site.path(""), "not-the-password");
    let silent = community_settings(&site.path(""), "not-the-community");
    let dead = free_port();
    let devices = [
        device(pdu.port, &wrong, "apc-rpdu2", &meter("wrong")),
        device(dead, &good, "apc-rpdu2", &meter("dead")),
        device(pdu.port, &silent, "apc-rpdu2", &meter("silent")),
        device(pdu.port, &good, "apc-rpdu2", &meter("pdu")),
    ];
    let agent = site.agent("lahore", "gateway", &settings(&devices.concat()), &[]);
    let is_fresh = |name: &str| {
        let age = shown(&site, name)?["register"]["age_s"].as_u64()?;
        (age < 10).then_some(())
    };
    eventually(&format!("the fourth\nagent: {}", agent.printed()), 60, || is_fresh("pdu"));
    for words in [
        "lahore/wrong at 127.0.0.1",
        "it refuses: wrong authentication password",
        "lahore/dead at 127.0.0.1",
        "lahore/silent at 127.0.0.1",
        "a wrong community looks the same",
    ] {
        eventually(&format!("{words}\nagent: {}", agent.printed()), 30, || {
            agent.printed().contains(words).then_some(())
        });
    }
    for name in ["wrong", "dead", "silent"] {
        assert!(shown(&site, name).is_none(), "{name} measures nothing");
    }
    // The library's own log would repeat each failure as an error.
    assert!(!agent.printed().contains("get_many"), "{}", agent.printed());
    // No secret is printed.
    for secret in ["not-the-password\"", harness::snmp::PRIVACY_PASSWORD] {
        let printed = agent.printed();
        assert!(!printed.contains(secret), "{printed}");
    }
    pdu.show(&rpdu2(845_214, 982, "ZA1"));
    eventually("it is read on", 30, || (last_count(&site, "pdu")? == 845_214).then_some(()));
}

/// Goal: the device restarts (its engine's boots count one more, its clock begins at zero): it is
/// read on, nothing is lost of its count. Then another one answers at its address: told.
#[test]
fn s8_a_restarted_device_is_read_on_and_another_one_is_told() {
    let site = Site::start_tls(HUB);
    let mut pdu = Snmpd::start(&site.path(""), &rpdu2(845_213, 982, "ZA1"));
    let who = user_settings(&site.path(""), harness::snmp::AUTH_PASSWORD);
    let device = device(pdu.port, &who, "apc-rpdu2", &meter("pdu"));
    let agent = site.agent("lahore", "gateway", &settings(&device), &[]);
    let read_count = |count: i64| {
        eventually(&format!("count {count}\nagent: {}", agent.printed()), 90, || {
            (last_count(&site, "pdu")? == count).then_some(())
        });
    };
    read_count(845_213);
    let before = booked(&site, "pdu");
    pdu.show(&rpdu2(845_215, 982, "ZA1"));
    pdu.restart();
    read_count(845_215);
    eventually("what was counted meanwhile", 30, || {
        (booked(&site, "pdu") == before + 2 * COUNT_MJ).then_some(())
    });
    assert!(told(&site, "meter_changed").is_empty(), "it is the same");

    // As if it had been exchanged while it was away.
    pdu.program.stop(30);
    eventually("its silence", 30, || agent.printed().contains("waiting ").then_some(()));
    pdu.show(&rpdu2(12, 982, "ZA2"));
    pdu.restart();
    let words = eventually(&format!("another device\nagent: {}", agent.printed()), 90, || {
        told(&site, "meter_changed").pop()
    });
    assert_eq!(words, "another device answers: serial: ZA1 was, ZA2 is");
    read_count(12);
    assert_eq!(shown(&site, "pdu").expect("a meter")["serial"], "ZA2");
    assert!(told(&site, "meter_reset").is_empty(), "nobody set anything back");
}

/// A Raritan inlet that shows `value` with `decimals` digits behind the point.
fn inlet(value: i64, decimals: i64) -> Value {
    let measured = "1.3.6.1.4.1.13742.6.5.2.3.1";
    let configured = "1.3.6.1.4.1.13742.6.3.3.4.1";
    json!({
        format!("{configured}.6.1.1.8"): ["integer", 5],
        format!("{configured}.7.1.1.8"): ["gauge", decimals],
        format!("{measured}.2.1.1.8"): ["integer", 1],
        format!("{measured}.4.1.1.8"): ["gauge", value],
    })
}

/// Goal: a firmware moves the point of the energy while it counts. It is told; no energy is made of
/// it, and what is counted after that is booked in the new scale.
#[test]
fn s9_a_point_that_moves_is_told_and_makes_no_energy() {
    let site = Site::start_tls(HUB);
    let pdu = Snmpd::start(&site.path(""), &inlet(84_521_300, 0));
    let who = user_settings(&site.path(""), harness::snmp::AUTH_PASSWORD);
    let device = device(pdu.port, &who, "raritan-pdu2", &meter("inlet"));
    let agent = site.agent("lahore", "gateway", &settings(&device), &[]);
    let follow = |value: i64, decimals: i64| {
        pdu.show(&inlet(value, decimals));
        eventually(&format!("count {value}\nagent: {}", agent.printed()), 60, || {
            (last_count(&site, "inlet")? == value).then_some(())
        });
    };
    follow(84_521_300, 0);
    follow(84_521_310, 0);
    eventually("ten Wh", 30, || (booked(&site, "inlet") == 36_000_000).then_some(()));
    follow(845_213_100, 1);
    let told = eventually("the event", 30, || told(&site, "meter_changed").pop());
    assert!(
        told.starts_with("a count of its energy was worth 3600000/1 mJ and is 360000/1"),
        "{told}"
    );
    assert_eq!(booked(&site, "inlet"), 36_000_000, "the step is no energy");
    follow(845_213_150, 1);
    eventually("five Wh more", 30, || (booked(&site, "inlet") == 54_000_000).then_some(()));
}

/// What `bijli-agent check` prints for `devices`.
fn check(folder: &Path, devices: &str) -> String {
    let config = folder.join("check.toml");
    let spool = folder.join("check.spool");
    let text = format!(
        "hub = \"lahore\"\nnode = \"gateway\"\n{}[spool]\ndir = \"{}\"\n",
        settings(devices),
        spool.display()
    );
    std::fs::write(&config, text).expect("written");
    let program = Command::new(binary("bijli-agent"))
        .args(["check", "--config"])
        .arg(&config)
        .output()
        .expect("it starts");
    // Broken lines are joined, so that words are found wherever they were broken.
    let printed = String::from_utf8(program.stdout).expect("UTF-8");
    printed.split_whitespace().collect::<Vec<&str>>().join(" ")
}

/// Goal: whoever sets up a device learns from `check` what is read, how, what is missing and why.
#[test]
fn check_explains_what_a_device_offers_and_what_it_refuses() {
    let folder = tempfile::tempdir().expect("a folder");
    let pdu = Snmpd::start(folder.path(), &rpdu2(845_213, 982, "ZA1"));
    let good = user_settings(folder.path(), harness::snmp::AUTH_PASSWORD);
    let wrong = user_settings(folder.path(), "not-the-password");
    let outlet = "{ meter = \"lahore/o\", at = \"outlet\", index = \"1\", power_max = \"9 kW\" }";
    let meters = format!("{}, {outlet}", meter("pdu"));
    let devices = [
        device(pdu.port, &good, "apc-rpdu2", &meters),
        device(pdu.port, &wrong, "apc-rpdu2", &meter("wrong")),
    ];
    let printed = check(folder.path(), &devices.concat());
    for words in [
        "profile apc-rpdu2, SNMP version 3: 2 meters",
        "a PDU of the tests, sysObjectID 1.3.6.1.4.1.8072.3.2.10, firmware v6.8.2, serial ZA1",
        "rPDU2DeviceStatusEnergy; anybody at the device can set it back, which is told",
        "rPDU2OutletMeteredStatusCurrent: the device has no such object",
        "it refuses: wrong authentication password",
        // The files of this test are readable by all.
        "chmod 600",
    ] {
        assert!(printed.contains(words), "{words:?} is not in {printed}");
    }
}
