//! A GPU that is split into instances.

use serde::Deserialize;

use super::is_within;
use super::memory::Memory;

/// `nvmlDeviceGetMaxMigDeviceCount` while the mode is on.
pub(crate) const DEVICES_MAX: u32 = 7;

/// While it is on, NVML refuses utilization and remapped rows of the whole GPU.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mig {
    pub from_ms: u64,
    /// None: for ever.
    pub until_ms: Option<u64>,
    pub instances: Vec<MigInstance>,
}

/// One compute instance in one GPU instance.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MigInstance {
    pub gi_id: u32,
    #[serde(default)]
    pub ci_id: u32,
    /// Of compute, of seven.
    pub slices: u32,
    /// None: an eighth of the GPU's for each slice.
    pub memory_bytes: Option<u64>,
    /// Empty: `MIG-` and a number made of the GPU's and the instance's.
    #[serde(default)]
    pub uuid: String,
    #[serde(default)]
    pub from_ms: u64,
    /// None: as long as the mode is on.
    pub until_ms: Option<u64>,
}

impl Default for Mig {
    fn default() -> Self {
        let instance = |gi_id| MigInstance {
            gi_id,
            ci_id: 0,
            slices: 1,
            memory_bytes: None,
            uuid: String::new(),
            from_ms: 0,
            until_ms: None,
        };
        // An H100 in seven: the instances of one slice are numbered from 7 on.
        Self { from_ms: 0, until_ms: None, instances: (7..=13).map(instance).collect() }
    }
}

impl MigInstance {
    pub(crate) fn memory_bytes(&self, memory: &Memory) -> u64 {
        self.memory_bytes.unwrap_or(memory.total_bytes / 8 * u64::from(self.slices))
    }
}

impl Mig {
    pub(super) fn fill_in_identity(&mut self, gpu: usize) {
        for instance in self.instances.iter_mut().filter(|instance| instance.uuid.is_empty()) {
            let MigInstance { gi_id, ci_id, from_ms, .. } = instance;
            let uuid = format!("MIG-{from_ms:08x}-0000-{gpu:04x}-{gi_id:04x}-{ci_id:012x}");
            instance.uuid = uuid;
        }
    }

    pub(super) fn rules(&self) -> [(bool, &'static str); 3] {
        let spans = std::iter::once((self.from_ms, self.until_ms));
        let mut spans = spans
            .chain(self.instances.iter().map(|instance| (instance.from_ms, instance.until_ms)));
        let is_bad = |instance: &MigInstance| !(1..=DEVICES_MAX).contains(&instance.slices);
        let count_max = usize::try_from(DEVICES_MAX).unwrap_or(usize::MAX);
        let is_full = |at_ms| self.live(at_ms).count() > count_max;
        [
            (
                spans.any(|(from, until)| until.is_some_and(|until| until <= from)),
                "a span of MIG is empty: until_ms is not after from_ms",
            ),
            (self.instances.iter().any(is_bad), "a MIG instance has not 1 to 7 slices"),
            (
                self.instances.iter().any(|instance| is_full(instance.from_ms)),
                "more than 7 MIG instances at once",
            ),
        ]
    }

    pub(crate) fn is_on(&self, at_ms: u64) -> bool {
        is_within(at_ms, self.from_ms, self.until_ms)
    }

    /// The instances there are, each with its place in the scenario.
    pub(crate) fn live(&self, at_ms: u64) -> impl Iterator<Item = (usize, &MigInstance)> {
        let is_on = self.is_on(at_ms);
        let instances = self.instances.iter().enumerate();
        instances.filter(move |(_, instance)| {
            is_on && is_within(at_ms, instance.from_ms, instance.until_ms)
        })
    }
}
