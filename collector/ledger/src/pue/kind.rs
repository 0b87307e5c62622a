//! What a figure may call itself, and in which state it is.

use std::fmt;

/// The four figures that share the name PUE and nothing else: two of different kind are never
/// added, averaged or compared ([`super::roll_up`] refuses).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PueKind {
    /// PUE: the whole boundary over twelve consecutive months, measured.
    Annual,
    /// iPUE: the whole boundary over any other period, or over a year of which too much is
    /// missing.
    Interim,
    /// pPUE: of the named part of the boundary only. These books make none.
    Partial { boundary: String },
    /// dPUE: from design data, nothing was measured. These books make none.
    Designed,
}

impl PueKind {
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Annual => "PUE",
            Self::Interim => "iPUE",
            Self::Partial { .. } => "pPUE",
            Self::Designed => "dPUE",
        }
    }
}

impl fmt::Display for PueKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Partial { boundary } => write!(f, "pPUE[{boundary}]"),
            Self::Annual | Self::Interim | Self::Designed => f.write_str(self.word()),
        }
    }
}

/// Whether a late fact can still change a figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PueStatus {
    /// Some of its intervals can still be corrected.
    Provisional,
    /// None can: `Rules::keep` is over for all of them. No signature says so yet.
    Settled,
}

impl PueStatus {
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Provisional => "provisional",
            Self::Settled => "settled",
        }
    }
}
