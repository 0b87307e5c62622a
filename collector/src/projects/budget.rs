//! What a project may use, has used, and will have used if it goes on so. Pure.
//!
//! The forecast is linear and says so: the mean power since the project began, until where the
//! books are closed, goes on until the project ends. It knows no calendar of conferences.

use bijli_wire::UtcMillis;

/// A budget and how it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    pub budget: u128,
    /// IT energy since the project began, as far as the books are closed.
    pub used: u128,
    pub from: UtcMillis,
    /// `None`: no end is set.
    pub to: Option<UtcMillis>,
    /// Where the books are closed.
    pub closed: UtcMillis,
}

/// Parts of a million.
const MILLION: u128 = 1_000_000;
const DAY_MS: u64 = 86_400_000;
/// A project that has run for less than this says nothing of its future.
const ELAPSED_MS_MIN: u64 = DAY_MS;

impl Budget {
    /// What is used of it, in millionths.
    #[must_use]
    pub fn used_ppm(&self) -> u128 {
        self.used.saturating_mul(MILLION).checked_div(self.budget).unwrap_or(0)
    }

    fn elapsed_ms(&self) -> u64 {
        let until = self.to.map_or(self.closed, |to| self.closed.min(to));
        if until > self.from { until.get().abs_diff(self.from.get()) } else { 0 }
    }

    /// How much of the project's time has passed, in millionths; `None`: no end is set, or it has
    /// run for less than a day. What is used, over this, is the forecast.
    #[must_use]
    pub fn elapsed_ppm(&self) -> Option<u128> {
        let whole = u128::from(self.to?.get().abs_diff(self.from.get()));
        let elapsed = self.elapsed_ms();
        if elapsed < ELAPSED_MS_MIN {
            return None;
        }
        u128::from(elapsed).saturating_mul(MILLION).checked_div(whole)
    }

    /// Whole days of the project's time that are still to come; `None`: no end is set.
    #[must_use]
    pub fn days_left(&self) -> Option<u64> {
        let to = self.to?;
        let left = if to > self.closed { to.get().abs_diff(self.closed.get()) } else { 0 };
        Some(left / DAY_MS)
    }

    /// What it will have used when it ends, if the mean power so far goes on; `None`: no end is
    /// set, or it has run for less than a day.
    #[must_use]
    pub fn forecast(&self) -> Option<u128> {
        let whole = self.to?.get().abs_diff(self.from.get());
        let elapsed = self.elapsed_ms();
        if elapsed < ELAPSED_MS_MIN {
            return None;
        }
        self.used.saturating_mul(u128::from(whole)).checked_div(u128::from(elapsed))
    }

    /// When the budget is used up at that power; `None`: not within the project's time, or there
    /// is no forecast. It may lie in the past.
    #[must_use]
    pub fn used_up(&self) -> Option<UtcMillis> {
        let forecast = self.forecast()?;
        if forecast < self.budget || self.used == 0 {
            return None;
        }
        let elapsed = u128::from(self.elapsed_ms());
        let after = elapsed.saturating_mul(self.budget).checked_div(self.used)?;
        let after = i64::try_from(after).ok()?;
        Some(UtcMillis::new(self.from.get().checked_add(after)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400_000;

    fn budget(used: u128, days: i64, to: Option<i64>) -> Budget {
        let at = |day: i64| UtcMillis::new(day * DAY);
        Budget { budget: 1_000, used, from: at(10), to: to.map(at), closed: at(10 + days) }
    }

    #[test]
    fn a_forecast_is_the_mean_power_so_far_going_on() {
        let half = budget(600, 10, Some(30));
        assert_eq!((half.used_ppm(), half.days_left()), (600_000, Some(10)));
        assert_eq!((half.forecast(), half.elapsed_ppm()), (Some(1_200), Some(500_000)));
        // 60 a day: 1,000 after 16 days and 16 hours.
        let up = 10 * DAY + 16 * DAY + 16 * 3_600_000;
        assert_eq!(half.used_up(), Some(UtcMillis::new(up)));
        assert_eq!(budget(400, 10, Some(30)).used_up(), None, "it will do");
        let over = budget(1_500, 30, Some(30));
        assert_eq!((over.days_left(), over.forecast()), (Some(0), Some(1_500)), "it has ended");
        assert_eq!(over.used_up(), Some(UtcMillis::new(10 * DAY + 20 * DAY * 2 / 3)));
    }

    #[test]
    fn what_cannot_be_foretold_is_not() {
        assert_eq!(budget(600, 10, None).forecast(), None, "no end");
        assert_eq!(budget(600, 0, Some(30)).forecast(), None, "it begins today");
        assert_eq!(budget(600, 0, Some(30)).elapsed_ppm(), None, "it begins today");
        assert_eq!(budget(0, -5, Some(30)).used_up(), None, "it has not begun");
        assert_eq!(budget(0, 10, Some(30)).forecast(), Some(0));
        let none = Budget { budget: 0, ..budget(5, 10, Some(30)) };
        assert_eq!(none.used_ppm(), 0);
    }
}
