//! What the API answers, and what it refuses.

use super::client::{Reply, ask, get, serve};
use super::hub::{self, NINE, QUARTER, allocation};
use bijli_wire::{HubId, UtcMillis};
use serde_json::{Value, json};

use crate::state::Hub;

async fn answer(path: &str) -> Value {
    let address = serve(hub::state(NINE, 4)).await;
    let reply = get(address, path).await;
    assert_eq!(reply.status, 200, "{path}: {}", reply.body);
    reply.json()
}

#[tokio::test]
async fn the_pue_is_an_exact_ratio_with_everything_that_it_must_carry() {
    let pue = answer("/v1/hubs/isb/pue").await["pue"].clone();
    assert_eq!(pue["kind"], "iPUE");
    assert_eq!(pue["total_mj"], "6480000000", "1,800 W for an hour");
    assert_eq!(pue["it_mj"], "4860000000", "1,350 W for an hour");
    let shown = "iPUE1 (2026-08-01T09:00:00Z/2026-08-01T10:00:00Z) = 1.33 ± 0.02";
    assert_eq!(pue["shown"], shown);
    assert!(pue.get("ratio").is_none(), "no field is the ratio alone");
    // By hand: 2 x 4/3 x sqrt(2 x 0.005^2/3 + 0.01^2/3), one meter on either side.
    let bounds = json!({"k": 2, "independent": "0.018857", "correlated": "0.018857"});
    assert_eq!(pue["uncertainty"], bounds);
    assert_eq!(pue["standard"], "ISO/IEC 30134-2:2026");
    assert_eq!((&pue["level"], &pue["wp49"]), (&1.into(), &"iPUE_L1,-C".into()));
    assert_eq!((&pue["status"], &pue["intervals_provisional"]), (&"provisional".into(), &4.into()));
    let coverage = &pue["coverage"];
    assert_eq!((&coverage["time"], &coverage["energy"]), (&"100.00 %".into(), &"100.00 %".into()));
    assert_eq!(pue["estimated"]["share_max"], "5.00 %");
    let meter = &pue["meters"][0];
    assert_eq!((&meter["meter"], &meter["term"]), (&"m-incomer".into(), &"E_DC".into()));
    assert_eq!(
        (&meter["class"], &meter["certificate"]),
        (&"0.5S".into(), &"NPSL-2026-0117".into())
    );
    assert_eq!(
        pue["by_source"],
        json!([
            {"source": "grid", "energy_mj": "6480000000", "energy": "1.800 kWh"}
        ])
    );
}

#[tokio::test]
async fn without_a_declared_category_there_is_no_pue_and_the_answer_says_why() {
    let state = hub::state(NINE, 1);
    let isb = state.hub(&HubId::new("isb").expect("a name")).expect("there");
    isb.view_mut().plan.pue_category = None;
    let address = serve(state).await;
    for path in ["/v1/hubs/isb/pue", "/v1/hubs/isb/pue/intervals"] {
        let body = get(address, path).await.json();
        let answer = body["intervals"].get(0).unwrap_or(&body);
        assert_eq!(answer["no_pue"]["code"], "no_category", "{body}");
        assert!(answer["pue"].is_null() && answer["shown"].is_null());
    }
}

#[tokio::test]
async fn a_period_that_nothing_is_closed_in_has_no_pue() {
    let body = answer("/v1/hubs/isb/pue?from=2026-09-01T00:00:00Z&to=2026-09-02T00:00:00Z").await;
    assert_eq!(body["pue"], Value::Null);
    assert_eq!(body["no_pue"]["code"], "nothing_closed");
}

/// A second hub with half a figure: no class is declared, and it can be of another category.
fn two_hubs(category: u8) -> crate::state::Shared {
    let state = hub::state(NINE, 4);
    let other = HubId::new("khi").expect("a name");
    let other = state.add_hub(Hub::journalled(other, bijli_ledger::Rules::default()));
    let plan = crate::diagram::Plan { meters: Vec::new(), ..hub::plan() };
    hub::fill(&other, crate::diagram::Plan { pue_category: Some(category), ..plan }, NINE, 4);
    state
}

#[tokio::test]
async fn hubs_have_one_figure_together_in_two_ways_by_their_names() {
    let reply = get(serve(two_hubs(1)).await, "/v1/pue").await;
    let body = reply.json();
    assert_eq!(body["hubs"], json!(["isb", "khi"]), "{body}");
    let pue = &body["pue"];
    assert_eq!(pue["total_mj"], "12960000000", "both hubs have the same readings");
    let head = "iPUE1 of isb, khi (2026-08-01T09:00:00Z/2026-08-01T10:00:00Z) = 1.33";
    let why = "± not stated (of khi: meter m-incomer has no class)";
    let sums = format!("{head} {why}, sum of E_DC over sum of E_IT");
    assert_eq!(pue["sums"]["shown"], sums.as_str());
    let weighted = pue["weighted"]["shown"].as_str().expect("words");
    assert!(weighted.ends_with("mean weighted by total energy, as (EU) 2024/1364 aggregates"));
    assert_eq!(pue["hubs"].as_array().map(Vec::len), Some(2));
    let one = get(serve(two_hubs(1)).await, "/v1/pue?hubs=isb").await.json();
    let shown = one["pue"]["sums"]["shown"].as_str().expect("words").to_owned();
    assert!(shown.contains("iPUE1 of isb (") && shown.contains("= 1.33 ± 0.02,"), "{shown}");
}

/// Goal: what means nothing together is not put together, and the answer says why.
#[tokio::test]
async fn hubs_of_different_categories_have_none_together() {
    let body = get(serve(two_hubs(2)).await, "/v1/pue?hubs=khi,isb").await.json();
    assert!(body["pue"].is_null());
    assert_eq!(body["no_pue"]["code"], "cannot_mix");
    let words = "the categories of isb and khi differ: 1 and 2";
    assert_eq!(body["no_pue"]["message"], words);
    refused("/v1/pue?hubs=lhe", 404, "unknown_hub").await;
    refused("/v1/pue?hub=isb", 400, "invalid_request").await;
}

#[tokio::test]
async fn the_balance_balances_and_periods_are_floored() {
    let body =
        answer("/v1/hubs/isb/balance?from=2026-08-01T14:07:00+05:00&to=2026-08-01T09:59:59Z").await;
    assert_eq!(
        (&body["from"], &body["to"]),
        (&json!("2026-08-01T09:00:00Z"), &json!("2026-08-01T09:45:00Z"))
    );
    assert_eq!(body["imbalance_mj"], "0");
    assert_eq!(body["is_balanced"], true);
    assert_eq!(body["supplied_mj"], "4860000000");
    assert_eq!(body["supplied_mj"], body["used_mj"]);
}

#[tokio::test]
async fn projects_get_what_their_gpus_used_and_the_facility_share_is_derived() {
    let body = answer("/v1/hubs/isb/projects").await;
    let climate = &body["projects"][0];
    assert_eq!(climate["project"], "climate");
    assert_eq!(climate["gpu_active_mj"], "1440000000", "400 W for an hour");
    assert_eq!(climate["gpu_held_idle_mj"], "324000000", "90 W for an hour");
    assert_eq!(climate["host_mj"], "792000000", "all 220 W of its node's host");
    assert_eq!(climate["facility"]["class"], "derived");
    assert_eq!(climate["facility"]["energy_mj"], "3408000000", "its IT energy times 1800/1350");
    assert_eq!(body["idle_unallocated"]["energy_mj"], "252000000", "70 W for an hour");
    assert_eq!(body["host_overhead"]["energy_mj"], "342000000", "half of 190 W for an hour");
}

#[tokio::test]
async fn entries_are_read_in_pages_without_a_hole_and_late_facts_are_adjustments() {
    let state = hub::state(NINE, 2);
    let isb = state.hub(&HubId::new("isb").expect("a name")).expect("there");
    {
        let mut books = isb.books_mut();
        let _new = books.allocate(allocation("4", "GPU-bb02", "late", NINE)).expect("sound");
        books.advance(UtcMillis::new(NINE + 3 * QUARTER));
    }
    let address = serve(state).await;
    let (mut after, mut seqs, mut adjusts) = (0, Vec::new(), 0);
    loop {
        let body =
            get(address, &format!("/v1/hubs/isb/entries?limit=7&after={after}")).await.json();
        for entry in body["entries"].as_array().expect("a list") {
            seqs.push(entry["seq"].as_u64().expect("a number"));
            adjusts += usize::from(!entry["adjusts"].is_null());
            let canonical = entry["canonical"].as_str().expect("text");
            assert!(
                canonical.contains(&format!("debit={}", entry["debit"].as_str().expect("text")))
            );
        }
        match body["next_after"].as_u64() {
            Some(next) => after = next,
            None => break,
        }
    }
    let whole: Vec<u64> = (1..=u64::try_from(seqs.len()).expect("few")).collect();
    assert_eq!(seqs, whole);
    assert!(adjusts > 0, "the late allocation moved energy");
    let body = get(address, "/v1/hubs/isb/balance").await.json();
    assert_eq!((&body["imbalance_mj"], &body["adjustments"]), (&json!("0"), &json!(adjusts)));
    let late = get(address, "/v1/hubs/isb/projects/late").await.json();
    assert_eq!(late["gpu_held_idle_mj"], "126000000", "70 W for half an hour");
}

#[tokio::test]
async fn an_open_interval_is_listed_as_open_and_an_incomplete_one_says_why() {
    let body = answer("/v1/hubs/isb/intervals").await;
    let intervals = body["intervals"].as_array().expect("a list");
    assert_eq!(intervals.len(), 5);
    assert_eq!(intervals[0]["is_complete"], true, "{body}");
    assert_eq!(intervals[4]["state"], "open");
    let state = hub::state(NINE, 1);
    let isb = state.hub(&HubId::new("isb").expect("a name")).expect("there");
    isb.books_mut().advance(UtcMillis::new(NINE + 3 * QUARTER));
    let body = get(serve(state).await, "/v1/hubs/isb/intervals").await.json();
    let partial = &body["intervals"][1];
    assert_eq!(partial["is_complete"], false);
    assert!(partial["reasons"].to_string().contains("covers 420000 of 900000 ms"), "{body}");
}

async fn refused(path: &str, status: u16, code: &str) -> Reply {
    let address = serve(hub::state(NINE, 1)).await;
    let reply = get(address, path).await;
    assert_eq!((reply.status, &reply.json()["error"]["code"]), (status, &json!(code)), "{path}");
    reply
}

#[tokio::test]
async fn every_refusal_has_the_one_shape() {
    refused("/v1/hubs/khi", 404, "unknown_hub").await;
    refused("/v1/hubs/%00", 404, "unknown_hub").await;
    refused("/v1/hubs/%ff/pue", 400, "invalid_request").await;
    refused("/v1/hubs/isb/nodes/none", 404, "not_found").await;
    refused("/v1/hubs/isb/projects/none", 404, "not_found").await;
    refused("/v1/hubs/isb/form", 404, "not_found").await;
    refused("/v1/hubs?x=1", 400, "invalid_request").await;
    let reply = refused("/v1/hubs/isb/pue?form=2026-01-01T00:00:00Z", 400, "invalid_request").await;
    assert!(reply.body.contains("takes from, to"), "{}", reply.body);
    let address = serve(hub::state(NINE, 1)).await;
    let reply = ask(address, "DELETE", "/v1/hubs/isb").await;
    assert_eq!(reply.json()["error"]["code"], "method_not_allowed");
}

#[tokio::test]
async fn while_the_books_are_rebuilt_nothing_is_answered() {
    let state = hub::empty_state();
    state.replayed(3, 10);
    let address = serve(std::sync::Arc::new(state)).await;
    for path in ["/v1/hubs", "/metrics/fleet"] {
        let reply = get(address, path).await;
        assert_eq!(reply.status, 429, "{path}");
        assert!(reply.body.contains("3 of 10 frames") && reply.head.contains("retry-after"));
    }
}

#[tokio::test]
async fn nodes_devices_and_meters_say_what_was_read_and_booked() {
    let address = serve(hub::state(NINE, 1)).await;
    let node = get(address, "/v1/hubs/isb/nodes/isb-n01").await.json();
    assert_eq!((&node["is_up"], &node["fed_by"]), (&json!(true), &json!("pdu-a")));
    assert_eq!(node["power"]["power_mw"], "710000");
    let devices = get(address, "/v1/hubs/isb/devices?node=isb-n02").await.json();
    assert_eq!(devices["devices"].as_array().map(Vec::len), Some(4));
    let gpu = &devices["devices"][0];
    assert_eq!(gpu["register"]["booked_mj"], "462000000", "350 W for 22 minutes");
    let memory = gpu["readings"].as_array().expect("a list");
    let missing = memory.iter().find(|one| one["quantity"] == "memory_temperature");
    assert!(missing.expect("listed")["value"].is_null(), "missing is null, not zero");
    let meters = get(address, "/v1/hubs/isb/meters").await.json();
    assert_eq!(meters["meters"].as_array().map(Vec::len), Some(6));
    assert_eq!(meters["meters"][1]["role"], "grid");
}
