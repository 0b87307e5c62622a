//! From a meter's 16-bit registers to an integer in the catalogue's unit, exactly.
//!
//! # Invariants
//! - The only float is the one that the meter sent. It is taken apart into its bits, and scaled
//!   and rounded (half away from zero) in integers.
//! - NaN, infinity, a negative register and what does not fit is `None`.

use bijli_wire::Quantity;
use serde::{Deserialize, Serialize};

use bijli_wire::quantity::Decimal;

/// What a meter's registers hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NumberType {
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    F32,
    F64,
}

impl NumberType {
    /// 16-bit registers that one number takes.
    #[must_use]
    pub const fn words(self) -> u16 {
        match self {
            Self::U16 | Self::I16 => 1,
            Self::U32 | Self::I32 | Self::F32 => 2,
            Self::U64 | Self::I64 | Self::F64 => 4,
        }
    }

    #[must_use]
    pub const fn is_float(self) -> bool {
        match self {
            Self::F32 | Self::F64 => true,
            Self::U16 | Self::I16 | Self::U32 | Self::I32 | Self::U64 | Self::I64 => false,
        }
    }

    /// Where a count of this width starts again. A 64-bit count does not live to see it, and
    /// what a signed one does at its end is not said anywhere.
    #[must_use]
    pub const fn modulus(self) -> Option<u64> {
        match self {
            Self::U16 => Some(1 << 16),
            Self::U32 => Some(1 << 32),
            Self::I16 | Self::I32 | Self::U64 | Self::I64 | Self::F32 | Self::F64 => None,
        }
    }
}

/// In which order a number's bytes lie on the wire, A the most significant of four. Numbers of
/// 64 bits follow the same rule: words reversed for CDAB and DCBA, bytes swapped for BADC, DCBA.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum WordOrder {
    #[default]
    #[serde(rename = "ABCD")]
    Abcd,
    #[serde(rename = "CDAB")]
    Cdab,
    #[serde(rename = "BADC")]
    Badc,
    #[serde(rename = "DCBA")]
    Dcba,
}

impl WordOrder {
    pub const ALL: [Self; 4] = [Self::Abcd, Self::Cdab, Self::Badc, Self::Dcba];

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Abcd => "ABCD",
            Self::Cdab => "CDAB",
            Self::Badc => "BADC",
            Self::Dcba => "DCBA",
        }
    }
}

/// A number as the meter sent it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    Integer(i128),
    Float(f64),
}

/// The number in `words`; `None` if there are not as many as its type takes.
#[must_use]
pub fn number(words: &[u16], kind: NumberType, order: WordOrder) -> Option<Number> {
    if words.len() != usize::from(kind.words()) {
        return None;
    }
    let (reverse, swap) = match order {
        WordOrder::Abcd => (false, false),
        WordOrder::Cdab => (true, false),
        WordOrder::Badc => (false, true),
        WordOrder::Dcba => (true, true),
    };
    let join = |bits: u64, word: &u16| {
        (bits << 16) | u64::from(if swap { word.swap_bytes() } else { *word })
    };
    let bits = if reverse { words.iter().rev().fold(0, join) } else { words.iter().fold(0, join) };
    let bytes = bits.to_be_bytes();
    let [.., a, b, c, d] = bytes;
    Some(match kind {
        NumberType::U16 | NumberType::U32 | NumberType::U64 => Number::Integer(i128::from(bits)),
        NumberType::I16 => Number::Integer(i128::from(i16::from_be_bytes([c, d]))),
        NumberType::I32 => Number::Integer(i128::from(i32::from_be_bytes([a, b, c, d]))),
        NumberType::I64 => Number::Integer(i128::from(i64::from_be_bytes(bytes))),
        NumberType::F32 => Number::Float(f64::from(f32::from_be_bytes([a, b, c, d]))),
        NumberType::F64 => Number::Float(f64::from_be_bytes(bytes)),
    })
}

/// An exact factor from the meter's number to the catalogue's unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scale {
    pub numerator: u64,
    pub denominator: u64,
}

impl Scale {
    /// `unit` of a `quantity`, times the meter's own `scale`; `None` if the unit does not belong
    /// to the quantity or the product is beyond 64 bits.
    #[must_use]
    pub fn new(quantity: Quantity, unit: &str, scale: Decimal) -> Option<Self> {
        let dimension = dimension(quantity)?;
        let of =
            |(name, of, _, _): &&(&str, Dimension, u64, u64)| *name == unit && *of == dimension;
        let (_, _, numerator, denominator) = UNITS.iter().find(of)?;
        let numerator = u128::from(*numerator).checked_mul(scale.digits)?;
        let denominator = u128::from(*denominator).checked_mul(scale.denominator())?;
        let common = greatest_common_divisor(numerator, denominator);
        Some(Self {
            numerator: u64::try_from(numerator / common).ok().filter(|n| *n > 0)?,
            denominator: u64::try_from(denominator / common).ok()?,
        })
    }

    /// `number` in the catalogue's unit, rounded half away from zero.
    #[must_use]
    pub fn apply(self, number: Number) -> Option<i64> {
        let (mantissa, exponent) = match number {
            Number::Integer(value) => (value, 0),
            Number::Float(value) => parts(value)?,
        };
        let product = mantissa.checked_mul(i128::from(self.numerator))?;
        let denominator = i128::from(self.denominator);
        if exponent >= 0 {
            let shift = 1_i128.checked_shl(u32::try_from(exponent).ok()?)?;
            return i64::try_from(divide(product.checked_mul(shift)?, denominator)?).ok();
        }
        // A quotient by more than 2^120 is below one half: |product| < 2^117.
        let shift = exponent.unsigned_abs();
        let divisor = 1_i128.checked_shl(shift).filter(|shift| *shift > 0);
        match divisor.and_then(|shift| denominator.checked_mul(shift)) {
            Some(divisor) => i64::try_from(divide(product, divisor)?).ok(),
            None => Some(0),
        }
    }
}

/// What can be converted into what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dimension {
    Energy,
    Power,
    Voltage,
    Current,
    Frequency,
    Ratio,
    Temperature,
    Flow,
    Switch,
}

/// Unit, dimension, and how many of the catalogue's unit one of it is.
const UNITS: &[(&str, Dimension, u64, u64)] = &[
    ("mJ", Dimension::Energy, 1, 1),
    ("J", Dimension::Energy, 1_000, 1),
    ("kJ", Dimension::Energy, 1_000_000, 1),
    ("MJ", Dimension::Energy, 1_000_000_000, 1),
    ("GJ", Dimension::Energy, 1_000_000_000_000, 1),
    ("Wh", Dimension::Energy, 3_600_000, 1),
    ("kWh", Dimension::Energy, 3_600_000_000, 1),
    ("MWh", Dimension::Energy, 3_600_000_000_000, 1),
    ("GWh", Dimension::Energy, 3_600_000_000_000_000, 1),
    ("mW", Dimension::Power, 1, 1),
    ("W", Dimension::Power, 1_000, 1),
    ("kW", Dimension::Power, 1_000_000, 1),
    ("MW", Dimension::Power, 1_000_000_000, 1),
    ("mV", Dimension::Voltage, 1, 1),
    ("V", Dimension::Voltage, 1_000, 1),
    ("kV", Dimension::Voltage, 1_000_000, 1),
    ("mA", Dimension::Current, 1, 1),
    ("A", Dimension::Current, 1_000, 1),
    ("kA", Dimension::Current, 1_000_000, 1),
    ("mHz", Dimension::Frequency, 1, 1),
    ("Hz", Dimension::Frequency, 1_000, 1),
    ("ppm", Dimension::Ratio, 1, 1),
    ("%", Dimension::Ratio, 10_000, 1),
    ("1", Dimension::Ratio, 1_000_000, 1),
    ("mC", Dimension::Temperature, 1, 1),
    ("C", Dimension::Temperature, 1_000, 1),
    ("\u{b0}C", Dimension::Temperature, 1_000, 1),
    ("mL/s", Dimension::Flow, 1, 1),
    ("L/s", Dimension::Flow, 1_000, 1),
    ("L/min", Dimension::Flow, 50, 3),
    ("m3/h", Dimension::Flow, 2_500, 9),
    ("0/1", Dimension::Switch, 1, 1),
];

fn dimension(quantity: Quantity) -> Option<Dimension> {
    Some(match quantity.spec().unit {
        "count" if quantity == Quantity::EnergyRegister => Dimension::Energy,
        "mW" => Dimension::Power,
        "mV" => Dimension::Voltage,
        "mA" => Dimension::Current,
        "mHz" => Dimension::Frequency,
        "ppm" => Dimension::Ratio,
        "m\u{b0}C" => Dimension::Temperature,
        "mL/s" => Dimension::Flow,
        "0/1" => Dimension::Switch,
        _ => return None,
    })
}

/// The units that a quantity may be configured in, for messages.
#[must_use]
pub fn units_of(quantity: Quantity) -> String {
    let wanted = dimension(quantity);
    let of = UNITS.iter().filter(|(_, dimension, _, _)| Some(*dimension) == wanted);
    of.map(|(name, _, _, _)| *name).collect::<Vec<_>>().join(", ")
}

/// `mantissa x 2^exponent`, exactly; `None` for NaN and infinity.
fn parts(value: f64) -> Option<(i128, i32)> {
    if !value.is_finite() {
        return None;
    }
    let bits = value.to_bits();
    let fraction = i128::from(bits & ((1 << 52) - 1));
    let biased = i32::try_from((bits >> 52) & 0x7ff).ok()?;
    let (mantissa, exponent) =
        if biased == 0 { (fraction, -1_074) } else { (fraction | (1 << 52), biased - 1_075) };
    Some((if value.is_sign_negative() { -mantissa } else { mantissa }, exponent))
}

/// Rounds half away from zero. `divisor` is above zero.
fn divide(value: i128, divisor: i128) -> Option<i128> {
    let (quotient, rest) = (value.checked_div(divisor)?, value.checked_rem(divisor)?);
    let is_half = rest.unsigned_abs() >= divisor.unsigned_abs() - rest.unsigned_abs();
    quotient.checked_add(if is_half { value.signum() } else { 0 })
}

fn greatest_common_divisor(mut a: u128, mut b: u128) -> u128 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ORDERS: [WordOrder; 4] = WordOrder::ALL;

    #[test]
    fn thirty_two_bits_in_all_orders() {
        // 230.1 as f32 is 0x4366199A; the value of the simulated SDM630.
        let wires = [[0x4366, 0x199a], [0x199a, 0x4366], [0x6643, 0x9a19], [0x9a19, 0x6643]];
        for (order, words) in ORDERS.into_iter().zip(wires) {
            let expected = Number::Float(f64::from(230.1_f32));
            assert_eq!(number(&words, NumberType::F32, order), Some(expected), "{order:?}");
            let integer = Number::Integer(0x4366_199a);
            assert_eq!(number(&words, NumberType::U32, order), Some(integer));
            assert_eq!(number(&words, NumberType::I32, order), Some(integer));
        }
    }

    #[test]
    fn sixty_four_and_sixteen_bits_in_all_orders() {
        let wires = [
            [0x0102, 0x0304, 0x0506, 0x0708],
            [0x0708, 0x0506, 0x0304, 0x0102],
            [0x0201, 0x0403, 0x0605, 0x0807],
            [0x0807, 0x0605, 0x0403, 0x0201],
        ];
        for (order, words) in ORDERS.into_iter().zip(wires) {
            let integer = Number::Integer(0x0102_0304_0506_0708);
            assert_eq!(number(&words, NumberType::U64, order), Some(integer), "{order:?}");
            assert_eq!(number(&words, NumberType::I64, order), Some(integer));
        }
        for (order, word) in ORDERS.into_iter().zip([0x0102, 0x0102, 0x0201, 0x0201]) {
            let integer = Number::Integer(0x0102);
            assert_eq!(number(&[word], NumberType::U16, order), Some(integer));
        }
        let bits = 12_345.678_f64.to_bits().to_be_bytes();
        let words: Vec<u16> =
            bits.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
        let float = number(&words, NumberType::F64, WordOrder::Abcd);
        assert_eq!(float, Some(Number::Float(12_345.678)));
    }

    #[test]
    fn signs_and_lengths() {
        let minus = |value| Some(Number::Integer(value));
        assert_eq!(number(&[0xffff], NumberType::I16, WordOrder::Abcd), minus(-1));
        assert_eq!(number(&[0x8000, 0], NumberType::I32, WordOrder::Abcd), minus(-(1 << 31)));
        assert_eq!(number(&[0xffff; 4], NumberType::I64, WordOrder::Dcba), minus(-1));
        assert_eq!(
            number(&[0xffff; 4], NumberType::U64, WordOrder::Abcd),
            minus(i128::from(u64::MAX))
        );
        assert_eq!(number(&[1, 2, 3], NumberType::F32, WordOrder::Abcd), None);
    }

    fn scale(quantity: Quantity, unit: &str, scale: &str) -> Option<Scale> {
        Scale::new(quantity, unit, Decimal::parse(scale).expect("a decimal"))
    }

    #[test]
    fn units_belong_to_their_quantity() {
        let kwh = scale(Quantity::EnergyRegister, "kWh", "1");
        assert_eq!(kwh, Some(Scale { numerator: 3_600_000_000, denominator: 1 }));
        let tenth = scale(Quantity::EnergyRegister, "Wh", "0.1");
        assert_eq!(tenth, Some(Scale { numerator: 360_000, denominator: 1 }));
        let odd = scale(Quantity::EnergyRegister, "J", "0.00012");
        assert_eq!(odd, Some(Scale { numerator: 3, denominator: 25 }));
        for (quantity, unit) in [
            (Quantity::PowerInstant, "kWh"),
            (Quantity::EnergyRegister, "kW"),
            (Quantity::Voltage, "kw"),
            (Quantity::GpuUtilization, "W"),
            (Quantity::MemoryUsed, "J"),
        ] {
            assert_eq!(scale(quantity, unit, "1"), None, "{quantity:?} in {unit}");
        }
        assert_eq!(scale(Quantity::PowerInstant, "W", "0"), None, "a scale of zero loses all");
        assert_eq!(units_of(Quantity::PowerInstant), "mW, W, kW, MW");
    }

    #[test]
    fn values_by_table() {
        let f32 = |value: f32| Number::Float(f64::from(value));
        for (quantity, unit, factor, number, expected) in [
            (Quantity::EnergyRegister, "kWh", "1", f32(123_456.7), Some(444_444_131_250_000)),
            (Quantity::PowerInstant, "W", "1", f32(98_424.5), Some(98_424_500)),
            (Quantity::PowerInstant, "kW", "1", f32(12.5), Some(12_500_000)),
            (Quantity::PowerInstant, "W", "0.1", Number::Integer(12_345), Some(1_234_500)),
            (Quantity::Frequency, "Hz", "1", f32(50.02), Some(50_020)),
            (Quantity::PowerFactor, "1", "1", f32(-0.981), Some(-981_000)),
            (Quantity::Temperature, "C", "0.1", Number::Integer(-55), Some(-5_500)),
            (Quantity::Flow, "m3/h", "1", Number::Integer(9), Some(2_500)),
            (Quantity::Flow, "m3/h", "1", f32(0.001_8), Some(0)),
            (Quantity::Flow, "m3/h", "1", f32(0.001_801), Some(1)),
            (Quantity::Voltage, "V", "1", f32(f32::NAN), None),
            (Quantity::Voltage, "V", "1", f32(f32::INFINITY), None),
            (Quantity::Voltage, "V", "1", f32(f32::MIN_POSITIVE), Some(0)),
            (Quantity::Voltage, "V", "1", Number::Float(5e-324), Some(0)),
            (Quantity::Voltage, "V", "1", f32(-0.0), Some(0)),
            (Quantity::EnergyRegister, "MWh", "1", f32(f32::MAX), None),
            (Quantity::EnergyRegister, "MWh", "1", Number::Float(f64::MAX), None),
            (Quantity::EnergyRegister, "GWh", "1", Number::Integer(i128::from(u64::MAX)), None),
        ] {
            let scale = scale(quantity, unit, factor).expect("a unit of it");
            assert_eq!(scale.apply(number), expected, "{number:?} {unit} x {factor}");
        }
    }

    proptest! {
        /// f32 kWh in mJ has at most 46 significant bits, so that f64 holds the same answer.
        #[test]
        fn kilowatt_hours_as_f32_agree_with_f64(value in 0.0_f32..1_000_000.0) {
            let kwh = scale(Quantity::EnergyRegister, "kWh", "1").expect("a unit");
            let exact = (f64::from(value) * 3.6e9).round();
            #[expect(clippy::cast_possible_truncation, reason = "below 2^53")]
            let exact = exact as i64;
            prop_assert_eq!(kwh.apply(Number::Float(f64::from(value))), Some(exact));
        }

        #[test]
        fn integers_scale_and_round_like_rationals(
            value in -1_000_000_i64..1_000_000,
            n in 1_u64..1_000,
            d in 1_u64..1_000,
        ) {
            let scale = Scale { numerator: n, denominator: d };
            let got = scale.apply(Number::Integer(i128::from(value)));
            let (n, d) = (i64::try_from(n).expect("small"), i64::try_from(d).expect("small"));
            let got = got.expect("small");
            // |got - value n / d| <= 1/2, as integers.
            prop_assert!((2 * (got * d - value * n)).abs() <= d);
        }

        #[test]
        fn no_words_and_no_number_panics(
            words in proptest::collection::vec(any::<u16>(), 0..6),
            bits in any::<u64>(),
        ) {
            let kwh = scale(Quantity::EnergyRegister, "kWh", "0.001").expect("a unit");
            for kind in [NumberType::U16, NumberType::I32, NumberType::F32, NumberType::F64] {
                for order in ORDERS {
                    let number = number(&words, kind, order);
                    prop_assert_eq!(number.is_some(), words.len() == usize::from(kind.words()));
                    if let Some(Number::Float(value)) = number {
                        let fits = kwh.apply(Number::Float(value)).is_some();
                        prop_assert!(!fits || value.abs() < 3e12, "{} as mJ", value);
                    }
                }
            }
            let value = f64::from_bits(bits);
            let one = Scale { numerator: u64::MAX, denominator: u64::MAX };
            let as_it_is = one.apply(Number::Float(value));
            prop_assert!(value.is_finite() || as_it_is.is_none());
        }
    }
}
