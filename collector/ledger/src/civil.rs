//! Civil dates in integers: a day's date, the day of a date, and the offset in which a hub counts
//! its days. Proleptic Gregorian, as RFC 3339 has it.

use std::fmt;
use std::str::FromStr;

use bijli_wire::UtcMillis;
use serde::{Deserialize, Serialize};

const DAY_MS: i64 = 86_400_000;
const MINUTE_MS: i64 = 60_000;
/// UTC+14 is the furthest that any place is.
const OFFSET_MINUTES_MAX: i32 = 14 * 60;

/// A day of the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Date {
    year: i32,
    month: u8,
    day: u8,
}

/// Why a text is no date or no offset.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CivilError {
    #[error("{text:?} is no date: write it like 2026-03-31")]
    Date { text: String },
    #[error("{text:?} is no offset: write it like +05:00")]
    Offset { text: String },
}

impl Date {
    /// `None`: the calendar has no such day.
    #[must_use]
    pub fn new(year: i32, month: u8, day: u8) -> Option<Self> {
        let exists = (1..=9_999).contains(&year) && day >= 1 && day <= days_of(year, month);
        exists.then_some(Self { year, month, day })
    }

    /// The date of a day counted from 1970-01-01: the algorithm of 400-year eras that begin in
    /// March, so that the leap day is the last of its year.
    fn of_day(day: i64) -> Self {
        let shifted = day.saturating_add(719_468);
        let era = shifted.div_euclid(146_097);
        let of_era = shifted.rem_euclid(146_097);
        let leap = |n: i64| of_era.checked_div(n).unwrap_or(0);
        let corrected = of_era
            .saturating_sub(leap(1_460))
            .saturating_add(leap(36_524))
            .saturating_sub(leap(146_096));
        let year_of_era = corrected.div_euclid(365);
        let begun = year_of_era
            .saturating_mul(365)
            .saturating_add(year_of_era.div_euclid(4))
            .saturating_sub(year_of_era.div_euclid(100));
        let day_of_year = of_era.saturating_sub(begun);
        let from_march = day_of_year.saturating_mul(5).saturating_add(2).div_euclid(153);
        let month_begun = from_march.saturating_mul(153).saturating_add(2).div_euclid(5);
        let day = day_of_year.saturating_sub(month_begun).saturating_add(1);
        let month = if from_march < 10 {
            from_march.saturating_add(3)
        } else {
            from_march.saturating_sub(9)
        };
        let year = era.saturating_mul(400).saturating_add(year_of_era);
        let year = if month <= 2 { year.saturating_add(1) } else { year };
        Self {
            year: i32::try_from(year).unwrap_or(i32::MAX),
            month: u8::try_from(month).unwrap_or(1),
            day: u8::try_from(day).unwrap_or(1),
        }
    }

    /// The day after it.
    #[must_use]
    pub fn next(self) -> Self {
        Self::of_day(self.day_number().saturating_add(1))
    }

    /// Whole months to the same day of a later month; `None`: it is another day.
    pub(crate) fn months_until(self, later: Self) -> Option<u32> {
        let months = later.month_number().saturating_sub(self.month_number());
        u32::try_from(months).ok().filter(|_| self.day == later.day)
    }

    #[must_use]
    pub const fn year(self) -> i32 {
        self.year
    }

    /// From 1.
    #[must_use]
    pub const fn month(self) -> u8 {
        self.month
    }

    /// The days from 1970-01-01 to this date: [`Date::of_day`] turned round.
    pub(crate) fn day_number(self) -> i64 {
        let (month, day) = (i64::from(self.month), i64::from(self.day));
        let (year, from_march) = if month > 2 {
            (i64::from(self.year), month.saturating_sub(3))
        } else {
            (i64::from(self.year).saturating_sub(1), month.saturating_add(9))
        };
        let of_year = from_march.saturating_mul(153).saturating_add(2).div_euclid(5);
        let of_year = of_year.saturating_add(day).saturating_sub(1);
        let of_era = year.rem_euclid(400);
        let leap_days = of_era.div_euclid(4).saturating_sub(of_era.div_euclid(100));
        year.div_euclid(400)
            .saturating_mul(146_097)
            .saturating_add(of_era.saturating_mul(365))
            .saturating_add(leap_days)
            .saturating_add(of_year)
            .saturating_sub(719_468)
    }

    /// Months from year 0.
    fn month_number(self) -> i64 {
        i64::from(self.year).saturating_mul(12).saturating_add(i64::from(self.month))
    }
}

fn days_of(year: i32, month: u8) -> u8 {
    let divides = |n: i32| year.rem_euclid(n) == 0;
    match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if divides(4) && (!divides(100) || divides(400)) => 29,
        2 => 28,
        _ => 0,
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

impl FromStr for Date {
    type Err = CivilError;
    fn from_str(text: &str) -> Result<Self, CivilError> {
        let wrong = || CivilError::Date { text: text.chars().take(32).collect() };
        let parts: Vec<&str> = text.split('-').collect();
        let [year, month, day] = parts[..] else { return Err(wrong()) };
        let is_plain = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        let has_form = (year.len(), month.len(), day.len()) == (4, 2, 2);
        if !has_form || !parts.iter().all(|part| is_plain(part)) {
            return Err(wrong());
        }
        let (year, month) = (year.parse().ok(), month.parse().ok());
        let date = year.zip(month).zip(day.parse().ok());
        date.and_then(|((year, month), day)| Self::new(year, month, day)).ok_or_else(wrong)
    }
}

/// An offset from UTC in which days and months are counted. A number; a place is a [`crate::Zone`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Offset {
    minutes: i32,
}

impl Offset {
    pub const UTC: Self = Self { minutes: 0 };

    /// `None`: no place is so far from UTC.
    #[must_use]
    pub const fn from_minutes(minutes: i32) -> Option<Self> {
        if minutes.unsigned_abs() > OFFSET_MINUTES_MAX.unsigned_abs() {
            return None;
        }
        Some(Self { minutes })
    }

    fn local(self, at: UtcMillis) -> i64 {
        at.get().saturating_add(i64::from(self.minutes).saturating_mul(MINUTE_MS))
    }

    fn is_midnight(self, at: UtcMillis) -> bool {
        self.local(at).rem_euclid(DAY_MS) == 0
    }

    /// The local date of a moment.
    #[must_use]
    pub fn date(self, at: UtcMillis) -> Date {
        Date::of_day(self.local(at).div_euclid(DAY_MS))
    }

    /// The moment at which a date begins.
    #[must_use]
    pub fn midnight(self, date: Date) -> UtcMillis {
        let local = date.day_number().saturating_mul(DAY_MS);
        UtcMillis::new(local.saturating_sub(i64::from(self.minutes).saturating_mul(MINUTE_MS)))
    }

    /// How many whole calendar months a period has; `None` if it is not made of such.
    #[must_use]
    pub fn months(self, from: UtcMillis, to: UtcMillis) -> Option<u32> {
        if !self.is_midnight(from) || !self.is_midnight(to) {
            return None;
        }
        let (first, last) = (self.date(from), self.date(to));
        if first.day != last.day {
            return None;
        }
        u32::try_from(last.month_number().saturating_sub(first.month_number())).ok()
    }

    /// How many whole local days a period has; `None` if it is not made of such.
    #[must_use]
    pub fn days(self, from: UtcMillis, to: UtcMillis) -> Option<u32> {
        let is_whole = self.is_midnight(from) && self.is_midnight(to);
        let days = to.get().saturating_sub(from.get()).div_euclid(DAY_MS);
        u32::try_from(days).ok().filter(|_| is_whole)
    }

    /// `2026-07-01/2027-06-30`, the last day included, where both ends are local midnights; else
    /// two times with their offset. Dates of an offset that is not UTC say it.
    #[must_use]
    pub fn period(self, from: UtcMillis, to: UtcMillis) -> String {
        if self.days(from, to).is_none_or(|days| days == 0) {
            return format!("{}/{}", self.time(from), self.time(to));
        }
        let last = self.date(UtcMillis::new(to.get().saturating_sub(1)));
        let dates = format!("{}/{last}", self.date(from));
        if self == Self::UTC { dates } else { format!("{dates} {self}") }
    }

    /// A moment to the second.
    pub(crate) fn time(self, at: UtcMillis) -> String {
        let second = self.local(at).rem_euclid(DAY_MS).div_euclid(1_000);
        let (minute, second) = (second.div_euclid(60), second.rem_euclid(60));
        let (hour, minute) = (minute.div_euclid(60), minute.rem_euclid(60));
        let zone = if self == Self::UTC { "Z".to_owned() } else { self.to_string() };
        format!("{}T{hour:02}:{minute:02}:{second:02}{zone}", self.date(at))
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.minutes < 0 { '-' } else { '+' };
        let minutes = self.minutes.unsigned_abs();
        let hours = minutes.checked_div(60).unwrap_or(0);
        write!(f, "{sign}{hours:02}:{:02}", minutes.checked_rem(60).unwrap_or(0))
    }
}

impl FromStr for Offset {
    type Err = CivilError;
    fn from_str(text: &str) -> Result<Self, CivilError> {
        let wrong = || CivilError::Offset { text: text.chars().take(32).collect() };
        let (sign, rest) = match text.split_at_checked(1).ok_or_else(wrong)? {
            ("+", rest) => (1, rest),
            ("-", rest) => (-1, rest),
            _ => return Err(wrong()),
        };
        let (hours, minutes) = rest.split_once(':').ok_or_else(wrong)?;
        let number = |part: &str| -> Result<i32, CivilError> {
            let is_plain = part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
            if is_plain { part.parse().map_err(|_| wrong()) } else { Err(wrong()) }
        };
        let (hours, minutes) = (number(hours)?, number(minutes)?);
        let total: i32 = hours.saturating_mul(60).saturating_add(minutes);
        if minutes > 59 || total > OFFSET_MINUTES_MAX {
            return Err(wrong());
        }
        Ok(Self { minutes: total.saturating_mul(sign) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(day: i64) -> UtcMillis {
        UtcMillis::new(day.saturating_mul(DAY_MS))
    }

    #[test]
    fn days_have_the_dates_of_the_calendar() {
        for (day, date) in [
            (0, "1970-01-01"),
            (-1, "1969-12-31"),
            (59, "1970-03-01"),
            (11_016, "2000-02-29"),
            (20_635, "2026-07-01"),
            (21_243, "2028-02-29"),
            (47_541, "2100-03-01"),
        ] {
            assert_eq!(Offset::UTC.date(at(day)).to_string(), date);
            assert_eq!(date.parse().map(|date| Offset::UTC.midnight(date)), Ok(at(day)));
            assert_eq!(date.parse::<Date>().map(|d| d.to_string()), Ok(date.to_owned()));
        }
        for text in ["2026-02-29", "2026-13-01", "2026-1-01", "yesterday", "+026-01-01", ""] {
            assert!(text.parse::<Date>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_year_begins_at_midnight_of_the_hub() {
        let karachi: Offset = "+05:00".parse().expect("an offset");
        let local = |day: i64| UtcMillis::new(at(day).get().saturating_sub(5 * 3_600_000));
        assert_eq!(karachi.months(local(20_635), local(21_000)), Some(12));
        assert_eq!(karachi.months(at(20_635), at(21_000)), None);
        assert_eq!(karachi.midnight("2026-07-01".parse().expect("a date")), local(20_635));
        assert_eq!(Offset::UTC.months(at(20_635), at(21_000)), Some(12));
        assert_eq!(Offset::UTC.months(at(20_635), at(20_999)), None);
        let shown = karachi.period(local(20_635), local(21_000));
        assert_eq!(shown, "2026-07-01/2027-06-30 +05:00");
        assert_eq!(Offset::UTC.period(at(20_635), at(21_000)), "2026-07-01/2027-06-30");
        let shown = karachi.period(at(20_635), at(20_636));
        assert_eq!(shown, "2026-07-01T05:00:00+05:00/2026-07-02T05:00:00+05:00");
    }

    #[test]
    fn offsets_survive_their_text() {
        for text in ["+05:00", "-03:30", "+00:00", "+14:00"] {
            assert_eq!(text.parse::<Offset>().map(|o| o.to_string()), Ok(text.to_owned()));
        }
        for text in ["", "5", "+5:00", "+15:00", "+05:60", "Asia/Karachi", "+0a:00", "é"] {
            assert!(text.parse::<Offset>().is_err(), "{text}");
        }
    }
}
