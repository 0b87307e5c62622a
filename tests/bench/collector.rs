//! The collector under load: CPU per million samples with durable acks, and how long an ack takes.
//!
//! The simulated hub's batches are made beforehand, so that only the collector's work is timed.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::time::Duration;

use bijli_fleet::{Feed, Fleet, FleetSpec};
use bijli_wire::{SpoolEpoch, UtcMillis, codec};
use harness::site::Site;
use harness::{eventually, now, utc_ms};

use crate::process::{cpu_ns, status_kb, thousandths};

/// A hub of this many nodes, this many seconds of its life, in batches of 5 s.
const NODES: u32 = 64;
const SECONDS: usize = 600;
const CONNECTIONS: usize = 8;

struct Load {
    schemas: Vec<(String, Vec<u8>)>,
    /// Per sender, in sequence order.
    bodies: Vec<Vec<Vec<u8>>>,
    samples: usize,
    diagram: String,
}

pub(crate) fn run() {
    let load = prepare();
    let bytes: usize = load.bodies.iter().flatten().map(Vec::len).sum();
    let batches: usize = load.bodies.iter().map(Vec::len).sum();
    let site = Site::start(&load.diagram);
    let pid = site.collector.pid();
    let before = cpu_ns(pid);
    let start = now();
    let acks_us = send(&load, site.port);
    let wall = start.elapsed();
    let acked_cpu = cpu_ns(pid) - before;
    wait_until_booked(&site);
    let booked_cpu = cpu_ns(pid) - before;
    report(&load, batches, bytes, acks_us, wall);
    let per_million = |ns: u64| thousandths(ns / whole(load.samples));
    println!("| CPU per million samples, until the last ack | {} s |", per_million(acked_cpu));
    println!("| CPU per million samples, until booked | {} s |", per_million(booked_cpu));
    println!("| RSS after | {} kB |", status_kb(pid, "VmRSS"));
    restart(site);
}

fn prepare() -> Load {
    let minutes_ago = |m: u128| i64::try_from(utc_ms() / 1_000 * 1_000 - m * 60_000).expect("now");
    let mut spec = FleetSpec::demo(UtcMillis::new(minutes_ago(30)));
    spec.nodes = NODES;
    let mut fleet = Fleet::new(spec).expect("a fleet");
    let count = fleet.senders().len();
    let epoch = |sender: usize| SpoolEpoch::new([u8::try_from(sender).expect("few"); 16]);
    let mut feeds: Vec<Feed> = (0..count)
        .map(|sender| Feed::new(&fleet, sender, epoch(sender), 5).expect("a feed"))
        .collect();
    let mut bodies = vec![Vec::new(); count];
    let mut samples = 0;
    for second in 0..=SECONDS {
        if second > 0 {
            fleet.step();
        }
        for (feed, bodies) in feeds.iter_mut().zip(&mut bodies) {
            if let Some(batch) = feed.take(&fleet) {
                samples += batch.readings();
                bodies.push(codec::encode_batch(&batch).expect("encodes"));
            }
        }
    }
    let schemas = fleet.senders().iter();
    let schemas = schemas.map(|one| (one.schema_id.to_string(), one.schema_body.clone())).collect();
    Load { schemas, bodies, samples, diagram: fleet.diagram_toml() }
}

/// Every connection carries its senders' batches one after another; answers must be 200.
fn send(load: &Load, port: u16) -> Vec<u64> {
    let all = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for connection in 0..CONNECTIONS {
            let all = &all;
            scope.spawn(move || {
                let mut client = Client::connect(port);
                let mut acks_us = Vec::new();
                for (id, body) in load.schemas.iter().skip(connection).step_by(CONNECTIONS) {
                    client.ask("PUT", &format!("/v1/schemas/{id}"), body);
                }
                let longest = load.bodies.iter().map(Vec::len).max().unwrap_or(0);
                for round in 0..longest {
                    let mine = load.bodies.iter().skip(connection).step_by(CONNECTIONS);
                    for body in mine.filter_map(|bodies| bodies.get(round)) {
                        let start = now();
                        client.ask("POST", "/v1/batches", body);
                        acks_us.push(micros(start.elapsed()));
                    }
                }
                all.lock().expect("no thread failed").extend(acks_us);
            });
        }
    });
    all.into_inner().expect("no thread failed")
}

struct Client {
    stream: TcpStream,
    reader: BufReader<TcpStream>,
}

impl Client {
    fn connect(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("connects");
        stream.set_nodelay(true).expect("a TCP option");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a TCP option");
        let reader = BufReader::new(stream.try_clone().expect("a second handle"));
        Self { stream, reader }
    }

    fn ask(&mut self, method: &str, path: &str, body: &[u8]) {
        let mut request = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        request.extend_from_slice(body);
        self.stream.write_all(&request).expect("sent");
        let mut line = String::new();
        self.reader.read_line(&mut line).expect("a status line");
        let status = line.clone();
        let mut length = 0;
        loop {
            line.clear();
            self.reader.read_line(&mut line).expect("a header");
            let lower = line.to_ascii_lowercase();
            if let Some(value) = lower.strip_prefix("content-length:") {
                length = value.trim().parse().expect("a length");
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut answer = vec![0; length];
        self.reader.read_exact(&mut answer).expect("a body");
        let text = String::from_utf8_lossy(&answer);
        assert!(status.contains(" 20"), "{method} {path}: {status}{text}");
    }
}

fn wait_until_booked(site: &Site) {
    eventually("all nodes' readings in the books", 120, || {
        let hub = site.json("/v1/hubs/sim-lahore/pue");
        hub.get("pue").is_some_and(serde_json::Value::is_object).then_some(())
    });
}

fn report(load: &Load, batches: usize, bytes: usize, mut acks_us: Vec<u64>, wall: Duration) {
    acks_us.sort_unstable();
    let at = |percent: usize| *acks_us.get(acks_us.len() * percent / 100).expect("acks came");
    let samples = whole(load.samples);
    println!("\n| collector, {NODES} nodes x 8 GPUs, {SECONDS} s of 1 Hz, batches of 5 s | |");
    println!("| --- | --- |");
    println!("| samples, batches | {samples}, {batches} |");
    println!("| bytes per sample on the wire | {} |", thousandths(whole(bytes) * 1_000 / samples));
    let per_second = samples * 1_000_000 / micros(wall).max(1);
    println!("| samples per second, acked durably | {per_second} |");
    println!("| ack p50 / p99 | {} / {} ms |", thousandths(at(50)), thousandths(at(99)));
}

/// How long a restart replays what was just written.
fn restart(mut site: Site) {
    site.collector.kill();
    let start = now();
    site.restart();
    let took = micros(start.elapsed()) / 1_000;
    println!("| restart: replay of all of it | {} s |", thousandths(took));
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).expect("a short time")
}

fn whole(count: usize) -> u64 {
    u64::try_from(count).expect("64 bits")
}
