//! What an acknowledgement is worth: one stream of samples, kill -9 at the same moments of it, and
//! how much of what was acknowledged is there afterwards. bijli and Debian's VictoriaMetrics,
//! Prometheus and InfluxDB, each as its package installs it.
//!
//! Every kill comes right after an ack, so what a store keeps only in its own memory is gone. A
//! killed process leaves the kernel's page cache alone: this is the mildest of crashes, and a
//! power cut (`tests/powercut.rs`) takes more.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use bijli_seglog::{Log, Options, RealDisk, RecordSeq};
use bijli_wire::batch::{Group, Series, Subject};
use bijli_wire::{
    Batch, BatchSeq, HubId, Matrix, Millis, NodeId, Quantity, Schema, SpoolEpoch, SubjectId,
    SubjectKind, UtcMillis, codec,
};
use harness::http::ask;
use harness::program::{Program, binary, free_port};
use harness::{eventually, now, utc_ms};

use crate::ingest::peers::{PEERS, Peer};
use crate::ingest::text::{field, label, sample};

/// A batch is so many series of so many rows, a second apart.
const SERIES: usize = 200;
const ROWS: usize = 5;
const BATCH_SAMPLES: u64 = 1_000;
const STREAM: Duration = Duration::from_secs(20);
/// Sent and counted before anything is killed, so that what is not found later was lost. (bijli's
/// journal is read when it has ended; there everything must be found.)
const COUNTED_BEFORE: u64 = 20;
const PACE: Duration = Duration::from_millis(20);
/// Moments of the stream at which the store is killed: once in its middle; or again and again,
/// as where the mains fail, and at its end.
const KILLS_MS: [&[u64]; 2] = [&[12_000], &[4_000, 9_500, 16_000, 20_000]];

/// A store under test.
struct Store {
    key: &'static str,
    name: &'static str,
    command: fn(&Path, u16) -> Command,
    ready: &'static str,
    /// Method, path and body of what is asked once at the begin.
    prepare: Option<(&'static str, String, Vec<u8>)>,
    path: &'static str,
    headers: &'static str,
    body: fn(u64, i64) -> Vec<u8>,
    /// Samples found, by batch.
    found: fn(&Path, u16, Stream) -> BTreeMap<u64, u64>,
}

/// What was sent.
#[derive(Clone, Copy, Debug)]
struct Stream {
    start_ms: i64,
    batches: u64,
}

pub(crate) fn run(which: Option<&str>) {
    println!("\n| store | acked samples | found | lost | lost of acked | kills |");
    println!("| --- | --- | --- | --- | --- | --- |");
    let stores = [bijli(), peer("victoria", 0), peer("prometheus", 0), peer("influx", 0)];
    for store in stores.iter().filter(|store| which.is_none_or(|key| key == store.key)) {
        for kills in KILLS_MS {
            measure(store, kills);
        }
    }
}

fn measure(store: &Store, kills_ms: &[u64]) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let port = free_port();
    let start = || {
        let mut command = (store.command)(folder.path(), port);
        let program = Program::start(&mut command, &folder.path().join("log"));
        eventually(&format!("a ready {}", store.name), 60, || {
            ask("GET", port, store.ready, b"").filter(|answer| answer.status < 300)
        });
        program
    };
    let mut program = start();
    if let Some((method, path, body)) = &store.prepare {
        let answer = ask(method, port, path, body).expect("an answer");
        assert!(answer.status < 300, "{}: {}", store.name, answer.text());
    }
    // On a whole minute, two hours ago: far from what a store holds for the present.
    let start_ms = i64::try_from(utc_ms() / 60_000 * 60_000).expect("now") - 7_200_000;
    let (mut lived, mut batches, mut kills) = (Duration::ZERO, 0, 0);
    while batches < COUNTED_BEFORE {
        eventually("an ack", 60, || post(store, port, &(store.body)(batches + 1, start_ms)));
        batches += 1;
    }
    let counts = || {
        let found = (store.found)(folder.path(), port, Stream { start_ms, batches });
        (found.values().sum::<u64>() == batches * BATCH_SAMPLES).then_some(())
    };
    if store.key != "bijli" {
        eventually(&format!("all of the first batches in {}", store.name), 60, counts);
    }
    while lived < STREAM {
        let begun = now();
        let body = (store.body)(batches + 1, start_ms);
        eventually("an ack", 60, || post(store, port, &body));
        batches += 1;
        std::thread::sleep(PACE.saturating_sub(begun.elapsed()));
        lived += begun.elapsed();
        let next = kills_ms.get(kills).copied().map(Duration::from_millis);
        if next.is_some_and(|next| next <= lived) {
            program.kill();
            kills += 1;
            program = start();
        }
    }
    let stream = Stream { start_ms, batches };
    let acked = batches * BATCH_SAMPLES;
    let found = settled(store, (folder.path(), port), stream, program);
    let lost = acked - found;
    println!(
        "| {} | {acked} | {found} | {lost} | {}.{} % | {kills} |",
        store.name,
        lost * 100 / acked,
        lost * 1_000 / acked % 10
    );
}

/// Counts until the count stands: some stores show what they have only after a while.
fn settled(store: &Store, (folder, port): (&Path, u16), stream: Stream, program: Program) -> u64 {
    let mut running = Some(program);
    let mut before = None;
    for _ in 0..10 {
        if store.key == "bijli" {
            // Its journal is read without it.
            running = None;
        }
        std::thread::sleep(Duration::from_secs(2));
        let found = (store.found)(folder, port, stream);
        let known = found.iter().filter(|(batch, _)| (1..=stream.batches).contains(*batch));
        let count: u64 = known.map(|(_, samples)| (*samples).min(BATCH_SAMPLES)).sum();
        if before == Some(count) {
            break;
        }
        before = Some(count);
    }
    drop(running);
    before.unwrap_or(0)
}

/// `None`: not acknowledged, for whatever reason; it is sent again.
fn post(store: &Store, port: u16, body: &[u8]) -> Option<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(30))).ok()?;
    let head = format!(
        "POST {} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{}content-length: {}\r\n\r\n",
        store.path,
        store.headers,
        body.len()
    );
    stream.write_all(&[head.as_bytes(), body].concat()).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let is_ack = answer.starts_with(b"HTTP/1.1 20");
    assert!(is_ack || answer.starts_with(b"HTTP/1.1 50"), "{}", String::from_utf8_lossy(&answer));
    is_ack.then_some(())
}

fn peer(key: &str, nth: usize) -> Store {
    let peer: &'static Peer = PEERS.iter().filter(|peer| peer.key == key).nth(nth).expect("known");
    let is_influx = key == "influx";
    Store {
        key: peer.key,
        name: peer.name,
        command: peer.start,
        ready: peer.ready,
        prepare: peer.prepare.map(|path| ("POST", path.to_owned(), Vec::new())),
        path: peer.path,
        headers: peer.headers,
        body: if is_influx { lines } else { remote_write },
        found: if is_influx { found_influx } else { found_prometheus },
    }
}

fn row_ms(batch: u64, row: usize, start_ms: i64) -> i64 {
    let rows = (usize::try_from(batch).expect("few") - 1) * ROWS + row + 1;
    start_ms + 1_000 * i64::try_from(rows).expect("few")
}

/// A value that differs from row to row and series to series.
fn value(batch: u64, row: usize, series: usize) -> i64 {
    i64::try_from(batch).expect("few") * 1_000 + i64::try_from(row * 37 + series).expect("few")
}

fn lines(batch: u64, start_ms: i64) -> Vec<u8> {
    let mut text = String::new();
    for row in 0..ROWS {
        let at = row_ms(batch, row, start_ms);
        for series in 0..SERIES {
            writeln!(text, "m,s={series} v={}i {at}000000", value(batch, row, series))
                .expect("to memory");
        }
    }
    text.into_bytes()
}

fn remote_write(batch: u64, start_ms: i64) -> Vec<u8> {
    let mut request = Vec::new();
    for series in 0..SERIES {
        let mut one = Vec::new();
        label(&mut one, "__name__", "m");
        label(&mut one, "s", &series.to_string());
        for row in 0..ROWS {
            sample(&mut one, value(batch, row, series), row_ms(batch, row, start_ms));
        }
        field(&mut request, 1, &one);
    }
    snap::raw::Encoder::new().compress_vec(&request).expect("a small message")
}

fn found_influx(_: &Path, port: u16, stream: Stream) -> BTreeMap<u64, u64> {
    let end = row_ms(stream.batches, ROWS, stream.start_ms);
    // Windows of five seconds that begin with a batch's first row.
    let query = format!(
        "SELECT count(v) FROM m WHERE time > {0}000000 AND time < {end}000000 \
         GROUP BY time(5s, 1s)",
        stream.start_ms
    );
    let path = format!("/query?db=bench&epoch=ms&q={}", escaped(&query));
    let answer = ask("GET", port, &path, b"").expect("an answer").json();
    let values = &answer["results"][0]["series"][0]["values"];
    let counts = values.as_array().cloned().unwrap_or_default();
    let by_batch = counts.iter().filter_map(|pair| {
        let at = pair[0].as_i64()? - stream.start_ms - 1_000;
        Some((u64::try_from(at / 5_000 + 1).ok()?, pair[1].as_u64()?))
    });
    by_batch.collect()
}

fn found_prometheus(_: &Path, port: u16, stream: Stream) -> BTreeMap<u64, u64> {
    let (first, last) = (stream.start_ms / 1_000 + 5, row_ms(stream.batches, 4, stream.start_ms));
    let query = escaped("sum(count_over_time(m[4500ms]))");
    let path = format!(
        "/api/v1/query_range?query={query}&start={first}&end={}&step=5&nocache=1",
        last / 1_000
    );
    let answer = ask("GET", port, &path, b"").expect("an answer").json();
    let values = &answer["data"]["result"][0]["values"];
    let counts = values.as_array().cloned().unwrap_or_default();
    let by_batch = counts.iter().filter_map(|pair| {
        let at = pair[0].as_i64()? - stream.start_ms / 1_000;
        Some((u64::try_from(at / 5).ok()?, pair[1].as_str()?.parse().ok()?))
    });
    by_batch.collect()
}

fn escaped(query: &str) -> String {
    let escape = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    query.bytes().map(escape).collect()
}

fn schema() -> Schema {
    let part = |series: usize| u32::try_from(series).expect("few");
    Schema {
        hub: HubId::new("bench").expect("valid"),
        node: NodeId::new("n1").expect("valid"),
        agent: "bench".into(),
        subjects: vec![Subject {
            id: SubjectId::new("n1").expect("valid"),
            kind: SubjectKind::Node,
            label: String::new(),
            model: String::new(),
            serial: String::new(),
            register: None,
        }],
        groups: vec![Group {
            cadence: Millis::new(1_000),
            series: (0..SERIES)
                .map(|series| Series::new(0, Quantity::PowerInstant, part(series)))
                .collect(),
        }],
    }
}

fn batch(number: u64, start_ms: i64) -> Vec<u8> {
    let (schema_id, _) = codec::encode_schema(&schema()).expect("encodes");
    let column = |series| (0..ROWS).map(|row| Some(value(number, row, series))).collect();
    let batch = Batch {
        hub: HubId::new("bench").expect("valid"),
        node: NodeId::new("n1").expect("valid"),
        epoch: SpoolEpoch::new([1; 16]),
        sequence: BatchSeq::new(number).expect("from 1"),
        schema: schema_id,
        created: UtcMillis::new(start_ms),
        uptime: None,
        matrices: vec![Matrix {
            group: 0,
            times: (0..ROWS).map(|row| UtcMillis::new(row_ms(number, row, start_ms))).collect(),
            columns: (0..SERIES).map(column).collect(),
        }],
        events: Vec::new(),
        holds: Vec::new(),
    };
    codec::encode_batch(&batch).expect("encodes")
}

fn bijli() -> Store {
    let (id, body) = codec::encode_schema(&schema()).expect("encodes");
    Store {
        key: "bijli",
        name: "bijli",
        command: collector,
        ready: "/readyz",
        prepare: Some(("PUT", format!("/v1/schemas/{id}"), body)),
        path: "/v1/batches",
        headers: "",
        body: batch,
        found: found_bijli,
    }
}

/// A collector with a hub of its own.
fn collector(folder: &Path, port: u16) -> Command {
    let config = folder.join("collector.toml");
    let data = folder.join("data");
    let text = format!(
        "listen = \"127.0.0.1:{port}\"\ndir = \"{}\"\ndisk_reserve = \"1 MiB\"\n[[hub]]\n\
                 id = \"bench\"\n",
        data.display()
    );
    std::fs::write(&config, text).expect("written");
    let mut command = Command::new(binary("bijli-collector"));
    command.arg("serve").arg("--config").arg(config);
    command
}

/// Reads the journal: a batch counts if its very bytes are there.
fn found_bijli(folder: &Path, _: u16, stream: Stream) -> BTreeMap<u64, u64> {
    let options = Options::new(64 << 20, 2 << 20).expect("valid");
    let journal = folder.join("data/journal");
    let (log, _) = Log::open(RealDisk, &journal, options).expect("opens");
    let sent: BTreeMap<Vec<u8>, u64> =
        (1..=stream.batches).map(|number| (batch(number, stream.start_ms), number)).collect();
    let records = log.read_from(RecordSeq::FIRST).filter_map(Result::ok);
    // Kind 2, the receive time, the body.
    let bodies = records.filter_map(|(_, record)| record.get(9..).map(<[u8]>::to_vec));
    let numbers = bodies.filter_map(|body| sent.get(&body).copied());
    numbers.map(|number| (number, BATCH_SAMPLES)).collect()
}
