//! Who comes in at the agents' listener: TLS 1.3 with a node's certificate, before any HTTP.
//!
//! # Invariants
//! - A connection that does not show a good certificate in time is closed and costs nothing more.
//! - At most `HANDSHAKES_MAX` handshakes at once, at most `CONNECTIONS_PER_KEY` connections of
//!   one key: a node cannot take the places of the others.
//! - New certificate files and deny lists count from the next look on, without a restart.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{Request, State as Shared};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bijli_identity::server::{Proven, config};
use bijli_identity::{Certificate, IdentityError, Kept, KeyHash, Look};
use bijli_wire::{ErrorCode, UtcMillis};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::server::TlsStream;

use super::denied::{Denied, DeniedError};
use super::door::Peer;
use super::refusal::Refusal;
use super::server::stopped;
use crate::clock::Clock;
use crate::config::AgentsConfig;
use crate::health::Health;
use crate::journal::chain;

const HANDSHAKES_MAX: usize = 512;
/// From the first byte to the proof, waiting for a place included.
const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(10);
/// An agent has one; it may hold an old one while it makes a new one.
const CONNECTIONS_PER_KEY: usize = 8;
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Why nobody can come in.
#[derive(Debug, thiserror::Error)]
pub enum GateError {
    #[error("the certificates of the agents' listener cannot be used")]
    Identity(#[from] IdentityError),
    #[error("the deny list cannot be used")]
    Denied(#[from] DeniedError),
}

/// The agents' entrance.
#[derive(Debug)]
pub struct Gate {
    tls: Kept<Arc<ServerConfig>>,
    denied: Denied,
    handshakes: Semaphore,
    guests: Arc<Mutex<BTreeMap<KeyHash, usize>>>,
    health: Health,
}

/// A node that came in; its place is free again when this is dropped.
#[derive(Debug)]
pub struct Guest {
    pub peer: Peer,
    pub is_http2: bool,
    _place: Place,
}

#[derive(Debug)]
struct Place {
    key: KeyHash,
    guests: Arc<Mutex<BTreeMap<KeyHash, usize>>>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut guests = self.guests.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = guests.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                guests.remove(&self.key);
            }
        }
    }
}

impl Gate {
    /// # Errors
    /// When the files of the configuration cannot be used.
    pub fn open(agents: &AgentsConfig, health: Health) -> Result<Self, GateError> {
        let gate = Self {
            tls: Kept::open(agents.files.clone(), config)?,
            denied: Denied::open(agents.denied.clone())?,
            handshakes: Semaphore::new(HANDSHAKES_MAX),
            guests: Arc::default(),
            health,
        };
        gate.show(Clock.now());
        Ok(gate)
    }

    /// One's own certificate in force.
    #[must_use]
    pub fn certificate(&self) -> Arc<Certificate> {
        self.tls.own()
    }

    /// The handshake; `None`: refused, and counted.
    pub async fn greet(&self, stream: TcpStream) -> Option<(TlsStream<TcpStream>, Guest)> {
        let outcome = timeout(HANDSHAKE_TIME_MAX, Box::pin(self.shake(stream))).await;
        let (word, guest) = match outcome {
            Err(_) => ("late", None),
            Ok(Err(Turned::Refused)) => ("refused", None),
            Ok(Err(Turned::Crowded)) => ("crowded", None),
            Ok(Ok(guest)) => ("accepted", Some(guest)),
        };
        self.health.identity.handshakes.with_label_values(&[word]).inc();
        guest
    }

    async fn shake(&self, stream: TcpStream) -> Result<(TlsStream<TcpStream>, Guest), Turned> {
        let from = stream.peer_addr().map(|address| address.ip().to_string()).unwrap_or_default();
        let _permit = self.handshakes.acquire().await.map_err(|_| Turned::Crowded)?;
        let acceptor = TlsAcceptor::from(self.tls.get());
        let stream = acceptor.accept(stream).await.map_err(|error| {
            // Anybody can cause these: not more than a line for who looks for it.
            tracing::debug!(from, %error, "a handshake failed");
            Turned::Refused
        })?;
        let (_, tls) = stream.get_ref();
        let shown = tls.peer_certificates().and_then(<[_]>::first).and_then(Proven::of);
        let proven = shown.ok_or(Turned::Refused)?;
        let is_http2 = tls.alpn_protocol() == Some(b"h2".as_slice());
        let place = self.place(proven.key).ok_or(Turned::Crowded)?;
        let (name, serial) = (&proven.name, &proven.serial);
        tracing::info!(hub = %name.hub, node = %name.node, from, serial, "a node connected");
        let peer = Peer::Proven(Arc::new(proven));
        Ok((stream, Guest { peer, is_http2, _place: place }))
    }

    fn place(&self, key: KeyHash) -> Option<Place> {
        let mut guests = self.guests.lock().unwrap_or_else(PoisonError::into_inner);
        let count = guests.entry(key).or_default();
        if *count >= CONNECTIONS_PER_KEY {
            return None;
        }
        *count += 1;
        Some(Place { key, guests: Arc::clone(&self.guests) })
    }

    /// Looks for new files now.
    pub fn look(&self, now: UtcMillis) {
        match self.tls.look() {
            Look::Same => {}
            Look::Renewed(own) => {
                tracing::info!(serial = own.serial, "the new certificate is in force");
            }
            Look::Broken(error) => tracing::error!(
                error = chain(&error),
                "the new certificate files cannot be used, the old ones stay in force"
            ),
        }
        match self.denied.look() {
            Ok(None) => {}
            Ok(Some(count)) => tracing::warn!(count, "the deny list changed"),
            Err(error) => tracing::error!(error = chain(&error), "the old deny list stays"),
        }
        self.show(now);
    }

    fn show(&self, now: UtcMillis) {
        let left = self.tls.own().not_after.get().saturating_sub(now.get());
        self.health.identity.certificate_seconds.set(left.div_euclid(1_000));
    }

    /// Looks every few seconds until `stop` says true.
    pub async fn watch(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                () = stopped(&mut stop) => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            let this = Arc::clone(&self);
            let looked = tokio::task::spawn_blocking(move || this.look(Clock.now()));
            if looked.await.is_err() {
                tracing::error!("nobody looks for new certificates any more");
                return;
            }
        }
    }
}

/// Why somebody was turned away.
#[derive(Debug)]
enum Turned {
    Refused,
    Crowded,
}

/// In front of every route: a key that was denied, or a certificate that ran out, since the
/// connection began gets nothing more.
pub async fn allowed(Shared(gate): Shared<Arc<Gate>>, request: Request, next: Next) -> Response {
    let Some(Peer::Proven(proven)) = request.extensions().get::<Peer>() else {
        return next.run(request).await;
    };
    let node = &proven.name.node;
    let message = if gate.denied.has(&proven.key) {
        format!("the key of node {node} is denied here: give the node a new key and certificate")
    } else if proven.not_after < Clock.now() {
        format!("the certificate of node {node} has expired: renew it")
    } else {
        return next.run(request).await;
    };
    gate.health.identity.denied.inc();
    Refusal::new(ErrorCode::IdentityDenied, message).into_response()
}
