//! A reader of whatever a device calls JSON: it looks up members and never fails as a whole.
//!
//! # Invariants
//! - What is not there, is `null` or is of another type is `None`: never zero, never empty.
//! - A number is the digits that the device wrote. No float lies between: a count of kilowatt-hours
//!   with sixteen digits keeps them all.
//! - Any bytes may come, at most as many as `http.rs` lets through; depth costs no stack.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::value::RawValue;

/// Digits of one number that can matter: 10^24 kWh would outlast the sun.
const DIGITS_MAX: usize = 24;
/// Digits after the point beyond these are below any unit of the catalogue.
const DECIMALS_MAX: usize = 15;
const EXPONENT_MAX: i32 = 40;

/// One value of an answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Json<'a>(&'a RawValue);

impl<'a> Json<'a> {
    /// A whole document that is an object. Text after it, or an end before it, makes it none.
    pub(super) fn document(text: &'a str) -> Option<Self> {
        let text = text.trim_start_matches('\u{feff}').trim();
        let raw: &RawValue = serde_json::from_str(text).ok()?;
        raw.get().starts_with('{').then_some(Self(raw))
    }

    /// A member that says something.
    pub(super) fn member(self, name: &str) -> Option<Self> {
        let members: BTreeMap<Cow<'a, str>, &'a RawValue> =
            serde_json::from_str(self.0.get()).ok()?;
        let value = *members.get(name)?;
        (value.get() != "null").then_some(Self(value))
    }

    /// A member of a member, or an element where a step is a number.
    pub(super) fn at(self, path: &[&str]) -> Option<Self> {
        path.iter().try_fold(self, |value, step| match step.parse::<usize>() {
            Ok(index) => value.items().get(index).copied(),
            Err(_) => value.member(step),
        })
    }

    /// The elements of a list; none of what is no list.
    pub(super) fn items(self) -> Vec<Self> {
        let items: Vec<&'a RawValue> = serde_json::from_str(self.0.get()).unwrap_or_default();
        items.into_iter().map(Self).collect()
    }

    /// A text that is not empty, without control characters.
    pub(super) fn text(self) -> Option<String> {
        let text: String = serde_json::from_str(self.0.get()).ok()?;
        let text: String = text.chars().filter(|letter| !letter.is_control()).collect();
        let text = text.trim();
        (!text.is_empty()).then(|| text.to_owned())
    }

    /// As the device wrote it, bounded; for people.
    pub(super) fn written(self) -> String {
        let token = self.0.get().trim_matches('"');
        token.chars().filter(|letter| !letter.is_control()).take(32).collect()
    }

    /// A number; some firmware writes it as a text.
    pub(super) fn decimal(self) -> Option<Decimal> {
        let token = self.0.get();
        match token.strip_prefix('"') {
            Some(rest) => Decimal::parse(rest.strip_suffix('"')?.trim()),
            None => Decimal::parse(token),
        }
    }

    /// A sensor's value, be it given as a number or as an excerpt with a `Reading`.
    pub(super) fn reading(self) -> Option<Decimal> {
        self.decimal().or_else(|| self.member("Reading")?.decimal())
    }
}

/// An exact decimal number: `mantissa x 10^exponent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Decimal {
    pub(super) mantissa: i128,
    pub(super) exponent: i32,
}

impl Decimal {
    /// A number as JSON writes it: `-12`, `0.5`, `3.25e5`. `None` for all else, and for what is
    /// beyond any measurement.
    pub(super) fn parse(token: &str) -> Option<Self> {
        let (number, exponent) = match token.split_once(['e', 'E']) {
            Some((number, exponent)) => (number, exponent.parse().ok()?),
            None => (token, 0_i32),
        };
        let (is_negative, number) = match number.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, number),
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
        let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !is_digits(whole) || !is_digits(fraction) || exponent.abs() > EXPONENT_MAX {
            return None;
        }
        let fraction = fraction.get(..DECIMALS_MAX).unwrap_or(fraction).trim_end_matches('0');
        let digits = format!("{whole}{fraction}");
        let digits = digits.trim_start_matches('0');
        if digits.len() > DIGITS_MAX {
            return None;
        }
        let mantissa: i128 = if digits.is_empty() { 0 } else { digits.parse().ok()? };
        let exponent = exponent.checked_sub(i32::try_from(fraction.len()).ok()?)?;
        Some(Self { mantissa: if is_negative { -mantissa } else { mantissa }, exponent })
    }

    /// Times `numerator / denominator`, rounded half away from zero.
    pub(super) fn scaled(self, (numerator, denominator): (u64, u64)) -> Option<i64> {
        let power = 10_i128.checked_pow(self.exponent.unsigned_abs());
        let product = self.mantissa.checked_mul(i128::from(numerator))?;
        let (dividend, divisor) = match (power, self.exponent >= 0) {
            (Some(power), true) => (product.checked_mul(power)?, i128::from(denominator)),
            (None, true) => return (self.mantissa == 0).then_some(0),
            (Some(power), false) => (product, power.checked_mul(i128::from(denominator))?),
            // 24 digits over more than 10^38 of any unit is nothing.
            (None, false) => return Some(0),
        };
        let half = divisor / 2;
        let away =
            if dividend < 0 { dividend.checked_sub(half) } else { dividend.checked_add(half) };
        i64::try_from(away?.checked_div(divisor)?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_missing_null_or_of_another_type_is_none_and_never_zero() {
        let text = r#"{"a": null, "b": {}, "c": [], "d": "x", "e": {"Reading": null}, "f": true}"#;
        let json = Json::document(text).expect("an object");
        for name in ["a", "b", "c", "d", "e", "f", "g"] {
            assert_eq!(json.member(name).and_then(Json::reading), None, "{name}");
        }
        assert_eq!(json.member("d").and_then(Json::text).as_deref(), Some("x"));
        assert!(json.at(&["e", "Reading"]).is_none());
        assert!(json.at(&["c", "0"]).is_none());
    }

    #[test]
    fn a_reading_is_a_number_an_excerpt_or_digits_in_a_text() {
        for text in [r#"{"a": 374.5}"#, r#"{"a": {"Reading": 374.5}}"#, r#"{"a": "374.5"}"#] {
            let json = Json::document(text).expect("an object");
            let reading = json.member("a").and_then(Json::reading).expect("a reading");
            assert_eq!(reading.scaled((1_000, 1)), Some(374_500), "{text}");
        }
    }

    #[test]
    fn only_whole_objects_are_documents() {
        for text in ["", "[1]", "37", "{\"a\": 374", "{\"a\": 3}x", "null", "<html>"] {
            assert!(Json::document(text).is_none(), "{text}");
        }
        assert!(Json::document("\u{feff} {\"a\": 1}\r\n").is_some());
        // A hundred thousand lists in each other.
        let deep = format!("{{\"a\": {}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
        let json = Json::document(&deep);
        assert!(json.is_none_or(|json| json.at(&["a", "0", "b"]).is_none()));
    }

    #[test]
    fn digits_are_kept_by_table() {
        const KWH: (u64, u64) = (3_600_000_000, 1);
        for (token, unit, expected) in [
            ("325675", KWH, Some(1_172_430_000_000_000)),
            // A double would end in ...128.
            ("9007199.254740993", KWH, Some(32_425_917_317_067_575)),
            ("0.000000001", KWH, Some(4)),
            ("1.5E3", (1_000, 1), Some(1_500_000)),
            ("15e-1", (1_000, 1), Some(1_500)),
            ("-0.5", (1, 1), Some(-1)),
            ("-0.0", (1, 1), Some(0)),
            ("40.000000000000000000000000000000001", (50, 3), Some(667)),
            ("1e-39", (1_000, 1), Some(0)),
            ("1e30", (1_000, 1), None),
            ("0e40", (1_000, 1), Some(0)),
            ("9223372036854775808", (1, 1), None),
        ] {
            let number = Decimal::parse(token).and_then(|number| number.scaled(unit));
            assert_eq!(number, expected, "{token}");
        }
        for token in ["", "-", ".", "1.", ".5", "+1", "1e", "NaN", "Infinity", "1 W", "1e99", "0x1"]
        {
            assert_eq!(Decimal::parse(token), None, "{token}");
        }
        assert_eq!(Decimal::parse(&"9".repeat(25)), None);
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in ".{0,200}") {
            if let Some(json) = Json::document(&text) {
                let _ = json.at(&["a", "0", "b"]).and_then(Json::reading);
            }
            let _ = Decimal::parse(&text).and_then(|number| number.scaled((3_600_000_000, 1)));
        }

        #[test]
        fn any_json_is_read_without_panic_and_a_missing_member_is_none(
            members in proptest::collection::btree_map("[a-d]", "(null|true|-?[0-9]{1,40}(\\.[0-9]{1,30})?([eE]-?[0-9]{1,3})?|\"[a-z0-9.]{0,9}\"|\\[\\]|\\{\\})", 0..4)
        ) {
            let inner: Vec<String> =
                members.iter().map(|(name, value)| format!("\"{name}\": {value}")).collect();
            let text = format!("{{{}}}", inner.join(", "));
            // Numbers such as 007 are no JSON; then it is no document.
            let Some(json) = Json::document(&text) else { return Ok(()) };
            for name in ["a", "b", "c", "d"] {
                let value = json.member(name);
                let read = value.and_then(Json::reading).and_then(|n| n.scaled((1_000, 1)));
                if members.get(name).is_none_or(|value| value == "null") {
                    prop_assert!(value.is_none() && read.is_none());
                }
                if read.is_some() {
                    let has_digit = members[name].contains(|c: char| c.is_ascii_digit());
                    prop_assert!(has_digit, "{text}");
                }
            }
        }

        #[test]
        fn thousandths_are_exact(milli in any::<i32>()) {
            let sign = if milli < 0 { "-" } else { "" };
            let whole = milli.unsigned_abs() / 1_000;
            let token = format!("{sign}{whole}.{:03}", milli.unsigned_abs() % 1_000);
            let read = Decimal::parse(&token).and_then(|number| number.scaled((1_000, 1)));
            prop_assert_eq!(read, Some(i64::from(milli)));
        }
    }
}
