//! The few kinds of sources and uses under which a report sums the accounts of a hub.

use bijli_ledger::{Account, Share};

/// Where energy came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    Grid,
    Generator,
    Solar,
    Store,
    Dispute,
    Missing,
    Unplaced,
}

/// What energy was used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Use {
    Active,
    HeldIdle,
    Host,
    Unattributed,
    IdleUnallocated,
    HostOverhead,
    Cooling,
    LossUps,
    LossDistribution,
    Lighting,
    Other,
    Unmetered,
}

/// On which side of the books an account is, and as what.
enum Kind {
    Source(Source),
    Through,
    Use(Use),
}

impl Kind {
    const fn of(account: &Account) -> Self {
        match account {
            Account::Grid(_) => Self::Source(Source::Grid),
            Account::Generator(_) => Self::Source(Source::Generator),
            Account::Solar(_) => Self::Source(Source::Solar),
            Account::Store(_) => Self::Source(Source::Store),
            Account::Dispute(_) | Account::DisputeNode(_) => Self::Source(Source::Dispute),
            Account::Missing(_) => Self::Source(Source::Missing),
            Account::Unplaced(_) => Self::Source(Source::Unplaced),
            Account::Main
            | Account::Point(_)
            | Account::Node(_)
            | Account::Gpu(_)
            | Account::Cpu(_)
            | Account::Dram(_) => Self::Through,
            Account::Project(_, Share::GpuActive) => Self::Use(Use::Active),
            Account::Project(_, Share::GpuHeldIdle) => Self::Use(Use::HeldIdle),
            Account::Project(_, Share::Host) => Self::Use(Use::Host),
            Account::Unattributed => Self::Use(Use::Unattributed),
            Account::IdleUnallocated => Self::Use(Use::IdleUnallocated),
            Account::HostOverhead => Self::Use(Use::HostOverhead),
            Account::Cooling(_) => Self::Use(Use::Cooling),
            Account::LossUps(_) => Self::Use(Use::LossUps),
            Account::LossDistribution(_) => Self::Use(Use::LossDistribution),
            Account::Lighting(_) => Self::Use(Use::Lighting),
            Account::Other(_) => Self::Use(Use::Other),
            Account::Unmetered(_) => Self::Use(Use::Unmetered),
        }
    }
}

impl Source {
    pub const ALL: [Self; 7] = [
        Self::Grid,
        Self::Generator,
        Self::Solar,
        Self::Store,
        Self::Dispute,
        Self::Missing,
        Self::Unplaced,
    ];

    /// The kind of a source; `None`: it is none.
    #[must_use]
    pub const fn of(account: &Account) -> Option<Self> {
        match Kind::of(account) {
            Kind::Source(source) => Some(source),
            Kind::Through | Kind::Use(_) => None,
        }
    }

    /// The word in files.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Grid => "grid",
            Self::Generator => "generator",
            Self::Solar => "solar",
            Self::Store => "store",
            Self::Dispute => "dispute",
            Self::Missing => "missing",
            Self::Unplaced => "unplaced",
        }
    }

    /// For people.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Grid => "Grid",
            Self::Generator => "Generator",
            Self::Solar => "Solar",
            Self::Store => "UPS batteries, beyond their input",
            Self::Dispute => "Shown by meters below, beyond those above",
            Self::Missing => "Used below a missing supply meter",
            Self::Unplaced => "Nodes outside the diagram",
        }
    }
}

impl Use {
    pub const ALL: [Self; 12] = [
        Self::Active,
        Self::HeldIdle,
        Self::Host,
        Self::Unattributed,
        Self::IdleUnallocated,
        Self::HostOverhead,
        Self::Cooling,
        Self::LossUps,
        Self::LossDistribution,
        Self::Lighting,
        Self::Other,
        Self::Unmetered,
    ];

    /// The kind of a use; `None`: it is none.
    #[must_use]
    pub const fn of(account: &Account) -> Option<Self> {
        match Kind::of(account) {
            Kind::Use(used) => Some(used),
            Kind::Through | Kind::Source(_) => None,
        }
    }

    /// The word in files.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Active => "project_active",
            Self::HeldIdle => "project_held_idle",
            Self::Host => "project_host",
            Self::Unattributed => "unattributed",
            Self::IdleUnallocated => "idle_unallocated",
            Self::HostOverhead => "host_overhead",
            Self::Cooling => "cooling",
            Self::LossUps => "loss_ups",
            Self::LossDistribution => "loss_distribution",
            Self::Lighting => "lighting",
            Self::Other => "other",
            Self::Unmetered => "unmetered",
        }
    }

    /// For people.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Active => "Projects: GPUs at work",
            Self::HeldIdle => "Projects: GPUs held idle",
            Self::Host => "Projects: their part of the hosts",
            Self::Unattributed => "GPUs at work, holder not known",
            Self::IdleUnallocated => "GPUs that nobody held",
            Self::HostOverhead => "Hosts of GPUs that nobody held",
            Self::Cooling => "Cooling",
            Self::LossUps => "UPS losses",
            Self::LossDistribution => "Distribution losses",
            Self::Lighting => "Lighting",
            Self::Other => "Other declared loads",
            Self::Unmetered => "Unmetered: no meter explains it",
        }
    }

    /// The colour of the page's style sheet.
    #[must_use]
    pub const fn tone(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::HeldIdle => "held",
            Self::Host => "host",
            Self::Unattributed | Self::Unmetered => "doubt",
            Self::IdleUnallocated | Self::HostOverhead => "free",
            Self::Cooling => "cooling",
            Self::LossUps | Self::LossDistribution => "loss",
            Self::Lighting | Self::Other => "main",
        }
    }

    /// Used within nodes, so that who held a device decides.
    #[must_use]
    pub const fn is_of_it(self) -> bool {
        match self {
            Self::Active
            | Self::HeldIdle
            | Self::Host
            | Self::Unattributed
            | Self::IdleUnallocated
            | Self::HostOverhead => true,
            Self::Cooling
            | Self::LossUps
            | Self::LossDistribution
            | Self::Lighting
            | Self::Other
            | Self::Unmetered => false,
        }
    }
}
