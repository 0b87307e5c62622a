//! One leaf, one encoding; and what may not be a leaf.

use proptest::prelude::*;

use super::*;
use crate::Class;
use crate::period::{Doubt, DoubtKind, Doubts, Figures};

fn account(text: &str) -> Account {
    text.parse().expect(text)
}

fn line(seq: u64, debit: &str, credit: &str, amount: u64) -> Line {
    let (debit, credit) = (account(debit), account(credit));
    Line { seq, debit, credit, class: Class::Measured, amount, is_reversal: false }
}

fn leaf(body: Body) -> Leaf {
    let hub = match body {
        Body::Pruned(_) | Body::Snapshot(_) => None,
        Body::Posting(_)
        | Body::Adjustment { .. }
        | Body::Summary(_)
        | Body::Statement(_)
        | Body::Period(_)
        | Body::Restatement(_) => Some(HubId::new("isb").expect("valid")),
    };
    let source = Source { first: 7, last: 9, hash: [0xAB; 32] };
    Leaf { rule_version: 1, hub, source, body }
}

fn of_node(lines: Vec<Line>) -> Posting {
    let owner = Owner::Node(NodeId::new("n1").expect("valid"));
    Posting { interval: UtcMillis::new(900_000), owner, part: 1, parts: 1, lines }
}

fn balanced() -> Vec<Line> {
    vec![
        line(3, "node:n1", "point:pdu-1", 300),
        line(5, "gpu:G0", "node:n1", 300),
        line(9, "project:climate/gpu_active", "gpu:G0", 250),
        line(10, "idle:unallocated", "gpu:G0", 50),
    ]
}

#[test]
fn a_leaf_that_leaves_energy_in_its_node_is_refused() {
    let whole = leaf(Body::Posting(of_node(balanced())));
    assert_eq!(Leaf::decode(&whole.encode()), Ok(whole));
    let mut lines = balanced();
    lines[3].amount = 49;
    let torn = leaf(Body::Posting(of_node(lines))).encode();
    let refused = LeafError::Unbalanced { owner: "node n1".into(), account: "gpu:G0".into() };
    assert_eq!(Leaf::decode(&torn), Err(refused));
}

/// Goal: two encodings of one leaf would be two hashes of one truth.
#[test]
fn there_is_no_second_encoding() {
    let bytes = leaf(Body::Posting(of_node(balanced()))).encode();
    let trailing = [&bytes[..], &[0]].concat();
    assert_eq!(Leaf::decode(&trailing), Err(LeafError::NotCanonical));
    for cut in 0..bytes.len() {
        assert!(Leaf::decode(&bytes[..cut]).is_err(), "cut at {cut}");
    }
    // The class byte of the first line, made 0; and a version to come.
    let mut newer = bytes;
    newer[0] = 2;
    assert_eq!(Leaf::decode(&newer), Err(LeafError::Version { found: 2 }));
}

fn accounts() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "grid:inc",
        "main",
        "point:a",
        "point:b",
        "loss:ups:a",
        "cooling:c",
        "unmetered:main",
        "project:x/host",
        "project:x/y/gpu_active",
        "dispute:a",
        "idle:unallocated",
    ])
}

fn lines() -> impl Strategy<Value = Vec<Line>> {
    let class = prop::sample::select(Class::ALL.to_vec());
    let one = (1_u32..9, accounts(), accounts(), class, 1..u64::MAX, any::<bool>());
    prop::collection::vec(one, 1..40).prop_map(|rows| {
        let mut seq = 0_u64;
        let line = |(gap, debit, credit, class, amount, is_reversal)| {
            seq = seq.saturating_add(u64::from(gap));
            let (debit, credit) = (account(debit), account(credit));
            Line { seq, debit, credit, class, amount, is_reversal }
        };
        rows.into_iter().map(line).collect()
    })
}

fn summary() -> impl Strategy<Value = Summary> {
    let reasons = prop::collection::vec((any::<bool>(), "[a-z :0-9]{0,40}"), 0..5);
    let parts = (any::<u128>(), any::<u128>(), 1_u8..4, any::<bool>());
    (reasons, parts, 0_u32..3, any::<u64>()).prop_map(|(reasons, parts, revision, number)| {
        let reason = |(is_dispute, words)| ReasonShown { is_dispute, words };
        let (total, it, category, is_withheld) = parts;
        let pue = if is_withheld {
            PueShown::Withheld(Withheld::MissingMeter { meter: "m".into() })
        } else {
            PueShown::Parts {
                total,
                it,
                by_source: [(Role::Grid, it), (Role::Solar, 0)].into(),
                store_drawn: 1,
                estimated: total,
                category: Category::from_number(category).expect("1 to 3"),
            }
        };
        Summary {
            interval: UtcMillis::new(900_000),
            end: UtcMillis::new(1_800_000),
            revision,
            old_leaf: (revision > 0).then_some(number >> 1),
            leaves: 3,
            first_entry: number,
            entries: 5,
            supplied: total,
            used: it,
            pue,
            reasons: reasons.into_iter().map(reason).collect(),
            reasons_more: 0,
        }
    })
}

fn figures(number: u64) -> Figures {
    let (supplied, used) = (u128::from(number) << 60, u128::from(number));
    Figures { expected: 9, posted: 8, supplied, used, it: 3, ..Figures::default() }
}

fn period(number: u64) -> PeriodClosed {
    let doubt = |from: i64, kind| Doubt {
        from: UtcMillis::new(from),
        to: UtcMillis::new(from.saturating_add(5)),
        kind,
        words: "point lights has no meter".into(),
    };
    let list = vec![doubt(1, DoubtKind::Incomplete), doubt(2, DoubtKind::NotPosted)];
    PeriodClosed {
        month: "2026-07".parse().expect("a month"),
        from: UtcMillis::new(0),
        to: UtcMillis::new(10),
        leaves: number,
        figures: figures(number),
        by: "A. Khan".into(),
        despite: number.is_multiple_of(2).then(|| "lights are small".into()),
        doubts: Doubts { list, more: 2 },
    }
}

fn restatement(number: u64) -> Restatement {
    let PeriodClosed { month, from, to, figures: old, .. } = period(number);
    Restatement {
        month,
        from,
        to,
        closed: number,
        old_leaf: number,
        by: number.is_multiple_of(2).then(|| "A. Khan".into()),
        cause: "node n7 was away".into(),
        entries: number.is_multiple_of(3).then_some((7, number)),
        old,
        new: figures(number / 2),
        moved: number.into(),
    }
}

#[test]
fn a_leaf_of_a_month_says_what_follows_from_it_and_nothing_else() {
    let bytes = leaf(Body::Restatement(Box::new(restatement(6)))).encode();
    for last in 1..=4 {
        let mut other = bytes.clone();
        let at = other.len() - last;
        other[at] ^= 1;
        assert_eq!(Leaf::decode(&other), Err(LeafError::NotCanonical), "materiality is computed");
    }
    let nobody = PeriodClosed { by: String::new(), ..period(1) };
    let nobody = leaf(Body::Period(Box::new(nobody))).encode();
    assert_eq!(Leaf::decode(&nobody), Err(LeafError::Field { field: "by" }));
}

proptest! {
    #[test]
    fn what_is_encoded_decodes_and_what_decodes_encodes_the_same(
        lines in lines(), summary in summary(), old in any::<u64>(), number in any::<u64>(),
    ) {
        let owner = Owner::Point(PointId::new("a").expect("valid"));
        let posting = Posting { owner, ..of_node(lines) };
        let sha256 = [7; 32];
        let pruned = Pruned { segment: number, first: 1, last: old, bytes: number, sha256 };
        for body in [
            Body::Posting(posting.clone()),
            Body::Adjustment { old_leaf: old, corrects: number, posting },
            Body::Summary(summary),
            Body::Pruned(pruned),
            Body::Snapshot(Snapshot { bytes: number, sha256 }),
            Body::Period(Box::new(period(number))),
            Body::Restatement(Box::new(restatement(number))),
        ] {
            let leaf = leaf(body);
            prop_assert_eq!(Leaf::decode(&leaf.encode()), Ok(leaf));
        }
    }

    #[test]
    fn no_bytes_make_it_panic_and_no_flip_is_the_same_leaf(
        lines in lines(), at in any::<prop::sample::Index>(), bit in 0_u8..8,
        noise in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        drop(Leaf::decode(&noise));
        let owner = Owner::Hub;
        let leaf = leaf(Body::Posting(Posting { owner, ..of_node(lines) }));
        let mut bytes = leaf.encode();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        if let Ok(other) = Leaf::decode(&bytes) {
            prop_assert_ne!(&other, &leaf);
            prop_assert_eq!(other.encode(), bytes);
        }
    }
}
