//! What is kept is what a bill says, whatever was posted, taken back and registered in between.

use bijli_ledger::leaf::{Body, Line, Owner, Posting, PueShown, Source, Summary};
use bijli_ledger::{Class, Leaf, Withheld};
use bijli_wire::NodeId;
use proptest::prelude::*;

use super::*;
use crate::index::{Scope, Store};
use crate::projects::bill::{Ask, Bill, By, Key, Whose};
use crate::projects::registry::{Change, Registry};
use crate::projects::text::tests::text;

/// 2026-08-31T00:00:00Z: the second half is of another month.
const BEGIN: i64 = 1_788_134_400_000;
const QUARTER: i64 = 900_000;
const INTERVALS: i64 = 192;

fn hub() -> HubId {
    HubId::new("isb").expect("a name")
}

fn leaf(body: Body) -> Option<Leaf> {
    let source = Source { first: 1, last: 1, hash: [7; 32] };
    Some(Leaf { rule_version: 1, hub: Some(hub()), source, body })
}

/// One posting and its summary: what an account got in an interval, or gave back.
fn leaves(posted: Posted, seq: u64) -> [Option<Leaf>; 2] {
    let Posted { interval, account, amount, is_reversal } = posted;
    let start = UtcMillis::new(BEGIN + interval * QUARTER);
    let user: Account = format!("project:a{account}/host").parse().expect("an account");
    let node = NodeId::new("n1").expect("a name");
    let (debit, credit) = (user, Account::Node(node.clone()));
    let (debit, credit) = if is_reversal { (credit, debit) } else { (debit, credit) };
    let line = Line { seq, debit, credit, class: Class::Measured, amount, is_reversal };
    let lines = vec![line];
    let posting = Posting { interval: start, owner: Owner::Node(node), part: 1, parts: 1, lines };
    let summary = Summary {
        interval: start,
        end: UtcMillis::new(start.get() + QUARTER),
        revision: 0,
        old_leaf: None,
        leaves: 1,
        first_entry: seq,
        entries: 1,
        supplied: 900,
        used: 900,
        pue: PueShown::Withheld(Withheld::NoSupplyMeter),
        reasons: Vec::new(),
        reasons_more: 0,
    };
    [leaf(Body::Posting(posting)), leaf(Body::Summary(summary))]
}

#[derive(Clone, Copy, Debug)]
struct Posted {
    interval: i64,
    account: u8,
    amount: u64,
    is_reversal: bool,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Post {
        interval: i64,
        account: u8,
        amount: u64,
    },
    /// Takes back what was posted so many postings ago, if it was not yet.
    TakeBack(usize),
    /// Registers a project with this account, or without any budget.
    Register {
        project: u8,
        account: u8,
        has_budget: bool,
    },
    Ask,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..INTERVALS, 0..4_u8, 1..1_000_000_u64)
            .prop_map(|(interval, account, amount)| Step::Post { interval, account, amount }),
        2 => (0..8_usize).prop_map(Step::TakeBack),
        1 => (0..3_u8, 0..4_u8, any::<bool>()).prop_map(|(project, account, has_budget)| {
            Step::Register { project, account, has_budget }
        }),
        3 => Just(Step::Ask),
    ]
}

/// A hub's index, its registry, and what is kept.
struct Course {
    store: Store,
    posted: Vec<Posted>,
    seq: u64,
    registry: Registry,
    spent: Spent,
    /// How often what is kept went on from what was there.
    went_on: usize,
}

impl Course {
    fn take(&mut self, step: Step) {
        match step {
            Step::Post { interval, account, amount } => {
                self.post(Posted { interval, account, amount, is_reversal: false });
            }
            Step::TakeBack(ago) => {
                let at = self.posted.len().checked_sub(ago + 1);
                if let Some(one) = at.map(|at| self.posted.remove(at)) {
                    self.post(Posted { is_reversal: true, ..one });
                    self.posted.pop();
                }
            }
            Step::Register { project, account, has_budget } => {
                let mut words = text(&format!("p{project}"), &[&format!("a{account}")]);
                words.budget = has_budget.then(|| "10 kWh".to_owned());
                let change = Change::Put(Box::new(words.read().expect("sound")));
                // One that another project has is refused, and changes nothing.
                let _verdict = self.registry.make(change, (UtcMillis::new(0), 0), 900_000);
            }
            Step::Ask => self.ask(),
        }
    }

    fn post(&mut self, posted: Posted) {
        self.seq += 1;
        self.store.take(&leaves(posted, self.seq)).expect("taken");
        self.posted.push(posted);
    }

    fn ask(&mut self) {
        let projects = self.registry.now().clone();
        let as_of = AsOf { leaves: self.store.next(), changes: self.registry.changes() };
        let (mut spent, first) = std::mem::take(&mut self.spent).begin(as_of);
        self.went_on += usize::from(first > 0);
        let mut add = |start, user: &Account, amount| {
            spent.add((&projects, &hub()), start, user, amount);
        };
        self.store.used_in(&hub(), (first, as_of.leaves), &mut add).expect("read");
        self.spent = spent;
        let offset = bijli_ledger::Offset::UTC;
        let ask = Ask { projects: projects.clone(), only: None, offset };
        let (from, to) = (BEGIN - QUARTER, BEGIN + INTERVALS * QUARTER);
        let (from, to) = (UtcMillis::new(from), UtcMillis::new(to));
        let scope = Scope { hub: hub(), from, to, before: Some(as_of.leaves) };
        let rows = Bill::read(&self.store, &scope, &ask, By::Whose).expect("read");
        for project in projects.iter() {
            let billed = rows.get(&Key::Whose(Whose::Project(project.id.clone())));
            let billed = billed.map_or(0, |used| used.energy().it());
            let kept = self.spent.of(&hub(), &project.id);
            assert_eq!(kept, if project.budget.is_some() { billed } else { 0 }, "{}", project.id);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Goal: a budget's figure is a bill's, after any history.
    #[test]
    fn what_is_kept_is_what_a_bill_says(steps in proptest::collection::vec(step(), 1..60)) {
        let dir = tempfile::tempdir().expect("a directory");
        let (store, _) = Store::open(dir.path()).expect("opens");
        let (posted, registry, spent) = (Vec::new(), Registry::default(), Spent::default());
        let mut course = Course { store, posted, seq: 0, registry, spent, went_on: 0 };
        steps.into_iter().for_each(|step| course.take(step));
        course.ask();
        course.ask();
        prop_assert!(course.went_on > 0 || course.store.next() == 0);
    }
}
