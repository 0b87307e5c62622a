//! The simulated hub and what it says of itself: its books must equal its exact energies.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;

use crate::program::{Program, binary};
use crate::site::{Site, millijoules};

/// The collector's configuration of the hub that these arguments simulate.
///
/// # Panics
/// When there is no such hub.
#[must_use]
pub fn diagram(args: &[&str]) -> String {
    let mut command = Command::new(binary("bijli-agent"));
    command.arg("simulate").args(args).arg("--print-diagram");
    let out = command.output().expect("bijli-agent runs");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).expect("text")
}

/// Starts the simulated hub; it sends to the site's collector.
#[must_use]
pub fn simulate(site: &Site, args: &[&str]) -> Program {
    let port = site.tls.as_ref().map_or(site.port, |(port, _)| *port);
    simulate_through(site, port, args)
}

/// The same, through something that listens on another port.
#[must_use]
pub fn simulate_through(site: &Site, port: u16, args: &[&str]) -> Program {
    let mut command = Command::new(binary("bijli-agent"));
    command.arg("simulate");
    if site.tls.is_some() {
        command.arg("--collector").arg(format!("https://localhost:{port}"));
        command.arg("--allocations").arg(format!("http://127.0.0.1:{}", site.port));
        command.arg("--tls").arg(site.path("pki/nodes"));
    } else {
        command.arg("--collector").arg(format!("http://127.0.0.1:{port}"));
    }
    command.arg("--dir").arg(site.path("simulated"));
    command.arg("--truth").arg(site.path("truth.json"));
    command.args(args);
    Program::start(&mut command, &site.path("simulate.log"))
}

fn truth(site: &Site) -> Value {
    let text = std::fs::read_to_string(site.path("truth.json")).expect("the fleet wrote its truth");
    serde_json::from_str(&text).expect("JSON")
}

/// Registers and projects of the closed books against the fleet's exact totals. The fleet stops
/// for good, so everything it did lies in closed intervals soon after.
///
/// # Panics
/// When they are not equal within a minute.
pub fn assert_books_equal_truth(site: &Site) {
    let truth = truth(site);
    let registers = truth["subjects"].as_object().expect("energies by subject").clone();
    assert!(registers.len() > 20, "the truth lists every register");
    let mut wrong = Vec::new();
    let found = crate::within(60, || {
        let booked = booked(site);
        wrong = expected(&truth)
            .into_iter()
            .filter(|(account, energy)| booked.get(account).copied().unwrap_or(0) != *energy)
            .map(|(account, energy)| (booked.get(&account).copied(), account, energy))
            .collect();
        wrong.is_empty().then_some(())
    });
    let flows = site.json("/v1/hubs/sim-lahore/flows");
    let touches = |flow: &&Value| {
        wrong
            .iter()
            .any(|(_, account, _)| flow["debit"] == **account || flow["credit"] == **account)
    };
    let flows: Vec<&Value> =
        flows["flows"].as_array().expect("a list").iter().filter(touches).collect();
    assert!(found.is_some(), "booked, account, truth: {wrong:#?}\nof these flows: {flows:#?}");
}

/// What every account of the closed books took in, or gave if it only gives: entries and their
/// corrections summed.
fn booked(site: &Site) -> BTreeMap<String, u128> {
    assert_eq!(site.json("/v1/hubs/sim-lahore/balance")["imbalance_mj"], "0");
    let flows = site.json("/v1/hubs/sim-lahore/flows");
    let (mut taken, mut given) = (BTreeMap::new(), BTreeMap::new());
    for flow in flows["flows"].as_array().expect("a list") {
        let name = |side: &str| flow[side].as_str().expect("an account").to_owned();
        let energy = millijoules(&flow["energy_mj"]);
        if name("credit").starts_with("store:") {
            continue; // the battery's, not the UPS input's
        }
        *taken.entry(name("debit")).or_insert(0) += energy;
        *given.entry(name("credit")).or_insert(0) += energy;
    }
    for (account, energy) in given {
        taken.entry(account).or_insert(energy);
    }
    taken
}

/// What the fleet says, by the accounts in which the books must have it.
fn expected(truth: &Value) -> BTreeMap<String, u128> {
    let mut accounts = BTreeMap::new();
    for (subject, energy) in truth["subjects"].as_object().expect("energies by subject") {
        let account = match subject.rsplit('/').next().expect("a name") {
            "incomer" | "grid" => format!("grid:{}", point(subject)),
            "generator" => format!("generator:{}", point(subject)),
            _ if subject.starts_with("GPU-") => format!("gpu:{subject}"),
            // Inside a node's own register they are not booked again.
            name if name.starts_with("cpu") || name.starts_with("dram") => continue,
            _ if subject.contains('/') => format!("point:{}", point(subject)),
            _ => format!("node:{subject}"),
        };
        accounts.insert(account, millijoules(energy));
    }
    for (project, parts) in truth["projects"].as_object().expect("projects") {
        for part in ["gpu_active", "gpu_held_idle"] {
            let energy = millijoules(&parts[format!("{part}_mj")]);
            accounts.insert(format!("project:{project}/{part}"), energy);
        }
    }
    accounts.insert("idle:unallocated".to_owned(), millijoules(&truth["unallocated_idle_mj"]));
    accounts
}

/// A meter of the fleet is called after its point.
fn point(meter: &str) -> &str {
    meter.rsplit('/').next().expect("a name")
}
