//! Numbers with their unit, as people write them in a configuration: `"15m"`, `"64 MiB"`.
//!
//! A bare number is refused: nobody can see whether 900 is seconds or milliseconds.

use std::fmt;

use bijli_wire::Millis;
use serde::de::{Deserialize, Deserializer, Error, Visitor};

/// A span of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(Millis);

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(u64);

const SPANS: [(&str, u64); 6] =
    [("ms", 1), ("s", 1_000), ("m", 60_000), ("min", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
const SIZES: [(&str, u64); 5] =
    [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];

impl Span {
    #[must_use]
    pub const fn millis(self) -> Millis {
        self.0
    }

    /// # Errors
    /// Says how to write it.
    pub fn parse(text: &str) -> Result<Self, String> {
        scaled(text, &SPANS, "\"15m\" (units: ms, s, m, h, d)").map(|ms| Self(Millis::new(ms)))
    }
}

impl Size {
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// # Errors
    /// Says how to write it.
    pub fn parse(text: &str) -> Result<Self, String> {
        scaled(text, &SIZES, "\"64 MiB\" (units: B, KiB, MiB, GiB, TiB)").map(Self)
    }
}

fn scaled(text: &str, units: &[(&str, u64)], example: &str) -> Result<u64, String> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = unit.trim_start();
    if number.is_empty() {
        return Err(format!("{text:?} is not a number with a unit; write it like {example}"));
    }
    if unit.is_empty() {
        return Err(bare(text, example));
    }
    let Some((_, scale)) = units.iter().find(|(name, _)| *name == unit) else {
        return Err(format!("unit {unit:?} is not known; write it like {example}"));
    };
    let number: Option<u64> = number.parse().ok();
    number
        .and_then(|number| number.checked_mul(*scale))
        .ok_or_else(|| format!("{text:?} is too large"))
}

fn bare(number: impl fmt::Display, example: &str) -> String {
    format!("{number} is a bare number; write it with its unit, like {example}")
}

struct Quantity<T> {
    parse: fn(&str) -> Result<T, String>,
    example: &'static str,
}

impl<T> Visitor<'_> for Quantity<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a number with its unit, like {}", self.example)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        (self.parse)(text).map_err(E::custom)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        Err(E::custom(bare(number, self.example)))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Quantity { parse: Self::parse, example: "\"15m\"" })
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Quantity { parse: Self::parse, example: "\"64 MiB\"" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_by_table() {
        for (text, ms) in
            [("15m", 900_000), ("2 min", 120_000), ("500ms", 500), ("1 d", 86_400_000)]
        {
            assert_eq!(Span::parse(text), Ok(Span(Millis::new(ms))), "{text}");
        }
        for text in ["15", "", "m", "1.5h", "-3s", "3 fortnights", "99999999999999999999s"] {
            assert!(Span::parse(text).is_err(), "{text}");
        }
        assert!(Span::parse("999999999999999d").expect_err("too large").contains("too large"));
    }

    #[test]
    fn sizes_by_table() {
        for (text, bytes) in [("64 MiB", 64 << 20), ("1GiB", 1 << 30), ("7 B", 7)] {
            assert_eq!(Size::parse(text), Ok(Size(bytes)), "{text}");
        }
        assert!(Size::parse("64 MB").expect_err("decimal").contains("MiB"));
    }
}
