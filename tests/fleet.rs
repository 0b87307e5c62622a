//! The simulated hub, through real spools, sockets and journals: the books equal its exact truth.

use std::process::Command;

use harness::program::binary;
use harness::site::Site;
use harness::truth::{assert_books_equal_truth, diagram, simulate};

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
