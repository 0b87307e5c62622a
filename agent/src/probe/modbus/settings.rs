//! `[[modbus]]` of the configuration, and what no type can say of it.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::Path;

use bijli_wire::quantity::{self, Decimal};
use bijli_wire::{Millis, Milliwatts, Quantity, SubjectId};
use serde::Deserialize;

use super::decode::{NumberType, Scale, WordOrder};
use super::enrol;
use super::link::Function;
use super::number::{Number, Order};
use super::profile::{self, Profile};
use super::sunspec;
use super::tls::TlsConfig;

/// `[[modbus]]` of the configuration: one meter.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModbusConfig {
    /// The meter's id, unique in the hub: `"isb/incomer"`.
    pub meter: String,
    /// `"10.0.0.7:502"`; without a port it is 502.
    pub address: String,
    /// Modbus inside TLS. Without a port it is 802 then.
    pub tls: Option<TlsConfig>,
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
    /// A name of `agent/profiles`: `"eastron-sdm630"`; or `"sunspec"`.
    pub profile: Option<String>,
    /// For all registers that give none of their own. With a profile, whoever gives it forgoes
    /// the enrolment that would find it.
    pub word_order: Option<WordOrder>,
    /// Between line and neutral, where it is not 230 V or 120 V: `"6.35 kV"`.
    pub voltage_nominal: Option<String>,
    /// The object of function 43 that holds the serial number, by the maker's manual.
    pub serial_object: Option<u8>,
    /// All there are; with a profile, those that differ from it or are more.
    #[serde(default)]
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
    /// `None`: that of the meter.
    pub word_order: Option<WordOrder>,
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

pub(super) fn unscaled() -> String {
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

    pub(super) fn numbers(&self) -> Result<Vec<Number>, String> {
        SubjectId::new(&self.meter).map_err(|error| error.to_string())?;
        if self.every == Millis::ZERO || self.timeout == Millis::ZERO {
            return Err("`every` and `timeout` must be longer than nothing".to_owned());
        }
        if self.power_max == Milliwatts::ZERO {
            return Err("`power_max` must be above zero".to_owned());
        }
        if let Some(text) = &self.voltage_nominal
            && millivolts(text).is_none()
        {
            return Err(format!("`voltage_nominal` {text:?}: write for example \"230 V\""));
        }
        if let Some(tls) = &self.tls {
            tls.device()?;
        }
        let profile = self.profile()?;
        let registers = match &profile {
            Some(profile) => profile.registers(&self.registers),
            None => self.registers.clone(),
        };
        let order = Order { of_meter: self.word_order, of_profile: profile.map(|p| p.word_order) };
        let mut seen = BTreeMap::new();
        let mut numbers = Vec::with_capacity(registers.len());
        for config in &registers {
            let register = config.register;
            let number =
                Number::new(config, order).map_err(|why| format!("register {register}: {why}"))?;
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
        match numbers.is_empty() && !self.is_sunspec() {
            true => Err("it has neither registers nor a profile".to_owned()),
            false => Ok(numbers),
        }
    }

    /// Files are relative to the configuration's folder.
    pub fn locate(&mut self, folder: &Path) {
        if let Some(tls) = &mut self.tls {
            tls.locate(folder);
        }
    }

    /// What its profile comes to, for people; `None`: it has none.
    #[must_use]
    pub fn resolved(&self) -> Option<String> {
        let name = self.profile.as_ref()?;
        if self.is_sunspec() {
            return Some("profile sunspec: registers as the meter lists them".to_owned());
        }
        let registers = self.numbers().map_or(0, |numbers| numbers.len());
        let order = self.word_order.map_or("by enrolment", WordOrder::name);
        Some(format!("profile {name}: {registers} registers, word order {order}"))
    }

    /// What a live phase may show, in millivolts.
    pub(super) fn voltage_band(&self) -> RangeInclusive<i64> {
        let nominal = self.voltage_nominal.as_deref().and_then(millivolts);
        nominal.map_or(enrol::VOLTAGE_MV, enrol::band)
    }

    /// # Errors
    /// If there is none of that name.
    pub(super) fn profile(&self) -> Result<Option<Profile>, String> {
        let name = self.profile.as_deref().filter(|name| *name != sunspec::NAME);
        name.map(profile::find).transpose()
    }

    /// Whether the meter itself says where its numbers are.
    pub(super) fn is_sunspec(&self) -> bool {
        self.profile.as_deref() == Some(sunspec::NAME)
    }

    /// The numbers of a meter that has listed `found`; one's own take their place.
    pub(super) fn with_found(&self, found: &[RegisterConfig]) -> Result<Vec<Number>, String> {
        let is_own = |one: &RegisterConfig| {
            let mut own = self.registers.iter();
            own.any(|mine| (&mine.quantity, mine.part) == (&one.quantity, one.part))
        };
        let found = found.iter().filter(|one| !is_own(one)).cloned();
        let registers = found.chain(self.registers.iter().cloned()).collect();
        Self { profile: None, registers, ..self.clone() }.numbers()
    }
}

fn millivolts(text: &str) -> Option<i64> {
    let (digits, unit) = text.trim().split_once(' ')?;
    let scale = Scale::new(Quantity::Voltage, unit.trim(), Decimal::parse(digits)?)?;
    i64::try_from(scale.numerator / scale.denominator).ok().filter(|mv| *mv > 0)
}
