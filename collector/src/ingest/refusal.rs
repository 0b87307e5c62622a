//! The one shape of every refusal over HTTP: a closed code, words, and `wire::ErrorBody` as JSON.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bijli_wire::{ErrorBody, ErrorCode};

/// What a handler returns instead of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub code: ErrorCode,
    /// What was wrong, where, and what to do: one sentence, lower case, no full stop.
    pub message: String,
    status: u16,
}

impl Refusal {
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), status: code.http_status() }
    }

    /// The collector cannot answer this yet: a 503, so that a load balancer understands it too.
    #[must_use]
    pub fn not_ready(message: impl Into<String>) -> Self {
        Self { status: 503, ..Self::new(ErrorCode::Overloaded, message) }
    }

    /// Seconds after which asking again makes sense; `None` where it does not.
    #[must_use]
    pub const fn retry_after_s(&self) -> Option<u16> {
        match self.code {
            ErrorCode::Overloaded => Some(1),
            ErrorCode::DiskFull => Some(15),
            ErrorCode::StorageFailed => Some(30),
            ErrorCode::IdentityContested => Some(60),
            // A person has to act: not worth asking every second.
            ErrorCode::ForeignIdentity | ErrorCode::IdentityDenied => Some(30),
            ErrorCode::MalformedBody
            | ErrorCode::UnsupportedVersion
            | ErrorCode::BodyTooLarge
            | ErrorCode::UnknownSchema
            | ErrorCode::FromTheFuture
            | ErrorCode::FromThePast
            | ErrorCode::IdentityFork
            | ErrorCode::SequenceGap
            | ErrorCode::UnknownHub
            | ErrorCode::InvalidRequest
            | ErrorCode::NotFound
            | ErrorCode::MethodNotAllowed
            | ErrorCode::Conflict
            | ErrorCode::Internal => None,
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let retry = self.retry_after_s();
        let mut response = (status, Json(ErrorBody::new(self.code, self.message))).into_response();
        if let Some(seconds) = retry {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// For a router's fallback: no such address.
pub async fn not_found() -> Refusal {
    Refusal::new(ErrorCode::NotFound, "no such address here; docs/api.md lists them all")
}

/// For a router's method fallback: the address exists, the method does not.
pub async fn method_not_allowed() -> Refusal {
    Refusal::new(ErrorCode::MethodNotAllowed, "this address does not take this method")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_and_retry_follow_the_code() {
        let full = Refusal::new(ErrorCode::DiskFull, "the disk is full").into_response();
        assert_eq!(full.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(full.headers()[header::RETRY_AFTER], "15");
        let fork = Refusal::new(ErrorCode::IdentityFork, "two senders").into_response();
        assert_eq!(fork.status(), StatusCode::CONFLICT);
        assert!(fork.headers().get(header::RETRY_AFTER).is_none());
        let early = Refusal::not_ready("replaying").into_response();
        assert_eq!(early.status(), StatusCode::SERVICE_UNAVAILABLE);
    }
}
