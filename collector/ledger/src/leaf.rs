//! Leaves: what the books posted, in the form in which it is kept for ever and can be proven.
//!
//! A *leaf* is the payload of one record of the ledger log. When an interval closes, its entries
//! become one leaf per node, per point of the diagram, and for the hub, and last of all the
//! interval's summary; when it is corrected, the same with leaves that name the old ones.
//!
//! # Invariants
//! - One leaf has one encoding: what [`Leaf::decode`] takes, [`Leaf::encode`] gives back.
//! - Every entry is in exactly one leaf; the leaves of a posting give back its entries.
//! - A node's leaf balances by itself: the node and its devices come out at zero in it. So do, over
//!   all leaves of one posting, the points and the board.
//! - A leaf has at most [`LEAF_BYTES_MAX`] bytes.
//!
//! The format is in `docs/formats/leaves.md` and pinned by `tests/golden/leaves/v1`. The codec is
//! in `bytes`, who an entry belongs to in `group`, numbering and splitting in `maker`.

mod bytes;
mod group;
mod maker;

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use bijli_wire::{HubId, NodeId, UtcMillis};

use crate::account::{Account, Nature};
use crate::diagram::{Category, PointId, Role};
use crate::period::{PeriodClosed, Restatement};
use crate::pue::Withheld;
use crate::rules::RULE_VERSION;

pub(crate) use group::group;
pub use group::{Line, Owned};
pub use maker::LeafMaker;

/// The longest leaf: what an entry bundle of a transparency log can hold, less the leaf's index.
pub const LEAF_BYTES_MAX: usize = 65_535 - 8;
/// The first byte of every leaf. A newer one is refused, never guessed at.
pub const LEAF_VERSION: u8 = 1;

/// Where a leaf's facts are in the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// The record after the one that the leaves before it name as their last.
    pub first: u64,
    /// The record whose receive time posted it. It follows from the journal through here.
    pub last: u64,
    /// SHA-256 over the digests of these records, in their order.
    pub hash: [u8; 32],
}

/// Whose entries a leaf has.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Owner {
    /// The main board, and what belongs to no point and no node.
    Hub,
    /// A point of the diagram: what it takes from above, and what it uses itself.
    Point(PointId),
    /// A node: what it takes, and what its devices and its host use it for.
    Node(NodeId),
}

/// One leaf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// The version of the derivation rules.
    pub rule_version: u32,
    /// `None` in a leaf about the journal, which is of all hubs.
    pub hub: Option<HubId>,
    pub source: Source,
    pub body: Body,
}

/// What a leaf is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// Entries with which an interval was first posted.
    Posting(Posting),
    /// Entries that correct a posted interval.
    Adjustment {
        /// Index of the leaf that it corrects: the owner's first of this interval, or the
        /// interval's first summary where the owner had none.
        old_leaf: u64,
        /// The first entry of the interval.
        corrects: u64,
        posting: Posting,
    },
    /// Ends the leaves of one posting.
    Summary(Summary),
    /// A segment of the journal whose bytes are no longer kept.
    Pruned(Pruned),
    /// The books as they stood after the last record that this leaf names.
    Snapshot(Snapshot),
    /// What a person or the collector itself says for the record.
    Statement(Statement),
    /// A month was closed, with its figures.
    Period(Box<PeriodClosed>),
    /// A closed month has other figures than were told.
    Restatement(Box<Restatement>),
}

/// Entries of one owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posting {
    pub interval: UtcMillis,
    pub owner: Owner,
    /// From 1. Only an owner with more entries than a leaf can hold has a second part.
    pub part: u16,
    pub parts: u16,
    /// By sequence, at least one.
    pub lines: Vec<Line>,
}

/// What an interval comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    pub interval: UtcMillis,
    /// Exclusive.
    pub end: UtcMillis,
    /// 0 when the interval closes, then counting its corrections.
    pub revision: u32,
    /// Index of the summary before this one; `None` for revision 0.
    pub old_leaf: Option<u64>,
    /// So many leaves directly before this one are of this posting...
    pub leaves: u32,
    /// ...and have these entries: the first one and how many.
    pub first_entry: u64,
    pub entries: u32,
    /// What all sources gave and all sinks received, corrections included.
    pub supplied: u128,
    pub used: u128,
    pub pue: PueShown,
    /// Why the interval is not complete, in the order of the rules; complete if there is none.
    pub reasons: Vec<ReasonShown>,
    /// Reasons that did not fit.
    pub reasons_more: u32,
}

/// A reason as a leaf keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReasonShown {
    pub is_dispute: bool,
    pub words: String,
}

/// What an interval adds to PUE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PueShown {
    Withheld(Withheld),
    Parts {
        total: u128,
        it: u128,
        by_source: BTreeMap<Role, u128>,
        store_drawn: u128,
        estimated: u128,
        category: Category,
    },
}

/// What is kept of a segment that is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pruned {
    pub segment: u64,
    /// The records it had.
    pub first: u64,
    pub last: u64,
    pub bytes: u64,
    /// SHA-256 of the whole file.
    pub sha256: [u8; 32],
}

/// From what the books can be made without the records before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Of the snapshot before it is compressed.
    pub bytes: u64,
    pub sha256: [u8; 32],
}

/// Words for the record. They book nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// When it was said.
    pub at: UtcMillis,
    /// What it is about; names are append only: `old head`.
    pub about: String,
    pub text: String,
}

/// What a reader of leaves must know of one before it reads the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peek {
    /// `None`: all hubs.
    pub hub: Option<HubId>,
    /// Whether it is part of a posting whose summary is yet to come.
    pub is_within_posting: bool,
}

/// Why bytes are no leaf.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeafError {
    #[error("a leaf of format {found}: this program knows {LEAF_VERSION}")]
    Version { found: u8 },
    #[error("leaf kind {found} is not known")]
    Kind { found: u8 },
    #[error("the leaf ends within its {field}")]
    Cut { field: &'static str },
    #[error("the leaf's {field} is none")]
    Field { field: &'static str },
    #[error("the leaf is not in its one form")]
    NotCanonical,
    #[error("{account} does not come out at zero within the leaf of {owner}")]
    Unbalanced { owner: String, account: String },
    #[error("the leaf has {bytes} bytes, the limit is {LEAF_BYTES_MAX}")]
    TooLong { bytes: usize },
}

impl Leaf {
    /// A leaf about the journal, which is of all hubs.
    #[must_use]
    pub const fn of_journal(body: Body, source: Source) -> Self {
        Self { rule_version: RULE_VERSION, hub: None, source, body }
    }

    /// A leaf about a month of one hub.
    #[must_use]
    pub const fn of_period(hub: HubId, body: Body, source: Source) -> Self {
        Self { rule_version: RULE_VERSION, hub: Some(hub), source, body }
    }

    /// The one form of this leaf.
    ///
    /// # Panics
    /// If it has more bytes than a leaf may have: [`LeafMaker`] splits before.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let bytes = bytes::encode(self);
        assert!(bytes.len() <= LEAF_BYTES_MAX, "the maker splits what is longer");
        bytes
    }

    /// Reads a leaf and checks that it is in its one form and balances by itself.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn decode(bytes: &[u8]) -> Result<Self, LeafError> {
        if bytes.len() > LEAF_BYTES_MAX {
            return Err(LeafError::TooLong { bytes: bytes.len() });
        }
        let leaf = bytes::decode(bytes)?;
        if bytes::encode(&leaf) != bytes {
            return Err(LeafError::NotCanonical);
        }
        if let Some(posting) = leaf.posting() {
            posting.check()?;
        }
        Ok(leaf)
    }

    /// Its entries, if it has any.
    #[must_use]
    pub const fn posting(&self) -> Option<&Posting> {
        match &self.body {
            Body::Posting(posting) | Body::Adjustment { posting, .. } => Some(posting),
            Body::Summary(_)
            | Body::Pruned(_)
            | Body::Snapshot(_)
            | Body::Statement(_)
            | Body::Period(_)
            | Body::Restatement(_) => None,
        }
    }

    /// Reads no more of a leaf than whose it is.
    ///
    /// # Errors
    /// When already this is not a leaf's.
    pub fn peek(bytes: &[u8]) -> Result<Peek, LeafError> {
        bytes::peek(bytes)
    }

    /// The interval that it is of.
    #[must_use]
    pub const fn interval(&self) -> Option<UtcMillis> {
        match &self.body {
            Body::Posting(posting) | Body::Adjustment { posting, .. } => Some(posting.interval),
            Body::Summary(summary) => Some(summary.interval),
            Body::Pruned(_)
            | Body::Snapshot(_)
            | Body::Statement(_)
            | Body::Period(_)
            | Body::Restatement(_) => None,
        }
    }
}

impl Owner {
    /// For a log line.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Hub => "the hub".to_owned(),
            Self::Point(point) => format!("point {point}"),
            Self::Node(node) => format!("node {node}"),
        }
    }
}

impl Posting {
    /// Whether the node and its devices come out at zero. A part does so only with the others.
    fn check(&self) -> Result<(), LeafError> {
        if self.parts > 1 {
            return Ok(());
        }
        match group::imbalance(&self.owner, &self.lines) {
            None => Ok(()),
            Some(account) => Err(LeafError::Unbalanced {
                owner: self.owner.words(),
                account: account.to_string(),
            }),
        }
    }
}

/// What accounts of passage hold over some entries: zero each over all leaves of a posting.
#[must_use]
pub fn held<'a>(lines: impl Iterator<Item = &'a Line>) -> BTreeMap<&'a Account, i128> {
    let mut sums: BTreeMap<&Account, i128> = BTreeMap::new();
    for line in lines {
        let amount = i128::from(line.amount);
        for (account, change) in [(&line.debit, amount), (&line.credit, amount.saturating_neg())] {
            if account.nature() == Nature::Through {
                let sum = sums.entry(account).or_default();
                *sum = sum.saturating_add(change);
            }
        }
    }
    sums.retain(|_, sum| *sum != 0);
    sums
}

#[cfg(test)]
mod tests;
