//! The faults that a history can have, and how many it had.

/// One kind of fault; its name is what the summary prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    AgentKilled,
    AgentCut,
    CollectorKilled,
    CollectorCut,
    CutInRecovery,
    RequestLost,
    AnswerLost,
    MessageDoubled,
    MessageLate,
    Partition,
    OneWayLink,
    Clogged,
    Impostor,
    DiskIo,
    DiskFull,
    SyncFailed,
    WriteLost,
    WriteMisdirected,
    BitFlipped,
    SlowDisk,
    RegisterReset,
    RegisterStepBack,
    RegisterStuck,
    ReadingMissing,
    ReadingAbsurd,
    ClockStepped,
    ClockLost,
    SpoolDeleted,
    SpoolSetBack,
    CollectorEmptied,
    CollectorSetBack,
}

impl Fault {
    pub const ALL: [Self; 31] = [
        Self::AgentKilled,
        Self::AgentCut,
        Self::CollectorKilled,
        Self::CollectorCut,
        Self::CutInRecovery,
        Self::RequestLost,
        Self::AnswerLost,
        Self::MessageDoubled,
        Self::MessageLate,
        Self::Partition,
        Self::OneWayLink,
        Self::Clogged,
        Self::Impostor,
        Self::DiskIo,
        Self::DiskFull,
        Self::SyncFailed,
        Self::WriteLost,
        Self::WriteMisdirected,
        Self::BitFlipped,
        Self::SlowDisk,
        Self::RegisterReset,
        Self::RegisterStepBack,
        Self::RegisterStuck,
        Self::ReadingMissing,
        Self::ReadingAbsurd,
        Self::ClockStepped,
        Self::ClockLost,
        Self::SpoolDeleted,
        Self::SpoolSetBack,
        Self::CollectorEmptied,
        Self::CollectorSetBack,
    ];

    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::AgentKilled => "agent killed (A1)",
            Self::AgentCut => "power cut of a node (A2)",
            Self::CollectorKilled => "collector killed (C1)",
            Self::CollectorCut => "power cut of the collector (C1)",
            Self::CutInRecovery => "second cut in recovery (C4)",
            Self::RequestLost => "request lost (N2)",
            Self::AnswerLost => "answer lost (N1)",
            Self::MessageDoubled => "message doubled (N2)",
            Self::MessageLate => "message hours to days late (N2)",
            Self::Partition => "partition (N3)",
            Self::OneWayLink => "one-way link (N10)",
            Self::Clogged => "link clogged (N6)",
            Self::Impostor => "a node writes as another (X1)",
            Self::DiskIo => "I/O error, write half done (D1)",
            Self::DiskFull => "disk full (A6, D4)",
            Self::SyncFailed => "fsync fails once (D3)",
            Self::WriteLost => "write lost (D6)",
            Self::WriteMisdirected => "write misdirected (D7)",
            Self::BitFlipped => "bit flipped (A7, D5)",
            Self::SlowDisk => "slow disk (D8)",
            Self::RegisterReset => "register reset (S1)",
            Self::RegisterStepBack => "register stepped back (S2)",
            Self::RegisterStuck => "register stuck (S4)",
            Self::ReadingMissing => "reading missing (S6)",
            Self::ReadingAbsurd => "reading absurd (S2)",
            Self::ClockStepped => "node's clock stepped (K2)",
            Self::ClockLost => "node boots in 1970 (K1)",
            Self::SpoolDeleted => "spool deleted (A8)",
            Self::SpoolSetBack => "spool set back (A10)",
            Self::CollectorEmptied => "collector's disk replaced (C10)",
            Self::CollectorSetBack => "collector set back to a backup (C11)",
        }
    }
}

/// How often each was injected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally([u64; Fault::ALL.len()]);

impl Tally {
    pub fn count(&mut self, fault: Fault) {
        self.0[fault as usize] += 1;
    }

    pub fn add(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(sum, more)| *sum += more);
    }

    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    #[must_use]
    pub fn of(&self, fault: Fault) -> u64 {
        self.0[fault as usize]
    }
}
