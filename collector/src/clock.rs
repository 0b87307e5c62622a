//! The one place that asks what time it is. Everything else is handed the time.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bijli_wire::UtcMillis;

/// The machine's clock. `Copy`, so that whoever needs the time carries it openly.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock;

impl Clock {
    /// Now. A clock set before 1970 says 1970: nothing is booked from it (see `wire::limits`).
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the clock.rs that may ask")]
    pub fn now(self) -> UtcMillis {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        UtcMillis::new(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    /// A point on the monotonic clock, for measuring how long something took.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the clock.rs that may ask")]
    pub fn instant(self) -> Instant {
        Instant::now()
    }
}
