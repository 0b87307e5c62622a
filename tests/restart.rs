//! Snapshots of a real collector: a start replays little, old segments of the journal go and leave
//! their hashes, and an auditor's comparison says what it still can say.

use std::process::{Command, Output};

use bijli_wire::batch::Series;
use bijli_wire::{
    Batch, BatchSeq, HubId, Matrix, NodeId, Quantity, Schema, SchemaId, SpoolEpoch, UtcMillis,
    codec,
};
use harness::faketime::seconds_ago;
use harness::http::ask;
use harness::program::binary;
use harness::schema::of_one_gpu;
use harness::site::{Site, millijoules};
use harness::{eventually, utc_ms};
use serde_json::Value;

const SITE: &str = "[journal]\nsegment = \"4 MiB\"\nsnapshot_after = \"2 MiB\"\nkeep = \"1s\"\n\
                    [[hub]]\nid = \"isb\"\n";
/// Series whose noise fills the journal.
const NOISE: u32 = 120;
const ROWS: i64 = 60;
/// What the GPU uses in a second.
const STEP_MJ: i64 = 250_000;
const BATCHES: u64 = 320;

fn schema() -> Schema {
    let mut schema = of_one_gpu("isb", "n01", "GPU-1");
    let noise = (1..=NOISE).map(|part| Series::new(0, Quantity::MemoryUsed, part));
    schema.groups[0].series.extend(noise);
    schema
}

/// A minute of readings; the noise is a hash of its place, so that nothing compresses it.
fn body(schema: SchemaId, begin_ms: i64, sequence: u64) -> Vec<u8> {
    let first = i64::try_from(sequence - 1).expect("small") * ROWS;
    let rows = first..first + ROWS;
    let noise = |part: u32, row: i64| {
        let place = row.unsigned_abs() << 8 | u64::from(part);
        let mixed = (place ^ 0x9E37_79B9_7F4A_7C15).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        i64::try_from((mixed ^ mixed >> 31).wrapping_mul(0x94D0_49BB_1331_11EB) >> 16).ok()
    };
    let mut columns = vec![rows.clone().map(|row| Some(row * STEP_MJ)).collect()];
    columns.extend((1..=NOISE).map(|part| rows.clone().map(|row| noise(part, row)).collect()));
    let times = rows.map(|row| UtcMillis::new(begin_ms + row * 1_000)).collect();
    let batch = Batch {
        hub: HubId::new("isb").expect("valid"),
        node: NodeId::new("n01").expect("valid"),
        epoch: SpoolEpoch::new([9; 16]),
        sequence: BatchSeq::new(sequence).expect("from 1"),
        schema,
        created: UtcMillis::new(begin_ms + (first + ROWS) * 1_000),
        uptime: None,
        matrices: vec![Matrix { group: 0, times, columns }],
        events: Vec::new(),
        holds: Vec::new(),
    };
    codec::encode_batch(&batch).expect("encodes")
}

fn booked(site: &Site) -> u128 {
    let balance = site.json("/v1/hubs/isb/balance");
    assert_eq!(balance["imbalance_mj"], "0");
    let accounts = balance["accounts"].as_array().expect("a list");
    let gpu = accounts.iter().find(|line| line["account"] == "gpu:GPU-1");
    gpu.map_or(0, |line| millijoules(&line["debits_mj"]))
}

fn put_schema(site: &Site) -> SchemaId {
    let (id, description) = codec::encode_schema(&schema()).expect("encodes");
    let path = format!("/v1/schemas/{id}");
    assert!(ask("PUT", site.port, &path, &description).expect("an answer").status < 300);
    id
}

fn post(site: &Site, body: &[u8], sequence: u64) {
    let answer = ask("POST", site.port, "/v1/batches", body).expect("an answer");
    assert_eq!(answer.status, 200, "batch {sequence}: {}", answer.text());
}

/// Intervals close as frames come in. When nobody sends any more, something else must come.
#[derive(Default)]
struct Time {
    moments: u64,
}

impl Time {
    fn pass(&mut self, site: &Site) {
        self.moments += 1;
        let id = format!("moment-{}", self.moments);
        let body = serde_json::json!({
            "id": id, "project": "p", "who": "test", "why": "time", "devices": ["GPU-9"],
            "from": "2026-01-01T00:00:00Z", "to": "2026-01-01T00:00:01Z",
        });
        let path = format!("/v1/allocations/{id}");
        let told = ask("PUT", site.port, &path, body.to_string().as_bytes());
        assert!(told.expect("an answer").status < 300);
    }
}

fn collector(site: &Site, arguments: &[&str]) -> Output {
    let mut command = Command::new(binary("bijli-collector"));
    command.args(arguments).arg("--dir").arg(site.path("collector")).output().expect("it runs")
}

/// Goal: P6, retention. Five and a half hours of readings with three kill -9: starts replay from
/// snapshots, all energy is booked once, raw segments go; what is left agrees with itself, and
/// without the snapshots a start says what is missing instead of beginning with half the books.
#[test]
fn a_start_replays_little_and_old_segments_leave_their_hashes() {
    let mut site = Site::start_with("1m", SITE);
    let id = put_schema(&site);
    let length = i64::try_from(BATCHES).expect("small") * ROWS * 1_000;
    let begin_ms = i64::try_from(utc_ms()).expect("small") - length - 600_000;
    for sequence in 1..=BATCHES {
        post(&site, &body(id, begin_ms, sequence), sequence);
        if sequence % 90 == 0 {
            let records = site.number("bijli_collector_journal_records ");
            eventually("a snapshot of the newer half", 60, || {
                let record = site.number("bijli_collector_snapshot_record ");
                (record > records / 2).then_some(())
            });
            site.collector.kill();
            site.restart();
            let replayed = site.number("bijli_collector_replay_frames ");
            assert!(
                replayed < records / 2,
                "{replayed} of {records} records\n{}",
                site.collector.printed()
            );
        }
    }
    let rows = i64::try_from(BATCHES).expect("small") * ROWS;
    let whole = u128::try_from((rows - 1) * STEP_MJ).expect("above 0");
    let mut time = Time::default();
    eventually("the whole energy in closed intervals", 90, || {
        time.pass(&site);
        (booked(&site) == whole).then_some(())
    });
    assert!(site.number("bijli_collector_journal_segments_pruned_total ") > 0);
    assert!(site.collector.stop(30).success(), "{}", site.collector.printed());

    let verified = collector(&site, &["replay", "--verify", "--json"]);
    let text = String::from_utf8_lossy(&verified.stdout).into_owned();
    assert!(verified.status.success(), "{text}\n{}", String::from_utf8_lossy(&verified.stderr));
    let verdict: Value = serde_json::from_str(&text).expect("JSON");
    let count = |name: &str| verdict[name].as_u64().expect(name);
    assert!(count("begins_with") > 1 && count("unproven") > 0, "{text}");
    assert_eq!((count("snapshots_same"), count("snapshots_differing")), (2, 0), "{text}");

    std::fs::rename(site.path("collector/snapshots"), site.path("elsewhere")).expect("moved");
    let refused = collector(&site, &["replay"]);
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && words.contains("put back snapshots/"), "{words}");
}

/// As the API wants it.
fn rfc3339(ms: i64) -> String {
    let mut date = Command::new("date");
    date.args(["-u", "-d", &format!("@{}", ms / 1_000), "+%FT%TZ"]);
    let told = date.output().expect("date");
    String::from_utf8(told.stdout).expect("text").trim().to_owned()
}

/// The leaves of forty days without readings are being written: whoever asks about the past is told
/// to ask again, and gets no sum with a hole in it.
fn patient(site: &Site, path: &str) -> Value {
    eventually(&format!("an answer to {path}"), 180, || {
        let answer = ask("GET", site.port, path, b"").expect("an answer, soon");
        let is_early = answer.status == 429 && answer.text().contains("ask again");
        assert!(is_early || answer.status == 200, "{} {}", answer.status, answer.text());
        (!is_early).then(|| answer.json())
    })
}

/// Goal: what the books have let go of is answered from the index, over HTTP, as it was answered
/// when it was new: balance, flows, entries page by page, projects.
#[test]
fn a_month_later_the_index_answers_as_the_books_did() {
    const MINUTES: u64 = 100;
    let mut site = Site::begin_under("5m", SITE, false, &seconds_ago(40 * 86_400));
    let id = put_schema(&site);
    let then_ms = i64::try_from(utc_ms()).expect("small") - 40 * 24 * 3_600_000;
    let begin_ms = then_ms - i64::try_from(MINUTES).expect("small") * ROWS * 1_000 - 360_000;
    let from = rfc3339(begin_ms - 300_000);
    let to = rfc3339(then_ms);
    let held = serde_json::json!({
        "id": "1", "project": "climate", "who": "test", "why": "past", "devices": ["GPU-1"],
        "from": rfc3339(begin_ms + 1_500_000), "to": rfc3339(begin_ms + 4_500_000),
    });
    let told = ask("PUT", site.port, "/v1/allocations/1", held.to_string().as_bytes());
    assert!(told.expect("an answer").status < 300);
    (1..=MINUTES).for_each(|sequence| post(&site, &body(id, begin_ms, sequence), sequence));
    let rows = i64::try_from(MINUTES).expect("small") * ROWS;
    let whole = u128::try_from((rows - 1) * STEP_MJ).expect("above 0");
    let mut time = Time::default();
    eventually("the whole energy in closed intervals", 90, || {
        time.pass(&site);
        (booked(&site) == whole).then_some(())
    });
    let answers = |site: &Site| {
        let period = format!("from={from}&to={to}");
        let paths = ["balance", "flows", "projects"].map(|what| format!("{what}?{period}"));
        let mut found: Vec<Value> =
            paths.iter().map(|path| patient(site, &format!("/v1/hubs/isb/{path}"))).collect();
        let (mut after, mut entries) = (0, Vec::new());
        loop {
            let path = format!("/v1/hubs/isb/entries?{period}&limit=7&after={after}");
            let page = patient(site, &path);
            let page = page["entries"].as_array().expect("a list").clone();
            let Some(last) = page.last() else { break };
            after = last["seq"].as_u64().expect("a number");
            entries.extend(page);
        }
        found.push(entries.into());
        found
    };
    let new = answers(&site);
    assert!(new[3].as_array().is_some_and(|entries| entries.len() > 50), "{}", new[3]);
    assert!(site.collector.stop(30).success(), "{}", site.collector.printed());
    site.restart();
    // Forty days have passed: something must come for the books to hear of it.
    eventually("the old entries out of memory", 60, || {
        time.pass(&site);
        (site.number("bijli_collector_entries_held ") == 0).then_some(())
    });
    assert_eq!(answers(&site), new);
}
