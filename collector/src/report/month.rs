//! The month that a report is of, in the hub's own days.

use std::fmt;
use std::str::FromStr;

use bijli_ledger::{Date, Offset};
use bijli_wire::UtcMillis;

/// A calendar month.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Month {
    year: i32,
    month: u8,
}

/// One local day of it: its date, and the moments between which it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Day {
    pub date: Date,
    pub from: UtcMillis,
    pub to: UtcMillis,
}

/// Why a text is no month.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no month: write it like 2026-07")]
pub struct MonthError {
    text: String,
}

impl Month {
    /// Its local days, in order.
    #[must_use]
    pub fn days(self, offset: Offset) -> Vec<Day> {
        let dates = (1..=31).filter_map(|day| Date::new(self.year, self.month, day));
        let mut days: Vec<Day> = dates
            .map(|date| Day { date, from: offset.midnight(date), to: offset.midnight(date) })
            .collect();
        let ends: Vec<UtcMillis> = days.iter().skip(1).map(|day| day.from).collect();
        let end = self.next().first().map_or(UtcMillis::new(0), |date| offset.midnight(date));
        for (day, to) in days.iter_mut().zip(ends.into_iter().chain([end])) {
            day.to = to;
        }
        days
    }

    fn first(self) -> Option<Date> {
        Date::new(self.year, self.month, 1)
    }

    const fn next(self) -> Self {
        match self.month {
            12 => Self { year: self.year + 1, month: 1 },
            month => Self { year: self.year, month: month + 1 },
        }
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
        let wrong = || MonthError { text: text.chars().take(32).collect() };
        // The first day of a month that the calendar has, and whose next month it has too.
        let _first: Date = format!("{text}-01").parse().map_err(|_| wrong())?;
        let (year, month) = text.split_once('-').ok_or_else(wrong)?;
        let year = year.parse().map_err(|_| wrong())?;
        let month = Self { year, month: month.parse().map_err(|_| wrong())? };
        month.next().first().map(|_| month).ok_or_else(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_months_days_tile_it_in_the_hubs_own_time() {
        let karachi: Offset = "+05:00".parse().expect("an offset");
        for (text, days) in [("2026-07", 31), ("2028-02", 29), ("2026-12", 31)] {
            let month: Month = text.parse().expect("a month");
            assert_eq!(month.to_string(), text);
            let list = month.days(karachi);
            assert_eq!(list.len(), days, "{text}");
            assert!(list.iter().all(|day| day.to.get() - day.from.get() == 86_400_000));
            assert!(list.windows(2).all(|two| two[0].to == two[1].from));
        }
        let july: Month = "2026-07".parse().expect("a month");
        // Midnight in Karachi is 19:00 UTC of the day before.
        assert_eq!(july.days(karachi)[0].from, UtcMillis::new(1_782_846_000_000));
        for text in ["", "2026", "2026-13", "2026-7", "9999-12", "July", "2026-07-01"] {
            assert!(text.parse::<Month>().is_err(), "{text}");
        }
    }
}
