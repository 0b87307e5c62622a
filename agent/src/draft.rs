//! A batch before it has a sequence: what the batcher makes and the spool numbers.

use std::sync::Arc;

use bijli_wire::batch::{Event, Matrix};
use bijli_wire::{BatchError, Hold, Schema, SchemaId, Uptime, UtcMillis, codec};

/// A schema as it travels, encoded once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedSchema {
    pub id: SchemaId,
    pub body: Vec<u8>,
}

impl EncodedSchema {
    /// # Errors
    /// When the schema breaks a limit of the wire.
    pub fn new(schema: &Schema) -> Result<Self, BatchError> {
        let (id, body) = codec::encode_schema(schema)?;
        Ok(Self { id, body })
    }
}

/// Readings and events that become one batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    pub schema: Arc<EncodedSchema>,
    pub created: UtcMillis,
    /// The same moment by the clock that nobody sets.
    pub uptime: Option<Uptime>,
    pub matrices: Vec<Matrix>,
    pub events: Vec<Event>,
    pub holds: Vec<Hold>,
}
