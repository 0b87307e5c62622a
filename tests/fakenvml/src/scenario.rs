//! The scenario file: which GPUs there are, what they draw, and what goes wrong when.
//!
//! TOML; times are milliseconds of scenario time, every other number carries its unit in its key,
//! and an unknown key is an error. All keys have defaults, those of an idle H100 SXM.
//! `scenarios/` has commented examples.

use std::path::{Path, PathBuf};

use serde::Deserialize;

mod board;
mod driver;
mod events;
mod faults;
mod gpu;
mod links;
mod memory;
mod mig;

pub(crate) use events::{Report, XID_BIT};
pub(crate) use gpu::is_within;
pub(crate) use mig::DEVICES_MAX;

pub use board::{C2c, C2cStep, Fabric, FanStep, Inforom, Module, Platform, RecoveryStep, TLimit};
pub use driver::{DriverSpec, Reload};
pub use events::{Event, EventKind, Xid};
pub use faults::{Faults, Feature, StepBack};
pub use gpu::{
    Clocks, CounterSees, GpuSpec, PowerLimits, PowerStep, PowerUsage, Process, Replacement,
    Temperature, Throttle,
};
pub use links::{LinkError, Nvlink, NvlinkStep, Pcie, PcieError, PcieStep};
pub use memory::{Ecc, EccStep, Histogram, Memory, RemappedRows, RemappedStep, Sram, SramStep};
pub use mig::{Mig, MigInstance};

/// More GPUs than any node of the programme has; a larger count is a slip of the pen.
pub const GPUS_MAX: usize = 64;

/// A scenario that has been checked, with every name and number filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scenario {
    /// Milliseconds of scenario time in a real millisecond.
    pub speed: u32,
    pub driver: DriverSpec,
    pub gpus: Vec<GpuSpec>,
}

/// What can be wrong with a scenario.
#[derive(Debug)]
pub enum ScenarioError {
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    Parse(Box<toml::de::Error>),
    /// Names the GPU, where there is one, and the key.
    Refused(String),
}

impl std::fmt::Display for ScenarioError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Read { path, source } => write!(f, "cannot read {}: {source}", path.display()),
            Self::Parse(source) => write!(f, "cannot parse the scenario: {source}"),
            Self::Refused(why) => write!(f, "scenario refused: {why}"),
        }
    }
}

impl std::error::Error for ScenarioError {}

impl Default for Scenario {
    fn default() -> Self {
        Self::parse("").expect("the empty scenario is valid, see the tests")
    }
}

impl Scenario {
    /// # Errors
    ///
    /// If the file cannot be read, is not TOML, has an unknown key, or contradicts itself.
    pub fn load(path: &Path) -> Result<Self, ScenarioError> {
        Self::parse(&read(path)?)
    }

    /// # Errors
    ///
    /// As [`Scenario::load`], without the reading.
    pub fn parse(text: &str) -> Result<Self, ScenarioError> {
        let file: File =
            toml::from_str(text).map_err(|error| ScenarioError::Parse(error.into()))?;
        if file.speed == 0 {
            return Err(ScenarioError::Refused("speed is 0, so time would stand still".to_owned()));
        }
        let mut gpus = file.gpus.into_specs();
        if gpus.is_empty() || gpus.len() > GPUS_MAX {
            let why = format!("{} GPUs, must be 1 to {GPUS_MAX}", gpus.len());
            return Err(ScenarioError::Refused(why));
        }
        for (index, gpu) in gpus.iter_mut().enumerate() {
            gpu.fill_in_identity(index);
            gpu.reloads_ms =
                file.driver.reloads.iter().map(|reload| [reload.at_ms, reload.back_ms]).collect();
            gpu.check().map_err(|why| ScenarioError::Refused(format!("gpu {index}: {why}")))?;
        }
        file.driver.check().map_err(|why| ScenarioError::Refused(why.to_owned()))?;
        refuse_twins(&gpus)?;
        Ok(Self { speed: file.speed, driver: file.driver, gpus })
    }
}

#[expect(clippy::disallowed_methods, reason = "the one file that the fake reads")]
pub(crate) fn read(path: &Path) -> Result<String, ScenarioError> {
    std::fs::read_to_string(path)
        .map_err(|source| ScenarioError::Read { path: path.to_owned(), source })
}

fn refuse_twins(gpus: &[GpuSpec]) -> Result<(), ScenarioError> {
    let mut seen = std::collections::BTreeSet::new();
    match gpus.iter().flat_map(GpuSpec::uuids).find(|uuid| !seen.insert(*uuid)) {
        Some(twin) => Err(ScenarioError::Refused(format!("two GPUs have the uuid {twin}"))),
        None => Ok(()),
    }
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    speed: u32,
    driver: DriverSpec,
    gpus: Gpus,
}

impl Default for File {
    fn default() -> Self {
        Self { speed: 1, driver: DriverSpec::default(), gpus: Gpus::Alike { count: 8 } }
    }
}

/// `gpus = 8`, or a `[[gpus]]` table for each.
enum Gpus {
    Alike { count: usize },
    Listed(Vec<GpuSpec>),
}

impl Gpus {
    fn into_specs(self) -> Vec<GpuSpec> {
        match self {
            // One more than the limit is enough to be refused.
            Self::Alike { count } => vec![GpuSpec::default(); count.min(GPUS_MAX + 1)],
            Self::Listed(specs) => specs,
        }
    }
}

impl<'de> Deserialize<'de> for Gpus {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(GpusVisitor)
    }
}

/// By hand: an untagged enum would hide which key of which GPU is wrong.
struct GpusVisitor;

impl<'de> serde::de::Visitor<'de> for GpusVisitor {
    type Value = Gpus;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a number of GPUs or a list of them")
    }

    fn visit_i64<E: serde::de::Error>(self, count: i64) -> Result<Gpus, E> {
        let count = usize::try_from(count).map_err(|_| E::custom("a count of GPUs below 0"))?;
        Ok(Gpus::Alike { count })
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Gpus, A::Error> {
        let mut specs = Vec::new();
        while let Some(spec) = seq.next_element()? {
            specs.push(spec);
        }
        Ok(Gpus::Listed(specs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        Scenario::parse(text).expect_err("must be refused").to_string()
    }

    #[test]
    fn the_default_is_eight_idle_h100() {
        let scenario = Scenario::default();
        assert_eq!(scenario.gpus.len(), 8);
        assert_eq!(scenario.gpus[3].uuid, "GPU-00000000-0000-0000-0000-000000000003");
        assert_eq!(scenario.gpus[3].name, "NVIDIA H100 80GB HBM3");
        assert_eq!(scenario.gpus[3].utilization_percent(0), [0, 0]);
    }

    #[test]
    fn gpus_may_be_counted_or_listed() {
        assert_eq!(Scenario::parse("gpus = 2").unwrap().gpus.len(), 2);
        let listed = Scenario::parse("[[gpus]]\nuuid = 'GPU-a'\n[[gpus]]\n").unwrap();
        assert_eq!(listed.gpus[0].uuid, "GPU-a");
        assert_eq!(listed.gpus[1].uuid, "GPU-00000000-0000-0000-0000-000000000001");
    }

    #[test]
    fn mistakes_are_named() {
        let table = [
            ("gpu = 8", "unknown field `gpu`"),
            ("gpus = -1", "below 0"),
            ("gpus = 0", "0 GPUs"),
            ("gpus = 100000", "65 GPUs"),
            ("gpus = 'eight'", "a number of GPUs or a list"),
            ("speed = 0", "speed is 0"),
            ("[[gpus]]\npower_w = 3", "unknown field `power_w`"),
            ("[[gpus]]\npower_trace = []", "gpu 0: power_trace is empty"),
            ("[[gpus]]\npower_trace = [{for_ms = 0, power_mw = 1}]", "power_trace has a step of 0"),
            ("[[gpus]]\npower_trace = [{for_ms = 1}]", "missing field `power_mw`"),
            ("[[gpus]]\ncounter_step_ms = 0", "counter_step_ms is 0"),
            ("[[gpus]]\nuuid = 'a'\n[[gpus]]\nuuid = 'a'", "two GPUs have the uuid a"),
            ("[[gpus]]\nname = \"a\\u0000b\"", "NUL"),
            ("[[gpus]]\n[gpus.faults]\nback_at_ms = 5", "back_at_ms without lost_at_ms"),
            ("[[gpus]]\n[gpus.faults]\nlost_at_ms = 5\nback_at_ms = 5", "not after lost_at_ms"),
            ("[[gpus]]\n[gpus.faults]\nhang_at_ms = 5", "only together"),
            (
                "[[gpus]]\n[gpus.faults]\nhang_at_ms = 5\nhang_for_ms = 9\nhang_every_ms = 9",
                "not more than hang_for_ms",
            ),
            ("[[gpus]]\n[gpus.faults]\nunsupported = ['enrgy']", "unknown variant `enrgy`"),
            ("[[gpus]]\ninstant_window_ms = 101", "within 1 and instant_refresh_ms"),
            ("[[gpus]]\naverage_refresh_ms = 0", "refresh of the power is 0"),
            ("[[gpus]]\nxids = [{at_ms = 1, code = 1, repeat = 2}]", "needs every_ms"),
            ("[[gpus]]\nevents = [{at_ms = 1, type = 'xid'}]", "unknown variant `xid`"),
            ("[[gpus]]\nmig = {instances = [{gi_id = 1, slices = 8}]}", "1 to 7 slices"),
            ("[[gpus]]\nnvlink = {steps = [{link = 18}]}", "a link that it has not"),
            ("[[gpus]]\nnvlink = {links = 19}", "more than 18 links"),
            ("[[gpus]]\npcie = {steps = [{errors = {lrcr = 1}}]}", "unknown variant `lrcr`"),
            ("[[gpus]]\nmodule = {power_trace = []}", "the module's power_trace"),
            ("[[gpus]]\n[gpus.faults]\nenergy_stuck_until_ms = 5", "without energy_stuck_from_ms"),
            ("[[gpus]]\n[gpus.faults]\nenergy_gain_ppm = -1000001", "more than all"),
            ("[driver]\nreloads = [{at_ms = 5, back_ms = 5}]", "not after its at_ms"),
            (
                "[driver]\nreloads = [{at_ms = 5, back_ms = 9}, {at_ms = 8, back_ms = 10}]",
                "overlap",
            ),
            (
                "[[gpus]]\nreplaced = [{at_ms = 5, uuid = 'a', serial = ''}]\n[[gpus]]\nuuid = 'a'",
                "two GPUs have the uuid a",
            ),
            (
                "[[gpus]]\nprocesses = [{pid = 1, used_bytes = 1, from_ms = 3, until_ms = 3}]",
                "empty",
            ),
        ];
        for (text, expected) in table {
            let message = refusal(text);
            assert!(message.contains(expected), "{text:?}: {message}");
        }
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = Scenario::load(Path::new("/nowhere/scenario.toml")).expect_err("no such file");
        assert!(error.to_string().contains("/nowhere/scenario.toml"));
    }

    /// Goal: every scenario we ship is valid, and says in its first line what it is for.
    #[test]
    fn shipped_scenarios_load() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
        let mut count = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let loaded = Scenario::load(&path);
            assert!(loaded.is_ok(), "{}: {}", path.display(), loaded.unwrap_err());
            assert!(read(&path).unwrap().starts_with("# "), "{}", path.display());
            count += 1;
        }
        assert!(count >= 12, "{count}");
    }

    #[test]
    fn sixteen_gpus_are_told_apart() {
        let gpus = Scenario::parse("gpus = 16").unwrap().gpus;
        let uuids: std::collections::BTreeSet<_> = gpus.iter().map(|gpu| &gpu.uuid).collect();
        let serials: std::collections::BTreeSet<_> = gpus.iter().map(|gpu| &gpu.serial).collect();
        assert_eq!((uuids.len(), serials.len()), (16, 16));
        assert_eq!(crate::exports::getters::pci_bus_id(15), "00000000:1F:00.0");
    }
}
