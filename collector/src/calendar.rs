//! Times as people write them: RFC 3339 with an offset, in and out, and the clocks of places. The
//! only user of `chrono` and of the tz database, which comes with the program (`chrono-tz`).
//!
//! A time without an offset is refused: Pakistan has changed its civil time before, and a
//! five-hour error in an allocation moves real energy to another project.

use bijli_ledger::{Offset, Zone};
use bijli_wire::UtcMillis;
use chrono::{DateTime, Offset as _, SecondsFormat, TimeZone as _};

const DAY_MS: i64 = 86_400_000;
/// 1990-01-01 and 2100-01-01: no hub is elder, and no law is known for later.
const ZONE_FROM: i64 = 631_152_000_000;
const ZONE_TO: i64 = 4_102_444_800_000;

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

/// The clocks of a place by its name in the tz database, from 1990 to 2100; `None`: there is no
/// such name.
#[must_use]
pub fn zone(name: &str) -> Option<Zone> {
    let place: chrono_tz::Tz = name.parse().ok()?;
    let offset = |at: i64| {
        let utc = DateTime::from_timestamp_millis(at)?.naive_utc();
        let seconds = place.offset_from_utc_datetime(&utc).fix().local_minus_utc();
        Offset::from_minutes(seconds.div_euclid(60))
    };
    let first = offset(ZONE_FROM)?;
    let (mut known, mut changes) = (first, Vec::new());
    for day in (ZONE_FROM..ZONE_TO).step_by(86_400_000) {
        let now = offset(day + DAY_MS)?;
        if now == known {
            continue;
        }
        // Within this day: halved until the millisecond is found.
        let (mut before, mut after) = (day, day + DAY_MS);
        while after - before > 1 {
            let middle = before + (after - before) / 2;
            if offset(middle)? == known { before = middle } else { after = middle }
        }
        changes.push((UtcMillis::new(after), now));
        known = now;
    }
    Some(Zone::place(name, first, changes))
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

    /// Goal: the places' clocks are those of the tz database: Pakistan's summer times of 2002, 2008
    /// and 2009, and a year in Europe, whose October has 745 hours.
    #[test]
    fn k4_places_have_the_clocks_of_the_tz_database() {
        let karachi = zone("Asia/Karachi").expect("a place");
        for (at, offset) in [
            ("2001-07-01T00:00:00Z", "+05:00"),
            ("2002-07-01T00:00:00Z", "+06:00"),
            ("2008-05-31T18:59:59.999Z", "+05:00"),
            ("2008-05-31T19:00:00Z", "+06:00"),
            ("2009-10-31T17:59:59Z", "+06:00"),
            ("2009-10-31T18:00:00Z", "+05:00"),
            ("2026-07-01T00:00:00Z", "+05:00"),
        ] {
            assert_eq!(karachi.offset(parse(at).expect(at)).to_string(), offset, "{at}");
        }
        assert_eq!(karachi.standard().to_string(), "+05:00");
        let berlin = zone("Europe/Berlin").expect("a place");
        let begins = |date: &str| berlin.midnight(date.parse().expect("a date"));
        let (from, to) = (begins("2026-10-01"), begins("2026-11-01"));
        assert_eq!((to.get() - from.get()) / 3_600_000, 745);
        assert_eq!(berlin.months(from, to), Some(1));
        assert_eq!(berlin.months(begins("2026-01-01"), begins("2027-01-01")), Some(12));
        assert_eq!(berlin.standard().to_string(), "+01:00");
        assert!(zone("Asia/Lahore").is_none() && zone("+05:00").is_none());
    }

    #[test]
    fn a_time_outside_the_calendar_is_shown_as_a_number() {
        assert!(rfc3339(UtcMillis::new(i64::MAX)).contains("ms since 1970"));
    }
}
