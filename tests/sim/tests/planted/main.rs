//! Each bug that is planted must be caught, and soon: a promise that is never seen broken may be
//! one that is never looked at. `cargo test -p bijli-sim --test planted -- --nocapture` prints the
//! table for `docs/faults.md`.

mod alone;

use std::collections::BTreeSet;
use std::time::Instant;

use bijli_planted::{Bug, plant};
use bijli_sim::run;

use crate::alone::Scene;

/// A bug, and within how many seeds it must be caught: several times what was measured.
const BUGS: &[(Bug, u64)] = &[
    (Bug::SkipFsync, 40),
    (Bug::AckBeforeFsync, 200),
    (Bug::UnlinkBeforeCursor, 1_500),
    (Bug::WatermarkOffByOne, 20),
    (Bug::UnsignedDifference, 20),
    (Bug::DropResidue, 100),
    (Bug::BookEachReceipt, 20),
    (Bug::PassUnreadable, 400),
    (Bug::LoseLastAtRotation, 200),
    (Bug::TrustPayloadNode, 20),
];

#[test]
fn every_planted_bug_is_caught() {
    let tried = BUGS.iter().map(|(bug, _)| *bug).chain(alone::SCENES.iter().map(|(bug, _)| *bug));
    let tried: BTreeSet<Bug> = tried.collect();
    assert_eq!(tried, BTreeSet::from(Bug::ALL), "each bug that there is is planted");
    println!("| planted bug | caught by | seeds | steps of the last | ms |");
    println!("| --- | --- | --- | --- | --- |");
    let in_scenes = alone::SCENES.iter().filter(|(bug, scene)| !is_caught_in_scene(*bug, *scene));
    let mut missed: Vec<Bug> = in_scenes.map(|(bug, _)| *bug).collect();
    // A finding may be a panic of the product: told in the table, not on the terminal.
    std::panic::set_hook(Box::new(|_| {}));
    let in_histories = BUGS.iter().filter(|(bug, seeds)| !is_caught_in_histories(*bug, *seeds));
    missed.extend(in_histories.map(|(bug, _)| *bug));
    drop(std::panic::take_hook());
    assert!(missed.is_empty(), "not caught: {missed:?}");
}

fn is_caught_in_histories(bug: Bug, seeds_max: u64) -> bool {
    let started = Instant::now();
    let caught = (1..=seeds_max).map(|seed| run(seed, Some(bug))).find(|it| it.failed.is_some());
    let millis = started.elapsed().as_millis();
    let Some((outcome, violation)) = caught.as_ref().and_then(|it| Some((it, it.failed.as_ref()?)))
    else {
        return false;
    };
    let (name, by) = (bug.name(), violation.invariant);
    println!("| {name} | {by} | {} | {} | {millis} |", outcome.seed, outcome.steps);
    true
}

/// The promise of a scene is broken with the bug, and kept without it.
fn is_caught_in_scene(bug: Bug, scene: Scene) -> bool {
    let (_, outcome) = scene();
    if let Err(violation) = outcome {
        println!("{bug:?}: broken without it: {violation:?}");
        return false;
    }
    let started = Instant::now();
    plant(Some(bug));
    let (requests, outcome) = scene();
    plant(None);
    let millis = started.elapsed().as_millis();
    let Err(violation) = outcome else { return false };
    let (name, by) = (bug.name(), violation.invariant);
    println!("| {name} | {by} | a scene | {requests} requests | {millis} |");
    true
}
