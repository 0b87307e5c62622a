//! What devices are told when the agent stops: probes' threads are not waited for then, because any
//! of them may hang in a read.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::thread::Builder;

type Farewell = Box<dyn FnOnce() + Send>;

const STACK_BYTES: usize = 1 << 20;

/// Each is said once, all at the same time. One that blocks must end by itself.
#[derive(Default)]
pub struct Farewells(Mutex<Vec<Farewell>>);

impl fmt::Debug for Farewells {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Farewells").finish_non_exhaustive()
    }
}

impl Farewells {
    pub fn add(&self, farewell: impl FnOnce() + Send + 'static) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(farewell));
    }

    /// Says them, and waits until all are said.
    pub fn say(&self) {
        let all = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let said = |farewell| Builder::new().stack_size(STACK_BYTES).spawn(farewell).ok();
        let threads: Vec<_> = all.into_iter().filter_map(said).collect();
        for thread in threads {
            // One that panicked has told so already.
            drop(thread.join());
        }
    }
}
