//! Typed readings as people write them (JSON), and as the ledger books them.
//!
//! The journal keeps the JSON of [`TypedText`] as it was put: the value in the very words that were
//! typed. Field order and names are on disk: append only.

use bijli_ledger::{Measure, MeterBookError, Shown, TypedReading};
use bijli_wire::quantity::{self, QuantityError};
use bijli_wire::{HubId, SubjectId};
use serde::{Deserialize, Serialize};

use crate::allocation::{TextError, name};
use crate::calendar;

/// Digits before the point of the longest display there is.
const DIGITS_MAX: u32 = 12;

/// A typed reading in JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TypedText {
    /// May be left out where the address names it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// May be left out where there is only one hub.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hub: Option<String>,
    /// As the diagram names it.
    pub meter: String,
    /// When it was read: RFC 3339 with an offset.
    pub at: String,
    /// What the display showed, with every digit and its unit: `"123456.70 kWh"`, of water or fuel
    /// `"1234.567 m3"`.
    pub value: String,
    /// What the display is multiplied with, for current and voltage transformers before the meter.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub factor: u32,
    /// The display passed its last number since the reading before: its digits before the point.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollover_digits: Option<u32>,
    /// At this moment the meter was swapped or reset, or its transformers were changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart: Option<RestartText>,
    pub who: String,
    pub why: String,
    /// SHA-256 of a photograph of the display, 64 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub photo_sha256: Option<String>,
}

/// What the new meter showed first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RestartText {
    pub value: String,
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub factor: u32,
}

const fn one() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
const fn is_one(factor: &u32) -> bool {
    *factor == 1
}

/// Why a typed reading was not booked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Untyped {
    #[error(transparent)]
    Text(#[from] TextError),
    #[error("{field}: {source}")]
    Value { field: &'static str, source: QuantityError },
    #[error("{field} is 0: a meter without transformers before it has 1")]
    Factor { field: &'static str },
    #[error("a display has 1 to {DIGITS_MAX} digits before the point, not {found}")]
    Digits { found: u32 },
    #[error("photo_sha256 is not 64 hexadecimal digits: sha256sum prints them")]
    Photo,
    #[error(transparent)]
    Refused(#[from] MeterBookError),
}

impl TypedText {
    /// # Errors
    /// Says which field is wrong.
    pub fn from_json(json: &[u8]) -> Result<Self, TextError> {
        TextError::read("a typed reading", json)
    }

    /// The bytes that the journal keeps.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings and numbers can be written as JSON")
    }

    /// # Errors
    /// Says which field is wrong.
    pub fn read(&self) -> Result<(HubId, TypedReading), Untyped> {
        let hub = self.hub.as_deref().ok_or(TextError::NoHub)?;
        let at =
            calendar::parse(&self.at).map_err(|source| TextError::Time { field: "at", source })?;
        let restart = self.restart.as_ref();
        let restart = restart.map(|new| shown("restart.value", &new.value, new.factor));
        let reading = TypedReading {
            id: self.id.clone(),
            meter: name("meter", SubjectId::new(&self.meter))?,
            at,
            measure: measured("value", &self.value)?.0,
            shown: shown("value", &self.value, self.factor)?,
            rollover: self.rollover_digits.map(|digits| self.turn(digits)).transpose()?,
            restart: restart.transpose()?,
            who: self.who.clone(),
            why: self.why.clone(),
            photo: self.photo_sha256.as_deref().map(sha256).transpose()?,
        };
        Ok((name("hub", HubId::new(hub))?, reading))
    }

    /// What a display of so many digits has counted when it begins again.
    fn turn(&self, digits: u32) -> Result<u128, Untyped> {
        if !(1..=DIGITS_MAX).contains(&digits) {
            return Err(Untyped::Digits { found: digits });
        }
        let unit = unit_mj("value", &self.value)?;
        Ok(10_u128.pow(digits) * unit * u128::from(self.factor))
    }

    /// The text of a reading that the books hold.
    #[must_use]
    pub fn of(hub: &HubId, reading: &TypedReading) -> Self {
        let digits = |turn: u128| {
            let unit = unit_mj("value", &reading.shown.text).ok()?;
            let ratio = turn / (unit * u128::from(reading.shown.factor));
            ratio.checked_ilog10()
        };
        let restart = |new: &Shown| RestartText { value: new.text.clone(), factor: new.factor };
        Self {
            id: reading.id.clone(),
            hub: Some(hub.to_string()),
            meter: reading.meter.to_string(),
            at: calendar::rfc3339(reading.at),
            value: reading.shown.text.clone(),
            factor: reading.shown.factor,
            rollover_digits: reading.rollover.and_then(digits),
            restart: reading.restart.as_ref().map(restart),
            who: reading.who.clone(),
            why: reading.why.clone(),
            photo_sha256: reading.photo.map(|hash| hex(&hash)),
        }
    }
}

/// 32 bytes or more as hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn sha256(text: &str) -> Result<[u8; 32], Untyped> {
    let mut hash = [0; 32];
    let is_hex = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_hex {
        return Err(Untyped::Photo);
    }
    for (byte, place) in hash.iter_mut().zip((0..64).step_by(2)) {
        let digits = text.get(place..place + 2).ok_or(Untyped::Photo)?;
        *byte = u8::from_str_radix(digits, 16).map_err(|_| Untyped::Photo)?;
    }
    Ok(hash)
}

/// What a display showed. Every digit that was typed counts: `1000.0` is known to a tenth.
fn shown(field: &'static str, text: &str, factor: u32) -> Result<Shown, Untyped> {
    if factor == 0 {
        return Err(Untyped::Factor { field: "factor" });
    }
    let text = text.trim();
    let (_, count) = measured(field, text)?;
    let decimals = text
        .split_once('.')
        .map_or(0, |(_, rest)| rest.bytes().take_while(u8::is_ascii_digit).map(|_| 1_u32).sum());
    let digit_mj =
        10_u128.checked_pow(decimals).and_then(|d| unit_mj(field, text).ok()?.checked_div(d));
    let factor_mj = u128::from(factor);
    Ok(Shown {
        text: text.to_owned(),
        factor,
        count: u128::from(count) * factor_mj,
        step: digit_mj.unwrap_or(0).max(1) * factor_mj,
    })
}

/// A value by its unit: energy in millijoules, or a volume in millilitres.
fn measured(field: &'static str, text: &str) -> Result<(Measure, u64), Untyped> {
    let wrong = |source| Untyped::Value { field, source };
    match quantity::volume(text) {
        Ok(count) => Ok((Measure::Volume, count)),
        Err(source @ (QuantityError::Fraction { .. } | QuantityError::TooLarge { .. })) => {
            Err(wrong(source))
        }
        Err(
            QuantityError::Bare { .. } | QuantityError::Number { .. } | QuantityError::Unit { .. },
        ) => {
            let count = quantity::energy(text).map_err(wrong)?;
            Ok((Measure::Energy, count.get()))
        }
    }
}

/// What one whole unit of a value is worth.
fn unit_mj(field: &'static str, text: &str) -> Result<u128, Untyped> {
    let unit = text.trim().trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    measured(field, &format!("1 {}", unit.trim())).map(|(_, unit)| u128::from(unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text() -> TypedText {
        TypedText::from_json(
            br#"{"id":"m1/nov","hub":"isb","meter":"m1","at":"2026-11-01T09:00:00+05:00",
                "value":"001234.50 kWh","factor":160,"rollover_digits":6,
                "restart":{"value":"0.0 kWh","factor":200},"who":"A. Khan","why":"swap",
                "photo_sha256":"00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff"}"#,
        )
        .expect("valid")
    }

    #[test]
    fn what_is_journalled_reads_back_and_every_digit_counts() {
        let (hub, reading) = text().read().expect("valid");
        let kwh = 3_600_000_000_u128;
        assert_eq!(reading.shown.count, 12_345 * kwh / 10 * 160);
        assert_eq!(reading.shown.step, kwh / 100 * 160);
        assert_eq!(reading.rollover, Some(1_000_000 * kwh * 160));
        assert_eq!(reading.restart.as_ref().map(|new| new.step), Some(kwh / 10 * 200));
        let again = TypedText::from_json(&TypedText::of(&hub, &reading).to_json());
        assert_eq!(again.expect("our own").read(), Ok((hub, reading)));
        assert_eq!(TypedText::from_json(&text().to_json()), Ok(text()));
        let value = "0123.45 m3".to_owned();
        let water = TypedText { value, restart: None, ..text() }.read().expect("a volume").1;
        assert_eq!(water.measure, Measure::Volume);
        assert_eq!((water.shown.count, water.shown.step), (123_450_000 * 160, 10_000 * 160));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let wrong = |change: &dyn Fn(&mut TypedText)| {
            let mut text = text();
            change(&mut text);
            text.read().expect_err("wrong").to_string()
        };
        for (message, part) in [
            (wrong(&|t| t.value = "1234".into()), "value: \"1234\" is a bare number"),
            (wrong(&|t| t.value = "1,234 kWh".into()), "value: "),
            (wrong(&|t| t.value = "12 kVAh".into()), "\"kVAh\" is no unit"),
            (wrong(&|t| t.value = "99999999999 MWh".into()), "too large"),
            (wrong(&|t| t.at = "2026-11-01T09:00:00".into()), "has no offset"),
            (wrong(&|t| t.factor = 0), "factor is 0"),
            (wrong(&|t| t.rollover_digits = Some(13)), "1 to 12 digits"),
            (wrong(&|t| t.photo_sha256 = Some("ab".into())), "64 hexadecimal digits"),
            (wrong(&|t| t.meter = "a b".into()), "meter: "),
            (wrong(&|t| t.hub = None), "more than one"),
        ] {
            assert!(message.contains(part), "{message}");
        }
        let error = TypedText::from_json(b"{\"reading\":1}").expect_err("unknown");
        assert!(error.to_string().contains("not the JSON of a typed reading"), "{error}");
    }
}
