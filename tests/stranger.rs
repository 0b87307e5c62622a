//! A sender that shares no line with ours: written in Python from `docs/formats/wire.md` alone.

use std::path::Path;
use std::process::Command;

use harness::eventually;
use harness::site::{Site, millijoules};

const HUB: &str = r#"
[[hub]]
id = "lahore"
[[hub.point]]
id = "incomer"
role = "grid"
meter = "lahore/incomer"
"#;

/// Goal: ten seconds of 37 Wh a second, sent by the stranger, are booked to the millijoule; each
/// batch was sent twice and is booked once.
#[test]
fn a_strangers_batches_are_acked_and_booked() {
    let site = Site::start(HUB);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/stranger.py");
    // Two minutes ago, at an interval's edge: what is sent is booked as soon as it is closed.
    let start = harness::utc_ms() / 10_000 * 10_000 - 120_000;
    let arguments = [site.port.to_string(), "lahore".into(), "lahore/incomer".into()];
    let out = Command::new("python3")
        .arg(script)
        .args(arguments)
        .arg(start.to_string())
        .output()
        .expect("python3 runs");
    let said = String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned();
    assert!(out.status.success(), "{said}");
    assert_eq!(said.matches("\"accepted\"").count(), 2, "{said}");

    eventually("the stranger's 370 Wh in the closed books", 60, || {
        let balance = site.json("/v1/hubs/lahore/balance");
        assert_eq!(balance["imbalance_mj"], "0");
        let accounts = balance["accounts"].as_array()?.clone();
        let line = accounts.iter().find(|line| line["account"] == "grid:incomer")?;
        let booked = millijoules(&line["credits_mj"]);
        assert!(booked <= 370 * 3_600_000, "booked twice: {booked} mJ");
        (booked == 370 * 3_600_000).then_some(())
    });
}
