//! A real collector on a real loopback socket, told the truth and lies.

mod page;
mod retired;
mod typed;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;

use bijli_wire::hello::Span;
use bijli_wire::{
    Ack, AckVerdict, Batch, BatchSeq, BootId, ErrorBody, ErrorCode, Greeting, Hello, HubId, Matrix,
    Millis, NodeId, SchemaId, SpoolEpoch, SubjectId, Uptime, UtcMillis, Welcome, codec, limits,
};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};

use crate::clock::Clock;
use crate::collector::{Collector, block_on, start};
use crate::config::{Config, Overrides};
use crate::replay;
use crate::testing::schema;

const HUB: &str = "[[hub]]\nid = \"isb\"\n";

fn config(folder: &Path) -> Config {
    let path = folder.join("collector.toml");
    let text = format!(
        "listen = \"127.0.0.1:0\"\ndir = {:?}\ninterval = \"10s\"\nclose_after = \"1s\"\n\
         disk_reserve = \"1 MiB\"\n{HUB}",
        folder.join("data")
    );
    crate::disk::write_text(&path, &text).expect("written");
    Config::load(&path, &Overrides::default()).expect("valid")
}

async fn ready(folder: &Path) -> Collector {
    let collector = start(config(folder), None).await.expect("listens");
    assert!(collector.ready().await, "the journal opens");
    collector
}

/// Ten seconds of 100 W, counted from the sequence, from `begin` on.
fn batch(id: SchemaId, sequence: u64, begin: UtcMillis) -> Batch {
    let first = (i64::try_from(sequence).expect("small") - 1) * 10;
    let rows = first..first + 10;
    let times = rows.clone().map(|row| UtcMillis::new(begin.get() + row * 1_000)).collect();
    let column = rows.map(|row| Some(row * 100_000)).collect();
    Batch {
        hub: HubId::new("isb").expect("valid"),
        node: NodeId::new("n01").expect("valid"),
        epoch: SpoolEpoch::new([3; 16]),
        sequence: BatchSeq::new(sequence).expect("from 1"),
        schema: id,
        created: begin,
        uptime: None,
        matrices: vec![Matrix { group: 0, times, columns: vec![column] }],
        events: Vec::new(),
        holds: Vec::new(),
    }
}

fn a_minute_ago() -> UtcMillis {
    UtcMillis::new(Clock.now().get() - 120_000)
}

/// Sends raw bytes and reads to the end.
fn raw(address: SocketAddr, bytes: &[u8]) -> (u16, Vec<u8>) {
    let mut stream = TcpStream::connect(address).expect("listens");
    // The collector may refuse before it has read everything.
    let _sent = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _closed = stream.read_to_end(&mut answer);
    let text = String::from_utf8_lossy(&answer);
    let status = text.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    let end = text.find("\r\n\r\n").expect("a head");
    (status, answer[end + 4..].to_vec())
}

fn ask(address: SocketAddr, method: &str, path: &str, body: &[u8]) -> (u16, Vec<u8>) {
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    raw(address, &[head.as_bytes(), body].concat())
}

fn refused(answer: &(u16, Vec<u8>)) -> ErrorCode {
    let body: ErrorBody = serde_json::from_slice(&answer.1)
        .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&answer.1)));
    assert_eq!(body.error.is_retryable, body.error.code.is_retryable());
    assert_eq!(answer.0, body.error.code.http_status());
    body.error.code
}

fn acked(answer: &(u16, Vec<u8>), body: &[u8], sequence: u64) -> AckVerdict {
    assert_eq!(answer.0, 200, "{}", String::from_utf8_lossy(&answer.1));
    let ack: Ack = serde_json::from_slice(&answer.1).expect("an ack");
    let seq = BatchSeq::new(sequence).expect("from 1");
    assert!(ack.names(SpoolEpoch::new([3; 16]), seq, codec::hash(body)));
    ack.verdict
}

/// Runs a test's blocking part beside the collector.
fn with_collector(test: impl FnOnce(SocketAddr) + Send + 'static) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    with_collector_in(folder.path(), test);
    folder
}

fn with_collector_in<T: Send + 'static>(
    folder: &Path,
    test: impl FnOnce(SocketAddr) -> T + Send + 'static,
) -> T {
    let done = block_on(async {
        let collector = ready(folder).await;
        let address = collector.address;
        let tested = tokio::task::spawn_blocking(move || test(address)).await;
        collector.stop().await.expect("stops");
        tested
    });
    done.expect("a runtime").unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
}

fn taught(address: SocketAddr) -> SchemaId {
    let (id, body) = codec::encode_schema(&schema()).expect("encodes");
    let (status, answer) = ask(address, "PUT", &format!("/v1/schemas/{id}"), &body);
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&answer));
    id
}

fn encoded(batch: &Batch) -> Vec<u8> {
    codec::encode_batch(batch).expect("encodes")
}

#[test]
fn n1_a_batch_is_taken_once_and_acked_as_often_as_it_comes() {
    with_collector(|address| {
        let begin = a_minute_ago();
        let id = taught(address);
        let body = encoded(&batch(id, 1, begin));
        let send = |body: &[u8]| ask(address, "POST", "/v1/batches", body);
        assert_eq!(acked(&send(&body), &body, 1), AckVerdict::Accepted);
        assert_eq!(acked(&send(&body), &body, 1), AckVerdict::Duplicate);
        let other = encoded(&batch(id, 1, UtcMillis::new(begin.get() + 1)));
        assert_eq!(refused(&send(&other)), ErrorCode::IdentityFork);
        let ahead = encoded(&batch(id, 200, UtcMillis::new(begin.get() - 3_000_000)));
        assert_eq!(refused(&send(&ahead)), ErrorCode::SequenceGap);
        let metrics = String::from_utf8(ask(address, "GET", "/metrics", b"").1).expect("text");
        for line in [
            "bijli_collector_batches_total{outcome=\"accepted\"} 1",
            "bijli_collector_batches_total{outcome=\"duplicate\"} 1",
            "bijli_collector_batches_total{outcome=\"rejected\"} 2",
            "bijli_collector_identity_forks_total 1",
        ] {
            assert!(metrics.contains(line), "{line} in {metrics}");
        }
    });
}

#[test]
fn x4_lies_are_refused_with_their_code() {
    with_collector(|address| {
        let id = taught(address);
        let now = Clock.now().get();
        let send = |body: &[u8]| refused(&ask(address, "POST", "/v1/batches", body));
        let bomb = zstd_bomb();
        assert!(bomb.len() < limits::BODY_BYTES_MAX);
        let mut foreign = batch(id, 1, a_minute_ago());
        foreign.hub = HubId::new("lahore").expect("valid");
        let mut untaught = batch(id, 1, a_minute_ago());
        untaught.schema = SchemaId::new([9; 32]);
        for (body, code) in [
            (b"no batch at all".to_vec(), ErrorCode::MalformedBody),
            (Vec::new(), ErrorCode::MalformedBody),
            (bomb, ErrorCode::BodyTooLarge),
            (vec![0; limits::BODY_BYTES_MAX + 1], ErrorCode::BodyTooLarge),
            (encoded(&batch(id, 1, UtcMillis::new(now + 400_000))), ErrorCode::FromTheFuture),
            (encoded(&batch(id, 1, UtcMillis::new(1_000_000))), ErrorCode::FromThePast),
            (encoded(&foreign), ErrorCode::UnknownHub),
            (encoded(&untaught), ErrorCode::UnknownSchema),
        ] {
            assert_eq!(send(&body), code);
        }
        // After all this it still takes a true one.
        let body = encoded(&batch(id, 1, a_minute_ago()));
        let answer = ask(address, "POST", "/v1/batches", &body);
        assert_eq!(acked(&answer, &body, 1), AckVerdict::Accepted);
    });
}

/// 64 MiB of zeros in few bytes.
fn zstd_bomb() -> Vec<u8> {
    // One zstd frame of run-length blocks: magic, a window of 8 MiB, then blocks of 128 KiB each.
    let mut bomb = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x68];
    let block = |is_last: u32| {
        let header = is_last | (1 << 1) | ((128 << 10) << 3);
        let [first, second, third, _] = header.to_le_bytes();
        [first, second, third, 0]
    };
    for _ in 0..511 {
        bomb.extend(block(0));
    }
    bomb.extend(block(1));
    bomb
}

#[test]
fn every_refusal_has_the_one_shape() {
    with_collector(|address| {
        for (method, path, code) in [
            ("GET", "/nothing/here", ErrorCode::NotFound),
            ("DELETE", "/v1/batches", ErrorCode::MethodNotAllowed),
            ("PUT", "/v1/schemas/abc", ErrorCode::InvalidRequest),
            ("PUT", "/v1/schemas/%ff", ErrorCode::InvalidRequest),
            ("PUT", "/v1/allocations", ErrorCode::InvalidRequest),
            ("DELETE", "/v1/allocations/none", ErrorCode::NotFound),
            ("GET", "/v1/allocations?hub=nowhere", ErrorCode::UnknownHub),
            ("GET", "/v1/allocations?hbu=isb", ErrorCode::InvalidRequest),
            ("GET", "/v1/allocations?hub=isb&hub=isb", ErrorCode::InvalidRequest),
            // Read as "now", a misspelt moment would end it at the wrong time, for ever.
            ("DELETE", "/v1/allocations/a?att=2026-08-01T10:00:00Z", ErrorCode::InvalidRequest),
        ] {
            assert_eq!(refused(&ask(address, method, path, b"{")), code, "{method} {path}");
        }
        let chunked = b"POST /v1/batches HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
            transfer-encoding: chunked\r\n\r\n";
        let mut endless = chunked.to_vec();
        for _ in 0..20 {
            endless.extend_from_slice(b"10000\r\n");
            endless.resize(endless.len() + 0x10000, 0);
            endless.extend_from_slice(b"\r\n");
        }
        assert_eq!(refused(&raw(address, &endless)), ErrorCode::BodyTooLarge);
        assert_eq!(ask(address, "GET", "/healthz", b"").0, 200);
        assert_eq!(ask(address, "GET", "/readyz", b"").0, 200);
    });
}

#[test]
fn allocations_are_idempotent_and_overlaps_are_told_in_words() {
    with_collector(|address| {
        let put = |id: &str, project: &str| {
            let json = format!(
                "{{\"project\":\"{project}\",\"node\":\"n01\",\"who\":\"t\",\"why\":\"t\",\
                 \"from\":\"2026-08-01T09:00:00+05:00\"}}"
            );
            ask(address, "PUT", &format!("/v1/allocations/{id}"), json.as_bytes())
        };
        let text = |answer: (u16, Vec<u8>)| (answer.0, String::from_utf8(answer.1).expect("text"));
        assert!(text(put("a", "climate")).1.contains("\"verdict\":\"new\""));
        assert!(text(put("a", "climate")).1.contains("\"verdict\":\"unchanged\""));
        let overlap = put("b", "nlp");
        assert_eq!(refused(&overlap), ErrorCode::Conflict);
        assert!(text(overlap).1.contains("held by project climate"));
        let end = "/v1/allocations/a?at=2026-08-01T10:00:00%2B05:00";
        assert!(text(ask(address, "DELETE", end, b"")).1.contains("\"verdict\":\"ended\""));
        let (status, list) = text(ask(address, "GET", "/v1/allocations", b""));
        assert_eq!(status, 200);
        assert!(list.contains("\"to\":\"2026-08-01T05:00:00Z\""), "{list}");
    });
}

/// Goal: a calibration that a person signed is in the books at once, is refused in words when two
/// claim one GPU, and stands the same after a restart.
#[test]
fn calibrations_are_idempotent_and_one_at_a_time() {
    let folder = tempfile::tempdir().expect("a folder");
    let put = |address, id: &str, from: &str, ppm: u32| {
        let json = format!(
            "{{\"devices\":[\"GPU-1\"],\"gain_ppm\":{ppm},\"doubt_ppm\":7200,\"from\":\"{from}\",\
             \"who\":\"A. Khan\",\"why\":\"yearly\",\"reference\":\"pdu-a3\",\"steps\":[]}}"
        );
        ask(address, "PUT", &format!("/v1/calibrations/{id}"), json.as_bytes())
    };
    let text = |answer: (u16, Vec<u8>)| String::from_utf8(answer.1).expect("text");
    let listed = move |address| text(ask(address, "GET", "/v1/calibrations?hub=isb", b""));
    let held = with_collector_in(folder.path(), move |address| {
        let (march, april) = ("2026-03-01T00:00:00Z", "2026-04-01T00:00:00+05:00");
        assert!(text(put(address, "c1", march, 1_013_400)).contains("\"verdict\":\"new\""));
        assert!(text(put(address, "c1", march, 1_013_400)).contains("\"unchanged\""));
        assert!(text(put(address, "c1", march, 1_013_500)).contains("\"replaced\""));
        let rival = put(address, "c2", april, 990_000);
        assert_eq!(refused(&rival), ErrorCode::Conflict);
        assert!(text(rival).contains("has calibration \\\"c1\\\" at that time"));
        let absurd = put(address, "c3", march, 1);
        assert_eq!(refused(&absurd), ErrorCode::InvalidRequest);
        assert!(text(absurd).contains("no calibration, a defect"));
        listed(address)
    });
    assert!(held.contains("\"gain_ppm\":1013500"), "{held}");
    let again = with_collector_in(folder.path(), listed);
    assert_eq!(again, held);
}

/// Goal: over cleartext HTTP/2, out of order, then a restart and an offline replay: one history.
#[test]
fn h2_out_of_order_and_a_restart_give_the_books_of_a_replay() {
    let folder = tempfile::tempdir().expect("a folder");
    let begin = a_minute_ago();
    let first = block_on(async {
        let collector = ready(folder.path()).await;
        let address = collector.address;
        let id = tokio::task::spawn_blocking(move || taught(address)).await.expect("taught");
        let stream = tokio::net::TcpStream::connect(address).await.expect("listens");
        let io = TokioIo::new(stream);
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.expect("h2");
        let connection = tokio::spawn(connection);
        for sequence in [3, 1, 2, 5, 4, 3] {
            let body = Bytes::from(encoded(&batch(id, sequence, begin)));
            let request = hyper::Request::post(format!("http://{address}/v1/batches"))
                .body(Full::new(body.clone()))
                .expect("a request");
            let answer = sender.send_request(request).await.expect("answered");
            let status = answer.status().as_u16();
            let bytes = answer.into_body().collect().await.expect("whole").to_bytes();
            acked(&(status, bytes.to_vec()), &body, sequence);
        }
        drop(sender);
        connection.abort();
        collector.stop().await
    });
    first.expect("a runtime").expect("stops");
    let digest = || replay::offline(&folder.path().join("data")).expect("replays");
    let before = digest();
    let hub = &before.hubs[0];
    assert_eq!((hub.imbalance_mj.as_str(), before.frames_unusable.as_str()), ("0", "0"));
    // 49 s of 100 W; what lies in the interval that is still open is not in the books yet.
    let restarted = block_on(async {
        let collector = ready(folder.path()).await;
        let hub = collector.state.hub(&HubId::new("isb").expect("valid")).expect("a hub");
        let gpu = SubjectId::new("GPU-1").expect("valid");
        let booked = hub.books().subject(&gpu).map(|subject| subject.booked.total());
        let digest = replay::digest(&collector.state);
        collector.stop().await.map(|()| (booked, digest))
    });
    let (booked, digest_of_restart) = restarted.expect("a runtime").expect("stops");
    assert_eq!(booked, Some(4_900_000), "every batch once, in order");
    assert_eq!(digest_of_restart.sha256, before.sha256);
    assert_eq!(digest(), before);
}

#[test]
fn a_start_without_space_says_what_to_do() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = config(folder.path());
    config.reserve_bytes = u64::MAX;
    let refused = block_on(async {
        let collector = start(config, None).await.expect("listens");
        assert!(!collector.ready().await);
        collector.stop().await
    });
    let words = refused.expect("a runtime").expect_err("refused").to_string();
    assert!(words.contains("write a smaller disk_reserve"), "{words}");
}

#[test]
fn other_rules_than_the_journals_are_refused() {
    let folder = with_collector(|_| {});
    let mut changed = config(folder.path());
    changed.rules.interval = Millis::new(20_000);
    let refused = block_on(async {
        let collector = start(changed, None).await.expect("listens");
        assert!(!collector.ready().await);
        collector.stop().await
    });
    let words = refused.expect("a runtime").expect_err("refused").to_string();
    assert!(words.contains("begun with interval 10000 ms"), "{words}");
}

fn hello(oldest: u64, next: u64) -> Hello {
    let seq = |n| BatchSeq::new(n).expect("from 1");
    let greeting = Greeting {
        hub: HubId::new("isb").expect("valid"),
        node: NodeId::new("n01").expect("valid"),
        epoch: SpoolEpoch::new([3; 16]),
        span: Span { oldest: seq(oldest), next: seq(next) },
    };
    Hello::new(&greeting, Clock.now())
}

fn greeted(address: SocketAddr, hello: &Hello) -> u64 {
    let body = serde_json::to_vec(hello).expect("encodes");
    let (status, answer) = ask(address, "POST", "/v1/hello", &body);
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&answer));
    let welcome: Welcome = serde_json::from_slice(&answer).expect("a welcome");
    assert!((1..=16).contains(&welcome.credits.expect("told")));
    welcome.reached(SpoolEpoch::new([3; 16])).expect("the same epoch").contiguous
}

fn sent(address: SocketAddr, id: SchemaId, sequence: u64, begin: UtcMillis) -> AckVerdict {
    let body = codec::encode_batch(&batch(id, sequence, begin)).expect("encodes");
    acked(&ask(address, "POST", "/v1/batches", &body), &body, sequence)
}

/// Goal: C10, C11. Each side learns how far the other is, and what will never come is not
/// awaited, before and after a restart.
#[test]
fn c10_a_hello_tells_what_is_there_and_journals_what_will_never_come() {
    let begin = a_minute_ago();
    let folder = with_collector(move |address| {
        assert_eq!(greeted(address, &hello(1, 1)), 0);
        let id = taught(address);
        for sequence in [1, 2, 4, 9] {
            assert_eq!(sent(address, id, sequence, begin), AckVerdict::Accepted);
        }
        assert_eq!(greeted(address, &hello(1, 10)), 2);
        assert_eq!(greeted(address, &hello(3, 10)), 2, "the third may still come");
        assert_eq!(greeted(address, &hello(4, 10)), 4, "it will not");
        assert_eq!(greeted(address, &hello(4, 10)), 4, "and is not journalled again");
        assert_eq!(greeted(address, &hello(8, 10)), 7);
        assert_eq!(sent(address, id, 8, begin), AckVerdict::Accepted);
        assert_eq!(greeted(address, &hello(8, 10)), 9);
        let (_, events) = ask(address, "GET", "/v1/hubs/isb/events", b"");
        let events = String::from_utf8_lossy(&events).into_owned();
        assert!(events.contains("sequences_floored"), "{events}");
        let (_, metrics) = ask(address, "GET", "/metrics", b"");
        let metrics = String::from_utf8_lossy(&metrics).into_owned();
        assert!(metrics.contains("bijli_collector_sequence_floors_total 2"), "{metrics}");
    });
    let first = replay::offline(&folder.path().join("data")).expect("a journal");
    block_on(async {
        let collector = ready(folder.path()).await;
        let address = collector.address;
        let asked = tokio::task::spawn_blocking(move || greeted(address, &hello(8, 10)));
        assert_eq!(asked.await.expect("asked"), 9, "a replay knows the same");
        collector.stop().await.expect("stops");
    })
    .expect("a runtime");
    let second = replay::offline(&folder.path().join("data")).expect("a journal");
    assert_eq!((first.sha256, first.frames), (second.sha256, second.frames));
}

#[test]
fn a_hello_that_is_none_is_refused() {
    with_collector(|address| {
        let refuse = |hello: &Hello| {
            let body = serde_json::to_vec(hello).expect("encodes");
            refused(&ask(address, "POST", "/v1/hello", &body))
        };
        assert_eq!(refused(&ask(address, "POST", "/v1/hello", b"{}")), ErrorCode::InvalidRequest);
        let elsewhere = Hello { hub: "khi".to_owned(), ..hello(1, 1) };
        assert_eq!(refuse(&elsewhere), ErrorCode::UnknownHub);
        let backwards = Hello { next: "3".to_owned(), ..hello(4, 9) };
        assert_eq!(refuse(&backwards), ErrorCode::InvalidRequest);
    });
}

/// Goal: A9. A clone with a life of its own is held, and people hear of it.
#[test]
fn a9_a_spool_that_lives_on_beside_a_newer_one_is_held() {
    with_collector(|address| {
        let id = taught(address);
        let begin = a_minute_ago();
        assert_eq!(sent(address, id, 1, begin), AckVerdict::Accepted);
        let newer = Batch { epoch: SpoolEpoch::new([4; 16]), ..batch(id, 1, begin) };
        let body = codec::encode_batch(&newer).expect("encodes");
        assert_eq!(ask(address, "POST", "/v1/batches", &body).0, 200);
        // Left over in the elder spool, and made long after the newer one began.
        assert_eq!(sent(address, id, 2, begin), AckVerdict::Accepted);
        let later = UtcMillis::new(Clock.now().get() + 1_200_000);
        let clone = Batch { created: later, ..batch(id, 3, begin) };
        let body = codec::encode_batch(&clone).expect("encodes");
        let answer = ask(address, "POST", "/v1/batches", &body);
        assert_eq!(refused(&answer), ErrorCode::IdentityContested);
        let (_, events) = ask(address, "GET", "/v1/hubs/isb/events", b"");
        assert!(String::from_utf8_lossy(&events).contains("identity_forked"));
        let (_, metrics) = ask(address, "GET", "/metrics", b"");
        let counted = "bijli_collector_identity_contests_total 1";
        assert!(String::from_utf8_lossy(&metrics).contains(counted));
    });
}

/// Goal: N4. Live data goes first: the newest batch is seen while elder ones still wait, and is
/// booked in its turn.
#[test]
fn n4_the_newest_batch_is_shown_before_its_turn_and_not_booked() {
    let folder = with_collector(|address| {
        let id = taught(address);
        let begin = a_minute_ago();
        let newest = codec::encode_batch(&batch(id, 5, begin)).expect("encodes");
        assert_eq!(ask(address, "POST", "/v1/live", &newest).0, 202, "a stranger is not shown");
        assert_eq!(sent(address, id, 1, begin), AckVerdict::Accepted);
        let shown = || {
            let (_, text) = ask(address, "GET", "/v1/hubs/isb/nodes/n01", b"");
            String::from_utf8_lossy(&text).into_owned()
        };
        for _ in 0..200 {
            if shown().contains("900000") {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        assert!(shown().contains("900000"), "the first is booked: {}", shown());
        assert_eq!(ask(address, "POST", "/v1/live", &newest).0, 202);
        assert!(shown().contains("4900000"), "{}", shown());
        assert_eq!(greeted(address, &hello(1, 6)), 1, "it is not in the journal");
        for sequence in [2, 3, 4, 5] {
            assert_eq!(sent(address, id, sequence, begin), AckVerdict::Accepted);
        }
        assert_eq!(refused(&ask(address, "POST", "/v1/live", b"x")), ErrorCode::MalformedBody);
    });
    let digest = replay::offline(&folder.path().join("data")).expect("a journal");
    assert_eq!(digest.frames_unusable, "0");
}

/// Sends a batch whose sender has been up since `zero_ms` of the collector's clock.
fn corrected(address: SocketAddr, batch: &Batch, zero_ms: i64) -> (u16, Vec<u8>) {
    let body = encoded(batch);
    let boot = batch.uptime.expect("told").boot;
    let head = format!(
        "POST /v1/batches HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
         bijli-clock: {boot} {zero_ms} 20\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    raw(address, &[head.as_bytes(), &body].concat())
}

/// Goal: a node that believes it is 1970, then an hour behind, then a day ahead, is booked when it
/// truly happened; a replay of the journal books the same.
#[test]
fn k1_k2_a_wrong_clock_is_corrected_before_it_is_judged_and_booked() {
    let begin = a_minute_ago();
    let uptime_of = |sequence: u64| Millis::new(1_000_000 + sequence * 10_000);
    let folder = with_collector(move |address| {
        let id = taught(address);
        let boot = BootId::new([5; 16]);
        let wrong = |sequence: u64, off_ms: i64| {
            let begin = UtcMillis::new(begin.get() + off_ms);
            let whole = batch(id, sequence, begin);
            let created = *whole.matrices[0].times.last().expect("rows");
            let uptime = Some(Uptime { boot, at: uptime_of(sequence) });
            Batch { created, uptime, ..whole }
        };
        let lag = |sequence: u64, off_ms: i64| {
            let created = wrong(sequence, off_ms).created.get() - off_ms;
            created - i64::try_from(uptime_of(sequence).get()).expect("small")
        };
        let never_set = -begin.get() + 5_000;
        assert_eq!(
            refused(&ask(address, "POST", "/v1/batches", &encoded(&wrong(1, never_set)))),
            ErrorCode::FromThePast,
            "without the header it is what it was"
        );
        for (sequence, off_ms) in [(1, never_set), (2, -3_600_000), (3, 86_400_000), (4, 1_500)] {
            let whole = wrong(sequence, off_ms);
            let answer = corrected(address, &whole, lag(sequence, off_ms));
            assert_eq!(acked(&answer, &encoded(&whole), sequence), AckVerdict::Accepted);
            let again = corrected(address, &whole, lag(sequence, off_ms) + 3);
            assert_eq!(acked(&again, &encoded(&whole), sequence), AckVerdict::Duplicate);
        }
        let text =
            |path: &str| String::from_utf8_lossy(&ask(address, "GET", path, b"").1).into_owned();
        // 39 s of 100 W from the first reading to the last, none of it twice. The last batch is a
        // second and a half off: that is not corrected, and only a second and a half longer.
        let is_whole = |line: &str| {
            line.starts_with("bijli_gpu_energy_joules_total{") && line.contains("} 3900")
        };
        // An ack does not wait for the books.
        let is_booked = (0..3_000).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(10));
            text("/metrics/fleet").lines().any(is_whole)
        });
        assert!(is_booked, "{}", text("/metrics/fleet"));
        assert!(text("/v1/hubs/isb/events").contains("clock_corrected"));
        let nodes = text("/v1/hubs/isb/nodes");
        assert!(nodes.contains("\"corrected_batches\":3"), "{nodes}");
        assert!(text("/metrics").contains("bijli_collector_clock_corrected_batches_total 3"));
        let fleet = text("/metrics/fleet");
        let line = "bijli_node_clock_corrected_batches_total{hub=\"isb\",node=\"n01\"} 3";
        assert!(fleet.contains(line), "{fleet}");
    });
    let first = replay::offline(&folder.path().join("data")).expect("a journal");
    assert_eq!(first.frames_unusable, "0");
    let again = replay::offline(&folder.path().join("data")).expect("a journal");
    assert_eq!(first, again);
    // The intervals are those of the true times: about a minute ago, not of 1970.
    let books = &first.hubs[0];
    let closed: i64 = books.closed_until_ms.as_ref().expect("closed").parse().expect("a number");
    assert!(closed > begin.get() - 60_000, "{closed}");
    assert!(first.hubs[0].imbalance_mj == "0");
}
