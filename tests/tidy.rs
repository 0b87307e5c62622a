//! The house rules that a machine can hold: who may import what, how long things are, and that
//! every file says on its first line what it is for. One pass over the tree, plain text.

use std::fs;
use std::path::{Path, PathBuf};

/// Longest file, tests not counted, in lines.
const LINES_MAX: usize = 600;
/// Longest line, in characters.
const WIDTH_MAX: usize = 100;

/// A word, and the files that may use it.
struct Ban {
    word: &'static str,
    /// Path prefixes or exact files, from the repository's root.
    allowed: &'static [&'static str],
    instead: &'static str,
}

const BANS: &[Ban] = &[
    Ban {
        word: "tokio",
        allowed: &[
            "agent/src/agent.rs",
            "agent/src/main.rs",
            "agent/src/simulate",
            "agent/src/uplink/http.rs",
            "agent/src/uplink/connect.rs",
            "agent/src/probe/modbus",
            "agent/src/probe/redfish/http.rs",
            "agent/src/probe/snmp/link.rs",
            "agent/src/holders/watch/kubelet/client.rs",
            "agent/src/health.rs",
            "collector/src/main.rs",
            "collector/src/collector.rs",
            "collector/src/caller.rs",
            "collector/src/ingest/",
            "collector/src/api/",
            "collector/src/page/",
            "collector/src/export/",
            "collector/src/feed/influx.rs",
            "collector/src/demo",
            "collector/src/answers/tests.rs",
            "collector/src/ask.rs",
            "collector/src/health.rs",
            "collector/src/witness/server.rs",
            "tests/bench/",
            "tests/stampede/sender.rs",
        ],
        instead: "hand the pure core an event and the time",
    },
    Ban {
        word: "axum::",
        allowed: &[
            "collector/src/api/",
            "collector/src/page/",
            "collector/src/export/",
            "collector/src/ingest/",
            "collector/src/collector.rs",
            "collector/src/health.rs",
            "collector/src/status.rs",
            "collector/src/witness/server.rs",
        ],
        instead: "answer from api/, page/, export/ or ingest/",
    },
    Ban {
        word: "nvml_wrapper",
        allowed: &["agent/src/probe/nvml/real", "tests/fakenvml/"],
        instead: "use our own trait in agent/src/probe/nvml",
    },
    // Who may speak TLS, and who may make certificates.
    Ban {
        word: "rustls",
        allowed: &[
            "identity/src/",
            "agent/src/uplink/connect.rs",
            "agent/src/probe/modbus/connection.rs",
            "agent/src/probe/redfish/http.rs",
            "collector/src/caller.rs",
            "collector/src/ingest/tls.rs",
            "tests/bench/",
            "tests/hostile/slow.rs",
        ],
        instead: "ask bijli_identity",
    },
    Ban {
        word: "tokio_rustls",
        allowed: &[
            "agent/src/uplink/connect.rs",
            "agent/src/probe/modbus/connection.rs",
            "agent/src/probe/redfish/http.rs",
            "collector/src/caller.rs",
            "collector/src/ingest/tls.rs",
        ],
        instead: "wrap the socket where it is opened or accepted",
    },
    Ban {
        word: "ring::",
        allowed: &["identity/src/", "collector/tlog/src/key.rs"],
        instead: "sign with bijli_tlog::SigningKey",
    },
    Ban {
        word: "rcgen",
        allowed: &[
            "collector/src/ca/",
            "identity/src/testing.rs",
            "tests/identity.rs",
            "tests/meters_tls.rs",
        ],
        instead: "issue with collector/src/ca",
    },
    Ban {
        word: "x509_parser",
        allowed: &["identity/src/certificate.rs"],
        instead: "ask bijli_identity::Certificate",
    },
    Ban { word: "async_snmp", allowed: &["agent/src/probe/snmp/link.rs"], instead: "ask the link" },
    Ban {
        word: "influxdb2",
        allowed: &["collector/src/feed/influx.rs"],
        instead: "write lines through feed::Store",
    },
    Ban { word: "sysinfo::", allowed: &["agent/src/probe/host.rs"], instead: "ask the host probe" },
    Ban {
        word: "prometheus::",
        allowed: &[
            "agent/src/health.rs",
            "collector/src/health.rs",
            "tests/bench/ingest/scrape.rs",
        ],
        instead: "count in health.rs; the fleet's metrics have a direct writer in export/",
    },
    Ban {
        word: "chrono::",
        allowed: &[
            "agent/src/calibrate/record.rs",
            "agent/src/cli.rs",
            "agent/src/report/",
            "agent/src/simulate",
            "agent/src/probe/replay",
            "collector/src/cli.rs",
            "collector/src/calendar.rs",
            "collector/src/demo",
            "collector/src/report/",
            "collector/src/export/",
        ],
        instead: "keep UtcMillis; calendars are for people",
    },
    Ban {
        word: "chrono_tz",
        allowed: &["collector/src/calendar.rs"],
        instead: "ask calendar::zone for the ledger's Zone",
    },
    Ban {
        word: "anyhow",
        allowed: &[
            "agent/src/main.rs",
            "agent/src/cli.rs",
            "collector/src/main.rs",
            "collector/src/cli.rs",
            "collector/src/cli/",
            "tests/",
        ],
        instead: "a thiserror enum with one variant per operation",
    },
    Ban {
        word: "f64",
        allowed: &[
            "agent/src/calibrate/fit.rs",
            "agent/src/probe/",
            "agent/src/report/",
            "agent/src/health.rs",
            "collector/src/export/",
            // The protocol's samples are doubles.
            "collector/src/feed/remote/request.rs",
            "collector/src/health.rs",
            "tests/",
        ],
        instead: "an integer in the unit of its type",
    },
    Ban {
        word: "f32",
        allowed: &["agent/src/probe/", "tests/"],
        instead: "an integer in the unit of its type",
    },
    Ban {
        word: "HashMap",
        allowed: &["tests/"],
        instead: "BTreeMap: its order is the same in every run",
    },
    Ban { word: concat!("FIX", "ME"), allowed: &[], instead: "do it, or file an issue" },
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ is in the root").to_owned()
}

fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// The file up to its unit tests, which are last in a file of this house.
fn without_tests(text: &str) -> &str {
    text.split("\n#[cfg(test)]").next().unwrap_or(text)
}

fn code(line: &str) -> &str {
    line.split("//").next().unwrap_or(line)
}

fn mentions(line: &str, word: &str) -> bool {
    let letter = |c: char| c.is_alphanumeric() || c == '_';
    code(line).match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        let ends = word.ends_with(':') || !after.is_some_and(letter);
        !before.is_some_and(letter) && ends
    })
}

fn findings(path: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    if !text.starts_with("//! ") {
        found.push(format!("{path}:1: say with `//!` what this file is for"));
    }
    let product = without_tests(text);
    let lines = product.lines().count();
    if lines > LINES_MAX {
        found.push(format!("{path}: {lines} lines before its tests, the limit is {LINES_MAX}"));
    }
    for (number, line) in text.lines().enumerate() {
        let number = number + 1;
        // rustfmt holds code to the width, but leaves string literals alone, and so do we.
        if line.chars().count() > WIDTH_MAX && !line.contains('"') {
            found.push(format!("{path}:{number}: longer than {WIDTH_MAX} characters"));
        }
    }
    for ban in BANS.iter().filter(|ban| !ban.allowed.iter().any(|ok| path.starts_with(ok))) {
        for (number, line) in product.lines().enumerate() {
            if mentions(line, ban.word) {
                let (number, word, instead) = (number + 1, ban.word, ban.instead);
                found.push(format!("{path}:{number}: `{word}` may not be used here: {instead}"));
            }
        }
    }
    found
}

#[test]
fn the_tree_keeps_the_house_rules() {
    let root = root();
    let mut files = Vec::new();
    rust_files(&root, &mut files);
    assert!(files.len() > 40, "the walk found only {} files", files.len());
    let mut found = Vec::new();
    for file in files {
        let path = file.strip_prefix(&root).expect("under the root").to_string_lossy().into_owned();
        if path.ends_with("tests/tidy.rs") {
            continue; // it names what it bans
        }
        found.extend(findings(&path, &fs::read_to_string(&file).expect("readable")));
    }
    assert!(found.is_empty(), "{} findings\n{}", found.len(), found.join("\n"));
}

/// The arrows between the crates: each manifest names only what it may reach.
#[test]
fn the_crates_point_one_way() {
    for (manifest, may_use) in [
        ("wire", &[][..]),
        ("seglog", &[]),
        ("identity", &["bijli-wire"]),
        ("collector/ledger", &["bijli-wire"]),
        ("collector/tlog", &[]),
        ("agent/fleet", &["bijli-wire"]),
        ("agent", &["bijli-wire", "bijli-seglog", "bijli-identity", "bijli-fleet"]),
        (
            "collector",
            &["bijli-wire", "bijli-seglog", "bijli-identity", "bijli-ledger", "bijli-tlog"],
        ),
    ] {
        let text = fs::read_to_string(root().join(manifest).join("Cargo.toml")).expect("manifest");
        let (product, tests) = text.split_once("[dev-dependencies]").unwrap_or((&text, ""));
        for line in product.lines().filter(|line| line.starts_with("bijli-")) {
            let name = line.split(['.', ' ']).next().expect("a name");
            if name == "bijli-planted" {
                assert!(line.contains("optional = true"), "{manifest} always has {name}");
                continue;
            }
            assert!(may_use.contains(&name), "{manifest} may not depend on {name}");
        }
        // A test may ask the ledger, which reaches nothing, what it makes of something.
        for line in tests.lines().filter(|line| line.starts_with("bijli-")) {
            let name = line.split('.').next().expect("a name");
            let may_ask = may_use.contains(&name) || name == "bijli-ledger";
            assert!(may_ask, "{manifest} may not depend on {name}, not even in tests");
        }
    }
}

#[test]
fn the_pure_crates_reach_no_runtime() {
    for pure in ["wire", "collector/ledger", "collector/tlog", "agent/fleet"] {
        let text = fs::read_to_string(root().join(pure).join("Cargo.toml")).expect("manifest");
        for banned in ["tokio", "hyper", "axum", "chrono", "rustix", "getrandom"] {
            assert!(!text.contains(banned), "{pure} must not depend on {banned}");
        }
    }
}

/// What `make build` ships has no switch for a planted bug, in none of its crates.
#[test]
fn planted_bugs_are_not_in_what_is_shipped() {
    let tree = |more: &[&str]| {
        let base = ["tree", "--locked", "--offline", "--edges", "normal,features"];
        let cargo = std::process::Command::new(env!("CARGO"))
            .args(base)
            .args(more)
            .current_dir(root())
            .output()
            .expect("cargo runs");
        assert!(cargo.status.success(), "{}", String::from_utf8_lossy(&cargo.stderr));
        String::from_utf8(cargo.stdout).expect("text")
    };
    let shipped = tree(&[]);
    assert!(shipped.contains("bijli-agent") && shipped.contains("bijli-collector"), "{shipped}");
    assert!(!shipped.contains("planted"), "{shipped}");
    assert!(tree(&["--features", "bijli-agent/planted"]).contains("bijli-planted"));
}

#[test]
fn these_checks_can_fail() {
    let long = format!("//! Fine.\n{}", "x\n".repeat(LINES_MAX));
    assert_eq!(findings("agent/src/x.rs", &long).len(), 1);
    assert_eq!(findings("agent/src/x.rs", "no doc\n").len(), 1);
    assert_eq!(findings("agent/src/batcher.rs", "//! X.\nuse tokio::time;\n").len(), 1);
    assert_eq!(findings("agent/src/batcher.rs", "//! X.\n// tokio is not used\n").len(), 0);
    assert_eq!(findings("collector/ledger/src/x.rs", "//! X.\nlet x: f64 = y;\n").len(), 1);
}

/// A file, and the files of the folder that has its name.
fn with_modules(path: &Path) -> String {
    let mut text = fs::read_to_string(path).unwrap_or_default();
    let mut modules = Vec::new();
    if path.with_extension("").is_dir() {
        rust_files(&path.with_extension(""), &mut modules);
    }
    modules.iter().for_each(|path| text += &fs::read_to_string(path).unwrap_or_default());
    text
}

/// The page on faults names tests; each must be where it says, or the page proves nothing.
#[test]
fn every_test_that_the_page_on_faults_names_is_there() {
    let root = root();
    let page = fs::read_to_string(root.join("docs/faults.md")).expect("the page");
    let (mut found, mut missing) = (0, Vec::new());
    for row in page.lines().filter(|line| line.starts_with("| ")) {
        // `name`, `name` path/of/file.rs
        let mut names: Vec<&str> = Vec::new();
        for (index, part) in row.split('`').enumerate() {
            let path =
                part.split_whitespace().next().map(|word| word.trim_end_matches([';', '.', ',']));
            match path.filter(|path| index % 2 == 0 && path.ends_with(".rs")) {
                Some(path) => {
                    let text = with_modules(&root.join(path));
                    for name in names.drain(..) {
                        found += 1;
                        if !text.contains(&format!("fn {name}(")) {
                            missing.push(format!("{path} has no test {name}"));
                        }
                    }
                }
                None if index % 2 == 1 && part.contains('_') => names.push(part),
                None => {}
            }
        }
        missing.extend(names.iter().map(|name| format!("no file is named for {name}")));
    }
    assert!(found > 80, "only {found} tests were found on the page");
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

/// Its third line sums up what its rows say.
#[test]
fn the_page_on_faults_counts_its_rows() {
    let page = fs::read_to_string(root().join("docs/faults.md")).expect("the page");
    let (mut shown, mut partly, mut later) = (0, 0, 0);
    for row in page.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let [_, id, _, test, ..] = cells.as_slice() else { continue };
        let is_id = id.len() > 1 && id.starts_with(|c| "ANCDSKOX".contains(c));
        if !is_id || !id.bytes().skip(1).all(|digit| digit.is_ascii_digit()) {
            continue;
        }
        let test = test.to_lowercase();
        match test.contains("in part") {
            _ if test.starts_with("later work") => later += 1,
            true => partly += 1,
            false => shown += 1,
        }
    }
    let all = shown + partly + later;
    let sum =
        format!("{all} faults: {shown} have their test, {partly} in part, {later} is later work.");
    assert!(page.contains(&sum), "{sum}");
}
