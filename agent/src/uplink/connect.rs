//! The way to the collector: its addresses, TCP, TLS where it is `https`, then HTTP/2.
//!
//! # Invariants
//! - Over TLS only a collector that the hub's authority signed, under the configured name, hears
//!   anything; a name's other addresses are tried before giving up.
//! - The certificate shown is this node's, as configured; new files are used for the next
//!   connection, and a connection made with the old ones is left as soon as there are new ones.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bijli_identity::client::{self, Learned};
use bijli_identity::{Certificate, Files, IdentityError, Kept, Look, NodeName};
use bijli_wire::{Millis, UtcMillis};
use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::clock::{Clock, Moment};
use crate::config::CollectorUrl;
use crate::schedule::words;

/// For each address: TCP, TLS and HTTP/2 together.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// Addresses of one name that are tried; a request is given up after half a minute.
const ADDRESSES_MAX: usize = 5;
/// A half-open connection is noticed by its unanswered ping, not by the next batch.
const PING_EVERY: Duration = Duration::from_secs(20);
const PONG_MAX: Duration = Duration::from_secs(10);
/// One connection's receive window: answers are small.
const WINDOW_BYTES: u32 = 64 << 10;
const LOOK_EVERY: Millis = Millis::new(2_000);

/// Sends requests over a connection; clones share it.
pub type Sender = SendRequest<Full<Bytes>>;

/// Where the collector is, and as whom to go there. Clones share what was learned.
#[derive(Clone, Debug)]
pub struct Route {
    pub collector: CollectorUrl,
    tls: Option<Arc<Tls>>,
}

#[derive(Debug)]
struct Tls {
    kept: Kept<Arc<ClientConfig>>,
    learned: Arc<Learned>,
    clock: Clock,
    looked: Mutex<Moment>,
}

/// A connection, and the certificate files that it was made with.
#[derive(Clone, Debug)]
pub struct Link {
    pub sender: Sender,
    made_with: Option<Arc<ClientConfig>>,
}

impl Route {
    /// Plain HTTP.
    #[must_use]
    pub const fn plain(collector: CollectorUrl) -> Self {
        Self { collector, tls: None }
    }

    /// TLS, as this node.
    ///
    /// # Errors
    /// When the files cannot be used, or are another node's.
    pub fn tls(
        collector: CollectorUrl,
        files: Files,
        me: NodeName,
        clock: Clock,
    ) -> Result<Self, IdentityError> {
        let learned = Arc::<Learned>::default();
        let theirs = Arc::clone(&learned);
        let kept = Kept::open(files, move |material| {
            let found = client::node(material)?;
            if *found == me {
                return client::config(material, &theirs);
            }
            Err(IdentityError::OtherNode {
                certificate: material.files.certificate.clone(),
                found: Box::new(found.clone()),
                wanted: Box::new(me.clone()),
            })
        })?;
        let looked = Mutex::new(clock.now());
        Ok(Self { collector, tls: Some(Arc::new(Tls { kept, learned, clock, looked })) })
    }

    /// One's own certificate in force.
    #[must_use]
    pub fn certificate(&self) -> Option<Arc<Certificate>> {
        self.tls.as_ref().map(|tls| tls.kept.own())
    }

    /// The collector's certificate that was last found good.
    #[must_use]
    pub fn collectors(&self) -> Option<Arc<Certificate>> {
        self.tls.as_ref().and_then(|tls| tls.learned.last())
    }

    /// Seconds until one's own certificate expires; below 0: since it did.
    #[must_use]
    pub fn certificate_left_s(&self, now: UtcMillis) -> Option<i64> {
        let own = self.certificate()?;
        Some(own.not_after.get().saturating_sub(now.get()).div_euclid(1_000))
    }

    /// Whether the link is open, and was made with the files in force. Looks for new ones.
    #[must_use]
    pub fn is_good(&self, link: &Link) -> bool {
        let in_force = self.tls.as_ref().map(|tls| tls.look());
        let is_same = match (&in_force, &link.made_with) {
            (Some(new), Some(old)) => Arc::ptr_eq(new, old),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        is_same && !link.sender.is_closed()
    }

    /// Tries every address of the name once.
    ///
    /// # Errors
    /// In words, why none of them will do.
    pub async fn connect(&self) -> Result<Link, String> {
        let name = (self.collector.host.as_str(), self.collector.port);
        let addresses = time::timeout(CONNECT_MAX, tokio::net::lookup_host(name)).await;
        let addresses = addresses.map_err(|_| "its name is not resolved in time".to_owned())?;
        self.connect_to_one(addresses.map_err(|e| words(&e))?).await
    }

    /// The first address where the collector is.
    async fn connect_to_one(
        &self,
        addresses: impl Iterator<Item = SocketAddr>,
    ) -> Result<Link, String> {
        let made_with = self.tls.as_ref().map(|tls| tls.look());
        let mut refusals = Vec::new();
        for address in addresses.take(ADDRESSES_MAX) {
            let trying = Box::pin(self.connect_to(address, made_with.as_ref()));
            match time::timeout(CONNECT_MAX, trying).await {
                Ok(Ok(sender)) => return Ok(Link { sender, made_with }),
                Ok(Err(reason)) => refusals.push(format!("{address}: {reason}")),
                Err(_) => refusals.push(format!("{address}: no answer within {CONNECT_MAX:?}")),
            }
        }
        if refusals.is_empty() {
            return Err("its name has no address".to_owned());
        }
        Err(refusals.join("; "))
    }

    async fn connect_to(
        &self,
        address: SocketAddr,
        tls: Option<&Arc<ClientConfig>>,
    ) -> Result<Sender, String> {
        let stream = TcpStream::connect(address).await.map_err(|e| words(&e))?;
        // Batches are whole messages: nothing is gained by waiting for more.
        stream.set_nodelay(true).map_err(|e| words(&e))?;
        let Some(config) = tls else { return speak(stream).await };
        let host = ServerName::try_from(self.collector.host.clone()).map_err(|e| words(&e))?;
        let connector = TlsConnector::from(Arc::clone(config));
        speak(connector.connect(host, stream).await.map_err(|e| words(&e))?).await
    }
}

impl Tls {
    /// What is in force, after a look for new files if it is time for one.
    fn look(&self) -> Arc<ClientConfig> {
        let now = self.clock.now();
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        if now.since(*looked) >= LOOK_EVERY {
            *looked = now;
            match self.kept.look() {
                Look::Same => {}
                Look::Renewed(own) => {
                    tracing::info!(serial = own.serial, "the new certificate is in force");
                }
                Look::Broken(e) => tracing::error!(
                    "the new certificate files cannot be used, the old ones stay: {}",
                    words(&e)
                ),
            }
        }
        self.kept.get()
    }
}

async fn speak<S>(stream: S) -> Result<Sender, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PONG_MAX)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .max_send_buf_size(64 << 10)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|e| words(&e))?;
    tokio::spawn(async move {
        if let Err(e) = connection.await {
            tracing::debug!("connection ended: {}", words(&e));
        }
    });
    Ok(sender)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::uplink::http::stub;

    async fn address_of(url: &CollectorUrl) -> SocketAddr {
        let mut found = tokio::net::lookup_host((url.host.as_str(), url.port)).await.unwrap();
        found.next().unwrap()
    }

    /// Goal: a name that was pointed at a wrong machine too costs a moment, and no batch.
    #[tokio::test]
    async fn n8_the_other_addresses_of_a_name_are_tried() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let dead = listener.local_addr().unwrap();
        drop(listener);
        let url = stub::serve(stub::Shared::default()).await;
        let route = Route::plain(url.clone());
        let alive = address_of(&url).await;
        let link = route.connect_to_one([dead, alive].into_iter()).await.unwrap();
        assert!(route.is_good(&link));
        let refused = route.connect_to_one([dead, dead].into_iter()).await.unwrap_err();
        assert_eq!(refused.matches("Connection refused").count(), 2, "{refused}");
        let refused = route.connect_to_one(std::iter::empty()).await.unwrap_err();
        assert_eq!(refused, "its name has no address");
    }

    #[test]
    fn certificate_files_that_are_missing_are_told_at_once() {
        let url = CollectorUrl { is_tls: true, ..CollectorUrl::plain("127.0.0.1", 1) };
        let name = |node: &str| NodeName {
            hub: bijli_wire::HubId::new("isb").unwrap(),
            node: bijli_wire::NodeId::new(node).unwrap(),
        };
        let nowhere = |file: &str| std::path::PathBuf::from("/nowhere").join(file);
        let files = Files { ca: nowhere("ca"), certificate: nowhere("c"), key: nowhere("k") };
        let refused = Route::tls(url, files, name("n1"), Clock::new()).unwrap_err();
        assert!(matches!(refused, IdentityError::Read { .. }), "{refused}");
    }
}
