//! Records and answers become facts: numbers become UUIDs, names are checked. Pure.

use bijli_wire::hold::{Fact, Grant, Hold};
use bijli_wire::message::{EventKind, Witness};
use bijli_wire::{ClusterId, JobId, Millis, ProjectId, SubjectId, UserId, UtcMillis};

use super::SlurmConfig;
use super::record::{Edge, Record};
use super::squeue::{Job, State, numbers_of};
use crate::probe::numbers::{By, Numbered, find};

/// A wall clock that moved so far against the uptime was set in between.
const SET_MS: u64 = 2_000;

/// A fact, and what people should hear of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Joined {
    pub(super) hold: Hold,
    pub(super) troubles: Vec<(EventKind, String)>,
}

/// The clocks as a record is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now<'a> {
    pub(super) utc: UtcMillis,
    pub(super) uptime: Millis,
    pub(super) boot: &'a str,
}

/// Joins what schedulers say to what this node has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Joiner<'a> {
    pub(super) config: &'a SlurmConfig,
    pub(super) gpus: &'a [Numbered],
}

impl Joiner<'_> {
    /// # Errors
    /// Says why the record cannot be used at all.
    pub(super) fn record(&self, record: &Record, now: Now<'_>) -> Result<Joined, String> {
        let job = JobId::new(&record.job).map_err(|e| e.to_string())?;
        let mut troubles = Vec::new();
        let fact = match record.edge {
            Edge::End => Fact::Ended { job, began: None },
            Edge::Start => {
                let numbers = numbers_of(&record.gpus);
                let numbers = numbers.ok_or_else(|| {
                    format!("SLURM_JOB_GPUS {:?} is no list", short(&record.gpus))
                })?;
                let who = (record.account.as_str(), record.user.as_str());
                let grant = self.grant(&job, who, &numbers, &mut troubles);
                Fact::Began { job, grant }
            }
        };
        let cluster = cluster(&record.cluster);
        let at = moment(record, now);
        Ok(Joined { hold: Hold { fact, witness: Witness::Hook, cluster, at }, troubles })
    }

    /// `None`: there is nothing to tell of it. `is_known`: its grant was told before.
    pub(super) fn polled(&self, job: &Job, at: UtcMillis, is_known: bool) -> Option<Joined> {
        let id = JobId::new(&job.id).ok()?;
        let began = UtcMillis::new(job.began_ms);
        let mut troubles = Vec::new();
        let (fact, at) = match &job.state {
            State::Over { at_ms } => {
                (Fact::Ended { job: id, began: Some(began) }, UtcMillis::new(*at_ms))
            }
            State::Holds(_) | State::Leaves if is_known => {
                (Fact::Seen { job: id, began, grant: None }, at)
            }
            // What it had was never seen.
            State::Leaves => return None,
            State::Holds(numbers) => {
                let who = (job.account.as_str(), job.user.as_str());
                let grant = self.grant(&id, who, numbers, &mut troubles);
                (Fact::Seen { job: id, began, grant: Some(grant) }, at)
            }
            State::Unclear(words) => {
                troubles.push((EventKind::HoldUnresolved, format!("job {id}: {words}")));
                (Fact::Seen { job: id, began, grant: None }, at)
            }
        };
        let cluster = cluster(&job.cluster);
        Some(Joined { hold: Hold { fact, witness: Witness::Poll, cluster, at }, troubles })
    }

    fn grant(
        &self,
        job: &JobId,
        (account, user): (&str, &str),
        numbers: &[u32],
        troubles: &mut Vec<(EventKind, String)>,
    ) -> Grant {
        let project = ProjectId::new(account);
        if let Err(error) = &project {
            let (kind, account) = (EventKind::HoldRefused, short(account));
            let words = format!("job {job}: account {account:?} is no project: {error}");
            troubles.push((kind, words.chars().take(200).collect()));
        }
        let mut devices: Vec<SubjectId> = Vec::new();
        for number in numbers {
            match self.device(*number) {
                Some(gpu) if !devices.contains(gpu) => devices.push(gpu.clone()),
                Some(_) => {}
                None => {
                    let words = format!("job {job}: this node has no GPU of number {number}");
                    troubles.push((EventKind::HoldUnresolved, words));
                }
            }
        }
        devices.sort_unstable();
        let (project, user) = (project.ok(), UserId::new(user).ok());
        Grant { project, user, devices, shares: Vec::new() }
    }

    /// Slurm numbers the lines of gres.conf; which device file that is, the configuration says
    /// where it is not the one of the same number.
    fn device(&self, number: u32) -> Option<&SubjectId> {
        let minors = &self.config.minors;
        if minors.is_empty() {
            return find(self.gpus, self.config.numbers, number);
        }
        let minor = minors.get(usize::try_from(number).ok()?)?;
        find(self.gpus, By::Minor, *minor)
    }
}

/// When a hook was called, by the wall clock as it is now: the clock may have been set since.
fn moment(record: &Record, now: Now<'_>) -> UtcMillis {
    let told = UtcMillis::new(record.at_ms);
    let Some(ago) = now.uptime.get().checked_sub(record.uptime_ms) else { return told };
    if record.boot != now.boot || now.boot.is_empty() {
        return told;
    }
    let ago = i64::try_from(ago).unwrap_or(i64::MAX);
    let by_uptime = now.utc.get().saturating_sub(ago);
    let is_set = by_uptime.abs_diff(record.at_ms) > SET_MS;
    if is_set { UtcMillis::new(by_uptime) } else { told }
}

/// A scheduler without a usable name for itself is called after what it is.
pub(super) fn cluster(name: &str) -> ClusterId {
    ClusterId::new(name)
        .unwrap_or_else(|_| ClusterId::new("slurm").expect("a name of plain letters"))
}

fn short(text: &str) -> String {
    text.chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gpu(name: &str) -> SubjectId {
        SubjectId::new(name).expect("a name")
    }

    /// Three GPUs, the driver found them backwards.
    fn gpus() -> Vec<Numbered> {
        let names = [("GPU-a", 0, 2), ("GPU-b", 1, 1), ("GPU-c", 2, 0)];
        let one = |(name, index, minor)| {
            let (gpu, minor) = (gpu(name), Some(minor));
            Numbered { index, minor, gpu, mig: None }
        };
        names.map(one).to_vec()
    }

    fn record(gpus: &str, account: &str) -> Record {
        Record {
            version: 1,
            edge: Edge::Start,
            at_ms: 1_795_771_417_231,
            uptime_ms: 5_000,
            boot: "b".to_owned(),
            cluster: "hubtest".to_owned(),
            job: "7".to_owned(),
            restart: "1".to_owned(),
            array: String::new(),
            account: account.to_owned(),
            user: "aisha@hub".to_owned(),
            gpus: gpus.to_owned(),
        }
    }

    const NOW: Now<'_> =
        Now { utc: UtcMillis::new(1_795_771_420_231), uptime: Millis::new(8_000), boot: "b" };

    fn devices(config: &SlurmConfig, numbers: &str) -> Vec<String> {
        let gpus = gpus();
        let joiner = Joiner { config, gpus: &gpus };
        let joined = joiner.record(&record(numbers, "p"), NOW).expect("usable");
        let grant = joined.hold.grant().expect("a start");
        grant.devices.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn numbers_are_of_device_files_unless_the_configuration_says_otherwise() {
        let config = |numbers, minors: &[u32]| SlurmConfig {
            numbers,
            minors: minors.to_vec(),
            ..SlurmConfig::default()
        };
        assert_eq!(devices(&config(By::Minor, &[]), "0"), ["GPU-c"]);
        assert_eq!(devices(&config(By::Index, &[]), "0"), ["GPU-a"]);
        assert_eq!(devices(&config(By::Minor, &[1, 0]), "0,1"), ["GPU-b", "GPU-c"]);
        assert_eq!(devices(&config(By::Minor, &[1, 0]), "2"), Vec::<String>::new());
    }

    #[test]
    fn what_cannot_be_joined_is_told_and_the_rest_is_joined() {
        let (config, gpus) = (SlurmConfig::default(), gpus());
        let joiner = Joiner { config: &config, gpus: &gpus };
        let joined = joiner.record(&record("1,5", "=cmd|' /C calc'!A0"), NOW).expect("usable");
        let grant = joined.hold.grant().expect("a start");
        assert_eq!((grant.devices.as_slice(), &grant.project), (&[gpu("GPU-b")][..], &None));
        assert_eq!(grant.user, None, "a name with @ is left out");
        let kinds: Vec<EventKind> = joined.troubles.iter().map(|(kind, _)| *kind).collect();
        assert_eq!(kinds, [EventKind::HoldRefused, EventKind::HoldUnresolved]);
        assert!(joiner.record(&record("one", "p"), NOW).is_err());
        assert!(joiner.record(&Record { job: "7;8".to_owned(), ..record("1", "p") }, NOW).is_err());
    }

    #[test]
    fn a_clock_that_was_set_after_the_hook_dates_nothing_wrong() {
        let told = record("0", "p");
        assert_eq!(moment(&told, NOW).get(), told.at_ms);
        let in_1970 = Record { at_ms: 4_000, ..told.clone() };
        assert_eq!(moment(&in_1970, NOW).get(), NOW.utc.get() - 3_000);
        let of_another_boot = Record { boot: "a".to_owned(), ..in_1970 };
        assert_eq!(moment(&of_another_boot, NOW).get(), 4_000);
    }

    #[test]
    fn a_job_is_told_with_its_gpus_once_and_then_by_name() {
        let (config, gpus) = (SlurmConfig::default(), gpus());
        let joiner = Joiner { config: &config, gpus: &gpus };
        let job = Job {
            cluster: String::new(),
            id: "7".to_owned(),
            account: "p".to_owned(),
            user: "aisha".to_owned(),
            began_ms: 1_000,
            state: State::Holds(vec![0]),
        };
        let at = UtcMillis::new(31_000);
        let first = joiner.polled(&job, at, false).expect("a fact").hold;
        assert_eq!(first.grant().map(|grant| grant.devices.len()), Some(1));
        assert_eq!((first.cluster.as_str(), first.at), ("slurm", at));
        assert_eq!(joiner.polled(&job, at, true).expect("a fact").hold.grant(), None);
        let over = Job { state: State::Over { at_ms: 9_000 }, ..job };
        let over = joiner.polled(&over, at, true).expect("a fact").hold;
        assert_eq!((over.at.get(), over.began()), (9_000, Some(UtcMillis::new(1_000))));
    }
}
