//! `docs/metering.md` as a newcomer follows it: its files are written, its commands are run in
//! order by a shell, and what they print is what the page prints, numbers aside. `BIJLI_BLESS=1`
//! writes into the page what they print now.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use harness::eventually;
use harness::http::ask;
use harness::meters::Meters;
use harness::program::{Program, binary, free_port};
use harness::site::millijoules;
use serde_json::Value;

fn page() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metering.md")
}

/// A fenced block of the page: what stands behind its fence, and its lines.
struct Block {
    kind: String,
    lines: Vec<String>,
}

/// The page as texts and blocks, in turn.
fn blocks(text: &str) -> Vec<Result<Block, String>> {
    let mut parts: Vec<Result<Block, String>> = Vec::new();
    let mut open: Option<Block> = None;
    for line in text.lines() {
        match (open.take(), line.strip_prefix("```")) {
            (None, Some(kind)) => open = Some(Block { kind: kind.to_owned(), lines: Vec::new() }),
            (None, None) => parts.push(Err(line.to_owned())),
            (Some(block), Some(_)) => parts.push(Ok(block)),
            (Some(mut block), None) => {
                block.lines.push(line.to_owned());
                open = Some(block);
            }
        }
    }
    assert!(open.is_none(), "a fence is not closed");
    parts
}

/// The reader's machine: a folder, the meters, and ports of its own for those of the page.
struct Reader {
    folder: tempfile::TempDir,
    meters: Meters,
    port: u16,
    running: Vec<Program>,
    first_round: Option<u128>,
}

impl Reader {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let meters = Meters::start(folder.path(), 0, 100_000);
        Self { folder, meters, port: free_port(), running: Vec::new(), first_round: None }
    }

    fn here(&self, text: &str) -> String {
        let url = format!("http://127.0.0.1:{}", self.port);
        text.replace("127.0.0.1:5020", &format!("127.0.0.1:{}", self.meters.port))
            .replace("127.0.0.1:8640", &format!("127.0.0.1:{}", self.port))
            .replace(" --hub isb", &format!(" --hub isb --url {url}"))
            .replace("meterbook add", &format!("meterbook add --url {url}"))
    }

    fn there(&self, text: &str) -> String {
        text.replace(&format!("127.0.0.1:{}", self.meters.port), "127.0.0.1:5020")
            .replace(&format!("127.0.0.1:{}", self.port), "127.0.0.1:8640")
    }

    fn json(&self, path: &str) -> Option<Value> {
        ask("GET", self.port, path, b"").filter(|answer| answer.status == 200).map(|a| a.json())
    }

    /// Runs a command of the page; what it printed, on both streams.
    fn run(&mut self, command: &str) -> String {
        self.wait_before(command);
        if let Some(command) = command.strip_suffix(" &") {
            self.start(command);
            return String::new();
        }
        let programs = binary("bijli-collector");
        let programs = programs.parent().expect("in a folder").display().to_string();
        let path = std::env::var("PATH").unwrap_or_default();
        let out = Command::new("sh")
            .args(["-c", &format!("{} 2>&1", self.here(command))])
            .env("PATH", format!("{programs}:{path}"))
            .current_dir(self.folder.path())
            .output()
            .expect("a shell");
        self.there(&String::from_utf8(out.stdout).expect("UTF-8"))
    }

    fn start(&mut self, command: &str) {
        let mut words = command.split(' ');
        let name = words.next().expect("a program");
        let mut program = Command::new(binary(name));
        program.args(words).current_dir(self.folder.path());
        let log = self.folder.path().join(format!("{name}.log"));
        self.running.push(Program::start(&mut program, &log));
        if name == "bijli-collector" {
            eventually("a ready collector", 60, || self.json("/v1/hubs"));
        }
    }

    /// What the page tells the reader to wait for.
    fn wait_before(&mut self, command: &str) {
        if command.contains("first round") {
            let first = "both meters of the gateway";
            eventually(first, 60, || {
                let answer = self.json("/v1/hubs/isb/meters")?;
                let meters = answer["meters"].as_array()?;
                (meters.iter().filter(|meter| meter["register"].is_object()).count() == 2)
                    .then_some(())
            });
            self.first_round = Some(harness::utc_ms());
        } else if command.contains("second round") {
            let first = self.first_round.expect("there was a first round");
            eventually("half a minute", 90, || (harness::utc_ms() > first + 35_000).then_some(()));
        } else if command.contains("diagram --hub") {
            eventually("a PUE", 90, || {
                let answer = self.json("/v1/hubs/isb/pue")?;
                answer["pue"].is_object().then_some(())
            });
        }
    }
}

/// Without what an agent says of the machine that it runs on: that is another one each time.
fn of_meters(text: &str) -> &str {
    let begin = ["\nmodbus:isb/", "\nisb/incomer "].into_iter().find_map(|mark| text.find(mark));
    text.get(begin.unwrap_or(0)..).unwrap_or_default()
}

/// What does not change from run to run: words and columns, not numbers, units and blanks.
fn masked(text: &str) -> String {
    let mut words = Vec::new();
    for word in text.split_whitespace() {
        let is_number = word.chars().any(|c| c.is_ascii_digit());
        let is_unit = ["J", "Wh", "kWh", "MWh", "GWh", "mJ", "W", "kW", "-"].contains(&word);
        match (is_number, is_unit) {
            (false, false) => words.push(word.to_owned()),
            (false, true) => {}
            (true, _) => {
                let letters = word.chars().filter(|c| !c.is_ascii_digit() && *c != '.');
                words.push(letters.collect());
            }
        }
    }
    words.retain(|word: &String| !word.is_empty());
    words.join(" ")
}

/// Goal: a facility manager who follows the page gets what the page promises.
#[test]
fn the_page_is_what_a_newcomer_sees() {
    let is_blessed = std::env::var_os("BIJLI_BLESS").is_some();
    let text = fs::read_to_string(page()).expect("the page");
    let mut reader = Reader::new();
    let (mut written, mut ran) = (Vec::new(), 0);
    for part in blocks(&text) {
        let block = match part {
            Ok(block) => block,
            Err(line) => {
                written.push(line);
                continue;
            }
        };
        written.push(format!("```{}", block.kind));
        if let Some(name) = block.kind.strip_prefix("toml ") {
            let lines = block.lines.join("\n");
            fs::write(reader.folder.path().join(name), reader.here(&lines)).expect("written");
            written.extend(block.lines);
        } else {
            assert_eq!(block.kind, "console", "a block that nobody checks");
            let commands = block.lines.split(|line| line.starts_with("$ ")).skip(1);
            let names = block.lines.iter().filter_map(|line| line.strip_prefix("$ "));
            for (command, expected) in names.zip(commands) {
                let said = reader.run(command);
                let expected = expected.join("\n");
                assert!(
                    is_blessed || masked(of_meters(&said)) == masked(of_meters(&expected)),
                    "$ {command}\n{said}\nand the page has\n{expected}"
                );
                written.push(format!("$ {command}"));
                written.extend(said.lines().map(|line| line.trim_end().to_owned()));
                ran += 1;
            }
        }
        written.push("```".to_owned());
    }
    assert!(ran >= 12, "the page has its commands: {ran}");
    if is_blessed {
        fs::write(page(), written.join("\n") + "\n").expect("written");
    }
    // Beyond words: what entered and what IT used are the two registers' own rates.
    let pue = reader.json("/v1/hubs/isb/pue").expect("answered")["pue"].clone();
    let [total, it] = ["total_mj", "it_mj"].map(|term| millijoules(&pue[term]));
    assert_eq!(total * 1_000 / it, 1_184, "37 Wh and 31.25 Wh each second: {pue}");
    // 20 Wh between the rounds, once the interval of the second one is closed.
    let booked = eventually("the chiller's energy", 60, || {
        let balance = reader.json("/v1/hubs/isb/balance")?;
        assert_eq!(balance["imbalance_mj"], "0");
        let mut accounts = balance["accounts"].as_array()?.iter();
        let chiller = accounts.rfind(|line| line["account"] == "cooling:chiller")?;
        let booked = chiller["debits_mj"].as_str()?.to_owned();
        (booked.len() == "72000000".len() && booked.as_str() >= "72000000").then_some(booked)
    });
    assert_eq!(booked, "72000000", "as the two displays say, to the millijoule");
}
