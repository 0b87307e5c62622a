//! What stands on a disk is gone, or old: a spool deleted or set back, a collector's disk replaced
//! or set back to a copy. Copies are taken while the machine runs, as a snapshot of it would be.

use bijli_seglog::testing::ModelDisk;

use super::{Violation, World};
use crate::fault::Fault;

impl World {
    pub(super) fn state_weather(&mut self, index: usize) -> Result<(), Violation> {
        let state = self.plan.state.clone();
        if self.dice.once_in(state.spool_deleted) {
            let empty = ModelDisk::new(self.dice.draw());
            self.replace_spool(index, empty, Fault::SpoolDeleted);
        }
        if self.dice.once_in(state.spool_set_back) {
            let copy = self.nodes[index].disk.fork(self.dice.draw());
            if let Some(old) = self.nodes[index].backup.replace(copy) {
                old.power_cut();
                self.replace_spool(index, old, Fault::SpoolSetBack);
            }
        }
        if self.dice.once_in(state.collector_emptied) {
            let empty = ModelDisk::new(self.dice.draw());
            self.replace_journal(empty, Fault::CollectorEmptied)?;
        }
        if self.dice.once_in(state.collector_set_back) {
            let copy = self.collector.disk.fork(self.dice.draw());
            if let Some(old) = self.collector.backup.replace(copy) {
                old.power_cut();
                self.replace_journal(old, Fault::CollectorSetBack)?;
            }
        }
        Ok(())
    }

    /// A8, A10: nothing is promised of what only this spool had. Its energy is in the next reading.
    fn replace_spool(&mut self, index: usize, disk: ModelDisk, fault: Fault) {
        self.count(fault, Some(index));
        self.kill(index);
        let node = &mut self.nodes[index];
        node.disk = disk;
        let id = node.id.clone();
        self.oracle.forgive_spool(&id);
    }

    /// C10, C11: agents have what they were acknowledged for as long as they keep it.
    fn replace_journal(&mut self, disk: ModelDisk, fault: Fault) -> Result<(), Violation> {
        self.count(fault, None);
        self.collector.disk = disk;
        let there = self.collector.journalled();
        self.oracle.forgive_lost(&there, self.plan.keeps_acked());
        if self.collector.life.is_some() { self.collector_ended() } else { Ok(()) }
    }
}
