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

pub(crate) fn time(at: UtcMillis) -> String {
    calendar::rfc3339(at)
}
