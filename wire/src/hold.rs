//! Who holds what, as a node's witnesses tell it: each fact alone, so that any order will do.
//!
//! # Invariants
//! - A [`Hold`] in hand names its devices by subject id, never by an index, and its names are
//!   those of `id.rs`: harmless wherever they are shown.
//! - A fact is complete: who told it, of which job, when. What is made of several facts is the
//!   ledger's (`docs/attribution.md`).

use serde::{Deserialize, Serialize};

use crate::batch::BatchError;
use crate::id::{ClusterId, IdError, JobId, ProjectId, SubjectId, UserId};
use crate::limits;
use crate::message::{self, HoldFact, HoldShare, Witness};
use crate::units::{Millis, UtcMillis};

/// One fact about a job and this node's devices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    pub fact: Fact,
    pub witness: Witness,
    pub cluster: ClusterId,
    /// When it was so, or was looked at, by the node's clock.
    pub at: UtcMillis,
}

/// What a witness tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fact {
    /// The job got these devices at this moment.
    Began { job: JobId, grant: Grant },
    /// The job let go of everything here at this moment. `began`: of the run that began then by
    /// the scheduler's clock; `None`: of whichever ran.
    Ended { job: JobId, began: Option<UtcMillis> },
    /// The job held them at this moment, in the run that began at `began` by the scheduler's
    /// clock. `None`: the grant was told before.
    Seen { job: JobId, began: UtcMillis, grant: Option<Grant> },
    /// The witness was asked for everything on this node: what it saw then has a fact of its own
    /// with the same time. It looks so often.
    Looked { every: Millis },
}

/// What was granted to whom.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Grant {
    /// Whose energy it is; `None`: the account cannot be a project's name, or is not known.
    pub project: Option<ProjectId>,
    pub user: Option<UserId>,
    /// In their order, each once; nobody else has them.
    pub devices: Vec<SubjectId>,
    /// In their order, each once: parts of devices that others have parts of at the same time.
    pub shares: Vec<Share>,
}

/// A part of a device.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Share {
    /// Whose energy is shared.
    pub device: SubjectId,
    /// Which part it is: a MIG instance, or `<GPU or instance>::<name>`. One job has it at a time.
    pub id: SubjectId,
    /// The MIG instance that it is, or is a part of; `None`: a part of the whole device.
    pub instance: Option<Instance>,
}

/// A MIG instance, by what it is of its GPU.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Instance {
    pub id: SubjectId,
    /// Compute slices, from 1 to `of`.
    pub slices: u32,
    /// Compute slices of the GPU, at most [`limits::SLICES_MAX`].
    pub of: u32,
}

impl Hold {
    /// What was granted, where this fact says so.
    #[must_use]
    pub const fn grant(&self) -> Option<&Grant> {
        match &self.fact {
            Fact::Began { grant, .. } => Some(grant),
            Fact::Seen { grant, .. } => grant.as_ref(),
            Fact::Ended { .. } | Fact::Looked { .. } => None,
        }
    }

    /// The scheduler's own time of the run's begin, where this fact says so.
    #[must_use]
    pub const fn began(&self) -> Option<UtcMillis> {
        match &self.fact {
            Fact::Seen { began, .. } => Some(*began),
            Fact::Ended { began, .. } => *began,
            Fact::Began { .. } | Fact::Looked { .. } => None,
        }
    }

    pub(crate) fn from_message(message: message::Hold) -> Result<Self, BatchError> {
        let refuse = |rule| BatchError::Hold { rule };
        let witness = Witness::try_from(message.witness).unwrap_or(Witness::Unspecified);
        if witness == Witness::Unspecified {
            return Err(refuse("its witness is not one of this version"));
        }
        let fact = match HoldFact::try_from(message.fact).unwrap_or(HoldFact::Unspecified) {
            HoldFact::Unspecified => return Err(refuse("it is not a fact of this version")),
            HoldFact::Began => {
                Fact::Began { job: JobId::new(&message.job)?, grant: Grant::of(&message)? }
            }
            HoldFact::Ended => {
                Fact::Ended { job: JobId::new(&message.job)?, began: moment(message.began_ms) }
            }
            HoldFact::Seen => {
                let grant = Grant::of(&message)?;
                let is_told = !grant.devices.is_empty() || !grant.shares.is_empty();
                Fact::Seen {
                    job: JobId::new(&message.job)?,
                    began: UtcMillis::new(message.began_ms),
                    grant: is_told.then_some(grant),
                }
            }
            HoldFact::Looked => Fact::Looked { every: Millis::new(message.every_ms) },
        };
        let cluster = ClusterId::new(&message.cluster)?;
        Ok(Self { fact, witness, cluster, at: UtcMillis::new(message.at_ms) })
    }

    pub(crate) fn to_message(&self) -> message::Hold {
        let mut message = message::Hold {
            witness: self.witness as i32,
            cluster: self.cluster.to_string(),
            at_ms: self.at.get(),
            ..message::Hold::default()
        };
        let (kind, job, grant) = match &self.fact {
            Fact::Began { job, grant } => (HoldFact::Began, Some(job), Some(grant)),
            Fact::Ended { job, began } => {
                message.began_ms = began.map_or(0, UtcMillis::get);
                (HoldFact::Ended, Some(job), None)
            }
            Fact::Seen { job, began, grant } => {
                message.began_ms = began.get();
                (HoldFact::Seen, Some(job), grant.as_ref())
            }
            Fact::Looked { every } => {
                message.every_ms = every.get();
                (HoldFact::Looked, None, None)
            }
        };
        message.fact = kind as i32;
        message.job = job.map(ToString::to_string).unwrap_or_default();
        if let Some(grant) = grant {
            message.project = text(grant.project.as_ref());
            message.user = text(grant.user.as_ref());
            message.devices = grant.devices.iter().map(ToString::to_string).collect();
            message.shares = grant.shares.iter().map(Share::to_message).collect();
        }
        message
    }
}

impl Grant {
    fn of(message: &message::Hold) -> Result<Self, BatchError> {
        let count = message.devices.len().saturating_add(message.shares.len());
        let max = limits::HOLD_DEVICES_MAX;
        if count > max {
            return Err(BatchError::TooMany { what: "devices of a hold", count, max });
        }
        let devices: Result<Vec<_>, _> =
            message.devices.iter().map(|d| SubjectId::new(d)).collect();
        Ok(Self {
            project: name(&message.project, ProjectId::new)?,
            user: name(&message.user, UserId::new)?,
            devices: devices?,
            shares: message.shares.iter().map(Share::of).collect::<Result<_, _>>()?,
        })
    }
}

impl Share {
    fn of(message: &HoldShare) -> Result<Self, BatchError> {
        let HoldShare { device, id, instance, slices, of } = message;
        let is_possible = 1 <= *slices && slices <= of && *of <= limits::SLICES_MAX;
        let instance = match instance.as_str() {
            "" => None,
            _ if !is_possible => {
                return Err(BatchError::Hold { rule: "its slices cannot be of one GPU" });
            }
            name => Some(Instance { id: SubjectId::new(name)?, slices: *slices, of: *of }),
        };
        Ok(Self { device: SubjectId::new(device)?, id: SubjectId::new(id)?, instance })
    }

    fn to_message(&self) -> HoldShare {
        let instance = self.instance.as_ref();
        HoldShare {
            device: self.device.to_string(),
            id: self.id.to_string(),
            instance: instance.map(|one| one.id.to_string()).unwrap_or_default(),
            slices: instance.map_or(0, |one| one.slices),
            of: instance.map_or(0, |one| one.of),
        }
    }
}

fn moment(ms: i64) -> Option<UtcMillis> {
    (ms != 0).then(|| UtcMillis::new(ms))
}

fn name<T>(text: &str, read: impl Fn(&str) -> Result<T, IdError>) -> Result<Option<T>, IdError> {
    if text.is_empty() { Ok(None) } else { read(text).map(Some) }
}

fn text(name: Option<&impl ToString>) -> String {
    name.map(ToString::to_string).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hold(fact: Fact) -> Hold {
        let cluster = ClusterId::new("hubtest").expect("a name");
        Hold { fact, witness: Witness::Hook, cluster, at: UtcMillis::new(1_795_771_417_231) }
    }

    fn grant() -> Grant {
        let device = SubjectId::new("GPU-00000000-0000-0000-0000-000000000003");
        Grant {
            project: Some(ProjectId::new("ignite-llm").expect("a name")),
            user: Some(UserId::new("aisha").expect("a name")),
            devices: vec![device.expect("a name")],
            shares: Vec::new(),
        }
    }

    fn shares() -> Vec<Share> {
        let name = |text: &str| SubjectId::new(text).expect("a name");
        let share = |id: &str, instance| Share { device: name("GPU-1"), id: name(id), instance };
        let instance = |slices| Some(Instance { id: name("MIG-1"), slices, of: 7 });
        vec![share("GPU-1::3", None), share("MIG-1", instance(3)), share("MIG-1::0", instance(1))]
    }

    fn share_of(slices: u32, of: u32) -> HoldShare {
        let name = |text: &str| text.to_owned();
        HoldShare { device: name("GPU-1"), id: name("M"), instance: name("M"), slices, of }
    }

    #[test]
    fn every_fact_survives_its_message() {
        let job = JobId::new("4711").expect("a name");
        let began = UtcMillis::new(1_795_771_417_000);
        for fact in [
            Fact::Began { job: job.clone(), grant: grant() },
            Fact::Ended { job: job.clone(), began: None },
            Fact::Ended { job: job.clone(), began: Some(began) },
            Fact::Seen { job: job.clone(), began, grant: Some(grant()) },
            Fact::Seen { job: job.clone(), began, grant: None },
            Fact::Seen { job, began, grant: Some(Grant { shares: shares(), ..Grant::default() }) },
            Fact::Looked { every: Millis::new(30_000) },
        ] {
            let hold = hold(fact);
            assert_eq!(Hold::from_message(hold.to_message()), Ok(hold));
        }
    }

    #[test]
    fn what_is_wrong_is_refused_with_its_rule() {
        let job = JobId::new("4711").expect("a name");
        let refused = |change: &dyn Fn(&mut message::Hold)| {
            let mut message = hold(Fact::Began { job: job.clone(), grant: grant() }).to_message();
            change(&mut message);
            Hold::from_message(message).expect_err("wrong").to_string()
        };
        for (words, part) in [
            (refused(&|m| m.witness = 99), "witness"),
            (refused(&|m| m.fact = 0), "fact"),
            (refused(&|m| m.project = "=cmd|' /C calc'!A0".into()), "project id"),
            (refused(&|m| m.job = String::new()), "job id"),
            (refused(&|m| m.devices = vec!["x".into(); 129]), "devices of a hold"),
            (refused(&|m| m.shares = vec![HoldShare::default(); 128]), "devices of a hold"),
            (refused(&|m| m.shares = vec![HoldShare::default()]), "subject id"),
            (refused(&|m| m.shares = vec![share_of(8, 7)]), "slices"),
            (refused(&|m| m.shares = vec![share_of(0, 7)]), "slices"),
            (refused(&|m| m.shares = vec![share_of(1, 65)]), "slices"),
        ] {
            assert!(words.contains(part), "{words}");
        }
    }
}
