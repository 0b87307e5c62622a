//! In which order a meter's words lie, found by what cannot be otherwise: voltage and frequency.
//!
//! A gateway or a firmware update may swap words, and then every number is another number, some of
//! them believable. Mains voltage and frequency are known before they are read, so they tell.
//!
//! # Invariants
//! - An order is accepted if it is the only one under which the numbers make sense. None or
//!   several: nobody guesses.
//! - A dead bus says nothing: zero volts are zero in every order.

use std::ops::RangeInclusive;

use bijli_wire::{Milliwatts, Quantity};

use super::decode::{Number, NumberType, Scale, WordOrder, number};
use super::number::Number as Configured;

/// 80 to 300 V between line and neutral.
pub(super) const VOLTAGE_MV: RangeInclusive<i64> = 80_000..=300_000;
const FREQUENCY_MHZ: RangeInclusive<i64> = 45_000..=65_000;

/// The nominal voltage's band: as wide as 80 to 300 V is around 230 V.
pub(super) fn band(nominal_mv: i64) -> RangeInclusive<i64> {
    let percent = |percent: i64| nominal_mv.saturating_mul(percent) / 100;
    percent(35)..=percent(130)
}

/// One voltage or frequency as it was read.
#[derive(Clone, Debug)]
pub(super) struct Guard {
    pub(super) is_frequency: bool,
    pub(super) kind: NumberType,
    pub(super) scale: Scale,
    pub(super) words: Vec<u16>,
}

/// What the guards say of the word order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    One(WordOrder),
    /// All of it is zero: the bus is dead.
    Silent,
    None,
    Several(Vec<WordOrder>),
}

/// Whether `number` can tell: one 16-bit register has no words to swap.
pub(super) fn is_guard(number: &Configured) -> bool {
    let is_known = matches!(number.quantity, Quantity::Voltage | Quantity::Frequency);
    is_known && number.kind.words() > 1 && !number.is_order_given
}

/// A register that answered, if it can tell.
pub(super) fn guard((number, words): &(Configured, Vec<u16>)) -> Option<Guard> {
    is_guard(number).then(|| Guard {
        is_frequency: number.quantity == Quantity::Frequency,
        kind: number.kind,
        scale: number.scale,
        words: words.clone(),
    })
}

/// Whether the meter can have counted so much: not more than `power_max` for fifty years.
pub(super) fn is_credible(energy: &Configured, words: &[u16], power_max: Milliwatts) -> bool {
    const SECONDS: u128 = 50 * 365 * 86_400;
    let most_mj = u128::from(power_max.get()) * SECONDS;
    let read = number(words, energy.kind, energy.order);
    let Some(mj) = read.and_then(|read| energy.scale.apply(read)) else { return false };
    u128::try_from(mj).is_ok_and(|mj| mj <= most_mj)
}

/// Why a row is not believed under `order`; `None`: nothing speaks against it.
pub(super) fn contradiction(
    order: WordOrder,
    guards: &[Guard],
    voltage: &RangeInclusive<i64>,
) -> Option<String> {
    let is_nonsense = |guard: &Guard| guard.sense(order, voltage) == Sense::Nonsense;
    let found = find(guards, voltage);
    let is_other = matches!(found, Finding::One(other) if other != order);
    (is_other || guards.iter().any(is_nonsense))
        .then(|| format!("word order {} makes no sense any more ({})", order.name(), words(guards)))
}

/// Which orders make sense of all `guards`.
pub(super) fn find(guards: &[Guard], voltage: &RangeInclusive<i64>) -> Finding {
    if guards.iter().all(|guard| guard.words.iter().all(|word| *word == 0)) {
        return Finding::Silent;
    }
    let makes_sense = |order: &WordOrder| makes_sense(guards, *order, voltage);
    let orders: Vec<WordOrder> = WordOrder::ALL.into_iter().filter(makes_sense).collect();
    match orders.as_slice() {
        [] => Finding::None,
        [order] => Finding::One(*order),
        [_, ..] => Finding::Several(orders),
    }
}

/// What one guard says of one order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sense {
    InBand,
    /// A dead or missing phase: neither for nor against.
    Dead,
    Nonsense,
}

fn makes_sense(guards: &[Guard], order: WordOrder, voltage: &RangeInclusive<i64>) -> bool {
    let senses = || guards.iter().map(|guard| (guard.is_frequency, guard.sense(order, voltage)));
    let has_voltage = guards.iter().any(|guard| !guard.is_frequency);
    let is_alive = |(is_frequency, sense): (bool, Sense)| {
        sense == Sense::InBand && is_frequency != has_voltage
    };
    senses().any(is_alive) && senses().all(|(_, sense)| sense != Sense::Nonsense)
}

impl Guard {
    fn sense(&self, order: WordOrder, voltage: &RangeInclusive<i64>) -> Sense {
        let Some(number) = number(&self.words, self.kind, order) else { return Sense::Nonsense };
        let is_absent = matches!(number, Number::Float(value) if value.is_nan());
        if is_absent || self.words.iter().all(|word| *word == 0) {
            return Sense::Dead;
        }
        let Some(value) = self.scale.apply(number) else { return Sense::Nonsense };
        let band = if self.is_frequency { &FREQUENCY_MHZ } else { voltage };
        match band.contains(&value) {
            true => Sense::InBand,
            // A phase without power still shows a volt or two.
            false if !self.is_frequency && (0..*band.start()).contains(&value) => Sense::Dead,
            false => Sense::Nonsense,
        }
    }

    /// `230.1 V`, `50.02 Hz`.
    fn words(&self, order: WordOrder) -> String {
        let unit = if self.is_frequency { "Hz" } else { "V" };
        let value = number(&self.words, self.kind, order).and_then(|n| self.scale.apply(n));
        match value {
            Some(milli) if milli.unsigned_abs() < 1_000_000_000 => {
                let sign = if milli < 0 { "-" } else { "" };
                let (whole, rest) = (milli.unsigned_abs() / 1_000, milli.unsigned_abs() % 1_000);
                format!("{sign}{whole}.{:02} {unit}", rest / 10)
            }
            Some(_) | None => format!("no {unit}"),
        }
    }
}

/// What was read under each order, for people: `ABCD 230.10 V 50.02 Hz; CDAB ...`.
pub(super) fn words(guards: &[Guard]) -> String {
    let first = |is_frequency| guards.iter().find(|guard| guard.is_frequency == is_frequency);
    let shown: Vec<&Guard> = first(false).into_iter().chain(first(true)).collect();
    let of = |order: WordOrder| {
        let values: Vec<String> = shown.iter().map(|guard| guard.words(order)).collect();
        format!("{} {}", order.name(), values.join(" "))
    };
    WordOrder::ALL.map(of).join("; ")
}

pub(super) const NO_GUARD: &str = "not measured: it refuses voltage and frequency, by which its \
                                   word order is found; check profile and unit_id, or write \
                                   word_order";

/// The energy makes no sense though the voltage does.
pub(super) fn incredible(order: WordOrder, register: u16) -> String {
    format!(
        "not measured: in word order {} the energy at register {register} is more than power_max \
         allows in fifty years; check profile and power_max, or write a word_order for this \
         register",
        order.name()
    )
}

/// How the order that is used came to be, for people.
pub(super) fn accepted(
    order: WordOrder,
    given: Option<WordOrder>,
    documented: WordOrder,
) -> String {
    let name = order.name();
    match given {
        Some(_) => format!("{name}, as configured"),
        None if order == documented => format!("{name}, by voltage and frequency; as documented"),
        None => {
            let documented = documented.name();
            format!("{name}, by voltage and frequency; the manual says {documented}")
        }
    }
}

/// Why the meter is not measured, and what to do.
pub(super) fn refusal(finding: &Finding, guards: &[Guard]) -> String {
    let read = words(guards);
    match finding {
        Finding::Silent => "not measured: no voltage on the meter, so its word order cannot be \
                            found; it is tried again, or write word_order"
            .to_owned(),
        Finding::Several(_) => format!(
            "not measured: more than one word order makes sense ({read}); write word_order after \
             a look at the meter's display"
        ),
        Finding::None | Finding::One(_) => format!(
            "not measured: no word order makes sense ({read}); check profile and unit_id, write \
             voltage_nominal or word_order"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bijli_wire::quantity::Decimal;

    fn guard(quantity: Quantity, unit: &str, words: Vec<u16>) -> Guard {
        let scale = Scale::new(quantity, unit, Decimal::parse("1").expect("a decimal"));
        Guard {
            is_frequency: quantity == Quantity::Frequency,
            kind: NumberType::F32,
            scale: scale.expect("a unit"),
            words,
        }
    }

    /// The words of `value` as a meter of this order sends them.
    fn sent(value: f32, order: WordOrder) -> Vec<u16> {
        let [a, b, c, d] = value.to_be_bytes();
        let bytes = match order {
            WordOrder::Abcd => [a, b, c, d],
            WordOrder::Cdab => [c, d, a, b],
            WordOrder::Badc => [b, a, d, c],
            WordOrder::Dcba => [d, c, b, a],
        };
        bytes.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect()
    }

    fn volts(value: f32, order: WordOrder) -> Guard {
        guard(Quantity::Voltage, "V", sent(value, order))
    }

    fn hertz(value: f32, order: WordOrder) -> Guard {
        guard(Quantity::Frequency, "Hz", sent(value, order))
    }

    #[test]
    fn s9_the_word_order_is_found_by_table() {
        use WordOrder::{Abcd, Badc, Cdab, Dcba};
        for order in WordOrder::ALL {
            for (phases, frequency, expected) in [
                (vec![230.1, 229.7, 231.0], Some(50.02), Finding::One(order)),
                (vec![230.0], Some(50.0), Finding::One(order)),
                (vec![120.0], Some(60.0), Finding::One(order)),
                // One phase is dead, and still shows what the others induce.
                (vec![0.0, 0.7, 231.0], Some(50.0), Finding::One(order)),
                (vec![f32::NAN, 230.0], Some(49.9), Finding::One(order)),
                // Without a frequency the voltages decide.
                (vec![230.1, 229.7, 231.0], None, Finding::One(order)),
                (vec![], Some(50.02), Finding::One(order)),
                (vec![0.0, 0.0], Some(0.0), Finding::Silent),
                (vec![11_000.0], Some(50.0), Finding::None),
                (vec![230.0], Some(400.0), Finding::None),
                (vec![-230.0], Some(50.0), Finding::None),
                (vec![f32::INFINITY], Some(50.0), Finding::None),
            ] {
                let mut guards: Vec<Guard> =
                    phases.iter().map(|value| volts(*value, order)).collect();
                guards.extend(frequency.map(|value| hertz(value, order)));
                assert_eq!(find(&guards, &VOLTAGE_MV), expected, "{phases:?} {frequency:?}");
            }
        }
        // 0x43434343 is 195.26 V however it is turned; 0x43664366 is 230.26 V in two orders.
        let same = f32::from_bits(0x4343_4343);
        let all = Finding::Several(WordOrder::ALL.to_vec());
        assert_eq!(find(&[volts(same, Abcd)], &VOLTAGE_MV), all);
        assert_eq!(find(&[volts(same, Abcd), hertz(50.0, Badc)], &VOLTAGE_MV), Finding::One(Badc));
        let two = f32::from_bits(0x4366_4366);
        let several = Finding::Several(vec![Abcd, Cdab]);
        assert_eq!(find(&[volts(two, Abcd)], &VOLTAGE_MV), several);
        let several = Finding::Several(vec![Badc, Dcba]);
        assert_eq!(find(&[volts(two, Dcba)], &VOLTAGE_MV), several);
    }

    #[test]
    fn a_nominal_voltage_moves_the_band() {
        let guards = [volts(6_351.0, WordOrder::Cdab), hertz(50.0, WordOrder::Cdab)];
        assert_eq!(find(&guards, &VOLTAGE_MV), Finding::None);
        assert_eq!(find(&guards, &band(6_350_000)), Finding::One(WordOrder::Cdab));
        assert_eq!(band(230_000), 80_500..=299_000);
    }

    #[test]
    fn a_refusal_says_what_was_read_in_each_order() {
        let guards = [volts(11_000.0, WordOrder::Abcd), hertz(50.0, WordOrder::Abcd)];
        let said = refusal(&Finding::None, &guards);
        let expected = "not measured: no word order makes sense (ABCD 11000.00 V 50.00 Hz; CDAB \
                        no V 0.00 Hz; BADC 0.00 V 198656.00 Hz; DCBA 0.00 V 0.00 Hz); check \
                        profile and unit_id, write voltage_nominal or word_order";
        assert_eq!(said, expected);
        let guards = [volts(f32::from_bits(0x4366_4366), WordOrder::Abcd)];
        let said = refusal(&find(&guards, &VOLTAGE_MV), &guards);
        assert!(said.contains("more than one word order makes sense (ABCD 230.26 V; "), "{said}");
        assert!(refusal(&Finding::Silent, &guards).contains("no voltage on the meter"));
    }
}
