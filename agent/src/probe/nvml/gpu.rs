//! One GPU: described once, then read at each tick.

use std::sync::Arc;

use bijli_wire::batch::{Register, Subject};
use bijli_wire::message::EventKind;
use bijli_wire::{Method, Millis, Milliwatts, Quantity, SubjectId, SubjectKind};

use super::catalogue::per_unit;
use super::crosscheck::{Both, Crosscheck, Verdict};
use super::library::{Answer, Ask, Field, GpuError, GpuReader, Identity, NEWS_XID, Told};
use super::session::Session;
use super::stamps::Stamps;
use super::survey::{Plan, PowerSource, Source, survey};
use crate::clock::Moment;
use crate::probe::integrated::{PowerRegister, Rule};
use crate::probe::{
    Cadence, Context, Description, Happening, How, Note, Offer, Probe, ProbeError, Sample, Tick,
    Witness, admitted, epoch, short,
};

/// Readings further apart than this are bridged: five missed ticks.
const GAP: Millis = Millis::new(5_000);
/// A power reading is never held longer than this.
const HOLD_MAX: Millis = Millis::new(3_000);
/// More than any GPU draws, for one that does not tell its limit.
const POWER_UNKNOWN_MAX: Milliwatts = Milliwatts::new(1_500_000);
/// A GB300's module may draw 2,900 W.
const MODULE_POWER_MAX: Milliwatts = Milliwatts::new(3_000_000);
/// A handle that has been dead for this many ticks is opened again.
pub(super) const DEAD_TICKS_MAX: u32 = 30;
/// What a GPU is and offers is asked again so often.
const DESCRIBE_EVERY: u64 = 3_600_000;

/// Reads one GPU.
pub struct GpuProbe {
    name: String,
    uuid: String,
    context: Context,
    session: Arc<Session>,
    reader: Option<Box<dyn GpuReader>>,
    plan: Plan,
    /// The integral of the power: the register of a GPU that has none, a witness beside one.
    own: PowerRegister,
    stamps: Stamps,
    check: Crosscheck,
    /// Goes up when another register is believed, so that no difference is taken across.
    generation: u32,
    mig_instances: Option<i64>,
    /// Where it was found.
    pci: String,
    /// As it was last described.
    told: Option<Subject>,
    described: Option<Moment>,
    is_outdated: bool,
    dead_ticks: u32,
    trouble: Option<String>,
    happened: Vec<Happening>,
}

impl std::fmt::Debug for GpuProbe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GpuProbe").field("uuid", &self.uuid).finish_non_exhaustive()
    }
}

impl GpuProbe {
    pub(super) fn new(uuid: &str, session: Arc<Session>, context: &Context) -> Self {
        Self {
            name: format!("nvml:{uuid}"),
            uuid: uuid.to_owned(),
            context: context.clone(),
            session,
            reader: None,
            plan: Plan::default(),
            own: PowerRegister::new(Rule::Previous, Some(HOLD_MAX)),
            stamps: Stamps::default(),
            check: Crosscheck::default(),
            generation: 0,
            mig_instances: None,
            pci: String::new(),
            told: None,
            described: None,
            is_outdated: false,
            dead_ticks: 0,
            trouble: None,
            happened: Vec::new(),
        }
    }

    fn subject(&self) -> Option<SubjectId> {
        SubjectId::new(&self.uuid).ok()
    }

    /// A GPU that does not answer and whose index is another's by now: it is shown without one, or
    /// two would have one name.
    fn without_index(&mut self) -> Option<Description> {
        if !self.session.is_displaced(&self.uuid) {
            return None;
        }
        let subject = Subject { label: String::new(), ..self.told.clone()? };
        self.session.take_index(&self.uuid, None);
        Some(Description { subjects: vec![subject], ..Description::default() })
    }

    fn happen(&mut self, kind: EventKind, code: u32, text: String) {
        let subject = self.subject();
        self.happened.push(Happening { subject, kind, code, text, witness: Witness::Driver });
    }

    /// Whether the energy is our own integral.
    fn is_own(&self) -> bool {
        self.plan.steps.iter().any(|step| step.source == Source::Own)
    }

    fn register(&self, identity: &Identity, driver: &str) -> Option<Register> {
        let power_max = match identity.power_mw_max {
            _ if self.plan.is_of_module => MODULE_POWER_MAX,
            Some(limit) if limit > 0 => Milliwatts::new(limit),
            Some(_) | None => POWER_UNKNOWN_MAX,
        };
        let step = self.plan.steps.iter().find(|step| step.quantity == Quantity::EnergyRegister)?;
        if step.source == Source::Own {
            let declared = self.own.declare(&self.uuid, self.context.start, (power_max, GAP));
            return Some(Register { method: self.method(), ..declared });
        }
        Some(Register {
            numerator: 1,
            denominator: 1,
            modulus: None,
            power_max,
            epoch: self.hardware_epoch(driver),
            method: Method::Hardware,
            gap: GAP,
        })
    }

    const fn method(&self) -> Method {
        match self.plan.power {
            Some(PowerSource::Average(_)) | None => Method::Integrated,
            Some(PowerSource::Instant(_) | PowerSource::Usage) => Method::Sampled,
        }
    }

    /// Another boot or driver is another count, and so is one that is believed again.
    fn hardware_epoch(&self, driver: &str) -> u64 {
        let boot = self.context.boot.as_str();
        if self.generation == 0 {
            return epoch(&[boot, driver, &self.uuid]);
        }
        let (start, generation) = (self.context.start.to_string(), self.generation.to_string());
        epoch(&[boot, driver, &self.uuid, &start, &generation])
    }

    /// Opens the GPU and asks it everything.
    fn open(&mut self) -> Result<(Identity, String, Vec<Note>), ProbeError> {
        let device = format!("GPU {}", self.uuid);
        let library = self.session.library()?;
        let uuid = self.uuid.clone();
        let is_distrusted = self.check.is_distrusted();
        let outcome = (|| {
            let driver = library.driver_version()?;
            let mut reader = Arc::clone(&library).open(&uuid)?;
            let identity = reader.identity();
            let (plan, notes) = survey(reader.as_mut(), &identity, is_distrusted)?;
            Ok((reader, identity, driver, plan, notes))
        })();
        let (reader, identity, driver, plan, notes) = outcome.map_err(|error: GpuError| {
            if error == GpuError::Gone {
                self.session.forget();
            }
            ProbeError::Device { device, reason: error.to_string() }
        })?;
        (self.reader, self.plan) = (Some(reader), plan);
        Ok((identity, driver, notes))
    }

    /// Compares and integrates: once at each hot tick.
    fn meter(&mut self, tick: &mut Asked<'_>) -> Option<i64> {
        if self.own.is_broken() && !self.is_own() {
            self.own.begin_stretch();
        }
        let told = match self.plan.power? {
            PowerSource::Average(index) | PowerSource::Instant(index) => tick.field(index),
            PowerSource::Usage => {
                let value = tick.ask(Ask::Power);
                value.map(|value| Told { value, at_us: 0, latency_us: 0 })
            }
        };
        let at = self.stamps.at(told.map_or(0, |told| told.at_us), tick.at);
        let power = told.and_then(|told| in_unit(Quantity::PowerAverage, told.value));
        let power = power.and_then(|mw| u64::try_from(mw).ok()).map(Milliwatts::new);
        let integral = self.own.step(power, at);
        self.compare(integral, at, tick);
        integral
    }

    fn compare(&mut self, integral: Option<i64>, at: Millis, tick: &mut Asked<'_>) {
        let register = match self.plan.register {
            Some(Source::Field(index)) => tick.field(index).map(|told| told.value),
            Some(Source::Ask(question)) => tick.ask(question),
            Some(Source::Sum { .. } | Source::Own | Source::Integral | Source::ReadTime) | None => {
                None
            }
        };
        let whole = |value: Option<i64>| value.and_then(|value| u64::try_from(value).ok());
        let register = register.and_then(|mj| in_unit(Quantity::EnergyRegister, mj));
        let (Some(register), Some(integral)) = (whole(register), whole(integral)) else { return };
        let Some(verdict) = self.check.step(Both { at, register, integral }) else { return };
        let was_own = self.is_own();
        let (kind, text) = told_of(verdict);
        self.happen(kind, 0, text);
        if self.check.is_distrusted() != was_own {
            self.generation = self.generation.saturating_add(1);
            self.is_outdated = true;
        }
    }

    fn take_news(&mut self, reader: &mut dyn GpuReader) {
        for news in reader.news() {
            let code = u32::try_from(news.data).unwrap_or(u32::MAX);
            if news.kind == NEWS_XID {
                self.happen(EventKind::GpuXid, code, "told by the driver".to_owned());
            } else {
                let kind = u32::try_from(news.kind).unwrap_or(u32::MAX);
                self.happen(EventKind::GpuEvent, kind, news.words().to_owned());
                self.is_outdated = true;
            }
        }
    }

    /// Another MIG layout is another set of offers.
    fn watch_shape(&mut self, samples: &[Sample]) {
        let offers = |cadence| self.plan.steps.iter().filter(move |step| step.cadence == cadence);
        let found = samples.iter().find_map(|sample| {
            let place =
                offers(sample.cadence).position(|step| step.quantity == Quantity::MigInstances)?;
            sample.values.get(place).copied()?
        });
        let Some(now) = found else { return };
        let before = self.mig_instances.replace(now);
        if before.is_some_and(|before| before != now) {
            let text = format!("MIG instances: {} before, {now} now", before.unwrap_or(0));
            self.happen(EventKind::InventoryChanged, 0, text);
            self.is_outdated = true;
        }
    }

    /// Whether another GPU was found in its place.
    fn is_replaced(&self) -> bool {
        let there = self.context.places.at(&self.pci);
        there.is_some_and(|gpu| gpu.as_str() != self.uuid)
    }

    fn let_go(&mut self) {
        self.reader = None;
        self.is_outdated = true;
    }
}

impl Probe for GpuProbe {
    fn name(&self) -> &str {
        &self.name
    }

    fn describe(&mut self) -> Result<Description, ProbeError> {
        self.reader = None;
        let id = SubjectId::new(&self.uuid).map_err(|source| ProbeError::Name { source })?;
        let (identity, driver, mut notes) = match self.open() {
            Ok(opened) => opened,
            Err(error) => return self.without_index().ok_or(error),
        };
        self.own.begin_stretch();
        let power_max = identity.power_mw_max.map_or(POWER_UNKNOWN_MAX, Milliwatts::new);
        self.check.begin(power_max, self.method() == Method::Sampled);
        (self.dead_ticks, self.trouble, self.described) = (0, None, None);
        self.is_outdated = false;
        self.pci.clone_from(&identity.pci);
        if !identity.pci.is_empty() {
            self.context.places.put(&identity.pci, id.clone());
        }
        let is_of_module = if self.plan.is_of_module { " (whole module)" } else { "" };
        let index = self.session.take_index(&self.uuid, identity.index);
        let subject = Subject {
            id,
            kind: SubjectKind::Gpu,
            label: index.map(|index| index.to_string()).unwrap_or_default(),
            model: short(&format!("{}{is_of_module}", identity.name)),
            serial: short(&identity.serial),
            register: self.register(&identity, &driver),
        };
        let series = self.plan.steps.iter().map(|step| Offer {
            cadence: step.cadence,
            subject: 0,
            quantity: step.quantity,
            part: 0,
        });
        let series = series.collect();
        if identity.is_mig {
            notes.push(Note::new(
                How::NotOffered,
                "energy of a MIG instance",
                "the driver meters the whole GPU only; the books split it by allocation",
            ));
        }
        self.told = Some(subject.clone());
        Ok(Description { subjects: vec![subject], series, notes })
    }

    fn read(&mut self, due: &[Cadence], now: Tick) -> Vec<Sample> {
        if self.session.is_paused() || self.is_replaced() {
            self.let_go();
            return Vec::new();
        }
        let Some(mut reader) = self.reader.take() else { return Vec::new() };
        self.described.get_or_insert(now.monotonic);
        let plan = std::mem::take(&mut self.plan);
        let mut tick = Asked::begin(reader.as_mut(), &plan, due, now);
        self.plan = plan;
        let integral = due.contains(&Cadence::Hot).then(|| self.meter(&mut tick)).flatten();
        let mut samples = Vec::with_capacity(due.len());
        for cadence in due {
            let steps = self.plan.steps.iter().filter(|step| step.cadence == *cadence);
            let values: Vec<Option<i64>> = steps
                .map(|step| match step.source {
                    Source::Own => integral,
                    Source::Integral => integral.or_else(|| self.own.count()),
                    source @ (Source::Field(_)
                    | Source::Sum { .. }
                    | Source::Ask(_)
                    | Source::ReadTime) => {
                        tick.value(source).and_then(|value| in_unit(step.quantity, value))
                    }
                })
                .collect();
            if !values.is_empty() {
                samples.push(Sample { cadence: *cadence, at: None, values });
            }
        }
        self.dead_ticks = if tick.answered > 0 { 0 } else { self.dead_ticks.saturating_add(1) };
        let is_gone = tick.is_gone;
        self.trouble = tick.trouble.take();
        drop(tick);
        self.take_news(reader.as_mut());
        self.watch_shape(&samples);
        let since = self.described.map_or(0, |at| now.monotonic.since(at).get());
        self.is_outdated |= since >= DESCRIBE_EVERY;
        if is_gone {
            self.session.forget();
            self.let_go();
        } else {
            self.reader = Some(reader);
        }
        samples
    }

    fn trouble(&self) -> Option<String> {
        self.trouble.clone()
    }

    fn wants_describe(&self) -> bool {
        self.is_outdated
            || self.session.is_displaced(&self.uuid)
            || (self.own.is_broken() && self.is_own())
            || self.dead_ticks >= DEAD_TICKS_MAX
    }

    fn is_finished(&self) -> bool {
        self.reader.is_none() && self.is_replaced()
    }

    fn happened(&mut self) -> Vec<Happening> {
        std::mem::take(&mut self.happened)
    }
}

fn told_of(verdict: Verdict) -> (EventKind, String) {
    let joules = |mj: u64| mj / 1_000;
    match verdict {
        Verdict::Doubted { register_mj, integral_mj } => (
            EventKind::RegisterDoubted,
            format!(
                "in 5 min the register counted {} J and the power beside it {} J, for the third \
                 time on end; the register is used all the same",
                joules(register_mj),
                joules(integral_mj)
            ),
        ),
        Verdict::Distrusted { register_mj, integral_mj } => (
            EventKind::RegisterDistrusted,
            format!(
                "in 5 min the register counted {} J and the power beside it {} J: power is \
                 integrated instead",
                joules(register_mj),
                joules(integral_mj)
            ),
        ),
        Verdict::Stuck { integral_mj } => (
            EventKind::RegisterDistrusted,
            format!(
                "the register stood still while {} J were drawn: power is integrated instead",
                joules(integral_mj)
            ),
        ),
        Verdict::Trusted => (
            EventKind::RegisterTrusted,
            "the register agrees with the power beside it again".to_owned(),
        ),
    }
}

/// One tick's conversation: all fields that are due in one call, and questions.
struct Asked<'a> {
    reader: &'a mut dyn GpuReader,
    at: Millis,
    /// By the plan's index; `None`: not due.
    fields: Vec<Option<Answer<Told>>>,
    answered: u32,
    is_gone: bool,
    trouble: Option<String>,
}

impl<'a> Asked<'a> {
    fn begin(reader: &'a mut dyn GpuReader, plan: &Plan, due: &[Cadence], now: Tick) -> Self {
        let indices: Vec<usize> = (0..plan.fields.len())
            .filter(|index| {
                plan.fields.get(*index).is_some_and(|(cadence, _)| due.contains(cadence))
            })
            .collect();
        let asked: Vec<Field> =
            indices.iter().filter_map(|index| Some(plan.fields.get(*index)?.1)).collect();
        let at = Millis::new(now.monotonic.get());
        let mut tick = Self {
            reader,
            at,
            fields: vec![None; plan.fields.len()],
            answered: 0,
            is_gone: false,
            trouble: None,
        };
        if asked.is_empty() {
            return tick;
        }
        let (answers, failed) = match tick.reader.fields(&asked) {
            Ok(answers) => (answers, GpuError::Other("the driver left it out".to_owned())),
            Err(error) => (Vec::new(), error),
        };
        let mut answers = answers.into_iter();
        for index in indices {
            let answer = answers.next().unwrap_or_else(|| Err(failed.clone()));
            tick.note(&answer);
            if let Some(place) = tick.fields.get_mut(index) {
                *place = Some(answer);
            }
        }
        tick
    }

    fn note<T>(&mut self, answer: &Answer<T>) {
        match answer {
            Ok(_) => self.answered = self.answered.saturating_add(1),
            Err(error) => {
                self.is_gone |= *error == GpuError::Gone;
                self.trouble.get_or_insert_with(|| error.to_string());
            }
        }
    }

    fn field(&self, index: usize) -> Option<Told> {
        self.fields.get(index)?.as_ref()?.as_ref().ok().copied()
    }

    fn ask(&mut self, question: Ask) -> Option<i64> {
        let answer = self.reader.ask(question);
        self.note(&answer);
        answer.ok()
    }

    fn value(&mut self, source: Source) -> Option<i64> {
        match source {
            Source::Field(index) => self.field(index).map(|told| told.value),
            Source::Sum { first, count } => {
                let values = (first..first.saturating_add(count)).map(|index| self.field(index));
                let mut sum = 0_i64;
                for told in values {
                    sum = sum.checked_add(told?.value)?;
                }
                Some(sum)
            }
            Source::Ask(question) => self.ask(question),
            Source::ReadTime => {
                let told = self.fields.iter().flatten().filter_map(|answer| answer.as_ref().ok());
                told.map(|told| told.latency_us).max()
            }
            Source::Own | Source::Integral => None,
        }
    }
}

/// The driver's unit to the catalogue's; `None` for what cannot be true.
fn in_unit(quantity: Quantity, value: i64) -> Option<i64> {
    admitted(quantity, value.checked_mul(per_unit(quantity))?)
}
