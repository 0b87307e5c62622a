//! An agent with sixteen fake GPUs for ten minutes: memory, threads and open files at the second
//! minute against those at the end. A leak of a few bytes a tick would show after hours only: this
//! is for those of a kilobyte.

use std::fs;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;

use crate::agent;
use crate::process::status_kb;

const MINUTES: u64 = 10;
/// By then buffers have their size and every series was read.
const SETTLED: u64 = 2;
/// Below this a difference is the allocator's mood.
const GROWTH_KB_MAX: u64 = 256;

#[derive(Clone, Copy)]
struct Size {
    resident_kb: u64,
    threads: u64,
    files: usize,
}

impl Size {
    fn of(pid: u32) -> Self {
        let threads = status_kb(pid, "Threads");
        let files = fs::read_dir(format!("/proc/{pid}/fd")).expect("a running process").count();
        Self { resident_kb: status_kb(pid, "VmRSS"), threads, files }
    }
}

/// Fails when it grew.
pub(crate) fn run(minutes: Option<&str>) -> ExitCode {
    let minutes = minutes.map_or(MINUTES, |text| text.parse().expect("a number of minutes"));
    assert!(minutes > SETTLED, "it settles for {SETTLED} minutes first");
    let site = agent::site();
    let agent = agent::agent(&site, 16);
    println!("\n| minute | RSS | threads | open files |");
    println!("| --- | --- | --- | --- |");
    let mut sizes = Vec::new();
    for minute in 1..=minutes {
        sleep(Duration::from_secs(60));
        let size = Size::of(agent.pid());
        println!("| {minute} | {} kB | {} | {} |", size.resident_kb, size.threads, size.files);
        if minute >= SETTLED {
            assert!(size.threads > 16, "a thread for each GPU");
            sizes.push(size);
        }
    }
    match sizes[..] {
        [first, .., last] if has_grown(first, last) => {
            println!("it has grown since minute {SETTLED}");
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}

fn has_grown(first: Size, last: Size) -> bool {
    last.resident_kb > first.resident_kb + GROWTH_KB_MAX
        || last.threads > first.threads
        || last.files > first.files
}
