//! NVIDIA GPUs through NVML: one probe that finds them, and one probe per GPU.
//!
//! # Invariants
//! - The library is opened once and never closed: that keeps the driver loaded and its energy
//!   registers counting. A GPU is known by its UUID; its index is a label.
//! - What a GPU refused as not supported when it was described is not asked again until it is
//!   described again. What failed otherwise is asked again at each tick.
//! - The hot path is one batched field call plus temperature and utilization.
//!
//! **Architecture invariant:** `nvml_wrapper` is named in `real.rs` only; all else sees
//! [`GpuLibrary`] and [`GpuReader`].

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Deserialize;

use super::{Context, Description, How, Note, Probe, ProbeError, Sample, Tick};
use crate::probe::Cadence;

mod gpu;
mod real;

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
}

impl Default for NvmlConfig {
    fn default() -> Self {
        Self { enabled: true, lib_path: None }
    }
}

/// Why one question to a GPU had no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GpuError {
    #[error("not supported by this GPU or driver")]
    NotSupported,
    #[error("not permitted to this user")]
    NotPermitted,
    #[error("the GPU fell off the bus or needs a reset")]
    Lost,
    #[error("{0}")]
    Other(String),
}

/// The driver's library.
pub trait GpuLibrary: Send + Sync {
    /// # Errors
    /// The driver's own words.
    fn driver_version(&self) -> Result<String, GpuError>;
    /// # Errors
    /// The driver's own words.
    fn count(&self) -> Result<u32, GpuError>;
    /// # Errors
    /// The driver's own words.
    fn uuid(&self, index: u32) -> Result<String, GpuError>;
    /// # Errors
    /// The driver's own words.
    fn open(&self, uuid: &str) -> Result<Box<dyn GpuReader>, GpuError>;
}

/// One GPU.
pub trait GpuReader: Send {
    fn identity(&self) -> Identity;
    /// The four values of the hot tick in one call.
    ///
    /// # Errors
    /// When the call as a whole failed; each field has its own result besides.
    fn fields(&mut self) -> Result<Fields, GpuError>;
    /// # Errors
    /// Why there is no answer.
    fn ask(&mut self, question: Ask) -> Result<u64, GpuError>;
}

/// What does not change while the driver is loaded. Empty where the driver does not tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    pub index: Option<u32>,
    pub name: String,
    pub serial: String,
    pub power_mw_max: Option<u64>,
    pub is_mig: bool,
}

/// Fields 83, 185, 186 and 82, as the driver counts them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fields {
    pub energy_mj: Result<u64, GpuError>,
    pub power_average_mw: Result<u64, GpuError>,
    pub power_instant_mw: Result<u64, GpuError>,
    pub memory_celsius: Result<u64, GpuError>,
}

/// A question that takes one call, in the driver's unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ask {
    /// mJ since the driver was loaded.
    Energy,
    /// mW, of an averaging window that depends on driver and GPU.
    Power,
    Celsius,
    /// Percent.
    Utilization,
    /// Percent.
    MemoryUtilization,
    /// mW in force.
    PowerLimit,
    /// Bytes.
    MemoryUsed,
    /// Bytes.
    MemorySize,
    /// MHz.
    ClockSm,
    /// MHz.
    ClockMemory,
    /// Bits, as the driver sets them, unknown ones included where the wrapper lets them through.
    ThrottleReasons,
    /// Compute processes that run.
    Processes,
    /// Since the GPU was made.
    EccCorrected,
    /// Since the GPU was made.
    EccUncorrected,
}

type Opener = Box<dyn Fn() -> Result<Arc<dyn GpuLibrary>, ProbeError> + Send>;

/// Opens the library, lists the GPUs and hands out one [`GpuProbe`] for each.
pub struct NvmlProbe {
    context: Context,
    open: Opener,
    library: Option<Arc<dyn GpuLibrary>>,
    handed_out: BTreeSet<String>,
    found: Vec<Box<dyn Probe>>,
}

impl std::fmt::Debug for NvmlProbe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NvmlProbe").field("handed_out", &self.handed_out).finish_non_exhaustive()
    }
}

impl NvmlProbe {
    #[must_use]
    pub fn new(config: &NvmlConfig, context: &Context) -> Self {
        let path = std::env::var_os(LIBRARY_VARIABLE).map(PathBuf::from);
        let path = path.or_else(|| config.lib_path.clone()).unwrap_or_else(|| LIBRARY.into());
        Self::with_library(context, Box::new(move || real::open(&path)))
    }

    /// For tests: another way to open a library.
    pub(super) fn with_library(context: &Context, open: Opener) -> Self {
        Self {
            context: context.clone(),
            open,
            library: None,
            handed_out: BTreeSet::new(),
            found: Vec::new(),
        }
    }
}

impl Probe for NvmlProbe {
    fn name(&self) -> &str {
        "nvml"
    }

    fn describe(&mut self) -> Result<Description, ProbeError> {
        let library = match &self.library {
            Some(library) => Arc::clone(library),
            None => Arc::clone(self.library.insert((self.open)()?)),
        };
        let failed = |error: GpuError| ProbeError::List { reason: error.to_string() };
        let driver = library.driver_version().map_err(failed)?;
        let count = library.count().map_err(failed)?;
        let mut notes = vec![Note::new(
            How::Read,
            "NVIDIA driver",
            format!("version {driver}, {count} GPU{}", if count == 1 { "" } else { "s" }),
        )];
        for index in 0..count {
            match library.uuid(index) {
                Ok(uuid) if self.handed_out.contains(&uuid) => {}
                Ok(uuid) => {
                    let epoch_parts = (self.context.boot.as_str(), driver.as_str());
                    let gpu = GpuProbe::new(&uuid, Arc::clone(&library), epoch_parts)
                        .with_start(self.context.start);
                    self.found.push(Box::new(gpu));
                    self.handed_out.insert(uuid);
                }
                Err(error) => notes.push(Note::new(
                    How::Missing,
                    &format!("GPU {index}"),
                    format!("{error}; it is looked for again each minute"),
                )),
            }
        }
        Ok(Description { notes, ..Description::default() })
    }

    fn read(&mut self, _due: &[Cadence], _now: Tick) -> Vec<Sample> {
        Vec::new()
    }

    fn found(&mut self) -> Vec<Box<dyn Probe>> {
        std::mem::take(&mut self.found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::nvml::gpu::fake::{FakeGpu, FakeLibrary};

    fn context() -> Context {
        let node = bijli_wire::NodeId::new("n1").expect("a name");
        Context { node, start: 1, boot: "boot".to_owned() }
    }

    #[test]
    fn each_gpu_is_handed_out_once_and_a_lost_one_costs_only_itself() {
        let library = FakeLibrary::of(vec![FakeGpu::h100("GPU-a"), FakeGpu::h100("GPU-b")]);
        library.lose("GPU-a");
        let shared: Arc<dyn GpuLibrary> = library.clone();
        let mut probe =
            NvmlProbe::with_library(&context(), Box::new(move || Ok(Arc::clone(&shared))));
        let description = probe.describe().expect("opens");
        assert_eq!(description.notes.len(), 2);
        assert_eq!(description.notes[1].how, How::Missing);
        let names = |found: Vec<Box<dyn Probe>>| -> Vec<String> {
            found.iter().map(|gpu| gpu.name().to_owned()).collect()
        };
        assert_eq!(names(probe.found()), ["nvml:GPU-b"]);
        library.heal("GPU-a");
        probe.describe().expect("still open");
        assert_eq!(names(probe.found()), ["nvml:GPU-a"]);
        probe.describe().expect("still open");
        assert!(probe.found().is_empty());
    }

    #[test]
    fn a_missing_library_is_an_error_with_its_name() {
        let config = NvmlConfig { enabled: true, lib_path: Some("/nowhere/libnvml.so".into()) };
        let failed = NvmlProbe::new(&config, &context()).describe().expect_err("no such file");
        assert!(failed.to_string().starts_with("cannot load /nowhere/libnvml.so: "), "{failed}");
    }
}
