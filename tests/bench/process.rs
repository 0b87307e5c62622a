//! What the kernel says a process has used.

use std::fs;

/// CPU time of all threads so far, in nanoseconds.
pub(crate) fn cpu_ns(pid: u32) -> u64 {
    cpu_ns_of_threads(pid, "")
}

/// The same of those threads whose names begin so.
pub(crate) fn cpu_ns_of_threads(pid: u32, name: &str) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("a running process");
    let ran = |entry: std::io::Result<fs::DirEntry>| {
        let task = entry.ok()?.path();
        if !fs::read_to_string(task.join("comm")).ok()?.starts_with(name) {
            return None;
        }
        fs::read_to_string(task.join("schedstat")).ok()?.split(' ').next()?.parse::<u64>().ok()
    };
    tasks.filter_map(ran).sum()
}

/// How many threads have names that begin so.
pub(crate) fn threads(pid: u32, name: &str) -> usize {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("a running process");
    let named = |entry: std::io::Result<fs::DirEntry>| {
        let comm = fs::read_to_string(entry.ok()?.path().join("comm")).ok()?;
        comm.starts_with(name).then_some(())
    };
    tasks.filter_map(named).count()
}

/// CPU time of the thread that asks, in nanoseconds.
pub(crate) fn own_cpu_ns() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").expect("a running thread");
    text.split(' ').next().and_then(|ns| ns.parse().ok()).expect("nanoseconds")
}

/// A line of `/proc/pid/status`: kB, or a bare number.
pub(crate) fn status_kb(pid: u32, key: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a running process");
    let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    let number = line.and_then(|line| line.trim().split(' ').next()?.parse().ok());
    number.unwrap_or_else(|| panic!("no {key} of {pid}"))
}

/// What is resident of the files whose names have this in them, in kB: `/proc/pid/smaps`.
pub(crate) fn mapped_kb(pid: u32, name: &str) -> u64 {
    let maps = fs::read_to_string(format!("/proc/{pid}/smaps")).expect("a running process");
    let (mut is_of_it, mut sum) = (false, 0);
    for line in maps.lines() {
        let mut words = line.split_whitespace();
        match words.next().unwrap_or_default() {
            "Rss:" if is_of_it => {
                sum += words.next().and_then(|kb| kb.parse::<u64>().ok()).expect("kB");
            }
            key if !key.ends_with(':') => is_of_it = line.contains(name),
            _ => {}
        }
    }
    sum
}

/// The middle one.
pub(crate) fn median(mut values: Vec<u64>) -> u64 {
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or(0)
}

/// Thousandths as a decimal.
pub(crate) fn thousandths(value: u64) -> String {
    format!("{}.{:03}", value / 1_000, value % 1_000)
}
