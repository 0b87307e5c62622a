//! The simulated hub, through real spools, sockets and journals: the books equal its exact truth.

use std::process::Command;

use harness::program::binary;
use harness::site::Site;
use harness::truth::{assert_books_equal_truth, diagram, simulate};

/// Certificates for all senders, new or renewed.
fn certify(site: &Site, size: &[&str]) -> usize {
    let mut command = Command::new(binary("bijli-agent"));
    let out = command.arg("simulate").args(size).arg("--print-senders").output().expect("it runs");
    let names = String::from_utf8(out.stdout).expect("text");
    let (_, pki) = site.tls.as_ref().expect("a site with TLS");
    let folders = names.lines().map(|node| pki.node("sim-lahore", node));
    folders.collect::<Vec<_>>().len()
}

/// Goal: half an hour of history and some live seconds of a hub; every register, to the millijoule.
#[test]
fn the_books_equal_the_fleets_own_totals() {
    let size = ["--nodes", "4", "--gpus", "4"];
    let site = Site::start_tls(&diagram(&size));
    certify(&site, &size);
    let args =
        [&size[..], &["--history", "30m", "--for", "15s", "--shedding-every", "4m"]].concat();
    let mut fleet = simulate(&site, &args);
    assert!(fleet.wait(180).success(), "{}", fleet.printed());
    assert_books_equal_truth(&site);
}

/// Goal: every certificate of both sides is replaced five times while data flows, new keys for the
/// collector too; nothing is lost, nothing booked twice, nobody restarts.
#[test]
fn n9_certificates_rotate_on_both_sides_and_the_books_equal_the_truth() {
    let size = ["--nodes", "4", "--gpus", "4"];
    let site = Site::start_tls(&diagram(&size));
    let senders = certify(&site, &size);
    let args = [&size[..], &["--history", "10m", "--for", "45s"]].concat();
    let mut fleet = simulate(&site, &args);
    let (_, pki) = site.tls.as_ref().expect("with TLS");
    for round in 0..5 {
        std::thread::sleep(std::time::Duration::from_millis(6_000));
        if round % 2 == 0 {
            std::fs::remove_file(site.path("pki/collector/key.pem")).expect("an old key");
        }
        pki.server("sim-lahore", &["127.0.0.1", "localhost"], "collector");
        certify(&site, &size);
    }
    assert!(fleet.wait(240).success(), "{}", fleet.printed());
    assert_books_equal_truth(&site);
    let accepted = site.metric("bijli_collector_handshakes_total{outcome=\"accepted\"}");
    let accepted: usize = accepted.expect("a count").parse().expect("a number");
    assert!(accepted >= 6 * senders, "{accepted} connections of {senders} senders");
    assert!(site.collector.printed().matches("the new certificate is in force").count() >= 5);
    assert_eq!(site.metric("bijli_collector_batches_total{outcome=\"rejected\"}"), None);
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
