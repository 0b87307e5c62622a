//! A library, and then a driver, that come after the agent.

use harness::eventually;
use harness::http::ask;
use harness::site::Site;

use super::{HUB, ONLY_GPUS};

/// Goal: who installs the driver under a running agent need not restart it.
#[test]
fn gpus_are_metered_when_their_library_and_driver_come_late() {
    let site = Site::start(HUB);
    let (library, scenario) = (site.path("libnvidia-ml.so.1"), site.path("late.toml"));
    std::fs::write(&scenario, "gpus = 2\n[driver]\nload_after_ms = 4_000\n").expect("written");
    let env = [
        ("BIJLI_NVML_LIB", library.display().to_string()),
        ("BIJLI_FAKENVML_SCENARIO", scenario.display().to_string()),
    ];
    let mut agent = site.agent("lahore", "n01", ONLY_GPUS, &env);
    eventually("that it misses the library", 30, || {
        agent.printed().contains("is the NVIDIA driver installed?").then_some(())
    });
    std::os::unix::fs::symlink(fakenvml::library_path(), &library).expect("linked");
    eventually("both GPUs", 60, || {
        let metrics = ask("GET", site.port, "/metrics/fleet", b"")?;
        let is_up = |line: &&str| line.starts_with("bijli_gpu_up{") && line.ends_with(" 1");
        (metrics.text().lines().filter(is_up).count() == 2).then_some(())
    });
    assert!(agent.printed().contains("the NVIDIA driver is not loaded"), "{}", agent.printed());
    assert!(agent.is_running());
}
