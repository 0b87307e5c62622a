//! Memory and its errors, which only grow: totals at scenario time 0 and steps that add to them.

use serde::Deserialize;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Memory {
    pub total_bytes: u64,
    pub reserved_bytes: u64,
    /// In use without any process.
    pub base_bytes: u64,
}

impl Default for Memory {
    fn default() -> Self {
        Self { total_bytes: 85_520_809_984, reserved_bytes: 566_231_040, base_bytes: 4_194_304 }
    }
}

/// Errors in DRAM. What is volatile begins at 0 again when the driver is reloaded.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ecc {
    pub volatile_corrected: u64,
    pub volatile_uncorrected: u64,
    pub aggregate_corrected: u64,
    pub aggregate_uncorrected: u64,
    /// Added to volatile and aggregate alike.
    pub steps: Vec<EccStep>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EccStep {
    pub at_ms: u64,
    #[serde(default)]
    pub corrected: u64,
    #[serde(default)]
    pub uncorrected: u64,
}

/// Errors in SRAM, from `nvmlDeviceGetSramEccErrorStatus`. Totals are aggregate.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sram {
    pub corrected: u64,
    pub uncorrected_parity: u64,
    pub uncorrected_secded: u64,
    pub is_threshold_exceeded: bool,
    pub steps: Vec<SramStep>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SramStep {
    pub at_ms: u64,
    #[serde(default)]
    pub corrected: u64,
    #[serde(default)]
    pub uncorrected_parity: u64,
    #[serde(default)]
    pub uncorrected_secded: u64,
    /// From then on; none: as it was.
    pub is_threshold_exceeded: Option<bool>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RemappedRows {
    pub correctable: u32,
    pub uncorrectable: u32,
    pub is_pending: bool,
    pub has_failed: bool,
    pub histogram: Histogram,
    pub steps: Vec<RemappedStep>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemappedStep {
    pub at_ms: u64,
    /// Added.
    #[serde(default)]
    pub correctable: u32,
    #[serde(default)]
    pub uncorrectable: u32,
    /// From then on; none: as it was.
    pub is_pending: Option<bool>,
    pub has_failed: Option<bool>,
    pub histogram: Option<Histogram>,
}

/// How many banks have how many spare rows left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Histogram {
    pub max: u32,
    pub high: u32,
    pub partial: u32,
    pub low: u32,
    pub none: u32,
}

impl Default for Histogram {
    fn default() -> Self {
        // A number like that of real boards, where every bank has all its spares.
        Self { max: 640, high: 0, partial: 0, low: 0, none: 0 }
    }
}
