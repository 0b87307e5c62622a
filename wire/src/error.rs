//! What the collector tells the other side when it refuses: a closed code, and what follows.
//!
//! The sender acts on the code, never on the status or the text.

use serde::{Deserialize, Serialize};

use crate::batch::BatchError;

/// Every way to be refused. Append only; each answer below is an exhaustive match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// Not a body of this format, or one that breaks its rules.
    MalformedBody,
    /// A format version that this collector does not speak.
    UnsupportedVersion,
    /// Larger than a body may be, compressed or not.
    BodyTooLarge,
    /// The schema that the batch names was never sent here. Send it, then the batch again.
    UnknownSchema,
    /// A reading is further in the future than clocks differ.
    FromTheFuture,
    /// A reading is older than any meter here: the sender's clock was never set.
    FromThePast,
    /// Same node, epoch and sequence as an earlier batch, other content: two senders, one name.
    IdentityFork,
    /// The sequence runs too far ahead of what has arrived. Send the elder ones first.
    SequenceGap,
    /// This collector has no such hub.
    UnknownHub,
    /// The address or parameter is wrong.
    InvalidRequest,
    /// There is no such thing.
    NotFound,
    /// The address exists, the method does not.
    MethodNotAllowed,
    /// The request contradicts what is already recorded.
    Conflict,
    /// Too many requests at once.
    Overloaded,
    /// The disk is full. Nothing was lost; try later.
    DiskFull,
    /// The journal cannot be written. Nothing was lost; a person is needed.
    StorageFailed,
    /// A defect in the collector.
    Internal,
    /// A newer spool of this node has begun since: two senders are alive under one name. The
    /// second one is held until one of them is stopped.
    IdentityContested,
    /// The body names another hub or node than the sender's certificate.
    ForeignIdentity,
    /// The sender's key is on the collector's deny list, or its certificate ran out while it was
    /// connected. Nothing was lost; a person is needed.
    IdentityDenied,
}

impl ErrorCode {
    #[must_use]
    pub const fn http_status(self) -> u16 {
        match self {
            Self::MalformedBody
            | Self::UnsupportedVersion
            | Self::FromTheFuture
            | Self::FromThePast
            | Self::InvalidRequest => 400,
            Self::ForeignIdentity | Self::IdentityDenied => 403,
            Self::UnknownHub | Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::IdentityFork | Self::Conflict | Self::IdentityContested => 409,
            Self::BodyTooLarge => 413,
            Self::UnknownSchema => 424,
            Self::SequenceGap => 425,
            Self::Overloaded => 429,
            Self::Internal => 500,
            Self::DiskFull | Self::StorageFailed => 503,
        }
    }

    /// Whether the same bytes may be accepted later. If not, the sender puts them aside.
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        match self {
            Self::UnknownSchema
            | Self::SequenceGap
            | Self::UnknownHub
            | Self::Overloaded
            | Self::DiskFull
            | Self::StorageFailed
            | Self::Internal
            | Self::IdentityContested
            // With another certificate, or when the list was wrong.
            | Self::IdentityDenied => true,
            Self::MalformedBody
            | Self::UnsupportedVersion
            | Self::BodyTooLarge
            | Self::FromTheFuture
            | Self::FromThePast
            | Self::IdentityFork
            | Self::InvalidRequest
            | Self::NotFound
            | Self::MethodNotAllowed
            | Self::Conflict
            | Self::ForeignIdentity => false,
        }
    }

    /// Whether it is certain that nothing of the request took effect.
    #[must_use]
    pub const fn nothing_was_booked(self) -> bool {
        match self {
            // The write may have reached the disk before it failed.
            Self::StorageFailed | Self::Internal => false,
            Self::MalformedBody
            | Self::UnsupportedVersion
            | Self::BodyTooLarge
            | Self::UnknownSchema
            | Self::FromTheFuture
            | Self::FromThePast
            | Self::IdentityFork
            | Self::IdentityContested
            | Self::SequenceGap
            | Self::UnknownHub
            | Self::InvalidRequest
            | Self::NotFound
            | Self::MethodNotAllowed
            | Self::Conflict
            | Self::Overloaded
            | Self::DiskFull
            | Self::ForeignIdentity
            | Self::IdentityDenied => true,
        }
    }

    /// The code for a body that did not decode.
    #[must_use]
    pub const fn of_batch(error: &BatchError) -> Self {
        match error {
            BatchError::Version { .. } => Self::UnsupportedVersion,
            BatchError::BodySize { .. } | BatchError::Bomb { .. } => Self::BodyTooLarge,
            BatchError::Protobuf { .. }
            | BatchError::Zstd { .. }
            | BatchError::TooMany { .. }
            | BatchError::Name(_)
            | BatchError::KeyLength { .. }
            | BatchError::SequenceZero
            | BatchError::SubjectTwice { .. }
            | BatchError::Subject { .. }
            | BatchError::Group { .. }
            | BatchError::Column { .. }
            | BatchError::WrongSchema { .. }
            | BatchError::WrongNode { .. }
            | BatchError::Hold { .. } => Self::MalformedBody,
        }
    }
}

/// The one JSON shape of every refusal: `{"error": {...}}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    pub error: ErrorDetail,
}

/// What was wrong, where, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorDetail {
    pub code: ErrorCode,
    pub message: String,
    pub is_retryable: bool,
    pub nothing_was_booked: bool,
}

impl ErrorBody {
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            error: ErrorDetail {
                code,
                message: message.into(),
                is_retryable: code.is_retryable(),
                nothing_was_booked: code.nothing_was_booked(),
            },
        }
    }
}
