//! The collector's own counters, by the prometheus crate. Fleet metrics are `export/`'s.
//!
//! No label value here comes from outside: outcomes are a closed set. A name is either here or in
//! `export/`, never in both, so that no query counts a hub twice.

use std::time::Duration;

use prometheus::{
    Encoder, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

/// Counters and the registry that renders them. Cloning gives another handle to the same ones.
#[derive(Clone, Debug)]
pub struct Health {
    registry: Registry,
    pub batches: IntCounterVec,
    pub ingest_bytes: IntCounter,
    pub ingest_readings: IntCounter,
    pub lanes: Lanes,
    pub identity: IdentityHealth,
    pub group_commit_seconds: Histogram,
    pub group_frames: Histogram,
    pub journal_bytes: IntGauge,
    pub journal_records: IntGauge,
    pub journal_lost_records: IntCounter,
    pub replay_frames: IntGauge,
    pub replay_seconds: prometheus::Gauge,
    pub frames_unusable: IntCounter,
    pub entries_held: IntGauge,
    pub ledger: LedgerHealth,
    pub scrub: ScrubHealth,
    pub snapshots: SnapshotHealth,
    feeds: Feeds,
    pub seals: SealHealth,
    pub connections: IntGauge,
    pub disk_free_bytes: IntGauge,
    pub ready: IntGauge,
}

/// What goes wrong with the sequences of senders.
#[derive(Clone, Debug)]
pub struct Lanes {
    pub forks: IntCounter,
    pub contests: IntCounter,
    pub skips: IntCounter,
    pub floors: IntCounter,
    pub shown: IntCounter,
    pub corrected: IntCounter,
}

impl Lanes {
    fn new(made: &Maker<'_>) -> Self {
        Self {
            forks: made.counter(
                "bijli_collector_identity_forks_total",
                "Batches refused because another content has their sequence: two senders, one name.",
            ),
            contests: made.counter(
                "bijli_collector_identity_contests_total",
                "Batches held because a newer spool of their node is alive: two senders, one name.",
            ),
            skips: made.counter(
                "bijli_collector_sequences_skipped_total",
                "Times a sequence that never came was given up so that later ones are booked.",
            ),
            floors: made.counter(
                "bijli_collector_sequence_floors_total",
                "Times a sender said that sequences which are awaited will never come.",
            ),
            shown: made.counter(
                "bijli_collector_live_batches_total",
                "Batches that were shown before their turn, while elder ones waited.",
            ),
            corrected: made.counter(
                "bijli_collector_clock_corrected_batches_total",
                "Batches moved in time because their sender's clock is wrong.",
            ),
        }
    }
}

/// What a start begins from, and what of the journal is let go for it.
#[derive(Clone, Debug)]
pub struct SnapshotHealth {
    pub record: IntGauge,
    pub bytes: IntGauge,
    pub failures: IntCounter,
    pub segments_pruned: IntCounter,
}

impl SnapshotHealth {
    fn new(made: &Maker<'_>) -> Self {
        Self {
            record: made.gauge(
                "bijli_collector_snapshot_record",
                "Record of the journal that the newest snapshot stands after; 0: none since the start.",
            ),
            bytes: made.gauge(
                "bijli_collector_snapshot_bytes",
                "Bytes of the newest snapshot's books before compression.",
            ),
            failures: made.counter(
                "bijli_collector_snapshot_failures_total",
                "Snapshots that could not be written; the next start replays more of the journal.",
            ),
            segments_pruned: made.counter(
                "bijli_collector_journal_segments_pruned_total",
                "Raw segments of the journal that were let go; their hashes are in the ledger.",
            ),
        }
    }
}

/// The ledger log and the index made from it.
#[derive(Clone, Debug)]
pub struct LedgerHealth {
    pub leaves: IntGauge,
    pub bytes: IntGauge,
    pub lost_leaves: IntGauge,
    pub rotten_leaves: IntCounter,
    pub differs: IntGauge,
    pub index_leaves: IntGauge,
    pub index_rebuilds: IntCounter,
    pub index_differences: IntCounter,
}

impl LedgerHealth {
    fn new(made: &Maker<'_>) -> Self {
        Self {
            leaves: made
                .gauge("bijli_collector_ledger_leaves", "Leaves that are durable in the ledger log."),
            bytes: made
                .gauge("bijli_collector_ledger_bytes", "Bytes of the ledger log on disk."),
            lost_leaves: made.gauge(
                "bijli_collector_ledger_lost_leaves",
                "Leaves found damaged in the ledger log since the start.",
            ),
            rotten_leaves: made.counter(
                "bijli_collector_ledger_rotten_leaves_total",
                "Leaves found damaged by the daily comparison of the index with the ledger log.",
            ),
            differs: made.gauge(
                "bijli_collector_ledger_differs",
                "1 while the ledger log keeps other leaves than the journal leads to, else 0.",
            ),
            index_leaves: made.gauge(
                "bijli_collector_index_leaves",
                "Leaves that the SQLite index has; behind bijli_collector_ledger_leaves: rebuilding.",
            ),
            index_rebuilds: made.counter(
                "bijli_collector_index_rebuilds_total",
                "Times the index was made again because it was damaged or edited.",
            ),
            index_differences: made.counter(
                "bijli_collector_index_differences_total",
                "Leaves whose rows in the index did not follow from the ledger log.",
            ),
        }
    }
}

/// The journal, read again each day.
#[derive(Clone, Debug)]
pub struct ScrubHealth {
    pub passes: IntCounter,
    pub lost_records: IntGauge,
}

impl ScrubHealth {
    fn new(made: &Maker<'_>) -> Self {
        Self {
            passes: made.counter(
                "bijli_collector_scrub_passes_total",
                "Times the whole journal was read again since the start.",
            ),
            lost_records: made.gauge(
                "bijli_collector_scrub_lost_records",
                "Records that the last such reading found damaged; each is logged.",
            ),
        }
    }
}

/// Readings handed on to one time-series store.
#[derive(Clone, Debug)]
pub struct FeedHealth {
    pub points: IntCounter,
    pub lag_seconds: IntGauge,
    pub retries: IntCounter,
    pub refused: IntCounter,
    pub missed_records: IntCounter,
    pub unusable: IntCounter,
}

/// The same of every store.
#[derive(Clone, Debug)]
struct Feeds {
    points: IntCounterVec,
    lag_seconds: IntGaugeVec,
    retries: IntCounterVec,
    refused: IntCounterVec,
    missed_records: IntCounterVec,
    unusable: IntCounterVec,
}

impl Feeds {
    fn new(made: &Maker<'_>) -> Self {
        let counters = |name, help| made.counters(name, help, "store");
        Self {
            points: counters(
                "bijli_collector_feed_values_total",
                "Values that the time-series store has taken, or that were set apart.",
            ),
            lag_seconds: made.gauges(
                "bijli_collector_feed_lag_seconds",
                "Age of the eldest batch that the time-series store has not taken; 0: it has all.",
                "store",
            ),
            retries: counters(
                "bijli_collector_feed_retries_total",
                "Times the time-series store could not take what it was sent.",
            ),
            refused: counters(
                "bijli_collector_feed_refused_lines_total",
                "Lines that the time-series store refuses for ever; they are set apart.",
            ),
            missed_records: counters(
                "bijli_collector_feed_missed_records_total",
                "Records that were gone from the journal before the time-series store had them.",
            ),
            unusable: counters(
                "bijli_collector_feed_unusable_batches_total",
                "Batches that could not be read for the time-series store.",
            ),
        }
    }
}

/// The ledger as a transparency log.
#[derive(Clone, Debug)]
pub struct SealHealth {
    pub entries: IntGauge,
    pub signed_entries: IntGauge,
    pub refused: IntGauge,
    pub rebuilds: IntCounter,
}

impl SealHealth {
    fn new(made: &Maker<'_>) -> Self {
        Self {
            entries: made.gauge(
                "bijli_collector_seal_entries",
                "Entries of all hubs' logs that are durable as tiles.",
            ),
            signed_entries: made.gauge(
                "bijli_collector_seal_signed_entries",
                "Entries of all hubs' logs under their newest signed checkpoints.",
            ),
            refused: made.gauge(
                "bijli_collector_seal_refused",
                "Hubs whose log is not signed because it contradicts a head that is known of it.",
            ),
            rebuilds: made.counter(
                "bijli_collector_seal_rebuilds_total",
                "Times a hub's tiles were found damaged and made again from the ledger log.",
            ),
        }
    }
}

const COMMIT_SECONDS: [f64; 10] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.0, 10.0];
const GROUP_FRAMES: [f64; 8] = [1.0, 2.0, 4.0, 8.0, 16.0, 64.0, 128.0, 256.0];

impl Health {
    /// Every metric of this file, at zero.
    #[must_use]
    pub fn new() -> Self {
        let registry = Registry::new();
        let build = IntGaugeVec::new(
            Opts::new("bijli_collector_build_info", "Version of this collector; always 1."),
            &["version"],
        )
        .expect("the name and labels are valid");
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        let made = Maker { registry: &registry };
        made.keep(build);
        Self {
            batches: made.counters(
                "bijli_collector_batches_total",
                "Batches by outcome: accepted, duplicate, rejected.",
                "outcome",
            ),
            ingest_bytes: made.counter(
                "bijli_collector_ingest_bytes_total",
                "Bytes of accepted bodies, compressed.",
            ),
            ingest_readings: made
                .counter("bijli_collector_ingest_readings_total", "Readings in accepted batches."),
            lanes: Lanes::new(&made),
            identity: IdentityHealth::new(&made),
            group_commit_seconds: made.histogram(
                "bijli_collector_group_commit_seconds",
                "Time to write and fdatasync one group of frames.",
                &COMMIT_SECONDS,
            ),
            group_frames: made.histogram(
                "bijli_collector_group_frames",
                "Frames made durable by one fdatasync.",
                &GROUP_FRAMES,
            ),
            journal_bytes: made
                .gauge("bijli_collector_journal_bytes", "Bytes of the journal on disk."),
            journal_records: made
                .gauge("bijli_collector_journal_records", "Last durable record of the journal."),
            journal_lost_records: made.counter(
                "bijli_collector_journal_lost_records_total",
                "Records found damaged or missing when the journal was replayed.",
            ),
            replay_frames: made
                .gauge("bijli_collector_replay_frames", "Frames replayed at the last start."),
            replay_seconds: made.seconds(
                "bijli_collector_replay_seconds",
                "Duration of the replay at the last start.",
            ),
            frames_unusable: made.counter(
                "bijli_collector_frames_unusable_total",
                "Journal frames that could not be booked; each is logged.",
            ),
            entries_held: made.gauge(
                "bijli_collector_entries_held",
                "Entries in memory, 24 bytes each; elder ones are asked of the index.",
            ),
            ledger: LedgerHealth::new(&made),
            scrub: ScrubHealth::new(&made),
            snapshots: SnapshotHealth::new(&made),
            feeds: Feeds::new(&made),
            seals: SealHealth::new(&made),
            connections: made.gauge("bijli_collector_connections", "Open connections."),
            disk_free_bytes: made
                .gauge("bijli_collector_disk_free_bytes", "Free space where the journal is."),
            ready: made.gauge("bijli_collector_ready", "1 once the journal is replayed, else 0."),
            registry,
        }
    }

    /// Of a store, by a word of ours; its metrics are there from now on.
    #[must_use]
    pub fn feed(&self, store: &str) -> FeedHealth {
        let Feeds { points, lag_seconds, retries, refused, missed_records, unusable } = &self.feeds;
        let counter = |of: &IntCounterVec| of.with_label_values(&[store]);
        FeedHealth {
            points: counter(points),
            lag_seconds: lag_seconds.with_label_values(&[store]),
            retries: counter(retries),
            refused: counter(refused),
            missed_records: counter(missed_records),
            unusable: counter(unusable),
        }
    }

    /// A group of frames became durable.
    pub fn committed(&self, took: Duration, frames: usize) {
        self.group_commit_seconds.observe(took.as_secs_f64());
        self.group_frames.observe(f64::from(u32::try_from(frames).unwrap_or(u32::MAX)));
    }

    /// The journal was replayed.
    pub fn replayed(&self, took: Duration, frames: u64) {
        self.replay_seconds.set(took.as_secs_f64());
        self.replay_frames.set(i64::try_from(frames).unwrap_or(i64::MAX));
    }

    /// The Prometheus text.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = Vec::new();
        match TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            Ok(()) => String::from_utf8_lossy(&text).into_owned(),
            Err(error) => format!("# {error}\n"),
        }
    }
}

impl Default for Health {
    fn default() -> Self {
        Self::new()
    }
}

/// Who came to the agents' listener, and who was turned away.
#[derive(Clone, Debug)]
pub struct IdentityHealth {
    pub foreign: IntCounter,
    pub denied: IntCounter,
    pub handshakes: IntCounterVec,
    pub certificate_seconds: IntGauge,
}

impl IdentityHealth {
    fn new(made: &Maker<'_>) -> Self {
        Self {
            foreign: made.counter(
                "bijli_collector_foreign_identities_total",
                "Requests refused because they name another node than their sender's certificate.",
            ),
            denied: made.counter(
                "bijli_collector_denied_total",
                "Requests refused because their sender's key is denied or its certificate ran out.",
            ),
            handshakes: made.counters(
                "bijli_collector_handshakes_total",
                "TLS handshakes of agents by outcome: accepted, refused, late, crowded.",
                "outcome",
            ),
            certificate_seconds: made.gauge(
                "bijli_collector_certificate_left_seconds",
                "Until the certificate of the agents' listener expires; 0 without such a listener.",
            ),
        }
    }
}

/// Makes metrics and keeps them; every name below is a constant, so none can be refused.
struct Maker<'a> {
    registry: &'a Registry,
}

impl Maker<'_> {
    fn keep<M: prometheus::core::Collector + Clone + 'static>(&self, metric: M) -> M {
        self.registry.register(Box::new(metric.clone())).expect("every name is registered once");
        metric
    }

    fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.keep(IntCounter::new(name, help).expect("the name is valid"))
    }

    fn counters(&self, name: &str, help: &str, label: &str) -> IntCounterVec {
        let opts = Opts::new(name, help);
        self.keep(IntCounterVec::new(opts, &[label]).expect("the name is valid"))
    }

    fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.keep(IntGauge::new(name, help).expect("the name is valid"))
    }

    fn gauges(&self, name: &str, help: &str, label: &str) -> IntGaugeVec {
        let opts = Opts::new(name, help);
        self.keep(IntGaugeVec::new(opts, &[label]).expect("the name is valid"))
    }

    fn seconds(&self, name: &str, help: &str) -> prometheus::Gauge {
        self.keep(prometheus::Gauge::new(name, help).expect("the name is valid"))
    }

    fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> Histogram {
        let opts = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        self.keep(Histogram::with_opts(opts).expect("the buckets increase"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_registered_and_rendered() {
        let health = Health::new();
        health.batches.with_label_values(&["accepted"]).inc();
        let text = health.render();
        for name in [
            "bijli_collector_build_info{version=",
            "bijli_collector_batches_total{outcome=\"accepted\"} 1",
            "bijli_collector_group_commit_seconds_bucket",
            "bijli_collector_journal_bytes 0",
        ] {
            assert!(text.contains(name), "{name} in {text}");
        }
    }

    #[test]
    fn the_page_of_the_collectors_own_metrics_is_this_file() {
        let health = Health::new();
        // A metric with a label is there once it has a value.
        health.batches.with_label_values(&["accepted"]).inc();
        health.identity.handshakes.with_label_values(&["accepted"]).inc();
        drop(health.feed("influx"));
        let page = documented(&health.render());
        crate::api::tests::same_as_the_document("metrics-collector.md", &page);
    }

    fn documented(text: &str) -> String {
        let kinds: std::collections::BTreeMap<&str, &str> =
            text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
        let mut page = "# Metrics of the collector\n\nWhat a collector says of itself on \
             `/metrics`; who scrapes it adds its hub. This page is written from\n\
             `collector/src/health.rs`; a test compares them.\n\n\
             | name | type | meaning |\n| --- | --- | --- |\n"
            .to_owned();
        for line in text.lines().filter_map(|line| line.strip_prefix("# HELP ")) {
            let (name, help) = line.split_once(' ').expect("a name and its words");
            page.push_str(&format!("| `{name}` | {} | {help} |\n", kinds[name]));
        }
        page
    }
}
