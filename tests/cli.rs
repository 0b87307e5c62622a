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
            &["", "run", "check", "once", "pause", "resume", "calibrate", "simulate"][..],
        ),
        ("bijli-collector", &["", "serve", "check", "status", "replay", "demo", "ca"]),
    ] {
        let mut all = String::new();
        for command in commands {
            let words: Vec<&str> =
                [program, command, "--help"].into_iter().filter(|word| !word.is_empty()).collect();
            let help = said(folder.path(), &[], &words);
            assert_eq!((help.code, help.err.as_str()), (0, ""), "{words:?}");
            assert!(help.out.contains("Usage: "), "{}", help.out);
            all.push_str(&format!("$ {}\n{}\n", words.join(" "), help.out));
        }
        snapshot(&format!("{program}-help.txt"), &all);
        let listed = said(folder.path(), &[], &[program, "--help"]).out;
        let is_listed = |name: &&&str| listed.contains(&format!("\n  {name} "));
        assert_eq!(commands.iter().filter(is_listed).count(), commands.len() - 1, "{listed}");
        let subcommands = listed.split("Commands:\n").nth(1).expect("a list");
        let count = subcommands.lines().take_while(|line| !line.is_empty()).count();
        assert_eq!(count, commands.len(), "and `help`; a new subcommand belongs here: {listed}");
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
    ] {
        let refused = said(folder.path(), &[], words);
        assert_eq!((refused.code, refused.out.as_str()), (2, ""), "{words:?}: {}", refused.err);
        assert!(refused.err.contains(expected), "{words:?}: {}", refused.err);
    }
}
