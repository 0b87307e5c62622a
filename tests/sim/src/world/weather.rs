//! The faults of a world: when which machine, disk, link, clock or backup fails.

use bijli_seglog::testing::{Fault as DiskFault, ModelDisk};
use bijli_wire::BootId;

use super::{Happening, Violation, World};
use crate::fault::Fault;

impl World {
    /// Rolls for every kind of fault, once for each batch of a node.
    pub(super) fn weather(&mut self, index: usize) -> Result<(), Violation> {
        self.net_weather(index);
        self.disk_weather(index);
        self.clock_weather(index)?;
        self.state_weather(index)?;
        self.power_weather(index)
    }

    fn net_weather(&mut self, index: usize) {
        let net = self.plan.net.clone();
        let most = self.plan.step_ms * self.plan.rows * self.plan.outage_batches;
        if self.dice.once_in(net.partition) {
            let swallows = self.dice.once_in(2);
            let until = self.now + self.dice.between(self.plan.step_ms, most);
            let link = &mut self.nodes[index].link;
            (link.cut_until, link.swallows) = (until, swallows);
            self.count(Fault::Partition, Some(index));
        }
        if self.dice.once_in(net.one_way) {
            self.nodes[index].link.one_way_until = self.now + self.dice.between(1_000, most);
            self.count(Fault::OneWayLink, Some(index));
        }
        if self.dice.once_in(net.clog) {
            // Swizzle: a random subset is clogged, each for its own time.
            for each in 0..self.nodes.len() {
                if self.dice.once_in(2) {
                    let until = self.now + self.dice.between(1_000, most);
                    self.nodes[each].link.clogged_until = until;
                    self.count(Fault::Clogged, Some(each));
                }
            }
        }
    }

    fn disk_weather(&mut self, index: usize) {
        let disk = self.plan.disk.clone();
        for (times, struck, fault) in [
            (disk.io, DiskFault::Io, Fault::DiskIo),
            (disk.sync, DiskFault::Sync, Fault::SyncFailed),
            (disk.lost, DiskFault::Lost, Fault::WriteLost),
            (disk.misdirected, DiskFault::Misdirected, Fault::WriteMisdirected),
        ] {
            if self.dice.once_in(times) {
                let (whose, nth) = (self.somebody(index), self.dice.between(0, 20));
                self.disk(whose).fail_at(nth, struck);
                if matches!(struck, DiskFault::Lost | DiskFault::Misdirected) {
                    self.damage(whose);
                }
                self.count(fault, whose);
            }
        }
        if self.dice.once_in(disk.full) {
            let (whose, room) = (self.somebody(index), self.dice.between(0, 64 << 10));
            self.disk(whose).set_bytes_max(room);
            let most = self.plan.step_ms * self.plan.rows * 6;
            let wait = self.dice.between(1_000, most);
            self.later(wait, Happening::Room(whose));
            self.count(Fault::DiskFull, whose);
        }
        if self.dice.once_in(disk.flip) {
            let whose = self.somebody(index);
            let bits = self.dice.draw();
            if self.disk(whose).flip(bits) {
                self.damage(whose);
                self.count(Fault::BitFlipped, whose);
            }
        }
        if self.dice.once_in(disk.slow) {
            self.slow_until = self.now + self.plan.step_ms * self.plan.rows * 3;
            self.count(Fault::SlowDisk, None);
        }
    }

    fn clock_weather(&mut self, index: usize) -> Result<(), Violation> {
        if self.dice.once_in(self.plan.clock_step) {
            // Within what the collector lets pass as truth.
            let step = i64::try_from(self.dice.between(0, 480_000)).expect("small") - 240_000;
            self.count(Fault::ClockStepped, Some(index));
            return self.set_clock(index, step);
        }
        Ok(())
    }

    /// K1: the battery of its clock is empty; somebody sets it later.
    fn lose_time(&mut self, index: usize) {
        if !self.is_calm && self.dice.once_in(self.plan.boot_1970) {
            let since_1970 = self.nodes[index].utc(self.now).get();
            self.nodes[index].clock_off_ms -= since_1970;
            let most = self.plan.step_ms * self.plan.rows * self.plan.outage_batches;
            let wait = self.dice.between(1_000, most);
            self.later(wait, Happening::ClockSet(index));
            self.count(Fault::ClockLost, Some(index));
        }
    }

    fn power_weather(&mut self, index: usize) -> Result<(), Violation> {
        let power = self.plan.power.clone();
        if self.dice.once_in(power.agent_kill) && self.nodes[index].life.is_some() {
            self.count(Fault::AgentKilled, Some(index));
            self.kill(index);
        }
        if self.dice.once_in(power.agent_cut) {
            if self.dice.once_in(3) {
                self.cut(index);
            } else {
                // It strikes at one of the next operations of the disk.
                let nth = self.dice.between(0, 25);
                self.nodes[index].disk.fail_at(nth, DiskFault::PowerCut);
            }
        }
        if self.dice.once_in(power.collector_kill) && self.collector.life.is_some() {
            self.count(Fault::CollectorKilled, None);
            self.collector.disk.kill();
            self.collector_ended()?;
        }
        if self.dice.once_in(power.collector_cut) {
            if self.dice.once_in(3) {
                self.cut_collector()?;
            } else {
                let nth = self.dice.between(0, 25);
                self.collector.disk.fail_at(nth, DiskFault::PowerCut);
            }
        }
        Ok(())
    }

    fn somebody(&mut self, index: usize) -> Option<usize> {
        if self.dice.once_in(2) { Some(index) } else { None }
    }

    pub(super) fn disk(&self, whose: Option<usize>) -> &ModelDisk {
        whose.map_or(&self.collector.disk, |index| &self.nodes[index].disk)
    }

    fn damage(&mut self, whose: Option<usize>) {
        match whose {
            None => self.collector.is_damaged = true,
            Some(index) => {
                let node = &mut self.nodes[index];
                node.is_damaged = true;
                self.oracle.forgive_spool(&node.id);
            }
        }
    }

    pub(super) fn count(&mut self, fault: Fault, node: Option<usize>) {
        self.tally.count(fault);
        self.note(fault.words(), node, 0);
    }

    /// The agent's process dies; the machine lives.
    pub(super) fn kill(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        node.life = None;
        node.disk.kill();
        let most = self.plan.step_ms * self.plan.rows * 4;
        let wait = self.dice.between(500, most);
        self.later(wait, Happening::Start(index));
    }

    /// The machine loses its power.
    fn cut(&mut self, index: usize) {
        self.count(Fault::AgentCut, Some(index));
        let now = self.now;
        let node = &mut self.nodes[index];
        node.life = None;
        node.disk.power_cut();
        node.boots(now, BootId::new(self.dice.bytes()));
        self.lose_time(index);
        self.again(Some(index));
        let most = self.plan.step_ms * self.plan.rows * 4;
        let wait = self.dice.between(1_000, most + 1_000);
        self.later(wait, Happening::Start(index));
    }

    /// If the last operation of its disk met a planned cut, the machine is down.
    pub(super) fn fell(&mut self, index: usize) -> Result<(), Violation> {
        if self.nodes[index].disk.is_off() {
            self.cut(index);
        }
        Ok(())
    }

    pub(super) fn cut_collector(&mut self) -> Result<(), Violation> {
        self.count(Fault::CollectorCut, None);
        self.collector.disk.power_cut();
        self.again(None);
        self.collector_ended()
    }

    /// C4: the power goes again while the log recovers.
    fn again(&mut self, whose: Option<usize>) {
        if !self.is_calm && self.dice.once_in(self.plan.power.again) {
            let nth = self.dice.between(0, 30);
            self.disk(whose).fail_at(nth, DiskFault::PowerCut);
            self.count(Fault::CutInRecovery, whose);
        }
    }
}
