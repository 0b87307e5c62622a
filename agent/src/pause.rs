//! Letting go of the GPUs for a while, so that their driver can be changed under a running agent.
//!
//! `bijli-agent pause` leaves a file in the spool's directory that says until when; the agent looks
//! for it each second, lets go of the driver's library, and says so in a second file. Energy
//! registers count on meanwhile, so a pause costs resolution and no energy unless the driver is
//! really unloaded.
#![expect(clippy::disallowed_methods, reason = "two small files, one process each")]

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use bijli_wire::{Millis, UtcMillis};

/// Until when, in milliseconds since 1970 UTC.
const ASKED: &str = "pause";
/// There while nothing holds the library.
const RELEASED: &str = "paused";

type IsHeld = Box<dyn Fn() -> bool + Send + Sync>;

/// What the probes of this process know of a pause, and whether the library is held.
#[derive(Default)]
pub struct Pause {
    is_asked: AtomicBool,
    is_held: Mutex<Option<IsHeld>>,
}

impl std::fmt::Debug for Pause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pause").field("is_asked", &self.is_asked).finish_non_exhaustive()
    }
}

impl Pause {
    /// Whether the library must not be held now.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.is_asked.load(Ordering::Relaxed)
    }

    /// Takes over how to find out whether anything keeps the library open.
    pub fn hold(&self, is_held: IsHeld) {
        *self.is_held.lock().unwrap_or_else(PoisonError::into_inner) = Some(is_held);
    }

    /// Whether nothing keeps the library open, not even a call that hangs.
    #[must_use]
    pub fn is_released(&self) -> bool {
        let is_held = self.is_held.lock().unwrap_or_else(PoisonError::into_inner);
        !is_held.as_ref().is_some_and(|is_held| is_held())
    }

    /// Looks at the file, and answers with the other one. `Some`: it begins or ends just now.
    pub fn follow(&self, dir: &Path, now: UtcMillis) -> Option<Change> {
        let until = asked_until(dir).filter(|until| now < *until);
        let is_asked = until.is_some();
        if is_asked && self.is_released() {
            // Not durable on purpose: after a power cut nothing is held either.
            std::fs::write(dir.join(RELEASED), b"").ok();
        }
        let was_asked = self.is_asked.swap(is_asked, Ordering::Relaxed);
        if was_asked && !is_asked {
            end(dir).ok();
        }
        match (was_asked, until) {
            (false, Some(until)) => Some(Change::Begun { until }),
            (true, None) => Some(Change::Ended),
            (true, Some(_)) | (false, None) => None,
        }
    }
}

/// What [`Pause::follow`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Begun { until: UtcMillis },
    Ended,
}

/// Asks the agent of this spool to let go until then.
///
/// # Errors
/// The file's.
pub fn begin(dir: &Path, now: UtcMillis, span: Millis) -> std::io::Result<UtcMillis> {
    let until = now.plus(span).unwrap_or(now);
    remove(&dir.join(RELEASED))?;
    std::fs::write(dir.join(ASKED), format!("{}\n", until.get()))?;
    Ok(until)
}

/// Takes it back.
///
/// # Errors
/// The file's.
pub fn end(dir: &Path) -> std::io::Result<()> {
    remove(&dir.join(ASKED))?;
    remove(&dir.join(RELEASED))
}

/// Whether the agent said that it has let go.
#[must_use]
pub fn is_released(dir: &Path) -> bool {
    dir.join(RELEASED).exists()
}

fn asked_until(dir: &Path) -> Option<UtcMillis> {
    let text = std::fs::read_to_string(dir.join(ASKED)).ok()?;
    text.trim().parse().ok().map(UtcMillis::new)
}

fn remove(path: &PathBuf) -> std::io::Result<()> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn at(second: i64) -> UtcMillis {
        UtcMillis::new(second * 1_000)
    }

    #[test]
    fn a_pause_is_answered_when_nothing_is_held_and_ends_by_itself() {
        let dir = tempfile::tempdir().unwrap();
        let pause = Pause::default();
        let library = Arc::new(1_u8);
        let held = Arc::downgrade(&library);
        pause.hold(Box::new(move || held.strong_count() > 0));
        assert_eq!(pause.follow(dir.path(), at(0)), None);
        let until = begin(dir.path(), at(0), Millis::new(60_000)).unwrap();
        assert_eq!(pause.follow(dir.path(), at(1)), Some(Change::Begun { until }));
        assert!(pause.is_asked() && !is_released(dir.path()), "a call still holds it");
        drop(library);
        assert_eq!(pause.follow(dir.path(), at(2)), None);
        assert!(is_released(dir.path()));
        assert_eq!(pause.follow(dir.path(), at(60)), Some(Change::Ended));
        assert!(!pause.is_asked() && !is_released(dir.path()));
        assert_eq!(pause.follow(dir.path(), at(61)), None);
    }

    #[test]
    fn a_pause_can_be_taken_back() {
        let dir = tempfile::tempdir().unwrap();
        let pause = Pause::default();
        begin(dir.path(), at(0), Millis::new(60_000)).unwrap();
        pause.follow(dir.path(), at(1));
        assert!(is_released(dir.path()));
        end(dir.path()).unwrap();
        assert_eq!(pause.follow(dir.path(), at(2)), Some(Change::Ended));
    }
}
