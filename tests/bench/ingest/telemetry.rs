//! The standard load's readings: eight GPUs of 20 quantities and a host of 40, at 1 Hz, in integers
//! that walk as a training node's do. Every server of a run is fed these same values.
//!
//! # How they walk
//! - A GPU has work for ten minutes on average, then none for as long. Under work its average power
//!   tends to 650 W with 8 W of noise a second, idle to 70 W with 0.3 W; its energy register is the
//!   exact sum, in millijoules. Instant power is the average with 20 W (1 W) of noise.
//! - Temperatures move by whole degrees about every eighth second, utilizations by whole per cents
//!   every other one, the clock by steps of 15 MHz every fourth.
//! - Traffic counters of a busy GPU rise by 2 to 6 GB a second, any byte count alike; those of an
//!   idle one by less than 4 kB. Two of the host's four interfaces carry 1 to 50 kB a second, two
//!   nothing. Utilizations of core groups walk by one to four ticks; a disk counter rises by whole
//!   blocks in every third second.
//! - Limits, sizes, error counts and process counts stand still.

use bijli_wire::Quantity;

pub(crate) const GPUS: usize = 8;
const GPU_SERIES: usize = 20;
const HOST_SERIES: usize = 40;
/// Series of one node.
pub(crate) const SERIES: usize = GPUS * GPU_SERIES + HOST_SERIES;

const GB: i64 = 1 << 30;

/// Which quantity and part each column of a GPU is.
pub(crate) const GPU_COLUMNS: [(Quantity, u32); GPU_SERIES] = [
    (Quantity::EnergyRegister, 0),
    (Quantity::PowerAverage, 0),
    (Quantity::PowerInstant, 0),
    (Quantity::PowerLimit, 0),
    (Quantity::Temperature, 0),
    (Quantity::Temperature, 1),
    (Quantity::MemoryTemperature, 0),
    (Quantity::GpuUtilization, 0),
    (Quantity::MemoryUtilization, 0),
    (Quantity::MemoryUsed, 0),
    (Quantity::MemorySize, 0),
    (Quantity::ClockSm, 0),
    (Quantity::ClockMemory, 0),
    (Quantity::ClockMemory, 1),
    (Quantity::ThrottleReasons, 0),
    (Quantity::EccCorrected, 0),
    (Quantity::EccUncorrected, 0),
    (Quantity::ProcessCount, 0),
    (Quantity::NetworkReceived, 0),
    (Quantity::NetworkSent, 0),
];

/// How many columns of each quantity the host has, in order.
pub(crate) const HOST_COLUMNS: [(Quantity, u32); 9] = [
    (Quantity::CpuUtilization, 16),
    (Quantity::HostMemoryUsed, 1),
    (Quantity::HostMemorySize, 1),
    (Quantity::NetworkReceived, 4),
    (Quantity::NetworkSent, 4),
    (Quantity::DiskRead, 4),
    (Quantity::DiskWritten, 4),
    (Quantity::DiskUsed, 4),
    (Quantity::Temperature, 2),
];

/// Chance without a library: xorshift64*.
#[derive(Clone, Debug)]
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// From 0 to `below` - 1.
    fn below(&mut self, below: i64) -> i64 {
        let below = u64::try_from(below).expect("positive");
        i64::try_from((self.next() >> 16) % below).expect("small")
    }

    fn once_in(&mut self, times: i64) -> bool {
        self.below(times) == 0
    }

    /// About `spread` either way, most near zero.
    fn noise(&mut self, spread: i64) -> i64 {
        (0..3).map(|_| self.below(2 * spread + 1) - spread).sum::<i64>() / 2
    }

    /// One step of a walk that stays between two walls.
    fn walk(&mut self, value: &mut i64, step: i64, walls: (i64, i64)) {
        let moved = *value + (self.below(3) - 1) * step;
        *value = moved.clamp(walls.0, walls.1);
    }
}

/// One node's sensors.
#[derive(Clone, Debug)]
pub(crate) struct NodeSensors {
    dice: Dice,
    gpus: Vec<[i64; GPU_SERIES]>,
    is_busy: Vec<bool>,
    host: [i64; HOST_SERIES],
}

impl NodeSensors {
    pub(crate) fn new(node: usize) -> Self {
        let mut dice = Dice(0x9E37_79B9_7F4A_7C15 ^ u64::try_from(node + 1).expect("few nodes"));
        for _ in 0..8 {
            dice.next();
        }
        let is_busy: Vec<bool> = (0..GPUS).map(|_| dice.once_in(2)).collect();
        let gpus = is_busy.iter().map(|is_busy| gpu_at_start(&mut dice, *is_busy)).collect();
        let host = host_at_start(&mut dice);
        Self { dice, gpus, is_busy, host }
    }

    /// One second later.
    pub(crate) fn step(&mut self) {
        for (values, is_busy) in self.gpus.iter_mut().zip(&mut self.is_busy) {
            if self.dice.once_in(600) {
                *is_busy = !*is_busy;
            }
            step_gpu(values, *is_busy, &mut self.dice);
        }
        step_host(&mut self.host, &mut self.dice);
    }

    /// All values, GPU by GPU, then the host.
    pub(crate) fn values(&self) -> impl Iterator<Item = i64> {
        self.gpus.iter().flatten().chain(&self.host).copied()
    }
}

fn gpu_at_start(dice: &mut Dice, is_busy: bool) -> [i64; GPU_SERIES] {
    let power = if is_busy { 650_000 } else { 70_000 };
    let mut values = [0; GPU_SERIES];
    values[0] = dice.below(1 << 46);
    values[1] = power;
    values[2] = power;
    values[3] = 700_000;
    values[4] = 45_000;
    values[5] = 52_000;
    values[6] = 50_000;
    values[9] = 70 * GB;
    values[10] = 80 * GB;
    values[11] = 1_980_000_000;
    values[12] = 2_619_000_000;
    values[13] = 1_545_000_000;
    values[17] = 1;
    values[18] = dice.below(1 << 50);
    values[19] = dice.below(1 << 50);
    values
}

fn step_gpu(values: &mut [i64; GPU_SERIES], is_busy: bool, dice: &mut Dice) {
    let (target, noise, jitter) =
        if is_busy { (650_000, 8_000, 20_000) } else { (70_000, 300, 1_000) };
    values[1] += (target - values[1]) / 4 + dice.noise(noise);
    values[0] += values[1];
    values[2] = values[1] + dice.noise(jitter);
    for temperature in &mut values[4..7] {
        if dice.once_in(6) {
            dice.walk(
                temperature,
                1_000,
                if is_busy { (55_000, 80_000) } else { (30_000, 45_000) },
            );
        }
    }
    for utilization in &mut values[7..9] {
        if !is_busy {
            *utilization = 0;
        } else if dice.once_in(2) {
            dice.walk(utilization, 10_000, (900_000, 1_000_000));
        }
    }
    if is_busy && dice.once_in(20) {
        dice.walk(&mut values[9], 2 << 20, (60 * GB, 79 * GB));
    }
    if is_busy && dice.once_in(4) {
        dice.walk(&mut values[11], 15_000_000, (1_755_000_000, 1_980_000_000));
    }
    if is_busy && dice.once_in(20) {
        values[14] ^= 4;
    }
    values[15] += i64::from(dice.once_in(50_000));
    for traffic in &mut values[18..20] {
        *traffic += if is_busy { 2 * GB + dice.below(4 * GB) } else { dice.below(4_096) };
    }
}

fn host_at_start(dice: &mut Dice) -> [i64; HOST_SERIES] {
    let mut values = [0; HOST_SERIES];
    values[..16].fill(50_000);
    values[16] = 200 * GB;
    values[17] = 2_048 * GB;
    for counter in &mut values[18..34] {
        *counter = dice.below(1 << 44);
    }
    values[34..38].fill(900 * GB);
    values[38..40].fill(40_000);
    values
}

fn step_host(values: &mut [i64; HOST_SERIES], dice: &mut Dice) {
    for utilization in &mut values[..16] {
        // Eight cores at a hundred ticks a second.
        let step = 1_250 * (1 + dice.below(4));
        dice.walk(utilization, step, (0, 1_000_000));
    }
    values[16] += 4_096 * (dice.below(4_001) - 2_000);
    for (index, counter) in values[18..26].iter_mut().enumerate() {
        if index % 4 < 2 {
            *counter += 1_000 + dice.below(49_000);
        }
    }
    for counter in &mut values[26..34] {
        if dice.once_in(3) {
            *counter += 4_096 * (1 + dice.below(200));
        }
    }
    for used in &mut values[34..38] {
        if dice.once_in(10) {
            *used += 4_096 * dice.below(100);
        }
    }
    for temperature in &mut values[38..40] {
        if dice.once_in(6) {
            dice.walk(temperature, 1_000, (35_000, 60_000));
        }
    }
}
