//! The table of one run.

use std::path::Path;
use std::time::Duration;

use crate::process::thousandths;

/// What one server did.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) shape: Shape,
    pub(crate) took: Took,
    pub(crate) disk_bytes: u64,
    pub(crate) rss_kb: u64,
    pub(crate) acks_us: Vec<u64>,
}

#[derive(Debug)]
pub(crate) struct Shape {
    pub(crate) samples: u64,
    pub(crate) wall_us: u64,
}

/// CPU time.
#[derive(Debug)]
pub(crate) struct Took {
    pub(crate) acked_ns: u64,
    /// Until all of it was booked, where that is another moment.
    pub(crate) settled_ns: Option<u64>,
    pub(crate) load_ns: u64,
}

pub(crate) fn print_head() {
    println!(
        "\n| server | samples | s | samples/s | CPU-s per million: acked | booked | load generator \
         | ack p50, p99 | bytes a sample on disk | RSS |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |");
}

/// At once, so that a run that breaks off has told what it measured.
pub(crate) fn print(mut row: Row) {
    row.acks_us.sort_unstable();
    let at = |percent: usize| row.acks_us.get(row.acks_us.len() * percent / 100).copied();
    let ms = |percent| thousandths(at(percent).unwrap_or(0));
    let per_million = |ns: u64| thousandths(ns / row.shape.samples.max(1));
    let booked = row.took.settled_ns.map_or_else(|| "-".to_owned(), per_million);
    println!(
        "| {} | {} | {} | {} | {} | {booked} | {} | {}, {} ms | {} | {} MB |",
        row.name,
        row.shape.samples,
        thousandths(row.shape.wall_us / 1_000),
        row.shape.samples * 1_000_000 / row.shape.wall_us.max(1),
        per_million(row.took.acked_ns),
        per_million(row.took.load_ns),
        ms(50),
        ms(99),
        thousandths(row.disk_bytes * 1_000 / row.shape.samples.max(1)),
        row.rss_kb / 1_000,
    );
}

pub(crate) fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).expect("a short time")
}

pub(crate) fn whole(count: usize) -> u64 {
    u64::try_from(count).expect("64 bits")
}

/// All files in a folder and below.
pub(crate) fn folder_bytes(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).expect("a folder").flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => folder_bytes(&entry.path()),
        Ok(meta) => meta.len(),
        // Unlinked since it was listed.
        Err(_) => 0,
    });
    sizes.sum()
}
