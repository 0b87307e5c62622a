//! The first page at `/`: every hub at a glance, for people, on any screen. `/events`: what
//! happened, filtered by its address. `/audit`: which months are closed, and what changed since.
//! `/projects`: who used what.
//!
//! # Invariants
//! - Nothing is loaded from elsewhere, no script or style is inline (the CSP says so), and
//!   without script the page reloads itself.
//! - A PUE is never shown without kind, category, period and coverage; what is provisional is
//!   drawn apart from what is closed.
//! - maud escapes every text; there is no `PreEscaped` here.

mod audit;
mod chart;
mod checks;
pub(crate) mod diagram;
mod events;
mod firing;
pub(crate) mod flow;
pub(crate) mod place;
mod projects;
mod render;
pub(crate) mod svg;
pub(crate) mod tables;
pub(crate) mod view;

use axum::Router;
use axum::extract::State;
use axum::http::{Uri, header};
use axum::response::{Html, IntoResponse};
use axum::routing::get;
use bijli_wire::{ErrorCode, ProjectId};
use maud::Markup;

use crate::api::aside;
use crate::api::events::Filter;
use crate::api::query::Parameters;
use crate::refusal::{Refusal, method_not_allowed};
use crate::state::Shared;
use view::Closed;

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The collector, and the sums over closed intervals that the page keeps until they change.
#[derive(Clone, Debug)]
struct Page {
    state: Shared,
    closed: Closed,
    projects: projects::Kept,
}

/// `/`, its changing part, and its files.
pub fn router(state: Shared) -> Router {
    Router::new()
        .route("/", get(whole))
        .route("/page/fragment", get(fragment))
        .route("/events", get(all_events))
        .route("/events/fragment", get(events_fragment))
        .route("/audit", get(all_months))
        .route("/audit/fragment", get(audit_fragment))
        .route("/projects", get(all_projects))
        .route("/projects/fragment", get(projects_fragment))
        .route("/page.css", get(|| file("text/css; charset=utf-8", include_str!("page.css"))))
        .route("/page.js", get(|| file("text/javascript; charset=utf-8", include_str!("page.js"))))
        .route("/icon.svg", get(|| file("image/svg+xml", include_str!("icon.svg"))))
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(Page { state, closed: Closed::default(), projects: projects::Kept::default() })
}

async fn whole(State(page): State<Page>) -> Result<impl IntoResponse, Refusal> {
    aside(move || Ok(html(render::page(&page.look())))).await
}

async fn fragment(State(page): State<Page>) -> Result<impl IntoResponse, Refusal> {
    aside(move || Ok(html(render::fragment(&page.look())))).await
}

async fn all_events(State(page): State<Page>, uri: Uri) -> Result<impl IntoResponse, Refusal> {
    aside(move || Ok(html(events::page(&page.events(&uri)?)))).await
}

async fn events_fragment(State(page): State<Page>, uri: Uri) -> Result<impl IntoResponse, Refusal> {
    aside(move || Ok(html(events::fragment(&page.events(&uri)?)))).await
}

async fn all_months(State(page): State<Page>) -> Result<impl IntoResponse, Refusal> {
    aside(move || Ok(html(audit::page(&audit::View::of(&page.state))))).await
}

async fn audit_fragment(State(page): State<Page>) -> Result<impl IntoResponse, Refusal> {
    aside(move || Ok(html(audit::fragment(&audit::View::of(&page.state))))).await
}

async fn all_projects(State(page): State<Page>, uri: Uri) -> Result<impl IntoResponse, Refusal> {
    aside(move || {
        let (view, only) = page.projects(&uri)?;
        Ok(html(projects::page(&view, only.as_ref())))
    })
    .await
}

async fn projects_fragment(
    State(page): State<Page>,
    uri: Uri,
) -> Result<impl IntoResponse, Refusal> {
    aside(move || Ok(html(projects::fragment(&page.projects(&uri)?.0)))).await
}

impl Page {
    fn projects(&self, uri: &Uri) -> Result<(projects::View, Option<ProjectId>), Refusal> {
        let parameters = Parameters::of(uri, &["project"])?;
        let only = parameters.text("project").map(ProjectId::new).transpose();
        let only =
            only.map_err(|error| Refusal::new(ErrorCode::InvalidRequest, error.to_string()))?;
        Ok((projects::View::of(&self.state, &self.projects, only.clone())?, only))
    }

    fn events(&self, uri: &Uri) -> Result<events::View, Refusal> {
        let filter = Filter::of(&self.state, uri, events::ROWS)?;
        Ok(events::View::of(&self.state, filter))
    }

    fn look(&self) -> view::View {
        view::View::of(&self.state, &self.closed)
    }
}

fn html(markup: Markup) -> impl IntoResponse {
    (
        [
            (header::CONTENT_SECURITY_POLICY, POLICY),
            (header::CACHE_CONTROL, "no-store"),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::REFERRER_POLICY, "no-referrer"),
        ],
        Html(markup.into_string()),
    )
}

async fn file(kind: &'static str, text: &'static str) -> impl IntoResponse {
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "no-cache"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, text)
}

#[cfg(test)]
mod tests;
