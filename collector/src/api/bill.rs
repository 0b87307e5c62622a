//! Bills as the API asks the index for them: of one hub or several, as of a moment.

use std::collections::BTreeMap;
use std::sync::Arc;

use bijli_ledger::{Account, Allocation, Holds, Offset};
use bijli_wire::{ErrorCode, HubId, NodeId, ProjectId, SubjectId, SubjectKind, UtcMillis};

use super::asked::{Asked, closed};
use super::fleet;
use super::past::{Past, as_of};
use super::query::{Parameters, Period};
use crate::as_of::AsOf;
use crate::index::Posted;
use crate::projects::bill::{Ask, Bill, By, Key, Used};
use crate::projects::jobs::{Held, JobUse, Places};
use crate::refusal::Refusal;
use crate::state::{Hub, State};

/// Which hubs, which time, as of when, and whose.
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) hubs: Vec<Arc<Hub>>,
    pub(crate) period: Period,
    pub(crate) as_of: AsOf,
    pub(crate) ask: Ask,
}

/// How entries are grouped that sums are not kept of.
#[derive(Clone, Debug)]
pub(crate) enum Grouped {
    Node,
    Model(Arc<BTreeMap<SubjectId, String>>),
}

impl Question {
    /// `hub`, `project`, `from`, `to` and `as_of`.
    pub(crate) fn of(asked: &Asked, parameters: &Parameters) -> Result<Self, Refusal> {
        super::ready(&asked.state)?;
        let state = &asked.state;
        let hubs = hubs(state, parameters.text("hub"))?;
        let only = parameters.text("project").map(ProjectId::new).transpose();
        let only = only.map_err(|error| refuse(error.to_string()))?;
        let as_of = as_of(state, parameters.text("as_of"))?;
        let period = parameters.period(&state.rules, together(&hubs), state.clock.now())?;
        Self::new(state, hubs, period, (as_of, only))
    }

    pub(crate) fn new(
        state: &State,
        hubs: Vec<Arc<Hub>>,
        period: Period,
        (as_of, only): (AsOf, Option<ProjectId>),
    ) -> Result<Self, Refusal> {
        let projects = state.registry().as_of(as_of.changes);
        let projects = projects.map_err(|error| refuse(error.to_string()))?;
        let offset = offset(&hubs);
        Ok(Self { hubs, period, as_of, ask: Ask { projects, only, offset } })
    }

    /// Rows from the sums of postings.
    pub(crate) fn bill(&self, state: &State, by: By) -> Result<BTreeMap<Key, Used>, Refusal> {
        let mut all: BTreeMap<Key, Used> = BTreeMap::new();
        for hub in &self.hubs {
            let (past, ask) = (self.past(state, &hub.id)?, self.ask.clone());
            let rows = past.read(move |store, scope| Bill::read(store, scope, &ask, by))?;
            for (key, used) in rows {
                all.entry(key).or_default().add_all(&used);
            }
        }
        Ok(all)
    }

    /// Rows from the entries themselves.
    pub(crate) fn grouped(
        &self,
        state: &State,
        by: &Grouped,
    ) -> Result<BTreeMap<Key, Used>, Refusal> {
        let mut all: BTreeMap<Key, Used> = BTreeMap::new();
        for hub in &self.hubs {
            let by = by.clone();
            let add = move |rows: &mut BTreeMap<Key, Used>, posted: &Posted<'_>| {
                let row = rows.entry(by.key(posted)).or_default();
                row.add(posted.user, posted.class, posted.amount);
            };
            let rows = self.entries(state, &hub.id, add)?;
            for (key, used) in rows {
                all.entry(key).or_default().add_all(&used);
            }
        }
        all.retain(|_, used| !used.is_nothing());
        Ok(all)
    }

    /// What each job used. Jobs of two hubs are two, whatever their names.
    pub(crate) fn jobs(
        &self,
        state: &State,
    ) -> Result<Vec<(HubId, Option<String>, JobUse)>, Refusal> {
        let interval_ms = i64::try_from(state.rules.interval.get()).unwrap_or(i64::MAX);
        let mut all = Vec::new();
        for hub in &self.hubs {
            let add = |places: &mut Places, posted: &Posted<'_>| places.add(posted);
            let places = self.entries(state, &hub.id, add)?;
            let (held, until) = self.held(hub);
            let to = until.map_or(self.period.to, |until| until.min(self.period.to));
            let jobs = places.by_job(&held, (self.period.from, to), interval_ms);
            all.extend(jobs.into_iter().map(|(job, used)| (hub.id.clone(), job, used)));
        }
        Ok(all)
    }

    /// What a hub's books know of who held what for whom is asked, and where they are closed.
    fn held(&self, hub: &Hub) -> (Vec<Held>, Option<UtcMillis>) {
        let books = hub.books();
        let mut devices: BTreeMap<&NodeId, Vec<SubjectId>> = BTreeMap::new();
        let mut nodes: BTreeMap<&SubjectId, &NodeId> = BTreeMap::new();
        for subject in books.subjects().filter(|subject| subject.kind == SubjectKind::Gpu) {
            devices.entry(subject.node).or_default().push(subject.id.clone());
            nodes.insert(subject.id, subject.node);
        }
        let is_wanted = |account: &ProjectId| {
            let user = Account::Project(account.clone(), bijli_ledger::Share::Host);
            self.ask.wants(&user)
        };
        let mut held = Vec::new();
        let put = books.allocations().cloned().map(|one| (one.id.clone(), one));
        let witnessed = books.witnessed().map(|one| (job_of(&one), one));
        for (job, allocation) in put.chain(witnessed) {
            let Allocation { project: account, holds, from, to, .. } = allocation;
            if !is_wanted(&account) {
                continue;
            }
            let mut by_node: BTreeMap<Option<NodeId>, Vec<SubjectId>> = BTreeMap::new();
            match holds {
                Holds::Node(node) => {
                    let all = devices.get(&node).cloned().unwrap_or_default();
                    by_node.insert(Some(node), all);
                }
                Holds::Devices(list) => {
                    for device in list {
                        let node = nodes.get(&device).map(|node| (*node).clone());
                        by_node.entry(node).or_default().push(device);
                    }
                }
            }
            held.extend(by_node.into_iter().map(|(node, devices)| {
                let (job, account) = (job.clone(), account.clone());
                Held { job, account, node, devices, from, to }
            }));
        }
        (held, books.closed_until())
    }

    /// Folds every entry of a hub that is asked for.
    fn entries<T: Default + Send + 'static>(
        &self,
        state: &State,
        hub: &HubId,
        fold: impl Fn(&mut T, &Posted<'_>) + Send + 'static,
    ) -> Result<T, Refusal> {
        let (past, ask) = (self.past(state, hub)?, self.ask.clone());
        past.read(move |store, scope| {
            let mut folded = T::default();
            let mut add = |posted: Posted<'_>| {
                if ask.takes(&ask.whose(posted.user, posted.interval)) {
                    fold(&mut folded, &posted);
                }
            };
            store.posted(scope, &|user| ask.wants(user), &mut add)?;
            Ok(folded)
        })
    }

    fn past(&self, state: &State, hub: &HubId) -> Result<Past, Refusal> {
        Past::at(state, hub, self.period, self.as_of.leaves)
    }

    /// Models of GPUs, as nodes declared them lately.
    pub(crate) fn models(&self, now: UtcMillis) -> BTreeMap<SubjectId, String> {
        let nodes = self.hubs.iter().flat_map(|hub| fleet::nodes(hub, now));
        let subjects = nodes.flat_map(|node| node.subjects);
        subjects.map(|subject| (subject.id, subject.model)).collect()
    }
}

impl Grouped {
    fn key(&self, posted: &Posted<'_>) -> Key {
        match self {
            Self::Node => Key::Node(posted.owner.strip_prefix("node ").map(str::to_owned)),
            Self::Model(models) => {
                let Account::Gpu(gpu) = posted.giver else { return Key::Host };
                Key::Model(models.get(gpu).filter(|model| !model.is_empty()).cloned())
            }
        }
    }
}

/// A witnessed job as its scheduler names it: `cluster/job`. Its allocation is named
/// `cluster/job/node/begin`, and told by `cluster on node`.
fn job_of(allocation: &Allocation) -> String {
    let node = allocation.who.split_once(" on ").map_or("", |(_, node)| node);
    let end = format!("/{node}/{}", allocation.from.get());
    allocation.id.strip_suffix(&end).unwrap_or(&allocation.id).to_owned()
}

/// The hub of that name, or all of them.
pub(crate) fn hubs(state: &State, name: Option<&str>) -> Result<Vec<Arc<Hub>>, Refusal> {
    let Some(name) = name else { return Ok(state.hubs()) };
    let known = HubId::new(name).ok().and_then(|id| state.hub(&id));
    known.map(|hub| vec![hub]).ok_or_else(|| {
        let name: String = name.chars().take(96).collect();
        let words = format!("there is no hub {name:?}; /v1/hubs lists them");
        Refusal::new(ErrorCode::UnknownHub, words)
    })
}

/// From the first interval that any hub closed to the last.
fn together(hubs: &[Arc<Hub>]) -> Option<Period> {
    let periods: Vec<Period> = hubs.iter().filter_map(|hub| closed(&hub.books())).collect();
    let from = periods.iter().map(|period| period.from).min()?;
    Some(Period { from, to: periods.iter().map(|period| period.to).max()? })
}

/// Where the hubs' days begin, if they agree; else UTC.
fn offset(hubs: &[Arc<Hub>]) -> Offset {
    let of = |hub: &Arc<Hub>| {
        let declared = hub.view().plan.utc_offset.clone();
        declared.and_then(|text| text.parse().ok()).unwrap_or(Offset::UTC)
    };
    let mut offsets = hubs.iter().map(of);
    let Some(first) = offsets.next() else { return Offset::UTC };
    if offsets.all(|offset| offset == first) { first } else { Offset::UTC }
}

fn refuse(words: String) -> Refusal {
    Refusal::new(ErrorCode::InvalidRequest, words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_witnessed_job_is_named_as_its_scheduler_names_it() {
        let mut allocation = Allocation {
            id: "isb/cluster/47/11/isb/n01/1785542400000".into(),
            project: ProjectId::new("fire").expect("a name"),
            holds: Holds::Devices(Vec::new()),
            from: UtcMillis::new(1_785_542_400_000),
            to: None,
            who: "isb/cluster on isb/n01".into(),
            why: String::new(),
        };
        assert_eq!(job_of(&allocation), "isb/cluster/47/11");
        allocation.who = "another form".into();
        assert_eq!(job_of(&allocation), allocation.id);
    }
}
