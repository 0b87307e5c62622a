//! PCIe and NVLink of a GPU: what they are, and errors that come with time.

use std::collections::BTreeMap;

use serde::Deserialize;

/// `NVML_NVLINK_MAX_LINKS`.
pub(crate) const LINKS_MAX: u32 = 18;

/// The connection to the host. An idle link may run slower than it can.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Pcie {
    pub generation_max: u32,
    pub width_max: u32,
    pub generation_busy: u32,
    pub generation_idle: u32,
    pub width: u32,
    pub steps: Vec<PcieStep>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PcieStep {
    #[serde(default)]
    pub at_ms: u64,
    /// Added.
    #[serde(default)]
    pub errors: BTreeMap<PcieError, u32>,
    /// From then on the most that the link reaches; none: as it was.
    pub generation: Option<u32>,
    pub width: Option<u32>,
}

/// Counters of fields 94, 95, 169 and 173 to 183.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PcieError {
    Replay,
    ReplayRollover,
    L0ToRecovery,
    Correctable,
    NaksReceived,
    Receiver,
    BadTlp,
    NaksSent,
    BadDllp,
    NonFatal,
    Fatal,
    UnsupportedRequest,
    Lcrc,
    Lane,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Nvlink {
    pub links: u32,
    /// 4 on Hopper with fields 161 to 163, 5 on Blackwell with 206 to 222.
    pub generation: u32,
    pub speed_mbps: u32,
    pub steps: Vec<NvlinkStep>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NvlinkStep {
    #[serde(default)]
    pub at_ms: u64,
    pub link: u32,
    /// Added, but for the two rates, which are set.
    #[serde(default)]
    pub errors: BTreeMap<LinkError, u64>,
    /// From then on; none: as it was.
    pub is_active: Option<bool>,
}

/// Counters of one link: the first three to generation 4, the others from generation 5 on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkError {
    Replay,
    Recovery,
    Crc,
    MalformedPackets,
    BufferOverruns,
    Received,
    ReceivedRemote,
    ReceivedGeneral,
    LinkIntegrity,
    RecoveriesSucceeded,
    RecoveriesFailed,
    Recoveries,
    Effective,
    /// Encoded: the mantissa above bit 8, the exponent in the lowest 8 (`NVML_NVLINK_BER_*`).
    EffectiveBer,
    Symbol,
    /// Encoded likewise.
    SymbolBer,
}

impl LinkError {
    pub(crate) fn is_rate(self) -> bool {
        matches!(self, Self::EffectiveBer | Self::SymbolBer)
    }

    pub(crate) fn is_of_generation_5(self) -> bool {
        !matches!(self, Self::Replay | Self::Recovery | Self::Crc)
    }
}

impl Nvlink {
    pub(super) fn rules(&self) -> [(bool, &'static str); 2] {
        [
            (self.links > LINKS_MAX, "nvlink has more than 18 links"),
            (
                self.steps.iter().any(|step| step.link >= self.links),
                "nvlink has a step of a link that it has not",
            ),
        ]
    }
}

impl Default for Pcie {
    fn default() -> Self {
        Self {
            generation_max: 5,
            width_max: 16,
            generation_busy: 5,
            generation_idle: 5,
            width: 16,
            steps: Vec::new(),
        }
    }
}

impl Default for Nvlink {
    fn default() -> Self {
        // An H100 SXM; a GB200 has 53125 MB/s a link.
        Self { links: 18, generation: 4, speed_mbps: 26_562, steps: Vec::new() }
    }
}
