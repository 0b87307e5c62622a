//! The latest reading of every series of every node, and what happened at them, for metrics and
//! pages. Never for booking.
//!
//! # Invariants
//! - A view: rebuilt by replaying the journal, thrown away on exit. What is shown before its turn
//!   ([`Live::glimpse`]) is not in the journal yet.
//! - A value that failed to be read is `None` at its time; an older value is never shown for it.
//! - Bounded by what schemas declare: one [`Latest`] per series; events as `events.rs` says.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

#[cfg(test)]
use bijli_wire::batch::Event;
use bijli_wire::batch::{Series, Subject};
use bijli_wire::message::EventKind;
use bijli_wire::{Batch, NodeId, Quantity, Schema, SchemaId, SubjectId, Table, UtcMillis};

use crate::events::Events;

/// Everything current about one hub's nodes.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Live {
    nodes: BTreeMap<NodeId, NodeLive>,
    events: Events,
}

/// What one node last said.
#[derive(Clone, Debug, Serialize, Deserialize)]
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
    /// What had to be added to the times of the last batch; 0: its clock is good.
    pub clock_offset_ms: i64,
    /// Batches whose times were corrected, since the journal begins.
    pub clock_corrected: u64,
    /// All series that the schema offers, rising.
    keys: Vec<SeriesKey>,
    /// Of each of these the newest row; `None`: never sent.
    latest: Vec<Option<Latest>>,
    /// By group and column of the schema: which series it is.
    columns: Vec<Vec<Option<Column>>>,
}

/// A column of the schema in force.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Column {
    /// Into `keys`.
    index: usize,
    quantity: Quantity,
}

/// Names a series within a node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SeriesKey {
    pub subject: SubjectId,
    pub quantity: Quantity,
    pub part: u32,
}

/// The newest row of a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latest {
    pub at: UtcMillis,
    /// In the unit of the catalogue; `None`: it could not be read at that time.
    pub value: Option<i64>,
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

    #[must_use]
    pub const fn events(&self) -> &Events {
        &self.events
    }

    /// Lets a node tell of something, without a batch.
    #[cfg(test)]
    pub(crate) fn absorb_event(&mut self, schema: &Schema, node: &NodeId, event: &Event) {
        self.events.absorb(schema, node, event);
    }

    /// How many nodes sent a batch at or after `since` (the collector's clock).
    #[must_use]
    pub fn reporting(&self, since: UtcMillis) -> usize {
        self.nodes.values().filter(|node| node.received >= since).count()
    }

    /// Notes by how much the times of a node's last batch were corrected.
    pub fn correct(&mut self, node: &NodeId, offset_ms: i64, received: UtcMillis) {
        let Some(live) = self.nodes.get_mut(node) else { return };
        live.clock_offset_ms = offset_ms;
        if offset_ms == 0 {
            return;
        }
        live.clock_corrected = live.clock_corrected.saturating_add(1);
        let text = format!("its clock is wrong: {offset_ms} ms were added to its times");
        self.tell(node, received, EventKind::ClockCorrected, text);
    }

    /// Takes over what a batch says, where it is newer than what is known.
    pub fn absorb(
        &mut self,
        id: SchemaId,
        schema: &Schema,
        batch: &Batch<Table>,
        received: UtcMillis,
    ) {
        for event in &batch.events {
            self.events.absorb(schema, &batch.node, event);
        }
        if !self.nodes.contains_key(&batch.node) {
            let node = NodeLive::new(id, schema, batch, received);
            self.nodes.insert(batch.node.clone(), node);
        }
        let node = self.nodes.get_mut(&batch.node).expect("inserted above");
        node.batches = node.batches.saturating_add(1);
        if received >= node.received {
            node.received = received;
            node.created = batch.created;
        }
        if node.schema != id {
            node.take_schema(id, schema);
        }
        node.newest = node.newest.max(batch.latest());
        node.take_readings(batch);
    }

    /// Shows the newest readings of a node whose elder batches are still to come. What is counted
    /// of the node, and its events, wait for the batch's own turn.
    pub fn glimpse(&mut self, id: SchemaId, schema: &Schema, batch: &Batch<Table>) {
        // Only of nodes that are known: nothing is kept for a name that was never journalled.
        if let Some(node) = self.nodes.get_mut(&batch.node)
            && batch.latest() > node.newest
        {
            if node.schema != id {
                node.take_schema(id, schema);
            }
            node.newest = batch.latest();
            node.take_readings(batch);
        }
    }

    /// Notes what the collector itself has to say of a node, at most once a minute and kind.
    pub fn tell(&mut self, node: &NodeId, at: UtcMillis, kind: EventKind, text: String) {
        self.events.tell(node, at, kind, text);
    }
}

impl NodeLive {
    fn new(id: SchemaId, schema: &Schema, batch: &Batch<Table>, received: UtcMillis) -> Self {
        let mut node = Self {
            agent: String::new(),
            schema: id,
            subjects: Vec::new(),
            received,
            created: batch.created,
            newest: None,
            batches: 0,
            clock_offset_ms: 0,
            clock_corrected: 0,
            keys: Vec::new(),
            latest: Vec::new(),
            columns: Vec::new(),
        };
        node.take_schema(id, schema);
        node
    }

    /// The newest row of a series; `None` if the node never sent it.
    #[must_use]
    pub fn latest(&self, subject: &SubjectId, quantity: Quantity, part: u32) -> Option<Latest> {
        let asked = (subject, quantity, part);
        let of = |key: &SeriesKey| (&key.subject, key.quantity, key.part).cmp(&asked);
        let index = self.keys.binary_search_by(of).ok()?;
        self.latest.get(index).copied()?
    }

    /// Every series that was sent, ordered by subject, quantity, part.
    pub fn readings(&self) -> impl Iterator<Item = (&SeriesKey, Latest)> {
        self.keys.iter().zip(&self.latest).filter_map(|(key, latest)| Some((key, (*latest)?)))
    }

    /// A series that the node no longer offers disappears; it does not go stale on show.
    fn take_schema(&mut self, id: SchemaId, schema: &Schema) {
        self.schema = id;
        self.agent.clone_from(&schema.agent);
        self.subjects.clone_from(&schema.subjects);
        let all = schema.groups.iter().flat_map(|group| &group.series);
        let offered: BTreeSet<SeriesKey> =
            all.filter_map(|series| key_of(schema, series)).collect();
        let known = |key: &SeriesKey| self.latest(&key.subject, key.quantity, key.part);
        self.latest = offered.iter().map(known).collect();
        self.keys = offered.into_iter().collect();
        let column = |series: &Series| {
            let key = key_of(schema, series)?;
            let index = self.keys.binary_search(&key).ok()?;
            Some(Column { index, quantity: key.quantity })
        };
        let columns = schema.groups.iter().map(|group| group.series.iter().map(column).collect());
        self.columns = columns.collect();
    }

    fn take_readings(&mut self, batch: &Batch<Table>) {
        for table in &batch.matrices {
            let (Some(columns), Some(at)) =
                (self.columns.get(table.group), table.times.last().copied())
            else {
                continue;
            };
            for (column, values) in columns.iter().zip(table.columns()) {
                let Some(Column { index, quantity }) = *column else { continue };
                let Some(latest) = self.latest.get_mut(index) else { continue };
                if latest.is_some_and(|known| at < known.at) {
                    continue;
                }
                let spec = quantity.spec();
                // A value outside the catalogue's range cannot be true: it is missing.
                let value = values.last().filter(|value| spec.admits(*value));
                *latest = Some(Latest { at, value });
            }
        }
    }
}

/// `None` for a newer sender's quantity.
fn key_of(schema: &Schema, series: &Series) -> Option<SeriesKey> {
    let subject = schema.subjects.get(series.subject)?.id.clone();
    series.quantity.map(|quantity| SeriesKey { subject, quantity, part: series.part })
}
