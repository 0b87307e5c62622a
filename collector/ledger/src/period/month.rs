//! A calendar month, and when it begins and ends for a hub.

use std::fmt;
use std::str::FromStr;

use bijli_wire::UtcMillis;
use serde::{Deserialize, Serialize};

use crate::civil::{Date, Offset};

/// A month of the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Month {
    year: i32,
    month: u8,
}

/// One local day of a month: its date, and the moments between which it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Day {
    pub date: Date,
    pub from: UtcMillis,
    pub to: UtcMillis,
}

/// A text is no month.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no month: write it like 2026-07")]
pub struct MonthError {
    text: String,
}

impl Month {
    /// The month that a moment is in.
    #[must_use]
    pub fn of(at: UtcMillis, offset: Offset) -> Self {
        let date = offset.date(at);
        Self { year: date.year(), month: date.month() }
    }

    #[must_use]
    pub const fn next(self) -> Self {
        if self.month < 12 {
            Self { month: self.month.saturating_add(1), ..self }
        } else {
            Self { year: self.year.saturating_add(1), month: 1 }
        }
    }

    /// When it begins and when the next one does.
    #[must_use]
    pub fn span(self, offset: Offset) -> (UtcMillis, UtcMillis) {
        let begin = |month: Self| {
            // December 9999 ends where no date of ours begins.
            let date = Date::new(month.year, month.month, 1);
            date.map_or(UtcMillis::new(i64::MAX), |date| offset.midnight(date))
        };
        (begin(self), begin(self.next()))
    }

    /// Its local days, in order.
    #[must_use]
    pub fn days(self, offset: Offset) -> Vec<Day> {
        let dates = (1..=31).filter_map(|day| Date::new(self.year, self.month, day));
        let begins: Vec<(Date, UtcMillis)> =
            dates.map(|date| (date, offset.midnight(date))).collect();
        let ends = begins.iter().skip(1).map(|(_, from)| *from).chain([self.span(offset).1]);
        begins.iter().zip(ends).map(|(&(date, from), to)| Day { date, from, to }).collect()
    }

    /// January is 1.
    #[must_use]
    pub const fn number(self) -> u8 {
        self.month
    }

    #[must_use]
    pub const fn year(self) -> i32 {
        self.year
    }
}

impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", self.year, self.month)
    }
}

impl FromStr for Month {
    type Err = MonthError;

    fn from_str(text: &str) -> Result<Self, MonthError> {
        let date = format!("{text}-01").parse::<Date>();
        let wrong = |_| MonthError { text: text.chars().take(32).collect() };
        date.map(|date| Self { year: date.year(), month: date.month() }).map_err(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_begins_at_midnight_of_its_hub() {
        let karachi: Offset = "+05:00".parse().expect("an offset");
        for (month, offset, from, to) in [
            ("2026-07", Offset::UTC, 1_782_864_000_000, 1_785_542_400_000),
            ("2026-07", karachi, 1_782_846_000_000, 1_785_524_400_000),
            ("2024-02", Offset::UTC, 1_706_745_600_000, 1_709_251_200_000),
            ("1970-01", Offset::UTC, 0, 2_678_400_000),
            ("1969-12", Offset::UTC, -2_678_400_000, 0),
            ("2099-12", Offset::UTC, 4_099_766_400_000, 4_102_444_800_000),
        ] {
            let read: Month = month.parse().expect(month);
            assert_eq!(read.span(offset), (UtcMillis::new(from), UtcMillis::new(to)), "{month}");
            assert_eq!(Month::of(UtcMillis::new(from), offset), read);
            assert_eq!(Month::of(UtcMillis::new(to), offset), read.next());
            assert_eq!(read.to_string(), month);
        }
        for (text, days) in [("2026-07", 31), ("2028-02", 29), ("2026-12", 31)] {
            let month: Month = text.parse().expect("a month");
            let list = month.days(karachi);
            assert_eq!(list.len(), days, "{text}");
            assert!(list.iter().all(|day| day.to.get().abs_diff(day.from.get()) == 86_400_000));
            assert!(list.windows(2).all(|two| two[0].to == two[1].from));
            let ends = (list.first().map(|day| day.from), list.last().map(|day| day.to));
            let (from, to) = month.span(karachi);
            assert_eq!(ends, (Some(from), Some(to)));
        }
        for text in ["2026", "2026-13", "2026-7", "July", "2026-07-01", ""] {
            assert!(text.parse::<Month>().is_err(), "{text}");
        }
    }
}
