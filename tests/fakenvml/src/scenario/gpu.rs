//! One GPU of a scenario, key by key. Defaults are those of an idle H100 80GB SXM.

use serde::Deserialize;

use super::board::{Fabric, FanStep, Inforom, Module, Platform, RecoveryStep, TLimit};
use super::events::{Event, Report, Xid};
use super::faults::Faults;
use super::links::{Nvlink, Pcie};
use super::memory::{Ecc, Memory, RemappedRows, Sram};
use super::mig::Mig;

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
    /// What of the power reaches the energy register.
    pub counter_sees: CounterSees,
    /// The instant power is the mean of this long before each refresh.
    pub instant_window_ms: u32,
    pub instant_refresh_ms: u32,
    /// The average power is the mean of this long before each of its refreshes.
    pub average_window_ms: u32,
    pub average_refresh_ms: u32,
    pub power_limits: PowerLimits,

    /// The module around this GPU, if there is one.
    pub module: Option<Module>,

    pub temperature: Temperature,
    pub t_limit: TLimit,
    pub clocks: Clocks,
    /// While busy; 0 while idle.
    pub utilization_gpu_percent: u32,
    pub utilization_memory_percent: u32,
    /// None: no fans, as on SXM boards.
    pub fan_percent: Option<u32>,
    pub fan_rpm: Option<u32>,
    pub fan_steps: Vec<FanStep>,
    /// Besides the idle bit, which follows the power.
    pub throttle: Vec<Throttle>,

    pub memory: Memory,
    pub processes: Vec<Process>,
    pub ecc: Ecc,
    pub sram: Sram,
    pub remapped_rows: RemappedRows,
    /// Field 230; 0 is none.
    pub recovery_action: u32,
    pub recovery_action_steps: Vec<RecoveryStep>,

    pub pcie: Pcie,
    pub nvlink: Nvlink,
    pub fabric: Fabric,
    /// None: not supported.
    pub platform: Option<Platform>,
    /// Of `/dev/nvidia<minor>`. None: the place.
    pub minor: Option<u32>,
    /// None: the index plus one.
    pub module_id: Option<u32>,
    pub inforom: Inforom,

    pub xids: Vec<Xid>,
    pub events: Vec<Event>,
    /// Registering for others answers `NOT_SUPPORTED`.
    pub event_types_supported: u64,
    /// None: the mode is off.
    pub mig: Option<Mig>,
    /// In order of time.
    pub replaced: Vec<Replacement>,
    pub faults: Faults,
    /// The driver's reloads, from and until, filled in by the scenario.
    #[serde(skip)]
    pub(crate) reloads_ms: Vec<[u64; 2]>,
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

/// Whether the energy register integrates all of the time is documented for no board.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CounterSees {
    All,
    /// The instant power's windows only, each taken for the whole refresh that it ends.
    InstantWindow,
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

/// A process with a compute context.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Process {
    pub pid: u32,
    pub used_bytes: u64,
    /// The MIG instance it runs in.
    pub gi_id: Option<u32>,
    pub ci_id: Option<u32>,
    #[serde(default)]
    pub from_ms: u64,
    /// None: for ever.
    pub until_ms: Option<u64>,
}

/// From `at_ms` on another board of the same kind is in this one's place: its energy register and
/// its errors begin at nothing. It ends a removal that came before.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Replacement {
    pub at_ms: u64,
    pub uuid: String,
    pub serial: String,
}

impl GpuSpec {
    pub(super) fn fill_in_identity(&mut self, index: usize) {
        if self.uuid.is_empty() {
            self.uuid = format!("GPU-00000000-0000-0000-0000-{index:012x}");
        }
        if self.serial.is_empty() {
            self.serial = format!("16500000000{index:02}");
        }
        if let Some(mig) = &mut self.mig {
            mig.fill_in_identity(index);
        }
    }

    /// Of the board and its replacements.
    pub(super) fn uuids(&self) -> impl Iterator<Item = &str> {
        let replaced = self.replaced.iter().map(|board| board.uuid.as_str());
        std::iter::once(self.uuid.as_str()).chain(replaced)
    }

    pub(crate) fn reports(&self) -> impl Iterator<Item = Report> {
        self.xids.iter().map(Report::from).chain(self.events.iter().map(Report::from))
    }

    /// When the energy registers last went to 0.
    pub(crate) fn last_reset_ms(&self, at_ms: u64) -> Option<u64> {
        let resets = self.faults.energy_resets_at_ms.iter().copied();
        resets.filter(|&reset_ms| reset_ms <= at_ms).max().max(self.begun_ms(at_ms))
    }

    /// When this board or its driver began anew; while the driver is gone, when it will.
    pub(crate) fn begun_ms(&self, at_ms: u64) -> Option<u64> {
        let loaded = self.reloads_ms.iter().filter(|[from_ms, _]| *from_ms <= at_ms);
        let loaded_ms = loaded.map(|[_, back_ms]| *back_ms).max();
        let replaced = self.replaced.iter().map(|board| board.at_ms);
        loaded_ms.max(replaced.filter(|&from_ms| from_ms <= at_ms).max())
    }

    pub(crate) fn is_removed(&self, at_ms: u64) -> bool {
        self.faults.removed_at_ms.is_some_and(|removed_ms| {
            let next = self.replaced.iter().map(|board| board.at_ms);
            is_within(at_ms, removed_ms, next.filter(|&next_ms| next_ms >= removed_ms).min())
        })
    }

    /// The boards that are in this place one after another, and from when on.
    pub(crate) fn boards(&self) -> Vec<(u64, Self)> {
        let mut boards = vec![(0, self.clone())];
        boards.extend(self.replaced.iter().map(|next| (next.at_ms, self.successor(next))));
        boards
    }

    /// Without the errors that the board before had.
    fn successor(&self, next: &Replacement) -> Self {
        let mut board =
            Self { uuid: next.uuid.clone(), serial: next.serial.clone(), ..self.clone() };
        board.ecc = Ecc { steps: board.ecc.steps, ..Ecc::default() };
        board.ecc.steps.retain(|step| step.at_ms >= next.at_ms);
        board.sram = Sram { steps: board.sram.steps, ..Sram::default() };
        board.sram.steps.retain(|step| step.at_ms >= next.at_ms);
        board.remapped_rows =
            RemappedRows { steps: board.remapped_rows.steps, ..RemappedRows::default() };
        board.remapped_rows.steps.retain(|step| step.at_ms >= next.at_ms);
        board.recovery_action = 0;
        board.recovery_action_steps.retain(|step| step.at_ms >= next.at_ms);
        board.pcie.steps.retain(|step| step.at_ms >= next.at_ms);
        board.nvlink.steps.retain(|step| step.at_ms >= next.at_ms);
        board
    }

    /// Says which key is wrong and how.
    pub(super) fn check(&self) -> Result<(), &'static str> {
        let texts = [&self.name, &self.uuid, &self.serial, &self.part_number, &self.vbios_version];
        let spans = self.throttle.iter().map(|throttle| (throttle.from_ms, throttle.until_ms));
        let mut spans =
            spans.chain(self.processes.iter().map(|process| (process.from_ms, process.until_ms)));
        let periods = [self.instant_refresh_ms, self.average_window_ms, self.average_refresh_ms];
        let rules = [
            (self.power_trace.is_empty(), "power_trace is empty"),
            (is_empty_trace(&self.power_trace), "power_trace has a step of 0 ms"),
            (self.counter_step_ms == 0, "counter_step_ms is 0"),
            (periods.contains(&0), "a window or refresh of the power is 0 ms"),
            (
                self.instant_window_ms == 0 || self.instant_window_ms > self.instant_refresh_ms,
                "instant_window_ms is not within 1 and instant_refresh_ms",
            ),
            (texts.iter().any(|text| text.contains('\0')), "a text has a NUL in it"),
            (
                spans.any(|(from, until)| until.is_some_and(|until| until <= from)),
                "a span is empty: until_ms is not after from_ms",
            ),
            (
                self.reports().any(|report| report.is_broken()),
                "an event repeats 0 times, or at once: it needs every_ms",
            ),
            (!self.replaced.is_sorted_by_key(|board| board.at_ms), "replaced is out of order"),
        ];
        let parts = self.faults.rules().into_iter().chain(self.nvlink.rules());
        let parts = parts.chain(self.module.iter().flat_map(Module::rules));
        let parts = parts.chain(self.mig.iter().flat_map(Mig::rules));
        let mut broken = rules.into_iter().chain(parts).filter(|(is_broken, _)| *is_broken);
        broken.next().map_or(Ok(()), |(_, why)| Err(why))
    }
}

/// Whether it says nothing, or says something for no time.
pub(super) fn is_empty_trace(trace: &[PowerStep]) -> bool {
    trace.is_empty() || trace.iter().any(|step| step.for_ms == 0)
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
            counter_sees: CounterSees::All,
            instant_window_ms: 25,
            instant_refresh_ms: 100,
            average_window_ms: 1_000,
            average_refresh_ms: 100,
            power_limits: PowerLimits::default(),
            module: None,
            temperature: Temperature::default(),
            t_limit: TLimit::default(),
            clocks: Clocks::default(),
            utilization_gpu_percent: 98,
            utilization_memory_percent: 45,
            fan_percent: None,
            fan_rpm: None,
            fan_steps: Vec::new(),
            throttle: Vec::new(),
            memory: Memory::default(),
            processes: Vec::new(),
            ecc: Ecc::default(),
            sram: Sram::default(),
            remapped_rows: RemappedRows::default(),
            recovery_action: 0,
            recovery_action_steps: Vec::new(),
            pcie: Pcie::default(),
            nvlink: Nvlink::default(),
            fabric: Fabric::default(),
            platform: None,
            minor: None,
            module_id: None,
            inforom: Inforom::default(),
            xids: Vec::new(),
            events: Vec::new(),
            // `nvmlEventTypeAll`.
            event_types_supported: 0xff9f,
            mig: None,
            replaced: Vec::new(),
            faults: Faults::default(),
            reloads_ms: Vec::new(),
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
