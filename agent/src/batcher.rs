//! Gathers rows and events, and makes of them the batches that the spool numbers.
//!
//! Pure: it is handed descriptions, samples and the time. Which column a value belongs to follows
//! from the descriptions alone; a changed set of descriptions is a new schema.
//!
//! # Invariants
//! - A row has the values that were answered in time for its tick, and `None` for all others. No
//!   value of one tick ever stands in the row of another.
//! - Rows of one group have different, rising times. A recorded trace has groups to itself.
//! - Without a tick there is no row: what was not read is absent, never filled in.

use std::collections::BTreeMap;
use std::sync::Arc;

use bijli_wire::batch::{Event, Group, Series, Subject};
use bijli_wire::message::EventKind;
use bijli_wire::{BatchError, Hold, HubId, Matrix, NodeId, Schema, SubjectId, UtcMillis, limits};

use crate::draft::{Draft, EncodedSchema};
use crate::probe::{Cadence, Description, Sample};

/// Number of a probe, from 0 in the order in which they were started.
pub type ProbeIndex = usize;

/// Whose readings these are.
#[derive(Clone, Debug)]
pub struct Origin {
    pub hub: HubId,
    pub node: NodeId,
    /// Program and version.
    pub agent: String,
}

/// Rows since the last batch.
#[derive(Debug)]
pub struct Batcher {
    origin: Origin,
    descriptions: BTreeMap<ProbeIndex, Description>,
    layout: Option<Layout>,
    /// By group: the rows by time.
    rows: BTreeMap<usize, BTreeMap<UtcMillis, Row>>,
    events: Vec<(Option<SubjectId>, Event)>,
    holds: Vec<Hold>,
}

type Row = Vec<Option<i64>>;

/// Where each probe's values go.
#[derive(Debug)]
struct Layout {
    schema: Arc<EncodedSchema>,
    /// In the schema's order.
    subjects: Vec<SubjectId>,
    /// Series of each group.
    widths: Vec<usize>,
    /// Group and columns of a probe's samples of one cadence.
    columns: BTreeMap<(ProbeIndex, Cadence), Columns>,
}

#[derive(Clone, Debug)]
struct Columns {
    group: usize,
    /// Of each value of a sample, in its order.
    places: Vec<usize>,
}

impl Batcher {
    #[must_use]
    pub const fn new(origin: Origin) -> Self {
        Self {
            origin,
            descriptions: BTreeMap::new(),
            layout: None,
            rows: BTreeMap::new(),
            events: Vec::new(),
            holds: Vec::new(),
        }
    }

    /// Takes a probe's description. If columns change, what was gathered under the old ones comes
    /// back as a batch of its own.
    pub fn describe(
        &mut self,
        probe: ProbeIndex,
        description: Description,
        now: UtcMillis,
    ) -> Result<Option<Draft>, BatchError> {
        if self.descriptions.get(&probe) == Some(&description) {
            return Ok(None);
        }
        let before = self.take(now);
        let replaced = self.descriptions.insert(probe, description);
        match self.lay_out() {
            Ok(layout) => self.layout = Some(layout),
            Err(e) => {
                // The others keep their columns; this probe stays out.
                match replaced {
                    Some(old) => self.descriptions.insert(probe, old),
                    None => self.descriptions.remove(&probe),
                };
                self.layout = self.lay_out().ok();
                return Err(e);
            }
        }
        Ok(before)
    }

    /// Begins the rows of a tick, so that a probe that does not answer leaves `None`.
    pub fn begin(&mut self, tick: UtcMillis) {
        let Some(layout) = &self.layout else { return };
        for ((_, cadence), columns) in &layout.columns {
            let is_recorded = matches!(cadence, Cadence::Recorded(_));
            if !is_recorded && tick.floor_to(cadence.period()) == tick {
                let width = layout.widths.get(columns.group).copied().unwrap_or(0);
                let rows = self.rows.entry(columns.group).or_default();
                rows.entry(tick).or_insert_with(|| vec![None; width]);
            }
        }
    }

    /// Takes what a probe answered for a tick.
    pub fn sample(&mut self, probe: ProbeIndex, tick: UtcMillis, sample: &Sample) {
        let Some(layout) = &self.layout else { return };
        let Some(columns) = layout.columns.get(&(probe, sample.cadence)) else { return };
        if sample.values.len() != columns.places.len() {
            return;
        }
        let width = layout.widths.get(columns.group).copied().unwrap_or(0);
        let rows = self.rows.entry(columns.group).or_default();
        let row = rows.entry(sample.at.unwrap_or(tick)).or_insert_with(|| vec![None; width]);
        for (place, value) in columns.places.iter().zip(&sample.values) {
            if let Some(cell) = row.get_mut(*place) {
                *cell = *value;
            }
        }
    }

    pub fn event(&mut self, at: UtcMillis, kind: EventKind, text: String) {
        self.event_of(None, Event::plain(at, None, kind, text));
    }

    /// Takes an event of a subject, which it may have when the batch is made.
    pub fn event_of(&mut self, subject: Option<SubjectId>, event: Event) {
        if self.events.len() < limits::EVENTS_MAX {
            self.events.push((subject, event));
        }
    }

    /// Takes facts about holds; `false`: the next batch has no room for all of them, take it first.
    #[must_use]
    pub fn holds(&mut self, facts: &[Hold]) -> bool {
        let has_room = self.holds.len() + facts.len() <= limits::HOLDS_MAX;
        if has_room {
            self.holds.extend_from_slice(facts);
        }
        has_room
    }

    /// Forgets a probe that will never answer again; what was gathered comes back.
    pub fn leave(&mut self, probe: ProbeIndex, now: UtcMillis) -> Option<Draft> {
        let before = self.take(now);
        self.descriptions.remove(&probe)?;
        self.layout = self.lay_out().ok();
        before
    }

    /// Everything gathered; `None` if that is nothing, or nothing was described yet.
    pub fn take(&mut self, now: UtcMillis) -> Option<Draft> {
        let layout = self.layout.as_ref()?;
        if self.rows.is_empty() && self.events.is_empty() && self.holds.is_empty() {
            return None;
        }
        let rows = std::mem::take(&mut self.rows);
        let events = std::mem::take(&mut self.events).into_iter().map(|(subject, event)| {
            let index =
                subject.as_ref().and_then(|id| layout.subjects.iter().position(|s| s == id));
            match (index, subject) {
                (None, Some(unknown)) => {
                    Event { text: format!("{unknown}: {}", event.text), ..event }
                }
                (index, _) => Event { subject: index, ..event },
            }
        });
        let events = events.collect();
        let matrices = rows.into_iter().map(|(group, rows)| {
            let width = layout.widths.get(group).copied().unwrap_or(0);
            matrix(group, width, rows)
        });
        Some(Draft {
            schema: Arc::clone(&layout.schema),
            created: now,
            uptime: None,
            matrices: matrices.collect(),
            events,
            holds: std::mem::take(&mut self.holds),
        })
    }

    /// Whether a group has as many rows as a batch may carry: send now.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.rows.values().any(|rows| rows.len() >= limits::ROWS_MAX / 2)
    }

    fn lay_out(&self) -> Result<Layout, BatchError> {
        let mut subjects: Vec<Subject> = Vec::new();
        let mut groups: BTreeMap<(Cadence, Option<ProbeIndex>), Group> = BTreeMap::new();
        let mut places = Vec::new();
        for (probe, description) in &self.descriptions {
            let indices: Vec<usize> =
                description.subjects.iter().map(|one| merge(&mut subjects, one)).collect();
            for cadence in description.cadences() {
                let own = matches!(cadence, Cadence::Recorded(_)).then_some(*probe);
                let group = groups
                    .entry((cadence, own))
                    .or_insert_with(|| Group { cadence: cadence.period(), series: Vec::new() });
                let first = group.series.len();
                group.series.extend(description.of(cadence).filter_map(|offer| {
                    let subject = indices.get(offer.subject)?;
                    Some(Series::new(*subject, offer.quantity, offer.part))
                }));
                places.push(((*probe, cadence), own, first..group.series.len()));
            }
        }
        let order: Vec<(Cadence, Option<ProbeIndex>)> = groups.keys().copied().collect();
        let sorted: Vec<Vec<usize>> = groups.values_mut().map(like_by_like).collect();
        let columns = places.into_iter().map(|((probe, cadence), own, offered)| {
            let group = order.iter().position(|key| *key == (cadence, own)).unwrap_or(0);
            let places = sorted.get(group).and_then(|places| places.get(offered));
            ((probe, cadence), Columns { group, places: places.unwrap_or_default().to_vec() })
        });
        let columns = columns.collect();
        let groups: Vec<Group> = groups.into_values().collect();
        let widths = groups.iter().map(|group| group.series.len()).collect();
        let schema = Schema {
            hub: self.origin.hub.clone(),
            node: self.origin.node.clone(),
            agent: self.origin.agent.clone(),
            subjects,
            groups,
        };
        let subjects = schema.subjects.iter().map(|subject| subject.id.clone()).collect();
        Ok(Layout { schema: Arc::new(EncodedSchema::new(&schema)?), subjects, widths, columns })
    }
}

/// Puts the series of one quantity side by side: a batch of eight GPUs is 2 % smaller so,
/// because what is equal lies together. Returns where each series went.
fn like_by_like(group: &mut Group) -> Vec<usize> {
    let key = |series: &Series| (series.quantity_number, series.part, series.subject);
    let mut from: Vec<usize> = (0..group.series.len()).collect();
    from.sort_by_key(|index| group.series.get(*index).map(key));
    group.series.sort_by_key(key);
    let mut places = vec![0; from.len()];
    for (place, index) in from.into_iter().enumerate() {
        if let Some(moved) = places.get_mut(index) {
            *moved = place;
        }
    }
    places
}

/// The index of a subject; two probes may speak of the same one (host and BMC of a node), and
/// the one that counts energy says how.
fn merge(subjects: &mut Vec<Subject>, subject: &Subject) -> usize {
    match subjects.iter().position(|known| known.id == subject.id) {
        Some(index) => {
            if let Some(known) = subjects.get_mut(index)
                && known.register.is_none()
            {
                known.register = subject.register;
            }
            index
        }
        None => {
            subjects.push(subject.clone());
            subjects.len() - 1
        }
    }
}

fn matrix(group: usize, width: usize, rows: BTreeMap<UtcMillis, Row>) -> Matrix {
    let mut columns: Vec<Row> = vec![Vec::with_capacity(rows.len()); width];
    let mut times = Vec::with_capacity(rows.len());
    for (time, row) in rows {
        times.push(time);
        for (column, value) in columns.iter_mut().zip(row) {
            column.push(value);
        }
    }
    Matrix { group, times, columns }
}

#[cfg(test)]
mod tests {
    use bijli_wire::{Millis, Quantity, SubjectKind, codec};

    use super::*;
    use crate::probe::Offer;

    fn subject(id: &str) -> Subject {
        Subject {
            id: SubjectId::new(id).unwrap(),
            kind: SubjectKind::Meter,
            label: String::new(),
            model: String::new(),
            serial: String::new(),
            register: None,
        }
    }

    fn description(id: &str, cadence: Cadence) -> Description {
        let offer = |quantity| Offer { cadence, subject: 0, quantity, part: 0 };
        Description {
            subjects: vec![subject(id)],
            series: vec![offer(Quantity::PowerAverage), offer(Quantity::Temperature)],
            notes: Vec::new(),
        }
    }

    fn batcher() -> Batcher {
        Batcher::new(Origin {
            hub: HubId::new("h").unwrap(),
            node: NodeId::new("n").unwrap(),
            agent: "test".to_owned(),
        })
    }

    fn at(ms: i64) -> UtcMillis {
        UtcMillis::new(ms)
    }

    fn sample(cadence: Cadence, values: [i64; 2]) -> Sample {
        Sample { cadence, at: None, values: values.map(Some).to_vec() }
    }

    #[test]
    fn who_does_not_answer_leaves_none_and_costs_nobody_else() {
        let mut batcher = batcher();
        batcher.describe(0, description("a", Cadence::Hot), at(0)).unwrap();
        batcher.describe(1, description("b", Cadence::Hot), at(0)).unwrap();
        for second in 1..=3 {
            batcher.begin(at(second * 1_000));
            batcher.sample(0, at(second * 1_000), &sample(Cadence::Hot, [second, 7]));
        }
        batcher.sample(1, at(2_000), &sample(Cadence::Hot, [8, 9]));
        let draft = batcher.take(at(3_500)).unwrap();
        let [matrix] = draft.matrices.as_slice() else { panic!("one group") };
        assert_eq!(matrix.times, [at(1_000), at(2_000), at(3_000)]);
        assert_eq!(
            matrix.columns,
            [
                [Some(1), Some(2), Some(3)],
                [None, Some(8), None],
                [Some(7), Some(7), Some(7)],
                [None, Some(9), None],
            ]
        );
        assert_eq!(batcher.take(at(4_000)), None);
    }

    #[test]
    fn only_due_groups_get_rows() {
        let mut batcher = batcher();
        batcher.describe(0, description("a", Cadence::Hot), at(0)).unwrap();
        batcher.describe(1, description("b", Cadence::Warm), at(0)).unwrap();
        for second in 9..=11 {
            batcher.begin(at(second * 1_000));
        }
        let draft = batcher.take(at(11_500)).unwrap();
        let times: Vec<usize> = draft.matrices.iter().map(|matrix| matrix.times.len()).collect();
        assert_eq!(times, [3, 1]);
    }

    #[test]
    fn a_changed_description_ends_the_batch_and_begins_another_schema() {
        let mut batcher = batcher();
        assert_eq!(batcher.describe(0, description("a", Cadence::Hot), at(0)), Ok(None));
        batcher.begin(at(1_000));
        assert_eq!(batcher.describe(0, description("a", Cadence::Hot), at(1_500)), Ok(None));
        let before = batcher.describe(1, description("b", Cadence::Hot), at(1_500)).unwrap();
        let before = before.expect("a row was there");
        assert_eq!(before.matrices[0].columns.len(), 2);
        batcher.begin(at(2_000));
        let after = batcher.take(at(2_500)).unwrap();
        assert_eq!(after.matrices[0].columns.len(), 4);
        assert_ne!(before.schema.id, after.schema.id);
    }

    #[test]
    fn recorded_rows_keep_their_own_times_in_a_group_of_their_own() {
        let mut batcher = batcher();
        let cadence = Cadence::Recorded(Millis::new(100));
        batcher.describe(0, description("a", Cadence::Hot), at(0)).unwrap();
        batcher.describe(1, description("t1", cadence), at(0)).unwrap();
        batcher.describe(2, description("t2", cadence), at(0)).unwrap();
        batcher.begin(at(9_000));
        for (probe, ms) in [(1, 100), (1, 200), (2, 150)] {
            let mut sample = sample(cadence, [ms, ms]);
            sample.at = Some(at(ms));
            batcher.sample(probe, at(9_000), &sample);
        }
        let draft = batcher.take(at(9_500)).unwrap();
        let times: Vec<Vec<i64>> = draft
            .matrices
            .iter()
            .map(|matrix| matrix.times.iter().map(|time| time.get()).collect())
            .collect();
        assert_eq!(times, [vec![9_000], vec![100, 200], vec![150]]);
        let (_, schema) = codec::decode_schema(&draft.schema.body).unwrap();
        assert_eq!((schema.groups.len(), schema.subjects.len()), (3, 3));
    }

    #[test]
    fn two_probes_of_one_subject_share_it() {
        let mut batcher = batcher();
        batcher.describe(0, description("node", Cadence::Hot), at(0)).unwrap();
        batcher.describe(1, description("node", Cadence::Warm), at(0)).unwrap();
        batcher.begin(at(10_000));
        let draft = batcher.take(at(10_500)).unwrap();
        let (_, schema) = codec::decode_schema(&draft.schema.body).unwrap();
        assert_eq!(schema.subjects.len(), 1);
        assert_eq!(draft.matrices.len(), 2);
    }

    #[test]
    fn a_description_beyond_the_wires_limits_stays_out_alone() {
        let mut batcher = batcher();
        batcher.describe(0, description("a", Cadence::Hot), at(0)).unwrap();
        let mut many = description("b", Cadence::Hot);
        many.series = vec![many.series[0]; limits::SERIES_MAX];
        assert!(batcher.describe(1, many, at(0)).is_err());
        batcher.begin(at(1_000));
        assert_eq!(batcher.take(at(1_500)).unwrap().matrices[0].columns.len(), 2);
    }
}
