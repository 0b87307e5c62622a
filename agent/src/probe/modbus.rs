//! A facility meter over Modbus TCP: one probe per meter.
//!
//! # Invariants
//! - Register numbers are zero-based wire addresses. Manuals often print them one higher.
//! - Only configured registers are read: neighbours share a request of at most 125 registers, and
//!   no request spans a register that nobody asked for, for many meters refuse those.
//! - A register that the meter refuses when it is described is noted and not read again; a dead
//!   meter costs its own values only and is tried again with back-off.
//! - An energy register is shipped as the meter counts it. A meter that only knows power gets a
//!   register of our own.

use std::collections::BTreeMap;

use bijli_wire::batch::{Register, Subject};
use bijli_wire::series::CATALOGUE;
use bijli_wire::units::human_energy;
use bijli_wire::{Method, Millis, Milliwatts, Quantity, SubjectId, SubjectKind};
use serde::Deserialize;

use self::decode::{NumberType, Scale, WordOrder, number, units_of};
use self::link::{Failure, Function, Link, Span};
use crate::probe::integrated::{PowerRegister, Rule};
use crate::probe::{
    Cadence, Context, Description, How, Note, Offer, Probe, ProbeError, Sample, Tick, admitted,
    epoch, short,
};
use bijli_wire::quantity::{self, Decimal};

pub mod decode;
mod link;

/// `[[modbus]]` of the configuration: one meter.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModbusConfig {
    /// The meter's id, unique in the hub: `"isb/incomer"`.
    pub meter: String,
    /// `"10.0.0.7:502"`; without a port it is 502.
    pub address: String,
    #[serde(default = "one")]
    pub unit_id: u8,
    #[serde(default = "every", deserialize_with = "quantity::de_duration")]
    pub every: Millis,
    /// For a connection and for each request.
    #[serde(default = "timeout", deserialize_with = "quantity::de_duration")]
    pub timeout: Millis,
    /// No true reading implies more: bounds every energy difference.
    #[serde(deserialize_with = "quantity::de_power")]
    pub power_max: Milliwatts,
    #[serde(default)]
    pub model: String,
    #[serde(default)]
    pub serial: String,
    pub registers: Vec<RegisterConfig>,
}

/// One number of a meter.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegisterConfig {
    /// A name of the catalogue: `"energy_register"`, `"power_instant"`, `"voltage"`.
    pub quantity: String,
    pub function: Function,
    /// Zero-based.
    pub register: u16,
    #[serde(rename = "type")]
    pub kind: NumberType,
    #[serde(default)]
    pub word_order: WordOrder,
    pub unit: String,
    /// An exact decimal: `"0.1"` if the meter counts tenths of the unit.
    #[serde(default = "unscaled")]
    pub scale: String,
    /// Phase or channel; 0 is the whole.
    #[serde(default)]
    pub part: u32,
}

const fn one() -> u8 {
    1
}

const fn every() -> Millis {
    Millis::new(5_000)
}

const fn timeout() -> Millis {
    Millis::new(2_000)
}

fn unscaled() -> String {
    "1".to_owned()
}

impl ModbusConfig {
    /// Checks what no type can: quantities, units, scales, duplicates.
    ///
    /// # Errors
    /// Names the register and says what is wrong with it.
    pub fn check(&self) -> Result<(), String> {
        self.numbers().map(|_| ())
    }

    fn numbers(&self) -> Result<Vec<Number>, String> {
        SubjectId::new(&self.meter).map_err(|error| error.to_string())?;
        if self.every == Millis::ZERO || self.timeout == Millis::ZERO {
            return Err("`every` and `timeout` must be longer than nothing".to_owned());
        }
        if self.power_max == Milliwatts::ZERO {
            return Err("`power_max` must be above zero".to_owned());
        }
        let mut seen = BTreeMap::new();
        let mut numbers = Vec::with_capacity(self.registers.len());
        for config in &self.registers {
            let register = config.register;
            let number =
                Number::new(config).map_err(|why| format!("register {register}: {why}"))?;
            if let Some(first) = seen.insert((number.quantity, number.part), register) {
                let name = number.quantity.spec().name;
                let part = number.part;
                return Err(format!(
                    "{name}, part {part}, is read from register {first} and from {register}; \
                     give phases parts of their own"
                ));
            }
            numbers.push(number);
        }
        if numbers.is_empty() { Err("it has no registers".to_owned()) } else { Ok(numbers) }
    }
}

/// One configured number, understood.
#[derive(Clone, Debug)]
struct Number {
    quantity: Quantity,
    part: u32,
    span: Span,
    kind: NumberType,
    order: WordOrder,
    scale: Scale,
    /// An integer register is shipped raw, its scale in the declaration.
    is_raw: bool,
    /// What the declaration hangs on: another one is another count.
    identity: String,
}

impl Number {
    fn new(config: &RegisterConfig) -> Result<Self, String> {
        let wanted = config.quantity.as_str();
        let spec = CATALOGUE.iter().find(|spec| spec.name == wanted);
        let quantity = spec.map(|spec| spec.quantity).ok_or_else(|| {
            format!(
                "{wanted:?} is no quantity; for example energy_register, power_instant, voltage"
            )
        })?;
        let decimal = Decimal::parse(&config.scale);
        let decimal = decimal.ok_or_else(|| {
            format!("scale {:?} is no decimal number such as \"0.1\"", config.scale)
        })?;
        let scale = Scale::new(quantity, &config.unit, decimal).ok_or_else(|| {
            let units = units_of(quantity);
            match units.is_empty() {
                true => format!("{wanted} cannot be read from a meter"),
                false => format!(
                    "{:?} times {} is no unit of {wanted}: use one of {units}",
                    config.unit, config.scale
                ),
            }
        })?;
        let span =
            Span { function: config.function, first: config.register, words: config.kind.words() };
        span.end().ok_or("it reaches beyond register 65535")?;
        let is_raw = quantity == Quantity::EnergyRegister && !config.kind.is_float();
        let identity = format!(
            "{:?} {} {:?} {:?} {} {}",
            config.function,
            config.register,
            config.kind,
            config.word_order,
            config.unit,
            config.scale
        );
        let (part, kind, order) = (config.part, config.kind, config.word_order);
        Ok(Self { quantity, part, span, kind, order, scale, is_raw, identity })
    }

    /// In the catalogue's unit, or as the raw count of an integer register.
    fn value(&self, words: &[u16]) -> Option<i64> {
        let number = number(words, self.kind, self.order)?;
        let scale = if self.is_raw { Scale { numerator: 1, denominator: 1 } } else { self.scale };
        admitted(self.quantity, scale.apply(number)?)
    }
}

/// Reads one meter.
#[derive(Debug)]
pub struct ModbusProbe {
    name: String,
    config: ModbusConfig,
    start: u64,
    link: Link,
    /// What is read, in the order of the series; an own register comes first.
    numbers: Vec<Number>,
    own_register: Option<PowerRegister>,
    trouble: Option<String>,
}

impl ModbusProbe {
    #[must_use]
    pub fn new(config: &ModbusConfig, context: &Context) -> Self {
        Self {
            name: format!("modbus:{}", config.meter),
            link: Link::new(&config.address, config.unit_id, config.timeout),
            config: config.clone(),
            start: context.start,
            numbers: Vec::new(),
            own_register: None,
            trouble: None,
        }
    }

    fn refuse(&self, reason: impl ToString) -> ProbeError {
        let (meter, address) = (self.config.meter.clone(), self.config.address.clone());
        ProbeError::Meter { meter, address, reason: reason.to_string() }
    }

    /// Three missed readings.
    fn gap(&self) -> Millis {
        Millis::new(self.config.every.get().saturating_mul(3).max(5_000))
    }

    fn register(&self) -> Option<Register> {
        let shape = (self.config.power_max, self.gap());
        if let Some(own) = &self.own_register {
            return Some(own.declare(&self.config.meter, self.start, shape));
        }
        let energy =
            self.numbers.iter().find(|number| is_main(number, Quantity::EnergyRegister))?;
        let (scale, modulus) = if energy.is_raw {
            (energy.scale, energy.kind.modulus())
        } else {
            (Scale { numerator: 1, denominator: 1 }, None)
        };
        Some(Register {
            numerator: scale.numerator,
            denominator: scale.denominator,
            modulus,
            power_max: shape.0,
            epoch: epoch(&[&self.config.meter, &self.config.serial, &energy.identity]),
            method: Method::Hardware,
            gap: shape.1,
        })
    }

    /// Drops the numbers that the meter refuses, with a note for each.
    fn probe_registers(
        &mut self,
        numbers: Vec<Number>,
    ) -> Result<(Vec<Number>, Vec<Note>), Failure> {
        let mut notes = Vec::new();
        let mut kept = Vec::with_capacity(numbers.len());
        for number in numbers {
            let what = label(&number);
            match self.link.read(number.span) {
                Ok(words) => {
                    notes.push(found(&number, number.value(&words)));
                    kept.push(number);
                }
                Err(Failure::Refused { reason }) => {
                    let words = format!("register {}: {reason}", number.span.first);
                    notes.push(Note::new(How::Missing, &what, words));
                }
                Err(failure) => return Err(failure),
            }
        }
        Ok((kept, notes))
    }

    /// Reads every span once; words by their first register.
    fn words(&mut self, now: Tick) -> BTreeMap<Span, Vec<u16>> {
        let spans = link::group(self.numbers.iter().map(|number| number.span).collect());
        let mut words = BTreeMap::new();
        self.trouble = None;
        for span in spans {
            match self.link.read_at(span, now.monotonic) {
                Ok(read) => {
                    words.insert(span, read);
                }
                Err(Failure::Refused { reason }) => {
                    let reason = format!("register {}: {reason}", span.first);
                    self.trouble.get_or_insert(reason);
                }
                Err(failure) => {
                    // The others would wait for the same timeout, one after the other.
                    self.trouble = Some(self.refuse(failure).to_string());
                    break;
                }
            }
        }
        words
    }
}

/// The series that stands for the whole meter.
fn is_main(number: &Number, quantity: Quantity) -> bool {
    number.quantity == quantity && number.part == 0
}

fn is_power(number: &Number) -> bool {
    is_main(number, Quantity::PowerAverage) || is_main(number, Quantity::PowerInstant)
}

fn label(number: &Number) -> String {
    let name = number.quantity.spec().name.replace('_', " ");
    if number.part == 0 { name } else { format!("{name}, part {}", number.part) }
}

fn found(number: &Number, value: Option<i64>) -> Note {
    let what = label(number);
    let register = number.span.first;
    match value {
        Some(count) if number.quantity == Quantity::EnergyRegister => {
            let mut words = format!("the meter's own register, at {register}");
            if number.kind == NumberType::F32 {
                // Its last digit is worth at most 2^-23 of the whole.
                let step = u128::try_from(count >> 23).unwrap_or(0);
                words.push_str("; a 32-bit float, which at this height moves in steps of up to ");
                words.push_str(&human_energy(step));
            }
            Note::new(How::Register, &what, words)
        }
        Some(_) => Note::new(How::Read, &what, format!("register {register}")),
        None => {
            let words = format!(
                "register {register} answers, but not with a number that can be true: check type, \
                 word order and unit"
            );
            Note::new(How::Missing, &what, words)
        }
    }
}

impl Probe for ModbusProbe {
    fn name(&self) -> &str {
        &self.name
    }

    fn describe(&mut self) -> Result<Description, ProbeError> {
        let configured = self.config.numbers().map_err(|why| self.refuse(why))?;
        let wants_own = !configured.iter().any(|n| is_main(n, Quantity::EnergyRegister))
            && configured.iter().any(is_power);
        let (numbers, mut notes) =
            self.probe_registers(configured).map_err(|failure| self.refuse(failure))?;
        if numbers.is_empty() {
            return Err(self.refuse("it refuses every configured register"));
        }
        self.numbers = numbers;
        if wants_own && self.numbers.iter().any(is_power) {
            let hold_max = Millis::new(self.config.every.get().saturating_mul(2).max(3_000));
            let fresh = || PowerRegister::new(Rule::Trapezoid, Some(hold_max));
            self.own_register.get_or_insert_with(fresh).begin_stretch();
            let words = "the meter has no energy register configured: power is integrated at each \
                         reading; while the agent is down nothing is counted";
            notes.insert(0, Note::new(How::Integrated, "energy", words));
        } else {
            self.own_register = None;
        }
        let cadence = Cadence::Every(self.config.every);
        let offer = |quantity, part| Offer { cadence, subject: 0, quantity, part };
        let own = self.own_register.iter().map(|_| offer(Quantity::EnergyRegister, 0));
        let series = own.chain(self.numbers.iter().map(|n| offer(n.quantity, n.part))).collect();
        let subject = Subject {
            id: SubjectId::new(&self.config.meter).map_err(|source| ProbeError::Name { source })?,
            kind: SubjectKind::Meter,
            label: short(&self.config.address),
            model: short(&self.config.model),
            serial: short(&self.config.serial),
            register: self.register(),
        };
        Ok(Description { subjects: vec![subject], series, notes })
    }

    fn read(&mut self, due: &[Cadence], now: Tick) -> Vec<Sample> {
        let cadence = Cadence::Every(self.config.every);
        if !due.contains(&cadence) || self.numbers.is_empty() {
            return Vec::new();
        }
        let words = self.words(now);
        let of = |number: &Number| number.value(link::part(&words, number.span)?);
        let values: Vec<Option<i64>> = self.numbers.iter().map(of).collect();
        let power = self.numbers.iter().zip(&values).find(|(number, _)| is_power(number));
        let power = power.and_then(|(_, value)| u64::try_from((*value)?).ok());
        let at = Millis::new(now.monotonic.get());
        let own = self.own_register.as_mut().map(|own| own.step(power.map(Milliwatts::new), at));
        vec![Sample { cadence, at: None, values: own.into_iter().chain(values).collect() }]
    }

    fn trouble(&self) -> Option<String> {
        self.trouble.clone()
    }

    fn wants_describe(&self) -> bool {
        self.own_register.as_ref().is_some_and(PowerRegister::is_broken)
    }
}

#[cfg(test)]
mod tests;
