//! From a number as a device shows it to an integer in the catalogue's unit, exactly.
//!
//! # Invariants
//! - The only float is one that a device sent. It is taken apart into its bits, and scaled and
//!   rounded (half away from zero) in integers.
//! - NaN, infinity and what does not fit is `None`.

use bijli_wire::Quantity;
use bijli_wire::quantity::Decimal;

/// A number as a device sent it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    Integer(i128),
    Float(f64),
}

/// An exact factor from a device's number to the catalogue's unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scale {
    pub numerator: u64,
    pub denominator: u64,
}

impl Scale {
    /// `unit` of a `quantity`, times the device's own `scale`; `None` if the unit does not belong
    /// to the quantity or the product is beyond 64 bits.
    #[must_use]
    pub fn new(quantity: Quantity, unit: &str, scale: Decimal) -> Option<Self> {
        let dimension = dimension(quantity)?;
        let of =
            |(name, of, _, _): &&(&str, Dimension, u64, u64)| *name == unit && *of == dimension;
        let (_, _, numerator, denominator) = UNITS.iter().find(of)?;
        let numerator = u128::from(*numerator).checked_mul(scale.digits)?;
        let denominator = u128::from(*denominator).checked_mul(scale.denominator())?;
        Self::reduced(numerator, denominator)
    }

    /// Times ten to the power of `exponent`; `None` beyond 64 bits.
    #[must_use]
    pub fn times_ten_to(self, exponent: i32) -> Option<Self> {
        let factor = 10_u128.checked_pow(exponent.unsigned_abs())?;
        let (numerator, denominator) = (u128::from(self.numerator), u128::from(self.denominator));
        match exponent < 0 {
            true => Self::reduced(numerator, denominator.checked_mul(factor)?),
            false => Self::reduced(numerator.checked_mul(factor)?, denominator),
        }
    }

    fn reduced(numerator: u128, denominator: u128) -> Option<Self> {
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
    Time,
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
    ("cs", Dimension::Time, 1, 100),
    ("s", Dimension::Time, 1, 1),
    ("min", Dimension::Time, 60, 1),
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
        "s" => Dimension::Time,
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
    fn powers_of_ten_move_the_point() {
        let watts = scale(Quantity::PowerInstant, "W", "1").expect("a unit");
        let of = |exponent| watts.times_ten_to(exponent).map(|s| (s.numerator, s.denominator));
        assert_eq!(of(0), Some((1_000, 1)));
        assert_eq!(of(-1), Some((100, 1)));
        assert_eq!(of(-9), Some((1, 1_000_000)));
        assert_eq!(of(6), Some((1_000_000_000, 1)));
        for beyond in [24, -40, 40, i32::MIN] {
            assert_eq!(of(beyond), None, "{beyond}");
        }
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
    }
}
