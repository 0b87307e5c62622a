//! The agent's unsafe path to NVML, end to end: a fake `libnvidia-ml`, loaded as the real one is.

use harness::gpus::{self, Course};
use harness::http::ask;
use harness::site::{Site, millijoules};
use harness::{eventually, within};
use serde_json::Value;

const HUB: &str = "[[hub]]\nid = \"lahore\"\ntitle = \"Lahore\"\n";
const ONLY_GPUS: &str = "[rapl]\nenabled = false\n";

fn debits(site: &Site, account: &str) -> u128 {
    let balance = site.json("/v1/hubs/lahore/balance");
    assert_eq!(balance["imbalance_mj"], "0");
    let accounts = balance["accounts"].as_array().expect("a list");
    let line = accounts.iter().find(|line| line["account"] == account);
    line.map_or(0, |line| millijoules(&line["debits_mj"]))
}

fn put_allocation(site: &Site, id: &str, body: &Value) {
    let path = format!("/v1/allocations/{id}");
    let answer = ask("PUT", site.port, &path, body.to_string().as_bytes()).expect("an answer");
    assert!(answer.status < 300, "{} {}", answer.status, answer.text());
}

/// Goal: eight GPUs draw a known energy; the books have exactly that, per GPU and per project,
/// whatever the phase of the sampling.
#[test]
fn eight_gpus_to_the_millijoule() {
    let course = Course { still_s: 20, busy_s: 17 };
    let site = Site::start_tls(HUB);
    put_allocation(
        &site,
        "job-1",
        &serde_json::json!({
            "id": "job-1", "project": "urdu-llm", "who": "test", "why": "eight_gpus",
            "devices": [gpus::uuid(0), gpus::uuid(1), gpus::uuid(2)],
            "from": "2026-01-01T00:00:00+05:00",
        }),
    );
    let env = gpus::environment(&site, &fakenvml::library_path(), course);
    let agent = site.agent("lahore", "n01", ONLY_GPUS, &env);
    course.wait_for_first_readings(&site, "lahore", &env);

    eventually("the energy of the last GPU in the closed books", 90, || {
        let account = format!("gpu:{}", gpus::uuid(7));
        (debits(&site, &account) == gpus::energy_mj(course, 7)).then_some(())
    });
    for index in 0..8 {
        let booked = debits(&site, &format!("gpu:{}", gpus::uuid(index)));
        assert_eq!(booked, gpus::energy_mj(course, index), "GPU {index}\n{}", agent.printed());
    }
    let held: u128 = (0..3).map(|index| gpus::energy_mj(course, index)).sum();
    let parts = ["gpu_active", "gpu_held_idle"];
    let project: u128 =
        parts.iter().map(|part| debits(&site, &format!("project:urdu-llm/{part}"))).sum();
    assert_eq!(project, held);
    // Busy and held by nobody is not idle: it is unattributed, and says so.
    let rest: u128 = (3..8).map(|index| gpus::energy_mj(course, index)).sum();
    assert_eq!(debits(&site, "unattributed") + debits(&site, "idle:unallocated"), rest);
    assert!(debits(&site, "unattributed") > 0);
}

/// Goal: kill -9 of the agent in mid-stream, 20 times. The registers of the GPUs go on meanwhile,
/// so every kill costs resolution and not a millijoule; and nothing is booked twice.
#[test]
fn twenty_kills_of_the_agent_lose_nothing() {
    let course = Course { still_s: 25, busy_s: 40 };
    let site = Site::start_tls(HUB);
    let env = gpus::environment(&site, &fakenvml::library_path(), course);
    let mut agent = site.agent("lahore", "n01", ONLY_GPUS, &env);
    course.wait_for_first_readings(&site, "lahore", &env);
    for kill in 0..20_u64 {
        // Uneven pauses, so that kills fall into all phases of sampling, spooling and sending.
        std::thread::sleep(std::time::Duration::from_millis(700 + 97 * kill));
        agent.kill();
        agent = site.agent("lahore", "n01", ONLY_GPUS, &env);
    }
    let missing_mj = || -> Vec<u128> {
        (0..8)
            .map(|index| {
                let booked = debits(&site, &format!("gpu:{}", gpus::uuid(index)));
                let missing = gpus::energy_mj(course, index).checked_sub(booked);
                missing.unwrap_or_else(|| panic!("GPU {index}: booked twice: {booked} mJ"))
            })
            .collect()
    };
    let whole = within(120, || missing_mj().iter().all(|missing| *missing == 0).then_some(()));
    assert!(whole.is_some(), "missing per GPU {:?} mJ\n{}", missing_mj(), agent.printed());
    assert!(agent.is_running());
}

/// Goal: a lost GPU and a hung GPU cost their own values and nothing else, and say so.
#[test]
fn a_lost_and_a_hung_gpu_leave_the_others_alone() {
    let site = Site::start_tls(HUB);
    let scenario = concat!(env!("CARGO_MANIFEST_DIR"), "/fakenvml/scenarios/lost-and-hung.toml");
    let env = [
        ("BIJLI_NVML_LIB", fakenvml::library_path().display().to_string()),
        ("BIJLI_FAKENVML_SCENARIO", scenario.to_owned()),
    ];
    let agent = site.agent("lahore", "n01", ONLY_GPUS, &env);
    let (sound, lost, hung) = (gpus::uuid(0), gpus::uuid(1), gpus::uuid(3));

    let events = eventually("events of both GPUs", 60, || {
        let events = site.json("/v1/hubs/lahore/events").to_string();
        (events.contains(&lost) && events.contains(&hung)).then_some(events)
    });
    assert!(!events.contains(&sound), "{events}");
    eventually("15 s of the sound GPU's 350 W in closed intervals", 90, || {
        (debits(&site, &format!("gpu:{sound}")) > 15 * 350_000).then_some(())
    });
    let up = |index: u64| {
        let metrics = ask("GET", site.port, "/metrics/fleet", b"").expect("an answer");
        let name = format!("bijli_gpu_up{{hub=\"lahore\",node=\"n01\",gpu=\"{index}\"}}");
        let line = metrics.text().lines().find(|line| line.starts_with(&name)).map(str::to_owned);
        line.unwrap_or_else(|| panic!("no {name} in\n{}", metrics.text())).ends_with(" 1")
    };
    eventually("the lost GPU shown as down", 60, || (!up(1)).then_some(()));
    assert!(up(0), "{}", agent.printed());
}
