//! The double-entry energy ledger of one hub: registers become energy, energy becomes entries,
//! and the books balance to exactly zero millijoules in every interval.
//!
//! # Invariants
//! - Whatever enters an account of passage (main board, point, node, device) leaves it, to the
//!   millijoule, in every closed interval. [`Books::imbalance`] is zero or the program is wrong.
//! - Nothing posted is changed. A correction is an entry that names the one that it corrects.
//! - The entries are a function of the facts in their order. With the allocations told first, the
//!   sums per interval do not even depend on how the readings of different nodes were interleaved.
//! - What a project used of a GPU is the sum of the steps read within its holds, if the allocation
//!   was told before they were posted.
//! - Every amount carries its [`Class`]; a gap is missing, never a held last value.
//!
//! **Architecture invariant:** no I/O, no clock, no float, no hash map. Time is told by
//! [`Books::advance`]. The rules are written down for an auditor in `docs/formats/ledger.md`.

#![deny(clippy::arithmetic_side_effects, clippy::float_arithmetic)]

/// Whether a bug is planted here (`tests/planted`); plainly `false` in what is shipped.
#[cfg(feature = "planted")]
macro_rules! planted {
    ($bug:ident) => {
        bijli_planted::is(bijli_planted::Bug::$bug)
    };
}
#[cfg(not(feature = "planted"))]
macro_rules! planted {
    ($bug:ident) => {
        false
    };
}

pub mod account;
pub mod allocation;
pub mod balance;
pub mod books;
pub mod calibration;
pub mod civil;
pub mod class;
mod derive;
pub mod diagram;
pub mod entry;
pub mod event;
mod interpolate;
pub mod leaf;
pub mod meter;
pub mod meterbook;
pub mod period;
mod profile;
pub mod pue;
pub mod register;
pub mod rules;
mod share;
mod split;
pub mod subject;
mod witnessed;
mod zone;

pub use account::{Account, AccountError, Nature, Share};
pub use allocation::{Allocation, AllocationError, EndVerdict, Holds, PutVerdict};
pub use balance::{AccountSums, Balance, ProjectEnergy};
pub use books::{
    Books, ClosePeriod, Closed, ClosedKind, Completeness, Counting, Fault, IntervalState,
    IntervalStatus, Provisional, RestatePeriod, RetireError, Retired, Retirement, Statement,
    TypedStatus, TypedUse, projects_of,
};
pub use calibration::{Calibration, CalibrationError, Gain};
pub use civil::{CivilError, Date, Offset};
pub use class::{Activity, ByClass, Class};
pub use derive::{Flow, Reason};
pub use diagram::{Category, Diagram, DiagramError, Point, PointId, Role};
pub use entry::{Adjusts, Entry};
pub use event::{EventKind, RegisterEvent};
pub use leaf::{Leaf, LeafError, LeafMaker};
pub use meter::{AccuracyClass, ClassError, Limits, Meter};
pub use meterbook::{Compared, Measure, MeterBookError, Shown, TypedReading};
pub use period::{Day, Figures, Month, MonthError, Period, PeriodError, PeriodState, Restatement};
pub use pue::{NoPue, Pue, PueKind, PuePolicy, PueStatus, RollUp, Weighting, Withheld, roll_up};
pub use register::ReadVerdict;
pub use rules::{RULE_VERSION, Rules};
pub use share::SharePolicy;
pub use split::split;
pub use subject::{Declared, RegisterHandle, SubjectStatus};
pub use witnessed::HoldVerdict;
pub use zone::Zone;
