//! Accepts connections, HTTP/1.1 and HTTP/2, in plain text or behind TLS, and bounds each of them.
//!
//! # Invariants
//! - At most `CONNECTIONS_MAX` connections; each has limits on streams, headers and silence.
//! - On stop, requests under way are answered within `DRAIN_TIME_MAX`; then all is closed.

use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout};

use super::places;
use super::tls::Gate;
use crate::health::Health;

/// A hub has about 3,000 agents with one connection each.
const CONNECTIONS_MAX: u32 = 4_096;
/// Requests of one connection at once: as many as one node may have. Who has no certificate has no
/// name that his requests could be counted by, and this is his bound.
const STREAMS_MAX: u32 = places::OF_NODE_MAX;
const HEADER_BYTES_MAX: u32 = 16 << 10;
/// For the first byte of a connection and for each request's header.
const HEADER_TIME_MAX: Duration = Duration::from_secs(30);
const PING_EVERY: Duration = Duration::from_secs(20);
const PING_TIME_MAX: Duration = Duration::from_secs(20);
const DRAIN_TIME_MAX: Duration = Duration::from_secs(5);
/// After `accept` failed (out of file descriptors, say): do not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// While that lasts it is said this often.
const ACCEPT_SAID_EVERY: Duration = Duration::from_secs(60);
/// What an HTTP/2 connection begins with.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Who may come in, and what he finds.
#[derive(Clone, Debug)]
pub enum Entrance {
    /// Whoever reaches the address.
    Plain(Router),
    /// Nodes with a certificate; their requests carry a [`super::door::Peer`].
    Agents(Router, Arc<Gate>),
}

/// Serves until `stop` says true, then drains.
pub async fn serve(
    listener: TcpListener,
    entrance: Entrance,
    health: Health,
    mut stop: watch::Receiver<bool>,
) {
    let places = Arc::new(Semaphore::new(usize::try_from(CONNECTIONS_MAX).unwrap_or(usize::MAX)));
    let mut said: Option<Instant> = None;
    loop {
        let place = Arc::clone(&places).acquire_owned();
        let accepted = tokio::select! {
            () = stopped(&mut stop) => break,
            accepted = async { (place.await, listener.accept().await) } => accepted,
        };
        match accepted {
            (Ok(place), Ok((stream, _))) => {
                let connection = connection(stream, entrance.clone(), stop.clone());
                let health = health.clone();
                health.connections.inc();
                tokio::spawn(async move {
                    connection.await;
                    health.connections.dec();
                    drop(place);
                });
            }
            (_, Err(error)) => {
                if said.is_none_or(|said| said.elapsed() >= ACCEPT_SAID_EVERY) {
                    tracing::warn!(%error, "a connection cannot be accepted");
                    said = Some(Instant::now());
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
            (Err(_), Ok(_)) => break,
        }
    }
    drop(listener);
    if timeout(DRAIN_TIME_MAX, places.acquire_many(CONNECTIONS_MAX)).await.is_err() {
        tracing::warn!("some requests were not finished when the collector stopped");
    }
}

/// Returns when it is time to stop, or nobody is left to say so.
pub(crate) async fn stopped(stop: &mut watch::Receiver<bool>) {
    drop(stop.wait_for(|is_stopped| *is_stopped).await);
}

async fn connection(stream: TcpStream, entrance: Entrance, stop: watch::Receiver<bool>) {
    // Answers are small; waiting to fill a packet delays every ack.
    let _best_effort = stream.set_nodelay(true);
    match entrance {
        Entrance::Plain(router) => {
            if speaks(&stream).await {
                talk(stream, builder(), router, stop).await;
            }
        }
        Entrance::Agents(router, gate) => {
            if let Some((stream, guest)) = gate.greet(stream).await {
                // What was agreed in the handshake: nobody has to look at the first bytes.
                let builder =
                    if guest.is_http2 { builder().http2_only() } else { builder().http1_only() };
                talk(stream, builder, router.layer(Extension(guest.peer.clone())), stop).await;
            }
        }
    }
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIME_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEADER_BYTES_MAX)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_TIME_MAX);
    builder
}

async fn talk<S>(
    stream: S,
    builder: auto::Builder<TokioExecutor>,
    router: Router,
    mut stop: watch::Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = TowerToHyperService::new(router);
    let serving = builder.serve_connection(TokioIo::new(stream), service);
    let mut serving = std::pin::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = stopped(&mut stop) => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error, "a connection ended");
    }
}

/// Whether the other side begins to speak in time. The library looks at the first bytes without
/// a limit of time, so a silent connection would stay for ever.
async fn speaks(stream: &TcpStream) -> bool {
    let first_bytes = async {
        let mut bytes = [0_u8; PREFACE.len()];
        loop {
            let count = stream.peek(&mut bytes).await.unwrap_or(0);
            let heard = bytes.get(..count).unwrap_or_default();
            if count == 0 || count == PREFACE.len() || !PREFACE.starts_with(heard) {
                return count > 0;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(HEADER_TIME_MAX, first_bytes).await.unwrap_or(false)
}
