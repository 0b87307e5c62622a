//! The figures beside PUE on the real collector, whose meters, water and heat are read by hand.

use std::path::Path;
use std::process::{Command, Output};

use harness::eventually;
use harness::program::binary;
use harness::site::{Site, millijoules};
use serde_json::Value;

const HUB: &str = r#"
[[hub]]
id = "lahore"
pue_category = 2
time_zone = "Asia/Karachi"
kpis = "KPIS"
[[hub.point]]
id = "incomer"
role = "grid"
meter = "lahore/incomer"
[[hub.point]]
id = "hall"
role = "pdu"
meter = "lahore/hall"
"#;

const TABLES: &str = r#"
# Examples, no real factor.
demand_window = "1m"
[designed]
pue = "1.25"
source = "the bid"
year = 2025
[[crossing]]
id = "mains"
what = "water"
meter = "lahore/water"
[[crossing]]
id = "greenhouse"
what = "reused_heat"
meter = "lahore/heat"
[[factor]]
id = "grid"
of = "grid"
method = "location"
value = "400 g/kWh"
scope = 2
source = "an example"
year = 2026
from = "2020-01-01"
[[tariff]]
id = "flat"
source = "an example"
time_zone = "Asia/Karachi"
from = "2020-01-01"
tax = "10 %"
[[tariff.window]]
name = "all"
rate = "36.00 Rs/kWh"
"#;

const DESIGNED: &str = "dPUE = 1.25 by design, nothing was measured: the bid, 2025";

/// The edge of the interval that is open now.
fn edge() -> i64 {
    i64::try_from(harness::utc_ms() / 10_000 * 10_000).expect("this age")
}

fn utc(at_ms: i64) -> String {
    bijli_collector::calendar::rfc3339(bijli_wire::UtcMillis::new(at_ms))
}

fn collector(words: &[&str]) -> Output {
    Command::new(binary("bijli-collector")).args(words).output().expect("it starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

fn read(site: &Site, meter: &str, at_ms: i64, value: &str) -> String {
    let (url, at) = (format!("http://127.0.0.1:{}", site.port), utc(at_ms));
    let meter = format!("lahore/{meter}");
    let words = ["meterbook", "add", "--meter", &meter, "--at", &at, "--value", value];
    let signed = ["--who", "A. Khan", "--why", "round", "--url", &url];
    let output = collector(&[&words[..], &signed].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

fn kpi<'a>(answer: &'a Value, name: &str) -> &'a Value {
    let kpis = answer["kpis"].as_array().expect("a list");
    kpis.iter().find(|kpi| kpi["kpi"] == name).unwrap_or_else(|| panic!("{name}: {answer}"))
}

fn value(answer: &Value, name: &str) -> String {
    let shown = kpi(answer, name)["figure"]["shown"].as_str();
    let shown = shown.unwrap_or_else(|| panic!("no {name}: {answer}"));
    let value = shown.split(") = ").nth(1).expect("a value");
    value.split([' ', ':']).next().expect("a word").to_owned()
}

/// Goal: a hub on paper has its figures from two rounds of readings, each with its terms; they
/// survive a restart; a corrected factor corrects them; what is not declared is withheld; and the
/// journal with its tables replays to the same leaves.
#[test]
fn a_hub_on_paper_has_its_figures_and_keeps_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let tables = folder.path().join("kpis.toml");
    std::fs::write(&tables, TABLES).expect("written");
    let mut site = Site::start(&HUB.replace("KPIS", &tables.display().to_string()));
    let now = edge();
    let (first, second) = (now - 613_000, now - 7_000);
    for (meter, begin, end) in [
        ("incomer", "123400.0 kWh", "123460.0 kWh"),
        ("hall", "0700.00 kWh", "0740.00 kWh"),
        ("heat", "0 kWh", "6 kWh"),
    ] {
        let _ = read(&site, meter, first, begin);
        let _ = read(&site, meter, second, end);
    }
    let _ = read(&site, "water", first, "10.000 m3");
    let said = read(&site, "water", second, "10.080 m3");
    assert!(said.contains("volume       80.000 l since"), "{said}");
    let address =
        format!("/v1/hubs/lahore/kpis?from={}&to={}", utc(now - 600_000), utc(now - 20_000));
    let answer = eventually("all intervals of both meters", 90, || {
        let answer = site.json(&address);
        let figure = &kpi(&answer, "WUE")["figure"];
        (figure["intervals_complete"] == 58).then_some(answer)
    });
    for (name, expected) in [
        ("WUE", "2.000"),
        ("CUE location-based", "0.600"),
        ("ERF", "0.100"),
        ("load factor", "1.000"),
    ] {
        assert_eq!(value(&answer, name), expected, "{name}");
    }
    let withheld = &kpi(&answer, "CUE market-based")["withheld"];
    assert_eq!(withheld["code"], "no_factor", "{withheld}");
    assert_eq!(kpi(&answer, "REF")["withheld"]["code"], "no_renewable");
    assert_eq!(kpi(&answer, "E_DC-BG share")["withheld"]["code"], "no_generator");
    // Rs 36 a kWh is a paisa for each 1000 kJ; and 10 % of it.
    let cost = &kpi(&answer, "cost")["figure"];
    let (line, tax) = (&cost["terms"][0], &cost["terms"][1]);
    let energy = millijoules(&line["from"]["amount"]);
    let paisa = (energy + 500_000) / 1_000_000;
    assert_eq!(millijoules(&line["amount"]), paisa, "{cost}");
    assert_eq!(millijoules(&tax["amount"]), (paisa + 5) / 10, "{cost}");
    assert_eq!(millijoules(&cost["numerator"]["amount"]), paisa + (paisa + 5) / 10);

    said_at_the_command_line(&site, &utc(now - 600_000), &utc(now - 20_000));
    let _status = site.collector.stop(30);
    site.restart();
    assert_eq!(site.json(&address)["kpis"], answer["kpis"]);
    let _status = site.collector.stop(30);
    std::fs::write(&tables, TABLES.replace("400 g", "500 g")).expect("written");
    site.restart();
    assert_eq!(value(&site.json(&address), "CUE location-based"), "0.750");

    let path = site.path("collector");
    let _status = site.collector.stop(30);
    assert_eq!(
        tables_in(&path),
        2,
        "one frame for each text, none for a start that finds the same"
    );
    let dir = path.display().to_string();
    let replay = collector(&["replay", "--verify", "--dir", &dir]);
    assert!(replay.status.success(), "{}{}", text(&replay.stdout), text(&replay.stderr));
}

/// The command line prints each figure with its terms, and what is withheld with its reason.
fn said_at_the_command_line(site: &Site, from: &str, to: &str) {
    let url = format!("http://127.0.0.1:{}", site.port);
    let words = ["kpi", "--hub", "lahore", "--from", from, "--to", to, "--url", &url];
    let said = collector(&words);
    assert!(said.status.success(), "{}", text(&said.stderr));
    let said = text(&said.stdout);
    for words in
        ["= 2.000 l/kWh: water", "factor grid, scope 2: an example, 2026", "no REF: ", DESIGNED]
    {
        assert!(said.contains(words), "{words:?} in {said}");
    }
}

/// How many texts the journal holds, by the remark in each.
fn tables_in(dir: &Path) -> usize {
    let segments = std::fs::read_dir(dir.join("journal")).expect("a journal");
    let bytes =
        segments.map(|file| std::fs::read(file.expect("a file").path()).unwrap_or_default());
    let remark = b"# Examples, no real factor.";
    bytes.map(|bytes| bytes.windows(remark.len()).filter(|part| part == remark).count()).sum()
}

/// Goal: `check` refuses two factors that hold on one day, with the file, both names and the day,
/// and tells what is missing where the tables are sound.
#[test]
fn check_tells_what_the_tables_say_twice_and_what_they_leave_out() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let config = HUB.replace("KPIS", "kpis.toml");
    std::fs::write(path("collector.toml"), config).expect("written");
    let config = path("collector.toml").display().to_string();
    let check = |tables: &str| {
        std::fs::write(path("kpis.toml"), tables).expect("written");
        let output = collector(&["check", "--config", &config]);
        let told = text(&output.stdout) + &text(&output.stderr);
        (output.status.success(), told.split_whitespace().collect::<Vec<_>>().join(" "))
    };
    let (is_sound, told) = check(&TABLES.replace("demand_window = \"1m\"", ""));
    assert!(is_sound && told.contains("! no demand_window: demand and load"), "{told}");
    let (is_sound, told) = check(&TABLES.replace("\"1m\"", "\"30m\""));
    assert!(is_sound, "{told}");
    let words = "! no market-based factor of grid is declared: CUE is withheld";
    assert!(told.contains(words), "{told}");
    let (is_sound, told) = check(TABLES);
    assert!(!is_sound && told.contains("demand_window: 60000 ms are no whole intervals"), "{told}");
    let factor = TABLES.split("[[tariff]]").next().and_then(|text| text.split("[[factor]]").nth(1));
    let newer = factor.expect("the factor").replace("id = \"grid\"", "id = \"newer\"");
    let twice = format!("{}\n[[factor]]{newer}", TABLES.replace("\"1m\"", "\"30m\""));
    let (is_sound, told) = check(&twice);
    let words = "kpis.toml: factor \"newer\": on 2020-01-01 factor \"grid\" holds too";
    assert!(!is_sound && told.contains(words), "{told}");
    std::fs::remove_file(path("kpis.toml")).expect("removed");
    let output = collector(&["check", "--config", &config]);
    let told = text(&output.stderr);
    assert!(!output.status.success() && told.contains("cannot read"), "{told}");
}
