//! Published measurements of real GPU servers, replayed through agent and collector: the energy is
//! the published answer. Where the files come from: `tests/data/README.md`.
//!
//! The traces are from 2024 and 2025, and a hub corrects its books for 35 days only. So each is
//! moved as a whole to the day before today; every difference in it stays as it was.

use std::fs;
use std::path::Path;

use harness::eventually;
use harness::site::{Site, millijoules};

const HUB: &str = "[[hub]]\nid = \"bench\"\ntitle = \"Published measurements\"\n";

fn data(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("data").join(name);
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// One reading of an oracle that shares nothing with the agent's parser.
#[derive(Clone, Copy)]
struct Reading {
    ms: u128,
    milliwatts: u128,
}

/// Trapezoid on the logged times, whole millijoules.
fn trapezoid(readings: &[Reading]) -> u128 {
    let twice: u128 = readings
        .windows(2)
        .map(|pair| (pair[0].milliwatts + pair[1].milliwatts) * (pair[1].ms - pair[0].ms))
        .sum();
    twice / 2_000
}

/// Watt-hours with the decimals that the publication has, rounded half up.
fn watt_hours(energy: u128, decimals: u32) -> String {
    let scale = 10_u128.pow(decimals);
    let rounded = (energy * scale + 1_800_000) / 3_600_000;
    format!("{}.{:0width$}", rounded / scale, rounded % scale, width = decimals as usize)
}

/// The day before today (UTC), as PTDaemon writes it: month, day, year.
fn yesterday() -> String {
    let days = i64::try_from(harness::utc_ms() / 86_400_000).expect("few") - 1;
    // Days since 1970 to a civil date, counting years from March (Richards' algorithm).
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{month:02}-{day:02}-{year}")
}

fn decimal_milliwatts(watts: &str) -> u128 {
    let (whole, fraction) = watts.split_once('.').unwrap_or((watts, "0"));
    let fraction = format!("{fraction:0<3}");
    assert!(fraction[3..].chars().all(|c| c == '0'), "finer than a milliwatt: {watts}");
    whole.parse::<u128>().expect("watts") * 1_000 + fraction[..3].parse::<u128>().expect("mW")
}

/// Milliseconds of the day: one trace lies within one day.
fn ms_of_day(time: &str) -> u128 {
    let clock = time.split(' ').nth(1).expect("a date and a time");
    let part = |range: std::ops::Range<usize>| clock[range].parse::<u128>().expect("digits");
    ((part(0..2) * 60 + part(3..5)) * 60 + part(6..8)) * 1_000 + part(9..12)
}

/// Replays `trace` as the whole-node register of a node and returns what the closed books have.
fn booked(trace: &str, format: &str, expected: u128) {
    let site = Site::begin("15m", HUB, true);
    let file = site.path("trace");
    fs::write(&file, trace).expect("written");
    let settings = format!(
        "[host]\nenabled = false\n[nvml]\nenabled = false\n[rapl]\nenabled = false\n\
         [[replay]]\nsubject = \"server\"\nkind = \"node\"\nfile = \"{}\"\n{format}\n\
         integrate = \"trapezoid\"\npower_max = \"20 kW\"\n",
        file.display()
    );
    let agent = site.agent("bench", "server", &settings, &[]);
    let mut seen = 0;
    eventually(&format!("{expected} mJ in the closed books\n{}", agent.printed()), 90, || {
        let balance = site.json("/v1/hubs/bench/balance");
        assert_eq!(balance["imbalance_mj"], "0");
        let accounts = balance["accounts"].as_array().expect("a list");
        let line = accounts.iter().find(|line| line["account"] == "node:server")?;
        seen = millijoules(&line["debits_mj"]);
        assert!(seen <= expected, "{seen} mJ booked of {expected}");
        (seen == expected).then_some(())
    });
}

/// Goal: 3,634 samples of a Yokogawa WT333E on an 8xH200 server. Between LoadGen's power_begin and
/// power_end the published energy is 5,324.647 Wh.
#[test]
fn h200_inference_is_5324_647_watt_hours() {
    let text = data("h200/spl.txt");
    let (begin, end) = ("07-17-2024 09:52:23.554", "07-17-2024 10:44:20.289");
    let inside = |line: &&str| line.split(',').nth(1).is_some_and(|t| (begin..=end).contains(&t));
    let lines: Vec<&str> = text.lines().filter(inside).collect();
    assert_eq!(lines.len(), 3_116, "as published");
    let readings: Vec<Reading> = lines
        .iter()
        .map(|line| {
            let fields: Vec<&str> = line.split(',').collect();
            Reading { ms: ms_of_day(fields[1]), milliwatts: decimal_milliwatts(fields[3]) }
        })
        .collect();
    let energy = trapezoid(&readings);
    assert_eq!(watt_hours(energy, 3), "5324.647");
    let moved = lines.join("\n").replace("07-17-2024", &yesterday());
    booked(&moved, "format = \"ptd\"\nutc_offset = \"+00:00\"", energy);
}

/// PTDaemon's own summary of the same file: 5639.494799 W over 3,634 samples.
#[test]
fn the_cut_h200_file_still_has_ptdaemons_mean() {
    let text = data("h200/spl.txt");
    let watts: Vec<u128> = text
        .lines()
        .filter(|line| line.starts_with("Time"))
        .map(|line| decimal_milliwatts(line.split(',').nth(3).expect("watts")))
        .collect();
    assert_eq!(watts.len(), 3_634);
    let mean_nanowatts = watts.iter().sum::<u128>() * 1_000_000 / 3_634;
    assert_eq!(mean_nanowatts / 1_000, 5_639_494_799);
}

fn b200(name: &str, run: std::ops::RangeInclusive<u128>, published: &str) {
    let text = data(name);
    let move_ms = harness::utc_ms() - run.start() - 24 * 3_600_000;
    let mut readings = Vec::new();
    let mut lines = Vec::new();
    for line in text.lines() {
        let json: serde_json::Value =
            serde_json::from_str(line.strip_prefix(":::MLLOG ").expect("a line")).expect("JSON");
        let ms = u128::from(json["time_ms"].as_u64().expect("a time"));
        if json["key"] == "power_reading" && run.contains(&ms) {
            let watts = json["value"].to_string();
            readings.push(Reading { ms, milliwatts: decimal_milliwatts(&watts) });
            lines.push(line.replace(&ms.to_string(), &(ms + move_ms).to_string()));
        }
    }
    let energy = trapezoid(&readings);
    assert_eq!(watt_hours(energy, 1), published);
    booked(&lines.join("\n"), "format = \"mllog\"", energy);
}

/// Goal: bursty training on 8xB200, about one reading a second, some two seconds apart; between
/// the run's run_start and run_stop.
#[test]
fn b200_training_first_run_is_1743_8_watt_hours() {
    b200("b200/result_0.txt", 1_745_519_751_721..=1_745_520_407_629, "1743.8");
}

#[test]
fn b200_training_second_run_is_1977_0_watt_hours() {
    b200("b200/result_4.txt", 1_745_522_835_783..=1_745_523_579_097, "1977.0");
}
