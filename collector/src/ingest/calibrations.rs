//! Calibrations over HTTP: `GET` and `PUT` under `/v1/calibrations`.
//!
//! As allocations: what the books already have is answered without another frame; everything else
//! is journalled and fsynced, then booked, then answered with what the books said. To end one, put
//! it again with its end.

use std::sync::Arc;

use axum::Json;
use axum::extract::State as Shared;
use bijli_ledger::{Calibration, CalibrationError};
use bijli_wire::ErrorCode;
use serde::Serialize;

use super::texts::{Parameters, Put, parameters};
use super::{Ingest, booked, overloaded};
use crate::allocation::Verdict;
use crate::calibration::{CalibrationText, Unbooked};
use crate::frame::Frame;
use crate::refusal::Refusal;
use crate::state::Hub;

/// Calibrations that the books of one hub hold at once.
const CALIBRATIONS_MAX: usize = 10_000;

/// Answer to a put.
#[derive(Debug, Serialize)]
pub(crate) struct Answer {
    verdict: &'static str,
    calibration: CalibrationText,
}

/// Answer to a list.
#[derive(Debug, Serialize)]
pub(crate) struct List {
    calibrations: Vec<CalibrationText>,
}

/// `GET /v1/calibrations?hub=`: every calibration that the books still hold.
pub(crate) async fn list(
    Shared(ingest): Shared<Arc<Ingest>>,
    query: Parameters,
) -> Result<Json<List>, Refusal> {
    let parameters = parameters(query, &["hub"])?;
    let hubs = match parameters.get("hub") {
        Some(name) => vec![ingest.one_hub(Some(name))?],
        None => ingest.state.hubs(),
    };
    let mut calibrations = Vec::new();
    for hub in hubs {
        let books = hub.books();
        calibrations.extend(books.calibrations().map(|held| CalibrationText::of(&hub.id, held)));
    }
    Ok(Json(List { calibrations }))
}

/// `PUT /v1/calibrations`, `PUT /v1/calibrations/{id}`.
pub(crate) async fn put(
    Shared(ingest): Shared<Arc<Ingest>>,
    Put(mut text): Put<CalibrationText>,
) -> Result<Json<Answer>, Refusal> {
    let journal = ingest.journal()?;
    let hub = ingest.one_hub(text.hub.as_deref())?;
    text.hub = Some(hub.id.to_string());
    let (_, calibration) = text.read().map_err(refuse)?;
    if is_booked(&hub, &calibration)? {
        return Ok(Json(Answer { verdict: "unchanged", calibration: text }));
    }
    let frame = Frame::Calibration { received: ingest.state.clock.now(), json: text.to_json() };
    let verdict = booked(journal, frame).await?;
    if let Verdict::Calibrated(Err(error)) = verdict {
        return Err(refuse(error.into()));
    }
    Ok(Json(Answer { verdict: verdict.word(), calibration: text }))
}

fn refuse(error: Unbooked) -> Refusal {
    let code = match &error {
        Unbooked::Refused(CalibrationError::Overlap { .. }) => ErrorCode::Conflict,
        Unbooked::Refused(_) | Unbooked::Text(_) => ErrorCode::InvalidRequest,
    };
    Refusal::new(code, error.to_string())
}

/// Whether the books have exactly this calibration.
fn is_booked(hub: &Hub, calibration: &Calibration) -> Result<bool, Refusal> {
    let books = hub.books();
    match books.calibration(&calibration.id) {
        Some(held) => Ok(held == calibration),
        None if books.calibrations().count() >= CALIBRATIONS_MAX => {
            Err(overloaded("the books hold too many calibrations"))
        }
        None => Ok(false),
    }
}
