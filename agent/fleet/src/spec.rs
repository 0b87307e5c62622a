//! What a simulated hub is made of, and which specifications are refused.

use bijli_wire::id::IdError;
use bijli_wire::limits::TEXT_BYTES_MAX;
use bijli_wire::{HubId, Millis, ProjectId, UtcMillis};

/// Most nodes of one hub; the programme has about 3,000 in all.
pub(crate) const NODES_MAX: u32 = 9_999;
pub(crate) const GPUS_PER_NODE_MAX: u32 = 16;
/// A gateway's schema has room for 256 subjects, six of which are not PDUs.
pub(crate) const PDUS_MAX: u32 = 200;
pub(crate) const PROJECTS_MAX: usize = 99;

/// One simulated hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetSpec {
    /// Begins with `sim-`, so that nobody takes its numbers for true.
    pub hub: HubId,
    /// For people; ends with `(simulated)`.
    pub title: String,
    pub nodes: u32,
    pub gpus_per_node: u32,
    pub pdus: u32,
    pub seed: u64,
    /// A whole second.
    pub start: UtcMillis,
    /// From one load shedding to the next, on average; at least a minute. `None`: never.
    pub shedding_every: Option<Millis>,
    /// How long the generator carries the hub, on average; at least 10 s.
    pub shedding_for: Millis,
    pub projects: Vec<ProjectId>,
    /// A truth is kept at every multiple of this, UTC; whole seconds.
    pub truth_every: Millis,
}

/// Why a hub cannot be simulated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    #[error("hub {hub} does not begin with \"sim-\": what is simulated must say so")]
    HubName { hub: HubId },
    #[error(
        "title {title:?} must end with \"(simulated)\", have at most {TEXT_BYTES_MAX} bytes, and \
         no quote, backslash or control character"
    )]
    Title { title: String },
    #[error("{count} {what}, where {min} to {max} are possible")]
    Count { what: &'static str, count: u64, min: u64, max: u64 },
    #[error("{what} is {ms} ms, not a whole number of seconds above zero")]
    NotWholeSeconds { what: &'static str, ms: i64 },
    #[error("{what} is {ms} ms, the shortest possible is {min} ms")]
    TooShort { what: &'static str, ms: u64, min: u64 },
    #[error("project {project} is listed twice")]
    ProjectTwice { project: ProjectId },
    #[error("a name made from hub {hub} is refused: {source}")]
    Name { hub: HubId, source: IdError },
    #[error("the schema of {node} is refused: {source}")]
    Schema { node: String, source: bijli_wire::BatchError },
}

impl FleetSpec {
    /// The hub of the demo: 16 nodes of 8 GPUs in Lahore, shed every six minutes.
    #[must_use]
    pub fn demo(start: UtcMillis) -> Self {
        let project = |name| ProjectId::new(name).expect("letters and dashes make a good name");
        Self {
            hub: HubId::new("sim-lahore").expect("letters and dashes make a good name"),
            title: "Lahore (simulated)".to_owned(),
            nodes: 16,
            gpus_per_node: 8,
            pdus: 4,
            seed: 0xb171,
            start,
            shedding_every: Some(Millis::new(360_000)),
            shedding_for: Millis::new(120_000),
            projects: ["urdu-llm", "flood-forecast", "crop-vision", "tb-screening"]
                .map(project)
                .to_vec(),
            truth_every: Millis::new(900_000),
        }
    }

    /// Refuses what cannot be simulated.
    ///
    /// # Errors
    /// Says which rule the specification breaks.
    pub fn check(&self) -> Result<(), SpecError> {
        if !self.hub.as_str().starts_with("sim-") {
            return Err(SpecError::HubName { hub: self.hub.clone() });
        }
        let spoils = |c: char| c == '"' || c == '\\' || c.is_control();
        let fits = self.title.len() <= TEXT_BYTES_MAX && self.title.ends_with("(simulated)");
        if !fits || self.title.contains(spoils) {
            return Err(SpecError::Title { title: self.title.clone() });
        }
        self.check_counts()?;
        self.check_times()?;
        let mut seen = std::collections::BTreeSet::new();
        match self.projects.iter().find(|project| !seen.insert(*project)) {
            Some(project) => Err(SpecError::ProjectTwice { project: project.clone() }),
            None => Ok(()),
        }
    }

    fn check_counts(&self) -> Result<(), SpecError> {
        let projects = u64::try_from(self.projects.len()).unwrap_or(u64::MAX);
        let projects_max = u64::try_from(PROJECTS_MAX).unwrap_or(u64::MAX);
        let pdus_max = u64::from(PDUS_MAX.min(self.nodes));
        for (what, count, min, max) in [
            ("nodes", u64::from(self.nodes), 1, u64::from(NODES_MAX)),
            ("GPUs per node", u64::from(self.gpus_per_node), 0, u64::from(GPUS_PER_NODE_MAX)),
            ("PDUs", u64::from(self.pdus), 1, pdus_max),
            ("projects", projects, 1, projects_max),
        ] {
            if !(min..=max).contains(&count) {
                return Err(SpecError::Count { what, count, min, max });
            }
        }
        Ok(())
    }

    fn check_times(&self) -> Result<(), SpecError> {
        let truth_every = i64::try_from(self.truth_every.get()).unwrap_or(i64::MAX);
        for (what, ms) in [("the start", self.start.get()), ("truth_every", truth_every)] {
            if ms <= 0 || ms % 1_000 != 0 {
                return Err(SpecError::NotWholeSeconds { what, ms });
            }
        }
        let every = self.shedding_every.map_or(u64::MAX, Millis::get);
        for (what, ms, min) in
            [("shedding_every", every, 60_000), ("shedding_for", self.shedding_for.get(), 10_000)]
        {
            if ms < min {
                return Err(SpecError::TooShort { what, ms, min });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: impl FnOnce(&mut FleetSpec)) -> SpecError {
        let mut spec = FleetSpec::demo(UtcMillis::new(1_800_000_000_000));
        assert_eq!(spec.check(), Ok(()));
        change(&mut spec);
        spec.check().expect_err("the change breaks a rule")
    }

    #[test]
    fn what_does_not_say_that_it_is_simulated_is_refused() {
        let hub = HubId::new("lahore").expect("a good name");
        assert!(matches!(refused(|spec| spec.hub = hub), SpecError::HubName { .. }));
        let titled = refused(|spec| spec.title = "Lahore".to_owned());
        assert!(matches!(titled, SpecError::Title { .. }));
        let escapes = refused(|spec| spec.title = "a\"\n(simulated)".to_owned());
        assert!(matches!(escapes, SpecError::Title { .. }));
    }

    #[test]
    fn counts_and_times_are_bounded() {
        assert!(matches!(refused(|spec| spec.nodes = 0), SpecError::Count { what: "nodes", .. }));
        assert!(matches!(refused(|spec| spec.pdus = 17), SpecError::Count { what: "PDUs", .. }));
        let odd = refused(|spec| spec.start = UtcMillis::new(1_800_000_000_001));
        assert!(matches!(odd, SpecError::NotWholeSeconds { what: "the start", .. }));
        let fast = refused(|spec| spec.shedding_every = Some(Millis::new(59_999)));
        assert!(matches!(fast, SpecError::TooShort { what: "shedding_every", .. }));
        let twice = refused(|spec| spec.projects.push(spec.projects[0].clone()));
        assert!(matches!(twice, SpecError::ProjectTwice { .. }));
    }
}
