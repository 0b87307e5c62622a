//! The node itself: processors, memory, disks, network and temperatures, through `sysinfo`.
//!
//! # Invariants
//! - The node has no energy register here: nothing in it meters its whole input.
//! - A block device counts once however often it is mounted; an interface counts if hardware is
//!   behind it, so that traffic through bridges and containers is not counted again.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::Path;

use bijli_wire::batch::Subject;
use bijli_wire::{Quantity, SubjectId, SubjectKind};
use serde::Deserialize;
use sysinfo::{Components, DiskRefreshKind, Disks, MemoryRefreshKind, Networks, System};

use super::{
    Cadence, Context, Description, How, Note, Offer, Probe, ProbeError, Sample, Tick, admitted,
    rounded,
};

/// `[host]` of the configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HostConfig {
    pub enabled: bool,
}

impl Default for HostConfig {
    fn default() -> Self {
        Self { enabled: true }
    }
}

/// The series of a node, in the order in which they are read.
const QUANTITIES: [Quantity; 9] = [
    Quantity::CpuUtilization,
    Quantity::HostMemoryUsed,
    Quantity::HostMemorySize,
    Quantity::DiskUsed,
    Quantity::DiskSize,
    Quantity::DiskRead,
    Quantity::DiskWritten,
    Quantity::NetworkReceived,
    Quantity::NetworkSent,
];

/// Reads the node.
#[derive(Debug)]
pub struct HostProbe {
    context: Context,
    sensors: Option<Sensors>,
}

#[derive(Debug)]
struct Sensors {
    system: System,
    disks: Disks,
    networks: Networks,
    components: Components,
    has_temperature: bool,
    /// Processor time is a difference: the first reading has nothing to differ from.
    has_usage: bool,
}

impl HostProbe {
    #[must_use]
    pub fn new(context: &Context) -> Self {
        Self { context: context.clone(), sensors: None }
    }
}

impl Sensors {
    fn open() -> Result<Self, sysinfo::Error> {
        let mut system = System::new()?;
        system.refresh_cpu_usage();
        let components = Components::new_with_refreshed_list()?;
        Ok(Self {
            system,
            disks: Disks::new_with_refreshed_list_specifics(disk_reads())?,
            networks: Networks::new_with_refreshed_list()?,
            has_temperature: hottest(&components).is_some(),
            components,
            has_usage: false,
        })
    }

    fn refresh(&mut self) {
        self.system.refresh_cpu_usage();
        self.system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
        self.disks.refresh_specifics(true, disk_reads());
        self.networks.refresh(true);
        if self.has_temperature {
            self.components.refresh(false);
        }
    }

    fn values(&mut self) -> Vec<Option<i64>> {
        self.refresh();
        let cpu = if self.has_usage {
            // Percent to parts per million.
            rounded(f64::from(self.system.global_cpu_usage()) * 10_000.0)
        } else {
            None
        };
        self.has_usage = true;
        let (disk, traffic) = (self.disk(), self.traffic());
        let memory = [self.system.used_memory(), self.system.total_memory()];
        let counts = memory.into_iter().map(Some).chain(disk).chain(traffic);
        let counts = counts.map(|count| i64::try_from(count?).ok());
        let values = std::iter::once(cpu).chain(counts).zip(QUANTITIES);
        let mut values: Vec<Option<i64>> =
            values.map(|(value, quantity)| admitted(quantity, value?)).collect();
        if self.has_temperature {
            values.push(hottest(&self.components));
        }
        values
    }

    /// Used, size, read, written over all block devices; `None` without any.
    fn disk(&self) -> [Option<u64>; 4] {
        let mut seen = BTreeSet::new();
        let mut sums = [None; 4];
        for disk in self.disks.iter().filter(|disk| seen.insert(disk.name().to_owned())) {
            let (size, usage) = (disk.total_space(), disk.usage());
            let used = size.saturating_sub(disk.available_space());
            let parts = [used, size, usage.total_read_bytes, usage.total_written_bytes];
            for (sum, part) in sums.iter_mut().zip(parts) {
                *sum = Some(sum.unwrap_or(0_u64).saturating_add(part));
            }
        }
        sums
    }

    /// Received and sent over all interfaces with hardware behind them; where there is none (a
    /// container), over all but the loopback.
    fn traffic(&self) -> [Option<u64>; 2] {
        let is_hardware =
            |name: &OsStr| Path::new("/sys/class/net").join(name).join("device").exists();
        let any_hardware = self.networks.keys().any(|name| is_hardware(name));
        let mut sums = [None; 2];
        for (name, data) in &self.networks {
            if name == "lo" || (any_hardware && !is_hardware(name)) {
                continue;
            }
            for (sum, part) in
                sums.iter_mut().zip([data.total_received(), data.total_transmitted()])
            {
                *sum = Some(sum.unwrap_or(0_u64).saturating_add(part));
            }
        }
        sums
    }
}

impl Probe for HostProbe {
    fn name(&self) -> &str {
        "host"
    }

    fn describe(&mut self) -> Result<Description, ProbeError> {
        let sensors = Sensors::open().map_err(|error| ProbeError::Device {
            device: "the operating system".to_owned(),
            reason: error.to_string(),
        })?;
        let id = SubjectId::new(self.context.node.as_str());
        let subject = Subject {
            id: id.map_err(|source| ProbeError::Name { source })?,
            kind: SubjectKind::Node,
            label: String::new(),
            model: String::new(),
            serial: String::new(),
            register: None,
        };
        let offer = |quantity| Offer { cadence: Cadence::Warm, subject: 0, quantity, part: 0 };
        let mut series: Vec<Offer> = QUANTITIES.into_iter().map(offer).collect();
        let mut notes = vec![Note::new(
            How::Read,
            "processors, memory, disks, network",
            "from the operating system, each 10 s",
        )];
        if sensors.has_temperature {
            series.push(offer(Quantity::Temperature));
            notes.push(Note::new(How::Read, "temperature", "the hottest of the node's sensors"));
        } else {
            let words = "the operating system shows no temperature sensor";
            notes.push(Note::new(How::NotOffered, "temperature", words));
        }
        notes.push(Note::new(
            How::NotOffered,
            "whole-node energy",
            "the operating system cannot see the power supplies; a PDU or BMC meter can",
        ));
        self.sensors = Some(sensors);
        Ok(Description { subjects: vec![subject], series, notes })
    }

    fn read(&mut self, due: &[Cadence], _now: Tick) -> Vec<Sample> {
        match &mut self.sensors {
            Some(sensors) if due.contains(&Cadence::Warm) => {
                vec![Sample { cadence: Cadence::Warm, at: None, values: sensors.values() }]
            }
            Some(_) | None => Vec::new(),
        }
    }
}

fn disk_reads() -> DiskRefreshKind {
    DiskRefreshKind::nothing().with_storage().with_io_usage()
}

/// The hottest sensor in millidegrees; sensors that say nothing true are left out.
fn hottest(components: &Components) -> Option<i64> {
    let celsius = components.iter().filter_map(sysinfo::Component::temperature);
    let millidegrees = celsius.filter_map(|celsius| rounded(f64::from(celsius) * 1_000.0));
    millidegrees.filter_map(|value| admitted(Quantity::Temperature, value)).max()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Moment;
    use bijli_wire::{NodeId, UtcMillis};

    #[test]
    fn this_machine_shows_memory_and_a_second_reading_shows_processors() {
        let context = Context::new(NodeId::new("n1").unwrap(), 1, String::new());
        let mut probe = HostProbe::new(&context);
        let description = probe.describe().expect("an operating system");
        assert_eq!(description.subjects[0].id.as_str(), "n1");
        assert_eq!(description.subjects[0].register, None);
        let now = Tick { utc: UtcMillis::new(0), monotonic: Moment::new(0) };
        assert!(probe.read(&[Cadence::Hot], now).is_empty());
        let first = probe.read(&[Cadence::Warm], now).remove(0).values;
        let second = probe.read(&[Cadence::Warm], now).remove(0).values;
        assert_eq!(first.len(), description.series.len());
        assert_eq!(first[0], None, "a share of no time");
        assert!(second[0].is_some_and(|ppm| (0..=1_000_000).contains(&ppm)));
        let (used, size) = (second[1].expect("memory"), second[2].expect("memory"));
        assert!(used > 0 && used <= size);
    }
}
