//! Who speaks. A node is who its certificate says, a collector is whom the hub's authority signed:
//! names, certificate files and TLS 1.3 for both ends, without a socket or a clock of its own.
//!
//! # Invariants
//! - A node's hub and id come from the one URI in its certificate, `spiffe://bijli/hub/H/node/N`.
//! - A hub's authority vouches for nodes of its own hub only.
//! - Only TLS 1.3 between our programs (a meter may have no more than 1.2: [`device`]), only the
//!   authorities of the file, never those of the operating system.
//! - Files that do not fit together are never put into force: the old ones stay.
//!
//! Sockets are the programs' (`collector/src/ingest/tls.rs`, `agent/src/uplink/connect.rs`,
//! `agent/src/probe/modbus/connection.rs`); this crate hands them rustls configurations.

pub mod certificate;
pub mod client;
pub mod device;
pub mod disk;
mod error;
pub mod files;
pub mod kept;
pub mod moment;
pub mod name;
pub mod server;
#[cfg(test)]
mod testing;

pub use certificate::{Certificate, KeyHash};
pub use error::IdentityError;
pub use files::{Files, Material};
pub use kept::{Kept, Look};
pub use name::{Holder, NodeName};

use std::sync::Arc;

use rustls::crypto::CryptoProvider;

/// The one implementation of cryptography.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Fills `bytes` from the system's randomness.
///
/// # Errors
/// When the system gives none.
pub fn random(bytes: &mut [u8]) -> Result<(), IdentityError> {
    provider()
        .secure_random
        .fill(bytes)
        .map_err(|_| IdentityError::Tls { reason: "the system gives no random numbers".to_owned() })
}
