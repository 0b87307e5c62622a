//! Disks without room, folders that cannot be written, meters that are silent, and a second process
//! where there may be one.

use std::net::TcpListener;

use bijli_wire::ErrorCode;
use harness::eventually;
use harness::http::ask;
use harness::program::free_port;
use harness::site::Site;

use super::HUB;
use super::answer::{assert_alive, assert_refusal, raw};
use super::configuration::ends;
use super::sender::{accepted, assert_booked, batch, body, booked, now_ms, teach};

/// Goal: under its reserve the collector takes nothing, says so, and still answers readers; with
/// room again it takes the very same bytes. The reserve is raised above the free space instead of
/// filling a disk: that needs no right to mount and cannot be skipped.
#[test]
fn a_full_disk_refuses_batches_and_answers_readers() {
    let mut site = Site::start(HUB);
    let begin = now_ms() - 120_000;
    let id = teach(&site);
    accepted(&site, &batch(id, 1, begin));
    assert_booked(&site, 900_000);

    let config = site.path("collector.toml");
    let small = std::fs::read_to_string(&config).expect("a file");
    let large = small.replace("\"1 MiB\"", "\"1000000 TiB\"");
    assert_ne!(small, large);
    std::fs::write(&config, &large).expect("written");
    assert!(site.collector.stop(20).success(), "{}", site.collector.printed());
    site.restart();
    let next = body(&batch(id, 2, begin + 10_000));
    let head = format!(
        "POST /v1/batches HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        next.len()
    );
    for _ in 0..2 {
        let (head, body) = raw(site.port, &[head.as_bytes(), &next].concat());
        let words = ["disk is full", "nothing was written", "send again later"];
        assert_refusal("full", &head, &body, ErrorCode::DiskFull, &words);
        assert!(head.contains("retry-after: 15"), "{head}");
        assert_alive(&mut site);
    }
    assert_eq!(booked(&site), 900_000, "reading goes on");

    std::fs::write(&config, small).expect("written");
    assert!(site.collector.stop(20).success(), "{}", site.collector.printed());
    site.restart();
    accepted(&site, &batch(id, 2, begin + 10_000));
    assert_booked(&site, 1_900_000);
}

#[test]
fn a_collector_that_cannot_begin_for_want_of_space_says_what_to_do() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("collector.toml");
    let dir = folder.path().join("data");
    let text = format!(
        "listen = \"127.0.0.1:{}\"\ndir = \"{}\"\ndisk_reserve = \"1000000 TiB\"\n{HUB}",
        free_port(),
        dir.display()
    );
    std::fs::write(&config, text).expect("written");
    let (code, printed) = ends("bijli-collector", &["serve"], &config);
    assert_eq!(code, 1, "{printed}");
    for word in ["disk_reserve", &dir.display().to_string(), "make room"] {
        assert!(printed.contains(word), "{word}: {printed}");
    }
}

#[test]
fn a_second_collector_on_one_directory_is_refused() {
    let mut site = Site::start(HUB);
    let text = std::fs::read_to_string(site.path("collector.toml")).expect("a file");
    let second = site.path("second.toml");
    let port = format!("127.0.0.1:{}", site.port);
    // On the same address, and on another.
    for (listen, words) in [
        (port.clone(), &["cannot listen on", &port, "in use"][..]),
        (format!("127.0.0.1:{}", free_port()), &["collector/journal", "another process has this"]),
    ] {
        std::fs::write(&second, text.replace(&port, &listen)).expect("written");
        let (code, printed) = ends("bijli-collector", &["serve"], &second);
        assert_eq!(code, 1, "{printed}");
        for word in words {
            assert!(printed.contains(word), "{word}: {printed}");
        }
        assert_alive(&mut site);
    }
    let id = teach(&site);
    accepted(&site, &batch(id, 1, now_ms() - 120_000));
    assert_booked(&site, 900_000);
}

/// The time of the newest reading of a node, once it has one.
fn newest(site: &Site, node: &str) -> Option<String> {
    let answer = ask("GET", site.port, &format!("/v1/hubs/isb/nodes/{node}"), b"")?;
    if answer.status != 200 {
        return None;
    }
    answer.json()["newest_reading"].as_str().map(str::to_owned)
}

/// Waits until a node has said something new since now.
fn assert_still_reporting(site: &Site, node: &str) {
    let before = newest(site, node);
    eventually(&format!("a reading of {node} after {before:?}"), 30, || {
        newest(site, node).filter(|newest| before.as_ref() < Some(newest))
    });
}

const ONLY_HOST: &str = "[nvml]\nenabled = false\n[rapl]\nenabled = false\n";

fn meter(id: &str, port: u16) -> String {
    format!(
        "[[modbus]]\nmeter = \"{id}\"\naddress = \"127.0.0.1:{port}\"\nevery = \"1s\"\ntimeout = \
         \"1s\"\npower_max = \"1 MW\"\nregisters = [{{ quantity = \"energy_register\", function = \
         \"holding\", register = 3203, type = \"i64\", unit = \"Wh\" }}]\n"
    )
}

/// Goal: a meter where nobody listens and one that takes the call and stays silent are named, and
/// everything else goes on.
#[test]
fn an_unreachable_meter_is_named_and_costs_only_itself() {
    let site = Site::start(HUB);
    let silent = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let silent_port = silent.local_addr().expect("bound").port();
    let settings =
        format!("{ONLY_HOST}{}{}", meter("m-dead", free_port()), meter("m-silent", silent_port));
    let mut agent = site.agent("isb", "gw", &settings, &[]);
    for words in ["m-dead at 127.0.0.1", "connection refused", "m-silent at 127.0.0.1"] {
        eventually(&format!("{words:?} in {}", agent.printed()), 20, || {
            agent.printed().contains(words).then_some(())
        });
    }
    assert_still_reporting(&site, "gw");
    let events = eventually("the meters' failures in the hub's events", 20, || {
        let events = site.json("/v1/hubs/isb/events").to_string();
        (events.contains("m-dead") && events.contains("m-silent")).then_some(events)
    });
    assert!(events.contains("probe_failed"), "{events}");
    assert!(agent.is_running(), "{}", agent.printed());
    assert!(agent.stop(20).success(), "{}", agent.printed());
}

#[test]
fn a_second_agent_on_one_spool_is_refused() {
    let site = Site::start(HUB);
    let mut first = site.agent("isb", "gw", ONLY_HOST, &[]);
    eventually("a first reading", 30, || newest(&site, "gw"));
    let (code, printed) = ends("bijli-agent", &["run"], &site.path("gw.toml"));
    assert_eq!(code, 1, "{printed}");
    let spool = site.path("gw.spool").display().to_string();
    for word in ["another bijli-agent uses the spool", &spool, "one spool serves one agent"] {
        assert!(printed.contains(word), "{word}: {printed}");
    }
    assert!(first.is_running());
    assert_still_reporting(&site, "gw");
}

/// Below a file there is no directory, whoever asks: the superuser, as whom tests may run, is
/// stopped by no permission.
#[test]
fn a_spool_that_cannot_be_written_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("file");
    std::fs::write(&file, b"").expect("written");
    for dir in [file.join("spool"), file.clone()] {
        let config = folder.path().join("agent.toml");
        let text = format!(
            "hub = \"isb\"\nnode = \"gw\"\ncollector = \"http://127.0.0.1:1\"\n{ONLY_HOST}[spool]\n\
             dir = \"{}\"\n",
            dir.display()
        );
        std::fs::write(&config, text).expect("written");
        let (code, printed) = ends("bijli-agent", &["run"], &config);
        assert_eq!(code, 1, "{printed}");
        for word in ["cannot open the spool", &dir.display().to_string(), "irector"] {
            assert!(printed.contains(word), "{word}: {printed}");
        }
        let (code, printed) = ends("bijli-agent", &["check"], &config);
        assert_eq!(code, 1, "{printed}");
        assert!(printed.contains("problem: the spool's directory"), "{printed}");
    }
}
