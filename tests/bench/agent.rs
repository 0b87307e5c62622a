//! The agent with eight and with sixteen fake GPUs, all cadences on, beside node_exporter scraped
//! each second and an idle tokio program as the floor. All run at the same time.
//!
//! A round is a whole minute, so that what is read each ten seconds and each minute has its share.
//! The agent runs in the environment that its systemd unit gives it. What is measured includes the
//! fake library's own work: it runs on the GPUs' threads, whose part is shown apart, as what is
//! resident of the library's file.

use std::fmt::Write as _;
use std::fs;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use harness::http::get;
use harness::program::{Program, binary, free_port};
use harness::site::Site;

use crate::process::{
    cpu_ns, cpu_ns_of_threads, mapped_kb, median, status_kb, thousandths, threads,
};

/// Rounds of this many seconds each: the median round is quoted.
const ROUNDS: usize = 5;
const ROUND_S: u64 = 60;
/// The kernel shows 15 bytes of a thread's name: `nvml:GPU-000000`.
const GPU_THREADS: &str = "nvml:GPU";
/// Until sockets are open and every series was read once.
const WARM_UP: Duration = Duration::from_secs(65);

const UNIT: &str = include_str!("../../agent/systemd/bijli-agent.service");

struct Contender {
    name: String,
    program: Program,
    /// Scraped each second, as Prometheus would.
    port: Option<u16>,
    spent_us: Vec<u64>,
    /// Of these, what threads of GPUs spent.
    spent_on_gpus_us: Vec<u64>,
}

pub(crate) fn run() {
    let site = site();
    let mut contenders: Vec<Contender> = [8, 16]
        .map(|gpus| {
            let name = format!("bijli-agent, {gpus} fake GPUs, host, spool, uplink");
            contender(name, agent(&site, gpus), None)
        })
        .into();
    let port = free_port();
    let mut exporter = Command::new("prometheus-node-exporter");
    exporter.arg(format!("--web.listen-address=127.0.0.1:{port}"));
    let exporter = Program::start(&mut exporter, &site.path("exporter.log"));
    contenders.push(contender("prometheus-node-exporter, scraped".into(), exporter, Some(port)));
    let mut idle = Command::new(binary("bijli-idle"));
    let idle = Program::start(&mut idle, &site.path("idle.log"));
    contenders.push(contender("idle tokio program, one timer".into(), idle, None));
    sleep(WARM_UP);
    for (one, gpus) in contenders.iter().zip([8, 16]) {
        assert_eq!(threads(one.program.pid(), GPU_THREADS), gpus, "{}", one.name);
    }

    for round in 0..ROUNDS {
        eprintln!("agent: round {} of {ROUNDS}", round + 1);
        measure(&mut contenders);
    }
    println!(
        "\n| program | CPU per tick (median of {ROUNDS} x {ROUND_S} s) | of it on GPUs' threads \
         | RSS now | RSS peak | of it the fake library |"
    );
    println!("| --- | --- | --- | --- | --- | --- |");
    for one in contenders {
        let pid = one.program.pid();
        let [spent, on_gpus] =
            [one.spent_us, one.spent_on_gpus_us].map(|us| thousandths(median(us)));
        let (now, peak) = (status_kb(pid, "VmRSS"), status_kb(pid, "VmHWM"));
        let library = mapped_kb(pid, "fakenvml");
        println!(
            "| {} | {spent} ms | {on_gpus} ms | {now} kB | {peak} kB | {library} kB |",
            one.name
        );
    }
}

fn contender(name: String, program: Program, port: Option<u16>) -> Contender {
    Contender { name, program, port, spent_us: Vec::new(), spent_on_gpus_us: Vec::new() }
}

pub(crate) fn site() -> Site {
    Site::start("[[hub]]\nid = \"bench\"\ntitle = \"bench\"\n")
}

/// An agent whose GPUs work as a training job's do, each a little otherwise.
pub(crate) fn agent(site: &Site, gpus: u32) -> Program {
    let mut scenario = String::from("# Written by the bench.\n");
    for gpu in 0..gpus {
        let (busy, idle) = (640_000 + 4_321 * gpu, 300_000 + 1_234 * gpu);
        write!(
            scenario,
            "[[gpus]]\nenergy_start_mj = 8000000000{gpu:02}\npower_trace = [{{ for_ms = 1400, \
             power_mw = {busy} }}, {{ for_ms = 300, power_mw = {idle} }}]\n\
             processes = [{{ pid = {pid}, used_bytes = 71_940_702_208 }}]\n",
            pid = 40_000 + gpu
        )
        .expect("a string takes it");
    }
    let path = site.path(&format!("{gpus}-gpus.toml"));
    fs::write(&path, scenario).expect("written");
    let mut env = vec![
        ("BIJLI_NVML_LIB", fakenvml::library_path().display().to_string()),
        ("BIJLI_FAKENVML_SCENARIO", path.display().to_string()),
    ];
    env.extend(environment());
    site.agent("bench", &format!("n{gpus}"), "", &env)
}

/// What the systemd unit sets.
fn environment() -> Vec<(&'static str, String)> {
    let lines = UNIT.lines().filter_map(|line| line.strip_prefix("Environment="));
    let set: Vec<_> = lines.filter_map(|set| set.split_once('=')).collect();
    assert!(!set.is_empty(), "the unit sets something");
    set.into_iter().map(|(name, value)| (name, value.to_owned())).collect()
}

fn measure(contenders: &mut [Contender]) {
    let spent = |one: &Contender| {
        let pid = one.program.pid();
        (cpu_ns(pid), cpu_ns_of_threads(pid, GPU_THREADS))
    };
    let before: Vec<(u64, u64)> = contenders.iter().map(spent).collect();
    for _ in 0..ROUND_S {
        for port in contenders.iter().filter_map(|one| one.port) {
            let answer = get(port, "/metrics");
            assert_eq!(answer.status, 200);
        }
        sleep(Duration::from_secs(1));
    }
    for (one, (all_before, gpus_before)) in contenders.iter_mut().zip(before) {
        let (all, gpus) = spent(one);
        one.spent_us.push((all - all_before) / 1_000 / ROUND_S);
        one.spent_on_gpus_us.push((gpus - gpus_before) / 1_000 / ROUND_S);
    }
}
