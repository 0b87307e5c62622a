//! What a refusal means for the batch: the agent's side of the closed list of error codes.

use bijli_wire::ErrorCode;

/// What becomes of a refused batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Send its schema, then the batch again.
    TeachSchema,
    /// Send the elder ones, then the batch again.
    ElderFirst,
    /// The collector is busy or ill: the same bytes, later.
    Later,
    /// The bytes may be fine, the place is not. The spool keeps them; a person is told.
    Person,
    /// No collector will ever take these bytes: put them aside and fill their sequence.
    Never,
    /// The collector has another batch of this sequence: put ours aside, fill nothing.
    Known,
}

impl Fate {
    #[must_use]
    pub const fn of(code: ErrorCode) -> Self {
        match code {
            ErrorCode::UnknownSchema => Self::TeachSchema,
            ErrorCode::SequenceGap => Self::ElderFirst,
            ErrorCode::Overloaded
            | ErrorCode::DiskFull
            | ErrorCode::StorageFailed
            | ErrorCode::Internal => Self::Later,
            // A wrong address or an older collector must not empty the spool into quarantine.
            ErrorCode::UnsupportedVersion
            | ErrorCode::UnknownHub
            | ErrorCode::InvalidRequest
            | ErrorCode::NotFound
            | ErrorCode::MethodNotAllowed
            | ErrorCode::IdentityContested
            // The certificate is another's, or denied: the batches are true all the same.
            | ErrorCode::ForeignIdentity
            | ErrorCode::IdentityDenied => Self::Person,
            ErrorCode::MalformedBody
            | ErrorCode::BodyTooLarge
            | ErrorCode::FromTheFuture
            | ErrorCode::FromThePast
            | ErrorCode::Conflict => Self::Never,
            ErrorCode::IdentityFork => Self::Known,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_may_be_accepted_later_is_put_aside() {
        for code in [
            ErrorCode::UnknownSchema,
            ErrorCode::SequenceGap,
            ErrorCode::UnknownHub,
            ErrorCode::IdentityContested,
            ErrorCode::Overloaded,
            ErrorCode::DiskFull,
            ErrorCode::StorageFailed,
            ErrorCode::Internal,
            ErrorCode::IdentityDenied,
        ] {
            assert!(code.is_retryable());
            assert!(!matches!(Fate::of(code), Fate::Never | Fate::Known), "{code:?}");
        }
    }

    /// Goal: whoever mixes up certificates can put them right, and has lost nothing.
    #[test]
    fn x1_a_wrong_certificate_costs_no_batch() {
        assert_eq!(Fate::of(ErrorCode::ForeignIdentity), Fate::Person);
        assert_eq!(Fate::of(ErrorCode::IdentityDenied), Fate::Person);
    }
}
