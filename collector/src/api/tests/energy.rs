//! What was used, by project, day, node, model and job; and budgets.

use serde_json::{Value, json};

use super::client::{Reply, get, serve};
use super::hub::{self, NINE};
use crate::state::Shared;

/// Four quarters of the small hub; the registry may be filled before it is served.
async fn asked(fill: impl FnOnce(&Shared), path: &str) -> Reply {
    let state = hub::state(NINE, 4);
    fill(&state);
    get(serve(state).await, path).await
}

fn registered(state: &Shared) {
    hub::register(state, "monsoon", &["climate", "urdu-llm"], Some("10 kWh"));
}

async fn rows(path: &str) -> Vec<Value> {
    let reply = asked(registered, path).await;
    assert_eq!(reply.status, 200, "{path}: {}", reply.body);
    let answer = reply.json();
    let rows = answer["rows"].as_array().expect("rows").clone();
    let mj = |value: &Value| value["it_mj"].as_str().and_then(|text| text.parse::<u128>().ok());
    let sum: Option<u128> = rows.iter().map(mj).sum();
    assert_eq!(sum, mj(&answer), "{path}: rows sum to the whole");
    rows
}

fn it(rows: &[Value], key: &str) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    rows.iter().map(|row| (text(&row[key]), text(&row["it_mj"]))).collect()
}

fn pairs(rows: &[(&str, &str)]) -> Vec<(String, String)> {
    rows.iter().map(|(one, other)| ((*one).to_owned(), (*other).to_owned())).collect()
}

#[tokio::test]
async fn accounts_are_added_up_by_project_and_nobodys_stands_beside() {
    let by_project = rows("/v1/energy?hub=isb").await;
    // 710 and 445 W for an hour; by hand in `hub.rs`.
    assert_eq!(by_project[0]["it_mj"], "4158000000");
    assert_eq!(by_project[0]["is_registered"], true);
    assert_eq!(by_project[0]["facility"]["energy_mj"], "5544000000", "3408000000 and 2136000000");
    let nobody = it(&by_project[1..], "account");
    let expected =
        [("idle:unallocated", "252000000"), ("unattributed", "0"), ("host_overhead", "342000000")];
    assert_eq!(nobody, pairs(&expected));
    let accounts = rows("/v1/energy?hub=isb&by=account&project=monsoon").await;
    assert_eq!(accounts[0]["account"], "project:climate/gpu_active");
    assert_eq!((accounts.len(), &accounts[0]["project"]), (5, &json!("monsoon")));
}

#[tokio::test]
async fn an_account_of_no_project_stands_under_its_own_name_and_says_so() {
    let reply = asked(|_| {}, "/v1/energy?project=climate").await.json();
    assert_eq!(reply["rows"][0]["is_registered"], false);
    assert_eq!(reply["rows"][0]["it_mj"], "2556000000");
    assert_eq!(
        reply["notes"][0],
        "there is no project climate in the registry: this is the account"
    );
    assert_eq!(asked(|_| {}, "/v1/energy?project=none").await.status, 404);
    let claimed = asked(registered, "/v1/energy?project=climate").await;
    assert_eq!(claimed.json()["rows"], json!([]), "all of it is the project's");
}

#[tokio::test]
async fn days_months_nodes_and_models_have_the_same_energy() {
    let days = rows("/v1/energy?by=day").await;
    assert_eq!(it(&days, "day"), pairs(&[("2026-08-01", "4752000000")]));
    let months = rows("/v1/energy?by=month&project=monsoon").await;
    assert_eq!(it(&months, "month"), pairs(&[("2026-08", "4158000000")]));
    let nodes = rows("/v1/energy?by=node").await;
    let expected = [("isb-n01", "2556000000"), ("isb-n02", "2196000000")];
    assert_eq!(it(&nodes, "node"), pairs(&expected));
    assert_eq!(nodes[1]["nobody_mj"], "594000000");
    let models = rows("/v1/energy?by=gpu_model&project=monsoon").await;
    let expected = [("NVIDIA H200", "3024000000"), ("no GPU: hosts", "1134000000")];
    assert_eq!(it(&models, "gpu_model"), pairs(&expected));
}

#[tokio::test]
async fn jobs_have_their_gpus_exactly_and_hosts_by_time() {
    let jobs = rows("/v1/energy?by=job").await;
    let expected = [("1", "1836000000"), ("2", "720000000"), ("3", "1602000000")];
    assert_eq!(it(&jobs, "job"), pairs(&expected));
    let one = &jobs[0]["job_use"];
    assert_eq!((&one["method"], &one["split_mj"]), (&json!("split_by_time"), &json!("396000000")));
    assert_eq!((&one["mean_power_mw"], &one["wh_per_gpu_hour"]), (&json!("510000"), &json!("510")));
    assert_eq!((&one["coverage"], &one["held_idle_share"]), (&json!("100.00 %"), &json!("0.00 %")));
    let three = &jobs[2]["job_use"];
    assert_eq!((&three["method"], &three["gpus"]), (&json!("exact"), &json!(1)));
    assert_eq!(jobs[1]["job_use"]["held_idle_share"], "100.00 %");
}

/// Goal: O4. What was answered before a project was written down is answered again after it.
#[tokio::test]
async fn o4_an_answer_as_of_before_a_change_is_the_one_that_was_given() {
    let state = hub::state(NINE, 4);
    let address = serve(std::sync::Arc::clone(&state)).await;
    let before = get(address, "/v1/energy?hub=isb&by=project").await.json();
    let name = before["as_of"]["name"].as_str().expect("a name").to_owned();
    assert!(name.ends_with(".0"), "{name}");
    registered(&state);
    let now = get(address, "/v1/energy?hub=isb&by=project").await.json();
    assert_ne!(now["rows"], before["rows"]);
    let then = get(address, &format!("/v1/energy?hub=isb&by=project&as_of={name}")).await.json();
    assert_eq!(then, before);
    // As of fewer leaves: the first two quarters were closed then.
    let leaves = before["as_of"]["leaves"].as_u64().expect("a number") / 2;
    let half = get(address, &format!("/v1/energy?hub=isb&by=day&as_of={leaves}")).await.json();
    assert_eq!(half["it_mj"], "2376000000", "{half}");
    let balance = get(address, &format!("/v1/hubs/isb/balance?as_of={leaves}")).await.json();
    assert_eq!(
        (&balance["supplied_mj"], &balance["is_balanced"]),
        (&json!("3240000000"), &json!(true))
    );
    let projects = get(address, &format!("/v1/hubs/isb/projects/climate?as_of={leaves}")).await;
    let projects = projects.json();
    assert_eq!(projects["it_mj"], "1278000000");
    assert_eq!(projects["facility"]["energy_mj"], "1704000000", "with the PUE of then");
    for (path, words) in [
        ("/v1/energy?by=job&as_of=1", "by=job has no as_of"),
        ("/v1/energy?as_of=99999", "as_of 99999 is ahead: there are"),
        ("/v1/energy?as_of=1.9", "as_of 9 is ahead: there are 1 changes"),
        ("/v1/energy?as_of=yesterday", "is no time with an offset"),
        ("/v1/energy?as_of=2999-01-01T00:00:00Z", "the books have heard until 2026-08-01T10:07"),
        ("/v1/energy?by=colour", "by is one of project, account"),
        ("/v1/energy?hub=khi", "there is no hub"),
    ] {
        let reply = get(address, path).await;
        assert!(reply.status >= 400 && reply.body.contains(words), "{path}: {}", reply.body);
    }
}

#[tokio::test]
async fn a_budget_says_what_is_used_of_it() {
    let answer = asked(registered, "/v1/budgets").await.json();
    let budget = &answer["budgets"][0];
    assert_eq!(
        (&budget["used_mj"], &budget["used_share"]),
        (&json!("4158000000"), &json!("11.55 %"))
    );
    assert_eq!(budget["days_left"], 30);
    assert!(budget["forecast"].is_null(), "ten hours foretell nothing");
    assert_eq!(answer["closed_until"], "2026-08-01T10:00:00Z");
    assert_eq!(asked(registered, "/v1/budgets?project=none").await.status, 404);
}
