//! NVIDIA GPUs through NVML: one probe that finds them, and one probe per GPU.
//!
//! # Invariants
//! - The library stays open while the agent runs, except for a pause: that keeps the driver loaded
//!   and its energy registers counting. A GPU is known by its UUID; its index is a label.
//! - What a GPU refused as not supported when it was described is not asked again until it is
//!   described again: each hour, after a change of driver or MIG layout. What failed otherwise is
//!   asked again at each tick.
//! - Nothing here writes to a GPU, profiles it, or measures PCIe throughput (20 ms a call).
//! - The hot path is one batched field call plus temperature and utilization.
//!
//! **Architecture invariant:** `nvml_wrapper` is named below `real` only; all else sees
//! [`GpuLibrary`] and [`library::GpuReader`], so that another vendor is another such folder.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use bijli_wire::batch::Subject;
use bijli_wire::message::EventKind;
use bijli_wire::{Quantity, SubjectId, SubjectKind};
use serde::Deserialize;

use self::library::{GpuError, GpuLibrary};
use self::session::{Opener, Session};
use super::{
    Context, Description, Happening, How, Note, Offer, Probe, ProbeError, Sample, Tick, Witness,
};
use crate::probe::Cadence;
use crate::probe::numbers::Numbered;

mod catalogue;
pub mod crosscheck;
mod gpu;
pub mod library;
mod real;
mod session;
mod stamps;
mod survey;

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;

pub use gpu::GpuProbe;

/// Names another library than the driver's own, for tests; above the configuration's `lib_path`.
pub const LIBRARY_VARIABLE: &str = "BIJLI_NVML_LIB";
const LIBRARY: &str = "libnvidia-ml.so.1";

/// `[nvml]` of the configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NvmlConfig {
    pub enabled: bool,
    /// The NVML library, if it is not where the loader finds it.
    pub lib_path: Option<PathBuf>,
    /// How many GPUs this node has when nothing is broken.
    pub expected_gpus: Option<u32>,
}

impl Default for NvmlConfig {
    fn default() -> Self {
        Self { enabled: true, lib_path: None, expected_gpus: None }
    }
}

/// Opens the library, lists the GPUs and hands out one [`GpuProbe`] for each.
pub struct NvmlProbe {
    context: Context,
    expected: Option<u32>,
    session: Arc<Session>,
    driver: Option<String>,
    /// What was there when it was last looked.
    seen: Option<BTreeSet<String>>,
    handed_out: BTreeSet<String>,
    found: Vec<Box<dyn Probe>>,
    happened: Vec<Happening>,
    is_outdated: bool,
}

impl std::fmt::Debug for NvmlProbe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NvmlProbe").field("handed_out", &self.handed_out).finish_non_exhaustive()
    }
}

/// The GPUs that answer, and why others do not.
type Listed = (BTreeSet<String>, Vec<(u32, GpuError)>);

fn list(library: &dyn GpuLibrary) -> Result<Listed, GpuError> {
    let (mut uuids, mut silent) = (BTreeSet::new(), Vec::new());
    for index in 0..library.count()? {
        match library.uuid(index) {
            Ok(uuid) => drop(uuids.insert(uuid)),
            Err(GpuError::Gone) => return Err(GpuError::Gone),
            Err(error) => silent.push((index, error)),
        }
    }
    Ok((uuids, silent))
}

fn look(library: &dyn GpuLibrary) -> Result<(String, Listed), GpuError> {
    Ok((library.driver_version()?, list(library)?))
}

/// Every GPU that answers, with its numbers.
fn numbered(library: &dyn GpuLibrary) -> Vec<Numbered> {
    let one = |index| {
        let gpu = library.uuid(index).ok().and_then(|uuid| SubjectId::new(&uuid).ok())?;
        // What a driver does not tell of instances, nobody can hold here.
        let (minor, mig) = (library.minor(index).ok(), library.mig(index).ok().flatten());
        Some(Numbered { index, minor, gpu, mig })
    };
    (0..library.count().unwrap_or(0)).filter_map(one).collect()
}

impl NvmlProbe {
    #[must_use]
    pub fn new(config: &NvmlConfig, context: &Context) -> Self {
        let path = std::env::var_os(LIBRARY_VARIABLE).map(PathBuf::from);
        let path = path.or_else(|| config.lib_path.clone()).unwrap_or_else(|| LIBRARY.into());
        let probe = Self::with_library(context, Box::new(move || real::open(&path)));
        Self { expected: config.expected_gpus, ..probe }
    }

    /// For tests: another way to open a library.
    fn with_library(context: &Context, open: Opener) -> Self {
        Self {
            context: context.clone(),
            expected: None,
            session: Arc::new(Session::new(open, Arc::clone(&context.pause))),
            driver: None,
            seen: None,
            handed_out: BTreeSet::new(),
            found: Vec::new(),
            happened: Vec::new(),
            is_outdated: false,
        }
    }

    fn happen(&mut self, kind: EventKind, text: String) {
        let witness = Witness::Driver;
        self.happened.push(Happening { subject: None, kind, code: 0, text, witness });
    }

    fn take_driver(&mut self, driver: &str) {
        let before = self.driver.replace(driver.to_owned());
        if let Some(before) = before.filter(|before| before != driver) {
            let text = format!("NVIDIA driver {before} before, {driver} now: counts begin anew");
            self.happen(EventKind::DriverChanged, text);
        }
    }

    fn take_inventory(&mut self, uuids: BTreeSet<String>) {
        for uuid in &uuids {
            if self.handed_out.insert(uuid.clone()) {
                let gpu = GpuProbe::new(uuid, Arc::clone(&self.session), &self.context);
                self.found.push(Box::new(gpu));
            }
        }
        let expected = self.expected.and_then(|count| usize::try_from(count).ok());
        let is_short = expected.is_some_and(|expected| uuids.len() != expected);
        let before = self.seen.replace(uuids);
        let now = self.seen.as_ref().map_or(0, BTreeSet::len);
        let mut text = match &before {
            Some(before) if Some(before) == self.seen.as_ref() => return,
            Some(before) => format!("{} GPUs before, {now} now", before.len()),
            None if is_short => format!("{now} GPUs"),
            None => return,
        };
        if let Some(expected) = expected {
            text.push_str(&format!(", {expected} expected"));
        }
        self.happen(EventKind::InventoryChanged, text);
    }

    /// The node, for what is counted of all its GPUs.
    fn node(&self) -> Result<Subject, ProbeError> {
        let id = SubjectId::new(self.context.node.as_str());
        Ok(Subject {
            id: id.map_err(|source| ProbeError::Name { source })?,
            kind: SubjectKind::Node,
            label: self.context.node.to_string(),
            model: String::new(),
            serial: String::new(),
            register: None,
        })
    }
}

impl Probe for NvmlProbe {
    fn name(&self) -> &str {
        "nvml"
    }

    fn describe(&mut self) -> Result<Description, ProbeError> {
        self.is_outdated = false;
        let library = self.session.library()?;
        let (driver, (uuids, silent)) = look(&*library).map_err(|error| {
            if error == GpuError::Gone {
                self.session.forget();
            }
            ProbeError::List { reason: error.to_string() }
        })?;
        let count = uuids.len() + silent.len();
        let mut notes = vec![Note::new(
            How::Read,
            "NVIDIA driver",
            format!("version {driver}, {count} GPU{}", if count == 1 { "" } else { "s" }),
        )];
        if let Some(expected) =
            self.expected.filter(|expected| usize::try_from(*expected) != Ok(uuids.len()))
        {
            let words = format!("{} answer, {expected} are expected (expected_gpus)", uuids.len());
            notes.push(Note::new(How::Missing, "GPUs", words));
        }
        notes.extend(silent.into_iter().map(|(index, error)| {
            let words = format!("{error}; it is looked for again each minute");
            Note::new(How::Missing, &format!("GPU {index}"), words)
        }));
        self.context.numbers.put(numbered(&*library));
        self.take_driver(&driver);
        self.take_inventory(uuids);
        let offer = |quantity| Offer { cadence: Cadence::Cold, subject: 0, quantity, part: 0 };
        let expected = self.expected.map(|_| offer(Quantity::GpusExpected));
        let series = [offer(Quantity::GpusSeen)].into_iter().chain(expected).collect();
        Ok(Description { subjects: vec![self.node()?], series, notes })
    }

    fn read(&mut self, due: &[Cadence], _now: Tick) -> Vec<Sample> {
        if !due.contains(&Cadence::Cold) {
            return Vec::new();
        }
        let listed = self.session.library().ok().map(|library| look(&*library));
        let seen = match listed {
            Some(Ok((driver, (uuids, _)))) => {
                // Instances come and go without a change of GPUs.
                if let Ok(library) = self.session.library() {
                    self.context.numbers.put(numbered(&*library));
                }
                self.is_outdated |= self.driver.as_ref() != Some(&driver);
                self.is_outdated |= self.seen.as_ref() != Some(&uuids);
                i64::try_from(uuids.len()).ok()
            }
            Some(Err(error)) => {
                if error == GpuError::Gone {
                    self.session.forget();
                }
                self.is_outdated = true;
                None
            }
            // Paused, or about to be opened anew.
            None => {
                self.is_outdated = true;
                None
            }
        };
        let expected = self.expected.map(|count| Some(i64::from(count)));
        let values = [seen].into_iter().chain(expected).collect();
        vec![Sample { cadence: Cadence::Cold, at: None, values }]
    }

    fn found(&mut self) -> Vec<Box<dyn Probe>> {
        std::mem::take(&mut self.found)
    }

    fn wants_describe(&self) -> bool {
        self.is_outdated
    }

    fn happened(&mut self) -> Vec<Happening> {
        std::mem::take(&mut self.happened)
    }
}
