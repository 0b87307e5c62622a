//! The meter book over HTTP: `GET` and `PUT` under `/v1/meterbook`.
//!
//! As allocations: what the books already have is answered without another frame; everything else
//! is journalled and fsynced, then booked, then answered with what the books said. To correct a
//! reading, put it again under its id.

use std::sync::Arc;

use axum::Json;
use axum::extract::State as Shared;
use bijli_ledger::{Measure, MeterBookError, TypedReading, TypedStatus, TypedUse};
use bijli_wire::units::human_energy;
use bijli_wire::{ErrorCode, HubId};
use serde::Serialize;

use super::texts::{Parameters, Put, parameters};
use super::{Ingest, booked, internal};
use crate::allocation::Verdict;
use crate::api::nodes::point_of;
use crate::calendar;
use crate::diagram::Plan;
use crate::frame::Frame;
use crate::meterbook::{TypedText, Untyped};
use crate::refusal::Refusal;
use crate::state::Hub;

/// Answer to a put.
#[derive(Debug, Serialize)]
pub(crate) struct Answer {
    verdict: &'static str,
    reading: Told,
}

/// Answer to a list.
#[derive(Debug, Serialize)]
pub(crate) struct List {
    readings: Vec<Told>,
}

/// A reading, and what became of it.
#[derive(Debug, Serialize)]
struct Told {
    #[serde(flatten)]
    text: TypedText,
    /// Where the meter hangs in the diagram; `null`: nowhere, so what it counts is in no balance.
    point: Option<String>,
    /// `kept`, `booked` or `witness`.
    #[serde(rename = "use")]
    used: &'static str,
    since: Option<Since>,
    /// `null`: no agent's register covers the time since the reading before.
    compared: Option<Comparison>,
}

/// What the meter counted since the reading before.
#[derive(Debug, Serialize)]
struct Since {
    id: String,
    at: String,
    /// `null` of a meter of water or fuel...
    energy_mj: Option<String>,
    energy: Option<String>,
    /// ...whose volume it is, and left out of every other.
    #[serde(skip_serializing_if = "Option::is_none")]
    volume_ml: Option<String>,
    /// Of it, what came too late to be booked.
    too_old_mj: String,
}

/// The same stretch by the agent's register.
#[derive(Debug, Serialize)]
struct Comparison {
    agent_mj: String,
    /// Typed less agent.
    difference_mj: String,
    difference: String,
    /// What display and interval edges explain.
    doubt_mj: String,
    is_disputed: bool,
}

impl Told {
    fn of(hub: &HubId, plan: &Plan, status: &TypedStatus<'_>) -> Self {
        let is_energy = status.reading.measure == Measure::Energy;
        let point = point_of(plan, status.reading.meter.as_str());
        Self {
            text: TypedText::of(hub, status.reading),
            point: point.map(|point| point.id.clone()),
            used: match status.used {
                TypedUse::Kept => "kept",
                TypedUse::Booked => "booked",
                TypedUse::Witness => "witness",
            },
            since: status.since.map(|(before, energy)| Since {
                id: before.id.clone(),
                at: calendar::rfc3339(before.at),
                energy_mj: is_energy.then(|| energy.to_string()),
                energy: is_energy.then(|| human_energy(energy.into())),
                volume_ml: (!is_energy).then(|| energy.to_string()),
                too_old_mj: status.too_old_mj.to_string(),
            }),
            compared: Comparison::of(status),
        }
    }
}

impl Comparison {
    fn of(status: &TypedStatus<'_>) -> Option<Self> {
        let (_, typed) = status.since?;
        let agent = status.compared?.agent_mj;
        let apart = u128::from(typed).abs_diff(agent);
        let sign = if u128::from(typed) < agent { "-" } else { "" };
        Some(Self {
            agent_mj: agent.to_string(),
            difference_mj: format!("{sign}{apart}"),
            difference: format!("{sign}{}", human_energy(apart)),
            doubt_mj: status.doubt_mj?.to_string(),
            is_disputed: status.is_disputed(),
        })
    }
}

/// `GET /v1/meterbook?hub=&meter=`: every typed reading that the books hold, by meter, oldest
/// first.
pub(crate) async fn list(
    Shared(ingest): Shared<Arc<Ingest>>,
    query: Parameters,
) -> Result<Json<List>, Refusal> {
    let parameters = parameters(query, &["hub", "meter"])?;
    let hubs = match parameters.get("hub") {
        Some(name) => vec![ingest.one_hub(Some(name))?],
        None => ingest.state.hubs(),
    };
    let meter = parameters.get("meter");
    let mut readings = Vec::new();
    for hub in hubs {
        let plan = hub.view().plan.clone();
        let books = hub.books();
        let asked = books
            .typed()
            .filter(|typed| meter.is_none_or(|meter| typed.reading.meter.as_str() == meter));
        readings.extend(asked.map(|typed| Told::of(&hub.id, &plan, &typed)));
    }
    Ok(Json(List { readings }))
}

/// `PUT /v1/meterbook`, `PUT /v1/meterbook/{id}`.
pub(crate) async fn put(
    Shared(ingest): Shared<Arc<Ingest>>,
    Put(mut text): Put<TypedText>,
) -> Result<Json<Answer>, Refusal> {
    let journal = ingest.journal()?;
    let hub = ingest.one_hub(text.hub.as_deref())?;
    text.hub = Some(hub.id.to_string());
    let (_, reading) = text.read().map_err(|error| refuse(&error))?;
    if is_booked(&hub, &reading) {
        return told(&hub, &reading.id, "unchanged");
    }
    let frame = Frame::Typed { received: ingest.state.clock.now(), json: text.to_json() };
    let verdict = booked(journal, frame).await?;
    if let Verdict::Typed(Err(error)) = verdict {
        return Err(refuse(&error.into()));
    }
    told(&hub, &reading.id, verdict.word())
}

/// The reading as the books have it now.
fn told(hub: &Hub, id: &str, verdict: &'static str) -> Result<Json<Answer>, Refusal> {
    let plan = hub.view().plan.clone();
    let reading = hub.books().typed_of(id).map(|status| Told::of(&hub.id, &plan, &status));
    let reading = reading.ok_or_else(internal)?;
    Ok(Json(Answer { verdict, reading }))
}

fn refuse(error: &Untyped) -> Refusal {
    let code = match error {
        Untyped::Refused(
            MeterBookError::SameMoment { .. }
            | MeterBookError::Backwards { .. }
            | MeterBookError::Factor { .. }
            | MeterBookError::TwoMeasures { .. }
            | MeterBookError::NoRollover { .. },
        ) => ErrorCode::Conflict,
        Untyped::Refused(MeterBookError::Full) => ErrorCode::Overloaded,
        Untyped::Refused(
            MeterBookError::Text { .. }
            | MeterBookError::Ahead { .. }
            | MeterBookError::NoMeter { .. }
            | MeterBookError::NoEnergy { .. }
            | MeterBookError::FlowRate { .. }
            | MeterBookError::BeyondRollover { .. }
            | MeterBookError::Power { .. },
        )
        | Untyped::Text(_)
        | Untyped::Value { .. }
        | Untyped::Factor { .. }
        | Untyped::Digits { .. }
        | Untyped::Photo => ErrorCode::InvalidRequest,
    };
    Refusal::new(code, error.to_string())
}

/// Whether the books have exactly this reading.
fn is_booked(hub: &Hub, reading: &TypedReading) -> bool {
    hub.books().typed_of(&reading.id).is_some_and(|held| held.reading == reading)
}
