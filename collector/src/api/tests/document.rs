//! `docs/api.md`: every address with an example answer, written from the running API.

use serde_json::Value;

use super::client::{get, serve};
use super::hub::{self, NINE};
use crate::seal::{Seal, Witnessed};

/// Address, what it is for, its parameters, an example request below `/v1`.
const PAGES: &[(&str, &str, &str, &str)] = &[
    ("/v1/hubs", "The hubs of this collector and how they stand.", "", "hubs"),
    ("/v1/hubs/{hub}", "One of them.", "", "hubs/isb"),
    (
        "/v1/hubs/{hub}/pue",
        "PUE of a period: the sums over its complete intervals, or `no_pue` with a code and words. \
         `shown` is the only form in which it may be printed; beside it stand the two integers. \
         `docs/pue.md` says what every field means.",
        "from, to",
        "hubs/isb/pue",
    ),
    (
        "/v1/hubs/{hub}/pue/intervals",
        "The same for each closed interval. Never average these: a period's PUE is the ratio of \
         sums.",
        "from, to",
        "hubs/isb/pue/intervals?from=2026-08-01T09:45:00Z",
    ),
    (
        "/v1/hubs/{hub}/kpis",
        "The figures beside PUE: WUE, CUE, REF, ERF, the generators' share, demand, load factor, \
         cost. Each with its terms as integers, or `withheld` with a code and words. Nothing has a \
         usual value: `docs/kpis.md` says what the operator declares, and every formula.",
        "from, to",
        "hubs/isb/kpis",
    ),
    (
        "/v1/hubs/{hub}/kpis/projects",
        "Cost and emissions by project, to the paisa and the gram: what the supplies gave in each \
         interval goes by its IT energy, and what no project used is nobody's (null). For periods \
         whose entries are in memory.",
        "from, to",
        "hubs/isb/kpis/projects",
    ),
    (
        "/v1/hubs/{hub}/balance",
        "The trial balance: both sides of every account. `imbalance_mj` is \"0\".",
        "from, to, as_of",
        "hubs/isb/balance",
    ),
    (
        "/v1/hubs/{hub}/flows",
        "Net energy from every account that gave (`credit`) to every one that received (`debit`), \
         corrections included.",
        "from, to, as_of",
        "hubs/isb/flows",
    ),
    (
        "/v1/hubs/{hub}/diagram",
        "The single-line diagram in force, in the order of its tree, with the energy that came in at \
         each point (of a supply: that it gave) in the period; null: nothing was booked of it. \
         `is_it`: PUE takes the energy of IT there. `doubts` says in words what the diagram leaves open.",
        "from, to",
        "hubs/isb/diagram",
    ),
    (
        "/v1/hubs/{hub}/entries",
        "The entries of a period by sequence. `after` is the last `seq` already read; `limit` is \
         1 to 10000, 1000 if left out.",
        "from, to, as_of, after, limit",
        "hubs/isb/entries?limit=2",
    ),
    (
        "/v1/hubs/{hub}/intervals",
        "Each interval: open or closed, complete or why not. Without `to` the open ones are listed \
         too. At most 50 reasons each.",
        "from, to",
        "hubs/isb/intervals?from=2026-08-01T09:45:00Z",
    ),
    (
        "/v1/hubs/{hub}/events",
        "What happened to registers and at nodes, the last of each kind. Texts of nodes are \
         foreign: escape them.",
        "",
        "hubs/isb/events",
    ),
    (
        "/v1/hubs/{hub}/projects",
        "IT energy of each project, and of nobody. `facility` is its IT energy times the PUE of \
         each complete interval: derived, not metered; `it_covered_mj` is the part that had one.",
        "from, to, as_of",
        "hubs/isb/projects",
    ),
    (
        "/v1/hubs/{hub}/projects/{project}",
        "One of them. A `/` in a project's name is written `%2F`.",
        "from, to, as_of",
        "hubs/isb/projects/climate",
    ),
    (
        "/v1/hubs/{hub}/periods",
        "Months and their figures. `state`: `open`, not over in the books; `due`, over and \
         nobody has closed it; `closed`; `corrected`, facts changed a closed one; `restated`, \
         somebody stands for the new figures. `PUT /v1/periods/{month}` with `by` (and \
         `despite`) closes one, `POST` with `by` and `cause` restates it.",
        "",
        "hubs/isb/periods",
    ),
    (
        "/v1/hubs/{hub}/periods/{month}",
        "One of them, with each doubt and restatement. `as_of`: also what the first so many leaves \
         of the ledger come to.",
        "as_of",
        "hubs/isb/periods/2026-08",
    ),
    (
        "/v1/hubs/{hub}/nodes",
        "Nodes heard within a day. `power` is that of the node's own meter, else the sum of its \
         devices; null if one of its GPUs gives none.",
        "",
        "hubs/isb/nodes",
    ),
    (
        "/v1/hubs/{hub}/nodes/{node}",
        "One of them with everything that it reads. A `value` is in the `unit` beside it; null: it \
         could not be read.",
        "",
        "hubs/isb/nodes/isb-n01",
    ),
    (
        "/v1/hubs/{hub}/devices",
        "GPUs, processor packages and memory, of one node or all.",
        "node",
        "hubs/isb/devices?node=isb-n01",
    ),
    (
        "/v1/hubs/{hub}/meters",
        "Meters that report, and meters that the diagram declares and nobody reads.",
        "",
        "hubs/isb/meters",
    ),
    (
        "/v1/energy",
        "What was used in a period, of one hub or all: `by` project, account, day, month, node, \
         gpu_model or job. Accounts are added up by the project of the registry that claims them \
         (`/v1/projects`, docs/writing.md); one that none claims stands under its own name, \
         `is_registered` false. `project` takes either. Rows sum to `it_mj`.\n\n\
         `as_of` is a time, or what an answer said of itself: the count of leaves of the ledger \
         log, and behind a point the changes of the registry. The same `as_of` gives the same rows \
         for ever, whatever is corrected later. `by=job` has none.\n\n\
         Of a job: exact where it alone held a GPU for its account in an interval; what several \
         held one after the other is split by time, and `split_mj` says how much. `coverage` is \
         the part of the time of its GPUs in intervals in which they were read.",
        "hub, project, by, from, to, as_of",
        "energy?hub=isb&by=job",
    ),
    (
        "/v1/budgets",
        "What each project with a budget has used of it, over its whole time and all hubs, and what \
         it will have used at its end: `method` says how that is foretold.",
        "project, as_of",
        "budgets",
    ),
    (
        "/v1/pue",
        "One figure of several hubs: `hubs` lists them; left out, all that declare a category. `sums` is the sum of E_DC \
         over the sum of E_IT, `weighted` the mean of the hubs' figures by their E_DC, as \
         Regulation (EU) 2024/1364 aggregates; they differ, and each says which it is. Hubs whose \
         figures differ in kind, category, standard or period have none together. Without `from` \
         and `to`: what all of them have closed.",
        "hubs, from, to",
        "pue?hubs=isb",
    ),
    (
        "/v1/events",
        "What happened over all hubs, newest first: at nodes, and (`node` null) to registers. \
         `severity` is page, ticket or info, our own judgement. `code` is what an event is of its \
         kind: the XID, the bit of a driver's event, or of `meter_changed` 1 word order, 2 serial \
         number, 3 firmware, 4 kind of device, 5 scale; null: its kind has no numbers. `count` is \
         how often it happened: an agent tells an XID at once, and what repeats of it within three \
         minutes as one more event with a count. `text` is foreign: escape it.\n\n\
         `xid` says what an XID means and asks for, from NVIDIA's catalogue as this hub has it \
         (`collector/xids.toml`, changed by `[[hub.xid]]` in the configuration), with its \
         provenance. `class` is ignore, restart_app, restart_vm, reset_gpu, reboot_node, \
         check_mechanicals, update_software, contact_support, workflow (the action depends on \
         what else is there) or none_published. `is_known` false: the number is not in the \
         catalogue.\n\n\
         A hub keeps the last 256 events of each kind, and of each XID in the catalogue, of one \
         node at most 32 of them; of registers the last 128 of each kind. They are made again from \
         journal and snapshots at a start; older ones are in the journal only. `from` and `to` are \
         not floored here. `limit` is 1 to 10000, 1000 if left out; `after` is the `next_after` of \
         the page before: read so, each event comes once, whatever comes in meanwhile.",
        "hub, node, subject, kind, severity, xid, from, to, limit, after",
        "events?hub=isb&severity=page",
    ),
    (
        "/v1/seals",
        "How the transparency log of each hub stands (docs/formats/tlog.md; its files are under \
         `/tlog/{hub}/`): entries on disk, entries under the newest signed checkpoint, who \
         cosigned it, and why it is not signed if it is not. `words` is all of it in one line.",
        "",
        "seals",
    ),
    (
        "/v1/checks",
        "The cross-checks of a hub's metering, failed ones first (docs/metering.md says what each \
         compares). `verdict` is fail, cannot_say or pass; a check that cannot say has its reason \
         in `words` and is no pass. `measured` has the number, the band that it must lie in, and \
         where the band is from. A check changes nothing: no reading is withheld by it.",
        "hub, verdict, check",
        "checks?hub=isb&check=loss",
    ),
];

const HEAD: &str = "\
# The JSON API

Read only, under `/v1`. This page is written by a test from the running API
(`collector/src/api/tests/document.rs`), so the examples are answers.

- **Amounts** are decimal strings of millijoules (`*_mj`), because they pass what a JSON number can
  hold; beside each is the same for people. Nothing passed through a float.
- **Times** are RFC 3339 in UTC. `from` and `to` take any offset, but need one: a time without
  offset is refused. They are floored to intervals, `to` is exclusive. Left out, they are the first
  and the last closed interval. At most 35,136 intervals (a leap year of quarter hours) at once.
- **Only closed intervals** answer; what is known later comes as adjustments, and the sums include
  them.
- **As of.** Where `as_of` is taken, the answer is what the books said then, to the millijoule,
  whatever was corrected since: a time that the books have passed, or a count of leaves as answers
  give it.
- **Refusals** have one shape and a closed code: `{\"error\": {\"code\", \"message\",
  \"is_retryable\", \"nothing_was_booked\"}}`. Unknown parameters are refused. While the books are
  rebuilt after a start every address refuses with 429 and `Retry-After`; so does a
  period that the books no longer hold, while the ledger log or its index is behind them.

Examples are shortened to two elements a list.
";

/// Two elements of a list are enough to read; times of the test run become fixed ones.
fn shorten(value: &mut Value) {
    match value {
        Value::Array(list) => {
            list.truncate(2);
            list.iter_mut().for_each(shorten);
        }
        Value::Object(object) => {
            let is_reading = object.contains_key("quantity");
            for (name, value) in object.iter_mut() {
                match name.as_str() {
                    "age_s" if !value.is_null() => *value = Value::from(3),
                    "last_batch" | "newest_reading" => *value = Value::from("2026-08-01T10:07:02Z"),
                    "at" if is_reading => *value = Value::from("2026-08-01T10:07:02Z"),
                    _ => shorten(value),
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn seal() -> Seal {
    let witnessed =
        |name: &str| Witnessed { name: name.to_owned(), at: "2026-08-01T10:02:01Z".to_owned() };
    let seal = Seal {
        hub: "isb".to_owned(),
        origin: "ledger.example.pk/hub/isb/ledger".to_owned(),
        size: "70000".to_owned(),
        root: "isI/7LGC6XUukksZfrgkNAdKs/iKpjtBZO6Srd8m9Tc=".to_owned(),
        signed_size: Some("70000".to_owned()),
        keys: vec![
            "ledger.example.pk/hub/isb/ledger+8f4a7b21+AW1kZXhhbXBsZSBvZiBhIHZlcmlmaWVyIGtleQ=="
                .to_owned(),
        ],
        witnessed_by: vec![witnessed("ignite"), witnessed("lahore")],
        witnesses: 3,
        is_witnessed: true,
        has_head_elsewhere: true,
        ..Seal::default()
    };
    seal.said()
}

#[tokio::test]
async fn the_document_is_what_the_api_answers() {
    let state = hub::state(NINE, 4);
    state.seals.put(&bijli_wire::HubId::new("isb").expect("valid"), seal());
    hub::register(&state, "monsoon", &["climate", "urdu-llm"], Some("10 kWh"));
    let address = serve(state).await;
    let mut text = HEAD.to_owned();
    for (path, words, parameters, example) in PAGES {
        let reply = get(address, &format!("/v1/{example}")).await;
        assert_eq!(reply.status, 200, "{example}: {}", reply.body);
        let mut value: Value = reply.json();
        shorten(&mut value);
        let shown = serde_json::to_string_pretty(&value).expect("JSON");
        let parameters = match *parameters {
            "" => "None.".to_owned(),
            names => format!("`{}`.", names.replace(", ", "`, `")),
        };
        text.push_str(&format!("\n## `{path}`\n\n{words}\n\nParameters: {parameters}\n\n"));
        text.push_str(&format!("`GET /v1/{example}`\n\n```json\n{shown}\n```\n"));
    }
    super::same_as_the_document("api.md", &text);
}

#[test]
fn every_address_of_the_router_is_documented() {
    let router = include_str!("../mod.rs");
    let routes: Vec<&str> = router
        .lines()
        .filter_map(|line| line.trim().strip_prefix(".route(\"")?.split('"').next())
        .collect();
    let documented: Vec<&str> = PAGES.iter().map(|page| page.0).collect();
    assert_eq!(routes, documented);
}
