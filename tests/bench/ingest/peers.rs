//! Debian's VictoriaMetrics, Prometheus and InfluxDB under the same load, each as its package
//! installs it, with its data in a temporary folder.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use harness::http::ask;
use harness::program::{Program, free_port};
use harness::stores::{influx, victoria};
use harness::{eventually, now, utc_ms};

use super::load::{BATCH_SAMPLES, NODES};
use super::report::{Row, Shape, Took, folder_bytes, micros, whole};
use super::send::{Line, Pace, Sent, send};
use super::text::{Encode, influx_lines, remote_write};
use crate::process::{cpu_ns, status_kb};

/// Connections, each with one request under way: enough to keep two cores busy.
const CONNECTIONS: usize = 32;
const SECONDS: u64 = 20;

/// Somebody else's store and the way in.
pub(crate) struct Peer {
    pub(crate) key: &'static str,
    pub(crate) name: &'static str,
    pub(crate) start: fn(&Path, u16) -> Command,
    pub(crate) ready: &'static str,
    /// Asked once before anything is sent.
    pub(crate) prepare: Option<&'static str>,
    pub(crate) path: &'static str,
    pub(crate) headers: &'static str,
    encode: Encode,
    /// Requests of each node, by how fast it is; the first is sent before the time runs.
    rounds: usize,
}

const SNAPPY: &str = "content-encoding: snappy\r\ncontent-type: application/x-protobuf\r\n\
                      x-prometheus-remote-write-version: 0.1.0\r\n";

pub(crate) const PEERS: [Peer; 4] = [
    Peer {
        key: "victoria",
        name: "VictoriaMetrics, remote write",
        start: victoria,
        ready: "/health",
        prepare: None,
        path: "/api/v1/write",
        headers: SNAPPY,
        encode: remote_write,
        rounds: 50,
    },
    Peer {
        key: "victoria",
        name: "VictoriaMetrics, Influx lines",
        start: victoria,
        ready: "/health",
        prepare: None,
        path: "/write",
        headers: "",
        encode: influx_lines,
        rounds: 40,
    },
    Peer {
        key: "prometheus",
        name: "Prometheus, remote write",
        start: prometheus,
        ready: "/-/ready",
        prepare: None,
        path: "/api/v1/write",
        headers: SNAPPY,
        encode: remote_write,
        rounds: 18,
    },
    Peer {
        key: "influx",
        name: "InfluxDB, lines",
        start: influx,
        ready: "/ping",
        prepare: Some("/query?q=CREATE%20DATABASE%20bench"),
        path: "/write?db=bench",
        headers: "",
        encode: influx_lines,
        rounds: 14,
    },
];

fn prometheus(folder: &Path, port: u16) -> Command {
    let config = folder.join("prometheus.yml");
    std::fs::write(&config, "global: {}\n").expect("written");
    let mut command = Command::new("prometheus");
    command.arg(format!("--config.file={}", config.display()));
    command.arg(format!("--storage.tsdb.path={}", folder.join("data").display()));
    command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
    command.arg("--web.enable-remote-write-receiver");
    command
}

/// One run on a new store.
pub(crate) fn measure(peer: &Peer) -> Row {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let port = free_port();
    let program =
        Program::start(&mut (peer.start)(folder.path(), port), &folder.path().join("log"));
    eventually(&format!("a ready {}", peer.name), 60, || {
        ask("GET", port, peer.ready, b"").filter(|answer| answer.status < 300)
    });
    if let Some(path) = peer.prepare {
        assert!(ask("POST", port, path, b"").is_some_and(|answer| answer.status == 200));
    }
    let start_ms = i64::try_from(utc_ms() / 1_000 * 1_000).expect("now") - 30 * 60_000;
    let requests = prepare(peer, start_ms);
    let new_line = |mine| HttpLine::open(port, peer, mine);
    let mut lines: Vec<HttpLine> = requests.into_iter().map(new_line).collect();
    // Every series is made known before the time runs, as schemas are. That takes a while, and
    // some of these servers close a connection that waits for so long.
    for line in &mut lines {
        line.stream = connect(port);
        for _ in 0..line.nodes {
            assert_eq!(line.send(1), 1);
            line.hear();
        }
    }
    for line in &mut lines {
        line.stream = connect(port);
    }
    let pace = Pace {
        burst: 1,
        waiting: CONNECTIONS / super::send::SENDERS - 1,
        time_max: Duration::from_secs(SECONDS),
    };
    let cpu_before = cpu_ns(program.pid());
    let start = now();
    let Sent { acks_us, load_ns } = send(lines, pace);
    let wall = start.elapsed();
    let acked_ns = cpu_ns(program.pid()) - cpu_before;
    Row {
        name: peer.name.to_owned(),
        shape: Shape { samples: whole(acks_us.len() * BATCH_SAMPLES), wall_us: micros(wall) },
        took: Took { acked_ns, settled_ns: None, load_ns },
        disk_bytes: folder_bytes(&folder.path().join("data")),
        rss_kb: status_kb(program.pid(), "VmRSS"),
        acks_us,
    }
}

/// By connection, the bodies of its nodes, round after round.
fn prepare(peer: &Peer, start_ms: i64) -> Vec<Vec<Vec<u8>>> {
    std::thread::scope(|scope| {
        let (encode, rounds) = (peer.encode, peer.rounds);
        let share = |connection: usize| {
            let nodes: Vec<usize> = (connection..NODES).step_by(CONNECTIONS).collect();
            scope.spawn(move || encode(&nodes, rounds, start_ms))
        };
        let shares: Vec<_> = (0..CONNECTIONS).map(share).collect();
        shares.into_iter().map(|share| share.join().expect("bodies were made")).collect()
    })
}

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("connects");
    stream.set_nodelay(true).expect("a TCP option");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a TCP option");
    stream
}

/// HTTP/1.1, kept alive.
struct HttpLine {
    stream: TcpStream,
    head: String,
    bodies: std::vec::IntoIter<Vec<u8>>,
    nodes: usize,
    heard: Vec<u8>,
}

impl HttpLine {
    fn open(port: u16, peer: &Peer, bodies: Vec<Vec<u8>>) -> Self {
        let stream = connect(port);
        let head = format!("POST {} HTTP/1.1\r\nhost: 127.0.0.1\r\n{}", peer.path, peer.headers);
        let nodes = bodies.len() / peer.rounds;
        Self { stream, head, bodies: bodies.into_iter(), nodes, heard: Vec::new() }
    }
}

impl Line for HttpLine {
    fn send(&mut self, burst: usize) -> usize {
        let mut sent = 0;
        for body in self.bodies.by_ref().take(burst) {
            let mut request = self.head.clone().into_bytes();
            request.extend(format!("content-length: {}\r\n\r\n", body.len()).into_bytes());
            request.extend_from_slice(&body);
            self.stream.write_all(&request).expect("sent");
            sent += 1;
        }
        sent
    }

    /// These servers answer 204 without a body.
    fn hear(&mut self) {
        let end = b"\r\n\r\n";
        loop {
            if let Some(at) = self.heard.windows(4).position(|bytes| bytes == end) {
                let is_ok = self.heard.starts_with(b"HTTP/1.1 204");
                assert!(is_ok, "{}", String::from_utf8_lossy(&self.heard));
                self.heard.drain(..at + 4);
                return;
            }
            let mut bytes = [0; 4_096];
            let read = self.stream.read(&mut bytes).expect("heard");
            assert!(read > 0, "the server hung up");
            self.heard.extend_from_slice(&bytes[..read]);
        }
    }
}
