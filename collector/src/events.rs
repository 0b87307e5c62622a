//! What happened at the nodes of one hub: the last events of each kind, and how often each was.
//!
//! # Invariants
//! - A view, a function of the journal: a replay makes it again, a snapshot carries it on.
//! - No kind displaces another, no XID another XID, and no node all the others: of each kind, and
//!   of each XID of the catalogue, the last [`EACH_MAX`] are kept, [`NODE_MAX`] of one node.
//! - Counts never fall and have as many lines as were seen, at most [`COUNTS_MAX`] for a node.

use std::collections::{BTreeMap, VecDeque};

use bijli_wire::batch::{Event, Subject};
use bijli_wire::message::EventKind;
use bijli_wire::{Millis, NodeId, Schema, SubjectId, SubjectKind, UtcMillis};
use serde::{Deserialize, Serialize};

use crate::xids::catalogue;

/// Events kept of a kind; XIDs, and events of the driver, by number.
pub const EACH_MAX: usize = 256;
/// Of one node among them.
pub const NODE_MAX: usize = 32;
/// Counts kept of a node by GPU and XID; what would be more is counted as one other.
pub const COUNTS_MAX: usize = 512;
/// What the collector says of a node itself, it says so often at most.
const TELL_EVERY: Millis = Millis::new(60_000);
/// The GPU of an XID whose place is no GPU's that the node declares.
const UNKNOWN_GPU: &str = "unknown";

/// Something that happened at a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeEvent {
    /// Counts all of the hub's from 1, in the order in which they came in.
    pub seq: u64,
    pub node: NodeId,
    /// `None`: the whole node.
    pub subject: Option<SubjectId>,
    pub at: UtcMillis,
    pub kind: EventKind,
    /// What it is of its kind; 0: it has no number.
    pub code: u32,
    /// How often it happened; at least 1.
    pub count: u32,
    /// As the agent sent it: foreign text, escape it wherever it is shown.
    pub text: String,
}

impl NodeEvent {
    /// The text with its number and how often it happened.
    #[must_use]
    pub fn words(&self) -> String {
        // The other kinds with a number are spelled out by the one who told of them.
        let mut words = if self.kind == EventKind::GpuXid {
            format!("XID {}: {}", self.code, self.text)
        } else {
            self.text.clone()
        };
        if self.count > 1 {
            words.push_str(&format!(", {} times", self.count));
        }
        words
    }
}

/// The events of one hub.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Events {
    seq: u64,
    kept: BTreeMap<Ring, VecDeque<NodeEvent>>,
    counts: BTreeMap<NodeId, Counts>,
}

/// What displaces each other: a kind, and the number where the catalogue or the driver has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Ring(EventKind, u32);

impl Ring {
    fn of(kind: EventKind, code: u32) -> Self {
        let has_own = (kind == EventKind::GpuXid && catalogue().has(code))
            || (kind == EventKind::GpuEvent && code.is_power_of_two());
        Self(kind, if has_own { code } else { 0 })
    }
}

/// How often what happened at one node, since the journal begins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    pub kinds: BTreeMap<EventKind, u64>,
    /// By the GPU's index and the XID; `None`: all that were too many to be told apart.
    pub xids: BTreeMap<(String, Option<u32>), XidCount>,
}

/// How often an XID was at a GPU, and when last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct XidCount {
    pub count: u64,
    pub last: UtcMillis,
}

impl Events {
    /// In the order in which they came in.
    #[must_use]
    pub fn list(&self) -> Vec<&NodeEvent> {
        let mut events: Vec<&NodeEvent> = self.kept.values().flatten().collect();
        events.sort_unstable_by_key(|event| event.seq);
        events
    }

    /// In no order.
    pub fn iter(&self) -> impl Iterator<Item = &NodeEvent> {
        self.kept.values().flatten()
    }

    /// By node.
    pub fn counts(&self) -> &BTreeMap<NodeId, Counts> {
        &self.counts
    }

    /// Takes over what a node said.
    pub(crate) fn absorb(&mut self, schema: &Schema, node: &NodeId, event: &Event) {
        let subject = event.subject.and_then(|index| schema.subjects.get(index));
        let gpu = subject.map_or(UNKNOWN_GPU, index_of);
        let event = NodeEvent {
            seq: 0,
            node: node.clone(),
            subject: subject.map(|subject| subject.id.clone()),
            at: event.at,
            kind: event.kind,
            code: event.code,
            count: event.count.max(1),
            text: event.text.clone(),
        };
        self.push(event, gpu);
    }

    /// Notes what the collector itself has to say of a node, at most once a minute and kind.
    pub(crate) fn tell(&mut self, node: &NodeId, at: UtcMillis, kind: EventKind, text: String) {
        let ring = self.kept.get(&Ring::of(kind, 0));
        let mut newest = ring.into_iter().flatten().rev();
        let last = newest.find(|event| event.node == *node).map(|event| event.at);
        if last.and_then(|last| at.since(last)).is_some_and(|since| since < TELL_EVERY) {
            return;
        }
        let (node, subject) = (node.clone(), None);
        let event = NodeEvent { seq: 0, node, subject, at, kind, code: 0, count: 1, text };
        self.push(event, UNKNOWN_GPU);
    }

    fn push(&mut self, event: NodeEvent, gpu: &str) {
        self.seq = self.seq.saturating_add(1);
        self.counts.entry(event.node.clone()).or_default().add(&event, gpu);
        let ring = self.kept.entry(Ring::of(event.kind, event.code)).or_default();
        let own = || ring.iter().enumerate().filter(|(_, kept)| kept.node == event.node);
        let goes = match own().count() {
            NODE_MAX.. => own().next().map(|(index, _)| index),
            _ => (ring.len() >= EACH_MAX).then_some(0),
        };
        if let Some(index) = goes {
            drop(ring.remove(index));
        }
        ring.push_back(NodeEvent { seq: self.seq, ..event });
    }
}

/// The index that people know a GPU by; its UUID where the agent gives none.
fn index_of(subject: &Subject) -> &str {
    match subject.kind {
        SubjectKind::Gpu if subject.label.is_empty() => subject.id.as_str(),
        SubjectKind::Gpu => &subject.label,
        SubjectKind::CpuPackage
        | SubjectKind::Dram
        | SubjectKind::Node
        | SubjectKind::Meter
        | SubjectKind::Unspecified => UNKNOWN_GPU,
    }
}

impl Counts {
    fn add(&mut self, event: &NodeEvent, gpu: &str) {
        let more = u64::from(event.count);
        let kind = self.kinds.entry(event.kind).or_default();
        *kind = kind.saturating_add(more);
        if event.kind != EventKind::GpuXid {
            return;
        }
        let mut key = (gpu.to_owned(), Some(event.code));
        if self.xids.len() >= COUNTS_MAX && !self.xids.contains_key(&key) {
            key = (UNKNOWN_GPU.to_owned(), None);
        }
        let xid = self.xids.entry(key).or_insert(XidCount { count: 0, last: event.at });
        xid.count = xid.count.saturating_add(more);
        xid.last = xid.last.max(event.at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(node: &str, kind: EventKind, code: u32, at: i64) -> NodeEvent {
        let node = NodeId::new(node).expect("a name");
        let (at, text) = (UtcMillis::new(at), String::new());
        NodeEvent { seq: 0, node, subject: None, at, kind, code, count: 1, text }
    }

    fn has(events: &Events, kind: EventKind, code: u32) -> usize {
        events.iter().filter(|event| (event.kind, event.code) == (kind, code)).count()
    }

    /// Guards against NVSentinel #1748: thousands of XID 45 hid the one that mattered.
    #[test]
    fn a_storm_hides_no_other_kind_and_no_other_xid_and_no_other_node() {
        let mut events = Events::default();
        events.push(event("n1", EventKind::GpuXid, 79, 1), "0");
        events.push(event("n1", EventKind::GpuXid, 45, 2), "0");
        events.push(event("n1", EventKind::ProbeFailed, 0, 3), "0");
        for at in 4..5_000 {
            events.push(event("noisy", EventKind::GpuXid, 45, at), "0");
            events.push(event("noisy", EventKind::AgentStarted, 0, at), "0");
        }
        assert_eq!(has(&events, EventKind::GpuXid, 79), 1);
        assert_eq!(has(&events, EventKind::ProbeFailed, 0), 1);
        assert_eq!(has(&events, EventKind::GpuXid, 45), NODE_MAX + 1, "one of the quiet node");
        let list = events.list();
        assert!(list.windows(2).all(|two| two[0].seq < two[1].seq), "as they came in");
        assert_eq!(list.last().map(|event| event.at), Some(UtcMillis::new(4_999)));
    }

    #[test]
    fn the_last_of_a_kind_are_kept_and_unknown_numbers_share_their_room() {
        let mut events = Events::default();
        for number in 0..1_000_u32 {
            let node = format!("n{number}");
            events.push(event(&node, EventKind::GpuXid, 31, i64::from(number)), "0");
            events.push(event(&node, EventKind::GpuXid, 5_000 + number, i64::from(number)), "0");
        }
        assert_eq!(events.iter().count(), 2 * EACH_MAX);
        assert_eq!(events.list().first().map(|event| event.at.get()), Some(1_000 - 256));
    }

    /// Goal: whatever numbers a node invents, its lines stay bounded and nothing is lost of sums.
    #[test]
    fn counts_are_sums_by_gpu_and_xid_and_bounded() {
        let mut events = Events::default();
        let storm = NodeEvent { count: 49, ..event("n1", EventKind::GpuXid, 62, 9_000) };
        events.push(event("n1", EventKind::GpuXid, 62, 7_000), "3");
        events.push(storm, "3");
        events.push(event("n1", EventKind::GpuXid, 62, 8_000), "4");
        let node = NodeId::new("n1").expect("a name");
        let counts = &events.counts()[&node];
        let newest = XidCount { count: 50, last: UtcMillis::new(9_000) };
        assert_eq!(counts.xids[&("3".to_owned(), Some(62))], newest, "not the one that came late");
        assert_eq!(counts.kinds[&EventKind::GpuXid], 51);
        for code in 0..10_000 {
            events.push(event("n1", EventKind::GpuXid, code, 0), "5");
        }
        let counts = &events.counts()[&node];
        assert_eq!(counts.xids.len(), COUNTS_MAX + 1);
        assert_eq!(counts.xids.values().map(|xid| xid.count).sum::<u64>(), 10_051);
        assert!(counts.xids.contains_key(&(UNKNOWN_GPU.to_owned(), None)));
    }

    #[test]
    fn the_collectors_own_word_is_told_once_a_minute() {
        let (mut events, node) = (Events::default(), NodeId::new("n1").expect("a name"));
        for at in [0, 59_999, 60_000] {
            let (at, kind) = (UtcMillis::new(at), EventKind::ClockCorrected);
            events.tell(&node, at, kind, "its clock is wrong".into());
        }
        assert_eq!(has(&events, EventKind::ClockCorrected, 0), 2);
    }

    #[test]
    fn words_have_number_and_count() {
        let mut one = event("n1", EventKind::GpuXid, 62, 0);
        one.text = "PMU halt".into();
        assert_eq!(one.words(), "XID 62: PMU halt");
        let many = NodeEvent { count: 49, kind: EventKind::ProbeFailed, ..one };
        assert_eq!(many.words(), "PMU halt, 49 times");
    }
}
