//! What a project used in a month, and all of them, asked of the books of a national fleet; and the
//! same question asked of stores of samples that were loaded with the same month at 60 s.
//!
//! The whole fleet is 24,000 GPUs and 100,000 jobs a day. Bills are made of the sums of accounts by
//! interval, whose number does not depend on how many GPUs there are: so the question is timed with
//! all of the sums, of entries that are added up by account. What single entries cost (the size of
//! the index, the time to make it) is measured on a part of the fleet, which is also what the other
//! stores are loaded with; that goes with the number of GPUs.

mod books;
mod fleet;
mod peers;
mod samples;

use std::path::Path;
use std::time::{Duration, Instant};

use bijli_collector::projects::bill::{By, Key, Used, Whose};

use books::{Books, Detail, asks};
use fleet::{GPUS_PER_NODE, HUBS, NODES, NODES_OF_A_PART, PROJECTS, truth};

/// A project with many jobs, and one with few.
const ASKED: [u64; 2] = [0, PROJECTS / 2];
const TIMES: usize = 5;

pub(crate) fn run(which: Option<&str>) {
    let wants = |part: &str| which.is_none_or(|name| name == part);
    println!("\n## A national month\n");
    println!("| what | of | |\n| --- | --- | --- |");
    if wants("bijli") {
        measure("a part", NODES_OF_A_PART, Detail::Gpus);
        measure("the whole, entries by account", NODES, Detail::Accounts);
    }
    for peer in peers::PEERS.iter().filter(|peer| wants(peer.key)) {
        peers::measure(peer);
    }
}

fn measure(name: &str, nodes: u64, detail: Detail) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("index");
    let books = books::make(&path, nodes, detail);
    let gpus = nodes * GPUS_PER_NODE * 3;
    println!("| GPUs, hubs, intervals | {name} | {gpus}, {}, {} |", HUBS.len(), books::intervals());
    println!("| leaves, entries | {name} | {}, {} |", books.leaves, books.entries);
    println!("| made in | {name} | {} s |", tenths(books.took));
    println!("| size of the index | {name} | {} MB |", size(&path) / 1_000_000);
    let truth = truth(nodes);
    for project in ASKED {
        let ask = asks(Some(project));
        let rows =
            timed(name, &format!("one project's bill ({})", fleet::project(project)), || {
                books.ask(&ask, By::Whose).0
            });
        let used = truth[usize::try_from(project).expect("few")];
        assert_eq!(gpus_of(&rows, project), used.into());
    }
    let ask = asks(None);
    let days = timed(name, "one project's bill by day", || books.ask(&asks(Some(0)), By::Day).0);
    assert_eq!(days.len(), 31, "thirty days of UTC touch 31 of +05:00");
    let rows = timed(name, "the whole fund's bill", || books.ask(&ask, By::Whose).0);
    for (project, used) in (0..).zip(&truth) {
        assert_eq!(gpus_of(&rows, project), u128::from(*used), "{project}");
    }
    timed(name, "the whole fund's bill by day", || books.ask(&ask, By::Day).0);
    again(name, &path, &books);
}

/// How long the index takes to be opened again.
fn again(name: &str, path: &Path, books: &Books) {
    let begun = Instant::now();
    let (store, was_made_anew) = bijli_collector::index::Store::open(path).expect("an index");
    assert!(!was_made_anew);
    assert_eq!(store.next(), books.leaves);
    println!("| opened again, checked | {name} | {} s |", tenths(begun.elapsed()));
}

/// Median of some times, the first apart.
fn timed<T>(name: &str, what: &str, ask: impl Fn() -> T) -> T {
    let timed = || {
        let begun = Instant::now();
        (ask(), begun.elapsed())
    };
    let (answer, first) = timed();
    let mut times: Vec<Duration> = (0..TIMES).map(|_| timed().1).collect();
    times.sort_unstable();
    let median = times[TIMES / 2];
    println!("| {what} | {name} | {} ms, first {} ms |", median.as_millis(), first.as_millis());
    answer
}

fn gpus_of(rows: &std::collections::BTreeMap<Key, Used>, project: u64) -> u128 {
    let id = bijli_wire::ProjectId::new(&fleet::project(project)).expect("a name");
    let used = rows.get(&Key::Whose(Whose::Project(id))).map(Used::gpus);
    used.map_or(0, |(active, idle)| active + idle)
}

pub(crate) fn tenths(span: Duration) -> String {
    format!("{:.1}", span.as_secs_f64())
}

pub(crate) fn size(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("there"));
    let of = |entry: std::fs::DirEntry| {
        let meta = entry.metadata().expect("its size");
        if meta.is_dir() { size(&entry.path()) } else { meta.len() }
    };
    entries.map(of).sum()
}
