//! Peers that begin many requests and send their bodies slowly: they hold their own places, and
//! nobody else's.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bijli_collector::ingest::credits::patience_s;
use bijli_identity::client::{Learned, config};
use bijli_identity::{Files, Material};
use harness::eventually;
use harness::site::Site;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use crate::attack;
use crate::door::{assert_booked, assert_served};
use crate::sender::{HUB, Sender};

/// Of the collector, for all and for one connection without a name or one node with one.
const REQUESTS_MAX: u32 = 1_024;
const OF_ONE_MAX: u32 = 36;

type Tls = StreamOwned<ClientConnection, TcpStream>;

/// A node, as its certificate says.
struct Node(ClientConfig);

impl Node {
    fn new(folder: &Path) -> Self {
        let file = |name: &str| folder.join(name);
        let (certificate, key) = (file("certificate.pem"), file("key.pem"));
        let material: Material =
            Files { ca: file("ca.pem"), certificate, key }.load().expect("just made");
        let config = config(&material, &Arc::new(Learned::default())).expect("just made");
        Self((*config).clone())
    }

    fn connect(&self, port: u16, protocol: &[u8]) -> Tls {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("set");
        let mut config = self.0.clone();
        config.alpn_protocols = vec![protocol.to_vec()];
        let host = "127.0.0.1".try_into().expect("an address");
        let mut tls = ClientConnection::new(Arc::new(config), host).expect("configured well");
        while tls.is_handshaking() {
            tls.complete_io(&mut stream).expect("a handshake");
        }
        StreamOwned::new(tls, stream)
    }

    /// Status and `Retry-After` of a small request that is refused in any case.
    fn ask(&self, port: u16) -> (u16, Option<u16>) {
        let mut link = self.connect(port, b"http/1.1");
        let request = b"POST /v1/hello HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
            content-length: 2\r\n\r\n{}";
        link.write_all(request).expect("sent");
        let mut answer = Vec::new();
        // Not every server says goodbye in TLS too.
        let _ended = link.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer).to_ascii_lowercase();
        let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok());
        let asked = answer.lines().find_map(|line| line.strip_prefix("retry-after: "));
        (status.expect("a status"), asked.and_then(|seconds| seconds.parse().ok()))
    }
}

/// Goal: N5. Sixteen connections ask for all places of the collector and send no body: each gets
/// what one may have, and an honest sender is served.
#[test]
fn n5_slow_bodies_without_a_name_leave_places_to_others() {
    let mut site = Site::start(HUB);
    let mut sender = Sender::new(site.port);
    assert_served(&mut sender, "nobody else");
    let slow: Vec<TcpStream> = (0..16)
        .map(|_| {
            let mut stream = attack::polite(site.port).expect("a connection");
            stream.write_all(&attack::slow_bodies(REQUESTS_MAX / 16)).expect("sent");
            stream
        })
        .collect();
    // They are there before the honest one is.
    std::thread::sleep(Duration::from_millis(500));
    assert_served(&mut sender, "1,024 slow bodies");
    drop(slow);
    assert_served(&mut sender, "after them");
    assert_booked(&site, &sender);
    assert!(site.collector.is_running());
}

/// Goal: N4, N5. A node that holds as many requests as a node may is refused one more, on whatever
/// connection; another one is heard. Each of the refused is asked for a patience of its own.
#[test]
fn n4_n5_a_node_with_slow_bodies_is_refused_alone_and_with_a_patience_of_its_own() {
    let site = Site::start_tls(HUB);
    let (port, pki) = site.tls.as_ref().expect("with TLS");
    let node = |name: &str| Node::new(&pki.node("isb", name));
    assert_ne!(patience_s("slow-1"), patience_s("slow-2"), "else nothing is shown");
    let good = node("good");
    for name in ["slow-1", "slow-2"] {
        let slow = node(name);
        assert_eq!(slow.ask(*port), (400, None), "nothing else is wrong with it");
        let held: Vec<Tls> = (0..2)
            .map(|_| {
                let mut link = slow.connect(*port, b"h2");
                link.write_all(&attack::beginning()).expect("sent");
                link.write_all(&attack::slow_bodies(OF_ONE_MAX / 2)).expect("sent");
                link
            })
            .collect();
        let refused =
            eventually("a refusal", 10, || Some(slow.ask(*port)).filter(|told| told.0 == 429));
        assert_eq!(refused.1, Some(patience_s(name)), "{name}");
        assert_eq!(good.ask(*port), (400, None), "beside {name}");
        drop(held);
        eventually("a place again", 10, || (slow.ask(*port) == (400, None)).then_some(()));
    }
}
