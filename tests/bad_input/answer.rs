//! What is sent over HTTP and must be refused, and the one shape of every refusal.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use bijli_wire::{ErrorBody, ErrorCode};
use harness::http::ask;
use harness::site::Site;
use serde_json::Value;

/// Raw bytes there, the answer's head and body back. A server that refuses early may close while
/// bytes are under way; its answer is still there.
pub fn raw(port: u16, bytes: &[u8]) -> (String, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("somebody listens");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("set");
    let _sent = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _closed = stream.read_to_end(&mut answer);
    let text = String::from_utf8_lossy(&answer).into_owned();
    match text.split_once("\r\n\r\n") {
        Some((head, body)) => (head.to_ascii_lowercase(), body.to_owned()),
        None => (text, String::new()),
    }
}

/// One refusal that is wanted.
pub struct Bad<'a> {
    pub what: &'static str,
    pub method: &'static str,
    pub path: &'static str,
    pub body: &'a [u8],
    pub code: ErrorCode,
    pub words: &'static [&'static str],
}

/// Asserts the one shape of every refusal, the code's status and promises, and the words.
pub fn assert_refusal(what: &str, head: &str, body: &str, code: ErrorCode, words: &[&str]) {
    let status = format!("http/1.1 {} ", code.http_status());
    assert!(head.starts_with(&status), "{what}: {head}\n{body}");
    assert!(head.contains("content-type: application/json"), "{what}: {head}");
    let found: ErrorBody =
        serde_json::from_str(body).unwrap_or_else(|e| panic!("{what}: {e} in {body}"));
    assert_eq!(found.error.code, code, "{what}: {body}");
    assert_eq!(found, ErrorBody::new(code, found.error.message.clone()), "{what}: {body}");
    let keys = serde_json::from_str::<Value>(body).expect("JSON")["error"].clone();
    assert_eq!(keys.as_object().map(serde_json::Map::len), Some(4), "{what}: {body}");
    for word in words {
        assert!(found.error.message.contains(word), "{what} does not say {word:?}: {body}");
    }
    assert!(found.error.message.len() < 1_000, "{what}: foreign text is bounded: {body}");
}

pub fn assert_refused(port: u16, bad: &Bad<'_>) {
    let head = format!(
        "{} {} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        bad.method,
        bad.path,
        bad.body.len()
    );
    let (head, body) = raw(port, &[head.as_bytes(), bad.body].concat());
    assert_refusal(bad.what, &head, &body, bad.code, bad.words);
}

pub fn assert_alive(site: &mut Site) {
    assert!(site.collector.is_running(), "it ended: {}", site.collector.printed());
    for path in ["/healthz", "/readyz"] {
        assert_eq!(ask("GET", site.port, path, b"").map(|answer| answer.status), Some(200));
    }
    assert!(!site.collector.printed().contains("panicked"), "{}", site.collector.printed());
}
