//! The evidence of a real collector, checked by what is not ours: Go's note and tlog packages read
//! its log; a real witness program cosigns it; restored backups and second collectors are refused.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use bijli_wire::{Batch, BatchSeq, HubId, Matrix, NodeId, SchemaId, SpoolEpoch, UtcMillis, codec};
use harness::http::{ask, get};
use harness::program::{Program, binary, free_port};
use harness::schema::of_one_gpu;
use harness::site::Site;
use harness::{eventually, utc_ms};
use serde_json::Value;
use tempfile::TempDir;

const HUB: &str = "[[hub]]\nid = \"isb\"\n";
const ORIGIN: &str = "ledger.example.pk";
const LOG: &str = "ledger.example.pk/hub/isb/ledger";
const ROWS: i64 = 60;

/// Keys, heads and a witness: everything that is not on the collector's disk.
struct Elsewhere {
    folder: TempDir,
    log_key: String,
}

fn run(arguments: &[&str]) -> Output {
    Command::new(binary("bijli-collector")).args(arguments).output().expect("it runs")
}

fn printed(out: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr))
}

/// Makes a key; its verifier key.
fn make_key(path: &Path, name: &str, more: &[&str]) -> String {
    let path = path.to_str().expect("text");
    let out = run(&[&["seal", "key", "--name", name, "--out", path], more].concat());
    assert!(out.status.success(), "{}", printed(&out));
    String::from_utf8(out.stdout).expect("text").trim().to_owned()
}

/// The verifier keys that `check` explains of a configuration's `[seal]`.
fn explained(config: &Path) -> String {
    let out = run(&["check", "--config", config.to_str().expect("text")]);
    assert!(out.status.success(), "{}", printed(&out));
    let text = String::from_utf8(out.stdout).expect("text");
    let line = text.lines().find(|line| line.trim().starts_with(LOG)).expect("the log's key");
    line.trim().to_owned()
}

impl Elsewhere {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        make_key(&folder.path().join("log.key"), ORIGIN, &[]);
        std::fs::create_dir(folder.path().join("heads")).expect("made");
        std::fs::create_dir(folder.path().join("witness")).expect("made");
        let config = folder.path().join("try.toml");
        let this = Self { folder, log_key: String::new() };
        let dir = format!("dir = \"{}\"\n", this.path("none").display());
        std::fs::write(&config, dir + &this.section(&[])).expect("written");
        Self { log_key: explained(&config), ..this }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `[seal]` and a hub; `more` are further keys of the section.
    fn section(&self, more: &[&str]) -> String {
        let key = self.path("log.key");
        let more: String = more.iter().map(|line| format!("{line}\n")).collect();
        format!("[seal]\norigin = \"{ORIGIN}\"\nkey = \"{}\"\n{more}{HUB}", key.display())
    }

    fn heads(&self) -> String {
        format!("heads = \"{}\"", self.path("heads").display())
    }

    fn policy(&self) -> String {
        format!("policy = \"{}\"", self.path("policy").display())
    }

    /// Starts a witness of the log and writes the policy that needs it.
    fn witness(&self) -> (Program, String) {
        let port = free_port();
        let key = self.path("witness.key");
        let verifier = make_key(&key, "witness.example.pk/w1", &["--witness"]);
        let policy = format!(
            "log {}\nwitness w1 {verifier} http://127.0.0.1:{port}\nquorum w1\n",
            self.log_key
        );
        std::fs::write(self.path("policy"), policy).expect("written");
        let mut command = Command::new(binary("bijli-collector"));
        command.args(["witness", "serve", "--listen", &format!("127.0.0.1:{port}")]);
        command.arg("--dir").arg(self.path("witness")).arg("--key").arg(key);
        command.args(["--log", &self.log_key]);
        let program = Program::start(&mut command, &self.path("witness.log"));
        eventually("a witness that listens", 30, || ask("GET", port, "/latest/x", b""));
        (program, verifier)
    }
}

/// Sends readings of one GPU, a minute a batch, in an epoch of its own.
struct Sender {
    schema: SchemaId,
    begin_ms: i64,
    epoch: u8,
    next: u64,
}

impl Sender {
    fn new(site: &Site, epoch: u8) -> Self {
        let (schema, description) =
            codec::encode_schema(&of_one_gpu("isb", "n01", "GPU-1")).expect("encodes");
        let path = format!("/v1/schemas/{schema}");
        assert!(ask("PUT", site.port, &path, &description).expect("an answer").status < 300);
        let begin_ms = i64::try_from(utc_ms()).expect("small") - 4 * 3_600_000;
        Self { schema, begin_ms, epoch, next: 1 }
    }

    fn send(&mut self, site: &Site, minutes: u64) {
        for sequence in self.next..self.next + minutes {
            let first = i64::try_from(sequence - 1).expect("small") * ROWS;
            let rows = first..first + ROWS;
            let at = |row: i64| UtcMillis::new(self.begin_ms + row * 1_000);
            let batch = Batch {
                hub: HubId::new("isb").expect("valid"),
                node: NodeId::new("n01").expect("valid"),
                epoch: SpoolEpoch::new([self.epoch; 16]),
                sequence: BatchSeq::new(sequence).expect("from 1"),
                schema: self.schema,
                created: at(first + ROWS),
                uptime: None,
                matrices: vec![Matrix {
                    group: 0,
                    times: rows.clone().map(at).collect(),
                    columns: vec![rows.map(|row| Some(row * 250_000)).collect()],
                }],
                events: Vec::new(),
                holds: Vec::new(),
            };
            let body = codec::encode_batch(&batch).expect("encodes");
            let answer = ask("POST", site.port, "/v1/batches", &body).expect("an answer");
            assert_eq!(answer.status, 200, "batch {sequence}: {}", answer.text());
        }
        self.next += minutes;
    }
}

/// The log of the hub as `/v1/seals` shows it.
fn seal(site: &Site) -> Option<Value> {
    let seals = site.json("/v1/seals");
    seals["seals"].as_array().expect("a list").first().cloned()
}

/// Waits until all that is on the disk is signed; the log as it is shown then.
fn signed(site: &Site, is_right: impl Fn(&Value) -> bool) -> Value {
    eventually("a signed log", 90, || {
        let seal = seal(site)?;
        let is_all = !seal["signed_size"].is_null() && seal["signed_size"] == seal["size"];
        (is_all && seal["refused"].is_null() && is_right(&seal)).then_some(seal)
    })
}

fn is_witnessed(seal: &Value) -> bool {
    seal["is_witnessed"] == true
}

/// Why the log is not signed, once it is for a reason with these words.
fn refused(site: &Site, words: &str) -> String {
    eventually(&format!("a refusal: {words}"), 90, || {
        let refused = seal(site)?["refused"].as_str()?.to_owned();
        refused.contains(words).then_some(refused)
    })
}

/// The size in a checkpoint's file.
fn size_in(path: &Path) -> u64 {
    let text = std::fs::read_to_string(path).expect("a checkpoint");
    text.lines().nth(1).and_then(|size| size.parse().ok()).expect("a size")
}

/// Go's word on a log.
struct Go {
    folder: TempDir,
}

impl Go {
    /// Builds the check with Debian's packages; no network.
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("evidence/check.go");
        let out = Command::new("go")
            .args(["build", "-o"])
            .arg(folder.path().join("check"))
            .arg(source)
            .envs([("GO111MODULE", "off"), ("GOPATH", "/usr/share/gocode"), ("GOFLAGS", "")])
            .env("GOCACHE", folder.path().join("cache"))
            .output()
            .expect("go is installed by tests/install.sh");
        assert!(out.status.success(), "{}", printed(&out));
        Self { folder }
    }

    fn check(&self, log: &Path, key: &str, witness: &str, old: &str) -> Output {
        let mut command = Command::new(self.folder.path().join("check"));
        command.arg(log).args([key, witness, old]).output().expect("it runs")
    }
}

fn copy(from: &Path, to: &Path) {
    let out = Command::new("cp").arg("-a").arg(from).arg(to).status().expect("cp");
    assert!(out.success());
}

/// Goal: an auditor needs nothing of ours. Go's packages find signature, cosignature, every entry's
/// inclusion and the consistency with a kept checkpoint; and one changed byte, as does `verify`.
#[test]
fn a_stranger_with_go_checks_a_witnessed_log() {
    let elsewhere = Elsewhere::new();
    let (_witness, witness) = elsewhere.witness();
    let section = elsewhere.section(&[&elsewhere.heads(), &elsewhere.policy()]);
    let mut site = Site::start(&section);
    let mut sender = Sender::new(&site, 1);
    sender.send(&site, 6);
    let seal = signed(&site, is_witnessed);
    assert!(seal["words"].as_str().expect("words").ends_with("witnessed by 1 of 1"), "{seal}");
    let (log, old) = (site.path("collector/tlog/isb"), site.path("old-checkpoint"));
    std::fs::copy(log.join("witnessed"), &old).expect("kept");
    let before = size_in(&old);

    sender.send(&site, 60);
    let bundle = before.next_multiple_of(256) + 256;
    signed(&site, |seal| {
        let size = seal["size"].as_str().and_then(|size| size.parse().ok());
        is_witnessed(seal) && size.is_some_and(|size: u64| size > bundle)
    });
    // What is served is what is on the disk, and nothing else is served.
    for path in ["checkpoint", "key", "tile/0/000", "tile/entries/000"] {
        eventually("what is on the disk", 30, || {
            let served = get(site.port, &format!("/tlog/isb/{path}"));
            assert_eq!(served.status, 200, "{path}");
            (served.body == std::fs::read(log.join(path)).expect("there")).then_some(())
        });
    }
    for path in
        ["first", "../ledger", "tile/0/000.p/0", "tile/0/x000/000", ".progress", "tile/9/000"]
    {
        assert_eq!(get(site.port, &format!("/tlog/isb/{path}")).status, 404, "{path}");
    }
    assert!(site.collector.stop(30).success(), "{}", site.collector.printed());
    // At its end it signs what came last, and waits for no witness.
    std::fs::copy(log.join("witnessed"), log.join("checkpoint")).expect("copied");

    let go = Go::new();
    let (key, old) = (elsewhere.log_key.as_str(), old.to_str().expect("text"));
    let out = go.check(&log, key, &witness, old);
    assert!(out.status.success(), "{}", printed(&out));
    let words = format!("entries, 2 signatures, consistent with {before}");
    assert!(printed(&out).contains(&words), "{}", printed(&out));
    let (dir, policy) = (log.to_str().expect("text"), elsewhere.path("policy"));
    let policy = policy.to_str().expect("text");
    let arguments = ["verify", "--tiles", dir, "--policy", policy, "--older", old];
    let verified = run(&arguments);
    assert!(verified.status.success(), "{}", printed(&verified));
    assert!(printed(&verified).contains("verdict     good"), "{}", printed(&verified));

    let bundle = log.join("tile/entries/000");
    let mut bytes = std::fs::read(&bundle).expect("there");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&bundle, bytes).expect("written");
    assert!(!go.check(&log, key, &witness, old).status.success());
    let verified = run(&arguments);
    assert!(!verified.status.success());
    let named = printed(&verified);
    assert!(named.contains("is not the one that tile/0/000 has"), "{named}");
}

/// Goal: C11. Yesterday's copy of the whole directory: nothing is signed, everybody is told, and
/// what is begun anew names what was lost.
#[test]
fn c11_a_collector_restored_from_a_backup_refuses_to_sign() {
    let elsewhere = Elsewhere::new();
    let section = elsewhere.section(&[&elsewhere.heads()]);
    let mut site = Site::start(&section);
    Sender::new(&site, 1).send(&site, 4);
    signed(&site, |_| true);
    assert!(site.collector.stop(30).success());
    let (dir, backup) = (site.path("collector"), site.path("backup"));
    copy(&dir, &backup);
    let first = size_in(&dir.join("tlog/isb/checkpoint"));
    site.restart();
    let mut sender = Sender::new(&site, 2);
    sender.begin_ms += 600_000;
    sender.send(&site, 6);
    let later = |seal: &Value| seal["size"].as_str().is_some_and(|size| size != first.to_string());
    signed(&site, later);
    assert!(site.collector.stop(30).success());
    let before = size_in(&elsewhere.path("heads/isb"));
    std::fs::remove_dir_all(&dir).expect("gone");
    copy(&backup, &dir);

    site.restart();
    let words = refused(&site, "the head kept elsewhere");
    assert!(words.contains(&format!("has {before} entries, this log {first}")), "{words}");
    assert_eq!(site.number("bijli_collector_seal_refused "), 1);
    let url = format!("http://127.0.0.1:{}", site.port);
    let status = printed(&run(&["status", "--url", &url]));
    assert!(status.contains("NOT SIGNED: the head kept elsewhere"), "{status}");
    // Other readings come than those that were lost: the log is another one, for good.
    let mut other = Sender::new(&site, 3);
    other.begin_ms += 1_200_000;
    other.send(&site, 30);
    assert!(refused(&site, "another root").contains("seal anew"));
    assert_eq!(size_in(&dir.join("tlog/isb/checkpoint")), first, "nothing was signed");

    let config = site.path("collector.toml");
    let config = config.to_str().expect("text");
    let running = run(&["seal", "anew", "--config", config, "--hub", "isb"]);
    assert!(!running.status.success(), "a collector runs: {}", printed(&running));
    assert!(site.collector.stop(30).success());
    let anew = run(&["seal", "anew", "--config", config, "--hub", "isb"]);
    assert_eq!(printed(&anew), format!("{LOG}/2\n"));
    site.restart();
    assert_eq!(signed(&site, |_| true)["origin"], format!("{LOG}/2"));
    let verified = run(&["verify", "--dir", dir.to_str().expect("text")]);
    assert!(verified.status.success(), "{}", printed(&verified));
    let lost = format!("succeeds    {LOG}, lost after {before} entries");
    assert!(printed(&verified).contains(&lost), "{}", printed(&verified));
}

/// Goal: C12, X9. Two collectors sign for one hub with one key, each with books of its own: the
/// witness has cosigned one of them, and the other one is refused.
#[test]
fn c12_x9_a_second_collector_of_a_hub_is_refused_by_the_witness() {
    let elsewhere = Elsewhere::new();
    let (mut witness, _) = elsewhere.witness();
    let section = elsewhere.section(&[&elsewhere.policy()]);
    let one = Site::start(&section);
    Sender::new(&one, 1).send(&one, 4);
    signed(&one, is_witnessed);
    let two = Site::start(&section);
    let mut sender = Sender::new(&two, 2);
    sender.begin_ms += 60_000;
    sender.send(&two, 40);
    let words = refused(&two, "another root");
    assert!(words.starts_with("witness w1 has another root"), "{words}");
    assert!(!two.path("collector/tlog/isb/checkpoint").exists(), "nothing was signed");
    assert!(seal(&one).expect("a log")["refused"].is_null());
    assert!(witness.stop(30).success(), "{}", witness.printed());
}
