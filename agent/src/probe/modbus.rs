//! A facility meter over Modbus TCP: one probe per meter.
//!
//! # Invariants
//! - Register numbers are zero-based wire addresses. Manuals often print them one higher.
//! - Only configured registers are read: neighbours share a request of at most 125 registers, and
//!   no request spans a register that nobody asked for, for many meters refuse those.
//! - A register that the meter refuses when it is described is noted and not read again; a dead
//!   meter costs its own values only and is tried again with back-off.
//! - With a profile, nothing is believed before the meter's word order was found (`enrol.rs`), and
//!   no row whose voltages and frequency say otherwise.
//! - An energy register is shipped as the meter counts it. A meter that only knows power gets a
//!   register of our own.

use std::collections::BTreeMap;
use std::path::PathBuf;

use bijli_wire::batch::{Register, Subject};
use bijli_wire::{Method, Millis, Milliwatts, Quantity, SubjectId, SubjectKind};

use self::decode::{Scale, WordOrder};
use self::enrol::{Finding, Guard};
use self::link::{Failure, Identification, Link, Span};
use self::memory::Memory;
use self::number::{Number, found, is_main, is_power, label};
use self::profile::Profile;
use self::sunspec::Block;
use crate::probe::integrated::{PowerRegister, Rule};
use crate::probe::kept::{self, code};
use crate::probe::{
    Cadence, Context, Description, Happening, How, Note, Offer, Probe, ProbeError, Sample, Tick,
    epoch, short,
};

pub use self::profile::known as profiles;
pub use self::settings::{ModbusConfig, RegisterConfig};
pub use self::tls::TlsConfig;

mod connection;
pub mod decode;
mod enrol;
mod link;
mod memory;
mod number;
mod profile;
mod settings;
mod sunspec;
pub(in crate::probe) mod tls;

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
    /// Of a SunSpec meter: read whole.
    block: Option<Block>,
    trouble: Option<String>,
    /// The order that was found; `None`: it was configured.
    enrolled: Option<WordOrder>,
    /// What was found of the meter, lately or by an earlier agent.
    memory: Option<Memory>,
    /// As it is on disk.
    kept: Option<Memory>,
    state_dir: Option<PathBuf>,
    happened: Vec<Happening>,
    /// It was out of reach: who answers now may be another meter.
    was_lost: bool,
    must_describe: bool,
}

/// A register that answered, with what it showed.
type Answered = (Number, Vec<u16>);

impl ModbusProbe {
    #[must_use]
    pub fn new(config: &ModbusConfig, context: &Context) -> Self {
        let state_dir = context.state_dir.as_deref();
        let memory = config.profile.as_ref().and_then(|_| kept::load(state_dir, &config.meter));
        Self {
            name: format!("modbus:{}", config.meter),
            link: Link::new(config),
            config: config.clone(),
            start: context.start,
            numbers: Vec::new(),
            own_register: None,
            block: None,
            trouble: None,
            enrolled: None,
            kept: memory.clone(),
            memory,
            state_dir: context.state_dir.clone(),
            happened: Vec::new(),
            was_lost: false,
            must_describe: false,
        }
    }

    fn refuse(&self, reason: impl ToString) -> ProbeError {
        let (meter, address) = (self.config.meter.clone(), self.config.address.clone());
        ProbeError::Meter { meter, address, reason: reason.to_string() }
    }

    /// The meter's own word goes before the configuration's.
    fn serial(&self) -> &str {
        let told = self.memory.as_ref().and_then(|memory| memory.serial.as_deref());
        told.unwrap_or(&self.config.serial)
    }

    /// How the way to it is secured; `None`: it is not.
    fn secured(&self) -> Option<Note> {
        let (tls, peer) = (self.config.tls.as_ref()?, self.link.peer()?);
        let words = format!(
            "{}, its certificate {}: sha256 {}",
            peer.version,
            tls.ground(),
            peer.certificate
        );
        Some(Note::new(How::Read, "the way to it", words))
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
            epoch: epoch(&[&self.config.meter, self.serial(), &energy.identity]),
            method: Method::Hardware,
            gap: shape.1,
        })
    }

    /// Reads each register once. What the meter refuses is dropped, with a note.
    fn probe_registers(
        &mut self,
        numbers: Vec<Number>,
    ) -> Result<(Vec<Answered>, Vec<Note>), Failure> {
        let mut notes = Vec::new();
        let mut kept = Vec::with_capacity(numbers.len());
        for number in numbers {
            match self.link.read(number.span) {
                Ok(words) => kept.push((number, words)),
                Err(Failure::Refused { reason }) => {
                    let words = format!("register {}: {reason}", number.span.first);
                    notes.push(Note::new(How::Missing, &label(&number), words));
                }
                Err(failure) => return Err(failure),
            }
        }
        Ok((kept, notes))
    }

    /// Finds the word order by what the meter shows and decodes all of it by that.
    fn enrol(&mut self, answered: &mut [Answered]) -> Result<WordOrder, ProbeError> {
        let guards: Vec<Guard> = answered.iter().filter_map(enrol::guard).collect();
        if guards.is_empty() {
            return Err(self.refuse(enrol::NO_GUARD));
        }
        let finding = enrol::find(&guards, &self.config.voltage_band());
        let order = match &finding {
            Finding::One(order) => *order,
            // A dead bus is no other meter: the order is as it was, if one was ever found.
            Finding::Silent => {
                let before = self.memory.as_ref().and_then(|memory| memory.word_order);
                before.ok_or_else(|| self.refuse(enrol::refusal(&finding, &guards)))?
            }
            Finding::None | Finding::Several(_) => {
                return Err(self.refuse(enrol::refusal(&finding, &guards)));
            }
        };
        for (number, words) in answered {
            if !number.is_order_given {
                number.order = order;
            }
            if is_main(number, Quantity::EnergyRegister)
                && !enrol::is_credible(number, words, self.config.power_max)
            {
                return Err(self.refuse(enrol::incredible(order, number.span.first)));
            }
        }
        Ok(order)
    }

    /// Asks the meter who it is: by function 43, else by its profile's register.
    fn identify(&mut self, profile: &Profile, order: WordOrder) -> Identification {
        // A meter that does not know the function may as well say nothing at all.
        let mut told = self.link.identify(self.config.serial_object);
        if told.serial.is_none()
            && let Some(register) = &profile.serial
            && let Ok(words) = self.link.read(register.span())
        {
            told.serial = register.serial(&words, order);
        }
        told
    }

    /// Keeps what was found, and tells what of it is new.
    fn remember(&mut self, told: Identification, subject: &SubjectId) {
        let before = self.memory.take();
        let known = before.clone().unwrap_or_else(|| Memory::new(&self.config.meter));
        let found = Memory {
            serial: told.serial.or(known.serial.clone()),
            firmware: told.firmware.or(known.firmware.clone()),
            word_order: self.enrolled.or(known.word_order),
            meter: known.meter.clone(),
        };
        if before.is_some() {
            self.happened.extend(known.changes(&found, Some(subject)));
        }
        self.memory = Some(found);
    }

    /// Enrols a meter that has a profile; notes what was found.
    fn meet(
        &mut self,
        profile: &Profile,
        answered: &mut [Answered],
    ) -> Result<Vec<Note>, ProbeError> {
        let given = self.config.word_order;
        self.enrolled = match given {
            Some(_) => None,
            None => Some(self.enrol(answered)?),
        };
        let order = self.enrolled.or(given).unwrap_or(profile.word_order);
        let told = self.identify(profile, order);
        let subject =
            SubjectId::new(&self.config.meter).map_err(|source| ProbeError::Name { source })?;
        let mut notes = vec![
            Note::new(How::Read, "profile", profile.words()),
            Note::new(How::Read, "word order", enrol::accepted(order, given, profile.word_order)),
        ];
        notes.extend(told.note());
        self.remember(told, &subject);
        Ok(notes)
    }

    /// Finds what a SunSpec meter lists, and who it is.
    fn meet_sunspec(
        &mut self,
        model: &mut String,
        notes: &mut Vec<Note>,
    ) -> Result<Vec<Number>, ProbeError> {
        let found = sunspec::discover(&mut self.link).map_err(|why| self.refuse(why))?;
        let numbers = self.config.with_found(&found.registers).map_err(|why| self.refuse(why))?;
        let subject =
            SubjectId::new(&self.config.meter).map_err(|source| ProbeError::Name { source })?;
        notes.extend(found.notes);
        notes.extend(found.told.note());
        if let (true, Some(product)) = (model.is_empty(), &found.told.product) {
            model.clone_from(product);
        }
        self.remember(found.told, &subject);
        self.block = Some(found.block);
        Ok(numbers)
    }

    /// Why this row is not to be believed; `None`: nothing speaks against it.
    fn contradiction(&self, words: &BTreeMap<Span, Vec<u16>>) -> Option<String> {
        if let Some(why) = self.block.as_ref().and_then(|block| block.contradiction(words)) {
            return Some(why);
        }
        let order = self.enrolled?;
        let guards: Option<Vec<Guard>> = self
            .numbers
            .iter()
            .filter(|number| enrol::is_guard(number))
            .map(|number| enrol::guard(&(number.clone(), link::part(words, number.span)?.to_vec())))
            .collect();
        let Some(guards) = guards else {
            return Some(
                "voltage or frequency was not read, so nothing vouches for the rest".into(),
            );
        };
        enrol::contradiction(order, &guards, &self.config.voltage_band())
    }

    /// Reads every span once; words by their first register.
    fn words(&mut self, now: Tick) -> BTreeMap<Span, Vec<u16>> {
        let block = self.block.as_ref().map(|block| block.span);
        let is_apart = |span: &Span| block.is_none_or(|block| !block.has(*span));
        let apart = self.numbers.iter().map(|number| number.span).filter(is_apart);
        let mut spans = link::group(apart.collect());
        spans.extend(block);
        // Last: what vouches for the word order vouches for all that was read before.
        let vouches = |span: &Span| {
            self.numbers.iter().any(|number| enrol::is_guard(number) && span.has(number.span))
        };
        spans.sort_by_key(vouches);
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
                    self.was_lost = true;
                    break;
                }
            }
        }
        words
    }
}

impl Probe for ModbusProbe {
    fn name(&self) -> &str {
        &self.name
    }

    fn describe(&mut self) -> Result<Description, ProbeError> {
        let mut notes = Vec::new();
        let mut model = self.config.model.clone();
        let configured = match self.config.is_sunspec() {
            true => self.meet_sunspec(&mut model, &mut notes)?,
            false => self.config.numbers().map_err(|why| self.refuse(why))?,
        };
        let wants_own = !configured.iter().any(|n| is_main(n, Quantity::EnergyRegister))
            && configured.iter().any(is_power);
        let profile = self.config.profile().map_err(|why| self.refuse(why))?;
        (self.was_lost, self.must_describe) = (false, false);
        let (mut answered, refused) =
            self.probe_registers(configured).map_err(|failure| self.refuse(failure))?;
        if answered.is_empty() {
            return Err(self.refuse("it refuses every configured register"));
        }
        if let Some(profile) = &profile {
            notes.extend(self.meet(profile, &mut answered)?);
            if model.is_empty() {
                model.clone_from(&profile.model);
            }
        }
        notes.extend(self.secured());
        notes.extend(answered.iter().map(|(number, words)| found(number, number.value(words))));
        notes.extend(refused);
        self.numbers = answered.into_iter().map(|(number, _)| number).collect();
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
            model: short(&model),
            serial: short(self.serial()),
            register: self.register(),
        };
        Ok(Description { subjects: vec![subject], series, notes })
    }

    fn read(&mut self, due: &[Cadence], now: Tick) -> Vec<Sample> {
        let cadence = Cadence::Every(self.config.every);
        if !due.contains(&cadence) || self.numbers.is_empty() {
            return Vec::new();
        }
        let was_lost = self.was_lost;
        let mut words = self.words(now);
        if let Some(why) = self.contradiction(&words) {
            words.clear();
            if self.trouble.is_none() {
                self.trouble = Some(self.refuse(why).to_string());
                self.must_describe = true;
            }
        }
        // Another meter may stand in its place: it is asked who it is before it is believed.
        let tells_serial = self.memory.as_ref().is_some_and(|memory| memory.serial.is_some());
        if was_lost && tells_serial && self.trouble.is_none() {
            words.clear();
            self.must_describe = true;
        }
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
        self.must_describe || self.own_register.as_ref().is_some_and(PowerRegister::is_broken)
    }

    fn happened(&mut self) -> Vec<Happening> {
        // Here and not when it is described: `check` describes, and must not take the alarm.
        if let Some(memory) = &self.memory
            && self.kept.as_ref() != Some(memory)
        {
            kept::store(self.state_dir.as_deref(), memory);
            self.kept = self.memory.clone();
        }
        if let Some(why) = self.link.take_untrusted() {
            let subject = SubjectId::new(&self.config.meter).ok();
            self.happened.push(kept::changed(subject.as_ref(), code::CERTIFICATE, why));
        }
        std::mem::take(&mut self.happened)
    }
}

#[cfg(test)]
mod tests;
