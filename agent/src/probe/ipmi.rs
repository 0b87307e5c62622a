//! A server's own power as its BMC tells it, by IPMI: DCMI's Get Power Reading, or a power sensor
//! that is named. One probe per BMC, in band (`/dev/ipmi0`) or over the network; `ipmitool` asks.
//!
//! # Invariants
//! - A BMC has no energy counter: power is integrated, and flagged as sampled.
//! - A BMC may need seconds. So a tick asks, and the next tick tells what was answered, counted as
//!   of the moment it was asked for. An answer is told once; there is no held value.
//! - What asks is a process of its own, which ends at the deadline one way or the other
//!   (`ipmi/tool.rs`): a dead BMC costs its own values only.
//! - A reading of 0 W, one above `power_max`, and one whose measurement is not active are missing.

use std::thread::{Builder, JoinHandle};

use bijli_wire::batch::Subject;
use bijli_wire::{Millis, Milliwatts, Quantity, SubjectId, SubjectKind};

use self::answer::Reading;
use self::tool::Tool;
use crate::clock::Moment;
use crate::probe::integrated::{PowerRegister, Rule};
use crate::probe::{
    Cadence, Context, Description, How, Note, Offer, Probe, ProbeError, Sample, Tick, admitted,
    short,
};

pub use self::settings::IpmiConfig;

mod answer;
mod settings;
mod tool;

/// For what asks: it starts a program and reads a page of text.
const STACK_BYTES: usize = 256 << 10;

/// Reads one BMC.
#[derive(Debug)]
pub struct IpmiProbe {
    name: String,
    config: IpmiConfig,
    start: u64,
    question: Option<Question>,
    /// What it answered when it was described, for the first tick.
    first: Option<Reading>,
    register: PowerRegister,
    trouble: Option<String>,
}

type Answer = Result<Reading, String>;

/// One that is on its way.
#[derive(Debug)]
struct Question {
    asked: Moment,
    thread: JoinHandle<Answer>,
}

impl IpmiProbe {
    #[must_use]
    pub fn new(config: &IpmiConfig, context: &Context) -> Self {
        // One answer that is missing does not end a stretch, two do.
        let hold_max = Millis::new(config.every.get().saturating_mul(2).max(3_000));
        Self {
            name: format!("ipmi:{}", config.meter),
            config: config.clone(),
            start: context.start,
            question: None,
            first: None,
            register: PowerRegister::new(Rule::Trapezoid, Some(hold_max)),
            trouble: None,
        }
    }

    const fn cadence(&self) -> Cadence {
        Cadence::Every(self.config.every)
    }

    fn subject(&self) -> Result<Subject, ProbeError> {
        let gap = Millis::new(self.config.every.get().saturating_mul(3).max(5_000));
        let shape = (self.config.power_max, gap);
        Ok(Subject {
            id: SubjectId::new(&self.config.meter).map_err(|source| ProbeError::Name { source })?,
            kind: SubjectKind::Meter,
            label: short(&self.config.place()),
            model: short(&self.config.model),
            serial: short(&self.config.serial),
            register: Some(self.register.declare(&self.config.meter, self.start, shape)),
        })
    }

    /// Asks on a thread of its own. Where the system gives none, the next tick tries again.
    fn ask_aside(&self, asked: Moment) -> Option<Question> {
        let config = self.config.clone();
        let thread = Builder::new().stack_size(STACK_BYTES).spawn(move || ask(&config)).ok()?;
        Some(Question { asked, thread })
    }

    /// What came since the last tick, with the moment it was asked for.
    fn answered(&mut self, now: Moment) -> Option<(Moment, Answer)> {
        if let Some(first) = self.first.take() {
            return Some((now, Ok(first)));
        }
        // Read again at once, as `once` does: then the answer is worth a wait.
        let is_early = |asked| now.since(asked).get() < self.config.every.get() / 2;
        let question = self
            .question
            .take_if(|question| question.thread.is_finished() || is_early(question.asked))?;
        let answer = question.thread.join();
        let answer = answer.unwrap_or_else(|_| Err("asking it has failed".to_owned()));
        Some((question.asked, answer))
    }
}

impl Probe for IpmiProbe {
    fn name(&self) -> &str {
        &self.name
    }

    fn describe(&mut self) -> Result<Description, ProbeError> {
        let refuse = |reason| {
            let (meter, address) = (self.config.meter.clone(), self.config.place());
            ProbeError::Meter { meter, address, reason }
        };
        self.config.check().map_err(refuse)?;
        let reading = ask(&self.config).map_err(refuse)?;
        self.question = None;
        self.register.begin_stretch();
        let words = "class sampled: a BMC has no energy counter, so power is integrated at each \
                     reading; while the agent is down nothing is counted";
        let mut notes = vec![Note::new(How::Integrated, "energy", words)];
        notes.push(match reading.power(self.config.power_max) {
            Ok(_) => Note::new(How::Read, "power", reading.evidence.clone()),
            Err(why) => Note::new(How::Missing, "power", why),
        });
        self.first = Some(reading);
        let cadence = self.cadence();
        let offer = |quantity| Offer { cadence, subject: 0, quantity, part: 0 };
        let series = [Quantity::EnergyRegister, Quantity::PowerInstant].map(offer).to_vec();
        Ok(Description { subjects: vec![self.subject()?], series, notes })
    }

    fn read(&mut self, due: &[Cadence], now: Tick) -> Vec<Sample> {
        let cadence = self.cadence();
        if !due.contains(&cadence) {
            return Vec::new();
        }
        let answer = self.answered(now.monotonic);
        if self.question.is_none() {
            self.question = self.ask_aside(now.monotonic);
        }
        let silent = || (now.monotonic, Err("it has not answered yet".to_owned()));
        let (at, answer) = answer.unwrap_or_else(silent);
        let power = answer.and_then(|reading| reading.power(self.config.power_max));
        let place = format!("{} at {}", self.config.meter, self.config.place());
        self.trouble = power.as_ref().err().map(|why| format!("{place}: {why}"));
        let power = power.ok();
        let count = self.register.step(power, Millis::new(at.get()));
        let milliwatts = power.and_then(|power| i64::try_from(power.get()).ok());
        let power = milliwatts.and_then(|value| admitted(Quantity::PowerInstant, value));
        vec![Sample { cadence, at: None, values: vec![count, power] }]
    }

    fn trouble(&self) -> Option<String> {
        self.trouble.clone()
    }

    fn wants_describe(&self) -> bool {
        self.register.is_broken()
    }
}

/// Asks once; blocks until there is an answer or the deadline is over.
fn ask(config: &IpmiConfig) -> Answer {
    let tool = Tool { program: &config.program, timeout: config.timeout };
    let said = tool.run(&config.words()?).map_err(|failure| failure.to_string())?;
    match &config.sensor {
        Some(sensor) => answer::of_sensor(sensor, &said),
        None => answer::of_dcmi(&said),
    }
}

/// Milliwatts of a reading in watts.
fn milliwatts(watts: u64) -> Option<Milliwatts> {
    watts.checked_mul(1_000).map(Milliwatts::new)
}

#[cfg(test)]
mod tests;
