//! Leaves of one hub and period, taken one by one: what is kept of them is sums.
//!
//! # Invariants
//! - A posting counts when its summary is there; what a log ends within is not counted.
//! - What is kept is a function of the leaves alone, in their order.
//! - Flows within nodes are summed into one account: a hub has thousands of devices, and their
//!   entries are in `entries.parquet`.

use std::collections::{BTreeMap, BTreeSet};

use bijli_ledger::leaf::{Body, Line, Posting, PueShown, ReasonShown, Summary};
use bijli_ledger::{Account, Class, Flow, Leaf, Nature};
use bijli_wire::{HubId, NodeId, UtcMillis};

use super::cited::Leaves;

/// Accounts by number, in order of first use.
#[derive(Debug, Default)]
pub(super) struct Chart {
    numbers: BTreeMap<Account, u32>,
    accounts: Vec<Account>,
}

impl Chart {
    fn number(&mut self, account: &Account) -> u32 {
        if let Some(number) = self.numbers.get(account) {
            return *number;
        }
        let number = u32::try_from(self.accounts.len()).unwrap_or(u32::MAX);
        self.accounts.push(account.clone());
        self.numbers.insert(account.clone(), number);
        number
    }

    pub(super) fn account(&self, number: u32) -> Option<&Account> {
        self.accounts.get(usize::try_from(number).ok()?)
    }
}

/// Debit, credit and class of a flow, by number.
type Key = (u32, u32, Class);

/// Both sides of one account, reversals not taken back.
#[derive(Debug, Default)]
pub(super) struct Sides {
    pub(super) debits: u128,
    pub(super) credits: u128,
    /// Not kept of nodes and devices, of which a hub has thousands.
    pub(super) leaves: Leaves,
}

/// An interval as one of its summaries says that it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) supplied: u128,
    pub(super) used: u128,
    pub(super) pue: PueShown,
    pub(super) reasons: Vec<ReasonShown>,
    pub(super) reasons_more: u32,
    /// Index of the summary.
    pub(super) leaf: u64,
}

/// One correction of an interval.
#[derive(Clone, Debug)]
pub(super) struct Correction {
    pub(super) revision: u32,
    pub(super) before: Standing,
    pub(super) after: Standing,
    /// Its first leaf; the summary is the last.
    pub(super) first_leaf: u64,
    /// The record of the journal that posted it, and how many entries it has.
    pub(super) record: u64,
    pub(super) entries: u32,
    /// What changed of each source and sink.
    pub(super) moved: BTreeMap<u32, i128>,
}

/// One interval of the period.
#[derive(Debug)]
pub(super) struct Interval {
    pub(super) end: UtcMillis,
    /// Net, corrections included.
    flows: BTreeMap<Key, i128>,
    pub(super) standing: Standing,
    pub(super) corrections: Vec<Correction>,
    pub(super) leaves: Leaves,
    pub(super) entries: u64,
}

/// One entry on its way into a file.
#[derive(Clone, Copy, Debug)]
pub struct EntryAt<'a> {
    pub leaf: u64,
    pub interval: UtcMillis,
    pub line: &'a Line,
    /// The first entry of the interval that it corrects.
    pub corrects: Option<u64>,
    pub rule: u32,
}

/// A posting whose summary has not come yet.
#[derive(Debug)]
struct Waiting {
    index: u64,
    posting: Posting,
    corrects: Option<u64>,
    rule: u32,
}

/// The sums of one hub and period.
#[derive(Debug)]
pub(super) struct Fold {
    hub: HubId,
    from: UtcMillis,
    to: UtcMillis,
    /// Nodes are kept apart: PUE is measured at them.
    keeps_nodes: bool,
    waiting: Vec<Waiting>,
    /// The number of the account that stands for all nodes.
    within: u32,
    pub(super) chart: Chart,
    pub(super) sides: BTreeMap<u32, Sides>,
    pub(super) intervals: BTreeMap<i64, Interval>,
    /// Everything of the hub that the leaves close, whichever month it is.
    pub(super) closed_until: Option<UtcMillis>,
    pub(super) rules: BTreeSet<u32>,
    /// First and last record of the journal that the period's leaves name.
    pub(super) records: Option<(u64, u64)>,
    pub(super) nodes: BTreeSet<NodeId>,
}

impl Fold {
    pub(super) fn new(hub: HubId, (from, to): (UtcMillis, UtcMillis), keeps_nodes: bool) -> Self {
        let mut chart = Chart::default();
        let within = chart.number(&Account::Node(NodeId::new("it").expect("a name")));
        Self {
            hub,
            from,
            to,
            keeps_nodes,
            waiting: Vec::new(),
            within,
            chart,
            sides: BTreeMap::new(),
            intervals: BTreeMap::new(),
            closed_until: None,
            rules: BTreeSet::new(),
            records: None,
            nodes: BTreeSet::new(),
        }
    }

    fn is_within(&self, interval: UtcMillis) -> bool {
        self.from <= interval && interval < self.to
    }

    /// Takes the next leaf of the log. `entries` is handed what counts, in the order of the log.
    ///
    /// # Errors
    /// What `entries` fails with.
    pub(super) fn take<E>(
        &mut self,
        index: u64,
        leaf: Leaf,
        entries: &mut impl FnMut(EntryAt<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if leaf.hub.as_ref() != Some(&self.hub) {
            return Ok(());
        }
        let (rule, source) = (leaf.rule_version, leaf.source);
        let (posting, corrects) = match leaf.body {
            Body::Posting(posting) => (posting, None),
            Body::Adjustment { corrects, posting, .. } => (posting, Some(corrects)),
            Body::Summary(summary) => {
                self.closed_until = self.closed_until.max(Some(summary.end));
                if self.is_within(summary.interval) {
                    self.rules.insert(rule);
                    let (first, last) = self.records.unwrap_or((source.first, source.last));
                    self.records = Some((first.min(source.first), last.max(source.last)));
                    self.commit(index, summary, source.last, entries)?;
                }
                self.waiting.clear();
                return Ok(());
            }
            Body::Pruned(_)
            | Body::Snapshot(_)
            | Body::Statement(_)
            | Body::Period(_)
            | Body::Restatement(_) => return Ok(()),
        };
        if self.is_within(posting.interval) {
            self.waiting.push(Waiting { index, posting, corrects, rule });
        }
        Ok(())
    }

    fn commit<E>(
        &mut self,
        index: u64,
        summary: Summary,
        record: u64,
        entries: &mut impl FnMut(EntryAt<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let start = summary.interval;
        let waiting = std::mem::take(&mut self.waiting);
        let first_leaf = waiting.first().map_or(index, |first| first.index);
        let mut flows = self
            .intervals
            .get_mut(&start.get())
            .map_or_else(BTreeMap::new, |one| std::mem::take(&mut one.flows));
        let mut moved = BTreeMap::new();
        for Waiting { index, posting, corrects, rule } in &waiting {
            for line in &posting.lines {
                let (leaf, corrects) = (*index, *corrects);
                entries(EntryAt { leaf, interval: start, line, corrects, rule: *rule })?;
                self.post(*index, line, &mut flows, &mut moved);
            }
        }
        let standing = Standing {
            supplied: summary.supplied,
            used: summary.used,
            pue: summary.pue,
            reasons: summary.reasons,
            reasons_more: summary.reasons_more,
            leaf: index,
        };
        let interval = self.intervals.entry(start.get()).or_insert_with(|| Interval {
            end: summary.end,
            flows: BTreeMap::new(),
            standing: standing.clone(),
            corrections: Vec::new(),
            leaves: Leaves::default(),
            entries: 0,
        });
        interval.flows = flows;
        if summary.revision > 0 {
            moved.retain(|_, amount| *amount != 0);
            interval.corrections.push(Correction {
                revision: summary.revision,
                before: interval.standing.clone(),
                after: standing.clone(),
                first_leaf,
                record,
                entries: summary.entries,
                moved,
            });
        }
        interval.standing = standing;
        let leaves = waiting.iter().map(|one| one.index).chain([index]);
        leaves.for_each(|leaf| interval.leaves.add(leaf));
        interval.entries += u64::from(summary.entries);
        Ok(())
    }

    fn post(
        &mut self,
        index: u64,
        line: &Line,
        flows: &mut BTreeMap<Key, i128>,
        moved: &mut BTreeMap<u32, i128>,
    ) {
        let Line { debit, credit, class, amount, is_reversal, .. } = line;
        for (account, is_debit) in [(debit, true), (credit, false)] {
            if let Account::Node(node) = account
                && !self.nodes.contains(node)
            {
                self.nodes.insert(node.clone());
            }
            let sides = self.sides.entry(self.chart.number(account)).or_default();
            let sum = if is_debit { &mut sides.debits } else { &mut sides.credits };
            *sum = sum.saturating_add(u128::from(*amount));
            if !is_of_node(account) {
                sides.leaves.add(index);
            }
        }
        let (giver, receiver) = if *is_reversal { (debit, credit) } else { (credit, debit) };
        let change = i128::from(*amount);
        let change = if *is_reversal { -change } else { change };
        for account in [giver, receiver] {
            if account.nature() != Nature::Through {
                *moved.entry(self.chart.number(account)).or_default() += change;
            }
        }
        if let Some(key) = self.key(giver, receiver, *class) {
            *flows.entry(key).or_default() += change;
        }
    }

    /// Which of the kept flows this one is part of; `None`: it stays within nodes.
    fn key(&mut self, giver: &Account, receiver: &Account, class: Class) -> Option<Key> {
        if is_of_node(giver) && is_of_node(receiver) {
            return None;
        }
        let is_source = giver.nature() == Nature::Source;
        let keeps = self.keeps_nodes || is_source;
        let is_merged = is_of_node(receiver) && !keeps;
        let debit = if is_merged { self.within } else { self.chart.number(receiver) };
        let credit = if is_of_node(giver) { self.within } else { self.chart.number(giver) };
        Some((debit, credit, class))
    }
}

/// A node or a device of one.
pub(super) const fn is_of_node(account: &Account) -> bool {
    matches!(account, Account::Node(_) | Account::Gpu(_) | Account::Cpu(_) | Account::Dram(_))
}

impl Interval {
    /// Its net flows; `None` if one is below zero: leaves are missing from the log.
    pub(super) fn flows(&self, chart: &Chart) -> Option<BTreeMap<Flow, u128>> {
        let mut flows = BTreeMap::new();
        for ((debit, credit, class), amount) in &self.flows {
            let amount = u128::try_from(*amount).ok()?;
            let (debit, credit) = (chart.account(*debit)?, chart.account(*credit)?);
            let flow = Flow { debit: debit.clone(), credit: credit.clone(), class: *class };
            if amount > 0 {
                flows.insert(flow, amount);
            }
        }
        Some(flows)
    }

    /// E_DC, E_IT and what batteries gave, if it counts.
    pub(super) const fn terms(&self) -> Option<(u128, u128, u128)> {
        match &self.standing.pue {
            PueShown::Parts { total, it, store_drawn, .. } => Some((*total, *it, *store_drawn)),
            PueShown::Withheld(_) => None,
        }
    }

    /// How often entries corrected it.
    pub(super) fn adjustments(&self) -> u64 {
        let with = self.corrections.iter().filter(|one| one.entries > 0);
        u64::try_from(with.count()).unwrap_or(u64::MAX)
    }
}
