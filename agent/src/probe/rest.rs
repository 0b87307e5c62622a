//! How long a device that failed is left alone: a second, then twice as long each time, at most a
//! minute. Without jitter: each gateway asks its own devices.

use bijli_wire::Millis;

use crate::clock::Moment;

const WAIT_MIN: Millis = Millis::new(1_000);
const WAIT_MAX: Millis = Millis::new(60_000);

/// Of one device.
#[derive(Debug, Default)]
pub(super) struct Rest(Option<Since>);

#[derive(Debug)]
struct Since {
    until: Moment,
    wait: Millis,
    reason: String,
}

impl Rest {
    /// How long it is still left alone, and after what; `None`: it may be asked.
    pub(super) fn left(&self, now: Moment) -> Option<(Millis, String)> {
        let since = self.0.as_ref().filter(|since| now < since.until)?;
        Some((since.until.since(now), since.reason.clone()))
    }

    pub(super) fn answered(&mut self) {
        self.0 = None;
    }

    pub(super) fn failed(&mut self, now: Moment, reason: String) {
        let before = self.0.as_ref().map(|since| since.wait.get());
        let wait = before.map_or(WAIT_MIN.get(), |ms| ms.saturating_mul(2).min(WAIT_MAX.get()));
        let wait = Millis::new(wait);
        self.0 = Some(Since { until: now.after(wait), wait, reason });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_up_to_a_minute_and_begins_anew_after_an_answer() {
        let now = Moment::new(5_000);
        let mut rest = Rest::default();
        assert_eq!(rest.left(now), None);
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            rest.failed(now, "silent".to_owned());
            let wait = Millis::new(seconds * 1_000);
            assert_eq!(rest.left(now), Some((wait, "silent".to_owned())));
            assert_eq!(rest.left(now.after(wait)), None);
        }
        rest.answered();
        rest.failed(now, "silent".to_owned());
        assert_eq!(rest.left(now).map(|(wait, _)| wait), Some(WAIT_MIN));
    }
}
