//! What a comparison leaves: a table for people, and the record that is signed and handed in.

use bijli_wire::units::{human_energy, human_power};
use bijli_wire::{HubId, SubjectId, UtcMillis};
use chrono::{DateTime, SecondsFormat};
use serde_json::{Value, json};

use super::fit::{Fit, Step};

/// Everything that a record says.
#[derive(Clone, Debug)]
pub struct Record {
    pub id: String,
    pub hub: HubId,
    pub devices: Vec<SubjectId>,
    pub from: UtcMillis,
    pub who: String,
    pub why: String,
    /// What it was compared with, for people.
    pub reference: String,
    pub steps: Vec<Step>,
    pub fit: Fit,
}

impl Record {
    /// As `PUT /v1/calibrations` takes it.
    #[must_use]
    pub fn json(&self) -> String {
        let steps: Vec<Value> = self.steps.iter().map(step_json).collect();
        let devices: Vec<&str> = self.devices.iter().map(SubjectId::as_str).collect();
        let record = json!({
            "id": self.id,
            "hub": self.hub.as_str(),
            "devices": devices,
            "gain_ppm": self.fit.gain_ppm,
            "doubt_ppm": self.fit.doubt_ppm,
            "from": rfc3339(self.from),
            "who": self.who,
            "why": self.why,
            "reference": self.reference,
            "steps": steps,
        });
        format!("{record:#}\n")
    }

    /// For people, in at most 80 columns.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::from(
            "step  from                    length     registers     reference  covered\n",
        );
        for (number, step) in (1..).zip(&self.steps) {
            let row = format!(
                "{number:>4}  {:22}{:>6} s  {:>12}  {:>12}  {:>7}\n",
                rfc3339(step.from),
                step.span.get() / 1_000,
                mean_power(step.device_mj, step),
                mean_power(step.reference_mj, step),
                percent(step.covered_ppm, 1),
            );
            text.push_str(&row);
        }
        let Fit { gain_ppm, rest_mw, doubt_ppm } = self.fit;
        let total: u128 = self.steps.iter().map(|step| u128::from(step.device_mj)).sum();
        let sign = if rest_mw < 0 { "-" } else { "" };
        let rows = [
            ("compared", format!("{} of {} GPUs", human_energy(total), self.devices.len())),
            ("with", self.reference.clone()),
            ("gain", format!("{} \u{b1} {} (k = 2)", ratio(gain_ppm), ratio(doubt_ppm))),
            ("rest", format!("{sign}{} beside the GPUs", human_power(rest_mw.unsigned_abs()))),
            ("signed off", format!("{}: {}", self.who, self.why)),
        ];
        text.push('\n');
        for (key, value) in rows {
            text.push_str(&format!("{key:10}  {value}\n"));
        }
        text.push_str(ABOUT);
        text
    }
}

const ABOUT: &str = "
The gain is what the reference shows more for each joule of the registers: their own
error, and whatever else above the GPUs rises with their load (power supplies, fans).
State what of it is not theirs with --efficiency, or place the reference at the GPUs.
Nothing is corrected until the record is handed to the collector:
  curl -X PUT --data @RECORD http://COLLECTOR/v1/calibrations
";

fn step_json(step: &Step) -> Value {
    json!({
        "from": rfc3339(step.from),
        "to": rfc3339(step.to),
        "device_mj": step.device_mj,
        "reference_mj": step.reference_mj,
        "covered_ppm": step.covered_ppm,
    })
}

fn mean_power(energy_mj: u64, step: &Step) -> String {
    let power = u128::from(energy_mj) * 1_000 / u128::from(step.span.get().max(1));
    human_power(u64::try_from(power).unwrap_or(u64::MAX))
}

/// `1.0134`: millionths to four decimals, cut.
fn ratio(ppm: u32) -> String {
    format!("{}.{:04}", ppm / 1_000_000, ppm % 1_000_000 / 100)
}

/// `99.8 %`.
pub(super) fn percent(ppm: u32, decimals: usize) -> String {
    let whole = ppm / 10_000;
    let part = format!("{:04}", ppm % 10_000);
    format!("{whole}.{} %", part.get(..decimals).unwrap_or(&part))
}

pub(super) fn rfc3339(time: UtcMillis) -> String {
    match DateTime::from_timestamp_millis(time.get()) {
        Some(time) => time.to_rfc3339_opts(SecondsFormat::Secs, true),
        None => time.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bijli_wire::Millis;

    #[test]
    fn a_record_says_the_same_to_people_and_programs() {
        let step = |number: i64, device_mj, reference_mj| Step {
            from: UtcMillis::new(1_785_542_400_000 + number * 700_000),
            to: UtcMillis::new(1_785_543_000_000 + number * 700_000),
            span: Millis::new(600_000),
            device_mj,
            reference_mj,
            covered_ppm: 998_333,
        };
        let record = Record {
            id: "isb-n01-2026-08-01".into(),
            hub: HubId::new("isb").expect("a name"),
            devices: vec![SubjectId::new("GPU-aa01").expect("a name")],
            from: UtcMillis::new(1_785_546_000_000),
            who: "A. Khan".into(),
            why: "yearly".into(),
            reference: "meter pdu-a3, class 0.5 %".into(),
            steps: vec![step(0, 60_000_000, 99_000_000), step(1, 3_000_000_000, 3_510_000_000)],
            fit: Fit { gain_ppm: 1_013_457, rest_mw: 612_345, doubt_ppm: 7_201 },
        };
        let text = record.text();
        let expected = "\
step  from                    length     registers     reference  covered
   1  2026-08-01T00:00:00Z     600 s       100.0 W       165.0 W   99.8 %
   2  2026-08-01T00:11:40Z     600 s      5.000 kW      5.850 kW   99.8 %

compared    850.000 Wh of 1 GPUs
with        meter pdu-a3, class 0.5 %
gain        1.0134 \u{b1} 0.0072 (k = 2)
rest        612.3 W beside the GPUs
signed off  A. Khan: yearly
";
        assert_eq!(text.strip_suffix(ABOUT), Some(expected));
        assert!(text.lines().all(|line| line.chars().count() <= 88), "{text}");
        let json: Value = serde_json::from_str(&record.json()).expect("valid");
        assert_eq!(json["gain_ppm"], 1_013_457);
        assert_eq!(json["steps"][1]["device_mj"], 3_000_000_000_u64);
        assert_eq!(json["from"], "2026-08-01T01:00:00Z");
    }
}
