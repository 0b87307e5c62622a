//! The kernel's log, the authority for XIDs: NVML hands out only the last of several, and some not
//! at all.
//!
//! # Invariants
//! - Each record is read once, also across restarts of the agent: how far it was read is kept
//!   beside the spool with the boot that it is of. What came while the agent was down is told late,
//!   not lost, as long as the kernel's ring has it.
//! - Reading never waits, and nothing is written to the log.
#![expect(clippy::disallowed_methods, reason = "a device of the kernel, and one small file")]

use std::fs::{File, OpenOptions};
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use bijli_wire::batch::Subject;
use bijli_wire::message::EventKind;
use bijli_wire::{Quantity, SubjectId, SubjectKind};
use serde::Deserialize;

use super::{
    Cadence, Context, Description, Happening, How, Note, Offer, Probe, ProbeError, Sample, Tick,
    Witness,
};

/// Another file to read, for tests.
pub const PATH_VARIABLE: &str = "BIJLI_KMSG";
const PATH: &str = "/dev/kmsg";
const STATE: &str = "kmsg";
/// `O_NONBLOCK` of Linux, on all architectures that NVIDIA has drivers for.
const NONBLOCK: i32 = 0o4000;
/// The kernel's longest record, and more.
const RECORD_BYTES: usize = 16 << 10;
/// Records of one reading; the rest is for the next.
const RECORDS_MAX: usize = 4_096;

/// `[kernel_log]` of the configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KmsgConfig {
    pub enabled: bool,
}

impl Default for KmsgConfig {
    fn default() -> Self {
        Self { enabled: true }
    }
}

/// Reads `/dev/kmsg`.
#[derive(Debug)]
pub struct KmsgProbe {
    context: Context,
    path: PathBuf,
    log: Option<File>,
    /// A record's beginning whose end was not read yet; only of a file that is no device.
    rest: String,
    /// The first record that was not read, by the kernel's count.
    next: u64,
    lines: i64,
    happened: Vec<Happening>,
}

impl KmsgProbe {
    #[must_use]
    pub fn new(context: &Context) -> Self {
        let path = std::env::var_os(PATH_VARIABLE).map_or_else(|| PATH.into(), PathBuf::from);
        Self::of(context, path)
    }

    fn of(context: &Context, path: PathBuf) -> Self {
        let next = read_state(context).unwrap_or(0);
        let (log, rest, happened) = (None, String::new(), Vec::new());
        Self { context: context.clone(), path, log, rest, next, lines: 0, happened }
    }

    fn take(&mut self) {
        let Some(log) = &mut self.log else { return };
        let mut buffer = vec![0; RECORD_BYTES];
        let mut text = std::mem::take(&mut self.rest);
        for _ in 0..RECORDS_MAX {
            match log.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => {
                    text.push_str(&String::from_utf8_lossy(
                        buffer.get(..count).unwrap_or_default(),
                    ));
                }
                // Records were overwritten before they were read; the next read goes on behind.
                Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => {}
                Err(_) => break,
            }
        }
        let whole = text.rfind('\n').map_or(0, |end| end.saturating_add(1));
        self.rest = text.get(whole..).unwrap_or_default().to_owned();
        for line in text.get(..whole).unwrap_or_default().lines() {
            self.take_line(line);
        }
    }

    fn take_line(&mut self, line: &str) {
        let Some(record) = Record::parse(line) else { return };
        if record.sequence < self.next {
            return;
        }
        self.next = record.sequence.saturating_add(1);
        self.lines = self.lines.saturating_add(1);
        let Some(xid) = Xid::parse(record.text) else { return };
        let subject = self.context.places.at(xid.pci);
        let seconds = record.at_us / 1_000_000;
        let text = format!("{} (kernel time {seconds} s)", record.text);
        let (kind, witness) = (EventKind::GpuXid, Witness::Kernel);
        self.happened.push(Happening { subject, kind, code: xid.code, text, witness });
    }
}

/// One line of the device: `6,1234,567890,-;words`.
struct Record<'a> {
    sequence: u64,
    /// Since boot.
    at_us: u64,
    text: &'a str,
}

impl<'a> Record<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (head, text) = line.split_once(';')?;
        let mut parts = head.split(',');
        let _level: u32 = parts.next()?.parse().ok()?;
        let sequence = parts.next()?.parse().ok()?;
        let at_us = parts.next()?.parse().ok()?;
        Some(Self { sequence, at_us, text })
    }
}

/// What a line says of a GPU or an NVSwitch.
#[derive(Debug, PartialEq, Eq)]
struct Xid<'a> {
    pci: &'a str,
    code: u32,
}

/// A GPU that is gone is told without a number.
const FALLEN: &str = "GPU has fallen off the bus";
const FALLEN_XID: u32 = 79;

impl<'a> Xid<'a> {
    /// `NVRM: Xid (PCI:0000:19:00): 79, pid=...`,
    /// `nvidia-nvswitch3: SXid (PCI:0000:c1:00.0): 28006, ...`,
    /// `NVRM: GPU 0000:19:00.0: GPU has fallen off the bus.`
    fn parse(text: &'a str) -> Option<Self> {
        if let Some((_, rest)) = text.split_once("Xid (PCI:") {
            let (pci, rest) = rest.split_once("): ")?;
            let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
            return Some(Self { pci, code: digits.parse().ok()? });
        }
        let (before, _) = text.split_once(FALLEN)?;
        let (_, pci) = before.trim_end_matches([' ', ':']).rsplit_once("GPU ")?;
        Some(Self { pci: pci.trim_start_matches("at PCI:"), code: FALLEN_XID })
    }
}

impl Probe for KmsgProbe {
    fn name(&self) -> &str {
        "kernel log"
    }

    fn describe(&mut self) -> Result<Description, ProbeError> {
        let opened = OpenOptions::new().read(true).custom_flags(NONBLOCK).open(&self.path);
        self.log = Some(opened.map_err(|source| ProbeError::File {
            path: format!(
                "{} (the XIDs of the kernel; CAP_SYSLOG where kernel.dmesg_restrict is 1)",
                self.path.display()
            ),
            source,
        })?);
        self.rest.clear();
        let id = SubjectId::new(self.context.node.as_str());
        let node = Subject {
            id: id.map_err(|source| ProbeError::Name { source })?,
            kind: SubjectKind::Node,
            label: String::new(),
            model: String::new(),
            serial: String::new(),
            register: None,
        };
        let quantity = Quantity::KernelLines;
        let series = vec![Offer { cadence: Cadence::Warm, subject: 0, quantity, part: 0 }];
        let notes = vec![Note::new(How::Read, "XIDs", "from the kernel's log, each 10 s")];
        Ok(Description { subjects: vec![node], series, notes })
    }

    fn read(&mut self, due: &[Cadence], _now: Tick) -> Vec<Sample> {
        if !due.contains(&Cadence::Warm) {
            return Vec::new();
        }
        self.take();
        vec![Sample { cadence: Cadence::Warm, at: None, values: vec![Some(self.lines)] }]
    }

    fn happened(&mut self) -> Vec<Happening> {
        if !self.happened.is_empty() {
            write_state(&self.context, self.next);
        }
        std::mem::take(&mut self.happened)
    }
}

/// How far this boot's log was read; `None`: not at all.
fn read_state(context: &Context) -> Option<u64> {
    let text = std::fs::read_to_string(context.state_dir.as_ref()?.join(STATE)).ok()?;
    let (boot, next) = text.trim().split_once(' ')?;
    (boot == context.boot).then(|| next.parse().ok()).flatten()
}

/// If it is lost, XIDs are told a second time: better than never.
fn write_state(context: &Context, next: u64) {
    let Some(dir) = &context.state_dir else { return };
    let text = format!("{} {next}\n", context.boot);
    if let Err(e) = std::fs::write(dir.join(STATE), text) {
        tracing::warn!("cannot keep how far the kernel's log was read: {e}");
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use bijli_wire::{NodeId, UtcMillis};

    use super::*;
    use crate::clock::Moment;

    #[test]
    fn lines_by_table() {
        let gpu = |pci, code| Some(Xid { pci, code });
        let rows = [
            (
                "NVRM: Xid (PCI:0000:19:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen \
                 off the bus.",
                gpu("0000:19:00", 79),
            ),
            ("NVRM: Xid (PCI:0000:19:00): 13, pid=1, Graphics Exception", gpu("0000:19:00", 13)),
            (
                "nvidia-nvswitch3: SXid (PCI:0000:c1:00.0): 28006, Non-fatal, Link 46",
                gpu("0000:c1:00.0", 28_006),
            ),
            ("NVRM: GPU 0000:19:00.0: GPU has fallen off the bus.", gpu("0000:19:00.0", 79)),
            ("NVRM: GPU at PCI:0000:19:00: GPU-5b1c", None),
            ("NVRM: Xid (PCI:0000:19:00): , pid=1", None),
            ("NVRM: Xid (PCI:0000:19:00", None),
            ("NVRM: Xid (PCI:0000:19:00): 99999999999, x", None),
            ("usb 1-1: new device", None),
        ];
        for (text, expected) in rows {
            assert_eq!(Xid::parse(text), expected, "{text}");
        }
    }

    fn at() -> Tick {
        Tick { utc: UtcMillis::new(0), monotonic: Moment::new(0) }
    }

    fn told(probe: &mut KmsgProbe) -> Vec<(Option<String>, u32)> {
        probe.read(&[Cadence::Warm], at());
        let gpu = |one: &Happening| one.subject.as_ref().map(ToString::to_string);
        probe.happened().iter().map(|one| (gpu(one), one.code)).collect()
    }

    /// Goal: each record once, also when the agent was started again in between.
    #[test]
    fn a_log_is_read_once_across_restarts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let context = Context {
            state_dir: Some(folder.path().to_owned()),
            ..Context::new(NodeId::new("n1").unwrap(), 1, "boot-1".to_owned())
        };
        context.places.put("00000000:19:00.0", SubjectId::new("GPU-a").unwrap());
        let append = |text: &str| {
            let mut file = OpenOptions::new().create(true).append(true).open(&path).unwrap();
            file.write_all(text.as_bytes()).unwrap();
        };
        append("6,1,5000000,-;usb 1-1: new device\n SUBSYSTEM=usb\n");
        append(
            "4,2,6000000,-;NVRM: Xid (PCI:0000:19:00): 13, pid=1\n4,3,6100000,-;NVRM: Xid (PCI:",
        );
        let mut probe = KmsgProbe::of(&context, path.clone());
        probe.describe().unwrap();
        assert_eq!(told(&mut probe), [(Some("GPU-a".to_owned()), 13)]);
        append("0000:20:00): 48, pid=2\n");
        assert_eq!(told(&mut probe), [(None, 48)], "a GPU that nobody knows");
        append("4,4,6200000,-;NVRM: Xid (PCI:0000:19:00): 79, x\n");
        let mut probe = KmsgProbe::of(&context, path.clone());
        probe.describe().unwrap();
        assert_eq!(told(&mut probe), [(Some("GPU-a".to_owned()), 79)]);
        let other_boot = Context { boot: "boot-2".to_owned(), ..context };
        let mut probe = KmsgProbe::of(&other_boot, path);
        probe.describe().unwrap();
        assert_eq!(told(&mut probe).len(), 3, "the log of another boot begins anew");
    }
}
