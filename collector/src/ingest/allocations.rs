//! Allocations over HTTP: `GET`, `PUT` and `DELETE` under `/v1/allocations`.
//!
//! Idempotent: what the books already have is answered without another frame. Everything else is
//! journalled and fsynced, then booked, then answered with what the books said.

use std::sync::Arc;

use axum::Json;
use axum::extract::State as Shared;
use bijli_ledger::{Allocation, AllocationError};
use bijli_wire::{ErrorCode, HubId};
use serde::Serialize;

use super::texts::{Parameters, PathId, Put, invalid, named, parameters};
use super::{Ingest, booked, overloaded};
use crate::allocation::{EndText, PutText, TextError, Verdict};
use crate::bookkeeper::ALLOCATIONS_MAX;
use crate::calendar;
use crate::frame::Frame;
use crate::refusal::Refusal;
use crate::state::Hub;

/// Answer to a put or an end.
#[derive(Debug, Serialize)]
pub(crate) struct Answer {
    verdict: &'static str,
    allocation: Option<PutText>,
}

/// Answer to a list.
#[derive(Debug, Serialize)]
pub(crate) struct List {
    allocations: Vec<PutText>,
}

impl Ingest {
    /// The hub of that name, or the only one.
    pub(super) fn one_hub(&self, name: Option<&str>) -> Result<Arc<Hub>, Refusal> {
        let hubs = self.state.hubs();
        let mut configured = hubs.into_iter().filter(|hub| hub.is_configured);
        let Some(name) = name else {
            let only = configured.next().filter(|_| configured.next().is_none());
            return only.ok_or_else(|| invalid(&TextError::NoHub));
        };
        configured.find(|hub| hub.id.as_str() == name).ok_or_else(|| {
            Refusal::new(ErrorCode::UnknownHub, "this collector has no hub of that name")
        })
    }
}

/// `GET /v1/allocations?hub=`: every allocation that the books still hold, those that were put
/// before those that nodes' witnesses told.
pub(crate) async fn list(
    Shared(ingest): Shared<Arc<Ingest>>,
    query: Parameters,
) -> Result<Json<List>, Refusal> {
    let parameters = parameters(query, &["hub"])?;
    let hubs = match parameters.get("hub") {
        Some(name) => vec![ingest.one_hub(Some(name))?],
        None => ingest.state.hubs(),
    };
    let mut allocations = Vec::new();
    for hub in hubs {
        let books = hub.books();
        allocations.extend(books.allocations().map(|held| PutText::of(&hub.id, held)));
        allocations.extend(books.witnessed().map(|held| PutText::of(&hub.id, &held)));
    }
    Ok(Json(List { allocations }))
}

/// `GET /v1/allocations/{id}?hub=`
pub(crate) async fn show(
    Shared(ingest): Shared<Arc<Ingest>>,
    path: PathId,
    query: Parameters,
) -> Result<Json<PutText>, Refusal> {
    let id = named(path)?;
    let hub = ingest.one_hub(parameters(query, &["hub"])?.get("hub").map(String::as_str))?;
    let text = hub.books().allocation(&id).map(|held| PutText::of(&hub.id, held));
    text.map(Json).ok_or_else(|| unknown(&id))
}

fn unknown(id: &str) -> Refusal {
    let error = AllocationError::Unknown { id: id.to_owned() };
    Refusal::new(ErrorCode::NotFound, error.to_string())
}

/// `PUT /v1/allocations`, `PUT /v1/allocations/{id}`.
pub(crate) async fn put(
    Shared(ingest): Shared<Arc<Ingest>>,
    Put(mut text): Put<PutText>,
) -> Result<Json<Answer>, Refusal> {
    let journal = ingest.journal()?;
    let hub = ingest.one_hub(text.hub.as_deref())?;
    text.hub = Some(hub.id.to_string());
    let (_, allocation) = text.read().map_err(|error| invalid(&error))?;
    if is_booked(&hub, &allocation)? {
        let allocation = Some(PutText::of(&hub.id, &allocation));
        return Ok(Json(Answer { verdict: "unchanged", allocation }));
    }
    let json = PutText::of(&hub.id, &allocation).to_json();
    let frame = Frame::AllocationPut { received: ingest.state.clock.now(), json };
    answer(&hub, &allocation.id, booked(journal, frame).await?)
}

/// Whether the books have exactly this allocation.
fn is_booked(hub: &Hub, allocation: &Allocation) -> Result<bool, Refusal> {
    let books = hub.books();
    match books.allocation(&allocation.id) {
        Some(held) => Ok(held == allocation),
        None if books.allocations().count() >= ALLOCATIONS_MAX => {
            Err(overloaded("the books hold too many allocations"))
        }
        None => Ok(false),
    }
}

/// `DELETE /v1/allocations/{id}?at=&hub=`: ends it at a moment, now if none is given. Nothing is
/// erased.
pub(crate) async fn end(
    Shared(ingest): Shared<Arc<Ingest>>,
    path: PathId,
    query: Parameters,
) -> Result<Json<Answer>, Refusal> {
    let journal = ingest.journal()?;
    let (id, parameters) = (named(path)?, parameters(query, &["at", "hub"])?);
    let hub = ingest.one_hub(parameters.get("hub").map(String::as_str))?;
    if hub.books().allocation(&id).is_none() {
        return Err(unknown(&id));
    }
    let received = ingest.state.clock.now();
    let at = match parameters.get("at") {
        None => received,
        // A plus sign in an address is a blank; only an offset can have had one here.
        Some(text) => calendar::parse(&text.replace(' ', "+"))
            .map_err(|source| invalid(&TextError::Time { field: "at", source }))?,
    };
    let text = EndText { hub: hub.id.to_string(), id: id.clone(), at: calendar::rfc3339(at) };
    let frame = Frame::AllocationEnd { received, json: text.to_json() };
    answer(&hub, &id, booked(journal, frame).await?)
}

fn answer(hub: &Hub, id: &str, verdict: Verdict) -> Result<Json<Answer>, Refusal> {
    let Verdict::Refused(refused) = &verdict else {
        let allocation = hub.books().allocation(id).map(|held| PutText::of(&hub.id, held));
        return Ok(Json(Answer { verdict: verdict.word(), allocation }));
    };
    let code = match refused {
        AllocationError::Overlap { .. } => ErrorCode::Conflict,
        AllocationError::Unknown { .. } => ErrorCode::NotFound,
        AllocationError::IdLength { .. }
        | AllocationError::Control { .. }
        | AllocationError::TextLength { .. }
        | AllocationError::Backwards { .. }
        | AllocationError::Devices { .. } => ErrorCode::InvalidRequest,
    };
    Err(Refusal::new(code, refused.to_string()))
}

/// For the start: what the file says and the books do not.
#[must_use]
pub fn missing_in_books(hub: &Hub, text: &PutText) -> Option<(HubId, Vec<u8>)> {
    let (id, allocation) = text.read().ok()?;
    let is_same = hub.books().allocation(&allocation.id) == Some(&allocation);
    (!is_same).then(|| (id.clone(), PutText::of(&id, &allocation).to_json()))
}
