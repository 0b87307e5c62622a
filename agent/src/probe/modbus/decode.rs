//! From a meter's 16-bit registers to a number; `scale.rs` makes the catalogue's unit of it.

use serde::{Deserialize, Serialize};

pub use crate::probe::scale::{Number, Scale, units_of};

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

#[cfg(test)]
mod tests {
    use super::*;
    use bijli_wire::Quantity;
    use bijli_wire::quantity::Decimal;
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

    proptest! {
        #[test]
        fn no_words_and_no_number_panics(
            words in proptest::collection::vec(any::<u16>(), 0..6),
            bits in any::<u64>(),
        ) {
            let factor = Decimal::parse("0.001").expect("a decimal");
            let kwh = Scale::new(Quantity::EnergyRegister, "kWh", factor).expect("a unit");
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
