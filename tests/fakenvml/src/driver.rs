//! The loaded driver: one scenario, one clock, and how many users have called `nvmlInit`.
//!
//! # Invariants
//!
//! - The clock outlives its users, as a driver does: shutting down and initialising again continues
//!   the same scenario, and a failed `nvmlInit` has started it. Only another scenario text or
//!   epoch, seen while nobody uses the driver, starts afresh. `build.rs` sees to it that unloading
//!   the library does not end the clock either.
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
    pub(crate) gpus: Vec<Arc<GpuSpec>>,
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
    driver: Option<Arc<Driver>>,
}

static STATE: Mutex<State> = Mutex::new(State { users: 0, driver: None });

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
    if driver.clock.now_ms() < driver.scenario.driver.load_after_ms {
        return Err(Refusal::DriverNotLoaded);
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
        Some(driver) if state.users > 0 => Ok(Arc::clone(driver)),
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
        let gpus = scenario.gpus.iter().cloned().map(Arc::new).collect();
        Ok(Self { source, scenario, gpus, clock })
    }

    /// Whether fields 251–273 have the numbers they got with CUDA 13.0 update 1, that is from
    /// driver 580.82 on.
    pub(crate) fn has_renumbered_fields(&self) -> bool {
        let mut parts = self.scenario.driver.version.split('.').map(|part| part.parse().ok());
        let mut next = || parts.next().flatten().unwrap_or(0_u32);
        (next(), next()) >= (580, 82)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_renumbered_from_580_82_on() {
        let is_renumbered = |version: &str| {
            let text = format!("[driver]\nversion = '{version}'");
            Driver::load(Source { text, epoch_utc_ms: None }).unwrap().has_renumbered_fields()
        };
        assert!(!is_renumbered("570.148.08"));
        assert!(!is_renumbered("580.65.06"));
        assert!(is_renumbered("580.82.07"));
        assert!(is_renumbered("595.1"));
        assert!(!is_renumbered("none"));
    }
}
