//! The protobuf messages of `proto/bijli.v1.proto`, field by field. Foreign until validated:
//! `batch.rs` turns them into [`crate::Schema`] and [`crate::Batch`], which hold what they promise.

use prost::{Enumeration, Message};
use serde::{Deserialize, Serialize};

#[derive(Clone, PartialEq, Message)]
pub struct Schema {
    #[prost(uint32, tag = "1")]
    pub version: u32,
    #[prost(string, tag = "2")]
    pub hub: String,
    #[prost(string, tag = "3")]
    pub node: String,
    #[prost(string, tag = "4")]
    pub agent: String,
    #[prost(message, repeated, tag = "5")]
    pub subjects: Vec<Subject>,
    #[prost(message, repeated, tag = "6")]
    pub groups: Vec<Group>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Subject {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(enumeration = "SubjectKind", tag = "2")]
    pub kind: i32,
    #[prost(string, tag = "3")]
    pub label: String,
    #[prost(string, tag = "4")]
    pub model: String,
    #[prost(string, tag = "5")]
    pub serial: String,
    #[prost(message, optional, tag = "6")]
    pub register: Option<Register>,
}

/// What a subject is. Append only.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Enumeration, Serialize, Deserialize,
)]
#[repr(i32)]
pub enum SubjectKind {
    Unspecified = 0,
    Node = 1,
    Gpu = 2,
    CpuPackage = 3,
    Dram = 4,
    Meter = 5,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Register {
    #[prost(uint64, tag = "1")]
    pub numerator: u64,
    #[prost(uint64, tag = "2")]
    pub denominator: u64,
    #[prost(uint64, tag = "3")]
    pub modulus: u64,
    #[prost(uint64, tag = "4")]
    pub power_mw_max: u64,
    #[prost(uint64, tag = "5")]
    pub epoch: u64,
    #[prost(enumeration = "Method", tag = "6")]
    pub method: i32,
    #[prost(uint64, tag = "7")]
    pub gap_ms: u64,
}

/// Who counts the energy. Append only.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Enumeration, Serialize, Deserialize,
)]
#[repr(i32)]
pub enum Method {
    Unspecified = 0,
    /// The device counts.
    Hardware = 1,
    /// The sender integrates averages that leave no time out.
    Integrated = 2,
    /// The sender holds momentary power from one reading to the next, whatever it was between.
    Sampled = 3,
}

#[derive(Clone, PartialEq, Message)]
pub struct Group {
    #[prost(uint32, tag = "1")]
    pub cadence_ms: u32,
    #[prost(message, repeated, tag = "2")]
    pub series: Vec<Series>,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Series {
    #[prost(uint32, tag = "1")]
    pub subject: u32,
    #[prost(uint32, tag = "2")]
    pub quantity: u32,
    #[prost(uint32, tag = "3")]
    pub part: u32,
}

#[derive(Clone, PartialEq, Message)]
pub struct Batch {
    #[prost(uint32, tag = "1")]
    pub version: u32,
    #[prost(string, tag = "2")]
    pub hub: String,
    #[prost(string, tag = "3")]
    pub node: String,
    #[prost(bytes = "vec", tag = "4")]
    pub epoch: Vec<u8>,
    #[prost(uint64, tag = "5")]
    pub sequence: u64,
    #[prost(bytes = "vec", tag = "6")]
    pub schema: Vec<u8>,
    #[prost(sint64, tag = "7")]
    pub created_ms: i64,
    #[prost(message, repeated, tag = "8")]
    pub matrices: Vec<Matrix>,
    #[prost(message, repeated, tag = "9")]
    pub events: Vec<Event>,
    #[prost(bytes = "vec", tag = "10")]
    pub boot: Vec<u8>,
    #[prost(uint64, tag = "11")]
    pub uptime_ms: u64,
    #[prost(message, repeated, tag = "12")]
    pub holds: Vec<Hold>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Matrix {
    #[prost(uint32, tag = "1")]
    pub group: u32,
    #[prost(sint64, repeated, tag = "2")]
    pub times: Vec<i64>,
    #[prost(message, repeated, tag = "3")]
    pub columns: Vec<Column>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Column {
    #[prost(sint64, repeated, tag = "1")]
    pub deltas: Vec<i64>,
    #[prost(bytes = "vec", tag = "2")]
    pub missing: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Event {
    #[prost(sint64, tag = "1")]
    pub at_ms: i64,
    #[prost(uint32, tag = "2")]
    pub subject: u32,
    #[prost(enumeration = "EventKind", tag = "3")]
    pub kind: i32,
    #[prost(string, tag = "4")]
    pub text: String,
    /// What it is of its kind: the XID, or the driver's event bit; 0: it has no number.
    #[prost(uint32, tag = "5")]
    pub code: u32,
    /// How often it happened; 0 of an elder sender is once.
    #[prost(uint32, tag = "6")]
    pub count: u32,
}

/// One fact about who holds devices of this node.
#[derive(Clone, PartialEq, Message)]
pub struct Hold {
    #[prost(enumeration = "HoldFact", tag = "1")]
    pub fact: i32,
    #[prost(enumeration = "Witness", tag = "2")]
    pub witness: i32,
    #[prost(string, tag = "3")]
    pub cluster: String,
    #[prost(string, tag = "4")]
    pub job: String,
    #[prost(sint64, tag = "5")]
    pub at_ms: i64,
    #[prost(sint64, tag = "6")]
    pub began_ms: i64,
    #[prost(string, tag = "7")]
    pub project: String,
    #[prost(string, tag = "8")]
    pub user: String,
    #[prost(string, repeated, tag = "9")]
    pub devices: Vec<String>,
    #[prost(uint64, tag = "10")]
    pub every_ms: u64,
    #[prost(message, repeated, tag = "11")]
    pub shares: Vec<HoldShare>,
}

/// A part of a device that several hold at the same time.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct HoldShare {
    #[prost(string, tag = "1")]
    pub device: String,
    #[prost(string, tag = "2")]
    pub id: String,
    #[prost(string, tag = "3")]
    pub instance: String,
    #[prost(uint32, tag = "4")]
    pub slices: u32,
    #[prost(uint32, tag = "5")]
    pub of: u32,
}

/// What a witness tells. Append only.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Enumeration, Serialize, Deserialize,
)]
#[repr(i32)]
pub enum HoldFact {
    Unspecified = 0,
    Began = 1,
    Ended = 2,
    Seen = 3,
    Looked = 4,
}

/// Who tells it. Append only.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Enumeration, Serialize, Deserialize,
)]
#[repr(i32)]
pub enum Witness {
    Unspecified = 0,
    /// The scheduler's prolog and epilog, at the very moment.
    Hook = 1,
    /// The scheduler, asked now and then.
    Poll = 2,
    /// A file that a person or a program keeps.
    File = 3,
    /// Kubernetes' kubelet, asked now and then.
    Kubelet = 4,
    /// The files of jobs by GPU that hooks keep for dcgm-exporter, looked at now and then.
    JobFiles = 5,
}

/// What happened at the sender. Append only.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Enumeration, Serialize, Deserialize,
)]
#[repr(i32)]
pub enum EventKind {
    Unspecified = 0,
    AgentStarted = 1,
    ProbeFailed = 2,
    ProbeHung = 3,
    ProbeRecovered = 4,
    BatchesQuarantined = 5,
    ResolutionReduced = 6,
    /// The collector's own: sequences that its sender has no more.
    SequencesFloored = 7,
    /// The collector's own: two senders with one name, or one that was rolled back.
    IdentityForked = 8,
    /// The wall clock of the sender was set while it ran.
    ClockSet = 9,
    /// The collector's own: the sender's times are wrong and were corrected.
    ClockCorrected = 10,
    /// An NVIDIA XID or SXid; the code is its number.
    GpuXid = 11,
    /// Another event of the driver; the code is its bit.
    GpuEvent = 12,
    /// GPUs are missing, new, or shaped anew (MIG).
    InventoryChanged = 13,
    /// Another driver answers: its counts begin anew.
    DriverChanged = 14,
    /// An energy register and the power beside it disagree.
    RegisterDoubted = 15,
    /// A register is not believed any more: power is integrated instead.
    RegisterDistrusted = 16,
    /// A register is believed again.
    RegisterTrusted = 17,
    /// The agent let go of the GPUs, so that their driver can be changed.
    ProbePaused = 18,
    /// A meter is not as it was enrolled. The code: 1 its word order, 2 its serial number (another
    /// meter), 3 its firmware, 4 what kind of device it says it is, 5 what its energy counts in,
    /// 6 its certificate.
    MeterChanged = 19,
    /// Somebody set a meter's energy count back at the device.
    MeterReset = 20,
    /// A leak detector says that it leaks. The code: 1 a warning, 2 critical.
    LeakDetected = 22,
    /// It says so no more.
    LeakCleared = 23,
    /// A leak detector tells no state: nobody watches there.
    LeakUnwatched = 24,
    /// A record of a hold cannot be used, or its account cannot be a project's name.
    HoldRefused = 25,
    /// A hold names a GPU that this node does not know.
    HoldUnresolved = 26,
    /// A witness of holds does not answer, or answers again.
    WitnessChanged = 27,
}
