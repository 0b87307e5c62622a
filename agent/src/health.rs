//! The agent's own metrics, and the small server that shows them.
//!
//! Names follow Prometheus: base units, `_total` for counters. The hub's energies are not here:
//! they are the collector's to export.

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, body::Incoming};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus::{
    Gauge, GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts,
    Registry, TextEncoder,
};
use tokio::net::{TcpListener, TcpStream};

use bijli_wire::Millis;

use crate::config;
use crate::uplink::line::Counts;

/// The kernel counts CPU time in hundredths of a second on every platform that we run on.
const CLOCK_TICKS_PER_SECOND: f64 = 100.0;
const CONNECTIONS_MAX: usize = 8;
/// Who opens a connection and says nothing loses it.
const HEADER_READ_MAX: std::time::Duration = std::time::Duration::from_secs(10);
const TICK_BUCKETS: &[f64] = &[0.001, 0.005, 0.02, 0.05, 0.1, 0.3, 0.6, 1.0];

/// How a probe's tick went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Ok,
    /// Answered, with values missing.
    Error,
    /// Not in time.
    Skipped,
}

impl Outcome {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Error => "error",
            Self::Skipped => "skipped",
        }
    }
}

/// What is known of spool and uplink at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Gauges {
    pub spool_bytes: u64,
    /// Of these, what no ack covers.
    pub spool_waiting_bytes: u64,
    pub spool_bytes_max: u64,
    /// When the eldest waiting batch was made; now if none waits.
    pub oldest_ms: i64,
    pub backlog: u64,
    /// Until one's own certificate expires; `None`: plain HTTP needs none.
    pub certificate_left_s: Option<i64>,
}

/// The registry and its metrics. Clones share them.
#[derive(Clone, Debug)]
pub struct Health {
    registry: Registry,
    samples: IntCounterVec,
    durations: HistogramVec,
    spool_bytes: IntGauge,
    spool_waiting: IntGauge,
    spool_limit: IntGauge,
    spool_oldest: Gauge,
    batches: IntCounterVec,
    thinned: IntCounter,
    renewed: IntCounter,
    backlog: IntGauge,
    certificate: IntGauge,
    resident: IntGauge,
    cpu: Gauge,
}

impl Health {
    /// # Panics
    /// Never: names and labels are fixed, and each is registered once.
    #[must_use]
    pub fn new(hub: &str, node: &str) -> Self {
        let labels = [("hub".to_owned(), hub.to_owned()), ("node".to_owned(), node.to_owned())];
        let registry = Registry::new_custom(None, Some(labels.into_iter().collect()))
            .expect("an empty registry can be made");
        let samples =
            counters(&registry, "samples_total", "Reads of probes.", &["probe", "outcome"]);
        let batches = counters(&registry, "batches_total", "Batches by fate.", &["outcome"]);
        let options = HistogramOpts::new(
            "bijli_agent_sample_duration_seconds",
            "Time from the tick to the probe's answer.",
        );
        let durations = HistogramVec::new(options.buckets(TICK_BUCKETS.to_vec()), &["probe"])
            .expect("the name is valid");
        register(&registry, durations.clone());
        let info = GaugeVec::new(
            Opts::new("bijli_agent_build_info", "Version of this agent."),
            &["version"],
        )
        .expect("the name is valid");
        info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1.0);
        register(&registry, info);
        Self {
            samples,
            durations,
            spool_bytes: gauge(&registry, "spool_bytes", "Bytes that the spool takes."),
            spool_waiting: gauge(
                &registry,
                "spool_waiting_bytes",
                "Bytes of the spool that no ack covers; the others are only kept.",
            ),
            spool_limit: gauge(&registry, "spool_limit_bytes", "Bytes that it may take."),
            spool_oldest: float(
                &registry,
                "spool_oldest_timestamp_seconds",
                "When the eldest waiting batch was made; now if none waits.",
            ),
            batches,
            thinned: counter(
                &registry,
                "thinned_batches_total",
                "Batches that are no more, because the full spool was thinned to fewer.",
            ),
            renewed: counter(
                &registry,
                "epochs_renewed_total",
                "Epochs begun because the spool's disk was rolled back or there are two of it.",
            ),
            backlog: gauge(&registry, "backlog_batches", "Batches that wait for an ack."),
            certificate: gauge(
                &registry,
                "certificate_left_seconds",
                "Until this node's certificate expires; 0 where plain HTTP needs none.",
            ),
            resident: gauge(&registry, "resident_memory_bytes", "Memory of this agent."),
            cpu: float(&registry, "cpu_seconds_total", "CPU time of this agent."),
            registry,
        }
    }

    pub fn sample(&self, probe: &str, outcome: Outcome, took: Option<Millis>) {
        self.samples.with_label_values(&[probe, outcome.as_str()]).inc();
        if let Some(took) = took {
            self.durations.with_label_values(&[probe]).observe(seconds(took.get()));
        }
    }

    /// A probe that left: its series would else stay for ever.
    pub fn forget(&self, probe: &str) {
        for outcome in [Outcome::Ok, Outcome::Error, Outcome::Skipped] {
            drop(self.samples.remove_label_values(&[probe, outcome.as_str()]));
        }
        drop(self.durations.remove_label_values(&[probe]));
    }

    pub fn set(&self, gauges: Gauges, counts: Counts) {
        self.spool_bytes.set(whole(gauges.spool_bytes));
        self.spool_waiting.set(whole(gauges.spool_waiting_bytes));
        self.spool_limit.set(whole(gauges.spool_bytes_max));
        self.spool_oldest.set(seconds(u64::try_from(gauges.oldest_ms).unwrap_or(0)));
        self.backlog.set(whole(gauges.backlog));
        self.certificate.set(gauges.certificate_left_s.unwrap_or(0));
        for (outcome, count) in [
            ("stored", counts.stored),
            ("acked", counts.acked),
            ("refused", counts.refused),
            ("resent", counts.resent),
            ("quarantined", counts.quarantined),
            ("full", counts.full),
            ("uncopied", counts.uncopied),
            ("rewound", counts.rewound),
        ] {
            raise(&self.batches.with_label_values(&[outcome]), count);
        }
        raise(&self.thinned, counts.thinned);
        raise(&self.renewed, counts.renewed);
    }

    /// Everything, as Prometheus reads it. The agent's own cost is looked up only then: asking
    /// the kernel each second would be a tenth of it.
    #[must_use]
    pub fn text(&self) -> String {
        if let Some((resident, ticks)) = config::own_cost() {
            self.resident.set(whole(resident));
            self.cpu.set(float_of(ticks) / CLOCK_TICKS_PER_SECOND);
        }
        TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap_or_default()
    }

    /// Serves `/metrics` until the process ends.
    ///
    /// # Errors
    /// If the address cannot be listened on.
    pub async fn serve(self, listen: SocketAddr) -> std::io::Result<()> {
        let listener = TcpListener::bind(listen).await?;
        tracing::info!("metrics on http://{}/metrics", listener.local_addr()?);
        tokio::spawn(self.accept(listener));
        Ok(())
    }

    async fn accept(self, listener: TcpListener) {
        let room = std::sync::Arc::new(tokio::sync::Semaphore::new(CONNECTIONS_MAX));
        loop {
            let Ok(permit) = std::sync::Arc::clone(&room).acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, _)) => {
                    let health = self.clone();
                    tokio::spawn(async move {
                        health.answer(stream).await;
                        drop(permit);
                    });
                }
                // Too many open files, most likely: do not spin.
                Err(_) => tokio::time::sleep(std::time::Duration::from_secs(1)).await,
            }
        }
    }

    async fn answer(self, stream: TcpStream) {
        let service = service_fn(move |request| {
            let health = self.clone();
            async move { Ok::<_, std::convert::Infallible>(health.respond(&request)) }
        });
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_READ_MAX)
            .max_buf_size(16 << 10)
            .serve_connection(TokioIo::new(stream), service)
            .await;
        if let Err(e) = served {
            tracing::debug!("metrics connection ended: {e}");
        }
    }

    fn respond(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let (status, body) = match (request.method(), request.uri().path()) {
            (&Method::GET, "/metrics") => (StatusCode::OK, self.text()),
            (&Method::GET, "/healthz") => (StatusCode::OK, "ok\n".to_owned()),
            (_, "/metrics" | "/healthz") => (StatusCode::METHOD_NOT_ALLOWED, String::new()),
            _ => (StatusCode::NOT_FOUND, "try /metrics\n".to_owned()),
        };
        let mut response = Response::new(Full::new(Bytes::from(body)));
        *response.status_mut() = status;
        let content = hyper::header::HeaderValue::from_static("text/plain; version=0.0.4");
        response.headers_mut().insert(hyper::header::CONTENT_TYPE, content);
        response
    }
}

fn register(registry: &Registry, metric: impl prometheus::core::Collector + 'static) {
    registry.register(Box::new(metric)).expect("each name is registered once");
}

fn counters(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    let options = Opts::new(format!("bijli_agent_{name}"), help);
    let metric = IntCounterVec::new(options, labels).expect("the name is valid");
    register(registry, metric.clone());
    metric
}

fn counter(registry: &Registry, name: &str, help: &str) -> IntCounter {
    let metric = IntCounter::new(format!("bijli_agent_{name}"), help).expect("the name is valid");
    register(registry, metric.clone());
    metric
}

/// To what is counted elsewhere; never down.
fn raise(counter: &IntCounter, count: u64) {
    counter.inc_by(count.saturating_sub(counter.get()));
}

fn gauge(registry: &Registry, name: &str, help: &str) -> IntGauge {
    let metric = IntGauge::new(format!("bijli_agent_{name}"), help).expect("the name is valid");
    register(registry, metric.clone());
    metric
}

fn float(registry: &Registry, name: &str, help: &str) -> Gauge {
    let metric = Gauge::new(format!("bijli_agent_{name}"), help).expect("the name is valid");
    register(registry, metric.clone());
    metric
}

fn whole(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[expect(clippy::cast_precision_loss, reason = "a metric of the agent's own cost, not energy")]
fn float_of(count: u64) -> f64 {
    count as f64
}

fn seconds(ms: u64) -> f64 {
    float_of(ms) / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_promised_metric_is_shown() {
        let health = Health::new("isb", "isb-n01");
        health.sample("host", Outcome::Ok, Some(Millis::new(3)));
        health.sample("host", Outcome::Skipped, None);
        let gauges = Gauges {
            spool_bytes: 7,
            spool_waiting_bytes: 4,
            spool_bytes_max: 9,
            oldest_ms: 1_500,
            backlog: 2,
            certificate_left_s: Some(86_400),
        };
        health.set(gauges, Counts { acked: 5, ..Counts::default() });
        health.set(gauges, Counts { acked: 6, thinned: 3, renewed: 1, ..Counts::default() });
        let text = health.text();
        // The registry gives its common labels in any order.
        let shown = |name: &str, label: &str, value: &str| {
            text.lines().any(|line| {
                let is_named = line.starts_with(&format!("bijli_agent_{name}{{"));
                let is_labelled = ["hub=\"isb\"", "node=\"isb-n01\"", label]
                    .iter()
                    .all(|label| line.contains(label));
                is_named && is_labelled && line.ends_with(value)
            })
        };
        for (name, label, value) in [
            ("build_info", "version=", " 1"),
            ("samples_total", "outcome=\"ok\"", " 1"),
            ("samples_total", "outcome=\"skipped\"", " 1"),
            ("sample_duration_seconds_count", "probe=\"host\"", " 1"),
            ("spool_bytes", "", " 7"),
            ("spool_waiting_bytes", "", " 4"),
            ("spool_limit_bytes", "", " 9"),
            ("thinned_batches_total", "", " 3"),
            ("epochs_renewed_total", "", " 1"),
            ("certificate_left_seconds", "", " 86400"),
            ("spool_oldest_timestamp_seconds", "", " 1.5"),
            ("batches_total", "outcome=\"acked\"", " 6"),
            ("backlog_batches", "", " 2"),
            ("resident_memory_bytes", "", ""),
            ("cpu_seconds_total", "", ""),
        ] {
            assert!(shown(name, label, value), "{name} {label} {value} is not in\n{text}");
        }
        assert_eq!(documented(&text), include_str!("../../docs/metrics-agent.md"));
        health.forget("host");
        assert!(!health.text().contains("probe=\"host\""));
    }

    /// The page of these metrics, from what the registry says of them.
    fn documented(text: &str) -> String {
        let kinds: std::collections::BTreeMap<&str, &str> =
            text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
        let mut page = "# Metrics of the agent\n\nWhat an agent says of itself on `/metrics`; \
             every series carries hub and node. This page is written from\n`agent/src/health.rs`; \
             a test compares them.\n\n| name | type | meaning |\n| --- | --- | --- |\n"
            .to_owned();
        for line in text.lines().filter_map(|line| line.strip_prefix("# HELP ")) {
            let (name, help) = line.split_once(' ').expect("a name and its words");
            page.push_str(&format!("| `{name}` | {} | {help} |\n", kinds[name]));
        }
        page
    }
}
