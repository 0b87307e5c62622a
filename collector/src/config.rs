//! The configuration: a TOML file, strict. An unknown key or a number without its unit is refused
//! with its line; everything else that is wrong is listed at once, each with what to do.

mod agents;
mod influx;
mod kpis;
mod projects;
mod seal;
mod server;
mod xids;

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use bijli_ledger::{Offset, Rules};
use bijli_wire::{HubId, Millis, UtcMillis, quantity};
use serde::Deserialize;

use agents::AgentsText;
pub use agents::{AgentsConfig, AgentsOverrides};
use influx::InfluxText;
pub use seal::SealConfig;
use seal::SealText;
use server::ServerText;
use xids::XidText;

use crate::allocation::PutText;
use crate::answers::layout::wrapped;
use crate::caller::Server;
use crate::crosscheck::{CheckText, Checks, LoopText};
use crate::diagram::{Plan, PlanMeter, PlanNode, PlanPoint, PlanSplit};
use crate::disk;
use crate::feed;
use crate::kpi::Tables;
use crate::projects::ProjectText;
use crate::xids::Xids;

/// Smallest segment: it must hold one group of the journal (`journal.rs`).
const SEGMENT_BYTES_MIN: u64 = 4 << 20;
const SEGMENT_BYTES_MAX: u64 = 1 << 30;
/// Below it a collector would do little else.
const SNAPSHOT_AFTER_MIN: u64 = 1 << 20;
const DAY_MS: u64 = 24 * 3_600 * 1_000;
/// Closed intervals that can still be corrected are in memory, a node's at most so many: 35 days
/// of minutes.
const CORRECTABLE_MAX: u64 = 35 * 24 * 60;

/// Everything that `serve` needs, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    pub listen: SocketAddr,
    /// Where nodes come to; `None`: to `listen`, with the names that they claim.
    pub agents: Option<AgentsConfig>,
    /// The journal is in `journal/` below it.
    pub dir: PathBuf,
    pub rules: Rules,
    pub segment_bytes: u64,
    /// A snapshot is taken when the journal has grown by so much.
    pub snapshot_after: u64,
    /// How long raw segments of the journal are kept; `None`: for ever.
    pub journal_keep: Option<Millis>,
    /// Nothing is taken while less is free.
    pub reserve_bytes: u64,
    pub hubs: Vec<HubConfig>,
    /// What the file says of the registry of projects.
    pub projects: Vec<ProjectText>,
    pub allocations: Vec<PutText>,
    /// Where readings are handed on to; `None`: nowhere.
    pub influx: Option<feed::Target>,
    /// Where readings are handed on to by remote write; `None`: nowhere.
    pub remote_write: Option<Server>,
    /// Who is asked what fires; `None`: the page does not say.
    pub alertmanager: Option<Server>,
    /// Who signs the ledger; `None`: nobody.
    pub seal: Option<SealConfig>,
}

/// One hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubConfig {
    pub id: HubId,
    pub title: String,
    pub nodes_expected: Option<u32>,
    pub plan: Plan,
    /// What its figures beside PUE rest on.
    pub tables: Tables,
    /// The XID catalogue as it has it.
    pub xids: Xids,
    /// Which bands its cross-checks have.
    pub checks: Checks,
}

/// One thing that is wrong, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub place: String,
    pub what: String,
    pub remedy: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}\n    {}", self.place, self.what, self.remedy)
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error(
        "cannot read {path}: write one (collector.example.toml shows every key) or give --config FILE",
        path = path.display()
    )]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{path}: {reason}", path = path.display())]
    Text { path: PathBuf, reason: String },
    #[error("{}", listed(.problems))]
    Problems { problems: Vec<Problem> },
}

fn listed(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// The file as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    #[serde(default = "default_listen")]
    listen: String,
    #[serde(default = "default_dir")]
    dir: PathBuf,
    #[serde(default, deserialize_with = "quantity::de_some_duration")]
    interval: Option<Millis>,
    #[serde(default, deserialize_with = "quantity::de_some_duration")]
    close_after: Option<Millis>,
    #[serde(default)]
    allow_plain_http: bool,
    #[serde(default, deserialize_with = "quantity::de_some_size")]
    disk_reserve: Option<u64>,
    #[serde(default)]
    allocations: Option<PathBuf>,
    #[serde(default)]
    journal: JournalText,
    #[serde(default)]
    agents: Option<AgentsText>,
    #[serde(default)]
    influx: Option<InfluxText>,
    #[serde(default)]
    remote_write: Option<ServerText>,
    #[serde(default)]
    alertmanager: Option<ServerText>,
    seal: Option<SealText>,
    #[serde(default, rename = "hub")]
    hubs: Vec<HubText>,
    #[serde(default, rename = "project")]
    projects: Vec<ProjectText>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct JournalText {
    #[serde(default, deserialize_with = "quantity::de_some_size")]
    segment: Option<u64>,
    #[serde(default, deserialize_with = "quantity::de_some_size")]
    snapshot_after: Option<u64>,
    #[serde(default, deserialize_with = "quantity::de_some_duration")]
    keep: Option<Millis>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct HubText {
    id: String,
    #[serde(default)]
    title: Option<String>,
    #[serde(default)]
    pue_category: Option<u8>,
    #[serde(default)]
    pue_standard: Option<String>,
    #[serde(default)]
    pue_estimated_max: Option<String>,
    #[serde(default)]
    pue_estimate_doubt: Option<String>,
    #[serde(default)]
    utc_offset: Option<String>,
    #[serde(default)]
    time_zone: Option<String>,
    #[serde(default)]
    kpis: Option<PathBuf>,
    #[serde(default)]
    expected_nodes: Option<u32>,
    #[serde(default, rename = "point")]
    points: Vec<PlanPoint>,
    #[serde(default, rename = "meter")]
    meters: Vec<PlanMeter>,
    #[serde(default, rename = "node")]
    nodes: Vec<PlanNode>,
    #[serde(default, rename = "split")]
    splits: Vec<PlanSplit>,
    #[serde(default, rename = "xid")]
    xids: Vec<XidText>,
    #[serde(default, rename = "check")]
    checks: Vec<CheckText>,
    #[serde(default, rename = "loop")]
    loops: Vec<LoopText>,
}

/// `allocations.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AllocationsText {
    #[serde(default, rename = "allocation")]
    allocations: Vec<PutText>,
}

fn default_listen() -> String {
    "127.0.0.1:8640".to_owned()
}

fn default_dir() -> PathBuf {
    PathBuf::from("/var/lib/bijli")
}

/// What the environment says against the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    pub listen: Option<String>,
    pub dir: Option<PathBuf>,
    pub agents: AgentsOverrides,
}

impl Overrides {
    /// `BIJLI_COLLECTOR_LISTEN`, `_DIR`, and `BIJLI_COLLECTOR_AGENTS_LISTEN`, `_CA`,
    /// `_CERTIFICATE`, `_KEY`.
    #[must_use]
    pub fn from_env() -> Self {
        Self {
            listen: std::env::var("BIJLI_COLLECTOR_LISTEN").ok(),
            dir: std::env::var_os("BIJLI_COLLECTOR_DIR").map(PathBuf::from),
            agents: AgentsOverrides::from_env(),
        }
    }
}

impl Config {
    /// Reads and checks a configuration and the files it names.
    ///
    /// # Errors
    /// When a file cannot be read or parsed, or anything in it is wrong: then every problem.
    pub fn load(path: &Path, overrides: &Overrides) -> Result<Self, ConfigError> {
        let text = read(path)?;
        let text: Text = parse(path, &text)?;
        let folder = path.parent().unwrap_or(Path::new("."));
        let allocations = match &text.allocations {
            Some(file) => load_allocations(&folder.join(file))?,
            None => Vec::new(),
        };
        Self::checked(text, allocations, folder, overrides)
            .map_err(|problems| ConfigError::Problems { problems })
    }

    fn checked(
        text: Text,
        allocations: Vec<PutText>,
        folder: &Path,
        overrides: &Overrides,
    ) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let listen = overrides.listen.as_deref().unwrap_or(&text.listen);
        let listen = check_listen(listen, text.allow_plain_http, &mut problems);
        let agents = agents::check(text.agents.clone(), folder, overrides, &mut problems);
        let influx = influx::check(text.influx.clone(), folder, &mut problems);
        let remote_write = text.remote_write.clone();
        let remote_write = server::check("remote_write", remote_write, folder, &mut problems);
        let alertmanager = text.alertmanager.clone();
        let alertmanager = server::check("alertmanager", alertmanager, folder, &mut problems);
        let seal = seal::check(text.seal.clone(), folder, &mut problems);
        let rules = check_rules(&text, &mut problems);
        let segment_bytes = text.journal.segment.unwrap_or(64 << 20);
        if !(SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&segment_bytes) {
            note(&mut problems, "journal.segment", "a segment has 4 MiB to 1 GiB", "choose within");
        }
        let snapshot_after = text.journal.snapshot_after.unwrap_or(1 << 30);
        if snapshot_after < SNAPSHOT_AFTER_MIN {
            let what = "a snapshot is taken after 1 MiB of journal at least";
            note(&mut problems, "journal.snapshot_after", what, "1 GiB is usual");
        }
        let journal_keep = text.journal.keep;
        if journal_keep.is_some_and(|keep| keep.get() < 1_000) {
            let what = "a raw segment is kept for 1 s at least";
            note(&mut problems, "journal.keep", what, "leave it out to keep them for ever");
        }
        let hubs = check_hubs(text.hubs, (folder, rules.interval), &mut problems);
        let projects = projects::check(text.projects, rules.interval, &mut problems);
        let allocations = check_allocations(allocations, &hubs, &mut problems);
        let dir = overrides.dir.clone().unwrap_or(text.dir);
        let reserve_bytes = text.disk_reserve.unwrap_or(256 << 20);
        match listen {
            Some(listen) if problems.is_empty() => Ok(Self {
                listen,
                agents,
                dir,
                rules,
                segment_bytes,
                snapshot_after,
                journal_keep,
                reserve_bytes,
                hubs,
                projects,
                allocations,
                influx,
                remote_write,
                alertmanager,
                seal,
            }),
            Some(_) | None => Err(problems),
        }
    }
}

fn read(path: &Path) -> Result<String, ConfigError> {
    disk::read_text(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })
}

fn parse<T: serde::de::DeserializeOwned>(path: &Path, text: &str) -> Result<T, ConfigError> {
    toml::from_str(text).map_err(|error| {
        let reason = error.to_string().trim_end().to_owned();
        ConfigError::Text { path: path.to_owned(), reason }
    })
}

fn load_allocations(path: &Path) -> Result<Vec<PutText>, ConfigError> {
    let text = read(path)?;
    let text: AllocationsText = parse(path, &text)?;
    Ok(text.allocations)
}

fn note(
    problems: &mut Vec<Problem>,
    place: impl Into<String>,
    what: impl Into<String>,
    remedy: impl Into<String>,
) {
    problems.push(Problem { place: place.into(), what: what.into(), remedy: remedy.into() });
}

fn check_listen(
    listen: &str,
    allow_plain_http: bool,
    problems: &mut Vec<Problem>,
) -> Option<SocketAddr> {
    let Ok(address) = listen.parse::<SocketAddr>() else {
        let what = format!("{listen:?} is not an address and port");
        note(problems, "listen", what, "write it like \"127.0.0.1:8640\" or \"[::1]:8640\"");
        return None;
    };
    if !address.ip().is_loopback() && !allow_plain_http {
        note(
            problems,
            "listen",
            format!("{address} is reachable from other machines, without encryption or identity"),
            "listen on 127.0.0.1: agents come to [agents], readers through a TLS proxy; or set \
             allow_plain_http = true",
        );
    }
    Some(address)
}

fn check_rules(text: &Text, problems: &mut Vec<Problem>) -> Rules {
    let usual = Rules::default();
    let interval = text.interval.unwrap_or(usual.interval);
    let close_after = text.close_after.unwrap_or(usual.close_after);
    let length = interval.get();
    if !(1_000..=DAY_MS).contains(&length) || !DAY_MS.is_multiple_of(length) {
        note(
            problems,
            "interval",
            "an interval has 1 s to 1 day, and divides a day",
            "15m is what auditors expect",
        );
    }
    if close_after.get() > DAY_MS {
        note(problems, "close_after", "no interval waits longer than a day", "2m is usual");
    }
    let keep = usual.keep.min(Millis::new(length.saturating_mul(CORRECTABLE_MAX)));
    Rules { interval, close_after, keep }
}

fn check_hubs(
    texts: Vec<HubText>,
    (folder, interval): (&Path, Millis),
    problems: &mut Vec<Problem>,
) -> Vec<HubConfig> {
    if texts.is_empty() {
        note(problems, "hub", "no hub is declared", "add a [[hub]] section with an id");
    }
    let mut seen = BTreeSet::new();
    let mut hubs = Vec::new();
    for text in texts {
        let place = format!("hub {:?}", text.id);
        let plan = Plan {
            pue_category: text.pue_category,
            pue_standard: text.pue_standard,
            pue_estimated_max: text.pue_estimated_max,
            pue_estimate_doubt: text.pue_estimate_doubt,
            utc_offset: text.utc_offset,
            time_zone: text.time_zone,
            points: text.points,
            meters: text.meters,
            nodes: text.nodes,
            splits: text.splits,
        };
        let checked = plan.diagram().and_then(|_| plan.category()).map(drop);
        for error in [checked, plan.share_policies().map(drop)].into_iter().filter_map(Result::err)
        {
            note(problems, &place, error_words(&error), error.remedy());
        }
        if !seen.insert(text.id.clone()) {
            note(problems, &place, "it is declared twice", "keep one [[hub]] section per hub");
        }
        let tables = kpis::check(text.kpis.as_deref(), folder, interval, problems);
        let xids = xids::check(text.xids, &place, problems);
        let (checks, wrong) = Checks::read(&text.checks, &text.loops, &plan);
        for one in wrong {
            note(problems, format!("{place}, {}", one.place), one.what, one.remedy);
        }
        match HubId::new(&text.id) {
            Err(error) => {
                note(problems, place, error.to_string(), "use 1 to 96 letters, digits . _ - : /");
            }
            Ok(id) => {
                let title = text.title.unwrap_or_else(|| text.id.clone());
                let nodes_expected = text.expected_nodes;
                hubs.push(HubConfig { id, title, nodes_expected, plan, tables, xids, checks });
            }
        }
    }
    hubs
}

fn error_words(error: &crate::diagram::PlanError) -> String {
    crate::journal::chain(error)
}

/// The hub is filled in where there is only one.
fn check_allocations(
    texts: Vec<PutText>,
    hubs: &[HubConfig],
    problems: &mut Vec<Problem>,
) -> Vec<PutText> {
    let only = if let [hub] = hubs { Some(hub.id.to_string()) } else { None };
    let mut checked = Vec::with_capacity(texts.len());
    for mut text in texts {
        text.hub = text.hub.or_else(|| only.clone());
        let place = format!("allocation {:?}", text.id);
        match text.read() {
            Err(error) => note(problems, place, error.to_string(), "correct it in the file"),
            Ok((hub, _)) if hubs.iter().all(|known| known.id != hub) => {
                let what = format!("hub {hub} is not declared");
                note(problems, place, what, "name a hub of this configuration");
            }
            Ok(_) => checked.push(text),
        }
    }
    checked
}

impl Config {
    /// The whole configuration in words, for `check`.
    #[must_use]
    pub fn explain(&self, now: UtcMillis) -> String {
        let rows = [
            ("listen", self.listen.to_string()),
            ("dir", self.dir.display().to_string()),
            ("interval", show_span(self.rules.interval)),
            ("close after", show_span(self.rules.close_after)),
            ("correctable for", show_span(self.rules.keep)),
            ("journal segment", format!("{} MiB", self.segment_bytes >> 20)),
            ("snapshot after", format!("{} MiB of journal", self.snapshot_after >> 20)),
            ("journal kept", self.journal_keep.map_or_else(|| "for ever".to_owned(), show_span)),
            ("disk reserve", format!("{} MiB", self.reserve_bytes >> 20)),
            ("allocations", self.allocations.len().to_string()),
            ("projects", self.projects.len().to_string()),
        ];
        let mut text: String =
            rows.iter().map(|(name, value)| format!("{name:16}  {value}\n")).collect();
        match &self.agents {
            Some(agents) => text.push_str(&agents.explain(now)),
            None => {
                text.push_str("agents            on listen, believed by the names they claim\n")
            }
        }
        if let Some(target) = &self.influx {
            text.push_str(&influx::explain(target));
        }
        if let Some(server) = &self.remote_write {
            let what = "every reading that has a metric, to";
            text.push_str(&server::explain("remote_write", what, server));
        }
        if let Some(server) = &self.alertmanager {
            text.push_str(&server::explain("alertmanager", "the page shows what fires at", server));
        }
        match &self.seal {
            Some(seal) => text.push_str(&seal.explain(self.hubs.iter().map(|hub| &hub.id))),
            None => {
                text.push_str("seal              the ledger is not signed: there is no [seal]\n")
            }
        }
        for hub in &self.hubs {
            text.push_str(&hub.explain(now));
        }
        text.push_str(&projects::explain(&self.projects));
        text
    }
}

impl HubConfig {
    fn explain(&self, now: UtcMillis) -> String {
        let category = match self.plan.category() {
            Ok(Some(category)) => format!("PUE category {}", category.number()),
            Ok(None) | Err(_) => "no PUE: no pue_category is declared".to_owned(),
        };
        let expected = match self.nodes_expected {
            Some(count) => format!("{count} nodes expected"),
            None => "nodes expected: not declared".to_owned(),
        };
        let tree = if self.plan.is_empty() {
            "    no diagram: every node is booked apart, as unplaced".to_owned()
        } else {
            self.plan.tree()
        };
        let open = self.plan.doubts().into_iter();
        let open = open.chain(self.plan.warnings(Offset::UTC.date(now)));
        let open = open.chain(kpis::warnings(self, Offset::UTC.date(now)));
        let open: String = open.map(|words| indented("! ", &words)).collect();
        let facts = self.plan.explained();
        let facts: String = facts.lines().map(|line| indented("", line.trim())).collect();
        let xids = xids::explain(&self.xids);
        let (id, title) = (&self.id, &self.title);
        format!("\nhub {id} ({title})\n    {category}, {expected}\n{tree}\n{facts}{open}{xids}")
    }
}

/// A sentence below a hub's title, within the width of a terminal.
fn indented(mark: &str, words: &str) -> String {
    let lines = wrapped(words, 72).join("\n      ");
    format!("    {mark}{lines}\n")
}

fn show_span(span: Millis) -> String {
    let ms = span.get();
    match ms {
        _ if ms.is_multiple_of(DAY_MS) => format!("{} days", ms / DAY_MS),
        _ if ms.is_multiple_of(60_000) => format!("{} min", ms / 60_000),
        _ if ms.is_multiple_of(1_000) => format!("{} s", ms / 1_000),
        _ => format!("{ms} ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Config, ConfigError> {
        let path = Path::new("test.toml");
        let text: Text = parse(path, text)?;
        Config::checked(text, Vec::new(), Path::new("."), &Overrides::default())
            .map_err(|problems| ConfigError::Problems { problems })
    }

    const HUB: &str = "[[hub]]\nid = \"isb\"\npue_category = 1\n\
        [[hub.point]]\nid = \"incomer\"\nrole = \"grid\"\nmeter = \"m1\"\n";

    fn with(lines: &str) -> String {
        format!("{lines}\n{HUB}")
    }

    fn point(lines: &str) -> String {
        format!("{HUB}[[hub.point]]\n{lines}\n")
    }

    #[test]
    fn what_is_left_out_has_its_usual_value() {
        let config = load(HUB).expect("valid");
        assert_eq!(config.listen.to_string(), "127.0.0.1:8640");
        assert_eq!(config.rules, Rules::default());
        assert_eq!((config.segment_bytes, config.reserve_bytes), (64 << 20, 256 << 20));
        let explained = config.explain(UtcMillis::ZERO);
        assert!(explained.contains("incomer"), "{explained}");
        let warned = "    ! meter m1 of E_DC has no class: no PUE here can state";
        assert!(explained.contains(warned), "{explained}");
    }

    /// Goal: an error that is the source of another says its words once.
    #[test]
    fn a_rule_is_told_once() {
        let text = point("id = \"a\"\nrole = \"pdu\"\nfed_by = \"b\"");
        let words = load(&text).expect_err("an unknown feeder").to_string();
        assert_eq!(words.matches("which is not declared").count(), 1, "{words}");
        let text = format!("{HUB}[[hub.meter]]\nid = \"m1\"\nclass = \"0.55\"\nstandard = \"x\"\n");
        let words = load(&text).expect_err("no such class").to_string();
        assert_eq!(words.matches("is no accuracy class").count(), 1, "{words}");
        assert!(words.contains("class: \"0.55\""), "{words}");
    }

    /// Goal: each mistake is told with what, where and what to do.
    #[test]
    fn o1_mistakes_by_table() {
        let xid = |line: &str| format!("{HUB}[[hub.xid]]\n{line}\n");
        let rows: [(String, &[&str]); 20] = [
            (xid("code = 999\nseverity = \"page\""), &["hub \"isb\", xid 999", "no such XID"]),
            (xid("code = 94\nseverity = \"loud\""), &["line 10", "loud", "`page`"]),
            (xid("code = 94\ncolour = \"red\""), &["line 10", "colour"]),
            (with("intervall = \"15m\""), &["line 1", "unknown field `intervall`"]),
            (with("\ninterval = 900"), &["line 2", "bare number", "\"15s\""]),
            (with("disk_reserve = 5"), &["bare number", "\"2 GiB\""]),
            (with("interval = \"7m\""), &["interval:", "divides a day"]),
            (with("interval = \"15 parsecs\""), &["line 1", "parsecs"]),
            (with("listen = \"0.0.0.0:8640\""), &["reachable", "allow_plain_http"]),
            (with("listen = \"8640\""), &["not an address", "127.0.0.1:8640"]),
            (with("[journal]\nsegment = \"1 MiB\""), &["journal.segment", "4 MiB"]),
            (String::new(), &["no hub is declared"]),
            (format!("{HUB}{HUB}"), &["hub \"isb\"", "declared twice"]),
            (HUB.replace("isb", "i b"), &["character ' '"]),
            (HUB.replace("= 1", "= 4"), &["pue_category 4"]),
            (
                point("id = \"c\"\nrole = \"cooling\"\nmeter = \"m1\""),
                &["meter m1 counts at both", "take it off"],
            ),
            (
                point(
                    "id = \"a\"\nrole = \"pdu\"\nfed_by = \"b\"\n[[hub.point]]\nid = \"b\"\nrole = \"pdu\"\nfed_by = \"a\"",
                ),
                &["circle", "cut the circle"],
            ),
            (
                point("id = \"a\"\nrole = \"pdu\"\nfed_by = \"b\""),
                &["fed by b, which is not declared", "correct its id"],
            ),
            (point("id = \"a\"\nrole = \"toaster\""), &["line 10", "toaster"]),
            (HUB.replace("meter = \"m1\"", ""), &["no grid, generator or solar point has a meter"]),
        ];
        for (text, parts) in rows {
            let error = load(&text).expect_err(&text).to_string();
            for part in parts {
                assert!(error.contains(part), "{part:?} in:\n{error}\nfor:\n{text}");
            }
        }
    }

    /// Goal: no interval that is allowed fills the memory when time jumps.
    #[test]
    fn short_intervals_are_correctable_for_a_shorter_time() {
        let rows = [("1s", 50_400), ("1m", 50_400), ("15m", 3_360), ("1d", 35)];
        for (interval, expected) in rows {
            let rules = load(&with(&format!("interval = \"{interval}\""))).expect(interval).rules;
            assert_eq!(rules.keep.get() / rules.interval.get(), expected, "{interval}");
        }
    }

    #[test]
    fn every_problem_is_told_at_once() {
        let text = with("listen = \"x\"\ninterval = \"7m\"");
        let Err(ConfigError::Problems { problems }) = load(&text) else { panic!("problems") };
        assert_eq!(problems.len(), 2, "{problems:?}");
    }

    #[test]
    fn the_environment_wins() {
        let text: Text = parse(Path::new("t"), HUB).expect("valid");
        let (listen, dir) = (Some("[::1]:1".to_owned()), Some(PathBuf::from("/x")));
        let overrides = Overrides { listen, dir, ..Overrides::default() };
        let config = Config::checked(text, Vec::new(), Path::new("."), &overrides).expect("valid");
        assert_eq!((config.listen.to_string().as_str(), config.dir), ("[::1]:1", "/x".into()));
    }

    #[test]
    fn the_shipped_examples_are_valid() {
        let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/collector.example.toml"));
        let config = Config::load(path, &Overrides::default()).expect("valid");
        assert!(!config.hubs.is_empty());
        let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/allocations.example.toml"));
        let allocations = load_allocations(path).expect("valid");
        let mut problems = Vec::new();
        let count = allocations.len();
        let checked = check_allocations(allocations, &config.hubs, &mut problems);
        assert_eq!((problems, checked.len()), (Vec::new(), count));
    }
}
