//! Numbers with their unit, as a person writes them in a configuration: `"15s"`, `"2 MW"`,
//! `"700 W"`, `"2 GiB"`.
//!
//! # Invariants
//! - A bare number is refused, with an example of what to write.
//! - Decimals are exact: `"0.4 kW"` is 400,000 mW, and what is no whole number of the base unit
//!   is refused, never rounded.

use serde::Deserializer;
use serde::de::{self, Visitor};

use crate::units::{Millijoules, Millis, Milliwatts};

/// Why a number with a unit was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    #[error("{text:?} is a bare number: write the {what} with its unit, for example {example:?}")]
    Bare { what: &'static str, text: String, example: &'static str },
    #[error("{text:?} is not a {what}: write for example {example:?}")]
    Number { what: &'static str, text: String, example: &'static str },
    #[error("{text:?}: {unit:?} is no unit of a {what}: use one of {known}")]
    Unit { what: &'static str, text: String, unit: String, known: String },
    #[error("{text:?} is not a whole number of {base}")]
    Fraction { text: String, base: &'static str },
    #[error("{text:?} is too large for a {what}")]
    TooLarge { what: &'static str, text: String },
}

/// One dimension: its units, each a whole number of the base unit.
struct Dimension {
    what: &'static str,
    base: &'static str,
    example: &'static str,
    units: &'static [(&'static str, u64)],
}

const DURATION: Dimension = Dimension {
    what: "duration",
    base: "milliseconds",
    example: "15s",
    units: &[("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)],
};

const POWER: Dimension = Dimension {
    what: "power",
    base: "milliwatts",
    example: "700 W",
    units: &[("mW", 1), ("W", 1_000), ("kW", 1_000_000), ("MW", 1_000_000_000)],
};

const ENERGY: Dimension = Dimension {
    what: "meter reading",
    base: "millijoules",
    example: "1234.56 kWh",
    units: &[
        ("mJ", 1),
        ("J", 1_000),
        ("Wh", 3_600_000),
        ("kWh", 3_600_000_000),
        ("MWh", 3_600_000_000_000),
    ],
};

const VOLUME: Dimension = Dimension {
    what: "meter reading",
    base: "millilitres",
    example: "1234.5 m3",
    units: &[("ml", 1), ("l", 1_000), ("m3", 1_000_000)],
};

const SIZE: Dimension = Dimension {
    what: "size",
    base: "bytes",
    example: "2 GiB",
    units: &[
        ("B", 1),
        ("kB", 1_000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("TiB", 1 << 40),
    ],
};

/// `"15s"`, `"5 m"`, `"250 ms"`, `"7d"`.
///
/// # Errors
/// Says what is wrong and shows an example.
pub fn duration(text: &str) -> Result<Millis, QuantityError> {
    parse(text, &DURATION).map(Millis::new)
}

/// `"700 W"`, `"2 MW"`, `"1.5 kW"`.
///
/// # Errors
/// Says what is wrong and shows an example.
pub fn power(text: &str) -> Result<Milliwatts, QuantityError> {
    parse(text, &POWER).map(Milliwatts::new)
}

/// `"1234.56 kWh"`, `"100 Wh"`.
///
/// # Errors
/// Says what is wrong and shows an example.
pub fn energy(text: &str) -> Result<Millijoules, QuantityError> {
    parse(text, &ENERGY).map(Millijoules::new)
}

/// `"1234.5 m3"`, `"800 l"`, in millilitres.
///
/// # Errors
/// Says what is wrong and shows an example.
pub fn volume(text: &str) -> Result<u64, QuantityError> {
    parse(text, &VOLUME)
}

/// `"2 GiB"`, `"512 MB"`, in bytes.
///
/// # Errors
/// Says what is wrong and shows an example.
pub fn size(text: &str) -> Result<u64, QuantityError> {
    parse(text, &SIZE)
}

/// For `#[serde(deserialize_with = "quantity::de_duration")]`.
///
/// # Errors
/// As [`duration`], and for TOML values that are no text.
pub fn de_duration<'de, D: Deserializer<'de>>(from: D) -> Result<Millis, D::Error> {
    from.deserialize_any(Text(&DURATION)).map(Millis::new)
}

/// [`de_duration`] for a key that may be left out.
///
/// # Errors
/// As [`de_duration`].
pub fn de_some_duration<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Millis>, D::Error> {
    de_duration(from).map(Some)
}

/// For `#[serde(deserialize_with = "quantity::de_power")]`.
///
/// # Errors
/// As [`power`], and for TOML values that are no text.
pub fn de_power<'de, D: Deserializer<'de>>(from: D) -> Result<Milliwatts, D::Error> {
    from.deserialize_any(Text(&POWER)).map(Milliwatts::new)
}

/// For `#[serde(deserialize_with = "quantity::de_size")]`.
///
/// # Errors
/// As [`size`], and for TOML values that are no text.
pub fn de_size<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    from.deserialize_any(Text(&SIZE))
}

/// [`de_size`] for a key that may be left out.
///
/// # Errors
/// As [`de_size`].
pub fn de_some_size<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    de_size(from).map(Some)
}

/// Takes text, and answers a number with how it should have been written.
struct Text(&'static Dimension);

impl Visitor<'_> for Text {
    type Value = u64;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a {} with its unit, for example {:?}", self.0.what, self.0.example)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<u64, E> {
        parse(text, self.0).map_err(E::custom)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<u64, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<u64, E> {
        self.visit_str(&number.to_string())
    }
}

fn parse(text: &str, dimension: &Dimension) -> Result<u64, QuantityError> {
    let Dimension { what, base, example, units } = *dimension;
    let owned = || text.trim().to_owned();
    let end = text.trim().find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(usize::MAX);
    let Some((number, unit)) = text.trim().split_at_checked(end) else {
        let bare = Decimal::parse(text.trim()).is_some();
        return Err(if bare {
            QuantityError::Bare { what, text: owned(), example }
        } else {
            QuantityError::Number { what, text: owned(), example }
        });
    };
    let Some(number) = Decimal::parse(number) else {
        return Err(QuantityError::Number { what, text: owned(), example });
    };
    let unit = unit.trim();
    let Some((_, scale)) = units.iter().find(|(name, _)| *name == unit) else {
        let known: Vec<&str> = units.iter().map(|(name, _)| *name).collect();
        let (unit, known) = (unit.to_owned(), known.join(", "));
        return Err(QuantityError::Unit { what, text: owned(), unit, known });
    };
    let too_large = || QuantityError::TooLarge { what, text: owned() };
    let product = number.digits.checked_mul(u128::from(*scale)).ok_or_else(too_large)?;
    let divisor = number.denominator();
    if product % divisor != 0 {
        return Err(QuantityError::Fraction { text: owned(), base });
    }
    u64::try_from(product / divisor).map_err(|_| too_large())
}

/// An exact decimal number that is not negative: `digits / 10^decimals`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decimal {
    pub digits: u128,
    pub decimals: u32,
}

/// Digits of one number, all told. 10^24 times any unit still fits `u128`.
const DIGITS_MAX: usize = 24;

impl Decimal {
    /// `"12"`, `"0.001"`; `None` for anything else, signs and exponents included.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || !digits(fraction) || whole.len() + fraction.len() > DIGITS_MAX {
            return None;
        }
        let fraction = fraction.trim_end_matches('0');
        let digits = format!("{whole}{fraction}").parse().ok()?;
        Some(Self { digits, decimals: u32::try_from(fraction.len()).ok()? })
    }

    /// `10^decimals`.
    #[must_use]
    pub fn denominator(self) -> u128 {
        10_u128.pow(self.decimals)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_with_units_by_table() {
        for (text, ms) in
            [("15s", 15_000), ("5 m", 300_000), ("250ms", 250), (" 0.5 h ", 1_800_000)]
        {
            assert_eq!(duration(text), Ok(Millis::new(ms)), "{text}");
        }
        for (text, mw) in [("700 W", 700_000), ("2 MW", 2_000_000_000), ("1.5kW", 1_500_000)] {
            assert_eq!(power(text), Ok(Milliwatts::new(mw)), "{text}");
        }
        assert_eq!(energy("1234.56 kWh"), Ok(Millijoules::new(4_444_416_000_000)));
        assert_eq!(size("2 GiB"), Ok(2 << 30));
        assert_eq!(size("1.5 KiB"), Ok(1536));
    }

    #[test]
    fn refusals_say_what_to_write() {
        for (text, words) in [
            (
                "15",
                "\"15\" is a bare number: write the duration with its unit, for example \"15s\"",
            ),
            ("", "\"\" is not a duration: write for example \"15s\""),
            ("-3s", "\"-3s\" is not a duration: write for example \"15s\""),
            ("1e3s", "\"1e3s\": \"e3s\" is no unit of a duration: use one of ms, s, m, h, d"),
            ("1.5ms", "\"1.5ms\" is not a whole number of milliseconds"),
            ("1.2.3s", "\"1.2.3s\" is not a duration: write for example \"15s\""),
            ("99999999999999999999d", "\"99999999999999999999d\" is too large for a duration"),
        ] {
            assert_eq!(duration(text).expect_err(text).to_string(), words);
        }
        assert!(power("5 kw").expect_err("case matters").to_string().contains("mW, W, kW, MW"));
    }

    #[test]
    fn toml_numbers_without_a_unit_are_refused_with_an_example() {
        #[derive(Debug, serde::Deserialize)]
        struct Config {
            #[serde(deserialize_with = "de_duration")]
            every: Millis,
            #[serde(deserialize_with = "de_power")]
            most: Milliwatts,
            #[serde(deserialize_with = "de_size")]
            room: u64,
        }
        let whole: Config =
            toml::from_str("every = \"5s\"\nmost = \"2 MW\"\nroom = \"1 MiB\"").expect("units");
        assert_eq!(
            (whole.every.get(), whole.most.get(), whole.room),
            (5_000, 2_000_000_000, 1 << 20)
        );
        let bare = toml::from_str::<Config>("every = 5\nmost = \"2 MW\"\nroom = \"1 MiB\"");
        let words = bare.expect_err("bare").to_string();
        assert!(words.contains("write the duration with its unit, for example \"15s\""), "{words}");
    }

    #[test]
    fn decimals_are_exact_or_refused() {
        assert_eq!(Decimal::parse("0.10"), Some(Decimal { digits: 1, decimals: 1 }));
        assert_eq!(Decimal::parse("12"), Some(Decimal { digits: 12, decimals: 0 }));
        for text in ["", ".", "1.", ".5", "+1", "-1", "1e3", "NaN", "1,5"] {
            assert_eq!(Decimal::parse(text), None, "{text}");
        }
    }
}
