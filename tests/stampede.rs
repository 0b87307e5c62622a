//! Agents that come back together after an outage, each with a backlog: in virtual time, and a
//! thousand over real connections to the real collector.

#[path = "stampede/sender.rs"]
mod sender;
#[path = "stampede/turns.rs"]
mod turns;

use std::collections::BTreeMap;
use std::time::Duration;

use bijli_collector::ingest::credits;
use bijli_wire::hello::CREDITS_MAX;
use harness::http::ask;
use harness::site::{Site, millijoules};
use harness::{now, within};

use sender::{BACKLOG, STEP_MJ, drain_all};

const SENDERS: u64 = 1_000;
/// Of the collector, in a debug build too; 75 MB were measured.
const MEMORY_KB_MAX: u64 = 200_000;

/// Millijoules of each GPU in the closed books.
fn booked(site: &Site) -> Option<BTreeMap<String, u128>> {
    let flows = ask("GET", site.port, "/v1/hubs/isb/flows", b"")?.json();
    let mut energies = BTreeMap::new();
    for flow in flows["flows"].as_array()? {
        if let Some(gpu) = flow["debit"].as_str()?.strip_prefix("gpu:") {
            *energies.entry(gpu.to_owned()).or_insert(0) += millijoules(&flow["energy_mj"]);
        }
    }
    Some(energies)
}

/// As many as could be under way if every greeting were answered before the first ack.
fn under_way_max() -> u64 {
    let total = u64::from(credits::TOTAL);
    (1..=SENDERS).map(|behind| (total / behind).clamp(1, u64::from(CREDITS_MAX))).sum()
}

/// Goal: N4. A thousand senders with two dozen batches each begin in the same moment. They keep to
/// their credits, few are refused, nothing is lost or booked twice, and the collector stays small.
#[test]
fn n4_a_thousand_senders_that_return_together_take_turns() {
    let mut site = Site::begin("15m", "[[hub]]\nid = \"isb\"\n", false);
    let begun = now();
    let tally = drain_all(SENDERS, site.port);
    println!("drained in {} ms: {tally:?}", begun.elapsed().as_millis());
    assert!(tally.peak.get() <= under_way_max(), "{tally:?}, {} at most", under_way_max());
    assert!(tally.refused.get() <= SENDERS, "{tally:?}");
    let [accepted, duplicate, rejected] = ["accepted", "duplicate", "rejected"]
        .map(|word| site.number(&format!("bijli_collector_batches_total{{outcome=\"{word}\"}}")));
    println!("{accepted} accepted, {duplicate} duplicate, {rejected} rejected");
    assert_eq!(accepted, SENDERS * BACKLOG, "each once");
    assert!(rejected <= SENDERS, "{rejected}");
    let memory = site.collector.peak_memory_kb();
    println!("{memory} kB at its largest, {} ms", begun.elapsed().as_millis());
    assert!(memory < MEMORY_KB_MAX, "{memory} kB");
    let energy = u128::from(BACKLOG - 1) * u128::try_from(STEP_MJ).expect("above 0");
    let mut found = BTreeMap::new();
    let is_exact = within(90, || {
        std::thread::sleep(Duration::from_secs(1));
        found = booked(&site)?;
        let are_all = found.len() == usize::try_from(SENDERS).expect("small");
        (are_all && found.values().all(|booked| *booked == energy)).then_some(())
    });
    println!("booked after {} ms", begun.elapsed().as_millis());
    found.retain(|_, booked| *booked != energy);
    assert!(is_exact.is_some(), "not {energy} mJ: {found:?}");
    assert!(site.collector.is_running());
}
