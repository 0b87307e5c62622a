//! A month of any history: closed, corrected, restated; and its figures from the leaves alone.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test says what it expects")]

#[expect(dead_code, reason = "the other tests use the rest of it")]
mod world;

use std::collections::BTreeMap;

use bijli_ledger::leaf::{Body, Source, Summary};
use bijli_ledger::period::{PeriodClosed, Restated};
use bijli_ledger::{
    Books, ClosePeriod, Figures, Leaf, LeafMaker, Month, PeriodError, PeriodState, RestatePeriod,
    Restatement, Rules,
};
use bijli_wire::{Millis, UtcMillis};
use proptest::prelude::*;
use world::{Fact, World};

const SOURCE: Source = Source { first: 1, last: 2, hash: [0; 32] };
const HOUR: i64 = 3_600_000;
/// The 1st of August 2026, an hour past midnight.
const AUGUST: i64 = 1_785_542_400_000 + HOUR;

/// Books and their leaves, as a collector keeps them.
struct Desk {
    books: Books,
    maker: LeafMaker,
    leaves: Vec<Leaf>,
    now: i64,
}

fn july() -> Month {
    "2026-07".parse().unwrap()
}

impl Desk {
    fn new(world: &World) -> Self {
        let rules = Rules { interval: Millis::new(3_600_000), ..Rules::default() };
        let (books, maker) = (world.books_with(rules), LeafMaker::default());
        Self { books, maker, leaves: Vec::new(), now: 0 }
    }

    fn advance(&mut self, now: i64) {
        self.now = self.now.max(now);
        let hub = self.books.hub().clone();
        for closed in self.books.advance(UtcMillis::new(now)) {
            self.leaves.extend(self.maker.make(&hub, self.books.statement(&closed), SOURCE));
        }
        let restated = self.books.restated(self.maker.next(), UtcMillis::new(now));
        restated.into_iter().for_each(|one| self.add(Body::Restatement(Box::new(one))));
    }

    fn tell(&mut self, fact: &Fact) {
        match fact {
            Fact::Advance(now) => self.advance(now.get()),
            Fact::Has(..) | Fact::Read(..) | Fact::Allocate(_) | Fact::Calibrate(_) => {
                fact.tell(&mut self.books);
            }
        }
    }

    fn add(&mut self, body: Body) {
        self.maker.skip();
        self.leaves.push(Leaf::of_period(self.books.hub().clone(), body, SOURCE));
        assert_eq!(self.maker.next(), self.leaves.len() as u64);
    }

    fn close(&mut self, despite: Option<&str>) -> Result<Option<PeriodClosed>, PeriodError> {
        let asked = ClosePeriod { month: july(), by: "A. Khan", despite };
        let at = UtcMillis::new(self.now);
        let closed = self.books.close_period(&asked, self.maker.next(), at)?;
        if let Some(closed) = &closed {
            self.add(Body::Period(Box::new(closed.clone())));
        }
        Ok(closed)
    }

    fn restate(&mut self, cause: &str) -> Result<Option<Restatement>, PeriodError> {
        let asked = RestatePeriod { month: july(), by: "A. Khan", cause };
        let at = UtcMillis::new(self.now);
        let restated = self.books.restate_period(&asked, self.maker.next(), at)?;
        if let Some(restated) = &restated {
            self.add(Body::Restatement(Box::new(restated.clone())));
        }
        Ok(restated)
    }

    /// What a reader of so many leaves comes to.
    fn as_of(&self, leaves: u64) -> Figures {
        let (from, to) = self.books.month(july());
        let mut newest: BTreeMap<UtcMillis, &Summary> = BTreeMap::new();
        for leaf in &self.leaves[..usize::try_from(leaves).unwrap()] {
            if let Body::Summary(summary) = &leaf.body
                && (from..to).contains(&summary.interval)
            {
                newest.insert(summary.interval, summary);
            }
        }
        let hours = u32::try_from((to.get() - from.get()) / HOUR).unwrap();
        Figures::of(hours, newest.into_values())
    }

    fn state(&self) -> PeriodState {
        self.books.period(july()).unwrap().state()
    }
}

/// A history of which the last part comes when July is closed already.
fn corrected(seed: u64) -> (Desk, Option<PeriodClosed>) {
    let world = World::new(seed);
    let mut desk = Desk::new(&world);
    let facts = world.facts(seed);
    let (before, late) = facts.split_at(facts.len() / 2);
    before.iter().for_each(|fact| desk.tell(fact));
    desk.advance(AUGUST);
    // A hub of which nothing was read yet has no books.
    let closed = desk.close(Some("the hub began on the 1st")).ok().flatten();
    late.iter().for_each(|fact| desk.tell(fact));
    for minutes in [5, 10, 15] {
        desk.advance(AUGUST + minutes * 60_000);
    }
    (desk, closed)
}

fn nothing() -> PeriodError {
    PeriodError::NothingChanged { month: july() }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 24,
        failure_persistence: None,
        ..Default::default()
    })]

    /// Goal: as-of. Each figure that was ever told of the month follows from the leaves before it,
    /// whatever came later; and the restatements lead from the first figures to the last ones.
    #[test]
    fn every_figure_that_was_told_follows_from_the_leaves_before_it(seed in any::<u64>()) {
        let (desk, closed) = corrected(seed);
        let Some(closed) = closed else { return Ok(()) };
        prop_assert_eq!(desk.as_of(closed.leaves), closed.figures);
        let mut told = (closed.leaves, closed.figures);
        for (index, leaf) in (0_u64..).zip(&desk.leaves) {
            let Body::Restatement(restatement) = &leaf.body else { continue };
            prop_assert_eq!((restatement.old_leaf, restatement.old), told);
            prop_assert_eq!(restatement.closed, closed.leaves);
            prop_assert_eq!(desk.as_of(index), restatement.new);
            prop_assert!(restatement.old.used.abs_diff(restatement.new.used) <= restatement.moved);
            told = (index, restatement.new);
        }
        let (from, to) = desk.books.month(july());
        prop_assert_eq!(desk.books.figures(from, to), told.1, "what is not told did not change");
        prop_assert_eq!(desk.books.period(july()).unwrap().figures(), told.1);
    }

    #[test]
    fn somebody_stands_for_all_that_changed_since_he_last_did(seed in any::<u64>()) {
        let (mut desk, closed) = corrected(seed);
        let Some(closed) = closed else { return Ok(()) };
        if desk.state() == PeriodState::Closed {
            prop_assert_eq!(desk.restate("why"), Err(nothing()));
            return Ok(());
        }
        prop_assert_eq!(desk.state(), PeriodState::Corrected);
        let restated = desk.restate("a spool came late").unwrap().unwrap();
        prop_assert_eq!((restated.old_leaf, restated.old), (closed.leaves, closed.figures));
        let all = desk.books.period(july()).unwrap().restatements.clone();
        let by_books = all.iter().filter(|one| one.restatement.by.is_none());
        let moved = by_books.map(|Restated { restatement, .. }| restatement.moved).sum::<u128>();
        prop_assert_eq!(restated.moved, moved);
        prop_assert_eq!(desk.state(), PeriodState::Restated);
        let count = desk.leaves.len();
        prop_assert_eq!(desk.restate("a spool came late"), Ok(None), "the same again");
        prop_assert_eq!(desk.restate("why"), Err(nothing()));
        prop_assert_eq!(desk.close(None), Ok(None), "closed is closed");
        prop_assert_eq!(desk.leaves.len(), count);
    }

    #[test]
    fn the_same_history_gives_the_same_leaves_of_months(seed in any::<u64>()) {
        let bytes = |desk: Desk| desk.leaves.iter().map(Leaf::encode).collect::<Vec<_>>();
        let one = bytes(corrected(seed).0);
        for leaf in &one {
            prop_assert_eq!(&Leaf::decode(leaf).unwrap().encode(), leaf);
        }
        prop_assert_eq!(one, bytes(corrected(seed).0));
    }
}

#[test]
fn a_month_is_closed_when_it_is_over_and_whole_or_somebody_says_why() {
    let world = World::new(7);
    let mut desk = Desk::new(&world);
    world.facts(7).iter().for_each(|fact| desk.tell(fact));
    let early = desk.close(Some("soon")).unwrap_err();
    assert!(early.to_string().contains("2026-07 ends 2026-08-01T00:00:00Z"), "{early}");
    desk.advance(AUGUST);
    let refused = desk.close(None).unwrap_err().to_string();
    assert!(refused.contains("is not whole"), "{refused}");
    let gap = "not posted: the books have no interval here, 2026-07-01T00:00:00Z/2026-07-01T10";
    assert!(refused.contains(gap), "{refused}");
    for bad in ["", "two\nlines", &"x".repeat(600)] {
        assert!(matches!(desk.close(Some(bad)), Err(PeriodError::Text { field: "despite" })));
    }
    assert_eq!(desk.books.periods().count(), 0);
    let closed = desk.close(Some("the hub began on the 1st")).unwrap().unwrap();
    assert_eq!(closed.despite.as_deref(), Some("the hub began on the 1st"));
    assert_eq!((closed.figures.expected, closed.figures.posted), (744, 734));
    assert_eq!(closed.doubts.list[0].from, UtcMillis::new(1_782_864_000_000));
    assert_eq!(desk.close(None), Ok(None));
    assert_eq!(desk.books.months(), [july()]);
    let other = ClosePeriod { month: july().next(), by: "A. Khan", despite: None };
    assert!(matches!(desk.books.closable(&other, 0), Err(PeriodError::NotOver { .. })));
    let other = RestatePeriod { month: july().next(), by: "A. Khan", cause: "why" };
    assert!(matches!(desk.books.is_restatable(&other), Err(PeriodError::NotClosed { .. })));
}
