//! A figure beside PUE: the text that may be printed, and the integers that it is of.

use bijli_wire::units::{human_energy, human_power, human_volume};

/// What an amount counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Millijoule,
    Millilitre,
    /// Of CO2 equivalent.
    Gram,
    Paisa,
    Milliwatt,
}

impl Unit {
    /// As the API writes it beside an amount.
    #[must_use]
    pub const fn symbol(self) -> &'static str {
        match self {
            Self::Millijoule => "mJ",
            Self::Millilitre => "ml",
            Self::Gram => "g",
            Self::Paisa => "paisa",
            Self::Milliwatt => "mW",
        }
    }

    /// An amount for people.
    #[must_use]
    pub fn human(self, amount: u128) -> String {
        match self {
            Self::Millijoule => human_energy(amount),
            Self::Millilitre => human_volume(amount),
            Self::Gram => match amount {
                0..1_000 => format!("{amount} g CO2e"),
                1_000..1_000_000 => format!("{} kg CO2e", decimal(amount, 1_000, 3)),
                _ => format!("{} t CO2e", decimal(amount, 1_000_000, 3)),
            },
            Self::Paisa => format!("Rs {}", decimal(amount, 100, 2)),
            Self::Milliwatt => human_power(u64::try_from(amount).unwrap_or(u64::MAX)),
        }
    }
}

/// An amount with its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quantity {
    pub name: String,
    pub amount: u128,
    pub unit: Unit,
}

impl Quantity {
    pub(super) fn new(name: impl Into<String>, amount: u128, unit: Unit) -> Self {
        Self { name: name.into(), amount, unit }
    }

    #[must_use]
    pub fn human(&self) -> String {
        self.unit.human(self.amount)
    }
}

/// One part of a numerator, and what it was made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term {
    pub part: Quantity,
    /// What was multiplied or counted, if it is not the part itself.
    pub from: Option<Quantity>,
}

/// A figure with all that it rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Figure {
    /// The only form in which it may be printed.
    pub shown: String,
    pub numerator: Quantity,
    pub denominator: Option<Quantity>,
    /// They sum to the numerator.
    pub terms: Vec<Term>,
    pub intervals_complete: u32,
    pub intervals_expected: u32,
    /// What a reader must know, in words.
    pub notes: Vec<String>,
}

/// Why there is no figure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Withheld {
    pub code: &'static str,
    pub message: String,
}

impl Withheld {
    pub(super) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// A figure by its name, or why there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kpi {
    pub name: &'static str,
    pub outcome: Result<Figure, Withheld>,
}

/// `amount / per_unit` with so many decimals, rounded half up.
pub(super) fn decimal(amount: u128, per_unit: u128, decimals: u32) -> String {
    let scale = 10_u128.pow(decimals);
    let units = rounded(amount.saturating_mul(scale), per_unit);
    let width = usize::try_from(decimals).unwrap_or(0);
    format!("{}.{:0width$}", units / scale, units % scale)
}

/// `part / whole`, rounded half up; 0 of nothing.
pub(super) fn rounded(part: u128, whole: u128) -> u128 {
    let doubled = part.saturating_mul(2).saturating_add(whole);
    doubled.checked_div(whole.saturating_mul(2)).unwrap_or(0)
}
