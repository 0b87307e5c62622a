//! Bad configurations, end to end: refused with exit code 1, the place and a remedy.

use std::path::Path;
use std::process::Command;

use harness::program::{Program, binary};

use super::{GRID, HUB};

/// Runs a program until it ends by itself; its exit code and what it printed.
pub fn ends(program: &str, words: &[&str], config: &Path) -> (i32, String) {
    let log = config.with_extension("log");
    let mut command = Command::new(binary(program));
    command.args(words).arg("--config").arg(config);
    let mut running = Program::start(&mut command, &log);
    let code = running.wait(15).code().expect("it was not killed");
    let printed = running.printed();
    std::fs::remove_file(log).expect("it logged");
    (code, printed)
}

/// Asserts that both ways to use a configuration refuse it with exit code 1 and these words.
fn refused_configuration(program: &str, text: &str, words: &[&str]) {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("bad.toml");
    std::fs::write(&config, text).expect("written");
    let runs = if program == "bijli-agent" { "run" } else { "serve" };
    for command in ["check", runs] {
        let (code, printed) = ends(program, &[command], &config);
        assert_eq!(code, 1, "{program} {command}: {printed}");
        assert!(!printed.contains("panicked"), "{printed}");
        for word in words {
            assert!(printed.contains(word), "{program} {command} does not say {word:?}: {printed}");
        }
    }
}

#[test]
fn a_wrong_collector_configuration_is_refused_with_place_and_remedy() {
    let point = |lines: &str| format!("{HUB}{GRID}[[hub.point]]\n{lines}\n");
    let circle = "id = \"a\"\nrole = \"pdu\"\nfed_by = \"b\"\n[[hub.point]]\nid = \"b\"\n\
                  role = \"pdu\"\nfed_by = \"a\"";
    let rows: [(String, &[&str]); 8] = [
        (format!("lisen = \"x\"\n{HUB}"), &["bad.toml", "line 1", "unknown field `lisen`"]),
        (format!("{HUB}titel = \"x\"\n"), &["line 3", "unknown field `titel`", "`title`"]),
        (format!("\ninterval = 900\n{HUB}"), &["line 2", "\"900\" is a bare number", "\"15s\""]),
        (format!("disk_reserve = 5\n{HUB}"), &["line 1", "bare number", "\"2 GiB\""]),
        (
            point("id = \"c\"\nrole = \"cooling\"\nmeter = \"m1\""),
            &["hub \"isb\"", "meter m1 counts at both incomer and c", "take it off one"],
        ),
        (
            format!("{HUB}[[hub.xid]]\ncode = 999\nseverity = \"page\"\n"),
            &["hub \"isb\", xid 999: the catalogue has no such XID", "the catalogue has 1 to 172"],
        ),
        (point(circle), &["hub \"isb\"", "circle: a -> b -> a", "cut the circle"]),
        (
            point("id = \"a\"\nrole = \"pdu\"\nfed_by = \"nowhere\""),
            &["point a is fed by nowhere, which is not declared", "declare the feeding point"],
        ),
    ];
    for (text, words) in rows {
        refused_configuration("bijli-collector", &text, words);
    }
}

#[test]
fn a_wrong_agent_configuration_is_refused_with_place_and_remedy() {
    let least = "hub = \"isb\"\nnode = \"gw\"\n";
    let meter = "[[modbus]]\nmeter = \"m1\"\naddress = \"127.0.0.1:502\"\npower_max = \"1 MW\"\n\
                 registers = [{ quantity = \"energy_register\", function = \"holding\", \
                 register = 3203, type = \"i64\", unit = \"Wh\" }]\n";
    let rows: [(String, &[&str]); 6] = [
        (
            format!("{least}colector = \"x\"\n"),
            &["bad.toml", "line 3", "unknown field `colector`", "`collector`"],
        ),
        (format!("{least}batch = 5\n"), &["line 3", "\"5\" is a bare number", "\"15s\""]),
        (
            format!("{least}{}", meter.replace("\"1 MW\"", "1000")),
            &["line 6", "bare number", "with its unit"],
        ),
        (format!("{least}{meter}{meter}"), &["modbus: \"m1\" is named twice", "an id of its own"]),
        (
            format!("{least}{}", meter.replace("energy_register", "enrgy")),
            &["meter \"m1\": register 3203: \"enrgy\" is no quantity", "energy_register"],
        ),
        ("node = \"gw\"\n".to_owned(), &["hub: is missing", "hub = \"isb\""]),
    ];
    for (text, words) in rows {
        refused_configuration("bijli-agent", &text, words);
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    for (program, command) in [("bijli-agent", "check"), ("bijli-collector", "check")] {
        let folder = tempfile::tempdir().expect("a folder");
        let (code, printed) = ends(program, &[command], &folder.path().join("none.toml"));
        assert_eq!(code, 1, "{printed}");
        assert!(printed.contains("cannot read") && printed.contains("none.toml"), "{printed}");
        assert!(printed.contains("No such file"), "{printed}");
    }
}
