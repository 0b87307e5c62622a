//! What agents and schedulers may write, over HTTP: `PUT /v1/schemas/{id}`, `POST /v1/batches`,
//! and allocations.
//!
//! The order is fixed: bound, read, decode and validate wholly, admit, journal, acknowledge.
//! Nothing that could not be booked reaches the journal; nothing is acknowledged before its fsync.
//! What is decided is in `door.rs`, without I/O; here is what waits.
//!
//! # Invariants
//! - Memory is bounded: `REQUESTS_MAX` bodies are read at once, few of one node; `DECODES_MAX`
//!   large ones are decoded, and as many small ones as there are worker threads.
//! - Ingest never waits for the books or their readers.

pub mod admission;
pub mod allocations;
pub mod calibrations;
pub mod correction;
pub mod credits;
pub mod denied;
pub mod door;
mod incidents;
mod known;
pub mod meterbook;
pub mod periods;
mod places;
pub mod projects;
pub mod refusal;
mod retirements;
pub mod server;
#[cfg(test)]
mod tests;
mod texts;
pub mod tls;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State as Shared};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_LENGTH, RETRY_AFTER};
use axum::response::Response;
use axum::routing::{get, post, put};
use axum::{Json, body::Body};
use bijli_wire::{Ack, AckVerdict, ErrorCode, SchemaId, Welcome, limits};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::Serialize;
use tokio::sync::{Semaphore, oneshot};

use self::correction::Claim;
use crate::allocation::Verdict;
use crate::frame::Frame;
use crate::intake::{Note, Reply};
use crate::journal::{Journal, Outcome};
use crate::state::{Readiness, State};
use door::{Decision, Door, Peer, overloaded};
use incidents::Incidents;
use places::{Place, Places, REQUESTS_MAX};
use refusal::Refusal;
use texts::invalid;

/// Large bodies decoded at once. A hostile one takes up to 100 MB for a moment.
const DECODES_MAX: usize = 4;
/// Up to this size a body is decoded where it arrived, which is quicker than to hand it to another
/// thread: it has at most 1 MiB of plain bytes (`limits::RATIO_MAX`), a few milliseconds' work.
const SMALL_BODY_BYTES: usize = 16 << 10;
/// A body that takes longer is given up: a stalled sender does not hold a place for ever.
const BODY_TIME_MAX: Duration = Duration::from_secs(20);

/// What the handlers share.
#[derive(Debug)]
pub struct Ingest {
    pub state: Arc<State>,
    /// Set once the journal is replayed.
    pub journal: OnceLock<Journal>,
    places: Places,
    decodes: Semaphore,
    incidents: Incidents,
}

impl Ingest {
    #[must_use]
    pub fn new(state: Arc<State>) -> Self {
        Self {
            state,
            journal: OnceLock::new(),
            places: Places::new(),
            decodes: Semaphore::new(DECODES_MAX),
            incidents: Incidents::default(),
        }
    }

    /// The journal, once it takes frames.
    fn journal(&self) -> Result<&Journal, Refusal> {
        match self.state.readiness() {
            Readiness::Ready => self.journal.get().ok_or_else(|| Refusal::not_ready("starting")),
            Readiness::Replaying { done, total } => Err(Refusal::not_ready(format!(
                "the journal is being replayed, {done} of {total} records are done; send again"
            ))),
            Readiness::Failed => Err(storage_failed()),
        }
    }

    fn place(&self, peer: &Peer) -> Result<Place<'_>, Refusal> {
        self.places.take(peer)
    }

    /// The rules of entry.
    fn door<'a>(&'a self, peer: &'a Peer) -> Result<Door<'a>, Refusal> {
        let intake = &self.journal()?.intake;
        Ok(Door { state: &self.state, intake, peer })
    }

    /// Runs a decoding step: of a small body at once, of others apart from the connections, a few
    /// at a time.
    async fn decode<T: Send + 'static>(
        self: &Arc<Self>,
        body_bytes: usize,
        step: impl FnOnce(&Self) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        if body_bytes <= SMALL_BODY_BYTES {
            return step(self);
        }
        let _permit = self.decodes.acquire().await.map_err(|_| internal())?;
        let this = Arc::clone(self);
        tokio::task::spawn_blocking(move || step(&this)).await.map_err(|_| internal())?
    }
}

/// What agents ask for. Where they have a listener of their own, it is there and nowhere else.
pub fn agents_router(ingest: Arc<Ingest>) -> Router {
    Router::new()
        .route("/v1/schemas/{id}", put(put_schema))
        .route("/v1/batches", post(post_batch))
        .route("/v1/hello", post(post_hello))
        .route("/v1/live", post(post_live))
        .with_state(ingest)
        .layer(axum::middleware::from_fn(spread))
}

/// What schedulers and people ask for.
pub fn people_router(ingest: Arc<Ingest>) -> Router {
    Router::new()
        .route("/v1/allocations", get(allocations::list).put(allocations::put))
        .route(
            "/v1/allocations/{id}",
            get(allocations::show).put(allocations::put).delete(allocations::end),
        )
        .route("/v1/retirements", put(retirements::put))
        .route("/v1/retirements/{node}", put(retirements::put))
        .route("/v1/calibrations", get(calibrations::list).put(calibrations::put))
        .route("/v1/calibrations/{id}", put(calibrations::put))
        .route("/v1/meterbook", get(meterbook::list).put(meterbook::put))
        .route("/v1/meterbook/{id}", put(meterbook::put))
        .route("/v1/periods/{month}", put(periods::close).post(periods::restate))
        .route("/v1/projects", get(projects::list).put(projects::put))
        .route("/v1/projects/{id}", get(projects::show).put(projects::put).delete(projects::delete))
        .with_state(ingest)
}

/// Senders that are refused together shall not come back together: each node is asked for some
/// seconds more, always the same for one node.
async fn spread(request: Request, next: axum::middleware::Next) -> Response {
    let peer = peer_of(&request);
    let mut response = next.run(request).await;
    let asked = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let asked: Option<u16> = asked.and_then(|text| text.parse().ok());
    if let (Some(seconds), Peer::Proven(proven)) = (asked, peer) {
        let more = credits::patience_s(proven.name.node.as_str()).saturating_sub(1);
        response.headers_mut().insert(RETRY_AFTER, seconds.saturating_add(more).into());
    }
    response
}

fn internal() -> Refusal {
    Refusal::new(ErrorCode::Internal, "the request was abandoned; send it again")
}

fn storage_failed() -> Refusal {
    let message = "the journal cannot be written; the collector needs a person, keep the batch";
    Refusal::new(ErrorCode::StorageFailed, message)
}

/// Hands a frame to the journal and waits until it is durable.
async fn durable(journal: &Journal, frame: Frame, note: Note) -> Result<(), Refusal> {
    let (sender, outcome) = oneshot::channel();
    if !journal.append(frame, note, reply(sender)) {
        return Err(overloaded("the journal is busy"));
    }
    match outcome.await {
        Ok(Outcome::Durable) => Ok(()),
        Ok(Outcome::DiskFull) => {
            let message = "the collector's disk is full; nothing was written, send again later";
            Err(Refusal::new(ErrorCode::DiskFull, message))
        }
        Ok(Outcome::Failed) | Err(_) => Err(storage_failed()),
    }
}

/// Journals what somebody wrote, and tells how the books answered.
async fn booked(journal: &Journal, frame: Frame) -> Result<Verdict, Refusal> {
    let (sender, verdict) = oneshot::channel();
    durable(journal, frame, Note::Answer { reply: reply(sender) }).await?;
    let verdict = verdict.await.map_err(|_| internal())?;
    if let Verdict::Unreadable(error) = &verdict {
        return Err(invalid(error));
    }
    Ok(verdict)
}

/// The asker may have hung up; he will ask again and hear "duplicate" or "unchanged".
fn reply<T: Send + 'static>(sender: oneshot::Sender<T>) -> Reply<T> {
    Reply::new(move |told| drop(sender.send(told)))
}

/// Whom the connection belongs to; plain HTTP knows nobody.
fn peer_of(request: &Request) -> Peer {
    request.extensions().get::<Peer>().cloned().unwrap_or(Peer::Claimed)
}

/// The body, bounded by what it says of its length and by what really comes.
async fn read_body(request: Request<Body>) -> Result<Bytes, Refusal> {
    let max = limits::BODY_BYTES_MAX;
    let too_large =
        || Refusal::new(ErrorCode::BodyTooLarge, format!("a body has at most {max} bytes"));
    let declared = request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    let declared: Option<usize> = declared.and_then(|text| text.parse().ok());
    if declared.is_some_and(|bytes| bytes > max) {
        return Err(too_large());
    }
    let body = Limited::new(request.into_body(), max).collect();
    match tokio::time::timeout(BODY_TIME_MAX, body).await {
        Err(_) => Err(overloaded("the body did not arrive in time")),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(overloaded("the body broke off")),
        Ok(Ok(body)) => Ok(body.to_bytes()),
    }
}

/// Answer to a schema.
#[derive(Debug, Serialize)]
struct SchemaAnswer {
    schema: String,
    verdict: AckVerdict,
    /// This collector's clock: a sender's first answer tells it what time it is.
    utc_ms: String,
}

/// `PUT /v1/schemas/{id}`: what a node measures. Its id is the SHA-256 of its plain bytes.
async fn put_schema(
    Shared(ingest): Shared<Arc<Ingest>>,
    path: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Json<SchemaAnswer>, Refusal> {
    let journal = ingest.journal()?;
    let peer = peer_of(&request);
    let _place = ingest.place(&peer)?;
    let asked = path.ok().and_then(|Path(id)| id.parse::<SchemaId>().ok()).ok_or_else(|| {
        Refusal::new(ErrorCode::InvalidRequest, "a schema id is 64 hexadecimal digits")
    })?;
    let body = read_body(request).await?;
    let (whose, bytes) = (peer.clone(), body.len());
    let step = move |ingest: &Ingest| ingest.door(&whose)?.read_schema(asked, body);
    let read = ingest.decode(bytes, step).await;
    let read = ingest.on_record(&peer, read)?;
    let schema = read.id.to_string();
    let decision = ingest.door(&peer)?.admit_schema(read, ingest.state.clock.now())?;
    let verdict = carry_out(journal, decision).await?;
    let utc_ms = ingest.state.clock.now().get().to_string();
    Ok(Json(SchemaAnswer { schema, verdict, utc_ms }))
}

/// `POST /v1/hello`: how far each side is. Releases nothing.
async fn post_hello(
    Shared(ingest): Shared<Arc<Ingest>>,
    request: Request,
) -> Result<Json<Welcome>, Refusal> {
    let journal = ingest.journal()?;
    let peer = peer_of(&request);
    let _place = ingest.place(&peer)?;
    let body = read_body(request).await?;
    let decision = ingest.door(&peer)?.greet(&body, ingest.state.clock.now());
    let decision = ingest.on_record(&peer, decision)?;
    carry_out(journal, decision).await.map(Json)
}

/// `POST /v1/batches`: readings. A 200 says that they are on disk.
async fn post_batch(
    Shared(ingest): Shared<Arc<Ingest>>,
    request: Request,
) -> Result<Json<Ack>, Refusal> {
    let answer = take_batch(&ingest, request).await;
    let outcome = match &answer {
        Ok(ack) if ack.verdict == AckVerdict::Duplicate => "duplicate",
        Ok(_) => "accepted",
        Err(_) => "rejected",
    };
    ingest.state.health.batches.with_label_values(&[outcome]).inc();
    if let Err(refusal) = &answer {
        if refusal.code == ErrorCode::IdentityFork {
            ingest.state.health.lanes.forks.inc();
        } else if refusal.code == ErrorCode::IdentityContested {
            ingest.state.health.lanes.contests.inc();
        }
    }
    answer.map(Json)
}

async fn take_batch(ingest: &Arc<Ingest>, request: Request) -> Result<Ack, Refusal> {
    let journal = ingest.journal()?;
    let peer = peer_of(&request);
    let _place = ingest.place(&peer)?;
    let claim = request.headers().get(correction::HEADER);
    let claim = claim.and_then(|value| Claim::parse(value.to_str().ok()?));
    let body = read_body(request).await?;
    let now = ingest.state.clock.now();
    let (whose, bytes) = (peer.clone(), body.len());
    let step = move |ingest: &Ingest| ingest.door(&whose)?.read_batch_of(body, now, claim);
    let read = ingest.decode(bytes, step).await;
    let read = ingest.on_record(&peer, read)?;
    let (bytes, readings) = (read.bytes(), read.readings);
    let decision = ingest.door(&peer)?.admit_batch(read, ingest.state.clock.now())?;
    let ack = carry_out(journal, decision).await?;
    if ack.verdict == AckVerdict::Accepted {
        ingest.state.health.ingest_bytes.inc_by(u64::try_from(bytes).unwrap_or(u64::MAX));
        ingest.state.health.ingest_readings.inc_by(u64::try_from(readings).unwrap_or(u64::MAX));
    }
    Ok(ack)
}

/// `POST /v1/live`: the newest batch of a sender with a backlog, for the live view only. Neither
/// journalled nor booked, and the first to be refused under load.
async fn post_live(
    Shared(ingest): Shared<Arc<Ingest>>,
    request: Request,
) -> Result<StatusCode, Refusal> {
    ingest.journal()?;
    if ingest.places.free() < REQUESTS_MAX / 2 {
        return Err(overloaded("the collector is busy with batches"));
    }
    let peer = peer_of(&request);
    let _place = ingest.place(&peer)?;
    let body = read_body(request).await?;
    let (now, whose, bytes) = (ingest.state.clock.now(), peer.clone(), body.len());
    let step = move |ingest: &Ingest| ingest.door(&whose)?.show(&body, now);
    let shown = ingest.decode(bytes, step).await;
    ingest.on_record(&peer, shown)?;
    ingest.state.health.lanes.shown.inc();
    Ok(StatusCode::ACCEPTED)
}

/// Journals what is to be journalled, then gives the answer.
async fn carry_out<A>(journal: &Journal, decision: Decision<A>) -> Result<A, Refusal> {
    match decision {
        Decision::Answer(answer) => Ok(answer),
        Decision::Journal { frame, note, answer } => {
            durable(journal, frame, note).await.map(|()| answer)
        }
    }
}
