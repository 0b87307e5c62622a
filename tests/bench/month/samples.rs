//! The month of a part of the fleet as a scraper sees it: each GPU's energy register once a minute,
//! under the labels of whoever holds it at that moment, as dcgm-exporter tells them.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use super::fleet::{BEGIN, DAY_MS, DAYS, HUBS, Holder, Lane, NODES_OF_A_PART, lanes, ms, project};

const EVERY_MS: i64 = 60_000;
/// Bytes of one request.
const BODY_BYTES: usize = 8_000_000;

/// What one label set saw: times in milliseconds and the register in millijoules.
struct Series {
    labels: Vec<(&'static str, String)>,
    samples: Samples,
}

type Samples = Vec<(i64, u64)>;

/// All series of a lane's GPUs, a job's each; what nobody held has one too.
fn series(lane: &Lane) -> Vec<Series> {
    let mut runs: Vec<(Option<Holder>, Samples)> = vec![(None, Vec::new())];
    // Nodes are not read all at once.
    let mut at = BEGIN + i64::try_from(lane.node).expect("small") * 7_919 % EVERY_MS;
    let mut register = 0;
    for stretch in &lane.stretches {
        let mut seen = Vec::new();
        while at < stretch.to {
            seen.push((at, register + stretch.watts * ms(at - stretch.from)));
            at += EVERY_MS;
        }
        register += stretch.watts * ms(stretch.to - stretch.from);
        match runs.iter_mut().rev().find(|(holder, _)| *holder == stretch.holder) {
            Some((_, samples)) => samples.extend(seen),
            None => runs.push((stretch.holder, seen)),
        }
    }
    runs.retain(|(_, samples)| !samples.is_empty());
    let of_gpu = |gpu: u64| {
        runs.iter().map(move |(holder, samples)| {
            let labels = labels(lane, gpu, *holder);
            Series { labels, samples: samples.clone() }
        })
    };
    (lane.first_gpu..lane.first_gpu + lane.gpus).flat_map(of_gpu).collect()
}

fn labels(lane: &Lane, gpu: u64, holder: Option<Holder>) -> Vec<(&'static str, String)> {
    let mut labels = vec![
        ("hub", HUBS[lane.hub].to_owned()),
        ("node", format!("n{:04}", lane.node)),
        ("gpu", gpu.to_string()),
    ];
    if let Some(holder) = holder {
        labels.push(("job", holder.job.to_string()));
        labels.push(("project", project(holder.project)));
    }
    labels
}

fn all() -> impl Iterator<Item = Series> {
    let lanes = (0..HUBS.len()).flat_map(|hub| lanes(hub, NODES_OF_A_PART));
    lanes.flat_map(|lane| series(&lane))
}

/// An OpenMetrics file for each day, in a folder; and how many series and samples they have.
pub(crate) fn openmetrics(folder: &Path) -> (Vec<PathBuf>, u64, u64) {
    let name = |day: i64| folder.join(format!("{day:02}.om"));
    let paths: Vec<PathBuf> = (0..DAYS).map(name).collect();
    let open = |path: &PathBuf| BufWriter::new(File::create(path).expect("a file"));
    let mut files: Vec<BufWriter<File>> = paths.iter().map(open).collect();
    for file in &mut files {
        writeln!(file, "# TYPE gpu_energy_millijoules counter").expect("written");
    }
    let (mut series_count, mut samples_count) = (0, 0);
    for series in all() {
        let words: Vec<String> =
            series.labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
        let labels = words.join(",");
        series_count += 1;
        for (at, value) in series.samples {
            samples_count += 1;
            let day = usize::try_from((at - BEGIN) / DAY_MS).expect("in the month");
            let (s, ms) = (at / 1_000, at % 1_000);
            writeln!(files[day], "gpu_energy_millijoules_total{{{labels}}} {value} {s}.{ms:03}")
                .expect("written");
        }
    }
    for mut file in files {
        writeln!(file, "# EOF").expect("written");
        file.flush().expect("written");
    }
    (paths, series_count, samples_count)
}

/// Bodies for VictoriaMetrics' import: a line of JSON for each series.
pub(crate) fn json_lines(mut send: impl FnMut(&str)) -> (u64, u64) {
    let (mut body, mut series_count, mut samples_count) = (String::new(), 0, 0);
    for series in all() {
        body.push_str(r#"{"metric":{"__name__":"gpu_energy_millijoules_total""#);
        for (name, value) in &series.labels {
            write!(body, r#","{name}":"{value}""#).expect("to memory");
        }
        let list =
            |numbers: &mut dyn Iterator<Item = String>| numbers.collect::<Vec<String>>().join(",");
        let values = list(&mut series.samples.iter().map(|(_, value)| value.to_string()));
        let times = list(&mut series.samples.iter().map(|(at, _)| at.to_string()));
        writeln!(body, r#"}},"values":[{values}],"timestamps":[{times}]}}"#).expect("to memory");
        series_count += 1;
        samples_count += u64::try_from(series.samples.len()).expect("few");
        if body.len() >= BODY_BYTES {
            send(&body);
            body.clear();
        }
    }
    send(&body);
    (series_count, samples_count)
}
