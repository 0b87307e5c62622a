//! Nodes that are gone for good, over HTTP: `PUT /v1/retirements`.
//!
//! A GPU is its first node's until that node declares its devices without it. A machine that was
//! scrapped, burnt or stolen never does; so a person may say it. It is journalled and fsynced, then
//! booked, then answered with what the books said.

use std::sync::Arc;

use axum::Json;
use axum::extract::State as Shared;
use bijli_ledger::{RetireError, Retired};
use bijli_wire::ErrorCode;
use serde::Serialize;

use super::texts::{Put, invalid};
use super::{Ingest, booked};
use crate::allocation::Verdict;
use crate::frame::Frame;
use crate::refusal::Refusal;
use crate::retirement::RetirementText;

/// Answer to a put.
#[derive(Debug, Serialize)]
pub(crate) struct Answer {
    /// `retired`, or `unchanged`: it had nothing any more.
    verdict: &'static str,
    /// GPUs, meters and parts that it had, and has no more.
    let_go: usize,
    retirement: RetirementText,
}

/// `PUT /v1/retirements`, `PUT /v1/retirements/{node}`.
pub(crate) async fn put(
    Shared(ingest): Shared<Arc<Ingest>>,
    Put(mut text): Put<RetirementText>,
) -> Result<Json<Answer>, Refusal> {
    let journal = ingest.journal()?;
    let hub = ingest.one_hub(text.hub.as_deref())?;
    text.hub = Some(hub.id.to_string());
    let (_, retirement) = text.read().map_err(|error| invalid(&error))?;
    // Nothing that the books would refuse is journalled.
    let judged = hub.books().judge_retirement(&retirement);
    if judged.map_err(|error| refuse(&error))? == Retired::Already {
        return Ok(Json(Answer { verdict: "unchanged", let_go: 0, retirement: text }));
    }
    let frame = Frame::Retirement { received: ingest.state.clock.now(), json: text.to_json() };
    let verdict = booked(journal, frame).await?;
    let word = verdict.word();
    let let_go = match verdict {
        Verdict::Retired(Err(error)) => return Err(refuse(&error)),
        Verdict::Retired(Ok(Retired::LetGo { subjects })) => subjects,
        Verdict::Retired(Ok(Retired::Already))
        | Verdict::Put(_)
        | Verdict::Ended(_)
        | Verdict::Refused(_)
        | Verdict::Calibrated(_)
        | Verdict::Typed(_)
        | Verdict::Period(_)
        | Verdict::Registered(_)
        | Verdict::Unreadable(_) => 0,
    };
    Ok(Json(Answer { verdict: word, let_go, retirement: text }))
}

fn refuse(error: &RetireError) -> Refusal {
    let code = match error {
        RetireError::Unknown { .. } => ErrorCode::NotFound,
        RetireError::Text { .. } => ErrorCode::InvalidRequest,
    };
    Refusal::new(code, error.to_string())
}
