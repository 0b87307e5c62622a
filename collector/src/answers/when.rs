//! The period that a question is about: times and dates as people write them, and what is meant
//! when they say nothing.

use bijli_wire::{Millis, UtcMillis};
use serde::Deserialize;

use crate::calendar::{self, TimeError};

const DAY: Millis = Millis::new(24 * 3_600 * 1_000);

/// Why a `--from` or `--to` is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("--{field} takes a time with its offset, or a date, which is midnight UTC")]
pub struct WhenError {
    field: &'static str,
    source: TimeError,
}

/// Which intervals of a hub are closed, from `/v1/hubs`.
#[derive(Debug, Deserialize)]
pub(super) struct Closed {
    pub(super) hub: String,
    closed_from: Option<String>,
    closed_until: Option<String>,
}

/// RFC 3339 with an offset, or a date: midnight UTC.
pub(super) fn time(field: &'static str, text: &str) -> Result<UtcMillis, WhenError> {
    let midnight = |source| {
        calendar::parse(&format!("{text}T00:00:00Z")).map_err(|_| WhenError { field, source })
    };
    calendar::parse(text).or_else(midnight)
}

impl Closed {
    /// The last day of UTC that is closed; before there is one, all that is closed.
    pub(super) fn last_day(&self) -> Option<(UtcMillis, UtcMillis)> {
        let read = |text: &Option<String>| calendar::parse(text.as_deref()?).ok();
        let (first, until) = (read(&self.closed_from)?, read(&self.closed_until)?);
        let end = until.floor_to(DAY);
        if end <= first {
            return Some((first, until));
        }
        Some((UtcMillis::new(end.get().saturating_sub_unsigned(DAY.get())), end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_an_offset_and_dates_are_midnight_utc() {
        let midnight = UtcMillis::new(1_785_542_400_000);
        for text in ["2026-08-01", "2026-08-01T00:00:00Z", "2026-08-01T05:00:00+05:00"] {
            assert_eq!(time("from", text), Ok(midnight), "{text}");
        }
        for text in ["", "yesterday", "2026-13-01", "2026-08-01T05:00:00", "2026-08-01T05"] {
            let refused = time("to", text).expect_err(text);
            assert!(refused.to_string().starts_with("--to takes a time"), "{text}: {refused}");
        }
        let naive = time("to", "2026-08-01T05:00:00").expect_err("no offset");
        assert!(matches!(naive.source, TimeError::Naive { .. }), "{naive:?}");
    }

    #[test]
    fn unsaid_it_is_the_last_closed_day_or_all_that_is_closed() {
        for (from, until, expected) in [
            ("2026-08-01T09:00:00Z", "2026-08-03T00:00:00Z", ("2026-08-02", "2026-08-03")),
            ("2026-08-01T09:00:00Z", "2026-08-03T23:45:00Z", ("2026-08-02", "2026-08-03")),
            // A day that began before the hub did is a day of which little is covered.
            ("2026-08-01T09:00:00Z", "2026-08-02T00:00:00Z", ("2026-08-01", "2026-08-02")),
            (
                "2026-08-01T00:00:00Z",
                "2026-08-01T10:00:00Z",
                ("2026-08-01", "2026-08-01T10:00:00Z"),
            ),
        ] {
            let closed = Closed {
                hub: "isb".to_owned(),
                closed_from: Some(from.to_owned()),
                closed_until: Some(until.to_owned()),
            };
            let at = |text| time("from", text).expect("a time");
            assert_eq!(closed.last_day(), Some((at(expected.0), at(expected.1))), "{until}");
        }
        let none = Closed { hub: "isb".to_owned(), closed_from: None, closed_until: None };
        assert_eq!(none.last_day(), None);
    }
}
