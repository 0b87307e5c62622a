//! Real programs against third-party Modbus meters: what the API says is what the registers say.

use harness::eventually;
use harness::meters::Meters;
use harness::site::{Site, millijoules};

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
    let thousandths = (incomer * 1_000 + ups_out / 2) / ups_out;
    let ratio = format!("{}.{:03}", thousandths / 1_000, thousandths % 1_000);
    assert_eq!(pue["ratio"], ratio.as_str());
    assert_eq!(pue["category"], 1);

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
