//! Closing and restating months over HTTP: `PUT` and `POST` under `/v1/periods`.
//!
//! As the meter book: what would change nothing or be refused is answered without a frame;
//! everything else is journalled and fsynced, then booked, then answered with what the books said.

use std::sync::Arc;

use axum::Json;
use axum::extract::State as Shared;
use bijli_ledger::PeriodError;
use bijli_wire::ErrorCode;
use serde::Serialize;

use super::texts::{Put, invalid};
use super::{Ingest, booked};
use crate::allocation::Verdict;
use crate::api::periods::{Told, one_of};
use crate::frame::Frame;
use crate::period::PeriodText;
use crate::refusal::Refusal;

/// Answer to both.
#[derive(Debug, Serialize)]
pub(crate) struct Answer {
    /// `new`, or `unchanged`: it was so before.
    verdict: &'static str,
    period: Told,
}

/// `PUT /v1/periods/{month}`: closes it.
pub(crate) async fn close(
    Shared(ingest): Shared<Arc<Ingest>>,
    Put(text): Put<PeriodText>,
) -> Result<Json<Answer>, Refusal> {
    if text.cause.is_some() {
        return Err(wrong("a month is closed without a cause; POST restates a closed one"));
    }
    put(&ingest, text).await
}

/// `POST /v1/periods/{month}`: somebody stands for its figures as they are now.
pub(crate) async fn restate(
    Shared(ingest): Shared<Arc<Ingest>>,
    Put(text): Put<PeriodText>,
) -> Result<Json<Answer>, Refusal> {
    if text.cause.is_none() {
        return Err(wrong("a restatement needs its cause; PUT closes a month"));
    }
    put(&ingest, text).await
}

async fn put(ingest: &Ingest, mut text: PeriodText) -> Result<Json<Answer>, Refusal> {
    let journal = ingest.journal()?;
    let hub = ingest.one_hub(text.hub.as_deref())?;
    text.hub = Some(hub.id.to_string());
    let (_, said) = text.read().map_err(|error| invalid(&error))?;
    let month = said.month();
    let told = |verdict| Ok(Json(Answer { verdict, period: one_of(&hub.books(), month) }));
    let would_change = said.would_change(&hub.books()).map_err(|error| refuse(&error))?;
    if !would_change {
        return told("unchanged");
    }
    let frame = Frame::Period { received: ingest.state.clock.now(), json: text.to_json() };
    let verdict = booked(journal, frame).await?;
    if let Verdict::Period(Err(error)) = verdict {
        return Err(refuse(&error));
    }
    told(verdict.word())
}

fn wrong(words: &str) -> Refusal {
    Refusal::new(ErrorCode::InvalidRequest, words)
}

fn refuse(error: &PeriodError) -> Refusal {
    let code = match error {
        PeriodError::Text { .. } => ErrorCode::InvalidRequest,
        PeriodError::NotClosed { .. } => ErrorCode::NotFound,
        PeriodError::NotOver { .. }
        | PeriodError::Doubts { .. }
        | PeriodError::Overlaps { .. }
        | PeriodError::NothingChanged { .. } => ErrorCode::Conflict,
    };
    Refusal::new(code, error.to_string())
}
