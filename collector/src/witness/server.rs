//! The witness over HTTP: the C2SP's `add-checkpoint`, and the last one cosigned of a log.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bijli_tlog::witness::{Refused, Request};
use tokio::net::TcpListener;

use super::{Keeper, WitnessError};
use crate::clock::Clock;
use crate::collector::told_to_stop;
use crate::journal::chain;

const BODY_BYTES_MAX: usize = 128 << 10;
const TEXT: &str = "text/plain; charset=utf-8";

/// Answers until SIGTERM or SIGINT.
///
/// # Errors
/// When the address cannot be listened on.
pub async fn serve(address: SocketAddr, keeper: Keeper) -> Result<(), WitnessError> {
    let listen = |source| WitnessError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(listen)?;
    let bound = listener.local_addr().map_err(listen)?;
    tracing::info!("witness {} listening on http://{bound}", keeper.key());
    let served = axum::serve(listener, router(Arc::new(keeper)));
    served.with_graceful_shutdown(told_to_stop()).await.map_err(listen)
}

/// Every address of a witness.
pub fn router(keeper: Arc<Keeper>) -> Router {
    Router::new()
        .route("/add-checkpoint", post(add))
        .route("/latest/{log}", get(latest))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(keeper)
}

/// `POST /add-checkpoint`
async fn add(State(keeper): State<Arc<Keeper>>, body: String) -> Response {
    let work = move || keeper.add(&Request::parse(&body)?, Clock.now());
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(lines)) => ([(CONTENT_TYPE, TEXT)], lines).into_response(),
        Ok(Err(WitnessError::Refused(refused))) => refuse(&refused),
        Ok(Err(error)) => fail(&chain(&error)),
        Err(_) => fail("a defect: the request could not be judged"),
    }
}

/// `GET /latest/{log}`
async fn latest(State(keeper): State<Arc<Keeper>>, Path(log): Path<String>) -> Response {
    match tokio::task::spawn_blocking(move || keeper.latest(&log)).await {
        Ok(Ok(Some(note))) => ([(CONTENT_TYPE, TEXT)], note).into_response(),
        Ok(Ok(None)) => {
            (StatusCode::NOT_FOUND, "nothing is cosigned of this log\n").into_response()
        }
        Ok(Err(error)) => fail(&chain(&error)),
        Err(_) => fail("a defect: what is known could not be read"),
    }
}

fn refuse(refused: &Refused) -> Response {
    let status = StatusCode::from_u16(refused.status()).unwrap_or(StatusCode::BAD_REQUEST);
    tracing::warn!(%refused, "not cosigned");
    match refused {
        Refused::Conflict { size } => {
            (status, [(CONTENT_TYPE, "text/x.tlog.size")], format!("{size}\n")).into_response()
        }
        Refused::Form
        | Refused::OldSize
        | Refused::Unknown
        | Refused::NotSigned
        | Refused::Inconsistent => {
            (status, [(CONTENT_TYPE, TEXT)], format!("{refused}\n")).into_response()
        }
    }
}

fn fail(words: &str) -> Response {
    tracing::error!(words, "the witness cannot answer");
    (StatusCode::INTERNAL_SERVER_ERROR, format!("{words}\n")).into_response()
}
