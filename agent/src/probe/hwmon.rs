//! Power and energy as the kernel's hwmon files show them: `acpi_power_meter`, power supplies,
//! boards. One probe per configured sensor.
//!
//! # Invariants
//! - A sensor is chosen by whoever configures it, by the chip's name and the file's, and its label
//!   where it has one. What does not exist, or more than once, is refused with a list of what
//!   there is: "the first that matches" has metered power supplies, fans and whole chassis alike.
//! - `energyN_input` counts microjoules and is shipped raw. `powerN_*` is integrated and flagged.
//! - Chips get other numbers at a boot and come back after a driver was reloaded: a sensor is
//!   found anew, and a file that is gone is a missing value, as is one above `power_max`.

use std::path::{Path, PathBuf};

use bijli_wire::batch::{Register, Subject};
use bijli_wire::{Method, Millis, Milliwatts, Quantity, SubjectId, SubjectKind, quantity};
use serde::Deserialize;

use self::chips::{Kind, Sensor};
use super::integrated::{PowerRegister, Rule};
use super::kernel;
use super::{
    Cadence, Context, Description, How, Note, Offer, Probe, ProbeError, Sample, Tick, admitted,
    epoch, short,
};

mod chips;

/// `[[hwmon]]` of the configuration: one sensor.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HwmonConfig {
    /// The meter's id, unique in the hub: `"isb/n01/board"`.
    pub meter: String,
    /// What the chip's `name` says: `"power_meter"`.
    pub chip: String,
    /// The device it belongs to, where several chips have that name: `"ACPI000D:00"`.
    pub device: Option<String>,
    /// A file of the chip: `"power1_average"`, `"power1_input"`, `"energy1_input"`.
    pub sensor: String,
    /// What the sensor's label must say, so that a renumbering is noticed.
    pub label: Option<String>,
    #[serde(default = "every", deserialize_with = "quantity::de_duration")]
    pub every: Millis,
    /// No true reading implies more.
    #[serde(deserialize_with = "quantity::de_power")]
    pub power_max: Milliwatts,
    #[serde(default = "root")]
    pub root: PathBuf,
}

const fn every() -> Millis {
    Millis::new(1_000)
}

fn root() -> PathBuf {
    PathBuf::from("/sys/class/hwmon")
}

impl HwmonConfig {
    /// Checks what no type can.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn check(&self) -> Result<(), String> {
        SubjectId::new(&self.meter).map_err(|error| error.to_string())?;
        if self.every == Millis::ZERO {
            return Err("`every` must be longer than nothing".to_owned());
        }
        if self.power_max == Milliwatts::ZERO {
            return Err("`power_max` must be above zero".to_owned());
        }
        Kind::of(&self.sensor).map(|_| ()).ok_or_else(|| {
            format!(
                "sensor {:?} is no file of power or energy: write for example \"power1_average\", \
                 \"power1_input\" or \"energy1_input\"",
                self.sensor
            )
        })
    }
}

/// Reads one sensor.
#[derive(Debug)]
pub struct HwmonProbe {
    name: String,
    config: HwmonConfig,
    context: Context,
    /// As it was last found.
    sensor: Option<Sensor>,
    register: Option<PowerRegister>,
    trouble: Option<String>,
    must_describe: bool,
}

impl HwmonProbe {
    #[must_use]
    pub fn new(config: &HwmonConfig, context: &Context) -> Self {
        Self {
            name: format!("hwmon:{}", config.meter),
            config: config.clone(),
            context: context.clone(),
            sensor: None,
            register: None,
            trouble: None,
            must_describe: false,
        }
    }

    const fn cadence(&self) -> Cadence {
        Cadence::Every(self.config.every)
    }

    fn place(&self) -> String {
        format!("{}/{}", self.config.chip, self.config.sensor)
    }

    fn refuse(&self, reason: String) -> ProbeError {
        ProbeError::Meter { meter: self.config.meter.clone(), address: self.place(), reason }
    }

    /// The value now in the file's unit, or why there is none.
    fn value(&self, sensor: &Sensor) -> Result<u64, String> {
        let text = kernel::text(&sensor.file).map_err(|error| chips::why(&error))?;
        let value: u64 = text.parse().map_err(|_| format!("it reads {text:?}"))?;
        let microwatts_max = self.config.power_max.get().saturating_mul(1_000);
        match sensor.kind {
            Kind::PowerAverage | Kind::PowerInput if value > microwatts_max => {
                Err(format!("{value} µW are more than power_max: not believed"))
            }
            Kind::PowerAverage | Kind::PowerInput | Kind::Energy => Ok(value),
        }
    }

    /// The register of the sensor's own, or ours.
    fn declare(&mut self, sensor: &Sensor) -> Register {
        let gap = Millis::new(self.config.every.get().saturating_mul(3).max(5_000));
        let shape = (self.config.power_max, gap);
        if sensor.kind == Kind::Energy {
            self.register = None;
            let parts = [&self.context.boot, &self.config.meter, &sensor.identity()];
            return Register {
                numerator: 1,
                denominator: 1_000,
                modulus: None,
                power_max: shape.0,
                epoch: epoch(&parts.map(String::as_str)),
                method: Method::Hardware,
                gap: shape.1,
            };
        }
        let rule = match sensor.leaves_no_time_out(self.config.every) {
            true => Rule::Previous,
            false => Rule::Trapezoid,
        };
        let hold_max = Millis::new(self.config.every.get().saturating_mul(2).max(3_000));
        let fresh = || PowerRegister::new(rule, Some(hold_max));
        let register = self.register.get_or_insert_with(fresh);
        register.begin_stretch();
        register.declare(&self.config.meter, self.context.start, shape)
    }

    fn notes(&self, sensor: &Sensor, value: u64) -> Vec<Note> {
        let evidence = sensor.evidence();
        if sensor.kind == Kind::Energy {
            let words = format!("class measured: the sensor's own register, in µJ: {evidence}");
            return vec![Note::new(How::Register, "energy", words)];
        }
        let class = match sensor.leaves_no_time_out(self.config.every) {
            true => "integrated",
            false => "sampled",
        };
        let words = format!(
            "class {class}: the sensor has no energy counter, so power is integrated at each \
             reading; while the agent is down nothing is counted"
        );
        let power = format!("{evidence}; {} W now", value / 1_000_000);
        vec![Note::new(How::Integrated, "energy", words), Note::new(How::Read, "power", power)]
    }
}

impl Probe for HwmonProbe {
    fn name(&self) -> &str {
        &self.name
    }

    fn describe(&mut self) -> Result<Description, ProbeError> {
        self.must_describe = false;
        self.config.check().map_err(|why| self.refuse(why))?;
        let found = chips::find(&self.config).map_err(|why| self.refuse(why))?;
        let value = self.value(&found).map_err(|why| self.refuse(why))?;
        let subject = Subject {
            id: SubjectId::new(&self.config.meter).map_err(|source| ProbeError::Name { source })?,
            kind: SubjectKind::Meter,
            label: short(found.label.as_deref().unwrap_or(&self.place())),
            model: short(&self.config.chip),
            serial: String::new(),
            register: Some(self.declare(&found)),
        };
        let cadence = self.cadence();
        let offer = |quantity| Offer { cadence, subject: 0, quantity, part: 0 };
        let quantities = [Some(Quantity::EnergyRegister), found.kind.quantity()];
        let series = quantities.into_iter().flatten().map(offer).collect();
        let notes = self.notes(&found, value);
        self.sensor = Some(found);
        Ok(Description { subjects: vec![subject], series, notes })
    }

    fn read(&mut self, due: &[Cadence], now: Tick) -> Vec<Sample> {
        let cadence = self.cadence();
        let Some(sensor) = self.sensor.as_ref().filter(|_| due.contains(&cadence)) else {
            return Vec::new();
        };
        let value = self.value(sensor);
        let place = || format!("{} at {}", self.config.meter, self.place());
        self.trouble = value.as_ref().err().map(|why| format!("{}: {why}", place()));
        // It may be elsewhere by now, or somewhere again.
        self.must_describe = !sensor.file.exists();
        let number = |value: u64| i64::try_from(value).ok();
        let value = value.ok();
        let at = Millis::new(now.monotonic.get());
        let values = match (&mut self.register, sensor.kind.quantity()) {
            (Some(register), Some(quantity)) => {
                // Milliwatts are what the books have; what is below one is less than any sensor's.
                let power = value.map(|microwatts| Milliwatts::new(microwatts / 1_000));
                let count = register.step(power, at);
                let power = power.and_then(|power| admitted(quantity, number(power.get())?));
                vec![count, power]
            }
            _ => vec![value.and_then(|count| admitted(Quantity::EnergyRegister, number(count)?))],
        };
        vec![Sample { cadence, at: None, values }]
    }

    fn trouble(&self) -> Option<String> {
        self.trouble.clone()
    }

    fn wants_describe(&self) -> bool {
        self.must_describe || self.register.as_ref().is_some_and(PowerRegister::is_broken)
    }
}

/// What a folder of the kernel's holds, by name; nothing where it is not there.
fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let entries = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut names: Vec<String> = entries.collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests;
