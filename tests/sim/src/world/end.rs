//! The end of a history: faults are over, everything drains, and the books are those of a replay.

use bijli_agent::uplink::line::Input;

use super::{Happening, LAST_WORDS_MS, Violation, World};
use crate::node::{Done, Node};
use crate::oracle::{booked_until, with_events};
use crate::sensor::Sensor;

/// How often each node is read when faults are over. An agent whose disk was set back writes one
/// batch before it hears so, under a number that is taken: that one is put aside, and its energy is
/// in the next reading. And a register that jumped is believed when three readings agree.
const LAST_READINGS: u64 = 4;

impl World {
    /// The end of all faults.
    pub(super) fn calm(&mut self) -> Result<(), Violation> {
        self.is_calm = true;
        self.note("calm", None, 0);
        self.slow_until = 0;
        for whose in (0..self.nodes.len()).map(Some).chain([None]) {
            let disk = self.disk(whose);
            disk.clear_fault();
            disk.set_bytes_max(u64::MAX);
        }
        // What its disk lost is found when it starts, and must be so before the last readings.
        if self.collector.is_damaged && self.collector.life.is_some() {
            self.collector.disk.kill();
            self.collector_ended()?;
        }
        let last: Vec<u64> = (1..=LAST_READINGS).map(|n| self.now + n * LAST_WORDS_MS).collect();
        for index in 0..self.nodes.len() {
            self.nodes[index].link.heal();
            self.nodes[index].sensors.iter_mut().for_each(Sensor::heal);
            self.set_clock(index, 0)?;
            for at in &last {
                self.at(*at, Happening::Sample(index));
            }
            self.later(1_000, Happening::Start(index));
            let done = self.nodes[index].tell(Input::Tick, self.now);
            self.carry_out(index, done)?;
        }
        // Readings under way end here.
        self.queue.retain(|(at, _), happening| {
            !matches!(happening, Happening::Sample(_)) || last.contains(at)
        });
        Ok(())
    }

    /// A batch has one clock: what was read before goes out by the old one.
    pub(super) fn set_clock(&mut self, index: usize, off_ms: i64) -> Result<(), Violation> {
        let mut done = Done::default();
        self.nodes[index].flush(self.now, &mut done);
        self.nodes[index].clock_off_ms = off_ms;
        self.carry_out(index, done)
    }

    pub(super) fn has_drained(&self) -> bool {
        let is_spoken = |node: &Node| {
            let life = node.life.as_ref();
            life.is_some_and(|life| life.line.backlog() == 0)
        };
        let is_quiet =
            |happening: &Happening| matches!(happening, Happening::Beat | Happening::Wake(_));
        self.collector.life.is_some()
            && self.waiting.is_empty()
            && self.nodes.iter().all(is_spoken)
            && self.queue.values().all(is_quiet)
    }

    /// All is drained, and the newest readings of a node may have gone aside as evidence of a
    /// second sender: its disk was set back, or what it had sent in an epoch that it left came
    /// hours late and looked like another sender. No promise is broken: P1 and P2 speak of what
    /// was acknowledged, and that batch was refused. Its energy is in the next reading of each
    /// register (P5), so there must be a next one; that one is held to the millijoule. It is taken
    /// only where the very batch with the newest readings was refused so. What comes late has come
    /// by now: few are enough, and who is refused again after them is a finding.
    pub(super) fn reads_again(&mut self) -> bool {
        if self.read_again >= LAST_READINGS {
            return false;
        }
        let is_aside = |node: &Node| {
            let is_refused = node.newest.as_ref().is_some_and(|key| self.oracle.is_evidence(key));
            is_refused && node.sensors.iter().any(|sensor| self.unbooked(sensor).is_some())
        };
        let aside: Vec<usize> =
            (0..self.nodes.len()).filter(|index| is_aside(&self.nodes[*index])).collect();
        for index in &aside {
            self.note("reads again", Some(*index), 0);
            self.later(LAST_WORDS_MS, Happening::Sample(*index));
        }
        self.read_again += u64::from(!aside.is_empty());
        !aside.is_empty()
    }

    /// Until where a register is booked, if that is not its newest reading.
    fn unbooked(&self, sensor: &Sensor) -> Option<Option<u64>> {
        let life = self.collector.life.as_ref()?;
        let newest = sensor.newest();
        let booked = booked_until(&life.state, &self.collector.id, &sensor.subject.id);
        (newest.is_some() && booked != newest).then_some(booked)
    }

    pub(super) fn backlogs(&self) -> String {
        let backlogs = self.nodes.iter().enumerate().map(|(index, node)| {
            let words = node.life.as_ref().map(|life| {
                let (backlog, page) = (life.line.backlog(), life.line.spool().page());
                format!(
                    "{backlog} of {:?}, at {page:?}, {:?}",
                    life.line.spool(),
                    life.line.counts()
                )
            });
            format!("node {index}: {words:?}")
        });
        let up = self.collector.life.is_some();
        format!("collector up: {up}; {}", backlogs.collect::<Vec<_>>().join(", "))
    }

    /// When all is said: once more through a power cut, and the books are those of before.
    pub(super) fn settle(&mut self) -> Result<(), Violation> {
        if !self.has_drained() {
            return Err(Violation::new("drains", self.backlogs()));
        }
        self.write_group()?;
        self.invariant_last_reading_is_booked()?;
        let before = self.collector.digest();
        self.collector.life = None;
        self.collector.disk.power_cut();
        let started = self.collector.start(self.now, &mut self.oracle, &mut self.dice)?;
        if let Err(error) = started {
            return Err(Violation::new("starts after a cut", error.to_string()));
        }
        if self.collector.is_damaged {
            return Ok(());
        }
        self.oracle.invariant_acked_is_durable(&self.collector.journalled())?;
        self.oracle.invariant_spooled_is_booked()?;
        self.invariant_watermarks_rise()?;
        let after = self.collector.digest();
        if before != after {
            return Err(Violation::new("replay gives the same books", format!("{before} {after}")));
        }
        self.invariant_last_reading_is_booked()
    }

    /// The newest reading of every register is in the books, and with it all energy before it:
    /// whatever batches were lost with a disk.
    fn invariant_last_reading_is_booked(&self) -> Result<(), Violation> {
        let Some(life) = &self.collector.life else { return Ok(()) };
        for sensor in self.nodes.iter().flat_map(|node| &node.sensors) {
            if let Some(booked) = self.unbooked(sensor) {
                let (id, newest) = (&sensor.subject.id, sensor.newest());
                let words = format!("{id}: booked until {booked:?}, read until {newest:?}");
                let violation = Violation::new("the last reading is booked", words);
                return Err(with_events(violation, &life.state, id));
            }
        }
        Ok(())
    }
}
