//! A real Slurm on loopback: munge, slurmctld, one slurmd for each node, private files and ports,
//! no accounting database. It needs root, as a slurmd does that runs jobs.
//!
//! What had to be found out: device files of gres.conf must be devices, or Slurm places the job and
//! sets no `SLURM_JOB_GPUS`; `config_overrides` lets a small machine pose as many nodes.

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::eventually;
use crate::program::{Program, free_port};

/// Slurm's name for itself.
pub const CLUSTER: &str = "hubtest";
const GPUS: usize = 8;

/// Munge, a controller and the nodes `n1`, `n2`...
#[derive(Debug)]
pub struct Slurm {
    folder: PathBuf,
    /// `None`: stopped.
    controller: Option<Program>,
    _nodes: Vec<Program>,
    _munge: Program,
}

/// One call of a hook, as the hook itself noted it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    pub hook: String,
    pub job: String,
    pub node: String,
    pub gpus: String,
    /// Milliseconds since 1970 UTC, before and after the agent's command.
    pub before: i64,
    pub after: i64,
}

impl Slurm {
    /// `hooks`: for each node the shell command that prolog and epilog run; `$1` is start or end.
    ///
    /// # Panics
    /// When it does not get ready.
    #[must_use]
    pub fn start(folder: &Path, hooks: &[&str]) -> Self {
        for name in ["run", "log", "dev", "spool/ctld"] {
            std::fs::create_dir_all(folder.join(name)).expect("a folder");
        }
        write_key(&folder.join("munge.key"));
        write_conf(folder, hooks.len());
        write_hooks(folder, hooks);
        let munge = start_munge(folder);
        let nodes = (1..=hooks.len()).map(|node| {
            let mut command = in_slurm(folder, "slurmd");
            command.arg("-D").arg("-N").arg(format!("n{node}"));
            Program::start(&mut command, &folder.join(format!("log/slurmd.n{node}.out")))
        });
        let nodes = nodes.collect();
        let mut slurm =
            Self { folder: folder.to_owned(), controller: None, _nodes: nodes, _munge: munge };
        slurm.start_controller();
        let count = hooks.len();
        eventually(&format!("{count} idle nodes of Slurm"), 60, || {
            let idle = slurm.ask("sinfo", &["-h", "-N", "-t", "idle", "-o", "%N"])?;
            (idle.lines().count() == count).then_some(())
        });
        slurm
    }

    pub fn start_controller(&mut self) {
        let mut command = in_slurm(&self.folder, "slurmctld");
        command.arg("-D");
        let log = self.folder.join("log/slurmctld.out");
        self.controller = Some(Program::start(&mut command, &log));
    }

    /// SIGKILL: it says no goodbye.
    pub fn kill_controller(&mut self) {
        self.controller = None;
    }

    /// Slurm's configuration.
    #[must_use]
    pub fn conf(&self) -> PathBuf {
        self.folder.join("slurm.conf")
    }

    /// What a command of Slurm prints; `None` when it fails.
    #[must_use]
    pub fn ask(&self, program: &str, arguments: &[&str]) -> Option<String> {
        let answer = in_slurm(&self.folder, program).args(arguments).output().ok()?;
        let text = String::from_utf8_lossy(&answer.stdout).trim().to_owned();
        answer.status.success().then_some(text)
    }

    /// Submits a job of `sleep`; its number.
    ///
    /// # Panics
    /// When Slurm does not take it.
    #[must_use]
    pub fn submit(&self, account: &str, node: &str, gpus: usize, more: &[&str]) -> String {
        let gres = format!("--gres=gpu:{gpus}");
        let mut arguments = vec!["--parsable", "-A", account, "-w", node, &gres, "-o", "/dev/null"];
        arguments.extend(more);
        let answer = self.ask("sbatch", &arguments);
        answer.unwrap_or_else(|| panic!("sbatch {arguments:?} was refused"))
    }

    /// Waits until the hooks have noted `count` calls of a job.
    ///
    /// # Panics
    /// When they do not.
    pub fn calls(&self, job: &str, count: usize) -> Vec<Call> {
        eventually(&format!("{count} calls of hooks for job {job}"), 90, || {
            let calls: Vec<Call> = self.all_calls().into_iter().filter(|c| c.job == job).collect();
            (calls.len() >= count).then_some(calls)
        })
    }

    /// What the controller has logged.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log/slurmctld.log")).unwrap_or_default()
    }

    /// Every call so far.
    ///
    /// # Panics
    /// When the hooks' log is not theirs.
    #[must_use]
    pub fn all_calls(&self) -> Vec<Call> {
        let log = std::fs::read_to_string(self.folder.join("log/hooks.log")).unwrap_or_default();
        let call = |line: &str| {
            let words: Vec<&str> = line.split(' ').collect();
            let [hook, job, node, gpus, before, after] = words[..] else { panic!("{line}") };
            let [hook, job, node, gpus] = [hook, job, node, gpus].map(str::to_owned);
            let time = |text: &str| text.parse().expect("milliseconds");
            Call { hook, job, node, gpus, before: time(before), after: time(after) }
        };
        log.lines().map(call).collect()
    }
}

impl Drop for Slurm {
    /// No job outlives it.
    fn drop(&mut self) {
        if self.controller.is_some() {
            let _cancelled = self.ask("scancel", &["-u", "root"]);
            // A job that outlives its slurmd would be nobody's.
            let is_empty = || self.ask("squeue", &["-h"]).filter(|jobs| jobs.is_empty());
            let _gone = crate::within(20, is_empty);
        }
    }
}

fn in_slurm(folder: &Path, program: &str) -> Command {
    let mut command = Command::new(program);
    command.env("SLURM_CONF", folder.join("slurm.conf")).current_dir(folder);
    command
}

fn write_key(path: &Path) {
    let key: Vec<u8> = (0..=255).cycle().take(1_024).collect();
    std::fs::write(path, key).expect("written");
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o400)).expect("private");
}

fn start_munge(folder: &Path) -> Program {
    let path = |name: &str| folder.join(name).display().to_string();
    let socket = path("run/munge.socket");
    let mut command = Command::new("munged");
    command.args(["-F", "--force", "--num-threads=2", "--origin=127.0.0.1"]);
    command.arg(format!("--socket={socket}"));
    command.arg(format!("--key-file={}", path("munge.key")));
    command.arg(format!("--log-file={}", path("log/munged.log")));
    command.arg(format!("--pid-file={}", path("run/munged.pid")));
    command.arg(format!("--seed-file={}", path("run/munged.seed")));
    let munge = Program::start(&mut command, &folder.join("log/munged.out"));
    eventually("munge's socket", 20, || Path::new(&socket).exists().then_some(()));
    munge
}

fn write_conf(folder: &Path, nodes: usize) {
    let host = Command::new("hostname").arg("-s").output().expect("a name");
    let host = String::from_utf8_lossy(&host.stdout).trim().to_owned();
    let at = folder.display();
    let mut conf = format!(
        "ClusterName={CLUSTER}\nSlurmctldHost={host}(127.0.0.1)\nSlurmctldPort={port}\n\
         SlurmUser=root\nSlurmdUser=root\nAuthType=auth/munge\n\
         AuthInfo=socket={at}/run/munge.socket\nCredType=cred/munge\nMailProg=/bin/true\n\
         StateSaveLocation={at}/spool/ctld\nSlurmdSpoolDir={at}/spool/%n\n\
         SlurmctldPidFile={at}/run/slurmctld.pid\nSlurmdPidFile={at}/run/slurmd.%n.pid\n\
         SlurmctldLogFile={at}/log/slurmctld.log\nSlurmdLogFile={at}/log/slurmd.%n.log\n\
         ProctrackType=proctrack/linuxproc\nTaskPlugin=task/none\nMpiDefault=none\n\
         ReturnToService=2\nSchedulerType=sched/backfill\n\
         SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0\n\
         SelectType=select/cons_tres\nSelectTypeParameters=CR_Core\nGresTypes=gpu\n\
         AccountingStorageType=accounting_storage/none\nJobAcctGatherType=jobacct_gather/none\n\
         Prolog={at}/prolog.sh\nEpilog={at}/epilog.sh\nPrologFlags=Alloc\n\
         SlurmdParameters=config_overrides\nKillWait=2\nMinJobAge=300\nSlurmdTimeout=600\n",
        port = free_port(),
    );
    let mut gres = "AutoDetect=off\n".to_owned();
    for node in 1..=nodes {
        writeln!(
            conf,
            "NodeName=n{node} NodeHostname={host} NodeAddr=127.0.0.1 Port={} CPUs=16 Boards=1 \
             SocketsPerBoard=1 CoresPerSocket=16 ThreadsPerCore=1 RealMemory=900 Gres=gpu:{GPUS}",
            free_port()
        )
        .expect("a string takes it");
        writeln!(gres, "NodeName=n{node} Name=gpu File={at}/dev/n{node}-gpu[0-{}]", GPUS - 1)
            .expect("a string takes it");
        std::fs::create_dir_all(folder.join(format!("spool/n{node}"))).expect("a folder");
        for gpu in 0..GPUS {
            let device = folder.join(format!("dev/n{node}-gpu{gpu}"));
            let made = Command::new("mknod").arg(device).args(["c", "1", "3"]).status();
            assert!(made.is_ok_and(|made| made.success()), "mknod: a real Slurm needs root");
        }
    }
    writeln!(conf, "PartitionName=gpu Nodes=n[1-{nodes}] Default=YES MaxTime=INFINITE State=UP")
        .expect("a string takes it");
    std::fs::write(folder.join("slurm.conf"), conf).expect("written");
    std::fs::write(folder.join("gres.conf"), gres).expect("written");
    std::fs::write(folder.join("cgroup.conf"), "CgroupPlugin=cgroup/v1\n").expect("written");
}

/// Each hook runs its node's command and notes when.
fn write_hooks(folder: &Path, hooks: &[&str]) {
    for (hook, edge) in [("prolog", "start"), ("epilog", "end")] {
        let mut script = format!("#!/bin/sh\nset -- {edge}\nbefore=$(date +%s%3N)\n");
        script.push_str("case $SLURMD_NODENAME in\n");
        for (node, command) in (1..).zip(hooks) {
            writeln!(script, "n{node}) {command} ;;").expect("a string takes it");
        }
        writeln!(
            script,
            "esac\necho \"{hook} $SLURM_JOB_ID $SLURMD_NODENAME ${{SLURM_JOB_GPUS:--}} $before \
             $(date +%s%3N)\" >> {}/log/hooks.log\nexit 0",
            folder.display()
        )
        .expect("a string takes it");
        let path = folder.join(format!("{hook}.sh"));
        std::fs::write(&path, script).expect("written");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("executable");
    }
}
