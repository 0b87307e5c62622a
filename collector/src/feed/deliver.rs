//! What is sent again and what is given up.
//!
//! A store that cannot take lines now (it is away, overloaded, wants other credentials) is asked
//! again for as long as it takes. A store that refuses lines for what they are is given halves of
//! them, down to single lines; a line refused alone is set apart in a file and counted. So one bad
//! point costs itself, and nobody has to read what a store says about which of them was bad.

use std::path::PathBuf;
use std::time::Duration;

use bijli_wire::UtcMillis;

use super::Pause;
use crate::clock::Clock;
use crate::disk;
use crate::health::FeedHealth;

const BACKOFF_MIN: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_secs(60);
/// Of what a store answers, in logs.
const REASON_CHARS_MAX: usize = 300;
/// Of lines set apart; beyond it they are only counted.
const REFUSED_BYTES_MAX: u64 = 16 << 20;

/// Takes lines, each a point with its time in milliseconds.
pub trait Store: Send + 'static {
    /// What the lines are.
    const FORM: Form;

    fn write(&mut self, lines: &str) -> Fate;
}

/// How a point is written on its way to a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// InfluxDB's line protocol.
    Line,
    /// Prometheus text.
    Text,
}

/// What became of some lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    Taken,
    /// Something in them is wrong, now and later.
    Refused {
        reason: String,
    },
    /// Nothing is wrong with them.
    Later {
        reason: String,
    },
}

/// What a build without a client has.
#[cfg(not(feature = "influx"))]
#[derive(Debug)]
pub enum NoStore {}

#[cfg(not(feature = "influx"))]
impl Store for NoStore {
    const FORM: Form = Form::Line;

    fn write(&mut self, _: &str) -> Fate {
        match *self {}
    }
}

/// Sees to it that a store gets lines.
#[derive(Debug)]
pub struct Delivery<S> {
    store: S,
    refused: PathBuf,
    clock: Clock,
    health: FeedHealth,
    is_away: bool,
}

impl<S: Store> Delivery<S> {
    pub fn new(store: S, refused: PathBuf, health: FeedHealth) -> Self {
        Self { store, refused, clock: Clock, health, is_away: false }
    }

    /// Delivers whole lines, the eldest of them received at `eldest`; false: told to stop before
    /// all of them had a fate.
    #[must_use]
    pub fn deliver(&mut self, lines: &str, eldest: UtcMillis, pause: &Pause) -> bool {
        let Some(refused) = self.insist(lines, eldest, pause) else { return false };
        let Some(reason) = refused else { return true };
        match halves(lines) {
            Some((first, second)) => {
                self.deliver(first, eldest, pause) && self.deliver(second, eldest, pause)
            }
            None => {
                self.set_apart(lines, &reason);
                true
            }
        }
    }

    /// Asks until the store has an opinion: `Some(None)`, it has them; `Some(reason)`, it never
    /// will. `None`: told to stop.
    fn insist(&mut self, lines: &str, eldest: UtcMillis, pause: &Pause) -> Option<Option<String>> {
        let mut backoff = BACKOFF_MIN;
        loop {
            self.show_lag(Some(eldest));
            let reason = match self.store.write(lines) {
                Fate::Taken => {
                    if std::mem::take(&mut self.is_away) {
                        tracing::info!("the feed's store takes points again");
                    }
                    return Some(None);
                }
                Fate::Refused { reason } => return Some(Some(reason)),
                Fate::Later { reason } => reason,
            };
            self.health.retries.inc();
            if !std::mem::replace(&mut self.is_away, true) {
                tracing::warn!(
                    reason,
                    "the feed's store takes nothing; readings wait in the journal"
                );
            }
            if !pause.rest(backoff) {
                return None;
            }
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }

    /// How late the store is; `None`: it has everything.
    pub fn show_lag(&self, eldest: Option<UtcMillis>) {
        let lag = eldest.map_or(0, |eldest| self.clock.now().get() - eldest.get());
        self.health.lag_seconds.set(lag.max(0) / 1_000);
    }

    fn set_apart(&self, line: &str, reason: &str) {
        self.health.refused.inc();
        tracing::warn!(line = line.trim_end(), reason, "the feed's store refuses a line for ever");
        if let Err(error) = disk::append_text(&self.refused, line, REFUSED_BYTES_MAX) {
            tracing::warn!(%error, "a refused line cannot be kept");
        }
    }
}

/// What a store's status means. 400 malformed or partly written, 413 too large, 422 against the
/// schema: these are about the lines (InfluxDB's API v2 and remote write 1.0 alike). Every other
/// failure is not the lines' fault: 401, 403 and 404 are a token or a place that somebody is going
/// to mend, 429 and 5xx pass.
pub(super) fn judge(status: u16, text: &str) -> Fate {
    let reason = format!("{status}: {}", short(text));
    match status {
        200..=299 => Fate::Taken,
        400 | 413 | 422 => Fate::Refused { reason },
        _ => Fate::Later { reason },
    }
}

/// Of a store's answer, in logs.
pub(super) fn short(text: &str) -> String {
    text.chars().take(REASON_CHARS_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Lines in two parts; `None`: there is only one line.
fn halves(lines: &str) -> Option<(&str, &str)> {
    let count = lines.lines().count();
    let (at, _) = lines.match_indices('\n').nth((count / 2).checked_sub(1)?)?;
    lines.split_at_checked(at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_wrong_with_the_lines_is_refused() {
        for status in [400, 413, 422] {
            assert!(matches!(judge(status, "bad"), Fate::Refused { .. }), "{status}");
        }
        for status in [301, 401, 403, 404, 408, 429, 500, 502, 503, 504] {
            assert!(matches!(judge(status, "away"), Fate::Later { .. }), "{status}");
        }
        assert_eq!(judge(200, ""), Fate::Taken);
    }

    #[test]
    fn halves_are_whole_lines() {
        for (lines, expected) in [
            ("a\n", None),
            ("a\nb\n", Some(("a\n", "b\n"))),
            ("a\nb\nc\n", Some(("a\n", "b\nc\n"))),
        ] {
            assert_eq!(halves(lines), expected);
        }
    }
}
