//! Which project holds which GPUs from when to when, and what its jobs ask of them.
//!
//! Jobs come and go by the seed, and about a sixth of the GPUs is left unallocated. In each job
//! some GPUs are held and never used, and all of them idle while it loads. A training job works
//! in bursts of a few seconds with a pause for each checkpoint; an inference job follows its
//! requests; a batch job is steady.

use std::collections::BTreeMap;

use bijli_wire::{ProjectId, SubjectId, UtcMillis};

use crate::gpu::{Demand, Tenure};
use crate::rng::{Rng, noise, spread};

/// Jobs start until at most one GPU in this many is free.
const FREE_ONE_IN: usize = 6;
/// A place that came free is filled half a minute later, on average.
const FILL_S: u64 = 30;
const JOB_S: (u64, u64) = (240, 3_600);
const LOAD_S: (u64, u64) = (8, 45);
const CHECKPOINT_EVERY_S: i64 = 300;
const CHECKPOINT_S: i64 = 6;
/// How far apart the periods of two training jobs may be.
const PERIOD_S: (u64, u64) = (3, 9);

/// One allocation: the scheduler's grant of GPUs to a project's job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    pub id: String,
    pub project: ProjectId,
    /// GPUs by UUID.
    pub holds: Vec<SubjectId>,
    pub from: UtcMillis,
    /// `None` while it runs.
    pub to: Option<UtcMillis>,
}

#[derive(Clone, Copy, Debug)]
enum Trace {
    Training { period_s: i64 },
    Inference,
    Steady { load_ppm: u64 },
}

#[derive(Clone, Debug)]
struct Running {
    job: Job,
    project: usize,
    trace: Trace,
    from_s: i64,
    loaded_s: i64,
    ends_s: i64,
    memory_ppm: u64,
    /// GPU by place in the hub, and whether the job uses it at all.
    gpus: Vec<(usize, bool)>,
}

#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    rng: Rng,
    seed: u64,
    projects: Vec<ProjectId>,
    gpu_ids: Vec<SubjectId>,
    gpus_per_node: usize,
    is_held: Vec<bool>,
    free: usize,
    running: BTreeMap<u64, Running>,
    next_job: u64,
    changed: Vec<Job>,
}

impl Schedule {
    /// `gpu_ids` in the order of the nodes, `gpus_per_node` to each.
    pub(crate) fn new(
        seed: u64,
        projects: Vec<ProjectId>,
        gpu_ids: Vec<SubjectId>,
        gpus_per_node: usize,
    ) -> Self {
        Self {
            rng: Rng::new(seed),
            seed,
            projects,
            is_held: vec![false; gpu_ids.len()],
            free: gpu_ids.len(),
            gpu_ids,
            gpus_per_node,
            running: BTreeMap::new(),
            next_job: 1,
            changed: Vec::new(),
        }
    }

    /// Jobs that started or ended at this moment: ends first, so that GPUs change hands in order.
    pub(crate) fn changed(&self) -> &[Job] {
        &self.changed
    }

    pub(crate) fn running(&self) -> impl Iterator<Item = &Job> {
        self.running.values().map(|running| &running.job)
    }

    /// Starts jobs until the hub is as full as it will be.
    pub(crate) fn fill(&mut self, now: UtcMillis) {
        self.changed.clear();
        while self.wants_more() && self.start(now) {}
    }

    /// Ends and starts what is due at `now`.
    pub(crate) fn advance(&mut self, now: UtcMillis) {
        self.changed.clear();
        let second = now.get() / 1_000;
        let over: Vec<u64> = self
            .running
            .iter()
            .filter(|(_, running)| running.ends_s <= second)
            .map(|(number, _)| *number)
            .collect();
        for number in over {
            let mut over = self.running.remove(&number).expect("it was listed just now");
            for (gpu, _) in &over.gpus {
                *self.is_held.get_mut(*gpu).expect("a job holds GPUs of this hub") = false;
            }
            self.free += over.gpus.len();
            over.job.to = Some(now);
            self.changed.push(over.job);
        }
        // Chances grow with the hub, so that a large one keeps as full as a small one.
        for _ in 0..=self.gpu_ids.len() / 128 {
            if self.wants_more() && self.rng.once_in(FILL_S) && !self.start(now) {
                break;
            }
        }
    }

    /// Writes what each GPU is asked to do in the second that begins at `now`.
    pub(crate) fn demand(&self, now: UtcMillis, demands: &mut Vec<Demand>) {
        demands.clear();
        demands.resize(self.gpu_ids.len(), Demand::default());
        let second = now.get() / 1_000;
        for running in self.running.values() {
            let beat = running.trace.beat(second - running.from_s);
            for (gpu, is_used) in &running.gpus {
                let works = *is_used && second >= running.loaded_s;
                let demand = demands.get_mut(*gpu).expect("a job holds GPUs of this hub");
                *demand = if works {
                    let own = u64::try_from(*gpu).expect("a few thousand GPUs");
                    running.works(beat.unwrap_or_else(|| self.requests(own, second)))
                } else {
                    Demand { tenure: Tenure::HeldIdle(running.project), ..Demand::default() }
                };
            }
        }
    }

    /// Load and utilization of a GPU that serves requests: a level for some seconds, and noise.
    fn requests(&self, gpu: u64, second: i64) -> (u64, u64) {
        let level_ppm = 120_000 + spread(noise(self.seed, gpu, second / 12), 380_000);
        let load_ppm = level_ppm + spread(noise(self.seed, !gpu, second), 90_000);
        (load_ppm, (load_ppm * 3 / 2).min(1_000_000))
    }

    fn wants_more(&self) -> bool {
        self.free > self.gpu_ids.len() / FREE_ONE_IN
    }

    /// Starts one job. `false` when there is no room even for one GPU.
    fn start(&mut self, now: UtcMillis) -> bool {
        let node = self.gpus_per_node;
        let sizes = [1, 2, 4, node, node, node * 2, node * 2, node * 4];
        let fits: Vec<usize> =
            sizes.into_iter().filter(|size| *size <= self.gpu_ids.len().div_ceil(4)).collect();
        let size = self.rng.pick(&fits).copied().unwrap_or(1);
        let Some(gpus) = self.room(size).or_else(|| self.room(1)) else { return false };
        for gpu in &gpus {
            *self.is_held.get_mut(*gpu).expect("room is in this hub") = true;
        }
        self.free -= gpus.len();
        let running = self.compose(gpus, now);
        self.changed.push(running.job.clone());
        self.running.insert(self.next_job, running);
        self.next_job += 1;
        true
    }

    /// Free GPUs for a job: whole nodes for large ones, else the node that it fills best.
    fn room(&self, size: usize) -> Option<Vec<usize>> {
        let node = self.gpus_per_node.max(1);
        let free_of = |(index, held): (usize, &[bool])| -> Vec<usize> {
            let places = held.iter().enumerate().filter(|(_, held)| !**held);
            places.map(|(place, _)| index * node + place).collect()
        };
        let nodes = self.is_held.chunks(node).enumerate().map(free_of);
        if size >= node {
            let whole = nodes.filter(|free| free.len() == node).take(size / node);
            let gpus: Vec<usize> = whole.flatten().collect();
            return (gpus.len() == size / node * node).then_some(gpus);
        }
        let mut best = nodes.filter(|free| free.len() >= size).min_by_key(Vec::len)?;
        best.truncate(size);
        Some(best)
    }

    fn compose(&mut self, gpus: Vec<usize>, now: UtcMillis) -> Running {
        let from_s = now.get() / 1_000;
        let projects: Vec<usize> = (0..self.projects.len()).collect();
        let project = *self.rng.pick(&projects).expect("a hub has projects");
        let trace = match self.rng.between(0, 9) {
            0..=5 => Trace::Training { period_s: self.seconds(PERIOD_S) },
            6..=7 => Trace::Inference,
            _ => Trace::Steady { load_ppm: self.rng.between(450_000, 800_000) },
        };
        let ids = gpus.iter().map(|gpu| self.gpu_ids.get(*gpu).expect("of this hub").clone());
        let job = Job {
            id: format!("sim-job-{:06}", self.next_job),
            project: self.projects.get(project).expect("picked from them").clone(),
            holds: ids.collect(),
            from: now,
            to: None,
        };
        Running {
            job,
            project,
            trace,
            from_s,
            loaded_s: from_s + self.seconds(LOAD_S),
            ends_s: from_s + self.seconds(JOB_S),
            memory_ppm: self.rng.between(300_000, 960_000),
            gpus: gpus.into_iter().map(|gpu| (gpu, !self.rng.once_in(10))).collect(),
        }
    }

    fn seconds(&mut self, (low_s, high_s): (u64, u64)) -> i64 {
        i64::try_from(self.rng.between(low_s, high_s)).expect("at most an hour")
    }
}

impl Trace {
    /// Load and utilization that all GPUs of a job share; `None`: each has its own.
    fn beat(self, age_s: i64) -> Option<(u64, u64)> {
        match self {
            Self::Training { .. }
                if age_s % CHECKPOINT_EVERY_S >= CHECKPOINT_EVERY_S - CHECKPOINT_S =>
            {
                Some((70_000, 30_000))
            }
            Self::Training { period_s } if (age_s % period_s) * 3 < period_s * 2 => {
                Some((940_000, 1_000_000))
            }
            Self::Training { .. } => Some((280_000, 620_000)),
            Self::Inference => None,
            Self::Steady { load_ppm } => Some((load_ppm, 900_000)),
        }
    }
}

impl Running {
    fn works(&self, (load_ppm, utilization_ppm): (u64, u64)) -> Demand {
        let tenure = Tenure::Active(self.project);
        Demand { tenure, load_ppm, utilization_ppm, memory_ppm: self.memory_ppm }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn schedule(gpus: usize) -> Schedule {
        let project = |name| ProjectId::new(name).expect("a good name");
        let id = |index| SubjectId::new(&format!("GPU-SIM-{index}")).expect("a good name");
        let projects = ["urdu-llm", "flood-forecast"].map(project).to_vec();
        Schedule::new(5, projects, (0..gpus).map(id).collect(), 8)
    }

    fn at(second: i64) -> UtcMillis {
        UtcMillis::new(second * 1_000)
    }

    #[test]
    fn no_gpu_is_ever_held_twice_and_every_end_had_a_start() {
        let mut schedule = schedule(128);
        let mut held: BTreeMap<SubjectId, String> = BTreeMap::new();
        let (mut ended, mut least) = (0, usize::MAX);
        schedule.fill(at(0));
        for second in 1..20_000 {
            for job in schedule.changed() {
                for gpu in &job.holds {
                    let before = match job.to {
                        None => held.insert(gpu.clone(), job.id.clone()).is_none(),
                        Some(_) => held.remove(gpu) == Some(job.id.clone()),
                    };
                    assert!(before, "{gpu} changes hands in order");
                }
                ended += usize::from(job.to.is_some());
            }
            least = least.min(held.len());
            let running: BTreeSet<&SubjectId> =
                schedule.running().flat_map(|job| &job.holds).collect();
            assert_eq!(running.len(), held.len());
            schedule.advance(at(second));
        }
        assert!(ended > 20, "{ended} jobs ended");
        assert!(least > 48, "{least} GPUs held at the least");
    }

    #[test]
    fn demands_show_work_and_held_idle_and_unallocated() {
        let mut schedule = schedule(128);
        schedule.fill(at(0));
        let mut demands = Vec::new();
        let (mut active, mut held_idle, mut unallocated) = (0, 0, 0);
        for second in 1..600 {
            schedule.demand(at(second), &mut demands);
            for demand in &demands {
                let works = demand.utilization_ppm > 0;
                match demand.tenure {
                    Tenure::Active(_) => active += usize::from(works),
                    Tenure::HeldIdle(_) => held_idle += usize::from(!works),
                    Tenure::Unallocated => unallocated += usize::from(!works),
                }
            }
            schedule.advance(at(second));
        }
        assert_eq!(active + held_idle + unallocated, 599 * 128, "utilization tells work from idle");
        assert!(active > held_idle && held_idle > 0 && unallocated > 0);
    }

    #[test]
    fn a_hub_without_gpus_has_no_jobs() {
        let mut schedule = schedule(0);
        schedule.fill(at(0));
        schedule.advance(at(1));
        assert_eq!(schedule.running().count(), 0);
    }
}
