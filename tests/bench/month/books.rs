//! The month in the books' index: the leaves that the collector would post, and what is asked.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use bijli_collector::index::{Scope, Store};
use bijli_collector::projects::bill::{Ask, Bill, By, Key, Used};
use bijli_collector::projects::{ChangeText, Registry};
use bijli_ledger::leaf::{Body, Line, Owner, Posting, PueShown, Source, Summary};
use bijli_ledger::{Account, Category, Class, Leaf, PointId, RULE_VERSION, Role};
use bijli_wire::{HubId, NodeId, ProjectId, UtcMillis};

use super::fleet::{
    BEGIN, DAYS, END, HOST_WATTS, HUBS, Lane, PROJECTS, Stretch, lanes, ms, project,
};

const QUARTER: i64 = 900_000;
const QUARTERS: usize = 30 * 96;
/// Lines of one leaf: far below its bound of bytes.
const LINES_PER_LEAF: usize = 300;
/// As many as the collector's own thread takes at once.
const LEAVES_PER_STEP: usize = 1_024;

/// How the entries of an interval are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Detail {
    /// As the collector posts them: each GPU's own.
    Gpus,
    /// Those of one account added up: the sums that bills are made of are the same in number and
    /// in amount, for a hundredth of the entries.
    Accounts,
}

/// An index of a month, and what making it took.
pub(crate) struct Books {
    pub(crate) store: Store,
    pub(crate) entries: u64,
    pub(crate) leaves: u64,
    pub(crate) took: Duration,
}

/// A node and its GPU; the largest number is its host.
type Place = (u64, u64);

/// Who receives, and from where; `None`: places are not kept apart.
type Flow = (String, Option<Place>);

/// A hub's month, quarter by quarter.
struct Month {
    flows: Vec<BTreeMap<Flow, u64>>,
    detail: Detail,
}

impl Month {
    fn of(hub: usize, nodes: u64, detail: Detail) -> Self {
        let mut month = Self { flows: vec![BTreeMap::new(); QUARTERS], detail };
        for lane in lanes(hub, nodes) {
            lane.stretches.iter().for_each(|stretch| month.add(&lane, stretch));
        }
        month
    }

    fn add(&mut self, lane: &Lane, stretch: &Stretch) {
        let (gpu_user, host_user) = match stretch.holder {
            None => ("idle:unallocated".to_owned(), "host_overhead".to_owned()),
            Some(holder) => {
                let share = if stretch.is_active { "gpu_active" } else { "gpu_held_idle" };
                let of = |share| format!("project:{}/{share}", project(holder.project));
                (of(share), of("host"))
            }
        };
        let mut from = stretch.from;
        while from < stretch.to {
            let quarter = (from - BEGIN) / QUARTER;
            let to = stretch.to.min(BEGIN + (quarter + 1) * QUARTER);
            let flows = &mut self.flows[usize::try_from(quarter).expect("small")];
            let host = HOST_WATTS * lane.gpus * ms(to - from);
            let place = |gpu| (self.detail == Detail::Gpus).then_some((lane.node, gpu));
            *flows.entry((host_user.clone(), place(u64::MAX))).or_default() += host;
            for gpu in lane.first_gpu..lane.first_gpu + lane.gpus {
                let energy = stretch.watts * ms(to - from);
                *flows.entry((gpu_user.clone(), place(gpu))).or_default() += energy;
            }
            from = to;
        }
    }
}

/// Makes the index of every hub's month in a folder.
pub(crate) fn make(folder: &Path, nodes: u64, detail: Detail) -> Books {
    let (store, _) = Store::open(folder).expect("an index");
    let mut books = Books { store, entries: 0, leaves: 0, took: Duration::ZERO };
    for (number, hub) in HUBS.into_iter().enumerate() {
        let month = Month::of(number, nodes, detail);
        let (mut waiting, mut seq) = (Vec::new(), 1);
        for (quarter, flows) in (0..).zip(&month.flows) {
            let start = UtcMillis::new(BEGIN + quarter * QUARTER);
            for body in interval(start, flows, &mut seq) {
                let source = Source { first: 1, last: 1, hash: [0; 32] };
                let hub = Some(HubId::new(hub).expect("a name"));
                waiting.push(Some(Leaf { rule_version: RULE_VERSION, hub, source, body }));
            }
            if waiting.len() >= LEAVES_PER_STEP {
                books.take(&mut waiting);
            }
        }
        books.take(&mut waiting);
        books.entries += seq - 1;
    }
    books
}

impl Books {
    fn take(&mut self, waiting: &mut Vec<Option<Leaf>>) {
        let begun = Instant::now();
        self.store.take(waiting).expect("taken");
        self.took += begun.elapsed();
        self.leaves += u64::try_from(waiting.len()).expect("few");
        waiting.clear();
    }

    /// A bill as the API makes it: of all hubs, for one project or for all.
    pub(crate) fn ask(&self, ask: &Ask, by: By) -> (BTreeMap<Key, Used>, Duration) {
        let (mut all, begun): (BTreeMap<Key, Used>, _) = (BTreeMap::new(), Instant::now());
        for hub in HUBS {
            let hub = HubId::new(hub).expect("a name");
            let (from, to) = (UtcMillis::new(BEGIN), UtcMillis::new(END));
            let scope = Scope { hub, from, to, before: Some(self.leaves) };
            let rows = Bill::read(&self.store, &scope, ask, by).expect("rows");
            for (key, used) in rows {
                all.entry(key).or_default().add_all(&used);
            }
        }
        (all, begun.elapsed())
    }
}

fn interval(start: UtcMillis, flows: &BTreeMap<Flow, u64>, seq: &mut u64) -> Vec<Body> {
    let (first_entry, ups) = (*seq, Account::Point(PointId::new("ups").expect("a name")));
    let (mut lines, mut owner, mut bodies) = (Vec::new(), Owner::Hub, Vec::new());
    let mut by_place: BTreeMap<Option<Place>, Vec<(&str, u64)>> = BTreeMap::new();
    let mut by_node: BTreeMap<u64, u64> = BTreeMap::new();
    for ((user, place), amount) in flows {
        by_place.entry(*place).or_default().push((user, *amount));
        if let Some((node, _)) = place {
            *by_node.entry(*node).or_default() += amount;
        }
    }
    let mut flow = |lines: &mut Vec<Line>, credit: &Account, debit: Account, amount: u64| {
        let (credit, class, is_reversal) = (credit.clone(), Class::Measured, false);
        lines.push(Line { seq: *seq, debit, credit, class, amount, is_reversal });
        *seq += 1;
    };
    let posted = |owner: &Owner, lines: &mut Vec<Line>| {
        let (lines, owner) = (std::mem::take(lines), owner.clone());
        Body::Posting(Posting { interval: start, owner, part: 1, parts: 1, lines })
    };
    let mut it = 0;
    for (place, users) in by_place {
        let mut giver = ups.clone();
        if let Some((node, gpu)) = place {
            let id = NodeId::new(&format!("n{node:04}")).expect("a name");
            let is_new = owner != Owner::Node(id.clone());
            if is_new && !lines.is_empty() {
                bodies.push(posted(&owner, &mut lines));
            }
            giver = Account::Node(id.clone());
            owner = Owner::Node(id);
            if is_new {
                flow(&mut lines, &ups, giver.clone(), by_node[&node]);
            }
            if gpu != u64::MAX {
                let whole = users.iter().map(|(_, amount)| amount).sum();
                let gpu: Account = format!("gpu:GPU-{node}-{gpu}").parse().expect("an account");
                flow(&mut lines, &giver, gpu.clone(), whole);
                giver = gpu;
            }
        }
        for (user, amount) in users {
            it += amount;
            flow(&mut lines, &giver, user.parse().expect("an account"), amount);
            if lines.len() >= LINES_PER_LEAF {
                bodies.push(posted(&owner, &mut lines));
            }
        }
    }
    if !lines.is_empty() {
        bodies.push(posted(&owner, &mut lines));
    }
    let (leaves, entries) = (bodies.len(), *seq - first_entry);
    bodies.push(summary(start, it, leaves, (first_entry, entries)));
    bodies
}

fn summary(start: UtcMillis, it: u64, leaves: usize, (first_entry, entries): (u64, u64)) -> Body {
    let total = u128::from(it) * 5 / 4;
    Body::Summary(Summary {
        interval: start,
        end: UtcMillis::new(start.get() + QUARTER),
        revision: 0,
        old_leaf: None,
        leaves: u32::try_from(leaves).expect("few"),
        first_entry,
        entries: u32::try_from(entries).expect("few"),
        supplied: total,
        used: total,
        pue: PueShown::Parts {
            total,
            it: it.into(),
            by_source: [(Role::Grid, total)].into(),
            store_drawn: 0,
            estimated: 0,
            category: Category::UpsOutput,
        },
        reasons: Vec::new(),
        reasons_more: 0,
    })
}

/// Asks for one project, or for all, with every project in the registry.
pub(crate) fn asks(only: Option<u64>) -> Ask {
    let mut registry = Registry::default();
    for number in 0..PROJECTS {
        let id = project(number);
        let json = format!(
            r#"{{"put":{{"id":"{id}","title":"{id}","accounts":["{id}"],
            "from":"2026-07-01T00:00:00Z","who":"fund","why":"grant"}}}}"#
        );
        let change = ChangeText::from_json(json.as_bytes()).expect("sound").read().expect("sound");
        let _new = registry.make(change, (UtcMillis::new(BEGIN), 0), 900_000).expect("sound");
    }
    let only = only.map(|number| ProjectId::new(&project(number)).expect("a name"));
    let offset = "+05:00".parse().expect("an offset");
    Ask { projects: registry.now().clone(), only, offset }
}

/// Intervals of the month times hubs.
pub(crate) fn intervals() -> usize {
    assert_eq!(usize::try_from(DAYS * 96), Ok(QUARTERS));
    QUARTERS * HUBS.len()
}
