//! The agent with eight fake GPUs at 1 Hz, beside node_exporter scraped each second and an idle
//! tokio program as the floor. All three run at the same time.

use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use harness::gpus::{self, Course};
use harness::http::get;
use harness::program::{Program, binary, free_port};
use harness::site::Site;

use crate::process::{cpu_ns, median, status_kb, thousandths};

/// Rounds of this many seconds each: the median round is quoted.
const ROUNDS: usize = 9;
const ROUND_S: u64 = 10;

struct Contender {
    name: &'static str,
    program: Program,
    /// Scraped each second, as Prometheus would.
    port: Option<u16>,
    spent_us: Vec<u64>,
}

pub(crate) fn run() {
    let site = Site::start("[[hub]]\nid = \"bench\"\ntitle = \"bench\"\n");
    let course = Course { still_s: 1, busy_s: 10_000 };
    let library = fakenvml::library_path();
    let env = gpus::environment(&site, &library, course);
    let agent = site.agent("bench", "n01", "", &env);
    let port = free_port();
    let mut exporter = Command::new("prometheus-node-exporter");
    exporter.arg(format!("--web.listen-address=127.0.0.1:{port}"));
    let exporter = Program::start(&mut exporter, &site.path("exporter.log"));
    let mut idle = Command::new(binary("bijli-idle"));
    let idle = Program::start(&mut idle, &site.path("idle.log"));
    sleep(Duration::from_secs(15));

    let contender = |name, program, port| Contender { name, program, port, spent_us: Vec::new() };
    let mut contenders = [
        contender("bijli-agent, 8 fake GPUs, host, spool, uplink", agent, None),
        contender("prometheus-node-exporter, scraped", exporter, Some(port)),
        contender("idle tokio program, one timer", idle, None),
    ];
    for round in 0..ROUNDS {
        eprintln!("agent: round {} of {ROUNDS}", round + 1);
        measure(&mut contenders);
    }
    println!(
        "\n| program | CPU per tick (median of {ROUNDS} x {ROUND_S} s) | RSS now | RSS peak |"
    );
    println!("| --- | --- | --- | --- |");
    for one in contenders {
        let pid = one.program.pid();
        let spent = median(one.spent_us);
        let (now, peak) = (status_kb(pid, "VmRSS"), status_kb(pid, "VmHWM"));
        println!("| {} | {} ms | {now} kB | {peak} kB |", one.name, thousandths(spent));
    }
}

fn measure(contenders: &mut [Contender]) {
    let before: Vec<u64> = contenders.iter().map(|one| cpu_ns(one.program.pid())).collect();
    for _ in 0..ROUND_S {
        for port in contenders.iter().filter_map(|one| one.port) {
            let answer = get(port, "/metrics");
            assert_eq!(answer.status, 200);
        }
        sleep(Duration::from_secs(1));
    }
    for (one, before) in contenders.iter_mut().zip(before) {
        let spent = cpu_ns(one.program.pid()) - before;
        one.spent_us.push(spent / 1_000 / ROUND_S);
    }
}
