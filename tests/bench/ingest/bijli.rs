//! Our own collector under the standard load: durable acks, over one connection a node.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use bijli_wire::UtcMillis;
use harness::site::Site;
use harness::{now, utc_ms};

use super::certificates::{Certificates, encrypt};
use super::h2::{Connection, head};
use super::load::{BATCH_SAMPLES, HUB, NODES, NodeLoad, node_load};
use super::report::{Row, Shape, Took, folder_bytes, micros, whole};
use super::send::{Line, Pace, Sent, send};
use crate::process::{cpu_ns, median, status_kb};

/// Batches prepared for each node; a run ends with them, or when its time is up.
const BATCHES: usize = 240;
const SECONDS: u64 = 25;

/// How the nodes send.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manner {
    name: &'static str,
    is_plain: bool,
    burst: usize,
    waiting: usize,
}

/// Nodes in step with time send one batch at a time; after an outage they send what they have.
pub(crate) const MANNERS: [Manner; 3] = [
    Manner { name: "bijli, mTLS, a batch at a time", is_plain: false, burst: 1, waiting: 40 },
    Manner { name: "bijli, mTLS, backlog, 8 at once", is_plain: false, burst: 8, waiting: 10 },
    Manner { name: "bijli, plain, a batch at a time", is_plain: true, burst: 1, waiting: 40 },
];

/// Every node's batches, made by as many threads as there are cores.
pub(crate) fn prepare() -> Vec<NodeLoad> {
    let start = i64::try_from(utc_ms() / 1_000 * 1_000).expect("now") - 30 * 60_000;
    let start = UtcMillis::new(start);
    std::thread::scope(|scope| {
        let make = |from: usize, to: usize| {
            let load = move |node| node_load(node, BATCHES, start);
            scope.spawn(move || (from..to).map(load).collect::<Vec<NodeLoad>>())
        };
        let halves = [make(0, NODES / 2), make(NODES / 2, NODES)];
        halves.into_iter().flat_map(|half| half.join().expect("batches were made")).collect()
    })
}

/// Bytes of a body, the median of all.
pub(crate) fn body_bytes(loads: &[NodeLoad]) -> u64 {
    let bodies = loads.iter().flat_map(|load| &load.bodies);
    median(bodies.map(|body| whole(body.len())).collect())
}

/// One run on a new collector.
pub(crate) fn measure(loads: &[NodeLoad], certificates: &Certificates, manner: Manner) -> Row {
    // Without a section for agents they come to the plain listener.
    let (section, agents) =
        if manner.is_plain { (String::new(), 0) } else { certificates.section() };
    let hub = format!("{section}[[hub]]\nid = \"{HUB}\"\ntitle = \"bench\"\n");
    let site = Site::start_with("15m", &hub);
    let pid = site.collector.pid();
    let head = head("POST", "/v1/batches");
    let connect = |(node, load)| {
        let stream: Box<dyn Stream> = if manner.is_plain {
            Box::new(connect(site.port))
        } else {
            Box::new(encrypt(connect(agents), certificates.node(node)))
        };
        NodeLine::open(stream, load, &head)
    };
    let lines: Vec<NodeLine> = loads.iter().enumerate().map(connect).collect();
    let journal = site.path("collector").join("journal");
    let (bytes_before, cpu_before) = (folder_bytes(&journal), cpu_ns(pid));
    let Manner { burst, waiting, .. } = manner;
    let start = now();
    let Sent { acks_us, load_ns } =
        send(lines, Pace { burst, waiting, time_max: Duration::from_secs(SECONDS) });
    let wall = start.elapsed();
    let acked_ns = cpu_ns(pid) - cpu_before;
    wait_until_booked(&site);
    let booked_ns = cpu_ns(pid) - cpu_before;
    Row {
        name: manner.name.to_owned(),
        shape: Shape { samples: whole(acks_us.len() * BATCH_SAMPLES), wall_us: micros(wall) },
        took: Took { acked_ns, settled_ns: Some(booked_ns), load_ns },
        disk_bytes: folder_bytes(&journal) - bytes_before,
        rss_kb: status_kb(pid, "VmRSS"),
        acks_us,
    }
}

/// Sends all that one node has to a plain collector.
pub(crate) fn send_plain(site: &Site, load: &NodeLoad) {
    let head = head("POST", "/v1/batches");
    let mut line = NodeLine::open(Box::new(connect(site.port)), load, &head);
    let sent = line.send(usize::MAX);
    (0..sent).for_each(|_| line.hear());
}

/// With or without TLS.
trait Stream: Read + Write + Send {}

impl<S: Read + Write + Send> Stream for S {}

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("connects");
    stream.set_nodelay(true).expect("a TCP option");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a TCP option");
    stream
}

/// One node's connection and what it still has to send.
struct NodeLine<'a> {
    connection: Connection<Box<dyn Stream>>,
    bodies: std::slice::Iter<'a, Vec<u8>>,
    head: &'a [u8],
}

impl<'a> NodeLine<'a> {
    fn open(stream: Box<dyn Stream>, load: &'a NodeLoad, head: &'a [u8]) -> Self {
        let mut connection = Connection::new(stream);
        let path = format!("/v1/schemas/{}", load.schema_id);
        connection.ask(&super::h2::head("PUT", &path), &load.schema);
        connection.flush();
        let answer = connection.answer();
        assert!(answer.is_ok, "schema: {}", String::from_utf8_lossy(&answer.body));
        Self { connection, bodies: load.bodies.iter(), head }
    }
}

impl Line for NodeLine<'_> {
    fn send(&mut self, burst: usize) -> usize {
        let mut sent = 0;
        for body in self.bodies.by_ref().take(burst) {
            self.connection.ask(self.head, body);
            sent += 1;
        }
        self.connection.flush();
        sent
    }

    fn hear(&mut self) {
        let answer = self.connection.answer();
        let is_ack = answer.body.windows(10).any(|word| word == b"\"accepted\"");
        assert!(answer.is_ok && is_ack, "batch: {}", String::from_utf8_lossy(&answer.body));
    }
}

/// The verdict on an allocation comes from the books, in their order: behind all that was acked.
pub(crate) fn wait_until_booked(site: &Site) {
    let body = format!(
        "{{\"id\":\"last\",\"hub\":\"{HUB}\",\"project\":\"bench\",\"who\":\"bench\",\"why\":\"the end\",\
         \"node\":\"{}\",\"from\":\"2026-01-01T00:00:00Z\",\"to\":\"2026-01-01T01:00:00Z\"}}",
        super::load::node_name(0)
    );
    let answer = harness::http::ask("PUT", site.port, "/v1/allocations/last", body.as_bytes())
        .expect("an answer");
    assert!(answer.status < 300, "{} {}", answer.status, answer.text());
}
