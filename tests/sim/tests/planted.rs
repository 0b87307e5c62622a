//! Each bug that is planted must be caught, and soon: a promise that is never seen broken may be
//! one that is never looked at. `cargo test -p bijli-sim --test planted -- --nocapture` prints the
//! table for `docs/faults.md`.

use std::time::Instant;

use bijli_planted::Bug;
use bijli_sim::run;

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
];

#[test]
fn every_planted_bug_is_caught() {
    // A finding may be a panic of the product: told in the table, not on the terminal.
    std::panic::set_hook(Box::new(|_| {}));
    println!("| planted bug | caught by | seeds | steps of the last | ms |");
    println!("| --- | --- | --- | --- | --- |");
    let mut missed = Vec::new();
    for (bug, seeds_max) in BUGS {
        let started = Instant::now();
        let caught =
            (1..=*seeds_max).map(|seed| run(seed, Some(*bug))).find(|it| it.failed.is_some());
        let millis = started.elapsed().as_millis();
        match caught.as_ref().and_then(|it| Some((it, it.failed.as_ref()?))) {
            Some((outcome, violation)) => {
                let (name, by) = (bug.name(), violation.invariant);
                println!("| {name} | {by} | {} | {} | {millis} |", outcome.seed, outcome.steps);
            }
            None => missed.push(*bug),
        }
    }
    assert!(missed.is_empty(), "not caught: {missed:?}");
}
