//! From a journalled frame to facts in booking order. Pure; the same for a live frame and a
//! replayed one, so that a restart books what the first run booked.
//!
//! # Invariants
//! - [`Intake::settle`] is called in journal order, and only for durable frames.
//! - What it hands out depends on the frames alone.

mod kept;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bijli_ledger::Rules;
use bijli_ledger::leaf::Pruned;
use bijli_seglog::RecordSeq;
use bijli_wire::hello::Reached;
use bijli_wire::{
    BatchError, BatchSeq, ContentHash, HubId, NodeId, Schema, SchemaId, UtcMillis, codec,
};

use crate::allocation::Verdict;
use crate::carried::Carried;
use crate::frame::{Frame, FrameDigest, FrameError};
use crate::ingest::admission::{Admission, Admit, LaneKey};
use crate::ingest::credits::Credits;

/// Nodes of one hub that may ever send here.
pub const NODES_PER_HUB_MAX: usize = 8_192;
/// Schemas of one node; a new one comes with each change of its devices or registers.
pub const SCHEMAS_PER_NODE_MAX: usize = 1_024;

/// Tells somebody who waits; he may be gone. Called at most once.
pub struct Reply<T>(Box<dyn FnOnce(T) + Send>);

impl<T: 'static> Reply<T> {
    #[must_use]
    pub fn new(tell: impl FnOnce(T) + Send + 'static) -> Self {
        Self(Box::new(tell))
    }

    /// To nobody.
    #[must_use]
    pub fn none() -> Self {
        Self::new(drop)
    }

    pub fn send(self, told: T) {
        (self.0)(told);
    }
}

impl<T> std::fmt::Debug for Reply<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reply")
    }
}

/// What the journal thread knows of a frame without decoding it again.
#[derive(Debug)]
pub enum Note {
    Schema {
        id: SchemaId,
        schema: Arc<Schema>,
    },
    Batch {
        lane: LaneKey,
        seq: BatchSeq,
        hash: ContentHash,
        schema: SchemaId,
        /// As the door read it; `None`: it is decoded when it is booked.
        carried: Option<Carried>,
    },
    /// Of what a person or a scheduler puts: whoever put it waits for what the books say.
    Answer {
        reply: Reply<Verdict>,
    },
    Floor {
        lane: LaneKey,
        floor: BatchSeq,
    },
    Other,
}

/// A batch for the bookkeeper. Both mean the same.
#[derive(Debug)]
pub struct Readings {
    /// As it is in the journal: it may have to be kept while it waits for its turn.
    pub body: Vec<u8>,
    /// Decoded, and moved in time already; `None`: it is decoded when it is booked.
    pub decoded: Option<Carried>,
}

/// A fact for the bookkeeper.
#[derive(Debug)]
pub enum Fact {
    /// The facts behind it come with this record of the journal; there may be none.
    Record {
        seq: RecordSeq,
        digest: FrameDigest,
    },
    Batch {
        received: UtcMillis,
        id: SchemaId,
        schema: Arc<Schema>,
        readings: Readings,
        /// What was added to its times, because its sender's clock is wrong.
        offset_ms: i64,
    },
    Put {
        received: UtcMillis,
        json: Vec<u8>,
        reply: Reply<Verdict>,
    },
    End {
        received: UtcMillis,
        json: Vec<u8>,
        reply: Reply<Verdict>,
    },
    Calibration {
        received: UtcMillis,
        json: Vec<u8>,
        reply: Reply<Verdict>,
    },
    Typed {
        received: UtcMillis,
        json: Vec<u8>,
        reply: Reply<Verdict>,
    },
    Period {
        received: UtcMillis,
        json: Vec<u8>,
        reply: Reply<Verdict>,
    },
    /// A change of the registry of projects.
    Project {
        received: UtcMillis,
        json: Vec<u8>,
        reply: Reply<Verdict>,
    },
    Retirement {
        received: UtcMillis,
        json: Vec<u8>,
        reply: Reply<Verdict>,
    },
    Diagram {
        received: UtcMillis,
        from: UtcMillis,
        hub: HubId,
        toml: String,
    },
    Tables {
        received: UtcMillis,
        hub: HubId,
        toml: String,
    },
    Rules {
        received: UtcMillis,
        rules: Rules,
    },
    Tick {
        received: UtcMillis,
    },
    /// What this lane has not sent below `floor` will never come.
    Floor {
        received: UtcMillis,
        lane: LaneKey,
        floor: BatchSeq,
    },
    /// The books as they stand after this are to be kept.
    Snapshot {
        received: UtcMillis,
        /// Lanes and schemas as they stand ([`Intake::to_bytes`]).
        intake: Vec<u8>,
    },
    /// A segment of the journal that is no longer kept.
    Pruned {
        received: UtcMillis,
        pruned: Pruned,
    },
    /// Not of the journal: answered when everything before it is booked.
    Barrier(Reply<()>),
}

/// Why a journalled frame cannot be booked. It is counted and logged, and the rest goes on.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    #[error("the record is no frame")]
    Frame(#[source] FrameError),
    #[error("its body does not decode")]
    Body(#[source] BatchError),
    #[error("schema {schema} of the batch is not in the journal before it")]
    NoSchema { schema: SchemaId },
}

/// Whether a schema may be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SchemaAdmit {
    New,
    Known,
    TooManyNodes,
    TooManySchemas,
}

/// Lanes and schemas, as far as the journal goes.
#[derive(Debug, Default)]
pub struct Intake {
    admission: Admission<Fact>,
    schemas: BTreeMap<SchemaId, Arc<Schema>>,
    nodes: BTreeMap<HubId, BTreeMap<NodeId, BTreeSet<SchemaId>>>,
    /// The diagram last journalled, by hub.
    diagrams: BTreeMap<HubId, String>,
    /// The tables last journalled, by hub.
    tables: BTreeMap<HubId, String>,
    rules: Option<Rules>,
    /// The last segment whose end is journalled; 0: none.
    pruned: u64,
    /// Not of the journal: who may have how much under way.
    pub credits: Credits,
}

impl Intake {
    #[must_use]
    pub fn schema(&self, id: SchemaId) -> Option<Arc<Schema>> {
        self.schemas.get(&id).cloned()
    }

    #[must_use]
    pub fn diagram(&self, hub: &HubId) -> Option<&str> {
        self.diagrams.get(hub).map(String::as_str)
    }

    #[must_use]
    pub fn tables(&self, hub: &HubId) -> Option<&str> {
        self.tables.get(hub).map(String::as_str)
    }

    /// The rules this journal was begun with; `None`: it is empty.
    #[must_use]
    pub const fn rules(&self) -> Option<Rules> {
        self.rules
    }

    /// The last segment that the journal says is no longer kept; 0: none.
    #[must_use]
    pub const fn pruned(&self) -> u64 {
        self.pruned
    }

    /// See [`Admission::skips`].
    #[must_use]
    pub const fn skips(&self) -> u64 {
        self.admission.skips()
    }

    #[must_use]
    pub fn admit_schema(&self, id: SchemaId, schema: &Schema) -> SchemaAdmit {
        if self.schemas.contains_key(&id) {
            return SchemaAdmit::Known;
        }
        let Some(nodes) = self.nodes.get(&schema.hub) else { return SchemaAdmit::New };
        match nodes.get(&schema.node) {
            None if nodes.len() >= NODES_PER_HUB_MAX => SchemaAdmit::TooManyNodes,
            Some(known) if known.len() >= SCHEMAS_PER_NODE_MAX => SchemaAdmit::TooManySchemas,
            None | Some(_) => SchemaAdmit::New,
        }
    }

    /// See [`Admission::admit`].
    pub fn admit(
        &mut self,
        lane: &LaneKey,
        seq: BatchSeq,
        hash: ContentHash,
        now: UtcMillis,
    ) -> Admit {
        self.admission.admit(lane, seq, hash, now)
    }

    /// Whether one more node of this name may greet, and in this epoch.
    #[must_use]
    pub fn has_room(&self, lane: &LaneKey) -> bool {
        let is_known = |nodes: &BTreeMap<NodeId, _>| {
            nodes.contains_key(&lane.node) || nodes.len() < NODES_PER_HUB_MAX
        };
        self.nodes.get(&lane.hub).is_none_or(is_known) && self.admission.has_room(lane)
    }

    /// See [`Admission::reached`].
    #[must_use]
    pub fn reached(&self, lane: &LaneKey, floor: BatchSeq) -> Reached {
        self.admission.reached(lane, floor)
    }

    /// As [`Intake::admit`], for a batch that its node made at `created`.
    pub fn admit_made(
        &mut self,
        lane: &LaneKey,
        (seq, hash): (BatchSeq, ContentHash),
        created: UtcMillis,
        now: UtcMillis,
    ) -> Admit {
        let admit = self.admission.admit(lane, seq, hash, now);
        if admit == Admit::New && self.admission.is_contested(lane, created) {
            self.admission.give_up(lane, seq);
            return Admit::Contested;
        }
        admit
    }

    /// See [`Admission::give_up`].
    pub fn give_up(&mut self, note: &Note) {
        if let Note::Batch { lane, seq, .. } = note {
            self.admission.give_up(lane, *seq);
        }
    }

    /// Takes a durable frame; appends to `facts` what may be booked now.
    ///
    /// # Errors
    /// When nothing of the frame can be booked.
    pub fn settle(
        &mut self,
        frame: Frame,
        note: Note,
        facts: &mut Vec<Fact>,
    ) -> Result<(), Unusable> {
        let reply = if let Note::Answer { reply } = note {
            reply
        } else {
            return self.settle_noted(frame, note, facts);
        };
        match frame {
            Frame::AllocationPut { received, json } => {
                facts.push(Fact::Put { received, json, reply });
            }
            Frame::AllocationEnd { received, json } => {
                facts.push(Fact::End { received, json, reply });
            }
            Frame::Calibration { received, json } => {
                facts.push(Fact::Calibration { received, json, reply });
            }
            Frame::Typed { received, json } => {
                facts.push(Fact::Typed { received, json, reply });
            }
            Frame::Period { received, json } => {
                facts.push(Fact::Period { received, json, reply });
            }
            Frame::Project { received, json } => {
                facts.push(Fact::Project { received, json, reply });
            }
            Frame::Retirement { received, json } => {
                facts.push(Fact::Retirement { received, json, reply });
            }
            Frame::Schema { .. }
            | Frame::Batch { .. }
            | Frame::Corrected { .. }
            | Frame::Diagram { .. }
            | Frame::Tables { .. }
            | Frame::Tick { .. }
            | Frame::Rules { .. }
            | Frame::Floor { .. }
            | Frame::Incident { .. }
            | Frame::Snapshot { .. }
            | Frame::Pruned { .. } => unreachable!("notes are made with their frames"),
        }
        Ok(())
    }

    fn settle_noted(
        &mut self,
        frame: Frame,
        note: Note,
        facts: &mut Vec<Fact>,
    ) -> Result<(), Unusable> {
        let (frame, offset_ms) = if let Frame::Corrected { received, offset_ms, body } = frame {
            (Frame::Batch { received, body }, offset_ms)
        } else {
            (frame, 0)
        };
        match (frame, note) {
            (
                Frame::Batch { received, body },
                Note::Batch { lane, seq, hash, schema: id, carried },
            ) => {
                let schema = self.schema(id).ok_or(Unusable::NoSchema { schema: id });
                // Even a batch that cannot be booked is durable: its sequence is taken.
                let readings = Readings { body, decoded: carried };
                let fact = match &schema {
                    Ok(schema) => {
                        let schema = Arc::clone(schema);
                        Fact::Batch { received, id, schema, readings, offset_ms }
                    }
                    Err(_) => Fact::Tick { received },
                };
                facts.extend(self.admission.begin(&lane, received));
                facts.extend(self.admission.settle(&lane, seq, hash, fact));
                schema.map(|_| ())
            }
            (Frame::Floor { received, .. }, Note::Floor { lane, floor }) => {
                let nodes = self.nodes.entry(lane.hub.clone()).or_default();
                nodes.entry(lane.node.clone()).or_default();
                facts.extend(self.admission.begin(&lane, received));
                facts.extend(self.admission.floor(&lane, floor));
                facts.push(Fact::Floor { received, lane, floor });
                Ok(())
            }
            (Frame::Schema { received, .. }, Note::Schema { id, schema }) => {
                let nodes = self.nodes.entry(schema.hub.clone()).or_default();
                nodes.entry(schema.node.clone()).or_default().insert(id);
                self.schemas.insert(id, schema);
                facts.push(Fact::Tick { received });
                Ok(())
            }
            (Frame::Diagram { received, from, hub, toml }, _) => {
                self.diagrams.insert(hub.clone(), toml.clone());
                facts.push(Fact::Diagram { received, from, hub, toml });
                Ok(())
            }
            (Frame::Tables { received, hub, toml }, _) => {
                self.tables.insert(hub.clone(), toml.clone());
                facts.push(Fact::Tables { received, hub, toml });
                Ok(())
            }
            (Frame::Rules { received, rules }, _) => {
                self.rules = Some(rules);
                facts.push(Fact::Rules { received, rules });
                Ok(())
            }
            (Frame::Snapshot { received }, _) => {
                facts.push(Fact::Snapshot { received, intake: self.to_bytes() });
                Ok(())
            }
            (Frame::Pruned { received, pruned }, _) => {
                self.pruned = self.pruned.max(pruned.segment);
                facts.push(Fact::Pruned { received, pruned });
                Ok(())
            }
            (frame, _) => {
                facts.push(Fact::Tick { received: frame.received() });
                Ok(())
            }
        }
    }

    /// Takes a record of the journal at replay.
    ///
    /// # Errors
    /// When nothing of the record can be booked.
    pub fn replay(
        &mut self,
        seq: RecordSeq,
        record: &[u8],
        facts: &mut Vec<Fact>,
    ) -> Result<(), Unusable> {
        let frame = Frame::decode(record).map_err(Unusable::Frame);
        let noted = frame.and_then(|frame| match Note::of(&frame) {
            Ok(note) => Ok((frame, note)),
            Err(error) => Err(Unusable::Body(error)),
        });
        let digest = match &noted {
            Ok((frame, note)) => note.digest(frame, record),
            Err(_) => FrameDigest::of(record),
        };
        facts.push(Fact::Record { seq, digest });
        let (frame, note) = noted?;
        self.settle(frame, note, facts)
    }
}

impl Note {
    /// The digest of the frame's record, without hashing a batch again.
    #[must_use]
    pub fn digest(&self, frame: &Frame, record: &[u8]) -> FrameDigest {
        match (frame, self) {
            (Frame::Batch { received, .. }, Self::Batch { hash, .. }) => {
                FrameDigest::of_batch(*received, *hash)
            }
            _ => FrameDigest::of(record),
        }
    }

    /// What a frame says of itself.
    ///
    /// # Errors
    /// When the body of a schema or batch does not decode; it did when it was journalled.
    pub fn of(frame: &Frame) -> Result<Self, BatchError> {
        match frame {
            Frame::Schema { body, .. } => {
                let (id, schema) = codec::decode_schema(body)?;
                Ok(Self::Schema { id, schema: Arc::new(schema) })
            }
            Frame::Batch { body, .. } | Frame::Corrected { body, .. } => {
                let envelope = codec::open(body)?.envelope;
                let lane =
                    LaneKey { hub: envelope.hub, node: envelope.node, epoch: envelope.epoch };
                Ok(Self::Batch {
                    lane,
                    seq: envelope.sequence,
                    hash: envelope.hash,
                    schema: envelope.schema,
                    carried: None,
                })
            }
            Frame::Floor { lane, floor, .. } => {
                Ok(Self::Floor { lane: lane.clone(), floor: *floor })
            }
            Frame::AllocationPut { .. }
            | Frame::AllocationEnd { .. }
            | Frame::Calibration { .. }
            | Frame::Typed { .. }
            | Frame::Period { .. }
            | Frame::Project { .. }
            | Frame::Retirement { .. } => Ok(Self::Answer { reply: Reply::none() }),
            Frame::Diagram { .. }
            | Frame::Tables { .. }
            | Frame::Tick { .. }
            | Frame::Rules { .. }
            | Frame::Incident { .. }
            | Frame::Snapshot { .. }
            | Frame::Pruned { .. } => Ok(Self::Other),
        }
    }
}
