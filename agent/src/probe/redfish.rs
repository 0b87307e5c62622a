//! A server's energy or power as its controller tells it over Redfish, and what cooling units and
//! PDUs tell. One probe per device.
//!
//! # Invariants
//! - The device is only read, by GET. It gets a login with each request, or one session, which is
//!   ended when the probe is dropped or the agent stops (`redfish/session.rs`).
//! - What it sends is foreign: bounded, looked up member by member (`redfish/json.rs`), never
//!   followed to another host. What was not read is missing, never zero.
//! - Energy is shipped in millijoules from the decimal digits that the server wrote. A server that
//!   counts none gets a register of our own, flagged as sampled.
//! - A controller may need seconds. So a tick asks, on a thread of its own, and the next tick tells
//!   what was answered, as the IPMI probe does. An answer is told once; there is no held value.

use std::thread::{Builder, JoinHandle};

use bijli_wire::batch::{Register, Subject};
use bijli_wire::{Method, Millis, Milliwatts, Quantity, SubjectId, SubjectKind};

use self::equipment::Part;
use self::http::Http;
use self::memory::Memory;
use self::session::Session;
use self::survey::{Failure, Plan, Reading};
use crate::clock::Moment;
use crate::probe::integrated::{PowerRegister, Rule};
use crate::probe::kept;
use crate::probe::{
    Cadence, Context, Description, Happening, How, Note, Offer, Probe, ProbeError, Sample, Tick,
    admitted, epoch, short,
};

pub use self::settings::RedfishConfig;

mod equipment;
mod http;
mod json;
mod leaks;
mod memory;
mod session;
mod settings;
mod survey;

/// For what asks: it shakes hands and reads JSON.
const STACK_BYTES: usize = 1 << 20;
/// A survey asks for more documents than a tick does.
const SURVEY_TIMES: u64 = 4;
/// A session is ended within this, or left to the server's own timeout.
const GOODBYE: Millis = Millis::new(2_000);

type Answer = Result<Reading, Failure>;

/// Reads one device.
#[derive(Debug)]
pub struct RedfishProbe {
    name: String,
    config: RedfishConfig,
    context: Context,
    session: Session,
    plan: Option<Plan>,
    question: Option<Question>,
    leaks: leaks::Watch,
    /// What it answered when it was described, for the first tick.
    first: Option<Reading>,
    /// `None`: the server counts energy itself.
    own: Option<PowerRegister>,
    memory: Option<Memory>,
    happened: Vec<Happening>,
    trouble: Option<String>,
    must_describe: bool,
}

/// One that is on its way.
#[derive(Debug)]
struct Question {
    asked: Moment,
    thread: JoinHandle<Answer>,
}

impl RedfishProbe {
    #[must_use]
    pub fn new(config: &RedfishConfig, context: &Context) -> Self {
        let session = Session::default();
        if config.session {
            let (config, session) = (config.clone(), session.clone());
            context.farewells.add(move || say_goodbye(&config, &session));
        }
        Self {
            name: format!("redfish:{}", config.meter),
            config: config.clone(),
            context: context.clone(),
            session,
            plan: None,
            question: None,
            leaks: leaks::Watch::default(),
            first: None,
            own: None,
            memory: kept::load(context.state_dir.as_deref(), &config.meter),
            happened: Vec::new(),
            trouble: None,
            must_describe: false,
        }
    }

    const fn cadence(&self) -> Cadence {
        Cadence::Every(self.config.every)
    }

    fn refuse(&self, reason: impl ToString) -> ProbeError {
        let (meter, address) = (self.config.meter.clone(), self.config.address.clone());
        ProbeError::Meter { meter, address, reason: reason.to_string() }
    }

    /// Keeps who it is; whether that is another than before, which is told.
    fn recognize(&mut self, who: &Memory) -> bool {
        let subject = SubjectId::new(&self.config.meter).ok();
        let before = self.memory.take();
        let changes = before.as_ref().map(|known| known.changes(who, subject.as_ref()));
        let found = match &before {
            Some(known) => who.clone().with(known),
            None => who.clone(),
        };
        if before.as_ref() != Some(&found) {
            kept::store(self.context.state_dir.as_deref(), &found);
        }
        self.memory = Some(found);
        let changes = changes.unwrap_or_default();
        let is_another = !changes.is_empty();
        self.happened.extend(changes);
        is_another
    }

    fn gap(&self) -> Millis {
        Millis::new(self.config.every.get().saturating_mul(3).max(5_000))
    }

    fn register(&self, plan: &Plan) -> Register {
        let (meter, power_max) = (self.config.meter.as_str(), self.config.power_max);
        if let Some(own) = &self.own {
            return own.declare(meter, self.context.start, (power_max, self.gap()));
        }
        self.counted(plan.energy.as_ref().map(|number| number.source).unwrap_or_default())
    }

    /// A count of the device itself; `source` tells one from the other.
    fn counted(&self, source: &str) -> Register {
        let (meter, power_max) = (self.config.meter.as_str(), self.config.power_max);
        let serial = self.memory.as_ref().and_then(|memory| memory.serial.as_deref());
        Register {
            // A decimal number has no count of its own: it is shipped in millijoules.
            numerator: 1,
            denominator: 1,
            modulus: None,
            power_max,
            epoch: epoch(&["redfish", meter, serial.unwrap_or_default(), source]),
            method: Method::Hardware,
            gap: self.gap(),
        }
    }

    /// A new stretch of a register of our own, for a server that counts no energy.
    fn integrate(&mut self, plan: &Plan) {
        if plan.energy.is_some() || plan.power.is_none() {
            self.own = None;
            return;
        }
        // One answer that is missing does not end a stretch, two do.
        let hold_max = Millis::new(self.config.every.get().saturating_mul(2).max(3_000));
        let fresh = || PowerRegister::new(Rule::Trapezoid, Some(hold_max));
        self.own.get_or_insert_with(fresh).begin_stretch();
    }

    /// Asks on a thread of its own. Where the system gives none, the next tick tries again.
    fn ask_aside(&self, asked: Moment) -> Option<Question> {
        let (config, plan) = (self.config.clone(), self.plan.clone()?);
        let session = self.session.clone();
        let asking = move || ask(&config, &session, &plan);
        let thread = Builder::new().stack_size(STACK_BYTES).spawn(asking).ok()?;
        Some(Question { asked, thread })
    }

    /// What came since the last tick, with the moment it was asked for.
    fn answered(&mut self, now: Moment) -> (Moment, Answer) {
        if let Some(first) = self.first.take() {
            return (now, Ok(first));
        }
        // Read again at once, as `once` does: then the answer is worth a wait.
        let is_early = |asked| now.since(asked).get() < self.config.every.get() / 2;
        let question = self
            .question
            .take_if(|question| question.thread.is_finished() || is_early(question.asked));
        let words = |reason: &str| Err(Failure::Unreachable { reason: reason.to_owned() });
        match question {
            None => (now, words("it has not answered yet")),
            Some(Question { asked, thread }) => {
                (asked, thread.join().unwrap_or_else(|_| words("asking it has failed")))
            }
        }
    }

    /// The device itself, then each part of it.
    fn subjects(&self, plan: &Plan) -> Result<Vec<Subject>, ProbeError> {
        let who = self.memory.clone().unwrap_or_default();
        let own = Subject {
            id: self.id(&self.config.meter)?,
            kind: SubjectKind::Meter,
            label: short(&self.config.address),
            model: short(&who.model.unwrap_or_default()),
            serial: short(&who.serial.unwrap_or_default()),
            register: plan.is_meter().then(|| self.register(plan)),
        };
        let part = |part: &Part| {
            let counts = part.values.iter().any(|(what, _)| *what == Quantity::EnergyRegister);
            Ok(Subject {
                id: self.id(&format!("{}/{}", self.config.meter, part.name))?,
                kind: SubjectKind::Meter,
                label: short(&format!("{} {}", self.config.address, part.name)),
                model: String::new(),
                serial: String::new(),
                register: counts.then(|| self.counted(&part.name)),
            })
        };
        let parts = plan.parts.iter().map(part);
        std::iter::once(Ok(own)).chain(parts).collect()
    }

    fn id(&self, name: &str) -> Result<SubjectId, ProbeError> {
        SubjectId::new(name).map_err(|source| ProbeError::Name { source })
    }

    /// What is known of leaks now; what of it is news is told.
    fn watch(&mut self, told: leaks::Told) -> Option<i64> {
        let state = leaks::worst(&told).map(leaks::State::number);
        let subject = SubjectId::new(&self.config.meter).ok();
        self.happened.extend(self.leaks.take(told, subject.as_ref()));
        state
    }

    /// Power that can be true.
    fn believed(&self, power: i64) -> Result<Milliwatts, Failure> {
        let useless = |words: &str| Failure::Useless { words: words.to_owned() };
        match u64::try_from(power).map(Milliwatts::new) {
            Ok(Milliwatts::ZERO) | Err(_) => {
                Err(useless("0 W or less: not believed of a server that answers"))
            }
            Ok(power) if power > self.config.power_max => {
                Err(useless("more power than `power_max`"))
            }
            Ok(power) => Ok(power),
        }
    }
}

impl Drop for RedfishProbe {
    fn drop(&mut self) {
        say_goodbye(&self.config, &self.session);
    }
}

impl Probe for RedfishProbe {
    fn name(&self) -> &str {
        &self.name
    }

    fn describe(&mut self) -> Result<Description, ProbeError> {
        self.config.check().map_err(|why| self.refuse(why))?;
        let (plan, reading) = enrol(&self.config, &self.session).map_err(|why| self.refuse(why))?;
        self.recognize(&reading.who);
        self.integrate(&plan);
        self.must_describe = false;
        self.question = None;
        let notes = notes(&self.config, &plan);
        let subjects = self.subjects(&plan)?;
        let cadence = self.cadence();
        let offer = |subject, quantity| Offer { cadence, subject, quantity, part: 0 };
        let own = [
            (plan.is_meter(), Quantity::EnergyRegister),
            (plan.power.is_some(), Quantity::PowerInstant),
            (plan.leaks.is_some(), Quantity::LeakState),
        ];
        let own = own.into_iter().filter(|(is_told, _)| *is_told);
        let own = own.map(|(_, quantity)| offer(0, quantity));
        let parts = plan.parts.iter().zip(1..);
        let parts = parts.flat_map(|(part, subject)| {
            part.values.iter().map(move |(quantity, _)| offer(subject, *quantity))
        });
        let series = own.chain(parts).collect();
        self.plan = Some(plan);
        self.first = Some(reading);
        Ok(Description { subjects, series, notes })
    }

    fn read(&mut self, due: &[Cadence], now: Tick) -> Vec<Sample> {
        let cadence = self.cadence();
        let Some(plan) = self.plan.as_ref().filter(|_| due.contains(&cadence)) else {
            return Vec::new();
        };
        let (has_power, has_leaks) = (plan.power.is_some(), plan.leaks.is_some());
        let is_meter = plan.is_meter();
        let of_parts: Vec<Quantity> = plan
            .parts
            .iter()
            .flat_map(|part| &part.values)
            .map(|(quantity, _)| *quantity)
            .collect();
        let (at, answer) = self.answered(now.monotonic);
        if self.question.is_none() {
            self.question = self.ask_aside(now.monotonic);
        }
        // A refused password is not tried again at each tick: describing has a back-off.
        self.must_describe |= matches!(answer, Err(Failure::Denied { .. }));
        let mut troubles = Vec::new();
        let reading = match answer {
            Err(why) => {
                troubles.push(why);
                None
            }
            // What another device tells belongs to another count.
            Ok(reading) if self.recognize(&reading.who) => {
                self.must_describe = true;
                None
            }
            Ok(reading) => Some(reading),
        };
        let (mut energy, mut power, mut leak, mut parts) = (None, None, None, Vec::new());
        if let Some(reading) = reading {
            let mut good =
                |outcome: Result<i64, Failure>| outcome.map_err(|e| troubles.push(e)).ok();
            energy = reading.energy.and_then(&mut good);
            parts = reading.parts.into_iter().map(&mut good).collect();
            let told = reading.power.map(|power| power.and_then(|one| self.believed(one)));
            power = told.and_then(|told| told.map_err(|e| troubles.push(e)).ok());
            let told = reading.leaks.map(|told| told.map_err(|e| troubles.push(e)));
            leak = told.and_then(Result::ok).and_then(|told| self.watch(told));
        }
        self.trouble = troubles.into_iter().next().map(|why| self.refuse(why).to_string());
        let count = match &mut self.own {
            Some(own) => own.step(power, Millis::new(at.get())),
            None => energy.and_then(|energy| admitted(Quantity::EnergyRegister, energy)),
        };
        let milliwatts = power.and_then(|power| i64::try_from(power.get()).ok());
        let shown = milliwatts.and_then(|value| admitted(Quantity::PowerInstant, value));
        let own = [(is_meter, count), (has_power, shown), (has_leaks, leak)];
        let own = own.into_iter().filter(|(is_offered, _)| *is_offered).map(|(_, value)| value);
        let of_part = |(index, quantity): (usize, &Quantity)| {
            parts.get(index).copied().flatten().and_then(|value| admitted(*quantity, value))
        };
        let values = own.chain(of_parts.iter().enumerate().map(of_part)).collect();
        vec![Sample { cadence, at: None, values }]
    }

    fn trouble(&self) -> Option<String> {
        self.trouble.clone()
    }

    fn wants_describe(&self) -> bool {
        self.must_describe || self.own.as_ref().is_some_and(PowerRegister::is_broken)
    }

    fn happened(&mut self) -> Vec<Happening> {
        std::mem::take(&mut self.happened)
    }
}

fn late(limit: Millis) -> Failure {
    Failure::Unreachable { reason: format!("no whole answer within {} ms", limit.get()) }
}

/// Ends a session for good.
fn say_goodbye(config: &RedfishConfig, session: &Session) {
    let Some(open) = session.close() else { return };
    let task = async {
        if let Ok(mut http) = Http::new(config, session) {
            http.end(&open).await;
        }
    };
    if http::within(GOODBYE, task).is_none() {
        tracing::warn!("{} did not end its session in time: it ends by itself", config.address);
    }
}

/// Finds where it tells what, and reads it; blocks until then or the deadline.
fn enrol(config: &RedfishConfig, session: &Session) -> Result<(Plan, Reading), Failure> {
    let limit = Millis::new(config.timeout.get().saturating_mul(SURVEY_TIMES));
    let task = async {
        let mut http =
            Http::new(config, session).map_err(|reason| Failure::Unreachable { reason })?;
        let plan = survey::survey(&mut http, config).await?;
        let reading = survey::read(&mut http, &plan, &config.meter).await?;
        Ok((plan, reading))
    };
    http::within(limit, task).unwrap_or_else(|| Err(late(limit)))
}

/// Reads once; blocks until there is an answer or the deadline is over.
fn ask(config: &RedfishConfig, session: &Session, plan: &Plan) -> Answer {
    let task = async {
        let mut http =
            Http::new(config, session).map_err(|reason| Failure::Unreachable { reason })?;
        survey::read(&mut http, plan, &config.meter).await
    };
    http::within(config.timeout, task).unwrap_or_else(|| Err(late(config.timeout)))
}

fn notes(config: &RedfishConfig, plan: &Plan) -> Vec<Note> {
    let energy = match (&plan.energy, &plan.power) {
        (Some(number), _) => Note::new(How::Register, "energy", number.source),
        (None, Some(_)) => {
            let words = "class sampled: it counts no energy, so power is integrated at each \
                         reading; while the agent is down nothing is counted";
            Note::new(How::Integrated, "energy", words)
        }
        (None, None) => Note::new(How::NotOffered, "energy", "it tells none of its own"),
    };
    let power = match &plan.power {
        Some(number) => Note::new(How::Read, "power", number.source),
        None => Note::new(How::NotOffered, "power", "it tells none"),
    };
    let leaks = match &plan.leaks {
        Some(leaks::Place::Groups(_)) => {
            Some(Note::new(How::Read, "leak detectors", "LeakDetection, in groups"))
        }
        Some(leaks::Place::Each(each)) => {
            let words = format!("LeakDetection, {} detectors", each.len());
            Some(Note::new(How::Read, "leak detectors", words))
        }
        None => None,
    };
    let parts = plan.parts.iter().map(|part| {
        let told: Vec<&str> = part.values.iter().map(|(_, number)| number.source).collect();
        let evidence = part.evidence.as_ref().map(|said| format!("; {said}")).unwrap_or_default();
        Note::new(How::Read, &part.name, format!("{}{evidence}", told.join(", ")))
    });
    let ground = match &config.tls {
        Some(tls) => format!("in TLS, believed {}", tls.ground()),
        None => "in plain text: can be read and altered on the way".to_owned(),
    };
    let ground = if config.session { format!("{ground}; in a session") } else { ground };
    let first = [energy, power].into_iter().chain(leaks).chain(parts);
    first.chain([Note::new(How::Read, "connection", ground)]).collect()
}
