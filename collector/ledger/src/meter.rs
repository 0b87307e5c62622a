//! What an operator declares of a meter: what it is, how far it may be off, and who stands for it.
//!
//! # Invariants
//! - Nothing here is guessed: a class that is not declared is `None`, and a figure that rests on
//!   such a meter says that its uncertainty is not stated.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::civil::Date;

/// The most that an instrument may declare to be off, in millionths: beyond it measures nothing.
const LIMIT_PPM_MAX: u32 = 200_000;

/// How far an instrument may be off within its stated range: a class of a standard (`0.5S`), or a
/// share that its maker states (`2 %`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AccuracyClass {
    word: String,
    limit_ppm: u32,
}

/// The classes of IEC 62053-21 and -22 (meters), EN 50470-3 (A, B, C) and IEC 61869-2
/// (transformers), with their limit at reference conditions in millionths.
const CLASSES: [(&str, u32); 13] = [
    ("0.1", 1_000),
    ("0.1S", 1_000),
    ("0.2", 2_000),
    ("0.2S", 2_000),
    ("0.5", 5_000),
    ("0.5S", 5_000),
    ("1", 10_000),
    ("2", 20_000),
    ("3", 30_000),
    ("5", 50_000),
    ("A", 20_000),
    ("B", 10_000),
    ("C", 5_000),
];

/// Why a text is no class.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is no accuracy class: 0.1S, 0.2S, 0.5S, 0.1, 0.2, 0.5, 1, 2, 3, 5, A, B, C, or what \
     the maker states, like \"2 %\" (up to 20 %)"
)]
pub struct ClassError {
    pub text: String,
}

impl AccuracyClass {
    /// The limit in millionths of the reading.
    #[must_use]
    pub const fn limit_ppm(&self) -> u32 {
        self.limit_ppm
    }
}

impl fmt::Display for AccuracyClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.word)
    }
}

impl FromStr for AccuracyClass {
    type Err = ClassError;
    fn from_str(text: &str) -> Result<Self, ClassError> {
        let wrong = || ClassError { text: text.chars().take(32).collect() };
        let known = CLASSES.iter().find(|(word, _)| *word == text);
        let limit_ppm = match known {
            Some((_, limit)) => *limit,
            None => percent(text).filter(|ppm| *ppm > 0).ok_or_else(wrong)?,
        };
        if limit_ppm > LIMIT_PPM_MAX {
            return Err(wrong());
        }
        Ok(Self { word: text.to_owned(), limit_ppm })
    }
}

/// `2 %` or `0.75 %` in millionths: digits, at most four of them after the point, and the sign.
#[must_use]
pub fn percent(text: &str) -> Option<u32> {
    let number = text.strip_suffix('%')?.trim_end();
    let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
    let is_plain = |digits: &str, most: usize| {
        !digits.is_empty()
            && digits.len() <= most
            && digits.bytes().all(|byte| byte.is_ascii_digit())
    };
    if !is_plain(whole, 3) || !is_plain(part, 4) {
        return None;
    }
    let whole: u32 = whole.parse().ok()?;
    let part: u32 = format!("{part:0<4}").parse().ok()?;
    Some(whole.saturating_mul(10_000).saturating_add(part))
}

/// Millionths as people write a share: `5 %`, `2.5 %`.
#[must_use]
pub fn as_percent(ppm: u32) -> String {
    let (whole, part) = (ppm.div_euclid(10_000), ppm.rem_euclid(10_000));
    let part = format!("{part:04}");
    let part = part.trim_end_matches('0');
    if part.is_empty() { format!("{whole} %") } else { format!("{whole}.{part} %") }
}

/// One meter as it is declared.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Meter {
    pub make: Option<String>,
    pub model: Option<String>,
    pub serial: Option<String>,
    pub class: Option<AccuracyClass>,
    /// The standard and edition under which the class is claimed.
    pub standard: Option<String>,
    /// Primary over secondary current, `800/5`; `None`: connected without a transformer.
    pub ct_ratio: Option<String>,
    pub ct_class: Option<AccuracyClass>,
    pub calibrated: Option<Date>,
    pub calibration_due: Option<Date>,
    pub certificate: Option<String>,
    pub laboratory: Option<String>,
}

/// The limits of an instrument chain, in millionths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub meter_ppm: u32,
    /// 0: without a transformer.
    pub ct_ppm: u32,
}

impl Meter {
    /// The limits of the chain.
    ///
    /// # Errors
    /// What is not declared, in words that follow the meter's name.
    pub fn limits(&self) -> Result<Limits, &'static str> {
        let class = self.class.as_ref().ok_or("has no class")?;
        let ct_ppm = match (&self.ct_class, &self.ct_ratio) {
            (Some(class), _) => class.limit_ppm,
            (None, Some(_)) => return Err("has a current transformer without a class"),
            (None, None) => 0,
        };
        Ok(Limits { meter_ppm: class.limit_ppm, ct_ppm })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_have_their_limits_and_survive_their_words() {
        for (word, ppm) in [("0.2S", 2_000), ("0.5S", 5_000), ("1", 10_000), ("2 %", 20_000)] {
            let class: AccuracyClass = word.parse().expect("a class");
            assert_eq!((class.limit_ppm(), class.to_string().as_str()), (ppm, word));
        }
        for word in ["", "0.5s", "4", "0 %", "21 %", "two", "-1 %", "1.00001 %"] {
            assert!(word.parse::<AccuracyClass>().is_err(), "{word}");
        }
        assert_eq!(percent("0.75%"), Some(7_500));
        assert_eq!(percent("100 %"), Some(1_000_000));
        for text in ["5 %", "2.5 %", "0.0001 %", "100 %"] {
            assert_eq!(percent(text).map(as_percent).as_deref(), Some(text));
        }
    }

    #[test]
    fn a_transformer_without_a_class_has_no_limits() {
        let class = "0.5S".parse().ok();
        let direct = Meter { class, ..Meter::default() };
        assert_eq!(direct.limits(), Ok(Limits { meter_ppm: 5_000, ct_ppm: 0 }));
        let chain = Meter { ct_ratio: Some("800/5".to_owned()), ..direct };
        assert_eq!(chain.limits(), Err("has a current transformer without a class"));
        assert_eq!(Meter::default().limits(), Err("has no class"));
    }
}
