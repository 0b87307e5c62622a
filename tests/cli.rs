//! What the programs print, as people and other programs see it.
//!
//! Feel free to change the output; this makes sure that you break only what you intend:
//! `BIJLI_BLESS=1 cargo test -p bijli-tests --test cli` writes the files under `tests/snapshots`
//! anew. What depends on the machine is kept out by a configuration without its sensors, or masked.

use std::path::{Path, PathBuf};
use std::process::Command;

use harness::eventually;
use harness::program::binary;
use harness::site::Site;
use serde_json::Value;
use tempfile::TempDir;

const COLUMNS: usize = 80;
/// Set on some machines; the tests say themselves what they want.
const VARIABLES: [&str; 7] = [
    "BIJLI_AGENT_COLLECTOR",
    "BIJLI_AGENT_HUB",
    "BIJLI_AGENT_NODE",
    "BIJLI_AGENT_SPOOL_DIR",
    "BIJLI_AGENT_LISTEN",
    "BIJLI_COLLECTOR_LISTEN",
    "BIJLI_COLLECTOR_DIR",
];

struct Said {
    code: i32,
    out: String,
    err: String,
}

/// Runs a program in `folder` until it ends, with `env` and nothing else of ours.
fn said(folder: &Path, env: &[(&str, &str)], words: &[&str]) -> Said {
    let [program, arguments @ ..] = words else { panic!("no program") };
    let mut command = Command::new(binary(program));
    command.args(arguments).current_dir(folder);
    for name in VARIABLES {
        command.env_remove(name);
    }
    command.envs(env.iter().copied());
    let output = command.output().expect("it starts");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    let said = Said {
        code: output.status.code().expect("it was not killed"),
        out: text(output.stdout),
        err: text(output.stderr),
    };
    assert!(!said.err.contains("panicked"), "{words:?}: {}", said.err);
    said
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ is in the root").to_owned()
}

/// Compares with the file of that name under `tests/snapshots`, or writes it when told to.
fn snapshot(name: &str, found: &str) {
    let path = root().join("tests/snapshots").join(name);
    if std::env::var_os("BIJLI_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(&path, found).expect("written");
        return;
    }
    let wanted = std::fs::read_to_string(&path)
        .unwrap_or_else(|e| panic!("{}: {e}; BIJLI_BLESS=1 writes it", path.display()));
    assert!(wanted == found, "{name} was:\n{wanted}\nand is (BIJLI_BLESS=1 keeps it):\n{found}");
}

/// For people: no line is wider than a terminal that nobody resized, none ends in blanks.
fn assert_readable(what: &str, text: &str) {
    assert!(!text.is_empty() && text.ends_with('\n'), "{what}: {text:?}");
    assert!(!text.ends_with("\n\n") && !text.contains("\n\n\n"), "{what}: empty lines: {text:?}");
    for line in text.lines() {
        assert!(line.chars().count() <= COLUMNS, "{what}, too wide: {line}");
        assert_eq!(line, line.trim_end(), "{what}: blanks at the end");
        assert!(!line.contains(['\t', '\u{1b}']), "{what}: {line:?}");
    }
}

/// The value of `"key": "value"` in every line, as `"..."`.
fn masked(text: &str, keys: &[&str]) -> String {
    let mask = |line: &str| {
        let (key, value) = line.split_once("\": \"")?;
        let end = value.rfind('"')?;
        let is_masked = keys.contains(&key.trim_start().trim_start_matches('"'));
        is_masked.then(|| format!("{key}\": \"...{}", &value[end..]))
    };
    text.lines().map(|line| mask(line).unwrap_or_else(|| line.to_owned()) + "\n").collect()
}

/// A node whose sensors are files: the same on every machine. Nobody listens on port 1.
fn node() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, text).expect("written");
    };
    for (zone, name, count) in
        [("intel-rapl:0", "package-0", "7200000000\n"), ("intel-rapl:0:0", "dram", "3600000000\n")]
    {
        write(&format!("powercap/{zone}/name"), &format!("{name}\n"));
        write(&format!("powercap/{zone}/energy_uj"), count);
        write(&format!("powercap/{zone}/max_energy_range_uj"), "262143328850\n");
    }
    let config = r#"
hub = "isb"
node = "isb-n01"
collector = "http://127.0.0.1:1"
[spool]
dir = "spool"
[nvml]
enabled = false
[host]
enabled = false
[rapl]
root = "powercap"
[[modbus]]
meter = "isb/incomer"
address = "127.0.0.1:1"
power_max = "2 MW"
registers = [{ quantity = "energy_register", function = "holding", register = 1, type = "i64", unit = "Wh" }]
[[modbus]]
meter = "isb/chiller"
address = "127.0.0.1:1"
power_max = "400 kW"
profile = "eastron-sdm630"
"#;
    write("agent.toml", config);
    folder
}

#[test]
fn the_agents_check_names_what_it_has_and_what_is_in_the_way() {
    let folder = node();
    let people = said(folder.path(), &[], &["bijli-agent", "check", "--config", "agent.toml"]);
    assert_eq!(people.code, 1, "the collector is not there");
    assert_readable("check", &people.out);
    snapshot("agent-check.txt", &people.out);
    let arguments = ["bijli-agent", "check", "--json", "--config", "agent.toml"];
    let programs = said(folder.path(), &[], &arguments);
    assert_eq!(programs.code, 1, "the same answer in another form");
    let report: Value = serde_json::from_str(&programs.out).expect("one JSON document");
    assert_eq!(report["is_ready"], false);
    snapshot("agent-check.json", &masked(&programs.out, &["epoch"]));
}

/// Goal: a person sees which class of energy each GPU will have, and why.
#[test]
fn the_agents_check_says_of_each_gpu_how_its_energy_is_had() {
    let folder = node();
    let config = std::fs::read_to_string(folder.path().join("agent.toml")).expect("the config");
    let (config, _) = config.split_once("[[modbus]]").expect("a meter");
    let config = config.replace("[nvml]\nenabled = false", "[rapl]\nenabled = false");
    let config = config.replace("[rapl]\nroot = \"powercap\"", "[kernel_log]\nenabled = false");
    std::fs::write(folder.path().join("agent.toml"), config).expect("written");
    let library = fakenvml::library_path().display().to_string();
    for scenario in ["no-energy-counter", "grace", "mig"] {
        let path = root().join(format!("tests/fakenvml/scenarios/{scenario}.toml"));
        let path = path.display().to_string();
        let env = [("BIJLI_NVML_LIB", &*library), ("BIJLI_FAKENVML_SCENARIO", &*path)];
        let check = said(folder.path(), &env, &["bijli-agent", "check", "--config", "agent.toml"]);
        assert_readable("check", &check.out);
        let (_, gpus) = check.out.split_once("\n\n").expect("the settings, and then the probes");
        snapshot(&format!("agent-check-{scenario}.txt"), gpus);
    }
}

#[test]
fn the_agents_once_reads_everything_once() {
    let folder = node();
    let people = said(folder.path(), &[], &["bijli-agent", "once", "--config", "agent.toml"]);
    assert_eq!(people.code, 0, "{}", people.err);
    assert_readable("once", &people.out);
    snapshot("agent-once.txt", &people.out);
    let arguments = ["bijli-agent", "once", "--json", "--config", "agent.toml"];
    let programs = said(folder.path(), &[], &arguments);
    assert_eq!(programs.code, 0, "{}", programs.err);
    let report: Value = serde_json::from_str(&programs.out).expect("one JSON document");
    assert_eq!(report["subjects"][0]["readings"][0]["energy_mj"], "7200000");
    snapshot("agent-once.json", &programs.out);
}

/// Goal: the configuration that is shipped works on this machine, whatever it has.
#[test]
fn the_shipped_agent_example_is_ready_where_a_collector_listens() {
    let site = Site::start("[[hub]]\nid = \"isb\"\n");
    let example = root().join("agent/agent.example.toml").display().to_string();
    let collector = format!("http://127.0.0.1:{}", site.port);
    let folder = tempfile::tempdir().expect("a folder");
    let env = [("BIJLI_AGENT_COLLECTOR", collector.as_str()), ("BIJLI_AGENT_SPOOL_DIR", "spool")];
    let check = said(folder.path(), &env, &["bijli-agent", "check", "--config", &example]);
    assert_eq!(check.code, 0, "{}{}", check.out, check.err);
    assert_readable("check", &check.out);
    assert!(check.out.ends_with("\nready\n"), "{}", check.out);
    let once = said(folder.path(), &env, &["bijli-agent", "once", "--config", &example]);
    assert_eq!(once.code, 0, "{}{}", once.out, once.err);
    assert_readable("once", &once.out);
    assert!(once.out.contains("isb-n01") && once.out.contains("host memory size"), "{}", once.out);
    for command in ["check", "once"] {
        let arguments = ["bijli-agent", command, "--json", "--config", &example];
        let json = said(folder.path(), &env, &arguments);
        assert_eq!(json.code, 0, "{}", json.err);
        let report: Value = serde_json::from_str(&json.out).expect("one JSON document");
        assert!(report.is_object(), "{report}");
    }
}

#[test]
fn the_collectors_check_explains_the_shipped_example() {
    let folder = tempfile::tempdir().expect("a folder");
    let example = root().join("collector/collector.example.toml").display().to_string();
    let check = said(folder.path(), &[], &["bijli-collector", "check", "--config", &example]);
    assert_eq!(check.code, 0, "{}", check.err);
    assert_readable("check", &check.out);
    snapshot("collector-check.txt", &check.out);
}

/// The first line tells of this run.
fn body(text: &str) -> &str {
    text.split_once('\n').map_or("", |(_, rest)| rest)
}

#[test]
fn the_collectors_status_says_how_it_fares() {
    let point = "[[hub.point]]\nid = \"incomer\"\nrole = \"grid\"\nmeter = \"m1\"\n";
    let site = Site::start(&format!(
        "[[hub]]\nid = \"isb\"\ntitle = \"Islamabad\"\nexpected_nodes = 2\n[[hub]]\nid = \"khi\"\n\
         pue_category = 1\n{point}"
    ));
    let url = format!("http://127.0.0.1:{}", site.port);
    let people = said(&root(), &[], &["bijli-collector", "status", "--url", &url]);
    assert_eq!(people.code, 0, "{}", people.err);
    assert_readable("status", &people.out);
    assert!(people.out.starts_with("bijli-collector ") && people.out.contains(", ready, "));
    snapshot("collector-status.txt", body(&people.out));
    let programs = said(&root(), &[], &["bijli-collector", "status", "--json", "--url", &url]);
    assert_eq!(programs.code, 0, "{}", programs.err);
    let status: Value = serde_json::from_str(&programs.out).expect("one JSON document");
    assert_eq!(status["is_ready"], true);
    let pretty = serde_json::to_string_pretty(&status).expect("JSON");
    let of_this_run = ["version", "started", "journal_records", "journal_bytes", "from", "to"];
    snapshot("collector-status.json", &masked(&pretty, &of_this_run));

    for (url, words) in [
        ("http://127.0.0.1:1", "is a collector running there?"),
        ("127.0.0.1:8640", "is no address like http://127.0.0.1:8640"),
    ] {
        let refused = said(&root(), &[], &["bijli-collector", "status", "--url", url]);
        assert_eq!((refused.code, refused.out.as_str()), (1, ""));
        assert!(refused.err.contains(words), "{}", refused.err);
    }
}

/// Goal: a question that cannot be answered leaves stdout empty and says what, where, and what to
/// do; that there is no PUE is an answer, with an exit code of its own.
#[test]
fn the_collectors_answers_refuse_in_words() {
    let site = Site::start("[[hub]]\nid = \"isb\"\n");
    let url = format!("http://127.0.0.1:{}", site.port);
    for (words, expected) in [
        (
            &["pue", "--hub", "isb", "--url", "http://127.0.0.1:1"][..],
            "is a collector running there?",
        ),
        (&["events", "--url", "127.0.0.1"], "is no address like http://127.0.0.1:8640"),
        (&["pue", "--hub", "khi", "--url", &url], "there is no hub \"khi\""),
        (&["energy", "--hub", "isb", "--project", "x", "--url", &url], "there is no project \"x\""),
        (
            &["balance", "--hub", "isb", "--from", "now", "--url", &url],
            "a date, which is midnight UTC",
        ),
        (
            &["balance", "--hub", "isb", "--to", "2026-08-01T09:00", "--url", &url],
            "\"2026-08-01T09:00\"",
        ),
        (&["events", "--limit", "0", "--url", &url], "from 1 to 10000"),
    ] {
        let refused = said(&root(), &[], &[&["bijli-collector"], words].concat());
        assert_eq!((refused.code, refused.out.as_str()), (1, ""), "{words:?}: {}", refused.err);
        assert!(refused.err.contains(expected), "{words:?}: {}", refused.err);
    }
    let none = ["bijli-collector", "pue", "--hub", "isb", "--url", &url];
    let people = said(&root(), &[], &none);
    assert_eq!((people.code, people.err.as_str()), (3, ""), "{}", people.out);
    assert!(people.out.starts_with("no PUE: no PUE category is declared"), "{}", people.out);
    let programs = said(&root(), &[], &[&none[..], &["--json"]].concat());
    let json: Value = serde_json::from_str(&programs.out).expect("one JSON document");
    assert_eq!((programs.code, &json["no_pue"]["code"]), (3, &"no_category".into()));
}

/// What the commands say of a period equals the API, in JSON and in every cell of the CSV.
fn assert_answers_equal_the_api(site: &Site) {
    let url = format!("http://127.0.0.1:{}", site.port);
    let ask = |words: &[&str]| {
        let line = [&["bijli-collector"], words, &["--hub", "sim-lahore", "--url", &url]].concat();
        said(&root(), &[], &line)
    };
    let hub = site.json("/v1/hubs/sim-lahore");
    let (from, to) = (hub["closed_from"].as_str(), hub["closed_until"].as_str());
    let (from, to) = (from.expect("a time"), to.expect("a time"));
    for (command, address) in [
        ("pue", "hubs/sim-lahore/pue?"),
        ("balance", "hubs/sim-lahore/balance?"),
        ("energy", "energy?hub=sim-lahore&by=project&"),
    ] {
        let json = ask(&[command, "--from", from, "--to", to, "--json"]);
        assert_eq!((json.code, json.err.as_str()), (0, ""), "{command}");
        let found: Value = serde_json::from_str(&json.out).expect("one JSON document");
        let mut told = site.json(&format!("/v1/{address}from={from}&to={to}"));
        if let Some(name) = found["as_of"]["name"].as_str() {
            // More may have been booked since: as of then it is the same for ever.
            told = site.json(&format!("/v1/{address}from={from}&to={to}&as_of={name}"));
        }
        assert_eq!(found, told, "{command}: {}", json.err);
        let people = ask(&[command, "--from", from, "--to", to]);
        assert_eq!((people.code, people.err.as_str()), (0, ""), "{}", people.out);
        let is_wide = |line: &str| line.chars().count() > 100;
        assert!(!people.out.lines().any(is_wide), "{}", people.out);
    }
    let projects = site.json(&format!("/v1/hubs/sim-lahore/projects?from={from}&to={to}"));
    let csv = ask(&["energy", "--csv", "--from", from, "--to", to]);
    for project in projects["projects"].as_array().expect("projects") {
        let text = |key: &str| project[key].as_str().expect("a text").to_owned();
        let row = ["gpu_active_mj", "gpu_held_idle_mj", "host_mj", "it_mj"].map(text).join(",");
        let row = format!(",{},{row},", text("project"));
        assert!(csv.out.contains(&row), "{row}\n{}", csv.out);
    }
    for account in ["idle_unallocated", "host_overhead", "unattributed"] {
        let row = format!(",{},,", projects[account]["energy_mj"].as_str().expect("an amount"));
        assert!(csv.out.contains(&row), "{row}\n{}", csv.out);
    }
    let events = ask(&["events", "--json"]);
    let events: Value = serde_json::from_str(&events.out).expect("one JSON document");
    assert_eq!(events, site.json("/v1/events?hub=sim-lahore&limit=100"));
}

/// Goal: a hub with projects and a PUE, still a table. It lives on until its past is closed.
#[test]
fn the_collectors_status_of_a_busy_hub_is_aligned() {
    let folder = tempfile::tempdir().expect("a folder");
    let size = ["--nodes", "2", "--gpus", "2"];
    let print = [&["bijli-agent", "simulate", "--print-diagram"][..], &size].concat();
    let diagram = said(folder.path(), &[], &print);
    assert_eq!(diagram.code, 0, "{}", diagram.err);
    let site = Site::start(&diagram.out);
    let url = format!("http://127.0.0.1:{}", site.port);
    let play = ["bijli-agent", "simulate", "--history", "20m", "--for", "8s", "--dir", "spools"];
    let play = [&play[..], &size, &["--collector", &url]].concat();
    let played = said(folder.path(), &[], &play);
    assert_eq!(played.code, 0, "{}", played.err);
    let status = eventually("projects in the status", 60, || {
        let status = said(folder.path(), &[], &["bijli-collector", "status", "--url", &url]).out;
        status.contains("\n    project ").then_some(status)
    });
    // The PUE is one line that may not be broken: no figure without its period and coverage.
    let (pue, rest): (Vec<&str>, Vec<&str>) =
        status.lines().partition(|line| line.starts_with("    PUE "));
    assert_eq!(pue.len(), 1, "{status}");
    assert_readable("status", &(rest.join("\n") + "\n"));
    assert!(status.contains("books            balanced to the millijoule"), "{status}");
    let table: Vec<&str> =
        status.lines().skip_while(|line| !line.starts_with("    project ")).collect();
    assert!(table.len() > 2, "a head and projects: {status}");
    let widths: Vec<usize> = table.iter().map(|line| line.chars().count()).collect();
    assert!(widths.iter().all(|width| *width == widths[0]), "{status}");
    assert_answers_equal_the_api(&site);
}

#[test]
fn the_printed_diagram_is_a_configuration() {
    let folder = tempfile::tempdir().expect("a folder");
    let arguments = ["bijli-agent", "simulate", "--print-diagram", "--nodes", "3"];
    let diagram = said(folder.path(), &[], &arguments);
    assert_eq!((diagram.code, diagram.err.as_str()), (0, ""));
    std::fs::write(folder.path().join("collector.toml"), &diagram.out).expect("written");
    let arguments = ["bijli-collector", "check", "--config", "collector.toml"];
    let check = said(folder.path(), &[], &arguments);
    assert_eq!(check.code, 0, "{}{}", check.err, diagram.out);
    assert_readable("check", &check.out);
    snapshot("simulated-check.txt", &check.out);
}

#[test]
fn every_subcommand_explains_itself() {
    let folder = tempfile::tempdir().expect("a folder");
    for (program, commands) in [
        (
            "bijli-agent",
            &["", "run", "check", "once", "pause", "hold", "resume", "calibrate", "simulate"][..],
        ),
        (
            "bijli-collector",
            &[
                "",
                "serve",
                "check",
                "status",
                "pue",
                "kpi",
                "balance",
                "diagram",
                "energy",
                "budgets",
                "events",
                "checks",
                "meterbook",
                "meterbook add",
                "meterbook list",
                "period",
                "period close",
                "period restate",
                "period list",
                "period show",
                "retire",
                "replay",
                "report",
                "pack",
                "demo",
                "ca",
                "seal",
                "seal key",
                "seal anew",
                "witness",
                "witness serve",
                "witness once",
                "verify",
            ],
        ),
    ] {
        let mut all = String::new();
        for command in commands {
            let words = [program].into_iter().chain(command.split_whitespace()).chain(["--help"]);
            let words: Vec<&str> = words.collect();
            let help = said(folder.path(), &[], &words);
            assert_eq!((help.code, help.err.as_str()), (0, ""), "{words:?}");
            assert!(help.out.contains("Usage: "), "{}", help.out);
            all.push_str(&format!("$ {}\n{}\n", words.join(" "), help.out));
        }
        snapshot(&format!("{program}-help.txt"), &all);
        let listed = said(folder.path(), &[], &[program, "--help"]).out;
        let is_listed = |name: &&&str| !name.is_empty() && listed.contains(&format!("\n  {name} "));
        // Not the subcommands of a subcommand.
        let own = commands.iter().filter(|command| !command.contains(' ')).count();
        assert_eq!(commands.iter().filter(is_listed).count(), own - 1, "{listed}");
        let subcommands = listed.split("Commands:\n").nth(1).expect("a list");
        let lines = subcommands.lines().take_while(|line| !line.is_empty());
        // A further line of one begins further right.
        let count = lines.filter(|line| !line.starts_with("   ")).count();
        assert_eq!(count, own, "and `help`; a new subcommand belongs here: {listed}");
    }
}

#[test]
fn a_wrong_command_line_is_refused_with_the_usage() {
    let folder = tempfile::tempdir().expect("a folder");
    for (words, expected) in [
        (&["bijli-agent", "rnu"][..], "unrecognized subcommand 'rnu'"),
        (&["bijli-agent"], "Usage: bijli-agent <COMMAND>"),
        (&["bijli-agent", "run", "--conf", "x"], "unexpected argument '--conf'"),
        (&["bijli-agent", "simulate"], "--dir <DIR>"),
        (&["bijli-agent", "simulate", "--dir", "x", "--history", "60"], "bare number"),
        (&["bijli-collector", "serv"], "unrecognized subcommand 'serv'"),
        (&["bijli-collector", "replay"], "--dir <DIR>"),
        (&["bijli-collector", "demo", "--for", "5"], "bare number"),
        (&["bijli-collector", "pue"], "--hub <HUB>"),
        (&["bijli-collector", "energy", "--hub", "isb", "--by", "colour"], "[possible values: "),
        (&["bijli-collector", "energy", "--hub", "isb", "--csv", "--json"], "cannot be used with"),
        (&["bijli-collector", "events", "--severity", "high"], "[possible values: page, "),
    ] {
        let refused = said(folder.path(), &[], words);
        assert_eq!((refused.code, refused.out.as_str()), (2, ""), "{words:?}: {}", refused.err);
        assert!(refused.err.contains(expected), "{words:?}: {}", refused.err);
    }
}
