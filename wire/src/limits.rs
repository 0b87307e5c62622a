//! Every limit of the wire, in one place. A body that breaks one is refused before it costs memory.

/// Largest request body, compressed, in bytes.
pub const BODY_BYTES_MAX: usize = 1 << 20;
/// Largest body after decompression, in bytes. The largest honest batch (2,048 series of 600 rows
/// at two bytes) is 2.4 MB; decoded it takes at most about 25 times its bytes in memory.
pub const DECOMPRESSED_BYTES_MAX: usize = 4 << 20;
/// Largest ratio of decompressed to compressed size...
pub const RATIO_MAX: usize = 64;
/// ...for bodies that decompress to more than this, in bytes. Tiny constant batches compress well.
pub const RATIO_FREE_BYTES: usize = 64 << 10;
/// Largest zstd window, as a power of two: 8 MiB. A small frame can otherwise ask for 2 GiB.
pub const ZSTD_WINDOW_LOG_MAX: u32 = 23;
/// Compression level of our own agents. Level 9 gains under 1 % on this telemetry.
pub const ZSTD_LEVEL: i32 = 3;

/// Subjects (devices, meters) of one node or gateway.
pub const SUBJECTS_MAX: usize = 256;
/// Cadence groups of one schema.
pub const GROUPS_MAX: usize = 16;
/// Series (columns) of one schema, over all groups.
pub const SERIES_MAX: usize = 2_048;
/// Rows of one matrix.
pub const ROWS_MAX: usize = 600;
/// Values of one batch, missing ones counted: a full matrix of every series, 10 MB when decoded.
pub const VALUES_MAX: usize = SERIES_MAX * ROWS_MAX;
/// Events of one batch.
pub const EVENTS_MAX: usize = 256;
/// Bytes of an event's text.
pub const EVENT_TEXT_BYTES_MAX: usize = 256;
/// Facts about holds of one batch.
pub const HOLDS_MAX: usize = 256;
/// Devices of one hold: sixteen GPUs in seven instances each, and some more.
pub const HOLD_DEVICES_MAX: usize = 128;
/// Compute slices of one GPU: seven of any until now.
pub const SLICES_MAX: u32 = 64;
/// Bytes of any identifier.
pub const ID_BYTES_MAX: usize = 96;
/// Bytes of a descriptive text: model, serial, label.
pub const TEXT_BYTES_MAX: usize = 128;

/// How far ahead of the collector's clock a reading may be, in milliseconds.
pub const FUTURE_MS_MAX: i64 = 5 * 60 * 1_000;
/// The earliest reading that can be true, UTC milliseconds: 2020-01-01T00:00:00Z.
/// Anything older is a clock that was never set.
pub const EARLIEST_UTC_MS: i64 = 1_577_836_800_000;
/// How far beyond the last contiguous sequence a batch may run ahead of its elder siblings.
pub const SEQUENCE_WINDOW: u64 = 64;

/// Largest power of one meter or device, in milliwatts: 1 GW, more than any hub has.
pub const POWER_MW_MAX: u64 = 1_000_000_000_000;
