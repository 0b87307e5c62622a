//! The simulated hub, through real spools, sockets and journals: the books equal its exact truth.

use std::process::Command;

use harness::eventually;
use harness::program::{Program, binary};
use harness::site::{Site, millijoules};
use serde_json::Value;

fn diagram(folder_args: &[&str]) -> String {
    let mut command = Command::new(binary("bijli-agent"));
    command.arg("simulate").args(folder_args).arg("--print-diagram");
    let out = command.output().expect("bijli-agent runs");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).expect("text")
}

fn simulate(site: &Site, args: &[&str]) -> Program {
    let mut command = Command::new(binary("bijli-agent"));
    command.arg("simulate");
    command.arg("--collector").arg(format!("http://127.0.0.1:{}", site.port));
    command.arg("--dir").arg(site.path("simulated"));
    command.arg("--truth").arg(site.path("truth.json"));
    command.args(args);
    Program::start(&mut command, &site.path("simulate.log"))
}

fn truth(site: &Site) -> Value {
    let text = std::fs::read_to_string(site.path("truth.json")).expect("the fleet wrote its truth");
    serde_json::from_str(&text).expect("JSON")
}

/// What the open interval holds is not in the balance: the fleet stands still before it stops,
/// but only in time, so the comparison is register by register over what is closed.
fn assert_books_equal_truth(site: &Site) {
    let truth = truth(site);
    let subjects = truth["subjects"].as_object().expect("energies by subject").clone();
    assert!(subjects.len() > 20, "the truth lists every register");
    eventually("every register booked to its last millijoule", 60, || {
        let devices = site.json("/v1/hubs/sim-lahore/devices");
        let meters = site.json("/v1/hubs/sim-lahore/meters");
        let lists = [devices["devices"].as_array(), meters["meters"].as_array()];
        let booked = |id: &str| {
            let mut lines = lists.iter().flatten().copied().flatten();
            let line = lines.find(|line| line["id"] == id)?;
            Some(millijoules(&line["booked_mj"]))
        };
        let all = subjects.iter().all(|(id, energy)| booked(id) == Some(millijoules(energy)));
        all.then_some(())
    });
    let balance = site.json("/v1/hubs/sim-lahore/balance");
    assert_eq!(balance["imbalance_mj"], "0");
}

/// Goal: half an hour of history and some live seconds of a hub; every register, to the millijoule.
#[test]
fn the_books_equal_the_fleets_own_totals() {
    let size = ["--nodes", "4", "--gpus", "4"];
    let site = Site::start(&diagram(&size));
    let args =
        [&size[..], &["--history", "30m", "--for", "15s", "--shedding-every", "4m"]].concat();
    let mut fleet = simulate(&site, &args);
    assert!(fleet.wait(180).success(), "{}", fleet.printed());
    assert_books_equal_truth(&site);
}

/// Goal: kill -9 of the collector in mid-stream, 20 times. Nothing acknowledged is lost and nothing
/// is booked twice: after it all the books equal the fleet's own totals.
#[test]
fn twenty_kills_of_the_collector_lose_nothing() {
    let size = ["--nodes", "4", "--gpus", "4"];
    let mut site = Site::start(&diagram(&size));
    let args = [&size[..], &["--history", "1h", "--for", "50s", "--shedding-every", "4m"]].concat();
    let mut fleet = simulate(&site, &args);
    for kill in 0..20_u64 {
        std::thread::sleep(std::time::Duration::from_millis(200 + 83 * kill));
        site.collector.kill();
        site.restart();
    }
    assert!(fleet.wait(240).success(), "{}", fleet.printed());
    assert_books_equal_truth(&site);
    site.collector.stop(20);
    let replayed = || {
        let out = Command::new(binary("bijli-collector"))
            .args(["replay", "--json", "--config"])
            .arg(site.path("collector.toml"))
            .output()
            .expect("runs");
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        out.stdout
    };
    assert_eq!(replayed(), replayed(), "a replay gives identical books");
}
