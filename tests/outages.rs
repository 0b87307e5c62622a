//! Outages of the real programs: disks that are lost, restored from elder copies, rolled back or
//! cloned. After each the books hold the whole energy of every GPU, each millijoule once.

use std::path::Path;

use harness::gpus::{self, Course};
use harness::program::{Program, binary};
use harness::site::{Site, millijoules};
use harness::{eventually, http};

const HUB: &str = "[[hub]]\nid = \"lahore\"\ntitle = \"Lahore\"\n";
const ONLY_GPUS: &str = "[rapl]\nenabled = false\n";
/// Long enough that every outage of these tests ends before the GPUs stand still again.
const COURSE: Course = Course { still_s: 20, busy_s: 41 };

struct Story {
    site: Site,
    env: Vec<(&'static str, String)>,
}

impl Story {
    /// A collector, and an agent that has read every GPU while it stood still.
    fn begin() -> (Self, Program) {
        let site = Site::start(HUB);
        let env = gpus::environment(&site, &fakenvml::library_path(), COURSE);
        let story = Self { site, env };
        let agent = story.agent();
        COURSE.wait_for_first_readings(&story.site, "lahore", &story.env);
        (story, agent)
    }

    fn agent(&self) -> Program {
        self.site.agent("lahore", "n01", ONLY_GPUS, &self.env)
    }

    fn booked(&self, index: u64) -> u128 {
        let account = format!("gpu:{}", gpus::uuid(index));
        let balance = self.site.json("/v1/hubs/lahore/balance");
        let accounts = balance["accounts"].as_array().expect("a list");
        let line = accounts.iter().find(|line| line["account"] == account.as_str());
        line.map_or(0, |line| millijoules(&line["debits_mj"]))
    }

    /// Batches accepted since the collector's start.
    fn accepted(&self) -> u64 {
        self.site.number("bijli_collector_batches_total{outcome=\"accepted\"}")
    }

    fn wait_for_accepted(&self, count: u64) {
        eventually(&format!("{count} accepted batches"), 90, || {
            (self.accepted() >= count).then_some(())
        });
    }

    /// The end of every story.
    fn assert_every_millijoule_is_booked_once(&self) {
        eventually("the whole energy of every GPU in the closed books", 150, || {
            let all = (0..8).all(|index| {
                let (booked, drawn) = (self.booked(index), gpus::energy_mj(COURSE, index));
                assert!(booked <= drawn, "GPU {index}: {booked} of {drawn} mJ, booked twice");
                booked == drawn
            });
            all.then_some(())
        });
        let balance = self.site.json("/v1/hubs/lahore/balance");
        assert_eq!(balance["imbalance_mj"], "0");
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("a name");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("known").is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("copied");
        }
    }
}

fn replace(folder: &Path, by: &Path) {
    std::fs::remove_dir_all(folder).expect("it was there");
    copy(by, folder);
}

/// Goal: C10. The collector's disk is gone; what the agent has kept is booked again, exactly.
#[test]
fn c10_a_collector_on_an_empty_disk_is_given_everything_again() {
    let (mut story, agent) = Story::begin();
    story.wait_for_accepted(10);
    story.site.collector.kill();
    std::fs::remove_dir_all(story.site.path("collector")).expect("it was there");
    story.site.restart();
    // The ten that were acknowledged before, and more.
    story.wait_for_accepted(12);
    story.assert_every_millijoule_is_booked_once();
    let sent_again = agent.printed();
    assert!(sent_again.contains("sending them again"), "{sent_again}");
}

/// Goal: C11. The collector is restored from an elder copy; the rest is booked again, once.
#[test]
fn c11_a_collector_restored_from_an_elder_copy_is_given_the_rest() {
    let (mut story, agent) = Story::begin();
    story.wait_for_accepted(6);
    story.site.collector.stop(20);
    copy(&story.site.path("collector"), &story.site.path("backup"));
    story.site.restart();
    story.wait_for_accepted(6);
    story.site.collector.kill();
    replace(&story.site.path("collector"), &story.site.path("backup"));
    story.site.restart();
    story.assert_every_millijoule_is_booked_once();
    let sent_again = agent.printed();
    assert!(sent_again.contains("sending them again"), "{sent_again}");
}

/// Goal: A10. The agent's disk is rolled back to an elder state: it begins a new epoch before it
/// gives a used number to other bytes.
#[test]
fn a10_an_agent_on_a_rolled_back_disk_begins_a_new_epoch() {
    let (story, mut agent) = Story::begin();
    story.wait_for_accepted(4);
    agent.stop(20);
    copy(&story.site.path("n01.spool"), &story.site.path("snapshot"));
    let mut agent = story.agent();
    story.wait_for_accepted(10);
    agent.kill();
    replace(&story.site.path("n01.spool"), &story.site.path("snapshot"));
    let agent = story.agent();
    story.assert_every_millijoule_is_booked_once();
    let printed = agent.printed();
    assert!(printed.contains("new batches go into a new epoch"), "{printed}");
}

/// Goal: A9. A second agent starts from a copy of the first one's disk, and both live on. Each
/// number of an epoch is one batch for ever, people hear of it, and no energy is booked twice.
#[test]
fn a9_a_clone_forks_and_is_told_apart() {
    let (story, mut agent) = Story::begin();
    story.wait_for_accepted(4);
    agent.stop(20);
    copy(&story.site.path("n01.spool"), &story.site.path("clone"));
    let agent = story.agent();
    story.wait_for_accepted(7);
    // The clone: the same name, a copy of the spool.
    let config = story.site.path("clone.toml");
    let text = std::fs::read_to_string(story.site.path("n01.toml")).expect("written");
    let spool = |name: &str| story.site.path(name).display().to_string();
    std::fs::write(&config, text.replace(&spool("n01.spool"), &spool("clone"))).expect("written");
    let mut command = std::process::Command::new(binary("bijli-agent"));
    command.arg("run").arg("--config").arg(&config);
    command.envs(story.env.iter().map(|(name, value)| (*name, value.as_str())));
    let log = story.site.path("clone.log");
    let clone = Program::start(&mut command, &log);
    eventually("a clone that knows it", 60, || {
        clone.printed().contains("new batches go into a new epoch").then_some(())
    });
    story.assert_every_millijoule_is_booked_once();
    assert!(!agent.printed().contains("panicked") && !clone.printed().contains("panicked"));
}

/// Goal: A7. A batch that no collector will ever take leaves the line, and the journal, an event
/// and a metric say so.
#[test]
fn a7_a_damaged_batch_is_told_of_and_holds_nothing_up() {
    let (mut story, mut agent) = Story::begin();
    story.wait_for_accepted(3);
    story.site.collector.kill();
    // Some batches wait; then the bytes of one in the middle rot.
    std::thread::sleep(std::time::Duration::from_secs(9));
    agent.stop(20);
    let spool = story.site.path("n01.spool");
    let names = std::fs::read_dir(&spool).expect("a spool").map(|entry| entry.expect("a name"));
    let is_segment = |path: &std::path::PathBuf| path.extension().is_some_and(|end| end == "seg");
    let segment = names.map(|entry| entry.path()).find(is_segment).expect("one segment");
    let mut bytes = std::fs::read(&segment).expect("readable");
    let at = bytes.len() - bytes.len() / 5;
    bytes[at] ^= 0x40;
    std::fs::write(&segment, bytes).expect("written");
    story.site.restart();
    let _agent = story.agent();
    eventually("an event of the gap", 60, || {
        let events = http::get(story.site.port, "/v1/hubs/lahore/events");
        events.text().contains("batches_quarantined").then_some(())
    });
    story.assert_every_millijoule_is_booked_once();
    assert_eq!(story.site.number("bijli_collector_identity_forks_total"), 0);
}
