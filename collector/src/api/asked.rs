//! One request, taken apart: which hub, which thing of it, with which parameters.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Path};
use axum::http::Uri;
use axum::http::request::Parts;
use bijli_ledger::{Books, IntervalState};
use bijli_wire::{ErrorCode, HubId, NodeId, UtcMillis};

use super::query::{Parameters, Period};
use crate::refusal::Refusal;
use crate::state::{Hub, Shared};

/// The names in the address and the query, not yet looked up.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) state: Shared,
    names: Vec<String>,
    uri: Uri,
}

impl FromRequestParts<Shared> for Asked {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &Shared) -> Result<Self, Refusal> {
        let names = match Path::<Vec<String>>::from_request_parts(parts, state).await {
            Ok(Path(names)) => names,
            Err(_) => {
                let words = "the address is not percent-encoded UTF-8";
                return Err(Refusal::new(ErrorCode::InvalidRequest, words));
            }
        };
        Ok(Self { state: Arc::clone(state), names, uri: parts.uri.clone() })
    }
}

impl Asked {
    pub(crate) fn parameters(&self, allowed: &[&str]) -> Result<Parameters, Refusal> {
        Parameters::of(&self.uri, allowed)
    }

    /// The hub that the address names, once its books can be believed.
    pub(crate) fn hub(&self) -> Result<Arc<Hub>, Refusal> {
        super::ready(&self.state)?;
        let name = self.names.first().map_or("", String::as_str);
        let known = HubId::new(name).ok().and_then(|id| self.state.hub(&id));
        known.ok_or_else(|| {
            let words = format!("there is no hub {:?}; /v1/hubs lists them", short(name));
            Refusal::new(ErrorCode::UnknownHub, words)
        })
    }

    /// The second name of the address.
    pub(crate) fn name(&self) -> &str {
        self.names.get(1).map_or("", String::as_str)
    }

    /// The node that the address names, whether or not it exists.
    pub(crate) fn node(&self) -> Result<NodeId, Refusal> {
        NodeId::new(self.name()).map_err(|_| missing("node", self.name()))
    }

    pub(crate) fn now(&self) -> UtcMillis {
        self.state.clock.now()
    }

    /// The period of `parameters` over these books.
    pub(crate) fn period(&self, parameters: &Parameters, books: &Books) -> Result<Period, Refusal> {
        parameters.period(books.rules(), closed(books), self.now())
    }
}

/// From the first closed interval to the last; `None` before one closed.
pub(crate) fn closed(books: &Books) -> Option<Period> {
    let first = books.intervals().next().filter(|first| first.state == IntervalState::Closed)?;
    Some(Period { from: first.start, to: books.closed_until()? })
}

pub(crate) fn missing(what: &str, name: &str) -> Refusal {
    Refusal::new(ErrorCode::NotFound, format!("there is no {what} {:?} here", short(name)))
}

/// Foreign text in a refusal, bounded.
fn short(name: &str) -> String {
    name.chars().take(96).collect()
}
