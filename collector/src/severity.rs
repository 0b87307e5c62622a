//! How urgent an event is. Of XIDs the catalogue says it (`xids.rs`), of all others this table.
//!
//! Nobody publishes severities: all of them are our own judgement, meant for a hub in service. By
//! the on-call rule: a person is woken for what stops work or loses it, and for nothing else.

use bijli_ledger::EventKind as RegisterKind;
use bijli_wire::message::EventKind;
use serde::{Deserialize, Serialize};

/// Least urgent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// For the record.
    Info,
    /// Within working days.
    Ticket,
    /// Somebody is woken.
    Page,
}

impl Severity {
    pub const ALL: [Self; 3] = [Self::Page, Self::Ticket, Self::Info];

    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Ticket => "ticket",
            Self::Page => "page",
        }
    }

    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|severity| severity.word() == word)
    }

    /// Of an event of a node that is no XID. `code` is the bit of a driver's event.
    #[must_use]
    pub const fn of_kind(kind: EventKind, code: u32) -> Self {
        match kind {
            EventKind::GpuEvent => Self::of_driver(code),
            // Coolant beside live boards. A warning is seen by day.
            EventKind::LeakDetected if code == 2 => Self::Page,
            // An XID without the catalogue's word: a person looks it up.
            EventKind::GpuXid
            // Something is not read, or was not: energy may be estimated, health unseen.
            | EventKind::ProbeFailed
            | EventKind::ProbeHung
            | EventKind::BatchesQuarantined
            | EventKind::SequencesFloored
            | EventKind::IdentityForked
            | EventKind::ClockCorrected
            | EventKind::InventoryChanged
            | EventKind::RegisterDistrusted
            // Energy that a job used may be nobody's.
            | EventKind::HoldRefused
            | EventKind::HoldUnresolved
            | EventKind::WitnessChanged
            // Somebody compares the books with the meter's display.
            | EventKind::MeterChanged
            // Who did it, and what was counted until then?
            | EventKind::MeterReset
            // The next leak there is seen by nobody.
            | EventKind::LeakDetected
            | EventKind::LeakUnwatched => Self::Ticket,
            EventKind::Unspecified
            | EventKind::AgentStarted
            | EventKind::ProbeRecovered
            | EventKind::ResolutionReduced
            | EventKind::ClockSet
            | EventKind::DriverChanged
            | EventKind::RegisterDoubted
            | EventKind::RegisterTrusted
            | EventKind::ProbePaused
            | EventKind::LeakCleared => Self::Info,
        }
    }

    /// Of an event of the driver, by its bit in `nvml.h`.
    const fn of_driver(bit: u32) -> Self {
        match bit {
            // A corrected ECC error, another MIG layout, a row or page retired as it should.
            0x1 | 0x100 | 0x400 => Self::Info,
            // An uncorrected ECC error, a retirement that failed, fatal poison, a GPU unavailable.
            0x2 | 0x800 | 0x2000 | 0x4000 => Self::Page,
            // A storm of corrected errors, poison that is not fatal, another recovery action, and
            // what newer drivers tell.
            _ => Self::Ticket,
        }
    }

    /// Of what happened to a register.
    #[must_use]
    pub const fn of_register(kind: RegisterKind) -> Self {
        match kind {
            // Energy is withheld, or is not where it belongs, until a person looks.
            RegisterKind::Implausible
            | RegisterKind::Unexplained
            | RegisterKind::BoundElsewhere
            | RegisterKind::Dispute
            | RegisterKind::TooOld => Self::Ticket,
            RegisterKind::Reset
            | RegisterKind::Wrap
            | RegisterKind::StepBack
            | RegisterKind::Rebased
            | RegisterKind::Ambiguous
            | RegisterKind::Rescaled
            | RegisterKind::Moved
            | RegisterKind::Retired => Self::Info,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn severities_by_table() {
        for (kind, code, expected) in [
            (EventKind::AgentStarted, 0, Severity::Info),
            (EventKind::ProbeHung, 0, Severity::Ticket),
            (EventKind::GpuEvent, 0x2, Severity::Page),
            (EventKind::GpuEvent, 0x200, Severity::Ticket),
            (EventKind::GpuEvent, 0x400, Severity::Info),
            (EventKind::GpuEvent, 1 << 20, Severity::Ticket),
            (EventKind::GpuXid, 9_999, Severity::Ticket),
            (EventKind::LeakDetected, 1, Severity::Ticket),
            (EventKind::LeakDetected, 2, Severity::Page),
            (EventKind::LeakCleared, 0, Severity::Info),
        ] {
            assert_eq!(Severity::of_kind(kind, code), expected, "{kind:?} {code:#x}");
        }
        assert_eq!(Severity::of_register(RegisterKind::Wrap), Severity::Info);
        for severity in Severity::ALL {
            assert_eq!(Severity::from_word(severity.word()), Some(severity));
        }
        assert!(Severity::Page > Severity::Ticket && Severity::Ticket > Severity::Info);
    }
}
