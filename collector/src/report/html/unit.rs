//! The unit in which a page shows all its energies, and how they are rounded.

/// Wh in millijoules.
const WATT_HOUR: u128 = 3_600_000;

/// One unit for the whole page, so that columns can be compared by eye.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unit {
    pub(super) symbol: &'static str,
    /// Set from right to left beside Western digits.
    pub(super) urdu: &'static str,
    pub(super) millijoules: u128,
}

const UNITS: [Unit; 4] = [
    Unit {
        symbol: "GWh", urdu: "گیگا واٹ گھنٹے", millijoules: WATT_HOUR * 1_000_000_000
    },
    Unit { symbol: "MWh", urdu: "میگا واٹ گھنٹے", millijoules: WATT_HOUR * 1_000_000 },
    Unit { symbol: "kWh", urdu: "کلو واٹ گھنٹے", millijoules: WATT_HOUR * 1_000 },
    Unit { symbol: "Wh", urdu: "واٹ گھنٹے", millijoules: WATT_HOUR },
];

impl Unit {
    /// The largest in which the whole still has two digits before the point.
    pub(super) fn of(whole: u128) -> Self {
        let fits = |unit: &&Self| whole >= unit.millijoules.saturating_mul(10);
        let [.., least] = UNITS;
        UNITS.iter().find(fits).copied().unwrap_or(least)
    }

    /// Three decimals, rounded half up; what is there is never shown as nothing.
    pub(super) fn show(self, amount: u128) -> String {
        let scaled = amount.saturating_mul(1_000);
        let rounded = scaled.saturating_add(self.millijoules / 2) / self.millijoules;
        if rounded == 0 && amount > 0 {
            return "<0.001".to_owned();
        }
        format!("{}.{:03}", grouped(rounded / 1_000), rounded % 1_000)
    }

    /// A label of an axis: no decimals that say nothing.
    pub(super) fn tick(self, amount: u128) -> String {
        let text = self.show(amount);
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    }
}

/// Digits in threes, a narrow space between them.
pub(super) fn grouped(number: u128) -> String {
    let digits = number.to_string();
    let count = digits.len();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (count - place).is_multiple_of(3) {
            text.push('\u{202F}');
        }
        text.push(digit);
    }
    text
}

/// The step of an axis: 1, 2 or 5 and zeros of Wh, so that five steps or fewer reach `most`.
pub(super) fn step(most: u128) -> u128 {
    let mut power = WATT_HOUR / 1_000;
    loop {
        for factor in [1, 2, 5] {
            let step = power.saturating_mul(factor);
            if step.saturating_mul(5) >= most {
                return step;
            }
        }
        power = power.saturating_mul(10);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_rounded_in_one_unit() {
        let unit = Unit::of(40_000_000_000_000);
        assert_eq!(unit.symbol, "MWh");
        assert_eq!(unit.show(3_600_000_000_000), "1.000");
        assert_eq!(unit.show(3_601_800_000_000), "1.001", "half up");
        assert_eq!((unit.show(1), unit.show(0)), ("<0.001".to_owned(), "0.000".to_owned()));
        assert_eq!(unit.tick(3_600_000_000_000), "1");
        assert_eq!(grouped(1_234_567), "1\u{202F}234\u{202F}567");
        assert_eq!((grouped(0), grouped(999)), ("0".to_owned(), "999".to_owned()));
        assert_eq!(Unit::of(0).symbol, "Wh");
    }

    #[test]
    fn an_axis_has_five_steps_or_fewer() {
        for most in [0, 1, 3_600, 40_000_000, 7_200_000_000_000, 1 << 100] {
            let step = step(most);
            assert!(step > 0 && step * 5 >= most, "{most}");
        }
        assert_eq!(step(36_000_000 * 5), 36_000_000);
    }
}
