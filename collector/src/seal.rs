//! The ledger as a transparency log: one tree a hub, as static files that an auditor checks alone.
//!
//! A thread of its own follows the ledger log, as the index does. `follower` deals leaves out to
//! the hubs' `tree`s, whose `files` are tiles; when an interval is there wholly, `sealer` compares
//! with every head that is known and signs. `signer` has the keys; `ask` speaks with witnesses.
//!
//! # Invariants
//! - No checkpoint is signed that contradicts the last one, the head kept elsewhere, or what a
//!   witness that answers has cosigned. In doubt nothing is signed, and why is told.
//! - A checkpoint names tiles that are durable. A tree ends where a posting ends.
//! - Tiles follow from the ledger log and are made again from it when they are lost.
//! - An ack never waits for this.
//!
//! The format is in `docs/formats/tlog.md`.

mod anew;
mod ask;
#[cfg(test)]
mod crash;
mod files;
mod follower;
mod name;
mod sealer;
mod signer;
#[cfg(test)]
mod tests;
mod thread;
pub mod tree;
mod view;

pub use anew::{Anew, AnewError, begin_anew};
pub use ask::{Ask, Http, Nobody};
pub use files::{FileError, Files};
pub use follower::{Follower, StepError};
pub use name::{folder, hub_of};
pub use sealer::{Refusal, Sealer};
pub use signer::{KeyFileError, Signer, make_key, read_key};
pub use thread::{Sealing, Setting, start};
pub use tree::{Tree, succeeded};
pub use view::{Seal, Seals, Witnessed};

/// The folder of all hubs' logs below the collector's directory.
pub const DIR: &str = "tlog";
/// What logs are named after where no origin is configured. Nothing is signed under it.
pub const NO_ORIGIN: &str = "bijli";

/// The name of a hub's log; the second and later ones succeed one whose leaves were lost.
#[must_use]
pub fn origin(base: &str, hub: &bijli_wire::HubId, generation: u64) -> String {
    match generation {
        0 | 1 => format!("{base}/hub/{hub}/ledger"),
        later => format!("{base}/hub/{hub}/ledger/{later}"),
    }
}

/// Which of the logs of its hub this origin is.
#[must_use]
pub fn generation(origin: &str) -> u64 {
    let number = origin.rsplit_once("/ledger/").and_then(|(_, number)| number.parse().ok());
    number.unwrap_or(1)
}
