//! Times as people write them: RFC 3339 with an offset, in and out. The only user of `chrono`.
//!
//! A time without an offset is refused: Pakistan has changed its civil time before, and a
//! five-hour error in an allocation moves real energy to another project.

use bijli_wire::UtcMillis;
use chrono::{DateTime, SecondsFormat};

/// Why a text is not a time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimeError {
    #[error("{text:?} has no offset: write it with one, as in 2026-08-01T09:00:00+05:00 or ...Z")]
    Naive { text: String },
    #[error("{text:?} is not a time like 2026-08-01T09:00:00+05:00 or 2026-08-01T04:00:00Z")]
    NotATime { text: String },
}

/// A moment from RFC 3339 text; finer than a millisecond is cut.
///
/// # Errors
/// When it is no RFC 3339 time or has no offset.
pub fn parse(text: &str) -> Result<UtcMillis, TimeError> {
    match DateTime::parse_from_rfc3339(text) {
        Ok(time) => Ok(UtcMillis::new(time.timestamp_millis())),
        Err(_) => {
            let shown: String = text.chars().take(64).collect();
            let with_offset = format!("{text}Z");
            if text.len() < 40 && DateTime::parse_from_rfc3339(&with_offset).is_ok() {
                Err(TimeError::Naive { text: shown })
            } else {
                Err(TimeError::NotATime { text: shown })
            }
        }
    }
}

/// `2026-08-01T04:00:00Z`, with milliseconds only where there are any.
#[must_use]
pub fn rfc3339(time: UtcMillis) -> String {
    match DateTime::from_timestamp_millis(time.get()) {
        Some(time) => time.to_rfc3339_opts(SecondsFormat::AutoSi, true),
        // Outside chrono's calendar (the year 262142): say the number, never a wrong date.
        None => format!("{time}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_honoured_and_naive_times_refused() {
        let noon = UtcMillis::new(1_785_542_400_000);
        for text in ["2026-08-01T00:00:00Z", "2026-08-01T05:00:00+05:00"] {
            assert_eq!(parse(text), Ok(noon), "{text}");
        }
        assert!(matches!(parse("2026-08-01T05:00:00"), Err(TimeError::Naive { .. })));
        for text in ["", "yesterday", "2026-13-01T00:00:00Z", "1754006400"] {
            assert!(matches!(parse(text), Err(TimeError::NotATime { .. })), "{text}");
        }
        assert_eq!(rfc3339(noon), "2026-08-01T00:00:00Z");
        assert_eq!(rfc3339(UtcMillis::new(noon.get() + 7)), "2026-08-01T00:00:00.007Z");
    }

    #[test]
    fn a_time_outside_the_calendar_is_shown_as_a_number() {
        assert!(rfc3339(UtcMillis::new(i64::MAX)).contains("ms since 1970"));
    }
}
