//! The JSON API under `/v1`: what the books and the live view say, for programs. `docs/api.md`
//! lists every address; a test holds it to this router.
//!
//! # Invariants
//! - Amounts are decimal strings of millijoules (`*_mj`) beside a readable unit; times are RFC
//!   3339 in UTC; ratios are strings made from integers. No number here passed through a float.
//! - Every refusal has the one shape of [`crate::refusal`]. Unknown parameters are refused.
//! - While the books are rebuilt from the journal there is no answer: half a sum is no sum.
//!
//! **Architecture invariant:** nothing here changes a book. Answers are made under a read guard of
//! one lock at a time and serialised after it is dropped.

mod amount;
mod asked;
mod balance;
pub(crate) mod bill;
pub(crate) mod budgets;
mod checks;
mod diagram;
mod energy;
pub(crate) mod events;
pub(crate) mod fleet;
pub(crate) mod hubs;
mod kpi;
pub(crate) mod nodes;
mod past;
pub(crate) mod periods;
mod projects;
pub(crate) mod pue;
pub(crate) mod query;
mod seals;
#[cfg(test)]
pub(crate) mod tests;

use std::time::Duration;

use axum::routing::get;
use axum::{Json, Router};
use bijli_wire::ErrorCode;
use serde::Serialize;
use tokio::sync::Semaphore;

use crate::refusal::{self, Refusal};
use crate::state::{Readiness, Shared};

pub(crate) use asked::closed;
pub(crate) use balance::node_event_word;
pub(crate) use past::as_of;
pub(crate) use query::Period;
pub use seals::tlog_router;

/// Every address of the API.
pub fn router(state: Shared) -> Router {
    Router::new()
        .route("/v1/hubs", get(hubs::list))
        .route("/v1/hubs/{hub}", get(hubs::one))
        .route("/v1/hubs/{hub}/pue", get(pue::period))
        .route("/v1/hubs/{hub}/pue/intervals", get(pue::intervals))
        .route("/v1/hubs/{hub}/kpis", get(kpi::period))
        .route("/v1/hubs/{hub}/kpis/projects", get(kpi::projects))
        .route("/v1/hubs/{hub}/balance", get(balance::balance))
        .route("/v1/hubs/{hub}/flows", get(balance::flows))
        .route("/v1/hubs/{hub}/diagram", get(diagram::diagram))
        .route("/v1/hubs/{hub}/entries", get(balance::entries))
        .route("/v1/hubs/{hub}/intervals", get(balance::intervals))
        .route("/v1/hubs/{hub}/events", get(balance::events))
        .route("/v1/hubs/{hub}/projects", get(projects::list))
        .route("/v1/hubs/{hub}/projects/{project}", get(projects::one))
        .route("/v1/hubs/{hub}/periods", get(periods::list))
        .route("/v1/hubs/{hub}/periods/{month}", get(periods::one))
        .route("/v1/hubs/{hub}/nodes", get(nodes::list))
        .route("/v1/hubs/{hub}/nodes/{node}", get(nodes::one))
        .route("/v1/hubs/{hub}/devices", get(nodes::devices))
        .route("/v1/hubs/{hub}/meters", get(nodes::meters))
        .route("/v1/energy", get(energy::energy))
        .route("/v1/budgets", get(budgets::list))
        .route("/v1/pue", get(pue::together))
        .route("/v1/events", get(events::list))
        .route("/v1/seals", get(seals::list))
        .route("/v1/checks", get(checks::list))
        .method_not_allowed_fallback(refusal::method_not_allowed)
        .with_state(state)
}

/// What a handler gives.
type Answer<T> = Result<Json<T>, Refusal>;

/// Readers at work at once, over the API, the page and the export.
const READERS_MAX: usize = 8;
/// How long a reader waits for its turn.
const TURN: Duration = Duration::from_secs(5);

static READERS: Semaphore = Semaphore::const_new(READERS_MAX);

/// Runs `work` where it may take a lock and its time; refuses when too many already do.
pub(crate) async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    let turn = tokio::time::timeout(TURN, READERS.acquire()).await;
    let Ok(Ok(_turn)) = turn else {
        let words = "too many readers at once; ask again in a moment";
        return Err(Refusal::new(ErrorCode::Overloaded, words));
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(_) => Err(Refusal::new(ErrorCode::Internal, "a defect: the answer could not be made")),
    }
}

async fn answer<T: Serialize + Send + 'static>(
    work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Answer<T> {
    aside(work).await.map(Json)
}

/// Refuses while the books are being rebuilt.
pub(crate) fn ready(state: &Shared) -> Result<(), Refusal> {
    match state.readiness() {
        Readiness::Ready | Readiness::Failed => Ok(()),
        Readiness::Replaying { done, total } => {
            let words = format!("the books are being rebuilt: {done} of {total} frames");
            Err(Refusal::new(ErrorCode::Overloaded, words))
        }
    }
}
