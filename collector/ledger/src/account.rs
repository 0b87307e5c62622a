//! The chart of accounts: where energy comes from, passes through, and ends.
//!
//! # Invariants
//! - `Display` and `FromStr` are each other's inverse; the text is what entries, seals and
//!   documents carry (`docs/formats/ledger.md`). Append only.
//! - The order of accounts is fixed: it breaks ties when a rest of a split is handed out.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

use bijli_wire::id::IdError;
use bijli_wire::{NodeId, ProjectId, SubjectId};

use crate::diagram::PointId;

/// What a project's energy was used as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Share {
    /// GPU energy while held and busy, or while nobody could tell.
    GpuActive,
    /// GPU energy while held and idle.
    GpuHeldIdle,
    /// Its part of the hosts' energy.
    Host,
}

impl Share {
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::GpuActive => "gpu_active",
            Self::GpuHeldIdle => "gpu_held_idle",
            Self::Host => "host",
        }
    }

    fn from_word(word: &str) -> Option<Self> {
        [Self::GpuActive, Self::GpuHeldIdle, Self::Host]
            .into_iter()
            .find(|share| share.word() == word)
    }
}

/// Which side of the books an account stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Nature {
    /// Only gives: supplies, stores, and energy whose origin no meter shows.
    Source,
    /// Receives and passes on; zero in every closed interval.
    Through,
    /// Only receives: uses, idleness, losses.
    Sink,
}

macro_rules! accounts {
    (
        named { $($(#[$doc:meta])* $named:ident($id:ty) $prefix:literal $nature:ident;)* }
        single { $($(#[$single_doc:meta])* $single:ident $word:literal $single_nature:ident;)* }
    ) => {
        /// A line in the chart of accounts.
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Account {
            $($(#[$doc])* $named($id),)*
            $($(#[$single_doc])* $single,)*
            /// What a project used.
            Project(ProjectId, Share),
        }

        impl Account {
            #[must_use]
            pub const fn nature(&self) -> Nature {
                match self {
                    $(Self::$named(_) => Nature::$nature,)*
                    $(Self::$single => Nature::$single_nature,)*
                    Self::Project(..) => Nature::Sink,
                }
            }
        }

        impl fmt::Display for Account {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$named(id) => write!(f, concat!($prefix, ":{}"), id),)*
                    $(Self::$single => f.write_str($word),)*
                    Self::Project(project, share) => {
                        write!(f, "project:{project}/{}", share.word())
                    }
                }
            }
        }

        impl FromStr for Account {
            type Err = AccountError;

            fn from_str(text: &str) -> Result<Self, AccountError> {
                let name = |source| AccountError::Name { account: text.to_owned(), source };
                $(if text == $word {
                    return Ok(Self::$single);
                })*
                $(if let Some(id) = text.strip_prefix(concat!($prefix, ":")) {
                    return <$id>::new(id).map(Self::$named).map_err(name);
                })*
                let unknown = || AccountError::Unknown { account: text.to_owned() };
                let project = text.strip_prefix("project:").ok_or_else(unknown)?;
                let (project, share) = project.rsplit_once('/').ok_or_else(unknown)?;
                let share = Share::from_word(share).ok_or_else(unknown)?;
                Ok(Self::Project(ProjectId::new(project).map_err(name)?, share))
            }
        }
    };
}

accounts! {
    named {
        /// The utility's meter.
        Grid(PointId) "grid" Source;
        Generator(PointId) "generator" Source;
        Solar(PointId) "solar" Source;
        /// A UPS battery that gave more than its input took.
        Store(PointId) "store" Source;
        /// What the meters below a complete meter show beyond it.
        Dispute(PointId) "dispute" Source;
        /// What the devices of a node show beyond the node's own complete register.
        DisputeNode(NodeId) "dispute_node" Source;
        /// What was used below while the meters above were missing.
        Missing(PointId) "missing" Source;
        /// The supply of a node that the diagram does not place. Outside PUE.
        Unplaced(NodeId) "unplaced" Source;
        /// A point of the single-line diagram.
        Point(PointId) "point" Through;
        Node(NodeId) "node" Through;
        Gpu(SubjectId) "gpu" Through;
        Cpu(SubjectId) "cpu" Through;
        Dram(SubjectId) "dram" Through;
        /// UPS input minus UPS output.
        LossUps(PointId) "loss:ups" Sink;
        /// A point minus the complete meters below it.
        LossDistribution(PointId) "loss:distribution" Sink;
        Cooling(PointId) "cooling" Sink;
        Lighting(PointId) "lighting" Sink;
        Other(PointId) "other" Sink;
        /// What a point saw and no meter below explains.
        Unmetered(PointId) "unmetered" Sink;
    }
    single {
        /// The one board that all supplies feed.
        Main "main" Through;
        /// GPUs that nobody held.
        IdleUnallocated "idle:unallocated" Sink;
        /// GPUs that were busy and that nobody held.
        Unattributed "unattributed" Sink;
        /// Host energy of GPUs that nobody held.
        HostOverhead "host_overhead" Sink;
    }
}

/// Why a text is no account.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccountError {
    #[error("{account:?} is no account of this chart")]
    Unknown { account: String },
    #[error("account {account:?} has a refused name")]
    Name { account: String, source: IdError },
}

impl Account {
    /// The project and share of a project's account.
    #[must_use]
    pub const fn project(&self) -> Option<(&ProjectId, Share)> {
        if let Self::Project(project, share) = self { Some((project, *share)) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_written_chart_reads_back() {
        for text in [
            "grid:incomer",
            "main",
            "point:ups-a-out",
            "node:isb-n01",
            "gpu:GPU-5b1c",
            "project:climate/fire/gpu_held_idle",
            "idle:unallocated",
            "unattributed",
            "loss:ups:ups-a-in",
            "loss:distribution:pdu:1",
            "dispute_node:n1",
            "host_overhead",
        ] {
            let account: Account = text.parse().expect(text);
            assert_eq!(account.to_string(), text);
        }
    }

    #[test]
    fn what_is_no_account_is_refused() {
        for text in ["", "grid:", "gold:incomer", "project:x", "project:x/gpu", "loss:x", "Main"] {
            assert!(text.parse::<Account>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_name_round_trips(name in "[A-Za-z0-9._:/-]{1,40}") {
            let point = || PointId::new(&name).expect("harmless");
            let project = ProjectId::new(&name).expect("harmless");
            for account in [
                Account::Grid(point()), Account::LossUps(point()), Account::Dispute(point()),
                Account::Unmetered(point()), Account::Project(project, Share::Host),
            ] {
                prop_assert_eq!(account.to_string().parse(), Ok(account));
            }
        }
    }
}
