//! The same PUE from what was posted: the net flows of intervals and what their summaries say, as
//! leaves keep them for ever, long after the readings are gone.
//!
//! # Invariants
//! - Sums, limits, kinds and texts are those of [`PueSum`]: there is one way to a figure.
//! - The diagram is the caller's. Where another one was in force, [`terms`] and the summary differ,
//!   and the caller must say so.

use std::collections::{BTreeMap, BTreeSet};

use bijli_wire::{Millis, SubjectId, UtcMillis};

use super::sum::{Added, Asked, PueParts, PueSum, Terms};
use super::{MeterShare, NoPue, Pue, Term};
use crate::account::Account;
use crate::class::{ByClass, Class};
use crate::derive::{Flow, is_unexplained, supply_account};
use crate::diagram::{Category, Diagram, MAIN, Point, PointId};
use crate::leaf::PueShown;

/// One interval as it stands: the last of its summaries, and the net of all its postings.
#[derive(Clone, Copy, Debug)]
pub struct Posted<'a> {
    pub start: UtcMillis,
    pub pue: &'a PueShown,
    /// At least those from supplies, into points and placed nodes, and from disputes; flows within
    /// nodes are of no use here.
    pub flows: &'a BTreeMap<Flow, u128>,
    /// How often entries corrected it.
    pub adjustments: u64,
    /// No fact can change it any more.
    pub is_settled: bool,
}

/// PUE of a period, summed over what was posted of it, as [`crate::Books::pue`] does.
///
/// # Errors
/// Says why there is none.
pub fn of_posted<'a>(
    diagram: &Diagram,
    (from, to): (UtcMillis, UtcMillis),
    interval: Millis,
    intervals: impl Iterator<Item = Posted<'a>>,
) -> Result<Pue, NoPue> {
    let asked = Asked { from, to, interval, policy: diagram.policy() };
    let meters = Meters::of(diagram);
    let mut sum = PueSum::default();
    for posted in intervals {
        let pue = match posted.pue {
            PueShown::Withheld(withheld) => Err(withheld.clone()),
            PueShown::Parts { .. } => Ok(parts(diagram, &meters, posted.pue, posted.flows)),
        };
        sum.add(
            &Added {
                start: posted.start.get(),
                pue: &pue,
                known: terms(diagram, posted.flows),
                adjustments: posted.adjustments,
                is_settled: posted.is_settled,
            },
            &asked,
        );
    }
    for ((term, number), millijoules) in sum.take_by_meter() {
        let place = usize::try_from(number).expect("u32 fits usize");
        let Some(id) = meters.0.get(place) else { continue };
        let meter = diagram.meters().get(id).cloned();
        sum.share(MeterShare { term, id: id.clone(), meter, millijoules });
    }
    sum.finish(&asked)
}

/// What flows say of both terms, whether or not the interval counts.
#[must_use]
pub fn terms(diagram: &Diagram, flows: &BTreeMap<Flow, u128>) -> Terms {
    let [total, it] = [Term::Total, Term::It].map(|term| {
        let places = places(diagram, term);
        places.iter().fold(0, |sum: u128, place| {
            sum.saturating_add(between(flows, &place.giver, &place.receiver).total())
        })
    });
    Terms { total, it }
}

/// Where a term is counted.
struct Place {
    giver: Account,
    receiver: Account,
    /// `None`: a node that nobody described.
    meter: Option<SubjectId>,
}

fn places(diagram: &Diagram, term: Term) -> Vec<Place> {
    let at_point = |point: &Point| Place {
        giver: feeder(point.fed_by.as_ref()),
        receiver: Account::Point(point.id.clone()),
        meter: point.meter.clone(),
    };
    match (term, diagram.category()) {
        (Term::Total, _) => {
            let supplies = diagram.points().filter(|point| point.role.is_supply());
            let place = |point: &Point| Place {
                giver: supply_account(point),
                receiver: Account::Main,
                meter: point.meter.clone(),
            };
            supplies.map(place).collect()
        }
        (Term::It, Category::UpsOutput | Category::PduOutput) => {
            diagram.it_points().into_iter().map(at_point).collect()
        }
        (Term::It, Category::ItInput) => {
            let described = |name: &str| {
                let id = SubjectId::new(name).ok()?;
                diagram.meters().contains_key(&id).then_some(id)
            };
            let place = |(node, feeds): (&bijli_wire::NodeId, &PointId)| Place {
                giver: feeder(Some(feeds)),
                receiver: Account::Node(node.clone()),
                meter: described(node.as_str()),
            };
            diagram.nodes().iter().map(place).collect()
        }
    }
}

fn feeder(fed_by: Option<&PointId>) -> Account {
    match fed_by {
        Some(point) if point.as_str() != MAIN => Account::Point(point.clone()),
        Some(_) | None => Account::Main,
    }
}

fn between(flows: &BTreeMap<Flow, u128>, giver: &Account, receiver: &Account) -> ByClass {
    let mut sums = ByClass::default();
    for class in Class::ALL {
        let flow = Flow { debit: receiver.clone(), credit: giver.clone(), class };
        sums.add(class, flows.get(&flow).copied().unwrap_or(0));
    }
    sums
}

/// The meters of both terms, numbered.
struct Meters(Vec<SubjectId>);

impl Meters {
    fn of(diagram: &Diagram) -> Self {
        let both = [Term::Total, Term::It].into_iter().flat_map(|term| places(diagram, term));
        Self(both.filter_map(|place| place.meter).collect())
    }

    fn number(&self, meter: &SubjectId) -> Option<u32> {
        u32::try_from(self.0.iter().position(|known| known == meter)?).ok()
    }
}

/// What a summary that has parts adds, with what only flows tell.
fn parts(
    diagram: &Diagram,
    meters: &Meters,
    shown: &PueShown,
    flows: &BTreeMap<Flow, u128>,
) -> PueParts {
    let PueShown::Parts { total, it, by_source, store_drawn, estimated, category } = shown else {
        unreachable!("asked of parts only")
    };
    let counted = |term: Term| {
        let (mut counts, mut estimated) = (Vec::new(), 0_u128);
        for place in places(diagram, term) {
            let energy = between(flows, &place.giver, &place.receiver);
            estimated = estimated.saturating_add(energy.get(Class::Estimated));
            let amount = u64::try_from(energy.total()).unwrap_or(u64::MAX);
            let number = place.meter.and_then(|meter| meters.number(&meter));
            counts.extend(number.map(|number| (number, amount)));
        }
        (counts, estimated)
    };
    let (of_total, _) = counted(Term::Total);
    let (of_it, it_estimated) = counted(Term::It);
    let it_points: BTreeSet<&PointId> =
        diagram.it_points().into_iter().map(|point| &point.id).collect();
    let flowed = |counts: &dyn Fn(&Flow) -> bool| {
        let flows = flows.iter().filter(|(flow, _)| counts(flow));
        flows.fold(0, |sum: u128, (_, amount)| sum.saturating_add(*amount))
    };
    PueParts {
        total: *total,
        it: *it,
        by_source: by_source.clone(),
        store_drawn: *store_drawn,
        estimated: *estimated,
        it_estimated,
        unexplained: flowed(&|flow| is_unexplained(diagram, &it_points, flow)),
        contradicted: flowed(&|flow| matches!(flow.credit, Account::Dispute(_))),
        outside: flowed(&|flow| matches!(flow.credit, Account::Unplaced(_))),
        category: *category,
        of_total,
        of_it,
    }
}
