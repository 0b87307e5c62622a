//! The accounting rules that a hub may set, the fixed ones, and the version that every entry names.

use bijli_wire::Millis;
use serde::{Deserialize, Serialize};

/// Version of the derivation rules of `docs/formats/ledger.md`. Append only: a rule that changes
/// an amount gets a new number.
pub const RULE_VERSION: u32 = 1;

/// What a hub may choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rules {
    /// Length of an accounting interval. Intervals are counted from 1970 UTC.
    pub interval: Millis,
    /// How long after its end an interval waits for readings, and a touched closed interval for
    /// more corrections, before it is posted.
    pub close_after: Millis,
    /// How long a closed interval can still be corrected. Older facts are counted, not booked.
    pub keep: Millis,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            interval: Millis::new(15 * 60 * 1_000),
            close_after: Millis::new(2 * 60 * 1_000),
            keep: Millis::new(35 * 24 * 3_600 * 1_000),
        }
    }
}

impl Rules {
    /// Whether books can be kept by them. Every interval that can be corrected is in memory.
    #[must_use]
    pub fn are_valid(&self) -> bool {
        (1_000..=INTERVAL_MS_MAX).contains(&self.interval.get())
            && self.close_after.get() <= INTERVAL_MS_MAX
            && self.keep.get() <= KEEP_MS_MAX
    }
}

/// The longest interval a hub may set: a day. It keeps offsets within an interval in `u32`.
pub const INTERVAL_MS_MAX: u64 = 24 * 3_600 * 1_000;
/// A year.
const KEEP_MS_MAX: u64 = 366 * 24 * 3_600 * 1_000;
/// A blind stretch longer than this is missing; nobody knows its power any more.
pub const ESTIMATE_MS_MAX: u64 = 5 * 60 * 1_000;
/// A decrease worth at most this long at full power may be a register that lost its last moments.
pub const STEP_BACK_MS: u64 = 10_000;
/// Slack of every plausibility bound: one refresh of a device's register.
pub const REFRESH_MS: u64 = 100;
/// So many successive readings must agree among themselves to overrule the ones before.
pub const REBASE_READINGS: u32 = 3;
/// Runs of one device-interval; beyond it resolution is given up, never energy.
pub const STEPS_MAX: usize = 960;
/// Steps of one device-interval kept as read until it is posted, so that no node fills memory by
/// reading each millisecond. Four a second of the default interval; beyond it they are compacted
/// early, with the holds known then.
pub const OPEN_STEPS_MAX: usize = 4_096;
/// Events kept of each kind, so that a flood of one kind hides no other.
pub const EVENTS_PER_KIND_MAX: usize = 128;
/// Closed intervals that one `Books::advance` derives again, oldest first; the rest waits for the
/// next. A day's worth, so that a backlog does not stop a hub from taking in readings.
pub const ADJUSTED_PER_ADVANCE_MAX: usize = 96;
/// Reasons kept of one interval; the rest is counted.
pub const REASONS_MAX: usize = 256;
/// Devices that one allocation may name.
pub const ALLOCATION_DEVICES_MAX: usize = 8_192;
/// Bytes of an allocation's id.
pub const ALLOCATION_ID_BYTES_MAX: usize = 96;
/// Bytes of an allocation's `who` and `why`.
pub const ALLOCATION_TEXT_BYTES_MAX: usize = 256;
/// Meters with typed readings, and readings of one of them: one a day for eleven years. Beyond it
/// the eldest is let go, once it can change nothing.
pub const TYPED_METERS_MAX: usize = 1_024;
pub const TYPED_PER_METER_MAX: usize = 4_096;
/// A wristwatch may be ahead of the collector's clock by this much.
pub const TYPED_AHEAD_MS_MAX: i64 = 5 * 60 * 1_000;
/// Jobs that one node's witnesses may have told of within what can still be corrected: more than
/// one a minute for the default 35 days.
pub const JOBS_PER_NODE_MAX: usize = 65_536;
/// Begins and ends that may be told of one job of one node.
pub const TIMES_PER_JOB_MAX: usize = 2_048;
/// Least and most of a calibration's gain. A register further off is not calibrated, it is
/// replaced: the agent integrates its power.
pub const GAIN_PPM_MIN: u32 = 500_000;
pub const GAIN_PPM_MAX: u32 = 2_000_000;
/// Most of a gain's expanded uncertainty.
pub const DOUBT_PPM_MAX: u32 = 250_000;
/// A device that was last read longer ago than this is gone, not missing.
pub const SILENT_MS_MAX: i64 = 24 * 3_600 * 1_000;
/// No device has more power than this, whatever it declares, in milliwatts: 100 kW. Without a bound
/// one node with a stolen key could declare amounts that no entry can hold, and stop the hub.
pub const DEVICE_POWER_MW_MAX: u64 = 100_000_000;
/// The same for a whole node: 1 MW, more than a rack has.
pub const NODE_POWER_MW_MAX: u64 = 1_000_000_000;
/// Bytes of `by`, `despite` and `cause` of a period that is closed or restated.
pub const PERIOD_TEXT_BYTES_MAX: usize = 512;
/// Doubts of a closed period in its leaf, in bytes; the rest is counted.
pub const DOUBTS_BYTES_MAX: usize = 48_000;
/// Restatements of one period that the books keep; all are in the ledger log.
pub const RESTATEMENTS_KEPT: usize = 256;
