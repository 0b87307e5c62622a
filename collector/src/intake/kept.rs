//! The intake in bytes: what a snapshot keeps of it, and back. Format: `docs/formats/snapshot.md`.
//!
//! Kept is what follows from the journal, and nothing else, so that equal journals give equal
//! bytes: not what is on its way to it, nor how patient the door is with whom.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bijli_ledger::Rules;
use bijli_wire::{HubId, NodeId, Schema, SchemaId, UtcMillis};
use serde::{Deserialize, Serialize};

use super::{Fact, Intake, Readings};
use crate::ingest::admission::{Admission, KeptLanes};
use crate::ingest::credits::Credits;

/// A batch that waits for its turn.
#[derive(Serialize, Deserialize)]
struct Waiting {
    received: UtcMillis,
    offset_ms: i64,
    /// Its schema and its body; `None`: the journal has no schema for it, it only tells the time.
    batch: Option<(SchemaId, Vec<u8>)>,
}

type Nodes = BTreeMap<HubId, BTreeMap<NodeId, BTreeSet<SchemaId>>>;

#[derive(Serialize)]
struct Kept<'a> {
    lanes: KeptLanes<'a, Waiting>,
    schemas: &'a BTreeMap<SchemaId, Arc<Schema>>,
    nodes: &'a Nodes,
    diagrams: &'a BTreeMap<HubId, String>,
    tables: &'a BTreeMap<HubId, String>,
    rules: Option<Rules>,
    pruned: u64,
}

#[derive(Deserialize)]
struct Loaded {
    admission: Admission<Waiting>,
    schemas: BTreeMap<SchemaId, Arc<Schema>>,
    nodes: Nodes,
    diagrams: BTreeMap<HubId, String>,
    tables: BTreeMap<HubId, String>,
    rules: Option<Rules>,
    pruned: u64,
}

impl Intake {
    /// Everything that follows from the journal so far.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let kept = Kept {
            lanes: self.admission.kept(waiting),
            schemas: &self.schemas,
            nodes: &self.nodes,
            diagrams: &self.diagrams,
            tables: &self.tables,
            rules: self.rules,
            pruned: self.pruned,
        };
        postcard::to_stdvec(&kept).expect("memory takes any bytes")
    }

    /// The intake that gave these bytes.
    ///
    /// # Errors
    /// When they are none of this version.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, postcard::Error> {
        let Loaded { admission, schemas, nodes, diagrams, tables, rules, pruned } =
            postcard::from_bytes(bytes)?;
        let admission = admission.map(|waiting| fact(waiting, &schemas));
        let credits = Credits::default();
        Ok(Self { admission, schemas, nodes, diagrams, tables, rules, pruned, credits })
    }
}

fn waiting(fact: &Fact) -> Waiting {
    match fact {
        Fact::Batch { received, id, readings, offset_ms, schema: _ } => Waiting {
            received: *received,
            offset_ms: *offset_ms,
            batch: Some((*id, readings.body.clone())),
        },
        Fact::Tick { received } => Waiting { received: *received, offset_ms: 0, batch: None },
        Fact::Record { .. }
        | Fact::Put { .. }
        | Fact::End { .. }
        | Fact::Calibration { .. }
        | Fact::Typed { .. }
        | Fact::Period { .. }
        | Fact::Project { .. }
        | Fact::Retirement { .. }
        | Fact::Diagram { .. }
        | Fact::Tables { .. }
        | Fact::Rules { .. }
        | Fact::Floor { .. }
        | Fact::Snapshot { .. }
        | Fact::Pruned { .. }
        | Fact::Barrier(_) => unreachable!("only batches wait for their turn"),
    }
}

fn fact(waiting: Waiting, schemas: &BTreeMap<SchemaId, Arc<Schema>>) -> Fact {
    let Waiting { received, offset_ms, batch } = waiting;
    let known = batch.and_then(|(id, body)| Some((id, schemas.get(&id).cloned()?, body)));
    match known {
        Some((id, schema, body)) => {
            let readings = Readings { body, decoded: None };
            Fact::Batch { received, id, schema, readings, offset_ms }
        }
        None => Fact::Tick { received },
    }
}
