//! A hub's clock: one offset, or a place whose offset changes, as the tz database has it.
//!
//! # Invariants
//! - Nothing is booked by it. Intervals are of UTC; days, months and tariff hours are for people.
//! - A day begins at the first moment that has its date, however the clocks are changed.
//!
//! The changes of a place are told by who reads the tz database (`collector/src/calendar.rs`).

use std::fmt;

use bijli_wire::UtcMillis;
use serde::{Deserialize, Serialize};

use crate::civil::{Date, Offset};

const MINUTE_MS: i64 = 60_000;
/// No offset is further from another.
const TWO_DAYS_MS: i64 = 172_800_000;

/// A place's offsets, or one offset for ever.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Zone {
    /// In the tz database; `None`: no place, an offset.
    name: Option<String>,
    /// Before the first change.
    first: Offset,
    /// From when on which offset is in force, oldest first.
    changes: Vec<(UtcMillis, Offset)>,
}

impl From<Offset> for Zone {
    fn from(offset: Offset) -> Self {
        Self { name: None, first: offset, changes: Vec::new() }
    }
}

impl Zone {
    /// A place: its name, the offset before the first change, and the changes.
    #[must_use]
    pub fn place(name: &str, first: Offset, mut changes: Vec<(UtcMillis, Offset)>) -> Self {
        changes.sort_unstable();
        Self { name: Some(name.to_owned()), first, changes }
    }

    /// The offset in force at a moment.
    #[must_use]
    pub fn offset(&self, at: UtcMillis) -> Offset {
        let begun = self.changes.partition_point(|(from, _)| *from <= at);
        let last = begun.checked_sub(1).and_then(|index| self.changes.get(index));
        last.map_or(self.first, |(_, offset)| *offset)
    }

    /// The place's time without summer time: of its last two offsets the lesser.
    #[must_use]
    pub fn standard(&self) -> Offset {
        let last = self.changes.iter().rev().take(2).map(|(_, offset)| *offset);
        last.min().unwrap_or(self.first)
    }

    /// The local date of a moment.
    #[must_use]
    pub fn date(&self, at: UtcMillis) -> Date {
        self.offset(at).date(at)
    }

    /// What the clock on the wall shows, in minutes since it showed 0:00; seconds are cut.
    #[must_use]
    pub fn minute(&self, at: UtcMillis) -> u16 {
        let offset = self.offset(at);
        let shown = at.get().saturating_sub(offset.midnight(offset.date(at)).get());
        u16::try_from(shown.div_euclid(MINUTE_MS)).unwrap_or(0)
    }

    /// When a day begins. Where clocks pass over midnight it is the moment at which they do.
    #[must_use]
    pub fn midnight(&self, date: Date) -> UtcMillis {
        let usual = self.first.midnight(date);
        let near = |at: &UtcMillis| at.get().abs_diff(usual.get()) <= TWO_DAYS_MS.unsigned_abs();
        let changes = self.changes.iter().map(|(at, _)| *at).filter(near);
        let before = UtcMillis::new(usual.get().saturating_sub(TWO_DAYS_MS));
        let offsets = changes.clone().map(|at| self.offset(at)).chain([self.offset(before)]);
        let begins = offsets.map(|offset| offset.midnight(date)).chain(changes);
        begins.filter(|at| self.begins(*at, date)).min().unwrap_or(usual)
    }

    /// Whether a date begins at a moment.
    fn begins(&self, at: UtcMillis, date: Date) -> bool {
        let before = UtcMillis::new(at.get().saturating_sub(1));
        self.date(at) == date && self.date(before) < date
    }

    fn is_midnight(&self, at: UtcMillis) -> bool {
        self.begins(at, self.date(at))
    }

    /// How many whole calendar months a period has; `None` if it is not made of such.
    #[must_use]
    pub fn months(&self, from: UtcMillis, to: UtcMillis) -> Option<u32> {
        let is_whole = self.is_midnight(from) && self.is_midnight(to);
        self.date(from).months_until(self.date(to)).filter(|_| is_whole)
    }

    /// How many whole local days a period has, of 23 hours or 25 among them; `None` if it is not
    /// made of such.
    #[must_use]
    pub fn days(&self, from: UtcMillis, to: UtcMillis) -> Option<u32> {
        let is_whole = self.is_midnight(from) && self.is_midnight(to);
        let days = self.date(to).day_number().saturating_sub(self.date(from).day_number());
        u32::try_from(days).ok().filter(|_| is_whole)
    }

    /// `2026-07-01/2027-06-30 Asia/Karachi`, the last day included, where both ends are local
    /// midnights; else two times with the offset of each.
    #[must_use]
    pub fn period(&self, from: UtcMillis, to: UtcMillis) -> String {
        let Some(name) = &self.name else { return self.first.period(from, to) };
        let time = |at| self.offset(at).time(at);
        match self.days(from, to) {
            None | Some(0) => format!("{}/{}", time(from), time(to)),
            Some(_) => {
                let last = self.date(UtcMillis::new(to.get().saturating_sub(1)));
                format!("{}/{last} {name}", self.date(from))
            }
        }
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => f.write_str(name),
            None => self.first.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HOUR: i64 = 3_600_000;
    const DAY_MS: i64 = 86_400_000;

    fn offset(text: &str) -> Offset {
        text.parse().expect("an offset")
    }

    fn date(text: &str) -> Date {
        text.parse().expect("a date")
    }

    fn utc(day: &str, hour: i64) -> UtcMillis {
        UtcMillis::new(
            Offset::UTC.midnight(date(day)).get().saturating_add(hour.saturating_mul(HOUR)),
        )
    }

    /// Pakistan's summer time of 2008, which began and ended at midnight.
    fn karachi() -> Zone {
        let changes = vec![
            (utc("2008-05-31", 19), offset("+06:00")),
            (utc("2008-10-31", 18), offset("+05:00")),
        ];
        Zone::place("Asia/Karachi", offset("+05:00"), changes)
    }

    #[test]
    fn k4_months_and_days_go_by_the_clocks_of_the_place() {
        let zone = karachi();
        let shown = |from: &str, to: &str| {
            let (from, to) = (zone.midnight(date(from)), zone.midnight(date(to)));
            (to.get().saturating_sub(from.get()).div_euclid(HOUR), zone.period(from, to))
        };
        let june = shown("2008-06-01", "2008-07-01");
        // The clocks passed over the first hour of 1 June: it began at 1:00 of the new time.
        assert_eq!(june, (719, "2008-06-01/2008-06-30 Asia/Karachi".to_owned()));
        // And 31 October had its last hour twice.
        assert_eq!(shown("2008-10-01", "2008-11-01").0, 745);
        assert_eq!(shown("2007-06-01", "2007-07-01").0, 720);
        let (from, to) = (zone.midnight(date("2008-01-01")), zone.midnight(date("2009-01-01")));
        assert_eq!((zone.months(from, to), zone.days(from, to)), (Some(12), Some(366)));
        assert_eq!(zone.months(from, UtcMillis::new(to.get().saturating_sub(HOUR))), None);
        let times = zone.period(utc("2008-07-01", 0), utc("2008-12-01", 0));
        assert_eq!(times, "2008-07-01T06:00:00+06:00/2008-12-01T05:00:00+05:00");
        assert_eq!(zone.standard(), offset("+05:00"));
    }

    #[test]
    fn the_clock_on_the_wall_is_that_of_the_moment() {
        let zone = karachi();
        for (at, minute) in [
            (utc("2008-05-31", 18), 23 * 60),
            (utc("2008-05-31", 19), 60),
            (utc("2008-10-31", 17), 23 * 60),
            (utc("2008-10-31", 18), 23 * 60),
        ] {
            assert_eq!(zone.minute(at), minute);
        }
        let fixed: Zone = offset("+05:00").into();
        assert_eq!(fixed.minute(utc("2026-08-01", 19)), 0);
        assert_eq!(fixed.to_string(), "+05:00");
    }

    proptest! {
        /// Every moment is of exactly one day, and days follow each other without a gap.
        #[test]
        fn days_follow_each_other(day in 13_800_i64..14_300, hour in 0_i64..24) {
            let zone = karachi();
            let hours = hour.saturating_mul(HOUR);
            let at = UtcMillis::new(day.saturating_mul(DAY_MS).saturating_add(hours));
            let today = zone.date(at);
            let (begins, ends) = (zone.midnight(today), zone.midnight(today.next()));
            prop_assert!(begins <= at && at < ends, "{begins:?} {at:?} {ends:?}");
            prop_assert_eq!(zone.days(begins, ends), Some(1));
        }
    }
}
