//! What the probes need of the driver's library, in words of our own: the whole of NVML that is
//! used here, so that another implementation (the tests' tables, another vendor) is one more.

use std::fmt;
use std::sync::Arc;

use crate::probe::numbers::Mig;

/// Why one question to a GPU had no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GpuError {
    #[error("not supported by this GPU or driver")]
    NotSupported,
    #[error("not permitted to this user")]
    NotPermitted,
    #[error("the GPU fell off the bus or needs a reset")]
    Lost,
    /// The driver was unloaded or replaced under the library: it must be opened anew.
    #[error("the driver is not loaded any more")]
    Gone,
    #[error("{0}")]
    Other(String),
}

pub type Answer<T> = Result<T, GpuError>;

/// The driver's library.
pub trait GpuLibrary: Send + Sync {
    /// # Errors
    /// The driver's own words.
    fn driver_version(&self) -> Answer<String>;
    /// # Errors
    /// The driver's own words.
    fn count(&self) -> Answer<u32>;
    /// # Errors
    /// The driver's own words.
    fn uuid(&self, index: u32) -> Answer<String>;
    /// Of `/dev/nvidia<minor>`; it is not the index.
    ///
    /// # Errors
    /// The driver's own words.
    fn minor(&self, index: u32) -> Answer<u32>;
    /// What it is split into; `None`: it is whole.
    ///
    /// # Errors
    /// The driver's own words.
    fn mig(&self, index: u32) -> Answer<Option<Mig>>;
    /// The reader keeps the library open.
    ///
    /// # Errors
    /// The driver's own words.
    fn open(self: Arc<Self>, uuid: &str) -> Answer<Box<dyn GpuReader>>;
}

/// One GPU.
pub trait GpuReader: Send {
    fn identity(&self) -> Identity;
    /// Many values of about one moment, in one call; each has its own outcome, in the order asked.
    ///
    /// # Errors
    /// When the call as a whole failed.
    fn fields(&mut self, asked: &[Field]) -> Answer<Vec<Answer<Told>>>;
    /// # Errors
    /// Why there is no answer.
    fn ask(&mut self, question: Ask) -> Answer<i64>;
    /// What the driver told since this was last called; empty where it tells nothing.
    fn news(&mut self) -> Vec<DriverNews>;
}

/// What does not change while the driver is loaded. Empty where the driver does not tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    pub index: Option<u32>,
    pub name: String,
    pub serial: String,
    /// `0000:19:00.0`, as the kernel writes it.
    pub pci: String,
    pub power_mw_max: Option<u64>,
    pub is_mig: bool,
    /// NVLink ports, connected or not.
    pub links: u32,
}

/// A value of the batched call, by the number of `nvml.h` before CUDA 13.0 update 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Field {
    pub number: u32,
    /// What it is asked of: [`GPU`], [`MODULE`], or the number of a link.
    pub scope: u32,
}

/// The GPU itself.
pub const GPU: u32 = 0;
/// A superchip's module: its CPU and its GPUs together.
pub const MODULE: u32 = 1;

impl Field {
    pub const ENERGY: Self = Self::of_gpu(83);
    pub const POWER_AVERAGE: Self = Self::of_gpu(185);
    pub const POWER_INSTANT: Self = Self::of_gpu(186);
    pub const MODULE_AVERAGE: Self = Self { number: 185, scope: MODULE };
    pub const MODULE_INSTANT: Self = Self { number: 186, scope: MODULE };

    #[must_use]
    pub const fn of_gpu(number: u32) -> Self {
        Self { number, scope: GPU }
    }
}

/// A field's value, in the driver's unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    pub value: i64,
    /// The driver's own time of it, microseconds since 1970 UTC by a clock that may step.
    pub at_us: i64,
    /// How long the driver took for it, microseconds.
    pub latency_us: i64,
}

/// A question that takes one call, answered in the driver's unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ask {
    /// mJ since the driver was loaded.
    Energy,
    /// mW, of an averaging window that depends on driver and GPU.
    Power,
    Celsius,
    /// Celsius below the temperature at which clocks are lowered; may be 0 or less.
    MarginCelsius,
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
    /// Bits, as the driver sets them, unknown ones included.
    ThrottleReasons,
    /// P0 is the fastest.
    PerformanceState,
    /// Compute processes that run.
    Processes,
    /// Percent of the fastest; the fastest fan of a board.
    Fan,
    /// Since the GPU was made.
    EccCorrected,
    /// Since the GPU was made.
    EccUncorrected,
    /// 1: the errors in SRAM are past what NVIDIA allows.
    SramThreshold,
    /// Banks that have no spare row left.
    RemapBanksSpent,
    PcieGeneration,
    PcieWidth,
    /// `NVML_GPU_FABRIC_STATE_*`: 3 is ready.
    FabricState,
    MigInstances,
}

/// An event of the driver, `nvmlEventType*` by its bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DriverNews {
    pub kind: u64,
    /// The XID, where it is one.
    pub data: u64,
}

/// `nvmlEventTypeXidCriticalError`.
pub const NEWS_XID: u64 = 0x8;

impl DriverNews {
    /// The words of `nvml.h`.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self.kind {
            0x1 => "corrected ECC error",
            0x2 => "uncorrected ECC error",
            NEWS_XID => "XID",
            0x100 => "MIG configuration changed",
            0x200 => "storm of corrected ECC errors",
            0x400 => "a DRAM row or page was retired",
            0x800 => "retiring a DRAM row or page failed",
            0x1000 => "poisoned data, not fatal",
            0x2000 => "poisoned data, fatal",
            0x4000 => "the GPU is unavailable",
            0x8000 => "the driver asks for another recovery action",
            _ => "an event of a newer driver",
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "field {} of scope {}", self.number, self.scope)
    }
}
