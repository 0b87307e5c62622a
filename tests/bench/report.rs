//! What the report of a hub's month costs: from a ledger log of made-up leaves, all files written.

use std::path::Path;
use std::time::Instant;

use bijli_collector::config::HubConfig;
use bijli_collector::crosscheck::Checks;
use bijli_collector::diagram::Plan;
use bijli_collector::kpi::Tables;
use bijli_collector::leaves;
use bijli_collector::report::{self, Asked};
use bijli_collector::xids::Xids;
use bijli_ledger::leaf::{Body, Line, Owner, Posting, PueShown, Source, Summary};
use bijli_ledger::{Account, Category, Class, Leaf, Month, PointId, RULE_VERSION, Role, Rules};
use bijli_seglog::RealDisk;
use bijli_wire::{HubId, NodeId, UtcMillis};

const QUARTER: i64 = 900_000;
const QUARTERS: u64 = 31 * 96;
const BEGIN: i64 = 1_782_864_000_000;
const NODES: u64 = 100;
const GPUS: u64 = 8;
/// Of one GPU and of a node's host in an interval, in millijoules.
const GPU_MJ: u64 = 450_000_000;
const HOST_MJ: u64 = 300_000_000;

const DIAGRAM: &str = "pue_category = 1\n\
    [[point]]\nid = \"grid\"\nrole = \"grid\"\nmeter = \"m1\"\n\
    [[point]]\nid = \"ups\"\nrole = \"ups_out\"\nmeter = \"m2\"\n\
    [[point]]\nid = \"chiller\"\nrole = \"cooling\"\nmeter = \"m3\"\n\
    [[meter]]\nid = \"m1\"\nclass = \"0.5S\"\nstandard = \"IEC 62053-22:2020\"\n\
    [[meter]]\nid = \"m2\"\nclass = \"0.5S\"\nstandard = \"IEC 62053-22:2020\"\n";

pub fn run() {
    println!("\n## Report of a month: {NODES} nodes of {GPUS} GPUs, {QUARTERS} intervals\n");
    println!("| what | |\n| --- | --- |");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let log = folder.path().join("ledger");
    let (leaves, entries) = month(&log);
    println!("| leaves, entries | {leaves}, {entries} |");
    println!("| ledger log | {} MB |", size(&log) / 1_000_000);
    let hub = HubConfig {
        id: HubId::new("lhe").expect("a name"),
        title: "Lahore".to_owned(),
        nodes_expected: None,
        plan: Plan::from_toml(DIAGRAM).expect("a diagram"),
        tables: Tables::default(),
        checks: Checks::default(),
        xids: Xids::default(),
    };
    let month: Month = "2026-07".parse().expect("a month");
    let asked = Asked { hub: &hub, rules: Rules::default(), month };
    let begun = Instant::now();
    let read = report::read_log(&log, None).expect("a log");
    let made = report::write(&asked, read, &folder.path().join("out")).expect("a report");
    let took = begun.elapsed();
    println!("| all files of the report | {:.1} s |", took.as_secs_f64());
    let parquet = std::fs::metadata(made.folder.join("entries.parquet")).expect("a file").len();
    println!("| entries.parquet | {} MB |", parquet / 1_000_000);
    println!("| memory at its most | {} MB |", peak_kb() / 1_000);
    println!("| figure | {} |", made.shown.expect("a figure"));
}

fn size(folder: &Path) -> u64 {
    let files = std::fs::read_dir(folder).expect("a folder");
    files.map(|file| file.expect("a file").metadata().expect("its size").len()).sum()
}

fn peak_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).expect("a number")
}

/// Numbers the lines of one posting after the other.
struct Lines {
    next: u64,
    lines: Vec<Line>,
}

impl Lines {
    fn flow(&mut self, credit: Account, debit: Account, amount: u64) {
        let (class, is_reversal) = (Class::Measured, false);
        self.lines.push(Line { seq: self.next, debit, credit, class, amount, is_reversal });
        self.next += 1;
    }

    fn take(&mut self, interval: UtcMillis, owner: Owner) -> Body {
        let lines = std::mem::take(&mut self.lines);
        Body::Posting(Posting { interval, owner, part: 1, parts: 1, lines })
    }
}

fn point(name: &str) -> PointId {
    PointId::new(name).expect("a name")
}

/// One interval's leaves, of which every one balances.
fn interval(start: UtcMillis, lines: &mut Lines) -> Vec<Body> {
    let first_entry = lines.next;
    let node_mj = GPU_MJ * GPUS + HOST_MJ;
    let (it, cooling) = (node_mj * NODES, node_mj * NODES / 4);
    let total = it + cooling;
    lines.flow(Account::Grid(point("grid")), Account::Main, total);
    let mut bodies = vec![lines.take(start, Owner::Point(point("grid")))];
    lines.flow(Account::Main, Account::Point(point("chiller")), cooling);
    lines.flow(Account::Point(point("chiller")), Account::Cooling(point("chiller")), cooling);
    bodies.push(lines.take(start, Owner::Point(point("chiller"))));
    lines.flow(Account::Main, Account::Point(point("ups")), it);
    bodies.push(lines.take(start, Owner::Point(point("ups"))));
    for node in 0..NODES {
        let id = NodeId::new(&format!("n{node:04}")).expect("a name");
        let account = Account::Node(id.clone());
        lines.flow(Account::Point(point("ups")), account.clone(), node_mj);
        let of = |share: &str| -> Account {
            format!("project:p{}/{share}", node % 20).parse().expect("an account")
        };
        for gpu in 0..GPUS {
            let gpu: Account = format!("gpu:GPU-{node}-{gpu}").parse().expect("an account");
            lines.flow(account.clone(), gpu.clone(), GPU_MJ);
            lines.flow(gpu, of("gpu_active"), GPU_MJ);
        }
        lines.flow(account, of("host"), HOST_MJ);
        bodies.push(lines.take(start, Owner::Node(id)));
    }
    let by_source = [(Role::Grid, u128::from(total))].into();
    bodies.push(Body::Summary(Summary {
        interval: start,
        end: UtcMillis::new(start.get() + QUARTER),
        revision: 0,
        old_leaf: None,
        leaves: u32::try_from(bodies.len()).expect("few"),
        first_entry,
        entries: u32::try_from(lines.next - first_entry).expect("few"),
        supplied: total.into(),
        used: total.into(),
        pue: PueShown::Parts {
            total: total.into(),
            it: it.into(),
            by_source,
            store_drawn: 0,
            estimated: 0,
            category: Category::UpsOutput,
        },
        reasons: Vec::new(),
        reasons_more: 0,
    }));
    bodies
}

/// Writes the log; tells how many leaves and entries it has.
fn month(folder: &Path) -> (u64, u64) {
    let (mut log, _) = leaves::open(RealDisk, folder).expect("a log");
    let hub = HubId::new("lhe").expect("a name");
    let mut lines = Lines { next: 1, lines: Vec::new() };
    let mut count = 0;
    for quarter in 0..QUARTERS {
        let start = BEGIN + i64::try_from(quarter).expect("small") * QUARTER;
        let source = Source { first: quarter + 1, last: quarter + 1, hash: [0; 32] };
        for body in interval(UtcMillis::new(start), &mut lines) {
            let hub = Some(hub.clone());
            let leaf = Leaf { rule_version: RULE_VERSION, hub, source, body };
            log.append(&leaf.encode()).expect("it fits");
            count += 1;
        }
        log.commit().expect("durable");
    }
    (count, lines.next - 1)
}
