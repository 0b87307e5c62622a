//! `/v1/hubs/{hub}/periods`: the months of a hub, which are closed, and what became of them.

use bijli_ledger::period::{Doubt, Doubts, Restated};
use bijli_ledger::{Books, Figures, Month, Period as Closed, PeriodState, Restatement};
use bijli_wire::units::human_energy;
use bijli_wire::{ErrorCode, UtcMillis};
use serde::Serialize;

use super::amount::time;
use super::asked::{Asked, missing};
use super::{Answer, answer};
use crate::index::Scope;
use crate::refusal::Refusal;

#[derive(Debug, Serialize)]
pub(super) struct List {
    hub: String,
    /// So many leaves were made: an `as_of` of today.
    leaves: u64,
    periods: Vec<Head>,
}

#[derive(Debug, Serialize)]
pub(super) struct One {
    hub: String,
    leaves: u64,
    #[serde(flatten)]
    told: Told,
    /// Only if asked: what the first so many leaves come to.
    #[serde(skip_serializing_if = "Option::is_none")]
    as_of: Option<AsOf>,
}

/// A month at a glance.
#[derive(Debug, Serialize)]
pub(crate) struct Head {
    pub(crate) month: String,
    from: String,
    to: String,
    /// `open`: not over in the books. `due`: over, and nobody has closed it. `closed`; `corrected`:
    /// facts changed it since; `restated`: somebody stands for the new figures.
    pub(crate) state: &'static str,
    /// As they were last told; of a month that is not closed: as they stand.
    pub(crate) figures: FiguresTold,
    pub(crate) closed: Option<ClosedTold>,
    pub(crate) doubts: usize,
    pub(crate) restatements: u64,
}

/// A month with everything that is known of it.
#[derive(Debug, Serialize)]
pub(crate) struct Told {
    #[serde(flatten)]
    head: Head,
    /// As it was closed; of a month that is not closed: as they stand.
    doubt: Vec<DoubtTold>,
    /// The newest, oldest first; all of them are in the ledger log.
    restatement: Vec<RestatedTold>,
}

#[derive(Debug, Serialize)]
pub(crate) struct ClosedTold {
    pub(crate) leaf: u64,
    pub(crate) at: String,
    pub(crate) by: String,
    pub(crate) despite: Option<String>,
    figures: FiguresTold,
}

#[derive(Debug, Serialize)]
struct DoubtTold {
    from: String,
    to: String,
    kind: &'static str,
    words: String,
}

#[derive(Debug, Serialize)]
struct RestatedTold {
    leaf: u64,
    at: String,
    /// Null: the books tell it by themselves.
    by: Option<String>,
    cause: String,
    first_entry: Option<u64>,
    last_entry: Option<u64>,
    old_leaf: u64,
    old: FiguresTold,
    new: FiguresTold,
    moved_mj: String,
    moved: String,
    /// What moved, in millionths of what was supplied.
    materiality_ppm: u32,
}

#[derive(Debug, Serialize)]
struct AsOf {
    leaves: u64,
    figures: FiguresTold,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct FiguresTold {
    pub(crate) intervals_expected: u32,
    pub(crate) intervals_posted: u32,
    intervals_incomplete: u32,
    pub(crate) intervals_disputed: u32,
    supplied_mj: String,
    pub(crate) supplied: String,
    used_mj: String,
    used: String,
    /// Intervals that both terms of PUE are summed over.
    pue_intervals: u32,
    pue_total_mj: String,
    pue_it_mj: String,
    pue_estimated_mj: String,
}

pub(super) async fn list(asked: Asked) -> Answer<List> {
    answer(move || {
        asked.parameters(&[])?;
        let hub = asked.hub()?;
        let leaves = asked.state.leaves_made();
        let books = hub.books();
        Ok(List { hub: hub.id.to_string(), leaves, periods: heads(&books) })
    })
    .await
}

pub(super) async fn one(asked: Asked) -> Answer<One> {
    answer(move || {
        let parameters = asked.parameters(&["as_of"])?;
        let hub = asked.hub()?;
        let unknown = || missing("month", asked.name());
        let month: Month = asked.name().parse().map_err(|_| unknown())?;
        let (told, span, expected) = {
            let books = hub.books();
            let is_known = books.months().contains(&month) || books.period(month).is_some();
            if !is_known {
                return Err(unknown());
            }
            let span = span_of(&books, month);
            (one_of(&books, month), span, books.figures(span.0, span.1).expected)
        };
        let leaves = asked.state.leaves_made();
        let as_of = match parameters.text("as_of") {
            None => None,
            Some(text) => {
                let count = text.parse().ok().filter(|count| *count <= leaves);
                let count = count.ok_or_else(|| {
                    let words = format!("as_of is a number of leaves, at most {leaves}");
                    Refusal::new(ErrorCode::InvalidRequest, words)
                })?;
                let scope = Scope { hub: hub.id.clone(), from: span.0, to: span.1, before: None };
                Some(as_of(&asked, scope, expected, count)?)
            }
        };
        Ok(One { hub: hub.id.to_string(), leaves, told, as_of })
    })
    .await
}

/// What the first so many leaves come to, of a period.
fn as_of(asked: &Asked, scope: Scope, expected: u32, leaves: u64) -> Result<AsOf, Refusal> {
    let refuse = |words: String| Refusal::new(ErrorCode::Overloaded, words);
    let index = asked.state.index();
    let index = index.ok_or_else(|| refuse("there is no index of the ledger log".to_owned()))?;
    let found = index.read(leaves, move |store| store.summaries(&scope, leaves));
    let summaries = found.map_err(|why| refuse(why.to_string()))?;
    let figures = Figures::of(expected, summaries.iter());
    Ok(AsOf { leaves, figures: FiguresTold::of(&figures) })
}

/// Every month of these books, oldest first.
pub(crate) fn heads(books: &Books) -> Vec<Head> {
    books.months().into_iter().map(|month| head_of(books, month)).collect()
}

/// A closed month keeps the ends that it had.
fn span_of(books: &Books, month: Month) -> (UtcMillis, UtcMillis) {
    let closed = books.period(month).map(|period| (period.closed.from, period.closed.to));
    closed.unwrap_or_else(|| books.month(month))
}

/// Everything about a month.
pub(crate) fn one_of(books: &Books, month: Month) -> Told {
    let head = head_of(books, month);
    let (from, to) = span_of(books, month);
    let (doubts, restatements) = match books.period(month) {
        Some(period) => (period.closed.doubts.clone(), &period.restatements[..]),
        None => (books.doubts(from, to), &[][..]),
    };
    Told {
        head,
        doubt: doubts.list.iter().map(DoubtTold::of).collect(),
        restatement: restatements.iter().map(RestatedTold::of).collect(),
    }
}

fn head_of(books: &Books, month: Month) -> Head {
    let (from, to) = span_of(books, month);
    let is_over = books.closed_until().is_some_and(|until| until >= to);
    let period = books.period(month);
    let state = match period.map(Closed::state) {
        Some(PeriodState::Closed) => "closed",
        Some(PeriodState::Corrected) => "corrected",
        Some(PeriodState::Restated) => "restated",
        None if is_over => "due",
        None => "open",
    };
    let figures = period.map_or_else(|| books.figures(from, to), Closed::figures);
    let doubts = match period {
        Some(period) => period.closed.doubts.count(),
        None => Doubts::count(&books.doubts(from, to)),
    };
    Head {
        month: month.to_string(),
        from: time(from),
        to: time(to),
        state,
        figures: FiguresTold::of(&figures),
        closed: period.map(ClosedTold::of),
        doubts,
        restatements: period.map_or(0, |period| period.restated),
    }
}

impl ClosedTold {
    fn of(period: &Closed) -> Self {
        let closed = &period.closed;
        Self {
            leaf: closed.leaves,
            at: time(period.at),
            by: closed.by.clone(),
            despite: closed.despite.clone(),
            figures: FiguresTold::of(&closed.figures),
        }
    }
}

impl DoubtTold {
    fn of(doubt: &Doubt) -> Self {
        let Doubt { from, to, kind, words } = doubt;
        let (from, to, kind) = (time(*from), time(*to), kind.word());
        Self { from, to, kind, words: words.clone() }
    }
}

impl RestatedTold {
    fn of(restated: &Restated) -> Self {
        let Restated { leaf, at, restatement } = restated;
        let Restatement { by, cause, entries, old_leaf, old, new, moved, .. } = restatement;
        Self {
            leaf: *leaf,
            at: time(*at),
            by: by.clone(),
            cause: cause.clone(),
            first_entry: entries.map(|(first, _)| first),
            last_entry: entries.map(|(_, last)| last),
            old_leaf: *old_leaf,
            old: FiguresTold::of(old),
            new: FiguresTold::of(new),
            moved_mj: moved.to_string(),
            moved: human_energy(*moved),
            materiality_ppm: restatement.materiality_ppm(),
        }
    }
}

impl FiguresTold {
    fn of(figures: &Figures) -> Self {
        Self {
            intervals_expected: figures.expected,
            intervals_posted: figures.posted,
            intervals_incomplete: figures.incomplete,
            intervals_disputed: figures.disputed,
            supplied_mj: figures.supplied.to_string(),
            supplied: human_energy(figures.supplied),
            used_mj: figures.used.to_string(),
            used: human_energy(figures.used),
            pue_intervals: figures.counted,
            pue_total_mj: figures.total.to_string(),
            pue_it_mj: figures.it.to_string(),
            pue_estimated_mj: figures.estimated.to_string(),
        }
    }
}
