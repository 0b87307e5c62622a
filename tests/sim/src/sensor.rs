//! Registers that know their own exact energy, in microjoules, apart from what they show.

use std::collections::BTreeMap;

use bijli_wire::batch::{Register, Subject};
use bijli_wire::{Integrator, Method, Millis, Milliwatts, SubjectId, SubjectKind};

use crate::dice::Dice;
use crate::fault::{Fault, Tally};
use crate::plan::Sensors;

/// No simulated device draws more.
pub const POWER_MW_MAX: u64 = 1_000_000;
/// As RAPL's DRAM zones: microjoules that turn over within minutes under load.
const MODULUS: u64 = 65_712_999_613;

/// How a register counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Millijoules since the driver was loaded, as NVML's.
    Gpu,
    /// Microjoules that wrap, as RAPL's.
    Rapl,
    /// The agent's own, integrated from power; it dies with the agent.
    Integrated,
}

/// One register.
#[derive(Clone, Debug)]
pub struct Sensor {
    pub kind: Kind,
    pub subject: Subject,
    /// Every microjoule since the history began.
    energy_uj: u128,
    /// What it was when this stretch of counting began.
    stretch_uj: u128,
    /// Rises with each reset.
    stretch: u64,
    /// What the count began with.
    begin: u64,
    power_mw: u64,
    counted_at: u64,
    integrator: Integrator,
    integrated: u64,
    /// Readings for which the count stands still.
    stuck: u64,
    /// Where it stands still, and what that was worth.
    frozen: Option<(u64, Truth)>,
    /// The newest count that is no lie.
    newest: Option<u64>,
}

/// What a count that was shown is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Truth {
    pub stretch: u64,
    /// As declared: it changes with every reset that the device tells of.
    pub epoch: u64,
    /// In the register's own units since the stretch began, never wrapped.
    pub units: u128,
    /// Units to the millijoule.
    pub per_mj: u128,
    /// Shown more than once with different meaning, or a lie: worth nothing.
    pub is_vague: bool,
}

/// Every count that was shown, by subject.
pub type Truths = BTreeMap<SubjectId, BTreeMap<u64, Truth>>;

impl Sensor {
    #[must_use]
    pub fn new(kind: Kind, name: &str, gap: Millis, dice: &mut Dice) -> Self {
        let begin = match kind {
            Kind::Gpu => dice.between(1_000_000_000, 9_000_000_000_000),
            Kind::Rapl => dice.between(0, MODULUS - 1),
            Kind::Integrated => 0,
        };
        let (denominator, modulus, method, device) = match kind {
            Kind::Gpu => (1, None, Method::Hardware, SubjectKind::Gpu),
            Kind::Rapl => (1_000, Some(MODULUS), Method::Hardware, SubjectKind::Dram),
            Kind::Integrated => (1, None, Method::Integrated, SubjectKind::Gpu),
        };
        let power_max = Milliwatts::new(POWER_MW_MAX);
        let register =
            Register { numerator: 1, denominator, modulus, power_max, epoch: 1, method, gap };
        let subject = Subject {
            id: SubjectId::new(name).expect("a valid name"),
            kind: device,
            label: String::new(),
            model: String::new(),
            serial: String::new(),
            register: Some(register),
        };
        Self {
            kind,
            subject,
            energy_uj: 0,
            stretch_uj: 0,
            stretch: 1,
            begin,
            power_mw: dice.between(50_000, 700_000),
            counted_at: 0,
            integrator: Integrator::default(),
            integrated: 0,
            stuck: 0,
            frozen: None,
            newest: None,
        }
    }

    /// The agent, and with it what it integrated, began anew.
    pub fn agent_started(&mut self, now: u64) {
        if self.kind == Kind::Integrated {
            self.count(now);
            self.restart(true);
        }
    }

    /// The machine booted: its driver counts from zero.
    pub fn machine_booted(&mut self, now: u64) {
        self.count(now);
        if self.kind == Kind::Gpu {
            self.restart(true);
        }
    }

    /// The end of all faults: it counts again.
    pub fn heal(&mut self) {
        self.stuck = 0;
    }

    /// The newest true reading.
    #[must_use]
    pub fn newest(&self) -> Option<u64> {
        self.newest
    }

    fn restart(&mut self, is_announced: bool) {
        self.stretch += 1;
        self.stretch_uj = self.energy_uj;
        self.begin = 0;
        self.stuck = 0;
        (self.integrator, self.integrated) = (Integrator::default(), 0);
        if let Some(register) = self.subject.register.as_mut().filter(|_| is_announced) {
            register.epoch += 1;
        }
    }

    fn count(&mut self, now: u64) {
        let held = now - self.counted_at;
        self.counted_at = now;
        self.energy_uj += u128::from(self.power_mw) * u128::from(held);
        if self.kind == Kind::Integrated {
            let step = self.integrator.step(Milliwatts::new(self.power_mw), Millis::new(held));
            self.integrated += step.expect("far below 2^64 mJ").get();
        }
    }

    /// What it shows now, faults included, and what that is worth.
    pub fn read(
        &mut self,
        now: u64,
        (faults, dice): (&Sensors, &mut Dice),
        tally: &mut Tally,
    ) -> (Option<i64>, Option<Truth>) {
        self.count(now);
        self.power_mw = dice.between(50_000, 700_000);
        if self.kind == Kind::Gpu && dice.once_in(faults.reset) {
            tally.count(Fault::RegisterReset);
            let is_announced = dice.once_in(2);
            self.restart(is_announced);
        }
        if dice.once_in(faults.missing) {
            tally.count(Fault::ReadingMissing);
            return (None, None);
        }
        if self.kind == Kind::Gpu && dice.once_in(faults.stuck) {
            tally.count(Fault::RegisterStuck);
            self.stuck = dice.between(1, 5);
            self.newest = Some(self.shown());
            self.frozen = Some((self.shown(), self.truth()));
        }
        if let Some((count, truth)) = self.frozen.filter(|_| self.stuck > 0) {
            self.stuck -= 1;
            return (Some(signed(count)), Some(truth));
        }
        let shown = self.shown();
        if self.kind == Kind::Gpu && dice.once_in(faults.step_back) && shown > 100_000_000 {
            tally.count(Fault::RegisterStepBack);
            // The device lost its last moments: at most five seconds at full power.
            let lie = shown - dice.between(1, 5_000_000);
            return (Some(signed(lie)), Some(Truth { is_vague: true, ..self.truth() }));
        }
        if dice.once_in(faults.absurd) {
            tally.count(Fault::ReadingAbsurd);
            let lie = shown.saturating_add(dice.pick(&[u64::from(u32::MAX) << 20, 1 << 60]));
            return (Some(signed(lie)), Some(Truth { is_vague: true, ..self.truth() }));
        }
        self.newest = Some(shown);
        (Some(signed(shown)), Some(self.truth()))
    }

    fn shown(&self) -> u64 {
        let counted = self.energy_uj - self.stretch_uj;
        match self.kind {
            Kind::Gpu => self.begin + narrow(counted / 1_000),
            Kind::Rapl => narrow((u128::from(self.begin) + counted) % u128::from(MODULUS)),
            Kind::Integrated => self.integrated,
        }
    }

    fn truth(&self) -> Truth {
        let counted = self.energy_uj - self.stretch_uj;
        let (units, per_mj) = match self.kind {
            Kind::Gpu | Kind::Integrated => (counted / 1_000, 1),
            Kind::Rapl => (counted, 1_000),
        };
        let epoch = self.subject.register.map_or(0, |register| register.epoch);
        Truth { stretch: self.stretch, epoch, units, per_mj, is_vague: false }
    }
}

/// Remembers what a shown count is worth.
pub fn remember(truths: &mut Truths, subject: &SubjectId, count: i64, truth: Truth) {
    let Ok(count) = u64::try_from(count) else { return };
    let known = truths.entry(subject.clone()).or_default();
    let vague = known.get(&count).is_some_and(|known| *known != truth);
    known.insert(count, Truth { is_vague: truth.is_vague || vague, ..truth });
}

fn narrow(value: u128) -> u64 {
    u64::try_from(value).expect("far below 2^64")
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
