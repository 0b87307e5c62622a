//! One seed, one history, one outcome; a panic of the product is a finding like any other.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bijli_collector::health::Health;
use bijli_planted::{Bug, plant};

use crate::fault::Tally;
use crate::history::History;
use crate::oracle::Violation;
use crate::plan::Plan;
use crate::world::World;

thread_local! {
    /// Counters are shared by all histories of a thread: nothing reads them.
    static HEALTH: RefCell<Option<Health>> = const { RefCell::new(None) };
}

/// How a history went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub seed: u64,
    pub failed: Option<Violation>,
    pub steps: u64,
    /// Virtual milliseconds.
    pub simulated_ms: u64,
    pub batches: u64,
    pub plan: Plan,
    pub tally: Tally,
    pub history: History,
}

/// Plays a seed, with a bug planted if one is given.
#[must_use]
pub fn run(seed: u64, bug: Option<Bug>) -> Outcome {
    let health = HEALTH.with_borrow_mut(|health| health.get_or_insert_with(Health::new).clone());
    let mut world = World::new(seed, health);
    plant(bug);
    let played = catch_unwind(AssertUnwindSafe(|| world.play()));
    plant(None);
    let failed = match played {
        Ok(Ok(())) => None,
        Ok(Err(violation)) => Some(violation),
        Err(panic) => {
            let words = panic.downcast_ref::<String>().cloned();
            let words = words.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
            Some(Violation::new("no panic", words.unwrap_or_default()))
        }
    };
    Outcome {
        seed,
        failed,
        steps: world.steps(),
        simulated_ms: world.now(),
        batches: u64::try_from(world.batches_booked()).unwrap_or(u64::MAX),
        plan: world.plan().clone(),
        tally: world.tally.clone(),
        history: std::mem::take(&mut world.history),
    }
}
