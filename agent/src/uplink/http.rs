//! Requests to the collector over one connection (`connect.rs`), and the [`Courier`] that performs
//! what a [`Line`] asks.
//!
//! # Invariants
//! - Batches are read from the spool when they are sent and dropped with their answer: at most
//!   [`super::IN_FLIGHT_MAX`] bodies are in memory.
//! - What the other side says is foreign: its size is capped, and only a collector's own JSON
//!   counts as an answer. Everything else is a lost link.

use std::sync::Arc;
use std::time::Duration;

use bijli_seglog::RealDisk;
use bijli_wire::{BootId, ErrorBody, Millis, Uptime, UtcMillis};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request, Response, body::Incoming};
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time;

use super::collector_clock::{CollectorClock, Exchange, told};
use super::connect::{Link, Route, Sender};
pub use super::line::Answer;
use super::line::{self, Counts, Input, Line, Now, Ticket, Verb, Work};
use crate::clock::Clock;
use crate::config::CollectorUrl;
use crate::draft::Draft;
use crate::schedule::words;
use crate::spool::{Spool, SpoolError, Stored};

/// An ack has 300 bytes, a refusal not many more.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    #[error("cannot connect to {collector}: {reason}")]
    Connect { collector: CollectorUrl, reason: String },
    #[error("the request failed: {reason}")]
    Request { reason: String },
    #[error("status {status} with an answer that is not a collector's")]
    Foreign { status: u16 },
}

/// A lazily made connection; clones share it.
#[derive(Clone)]
pub struct Client {
    route: Route,
    link: Arc<Mutex<Option<Link>>>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("collector", &self.route.collector).finish_non_exhaustive()
    }
}

impl Client {
    #[must_use]
    pub fn new(route: Route) -> Self {
        Self { route, link: Arc::default() }
    }

    /// Whether the connection that there was has ended.
    fn is_closed(&self) -> bool {
        let is_closed = |open: &Link| open.sender.is_closed();
        self.link.try_lock().is_ok_and(|link| link.as_ref().is_some_and(is_closed))
    }

    /// Sends one request and reads its answer.
    ///
    /// # Errors
    /// If there is no answer, or one that no collector gave.
    pub async fn ask(
        &self,
        method: Method,
        path: &str,
        content: &'static str,
        body: Vec<u8>,
    ) -> Result<Answer, LinkError> {
        self.ask_at(None, (method, path), content, body).await
    }

    /// The same, with what is known of the collector's clock.
    async fn ask_at(
        &self,
        claim: Option<String>,
        (method, path): (Method, &str),
        content: &'static str,
        body: Vec<u8>,
    ) -> Result<Answer, LinkError> {
        let mut link = self.link().await?;
        let mut request = Request::builder();
        if let Some(claim) = claim {
            request = request.header("bijli-clock", claim);
        }
        let request = request
            .method(method)
            .uri(format!("{}{path}", self.route.collector))
            .header("content-type", content)
            .header("user-agent", concat!("bijli-agent/", env!("CARGO_PKG_VERSION")))
            .body(Full::new(Bytes::from(body)))
            .map_err(|e| LinkError::Request { reason: words(&e) })?;
        let failed = |e: hyper::Error| LinkError::Request { reason: words(&e) };
        link.ready().await.map_err(failed)?;
        let response = link.send_request(request).await.map_err(failed)?;
        read_answer(response).await
    }

    /// The connection; what is under way on one that is left behind is still answered there.
    async fn link(&self) -> Result<Sender, LinkError> {
        let mut link = self.link.lock().await;
        if let Some(open) = link.as_ref().filter(|open| self.route.is_good(open)) {
            return Ok(open.sender.clone());
        }
        let collector = || self.route.collector.clone();
        let open = Box::pin(self.route.connect()).await;
        let open = open.map_err(|reason| LinkError::Connect { collector: collector(), reason })?;
        let sender = open.sender.clone();
        *link = Some(open);
        Ok(sender)
    }
}

async fn read_answer(response: Response<Incoming>) -> Result<Answer, LinkError> {
    let status = response.status();
    let retry_after = response
        .headers()
        .get("retry-after")
        .and_then(|value| value.to_str().ok()?.trim().parse::<u64>().ok())
        .map(|seconds| Millis::new(seconds.saturating_mul(1_000)));
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
    let body = body.map_err(|e| LinkError::Request { reason: e.to_string() })?.to_bytes();
    if status.is_success() {
        return Ok(Answer::Ok(body.to_vec()));
    }
    match serde_json::from_slice::<ErrorBody>(&body) {
        Ok(ErrorBody { error }) => {
            Ok(Answer::Refused { code: error.code, retry_after, message: error.message })
        }
        Err(_) => Err(LinkError::Foreign { status: status.as_u16() }),
    }
}

/// Performs what a [`Line`] asks for.
pub struct Courier {
    line: Line<RealDisk>,
    client: Client,
    clock: Clock,
    requests: JoinSet<Heard>,
    work: Vec<Work>,
    /// This boot, where the system tells it: batches then say their uptime.
    boot: Option<BootId>,
    collector_clock: CollectorClock,
}

/// What came of a request, and when.
struct Heard {
    ticket: Ticket,
    outcome: Result<Answer, LinkError>,
    exchange: Option<Exchange>,
}

impl std::fmt::Debug for Courier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Courier").field("line", &self.line).finish_non_exhaustive()
    }
}

impl Courier {
    #[must_use]
    pub fn new(line: Line<RealDisk>, route: Route, clock: Clock) -> Self {
        let client = Client::new(route);
        let boot = crate::probe::boot_id().replace('-', "").parse().ok();
        let (requests, work) = (JoinSet::new(), Vec::new());
        Self {
            line,
            client,
            clock,
            requests,
            work,
            boot,
            collector_clock: CollectorClock::default(),
        }
    }

    /// Puts a batch on disk and lets it go out.
    ///
    /// # Errors
    /// If the disk failed; see [`SpoolError::is_fatal`].
    pub fn store(&mut self, draft: &Draft) -> Result<Stored, SpoolError> {
        self.greet_anew()?;
        let stored = self.line.store(draft, self.now(), &mut self.work);
        self.perform();
        stored
    }

    /// Waits for the next answer or timeout and acts on it. Safe to drop at any time.
    ///
    /// # Errors
    /// If an fsync failed: stop, and start again from what the disk has.
    pub async fn step(&mut self) -> Result<(), SpoolError> {
        let input = match self.wait().await {
            Some(Heard { ticket, outcome, exchange }) => {
                exchange.into_iter().for_each(|exchange| self.collector_clock.learn(exchange));
                Input::Answer { ticket, outcome: outcome.map_err(|e| words(&e)) }
            }
            None => Input::Tick,
        };
        let told = self.line.on_input(input, self.now(), &mut self.work);
        self.perform();
        told
    }

    /// `None`: something timed out, or a backlog waits to be looked at.
    async fn wait(&mut self) -> Option<Heard> {
        let pause = match self.line.wake_at(self.clock.now()) {
            Some(at) => Duration::from_millis(at.since(self.clock.now()).get()),
            None => Duration::from_secs(3_600),
        };
        let answered = async {
            if self.requests.is_empty() {
                return std::future::pending().await;
            }
            self.requests.join_next().await
        };
        match time::timeout(pause, answered).await {
            // A request that was aborted has nothing to say.
            Ok(Some(joined)) => joined.ok(),
            Ok(None) | Err(_) => None,
        }
    }

    /// A new connection may lead to another collector, or to one without its disk.
    fn greet_anew(&mut self) -> Result<(), SpoolError> {
        if !self.client.is_closed() {
            return Ok(());
        }
        self.client = Client::new(self.client.route.clone());
        let told = self.line.on_input(Input::Closed, self.now(), &mut self.work);
        self.perform();
        told
    }

    fn perform(&mut self) {
        for work in std::mem::take(&mut self.work) {
            match work {
                Work::Ask { ticket, request } => {
                    let (client, clock) = (self.client.clone(), self.clock);
                    let claim = matches!(ticket, Ticket::Batch { .. }).then(|| self.claim());
                    self.requests.spawn(async move {
                        let line::Request { verb, path, content, body } = request;
                        let method = match verb {
                            Verb::Put => Method::PUT,
                            Verb::Post => Method::POST,
                        };
                        let sent = clock.uptime();
                        let way = (method, path.as_str());
                        let asked = client.ask_at(claim.flatten(), way, content, body);
                        let outcome = Box::pin(asked).await;
                        let utc = match &outcome {
                            Ok(Answer::Ok(body)) => told(body),
                            Ok(Answer::Refused { .. }) | Err(_) => None,
                        };
                        let heard = clock.uptime();
                        let exchange = utc.map(|utc| Exchange { sent, heard, utc });
                        Heard { ticket, outcome, exchange }
                    });
                }
                Work::Disconnect => {
                    self.requests.abort_all();
                    // Not only the requests: the socket may be the half-open one.
                    self.client = Client::new(self.client.route.clone());
                }
            }
        }
    }

    /// This moment by the clock that nobody sets.
    #[must_use]
    pub fn uptime(&self) -> Option<Uptime> {
        self.boot.map(|boot| Uptime { boot, at: self.clock.uptime() })
    }

    /// What `docs/formats/wire.md` wants behind `bijli-clock:`.
    fn claim(&self) -> Option<String> {
        let boot = self.boot?;
        let (zero_ms, bound_ms) = self.collector_clock.claim(self.clock.uptime())?;
        Some(format!("{boot} {zero_ms} {bound_ms}"))
    }

    fn now(&self) -> Now {
        Now { moment: self.clock.now(), utc: self.clock.utc() }
    }

    /// Batches on disk that no ack covers.
    #[must_use]
    pub fn backlog(&self) -> u64 {
        self.line.backlog()
    }

    #[must_use]
    pub fn counts(&self) -> Counts {
        self.line.counts()
    }

    #[must_use]
    pub const fn route(&self) -> &Route {
        &self.client.route
    }

    #[must_use]
    pub fn spool(&self) -> &Spool<RealDisk> {
        self.line.spool()
    }

    /// The clean end: what waits is made durable, and the release too.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn close(mut self) -> Result<(), SpoolError> {
        self.requests.abort_all();
        self.line.close(self.clock.utc())
    }
}

/// When a wall-clock moment is reached, seen from now.
pub async fn until(clock: Clock, at: UtcMillis) {
    let span = at.since(clock.utc()).unwrap_or(Millis::ZERO);
    time::sleep(Duration::from_millis(span.get())).await;
}

#[cfg(test)]
pub(crate) mod stub {
    //! A collector of one page: it stores, acks, refuses and is stood before as a test wants.

    use std::collections::{BTreeMap, BTreeSet};
    use std::sync::Mutex;

    use bijli_wire::hello::Reached;
    use bijli_wire::{Ack, AckVerdict, BatchSeq, ErrorCode, NodeId, SchemaId, Welcome, codec};
    use hyper::server::conn::http2;
    use hyper::service::service_fn;
    use hyper_util::rt::{TokioExecutor, TokioIo};
    use tokio::net::TcpListener;

    use super::*;

    /// What it has, and how it misbehaves.
    #[derive(Debug, Default)]
    pub(crate) struct Shelf {
        pub(crate) schemas: BTreeMap<SchemaId, bijli_wire::Schema>,
        pub(crate) batches: BTreeMap<(NodeId, BatchSeq), Vec<u8>>,
        pub(crate) allocations: Vec<serde_json::Value>,
        /// Batches that were only shown.
        pub(crate) live: u64,
        /// Refused once, for ever.
        pub(crate) never: BTreeSet<BatchSeq>,
        /// Answers of a portal before the collector itself is reached.
        pub(crate) portals: u32,
    }

    pub(crate) type Shared = Arc<Mutex<Shelf>>;

    fn respond(shelf: &mut Shelf, path: &str, body: &[u8]) -> (u16, Vec<u8>) {
        let refuse = |code: ErrorCode| {
            let body = serde_json::to_vec(&ErrorBody::new(code, "stub")).unwrap();
            (code.http_status(), body)
        };
        if shelf.portals > 0 {
            shelf.portals -= 1;
            return (200, b"<html>please log in</html>".to_vec());
        }
        if path == "/v1/hello" {
            let hello: bijli_wire::Hello = serde_json::from_slice(body).unwrap();
            let (epoch, node) = (hello.read().unwrap().epoch, hello.read().unwrap().node);
            let mine = shelf.batches.keys().filter(|(of, _)| *of == node);
            let newest = mine.map(|(_, sequence)| sequence.get()).max().unwrap_or(0);
            let contiguous = (1..).take_while(|n| {
                let sequence = BatchSeq::new(*n).unwrap();
                shelf.batches.contains_key(&(node.clone(), sequence))
            });
            let contiguous = contiguous.last().unwrap_or(0);
            let reached = Reached { contiguous, newest };
            let welcome = Welcome::new(epoch, reached, UtcMillis::new(0), 4);
            return (200, serde_json::to_vec(&welcome).unwrap());
        }
        if path == "/v1/live" {
            shelf.live += 1;
            return (202, b"{}".to_vec());
        }
        if path.starts_with("/v1/allocations/") {
            shelf.allocations.push(serde_json::from_slice(body).unwrap());
            return (200, b"{}".to_vec());
        }
        if let Some(id) = path.strip_prefix("/v1/schemas/") {
            let (found, schema) = codec::decode_schema(body).unwrap();
            assert_eq!(found.to_string(), id);
            shelf.schemas.insert(found, schema);
            return (200, b"{}".to_vec());
        }
        assert_eq!(path, "/v1/batches");
        let envelope = codec::open(body).unwrap().envelope;
        if !shelf.schemas.contains_key(&envelope.schema) {
            return refuse(ErrorCode::UnknownSchema);
        }
        if shelf.never.remove(&envelope.sequence) {
            return refuse(ErrorCode::MalformedBody);
        }
        let key = (envelope.node, envelope.sequence);
        let verdict = match shelf.batches.insert(key, body.to_vec()) {
            Some(before) if before == body => AckVerdict::Duplicate,
            Some(_) => panic!("two bodies for one sequence"),
            None => AckVerdict::Accepted,
        };
        let ack = Ack::new(envelope.epoch, envelope.sequence, envelope.hash, verdict);
        (200, serde_json::to_vec(&ack).unwrap())
    }

    pub(crate) async fn serve(shelf: Shared) -> CollectorUrl {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let shelf = Arc::clone(&shelf);
                let service = service_fn(move |request: Request<Incoming>| {
                    let shelf = Arc::clone(&shelf);
                    async move {
                        let path = request.uri().path().to_owned();
                        let body = request.into_body().collect().await?.to_bytes();
                        let (status, body) = respond(&mut shelf.lock().unwrap(), &path, &body);
                        let mut response = Response::new(Full::new(Bytes::from(body)));
                        *response.status_mut() = status.try_into().unwrap();
                        Ok::<_, hyper::Error>(response)
                    }
                });
                let connection = http2::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service);
                tokio::spawn(connection);
            }
        });
        CollectorUrl::plain("127.0.0.1", port)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex as StdMutex;

    use bijli_wire::message::EventKind;
    use bijli_wire::{BatchSeq, HubId, NodeId, SpoolEpoch};
    use hyper::server::conn::http2 as server;
    use hyper::service::service_fn;
    use hyper_util::rt::{TokioExecutor, TokioIo};
    use tokio::net::TcpListener;

    use super::stub::{Shared, Shelf, serve as stub};
    use super::*;
    use crate::draft::EncodedSchema;
    use crate::spool::{BYTES_MIN, Fresh, Limits, Owner};

    fn line(dir: &std::path::Path, collector: CollectorUrl) -> Courier {
        let limits = Limits { bytes_max: BYTES_MIN, keep_acked: Millis::ZERO };
        let owner = Owner {
            hub: HubId::new("h").unwrap(),
            node: NodeId::new("n").unwrap(),
            agent: "test".to_owned(),
        };
        let fresh = Fresh { epoch: SpoolEpoch::new([1; 16]), salt: 1 };
        let (spool, _) = Spool::open(RealDisk, dir, limits, owner, fresh).unwrap();
        let draw = || Some(SpoolEpoch::new([2; 16]));
        let chance = line::Chance { seed: 1, draw: Box::new(draw) };
        Courier::new(Line::new(spool, chance), Route::plain(collector), Clock::new())
    }

    fn draft() -> Draft {
        let schema = bijli_wire::Schema {
            hub: HubId::new("h").unwrap(),
            node: NodeId::new("n").unwrap(),
            agent: "with subjects".to_owned(),
            subjects: Vec::new(),
            groups: Vec::new(),
        };
        Draft {
            schema: Arc::new(EncodedSchema::new(&schema).unwrap()),
            created: UtcMillis::new(1_800_000_000_000),
            uptime: None,
            matrices: Vec::new(),
            holds: Vec::new(),
            events: vec![bijli_wire::batch::Event {
                code: 0,
                count: 1,
                at: UtcMillis::new(1_800_000_000_000),
                subject: None,
                kind: EventKind::AgentStarted,
                text: "test".to_owned(),
            }],
        }
    }

    async fn until_acked(line: &mut Courier) {
        let drained = async {
            while line.backlog() > 0 {
                line.step().await.unwrap();
            }
        };
        time::timeout(Duration::from_secs(60), drained).await.expect("it drains");
    }

    #[tokio::test]
    async fn batches_reach_a_collector_that_must_first_be_taught_the_schema() {
        let shelf = Shared::default();
        let dir = tempfile::tempdir().unwrap();
        let mut line = line(dir.path(), stub(Arc::clone(&shelf)).await);
        for _ in 0..20 {
            line.store(&draft()).unwrap();
        }
        until_acked(&mut line).await;
        assert_eq!(shelf.lock().unwrap().batches.len(), 20);
        assert_eq!((line.counts().stored, line.counts().acked), (20, 20));
        line.close().unwrap();
    }

    /// Goal: portals and refused batches cost time and nothing else.
    #[tokio::test]
    async fn n7_what_stands_before_the_collector_costs_no_batch() {
        let never = [BatchSeq::new(3).unwrap(), BatchSeq::new(9).unwrap()];
        let shelf = Shelf { never: never.into(), portals: 2, ..Shelf::default() };
        let shelf = Arc::new(StdMutex::new(shelf));
        let dir = tempfile::tempdir().unwrap();
        let mut line = line(dir.path(), stub(Arc::clone(&shelf)).await);
        for _ in 0..12 {
            line.store(&draft()).unwrap();
        }
        until_acked(&mut line).await;
        assert_eq!(shelf.lock().unwrap().batches.len(), 12);
        assert_eq!(line.counts().quarantined, 2);
    }

    #[tokio::test]
    async fn a_collector_that_is_away_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let collector = CollectorUrl::plain("127.0.0.1", port);
        let mut line = line(dir.path(), collector);
        line.store(&draft()).unwrap();
        for _ in 0..3 {
            line.step().await.unwrap();
        }
        assert_eq!(line.backlog(), 1);
        line.close().unwrap();
        // The spool is free again, and the batch is still to be sent.
        let shelf = Shared::default();
        let mut line = self::line(dir.path(), stub(Arc::clone(&shelf)).await);
        assert_eq!(line.backlog(), 1);
        until_acked(&mut line).await;
        assert_eq!(shelf.lock().unwrap().batches.len(), 1);
    }

    #[tokio::test]
    async fn an_endless_answer_is_cut() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let service = service_fn(|_: Request<Incoming>| async {
                let body = Full::new(Bytes::from(vec![b' '; 4 << 20]));
                Ok::<_, hyper::Error>(Response::new(body))
            });
            server::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service)
                .await
        });
        let client = Client::new(Route::plain(CollectorUrl::plain("127.0.0.1", port)));
        let answer = client.ask(Method::POST, "/v1/batches", "x", Vec::new()).await;
        assert!(matches!(answer, Err(LinkError::Request { .. })), "{answer:?}");
    }
}
