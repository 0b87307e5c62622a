//! What agents and schedulers may write, over HTTP: `PUT /v1/schemas/{id}`, `POST /v1/batches`,
//! and allocations.
//!
//! The order is fixed: bound, read, decode and validate wholly, admit, journal, acknowledge.
//! Nothing that could not be booked reaches the journal; nothing is acknowledged before its fsync.
//!
//! # Invariants
//! - Memory is bounded: `REQUESTS_MAX` bodies are read at once, `DECODES_MAX` decoded.
//! - Ingest never waits for the books or their readers.

pub mod admission;
pub mod allocations;
pub mod refusal;
pub mod server;
#[cfg(test)]
mod tests;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State as Shared};
use axum::http::header::CONTENT_LENGTH;
use axum::routing::{get, post, put};
use axum::{Json, body::Body};
use bijli_wire::batch::Envelope;
use bijli_wire::{
    Ack, AckVerdict, Batch, ErrorCode, HubId, Schema, SchemaId, UtcMillis, codec, limits,
};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::Serialize;
use tokio::sync::{Semaphore, SemaphorePermit, oneshot};

use crate::frame::Frame;
use crate::ingest::admission::{Admit, LaneKey};
use crate::intake::{Note, Reply, SchemaAdmit};
use crate::journal::{Journal, Outcome};
use crate::state::{Readiness, State};
use refusal::Refusal;

/// Requests whose bodies are being read or journalled at once.
const REQUESTS_MAX: usize = 1_024;
/// Bodies decoded at once. A hostile one takes up to 100 MB for a moment.
const DECODES_MAX: usize = 4;
/// A body that takes longer is given up: a stalled sender does not hold a place for ever.
const BODY_TIME_MAX: Duration = Duration::from_secs(20);

/// What the handlers share.
#[derive(Debug)]
pub struct Ingest {
    pub state: Arc<State>,
    /// Set once the journal is replayed.
    pub journal: OnceLock<Journal>,
    requests: Semaphore,
    decodes: Semaphore,
}

impl Ingest {
    #[must_use]
    pub fn new(state: Arc<State>) -> Self {
        Self {
            state,
            journal: OnceLock::new(),
            requests: Semaphore::new(REQUESTS_MAX),
            decodes: Semaphore::new(DECODES_MAX),
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

    fn place(&self) -> Result<SemaphorePermit<'_>, Refusal> {
        self.requests.try_acquire().map_err(|_| overloaded("too many requests at once"))
    }

    fn is_hub(&self, hub: &HubId) -> Result<(), Refusal> {
        if self.state.hub(hub).is_some_and(|hub| hub.is_configured) {
            return Ok(());
        }
        let message = format!("hub {hub} is not one of this collector; check the agent's hub");
        Err(Refusal::new(ErrorCode::UnknownHub, message))
    }

    /// Runs a decoding step apart from the connections, a few at a time.
    async fn decode<T: Send + 'static>(
        self: &Arc<Self>,
        step: impl FnOnce(&Self) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let _permit = self.decodes.acquire().await.map_err(|_| internal())?;
        let this = Arc::clone(self);
        tokio::task::spawn_blocking(move || step(&this)).await.map_err(|_| internal())?
    }
}

/// The routes of this module.
pub fn router(ingest: Arc<Ingest>) -> Router {
    Router::new()
        .route("/v1/schemas/{id}", put(put_schema))
        .route("/v1/batches", post(post_batch))
        .route("/v1/allocations", get(allocations::list).put(allocations::put_unnamed))
        .route(
            "/v1/allocations/{id}",
            get(allocations::show).put(allocations::put_named).delete(allocations::end),
        )
        .with_state(ingest)
}

fn overloaded(what: &str) -> Refusal {
    Refusal::new(ErrorCode::Overloaded, format!("{what}; send again later"))
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

/// The asker may have hung up; he will ask again and hear "duplicate" or "unchanged".
fn reply<T: Send + 'static>(sender: oneshot::Sender<T>) -> Reply<T> {
    Reply::new(move |told| drop(sender.send(told)))
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

fn refuse_body(error: &bijli_wire::BatchError) -> Refusal {
    Refusal::new(ErrorCode::of_batch(error), error.to_string())
}

/// Answer to a schema.
#[derive(Debug, Serialize)]
struct SchemaAnswer {
    schema: String,
    verdict: AckVerdict,
}

/// `PUT /v1/schemas/{id}`: what a node measures. Its id is the SHA-256 of its plain bytes.
async fn put_schema(
    Shared(ingest): Shared<Arc<Ingest>>,
    path: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Json<SchemaAnswer>, Refusal> {
    let journal = ingest.journal()?;
    let _place = ingest.place()?;
    let asked = path.ok().and_then(|Path(id)| id.parse::<SchemaId>().ok()).ok_or_else(|| {
        Refusal::new(ErrorCode::InvalidRequest, "a schema id is 64 hexadecimal digits")
    })?;
    let body = read_body(request).await?;
    let bytes = body.clone();
    let (id, schema) = ingest
        .decode(move |_| codec::decode_schema(&bytes).map_err(|error| refuse_body(&error)))
        .await?;
    if id != asked {
        let message = format!("the body is schema {id}, the address names {asked}");
        return Err(Refusal::new(ErrorCode::MalformedBody, message));
    }
    ingest.is_hub(&schema.hub)?;
    let verdict = keep_schema(&ingest, journal, (id, schema), body).await?;
    Ok(Json(SchemaAnswer { schema: id.to_string(), verdict }))
}

async fn keep_schema(
    ingest: &Ingest,
    journal: &Journal,
    (id, schema): (SchemaId, Schema),
    body: Bytes,
) -> Result<AckVerdict, Refusal> {
    let admit = journal.intake().admit_schema(id, &schema);
    match admit {
        SchemaAdmit::Known => return Ok(AckVerdict::Duplicate),
        SchemaAdmit::TooManyNodes => return Err(overloaded("this hub has too many nodes")),
        SchemaAdmit::TooManySchemas => return Err(overloaded("this node has too many schemas")),
        SchemaAdmit::New => {}
    }
    let frame = Frame::Schema { received: ingest.state.clock.now(), body: body.to_vec() };
    durable(journal, frame, Note::Schema { id, schema: Arc::new(schema) }).await?;
    Ok(AckVerdict::Accepted)
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
    answer.map(Json)
}

async fn take_batch(ingest: &Arc<Ingest>, request: Request) -> Result<Ack, Refusal> {
    let journal = ingest.journal()?;
    let _place = ingest.place()?;
    let body = read_body(request).await?;
    let bytes = body.clone();
    let (envelope, readings) = ingest.decode(move |ingest| check_batch(ingest, &bytes)).await?;
    let Envelope { hub, node, epoch, sequence, hash, schema, .. } = envelope;
    let lane = LaneKey { hub, node, epoch };
    let received = ingest.state.clock.now();
    let admit = journal.intake().admit(&lane, sequence, hash, received);
    let ack = |verdict| Ack::new(epoch, sequence, hash, verdict);
    match admit {
        Admit::Duplicate => return Ok(ack(AckVerdict::Duplicate)),
        Admit::Fork => {
            ingest.state.health.identity_forks.inc();
            tracing::warn!(hub = %lane.hub, node = %lane.node, %sequence, "identity fork");
        }
        Admit::New | Admit::Busy | Admit::Gap { .. } | Admit::TooManyEpochs => {}
    }
    refusal_of(admit, &lane, sequence).map_or(Ok(()), Err)?;
    let bytes = u64::try_from(body.len()).unwrap_or(u64::MAX);
    let frame = Frame::Batch { received, body: body.to_vec() };
    durable(journal, frame, Note::Batch { lane, seq: sequence, hash, schema }).await?;
    ingest.state.health.ingest_bytes.inc_by(bytes);
    ingest.state.health.ingest_readings.inc_by(u64::try_from(readings).unwrap_or(u64::MAX));
    Ok(ack(AckVerdict::Accepted))
}

fn refusal_of(admit: Admit, lane: &LaneKey, sequence: bijli_wire::BatchSeq) -> Option<Refusal> {
    match admit {
        Admit::New | Admit::Duplicate => None,
        Admit::Fork => Some(Refusal::new(
            ErrorCode::IdentityFork,
            format!(
                "sequence {sequence} of node {} is known with another content: two senders use \
                 one name, or a spool was restored from a backup",
                lane.node
            ),
        )),
        Admit::Busy => Some(overloaded("the same sequence is being written now")),
        Admit::Gap { next } => Some(Refusal::new(
            ErrorCode::SequenceGap,
            format!("sequence {sequence} is too far ahead: {next} is awaited"),
        )),
        Admit::TooManyEpochs => Some(overloaded("this node has begun too many spools")),
    }
}

/// Decodes a batch wholly; returns its envelope and how many readings it has.
fn check_batch(ingest: &Ingest, body: &[u8]) -> Result<(Envelope, usize), Refusal> {
    let journal = ingest.journal()?;
    let opened = codec::open(body).map_err(|error| refuse_body(&error))?;
    let envelope = opened.envelope.clone();
    ingest.is_hub(&envelope.hub)?;
    let schema = journal.intake().schema(envelope.schema).ok_or_else(|| {
        let message = format!("schema {} was never sent here; send it first", envelope.schema);
        Refusal::new(ErrorCode::UnknownSchema, message)
    })?;
    let batch = opened.read(envelope.schema, &schema).map_err(|error| refuse_body(&error))?;
    check_times(&batch, ingest.state.clock.now())?;
    Ok((envelope, batch.readings()))
}

fn check_times(batch: &Batch, now: UtcMillis) -> Result<(), Refusal> {
    let events = || batch.events.iter().map(|event| event.at);
    let earliest = batch.earliest().into_iter().chain(events()).min();
    let latest = batch.latest().into_iter().chain(events()).max();
    if earliest.is_some_and(|at| at.get() < limits::EARLIEST_UTC_MS) {
        let message = "a reading is from before 2020: the sender's clock was never set";
        return Err(Refusal::new(ErrorCode::FromThePast, message));
    }
    let horizon = now.get().saturating_add(limits::FUTURE_MS_MAX);
    if latest.is_some_and(|at| at.get() > horizon) {
        let message = "a reading is more than 5 minutes in the future: compare the clocks";
        return Err(Refusal::new(ErrorCode::FromTheFuture, message));
    }
    Ok(())
}
