//! Which project held which device when: relations with times, never labels on readings.
//!
//! # Invariants
//! - No device is held by two projects at once through two holds of the same kind. A hold of
//!   devices is narrower than a hold of their node and wins, in whatever order they were told.
//! - Putting the same allocation again changes nothing; the same id with other content replaces.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

use bijli_wire::{NodeId, ProjectId, SubjectId, UtcMillis};

use crate::rules::{ALLOCATION_DEVICES_MAX, ALLOCATION_ID_BYTES_MAX, ALLOCATION_TEXT_BYTES_MAX};
use crate::share::{Among, Slot};
use crate::witnessed::Witnessed;

/// What an allocation grants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Holds {
    /// Every GPU of the node, and the node itself.
    Node(NodeId),
    Devices(Vec<SubjectId>),
}

/// The scheduler's grant of devices to a project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allocation {
    /// The scheduler's name for it, 1 to 96 bytes without control characters.
    pub id: String,
    pub project: ProjectId,
    pub holds: Holds,
    pub from: UtcMillis,
    /// Exclusive; `None`: it still runs.
    pub to: Option<UtcMillis>,
    /// Who told it: a scheduler, a person.
    pub who: String,
    pub why: String,
}

/// What putting a fact with an id led to. Append only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum PutVerdict {
    New,
    /// The same, told again.
    Unchanged,
    /// The same id with other content: the old one is forgotten.
    Replaced,
}

/// What ending an allocation led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum EndVerdict {
    Ended,
    Unchanged,
    /// It had another end before.
    Moved,
}

/// Why an allocation was refused. Nothing changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AllocationError {
    #[error("an allocation's id has {bytes} bytes; it needs 1 to {ALLOCATION_ID_BYTES_MAX}")]
    IdLength { bytes: usize },
    #[error("an allocation's {what} has a control character")]
    Control { what: &'static str },
    #[error("an allocation's {what} has {bytes} bytes, the limit is {ALLOCATION_TEXT_BYTES_MAX}")]
    TextLength { what: &'static str, bytes: usize },
    #[error("allocation {id:?} ends at {to}, not after its start at {from}")]
    Backwards { id: String, from: UtcMillis, to: UtcMillis },
    #[error("allocation {id:?} names {count} devices; it needs 1 to {ALLOCATION_DEVICES_MAX}")]
    Devices { id: String, count: usize },
    #[error("{target} is held by project {project} through allocation {other:?} at that time")]
    Overlap { target: String, other: String, project: ProjectId },
    #[error("there is no allocation {id:?}")]
    Unknown { id: String },
}

impl Allocation {
    fn check(&self) -> Result<(), AllocationError> {
        let bytes = self.id.len();
        if bytes == 0 || bytes > ALLOCATION_ID_BYTES_MAX {
            return Err(AllocationError::IdLength { bytes });
        }
        for (what, text) in [("id", &self.id), ("who", &self.who), ("why", &self.why)] {
            if text.chars().any(char::is_control) {
                return Err(AllocationError::Control { what });
            }
            if text.len() > ALLOCATION_TEXT_BYTES_MAX {
                return Err(AllocationError::TextLength { what, bytes: text.len() });
            }
        }
        check_order(&self.id, self.from, self.to)?;
        match &self.holds {
            Holds::Node(_) => Ok(()),
            Holds::Devices(devices) if (1..=ALLOCATION_DEVICES_MAX).contains(&devices.len()) => {
                Ok(())
            }
            Holds::Devices(devices) => {
                Err(AllocationError::Devices { id: self.id.clone(), count: devices.len() })
            }
        }
    }

    fn targets(&self) -> Vec<Target> {
        match &self.holds {
            Holds::Node(node) => vec![Target::Node(node.clone())],
            Holds::Devices(devices) => devices.iter().cloned().map(Target::Device).collect(),
        }
    }
}

fn check_order(id: &str, from: UtcMillis, to: Option<UtcMillis>) -> Result<(), AllocationError> {
    match to {
        Some(to) if to <= from => Err(AllocationError::Backwards { id: id.to_owned(), from, to }),
        Some(_) | None => Ok(()),
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Target {
    Node(NodeId),
    Device(SubjectId),
}

impl Target {
    fn words(&self) -> String {
        match self {
            Self::Node(node) => format!("node {node}"),
            Self::Device(device) => format!("device {device}"),
        }
    }
}

/// The holds of one target.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Line<P = ProjectId> {
    /// By start and allocation; the end is exclusive, `i64::MAX` while it runs.
    holds: BTreeMap<(i64, String), (i64, P)>,
    /// Starts of the holds without an end, which reach any later time.
    running: BTreeSet<(i64, String)>,
    /// No hold with an end was ever longer than this; how far back a search must go.
    longest: i64,
}

impl<P> Default for Line<P> {
    fn default() -> Self {
        Self { holds: BTreeMap::new(), running: BTreeSet::new(), longest: 0 }
    }
}

impl<P: Clone> Line<P> {
    pub(crate) fn insert(&mut self, from: i64, to: i64, id: &str, project: &P) {
        let key = (from, id.to_owned());
        if to == i64::MAX {
            self.running.insert(key.clone());
        } else {
            self.longest = self.longest.max(to.saturating_sub(from));
        }
        self.holds.insert(key, (to, project.clone()));
    }

    pub(crate) fn remove(&mut self, from: i64, id: &str) {
        let key = (from, id.to_owned());
        self.running.remove(&key);
        self.holds.remove(&key);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.holds.is_empty()
    }

    /// Start, id, end and project of every hold that touches `[start, end)`, by start, uncut.
    pub(crate) fn reaching(&self, start: i64, end: i64) -> Vec<(i64, &str, i64, &P)> {
        let back = start.saturating_sub(self.longest);
        let old = self.running.range(..(back, String::new()));
        let old = old.filter_map(|key| self.holds.get_key_value(key));
        let near = self.holds.range((back, String::new())..(end, String::new()));
        // Starts before `end` only: old ones may lie after it when nothing ever ended.
        let all = old.filter(|((from, _), _)| *from < end).chain(near);
        let reaching = all.filter(|(_, (to, _))| *to > start);
        reaching.map(|((from, id), (to, project))| (*from, id.as_str(), *to, project)).collect()
    }

    /// Where the next hold after one begins; `i64::MAX`: there is none.
    pub(crate) fn next_after(&self, from: i64, id: &str) -> i64 {
        let key = (from, id.to_owned());
        let later = (std::ops::Bound::Excluded(key), std::ops::Bound::Unbounded);
        self.holds.range(later).next().map_or(i64::MAX, |((from, _), _)| *from)
    }
}

impl Line {
    /// Every hold that touches `[start, end)`, by start.
    fn within(&self, start: i64, end: i64) -> Vec<(Hold<'_>, &str)> {
        let cut = |(from, id, to, project): (i64, _, i64, _)| {
            (Hold { from: from.max(start), to: to.min(end), project }, id)
        };
        self.reaching(start, end).into_iter().map(cut).collect()
    }
}

/// A project holding a device over a part of an interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hold<'a> {
    pub(crate) from: i64,
    pub(crate) to: i64,
    pub(crate) project: &'a ProjectId,
}

impl<'a> From<Hold<'a>> for Slot<'a> {
    fn from(hold: Hold<'a>) -> Self {
        Self { from: hold.from, to: hold.to, among: Among::whole(hold.project) }
    }
}

/// A stretch of time whose intervals a fact has touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Touched {
    pub(crate) from: i64,
    pub(crate) to: i64,
}

/// All allocations, by id and by what they hold.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Holdings {
    allocations: BTreeMap<String, Allocation>,
    lines: BTreeMap<Target, Line>,
    pub(crate) witnessed: Witnessed,
}

impl Holdings {
    pub(crate) fn allocations(&self) -> impl Iterator<Item = &Allocation> {
        self.allocations.values()
    }

    pub(crate) fn allocation(&self, id: &str) -> Option<&Allocation> {
        self.allocations.get(id)
    }

    /// Puts an allocation; tells what it touches.
    ///
    /// `bound` tells the node of a known device and the known devices of a node.
    pub(crate) fn put(
        &mut self,
        allocation: Allocation,
        bound: &Bound<'_>,
    ) -> Result<(PutVerdict, Vec<Touched>), AllocationError> {
        allocation.check()?;
        if self.allocations.get(&allocation.id) == Some(&allocation) {
            return Ok((PutVerdict::Unchanged, Vec::new()));
        }
        self.check_overlap(&allocation, bound)?;
        let mut touched = vec![span(&allocation)];
        let old = self.remove(&allocation.id);
        touched.extend(old.as_ref().map(span));
        self.insert(allocation);
        let verdict = if old.is_some() { PutVerdict::Replaced } else { PutVerdict::New };
        Ok((verdict, touched))
    }

    pub(crate) fn end(
        &mut self,
        id: &str,
        at: UtcMillis,
        bound: &Bound<'_>,
    ) -> Result<(EndVerdict, Vec<Touched>), AllocationError> {
        let known = || AllocationError::Unknown { id: id.to_owned() };
        let allocation = self.allocations.get(id).ok_or_else(known)?;
        let old = allocation.to;
        if old == Some(at) {
            return Ok((EndVerdict::Unchanged, Vec::new()));
        }
        let changed = Allocation { to: Some(at), ..allocation.clone() };
        let (_, touched) = self.put(changed, bound)?;
        Ok((if old.is_none() { EndVerdict::Ended } else { EndVerdict::Moved }, touched))
    }

    /// Forgets what ended before `horizon`: no interval that it touches can be derived again.
    pub(crate) fn release(&mut self, horizon: i64) {
        let is_over = |a: &&Allocation| a.to.is_some_and(|to| to.get() <= horizon);
        let over: Vec<String> =
            self.allocations.values().filter(is_over).map(|a| a.id.clone()).collect();
        for id in over {
            self.remove(&id);
        }
        self.witnessed.release(horizon);
    }

    fn insert(&mut self, allocation: Allocation) {
        let (from, to) = (allocation.from.get(), end_of(&allocation));
        for target in allocation.targets() {
            let line = self.lines.entry(target).or_default();
            line.insert(from, to, &allocation.id, &allocation.project);
        }
        self.allocations.insert(allocation.id.clone(), allocation);
    }

    fn remove(&mut self, id: &str) -> Option<Allocation> {
        let allocation = self.allocations.remove(id)?;
        for target in allocation.targets() {
            if let Some(line) = self.lines.get_mut(&target) {
                line.remove(allocation.from.get(), id);
                if line.holds.is_empty() {
                    self.lines.remove(&target);
                }
            }
        }
        Some(allocation)
    }

    fn check_overlap(&self, new: &Allocation, bound: &Bound<'_>) -> Result<(), AllocationError> {
        let mut rivals = new.targets();
        match &new.holds {
            Holds::Node(node) => {
                rivals.extend((bound.devices_of)(node).into_iter().map(Target::Device));
            }
            Holds::Devices(devices) => {
                let nodes: BTreeSet<NodeId> =
                    devices.iter().filter_map(|device| (bound.node_of)(device)).collect();
                rivals.extend(nodes.into_iter().map(Target::Node));
            }
        }
        for target in rivals {
            let Some(line) = self.lines.get(&target) else { continue };
            let holds = line.within(new.from.get(), end_of(new));
            let rival =
                holds.into_iter().find(|(hold, id)| *hold.project != new.project && *id != new.id);
            if let Some((hold, id)) = rival {
                let (target, project) = (target.words(), hold.project.clone());
                return Err(AllocationError::Overlap { target, other: id.to_owned(), project });
            }
        }
        Ok(())
    }

    /// Who held a device of a node in `[start, end)`: by time, without overlaps, cut to it.
    pub(crate) fn of_device(
        &self,
        device: &SubjectId,
        node: &NodeId,
        start: i64,
        end: i64,
    ) -> Vec<Slot<'_>> {
        let narrow = self.line_within(&Target::Device(device.clone()), start, end);
        let wide = self.line_within(&Target::Node(node.clone()), start, end);
        // What was put goes before what was witnessed of the same device, and both before a hold
        // of the whole node.
        let witnessed = self.witnessed.of_device(device, node, start, end);
        flatten(&[slots(narrow), witnessed, slots(wide)])
    }

    /// Where holds of a device or of its node begin or end strictly inside `[start, end)`: offsets
    /// from its start, in order. Those that change nothing now count too: they may later.
    pub(crate) fn edges_of_device(
        &self,
        device: &SubjectId,
        node: &NodeId,
        start: i64,
        end: i64,
    ) -> Vec<u32> {
        let narrow = self.line_within(&Target::Device(device.clone()), start, end);
        let wide = self.line_within(&Target::Node(node.clone()), start, end);
        // Holds are cut to the interval, so what lasts through it has its edges at the ends.
        let all = narrow.iter().chain(&wide).flat_map(|hold| [hold.from, hold.to]);
        let all = all.chain(self.witnessed.edges_of_device(device, node, start, end));
        let inside = all.filter(|at| start < *at && *at < end);
        let mut edges: Vec<u32> =
            inside.filter_map(|at| u32::try_from(at.saturating_sub(start)).ok()).collect();
        edges.sort_unstable();
        edges.dedup();
        edges
    }

    /// Who held a node as a whole in `[start, end)`.
    pub(crate) fn of_node(&self, node: &NodeId, start: i64, end: i64) -> Vec<Slot<'_>> {
        flatten(&[slots(self.line_within(&Target::Node(node.clone()), start, end))])
    }

    fn line_within(&self, target: &Target, start: i64, end: i64) -> Vec<Hold<'_>> {
        let holds = self.lines.get(target).map(|line| line.within(start, end));
        holds.unwrap_or_default().into_iter().map(|(hold, _)| hold).collect()
    }
}

/// What the books know of where devices are.
pub(crate) struct Bound<'a> {
    pub(crate) node_of: &'a dyn Fn(&SubjectId) -> Option<NodeId>,
    pub(crate) devices_of: &'a dyn Fn(&NodeId) -> Vec<SubjectId>,
}

fn end_of(allocation: &Allocation) -> i64 {
    allocation.to.map_or(i64::MAX, UtcMillis::get)
}

fn span(allocation: &Allocation) -> Touched {
    Touched { from: allocation.from.get(), to: end_of(allocation) }
}

/// Holds in order of rank become one line of time: at every moment the highest rank counts, and
/// within a rank the one that started first.
fn flatten<'a>(ranks: &[Vec<Slot<'a>>]) -> Vec<Slot<'a>> {
    let all = || ranks.iter().flatten();
    let mut edges: Vec<i64> = all().flat_map(|slot| [slot.from, slot.to]).collect();
    edges.sort_unstable();
    edges.dedup();
    let mut line: Vec<Slot<'a>> = Vec::new();
    for (from, to) in edges.iter().zip(edges.iter().skip(1)) {
        let Some(slot) = all().find(|slot| slot.from <= *from && *to <= slot.to) else { continue };
        match line.last_mut() {
            Some(last) if last.to == *from && last.among == slot.among => last.to = *to,
            Some(_) | None => {
                line.push(Slot { from: *from, to: *to, among: slot.among.clone() });
            }
        }
    }
    line
}

fn slots(holds: Vec<Hold<'_>>) -> Vec<Slot<'_>> {
    holds.into_iter().map(Slot::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allocation(id: &str, project: &str, what: &str, from: i64, to: i64) -> Allocation {
        let holds = match what.strip_prefix("node:") {
            Some(node) => Holds::Node(NodeId::new(node).expect("a name")),
            None => Holds::Devices(vec![SubjectId::new(what).expect("a name")]),
        };
        Allocation {
            id: id.to_owned(),
            project: ProjectId::new(project).expect("a name"),
            holds,
            from: UtcMillis::new(from),
            to: (to != i64::MAX).then(|| UtcMillis::new(to)),
            who: String::new(),
            why: String::new(),
        }
    }

    fn put(holdings: &mut Holdings, allocation: Allocation) -> Result<PutVerdict, String> {
        // Nothing is known of where devices are, as before their node was heard.
        let bound = Bound { node_of: &|_| None, devices_of: &|_| Vec::new() };
        let put = holdings.put(allocation, &bound);
        put.map(|(verdict, _)| verdict).map_err(|refused| refused.to_string())
    }

    fn line(holdings: &Holdings, start: i64, end: i64) -> Vec<(i64, i64, String)> {
        let (device, node) = (SubjectId::new("G0"), NodeId::new("n1"));
        let (device, node) = (device.expect("a name"), node.expect("a name"));
        let holds = holdings.of_device(&device, &node, start, end);
        holds.iter().map(|slot| (slot.from, slot.to, slot.among.to_string())).collect()
    }

    #[test]
    fn a_hold_of_a_device_wins_over_a_hold_of_its_node() {
        let mut holdings = Holdings::default();
        assert_eq!(
            put(&mut holdings, allocation("J1", "fire", "node:n1", 0, i64::MAX)),
            Ok(PutVerdict::New)
        );
        assert_eq!(
            put(&mut holdings, allocation("J2", "water", "G0", 100, 200)),
            Ok(PutVerdict::New)
        );
        let parts = [(50, 100, "fire"), (100, 200, "water"), (200, 300, "fire")];
        assert_eq!(line(&holdings, 50, 300), parts.map(|(f, t, p)| (f, t, p.to_owned())));
    }

    #[test]
    fn overlaps_of_another_project_are_refused_and_its_own_are_one() {
        let mut holdings = Holdings::default();
        assert_eq!(put(&mut holdings, allocation("J1", "fire", "G0", 0, 100)), Ok(PutVerdict::New));
        let refused = put(&mut holdings, allocation("J2", "water", "G0", 99, 150));
        let words = "device G0 is held by project fire through allocation \"J1\" at that time";
        assert_eq!(refused, Err(words.to_owned()));
        assert_eq!(
            put(&mut holdings, allocation("J3", "fire", "G0", 50, 150)),
            Ok(PutVerdict::New)
        );
        assert_eq!(line(&holdings, 0, 200), [(0, 150, "fire".to_owned())]);
        assert_eq!(
            put(&mut holdings, allocation("J4", "water", "G0", 150, 200)),
            Ok(PutVerdict::New)
        );
    }

    #[test]
    fn the_same_id_replaces_and_the_same_content_changes_nothing() {
        let mut holdings = Holdings::default();
        let first = allocation("J1", "fire", "G0", 0, i64::MAX);
        assert_eq!(put(&mut holdings, first.clone()), Ok(PutVerdict::New));
        assert_eq!(put(&mut holdings, first), Ok(PutVerdict::Unchanged));
        let moved = allocation("J1", "water", "G0", 50, 90);
        assert_eq!(put(&mut holdings, moved), Ok(PutVerdict::Replaced));
        assert_eq!(line(&holdings, 0, 100), [(50, 90, "water".to_owned())]);
    }

    #[test]
    fn long_and_running_holds_are_found_from_far_away() {
        let mut holdings = Holdings::default();
        assert_eq!(
            put(&mut holdings, allocation("J1", "fire", "G0", 0, 1_000_000)),
            Ok(PutVerdict::New)
        );
        assert_eq!(put(&mut holdings, allocation("J2", "fire", "G0", 10, 20)), Ok(PutVerdict::New));
        assert_eq!(
            put(&mut holdings, allocation("J3", "fire", "G0", 2_000_000, i64::MAX)),
            Ok(PutVerdict::New)
        );
        assert_eq!(line(&holdings, 999_000, 999_010).len(), 1);
        assert_eq!(line(&holdings, 1_500_000, 1_500_010), []);
        assert_eq!(line(&holdings, 9_000_000, 9_000_010).len(), 1);
    }

    #[test]
    fn nonsense_is_refused_in_words() {
        let mut holdings = Holdings::default();
        let backwards = allocation("J1", "fire", "G0", 10, 10);
        let refused = put(&mut holdings, backwards).expect_err("no time at all");
        assert!(refused.contains("not after its start"), "{refused}");
        assert!(put(&mut holdings, allocation("", "fire", "G0", 0, 1)).is_err());
        assert!(put(&mut holdings, allocation("a\nb", "fire", "G0", 0, 1)).is_err());
        let empty = Allocation { holds: Holds::Devices(vec![]), ..allocation("J", "p", "G", 0, 1) };
        assert!(put(&mut holdings, empty).is_err());
    }
}
