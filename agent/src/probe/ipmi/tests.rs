//! A BMC by a program that prints what `ipmitool` would; real BMCs' peers are in `tests/ipmi.rs`.
#![expect(clippy::disallowed_methods, reason = "the tests write the program that they run")]

use std::os::unix::fs::PermissionsExt;

use bijli_wire::{Method, NodeId, UtcMillis};

use super::*;

/// A program that prints `watts` of its folder as DCMI would, and fails without that file.
struct Bmc(tempfile::TempDir);

impl Bmc {
    fn new(watts: &str) -> Self {
        let bmc = Self(tempfile::tempdir().expect("a folder"));
        bmc.shows(watts);
        let file = bmc.0.path().join("watts");
        let script = format!(
            "#!/bin/sh\nw=$(cat {}) || exit 1\necho \"Instantaneous power reading: $w Watts\"\n",
            file.display()
        );
        let program = bmc.0.path().join("ipmitool");
        std::fs::write(&program, script).expect("written");
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("set");
        bmc
    }

    fn shows(&self, watts: &str) {
        std::fs::write(self.0.path().join("watts"), watts).expect("written");
    }

    fn hides(&self) {
        std::fs::remove_file(self.0.path().join("watts")).expect("removed");
    }

    fn probe(&self) -> IpmiProbe {
        let program = self.0.path().join("ipmitool").display().to_string();
        let text =
            format!("meter = \"isb/n01/bmc\"\npower_max = \"12 kW\"\nprogram = \"{program}\"\n");
        let config: IpmiConfig = toml::from_str(&text).expect("a configuration");
        IpmiProbe::new(&config, &Context::new(NodeId::new("n1").unwrap(), 1, String::new()))
    }
}

fn read(probe: &mut IpmiProbe, ms: u64) -> Vec<Option<i64>> {
    let now = Tick { utc: UtcMillis::new(0), monotonic: Moment::new(ms) };
    let mut samples = probe.read(&[Cadence::Every(Millis::new(10_000))], now);
    settle(probe);
    assert_eq!(samples.len(), 1);
    samples.remove(0).values
}

/// The next tick is seconds later: what was asked at this one has been answered.
fn settle(probe: &IpmiProbe) {
    while probe.question.as_ref().is_some_and(|question| !question.thread.is_finished()) {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

#[test]
fn power_is_integrated_over_the_moments_it_was_asked_for() {
    let bmc = Bmc::new("100");
    let mut probe = bmc.probe();
    let description = probe.describe().expect("answers");
    let register = description.subjects[0].register.expect("our own");
    assert_eq!((register.method, register.denominator), (Method::Sampled, 2));
    assert_eq!(description.notes[0].how, How::Integrated);
    assert_eq!(read(&mut probe, 10_000), [Some(0), Some(100_000)], "as when it was described");
    // Asked at 10 s, told at 20 s; (100 W + 100 W) x 0 s: both are of 10 s.
    assert_eq!(read(&mut probe, 20_000), [Some(0), Some(100_000)]);
    bmc.shows("300");
    assert_eq!(read(&mut probe, 30_000), [Some(2_000_000), Some(100_000)]);
    // Asked at 30 s: (100 W + 300 W) x 10 s in half millijoules.
    assert_eq!(read(&mut probe, 40_000), [Some(6_000_000), Some(300_000)]);
}

#[test]
fn what_is_not_believed_is_missing_and_a_silence_ends_the_count() {
    let bmc = Bmc::new("100");
    let mut probe = bmc.probe();
    let before = probe.describe().expect("answers").subjects[0].register.expect("our own");
    assert_eq!(read(&mut probe, 0)[1], Some(100_000));
    bmc.shows("0");
    assert_eq!(read(&mut probe, 10_000)[1], Some(100_000), "the question of tick 0 was answered");
    assert_eq!(read(&mut probe, 20_000), [None, None]);
    let trouble = probe.trouble().expect("words");
    assert!(trouble.starts_with("isb/n01/bmc at /dev/ipmi0: 0 W: not believed"), "{trouble}");
    bmc.hides();
    assert_eq!(read(&mut probe, 30_000), [None, None]);
    assert_eq!(read(&mut probe, 40_000), [None, None]);
    assert!(probe.trouble().expect("words").contains("ipmitool says: cat: "), "it failed");
    assert!(probe.wants_describe());
    probe.describe().expect_err("still gone");
    bmc.shows("200");
    let after = probe.describe().expect("back").subjects[0].register.expect("our own");
    assert_ne!(after.epoch, before.epoch);
    assert_eq!(read(&mut probe, 50_000), [Some(0), Some(200_000)]);
}

#[test]
fn an_answer_that_is_late_is_told_at_the_tick_after_and_never_twice() {
    let bmc = Bmc::new("100");
    let mut probe = bmc.probe();
    probe.describe().expect("answers");
    read(&mut probe, 0);
    // The question is taken away unanswered, as if the BMC still thought about it.
    let asked = probe.question.take().expect("asked");
    let (open, closed) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || {
        let answer = asked.thread.join().expect("an answer");
        closed.recv().expect("let go");
        answer
    });
    probe.question = Some(Question { asked: asked.asked, thread });
    let now = |ms| Tick { utc: UtcMillis::new(0), monotonic: Moment::new(ms) };
    let cadence = [Cadence::Every(Millis::new(10_000))];
    assert_eq!(probe.read(&cadence, now(10_000))[0].values, [None, None]);
    assert!(probe.trouble().expect("words").ends_with("it has not answered yet"));
    open.send(()).expect("listened to");
    settle(&probe);
    assert_eq!(read(&mut probe, 20_000), [Some(0), Some(100_000)]);
}

/// Goal: `once` reads again after a second, and wants an answer.
#[test]
fn a_reading_that_comes_early_waits_for_the_answer() {
    let bmc = Bmc::new("100");
    let mut probe = bmc.probe();
    probe.describe().expect("answers");
    let now = |ms| Tick { utc: UtcMillis::new(0), monotonic: Moment::new(ms) };
    for ms in [0, 1_000, 2_000] {
        let values = probe.read(&[Cadence::Every(Millis::new(10_000))], now(ms)).remove(0).values;
        assert_eq!(values[1], Some(100_000), "{ms}");
    }
}
