//! The systemd units: valid, hardened, and without the rights that a meter has no use for.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use harness::program::binary;

const AGENT: &str = "agent/systemd/bijli-agent.service";
const COLLECTOR: &str = "collector/systemd/bijli-collector.service";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ is in the root").to_owned()
}

fn run(program: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(root()).env("SYSTEMD_LOG_LEVEL", "warning");
    command.output().unwrap_or_else(|e| panic!("{program}: {e}; is Debian's systemd installed?"))
}

fn words(out: &Output) -> String {
    [&out.stdout[..], &out.stderr].map(String::from_utf8_lossy).concat()
}

/// Tenths of systemd's exposure level, 0 (safe) to 100.
fn is_within(unit: &Path, tenths: u32) -> (bool, String) {
    let unit = unit.to_string_lossy().into_owned();
    let limit = format!("--threshold={tenths}");
    let out = run("systemd-analyze", &["security", "--offline=true", "--no-pager", &limit, &unit]);
    (out.status.success(), words(&out))
}

/// The unit as it is, but for the place of the program, which is not installed here.
fn with_built_program(unit: &str, program: &str, folder: &Path) -> PathBuf {
    let text = std::fs::read_to_string(root().join(unit)).expect("the unit");
    let installed = format!("ExecStart=/usr/bin/{program} ");
    assert!(text.contains(&installed), "{unit} starts {program}");
    let built = format!("ExecStart={} ", binary(program).display());
    let copy = folder.join(Path::new(unit).file_name().expect("a name"));
    std::fs::write(&copy, text.replace(&installed, &built)).expect("written");
    copy
}

#[test]
fn the_units_are_valid_and_hardened() {
    let folder = tempfile::tempdir().expect("a folder");
    for (unit, program, tenths) in [(AGENT, "bijli-agent", 17), (COLLECTOR, "bijli-collector", 13)]
    {
        let (is_safe, table) = is_within(&root().join(unit), tenths);
        assert!(is_safe, "{unit} is more exposed than {tenths} tenths:\n{table}");
        let copy = with_built_program(unit, program, folder.path());
        let verified = run("systemd-analyze", &["verify", "--man=no", &copy.to_string_lossy()]);
        let said = words(&verified);
        assert!(verified.status.success() && !said.contains(program), "{unit}:\n{said}");
    }
}

/// Goal: the checks above can fail.
#[test]
fn a_unit_with_a_slip_and_one_without_hardening_are_noticed() {
    let folder = tempfile::tempdir().expect("a folder");
    let copy = with_built_program(AGENT, "bijli-agent", folder.path());
    let text = std::fs::read_to_string(&copy).expect("the unit");
    std::fs::write(&copy, text.replace("ProtectHome=yes", "ProtectHomes=yes")).expect("written");
    let said = words(&run("systemd-analyze", &["verify", "--man=no", &copy.to_string_lossy()]));
    assert!(said.contains("ProtectHomes"), "{said}");
    std::fs::write(&copy, text.replace("CapabilityBoundingSet=CAP_SYSLOG\n", "")).expect("written");
    assert!(!is_within(&copy, 17).0, "an agent with every capability passes");
}

/// Goal: no root, one capability, no device but the GPUs' own and the kernel's log to read; above
/// all not /dev/ipmi0, through which a program can switch a node off.
#[test]
fn the_agent_may_open_gpus_and_nothing_else() {
    let text = std::fs::read_to_string(root().join(AGENT)).expect("the unit");
    let of = |key: &str| -> Vec<String> {
        let lines = text.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        lines.map(str::to_owned).collect()
    };
    assert_eq!(of("User"), ["bijli-agent"]);
    assert_eq!(
        (of("CapabilityBoundingSet"), of("AmbientCapabilities")),
        (vec!["CAP_SYSLOG".to_owned()], vec!["CAP_SYSLOG".to_owned()])
    );
    assert_eq!(of("DevicePolicy"), ["closed"]);
    let is_known = |device: &String| device.starts_with("char-nvidia") || device == "/dev/kmsg r";
    assert!(of("DeviceAllow").iter().all(is_known), "{text}");
    for limit in ["MemoryMax", "CPUQuota", "TasksMax"] {
        assert_eq!(of(limit).len(), 1, "{limit} is set once");
    }
}

#[test]
fn users_and_groups_can_be_made() {
    for file in ["agent/systemd/bijli-agent.sysusers", "collector/systemd/bijli-collector.sysusers"]
    {
        let folder = tempfile::tempdir().expect("a folder");
        let etc = folder.path().join("etc");
        std::fs::create_dir(&etc).expect("made");
        let place = format!("--root={}", folder.path().display());
        let made = run("systemd-sysusers", &[&place, &root().join(file).to_string_lossy()]);
        assert!(made.status.success(), "{file}: {}", words(&made));
        let users = std::fs::read_to_string(etc.join("passwd")).expect("users");
        assert!(users.contains("bijli-"), "{users}");
    }
}
