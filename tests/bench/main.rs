//! `make bench`: speed and size, side by side in one run, from the kernel's own accounting.
//!
//! Prints Markdown for `docs/BENCHMARKS.md`. CPU is the nanoseconds in `schedstat` of all threads,
//! so short ticks count too; memory is `VmRSS`. Quote medians, and say what else the machine did.
//!
//! `bijli-bench [accuracy | agent | collector | snapshot | pue | seal | report | scrape |
//! month [bijli | prometheus | victoria] |
//! ingest [bijli | victoria | prometheus | influx] | kill9 [the same] | soak [MINUTES]]`; the soak
//! runs when it is named only.

mod accuracy;
mod agent;
mod collector;
mod ingest;
mod kill9;
mod month;
mod process;
mod pue;
mod report;
mod seal;
mod snapshot;
mod soak;

use std::fs;
use std::process::ExitCode;

fn main() -> ExitCode {
    let only = std::env::args().nth(1);
    let part_of_it = std::env::args().nth(2);
    let wants = |part: &str| only.as_deref().is_none_or(|name| name == part);
    println!("machine: {}", machine());
    if only.as_deref() == Some("soak") {
        return soak::run(part_of_it.as_deref());
    }
    if wants("accuracy") {
        accuracy::run();
    }
    if wants("agent") {
        agent::run();
    }
    if wants("collector") {
        collector::run();
    }
    if wants("snapshot") {
        snapshot::run();
    }
    if wants("pue") {
        pue::run();
    }
    if wants("seal") {
        seal::run();
    }
    if wants("report") {
        report::run();
    }
    if wants("scrape") {
        ingest::scrape::run();
    }
    if wants("month") {
        month::run(part_of_it.as_deref());
    }
    if wants("kill9") {
        kill9::run(part_of_it.as_deref());
    }
    if wants("ingest") {
        ingest::run(part_of_it.as_deref());
    }
    ExitCode::SUCCESS
}

fn machine() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
    let cores = cpu.lines().filter(|line| line.starts_with("processor")).count();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    format!("{cores} x {}, load before: {}", model.unwrap_or("unknown CPU"), load.trim())
}
