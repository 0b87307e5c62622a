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
//! - Time is passed in ([`Tick`]); a probe asks no clock.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use std::sync::Arc;

use bijli_wire::batch::Subject;
use bijli_wire::limits::TEXT_BYTES_MAX;
use bijli_wire::message::EventKind;
use bijli_wire::{Millis, NodeId, Quantity, SubjectId, UtcMillis};
use serde::Deserialize;

use crate::clock::Moment;
use crate::pause::Pause;

pub mod host;
pub mod hwmon;
pub mod ipmi;
pub mod kmsg;
pub mod modbus;
pub mod numbers;
pub mod nvml;
pub mod rapl;
pub mod redfish;
pub mod replay;
pub mod scale;
pub mod snmp;

mod farewell;
mod integrated;
mod kept;
mod kernel;
mod places;
mod rest;

pub use farewell::Farewells;
pub use numbers::Numbers;
pub use places::Places;

/// Reads one interface.
pub trait Probe: Send {
    /// `"nvml:GPU-5b1c..."`, `"modbus:incomer"`, `"host"`, `"rapl"`, `"replay:h200"`.
    fn name(&self) -> &str;

    /// Opens the interface and finds what it offers. Called at start, again with back-off while
    /// it fails, and again when [`Probe::wants_describe`]: register epochs may differ then.
    ///
    /// # Errors
    /// Says in words why nothing can be read now; the scheduler tries again later.
    fn describe(&mut self) -> Result<Description, ProbeError>;

    /// Reads what is due. Each [`Sample`] has one value per series of its cadence, in the order
    /// of the last description. Never fails as a whole: a value that failed is `None`.
    fn read(&mut self, due: &[Cadence], now: Tick) -> Vec<Sample>;

    /// In words, why the last read was not whole; `None` when it was. For events and logs.
    fn trouble(&self) -> Option<String> {
        None
    }

    /// Probes that the last successful [`Probe::describe`] newly found (the NVML probe finds one
    /// per GPU). Each is handed out once, and is to be described and run on a thread of its own.
    fn found(&mut self) -> Vec<Box<dyn Probe>> {
        Vec::new()
    }

    /// Whether a register began anew or a device was away for long, so that it must be described
    /// again. Until then the register's values are missing: nothing is booked across the break.
    fn wants_describe(&self) -> bool {
        false
    }

    /// What it saw happen since this was last called.
    fn happened(&mut self) -> Vec<Happening> {
        Vec::new()
    }

    /// Whether this probe has nothing more to give, ever: a recorded trace that ended, a GPU that
    /// another one has replaced.
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
        cadences.shrink_to_fit();
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

/// Something that a probe saw happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happening {
    /// `None`: the whole node, or nobody knows what.
    pub subject: Option<SubjectId>,
    pub kind: EventKind,
    /// What it is of its kind; 0: it has no number.
    pub code: u32,
    pub text: String,
    pub witness: Witness,
}

/// Who says so. The kernel's log and the driver may tell of one and the same XID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Witness {
    Kernel,
    Driver,
}

/// When a read is asked for, on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tick {
    /// The wall clock. It may step.
    pub utc: UtcMillis,
    /// Never steps back; power is integrated and back-off counted over this one.
    pub monotonic: Moment,
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
    #[error("let go of, as `bijli-agent pause` asked")]
    Paused,
    #[error("the driver was replaced; a call to the former one has not returned yet")]
    Closing,
    #[error("{meter} at {address}: {reason}")]
    Meter { meter: String, address: String, reason: String },
    #[error("{path}, line {line}: {rule}")]
    Trace { path: String, line: usize, rule: String },
    #[error("name refused")]
    Name { source: bijli_wire::id::IdError },
    #[error("{what}: nothing to measure here: {reason}")]
    Nothing { what: &'static str, reason: String },
}

/// What the probes of one node share.
#[derive(Clone, Debug)]
pub struct Context {
    pub node: NodeId,
    /// Random at each start of the agent: the epoch of registers that live in its memory.
    pub start: u64,
    /// Distinguishes one boot of the machine from the next; [`boot_id`] reads it.
    pub boot: String,
    /// Which GPU is where on the bus, as found so far.
    pub places: Arc<Places>,
    /// Which GPU has which number, as listed last.
    pub numbers: Arc<Numbers>,
    pub pause: Arc<Pause>,
    /// What is to be done with devices when the agent stops.
    pub farewells: Arc<Farewells>,
    /// Where a probe may keep how far it is; `None`: nowhere.
    pub state_dir: Option<PathBuf>,
}

impl Context {
    #[must_use]
    pub fn new(node: NodeId, start: u64, boot: String) -> Self {
        Self {
            node,
            start,
            boot,
            places: Arc::default(),
            numbers: Arc::default(),
            pause: Arc::default(),
            farewells: Arc::default(),
            state_dir: None,
        }
    }
}

/// Every probe's part of the configuration.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProbesConfig {
    pub nvml: nvml::NvmlConfig,
    pub rapl: rapl::RaplConfig,
    pub host: host::HostConfig,
    pub kernel_log: kmsg::KmsgConfig,
    pub modbus: Vec<modbus::ModbusConfig>,
    pub ipmi: Vec<ipmi::IpmiConfig>,
    pub redfish: Vec<redfish::RedfishConfig>,
    pub hwmon: Vec<hwmon::HwmonConfig>,
    pub snmp: Vec<snmp::SnmpConfig>,
    pub replay: Vec<replay::ReplayConfig>,
}

/// All probes that a configuration asks for. Nothing is opened yet; describing does that.
#[must_use]
pub fn build(config: &ProbesConfig, context: &Context) -> Vec<Box<dyn Probe>> {
    let mut probes: Vec<Box<dyn Probe>> = Vec::new();
    if config.nvml.enabled {
        probes.push(Box::new(nvml::NvmlProbe::new(&config.nvml, context)));
    }
    if config.nvml.enabled && config.kernel_log.enabled {
        probes.push(Box::new(kmsg::KmsgProbe::new(context)));
    }
    if config.rapl.enabled {
        probes.push(Box::new(rapl::RaplProbe::new(&config.rapl, context)));
    }
    if config.host.enabled {
        probes.push(Box::new(host::HostProbe::new(context)));
    }
    for meter in &config.modbus {
        probes.push(Box::new(modbus::ModbusProbe::new(meter, context)));
    }
    for bmc in &config.ipmi {
        probes.push(Box::new(ipmi::IpmiProbe::new(bmc, context)));
    }
    for server in &config.redfish {
        probes.push(Box::new(redfish::RedfishProbe::new(server, context)));
    }
    for sensor in &config.hwmon {
        probes.push(Box::new(hwmon::HwmonProbe::new(sensor, context)));
    }
    for device in &config.snmp {
        probes.push(Box::new(snmp::SnmpProbe::new(device, context)));
    }
    for trace in &config.replay {
        probes.push(Box::new(replay::ReplayProbe::new(trace, context)));
    }
    probes
}

/// A probe that was described once, outside the scheduler: for `check` and `once`.
pub struct Described {
    pub probe: Box<dyn Probe>,
    pub outcome: Result<Description, ProbeError>,
}

impl std::fmt::Debug for Described {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Described")
            .field("probe", &self.probe.name())
            .field("outcome", &self.outcome)
            .finish()
    }
}

/// Describes all probes one after the other, and those that they find.
#[must_use]
pub fn describe_all(probes: Vec<Box<dyn Probe>>) -> Vec<Described> {
    let mut described = Vec::new();
    let mut queue = VecDeque::from(probes);
    while let Some(mut probe) = queue.pop_front() {
        let outcome = probe.describe();
        // In front, so that the GPUs follow the probe that found them.
        for found in probe.found().into_iter().rev() {
            queue.push_front(found);
        }
        described.push(Described { probe, outcome });
    }
    described
}

/// This boot's id as the kernel tells it; empty where it does not.
#[must_use]
pub fn boot_id() -> String {
    kernel::text(Path::new("/proc/sys/kernel/random/boot_id")).unwrap_or_default()
}

/// A register's epoch from what makes it one and the same count: FNV-1a over the parts.
///
/// Stable for ever: a changed epoch is booked as a reset.
#[must_use]
pub(crate) fn epoch(parts: &[&str]) -> u64 {
    const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(PRIME);
    parts.iter().fold(BASIS, |hash, part| {
        // 0xff is no byte of UTF-8, so that the parts cannot run together.
        part.bytes().chain([0xff]).fold(hash, step)
    })
}

/// `text` cut to what the wire takes for labels, models and serials.
#[must_use]
fn short(text: &str) -> String {
    let mut end = text.len().min(TEXT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
}

/// `value` rounded; `None` if it is not finite or beyond 2^62.
#[must_use]
fn rounded(value: f64) -> Option<i64> {
    const BOUND: f64 = 4_611_686_018_427_387_904.0;
    #[expect(clippy::cast_possible_truncation, reason = "finite and below 2^62")]
    (value.is_finite() && value.abs() < BOUND).then(|| value.round() as i64)
}

/// `value` if the catalogue admits it for `quantity`, else `None`.
#[must_use]
pub fn admitted(quantity: Quantity, value: i64) -> Option<i64> {
    quantity.spec().admits(value).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_become_integers_or_nothing() {
        for (value, expected) in [
            (1.5, Some(2)),
            (-1.5, Some(-2)),
            (0.0, Some(0)),
            (f64::NAN, None),
            (f64::INFINITY, None),
            (1e300, None),
        ] {
            assert_eq!(rounded(value), expected);
        }
    }

    #[test]
    fn sentinels_are_not_admitted() {
        assert_eq!(admitted(Quantity::Temperature, 45_000), Some(45_000));
        assert_eq!(admitted(Quantity::Temperature, 4_294_967_295_000), None);
        assert_eq!(admitted(Quantity::EnergyRegister, -1), None);
    }

    #[test]
    fn epochs_are_stable_and_tell_their_parts_apart() {
        assert_eq!(epoch(&["a", "b"]), epoch(&["a", "b"]));
        assert_ne!(epoch(&["a", "b"]), epoch(&["ab", ""]));
        // Pinned: a changed hash would be booked as a reset of every register of the fleet.
        assert_eq!(epoch(&["boot", "580.105", "GPU-1"]), 8_121_123_992_204_651_041);
    }

    #[test]
    fn labels_are_cut_between_characters() {
        assert_eq!(short("plain"), "plain");
        assert_eq!(short(&"é".repeat(100)).len(), TEXT_BYTES_MAX);
        assert_eq!(short(&format!("x{}", "é".repeat(100))).len(), TEXT_BYTES_MAX - 1);
    }
}
