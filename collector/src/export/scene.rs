//! What one scrape shows of one hub, copied out from under its locks.

use std::collections::BTreeMap;

use bijli_ledger::pue::Uncertainty;
use bijli_ledger::{Account, Books, Nature};
use bijli_wire::{NodeId, UtcMillis};

use crate::api::fleet::{self, Node, Registers};
use crate::api::nodes::point_of;
use crate::api::{Period, closed, pue};
use crate::crosscheck::{self, Finding};
use crate::diagram::Plan;
use crate::events::Counts;
use crate::state::Hub;

/// One hub at one moment.
#[derive(Debug)]
pub(super) struct Scene {
    pub(super) hub: String,
    pub(super) now: UtcMillis,
    pub(super) nodes_expected: Option<u32>,
    pub(super) nodes: Vec<Node>,
    /// How often what happened at these nodes.
    pub(super) counts: BTreeMap<NodeId, Counts>,
    pub(super) registers: Registers,
    pub(super) plan: Plan,
    /// Meters of the diagram that only a person reads, with the time of their last reading.
    pub(super) by_hand: BTreeMap<String, UtcMillis>,
    pub(super) books: Sums,
    pub(super) checks: Vec<Finding>,
}

/// What the closed books come to.
#[derive(Debug)]
pub(super) struct Sums {
    /// By closed word, first postings only.
    pub(super) sources: BTreeMap<&'static str, u128>,
    pub(super) sinks: BTreeMap<Account, u128>,
    pub(super) imbalance: i128,
    pub(super) closed_until: Option<UtcMillis>,
    pub(super) adjustments: u64,
    pub(super) pue: Vec<Window>,
}

/// PUE over the newest closed stretch of a length.
#[derive(Debug)]
pub(super) struct Window {
    pub(super) word: &'static str,
    pub(super) category: Option<u8>,
    pub(super) ratio_micro: Option<i128>,
    /// Expanded, k = 2: independent and correlated.
    pub(super) uncertainty_micro: Option<[i128; 2]>,
    /// Of the term that has more of it.
    pub(super) estimated_micro: Option<i128>,
    pub(super) coverage_micro: Option<i128>,
}

const WINDOWS: [(&str, i64); 2] = [("1h", 3_600_000), ("1d", 86_400_000)];

impl Scene {
    pub(super) fn of(hub: &Hub, now: UtcMillis) -> Self {
        let nodes = fleet::nodes(hub, now);
        let counts = counts(hub, &nodes);
        let registers = fleet::registers(hub);
        let plan = hub.view().plan.clone();
        let books = sums(hub, plan.pue_category.is_some());
        let nodes_expected = hub.nodes_expected;
        let by_hand = by_hand(hub, &plan);
        let checks = crosscheck::findings(hub, now);
        let hub = hub.id.to_string();
        Self { hub, now, nodes_expected, nodes, counts, registers, plan, by_hand, books, checks }
    }

    pub(super) fn subjects(&self) -> usize {
        self.nodes.iter().map(|node| node.subjects.len()).sum()
    }
}

fn by_hand(hub: &Hub, plan: &Plan) -> BTreeMap<String, UtcMillis> {
    let books = hub.books();
    let all = books.by_hand().into_iter().map(|(meter, at)| (meter.to_string(), at));
    all.filter(|(meter, _)| point_of(plan, meter).is_some()).collect()
}

/// A node that left takes its counts off the page, as everything else of it.
fn counts(hub: &Hub, nodes: &[Node]) -> BTreeMap<NodeId, Counts> {
    let live = hub.live();
    let all = live.events().counts();
    nodes.iter().filter_map(|node| Some((node.id.clone(), all.get(&node.id)?.clone()))).collect()
}

/// First postings by kind of source.
fn sources(books: &Books) -> BTreeMap<&'static str, u128> {
    let mut sums: BTreeMap<&'static str, u128> = BTreeMap::new();
    for (account, millijoules) in books.supplied() {
        if let Some(word) = source(account) {
            let sum = sums.entry(word).or_default();
            *sum = sum.saturating_add(*millijoules);
        }
    }
    sums
}

fn sums(hub: &Hub, is_declared: bool) -> Sums {
    let books = hub.books();
    let window = |(word, length): (&'static str, i64)| window(&books, is_declared, word, length);
    Sums {
        sources: sources(&books),
        sinks: books.totals().clone(),
        imbalance: books.imbalance(),
        closed_until: closed(&books).map(|period| period.to),
        adjustments: books.intervals().fold(0, |sum, one| sum.saturating_add(one.adjustments)),
        pue: WINDOWS.into_iter().map(window).collect(),
    }
}

fn window(books: &Books, is_declared: bool, word: &'static str, length: i64) -> Window {
    let none = Window {
        word,
        category: None,
        ratio_micro: None,
        uncertainty_micro: None,
        estimated_micro: None,
        coverage_micro: None,
    };
    let Some(to) = books.closed_until() else { return none };
    let period = Period { from: UtcMillis::new(to.get().saturating_sub(length)), to };
    match pue::of(books, period, is_declared) {
        Ok(pue) => Window {
            word,
            category: Some(pue.category.number()),
            ratio_micro: micro(pue.total, pue.it),
            uncertainty_micro: pue.uncertainty.as_ref().ok().and_then(bounds),
            estimated_micro: micro(pue.total_estimated(), pue.total)
                .max(micro(pue.it_estimated, pue.it)),
            coverage_micro: micro(
                u128::from(pue.intervals_complete),
                u128::from(pue.intervals_expected),
            ),
        },
        // No complete interval is a coverage of zero; no declared category is no question.
        Err(_) => Window { coverage_micro: is_declared.then_some(0), ..none },
    }
}

fn bounds(known: &Uncertainty) -> Option<[i128; 2]> {
    let independent = i128::try_from(known.independent_micro).ok()?;
    Some([independent, i128::try_from(known.correlated_micro).ok()?])
}

/// In millionths, cut.
fn micro(part: u128, whole: u128) -> Option<i128> {
    let scaled = part.checked_mul(1_000_000)?.checked_div(whole)?;
    i128::try_from(scaled).ok()
}

/// The label of a source; `None` for what is no source.
fn source(account: &Account) -> Option<&'static str> {
    match account {
        Account::Grid(_) => Some("grid"),
        Account::Generator(_) => Some("generator"),
        Account::Solar(_) => Some("solar"),
        Account::Store(_) => Some("store"),
        Account::Dispute(_) | Account::DisputeNode(_) => Some("dispute"),
        Account::Missing(_) => Some("missing"),
        Account::Unplaced(_) => Some("unplaced"),
        Account::Point(_)
        | Account::Node(_)
        | Account::Gpu(_)
        | Account::Cpu(_)
        | Account::Dram(_)
        | Account::LossUps(_)
        | Account::LossDistribution(_)
        | Account::Cooling(_)
        | Account::Lighting(_)
        | Account::Other(_)
        | Account::Unmetered(_)
        | Account::Main
        | Account::IdleUnallocated
        | Account::Unattributed
        | Account::HostOverhead
        | Account::Project(..) => {
            debug_assert!(account.nature() != Nature::Source, "every source has a label");
            None
        }
    }
}

/// The role of a sink in the facility; `None` for what is no sink.
pub(super) fn role(account: &Account) -> Option<&'static str> {
    match account {
        Account::Project(..)
        | Account::IdleUnallocated
        | Account::Unattributed
        | Account::HostOverhead => Some("it"),
        Account::Cooling(_) => Some("cooling"),
        Account::LossUps(_) => Some("ups_loss"),
        Account::LossDistribution(_) => Some("distribution_loss"),
        Account::Lighting(_) => Some("lighting"),
        Account::Other(_) | Account::Unmetered(_) => Some("other"),
        Account::Grid(_)
        | Account::Generator(_)
        | Account::Solar(_)
        | Account::Store(_)
        | Account::Dispute(_)
        | Account::DisputeNode(_)
        | Account::Missing(_)
        | Account::Unplaced(_)
        | Account::Point(_)
        | Account::Node(_)
        | Account::Gpu(_)
        | Account::Cpu(_)
        | Account::Dram(_)
        | Account::Main => None,
    }
}
