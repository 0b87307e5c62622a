//! Bad input, end to end with the real programs: each mistake is answered in words that say what,
//! where and what to do, costs nothing but itself, and the process goes on working after it.

#[path = "bad_input/answer.rs"]
mod answer;
#[path = "bad_input/configuration.rs"]
mod configuration;
#[path = "bad_input/process.rs"]
mod process;
#[path = "bad_input/sender.rs"]
mod sender;

use bijli_wire::{Batch, ErrorCode, HubId, NodeId, SchemaId, limits};
use harness::http::ask;
use harness::site::Site;
use serde_json::{Value, json};

use answer::{Bad, assert_alive, assert_refusal, assert_refused, raw};
use sender::{accepted, assert_booked, batch, body, bomb, now_ms, teach, zstd_frame};

const HUB: &str = "[[hub]]\nid = \"isb\"\n";
const GRID: &str = "[[hub.point]]\nid = \"incomer\"\nrole = \"grid\"\nmeter = \"m1\"\n";

#[test]
fn bad_batches_are_refused_and_good_ones_still_booked() {
    let mut site = Site::start(HUB);
    let id = teach(&site);
    let begin = now_ms() - 120_000;
    accepted(&site, &batch(id, 1, begin));

    let good = body(&batch(id, 2, begin + 10_000));
    let truncated = &good[..good.len() / 2];
    let bomb = bomb();
    assert!(bomb.len() < 8 << 10, "a small body that would fill the memory");
    let no_protobuf = zstd_frame(&[(0, 5, b"\xff\xff\xff\xff\xff")]);
    let future = body(&batch(id, 2, now_ms() + 6 * 60_000));
    let epoch_zero = body(&batch(id, 2, 0));
    let stranger = body(&batch(SchemaId::new([7; 32]), 2, begin + 10_000));
    let other_hub = Batch { hub: HubId::new("khi").expect("valid"), ..batch(id, 2, begin) };
    let other_hub = body(&other_hub);
    let fork = body(&batch(id, 1, begin + 1_000));
    let far = body(&batch(id, 2 + limits::SEQUENCE_WINDOW, begin + 10_000));
    let other_node = Batch { node: NodeId::new("n02").expect("valid"), ..batch(id, 2, begin) };
    let other_node = body(&other_node);
    let post = |what, body, code, words| Bad {
        what,
        method: "POST",
        path: "/v1/batches",
        body,
        code,
        words,
    };
    for bad in [
        post("no body", b"", ErrorCode::MalformedBody, &["zstd"]),
        post("garbage", b"not a batch at all", ErrorCode::MalformedBody, &["not a zstd frame"]),
        post("truncated", truncated, ErrorCode::MalformedBody, &["not a zstd frame"]),
        post("no protobuf", &no_protobuf, ErrorCode::MalformedBody, &["not a protobuf message"]),
        post("a bomb", &bomb, ErrorCode::BodyTooLarge, &["decompresses to more than"]),
        post("future", &future, ErrorCode::FromTheFuture, &["5 minutes", "compare the clocks"]),
        post("1970", &epoch_zero, ErrorCode::FromThePast, &["before 2020", "clock was never set"]),
        post("unknown schema", &stranger, ErrorCode::UnknownSchema, &["0707", "send it first"]),
        post("unknown hub", &other_hub, ErrorCode::UnknownHub, &["khi", "check the agent's hub"]),
        post("fork", &fork, ErrorCode::IdentityFork, &["sequence 1", "n01", "two senders"]),
        post("too far ahead", &far, ErrorCode::SequenceGap, &["2 is awaited"]),
        post("another's schema", &other_node, ErrorCode::MalformedBody, &["isb/n02", "isb/n01"]),
    ] {
        assert_refused(site.port, &bad);
        assert_alive(&mut site);
    }
    oversize_bodies_are_refused(site.port);
    assert_alive(&mut site);

    accepted(&site, &batch(id, 2, begin + 10_000));
    let again = ask("POST", site.port, "/v1/batches", &good).expect("an answer");
    assert_eq!(again.json()["verdict"], "duplicate", "{}", again.text());
    // Two batches of nine steps of 100 J, and the step of 100 J from one to the other.
    assert_booked(&site, 1_900_000);
}

/// Declared too large, and too large without saying so.
fn oversize_bodies_are_refused(port: u16) {
    let words = ["at most 1048576 bytes"];
    let head = "POST /v1/batches HTTP/1.1\r\nhost: x\r\nconnection: close\r\n";
    let declared = format!("{head}content-length: {}\r\n\r\n", limits::BODY_BYTES_MAX + 1);
    let (answer, body) = raw(port, declared.as_bytes());
    assert_refusal("declared oversize", &answer, &body, ErrorCode::BodyTooLarge, &words);
    let mut endless = format!("{head}transfer-encoding: chunked\r\n\r\n").into_bytes();
    for _ in 0..20 {
        endless.extend_from_slice(b"10000\r\n");
        endless.resize(endless.len() + 0x1_0000, 0);
        endless.extend_from_slice(b"\r\n");
    }
    let (answer, body) = raw(port, &endless);
    assert_refusal("chunked oversize", &answer, &body, ErrorCode::BodyTooLarge, &words);
}

#[test]
fn bad_addresses_and_parameters_are_refused_in_the_one_shape() {
    let mut site = Site::start(HUB);
    let bad = |what, method, path, code, words| Bad { what, method, path, body: b"{", code, words };
    let invalid = ErrorCode::InvalidRequest;
    for bad in [
        bad("no address", "GET", "/nothing/here", ErrorCode::NotFound, &["docs/api.md"]),
        bad("climbing", "GET", "/v1/../../etc/passwd", ErrorCode::NotFound, &["no such address"]),
        bad("read a batch", "GET", "/v1/batches", ErrorCode::MethodNotAllowed, &["this method"]),
        bad("write a hub", "POST", "/v1/hubs/isb", ErrorCode::MethodNotAllowed, &["this method"]),
        bad("delete health", "DELETE", "/healthz", ErrorCode::MethodNotAllowed, &["this method"]),
        bad("write the page", "POST", "/", ErrorCode::MethodNotAllowed, &["this method"]),
        bad("a hub", "GET", "/v1/hubs/khi/pue", ErrorCode::UnknownHub, &["\"khi\"", "/v1/hubs"]),
        bad("a node", "GET", "/v1/hubs/isb/nodes/n9", ErrorCode::NotFound, &["no node \"n9\""]),
        bad("UTF-8", "GET", "/v1/hubs/%ff", invalid, &["percent-encoded UTF-8"]),
        bad("typo", "GET", "/v1/hubs/isb/pue?form=1", invalid, &["\"form\"", "takes from, to"]),
        bad("twice", "GET", "/v1/hubs/isb/pue?to=1&to=2", invalid, &["\"to\" is given twice"]),
        bad("no time", "GET", "/v1/hubs/isb/pue?from=today", invalid, &["from: ", "is not a time"]),
        bad(
            "a naive time",
            "GET",
            "/v1/hubs/isb/pue?from=2026-08-01T09:00:00",
            invalid,
            &["has no offset", "+05:00"],
        ),
        bad("limit", "GET", "/v1/hubs/isb/entries?limit=0", invalid, &["from 1 to 10000"]),
        bad("a schema id", "PUT", "/v1/schemas/abc", invalid, &["64 hexadecimal digits"]),
        bad("whose?", "GET", "/v1/allocations?hbu=isb", invalid, &["\"hbu\"", "takes hub"]),
        bad(
            "when?",
            "DELETE",
            "/v1/allocations/a?att=2026-08-01T09:00:00Z",
            invalid,
            &["\"att\"", "takes at, hub"],
        ),
    ] {
        assert_refused(site.port, &bad);
        assert_alive(&mut site);
    }
    // Not even HTTP: whatever is said to it, it hangs up and goes on.
    for bytes in [&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc"[..], b"hello?", b"GET"] {
        let (head, _) = raw(site.port, &[bytes, b"\r\n\r\n"].concat());
        assert!(!head.starts_with("http/1.1 2"), "{head}");
        assert_alive(&mut site);
    }
    let long = format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "a".repeat(1 << 20));
    let (head, _) = raw(site.port, long.as_bytes());
    assert!(head.is_empty() || head.starts_with("http/1.1 4"), "{head}");
    assert_alive(&mut site);
    let id = teach(&site);
    accepted(&site, &batch(id, 1, now_ms() - 120_000));
    assert_booked(&site, 900_000);
}

fn allocation(project: &str, from: &str) -> Value {
    json!({ "project": project, "node": "n01", "from": from, "who": "test", "why": "test" })
}

fn put(site: &Site, id: &str, text: &Value) -> (String, String) {
    let text = text.to_string();
    let head = format!(
        "PUT /v1/allocations/{id} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: \
         {}\r\n\r\n",
        text.len()
    );
    raw(site.port, format!("{head}{text}").as_bytes())
}

#[test]
fn bad_allocations_are_refused_and_good_ones_still_booked() {
    const FROM: &str = "2026-08-01T09:00:00+05:00";
    let mut site = Site::start(HUB);
    let (head, body) = put(&site, "a", &allocation("climate", FROM));
    assert!(head.starts_with("http/1.1 200"), "{head} {body}");

    let change = |key: &str, value: Value| {
        let mut text = allocation("climate", FROM);
        text[key] = value;
        text
    };
    let invalid = ErrorCode::InvalidRequest;
    let hostile = "<script>alert(1)</script>";
    let long = "x".repeat(100_000);
    let rows: [(&str, Value, ErrorCode, &[&str]); 9] = [
        ("naive", allocation("nlp", "2026-08-01T09:00:00"), invalid, &["from: ", "no offset"]),
        ("overlap", allocation("nlp", FROM), ErrorCode::Conflict, &["held by project climate"]),
        ("hostile", allocation(hostile, FROM), invalid, &["project", "'<'", "use letters"]),
        ("quotes", allocation("a\"b\\\n", FROM), invalid, &["project", "use letters"]),
        ("long", allocation(&long, FROM), invalid, &["100000 bytes", "the limit is 96"]),
        ("typo", change("form", json!("x")), invalid, &["unknown field `form`", "`from`"]),
        ("both", change("devices", json!(["GPU-1"])), invalid, &["either node or devices"]),
        ("backwards", change("to", json!("2026-08-01T01:00:00Z")), invalid, &["not after its"]),
        ("elsewhere", change("hub", json!("khi")), ErrorCode::UnknownHub, &["no hub"]),
    ];
    for (id, text, code, words) in rows {
        let (head, body) = put(&site, id, &text);
        assert_refusal(id, &head, &body, code, words);
        assert_alive(&mut site);
    }
    let held = site.json("/v1/allocations");
    assert_eq!(held["allocations"].as_array().map(Vec::len), Some(1), "{held}");

    // And the one that is there gets its energy.
    let begin = now_ms() - 120_000;
    let id = teach(&site);
    accepted(&site, &batch(id, 1, begin));
    assert_booked(&site, 900_000);
    let climate = site.json("/v1/hubs/isb/projects/climate");
    assert_eq!(climate["it_mj"], "900000", "{climate}");
    // An unknown project's name is foreign text too.
    let unknown = ask("GET", site.port, "/v1/hubs/isb/projects/%3Cscript%3E", b"");
    let unknown = unknown.expect("an answer");
    assert_eq!((unknown.status, &unknown.json()["error"]["code"]), (404, &json!("not_found")));
}
