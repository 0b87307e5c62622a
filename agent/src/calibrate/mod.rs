//! `bijli-agent calibrate`: this node's GPU registers against a better meter, at steady loads.
//!
//! # Invariants
//! - Nothing is corrected here: a comparison ends in a record, which a person signs and hands to
//!   the collector (`PUT /v1/calibrations`).
//! - A step in which a register was not read at both ends, went back, or moved too much is no step:
//!   the command says so and measures it again.

pub mod bench;
pub mod fit;
mod record;

use std::io::{BufRead, Write};

use bijli_wire::units::human_power;
use bijli_wire::{HubId, Millijoules, Millis, NodeId, quantity};

use self::bench::{Bench, BenchError};
use self::fit::{FitError, Reference, STEPS_MIN, Step, fit};
pub use self::record::Record;
use crate::clock::Clock;
use crate::probe::{Probe, Tick};

/// Power that moves by more than this within a step is no steady load, in percent of its most. A
/// register that is refreshed each 100 ms and read each second seems to move by a fifth.
const SWING_PERCENT: u64 = 30;
/// How often one step is tried.
const TRIES_MAX: u32 = 5;
const TICK: Millis = Millis::new(1_000);
/// Seconds between two lines of progress.
const PROGRESS_S: u64 = 10;

/// What a person asks for.
#[derive(Clone, Debug)]
pub struct Plan {
    pub hub: HubId,
    pub node: NodeId,
    /// The subject of this agent's configuration that is the reference; `None`: a person types it.
    pub meter: Option<String>,
    /// Accuracy class of the reference, in millionths of what it shows.
    pub class_ppm: u32,
    /// Least difference that a typed reading can show.
    pub resolution: Millijoules,
    /// How far apart in time reference and registers may be read.
    pub timing: Millis,
    /// Share of the reference's energy that reaches the GPUs, in millionths.
    pub efficiency_ppm: u32,
    pub steps: usize,
    pub each: Millis,
    pub settle: Millis,
    pub who: String,
    pub why: String,
}

/// Why there is no record.
#[derive(Debug, thiserror::Error)]
pub enum CalibrateError {
    #[error(transparent)]
    Bench(#[from] BenchError),
    #[error(transparent)]
    Fit(#[from] FitError),
    #[error("cannot talk with whoever reads the meter")]
    Talk(#[from] std::io::Error),
    #[error("no reading was typed")]
    NothingTyped,
    #[error("{name} went back from {before} to {after} mJ: begin again")]
    Back { name: String, before: u64, after: u64 },
    #[error("step {number} did not become steady in {TRIES_MAX} tries")]
    Unsteady { number: usize },
}

/// Compares, step by step. Prompts and progress go to `told`, answers come from `typed`.
///
/// # Errors
/// Nothing can be compared here, or the steps give no gain.
pub fn run(
    plan: &Plan,
    probes: Vec<Box<dyn Probe>>,
    typed: &mut dyn BufRead,
    told: &mut dyn Write,
) -> Result<Record, CalibrateError> {
    // An hour of measuring that can lead to nothing is not begun.
    if plan.steps < STEPS_MIN {
        return Err(FitError::TooFew { count: plan.steps }.into());
    }
    let bench = Bench::new(probes, plan.meter.as_deref())?;
    let devices = bench.devices();
    let resolution_mj = match plan.meter {
        Some(_) => bench.resolution_mj(),
        None => plan.resolution.get(),
    };
    let mut desk = Desk { plan, bench, clock: Clock::new(), typed, told };
    let steps = (1..=plan.steps).map(|number| desk.step(number)).collect::<Result<Vec<_>, _>>()?;
    let reference = Reference { class_ppm: plan.class_ppm, resolution_mj, timing: plan.timing };
    let fit = fit(&steps, &reference)?;
    let from = desk.clock.utc();
    let date = record::rfc3339(from);
    let id = format!("{}-{}", plan.node, date.get(..10).unwrap_or(&date));
    let (hub, who, why) = (plan.hub.clone(), plan.who.clone(), plan.why.clone());
    let reference = words(plan, resolution_mj);
    Ok(Record { id, hub, devices, from, who, why, reference, steps, fit })
}

/// The reference in words.
fn words(plan: &Plan, resolution_mj: u64) -> String {
    let name = plan.meter.as_ref().map_or("typed readings".to_owned(), |id| format!("meter {id}"));
    let (class, timing) = (record::percent(plan.class_ppm, 2), plan.timing.get());
    let mut words = format!("{name}, class {class}, to {resolution_mj} mJ and {timing} ms");
    if plan.efficiency_ppm != 1_000_000 {
        let reaches = record::percent(plan.efficiency_ppm, 2);
        words.push_str(&format!(", of which {reaches} reach the GPUs"));
    }
    words
}

/// Both meters at one moment.
struct Edge {
    at: Tick,
    registers: Vec<u64>,
    reference: u64,
}

struct Desk<'a> {
    plan: &'a Plan,
    bench: Bench,
    clock: Clock,
    typed: &'a mut dyn BufRead,
    told: &'a mut dyn Write,
}

impl Desk<'_> {
    /// One steady load, tried again while it is not steady.
    fn step(&mut self, number: usize) -> Result<Step, CalibrateError> {
        let of = self.plan.steps;
        self.ask(&format!("step {number} of {of}: set the load, keep it, and press Enter"))?;
        for _ in 0..TRIES_MAX {
            self.clock.sleep(self.plan.settle);
            match self.measure(number)? {
                Ok(step) => return Ok(step),
                Err(why) => writeln!(self.told, "step {number} of {of} is measured again: {why}")?,
            }
        }
        Err(CalibrateError::Unsteady { number })
    }

    fn measure(&mut self, number: usize) -> Result<Result<Step, String>, CalibrateError> {
        let start = self.edge("start")?;
        let mut watch = Watch::new(&start);
        loop {
            self.clock.sleep(TICK);
            let now = self.now();
            let passed = now.monotonic.since(start.at.monotonic);
            let registers = self.bench.registers(now);
            watch.see(now, &registers);
            if passed >= self.plan.each {
                break;
            }
            if watch.seconds.is_multiple_of(PROGRESS_S) {
                let left = self.plan.each.get().saturating_sub(passed.get()) / 1_000;
                let power = human_power(watch.power_mw);
                writeln!(self.told, "step {number}: {left} s left, registers {power}")?;
            }
        }
        if let Some(swing) = watch.swing() {
            return Ok(Err(swing));
        }
        let end = self.edge("end")?;
        Ok(Ok(self.between(&start, &end, watch.covered_ppm())?))
    }

    fn between(&self, start: &Edge, end: &Edge, covered_ppm: u32) -> Result<Step, CalibrateError> {
        let mut device_mj = 0_u64;
        let devices = self.bench.devices();
        for ((id, before), after) in devices.iter().zip(&start.registers).zip(&end.registers) {
            device_mj = device_mj.saturating_add(rise(id.as_str(), *before, *after)?);
        }
        let name = self.plan.meter.as_deref().unwrap_or("reference");
        let shown = rise(name, start.reference, end.reference)?;
        let reaches = u128::from(shown) * u128::from(self.plan.efficiency_ppm) / 1_000_000;
        let reference_mj = u64::try_from(reaches).unwrap_or(u64::MAX);
        let span = end.at.monotonic.since(start.at.monotonic);
        let (from, to) = (start.at.utc, end.at.utc);
        Ok(Step { from, to, span, device_mj, reference_mj, covered_ppm })
    }

    /// Reads both. A typed reading is asked for first: the registers are read as soon as it is
    /// there.
    fn edge(&mut self, which: &str) -> Result<Edge, CalibrateError> {
        let typed = if self.plan.meter.is_none() { Some(self.typed_reading(which)?) } else { None };
        let at = self.now();
        let registers = self.bench.registers(at);
        let devices = self.bench.devices();
        let each = registers.into_iter().zip(devices);
        let registers = each.map(|(shown, id)| shown.ok_or(BenchError::Unread { id }));
        let registers = registers.collect::<Result<Vec<_>, _>>()?;
        let reference = match self.bench.reference(at) {
            Some(shown) => shown?,
            None => typed.ok_or(CalibrateError::NothingTyped)?,
        };
        Ok(Edge { at, registers, reference })
    }

    fn typed_reading(&mut self, which: &str) -> Result<u64, CalibrateError> {
        loop {
            let answer = self.ask(&format!("the reference now ({which}), as \"1234.56 kWh\":"))?;
            if answer.is_empty() {
                return Err(CalibrateError::NothingTyped);
            }
            match quantity::energy(&answer) {
                Ok(reading) => return Ok(reading.get()),
                Err(error) => writeln!(self.told, "{error}")?,
            }
        }
    }

    /// One line from the person; empty where nobody is there.
    fn ask(&mut self, question: &str) -> Result<String, CalibrateError> {
        writeln!(self.told, "{question}")?;
        self.told.flush()?;
        let mut line = String::new();
        self.typed.read_line(&mut line)?;
        Ok(line.trim().to_owned())
    }

    fn now(&self) -> Tick {
        Tick { utc: self.clock.utc(), monotonic: self.clock.now() }
    }
}

fn rise(name: &str, before: u64, after: u64) -> Result<u64, CalibrateError> {
    let back = || CalibrateError::Back { name: name.to_owned(), before, after };
    after.checked_sub(before).ok_or_else(back)
}

/// Whether a load is steady, second by second.
struct Watch {
    last: Option<(Tick, u64)>,
    seconds: u64,
    complete: u64,
    power_mw: u64,
    least_mw: u64,
    most_mw: u64,
}

impl Watch {
    fn new(start: &Edge) -> Self {
        let sum = start.registers.iter().fold(0_u64, |sum, shown| sum.saturating_add(*shown));
        let last = Some((start.at, sum));
        Self { last, seconds: 0, complete: 0, power_mw: 0, least_mw: u64::MAX, most_mw: 0 }
    }

    fn see(&mut self, now: Tick, registers: &[Option<u64>]) {
        self.seconds = self.seconds.saturating_add(1);
        let sum = registers.iter().try_fold(0_u64, |sum, shown| sum.checked_add((*shown)?));
        let Some(sum) = sum else {
            self.last = None;
            return;
        };
        self.complete = self.complete.saturating_add(1);
        if let Some((then, before)) = self.last.replace((now, sum)) {
            let span = now.monotonic.since(then.monotonic).get().max(1);
            let energy = u128::from(sum.saturating_sub(before));
            let power = energy.saturating_mul(1_000) / u128::from(span);
            self.power_mw = u64::try_from(power).unwrap_or(u64::MAX);
            self.least_mw = self.least_mw.min(self.power_mw);
            self.most_mw = self.most_mw.max(self.power_mw);
        }
    }

    fn covered_ppm(&self) -> u32 {
        let part = self.complete.saturating_mul(1_000_000) / self.seconds.max(1);
        u32::try_from(part).unwrap_or(1_000_000)
    }

    /// Why it is not steady.
    fn swing(&self) -> Option<String> {
        let (least, most) = (self.least_mw.min(self.most_mw), self.most_mw);
        let allowed = most.saturating_mul(SWING_PERCENT) / 100;
        (most.saturating_sub(least) > allowed).then(|| {
            let (least, most) = (human_power(least), human_power(most));
            format!("its power moved between {least} and {most}")
        })
    }
}
