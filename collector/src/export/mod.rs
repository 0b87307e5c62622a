//! `/metrics/fleet`: the fleet and the closed books as Prometheus text, written directly.
//!
//! What is present is rendered, so what left is gone; nothing goes stale here by mistake. The
//! collector's own counters are on `/metrics` (`health.rs`).
//!
//! # Invariants
//! - Everything is copied out from under the locks first (`scene`) and rendered after.
//! - Counters of the books are sums over first postings (`Books::totals`), so they never go down;
//!   corrections are counted apart.

mod budgets;
pub mod catalogue;
mod checks;
mod dcgm;
mod events;
mod gpus;
mod meters;
pub(crate) mod readings;
mod scene;
mod text;
mod write;

use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;
use bijli_wire::UtcMillis;

use crate::api::{aside, ready};
use crate::refusal::{Refusal, method_not_allowed};
use crate::state::{self, Shared};
use scene::Scene;
use text::Text;

pub use catalogue::names;

const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

#[derive(Clone, Debug)]
struct Export {
    state: Shared,
}

/// `/metrics/fleet`, and `/metrics/dcgm`.
pub fn router(state: Shared) -> Router {
    Router::new()
        .route("/metrics/fleet", get(fleet))
        .route("/metrics/dcgm", get(as_dcgm))
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(Export { state })
}

async fn fleet(State(export): State<Export>) -> Result<impl IntoResponse, Refusal> {
    let text = aside(move || {
        // Half a replay would look like counters that fell.
        ready(&export.state)?;
        budgets::go_on(&export.state);
        Ok(text_at(&export.state, export.state.clock.now()))
    })
    .await?;
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], text))
}

/// GPUs as dcgm-exporter names them.
async fn as_dcgm(State(export): State<Export>) -> Result<impl IntoResponse, Refusal> {
    let text = aside(move || {
        ready(&export.state)?;
        let now = export.state.clock.now();
        let hubs = export.state.hubs();
        let scenes: Vec<Scene> = hubs.iter().map(|hub| Scene::of(hub, now)).collect();
        let mut text = Text::default();
        dcgm::write(&mut text, &scenes);
        Ok(text.finish())
    })
    .await?;
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], text))
}

/// What a scrape at `now` shows; whoever lives a hub in simulated time has a time of its own.
#[must_use]
pub fn text_at(state: &state::State, now: UtcMillis) -> String {
    let scenes: Vec<Scene> = state.hubs().iter().map(|hub| Scene::of(hub, now)).collect();
    let subjects: usize = scenes.iter().map(Scene::subjects).sum();
    // A device has about 16 lines of 100 bytes.
    let mut text = Text::with_capacity(subjects.saturating_mul(1_800).saturating_add(16_384));
    write::write(&mut text, &scenes);
    budgets::write(&mut text, state, &scenes);
    text.finish()
}

#[cfg(test)]
mod tests;
