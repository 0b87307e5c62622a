//! The registry: who may claim what, and what it said at any earlier moment.

use proptest::prelude::*;

use super::*;
use crate::projects::text::tests::{HOSTILE, text};
use crate::projects::text::{ClaimText, DatedText, ProjectText};

const QUARTER: u64 = 900_000;
/// 2026-08-01T00:00:00Z.
const AUGUST: i64 = 1_785_542_400_000;
const DAY: i64 = 86_400_000;

fn id(name: &str) -> ProjectId {
    ProjectId::new(name).expect("a name")
}

fn put(text: &ProjectText) -> Change {
    Change::Put(Box::new(text.read().expect("sound")))
}

fn delete(name: &str) -> Change {
    Change::Delete { id: id(name), who: "A. Khan".into(), why: "ended".into() }
}

/// Makes changes, the first when the books had ten leaves, each with ten more.
fn registry(changes: impl IntoIterator<Item = Change>) -> Registry {
    let mut registry = Registry::default();
    for (change, number) in changes.into_iter().zip(1_u32..) {
        let when = (UtcMillis::new(i64::from(number) * 1_000), u64::from(number) * 10);
        let _new = registry.make(change, when, QUARTER).expect("sound");
    }
    registry
}

fn refused(registry: &mut Registry, text: &ProjectText) -> String {
    let when = (UtcMillis::new(0), 0);
    registry.make(put(text), when, QUARTER).expect_err("refused").to_string()
}

fn dated(name: &str, from: Option<&str>, to: Option<&str>) -> ClaimText {
    let words = |text: Option<&str>| text.map(|day| format!("{day}T00:00:00Z"));
    ClaimText::Dated(DatedText { name: name.into(), from: words(from), to: words(to) })
}

#[test]
fn an_account_moves_from_one_project_to_another_on_an_edge() {
    let mut one = text("one", &[]);
    one.accounts.push(dated("fire", None, Some("2026-08-11")));
    let mut two = text("two", &[]);
    two.namespaces.push(dated("fire", Some("2026-08-11"), None));
    let registry = registry([put(&one), put(&two)]);
    let owner = |at: i64| registry.now().owner(&id("fire"), UtcMillis::new(at));
    assert_eq!(owner(AUGUST - 1), None, "before both it is nobody's");
    assert_eq!(owner(AUGUST), Some(&id("one")));
    assert_eq!(owner(AUGUST + 10 * DAY - 1), Some(&id("one")));
    assert_eq!(owner(AUGUST + 10 * DAY), Some(&id("two")));
    assert_eq!(owner(AUGUST + 31 * DAY), None, "and after both again");
    assert_eq!(
        registry.now().owner(&id("one"), UtcMillis::new(AUGUST)),
        None,
        "a name is no claim"
    );
}

#[test]
fn what_breaks_a_rule_is_refused_in_words_and_changes_nothing() {
    let mut registry = registry([put(&text("one", &["fire"]))]);
    let before = registry.now().clone();
    let wrong = |change: &dyn Fn(&mut ProjectText)| {
        let mut text = text("two", &["water"]);
        change(&mut text);
        text
    };
    for (text, part) in [
        (wrong(&|t| t.accounts.push(ClaimText::Name("fire".into()))), "is project one's from 2026"),
        (wrong(&|t| t.from = "2026-08-01T00:07:00Z".into()), "lies within an interval"),
        (wrong(&|t| t.to = Some("2026-08-01T00:00:00Z".into())), "not after its start"),
        (wrong(&|t| t.accounts.push(dated("x", Some("2026-07-01"), None))), "beyond the time"),
        (wrong(&|t| t.accounts = vec![ClaimText::Name("x".into()); 257]), "256 accounts"),
        (wrong(&|t| t.title = "a\nb".into()), "title has a control character"),
        (wrong(&|t| t.title = String::new()), "title has 0 bytes"),
        (wrong(&|t| t.why = String::new()), "why has 0 bytes; it needs 1"),
        (wrong(&|t| t.grant = "x".repeat(257)), "grant has 257 bytes"),
    ] {
        let words = refused(&mut registry, &text);
        assert!(words.contains(part), "{words}");
    }
    let unknown = registry.make(delete("three"), (UtcMillis::new(0), 0), QUARTER);
    assert_eq!(unknown, Err(ProjectError::Unknown { id: id("three") }));
    assert_eq!((registry.now(), registry.changes()), (&before, 1));
}

#[test]
fn the_same_again_changes_nothing_and_other_content_replaces() {
    let one = text("one", &["fire"]);
    let mut registry = registry([put(&one)]);
    let when = (UtcMillis::new(9_000), 90);
    assert_eq!(registry.make(put(&one), when, QUARTER), Ok(Registered::Unchanged));
    let renamed = ProjectText { title: HOSTILE.into(), accounts: Vec::new(), ..one };
    assert_eq!(registry.make(put(&renamed), when, QUARTER), Ok(Registered::Replaced));
    assert_eq!(registry.now().owner(&id("fire"), UtcMillis::new(AUGUST)), None);
    assert_eq!(registry.make(delete("one"), when, QUARTER), Ok(Registered::Deleted));
    assert_eq!((registry.now().iter().count(), registry.changes()), (0, 3));
    assert_eq!(registry.history(&id("one")).count(), 3, "nothing is erased");
}

/// Goal: O4 for the registry. What it said at any earlier moment, by leaves and by time.
#[test]
fn o4_the_registry_of_an_earlier_moment_is_the_same_for_ever() {
    let changes = || {
        let moved = text("two", &["fire"]);
        [put(&text("one", &["fire"])), delete("one"), put(&moved)]
    };
    let registry = registry(changes());
    let fire = |changes: usize| {
        let projects = registry.as_of(changes).expect("so many were made");
        projects.owner(&id("fire"), UtcMillis::new(AUGUST)).cloned()
    };
    assert_eq!([0, 1, 2, 3].map(fire), [None, Some(id("one")), None, Some(id("two"))]);
    assert_eq!([9, 10, 19, 20, 30, 99].map(|n| registry.changes_by_leaves(n)), [0, 1, 1, 2, 3, 3]);
    let times = [999, 1_000, 2_999, 3_000].map(|ms| registry.changes_by(UtcMillis::new(ms)));
    assert_eq!(times, [0, 1, 2, 3]);
    assert!(registry.as_of(4).is_err());
    let again = Registry::restored(registry.kept());
    assert_eq!((again.now(), &again.made), (registry.now(), &registry.made), "in a snapshot too");
}

proptest! {
    /// Goal: projects that do not touch each other may be told in any order.
    #[test]
    fn any_order_of_projects_that_share_no_account_gives_the_same(
        order in Just((0..6_u8).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        let change = |number: &u8| put(&text(&format!("p{number}"), &[&format!("a{number}")]));
        let shuffled = registry(order.iter().map(change));
        let sorted = registry((0..6).map(|number| change(&number)));
        prop_assert_eq!(shuffled.now(), sorted.now());
    }

    /// Goal: whatever was changed in whatever order, at no moment has an account two owners, and
    /// a replay of the changes gives the same projects.
    #[test]
    fn an_account_never_has_two_owners(
        steps in proptest::collection::vec((0..4_u8, 0..3_u8, 0..20_i64, 1..20_i64), 1..30),
    ) {
        let mut registry = Registry::default();
        for (number, (project, account, from, days)) in (1_u64..).zip(steps) {
            let day = |day: i64| calendar::rfc3339(UtcMillis::new(AUGUST + day * DAY));
            let text = ProjectText {
                from: day(from),
                to: Some(day(from + days)),
                ..text(&format!("p{project}"), &[&format!("a{account}")])
            };
            let _maybe = registry.make(put(&text), (UtcMillis::new(0), number), QUARTER);
        }
        for account in 0..3 {
            let account = id(&format!("a{account}"));
            for day in 0..40 {
                let at = AUGUST + day * DAY;
                let claims = registry.now().iter().flat_map(Project::claims);
                let mine = claims.filter(|claim| claim.account == account);
                let here = mine.filter(|claim| (claim.span().0..claim.span().1).contains(&at));
                let count = here.count();
                prop_assert!(count <= 1);
                let owner = registry.now().owner(&account, UtcMillis::new(at));
                prop_assert_eq!(owner.is_some(), count == 1);
            }
        }
        let again = registry.as_of(registry.changes()).expect("all");
        prop_assert_eq!(&again, registry.now());
        prop_assert_eq!(&folded(&registry.made), registry.now());
    }
}
