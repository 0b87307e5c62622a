//! Many agents, one collector, a hostile network between them, and processes that die or stand.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use harness::gpus::{self, Course};
use harness::http::ask;
use harness::program::Program;
use harness::proxy::Proxy;
use harness::rng::Rng;
use harness::site::{Site, millijoules};
use harness::truth::{assert_books_equal_truth, diagram, simulate_through};
use harness::{now, within};
use rustix::process::Signal;

/// Real agents, each the one node of a hub of its own, because the fake GPUs of all have the same
/// names; beside them the senders of a simulated hub.
const AGENTS: usize = 8;
const FLEET: [&str; 4] = ["--nodes", "4", "--gpus", "2"];
const COURSE: Course = Course { still_s: 20, busy_s: 30 };
const STORM: Duration = Duration::from_secs(48);
const SETTINGS: &str = "[rapl]\nenabled = false\n[host]\nenabled = false\n";

struct World {
    site: Site,
    proxy: Proxy,
    agents: Vec<Program>,
    environment: Vec<(&'static str, String)>,
    rng: Rng,
}

fn hub(index: usize) -> String {
    format!("real-{index}")
}

impl World {
    fn start(seed: u64) -> Self {
        let hubs = (0..AGENTS).map(|index| format!("[[hub]]\nid = \"{}\"\n", hub(index)));
        let site = Site::start(&format!("{}{}", diagram(&FLEET), hubs.collect::<String>()));
        let proxy = Proxy::start(site.port);
        let mut environment = gpus::environment(&site, &fakenvml::library_path(), COURSE);
        let collector = format!("http://127.0.0.1:{}", proxy.port);
        environment.push(("BIJLI_AGENT_COLLECTOR", collector));
        let mut world = Self { site, proxy, agents: Vec::new(), environment, rng: Rng::new(seed) };
        world.agents = (0..AGENTS).map(|index| world.agent(index)).collect();
        for index in 0..AGENTS {
            COURSE.wait_for_first_readings(&world.site, &hub(index), &world.environment);
        }
        world
    }

    fn agent(&self, index: usize) -> Program {
        self.site.agent(&hub(index), &format!("node-{index}"), SETTINGS, &self.environment)
    }

    /// One thing that happens to a process: each in its turn, to whom it may befall.
    fn strike(&mut self, turn: u64, counts: &mut BTreeMap<&'static str, u32>) {
        let index = self.rng.index(AGENTS);
        let what = match turn % 6 {
            0 | 3 => {
                self.site.collector.kill();
                self.site.restart();
                "kill -9 of the collector"
            }
            1 | 4 => {
                self.agents[index].kill();
                self.agents[index] = self.agent(index);
                "kill -9 of an agent"
            }
            2 => {
                self.agents[index].signal(Signal::STOP);
                self.site.collector.signal(Signal::STOP);
                std::thread::sleep(Duration::from_millis(1_500));
                self.site.collector.signal(Signal::CONT);
                "SIGSTOP of both"
            }
            _ => {
                self.agents.iter().for_each(|agent| agent.signal(Signal::CONT));
                "SIGCONT"
            }
        };
        *counts.entry(what).or_insert(0) += 1;
    }

    /// Says again what somebody else said: late, in any order, over another connection.
    fn repeat(&mut self, counts: &mut BTreeMap<&'static str, u32>) {
        let Some(body) = self.proxy.overheard(&mut self.rng) else { return };
        if bijli_wire::codec::open(&body).is_err() {
            return; // a schema
        }
        let Some(answer) = ask("POST", self.site.port, "/v1/batches", &body) else { return };
        // Taken, known, not its turn yet, its schema not there yet, or no time for it.
        let is_sane = matches!(answer.status, 200 | 424 | 425 | 429 | 503);
        assert!(is_sane, "a batch said again: {} {}", answer.status, answer.text());
        if answer.text().contains("duplicate") {
            *counts.entry("batches said again, known").or_insert(0) += 1;
        }
    }
}

/// What a hub's books have of one GPU.
fn booked(site: &Site, hub: &str, gpu: &str) -> u128 {
    let flows = site.json(&format!("/v1/hubs/{hub}/flows"));
    let flows = flows["flows"].as_array().expect("a list").clone();
    let debit = format!("gpu:{gpu}");
    let energies = flows.iter().filter(|flow| flow["debit"] == debit.as_str());
    energies.map(|flow| millijoules(&flow["energy_mj"])).sum()
}

/// Goal: A1, A14, C1, N1, N2, N5, N6, N7, N10, together and on the real programs. Whatever the
/// network and the process table do for three quarters of a minute, in the end every GPU
/// of every agent and every account of the simulated hub is exact to the millijoule.
#[test]
fn n6_storms_kills_and_stops_cost_no_millijoule() {
    let seed = Rng::seed_from("BIJLI_HOSTILE_SEED");
    println!("BIJLI_HOSTILE_SEED={seed}");
    let mut world = World::start(seed);
    let args = ["--history", "10m", "--for", "30s", "--shedding-every", "4m"];
    let args = [&FLEET[..], &args].concat();
    let mut fleet = simulate_through(&world.site, world.proxy.port, &args);
    let mut counts = BTreeMap::new();
    let begun: Instant = now();
    let mut turn = 0;
    while begun.elapsed() < STORM {
        world.proxy.swizzle(&mut world.rng);
        for _ in 0..4 {
            world.repeat(&mut counts);
        }
        if world.rng.chance(1, 2) {
            world.strike(turn, &mut counts);
            turn += 1;
        }
        std::thread::sleep(Duration::from_millis(200 + world.rng.below(800)));
    }
    world.proxy.clear();
    world.agents.iter().for_each(|agent| agent.signal(Signal::CONT));
    println!("{counts:?}, {} links in bad weather", world.proxy.storms());
    assert!(world.proxy.storms() > 20 && counts.len() == 5, "it was no storm");

    assert!(fleet.wait(120).success(), "{}", fleet.printed());
    assert_books_equal_truth(&world.site);
    let mut wrong = Vec::new();
    let right = within(90, || {
        wrong.clear();
        for hub in (0..AGENTS).map(hub) {
            for gpu in 0..8 {
                let (found, true_mj) =
                    (booked(&world.site, &hub, &gpus::uuid(gpu)), gpus::energy_mj(COURSE, gpu));
                if found != true_mj {
                    wrong.push((hub.clone(), gpu, found, true_mj));
                }
            }
        }
        wrong.is_empty().then_some(())
    });
    assert!(right.is_some(), "BIJLI_HOSTILE_SEED={seed}: hub, GPU, booked, true: {wrong:#?}");
    for hub in (0..AGENTS).map(hub) {
        let balance = world.site.json(&format!("/v1/hubs/{hub}/balance"));
        assert_eq!(balance["imbalance_mj"], "0", "{hub}");
    }
    assert!(!world.site.collector.printed().contains("panicked"));
    for agent in &mut world.agents {
        assert!(agent.is_running() && !agent.printed().contains("panicked"), "{}", agent.printed());
    }
}
