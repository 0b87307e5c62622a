//! The registry of projects over HTTP: `GET`, `PUT` and `DELETE` under `/v1/projects`.
//!
//! As allocations: what the registry already has is answered without another frame; everything
//! else is judged, journalled and fsynced, then made, then answered with what became of it.

use std::sync::Arc;

use axum::Json;
use axum::extract::State as Shared;
use bijli_wire::{ErrorCode, ProjectId};
use serde::Serialize;

use super::texts::{Parameters, PathId, Put, invalid, named, parameters};
use super::{Ingest, booked};
use crate::allocation::{Verdict, name};
use crate::api::as_of;
use crate::calendar;
use crate::frame::Frame;
use crate::projects::registry::{Change, Made};
use crate::projects::text::{ChangeText, DeleteText, Unregistered};
use crate::projects::{ProjectError, ProjectText, Projects, Registered};
use crate::refusal::Refusal;

/// Answer to a put or a delete.
#[derive(Debug, Serialize)]
pub(crate) struct Answer {
    verdict: &'static str,
    /// `null`: it is no longer in the registry.
    project: Option<ProjectText>,
}

/// Answer to a list.
#[derive(Debug, Serialize)]
pub(crate) struct List {
    /// The registry as it was then; every answer about projects says on which it rests.
    as_of: String,
    projects: Vec<ProjectText>,
}

/// Answer to a question about one.
#[derive(Debug, Serialize)]
pub(crate) struct One {
    as_of: String,
    /// `null`: it is not in the registry of that moment.
    project: Option<ProjectText>,
    /// Every change that was ever made, oldest first.
    history: Vec<Told>,
}

/// A change that was made.
#[derive(Debug, Serialize)]
struct Told {
    at: String,
    /// Leaves that the books had then.
    leaves: u64,
    #[serde(flatten)]
    change: ChangeText,
}

impl Told {
    fn of(made: &Made) -> Self {
        let at = calendar::rfc3339(made.received);
        Self { at, leaves: made.leaves, change: made.change.text() }
    }
}

/// `GET /v1/projects?as_of=`: every project of the registry, by id.
pub(crate) async fn list(
    Shared(ingest): Shared<Arc<Ingest>>,
    query: Parameters,
) -> Result<Json<List>, Refusal> {
    let (as_of, projects) = asked(&ingest, query)?;
    let projects = projects.iter().map(ProjectText::of).collect();
    Ok(Json(List { as_of, projects }))
}

/// `GET /v1/projects/{id}?as_of=`: one of them, with every change that was made of it.
pub(crate) async fn show(
    Shared(ingest): Shared<Arc<Ingest>>,
    path: PathId,
    query: Parameters,
) -> Result<Json<One>, Refusal> {
    let id = project_id(&named(path)?)?;
    let (as_of, projects) = asked(&ingest, query)?;
    let history: Vec<Told> = ingest.state.registry().history(&id).map(Told::of).collect();
    if history.is_empty() {
        return Err(Refusal::new(ErrorCode::NotFound, ProjectError::Unknown { id }.to_string()));
    }
    let project = projects.project(&id).map(ProjectText::of);
    Ok(Json(One { as_of, project, history }))
}

/// The registry that is asked for, and as of when it is.
fn asked(ingest: &Ingest, query: Parameters) -> Result<(String, Projects), Refusal> {
    let parameters = parameters(query, &["as_of"])?;
    crate::api::ready(&ingest.state)?;
    let as_of = as_of(&ingest.state, parameters.get("as_of").map(String::as_str))?;
    let projects = ingest.state.registry().as_of(as_of.changes);
    let refuse =
        |error: crate::as_of::AsOfError| Refusal::new(ErrorCode::InvalidRequest, error.to_string());
    Ok((as_of.to_string(), projects.map_err(refuse)?))
}

fn project_id(text: &str) -> Result<ProjectId, Refusal> {
    name("id", ProjectId::new(text)).map_err(|error| invalid(&error))
}

/// `PUT /v1/projects`, `PUT /v1/projects/{id}`.
pub(crate) async fn put(
    Shared(ingest): Shared<Arc<Ingest>>,
    Put(text): Put<ProjectText>,
) -> Result<Json<Answer>, Refusal> {
    let project = text.read().map_err(|error| refuse(&error))?;
    make(&ingest, Change::Put(Box::new(project))).await
}

/// `DELETE /v1/projects/{id}?who=&why=`: takes it out of the registry. Its accounts are their own
/// again; nothing is erased.
pub(crate) async fn delete(
    Shared(ingest): Shared<Arc<Ingest>>,
    path: PathId,
    query: Parameters,
) -> Result<Json<Answer>, Refusal> {
    let (id, mut parameters) = (named(path)?, parameters(query, &["who", "why"])?);
    let mut text = |name: &str| parameters.remove(name).unwrap_or_default();
    let text = ChangeText::Delete(DeleteText { id, who: text("who"), why: text("why") });
    make(&ingest, text.read().map_err(|error| refuse(&error))?).await
}

/// Makes a change, once it is known to be one.
async fn make(ingest: &Ingest, change: Change) -> Result<Json<Answer>, Refusal> {
    let journal = ingest.journal()?;
    let interval_ms = ingest.state.rules.interval.get();
    let judged = ingest.state.registry().judge(&change, interval_ms);
    let judged = judged.map_err(|error| refuse(&error.into()))?;
    if judged == Registered::Unchanged {
        return Ok(answer(ingest, &change, judged.word()));
    }
    let json = change.text().to_json();
    let frame = Frame::Project { received: ingest.state.clock.now(), json };
    let verdict = booked(journal, frame).await?;
    if let Verdict::Registered(Err(error)) = verdict {
        return Err(refuse(&error.into()));
    }
    Ok(answer(ingest, &change, verdict.word()))
}

/// The project as the registry has it now.
fn answer(ingest: &Ingest, change: &Change, verdict: &'static str) -> Json<Answer> {
    let registry = ingest.state.registry();
    let project = registry.now().project(change.id()).map(ProjectText::of);
    Json(Answer { verdict, project })
}

fn refuse(error: &Unregistered) -> Refusal {
    let code = match error {
        Unregistered::Refused(ProjectError::Claimed { .. }) => ErrorCode::Conflict,
        Unregistered::Refused(ProjectError::Unknown { .. }) => ErrorCode::NotFound,
        Unregistered::Refused(ProjectError::Full) => ErrorCode::Overloaded,
        Unregistered::Refused(
            ProjectError::TextLength { .. }
            | ProjectError::Control { .. }
            | ProjectError::Backwards { .. }
            | ProjectError::NoEdge { .. }
            | ProjectError::Outside { .. }
            | ProjectError::Claims { .. },
        )
        | Unregistered::Text(_)
        | Unregistered::Budget(_) => ErrorCode::InvalidRequest,
    };
    Refusal::new(code, error.to_string())
}

/// For the start: what the file says and the registry does not.
#[must_use]
pub fn missing_in_registry(ingest: &Ingest, text: &ProjectText) -> Option<Vec<u8>> {
    let change = Change::Put(Box::new(text.read().ok()?));
    let interval_ms = ingest.state.rules.interval.get();
    let judged = ingest.state.registry().judge(&change, interval_ms);
    (judged != Ok(Registered::Unchanged)).then(|| change.text().to_json())
}
