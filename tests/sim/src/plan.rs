//! Which faults a history has and how strong, drawn from its seed (swarm testing).

use crate::dice::Dice;

/// The size of a world and its faults. Strengths are "once in so many chances", 0 for never.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub nodes: usize,
    /// Milliseconds between two readings.
    pub step_ms: u64,
    /// Readings that make a batch.
    pub rows: u64,
    /// Batches of each node while faults last.
    pub batches: u64,
    /// No link is cut for longer than so many batches take.
    pub outage_batches: u64,
    /// How long agents keep what was acknowledged.
    pub keep_ms: u64,
    pub interval_ms: u64,
    pub spool_bytes: u64,
    pub segment_bytes: u64,
    pub net: Net,
    pub power: Power,
    pub disk: Disk,
    pub sensors: Sensors,
    pub state: State,
    /// Once in so many batches of a node its clock steps.
    pub clock_step: u64,
    /// Once in so many power cuts a node has lost its time and boots in 1970.
    pub boot_1970: u64,
}

/// Per message, but for the last three: per batch of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Net {
    pub lose_up: u64,
    pub lose_down: u64,
    pub double: u64,
    pub late: u64,
    pub partition: u64,
    pub one_way: u64,
    pub clog: u64,
}

/// Per batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Power {
    pub agent_kill: u64,
    pub agent_cut: u64,
    pub collector_kill: u64,
    pub collector_cut: u64,
    /// Per start after a cut.
    pub again: u64,
}

/// Per batch, on the disk of a machine that chance picks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Disk {
    pub io: u64,
    pub full: u64,
    pub sync: u64,
    pub lost: u64,
    pub misdirected: u64,
    pub flip: u64,
    pub slow: u64,
}

/// Per reading.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sensors {
    pub reset: u64,
    pub step_back: u64,
    pub stuck: u64,
    pub missing: u64,
    pub absurd: u64,
}

/// Per batch: what stands on a disk is gone or old.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    pub spool_deleted: u64,
    pub spool_set_back: u64,
    pub collector_emptied: u64,
    pub collector_set_back: u64,
}

impl Plan {
    #[must_use]
    pub fn draw(dice: &mut Dice) -> Self {
        let step_ms = dice.pick(&[1_000, 5_000, 30_000, 60_000, 300_000, 600_000]);
        // A few histories are long: segments are rotated and unlinked, spools fill and are thinned.
        let is_long = dice.once_in(10);
        let rows = if is_long { 1 } else { dice.between(1, 4) };
        let (short, long) = (dice.between(8, 32), dice.between(150, 400));
        let (wide, tight) = (dice.pick(&[24 << 10, 64 << 10, 1 << 20]), dice.pick(&[16, 24, 32]));
        Self {
            nodes: dice.index(3) + 1,
            step_ms,
            rows,
            batches: if is_long { long } else { short },
            outage_batches: if is_long { 200 } else { 12 },
            keep_ms: dice.pick(&[3_600_000, 7 * 86_400_000]),
            interval_ms: if step_ms < 5_000 { 10_000 } else { 900_000 },
            spool_bytes: if is_long { tight << 10 } else { wide },
            segment_bytes: dice.pick(&[8 << 10, 16 << 10, 64 << 10]),
            net: Net::draw(dice),
            power: Power::draw(dice),
            disk: Disk::draw(dice),
            sensors: Sensors::draw(dice),
            state: State::draw(dice),
            clock_step: once(dice, 6, 4, 20),
            boot_1970: once(dice, 6, 1, 4),
        }
    }

    /// Whether clocks show the true time: a wrapping register needs it to tell one turn from two.
    #[must_use]
    pub fn has_true_clocks(&self) -> bool {
        self.clock_step + self.boot_1970 == 0
    }

    /// Whether agents still have all that they were ever acknowledged: it is kept for longer than
    /// any history lasts, and there is room. A batch of 1970 is old once the clock is right.
    #[must_use]
    pub fn keeps_acked(&self) -> bool {
        self.keep_ms >= 7 * 86_400_000 && self.spool_bytes >= 1 << 20 && self.boot_1970 == 0
    }
}

/// On in one of `rare` histories; then once in `low` to `high`.
fn once(dice: &mut Dice, rare: u64, low: u64, high: u64) -> u64 {
    // Always three draws, so that one fault's strength does not move the others'.
    let (is_on, strength) = (dice.once_in(rare), dice.between(low, high));
    if is_on { strength } else { 0 }
}

impl Net {
    fn draw(dice: &mut Dice) -> Self {
        Self {
            lose_up: once(dice, 2, 3, 20),
            lose_down: once(dice, 2, 3, 20),
            double: once(dice, 2, 3, 20),
            late: once(dice, 3, 10, 40),
            partition: once(dice, 4, 10, 40),
            one_way: once(dice, 6, 10, 40),
            clog: once(dice, 4, 6, 20),
        }
    }
}

impl Power {
    fn draw(dice: &mut Dice) -> Self {
        Self {
            agent_kill: once(dice, 3, 6, 30),
            agent_cut: once(dice, 2, 5, 30),
            collector_kill: once(dice, 3, 8, 40),
            collector_cut: once(dice, 2, 8, 40),
            again: once(dice, 3, 2, 4),
        }
    }
}

impl Disk {
    fn draw(dice: &mut Dice) -> Self {
        Self {
            io: once(dice, 4, 5, 30),
            full: once(dice, 5, 8, 30),
            sync: once(dice, 4, 6, 30),
            lost: once(dice, 12, 10, 30),
            misdirected: once(dice, 12, 10, 30),
            flip: once(dice, 8, 8, 30),
            slow: once(dice, 6, 6, 20),
        }
    }
}

impl Sensors {
    fn draw(dice: &mut Dice) -> Self {
        Self {
            reset: once(dice, 4, 20, 80),
            step_back: once(dice, 4, 10, 60),
            stuck: once(dice, 5, 10, 60),
            missing: once(dice, 4, 5, 40),
            absurd: once(dice, 6, 10, 60),
        }
    }
}

impl State {
    fn draw(dice: &mut Dice) -> Self {
        Self {
            spool_deleted: once(dice, 12, 15, 40),
            spool_set_back: once(dice, 12, 15, 40),
            collector_emptied: once(dice, 12, 20, 60),
            collector_set_back: once(dice, 12, 20, 60),
        }
    }
}
