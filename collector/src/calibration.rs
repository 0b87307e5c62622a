//! Calibrations as `bijli-agent calibrate` writes them and people sign them, and as the ledger
//! books them.
//!
//! The journal keeps the whole record, measurements included, so that an auditor can reckon the
//! gain again. Field order and names are on disk: append only.

use bijli_ledger::{Calibration, CalibrationError, Gain};
use bijli_wire::{HubId, SubjectId};
use serde::{Deserialize, Serialize};

use crate::allocation::{TextError, name};
use crate::calendar;

/// A calibration in JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CalibrationText {
    /// May be left out where the address names it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// May be left out where there is only one hub.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hub: Option<String>,
    pub devices: Vec<String>,
    /// What the reference showed for each joule of the registers, in millionths.
    pub gain_ppm: u32,
    /// Expanded uncertainty (k = 2) of the gain, in millionths of 1.
    pub doubt_ppm: u32,
    /// RFC 3339 with an offset: corrected from the first interval that begins then or later.
    pub from: String,
    /// Exclusive; left out while it is in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    pub who: String,
    pub why: String,
    /// What it was compared with, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reference: String,
    /// What was measured; a gain from elsewhere may come without.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<StepText>,
}

/// One steady load.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepText {
    pub from: String,
    pub to: String,
    /// By the registers of all devices together, in millijoules.
    pub device_mj: u64,
    pub reference_mj: u64,
    /// Share of the time that every register was read in, in millionths.
    pub covered_ppm: u32,
}

/// Why a calibration was not booked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unbooked {
    #[error(transparent)]
    Text(#[from] TextError),
    #[error(transparent)]
    Refused(#[from] CalibrationError),
}

impl CalibrationText {
    /// # Errors
    /// Says which field is wrong.
    pub fn from_json(json: &[u8]) -> Result<Self, TextError> {
        TextError::read("a calibration", json)
    }

    /// The bytes that the journal keeps.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings and numbers can be written as JSON")
    }

    /// # Errors
    /// Says which field is wrong.
    pub fn read(&self) -> Result<(HubId, Calibration), Unbooked> {
        let hub = self.hub.as_deref().ok_or(TextError::NoHub)?;
        let time = |field, text: &str| {
            calendar::parse(text).map_err(|source| TextError::Time { field, source })
        };
        for step in &self.steps {
            let (_, _) = (time("steps.from", &step.from)?, time("steps.to", &step.to)?);
        }
        let devices = self.devices.iter().map(|id| SubjectId::new(id));
        let calibration = Calibration {
            id: self.id.clone(),
            devices: name("devices", devices.collect::<Result<Vec<_>, _>>())?,
            gain: Gain::from_ppm(self.gain_ppm)?,
            doubt_ppm: self.doubt_ppm,
            from: time("from", &self.from)?,
            to: self.to.as_deref().map(|text| time("to", text)).transpose()?,
            who: self.who.clone(),
            why: self.why.clone(),
        };
        Ok((name("hub", HubId::new(hub))?, calibration))
    }

    /// The text of a booked calibration, without what was measured: that is in the journal.
    #[must_use]
    pub fn of(hub: &HubId, calibration: &Calibration) -> Self {
        Self {
            id: calibration.id.clone(),
            hub: Some(hub.to_string()),
            devices: calibration.devices.iter().map(ToString::to_string).collect(),
            gain_ppm: calibration.gain.ppm(),
            doubt_ppm: calibration.doubt_ppm,
            from: calendar::rfc3339(calibration.from),
            to: calibration.to.map(calendar::rfc3339),
            who: calibration.who.clone(),
            why: calibration.why.clone(),
            reference: String::new(),
            steps: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_journalled_reads_back_and_what_is_wrong_is_named() {
        let json = br#"{"id":"c1","hub":"isb","devices":["GPU-1"],"gain_ppm":1013400,
            "doubt_ppm":7200,"from":"2026-08-01T05:00:00+05:00","who":"A. Khan","why":"yearly",
            "reference":"pdu-a3, class 0.5","steps":[{"from":"2026-07-31T09:00:00Z",
            "to":"2026-07-31T09:10:00Z","device_mj":240000000,"reference_mj":243216000,
            "covered_ppm":1000000}]}"#;
        let text = CalibrationText::from_json(json).expect("valid");
        let (hub, calibration) = text.read().expect("valid");
        assert_eq!(CalibrationText::from_json(&text.to_json()), Ok(text.clone()));
        let booked = CalibrationText::of(&hub, &calibration);
        assert_eq!(booked.read().expect("our own"), (hub, calibration));
        let wrong = |change: &dyn Fn(&mut CalibrationText)| {
            let mut text = text.clone();
            change(&mut text);
            text.read().expect_err("wrong").to_string()
        };
        for (message, part) in [
            (wrong(&|t| t.gain_ppm = 10), "no calibration, a defect"),
            (wrong(&|t| t.from = "yesterday".into()), "from: "),
            (wrong(&|t| t.steps[0].to = "later".into()), "steps.to: "),
            (wrong(&|t| t.devices = vec!["a b".into()]), "devices: "),
            (wrong(&|t| t.hub = None), "more than one"),
        ] {
            assert!(message.contains(part), "{message}");
        }
        let error = CalibrationText::from_json(b"{\"gain\":1}").expect_err("unknown");
        assert!(error.to_string().contains("not the JSON of a calibration"), "{error}");
    }
}
