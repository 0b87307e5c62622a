//! One simulated node: GPUs, two CPU packages, DRAM, and a register of the whole input.
//!
//! The input is exactly the devices plus the rest: boards, fans that follow the heat, and what
//! the power supplies lose.

use bijli_wire::id::IdError;
use bijli_wire::{HubId, NodeId, SubjectId};

use crate::gpu::{self, Demand, Gpu};
use crate::register::{Dial, Register, reading};
use crate::rng::{noise, spread};

const PACKAGE_MW_MAX: u64 = 350_000;
const DRAM_MW_MAX: u64 = 80_000;
const BOARD_MW: u64 = 180_000;
const PACKAGES: u64 = 2;
const PPM: u64 = 1_000_000;
pub(crate) const HOST_MEMORY_BYTES: i64 = 2_164_663_517_184;
pub(crate) const DISK_BYTES: i64 = 15_360_950_534_144;

/// The most a node can draw, rounded up: what its register declares as its bound.
pub(crate) fn power_mw_max(gpus: u32) -> u64 {
    let devices = u64::from(gpus) * gpu::POWER_MW_MAX + PACKAGES * PACKAGE_MW_MAX + DRAM_MW_MAX;
    devices + rest_mw(devices)
}

/// Boards, fans and power supply loss of devices that draw `devices_mw`.
fn rest_mw(devices_mw: u64) -> u64 {
    let fans_mw = 60_000 + devices_mw / 20;
    let behind_supply_mw = devices_mw + BOARD_MW + fans_mw;
    BOARD_MW + fans_mw + behind_supply_mw * 55 / 1_000
}

/// A CPU package or the DRAM: a register and nothing else.
#[derive(Clone, Debug)]
pub(crate) struct Package {
    pub(crate) id: SubjectId,
    pub(crate) register: Register,
}

#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) subject: SubjectId,
    pub(crate) register: Register,
    pub(crate) gpus: Vec<Gpu>,
    pub(crate) packages: Vec<Package>,
    pub(crate) dram: Package,
    /// Which PDU feeds it, from 0.
    pub(crate) pdu: usize,
    pub(crate) host: Host,
    seed: u64,
}

/// What the operating system tells.
#[derive(Clone, Debug, Default)]
pub(crate) struct Host {
    pub(crate) inlet_mc: i64,
    pub(crate) cpu_utilization_ppm: i64,
    pub(crate) memory_used: i64,
    pub(crate) network_received: i64,
    pub(crate) network_sent: i64,
    pub(crate) disk_read: i64,
    pub(crate) disk_written: i64,
}

/// What a node is called and how it is equipped.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot<'a> {
    pub(crate) hub: &'a HubId,
    pub(crate) name: &'a str,
    /// From 0.
    pub(crate) index: u32,
    pub(crate) gpus: u32,
    pub(crate) pdu: usize,
    pub(crate) seed: u64,
}

impl Node {
    pub(crate) fn new(slot: Slot<'_>) -> Result<Self, IdError> {
        let seed = noise(slot.seed, u64::from(slot.index), -1);
        let package = |name: &str, which, dial, power_mw_max| {
            let register = Register::new(dial, noise(seed, which, -2), power_mw_max);
            SubjectId::new(&format!("{}/{name}", slot.name)).map(|id| Package { id, register })
        };
        let gpu = |index: u32| {
            let id = SubjectId::new(&gpu_uuid(slot, index))?;
            Ok(Gpu::new(id, noise(seed, u64::from(index), -3)))
        };
        Ok(Self {
            id: NodeId::new(slot.name)?,
            subject: SubjectId::new(slot.name)?,
            register: Register::new(Dial::NODE, noise(seed, 1, -4), power_mw_max(slot.gpus)),
            gpus: (0..slot.gpus).map(gpu).collect::<Result<_, _>>()?,
            packages: vec![
                package("cpu0", 0, Dial::PACKAGE, PACKAGE_MW_MAX)?,
                package("cpu1", 1, Dial::PACKAGE, PACKAGE_MW_MAX)?,
            ],
            dram: package("dram0", 2, Dial::DRAM, DRAM_MW_MAX)?,
            pdu: slot.pdu,
            host: Host::default(),
            seed,
        })
    }

    /// Lives the second, one demand for each GPU; nothing is counted yet.
    pub(crate) fn run(
        &mut self,
        demands: &mut impl Iterator<Item = Demand>,
        second: i64,
        inlet_mc: i64,
    ) {
        let (mut devices_mw, mut utilization_ppm) = (0, 0);
        for gpu in &mut self.gpus {
            let demand = demands.next().expect("one demand for each GPU");
            gpu.run(demand, second, inlet_mc);
            devices_mw += gpu.register.power_mw;
            utilization_ppm += demand.utilization_ppm;
        }
        let gpus = u64::try_from(self.gpus.len()).expect("a few GPUs").max(1);
        let load_ppm = utilization_ppm / gpus;
        for (package, which) in self.packages.iter_mut().zip(0_u64..) {
            let jitter_mw = spread(noise(self.seed, 8 + which, second), 12_000);
            package.register.power_mw = 88_000 + 140_000 * load_ppm / PPM + jitter_mw;
            devices_mw += package.register.power_mw;
        }
        let jitter_mw = spread(noise(self.seed, 16, second), 3_000);
        self.dram.register.power_mw = 24_000 + 26_000 * load_ppm / PPM + jitter_mw;
        devices_mw += self.dram.register.power_mw;
        self.register.power_mw = devices_mw + rest_mw(devices_mw);
        self.host.run(reading(load_ppm), inlet_mc, noise(self.seed, 17, second));
    }

    /// Counts the second into every register.
    pub(crate) fn count_second(&mut self) {
        self.gpus.iter_mut().for_each(|gpu| gpu.register.count_second());
        self.packages.iter_mut().for_each(|package| package.register.count_second());
        self.dram.register.count_second();
        self.register.count_second();
    }
}

impl Host {
    fn run(&mut self, load_ppm: i64, inlet_mc: i64, bits: u64) {
        let jitter = reading(spread(bits, 1_000));
        self.inlet_mc = inlet_mc + jitter / 4;
        self.cpu_utilization_ppm = 15_000 + load_ppm / 5 + jitter * 20;
        self.memory_used = 48_000_000_000 + load_ppm * 900_000 + jitter * 4_096;
        self.network_received += 40_000 + load_ppm * 3_000 + jitter * 500;
        self.network_sent += 40_000 + load_ppm * 3_000 + jitter * 400;
        self.disk_read += load_ppm * 900 + jitter * 64;
        self.disk_written += 20_000 + load_ppm * 150 + jitter * 64;
    }

    pub(crate) fn disk_used(&self) -> i64 {
        (DISK_BYTES / 3 + self.disk_written / 50).min(DISK_BYTES)
    }
}

/// Unique over hubs: the hub's name is hashed into it.
fn gpu_uuid(slot: Slot<'_>, gpu: u32) -> String {
    let name = slot.hub.as_str().bytes();
    let hub = name.fold(0, |hash, byte| noise(hash, u64::from(byte), 0)) >> 32;
    format!("GPU-SIM-{hub:08x}-{:04}-{gpu:02}", slot.index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_input_is_the_devices_and_the_rest_and_stays_within_its_bound() {
        let hub = HubId::new("sim-lahore").expect("a good name");
        let slot = Slot { hub: &hub, name: "sim-n01", index: 0, gpus: 8, pdu: 0, seed: 1 };
        let mut node = Node::new(slot).expect("good names");
        let full = Demand {
            load_ppm: PPM,
            utilization_ppm: PPM,
            memory_ppm: PPM,
            tenure: gpu::Tenure::Active(0),
        };
        for (demand, low_mw, high_mw) in
            [(Demand::default(), 1_000_000, 1_400_000), (full, 6_500_000, 7_500_000)]
        {
            node.run(&mut std::iter::repeat(demand), 1, 22_000);
            let gpus: u64 = node.gpus.iter().map(|gpu| gpu.register.power_mw).sum();
            let cpus: u64 = node.packages.iter().map(|cpu| cpu.register.power_mw).sum();
            let devices = gpus + cpus + node.dram.register.power_mw;
            assert_eq!(node.register.power_mw, devices + rest_mw(devices));
            assert!(
                (low_mw..high_mw).contains(&node.register.power_mw),
                "{}",
                node.register.power_mw
            );
            assert!(node.register.power_mw <= power_mw_max(8));
        }
    }

    #[test]
    fn gpus_of_two_hubs_never_share_an_id() {
        let ids = ["sim-lahore", "sim-karachi"].map(|hub| {
            let hub = HubId::new(hub).expect("a good name");
            gpu_uuid(Slot { hub: &hub, name: "x", index: 0, gpus: 1, pdu: 0, seed: 1 }, 0)
        });
        assert_ne!(ids[0], ids[1]);
        assert!(ids[0].starts_with("GPU-SIM-") && ids[0].ends_with("-0001-00"));
    }
}
