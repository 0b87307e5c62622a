//! `bijli-sim`: plays seeds until one fails, and says how to play that one again.
//!
//! ```text
//! bijli-sim --seeds 2000 [--first 1] [--jobs 2] [--planted NAME] [--survey]
//! bijli-sim --seed 42 [--planted NAME]      one seed, with its events in target/sim/
//! ```

use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use bijli_planted::Bug;
use bijli_sim::fault::{Fault, Tally};
use bijli_sim::{Outcome, run};

struct Asked {
    first: u64,
    seeds: u64,
    jobs: usize,
    bug: Option<Bug>,
    is_one: bool,
    /// Goes on after a failure and tells each in one line.
    is_survey: bool,
}

#[derive(Default)]
struct Sum {
    seeds: u64,
    steps: u64,
    batches: u64,
    simulated_ms: u64,
    tally: Tally,
    failed: Option<Outcome>,
}

fn main() -> ExitCode {
    let Some(asked) = asked() else {
        eprintln!(
            "usage: bijli-sim (--seeds N [--first S] [--jobs J] | --seed S) [--planted NAME]"
        );
        return ExitCode::from(2);
    };
    // Panics are caught and told as findings; their traces would hide the one line that counts.
    std::panic::set_hook(Box::new(|_| {}));
    if !is_same_history(asked.first, asked.bug) {
        println!("seed {} gives two histories: nothing else counts", asked.first);
        return ExitCode::FAILURE;
    }
    let started = Instant::now();
    let sum = play(&asked);
    report(&sum, started.elapsed().as_secs_f64());
    match &sum.failed {
        Some(outcome) => {
            tell(outcome, &asked);
            ExitCode::FAILURE
        }
        None => {
            if asked.is_one {
                write_events(&run(asked.first, asked.bug));
            }
            ExitCode::SUCCESS
        }
    }
}

fn asked() -> Option<Asked> {
    let mut asked =
        Asked { first: 1, seeds: 0, jobs: 1, bug: None, is_one: false, is_survey: false };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        if word == "--survey" {
            asked.is_survey = true;
            continue;
        }
        let value = words.next()?;
        match word.as_str() {
            "--seeds" => asked.seeds = value.parse().ok()?,
            "--first" => asked.first = value.parse().ok()?,
            "--jobs" => asked.jobs = value.parse().ok().filter(|jobs| *jobs > 0)?,
            "--planted" => asked.bug = Some(Bug::of_name(&value)?),
            "--seed" => {
                (asked.first, asked.seeds, asked.is_one) = (value.parse().ok()?, 1, true);
            }
            _ => return None,
        }
    }
    (asked.seeds > 0).then_some(asked)
}

fn is_same_history(seed: u64, bug: Option<Bug>) -> bool {
    run(seed, bug) == run(seed, bug)
}

/// Several threads share the seeds; the lowest failing one is told.
fn play(asked: &Asked) -> Sum {
    let next = AtomicU64::new(asked.first);
    let has_failed = AtomicBool::new(false);
    let end = asked.first + asked.seeds;
    let work = || {
        let mut sum = Sum::default();
        while !has_failed.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= end {
                break;
            }
            let outcome = run(seed, asked.bug);
            sum.seeds += 1;
            sum.steps += outcome.steps;
            sum.batches += outcome.batches;
            sum.simulated_ms += outcome.simulated_ms;
            sum.tally.add(&outcome.tally);
            if let Some(violation) = outcome.failed.as_ref().filter(|_| asked.is_survey) {
                println!("seed {seed}: {}: {}", violation.invariant, violation.words);
            } else if outcome.failed.is_some() {
                has_failed.store(true, Ordering::Relaxed);
                sum.failed = Some(outcome);
            }
        }
        sum
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..asked.jobs).map(|_| scope.spawn(work)).collect();
        let mut all = Sum::default();
        for thread in threads {
            let sum = thread.join().expect("histories catch their panics");
            all.seeds += sum.seeds;
            all.steps += sum.steps;
            all.batches += sum.batches;
            all.simulated_ms += sum.simulated_ms;
            all.tally.add(&sum.tally);
            let is_lower = |kept: &Outcome, found: &Outcome| found.seed < kept.seed;
            all.failed = match (all.failed, sum.failed) {
                (Some(kept), Some(found)) if is_lower(&kept, &found) => Some(found),
                (None, found) => found,
                (kept, _) => kept,
            };
        }
        all
    })
}

fn report(sum: &Sum, seconds: f64) {
    for fault in Fault::ALL {
        println!("{:>12}  {}", sum.tally.of(fault), fault.words());
    }
    println!("{:>12}  faults injected", sum.tally.total());
    println!("{:>12}  batches booked", sum.batches);
    println!("{:>12}  steps", sum.steps);
    let days = sum.simulated_ms / 86_400_000;
    println!("{:>12}  simulated days ({} years)", days, days / 365);
    // Integers below 2^53: exact in a float.
    let rate = f64::from(u32::try_from(sum.seeds).unwrap_or(u32::MAX)) / seconds.max(0.001);
    println!("{:>12}  seeds in {seconds:.1} s: {rate:.0} seeds/s", sum.seeds);
}

fn tell(outcome: &Outcome, asked: &Asked) {
    let Some(violation) = &outcome.failed else { return };
    println!("\nseed {} breaks \"{}\": {}", outcome.seed, violation.invariant, violation.words);
    write_events(outcome);
    let planted = asked.bug.map_or(String::new(), |bug| format!(" --planted {}", bug.name()));
    println!("again: cargo run --profile sim -p bijli-sim -- --seed {}{planted}", outcome.seed);
}

fn write_events(outcome: &Outcome) {
    let folder = Path::new("target/sim-events");
    let path = folder.join(format!("seed-{}.events", outcome.seed));
    let written = std::fs::create_dir_all(folder).and_then(|()| {
        std::fs::write(&path, format!("{:#?}\n{}", outcome.plan, outcome.history.text()))
    });
    match written {
        Ok(()) => println!("events: {}", path.display()),
        Err(error) => println!("events cannot be written to {}: {error}", path.display()),
    }
}
