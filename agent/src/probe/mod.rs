//! What reads sensors: the [`Probe`] trait, what a probe says of itself, and building all probes
//! of a configuration.
//!
//! A probe reads one interface and is alone: one per GPU, one per meter, one for the CPU's
//! registers, one for the host, each on a thread of its own that the scheduler owns. A probe may
//! block; the scheduler enforces the deadline, and a probe that hangs costs its own values only.
//!
//! # Invariants
//! - Every value is an integer in its quantity's unit (`bijli_wire::series`) that the catalogue
//!   admits. What was not read, not finite or out of range is `None`, never zero and never the
//!   value before.
//! - A probe offers only what the device answered when it was described. What is not offered is
//!   not a series; it is a [`Note`] that says why.
//! - Time is passed in ([`Moment`]); a probe asks no clock.

use bijli_wire::batch::Subject;
use bijli_wire::{Millis, Quantity, UtcMillis};

/// Reads one interface.
pub trait Probe: Send {
    /// `"nvml:GPU-5b1c..."`, `"modbus:incomer"`, `"host"`, `"rapl"`, `"replay:h200"`.
    fn name(&self) -> &str;

    /// Opens the interface and finds what it offers. Called at start, again with back-off while
    /// it fails, and again after a device was away for long: register epochs may differ then.
    ///
    /// # Errors
    /// Says in words why nothing can be read now; the scheduler tries again later.
    fn describe(&mut self) -> Result<Description, ProbeError>;

    /// Reads what is due. Each [`Sample`] has one value per series of its cadence, in the order
    /// of the last description. Never fails as a whole: a value that failed is `None`.
    fn read(&mut self, due: &[Cadence], now: Moment) -> Vec<Sample>;

    /// In words, why the last read was not whole; `None` when it was. For events and logs.
    fn trouble(&self) -> Option<String> {
        None
    }

    /// Probes that the last successful [`Probe::describe`] newly found (the NVML probe finds one
    /// per GPU). Each is handed out once, and is to be described and run on a thread of its own.
    fn found(&mut self) -> Vec<Box<dyn Probe>> {
        Vec::new()
    }

    /// Whether this probe has nothing more to give, ever. Only a recorded trace ends.
    fn is_finished(&self) -> bool {
        false
    }
}

/// What a probe offers, found by asking the device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    pub subjects: Vec<Subject>,
    pub series: Vec<Offer>,
    /// For people: `bijli-agent check` prints them.
    pub notes: Vec<Note>,
}

impl Description {
    /// The series of one cadence, in the order in which [`Sample::values`] carries them.
    pub fn of(&self, cadence: Cadence) -> impl Iterator<Item = &Offer> {
        self.series.iter().filter(move |offer| offer.cadence == cadence)
    }

    /// The cadences that occur, each once, in order.
    #[must_use]
    pub fn cadences(&self) -> Vec<Cadence> {
        let mut cadences: Vec<Cadence> = self.series.iter().map(|offer| offer.cadence).collect();
        cadences.sort_unstable();
        cadences.dedup();
        cadences
    }
}

/// One series that a probe offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    pub cadence: Cadence,
    /// Index into [`Description::subjects`].
    pub subject: usize,
    pub quantity: Quantity,
    /// Phase or channel; 0 is the whole.
    pub part: u32,
}

/// How often a series is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cadence {
    /// Each second: registers, power, temperature.
    Hot,
    /// Each 10 seconds.
    Warm,
    /// Each minute.
    Cold,
    /// A meter's own, from its configuration.
    Every(Millis),
    /// A recorded trace, read as often as the spool has room. Its samples carry their own times
    /// (this far apart when it was recorded), so its series need a group to themselves.
    Recorded(Millis),
}

impl Cadence {
    #[must_use]
    pub const fn period(self) -> Millis {
        match self {
            Self::Hot => Millis::new(1_000),
            Self::Warm => Millis::new(10_000),
            Self::Cold => Millis::new(60_000),
            Self::Every(period) | Self::Recorded(period) => period,
        }
    }
}

/// When a tick happened, on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The wall clock. It may step.
    pub utc: UtcMillis,
    /// Since some fixed moment, never stepping back; power is integrated over this one.
    pub monotonic: Millis,
}

/// One row: the values of one cadence's series at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    pub cadence: Cadence,
    /// `None`: read at this tick. Only a recorded trace has its own times.
    pub at: Option<UtcMillis>,
    pub values: Vec<Option<i64>>,
}

/// One thing that can be measured here, or cannot and why, in plain words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    pub how: How,
    /// What is meant: "energy", "memory temperature", "CPU package 0".
    pub what: String,
    /// How it is read, or why not and what to do about it.
    pub words: String,
}

impl Note {
    #[must_use]
    pub fn new(how: How, what: &str, words: impl Into<String>) -> Self {
        Self { how, what: what.to_owned(), words: words.into() }
    }
}

/// How a thing is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// The device counts energy itself.
    Register,
    /// The agent integrates power into a register of its own.
    Integrated,
    /// A momentary value or a plain count is read.
    Read,
    /// It could be had, but something must be done first.
    Missing,
    /// The device does not have it.
    NotOffered,
}

/// Why a probe cannot describe its device now.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    #[error("cannot load {library}: {reason}")]
    Library { library: String, reason: String },
    #[error("cannot list the GPUs: {reason}")]
    List { reason: String },
    #[error("{device} does not answer: {reason}")]
    Device { device: String, reason: String },
    #[error("cannot read {path}")]
    File { path: String, source: std::io::Error },
    #[error("{meter} at {address}: {reason}")]
    Meter { meter: String, address: String, reason: String },
    #[error("{path}, line {line}: {rule}")]
    Trace { path: String, line: usize, rule: String },
    #[error("name refused")]
    Name { source: bijli_wire::id::IdError },
    #[error("{what}: nothing to measure here: {reason}")]
    Nothing { what: &'static str, reason: String },
}

/// `value` if the catalogue admits it for `quantity`, else `None`.
#[must_use]
pub fn admitted(quantity: Quantity, value: i64) -> Option<i64> {
    quantity.spec().admits(value).then_some(value)
}
