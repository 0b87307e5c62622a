//! One time axis for readings: the driver's own stamps where they can be believed.
//!
//! The stamps are of the wall clock, which may be set; between two readings they and the clock
//! that nobody sets must say about the same.

use bijli_wire::Millis;

/// Beyond this the wall clock was set, or the stamp is none.
const APART_US_MAX: u64 = 250_000;

/// Time since the first reading.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stamps {
    axis_us: u64,
    /// Stamp and steady clock of the last reading.
    last: Option<(i64, Millis)>,
}

impl Stamps {
    /// When a reading was, on the axis.
    pub(super) fn at(&mut self, stamp_us: i64, steady: Millis) -> Millis {
        if let Some((before_us, before)) = self.last {
            let steady_us = steady.get().saturating_sub(before.get()).saturating_mul(1_000);
            let stamped_us = u64::try_from(stamp_us.saturating_sub(before_us)).ok();
            let is_near = |us: &u64| us.abs_diff(steady_us) <= APART_US_MAX;
            let passed_us = stamped_us.filter(is_near).unwrap_or(steady_us);
            self.axis_us = self.axis_us.saturating_add(passed_us);
        }
        self.last = Some((stamp_us, steady));
        Millis::new(self.axis_us / 1_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_drivers_stamps_count_unless_its_clock_was_set() {
        let mut stamps = Stamps::default();
        let utc = 1_800_000_000_000_000;
        let rows: [(i64, u64, u64); 5] = [
            (utc, 5_000, 0),
            // Read 30 ms later than the tick said.
            (utc + 1_030_000, 6_000, 1_030),
            (utc + 2_000_400, 7_000, 2_000),
            // The wall clock was set back by an hour: the steady clock's second counts.
            (utc - 3_600_000_000, 8_000, 3_000),
            // A driver that stamps nothing.
            (0, 9_000, 4_000),
        ];
        for (stamp_us, steady, axis) in rows {
            assert_eq!(stamps.at(stamp_us, Millis::new(steady)), Millis::new(axis));
        }
    }
}
