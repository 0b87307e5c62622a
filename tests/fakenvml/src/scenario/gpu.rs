//! One GPU of a scenario, key by key. Defaults are those of an idle H100 80GB SXM.

use serde::Deserialize;

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GpuSpec {
    pub name: String,
    /// Empty: `GPU-00000000-0000-0000-0000-` and the index in twelve hexadecimal digits.
    pub uuid: String,
    /// Empty: made from the index.
    pub serial: String,
    pub part_number: String,
    pub vbios_version: String,
    /// `NVML_DEVICE_ARCH_*`: 7 Ampere, 8 Ada, 9 Hopper, 10 Blackwell.
    pub architecture: u32,
    pub compute_capability: [i32; 2],

    /// Repeats for ever.
    pub power_trace: Vec<PowerStep>,
    /// At or below this the GPU counts as idle.
    pub power_idle_mw: u32,
    /// What `nvmlDeviceGetPowerUsage` means: the one-second average, or on GA100 the present power.
    pub power_usage: PowerUsage,
    pub energy_start_mj: u64,
    /// The energy register moves at multiples of this only.
    pub counter_step_ms: u32,
    pub power_limits: PowerLimits,

    pub temperature: Temperature,
    pub clocks: Clocks,
    /// While busy; 0 while idle.
    pub utilization_gpu_percent: u32,
    pub utilization_memory_percent: u32,
    /// None: no fans, as on SXM boards.
    pub fan_percent: Option<u32>,
    /// Besides the idle bit, which follows the power.
    pub throttle: Vec<Throttle>,

    pub memory: Memory,
    pub processes: Vec<Process>,
    pub ecc: Ecc,
    pub remapped_rows: RemappedRows,
    /// Field 230; 0 is none.
    pub recovery_action: u32,
    pub xids: Vec<Xid>,
    pub faults: Faults,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PowerStep {
    pub for_ms: u32,
    pub power_mw: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PowerUsage {
    Average,
    Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PowerLimits {
    pub default_mw: u32,
    pub min_mw: u32,
    pub max_mw: u32,
    /// What was asked for.
    pub requested_mw: u32,
    /// What holds after all limiters.
    pub enforced_mw: u32,
}

/// Temperature follows the average power without delay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Temperature {
    pub idle_celsius: u32,
    /// For every watt above idle.
    pub rise_millicelsius_per_watt: u32,
    pub memory_above_gpu_celsius: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Clocks {
    /// Graphics and SM.
    pub sm_idle_mhz: u32,
    pub sm_busy_mhz: u32,
    pub memory_mhz: u32,
    pub video_mhz: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Throttle {
    #[serde(default)]
    pub from_ms: u64,
    pub until_ms: Option<u64>,
    /// `nvmlClocksEventReason*`: 4 software power cap, 0x20 software thermal, 0x40 hardware
    /// thermal, 0x80 power brake.
    pub reason_bits: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Memory {
    pub total_bytes: u64,
    pub reserved_bytes: u64,
    /// In use without any process.
    pub base_bytes: u64,
}

/// A process with a compute context.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Process {
    pub pid: u32,
    pub used_bytes: u64,
    #[serde(default)]
    pub from_ms: u64,
    /// None: for ever.
    pub until_ms: Option<u64>,
}

/// Totals at scenario time 0 and what is added to them later.
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

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RemappedRows {
    pub correctable: u32,
    pub uncorrectable: u32,
    pub is_pending: bool,
    pub has_failed: bool,
}

/// An XID event, delivered to event sets that were registered before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Xid {
    pub at_ms: u64,
    pub code: u64,
}

/// What goes wrong. All absent by default.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// The energy register goes to 0, in any order.
    pub energy_resets_at_ms: Vec<u64>,
    /// The energy register loses an amount, but not more than it has.
    pub energy_steps_back: Vec<StepBack>,
    /// Calls answer `GPU_IS_LOST`; the GPU goes on drawing power.
    pub lost_at_ms: Option<u64>,
    /// None: lost for good.
    pub back_at_ms: Option<u64>,
    /// Calls that come while it hangs return when it does no longer.
    pub hang_at_ms: Option<u64>,
    pub hang_for_ms: Option<u64>,
    /// From then on temperatures are DCGM's blank values instead of degrees.
    pub temperature_sentinel_at_ms: Option<u64>,
    /// Calls for these answer `NOT_SUPPORTED`.
    pub unsupported: Vec<Feature>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepBack {
    pub at_ms: u64,
    pub by_mj: u64,
}

/// What a board may lack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Feature {
    Energy,
    PowerUsage,
    PowerAverage,
    PowerInstant,
    PowerLimits,
    Fields,
    Serial,
    Temperature,
    MemoryTemperature,
    Utilization,
    Memory,
    Clocks,
    Throttle,
    Ecc,
    RemappedRows,
    Processes,
    Fan,
    Events,
}

impl GpuSpec {
    pub(super) fn fill_in_identity(&mut self, index: usize) {
        if self.uuid.is_empty() {
            self.uuid = format!("GPU-00000000-0000-0000-0000-{index:012x}");
        }
        if self.serial.is_empty() {
            self.serial = format!("16500000000{index:02}");
        }
    }

    /// Says which key is wrong and how.
    pub(super) fn check(&self) -> Result<(), &'static str> {
        let faults = &self.faults;
        let texts = [&self.name, &self.uuid, &self.serial, &self.part_number, &self.vbios_version];
        let spans = self.throttle.iter().map(|throttle| (throttle.from_ms, throttle.until_ms));
        let mut spans =
            spans.chain(self.processes.iter().map(|process| (process.from_ms, process.until_ms)));
        let rules = [
            (self.power_trace.is_empty(), "power_trace is empty"),
            (
                self.power_trace.iter().any(|step| step.for_ms == 0),
                "power_trace has a step of 0 ms",
            ),
            (self.counter_step_ms == 0, "counter_step_ms is 0"),
            (texts.iter().any(|text| text.contains('\0')), "a text has a NUL in it"),
            (
                spans.any(|(from, until)| until.is_some_and(|until| until <= from)),
                "a span is empty: until_ms is not after from_ms",
            ),
            (
                faults.back_at_ms.is_some() && faults.lost_at_ms.is_none(),
                "faults have back_at_ms without lost_at_ms",
            ),
            (
                faults.back_at_ms.is_some() && faults.back_at_ms <= faults.lost_at_ms,
                "back_at_ms is not after lost_at_ms",
            ),
            (
                faults.hang_at_ms.is_some() != faults.hang_for_ms.is_some(),
                "hang_at_ms and hang_for_ms make sense only together",
            ),
        ];
        match rules.iter().find(|(is_broken, _)| *is_broken) {
            Some((_, why)) => Err(why),
            None => Ok(()),
        }
    }
}

impl Faults {
    pub(crate) fn last_reset_ms(&self, at_ms: u64) -> Option<u64> {
        self.energy_resets_at_ms.iter().copied().filter(|&reset_ms| reset_ms <= at_ms).max()
    }

    /// Sum of the steps back within `[from_ms, to_ms]`.
    pub(crate) fn stepped_back_mj(&self, from_ms: u64, to_ms: u64) -> u128 {
        let steps = self.energy_steps_back.iter();
        let within = steps.filter(|step| (from_ms..=to_ms).contains(&step.at_ms));
        within.map(|step| u128::from(step.by_mj)).sum()
    }

    pub(crate) fn is_lost(&self, at_ms: u64) -> bool {
        self.lost_at_ms.is_some_and(|lost_ms| is_within(at_ms, lost_ms, self.back_at_ms))
    }

    /// When the hang ends that holds `at_ms`.
    pub(crate) fn hangs_until_ms(&self, at_ms: u64) -> Option<u64> {
        let (hang_ms, for_ms) = self.hang_at_ms.zip(self.hang_for_ms)?;
        let end_ms = hang_ms.saturating_add(for_ms);
        is_within(at_ms, hang_ms, Some(end_ms)).then_some(end_ms)
    }
}

/// Whether `at_ms` lies in `[from_ms, until_ms)`, which has no end if `until_ms` is absent.
pub(crate) fn is_within(at_ms: u64, from_ms: u64, until_ms: Option<u64>) -> bool {
    from_ms <= at_ms && until_ms.is_none_or(|until_ms| at_ms < until_ms)
}

impl Default for GpuSpec {
    fn default() -> Self {
        Self {
            name: "NVIDIA H100 80GB HBM3".to_owned(),
            uuid: String::new(),
            serial: String::new(),
            part_number: "2330-885-A1".to_owned(),
            vbios_version: "96.00.89.00.01".to_owned(),
            architecture: 9,
            compute_capability: [9, 0],
            power_trace: vec![PowerStep { for_ms: 1_000, power_mw: 70_000 }],
            power_idle_mw: 80_000,
            power_usage: PowerUsage::Average,
            energy_start_mj: 0,
            counter_step_ms: 100,
            power_limits: PowerLimits::default(),
            temperature: Temperature::default(),
            clocks: Clocks::default(),
            utilization_gpu_percent: 98,
            utilization_memory_percent: 45,
            fan_percent: None,
            throttle: Vec::new(),
            memory: Memory::default(),
            processes: Vec::new(),
            ecc: Ecc::default(),
            remapped_rows: RemappedRows::default(),
            recovery_action: 0,
            xids: Vec::new(),
            faults: Faults::default(),
        }
    }
}

impl Default for PowerLimits {
    fn default() -> Self {
        Self {
            default_mw: 700_000,
            min_mw: 200_000,
            max_mw: 700_000,
            requested_mw: 700_000,
            enforced_mw: 700_000,
        }
    }
}

impl Default for Temperature {
    fn default() -> Self {
        // 30 °C idle and 68 °C at 700 W.
        Self { idle_celsius: 30, rise_millicelsius_per_watt: 62, memory_above_gpu_celsius: 12 }
    }
}

impl Default for Clocks {
    fn default() -> Self {
        Self { sm_idle_mhz: 345, sm_busy_mhz: 1_980, memory_mhz: 2_619, video_mhz: 1_545 }
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self { total_bytes: 85_520_809_984, reserved_bytes: 566_231_040, base_bytes: 4_194_304 }
    }
}
