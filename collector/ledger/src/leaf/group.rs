//! To whom each entry of a posting belongs.
//!
//! An entry is of the node whose device or self it moves energy through; else of the point that
//! receives, or that uses; else of the hub. What a node takes from a point is the node's.

use std::collections::{BTreeMap, BTreeSet};

use bijli_wire::{NodeId, SubjectId};

use super::{Owner, held};
use crate::account::Account;
use crate::class::Class;
use crate::entry::Entry;

/// One entry in a leaf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Sequence in the hub's books.
    pub seq: u64,
    pub debit: Account,
    pub credit: Account,
    pub class: Class,
    /// Above 0.
    pub amount: u64,
    pub is_reversal: bool,
}

/// The entries of one owner, by sequence.
pub type Owned = BTreeMap<Owner, Vec<Line>>;

impl Line {
    pub(crate) fn of(entry: &Entry<'_>) -> Self {
        Self {
            seq: entry.seq,
            debit: entry.debit.clone(),
            credit: entry.credit.clone(),
            class: entry.class,
            amount: entry.amount.get(),
            is_reversal: entry.adjusts.is_some_and(|adjusts| adjusts.is_reversal),
        }
    }

    /// Giver and receiver of the flow that it posts or takes back.
    fn flow(&self) -> (&Account, &Account) {
        if self.is_reversal { (&self.debit, &self.credit) } else { (&self.credit, &self.debit) }
    }
}

/// Groups the entries of one posting. `node_of` tells the node of a device.
pub(crate) fn group<'a>(
    entries: impl Iterator<Item = Entry<'a>>,
    node_of: impl Fn(&SubjectId) -> Option<NodeId>,
) -> Owned {
    let mut owned = Owned::new();
    for entry in entries {
        let line = Line::of(&entry);
        let owner = owner(&line, &node_of);
        owned.entry(owner).or_default().push(line);
    }
    // A device that is another node's now: its leaves would not balance, so they are the hub's.
    let torn = owned.iter().filter(|(owner, lines)| imbalance(owner, lines).is_some());
    let torn: Vec<Owner> = torn.map(|(owner, _)| owner.clone()).collect();
    let lines: Vec<Line> = torn.iter().filter_map(|owner| owned.remove(owner)).flatten().collect();
    if !lines.is_empty() {
        let hub = owned.entry(Owner::Hub).or_default();
        hub.extend(lines);
        hub.sort_by_key(|line| line.seq);
    }
    owned
}

fn owner(line: &Line, node_of: &impl Fn(&SubjectId) -> Option<NodeId>) -> Owner {
    let (giver, receiver) = line.flow();
    let of_node = |account: &Account| match account {
        Account::Gpu(device) | Account::Cpu(device) | Account::Dram(device) => node_of(device),
        Account::Node(node) => Some(node.clone()),
        Account::Grid(_)
        | Account::Generator(_)
        | Account::Solar(_)
        | Account::Store(_)
        | Account::Dispute(_)
        | Account::DisputeNode(_)
        | Account::Missing(_)
        | Account::Unplaced(_)
        | Account::Point(_)
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
        | Account::Project(..) => None,
    };
    if let Some(node) = of_node(receiver).or_else(|| of_node(giver)) {
        return Owner::Node(node);
    }
    match (receiver, giver) {
        (Account::Point(point), _) | (_, Account::Point(point)) => Owner::Point(point.clone()),
        (
            Account::Main,
            Account::Grid(point) | Account::Generator(point) | Account::Solar(point),
        ) => Owner::Point(point.clone()),
        _ => Owner::Hub,
    }
}

/// An account within an owner that its entries leave with energy.
pub(super) fn imbalance<'a>(owner: &Owner, lines: &'a [Line]) -> Option<&'a Account> {
    let Owner::Node(node) = owner else { return None };
    let is_device =
        |account: &Account| matches!(account, Account::Gpu(_) | Account::Cpu(_) | Account::Dram(_));
    let is_self = |account: &Account| matches!(account, Account::Node(other) if other == node);
    let is_within = |account: &&Account| is_device(account) || is_self(account);
    held(lines.iter()).into_keys().find(is_within)
}

/// The accounts that entries name, in their order.
pub(super) fn accounts(lines: &[Line]) -> BTreeSet<&Account> {
    lines.iter().flat_map(|line| [&line.debit, &line.credit]).collect()
}
