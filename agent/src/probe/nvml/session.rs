//! The driver's library as all GPUs of this process share it: opened when it is there, let go for a
//! pause or when the driver was replaced under it, and opened again.
//!
//! # Invariants
//! - While it is open the driver stays loaded and its energy registers count on. It is closed only
//!   when the last GPU's thread has let go of it.
//! - It is not opened a second time beside a dead one, unless a thread that hangs keeps that one.
//! - No two GPUs have one index for longer than it takes to ask: indices move up when a GPU leaves,
//!   and who had the one that another has now is displaced until it was asked again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::library::GpuLibrary;
use crate::pause::Pause;
use crate::probe::ProbeError;

pub(super) type Opener = Box<dyn Fn() -> Result<Arc<dyn GpuLibrary>, ProbeError> + Send + Sync>;

/// So often a dead library that somebody still holds is waited for.
const WAITS_MAX: u32 = 8;

pub(super) struct Session {
    open: Opener,
    pause: Arc<Pause>,
    state: Mutex<State>,
    indices: Mutex<Indices>,
}

#[derive(Default)]
struct Indices {
    /// Who told it last.
    by_number: BTreeMap<u32, String>,
    /// With the index that each lost.
    displaced: BTreeMap<String, u32>,
}

#[derive(Default)]
struct State {
    library: Option<Arc<dyn GpuLibrary>>,
    dead: Option<Weak<dyn GpuLibrary>>,
    waits: u32,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("pause", &self.pause).finish_non_exhaustive()
    }
}

impl Session {
    pub(super) fn new(open: Opener, pause: Arc<Pause>) -> Self {
        Self { open, pause, state: Mutex::default(), indices: Mutex::default() }
    }

    /// The library, opened if it is not.
    pub(super) fn library(&self) -> Result<Arc<dyn GpuLibrary>, ProbeError> {
        let mut state = self.lock();
        if self.pause.is_asked() {
            state.let_go();
            return Err(ProbeError::Paused);
        }
        if let Some(library) = &state.library {
            return Ok(Arc::clone(library));
        }
        if state.dead.as_ref().is_some_and(|dead| dead.strong_count() > 0) {
            state.waits += 1;
            if state.waits < WAITS_MAX {
                return Err(ProbeError::Closing);
            }
        }
        let library = (self.open)()?;
        (state.dead, state.waits) = (None, 0);
        let held = Arc::downgrade(&library);
        self.pause.hold(Box::new(move || held.strong_count() > 0));
        state.library = Some(Arc::clone(&library));
        Ok(library)
    }

    /// Its driver is gone: whoever asks next opens it anew.
    pub(super) fn forget(&self) {
        self.lock().let_go();
    }

    pub(super) fn is_paused(&self) -> bool {
        self.pause.is_asked()
    }

    /// A GPU tells its index, or that it has none any more. What it is to be called: not by an
    /// index that another had after it, which no sound driver says.
    pub(super) fn take_index(&self, uuid: &str, index: Option<u32>) -> Option<u32> {
        let mut indices = self.indices();
        let lost = indices.displaced.remove(uuid);
        indices.by_number.retain(|_, holder| holder != uuid);
        let index = index.filter(|index| lost != Some(*index))?;
        if let Some(before) = indices.by_number.insert(index, uuid.to_owned()) {
            indices.displaced.insert(before, index);
        }
        Some(index)
    }

    /// Whether another GPU has its index now.
    pub(super) fn is_displaced(&self, uuid: &str) -> bool {
        self.indices().displaced.contains_key(uuid)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn indices(&self) -> MutexGuard<'_, Indices> {
        self.indices.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn let_go(&mut self) {
        if let Some(library) = self.library.take() {
            self.dead = Some(Arc::downgrade(&library));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session() -> Session {
        let open: Opener = Box::new(|| Err(ProbeError::Closing));
        Session::new(open, Arc::default())
    }

    /// Guards against two GPUs of one index in the metrics, after a third one had left.
    #[test]
    fn who_has_anothers_index_displaces_it_until_it_was_asked_again() {
        let session = session();
        for (index, uuid) in [(0, "a"), (1, "b"), (2, "c")] {
            assert_eq!(session.take_index(uuid, Some(index)), Some(index));
        }
        assert_eq!(session.take_index("c", Some(1)), Some(1), "b is gone");
        assert_eq!(["a", "b", "c"].map(|uuid| session.is_displaced(uuid)), [false, true, false]);
        assert_eq!(session.take_index("b", None), None);
        assert!(!session.is_displaced("b"));
    }

    #[test]
    fn a_driver_that_says_one_index_twice_is_not_asked_for_ever() {
        let session = session();
        assert_eq!(session.take_index("a", Some(3)), Some(3));
        assert_eq!(session.take_index("b", Some(3)), Some(3));
        assert_eq!(session.take_index("a", Some(3)), None);
        assert_eq!(["a", "b"].map(|uuid| session.is_displaced(uuid)), [false, false]);
    }
}
