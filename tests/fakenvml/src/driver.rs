//! The loaded driver: one scenario, one clock, and how many users have called `nvmlInit`.
//!
//! # Invariants
//!
//! - The clock outlives its users, as a driver does: shutting down and initialising again continues
//!   the same scenario, and a failed `nvmlInit` has started it. Only another scenario text or
//!   epoch, seen while nobody uses the driver, starts afresh. `build.rs` sees to it that unloading
//!   the library does not end the clock either.
//! - Whoever initialised before a reload is told `UNINITIALIZED` until all its users have shut down
//!   and one initialises again.
//! - The lock is held only to look up or replace the driver, never while a call sleeps.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::answer::{Answer, Refusal};
use crate::clock::Clock;
use crate::scenario::{GpuSpec, Scenario, ScenarioError};

const SCENARIO_VARIABLE: &str = "BIJLI_FAKENVML_SCENARIO";
const EPOCH_VARIABLE: &str = "BIJLI_FAKENVML_EPOCH_UTC_MS";

#[derive(Debug)]
pub(crate) struct Driver {
    source: Source,
    pub(crate) scenario: Scenario,
    /// For each place the boards that are in it one after another, and from when on.
    places: Vec<Vec<(u64, Arc<GpuSpec>)>>,
    pub(crate) clock: Clock,
}

/// What the environment asks for.
#[derive(Debug, PartialEq, Eq)]
struct Source {
    text: String,
    epoch_utc_ms: Option<u64>,
}

#[derive(Debug)]
struct State {
    users: u32,
    /// How often the driver had gone when the first of the users came.
    generation: usize,
    driver: Option<Arc<Driver>>,
}

static STATE: Mutex<State> = Mutex::new(State { users: 0, generation: 0, driver: None });

/// One more user, if the driver is loaded by now.
pub(crate) fn init() -> Answer<()> {
    let mut state = lock();
    if state.users == 0 {
        let source = Source::from_environment().map_err(complain)?;
        if state.driver.as_ref().is_none_or(|driver| driver.source != source) {
            state.driver = Some(Arc::new(Driver::load(source).map_err(complain)?));
        }
    }
    let driver = state.driver.as_ref().ok_or(Refusal::Unknown)?;
    let now_ms = driver.clock.now_ms();
    let spec = &driver.scenario.driver;
    if !spec.is_loaded(now_ms) {
        return Err(Refusal::DriverNotLoaded);
    }
    if spec.is_mismatched(now_ms) {
        return Err(Refusal::LibraryMismatch);
    }
    if state.users == 0 {
        state.generation = spec.generation(now_ms);
    }
    state.users += 1;
    Ok(())
}

/// One user less.
pub(crate) fn shutdown() -> Answer<()> {
    let mut state = lock();
    state.users = state.users.checked_sub(1).ok_or(Refusal::Uninitialized)?;
    Ok(())
}

/// The driver, for as long as anybody uses it.
pub(crate) fn current() -> Answer<Arc<Driver>> {
    let state = lock();
    match &state.driver {
        Some(driver) if state.users > 0 && driver.generation() == state.generation => {
            Ok(Arc::clone(driver))
        }
        Some(_) | None => Err(Refusal::Uninitialized),
    }
}

fn lock() -> MutexGuard<'static, State> {
    // Every change of the state is a single assignment, so a panic cannot leave half of one.
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Driver {
    fn load(source: Source) -> Result<Self, ScenarioError> {
        let scenario = Scenario::parse(&source.text)?;
        let clock = Clock::start(scenario.speed, source.epoch_utc_ms);
        let boards = |gpu: &GpuSpec| {
            gpu.boards().into_iter().map(|(from_ms, board)| (from_ms, Arc::new(board))).collect()
        };
        let places = scenario.gpus.iter().map(boards).collect();
        Ok(Self { source, scenario, places, clock })
    }

    /// How often it has gone by now.
    pub(crate) fn generation(&self) -> usize {
        self.scenario.driver.generation(self.clock.now_ms())
    }

    /// The board in this place, also if it has been removed.
    pub(crate) fn board(&self, place: usize, at_ms: u64) -> Option<Arc<GpuSpec>> {
        let mut boards = self.places.get(place)?.iter();
        boards.rfind(|(from_ms, _)| *from_ms <= at_ms).map(|(_, board)| Arc::clone(board))
    }

    /// The places with a GPU in them. A GPU's index is its rank among them.
    pub(crate) fn present(&self, at_ms: u64) -> Vec<usize> {
        let gpus = self.scenario.gpus.iter().enumerate();
        gpus.filter(|(_, gpu)| !gpu.is_removed(at_ms)).map(|(place, _)| place).collect()
    }
}

impl Source {
    fn from_environment() -> Result<Self, ScenarioError> {
        let text = match std::env::var_os(SCENARIO_VARIABLE) {
            Some(path) => crate::scenario::read(&PathBuf::from(path))?,
            None => String::new(),
        };
        let epoch_utc_ms = match std::env::var(EPOCH_VARIABLE) {
            Ok(epoch) => Some(epoch.parse().map_err(|_| {
                let why = format!("{EPOCH_VARIABLE}={epoch} is no number of milliseconds");
                ScenarioError::Refused(why)
            })?),
            Err(_) => None,
        };
        Ok(Self { text, epoch_utc_ms })
    }
}

/// NVML has no words for a scenario that is wrong, so they go where a person will look.
#[expect(clippy::needless_pass_by_value, reason = "handed to map_err")]
fn complain(error: ScenarioError) -> Refusal {
    eprintln!("fake NVML: {error}");
    Refusal::Unknown
}
