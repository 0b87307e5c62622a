//! A rack PDU, a UPS or a sensor over SNMP: one probe per device, with all its meters.
//!
//! # Invariants
//! - Only what the device's profile names is read, and only read (GET). What the device does not
//!   have is noted when it is described, and looked for again now and then.
//! - A value is believed with all that makes it one: its unit, its scale, whether the sensor works.
//!   What of it is missing makes the value missing, with the reason; never zero.
//! - An energy register is shipped as the device counts it, under the scale that it was declared
//!   with. A device that only knows power gets a register of our own for each meter.
//! - A count that fell is read again before it is believed. Then the ledger sees it begin anew.
//! - A device that was away or restarted is asked who it is before it is believed again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use bijli_wire::batch::{Register, Subject};
use bijli_wire::message::EventKind;
use bijli_wire::{Method, Millis, Milliwatts, Quantity, SubjectId, SubjectKind};

use self::answer::{Answers, Missing, ObjectId, integer, words};
use self::link::Link;
use self::memory::Memory;
use self::number::{LINES_MAX, Number, found, is_main, is_power, label};
use self::profile::Profile;
use crate::clock::Moment;
use crate::probe::integrated::{PowerRegister, Rule};
use crate::probe::kept::{self, code};
use crate::probe::scale::Scale;
use crate::probe::{
    Cadence, Context, Description, Happening, How, Note, Offer, Probe, ProbeError, Sample, Tick,
    Witness, epoch, short,
};

pub use self::profile::known as profiles;
pub use self::settings::{MeterConfig, SnmpConfig};

mod answer;
mod link;
mod memory;
mod number;
mod profile;
mod settings;

const SYS_DESCR: &str = "1.3.6.1.2.1.1.1.0";
const SYS_OBJECT_ID: &str = "1.3.6.1.2.1.1.2.0";
const SYS_UP_TIME: &str = "1.3.6.1.2.1.1.3.0";
/// How long until what was not there is looked for again.
const LOOK_AGAIN: Millis = Millis::new(600_000);

/// Reads one device.
#[derive(Debug)]
pub struct SnmpProbe {
    name: String,
    config: SnmpConfig,
    start: u64,
    /// `Err`: nobody to ask as; the configuration's check has said why.
    link: Result<Link, String>,
    /// What is read, meter by meter. A meter's own register comes before its numbers.
    numbers: Vec<Number>,
    /// By the meter's place in the configuration.
    own_registers: BTreeMap<usize, PowerRegister>,
    /// The last count of each meter, to see it fall.
    counts: BTreeMap<usize, i64>,
    trouble: Option<String>,
    memory: Option<Memory>,
    /// As it is on disk.
    kept: Option<Memory>,
    state_dir: Option<PathBuf>,
    happened: Vec<Happening>,
    /// It was out of reach: who answers now may be another device.
    was_lost: bool,
    must_describe: bool,
    /// Something was not there; since when it is read without.
    is_partial: bool,
    partial_since: Option<Moment>,
    up_time: Option<i128>,
    /// Of secrets that everybody can read: once is enough.
    has_warned: bool,
}

impl SnmpProbe {
    #[must_use]
    pub fn new(config: &SnmpConfig, context: &Context) -> Self {
        let meter = config.meters.first().map_or("", |meter| meter.meter.as_str());
        let memory = kept::load::<Memory>(context.state_dir.as_deref(), meter);
        let link = config.credentials().map(|credentials| {
            Link::new(&config.address, credentials, config.timeout, config.retries)
        });
        Self {
            name: format!("snmp:{meter}"),
            config: config.clone(),
            start: context.start,
            link,
            numbers: Vec::new(),
            own_registers: BTreeMap::new(),
            counts: BTreeMap::new(),
            trouble: None,
            kept: memory.clone(),
            memory,
            state_dir: context.state_dir.clone(),
            happened: Vec::new(),
            was_lost: false,
            must_describe: false,
            is_partial: false,
            partial_since: None,
            up_time: None,
            has_warned: false,
        }
    }

    fn refuse(&self, reason: impl ToString) -> ProbeError {
        let meters: Vec<&str> = self.config.meters.iter().map(|one| one.meter.as_str()).collect();
        let (meter, address) = (meters.join(", "), self.config.address.clone());
        ProbeError::Meter { meter, address, reason: reason.to_string() }
    }

    fn get(&mut self, names: &BTreeSet<ObjectId>) -> Result<Answers, ProbeError> {
        let answered = match &mut self.link {
            Ok(link) => link.get(names).map_err(|failure| failure.to_string()),
            Err(why) => Err(why.clone()),
        };
        answered.map_err(|why| self.refuse(why))
    }

    /// The device's own word goes before the configuration's.
    fn serial<'a>(&'a self, meter: &'a MeterConfig) -> &'a str {
        let told = self.memory.as_ref().and_then(|memory| memory.serial.as_deref());
        told.unwrap_or(&meter.serial)
    }

    fn meter(&self, number: &Number) -> &str {
        self.config.meters.get(number.meter).map_or("", |meter| meter.meter.as_str())
    }

    /// Asks the device who it is, and tells what of it is new.
    fn meet(&mut self, profile: &Profile) -> Result<Vec<Note>, ProbeError> {
        let name = |text: &str| ObjectId::parse(text);
        let asked = [
            name(SYS_OBJECT_ID),
            name(SYS_DESCR),
            name(SYS_UP_TIME),
            profile.serial.as_ref().and_then(|one| name(&one.oid)),
            profile.firmware.as_ref().and_then(|one| name(&one.oid)),
        ];
        let answers = self.get(&asked.iter().flatten().cloned().collect())?;
        let [kind, description, up_time, serial, firmware] =
            asked.each_ref().map(|name| words(&answers, name.as_ref()?));
        self.up_time = up_time.and_then(|ticks| ticks.parse().ok());
        let meter = self.config.meters.first().map(|one| one.meter.clone()).unwrap_or_default();
        let subject = SubjectId::new(&meter).map_err(|source| ProbeError::Name { source })?;
        let mut told = Memory { meter, kind, description, serial, firmware };
        let mut notes = vec![Note::new(How::Read, "profile", profile.words())];
        notes.extend(told.words().map(|words| Note::new(How::Read, "identity", words)));
        if let Some(before) = self.memory.take() {
            if told.serial.is_some() && told.serial != before.serial {
                // Another device's count may be lower: nobody set it back.
                self.counts.clear();
            }
            self.happened.extend(before.changes(&told, Some(&subject)));
            told = told.with(&before);
        }
        self.memory = Some(told);
        Ok(notes)
    }

    /// Everything that the configuration asks for, as many lines as the device has.
    fn wanted(&mut self, profile: &Profile) -> Result<(Vec<Number>, Vec<Note>), ProbeError> {
        let asked = std::cell::RefCell::new(BTreeSet::new());
        let note = |name: &ObjectId| {
            asked.borrow_mut().insert(name.clone());
            None
        };
        self.config.numbers(profile, &note).map_err(|why| self.refuse(why))?;
        let asked = asked.into_inner();
        let answers = if asked.is_empty() { Answers::new() } else { self.get(&asked)? };
        let lines = |name: &ObjectId| u32::try_from(integer(&answers, name).ok()?).ok();
        let note = |name: &ObjectId| {
            let why = match integer(&answers, name) {
                Ok(count) if (1..=i128::from(LINES_MAX)).contains(&count) => return None,
                Ok(count) => format!("it says {count}"),
                Err(why) => why.to_string(),
            };
            let words = format!("how many lines there are ({name}), so none is read: {why}");
            Some(Note::new(How::Missing, "lines", words))
        };
        let notes: Vec<Note> = asked.iter().filter_map(note).collect();
        let numbers = self.config.numbers(profile, &lines).map_err(|why| self.refuse(why))?;
        Ok((numbers, notes))
    }

    /// Asks for all of `wanted` once. What the device does not have is dropped, with a note.
    fn examine(&mut self, wanted: Vec<Number>) -> Result<(Vec<Number>, Vec<Note>), ProbeError> {
        let answers = self.get(&names(&wanted))?;
        let mut notes = Vec::new();
        let mut kept: Vec<Number> = Vec::new();
        let mut absent: Vec<(Number, Missing)> = Vec::new();
        for mut number in wanted {
            if number.quantity == Quantity::EnergyRegister {
                match number.scale_now(&answers) {
                    Ok(scale) => number.declared = Some(scale),
                    // Not to be taken for a device without a count.
                    Err(why @ Missing::Unanswered) => return Err(self.refuse(why)),
                    Err(why) => {
                        absent.push((number, why));
                        continue;
                    }
                }
            }
            let shown = number.terms.iter().try_for_each(|name| integer(&answers, name).map(drop));
            let shown = shown.and_then(|()| number.fits(&answers));
            match shown {
                Err(why @ (Missing::Absent | Missing::Unfit { .. })) => absent.push((number, why)),
                Ok(()) | Err(_) => kept.push(number),
            }
        }
        for number in &kept {
            let value = number.value(&answers);
            self.examine_count(number, &value);
            notes.push(self.named(number, found(number, &value)));
        }
        // A sensor is what its type says; that it is nothing else needs no word.
        let is_known = |absent: &Number| {
            let of_it = |one: &&Number| one.meter == absent.meter && one.terms == absent.terms;
            kept.iter().any(|one| of_it(&one))
        };
        let absent: Vec<(Number, Missing)> =
            absent.into_iter().filter(|(number, _)| !is_known(number)).collect();
        self.is_partial = !absent.is_empty();
        self.partial_since = None;
        for (number, why) in absent {
            let note = found(&number, &Err(why));
            notes.push(self.named(&number, note));
        }
        Ok((kept, notes))
    }

    /// Whose it is, where there are several.
    fn named(&self, number: &Number, note: Note) -> Note {
        match self.config.meters.len() {
            0 | 1 => note,
            _ => Note { what: format!("{}: {}", self.meter(number), note.what), ..note },
        }
    }

    /// A count that is still below what it was has begun anew; another scale is told.
    fn examine_count(&mut self, number: &Number, value: &Result<i64, Missing>) {
        if !is_main(number, Quantity::EnergyRegister) {
            return;
        }
        let declared = |one: &Number| if is_same(one, number) { one.declared } else { None };
        let before: Option<Scale> = self.numbers.iter().find_map(declared);
        if let (Some(before), Some(now)) = (before, number.declared)
            && before != now
        {
            self.counts.remove(&number.meter);
            let of = |scale: Scale| format!("{}/{} mJ", scale.numerator, scale.denominator);
            let text = format!(
                "a count of its energy was worth {} and is {}: compare it with the display",
                of(before),
                of(now)
            );
            self.tell(number, EventKind::MeterChanged, code::SCALE, text);
        }
        let Ok(count) = *value else { return };
        let last = self.counts.insert(number.meter, count);
        if let Some(last) = last.filter(|last| number.is_resettable && count < *last) {
            let text = format!("its energy was set back: {last} was, {count} is");
            self.tell(number, EventKind::MeterReset, 0, text);
        }
    }

    fn tell(&mut self, number: &Number, kind: EventKind, code: u32, text: String) {
        let subject = SubjectId::new(self.meter(number)).ok();
        self.happened.push(Happening { subject, kind, code, text, witness: Witness::Driver });
    }

    /// Our own registers, for meters whose energy the device does not count.
    fn integrate(&mut self) -> Vec<Note> {
        let has = |meter: usize, what: &dyn Fn(&Number) -> bool| {
            self.numbers.iter().any(|one| one.meter == meter && what(one))
        };
        let energy = |one: &Number| is_main(one, Quantity::EnergyRegister);
        let wanting: Vec<usize> = (0..self.config.meters.len())
            .filter(|meter| has(*meter, &is_power) && !has(*meter, &energy))
            .collect();
        self.own_registers.retain(|meter, _| wanting.contains(meter));
        let hold_max = Millis::new(self.config.every.get().saturating_mul(2).max(3_000));
        let mut notes = Vec::new();
        for meter in wanting {
            let fresh = || PowerRegister::new(Rule::Trapezoid, Some(hold_max));
            self.own_registers.entry(meter).or_insert_with(fresh).begin_stretch();
            let name = self.config.meters.get(meter).map_or("", |one| one.meter.as_str());
            let what = match self.config.meters.len() {
                0 | 1 => "energy".to_owned(),
                _ => format!("{name}: energy"),
            };
            let words = "the device has no energy counter there: power is integrated at each \
                         reading; while the agent is down nothing is counted";
            notes.push(Note::new(How::Integrated, &what, words));
        }
        notes
    }

    fn register(&self, index: usize, meter: &MeterConfig) -> Option<Register> {
        // Three missed readings.
        let gap = Millis::new(self.config.every.get().saturating_mul(3).max(5_000));
        if let Some(own) = self.own_registers.get(&index) {
            return Some(own.declare(&meter.meter, self.start, (meter.power_max, gap)));
        }
        let energy = |one: &&Number| one.meter == index && is_main(one, Quantity::EnergyRegister);
        let energy = self.numbers.iter().find(energy)?;
        let scale = energy.declared?;
        Some(Register {
            numerator: scale.numerator,
            denominator: scale.denominator,
            modulus: None,
            power_max: meter.power_max,
            epoch: epoch(&[&meter.meter, self.serial(meter), &energy.identity]),
            method: Method::Hardware,
            gap,
        })
    }

    fn subject(
        &self,
        index: usize,
        meter: &MeterConfig,
        profile: &Profile,
    ) -> Result<Subject, ProbeError> {
        let model = if meter.model.is_empty() { &profile.model } else { &meter.model };
        Ok(Subject {
            id: SubjectId::new(&meter.meter).map_err(|source| ProbeError::Name { source })?,
            kind: SubjectKind::Meter,
            label: short(&self.config.address),
            model: short(model),
            serial: short(self.serial(meter)),
            register: self.register(index, meter),
        })
    }

    /// The rows' columns: whose, and which number; `None` is the meter's own register.
    fn columns(&self) -> Vec<(usize, Option<&Number>)> {
        let mut columns = Vec::new();
        for meter in 0..self.config.meters.len() {
            columns.extend(self.own_registers.contains_key(&meter).then_some((meter, None)));
            let of_it = self.numbers.iter().filter(|one| one.meter == meter);
            columns.extend(of_it.map(|one| (meter, Some(one))));
        }
        columns
    }

    /// What the device shows now; nothing where it is not to be believed.
    fn answers(&mut self, now: Tick) -> Answers {
        let mut asked = names(&self.numbers);
        let up_time = ObjectId::parse(SYS_UP_TIME);
        asked.extend(up_time.clone().filter(|_| self.up_time.is_some()));
        let answered = match &mut self.link {
            Ok(link) => link.get_at(&asked, now.monotonic).map_err(|failure| failure.to_string()),
            Err(why) => Err(why.clone()),
        };
        let answers = match answered {
            Ok(answers) => answers,
            Err(why) => {
                self.trouble = Some(self.refuse(why).to_string());
                self.was_lost = true;
                return Answers::new();
            }
        };
        let ticks = up_time.and_then(|name| integer(&answers, &name).ok());
        let has_restarted = ticks.zip(self.up_time).is_some_and(|(now, before)| now < before);
        self.up_time = ticks.or(self.up_time);
        if self.was_lost || has_restarted {
            self.must_describe = true;
            return Answers::new();
        }
        answers
    }

    /// One number's value; why it is missing is said for the first that is.
    fn value(&mut self, number: &Number, answers: &Answers) -> Option<i64> {
        match number.value(answers) {
            Ok(count) if self.has_fallen(number, count) => {
                self.must_describe = true;
                None
            }
            Ok(value) => {
                if is_main(number, Quantity::EnergyRegister) {
                    self.counts.insert(number.meter, value);
                }
                Some(value)
            }
            Err(why) => {
                self.must_describe |= why == Missing::Rescaled;
                let (meter, label) = (self.meter(number), label(number));
                let documented = &number.documented;
                let words = format!("{meter}: {label} ({documented}) is missing: {why}");
                self.trouble.get_or_insert(words);
                None
            }
        }
    }

    fn has_fallen(&self, number: &Number, count: i64) -> bool {
        let last = self.counts.get(&number.meter);
        number.is_resettable
            && is_main(number, Quantity::EnergyRegister)
            && last.is_some_and(|last| count < *last)
    }

    /// What was not there may have come: a device that boots, a unit that was plugged in.
    fn look_again(&mut self, now: Moment) {
        if self.is_partial {
            let since = *self.partial_since.get_or_insert(now);
            self.must_describe |= now.since(since) >= LOOK_AGAIN;
        }
    }
}

fn is_same(one: &Number, other: &Number) -> bool {
    (one.meter, one.quantity, one.part) == (other.meter, other.quantity, other.part)
}

fn names(numbers: &[Number]) -> BTreeSet<ObjectId> {
    numbers.iter().flat_map(Number::names).cloned().collect()
}

impl Probe for SnmpProbe {
    fn name(&self) -> &str {
        &self.name
    }

    fn describe(&mut self) -> Result<Description, ProbeError> {
        let profile = self.config.profile().map_err(|why| self.refuse(why))?;
        let mut notes = self.meet(&profile)?;
        let credentials = self.config.credentials().map_err(|why| self.refuse(why))?;
        for file in credentials.files() {
            if bijli_identity::disk::is_open_to_others(file) {
                let words = format!("every user can read {}: chmod 600", file.display());
                if !self.has_warned {
                    tracing::warn!("{words}");
                }
                notes.push(Note::new(How::Missing, "secrecy", words));
            }
        }
        self.has_warned = true;
        let (wanted, uncounted) = self.wanted(&profile)?;
        let (numbers, examined) = self.examine(wanted)?;
        self.is_partial |= !uncounted.is_empty();
        if numbers.is_empty() {
            let words = format!("it has nothing of profile {}", self.config.profile);
            return Err(self.refuse(words));
        }
        self.numbers = numbers;
        (self.was_lost, self.must_describe) = (false, false);
        notes.extend(self.integrate());
        notes.extend(examined);
        notes.extend(uncounted);
        let cadence = Cadence::Every(self.config.every);
        let mut subjects = Vec::new();
        let mut series = Vec::new();
        let mut last = None;
        for (meter, number) in self.columns() {
            if last != Some(meter) {
                last = Some(meter);
                let config = self.config.meters.get(meter);
                let config = config.ok_or_else(|| self.refuse("a meter went missing"))?;
                subjects.push(self.subject(meter, config, &profile)?);
            }
            let (quantity, part) =
                number.map_or((Quantity::EnergyRegister, 0), |one| (one.quantity, one.part));
            series.push(Offer { cadence, subject: subjects.len() - 1, quantity, part });
        }
        Ok(Description { subjects, series, notes })
    }

    fn read(&mut self, due: &[Cadence], now: Tick) -> Vec<Sample> {
        let cadence = Cadence::Every(self.config.every);
        if !due.contains(&cadence) || self.numbers.is_empty() {
            return Vec::new();
        }
        self.trouble = None;
        let answers = self.answers(now);
        let numbers = self.numbers.clone();
        let is_read = !answers.is_empty();
        let read = |number: &Number| if is_read { self.value(number, &answers) } else { None };
        let values: Vec<Option<i64>> = numbers.iter().map(read).collect();
        let at = Millis::new(now.monotonic.get());
        let mut own: BTreeMap<usize, Option<i64>> = BTreeMap::new();
        for (meter, register) in &mut self.own_registers {
            let of_it =
                |(number, _): &(&Number, &Option<i64>)| number.meter == *meter && is_power(number);
            let power = numbers.iter().zip(&values).find(of_it).and_then(|(_, value)| *value);
            let power = power.and_then(|value| u64::try_from(value).ok()).map(Milliwatts::new);
            own.insert(*meter, register.step(power, at));
        }
        let mut row = Vec::with_capacity(values.len() + own.len());
        for meter in 0..self.config.meters.len() {
            row.extend(own.get(&meter));
            let of_it = numbers.iter().zip(&values).filter(|(number, _)| number.meter == meter);
            row.extend(of_it.map(|(_, value)| *value));
        }
        self.look_again(now.monotonic);
        vec![Sample { cadence, at: None, values: row }]
    }

    fn trouble(&self) -> Option<String> {
        self.trouble.clone()
    }

    fn wants_describe(&self) -> bool {
        self.must_describe || self.own_registers.values().any(PowerRegister::is_broken)
    }

    fn happened(&mut self) -> Vec<Happening> {
        // Here and not when it is described: `check` describes, and must not take the alarm.
        if let Some(memory) = &self.memory
            && self.kept.as_ref() != Some(memory)
        {
            kept::store(self.state_dir.as_deref(), memory);
            self.kept = self.memory.clone();
        }
        std::mem::take(&mut self.happened)
    }
}

#[cfg(test)]
mod tests;
