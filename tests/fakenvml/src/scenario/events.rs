//! What a GPU reports by itself, once or in a storm.

use serde::Deserialize;

/// An XID, delivered to event sets that were registered before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Xid {
    pub at_ms: u64,
    pub code: u64,
    /// How often in all.
    #[serde(default = "once")]
    pub repeat: u64,
    #[serde(default)]
    pub every_ms: u64,
    /// The MIG instance it is of.
    pub gi_id: Option<u32>,
    pub ci_id: Option<u32>,
}

/// Any other event. Two of one type in one millisecond are one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    pub at_ms: u64,
    #[serde(rename = "type")]
    pub kind: EventKind,
    #[serde(default)]
    pub data: u64,
    /// How often in all.
    #[serde(default = "once")]
    pub repeat: u64,
    #[serde(default)]
    pub every_ms: u64,
}

fn once() -> u64 {
    1
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    SingleBitEcc,
    DoubleBitEcc,
    Pstate,
    Clock,
    PowerSource,
    MigConfig,
    SingleBitEccStorm,
    DramRetirement,
    DramRetirementFailure,
    NonFatalPoison,
    FatalPoison,
    GpuUnavailable,
    RecoveryAction,
}

impl EventKind {
    /// `nvmlEventType*`.
    pub(crate) const fn bit(self) -> u64 {
        match self {
            Self::SingleBitEcc => 0x1,
            Self::DoubleBitEcc => 0x2,
            Self::Pstate => 0x4,
            Self::Clock => 0x10,
            Self::PowerSource => 0x80,
            Self::MigConfig => 0x100,
            Self::SingleBitEccStorm => 0x200,
            Self::DramRetirement => 0x400,
            Self::DramRetirementFailure => 0x800,
            Self::NonFatalPoison => 0x1000,
            Self::FatalPoison => 0x2000,
            Self::GpuUnavailable => 0x4000,
            Self::RecoveryAction => 0x8000,
        }
    }
}

/// `nvmlEventTypeXidCriticalError`.
pub(crate) const XID_BIT: u64 = 0x8;

/// One event or storm of either kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) bit: u64,
    pub(crate) data: u64,
    pub(crate) gi_id: Option<u32>,
    pub(crate) ci_id: Option<u32>,
    at_ms: u64,
    repeat: u64,
    every_ms: u64,
}

impl From<&Xid> for Report {
    fn from(xid: &Xid) -> Self {
        let Xid { at_ms, code, repeat, every_ms, gi_id, ci_id } = *xid;
        Self { bit: XID_BIT, data: code, gi_id, ci_id, at_ms, repeat, every_ms }
    }
}

impl From<&Event> for Report {
    fn from(event: &Event) -> Self {
        let Event { at_ms, kind, data, repeat, every_ms } = *event;
        Self { bit: kind.bit(), data, gi_id: None, ci_id: None, at_ms, repeat, every_ms }
    }
}

impl Report {
    pub(super) fn is_broken(&self) -> bool {
        self.repeat == 0 || (self.repeat > 1 && self.every_ms == 0)
    }

    /// Number `count`, the first being 0.
    fn nth_ms(&self, count: u64) -> u64 {
        self.at_ms.saturating_add(count.saturating_mul(self.every_ms))
    }

    /// How many there were up to `at_ms`, itself included.
    fn count(&self, at_ms: u64) -> u64 {
        match at_ms.checked_sub(self.at_ms) {
            Some(since_ms) => {
                let more = since_ms.checked_div(self.every_ms).unwrap_or(0);
                self.repeat.min(more.saturating_add(1))
            }
            None => 0,
        }
    }

    /// When it came first within `(after_ms, until_ms]`.
    pub(crate) fn first_within(&self, after_ms: u64, until_ms: u64) -> Option<u64> {
        let seen = self.count(after_ms);
        (seen < self.count(until_ms)).then(|| self.nth_ms(seen))
    }

    /// When it came last within `(after_ms, until_ms]`.
    pub(crate) fn last_within(&self, after_ms: u64, until_ms: u64) -> Option<u64> {
        let come = self.count(until_ms);
        (self.count(after_ms) < come).then(|| self.nth_ms(come - 1))
    }
}

#[cfg(test)]
mod tests {
    use nvml_wrapper_sys::bindings as nvml;

    use super::*;

    #[test]
    fn bits_are_those_of_the_header() {
        let table = [
            (EventKind::SingleBitEcc, nvml::nvmlEventTypeSingleBitEccError),
            (EventKind::DoubleBitEcc, nvml::nvmlEventTypeDoubleBitEccError),
            (EventKind::Pstate, nvml::nvmlEventTypePState),
            (EventKind::Clock, nvml::nvmlEventTypeClock),
            (EventKind::PowerSource, nvml::nvmlEventTypePowerSourceChange),
            (EventKind::MigConfig, nvml::nvmlEventMigConfigChange),
            (EventKind::SingleBitEccStorm, nvml::nvmlEventTypeSingleBitEccErrorStorm),
            (EventKind::DramRetirement, nvml::nvmlEventTypeDramRetirementEvent),
            (EventKind::DramRetirementFailure, nvml::nvmlEventTypeDramRetirementFailure),
            (EventKind::NonFatalPoison, nvml::nvmlEventTypeNonFatalPoisonError),
            (EventKind::FatalPoison, nvml::nvmlEventTypeFatalPoisonError),
            (EventKind::GpuUnavailable, nvml::nvmlEventTypeGpuUnavailableError),
            (EventKind::RecoveryAction, nvml::nvmlEventTypeGpuRecoveryAction),
        ];
        let mut all = XID_BIT;
        for (kind, bit) in table {
            assert_eq!(kind.bit(), u64::from(bit), "{kind:?}");
            all |= kind.bit();
        }
        assert_eq!(XID_BIT, u64::from(nvml::nvmlEventTypeXidCriticalError));
        assert_eq!(all, u64::from(nvml::nvmlEventTypeAll));
    }

    #[test]
    fn a_storm_is_counted_without_walking_through_it() {
        let storm =
            Xid { at_ms: 100, code: 119, repeat: 5, every_ms: 10, gi_id: None, ci_id: None };
        let storm = Report::from(&storm);
        assert_eq!(storm.first_within(0, 99), None);
        assert_eq!(
            (storm.first_within(0, 1_000), storm.last_within(0, 1_000)),
            (Some(100), Some(140))
        );
        assert_eq!(
            (storm.first_within(100, 125), storm.last_within(100, 125)),
            (Some(110), Some(120))
        );
        assert_eq!(storm.first_within(140, u64::MAX), None);
    }
}
