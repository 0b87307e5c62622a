//! The text over a real socket: every line against the catalogue, promtool, size.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Command, Stdio};

use bijli_wire::{HubId, NodeId, Quantity, SubjectKind, UtcMillis};

use super::catalogue::{CATALOGUE, Metric, Type};
use crate::api::fleet::{Node, Subject};
use crate::api::tests::client::{get, serve};
use crate::api::tests::hub::{self, NINE, QUARTER};
use crate::live::Latest;

async fn scrape(quarters: i64) -> String {
    let reply = get(serve(hub::state(NINE, quarters)).await, "/metrics/fleet").await;
    assert_eq!(reply.status, 200);
    assert!(reply.head.contains("version=0.0.4"), "{}", reply.head);
    reply.body
}

/// Name, labels, value of one line; panics on anything that is no line of the format.
fn parse(line: &str) -> (&str, Vec<(&str, String)>, &str) {
    let (name, rest) = line.split_once('{').expect("a name and labels");
    let mut labels = Vec::new();
    let mut rest = rest;
    loop {
        let (label, after) = rest.split_once("=\"").expect("a label");
        let mut value = String::new();
        let mut characters = after.char_indices();
        let end = loop {
            match characters.next().expect("an end of the value") {
                (at, '"') => break at,
                (_, '\\') => match characters.next().expect("an escaped character") {
                    (_, 'n') => value.push('\n'),
                    (_, other) => value.push(other),
                },
                (_, plain) => value.push(plain),
            }
        };
        labels.push((label, value));
        rest = &after[end + 1..];
        match rest.strip_prefix(',') {
            Some(more) => rest = more,
            None => break,
        }
    }
    (name, labels, rest.strip_prefix("} ").expect("a value"))
}

#[tokio::test]
async fn every_line_is_of_the_catalogue_and_every_family_is_whole() {
    let text = scrape(4).await;
    let rows: BTreeMap<&str, &Metric> = CATALOGUE.iter().map(|row| (row.name, row)).collect();
    let (mut family, mut seen) = ("", Vec::new());
    for line in text.lines() {
        if let Some(typed) = line.strip_prefix("# TYPE ") {
            let (name, kind) = typed.split_once(' ').expect("a type");
            assert!(!seen.contains(&name), "{name} begins twice");
            assert_eq!(rows[name].kind.word(), kind);
            seen.push(name);
            family = name;
        } else if !line.starts_with("# HELP ") {
            let (name, labels, value) = parse(line);
            assert_eq!(name, family, "{line}");
            let names: Vec<&str> = labels.iter().map(|(label, _)| *label).collect();
            assert_eq!(names, rows[name].labels, "{line}");
            let digits = value.strip_prefix('-').unwrap_or(value);
            assert!(digits.chars().all(|c| c.is_ascii_digit() || c == '.'), "{line}");
        }
    }
    // What the agents of this hub do not tell has no line; all else has.
    let told = [
        "up",
        "info",
        "power_watts",
        "energy_joules_total",
        "temperature_celsius",
        "utilization_ratio",
        "ecc_errors_total",
        "xids_total",
        "last_xid_timestamp_seconds",
    ];
    for row in CATALOGUE {
        let of_gpus = row.name.strip_prefix("bijli_gpu_");
        let is_told = of_gpus.is_none_or(|name| told.contains(&name));
        let is_inventory = [
            "_gpus_seen",
            "_gpus_expected",
            "_kernel_lines_total",
            "_meter_typed_timestamp_seconds",
        ];
        // What budgets are measured by is asked of an index, which this hub has none of.
        let of_budgets = row.name.starts_with("bijli_project_budget_");
        let is_told = is_told && !is_inventory.iter().any(|end| row.name.ends_with(end));
        let of_plant = ["_hertz", "_power_factor_ratio", "_volts", "_amperes"];
        let is_plant = row.name.starts_with("bijli_meter")
            && of_plant.iter().any(|end| row.name.ends_with(end))
            || row.name.starts_with("bijli_ups_")
            || row.name.starts_with("bijli_cooling_")
            || row.name.starts_with("bijli_leak_");
        let is_told = is_told && !is_plant && !of_budgets;
        assert_eq!(seen.contains(&row.name), is_told, "{}", row.name);
    }
}

#[tokio::test]
async fn joules_are_those_of_the_books() {
    let text = scrape(4).await;
    for line in [
        "bijli_collector_nodes_expected{} 3",
        "bijli_collector_nodes_reporting{} 3",
        "bijli_node_up{node='isb-n01'} 1",
        "bijli_gpu_up{node='isb-n01',gpu='0'} 1",
        "bijli_gpu_power_watts{node='isb-n01',gpu='0'} 400.000",
        "bijli_gpu_temperature_celsius{node='isb-n01',gpu='0',sensor='core'} 70.000",
        "bijli_gpu_utilization_ratio{node='isb-n01',gpu='0',engine='sm'} 0.970000",
        "bijli_node_power_watts{node='isb-n01',source='sum'} 710.000",
        "bijli_cpu_energy_joules_total{node='isb-n01',package='0',domain='dram'} 160800.000",
        "bijli_meter_info{meter='m-incomer',role='grid'} 1",
        "bijli_facility_total_energy_joules_total{source='grid'} 6480000.000",
        "bijli_facility_energy_joules_total{role='cooling'} 1116000.000",
        "bijli_facility_energy_joules_total{role='ups_loss'} 252000.000",
        "bijli_project_energy_joules_total{project='climate',part='gpu_active'} 1440000.000",
        "bijli_idle_energy_joules_total{} 252000.000",
        "bijli_ledger_imbalance_joules{} 0.000",
        "bijli_ledger_adjustments_total{} 0",
        "bijli_pue_ratio{window='1h',category='1'} 1.333333",
        "bijli_pue_coverage_ratio{window='1h'} 1.000000",
        "bijli_node_events_total{node='isb-n01',kind='gpu_xid'} 4",
        "bijli_node_events_total{node='isb-n01',kind='probe_failed'} 1",
        "bijli_gpu_xids_total{node='isb-n01',gpu='0',xid='79'} 1",
        "bijli_gpu_xids_total{node='isb-n01',gpu='0',xid='94'} 3",
        "bijli_gpu_last_xid_timestamp_seconds{node='isb-n01',gpu='0',xid='94'} 1785577500.000",
    ] {
        // Every line has the hub first; quotes are written ' here.
        let line = line.replace('\'', "\"").replacen('{', "{hub=\"isb\",", 1).replace(",}", "}");
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    assert!(!text.contains("sensor=\"memory\""), "a value that was not read has no line");
    let (mut roles, mut sources) = (0_u64, 0_u64);
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, _, value) = parse(line);
        let joules = || value.split('.').next().and_then(|whole| whole.parse::<u64>().ok());
        match name {
            "bijli_facility_energy_joules_total" => roles += joules().expect("joules"),
            "bijli_facility_total_energy_joules_total" => sources += joules().expect("joules"),
            _ => {}
        }
    }
    assert_eq!(roles, sources, "what came in went somewhere");
}

#[tokio::test]
async fn without_a_pue_there_is_no_line_of_it() {
    let text = scrape(0).await;
    assert!(!text.contains("bijli_pue_ratio"));
    assert!(!text.contains("bijli_ledger_closed_until"));
}

#[tokio::test]
async fn counters_follow_new_intervals_and_ignore_adjustments() {
    let state = hub::state(NINE, 2);
    let isb = state.hub(&HubId::new("isb").expect("a name")).expect("there");
    let address = serve(state).await;
    let counters = |text: String| -> BTreeMap<String, String> {
        let counter =
            |name: &str| CATALOGUE.iter().any(|m| m.name == name && m.kind == Type::Counter);
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let split = lines.filter_map(|line| line.rsplit_once(' '));
        let kept = split.filter(|(series, _)| counter(series.split('{').next().expect("a name")));
        kept.map(|(series, value)| (series.to_owned(), value.to_owned())).collect()
    };
    let before = counters(get(address, "/metrics/fleet").await.body);
    {
        let mut books = isb.books_mut();
        let late = hub::allocation("9", "GPU-bb02", "latecomer", NINE);
        let _new = books.allocate(late).expect("sound");
        books.advance(UtcMillis::new(NINE + 3 * QUARTER + 130_000));
    }
    let after = counters(get(address, "/metrics/fleet").await.body);
    let number = |text: &str| text.replace('.', "").parse::<u128>().expect("a number");
    for (series, value) in &before {
        assert!(number(&after[series]) >= number(value), "{series} fell");
    }
    let grid = "bijli_facility_total_energy_joules_total{hub=\"isb\",source=\"grid\"}";
    assert_eq!(before[grid], "3240000.000", "1,800 W for half an hour");
    assert_eq!(after[grid], "3996000.000", "and for seven minutes of the third interval");
    assert_ne!(after["bijli_ledger_adjustments_total{hub=\"isb\"}"], "0");
}

#[tokio::test]
async fn a_node_that_is_silent_is_down_and_one_that_left_is_gone() {
    let state = hub::state(NINE, 1);
    let isb = state.hub(&HubId::new("isb").expect("a name")).expect("there");
    let now = state.clock.now().get();
    let at = |ago: i64| {
        let scene = super::Scene::of(&isb, UtcMillis::new(now + ago));
        let mut text = super::Text::default();
        super::write::write(&mut text, &[scene]);
        text.finish()
    };
    let silent = at(120_000);
    assert!(silent.contains("bijli_node_up{hub=\"isb\",node=\"isb-n01\"} 0"));
    assert!(silent.contains("bijli_gpu_energy_joules_total{hub=\"isb\",node=\"isb-n01\""));
    for gauge in ["bijli_gpu_up{", "bijli_gpu_power_watts{", "bijli_node_power_watts{"] {
        assert!(!silent.contains(gauge), "{gauge}: nothing is held");
    }
    let left = at(25 * 3_600_000);
    assert!(!left.contains("node=") && left.contains("bijli_meter_energy_joules_total"));
}

/// Goal: whatever a meter of the plant reads is shown, each phase of it, while it is fresh.
#[test]
fn a_meter_tells_its_phases_its_ups_and_its_loop() {
    let now = UtcMillis::new(NINE);
    let read = |quantity, part, value| (quantity, part, Latest { at: now, value: Some(value) });
    let mut readings: Vec<_> =
        super::meters::tests_quantities().map(|quantity| read(quantity, 0, 950_000)).collect();
    readings.push(read(Quantity::Voltage, 2, 231_400));
    let silent = Latest { at: UtcMillis::new(NINE - 600_000), value: Some(229_000) };
    readings.push((Quantity::Voltage, 3, silent));
    let meter = Subject {
        id: hub::subject_id("isb/ups-a"),
        kind: SubjectKind::Meter,
        label: String::new(),
        model: String::new(),
        serial: String::new(),
        readings,
    };
    let mut scene = large();
    scene.nodes.truncate(1);
    scene.nodes[0].subjects = vec![meter];
    let mut text = super::Text::default();
    super::write::write(&mut text, &[scene]);
    let text = text.finish();
    for line in [
        "bijli_meter_frequency_hertz{hub=\"isb\",meter=\"isb/ups-a\"} 950.000",
        "bijli_meter_power_factor_ratio{hub=\"isb\",meter=\"isb/ups-a\"} 0.950000",
        "bijli_ups_on_battery{hub=\"isb\",meter=\"isb/ups-a\"} 950000",
        "bijli_ups_on_battery_seconds{hub=\"isb\",meter=\"isb/ups-a\"} 950000",
        "bijli_ups_time_left_seconds{hub=\"isb\",meter=\"isb/ups-a\"} 950000",
        "bijli_ups_charge_ratio{hub=\"isb\",meter=\"isb/ups-a\"} 0.950000",
        "bijli_cooling_supply_temperature_celsius{hub=\"isb\",meter=\"isb/ups-a\"} 950.000",
        "bijli_cooling_return_temperature_celsius{hub=\"isb\",meter=\"isb/ups-a\"} 950.000",
        "bijli_cooling_flow_cubic_meters_per_second{hub=\"isb\",meter=\"isb/ups-a\"} 0.950000",
        "bijli_meter_voltage_volts{hub=\"isb\",meter=\"isb/ups-a\",phase=\"\"} 950.000",
        "bijli_meter_voltage_volts{hub=\"isb\",meter=\"isb/ups-a\",phase=\"2\"} 231.400",
        "bijli_meter_current_amperes{hub=\"isb\",meter=\"isb/ups-a\",phase=\"\"} 950.000",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    assert!(!text.contains("phase=\"3\""), "nothing is held");
}

/// A hub of 1,000 nodes with 8 GPUs each, every GPU with all its series.
fn large() -> super::Scene {
    let quantities = || super::gpus::tests_quantities();
    let now = UtcMillis::new(NINE);
    let gpu = |node: usize, index: usize| Subject {
        id: hub::subject_id(&format!("GPU-{node:08x}-0000-4000-8000-{index:012x}")),
        kind: SubjectKind::Gpu,
        label: index.to_string(),
        model: "NVIDIA H200".into(),
        serial: String::new(),
        readings: quantities()
            .map(|quantity| (quantity, 0, Latest { at: now, value: Some(81_000) }))
            .collect(),
    };
    let node = |number: usize| Node {
        id: NodeId::new(&format!("isb-n{number:04}")).expect("a name"),
        agent: "bijli-agent 0.1.0".into(),
        received: now,
        newest: Some(now),
        batches: 1,
        clock: (0, 0),
        is_up: true,
        subjects: (0..8).map(|index| gpu(number, index)).collect(),
    };
    let state = hub::state(NINE, 0);
    let isb = state.hub(&HubId::new("isb").expect("a name")).expect("there");
    let mut scene = super::Scene::of(&isb, now);
    scene.nodes = (0..1_000).map(node).collect();
    scene.counts.clear();
    scene
}

/// Goal: a full hub whose GPUs tell everything stays below 40 MB.
#[test]
fn eight_thousand_gpus_are_a_bounded_text() {
    let mut text = super::Text::default();
    super::write::write(&mut text, &[large()]);
    let text = text.finish();
    let of_gpus = text.lines().filter(|line| line.starts_with("bijli_gpu_")).count();
    assert_eq!(of_gpus, 8_000 * 45, "up, info and 43 values; no register, so no energy");
    assert!(text.len() < 40 << 20, "{} bytes", text.len());
}

#[tokio::test]
async fn promtool_finds_nothing_wrong() {
    let text = scrape(4).await;
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is installed (tests/install.sh)");
    promtool.stdin.take().expect("piped").write_all(text.as_bytes()).expect("written");
    let done = promtool.wait_with_output().expect("ends");
    let said =
        String::from_utf8_lossy(&done.stderr).into_owned() + &String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success() && said.trim().is_empty(), "{said}");
}

/// Goal: a meter that a person reads is not called silent, and the time of its reading is told.
#[tokio::test]
async fn a_meter_that_is_read_by_hand_is_not_waited_for() {
    let state = hub::state(NINE, 4);
    let isb = state.hub(&HubId::new("isb").expect("a name")).expect("there");
    let mut genset = isb.view().plan.points[0].clone();
    (genset.id, genset.meter) = ("genset".into(), Some("m-genset".into()));
    isb.view_mut().plan.points.push(genset);
    let json = br#"{"id":"g1","hub":"isb","meter":"m-genset","at":"2026-08-01T09:30:00Z",
        "value":"812.4 kWh","who":"A. Khan","why":"round"}"#;
    let text = crate::meterbook::TypedText::from_json(json).expect("valid");
    let received = UtcMillis::new(NINE + 3_600_000);
    let (_, reading) = text.read().expect("valid");
    assert!(isb.books_mut().put_typed(reading, received).is_ok());
    let address = serve(state).await;
    let text = get(address, "/metrics/fleet").await.body;
    let line = "bijli_meter_typed_timestamp_seconds{hub=\"isb\",meter=\"m-genset\"} 1785576600";
    assert!(text.contains(line), "{text}");
    assert!(!text.contains("bijli_meter_info{hub=\"isb\",meter=\"m-genset\""), "{text}");
    let page = get(address, "/").await.body;
    assert!(page.contains("by hand, ") && page.contains("read by hand"), "{page}");
}

/// Goal: dashboards made for dcgm-exporter find their names, labels and units, of readings that
/// exist and of nothing else; what is printed is Prometheus text.
#[test]
fn gpus_are_told_as_dcgm_exporter_names_them() {
    let now = UtcMillis::new(NINE);
    let read = |quantity, value| (quantity, 0, Latest { at: now, value });
    let gpu = Subject {
        id: hub::subject_id("GPU-0001"),
        kind: SubjectKind::Gpu,
        label: "3".into(),
        model: "NVIDIA H200".into(),
        serial: String::new(),
        readings: vec![
            read(Quantity::ClockSm, Some(1_980_000_000)),
            read(Quantity::Temperature, Some(64_000)),
            read(Quantity::PowerInstant, Some(612_345)),
            read(Quantity::GpuUtilization, Some(987_600)),
            read(Quantity::MemoryUsed, Some((5 << 30) + 1)),
            read(Quantity::FanSpeed, None),
            read(Quantity::RemapFailed, Some(0)),
        ],
    };
    let mut scene = large();
    scene.nodes.truncate(1);
    scene.nodes[0].subjects = vec![gpu];
    let mut text = super::Text::default();
    super::dcgm::write(&mut text, &[scene]);
    let text = text.finish();
    let labels = "{gpu=\"3\",UUID=\"GPU-0001\",device=\"nvidia3\",modelName=\"NVIDIA H200\",\
                  Hostname=\"isb-n0000\",instance=\"isb-n0000\",hub=\"isb\"}";
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let expected = [
        ("SM_CLOCK", "1980.000000"),
        ("GPU_TEMP", "64.000"),
        ("POWER_USAGE", "612.345"),
        ("GPU_UTIL", "98.760"),
        ("FB_USED", "5120"),
        ("ROW_REMAP_FAILURE", "0"),
    ];
    let expected = expected.map(|(name, value)| format!("DCGM_FI_DEV_{name}{labels} {value}"));
    assert_eq!(lines, expected);
}

#[tokio::test]
async fn the_text_for_dcgm_is_prometheus_text_of_every_gpu() {
    let reply = get(serve(hub::state(NINE, 4)).await, "/metrics/dcgm").await;
    assert_eq!(reply.status, 200);
    for line in ["DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION{", "DCGM_FI_DEV_XID_ERRORS{"] {
        assert!(reply.body.contains(line), "{line}\n{}", reply.body);
    }
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is installed (tests/install.sh)");
    promtool.stdin.take().expect("piped").write_all(reply.body.as_bytes()).expect("written");
    let done = promtool.wait_with_output().expect("ends");
    // 3: it reads the text, and would name things otherwise; the names are NVIDIA's. 1: it cannot.
    assert_eq!(done.status.code(), Some(3), "{}", String::from_utf8_lossy(&done.stderr));
}
