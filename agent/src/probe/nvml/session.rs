//! The driver's library as all GPUs of this process share it: opened when it is there, let go for a
//! pause or when the driver was replaced under it, and opened again.
//!
//! # Invariants
//! - While it is open the driver stays loaded and its energy registers count on. It is closed only
//!   when the last GPU's thread has let go of it.
//! - It is not opened a second time beside a dead one, unless a thread that hangs keeps that one.

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
        Self { open, pause, state: Mutex::default() }
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

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn let_go(&mut self) {
        if let Some(library) = self.library.take() {
            self.dead = Some(Arc::downgrade(&library));
        }
    }
}
