//! Disks that are full, read-only, failing or slow, under the real programs. Full ones are real: a
//! tmpfs in a mount namespace of the program's own, which ends with it. The others are system calls
//! that strace fails or delays.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use harness::gpus::{self, Course};
use harness::http::ask;
use harness::program::{Program, binary, free_port, signal_children};
use harness::site::{Site, millijoules};
use harness::truth::{assert_books_equal_truth, diagram, simulate};
use harness::{eventually, now, within};
use rustix::process::Signal;

use crate::sender::{GPU, HUB, Sender, Told};

/// A collector under something that spoils its disk.
struct Spoilt {
    folder: tempfile::TempDir,
    port: u16,
    program: Program,
}

impl Spoilt {
    /// `before` are the words before the program's own; `DIR` in them is its directory.
    fn start(before: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let port = free_port();
        let dir = folder.path().join("collector");
        std::fs::create_dir(&dir).expect("made");
        let config = format!(
            "listen = \"127.0.0.1:{port}\"\ndir = \"{}\"\ninterval = \"10s\"\nclose_after = \"5s\"\n\
             disk_reserve = \"1 KiB\"\n[journal]\nsegment = \"4 MiB\"\n{HUB}",
            dir.display()
        );
        std::fs::write(folder.path().join("collector.toml"), config).expect("written");
        let program = start(folder.path(), before);
        let spoilt = Self { folder, port, program };
        spoilt.wait_until_ready();
        spoilt
    }

    fn wait_until_ready(&self) {
        eventually(&format!("a ready collector: {}", self.program.printed()), 60, || {
            ask("GET", self.port, "/readyz", b"").filter(|answer| answer.status == 200)
        });
    }

    /// Ends what is left of the old one and starts it on a good disk.
    fn restart_sound(&mut self) {
        signal_children(self.program.pid(), Signal::KILL);
        self.program.kill();
        self.program = start(self.folder.path(), &[]);
        self.wait_until_ready();
    }

    fn booked(&self) -> u128 {
        let answer = ask("GET", self.port, "/v1/hubs/isb/flows", b"").expect("an answer");
        assert_eq!(answer.status, 200, "{}", answer.text());
        let flows = answer.json()["flows"].as_array().expect("a list").clone();
        let of_gpu = flows.iter().filter(|flow| flow["debit"] == format!("gpu:{GPU}").as_str());
        of_gpu.map(|flow| millijoules(&flow["energy_mj"])).sum()
    }

    fn assert_booked(&self, sender: &Sender) {
        let what = format!("{} mJ booked, not {}", sender.energy_mj(), self.booked());
        // A tick closes the last interval after half a minute at most.
        eventually(&what, 60, || (self.booked() == sender.energy_mj()).then_some(()));
    }
}

impl Drop for Spoilt {
    fn drop(&mut self) {
        // strace does not take its program with it.
        signal_children(self.program.pid(), Signal::KILL);
    }
}

fn start(folder: &Path, before: &[&str]) -> Program {
    let dir = folder.join("collector").display().to_string();
    let config = folder.join("collector.toml").display().to_string();
    let program = binary("bijli-collector").display().to_string();
    let words = before.iter().map(|word| word.replace("DIR", &dir));
    let words: Vec<String> =
        words.chain([program, "serve".into(), "--config".into(), config]).collect();
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]);
    Program::start(&mut command, &folder.join("collector.log"))
}

/// strace that fails or delays calls; what it would tell is not wanted.
fn injecting<'a>(calls: &'a str, fault: &'a str) -> Vec<&'a str> {
    let quiet = ["strace", "-f", "-qq", "--seccomp-bpf", "-o", "/dev/null", "-e", "signal=none"];
    quiet.into_iter().chain(["-e", calls, "-e", fault]).collect()
}

/// Only where the journal is written: other threads have files and counts of their own.
const JOURNAL: [&str; 2] = ["-P", "DIR/journal/00000000000000000001.seg"];

/// The words that give a program a small tmpfs at `DIR`, in a namespace that ends with it. Who is
/// not root takes a user namespace too.
fn on_tmpfs(size: &'static str) -> Vec<String> {
    let script = format!("mount -t tmpfs -o size={size} tmpfs DIR && exec \"$@\"");
    let unshare = if rustix::process::geteuid().is_root() { "-m" } else { "-rm" };
    ["unshare", unshare, "sh", "-c", &script, "sh"].map(str::to_owned).to_vec()
}

/// A file of somebody else that leaves `left` bytes of the tmpfs that a program sees at `dir`.
struct Filler(PathBuf);

impl Filler {
    fn fill(pid: u32, dir: &Path, left: u64) -> Self {
        let seen = PathBuf::from(format!("/proc/{pid}/root{}", dir.display()));
        let stat = rustix::fs::statvfs(&seen).expect("the program's file system");
        let free = stat.f_bavail * stat.f_frsize;
        assert!(free < 64 << 20, "this is not the small tmpfs: {free} bytes free");
        let path = seen.join("filler");
        let bytes = usize::try_from(free.saturating_sub(left)).expect("small");
        std::fs::write(&path, vec![0x55; bytes]).expect("room for the filler");
        Self(path)
    }

    fn remove(self) {
        std::fs::remove_file(self.0).expect("removed");
    }
}

fn told_code(told: &Told, code: &str) -> bool {
    matches!(told, Told::Refused { text, .. } if text.contains(code))
}

/// Goal: D4 on a real full file system. It refuses, answers readers, and takes the same batch
/// when there is room, all by itself.
#[test]
fn d4_a_full_tmpfs_refuses_and_recovers_without_a_hand() {
    let before = on_tmpfs("16m");
    let before: Vec<&str> = before.iter().map(String::as_str).collect();
    let mut spoilt = Spoilt::start(&before);
    let mut sender = Sender::new(spoilt.port);
    sender.send_timed(20);
    let filler =
        Filler::fill(spoilt.program.pid(), &spoilt.folder.path().join("collector"), 8 << 10);
    let mut refused = 0;
    let begun = now();
    while refused <= 20 {
        let is_slow = begun.elapsed() > Duration::from_secs(120);
        assert!(!is_slow, "the tmpfs was not full: {refused} refused");
        let told = sender.send();
        if told != Told::Acked {
            assert!(told_code(&told, "disk_full"), "{told:?}");
            refused += 1;
        }
        let _books_are_read = spoilt.booked();
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(spoilt.program.is_running(), "{}", spoilt.program.printed());
    filler.remove();
    eventually("an ack after there is room", 20, || (sender.send() == Told::Acked).then_some(()));
    sender.send_timed(20);
    spoilt.assert_booked(&sender);
    let printed = spoilt.program.printed();
    let (lines, last) = (printed.lines().count(), printed.lines().nth(100).unwrap_or_default());
    assert!(lines < 50 + refused, "{lines} lines in its log, like {last}");
}

/// Goal: A6 on a real full file system. The agent measures on, keeps in memory what the disk does
/// not take, and in the end not a millijoule is missing.
#[test]
fn a6_an_agents_full_tmpfs_costs_no_energy() {
    let course = Course { still_s: 16, busy_s: 16 };
    let site = Site::start("[[hub]]\nid = \"real\"\n");
    let settings = "[rapl]\nenabled = false\n[host]\nenabled = false\n";
    let environment = gpus::environment(&site, &fakenvml::library_path(), course);
    // Writes the configuration; the agent itself is started again on a tmpfs.
    let mut agent = site.agent("real", "n", settings, &environment);
    agent.kill();
    let spool = site.path("n.spool");
    std::fs::create_dir_all(&spool).expect("made");
    let words = on_tmpfs("24m");
    let words: Vec<String> =
        words.iter().map(|word| word.replace("DIR", &spool.display().to_string())).collect();
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).arg(binary("bijli-agent")).arg("run");
    command.arg("--config").arg(site.path("n.toml"));
    command.envs(environment.iter().map(|(name, value)| (*name, value.as_str())));
    let mut agent = Program::start(&mut command, &site.path("tmpfs.log"));
    course.wait_for_first_readings(&site, "real", &environment);
    let filler = Filler::fill(agent.pid(), &spool, 0);
    std::thread::sleep(Duration::from_secs(12));
    assert!(agent.is_running(), "{}", agent.printed());
    filler.remove();
    let booked = |gpu| {
        let flows = site.json("/v1/hubs/real/flows");
        let flows = flows["flows"].as_array().expect("a list").clone();
        let debit = format!("gpu:{}", gpus::uuid(gpu));
        let of_gpu = flows.iter().filter(|flow| flow["debit"] == debit.as_str());
        of_gpu.map(|flow| millijoules(&flow["energy_mj"])).sum::<u128>()
    };
    let exact = || (0..8).all(|gpu| booked(gpu) == gpus::energy_mj(course, gpu));
    let found = within(90, || exact().then_some(()));
    let booked: Vec<_> = (0..8).map(|gpu| (booked(gpu), gpus::energy_mj(course, gpu))).collect();
    assert!(found.is_some(), "booked, true: {booked:?}\n{}", agent.printed());
    let lines = agent.printed().lines().count();
    assert!(lines < 100, "{lines} lines in its log: {}", agent.printed());
}

/// Goal: D9. When its disk has become read-only, a collector stops acknowledging, says so, and
/// goes on answering readers.
#[test]
fn d9_a_read_only_disk_stops_acks_and_not_reading() {
    let fault = "inject=pwrite64:error=EROFS:when=40+";
    let mut words = injecting("trace=pwrite64,ftruncate", fault);
    words.extend(["-e", "inject=ftruncate:error=EROFS"]);
    words.extend(JOURNAL);
    let mut spoilt = Spoilt::start(&words);
    let mut sender = Sender::new(spoilt.port);
    let first = eventually("a refusal", 30, || match sender.send() {
        Told::Acked => None,
        other => Some(other),
    });
    assert!(told_code(&first, "storage_failed"), "{first:?}");
    assert!(sender.acked > 10, "{} acked before", sender.acked);
    for _ in 0..20 {
        let told = sender.send();
        assert!(told_code(&told, "storage_failed"), "{told:?}");
        std::thread::sleep(Duration::from_millis(150));
    }
    let booked = spoilt.booked();
    assert!(booked > 0 && booked <= sender.energy_mj(), "readers are answered: {booked}");
    assert!(spoilt.program.is_running(), "{}", spoilt.program.printed());
    let said = spoilt.program.printed().matches("cannot be written").count();
    assert_eq!(said, 1, "it says so once: {}", spoilt.program.printed());
    spoilt.restart_sound();
    sender.send_timed(20);
    spoilt.assert_booked(&sender);
}

/// Goal: D3 on the real program. An fsync that fails once is no ack: the process ends, and its
/// successor has everything that was acknowledged and takes the rest.
#[test]
fn d3_one_failed_fsync_ends_the_collector_and_costs_nothing() {
    let calls = "trace=fdatasync";
    let mut words = injecting(calls, "inject=fdatasync:error=EIO:when=30");
    words.extend(JOURNAL);
    let mut spoilt = Spoilt::start(&words);
    let mut sender = Sender::new(spoilt.port);
    let first = eventually("a refusal", 30, || match sender.send() {
        Told::Acked => None,
        other => Some(other),
    });
    assert!(first == Told::NoAnswer || told_code(&first, "storage_failed"), "{first:?}");
    assert!(!spoilt.program.wait(20).success(), "it ends, and not well");
    let acked = sender.acked;
    assert!(acked > 10, "{acked} acked before");
    spoilt.restart_sound();
    sender.send_timed(20);
    assert_eq!(sender.acked, acked + 20);
    spoilt.assert_booked(&sender);
}

/// Goal: D8. On a disk whose fsync takes a second and a half everything takes longer and
/// nothing else happens.
#[test]
fn d8_a_very_slow_disk_only_slows() {
    let size = ["--nodes", "3", "--gpus", "2"];
    let site = Site::start(&diagram(&size));
    let pid = site.collector.pid().to_string();
    let mut strace = Command::new("strace");
    strace.args(injecting("trace=fdatasync", "inject=fdatasync:delay_exit=1500000"));
    let mut strace = Program::start(strace.args(["-p", &pid]), &site.path("strace.log"));
    let args = [&size[..], &["--history", "2m", "--for", "10s", "--shedding-every", "4m"]].concat();
    let mut fleet = simulate(&site, &args);
    assert!(fleet.wait(150).success(), "{}", fleet.printed());
    assert!(strace.is_running(), "the disk was slow to the end: {}", strace.printed());
    assert!(strace.stop(20).code().is_some() || !strace.is_running());
    assert_books_equal_truth(&site);
    let printed = fleet.printed();
    let timeouts = printed.lines().filter(|line| line.contains("WARN")).count();
    assert!(timeouts < 20, "a storm of {timeouts} warnings: {printed}");
}
