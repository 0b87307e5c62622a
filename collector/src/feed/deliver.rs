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
use crate::health::Health;

const BACKOFF_MIN: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_secs(60);
/// Of lines set apart; beyond it they are only counted.
const REFUSED_BYTES_MAX: u64 = 16 << 20;

/// Takes lines of line protocol with times in milliseconds.
pub trait Store: Send + 'static {
    fn write(&mut self, lines: &str) -> Fate;
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
    health: Health,
    is_away: bool,
}

impl<S: Store> Delivery<S> {
    pub fn new(store: S, refused: PathBuf, health: Health) -> Self {
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
            self.health.feed.retries.inc();
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
        self.health.feed.lag_seconds.set(lag.max(0) / 1_000);
    }

    fn set_apart(&self, line: &str, reason: &str) {
        self.health.feed.refused.inc();
        tracing::warn!(line = line.trim_end(), reason, "the feed's store refuses a line for ever");
        if let Err(error) = disk::append_text(&self.refused, line, REFUSED_BYTES_MAX) {
            tracing::warn!(%error, "a refused line cannot be kept");
        }
    }
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
