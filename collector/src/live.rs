//! The latest reading of every series of every node, for metrics and pages. Never for booking.
//!
//! # Invariants
//! - A view: rebuilt by replaying the journal, thrown away on exit.
//! - A value that failed to be read is `None` at its time; an older value is never shown for it.
//! - Bounded by what schemas declare: one [`Latest`] per series, events kept up to [`EVENTS_MAX`].

use std::collections::{BTreeMap, VecDeque};

use bijli_wire::batch::{Event, Series, Subject};
use bijli_wire::message::EventKind;
use bijli_wire::{Batch, Millis, NodeId, Quantity, Schema, SchemaId, SubjectId, UtcMillis};

/// Events kept per hub for pages; older ones are only in the journal.
pub const EVENTS_MAX: usize = 512;
/// What the collector says of a node itself, it says so often at most.
const TELL_EVERY: Millis = Millis::new(60_000);

/// Everything current about one hub's nodes.
#[derive(Clone, Debug, Default)]
pub struct Live {
    nodes: BTreeMap<NodeId, NodeLive>,
    events: VecDeque<NodeEvent>,
}

/// What one node last said.
#[derive(Clone, Debug)]
pub struct NodeLive {
    /// The agent's name and version, as it says.
    pub agent: String,
    pub schema: SchemaId,
    /// In the schema's order.
    pub subjects: Vec<Subject>,
    /// The collector's clock when the newest batch came in.
    pub received: UtcMillis,
    /// The node's clock when it made that batch. `received - created` is transport plus skew.
    pub created: UtcMillis,
    /// The time of the newest reading; `None` until a batch had any.
    pub newest: Option<UtcMillis>,
    /// Batches since the journal begins.
    pub batches: u64,
    readings: BTreeMap<SeriesKey, Latest>,
}

/// Names a series within a node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SeriesKey {
    pub subject: SubjectId,
    pub quantity: Quantity,
    pub part: u32,
}

/// The newest row of a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Latest {
    pub at: UtcMillis,
    /// In the unit of the catalogue; `None`: it could not be read at that time.
    pub value: Option<i64>,
}

/// Something that happened at a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeEvent {
    pub node: NodeId,
    /// `None`: the whole node.
    pub subject: Option<SubjectId>,
    pub at: UtcMillis,
    pub kind: EventKind,
    /// As the agent sent it: foreign text, escape it wherever it is shown.
    pub text: String,
}

impl Live {
    /// By node id.
    pub fn nodes(&self) -> impl Iterator<Item = (&NodeId, &NodeLive)> {
        self.nodes.iter()
    }

    #[must_use]
    pub fn node(&self, node: &NodeId) -> Option<&NodeLive> {
        self.nodes.get(node)
    }

    /// Newest last.
    pub fn events(&self) -> impl DoubleEndedIterator<Item = &NodeEvent> {
        self.events.iter()
    }

    /// How many nodes sent a batch at or after `since` (the collector's clock).
    #[must_use]
    pub fn reporting(&self, since: UtcMillis) -> usize {
        self.nodes.values().filter(|node| node.received >= since).count()
    }

    /// Takes over what a batch says, where it is newer than what is known.
    pub fn absorb(&mut self, id: SchemaId, schema: &Schema, batch: &Batch, received: UtcMillis) {
        for event in &batch.events {
            self.push_event(schema, &batch.node, event);
        }
        let node = self.nodes.entry(batch.node.clone()).or_insert_with(|| NodeLive {
            agent: schema.agent.clone(),
            schema: id,
            subjects: schema.subjects.clone(),
            received,
            created: batch.created,
            newest: None,
            batches: 0,
            readings: BTreeMap::new(),
        });
        node.batches = node.batches.saturating_add(1);
        if received >= node.received {
            node.received = received;
            node.created = batch.created;
        }
        if node.schema != id {
            node.take_schema(id, schema);
        }
        node.newest = node.newest.max(batch.latest());
        node.take_readings(schema, batch);
    }

    /// Notes what the collector itself has to say of a node, at most once a minute and kind.
    pub fn tell(&mut self, node: &NodeId, at: UtcMillis, kind: EventKind, text: String) {
        let is_same = |event: &&NodeEvent| event.node == *node && event.kind == kind;
        let last = self.events.iter().rev().find(is_same).map(|event| event.at);
        if last.and_then(|last| at.since(last)).is_some_and(|since| since < TELL_EVERY) {
            return;
        }
        self.push(NodeEvent { node: node.clone(), subject: None, at, kind, text });
    }

    fn push_event(&mut self, schema: &Schema, node: &NodeId, event: &Event) {
        let subject = event.subject.and_then(|index| schema.subjects.get(index));
        self.push(NodeEvent {
            node: node.clone(),
            subject: subject.map(|subject| subject.id.clone()),
            at: event.at,
            kind: event.kind,
            text: event.text.clone(),
        });
    }

    fn push(&mut self, event: NodeEvent) {
        if self.events.len() >= EVENTS_MAX {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }
}

impl NodeLive {
    /// The newest row of a series; `None` if the node never sent it.
    #[must_use]
    pub fn latest(&self, subject: &SubjectId, quantity: Quantity, part: u32) -> Option<Latest> {
        let key = SeriesKey { subject: subject.clone(), quantity, part };
        self.readings.get(&key).copied()
    }

    /// Every series, ordered by subject, quantity, part.
    pub fn readings(&self) -> impl Iterator<Item = (&SeriesKey, Latest)> {
        self.readings.iter().map(|(key, latest)| (key, *latest))
    }

    /// A series that the node no longer offers disappears; it does not go stale on show.
    fn take_schema(&mut self, id: SchemaId, schema: &Schema) {
        self.schema = id;
        self.agent.clone_from(&schema.agent);
        self.subjects.clone_from(&schema.subjects);
        let offered: std::collections::BTreeSet<SeriesKey> = schema
            .groups
            .iter()
            .flat_map(|group| &group.series)
            .filter_map(|series| key_of(schema, series))
            .collect();
        self.readings.retain(|key, _| offered.contains(key));
    }

    fn take_readings(&mut self, schema: &Schema, batch: &Batch) {
        for matrix in &batch.matrices {
            let (Some(group), Some(at)) =
                (schema.groups.get(matrix.group), matrix.times.last().copied())
            else {
                continue;
            };
            for (series, column) in group.series.iter().zip(&matrix.columns) {
                let Some(key) = key_of(schema, series) else { continue };
                let spec = key.quantity.spec();
                // A value outside the catalogue's range cannot be true: it is missing.
                let value = column.last().copied().flatten().filter(|value| spec.admits(*value));
                let latest = self.readings.entry(key).or_insert(Latest { at, value });
                if at >= latest.at {
                    *latest = Latest { at, value };
                }
            }
        }
    }
}

/// `None` for a newer sender's quantity.
fn key_of(schema: &Schema, series: &Series) -> Option<SeriesKey> {
    let subject = schema.subjects.get(series.subject)?.id.clone();
    series.quantity.map(|quantity| SeriesKey { subject, quantity, part: series.part })
}
