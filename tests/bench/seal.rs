//! The ledger as a transparency log: leaves a second, bytes a leaf, on this disk.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use bijli_collector::leaves;
use bijli_collector::seal::{Follower, Nobody, Sealer, Signer};
use bijli_collector::verify::{Brought, verify};
use bijli_ledger::leaf::{Body, Line, Owner, Posting, PueShown, Source, Summary};
use bijli_ledger::{Class, Leaf, Withheld};
use bijli_seglog::RealDisk;
use bijli_tlog::{KeyKind, Policy, SigningKey, VerifierKey};
use bijli_wire::{HubId, NodeId, UtcMillis};

const BASE: &str = "ledger.example.pk";
/// A hundred intervals of a hub of a thousand nodes with eight GPUs each.
const INTERVALS: i64 = 100;
const NODES: u64 = 1_000;

pub(crate) fn run() {
    println!("\n## Seal\n");
    let folder = tempfile::tempdir().expect("a folder");
    let (mut log, _) = leaves::open(RealDisk, &folder.path().join("ledger")).expect("opens");
    for interval in 0..INTERVALS {
        for node in 0..NODES {
            log.append(&of_node(interval, node).encode()).expect("room");
        }
        log.append(&summary(interval).encode()).expect("room");
        log.commit().expect("the disk takes it");
    }
    let (count, ledger_bytes) = (log.durable_seq().get(), log.bytes());
    let policy = Policy::of_log(Vec::new());
    let key = SigningKey::from_seed(BASE, KeyKind::Note, [1; 32]).expect("a name");
    let signer = Signer { base: BASE.to_owned(), keys: vec![key], policy };
    let mut sealer = Sealer::new(signer, RealDisk, None, Box::new(Nobody));
    let dir = folder.path().join("tlog");
    let log = Arc::new(Mutex::new(log));
    let began = Instant::now();
    let mut follower = Follower::open(RealDisk, &dir, BASE, log).expect("opens");
    while follower.step().expect("the disk takes it") {}
    follower.flush().expect("the disk takes it");
    let tree = follower.trees.values_mut().next().expect("a hub");
    let tiles = began.elapsed();
    sealer.seal(tree).expect("the disk takes it").expect("signed");
    let keys: Vec<VerifierKey> = sealer
        .verifiers(&tree.origin)
        .iter()
        .map(|key| VerifierKey::parse(key).expect("a key"))
        .collect();
    let entries = bytes_below(&dir.join("isb/tile/entries"));
    let hashes = bytes_below(&dir.join("isb/tile")) - entries;
    let began = Instant::now();
    let brought = Brought { policy: Policy::of_log(keys), older: Vec::new() };
    let verdict = verify(&dir.join("isb"), &brought);
    assert!(verdict.is_good() && verdict.size == count, "{}", verdict.show());
    let checked = began.elapsed();
    let float = |number: u64| f64::from(u32::try_from(number).expect("a small log"));
    let a_second = |took: std::time::Duration| float(count) / took.as_secs_f64();
    let a_leaf = |bytes: u64| float(bytes) / float(count);
    println!("{count} leaves of {:.0} bytes in the ledger log\n", a_leaf(ledger_bytes));
    println!("| what | result |\n| --- | --- |");
    println!("| leaves made into durable tiles | {:.0} a second |", a_second(tiles));
    println!("| leaves verified, each read and balanced | {:.0} a second |", a_second(checked));
    println!("| entry bundles | {:.0} bytes a leaf |", a_leaf(entries));
    println!("| tiles of hashes | {:.1} bytes a leaf |", a_leaf(hashes));
}

fn of(interval: i64, body: Body) -> Leaf {
    let first = u64::try_from(interval).expect("small") * 100;
    let source = Source { first, last: first + 99, hash: [7; 32] };
    let hub = HubId::new("isb").expect("valid");
    Leaf { rule_version: 1, hub: Some(hub), source, body }
}

/// What a node of eight busy GPUs takes and uses.
fn of_node(interval: i64, node: u64) -> Leaf {
    let account = |text: &str| text.parse().expect("an account");
    let name = format!("isb-n{node:04}");
    let mut lines = Vec::new();
    let mut seq = node * 17;
    let mut line = |debit: &str, credit: &str, amount: u64| {
        seq += 1;
        let (debit, credit) = (account(debit), account(credit));
        let class = Class::Measured;
        lines.push(Line { seq, debit, credit, class, amount, is_reversal: false });
    };
    // From the grid at once: a point would only pass it on, in a leaf of its own.
    line(&format!("node:{name}"), "grid:incomer", 8 * 540_000_000);
    for gpu in 0..8 {
        let gpu = format!("gpu:GPU-{node:08x}-{gpu:04x}-4d2c-9f01-aabbccddeeff");
        line(&gpu, &format!("node:{name}"), 540_000_000);
        line("project:climate/gpu_active", &gpu, 540_000_000);
    }
    let owner = Owner::Node(NodeId::new(&name).expect("valid"));
    let interval_at = UtcMillis::new(interval * 900_000);
    of(interval, Body::Posting(Posting { interval: interval_at, owner, part: 1, parts: 1, lines }))
}

/// The point's side: what the nodes took came from the grid.
fn summary(interval: i64) -> Leaf {
    let total = u128::from(NODES) * 8 * 540_000_000;
    let at = |number: i64| UtcMillis::new(number * 900_000);
    of(
        interval,
        Body::Summary(Summary {
            interval: at(interval),
            end: at(interval + 1),
            revision: 0,
            old_leaf: None,
            leaves: u32::try_from(NODES).expect("small"),
            first_entry: 1,
            entries: u32::try_from(NODES * 17).expect("small"),
            supplied: total,
            used: total,
            pue: PueShown::Withheld(Withheld::NoSupplyMeter),
            reasons: Vec::new(),
            reasons_more: 0,
        }),
    )
}

fn bytes_below(dir: &Path) -> u64 {
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir).expect("a folder") {
        let entry = entry.expect("an entry");
        let meta = entry.metadata().expect("it is there");
        bytes += if meta.is_dir() { bytes_below(&entry.path()) } else { meta.len() };
    }
    bytes
}
