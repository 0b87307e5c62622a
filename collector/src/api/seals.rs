//! `/v1/seals`: how the hubs' transparency logs stand; and their files, as they are on disk.

use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bijli_seglog::RealDisk;
use bijli_tlog::Tile;
use bijli_wire::{ErrorCode, HubId};
use serde::Serialize;

use super::{Answer, answer, aside};
use crate::refusal::Refusal;
use crate::seal::{Files, Seal, folder};
use crate::state::Shared;

/// Files of a log besides its tiles.
const TEXTS: [&str; 4] = ["checkpoint", "witnessed", "head", "key"];

/// Every hub's log.
#[derive(Debug, Serialize)]
pub(super) struct SealsText {
    seals: Vec<Seal>,
}

/// `GET /v1/seals`
pub(super) async fn list(State(state): State<Shared>) -> Answer<SealsText> {
    answer(move || Ok(SealsText { seals: state.seals.all() })).await
}

/// The files of all logs below a folder, read only, under `/tlog/{hub}/`.
pub fn tlog_router(dir: PathBuf) -> Router {
    Router::new().route("/tlog/{hub}/{*path}", get(file)).with_state(Arc::new(dir))
}

/// `GET /tlog/{hub}/{path}`
async fn file(
    State(dir): State<Arc<PathBuf>>,
    Path((hub, path)): Path<(String, String)>,
) -> Result<Response, Refusal> {
    aside(move || read(&dir, &hub, &path)).await
}

fn read(dir: &std::path::Path, hub: &str, path: &str) -> Result<Response, Refusal> {
    let absent = || {
        let words = format!("the log of {hub:?} has no such file; docs/formats/tlog.md lists them");
        Refusal::new(ErrorCode::NotFound, words)
    };
    let hub = HubId::new(hub).map_err(|_| absent())?;
    let files = Files::new(RealDisk, &dir.join(folder(&hub)));
    // What is no name of ours is not looked for: no path from outside reaches the disk.
    if let Some(tile) = Tile::parse(path) {
        let bytes = files.tile(tile).map_err(|_| absent())?;
        let keep = if tile.is_full() { "public, max-age=31536000, immutable" } else { "no-cache" };
        let heads = [(CONTENT_TYPE, "application/octet-stream"), (CACHE_CONTROL, keep)];
        return Ok((heads, bytes).into_response());
    }
    let name = TEXTS.into_iter().find(|name| *name == path).ok_or_else(absent)?;
    let text = files.text(name).ok().flatten().ok_or_else(absent)?;
    let heads = [(CONTENT_TYPE, "text/plain; charset=utf-8"), (CACHE_CONTROL, "no-cache")];
    Ok((heads, text).into_response())
}
