//! The real agent and the real `ipmitool` against BMCs of others: OpenIPMI's `ipmi_sim`, which has
//! no DCMI but a power sensor, and one on pyghmi, which has DCMI.

use std::net::UdpSocket;
use std::path::Path;
use std::process::Command;

use harness::eventually;
use harness::program::{Program, binary};
use harness::site::{Site, millijoules};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

/// A UDP port that was free a moment ago.
fn free_udp_port() -> u16 {
    let socket = UdpSocket::bind(("127.0.0.1", 0)).expect("a free port");
    socket.local_addr().expect("bound").port()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("in the root")
}

/// BMCs, each in a folder of its own below one.
struct Bmcs(TempDir);

impl Bmcs {
    fn new() -> Self {
        let bmcs = Self(tempfile::tempdir().expect("a folder"));
        std::fs::write(bmcs.0.path().join("password"), "bijlipw\n").expect("written");
        bmcs
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    /// A BMC that has DCMI and shows what the file `NAME.watts` says.
    fn dcmi(&self, name: &str, watts: i32) -> (u16, Program) {
        let port = free_udp_port();
        self.shows(name, watts);
        let mut command = Command::new(root().join(".venv/bin/python"));
        command.arg(root().join("tests/peers/dcmi_bmc.py"));
        command.args([&port.to_string(), "bijlipw", &self.path(&format!("{name}.watts"))]);
        let program = Program::start(&mut command, &self.0.path().join(format!("{name}.log")));
        self.wait_for(port, &program);
        (port, program)
    }

    fn shows(&self, name: &str, watts: i32) {
        let (path, temporary) = (self.path(&format!("{name}.watts")), self.path("watts.tmp"));
        std::fs::write(&temporary, watts.to_string()).expect("written");
        std::fs::rename(temporary, path).expect("in place");
    }

    /// `ipmi_sim`: no DCMI; its sensor "SYS POWER 1" shows 20 W for each count of a file.
    fn sim(&self, counts: u8) -> (u16, Program) {
        let port = free_udp_port();
        let folder = self.0.path().join("sim");
        std::fs::create_dir_all(folder.join("state")).expect("made");
        std::fs::write(folder.join("watts_raw"), counts.to_string()).expect("written");
        for name in ["lan.conf", "sim.emu"] {
            let text = root().join("tests/peers/ipmi_sim").join(name);
            let text = std::fs::read_to_string(text).expect("a file");
            let text = text.replace("@DIR@", &folder.display().to_string());
            let text = text.replace("@PORT@", &port.to_string());
            std::fs::write(folder.join(name), text).expect("written");
        }
        let mut command = Command::new("ipmi_sim");
        command.arg("-n").arg("-c").arg(folder.join("lan.conf"));
        command.arg("-f").arg(folder.join("sim.emu")).arg("-s").arg(folder.join("state"));
        let program = Program::start(&mut command, &folder.join("log"));
        self.wait_for(port, &program);
        (port, program)
    }

    /// Until a session can be opened, asked by ipmitool itself.
    fn wait_for(&self, port: u16, program: &Program) {
        let what = format!("a BMC on port {port}: {}", program.printed());
        eventually(&what, 60, || {
            let fixed = ["-I", "lanplus", "-H", "127.0.0.1", "-U", "admin", "-C", "3", "-N", "1"];
            let mut tool = Command::new("ipmitool");
            tool.args(fixed).args(["-R", "1", "-p", &port.to_string(), "-f"]);
            tool.arg(self.path("password")).args(["mc", "info"]);
            tool.output().expect("ipmitool is installed").status.success().then_some(())
        });
    }

    fn section(&self, name: &str, port: u16, more: &str) -> String {
        format!(
            "[[ipmi]]\nmeter = \"isb/{name}\"\naddress = \"127.0.0.1:{port}\"\nuser = \"admin\"\n\
             password_file = \"{}\"\ncipher_suite = 3\nevery = \"4s\"\ntimeout = \"3s\"\n\
             power_max = \"12 kW\"\n{more}\n",
            self.path("password")
        )
    }

    /// What `bijli-agent COMMAND --json` says of these meters.
    fn said(&self, command: &str, sections: &str) -> Value {
        let config = self.path("agent.toml");
        let text = format!(
            "hub = \"isb\"\nnode = \"gateway\"\n{}{sections}\n[spool]\ndir = \"{}\"\n",
            others_off(),
            self.path("spool")
        );
        std::fs::write(&config, text).expect("written");
        let mut agent = Command::new(binary("bijli-agent"));
        let out = agent.args([command, "--json", "--config", &config]).output().expect("it starts");
        let said = String::from_utf8_lossy(&out.stdout).into_owned();
        let err = String::from_utf8_lossy(&out.stderr).into_owned();
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}{err}"))
    }
}

fn others_off() -> String {
    let others = ["nvml", "rapl", "host", "kernel_log"];
    others.map(|name| format!("[{name}]\nenabled = false\n")).concat()
}

/// Goal: DCMI and a named sensor are read for what the BMC shows; a BMC without DCMI, a sensor that
/// is none, wrong passwords and an empty place say so in words, each for itself.
#[test]
fn what_bmcs_show_is_read_and_what_they_refuse_is_said() {
    let bmcs = Bmcs::new();
    let (dcmi, _dcmi) = bmcs.dcmi("n01", 3_181);
    let (sim, _sim) = bmcs.sim(159);
    let (zero, _zero) = bmcs.dcmi("n02", 0);
    let (stale, _stale) = bmcs.dcmi("n03", -500);
    std::fs::write(bmcs.path("wrong"), "wrong\n").expect("written");
    let nowhere = free_udp_port();
    let wrong = bmcs.section("wrong", dcmi, "").replace("/password\"", "/wrong\"");
    let missing = bmcs.section("missing", dcmi, "").replace("/password\"", "/none\"");
    let sections = [
        bmcs.section("n01", dcmi, ""),
        bmcs.section("sensor", sim, "sensor = \"SYS POWER 1\""),
        bmcs.section("zero", zero, ""),
        bmcs.section("stale", stale, ""),
        bmcs.section("no-dcmi", sim, "privilege = \"ADMINISTRATOR\""),
        bmcs.section("no-privilege", sim, ""),
        bmcs.section("no-sensor", sim, "sensor = \"PSU1 Power In\""),
        wrong,
        missing,
        bmcs.section("nowhere", nowhere, ""),
        "[[ipmi]]\nmeter = \"isb/own\"\npower_max = \"12 kW\"\n".to_owned(),
    ];
    let report = bmcs.said("check", &sections.concat());
    let probe = |name: &str| {
        let probes = report["probes"].as_array().expect("a list");
        let is_it = |one: &&Value| one["name"] == format!("ipmi:isb/{name}").as_str();
        probes.iter().find(is_it).unwrap_or_else(|| panic!("{name}: {report}")).to_string()
    };
    for (name, words) in [
        ("n01", "DCMI, momentary; the BMC's own average over 1 Seconds is 3300 Watts"),
        ("n01", "class sampled: a BMC has no energy counter"),
        ("n01", "\"sampled\""),
        ("sensor", "sensor SYS POWER 1 (0x1), entity 7.1 (System Board)"),
        ("zero", "0 W: not believed"),
        ("stale", "power measurement is deactivated"),
        ("no-dcmi", "the BMC has no DCMI power reading (completion code 0xC1)"),
        ("no-privilege", "needs another `privilege` than USER"),
        ("no-sensor", "Unable to find sensor id 'PSU1 Power In'"),
        ("wrong", "no session: nobody there, or it refuses user, password"),
        ("missing", "/none: No such file"),
        ("nowhere", "isb/nowhere at 127.0.0.1"),
        ("own", "there is no /dev/ipmi0: load the kernel modules"),
    ] {
        assert!(probe(name).contains(words), "{name}: {words}\n{}", probe(name));
    }
    let once = bmcs.said("once", &[&*sections[0], &sections[1]].concat());
    for (index, expected) in [(0, "3181000"), (1, "3180000")] {
        let readings = once["subjects"][index]["readings"].as_array().expect("a list");
        let is_power = |one: &&Value| one["quantity"] == "power_instant";
        let power = readings.iter().find(is_power).expect("power");
        assert_eq!(power["value"], expected, "{once}");
    }
}

/// Processes that the agent has started and that are there now.
fn children(agent: &Program) -> Vec<String> {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", agent.pid())).expect("it runs");
    let children =
        tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("children")).ok());
    children
        .flat_map(|text| text.split(' ').map(str::to_owned).collect::<Vec<_>>())
        .filter(|pid| !pid.is_empty())
        .collect()
}

/// Goal: one BMC is integrated to the millijoule in the books while another hangs. What asks the
/// hung one is ended each time and waited for; when it wakes, it is read again.
#[test]
fn a_hung_bmc_costs_only_itself_and_leaves_no_process_behind() {
    let hub = "[[hub]]\nid = \"isb\"\ntitle = \"Islamabad\"\n[[hub.point]]\nid = \"incomer\"\n\
               role = \"grid\"\nmeter = \"isb/n01\"\n[[hub.point]]\nid = \"chiller\"\n\
               role = \"cooling\"\nmeter = \"isb/n02\"\n";
    let site = Site::start(hub);
    let bmcs = Bmcs::new();
    let (good, _good) = bmcs.dcmi("n01", 3_181);
    let (sick, sick_program) = bmcs.dcmi("n02", 700);
    let sections = [bmcs.section("n01", good, ""), bmcs.section("n02", sick, "")].concat();
    let agent = site.agent("isb", "gateway", &(others_off() + &sections), &[]);
    let register = |name: &str, key: &str| {
        let answer = site.json("/v1/hubs/isb/meters");
        let meters = answer["meters"].as_array().expect("a list");
        let is_it = |one: &&Value| one["subject"] == format!("isb/{name}").as_str();
        Some(meters.iter().find(is_it)?["register"][key].clone())
    };
    let age = |name: &str| register(name, "age_s")?.as_u64();
    let booked = |name: &str| {
        let value = register(name, "booked_mj").filter(Value::is_string);
        value.map_or(0, |value| millijoules(&value))
    };
    eventually(&format!("both are counted\n{}", agent.printed()), 60, || {
        (booked("n01") > 0 && booked("n02") > 0).then_some(())
    });

    sick_program.signal(Signal::STOP);
    eventually("its silence", 60, || age("n02").filter(|age| *age > 15));
    assert!(age("n01").is_some_and(|age| age < 12), "the other is read: {}", agent.printed());
    assert!(agent.printed().contains("no answer within 3000 ms"), "{}", agent.printed());
    let asking = eventually("what asks it", 60, || {
        let asking = children(&agent);
        (!asking.is_empty()).then_some(asking)
    });
    assert!(asking.len() <= 2, "one for each BMC: {asking:?}");
    eventually("their end", 60, || {
        asking.iter().all(|pid| !Path::new(&format!("/proc/{pid}")).exists()).then_some(())
    });

    sick_program.signal(Signal::CONT);
    eventually(&format!("it is back\n{}", agent.printed()), 120, || {
        age("n02").filter(|age| *age < 10)
    });
    // 3,181 W for whole milliseconds are whole multiples of 3,181 mJ.
    assert_eq!(booked("n01") % 3_181, 0);
    assert_eq!(register("n01", "implausible"), Some(serde_json::json!(0)));
}
