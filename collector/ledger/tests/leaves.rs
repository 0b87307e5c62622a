//! The leaves of any history: every entry in exactly one, each balanced, corrections naming the
//! old.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test says what it expects")]

#[expect(dead_code, reason = "the other tests use the rest of it")]
mod world;

use std::collections::BTreeMap;

use bijli_ledger::leaf::{Body, Line, Owner, Source, held};
use bijli_ledger::{Books, Leaf, LeafMaker, Nature, Rules};
use bijli_wire::{Millis, UtcMillis};
use proptest::prelude::*;
use world::{Fact, World};

const SOURCE: Source = Source { first: 1, last: 2, hash: [0; 32] };

/// Plays a history; every posting becomes leaves at once, as the collector does it.
fn play(world: &World, seed: u64) -> (Books, Vec<Leaf>) {
    play_with(world, seed, Rules::default())
}

fn play_with(world: &World, seed: u64, rules: Rules) -> (Books, Vec<Leaf>) {
    let (mut maker, mut leaves) = (LeafMaker::default(), Vec::new());
    let mut books = world.books_with(rules);
    let hub = books.hub().clone();
    let mut tell = |books: &mut Books, now: UtcMillis| {
        for closed in books.advance(now) {
            leaves.extend(maker.make(&hub, books.statement(&closed), SOURCE));
        }
    };
    for fact in world.facts(seed) {
        match fact {
            Fact::Advance(now) => tell(&mut books, now),
            Fact::Read(..) | Fact::Allocate(_) | Fact::Calibrate(_) | Fact::Has(..) => {
                fact.tell(&mut books)
            }
        }
    }
    let after = books.now().map_or(world.end().get(), |now| now.get().max(world.end().get()));
    for minutes in [120, 130, 140] {
        tell(&mut books, UtcMillis::new(after + minutes * 60_000));
    }
    (books, leaves)
}

fn canonical(line: &Line, leaf: &Leaf) -> String {
    let Line { seq, debit, credit, class, amount, is_reversal } = line;
    let interval = leaf.interval().unwrap().get();
    let rule = leaf.rule_version;
    let text = format!(
        "entry={seq} interval={interval} debit={debit} credit={credit} class={class} \
         amount_mj={amount} rule={rule}"
    );
    match (&leaf.body, is_reversal) {
        (Body::Adjustment { corrects, .. }, false) => format!("{text} adjusts={corrects}"),
        (Body::Adjustment { corrects, .. }, true) => format!("{text} reverses={corrects}"),
        _ => text,
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 48,
        failure_persistence: None,
        ..Default::default()
    })]

    /// By sequence, the lines of all leaves are the entries of the books, to the letter.
    #[test]
    fn every_entry_is_in_exactly_one_leaf(seed in any::<u64>()) {
        let (books, leaves) = play(&World::new(seed), seed);
        let mut lines = BTreeMap::new();
        for leaf in &leaves {
            for line in leaf.posting().into_iter().flat_map(|posting| &posting.lines) {
                prop_assert_eq!(lines.insert(line.seq, canonical(line, leaf)), None);
            }
        }
        let entries: Vec<String> = books.entries_since(1).map(|e| e.to_string()).collect();
        prop_assert_eq!(lines.into_values().collect::<Vec<_>>(), entries);
    }

    /// A node's leaf leaves nothing in the node (decoding checks it); the leaves of a posting
    /// leave nothing in any account of passage; and each leaf has its one encoding.
    #[test]
    fn leaves_balance_and_read_back(seed in any::<u64>()) {
        let (_, leaves) = play(&World::new(seed), seed);
        let mut lines: Vec<Line> = Vec::new();
        for leaf in &leaves {
            prop_assert_eq!(&Leaf::decode(&leaf.encode()), &Ok(leaf.clone()));
            if let Some(posting) = leaf.posting() {
                lines.extend(posting.lines.clone());
                prop_assert!(posting.owner != Owner::Hub || !lines.is_empty());
            } else {
                prop_assert_eq!(held(lines.iter()), BTreeMap::new());
                lines.clear();
            }
        }
    }

    #[test]
    fn a_summary_ends_its_leaves_and_a_correction_names_the_old_one(seed in any::<u64>()) {
        let (books, leaves) = play(&World::new(seed), seed);
        let mut summaries: BTreeMap<UtcMillis, (u64, u32)> = BTreeMap::new();
        for (index, leaf) in (0_u64..).zip(&leaves) {
            match &leaf.body {
                Body::Posting(_)
                | Body::Pruned(_)
                | Body::Snapshot(_)
                | Body::Statement(_)
                | Body::Period(_)
                | Body::Restatement(_) => {}
                Body::Adjustment { old_leaf, corrects, posting } => {
                    prop_assert!(*old_leaf < index);
                    let old = &leaves[usize::try_from(*old_leaf).unwrap()];
                    prop_assert_eq!(old.interval(), Some(posting.interval));
                    prop_assert!(posting.lines.iter().all(|line| line.seq > *corrects));
                    match old.posting() {
                        Some(old) => prop_assert_eq!(&old.owner, &posting.owner),
                        None => prop_assert!(matches!(old.body, Body::Summary(_))),
                    }
                }
                Body::Summary(summary) => {
                    let before = summaries.insert(summary.interval, (index, summary.revision));
                    prop_assert_eq!(summary.old_leaf, before.map(|(index, _)| index));
                    let revision = before.map_or(0, |(_, revision)| revision + 1);
                    prop_assert_eq!(summary.revision, revision);
                    let from = usize::try_from(index - u64::from(summary.leaves)).unwrap();
                    let own = &leaves[from..usize::try_from(index).unwrap()];
                    let lines = own.iter().filter_map(Leaf::posting).map(|p| p.lines.len());
                    prop_assert_eq!(lines.sum::<usize>() as u64, u64::from(summary.entries));
                    prop_assert_eq!(summary.supplied, summary.used);
                }
            }
        }
        // The last summary of each interval stands as the books stand.
        for interval in books.intervals() {
            let Some((index, _)) = summaries.get(&interval.start) else { continue };
            let Body::Summary(summary) = &leaves[usize::try_from(*index).unwrap()].body else {
                panic!("a summary");
            };
            let flows = books.flows_by_class(interval.start, interval.end);
            let is_used = |nature| nature == Nature::Sink;
            let used = flows.iter().filter(|(flow, _)| is_used(flow.debit.nature()));
            prop_assert_eq!(summary.used, used.map(|(_, amount)| amount).sum::<u128>());
        }
    }

    /// Goal: P7. Memory holds the entries that can still be corrected; the leaves have all, and
    /// from `entries_from` on the two tell the same.
    #[test]
    fn books_let_go_of_old_entries_and_leaves_have_them(seed in any::<u64>()) {
        let rules = Rules { keep: Millis::new(3_600_000), ..Rules::default() };
        let (books, leaves) = play_with(&World::new(seed), seed, rules);
        let (mut all, mut kept) = (BTreeMap::new(), BTreeMap::new());
        for leaf in &leaves {
            for line in leaf.posting().into_iter().flat_map(|posting| &posting.lines) {
                all.insert(line.seq, canonical(line, leaf));
                if leaf.interval().unwrap() >= books.entries_from() {
                    kept.insert(line.seq, canonical(line, leaf));
                }
            }
        }
        prop_assert!(all.keys().copied().eq(1..=all.len() as u64), "without a hole");
        let held = books.entries(books.entries_from(), UtcMillis::new(i64::MAX));
        let held: BTreeMap<u64, String> = held.map(|e| (e.seq, e.to_string())).collect();
        prop_assert_eq!(&held, &kept);
        // All of the world is over for longer than an hour: next to nothing is held.
        prop_assert!(held.len() * 4 <= all.len().max(4), "{} of {}", held.len(), all.len());
        prop_assert_eq!(books.imbalance(), 0);
    }

    #[test]
    fn the_same_history_gives_the_same_bytes(seed in any::<u64>()) {
        let world = World::new(seed);
        let bytes = |leaves: Vec<Leaf>| leaves.iter().map(Leaf::encode).collect::<Vec<_>>();
        prop_assert_eq!(bytes(play(&world, seed).1), bytes(play(&world, seed).1));
    }
}
