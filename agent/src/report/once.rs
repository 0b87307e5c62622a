//! `bijli-agent once`: one reading of everything.

use bijli_wire::batch::{Register, Subject};
use bijli_wire::units::{human_energy, human_power};
use bijli_wire::{Method, Quantity};
use serde_json::{Value, json};

use super::{COLUMNS, Finding, kind_name, who, wrapped};
use crate::probe::{Description, Offer, Sample};

const MARGIN: usize = 2;
const NAME_WIDTH: usize = 28;
const VALUE_WIDTH: usize = 16;

/// The readings for people.
#[must_use]
pub fn text(findings: &[Finding]) -> String {
    let mut lines = Vec::new();
    for finding in findings {
        match &finding.outcome {
            Ok(description) => {
                for (index, subject) in description.subjects.iter().enumerate() {
                    let about = [subject.id.as_str(), &who(subject)].join("  ");
                    lines.extend(wrapped(&about, COLUMNS));
                    for (offer, value) in readings(description, &finding.samples, index) {
                        reading(offer, value, subject, &mut lines);
                    }
                    lines.push(String::new());
                }
            }
            Err(error) => {
                lines.extend(wrapped(&format!("{}: {error}", finding.probe), COLUMNS));
                lines.push(String::new());
            }
        }
    }
    let lines: Vec<&str> = lines.iter().map(|line| line.trim_end()).collect();
    lines.join("\n")
}

/// One subject's offers with their last values.
fn readings<'a>(
    description: &'a Description,
    samples: &[Sample],
    subject: usize,
) -> Vec<(&'a Offer, Option<i64>)> {
    let mut readings = Vec::new();
    for cadence in description.cadences() {
        let last = samples.iter().rev().find(|sample| sample.cadence == cadence);
        for (column, offer) in description.of(cadence).enumerate() {
            if offer.subject == subject {
                let value = last.and_then(|sample| sample.values.get(column).copied().flatten());
                readings.push((offer, value));
            }
        }
    }
    readings
}

fn reading(offer: &Offer, value: Option<i64>, subject: &Subject, lines: &mut Vec<String>) {
    let mut name = offer.quantity.spec().name.replace('_', " ");
    if offer.part != 0 {
        name = format!("{name}, part {}", offer.part);
    }
    let (value, remark) = match value {
        Some(value) => (shown(offer.quantity, value, subject.register), remark(offer, subject)),
        None => ("missing".to_owned(), offer.quantity.spec().absence),
    };
    let width = COLUMNS - MARGIN - NAME_WIDTH - VALUE_WIDTH - MARGIN;
    for (row, remark) in wrapped(remark, width).into_iter().enumerate() {
        let (name, value) = if row == 0 { (name.as_str(), value.as_str()) } else { ("", "") };
        let line =
            format!("{:MARGIN$}{name:NAME_WIDTH$}{value:>VALUE_WIDTH$}{:MARGIN$}{remark}", "", "");
        lines.push(line);
    }
}

fn remark(offer: &Offer, subject: &Subject) -> &'static str {
    if offer.quantity != Quantity::EnergyRegister {
        return "";
    }
    match subject.register.map(|register| register.method) {
        Some(Method::Hardware) => "hardware register",
        Some(Method::Integrated) => "from average power",
        Some(Method::Sampled) => "from power at moments",
        Some(Method::Unspecified) | None => "",
    }
}

/// The energy that a register's count stands for, in whole millijoules, cut.
fn energy_mj(count: i64, register: Register) -> Option<u128> {
    let count = u128::try_from(count).ok()?;
    // At most 2^62 x 2^64.
    Some(count * u128::from(register.numerator) / u128::from(register.denominator.max(1)))
}

/// A value with the unit that people use.
fn shown(quantity: Quantity, value: i64, register: Option<Register>) -> String {
    if quantity == Quantity::EnergyRegister {
        let energy = register.and_then(|register| energy_mj(value, register));
        return energy.map_or_else(|| format!("{value} counts"), human_energy);
    }
    match quantity.spec().unit {
        "mW" => human_power(u64::try_from(value).unwrap_or(0)),
        "mJ" => human_energy(u128::try_from(value).unwrap_or(0)),
        "ns" => decimal(value, 1_000_000_000, "s"),
        "us" => decimal(value, 1_000, "ms"),
        "m\u{b0}C" => decimal(value, 1_000, "\u{b0}C"),
        "ppm" => decimal(value, 10_000, "%"),
        "byte" => bytes(value),
        "Hz" => format!("{} MHz", value / 1_000_000),
        "mV" => decimal(value, 1_000, "V"),
        "mA" => decimal(value, 1_000, "A"),
        "mHz" => decimal(value, 1_000, "Hz"),
        "mL/s" => decimal(value, 1_000, "L/s"),
        "s" => format!("{value} s"),
        "bits" => format!("{value:#x}"),
        "0/1" if value == 0 => "no".to_owned(),
        "0/1" => "yes".to_owned(),
        _ => value.to_string(),
    }
}

/// `value / per_unit` with two decimals, cut towards zero.
fn decimal(value: i64, per_unit: u64, symbol: &str) -> String {
    let sign = if value < 0 { "-" } else { "" };
    let value = value.unsigned_abs();
    let hundredths = value % per_unit * 100 / per_unit;
    format!("{sign}{}.{hundredths:02} {symbol}", value / per_unit)
}

fn bytes(value: i64) -> String {
    const UNITS: [(u64, &str); 3] = [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB")];
    let unit = UNITS.iter().find(|(size, _)| value.unsigned_abs() >= *size);
    unit.map_or_else(|| format!("{value} B"), |(size, symbol)| decimal(value, *size, symbol))
}

/// The readings for programs.
#[must_use]
pub fn json(findings: &[Finding]) -> String {
    let mut subjects = Vec::new();
    let mut errors = Vec::new();
    for finding in findings {
        match &finding.outcome {
            Ok(description) => {
                for (index, subject) in description.subjects.iter().enumerate() {
                    let readings = readings(description, &finding.samples, index);
                    subjects.push(subject_json(subject, &readings));
                }
            }
            Err(error) => errors.push(json!({ "probe": finding.probe, "error": error })),
        }
    }
    let report = json!({ "subjects": subjects, "errors": errors });
    format!("{report:#}\n")
}

fn subject_json(subject: &Subject, readings: &[(&Offer, Option<i64>)]) -> Value {
    let readings = readings.iter().map(|(offer, value)| {
        let spec = offer.quantity.spec();
        let energy = match (offer.quantity, *value, subject.register) {
            (Quantity::EnergyRegister, Some(count), Some(register)) => energy_mj(count, register),
            (_, _, _) => None,
        };
        let mut reading = json!({
            "quantity": spec.name,
            "part": offer.part,
            "value": value.map(|value| value.to_string()),
            "unit": spec.unit,
        });
        if let (Some(energy), Some(fields)) = (energy, reading.as_object_mut()) {
            fields.insert("energy_mj".to_owned(), json!(energy.to_string()));
        }
        reading
    });
    json!({
        "id": subject.id.as_str(),
        "kind": kind_name(subject.kind),
        "label": subject.label,
        "readings": readings.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::probe::Cadence;
    use bijli_wire::{Millis, Milliwatts, SubjectId, SubjectKind};

    /// One GPU, read once.
    pub(in crate::report) fn gpu() -> Finding {
        let register = Register {
            numerator: 1,
            denominator: 1,
            modulus: None,
            power_max: Milliwatts::new(700_000),
            epoch: 7,
            method: Method::Hardware,
            gap: Millis::new(5_000),
        };
        let subject = Subject {
            id: SubjectId::new("GPU-5b1c").unwrap(),
            kind: SubjectKind::Gpu,
            label: "0".to_owned(),
            model: "NVIDIA H100 80GB HBM3".to_owned(),
            serial: "1650".to_owned(),
            register: Some(register),
        };
        let offer = |cadence, quantity| Offer { cadence, subject: 0, quantity, part: 0 };
        let series = vec![
            offer(Cadence::Hot, Quantity::EnergyRegister),
            offer(Cadence::Warm, Quantity::MemoryUsed),
            offer(Cadence::Hot, Quantity::PowerAverage),
            offer(Cadence::Hot, Quantity::Temperature),
            offer(Cadence::Warm, Quantity::ThrottleReasons),
            offer(Cadence::Hot, Quantity::GpuUtilization),
        ];
        let hot = vec![Some(812_345_678_901), Some(682_417), Some(-1_250), None];
        let warm = vec![Some(71_940_702_208), Some(4)];
        let sample = |cadence, values| Sample { cadence, at: None, values };
        Finding {
            probe: "nvml:GPU-5b1c".to_owned(),
            outcome: Ok(Description { subjects: vec![subject], series, notes: Vec::new() }),
            samples: vec![sample(Cadence::Hot, hot), sample(Cadence::Warm, warm)],
        }
    }

    fn findings() -> Vec<Finding> {
        let failed = Finding {
            probe: "nvml".to_owned(),
            outcome: Err("cannot load libnvidia-ml.so.1: no such file".to_owned()),
            samples: Vec::new(),
        };
        vec![gpu(), failed]
    }

    /// Feel free to change the output; this makes sure you break only what you intend.
    #[test]
    fn the_readings_for_people() {
        let expected = "\
GPU-5b1c GPU 0, NVIDIA H100 80GB HBM3, serial 1650
  energy register                  225.651 kWh  hardware register
  power average                        682.4 W
  temperature                         -1.25 \u{b0}C
  gpu utilization                      missing  refused by the driver (MIG), or
                                                the read failed: activity
                                                unknown
  memory used                        67.00 GiB
  throttle reasons                         0x4

nvml: cannot load libnvidia-ml.so.1: no such file
";
        let report = text(&findings());
        assert_eq!(report, expected);
        assert!(report.lines().all(|line| line.chars().count() <= COLUMNS));
    }

    #[test]
    fn the_readings_for_programs_are_exact() {
        let report: Value = serde_json::from_str(&json(&findings())).expect("valid JSON");
        let readings = &report["subjects"][0]["readings"];
        assert_eq!(readings[0]["value"], "812345678901");
        assert_eq!(readings[0]["energy_mj"], "812345678901");
        assert_eq!(readings[1]["unit"], "mW");
        assert_eq!(readings[3]["value"], Value::Null);
        assert_eq!(report["errors"][0]["probe"], "nvml");
    }

    #[test]
    fn values_in_the_units_of_people() {
        for (quantity, value, expected) in [
            (Quantity::PowerInstant, 1_234_567_890, "1.234 MW"),
            (Quantity::CpuUtilization, 123_400, "12.34 %"),
            (Quantity::PowerFactor, -981_000, "-98.10 %"),
            (Quantity::Voltage, 230_100, "230.10 V"),
            (Quantity::Frequency, 50_020, "50.02 Hz"),
            (Quantity::ClockSm, 1_980_000_000, "1980 MHz"),
            (Quantity::HostMemorySize, 1_000, "1000 B"),
            (Quantity::DiskSize, 3 << 39, "1.50 TiB"),
            (Quantity::OnBattery, 1, "yes"),
            (Quantity::PowerIntegral, 3_600_000_000, "1.000 kWh"),
            (Quantity::ThrottlePowerCap, 7_015_250_000_000, "7015.25 s"),
            (Quantity::ReadTime, 1_230, "1.23 ms"),
            (Quantity::EccCorrected, 17, "17"),
            (Quantity::EnergyRegister, 5, "5 counts"),
        ] {
            assert_eq!(shown(quantity, value, None), expected);
        }
        let microjoules = Register { denominator: 1_000, ..gpu_register() };
        assert_eq!(
            shown(Quantity::EnergyRegister, 3_600_000_000_000, Some(microjoules)),
            "1.000 kWh"
        );
    }

    fn gpu_register() -> Register {
        let gpu = gpu();
        gpu.outcome.expect("described").subjects[0].register.expect("a register")
    }
}
