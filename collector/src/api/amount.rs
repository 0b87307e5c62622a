//! Numbers as the API writes them.

use bijli_ledger::ByClass;
use bijli_wire::UtcMillis;
use bijli_wire::units::human_energy;
use serde::Serialize;

use crate::calendar;

/// An energy, exact and readable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Amount {
    energy_mj: String,
    energy: String,
}

impl Amount {
    pub(crate) fn of(millijoules: u128) -> Self {
        Self { energy_mj: millijoules.to_string(), energy: human_energy(millijoules) }
    }
}

/// One class of an energy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct ClassAmount {
    class: &'static str,
    #[serde(flatten)]
    amount: Amount,
}

/// The classes that are not zero, best first.
pub(crate) fn classes(by_class: &ByClass) -> Vec<ClassAmount> {
    let one = |(class, amount): (bijli_ledger::Class, u128)| ClassAmount {
        class: class.word(),
        amount: Amount::of(amount),
    };
    by_class.iter().map(one).collect()
}

/// `numerator / denominator` with `digits` decimals, rounded half up: how a PUE is printed, here
/// and by the ledger. A figure that was cut would always favour the hub.
pub(crate) fn ratio(numerator: u128, denominator: u128, digits: u32) -> Option<String> {
    let half = denominator.checked_div(2)?;
    let scale = 10_u128.checked_pow(digits)?;
    let scaled = numerator.checked_mul(scale)?.checked_add(half)?.checked_div(denominator)?;
    let width = usize::try_from(digits).unwrap_or(0);
    Some(format!("{}.{:0width$}", scaled / scale, scaled % scale))
}

pub(crate) fn time(at: UtcMillis) -> String {
    calendar::rfc3339(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pue_is_rounded_half_up() {
        assert_eq!(ratio(1_311_500, 1_000_000, 3).as_deref(), Some("1.312"));
        assert_eq!(ratio(1_311_499, 1_000_000, 3).as_deref(), Some("1.311"));
        assert_eq!(ratio(1_999_900, 1_000_000, 2).as_deref(), Some("2.00"));
        assert_eq!(ratio(1, 0, 3), None);
        assert_eq!(ratio(u128::MAX, 1, 3), None);
    }
}
