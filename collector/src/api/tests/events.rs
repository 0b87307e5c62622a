//! `/v1/events`: filters, pages, and what an XID asks for.

use std::sync::Arc;

use bijli_wire::batch::Event;
use bijli_wire::message::EventKind;
use bijli_wire::{HubId, NodeId, Schema, UtcMillis};
use serde_json::{Value, json};

use super::client::{get, serve};
use super::hub::{self, NINE};
use crate::severity::Severity;
use crate::state::{Hub, Shared};
use crate::xids::{Override, Xids};

fn id(name: &str) -> HubId {
    HubId::new(name).expect("a name")
}

/// Lets a node of a hub tell of something, `second` seconds after nine.
fn tell(hub: &Hub, node: &str, kind: EventKind, code: u32, second: i64) {
    let node = NodeId::new(node).expect("a name");
    let schema = Schema {
        hub: hub.id.clone(),
        node: node.clone(),
        agent: String::new(),
        subjects: Vec::new(),
        groups: Vec::new(),
    };
    let at = UtcMillis::new(NINE + second * 1_000);
    let event = Event { code, ..Event::plain(at, None, kind, "told".into()) };
    hub.live_mut().absorb_event(&schema, &node, &event);
}

/// The small hub, and another one, with two events of its own, that pages XID 94.
fn two_hubs() -> Shared {
    let state = hub::state(NINE, 1);
    let mut xids = Xids::default();
    xids.insert(94, Override { severity: Some(Severity::Page), ..Override::default() });
    let mut khi = Hub::journalled(id("khi"), state.rules);
    khi.xids = xids;
    let khi = state.add_hub(khi);
    tell(&khi, "khi-n01", EventKind::GpuXid, 94, 1);
    tell(&khi, "khi-n01", EventKind::GpuXid, 5_000, 2);
    state
}

async fn events(state: Shared, query: &str) -> Vec<Value> {
    let reply = get(serve(state).await, &format!("/v1/events{query}")).await;
    assert_eq!(reply.status, 200, "{query}: {}", reply.body);
    reply.json()["events"].as_array().expect("a list").clone()
}

#[tokio::test]
async fn an_xid_is_answered_with_what_it_means_and_asks_for() {
    let lost = events(two_hubs(), "?xid=79").await.remove(0);
    assert_eq!(lost["at"], "2026-08-01T09:15:00Z");
    for (name, value) in [
        ("hub", json!("isb")),
        ("node", json!("isb-n01")),
        ("subject", json!("GPU-aa01")),
        ("kind", json!("gpu_xid")),
        ("severity", json!("page")),
        ("code", json!(79)),
        ("count", json!(1)),
    ] {
        assert_eq!(lost[name], value, "{lost}");
    }
    assert_eq!(lost["xid"]["class"], "reboot_node");
    assert_eq!(lost["xid"]["name"], "GPU has fallen off the bus");
    assert!(lost["xid"]["action"].as_str().expect("text").contains("reboot"));
    assert!(lost["xid"]["provenance"].as_str().expect("text").contains("as of 2025-10-29"));
    let unknown = events(two_hubs(), "?xid=5000").await.remove(0);
    assert_eq!(unknown["xid"]["is_known"], false);
    assert_eq!(unknown["xid"]["name"], "not in the catalogue");
    assert_eq!((&unknown["severity"], &unknown["code"]), (&json!("ticket"), &json!(5_000)));
    let failed = events(two_hubs(), "?kind=probe_failed").await.remove(0);
    assert_eq!((&failed["xid"], &failed["code"]), (&Value::Null, &Value::Null));
}

#[tokio::test]
async fn a_hub_that_says_otherwise_is_followed_there_and_nowhere_else() {
    let both = events(two_hubs(), "?xid=94").await;
    let severity = |hub: &str| {
        let one = both.iter().find(|event| event["hub"] == hub).expect("there");
        (one["severity"].clone(), one["xid"]["provenance"].as_str().expect("text").to_owned())
    };
    assert_eq!(severity("isb").0, "info");
    assert_eq!(severity("khi").0, "page");
    assert!(severity("khi").1.ends_with("by this hub's configuration: severity"));
}

#[tokio::test]
async fn filters_by_table() {
    let state = two_hubs();
    let address = serve(Arc::clone(&state)).await;
    for (query, expected) in [
        ("", "94@isb 79@isb 5000@khi 94@khi probe_failed@isb"),
        ("hub=khi", "5000@khi 94@khi"),
        ("node=isb-n01", "94@isb 79@isb probe_failed@isb"),
        ("node=nobody", ""),
        ("subject=GPU-aa01&kind=gpu_xid", "94@isb 79@isb"),
        ("subject=GPU-aa02", ""),
        ("severity=page", "79@isb 94@khi"),
        ("severity=ticket", "5000@khi probe_failed@isb"),
        ("severity=info", "94@isb"),
        ("kind=probe_failed", "probe_failed@isb"),
        ("kind=dispute", ""),
        ("kind=gpu_xid&xid=94", "94@isb 94@khi"),
        ("from=2026-08-01T09:15:00Z", "94@isb 79@isb"),
        ("from=2026-08-01T14:00:01%2B05:00&to=2026-08-01T09:00:02Z", "94@khi"),
        ("limit=1", "94@isb"),
    ] {
        let reply = get(address, &format!("/v1/events?{query}")).await;
        assert_eq!(reply.status, 200, "{query}: {}", reply.body);
        let of = |event: &Value| {
            let hub = event["hub"].as_str().expect("text");
            let kind = event["kind"].as_str().expect("text");
            event["code"].as_u64().map_or(format!("{kind}@{hub}"), |code| format!("{code}@{hub}"))
        };
        let body = reply.json();
        let found: Vec<String> =
            body["events"].as_array().expect("a list").iter().map(of).collect();
        assert_eq!(found.join(" "), expected, "{query}");
    }
}

#[tokio::test]
async fn what_happened_to_registers_is_among_them() {
    let state = hub::state(NINE, 1);
    let isb = state.hub(&id("isb")).expect("there");
    let gpu = hub::subject_id("GPU-aa01");
    let at = UtcMillis::new(NINE + 23 * 60_000);
    let _reset = isb.books_mut().read(&gpu, at, Some(1), bijli_ledger::Activity::Busy);
    let words: Vec<String> = {
        let books = isb.books();
        books.events().iter().map(|event| event.kind.word().to_owned()).collect()
    };
    let kind = words.last().expect("it was noted").clone();
    let found = events(Arc::clone(&state), &format!("?kind={kind}&subject=GPU-aa01")).await;
    assert_eq!((found.len(), &found[0]["node"]), (1, &Value::Null), "{found:?}");
    assert!(events(state, &format!("?kind={kind}&node=isb-n01")).await.is_empty());
}

/// Goal: a reader of all pages sees each event once, whatever comes in meanwhile.
#[tokio::test]
async fn pages_have_no_hole_and_no_double() {
    let state = two_hubs();
    let isb = state.hub(&id("isb")).expect("there");
    // Many at one moment, at both hubs.
    let khi = state.hub(&id("khi")).expect("there");
    for _ in 0..10 {
        tell(&isb, "isb-n02", EventKind::ProbeFailed, 0, 5);
        tell(&khi, "khi-n02", EventKind::ProbeFailed, 0, 5);
    }
    let address = serve(state).await;
    let (mut after, mut seen, mut pages) = (String::new(), Vec::new(), 0);
    loop {
        let reply = get(address, &format!("/v1/events?limit=3{after}")).await;
        assert_eq!(reply.status, 200, "{}", reply.body);
        let body = reply.json();
        let events = body["events"].as_array().expect("a list");
        seen.extend(events.iter().map(|event| event["at"].as_str().expect("text").to_owned()));
        pages += 1;
        match body["next_after"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
        tell(&isb, "isb-n02", EventKind::ProbeFailed, 0, 3_600 + pages);
    }
    assert_eq!((seen.len(), pages), (25, 9), "{seen:?}");
    assert!(seen.windows(2).all(|two| two[0] >= two[1]), "newest first");
}

#[tokio::test]
async fn what_cannot_be_answered_is_refused_in_words() {
    let address = serve(hub::state(NINE, 1)).await;
    for (query, words) in [
        ("hub=atlantis", "there is no hub \"atlantis\"; /v1/hubs lists them"),
        ("node=a%20b", "node: "),
        ("subject=", "subject: "),
        ("kind=gpu_xids", "there is no kind \"gpu_xids\"; there are agent_started, "),
        ("severity=loud", "there are page, ticket, info"),
        ("xid=seventy", "a number like 79"),
        ("xid=0", "a number like 79"),
        ("xid=79&kind=probe_failed", "no other kind has XIDs"),
        ("from=yesterday", "from: "),
        ("from=2026-08-01T09:00:00", "has no offset"),
        ("from=2026-08-01T09:00:00Z&to=2026-08-01T09:00:00Z", "nothing lies between"),
        ("limit=0", "from 1 to 10000"),
        ("after=12", "the next_after of the page before"),
        ("colour=red", "this address takes hub, node, subject, kind"),
        ("hub=isb&hub=isb", "given twice"),
    ] {
        let reply = get(address, &format!("/v1/events?{query}")).await;
        assert_eq!(reply.status, 400, "{query}: {}", reply.body);
        let error = &reply.json()["error"];
        assert_eq!(error["code"], "invalid_request", "{query}");
        assert!(error["message"].as_str().expect("text").contains(words), "{query}: {error}");
    }
    let state = hub::empty_state();
    state.replayed(3, 10);
    assert_eq!(get(serve(Arc::new(state)).await, "/v1/events").await.status, 429);
}
