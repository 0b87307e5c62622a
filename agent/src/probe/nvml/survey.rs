//! Asking a GPU everything once, and planning what to ask from now on.

use std::collections::{BTreeMap, BTreeSet};

use bijli_wire::Quantity;

use super::catalogue::{FIELDS, OF_LINKS, QUESTIONS};
use super::library::{Answer, Ask, Field, GpuError, GpuReader, Identity, Told};
use crate::probe::{Cadence, How, Note};

/// Fields of one call while surveying.
const FIELDS_PER_CALL: usize = 64;
/// More links than any GPU has.
const LINKS_MAX: u32 = 64;

/// What is asked at each tick, and what its answers become.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) steps: Vec<Step>,
    pub(super) fields: Vec<(Cadence, Field)>,
    pub(super) power: Option<PowerSource>,
    /// Where the hardware's own count is read, whether it is believed or not.
    pub(super) register: Option<Source>,
    /// What the hardware's count covers.
    pub(super) is_of_module: bool,
}

/// One planned series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) cadence: Cadence,
    pub(super) quantity: Quantity,
    pub(super) source: Source,
}

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// Index into the plan's fields.
    Field(usize),
    /// The sum of so many of the plan's fields, from the first.
    Sum {
        first: usize,
        count: usize,
    },
    Ask(Ask),
    /// Our own register over the power.
    Own,
    /// The same integral beside a hardware register.
    Integral,
    /// How long the driver took for the slowest field of a tick.
    ReadTime,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PowerSource {
    /// The average of the last second.
    Average(usize),
    /// Momentary.
    Instant(usize),
    /// The elder call: average or momentary, by GPU and driver.
    Usage,
}

/// What one answer means for the plan: what failed otherwise may come back.
fn is_offered<T>(answer: &Answer<T>) -> bool {
    match answer {
        Ok(_) | Err(GpuError::Other(_) | GpuError::Lost | GpuError::Gone) => true,
        Err(GpuError::NotSupported | GpuError::NotPermitted) => false,
    }
}

/// Whether there is no use in asking on.
fn ends<T>(answer: &Answer<T>) -> Option<GpuError> {
    match answer {
        Err(error @ (GpuError::Lost | GpuError::Gone)) => Some(error.clone()),
        Ok(_) | Err(GpuError::NotSupported | GpuError::NotPermitted | GpuError::Other(_)) => None,
    }
}

pub(super) struct Survey<'a> {
    reader: &'a mut dyn GpuReader,
    answers: BTreeMap<Field, Answer<Told>>,
    plan: Plan,
    /// Whether the power that the plan has answers now.
    is_power_told: bool,
    notes: Vec<Note>,
    /// Health values that this GPU does not tell, in one note.
    untold: Vec<String>,
}

/// Asks everything once. `is_distrusted`: the hardware's register is not to be used.
pub(super) fn survey(
    reader: &mut dyn GpuReader,
    identity: &Identity,
    is_distrusted: bool,
) -> Result<(Plan, Vec<Note>), GpuError> {
    let mut survey = Survey {
        reader,
        answers: BTreeMap::new(),
        plan: Plan::default(),
        is_power_told: false,
        notes: Vec::new(),
        untold: Vec::new(),
    };
    survey.ask_fields(identity)?;
    survey.power()?;
    survey.energy(is_distrusted)?;
    survey.values();
    survey.links(identity.links.min(LINKS_MAX));
    survey.questions()?;
    Ok(survey.close())
}

impl Survey<'_> {
    fn ask_fields(&mut self, identity: &Identity) -> Result<(), GpuError> {
        let power = [
            Field::ENERGY,
            Field::POWER_AVERAGE,
            Field::POWER_INSTANT,
            Field::MODULE_AVERAGE,
            Field::MODULE_INSTANT,
        ];
        let values = FIELDS.iter().map(|(_, _, number)| Field::of_gpu(*number));
        let links = identity.links.min(LINKS_MAX);
        let numbers: BTreeSet<u32> = OF_LINKS.iter().flat_map(|(_, _, numbers)| *numbers).collect();
        let of_links = numbers
            .iter()
            .flat_map(|number| (0..links).map(|scope| Field { number: *number, scope }));
        let all: Vec<Field> = power.into_iter().chain(values).chain(of_links).collect();
        for asked in all.chunks(FIELDS_PER_CALL) {
            let answers = self.reader.fields(asked);
            if let Some(error) = ends(&answers) {
                return Err(error);
            }
            let failed = answers.as_ref().err().cloned();
            let mut answers = answers.unwrap_or_default().into_iter();
            for field in asked {
                let missing = failed.clone().unwrap_or(GpuError::NotSupported);
                self.answers.insert(*field, answers.next().unwrap_or(Err(missing)));
            }
        }
        Ok(())
    }

    fn has(&self, field: Field) -> bool {
        self.answers.get(&field).is_some_and(is_offered)
    }

    /// Whether it had a number just now.
    fn tells(&self, field: Field) -> bool {
        matches!(self.answers.get(&field), Some(Ok(_)))
    }

    fn plan_field(&mut self, cadence: Cadence, field: Field) -> usize {
        self.plan.fields.push((cadence, field));
        self.plan.fields.len() - 1
    }

    fn step(&mut self, cadence: Cadence, quantity: Quantity, source: Source) {
        self.plan.steps.push(Step { cadence, quantity, source });
    }

    fn note(&mut self, how: How, what: &str, words: impl Into<String>) {
        self.notes.push(Note::new(how, what, words));
    }

    /// The power that is shown and, where there is no register, integrated: the first that answers
    /// now. What is known and failed may come back, but nothing waits for it.
    fn power(&mut self) -> Result<(), GpuError> {
        let is_average_told = self.tells(Field::POWER_AVERAGE);
        if self.has(Field::POWER_AVERAGE) {
            let index = self.plan_field(Cadence::Hot, Field::POWER_AVERAGE);
            self.step(Cadence::Hot, Quantity::PowerAverage, Source::Field(index));
            self.plan.power = Some(PowerSource::Average(index));
            self.is_power_told = is_average_told;
            if is_average_told {
                self.note(How::Read, "average power", "the driver's average over 1 s");
            } else {
                self.note(How::Missing, "average power", "the driver knows it, and it fails now");
            }
        }
        if self.tells(Field::POWER_INSTANT) || (is_average_told && self.has(Field::POWER_INSTANT)) {
            let index = self.plan_field(Cadence::Hot, Field::POWER_INSTANT);
            self.step(Cadence::Hot, Quantity::PowerInstant, Source::Field(index));
            if !is_average_told {
                self.plan.power = Some(PowerSource::Instant(index));
                self.is_power_told = true;
                let words = "of the moment; what part of the time it sees depends on the GPU";
                self.note(How::Read, "present power", words);
            }
        } else if !is_average_told {
            self.other_power()?;
        }
        if self.tells_module() && !self.plan.is_of_module {
            self.module_power();
        }
        if self.plan.power.is_none() {
            let words = "the driver tells neither average nor present power";
            self.note(How::NotOffered, "power", words);
        }
        Ok(())
    }

    fn tells_module(&self) -> bool {
        self.tells(Field::MODULE_AVERAGE) || self.tells(Field::MODULE_INSTANT)
    }

    /// Where neither field of the GPU's own power has a number now.
    fn other_power(&mut self) -> Result<(), GpuError> {
        let is_known = self.has(Field::POWER_AVERAGE) || self.has(Field::POWER_INSTANT);
        // GH200 tells its module only: what is read then covers the CPU as well.
        if !is_known && self.tells_module() {
            self.plan.is_of_module = true;
            self.plan.power = Some(self.module_power());
            self.is_power_told = true;
            return Ok(());
        }
        let answer = self.reader.ask(Ask::Power);
        if let Some(error) = ends(&answer) {
            return Err(error);
        }
        self.is_power_told = answer.is_ok();
        if self.is_power_told || (is_offered(&answer) && !is_known) {
            self.plan.power = Some(PowerSource::Usage);
            self.step(Cadence::Hot, Quantity::PowerInstant, Source::Ask(Ask::Power));
            let words = "what window it averages over depends on GPU and driver";
            self.note(How::Read, "present power", words);
        } else if self.has(Field::POWER_INSTANT) {
            let index = self.plan_field(Cadence::Hot, Field::POWER_INSTANT);
            self.step(Cadence::Hot, Quantity::PowerInstant, Source::Field(index));
            self.plan.power.get_or_insert(PowerSource::Instant(index));
        }
        Ok(())
    }

    fn module_power(&mut self) -> PowerSource {
        let is_average = self.tells(Field::MODULE_AVERAGE);
        let field = if is_average { Field::MODULE_AVERAGE } else { Field::MODULE_INSTANT };
        let index = self.plan_field(Cadence::Hot, field);
        self.step(Cadence::Hot, Quantity::ModulePower, Source::Field(index));
        let words = "of the CPU and the GPUs of this module together; never added to a GPU's";
        self.note(How::Read, "module power", words);
        if is_average { PowerSource::Average(index) } else { PowerSource::Instant(index) }
    }

    /// Best source first: hardware register, then integrated average, then integrated momentary
    /// power.
    fn energy(&mut self, is_distrusted: bool) -> Result<(), GpuError> {
        let hardware = self.register()?;
        self.plan.register = hardware;
        let note = match (hardware, self.plan.power) {
            (Some(source), Some(power)) if is_distrusted => {
                self.step(Cadence::Hot, Quantity::EnergyRegister, Source::Own);
                self.step(Cadence::Hot, Quantity::DistrustedRegister, source);
                Note::new(How::Integrated, "energy", distrusted_words(power))
            }
            (Some(source), power) => {
                self.step(Cadence::Hot, Quantity::EnergyRegister, source);
                if power.is_some() {
                    self.step(Cadence::Cold, Quantity::PowerIntegral, Source::Integral);
                }
                Note::new(How::Register, "energy", self.register_words())
            }
            (None, Some(power)) => {
                self.step(Cadence::Hot, Quantity::EnergyRegister, Source::Own);
                Note::new(How::Integrated, "energy", integrated_words(power))
            }
            (None, None) => {
                let words = "no class: neither a register nor any power answers; what it draws is \
                             unknown, which is not zero";
                Note::new(How::NotOffered, "energy", words)
            }
        };
        self.notes.insert(0, note);
        Ok(())
    }

    /// The hardware's count, if it has one that answers. One that fails is not waited for while
    /// there is a power to integrate, or its energy would be nobody's.
    fn register(&mut self) -> Result<Option<Source>, GpuError> {
        if self.tells(Field::ENERGY) {
            return Ok(Some(Source::Field(self.plan_field(Cadence::Hot, Field::ENERGY))));
        }
        let answer = self.reader.ask(Ask::Energy);
        if let Some(error) = ends(&answer) {
            return Err(error);
        }
        if answer.is_ok() || (!self.is_power_told && is_offered(&answer)) {
            return Ok(Some(Source::Ask(Ask::Energy)));
        }
        let is_hoped_for = !self.is_power_told && self.has(Field::ENERGY);
        Ok(is_hoped_for.then(|| Source::Field(self.plan_field(Cadence::Hot, Field::ENERGY))))
    }

    const fn register_words(&self) -> &'static str {
        if self.plan.is_of_module {
            "class measured: the module's own register, GPU and CPU together, since the driver \
             was loaded; it counts on while the agent is down"
        } else {
            "class measured: the GPU's own register, since the driver was loaded; it counts on \
             while the agent is down"
        }
    }

    fn values(&mut self) {
        for (cadence, quantity, number) in FIELDS {
            let field = Field::of_gpu(number);
            if self.has(field) {
                let index = self.plan_field(cadence, field);
                self.step(cadence, quantity, Source::Field(index));
            } else if !QUESTIONS.iter().any(|(_, asked, _)| *asked == quantity) {
                self.untold.push(words_of(quantity));
            }
        }
        if !self.plan.fields.is_empty() {
            self.step(Cadence::Warm, Quantity::ReadTime, Source::ReadTime);
        }
    }

    fn links(&mut self, links: u32) {
        for (cadence, quantity, numbers) in OF_LINKS {
            let of = |number: u32| (0..links).map(move |scope| Field { number, scope });
            let known = numbers.into_iter().find(|number| of(*number).any(|link| self.has(link)));
            let Some(number) = known else {
                self.untold.push(words_of(quantity));
                continue;
            };
            let fields: Vec<Field> = of(number).filter(|link| self.has(*link)).collect();
            let (first, count) = (self.plan.fields.len(), fields.len());
            self.plan.fields.extend(fields.into_iter().map(|field| (cadence, field)));
            self.step(cadence, quantity, Source::Sum { first, count });
        }
    }

    fn questions(&mut self) -> Result<(), GpuError> {
        for (cadence, quantity, question) in QUESTIONS {
            if self.plan.steps.iter().any(|step| step.quantity == quantity) {
                continue;
            }
            let answer = self.reader.ask(question);
            if let Some(error) = ends(&answer) {
                return Err(error);
            }
            match answer {
                Err(GpuError::NotPermitted) => {
                    self.note(
                        How::Missing,
                        &words_of(quantity),
                        GpuError::NotPermitted.to_string(),
                    );
                }
                Err(GpuError::NotSupported) => self.untold.push(words_of(quantity)),
                Ok(_) | Err(GpuError::Lost | GpuError::Gone | GpuError::Other(_)) => {
                    self.step(cadence, quantity, Source::Ask(question));
                }
            }
        }
        Ok(())
    }

    fn close(mut self) -> (Plan, Vec<Note>) {
        if !self.untold.is_empty() {
            let words = format!("not told by this GPU or driver: {}", self.untold.join(", "));
            self.note(How::NotOffered, "other values", words);
        }
        // It is kept for as long as the GPU is there, sixteen times over on some nodes.
        self.plan.fields.shrink_to_fit();
        self.plan.steps.shrink_to_fit();
        (self.plan, self.notes)
    }
}

const fn distrusted_words(power: PowerSource) -> &'static str {
    match power {
        PowerSource::Average(_) => {
            "class integrated: the GPU's register disagrees with its power and is not believed; \
             its average power is integrated each second instead"
        }
        PowerSource::Instant(_) | PowerSource::Usage => {
            "class sampled: the GPU's register disagrees with its power and is not believed; its \
             present power is integrated each second instead"
        }
    }
}

const fn integrated_words(power: PowerSource) -> &'static str {
    match power {
        PowerSource::Average(_) => {
            "class integrated: no energy register answers, so the average power is integrated \
             each second; nothing is counted while the agent is down"
        }
        PowerSource::Instant(_) | PowerSource::Usage => {
            "class sampled: neither register nor average power answers, so the present power is \
             integrated each second, which can be far off for a load that changes faster; nothing \
             is counted while the agent is down"
        }
    }
}

/// A quantity's name for people.
pub(super) fn words_of(quantity: Quantity) -> String {
    quantity.spec().name.replace('_', " ")
}
