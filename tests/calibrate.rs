//! A GPU whose register counts 5 % too much is compared with a better meter by the real agent, and
//! the record that comes of it corrects the real collector's books.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};

use harness::eventually;
use harness::gpus::uuid;
use harness::http::ask;
use harness::program::binary;
use harness::site::{Site, millijoules};
use serde_json::Value;

const HUB: &str = "[[hub]]\nid = \"lahore\"\ntitle = \"Lahore\"\n";
const SETTINGS: &str = "[rapl]\nenabled = false\n[host]\nenabled = false\n";
/// Three steady loads and then a fourth for as long as it takes.
const SCENARIO: &str = "
[[gpus]]
power_trace = [
  { for_ms = 20_000, power_mw = 200_000 },
  { for_ms = 15_000, power_mw = 400_000 },
  { for_ms = 15_000, power_mw = 600_000 },
  { for_ms = 100_000_000, power_mw = 300_000 },
]
[gpus.faults]
energy_gain_ppm = 50_000
";

/// Plays the person at the meter: types what the reference shows at the moment it is asked for.
fn type_readings(child: &mut std::process::Child, reading: impl Fn() -> String) -> String {
    let mut typed = child.stdin.take().expect("piped");
    let told = BufReader::new(child.stdout.take().expect("piped"));
    let mut all = String::new();
    for line in told.lines() {
        let line = line.expect("text");
        if line.contains("press Enter") {
            writeln!(typed).expect("it listens");
        } else if line.starts_with("the reference now") {
            writeln!(typed, "{}", reading()).expect("it listens");
        }
        all.push_str(&line);
        all.push('\n');
    }
    all
}

/// Goal: the gain is found within its stated doubt; the collector books the correction beside what
/// was read; the sum over all intervals is exact to the cut of each.
#[test]
fn s5_a_gain_is_measured_signed_and_booked_as_an_adjustment() {
    let site = Site::start(HUB);
    std::fs::write(site.path("gpu.toml"), SCENARIO).expect("written");
    let scenario = fakenvml::Scenario::parse(SCENARIO).expect("a scenario");
    let epoch = harness::utc_ms();
    let env = [
        ("BIJLI_NVML_LIB", fakenvml::library_path().display().to_string()),
        ("BIJLI_FAKENVML_SCENARIO", site.path("gpu.toml").display().to_string()),
        ("BIJLI_FAKENVML_EPOCH_UTC_MS", epoch.to_string()),
    ];
    let agent = site.agent("lahore", "n01", SETTINGS, &env);
    let record = site.path("record.json");
    let words = "calibrate --typed --class 0.5 --resolution 1mJ --timing 100ms --steps 3 --each 6s \
                 --settle 1s --who A.Khan --why yearly";
    let mut child = Command::new(binary("bijli-agent"))
        .args(words.split(' '))
        .arg("--config")
        .arg(site.path("n01.toml"))
        .arg("--out")
        .arg(&record)
        .envs(env)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts");
    let printed = type_readings(&mut child, || {
        let at = u64::try_from(harness::utc_ms() - epoch).expect("not long");
        let drawn = fakenvml::drawn_energy_uj(&scenario, 0, 0, at);
        format!("{} mJ", 5_000_000 + drawn / 1_000)
    });
    assert!(child.wait().expect("ends").success(), "{printed}");

    let text = std::fs::read_to_string(&record).expect("a record");
    let mut signed: Value = serde_json::from_str(&text).expect("JSON");
    let number = |field: &str| signed[field].as_u64().expect("a number");
    let (gain, doubt) = (number("gain_ppm"), number("doubt_ppm"));
    assert!(gain.abs_diff(952_381) <= doubt, "{gain} ± {doubt}\n{printed}");
    assert!((5_000..150_000).contains(&doubt), "{doubt}\n{printed}");
    assert_eq!(signed["devices"][0], uuid(0));

    // From the beginning, so that intervals that are closed already are adjusted.
    signed["from"] = "2020-01-01T00:00:00Z".into();
    let put = ask("PUT", site.port, "/v1/calibrations", signed.to_string().as_bytes());
    let answer = put.expect("an answer").json();
    assert_eq!(answer["verdict"], "new", "{answer}");
    let flow = |site: &Site, from: &str, to: &str| {
        let flows = site.json("/v1/hubs/lahore/flows");
        let flows = flows["flows"].as_array().expect("a list").clone();
        let is_it = |flow: &&Value| flow["credit"] == from && flow["debit"] == to;
        flows.iter().filter(is_it).map(|flow| millijoules(&flow["energy_mj"])).sum::<u128>()
    };
    let (node, gpu) = ("node:n01".to_owned(), format!("gpu:{}", uuid(0)));
    eventually("every closed interval adjusted", 60, || {
        let (read, back) = (flow(&site, &node, &gpu), flow(&site, &gpu, &node));
        let exact = read * u128::from(1_000_000 - gain) / 1_000_000;
        // Each interval's part is cut for itself; there are not 60 of them.
        (read > 10_000_000 && back <= exact && exact - back < 60).then_some(())
    });
    let balance = site.json("/v1/hubs/lahore/balance");
    assert_eq!(balance["imbalance_mj"], "0", "{}", agent.printed());
    let again = ask("PUT", site.port, "/v1/calibrations", signed.to_string().as_bytes());
    assert_eq!(again.expect("an answer").json()["verdict"], "unchanged");
}
