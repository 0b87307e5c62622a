//! What agents, collectors and auditors say to each other: units, ids, the series catalogue,
//! batches and their codec, acks, error codes, and every limit.
//!
//! **Architecture invariant:** no I/O, no clock, no float, no panic on foreign bytes. Whatever is
//! decoded here was bounded first (`limits`), and each number has a unit in its type (`units`) or
//! in the catalogue (`series`).
//!
//! The format is described in `docs/formats/wire.md`, published as `wire/proto/bijli.v1.proto`,
//! and pinned by golden files; changing one without the others fails a test.

/// Whether a bug is planted here (`tests/planted`); plainly `false` in what is shipped.
#[cfg(feature = "planted")]
macro_rules! planted {
    ($bug:ident) => {
        bijli_planted::is(bijli_planted::Bug::$bug)
    };
}
#[cfg(not(feature = "planted"))]
macro_rules! planted {
    ($bug:ident) => {
        false
    };
}

pub mod ack;
pub mod batch;
pub mod codec;
pub mod error;
pub mod hello;
pub mod hold;
pub mod id;
pub mod limits;
pub mod message;
pub mod quantity;
mod quick;
pub mod series;
pub mod table;
pub mod units;

pub use ack::{Ack, AckVerdict};
pub use batch::{Batch, BatchError, Matrix, Schema, Uptime};
pub use error::{ErrorBody, ErrorCode};
pub use hello::{Greeting, Hello, Welcome};
pub use hold::Hold;
pub use id::{
    BatchSeq, BootId, ClusterId, ContentHash, HubId, JobId, NodeId, ProjectId, SchemaId,
    SpoolEpoch, SubjectId, UserId,
};
pub use message::{Method, SubjectKind};
pub use series::{Kind, Quantity};
pub use table::Table;
pub use units::{Integrator, Millijoules, Millis, Milliwatts, PartsPerMillion, UtcMillis};
