//! Bugs that are planted on purpose: what catches them is shown to be awake.
//!
//! The product names a bug where it could be made: `if planted!(SkipFsync) { .. }`. With the
//! feature `planted` of its crate off, as in everything that is shipped, that is `if false`; with
//! it on, nothing changes until a bug is switched on, for one thread by [`plant`] or for a whole
//! program by the environment variable `BIJLI_PLANTED`, which holds one name of [`Bug::name`].

use std::cell::Cell;
use std::sync::OnceLock;

/// Switches one on for a whole program.
pub const VARIABLE: &str = "BIJLI_PLANTED";

/// One way to lose, double or invent energy. The words say what goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bug {
    /// Segment log: a commit succeeds without its fdatasync.
    SkipFsync,
    /// Collector: a batch is acknowledged before its group is durable.
    AckBeforeFsync,
    /// Segment log: segments are unlinked before the cursor that gives them up is durable.
    UnlinkBeforeCursor,
    /// Collector: the sequence after the last durable one counts as durable.
    WatermarkOffByOne,
    /// Segment log: a bad frame ends the log even where valid ones follow.
    CorruptionAsTornTail,
    /// Ledger: a register that went back is subtracted as if it had wrapped at 2^64.
    UnsignedDifference,
    /// Wire: an integrator forgets what is below a millijoule.
    DropResidue,
    /// Collector: a batch is booked at each receipt, not once.
    BookEachReceipt,
    /// Collector: the node in a body is believed, whoever sent it.
    TrustPayloadNode,
    /// Agent: a spool that was set back goes on in its old epoch.
    ReuseSequence,
    /// Agent: a batch that cannot be read is passed over as if it were acknowledged.
    PassUnreadable,
    /// Segment log: the last frame of a segment is lost when the next one is begun.
    LoseLastAtRotation,
}

impl Bug {
    pub const ALL: [Self; 12] = [
        Self::SkipFsync,
        Self::AckBeforeFsync,
        Self::UnlinkBeforeCursor,
        Self::WatermarkOffByOne,
        Self::CorruptionAsTornTail,
        Self::UnsignedDifference,
        Self::DropResidue,
        Self::BookEachReceipt,
        Self::TrustPayloadNode,
        Self::ReuseSequence,
        Self::PassUnreadable,
        Self::LoseLastAtRotation,
    ];

    /// How [`VARIABLE`] and tables name it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::SkipFsync => "skip-fsync",
            Self::AckBeforeFsync => "ack-before-fsync",
            Self::UnlinkBeforeCursor => "unlink-before-cursor",
            Self::WatermarkOffByOne => "watermark-off-by-one",
            Self::CorruptionAsTornTail => "corruption-as-torn-tail",
            Self::UnsignedDifference => "unsigned-difference",
            Self::DropResidue => "drop-residue",
            Self::BookEachReceipt => "book-each-receipt",
            Self::TrustPayloadNode => "trust-payload-node",
            Self::ReuseSequence => "reuse-sequence",
            Self::PassUnreadable => "pass-unreadable",
            Self::LoseLastAtRotation => "lose-last-at-rotation",
        }
    }

    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|bug| bug.name() == name)
    }
}

thread_local! {
    static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
}

/// Plants a bug in this thread, or takes it out.
pub fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}

/// Whether a bug is switched on here.
///
/// # Panics
/// If the environment names a bug that there is not: a test with a misspelt one would pass.
#[must_use]
pub fn is(bug: Bug) -> bool {
    static OF_PROGRAM: OnceLock<Option<Bug>> = OnceLock::new();
    let of_program = OF_PROGRAM.get_or_init(|| {
        let name = std::env::var(VARIABLE).ok()?;
        Some(Bug::of_name(&name).unwrap_or_else(|| panic!("{VARIABLE}={name} is no planted bug")))
    });
    PLANTED.get() == Some(bug) || *of_program == Some(bug)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_a_name_of_its_own_and_is_off_until_it_is_planted() {
        for bug in Bug::ALL {
            assert_eq!(Bug::of_name(bug.name()), Some(bug));
            assert!(!is(bug));
            plant(Some(bug));
            assert!(is(bug));
            assert!(!std::thread::spawn(move || is(bug)).join().unwrap(), "of this thread only");
            plant(None);
        }
    }
}
