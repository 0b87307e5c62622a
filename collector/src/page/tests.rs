//! The page over a real socket: what it says, what it escapes, what it may load.

use std::sync::Arc;

use bijli_wire::{HubId, UtcMillis};

use crate::api::tests::client::{get, serve};
use crate::api::tests::hub::{self, HOSTILE, NINE, QUARTER};
use crate::state::Hub;

#[tokio::test]
async fn the_page_names_every_figure_with_what_it_must_carry() {
    let reply = get(serve(hub::state(NINE, 4)).await, "/").await;
    assert_eq!(reply.status, 200);
    for words in [
        "All readings are simulated",
        "Islamabad",
        "3 of 3 nodes report",
        "books balance to 0 mJ",
        "PUE, category 1",
        ">1.33 ± 0.02<",
        "2026-08-01 09:00 to 10:00 UTC, coverage 4 of 4 intervals",
        "supplied ÷ ",
        "interim",
        "1.800 kWh",
        "climate",
        "Idle, unallocated",
        "provisional",
        "m-chiller",
        "70 °C",
        "Beside PUE",
        "CUE location-based (2026-08-01T09:00:00Z/2026-08-01T10:00:00Z) = 0.533 kg CO2e/kWh",
        "no WUE: no crossing of water",
    ] {
        assert!(reply.body.contains(words), "{words}");
    }
}

#[tokio::test]
async fn foreign_text_is_escaped_and_nothing_comes_from_elsewhere() {
    let address = serve(hub::state(NINE, 1)).await;
    for path in ["/", "/page/fragment", "/events", "/events/fragment?hub=isb"] {
        let reply = get(address, path).await;
        assert!(!reply.body.contains("<script>alert"), "{path}");
        assert!(reply.body.contains("&lt;script&gt;alert"), "{path}: the event is shown, escaped");
        assert!(reply.head.contains("default-src 'none'"), "{}", reply.head);
        for word in ["style=", "onclick", "http://", "https://", "javascript:"] {
            assert!(!reply.body.contains(word), "{path}: {word}");
        }
    }
    assert!(HOSTILE.contains("<script>"));
    for path in ["/page.css", "/page.js", "/icon.svg"] {
        assert_eq!(get(address, path).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn without_a_closed_interval_the_drawing_is_provisional_and_there_is_no_pue() {
    let reply = get(serve(hub::state(NINE, 0)).await, "/").await;
    assert!(reply.body.contains("No PUE") && reply.body.contains("no interval is closed yet"));
    assert!(reply.body.contains("It is not booked yet"));
    assert!(reply.body.contains("class=\"open\""));
}

#[tokio::test]
async fn why_there_is_no_pue_is_said_in_words() {
    let state = hub::state(NINE, 1);
    let isb = state.hub(&HubId::new("isb").expect("a name")).expect("there");
    isb.view_mut().plan.pue_category = None;
    let reply = get(serve(state).await, "/").await;
    assert!(reply.body.contains("no PUE category is declared"));
}

#[tokio::test]
async fn a_rebuild_an_empty_collector_and_a_failed_journal_are_told() {
    let state = hub::empty_state();
    state.replayed(3, 10);
    let reply = get(serve(Arc::new(state)).await, "/").await;
    assert!(reply.body.contains("3 of 10 frames"));
    let state = hub::empty_state();
    state.set_ready();
    assert!(get(serve(Arc::new(state)).await, "/").await.body.contains("No hub yet"));
    let state = hub::state(NINE, 1);
    state.set_failed();
    let body = get(serve(state).await, "/").await.body;
    assert!(body.contains("cannot be written") && body.contains("1.33"));
}

/// Guards against showing yesterday's sums: the kept day must follow an adjustment.
#[tokio::test]
async fn the_kept_day_follows_the_books() {
    let state = hub::state(NINE, 2);
    let isb = state.hub(&HubId::new("isb").expect("a name")).expect("there");
    let address = serve(state).await;
    assert!(!get(address, "/").await.body.contains("latecomer"));
    {
        let mut books = isb.books_mut();
        let late = hub::allocation("9", "GPU-bb02", "latecomer", NINE);
        let _new = books.allocate(late).expect("sound");
        books.advance(UtcMillis::new(NINE + 3 * QUARTER - 60_000));
    }
    assert!(get(address, "/").await.body.contains("latecomer"));
}

#[tokio::test]
async fn events_are_shown_with_severity_and_action_and_filtered_by_their_address() {
    let state = hub::state(NINE, 1);
    state.add_hub(Hub::journalled(HubId::new("khi").expect("a name"), state.rules));
    let address = serve(state).await;
    for path in ["/events", "/events/fragment"] {
        let body = get(address, path).await.body;
        for words in [
            ">page<",
            "XID 79, GPU has fallen off the bus",
            "reboot node",
            "Drain the node and reboot it",
            "XID 94, contained memory error",
            ", 3 times",
            "ticket at 3 on one GPU within 24 h",
            "probe failed",
            "href=\"/events?hub=khi\"",
            "href=\"/events?severity=page\"",
        ] {
            assert!(body.contains(words), "{path}: {words}");
        }
    }
    let paging = get(address, "/events?hub=isb&severity=page").await.body;
    assert!(paging.contains("XID 79") && !paging.contains("XID 94"));
    assert!(paging.contains("data-from=\"/events/fragment?hub=isb&amp;severity=page\""));
    assert!(paging.contains("href=\"/events?severity=page\""), "the hub can be taken off");
    let quiet = get(address, "/events?hub=khi").await.body;
    assert!(quiet.contains("Nothing of this kind happened"));
    let older = get(address, "/events?limit=1").await.body;
    assert!(older.contains("Older events") && older.contains("&amp;after="));
    assert_eq!(get(address, "/events?hub=nowhere").await.status, 400);
    let first = get(address, "/").await.body;
    assert!(first.contains("href=\"/events?hub=isb\""));
    assert!(first.contains("GPU has fallen off the bus: Drain the node"), "to look at");
    assert!(!first.contains("contained memory error"), "nobody has to look at what is info");
}

#[tokio::test]
async fn the_page_of_events_tells_a_rebuild() {
    let state = hub::empty_state();
    state.replayed(3, 10);
    let reply = get(serve(Arc::new(state)).await, "/events").await;
    assert!(reply.status == 200 && reply.body.contains("3 of 10 frames"), "{}", reply.body);
}

/// Goal: an auditor sees which months stand, by whose word, and what each word means.
#[tokio::test]
async fn the_auditors_page_tells_months_with_their_words() {
    let state = hub::state(NINE, 4);
    let isb = state.hub(&HubId::new("isb").expect("a name")).expect("there");
    let address = serve(Arc::clone(&state)).await;
    let body = get(address, "/audit").await.body;
    for words in ["2026-08", ">open<", "4 of 2976", "bijli-collector pack --config FILE --hub isb"]
    {
        assert!(body.contains(words), "{words}: {body}");
    }
    {
        let september = UtcMillis::new(1_788_220_800_000 + 3 * QUARTER);
        let mut books = isb.books_mut();
        books.advance(september);
        let asked = bijli_ledger::ClosePeriod {
            month: "2026-08".parse().expect("a month"),
            by: "<b>A. Khan",
            despite: Some("the hub began on the 1st"),
        };
        books.close_period(&asked, 7, september).expect("it is over").expect("it is new");
    }
    let body = get(address, "/audit/fragment").await.body;
    for words in [">closed<", "by &lt;b&gt;A. Khan, leaf 7", "although: the hub began on the 1st"] {
        assert!(body.contains(words), "{words}: {body}");
    }
    let state = hub::empty_state();
    state.replayed(3, 10);
    let reply = get(serve(Arc::new(state)).await, "/audit").await;
    assert!(reply.body.contains("3 of 10 frames"), "{}", reply.body);
}

#[test]
fn times_are_told_as_people_read_them() {
    use super::view::{ago, minute};
    assert_eq!(minute(UtcMillis::new(NINE + 61_000)), "2026-08-01 09:01");
    for (ms, words) in
        [(4_000, "4 s"), (150_000, "2 min"), (7_300_000, "2 h"), (259_200_000, "3 d")]
    {
        assert_eq!(ago(ms), words);
    }
}

#[tokio::test]
async fn projects_have_their_days_accounts_and_budget() {
    let state = hub::state(NINE, 4);
    hub::register(&state, "monsoon", &["climate", "urdu-llm"], Some("10 kWh"));
    let address = serve(state).await;
    let all = get(address, "/projects").await;
    assert_eq!(all.status, 200, "{}", all.body);
    for words in ["monsoon", "1.155 kWh", "11.5 % of its budget", "as of <b>40.1</b>"] {
        assert!(all.body.contains(words), "{words}: {}", all.body);
    }
    let one = get(address, "/projects?project=monsoon").await.body;
    for words in
        ["NTF-2026-17", "PMD", "08-01", "climate", "710.000 Wh", "30 days left", "too early"]
    {
        assert!(one.contains(words), "{words}: {one}");
    }
    assert!(!one.contains("<script>alert") && one.contains("&lt;script&gt;alert"), "X11: {one}");
    assert!(!one.contains("style=") && !one.contains("http://"), "{one}");
    assert_eq!(get(address, "/projects?project=%3Cscript%3E").await.status, 400);
    let none = get(address, "/projects/fragment?project=none").await;
    assert!(none.body.contains("an account of no project"), "{}", none.body);
}
