//! An operator's desk in August: a collector with July in its journal, its commands, its ledger as
//! a signed tree, and an auditor's Python.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bijli_collector::diagram::Plan;
use bijli_collector::leaves;
use bijli_ledger::Leaf;
use bijli_ledger::leaf::Body;
use bijli_seglog::{RealDisk, RecordSeq};
use bijli_tlog::{Checkpoint, Edge, KeyKind, Note, SigningKey};
use harness::program::{Program, binary, free_port};
use harness::{eventually, http};
use serde_json::Value;

use crate::month;

const DIAGRAM: &str = r#"
pue_category = 1
utc_offset = "+05:00"
point = [
  { id = "incomer", role = "grid", meter = "m-grid" },
  { id = "genset", role = "generator", meter = "m-genset" },
  { id = "ups-in", role = "ups_in", meter = "m-ups-in" },
  { id = "ups-out", role = "ups_out", meter = "m-ups-out", fed_by = "ups-in" },
  { id = "pdu", role = "pdu", meter = "m-pdu", fed_by = "ups-out" },
  { id = "chiller", role = "cooling", meter = "m-chiller" },
  { id = "lights", role = "lighting", meter = "m-lights" },
]
node = [{ id = "n01", fed_by = "pdu" }, { id = "n02", fed_by = "pdu" }]
"#;
const ORIGIN: &str = "ledger.example.pk/hub/lhe/ledger";

/// Whoever opens the files of a desk again waits for the one before.
pub fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A collector's folder, and the collector while it runs.
pub struct Desk {
    folder: PathBuf,
    _own: Option<tempfile::TempDir>,
    port: u16,
    collector: Option<Program>,
    moments: u32,
}

impl Desk {
    /// An hour after July.
    pub fn open() -> Self {
        let own = tempfile::tempdir().expect("a temporary folder");
        let folder = own.path().to_owned();
        let plan = Plan::from_toml(DIAGRAM).expect("a diagram").to_toml();
        std::fs::create_dir(folder.join("collector")).expect("made");
        month::journal(&folder.join("collector/journal"), &plan);
        let mut key = Command::new(binary("bijli-collector"));
        key.args(["seal", "key", "--name", "ledger.example.pk", "--out"]).arg(folder.join("key"));
        assert!(key.output().expect("it runs").status.success());
        let mut desk = Self { folder, _own: Some(own), port: 0, collector: None, moments: 0 };
        desk.start(1);
        desk
    }

    /// The same files on a later day. One at a time: [`turn`].
    pub fn again(&self) -> Self {
        let (folder, collector, moments) = (self.folder.clone(), None, 0);
        let mut desk = Self { folder, _own: None, port: 0, collector, moments };
        desk.start(30);
        desk
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn start(&mut self, hours: i64) {
        self.port = free_port();
        let seal = format!(
            "[seal]\norigin = \"ledger.example.pk\"\nkey = \"{}\"\n",
            self.path("key").display()
        );
        let collector = month::serve(&self.path(""), (self.port, &seal), DIAGRAM, hours);
        self.collector = Some(collector);
    }

    pub fn stop(&mut self) {
        let mut collector = self.collector.take().expect("it runs");
        assert!(collector.stop(60).success(), "{}", collector.printed());
    }

    /// A `period` command about a month: its output, and what it complained of.
    pub fn said(&self, arguments: &[&str], month: &str) -> (Option<Value>, String) {
        let mut command = Command::new(binary("bijli-collector"));
        command.arg("period").args(arguments).args(["--hub", "lhe", "--month", month, "--json"]);
        command.args(["--url", &format!("http://127.0.0.1:{}", self.port)]);
        let Output { status, stdout, stderr } = command.output().expect("it runs");
        let words = String::from_utf8_lossy(&stderr).into_owned();
        let answer = status.success().then(|| serde_json::from_slice(&stdout).expect("JSON"));
        (answer, words)
    }

    pub fn period(&self, arguments: &[&str]) -> Value {
        let (answer, words) = self.said(arguments, "2026-07");
        answer.unwrap_or_else(|| panic!("{arguments:?}: {words}"))
    }

    pub fn refused(&self, arguments: &[&str]) -> String {
        let (answer, words) = self.said(arguments, "2026-07");
        assert!(answer.is_none(), "{arguments:?}: {answer:?}");
        words
    }

    pub fn show(&self, more: &[&str]) -> Value {
        let arguments: Vec<&str> = ["show"].iter().chain(more).copied().collect();
        eventually("an index that is level with the books", 60, || {
            let (answer, words) = self.said(&arguments, "2026-07");
            assert!(answer.is_some() || words.contains("ask again"), "{words}");
            answer
        })
    }

    /// A holder of a GPU that nobody held, of which the hub hears only now.
    pub fn tell_late(&self) {
        let at = |hour: i64| {
            bijli_collector::calendar::rfc3339(bijli_wire::UtcMillis::new(
                month::START + hour * month::HOUR,
            ))
        };
        self.allocate("77", ("found", "G2"), &at(20 * 24), &at(21 * 24));
    }

    fn allocate(&self, id: &str, (project, gpu): (&str, &str), from: &str, to: &str) {
        let body = serde_json::json!({
            "id": id, "hub": "lhe", "project": project, "devices": [gpu], "from": from, "to": to,
            "who": "test", "why": "late",
        });
        let path = format!("/v1/allocations/{id}");
        let told = http::ask("PUT", self.port, &path, body.to_string().as_bytes());
        let told = told.expect("an answer");
        assert!(told.status < 300, "{}", told.text());
    }

    /// Time passes with what comes in.
    pub fn wait_for_state(&mut self, state: &str) -> Value {
        eventually(&format!("July is {state}"), 240, || {
            self.moments += 1;
            let id = format!("moment-{}", self.moments);
            let (from, to) = ("2026-06-01T00:00:00Z", "2026-06-01T00:00:01Z");
            self.allocate(&id, ("p", "G9"), from, to);
            std::thread::sleep(Duration::from_secs(1));
            Some(self.show(&[])).filter(|shown| shown["state"] == state)
        })
    }

    /// The newest checkpoint that the collector signed itself, once there is one behind `after`.
    pub fn checkpoint(&self, after: u64) -> String {
        let path = self.path("collector/tlog/lhe/checkpoint");
        eventually(&format!("a checkpoint of more than {after} entries"), 120, || {
            let text = std::fs::read_to_string(&path).ok()?;
            let size: u64 = text.lines().nth(1)?.parse().ok()?;
            (size > after).then_some(text)
        })
    }

    /// A command of `docs/audit.md`, with this desk's places for those of the page.
    pub fn shell(&self, line: &str) -> (bool, String) {
        let dir = self.path("collector").display().to_string();
        let url = format!(" --hub lhe --url http://127.0.0.1:{}", self.port);
        let mut line = line.replace("/var/lib/bijli/collector", &dir);
        if line.contains(" period ") {
            line = line.replace(" --hub lhe", &url);
        }
        let programs = binary("bijli-collector");
        let programs = programs.parent().expect("in a folder").display().to_string();
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new("sh");
        command.args(["-c", &format!("{line} 2>&1")]).current_dir(&self.folder);
        let out = command.env("PATH", format!("{programs}:{path}")).output().expect("a shell");
        (out.status.success(), String::from_utf8_lossy(&out.stdout).into_owned())
    }

    pub fn replay_verify(&self) {
        let mut command = Command::new(binary("bijli-collector"));
        command.args(["replay", "--verify", "--dir"]).arg(self.path("collector"));
        let out = command.output().expect("it runs");
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        assert!(out.status.success(), "{text}\n{}", String::from_utf8_lossy(&out.stderr));
    }

    /// Every leaf of the ledger log.
    pub fn leaves(&self) -> Vec<Vec<u8>> {
        let (log, _) = leaves::open(RealDisk, &self.path("collector/ledger")).expect("a log");
        log.read_from(RecordSeq::FIRST).map(|record| record.expect("whole").1).collect()
    }

    /// How many leaves the first so many intervals have.
    pub fn first_summaries(&self, leaves: &[Vec<u8>], count: usize) -> usize {
        let is_summary =
            |bytes: &[u8]| matches!(Leaf::decode(bytes).expect("a leaf").body, Body::Summary(_));
        let summaries = leaves.iter().enumerate().filter(|(_, bytes)| is_summary(bytes));
        summaries.map(|(index, _)| index + 1).nth(count - 1).expect("so many")
    }
}

/// The leaves of a desk as a signed tree, in a collector's folder of its own.
pub struct Signed<'a> {
    desk: &'a Desk,
    folder: PathBuf,
    entries: Vec<Vec<u8>>,
    pub has_witness: bool,
}

impl<'a> Signed<'a> {
    pub fn of(desk: &'a Desk, leaves: &[Vec<u8>], name: &str) -> Self {
        let entry = |(leaf, index): (&Vec<u8>, u64)| [&index.to_le_bytes()[..], leaf].concat();
        let entries = leaves.iter().zip(0_u64..).map(entry).collect();
        Self { desk, folder: desk.path(name), entries, has_witness: true }
    }

    fn edge(&self, size: u64) -> (Edge, Vec<(bijli_tlog::Tile, Vec<u8>)>) {
        let (mut edge, mut tiles) = (Edge::default(), Vec::new());
        for entry in self.entries.iter().take(usize::try_from(size).expect("small")) {
            tiles.extend(edge.push(entry));
        }
        tiles.extend(edge.partial());
        (edge, tiles)
    }

    fn checkpoint(&self, edge: &Edge) -> String {
        let (origin, size, root) = (ORIGIN.to_owned(), edge.size(), edge.root());
        let mut note = Note::new(Checkpoint { origin, size, root }.text());
        note.sign(&log_key(), 0);
        if self.has_witness {
            note.sign(&witness_key(), 1_785_600_000);
        }
        note.to_string()
    }

    /// What an auditor was given when the tree had so many entries.
    pub fn checkpoint_at(&self, size: u64, name: &str) -> String {
        let path = self.desk.path(name);
        std::fs::write(&path, self.checkpoint(&self.edge(size).0)).expect("written");
        path.display().to_string()
    }

    pub fn policy_file(&self) -> String {
        let text = format!(
            "log {}\nwitness university {}\nquorum university\n",
            log_key().verifier(),
            witness_key().verifier()
        );
        let path = self.desk.path("policy");
        std::fs::write(&path, text).expect("written");
        path.display().to_string()
    }

    fn write_log(&self) {
        let (edge, tiles) = self.edge(u64::MAX);
        let folder = self.folder.join("tlog/lhe");
        for (tile, bytes) in tiles {
            let path = folder.join(tile.path());
            std::fs::create_dir_all(path.parent().expect("in a folder")).expect("made");
            std::fs::write(path, bytes).expect("written");
        }
        std::fs::write(folder.join("checkpoint"), self.checkpoint(&edge)).expect("written");
        std::fs::write(folder.join("key"), format!("{}\n", log_key().verifier())).expect("written");
    }

    /// The pack that the collector's command makes of it.
    pub fn pack(&self, out: &str) -> String {
        self.write_log();
        let config = std::fs::read_to_string(self.desk.path("collector.toml")).expect("written");
        let dir = format!("dir = \"{}\"", self.desk.path("collector").display());
        let here = format!("dir = \"{}\"", self.folder.display());
        let at = self.folder.join("collector.toml");
        std::fs::write(&at, config.replace(&dir, &here)).expect("written");
        let path = self.desk.path(out);
        let mut command = Command::new(binary("bijli-collector"));
        command.args(["pack", "--hub", "lhe", "--month", "2026-07", "--config"]).arg(at);
        let made = command.arg("--out").arg(&path).output().expect("it runs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        path.display().to_string()
    }

    /// A pack without a report: a forger's, whose sums are right.
    pub fn bare_pack(&self, out: &str) -> String {
        let (edge, tiles) = self.edge(u64::MAX);
        let path = self.desk.path(out);
        let policy = format!("log {}\nquorum none\n", log_key().verifier());
        let mut files = vec![
            ("checkpoint".to_owned(), self.checkpoint(&edge).into_bytes()),
            ("policy".to_owned(), policy.into_bytes()),
            ("verify.py".to_owned(), bijli_collector::pack::VERIFY.as_bytes().to_vec()),
        ];
        files.extend(tiles.into_iter().map(|(tile, bytes)| (tile.path(), bytes)));
        for (name, bytes) in &files {
            write(&path.join(name), bytes);
        }
        let list = files.iter().map(|(name, _)| name.as_str());
        let sums = Command::new("sha256sum").args(list).current_dir(&path).output();
        write(&path.join("SHA256SUMS"), &sums.expect("sha256sum").stdout);
        path.display().to_string()
    }
}

fn write(path: &Path, bytes: &[u8]) {
    std::fs::create_dir_all(path.parent().expect("in a folder")).expect("made");
    std::fs::write(path, bytes).expect("written");
}

fn log_key() -> SigningKey {
    SigningKey::from_seed(ORIGIN, KeyKind::Note, [7; 32]).expect("a name")
}

fn witness_key() -> SigningKey {
    let name = "witness.example.pk/university";
    SigningKey::from_seed(name, KeyKind::Cosignature, [8; 32]).expect("a name")
}

/// Whether the pack's own program finds it proven, and what it says.
pub fn python(pack: &str, arguments: &[&str]) -> (bool, String) {
    let verify = format!("{pack}/verify.py");
    let all: Vec<&str> = [verify.as_str(), pack].iter().chain(arguments).copied().collect();
    run_python(&all)
}

/// Python alone: no site packages, no environment.
pub fn run_python(arguments: &[&str]) -> (bool, String) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut command = Command::new("python3");
    // Its caches would be files of the pack that nobody named.
    command.args(["-I", "-B"]).args(arguments).current_dir(root);
    let Output { status, stdout, stderr } = command.output().expect("python3");
    let words = [stdout, stderr].concat();
    (status.success(), String::from_utf8_lossy(&words).into_owned())
}
