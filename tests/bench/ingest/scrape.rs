//! What a scrape of a hub's fleet costs: 1,000 nodes of eight GPUs, every series there is of them.
//!
//! Our own page is asked of a real collector, so its figures have HTTP in them. The two common
//! libraries render the same series from the same values in this process: once as an exporter
//! that keeps them (rendering alone), once as one that sets every value anew for each scrape.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;

use bijli_wire::UtcMillis;
use harness::http::get;
use harness::site::Site;
use harness::{now, utc_ms};
use prometheus::{Encoder as _, GaugeVec, Opts, Registry, TextEncoder};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::bijli::{send_plain, wait_until_booked};
use super::load::{HUB, NODES, node_load};
use super::report::micros;
use crate::process::{cpu_ns, median, own_cpu_ns, thousandths};

const SCRAPES: usize = 15;

/// One metric: its labels' names, and every series with its labels' values.
struct Metric {
    labels: Vec<String>,
    series: Vec<(Vec<String>, f64)>,
}

type Page = BTreeMap<String, Metric>;

pub(crate) fn run() {
    println!("\n## A scrape of {NODES} nodes of eight GPUs\n");
    let site = filled();
    let text = get(site.port, "/metrics/fleet").text().to_owned();
    let page = read(&text);
    let series: usize = page.values().map(|metric| metric.series.len()).sum();
    println!("{series} series of {} metrics\n", page.len());
    println!("| writer | CPU (median of {SCRAPES}) | wall | bytes |");
    println!("| --- | --- | --- | --- |");
    ours(&site);
    drop(site);
    of_prometheus(&page);
    of_prometheus_client(&page);
}

/// A collector that has heard of every node just now.
fn filled() -> Site {
    let site = Site::start_with("15m", &format!("[[hub]]\nid = \"{HUB}\"\ntitle = \"bench\"\n"));
    let start = i64::try_from(utc_ms() / 1_000 * 1_000).expect("now") - 10_000;
    for node in 0..NODES {
        send_plain(&site, &node_load(node, 2, UtcMillis::new(start)));
    }
    wait_until_booked(&site);
    site
}

fn ours(site: &Site) {
    let pid = site.collector.pid();
    let (mut spent_us, mut took_us, mut bytes) = (Vec::new(), Vec::new(), 0);
    for _ in 0..SCRAPES {
        let (cpu, started) = (cpu_ns(pid), now());
        bytes = get(site.port, "/metrics/fleet").text().len();
        took_us.push(micros(started.elapsed()));
        spent_us.push((cpu_ns(pid) - cpu) / 1_000);
    }
    row("bijli-collector, over HTTP", spent_us, took_us, bytes);
}

fn of_prometheus(page: &Page) {
    let registry = Registry::new();
    let mut metrics = Vec::new();
    for (name, Metric { labels, series }) in page {
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        let metric = GaugeVec::new(Opts::new(name, "as ours"), &labels).expect("a valid metric");
        registry.register(Box::new(metric.clone())).expect("once");
        metrics.push((metric, series));
    }
    let set = || {
        for (metric, series) in &metrics {
            for (labels, value) in *series {
                let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
                metric.with_label_values(&labels).set(*value);
            }
        }
    };
    let render = || {
        let mut text = Vec::new();
        TextEncoder::new().encode(&registry.gather(), &mut text).expect("memory takes it");
        text.len()
    };
    set();
    timed("prometheus, rendering alone", render);
    timed("prometheus, values set and rendered", || {
        set();
        render()
    });
}

fn of_prometheus_client(page: &Page) {
    type Labels = Vec<(String, String)>;
    type Gauges = Family<Labels, Gauge<f64, AtomicU64>>;
    let mut registry = prometheus_client::registry::Registry::default();
    let mut metrics = Vec::new();
    for (name, Metric { labels, series }) in page {
        let family = Gauges::default();
        registry.register(name, "as ours", family.clone());
        let pairs = |values: &Vec<String>| labels.iter().cloned().zip(values.clone()).collect();
        let series: Vec<(Labels, f64)> =
            series.iter().map(|(values, value)| (pairs(values), *value)).collect();
        metrics.push((family, series));
    }
    let set = || {
        for (family, series) in &metrics {
            for (labels, value) in series {
                family.get_or_create(labels).set(*value);
            }
        }
    };
    let render = || {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("memory takes it");
        text.len()
    };
    set();
    timed("prometheus-client, rendering alone", render);
    timed("prometheus-client, values set and rendered", || {
        set();
        render()
    });
}

fn timed(name: &str, render: impl Fn() -> usize) {
    let (mut spent_us, mut took_us, mut bytes) = (Vec::new(), Vec::new(), 0);
    for _ in 0..SCRAPES {
        let (cpu, started) = (own_cpu_ns(), now());
        bytes = render();
        took_us.push(micros(started.elapsed()));
        spent_us.push((own_cpu_ns() - cpu) / 1_000);
    }
    row(name, spent_us, took_us, bytes);
}

fn row(name: &str, spent_us: Vec<u64>, took_us: Vec<u64>, bytes: usize) {
    let [spent, took] = [spent_us, took_us].map(|us| thousandths(median(us)));
    println!("| {name} | {spent} ms | {took} ms | {} MB |", bytes / 1_000_000);
}

/// What a page in the text format says. Labels' values of this load have no quotes in them.
fn read(text: &str) -> Page {
    let mut page = Page::new();
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let (series, value) = line.rsplit_once(' ').expect("a value");
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let pairs = labels.trim_end_matches('}').split("\",").filter(|pair| !pair.is_empty());
        let (names, values): (Vec<String>, Vec<String>) = pairs
            .map(|pair| {
                let (name, value) = pair.split_once("=\"").expect("a label");
                (name.to_owned(), value.trim_end_matches('"').to_owned())
            })
            .unzip();
        let metric = page
            .entry(name.to_owned())
            .or_insert_with(|| Metric { labels: names, series: Vec::new() });
        metric.series.push((values, value.parse().expect("a number")));
    }
    page
}
