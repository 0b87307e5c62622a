//! A thousand senders that come back together after an outage: real lines, spools and sockets.

use std::process::Command;

use harness::eventually;
use harness::program::{Program, binary};
use harness::site::Site;
use harness::truth::{assert_registers_equal_truth, diagram};

const HUB: [&str; 4] = ["--nodes", "1000", "--gpus", "1"];
/// Nodes, and the gateway of the meters.
const SENDERS: u64 = 1_001;
/// Of the collector at its largest: the books of 5,010 registers over sixty intervals take 200 MB
/// in a debug build. Were all batches under way at once, it would be as much again.
const MEMORY_KB_MAX: u64 = 300_000;

fn number(site: &Site, metric: &str) -> u64 {
    site.metric(metric).and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn batches(site: &Site, outcome: &str) -> u64 {
    number(site, &format!("bijli_collector_batches_total{{outcome=\"{outcome}\"}}"))
}

/// Jobs are told to another site, so that the hub lives on while its own collector is away.
fn hub(site: &Site, elsewhere: &Site) -> Program {
    let mut command = Command::new(binary("bijli-agent"));
    command.arg("simulate").args(HUB).args(["--history", "10m", "--for", "1s"]);
    command.arg("--collector").arg(format!("http://127.0.0.1:{}", site.port));
    command.arg("--allocations").arg(format!("http://127.0.0.1:{}", elsewhere.port));
    command.arg("--dir").arg(site.path("simulated"));
    command.arg("--truth").arg(site.path("truth.json"));
    Program::start(&mut command, &site.path("simulate.log"))
}

fn memory_kb(program: &Program) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", program.pid()));
    let status = status.expect("it runs");
    let line = status.lines().find(|line| line.starts_with("VmHWM")).expect("a line");
    line.split_ascii_whitespace().nth(1).and_then(|kb| kb.parse().ok()).expect("a number")
}

/// Goal: N4. Ten minutes of a thousand nodes wait in their spools when the collector is back. They
/// take turns: nobody is refused, nothing is sent twice, the collector stays small, and the books
/// have every millijoule of every register.
#[test]
fn n4_a_thousand_senders_that_return_together_take_turns() {
    let mut site = Site::start(&diagram(&HUB));
    let elsewhere = Site::start(&diagram(&HUB));
    site.collector.kill();
    let mut hub = hub(&site, &elsewhere);
    eventually("ten minutes in the spools", 120, || {
        hub.printed().contains("the present is reached").then_some(())
    });
    site.restart();
    assert_eq!(number(&site, "bijli_collector_replay_frames "), 2, "rules and a diagram so far");
    assert!(hub.wait(240).success(), "{}", hub.printed());
    let [accepted, duplicate, rejected] =
        ["accepted", "duplicate", "rejected"].map(|outcome| batches(&site, outcome));
    println!("{accepted} accepted, {duplicate} duplicate, {rejected} rejected");
    assert!(accepted > SENDERS * 9, "{accepted} batches came");
    assert!(rejected <= SENDERS, "{rejected} of {accepted} batches were refused");
    assert!(duplicate <= SENDERS, "{duplicate} of {accepted} batches were sent again");
    let memory = memory_kb(&site.collector);
    println!("{memory} kB at its largest");
    assert!(memory < MEMORY_KB_MAX, "{memory} kB");
    assert_registers_equal_truth(&site);
}
