//! Schemas and batches as both sides work with them: validated, typed, in memory.
//!
//! # Invariants
//! - A [`Schema`] in hand has unique subject ids, series that name existing subjects, and
//!   registers with a scale that is not zero. Its id is the hash of its bytes.
//! - A [`Matrix`] in hand has strictly increasing times and one column per series of its group,
//!   each as long as the times. A missing value is `None`, never zero.

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

use crate::hold::Hold;
use crate::id::{
    BatchSeq, BootId, ContentHash, HubId, IdError, NodeId, SchemaId, SpoolEpoch, SubjectId,
};
use crate::limits;
use crate::message::{self, EventKind, Method, SubjectKind};
use crate::series::Quantity;
use crate::units::{Millis, Milliwatts, UtcMillis};

/// The version of both messages.
pub const VERSION: u32 = 1;

/// Why a schema or a batch was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    #[error("format version {found} is not known here, this side speaks {VERSION}")]
    Version { found: u32 },
    #[error("the body is not a protobuf message of this format: {reason}")]
    Protobuf { reason: String },
    #[error("the body is not a zstd frame: {reason}")]
    Zstd { reason: String },
    #[error("the body has {bytes} bytes, the limit is {max}")]
    BodySize { bytes: usize, max: usize },
    #[error("the body decompresses to more than {max} bytes")]
    Bomb { max: usize },
    #[error("{what}: {count} where the limit is {max}")]
    TooMany { what: &'static str, count: usize, max: usize },
    #[error("name refused: {0}")]
    Name(#[from] IdError),
    #[error("{what} has {bytes} bytes where {expected} are needed")]
    KeyLength { what: &'static str, bytes: usize, expected: usize },
    #[error("sequence 0: sequences count from 1")]
    SequenceZero,
    #[error("subject {id:?} is listed twice")]
    SubjectTwice { id: String },
    #[error("subject {id:?}: {rule}")]
    Subject { id: String, rule: &'static str },
    #[error("group {group}: {rule}")]
    Group { group: usize, rule: &'static str },
    #[error("a hold: {rule}")]
    Hold { rule: &'static str },
    #[error("matrix of group {group}, column {column}: {rule}")]
    Column { group: usize, column: usize, rule: &'static str },
    #[error("the batch names schema {found}, it was read with {given}")]
    WrongSchema { found: SchemaId, given: SchemaId },
    #[error("the batch is of {found}, its schema of {schema}")]
    WrongNode { found: String, schema: String },
}

/// What a node or gateway measures, and in which columns it will say so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schema {
    pub hub: HubId,
    pub node: NodeId,
    pub agent: String,
    pub subjects: Vec<Subject>,
    pub groups: Vec<Group>,
}

/// One metered or watched thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    pub id: SubjectId,
    pub kind: SubjectKind,
    /// Index or place, for people.
    pub label: String,
    pub model: String,
    pub serial: String,
    /// `None`: this subject counts no energy.
    pub register: Option<Register>,
}

/// How a subject's energy register counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Register {
    /// One count is `numerator / denominator` millijoules; both at least 1.
    pub numerator: u64,
    pub denominator: u64,
    /// The count wraps to 0 on reaching this. `None`: it does not wrap.
    pub modulus: Option<u64>,
    /// No true difference exceeds this power times the time passed.
    pub power_max: Milliwatts,
    /// Changes when the count may have restarted.
    pub epoch: u64,
    pub method: Method,
    /// Readings further apart than this are bridged, not measured.
    pub gap: Millis,
}

/// Series read together at one cadence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    pub cadence: Millis,
    pub series: Vec<Series>,
}

/// One column of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Series {
    /// Index into [`Schema::subjects`], always valid.
    pub subject: usize,
    /// `None`: a newer sender's quantity; its values are skipped.
    pub quantity: Option<Quantity>,
    /// The number on the wire, kept so that encoding again gives the same bytes.
    pub quantity_number: u32,
    pub part: u32,
}

impl Series {
    #[must_use]
    pub fn new(subject: usize, quantity: Quantity, part: u32) -> Self {
        Self { subject, quantity: Some(quantity), quantity_number: quantity as u32, part }
    }
}

/// A moment by a clock that nobody sets: how long a machine was up, suspended time included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uptime {
    pub boot: BootId,
    pub at: Millis,
}

/// Readings sent, acknowledged and deduplicated together. `M` is how the rows of a group are held:
/// a [`Matrix`], or a [`crate::Table`] where very many are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch<M = Matrix> {
    pub hub: HubId,
    pub node: NodeId,
    pub epoch: SpoolEpoch,
    pub sequence: BatchSeq,
    pub schema: SchemaId,
    /// The sender's clock.
    pub created: UtcMillis,
    /// When that was, by the clock that nobody sets; `None`: an older sender.
    pub uptime: Option<Uptime>,
    pub matrices: Vec<M>,
    pub events: Vec<Event>,
    pub holds: Vec<Hold>,
}

/// Rows of one group: `columns[series][row]` was read at `times[row]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Matrix {
    pub group: usize,
    pub times: Vec<UtcMillis>,
    pub columns: Vec<Vec<Option<i64>>>,
}

/// Something that happened at the sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub at: UtcMillis,
    /// Index into [`Schema::subjects`]; `None`: the whole node.
    pub subject: Option<usize>,
    pub kind: EventKind,
    pub text: String,
    /// What it is of its kind; 0: it has no number.
    pub code: u32,
    /// How often it happened since it was last told; at least 1.
    pub count: u32,
}

impl Event {
    /// One that happened once and has no number.
    #[must_use]
    pub const fn plain(
        at: UtcMillis,
        subject: Option<usize>,
        kind: EventKind,
        text: String,
    ) -> Self {
        Self { at, subject, kind, text, code: 0, count: 1 }
    }
}

impl Batch {
    /// The latest time of any reading; `None` for a batch of events only.
    #[must_use]
    pub fn latest(&self) -> Option<UtcMillis> {
        self.matrices.iter().filter_map(|matrix| matrix.times.last().copied()).max()
    }

    /// The earliest time of any reading; `None` for a batch of events only.
    #[must_use]
    pub fn earliest(&self) -> Option<UtcMillis> {
        self.matrices.iter().filter_map(|matrix| matrix.times.first().copied()).min()
    }

    /// How many values it carries, missing ones not counted.
    #[must_use]
    pub fn readings(&self) -> usize {
        let columns = self.matrices.iter().flat_map(|matrix| &matrix.columns);
        columns.map(|column| column.iter().flatten().count()).sum()
    }
}

/// What a batch's envelope says; enough to find its schema and to tell a duplicate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    pub hub: HubId,
    pub node: NodeId,
    pub epoch: SpoolEpoch,
    pub sequence: BatchSeq,
    pub schema: SchemaId,
    pub created: UtcMillis,
    /// When that was, by the clock that nobody sets; `None`: an older sender.
    pub uptime: Option<Uptime>,
    /// SHA-256 of the body as it was sent.
    pub hash: ContentHash,
}

fn at_most(what: &'static str, count: usize, max: usize) -> Result<(), BatchError> {
    if count > max { Err(BatchError::TooMany { what, count, max }) } else { Ok(()) }
}

impl Schema {
    pub(crate) fn from_message(message: message::Schema) -> Result<Self, BatchError> {
        if message.version != VERSION {
            return Err(BatchError::Version { found: message.version });
        }
        at_most("subjects", message.subjects.len(), limits::SUBJECTS_MAX)?;
        at_most("groups", message.groups.len(), limits::GROUPS_MAX)?;
        let series = message.groups.iter().map(|group| group.series.len()).sum();
        at_most("series", series, limits::SERIES_MAX)?;
        at_most("bytes of the agent's name", message.agent.len(), limits::TEXT_BYTES_MAX)?;
        let subjects: Vec<Subject> =
            message.subjects.into_iter().map(Subject::from_message).collect::<Result<_, _>>()?;
        let mut seen = BTreeSet::new();
        if let Some(twice) = subjects.iter().find(|subject| !seen.insert(&subject.id)) {
            return Err(BatchError::SubjectTwice { id: twice.id.to_string() });
        }
        let groups = message
            .groups
            .into_iter()
            .enumerate()
            .map(|(index, group)| Group::from_message(index, group, subjects.len()))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            hub: HubId::new(&message.hub)?,
            node: NodeId::new(&message.node)?,
            agent: message.agent,
            subjects,
            groups,
        })
    }

    pub(crate) fn to_message(&self) -> message::Schema {
        message::Schema {
            version: VERSION,
            hub: self.hub.to_string(),
            node: self.node.to_string(),
            agent: self.agent.clone(),
            subjects: self.subjects.iter().map(Subject::to_message).collect(),
            groups: self.groups.iter().map(Group::to_message).collect(),
        }
    }
}

impl Subject {
    fn from_message(message: message::Subject) -> Result<Self, BatchError> {
        let id = SubjectId::new(&message.id)?;
        for text in [&message.label, &message.model, &message.serial] {
            at_most("bytes of a subject's text", text.len(), limits::TEXT_BYTES_MAX)?;
        }
        let kind = SubjectKind::try_from(message.kind).unwrap_or(SubjectKind::Unspecified);
        if kind == SubjectKind::Unspecified {
            let rule = "its kind is not one of this version";
            return Err(BatchError::Subject { id: id.to_string(), rule });
        }
        let register = match message.register {
            Some(register) => Some(Register::from_message(&id, register)?),
            None => None,
        };
        Ok(Self {
            id,
            kind,
            label: message.label,
            model: message.model,
            serial: message.serial,
            register,
        })
    }

    fn to_message(&self) -> message::Subject {
        message::Subject {
            id: self.id.to_string(),
            kind: self.kind as i32,
            label: self.label.clone(),
            model: self.model.clone(),
            serial: self.serial.clone(),
            register: self.register.map(|register| register.to_message()),
        }
    }
}

impl Register {
    fn from_message(id: &SubjectId, message: message::Register) -> Result<Self, BatchError> {
        let refuse = |rule| BatchError::Subject { id: id.to_string(), rule };
        if message.numerator == 0 || message.denominator == 0 {
            return Err(refuse("its register's scale is zero"));
        }
        if message.power_mw_max == 0 || message.power_mw_max > limits::POWER_MW_MAX {
            return Err(refuse("its register's largest power is zero or above 1 GW"));
        }
        if message.gap_ms == 0 {
            return Err(refuse("its register's gap is zero"));
        }
        let method = Method::try_from(message.method).unwrap_or(Method::Unspecified);
        if method == Method::Unspecified {
            return Err(refuse("its register's method is not one of this version"));
        }
        Ok(Self {
            numerator: message.numerator,
            denominator: message.denominator,
            modulus: (message.modulus != 0).then_some(message.modulus),
            power_max: Milliwatts::new(message.power_mw_max),
            epoch: message.epoch,
            method,
            gap: Millis::new(message.gap_ms),
        })
    }

    fn to_message(self) -> message::Register {
        message::Register {
            numerator: self.numerator,
            denominator: self.denominator,
            modulus: self.modulus.unwrap_or(0),
            power_mw_max: self.power_max.get(),
            epoch: self.epoch,
            method: self.method as i32,
            gap_ms: self.gap.get(),
        }
    }
}

impl Group {
    fn from_message(
        index: usize,
        message: message::Group,
        subjects: usize,
    ) -> Result<Self, BatchError> {
        if message.cadence_ms == 0 {
            return Err(BatchError::Group { group: index, rule: "its cadence is zero" });
        }
        let mut series = Vec::with_capacity(message.series.len());
        for one in message.series {
            let subject = usize::try_from(one.subject).unwrap_or(usize::MAX);
            if subject >= subjects {
                let rule = "a series names a subject that the schema does not have";
                return Err(BatchError::Group { group: index, rule });
            }
            series.push(Series {
                subject,
                quantity: Quantity::from_number(one.quantity),
                quantity_number: one.quantity,
                part: one.part,
            });
        }
        Ok(Self { cadence: Millis::new(u64::from(message.cadence_ms)), series })
    }

    fn to_message(&self) -> message::Group {
        let series = self.series.iter().map(|series| message::Series {
            subject: u32::try_from(series.subject).expect("at most SUBJECTS_MAX"),
            quantity: series.quantity_number,
            part: series.part,
        });
        message::Group {
            cadence_ms: u32::try_from(self.cadence.get()).unwrap_or(u32::MAX),
            series: series.collect(),
        }
    }
}
