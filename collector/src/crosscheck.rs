//! Cross-checks of a hub's metering: does what one instrument says fit with what physics, and
//! another instrument, allow?
//!
//! Every check yields, for each subject, pass, fail or "cannot say", with the number that was
//! compared, the band that it must lie in, and where the band is from. What they rest on: the
//! closed books ([`tree`]), the latest readings ([`instant`]), stretches of readings that
//! [`watch`] keeps, and the meter book ([`bill`]).
//!
//! # Invariants
//! - A check changes nothing: no reading is withheld and no energy is moved by it.
//! - "Cannot say" has its reason. It is never counted as a pass.
//! - Integers only: shares in millionths, heat in milliwatts.
//!
//! **Architecture invariant:** no clock, no file, no lock: what is looked at is handed in.

pub mod bill;
pub mod gather;
pub mod instant;
pub mod settings;
pub mod tree;
pub mod watch;

use bijli_wire::UtcMillis;

pub use gather::findings;
pub use settings::{CheckText, Checks, LoopText};
pub use watch::Watch;

/// What is checked. The word is a label: append only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// What goes in at a point against what comes out below it.
    Loss,
    /// A loop's own heat meter against its flow and temperatures.
    Heat,
    /// A loop's heat against the electric power of what it cools.
    HeatShare,
    /// A register against the power beside it, integrated.
    Register,
    Voltage,
    Frequency,
    /// Power against voltage, current and power factor.
    Product,
    /// A power that never changes.
    Stuck,
    /// Two meters that tell the same.
    Copy,
    /// The clock of whoever reads.
    Clock,
    /// The utility's bill against the import meter.
    Bill,
}

impl Kind {
    pub const ALL: [Self; 11] = [
        Self::Loss,
        Self::Heat,
        Self::HeatShare,
        Self::Register,
        Self::Voltage,
        Self::Frequency,
        Self::Product,
        Self::Stuck,
        Self::Copy,
        Self::Clock,
        Self::Bill,
    ];

    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Loss => "loss",
            Self::Heat => "heat",
            Self::HeatShare => "heat_share",
            Self::Register => "register",
            Self::Voltage => "voltage",
            Self::Frequency => "frequency",
            Self::Product => "product",
            Self::Stuck => "stuck",
            Self::Copy => "copy",
            Self::Clock => "clock",
            Self::Bill => "bill",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    Fail,
    CannotSay,
    Pass,
}

impl Verdict {
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Fail => "fail",
            Self::CannotSay => "cannot_say",
            Self::Pass => "pass",
        }
    }
}

/// What a compared number is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Millionths, shown as per cent.
    Share,
    Millivolts,
    Millihertz,
    Milliseconds,
}

/// Where a number must lie, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Band {
    pub low: i64,
    pub high: i64,
    /// Who says so.
    pub source: &'static str,
}

impl Band {
    /// As far above as below nothing.
    #[must_use]
    pub const fn around_zero(most: i64, source: &'static str) -> Self {
        Self { low: -most, high: most, source }
    }

    #[must_use]
    pub const fn holds(&self, value: i64) -> bool {
        self.low <= value && value <= self.high
    }
}

/// A number that was compared, and with what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measured {
    pub value: i64,
    pub unit: Unit,
    pub band: Band,
}

/// One check of one subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub kind: Kind,
    /// A point, a meter or a node.
    pub subject: String,
    pub verdict: Verdict,
    /// `None`: nothing could be compared, or it is no number.
    pub measured: Option<Measured>,
    /// What was compared, with its numbers; or why nothing could be.
    pub words: String,
    /// The stretch that it looks at; `None`: the latest readings.
    pub period: Option<(UtcMillis, UtcMillis)>,
}

impl Finding {
    #[must_use]
    pub fn cannot_say(kind: Kind, subject: &str, words: impl Into<String>) -> Self {
        let (verdict, words) = (Verdict::CannotSay, words.into());
        Self { kind, subject: subject.to_owned(), verdict, measured: None, words, period: None }
    }

    /// Fails where the number is outside its band.
    #[must_use]
    pub fn compared(kind: Kind, subject: &str, measured: Measured, words: String) -> Self {
        let verdict =
            if measured.band.holds(measured.value) { Verdict::Pass } else { Verdict::Fail };
        let measured = Some(measured);
        Self { kind, subject: subject.to_owned(), verdict, measured, words, period: None }
    }

    #[must_use]
    pub fn over(self, from: UtcMillis, to: UtcMillis) -> Self {
        Self { period: Some((from, to)), ..self }
    }
}

impl Unit {
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Share => "ppm",
            Self::Millivolts => "mV",
            Self::Millihertz => "mHz",
            Self::Milliseconds => "ms",
        }
    }

    /// `4.93 %`, `230.10 V`, `50.02 Hz`, `1500 ms`.
    #[must_use]
    pub fn show(self, value: i64) -> String {
        let (divisor, unit) = match self {
            Self::Share => (100, "%"),
            Self::Millivolts => (10, "V"),
            Self::Millihertz => (10, "Hz"),
            Self::Milliseconds => return format!("{value} ms"),
        };
        let half = divisor / 2;
        let hundredths = value.unsigned_abs().saturating_add(half) / divisor;
        let sign = if value < 0 && hundredths > 0 { "-" } else { "" };
        format!("{sign}{}.{:02} {unit}", hundredths / 100, hundredths % 100)
    }
}

/// `part / whole` in millionths, cut; `None` of nothing.
#[must_use]
pub fn share(part: i128, whole: i128) -> Option<i64> {
    i64::try_from(part.checked_mul(1_000_000)?.checked_div(whole)?).ok()
}

/// By how much `found` is off `expected`, in millionths of it.
#[must_use]
pub fn deviation(found: i128, expected: i128) -> Option<i64> {
    share(found.checked_sub(expected)?, expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_shown_rounded_by_table() {
        for (unit, value, expected) in [
            (Unit::Share, 49_296, "4.93 %"),
            (Unit::Share, -146_000, "-14.60 %"),
            (Unit::Share, -49, "0.00 %"),
            (Unit::Millivolts, 230_105, "230.11 V"),
            (Unit::Millihertz, 50_020, "50.02 Hz"),
            (Unit::Milliseconds, -3, "-3 ms"),
        ] {
            assert_eq!(unit.show(value), expected);
        }
    }

    #[test]
    fn a_band_holds_its_ends_and_a_deviation_of_nothing_is_none() {
        let band = Band::around_zero(20_000, "a test");
        assert!(band.holds(20_000) && band.holds(-20_000) && !band.holds(20_001));
        assert_eq!(deviation(102, 100), Some(20_000));
        assert_eq!(deviation(98, 100), Some(-20_000));
        assert_eq!(deviation(1, 0), None);
    }

    #[test]
    fn words_are_labels_and_differ() {
        let words: std::collections::BTreeSet<_> =
            Kind::ALL.iter().map(|kind| kind.word()).collect();
        assert_eq!(words.len(), Kind::ALL.len());
    }
}
