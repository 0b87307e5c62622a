//! Bills: nothing is lost in them, whatever the registry says.

use proptest::prelude::*;

use super::*;
use crate::projects::registry::{Change, Registry};
use crate::projects::text::tests::text;
use crate::projects::text::{ClaimText, DatedText};

const QUARTER: i64 = 900_000;
/// 2026-08-01T00:00:00Z.
const AUGUST: i64 = 1_785_542_400_000;
const DAY: i64 = 86_400_000;

fn id(name: &str) -> ProjectId {
    ProjectId::new(name).expect("a name")
}

fn project(account: &str, share: Share) -> Account {
    Account::Project(id(account), share)
}

fn ask(registry: &Registry, only: Option<&str>) -> Ask {
    let projects = registry.now().clone();
    Ask { projects, only: only.map(id), offset: "+05:00".parse().expect("an offset") }
}

/// `fire` is the monsoon project's until the tenth day, the glacier project's from then on.
fn registry() -> Registry {
    let mut registry = Registry::default();
    let mut number = 0;
    let mut put = |name: &str, from: Option<&str>, to: Option<&str>| {
        let day = |day: Option<&str>| day.map(|day| format!("{day}T00:00:00Z"));
        let mut text = text(name, &[]);
        let (from, to) = (day(from), day(to));
        text.accounts.push(ClaimText::Dated(DatedText { name: "fire".into(), from, to }));
        let change = Change::Put(Box::new(text.read().expect("sound")));
        number += 1;
        let _new = registry.make(change, (UtcMillis::new(0), number), 900_000).expect("sound");
    };
    put("monsoon", None, Some("2026-08-10"));
    put("glacier", Some("2026-08-10"), None);
    registry
}

/// One millijoule more each day for `fire`, in two shares, and seven for nobody.
fn filled(ask: &Ask, by: By, terms: BTreeMap<UtcMillis, Terms>) -> BTreeMap<Key, Used> {
    let mut bill = Bill::new(ask, by, terms);
    for (share, more) in [(Share::GpuActive, 0), (Share::Host, 100)] {
        for day in 0..40_i64 {
            let user = project("fire", share);
            let start = UtcMillis::new(AUGUST + day * DAY);
            if ask.wants(&user) {
                bill.add(start, &user, Class::Measured, i128::from(day + more));
            }
        }
    }
    if ask.wants(&Account::IdleUnallocated) {
        bill.add(UtcMillis::new(AUGUST), &Account::IdleUnallocated, Class::Measured, 7);
    }
    bill.rows()
}

#[test]
fn an_interval_belongs_to_whose_the_account_is_when_it_begins() {
    let (registry, none) = (registry(), BTreeMap::new());
    let all = ask(&registry, None);
    let rows = filled(&all, By::Whose, none.clone());
    let it = |key: Whose| rows.get(&Key::Whose(key)).map(|used| used.energy().it());
    // Days 0 to 8, 9 to 30, and 31 to 39, when both have ended: 2 x their sum, and 100 each.
    assert_eq!(it(Whose::Project(id("monsoon"))), Some(2 * 36 + 900));
    assert_eq!(it(Whose::Project(id("glacier"))), Some(2 * 429 + 2_200));
    assert_eq!(it(Whose::Account(id("fire"))), Some(2 * 315 + 900));
    let nobody = rows.get(&Key::Whose(Whose::Nobody(Account::IdleUnallocated)));
    assert_eq!(nobody.map(Used::nobody), Some(7));
    let only = ask(&registry, Some("glacier"));
    let rows = filled(&only, By::Whose, none.clone());
    assert_eq!(rows.len(), 1);
    assert_eq!(rows.values().next().map(|used| used.energy().it()), Some(2 * 429 + 2_200));
    // Under the account's own name there is only what no project claims.
    let rows = filled(&ask(&registry, Some("fire")), By::Whose, none);
    let it: Vec<u128> = rows.values().map(|used| used.energy().it()).collect();
    assert_eq!(it, [2 * 315 + 900]);
}

#[test]
fn days_and_months_begin_where_the_hub_says() {
    let registry = Registry::default();
    let all = ask(&registry, None);
    let rows = filled(&all, By::Month, BTreeMap::new());
    let months: Vec<&Key> = rows.keys().collect();
    assert_eq!(months, [&Key::Month("2026-08".into()), &Key::Month("2026-09".into())]);
    let mut bill = Bill::new(&all, By::Day, BTreeMap::new());
    let user = project("fire", Share::Host);
    // 23:45 and midnight, by clocks five hours ahead.
    for start in [AUGUST - 5 * 3_600_000 - QUARTER, AUGUST - 5 * 3_600_000] {
        bill.add(UtcMillis::new(start), &user, Class::Derived, 1);
    }
    let days: Vec<String> = bill
        .rows()
        .keys()
        .map(|key| if let Key::Day(date) = key { date.to_string() } else { String::new() })
        .collect();
    assert_eq!(days, ["2026-07-31", "2026-08-01"]);
}

/// By hand: a project of two accounts with 10 and 11 mJ in an interval of PUE 4/3.
#[test]
fn what_the_facility_needed_is_rounded_down_per_account_and_interval() {
    let mut registry = Registry::default();
    let change = Change::Put(Box::new(text("monsoon", &["fire", "water"]).read().expect("sound")));
    let _new = registry.make(change, (UtcMillis::new(0), 0), 900_000).expect("sound");
    let all = ask(&registry, None);
    let start = UtcMillis::new(AUGUST);
    let mut bill = Bill::new(&all, By::Whose, BTreeMap::from([(start, (400, 300))]));
    bill.add(start, &project("fire", Share::GpuActive), Class::Measured, 4);
    bill.add(start, &project("fire", Share::Host), Class::Derived, 6);
    bill.add(start, &project("water", Share::Host), Class::Derived, 11);
    // Of the interval after it nothing is known of PUE.
    bill.add(UtcMillis::new(AUGUST + QUARTER), &project("water", Share::Host), Class::Derived, 50);
    let rows = bill.rows();
    let energy = rows.values().next().expect("a row").energy();
    assert_eq!((energy.it(), energy.it_with_pue), (71, 21));
    assert_eq!(energy.facility, 13 + 14, "10 x 4/3 and 11 x 4/3, each rounded down");
    assert_eq!(energy.by_class.get(Class::Measured), 4);
}

proptest! {
    /// Goal: whatever is registered in whatever order, and however it is grouped, every millijoule
    /// stands in exactly one row; and the bills of all who have a row sum to the bill of all.
    #[test]
    fn rows_sum_to_what_was_booked(
        changes in proptest::collection::vec((0..4_u8, 0..4_u8, 0..20_i64, 1..20_i64), 0..12),
        booked in proptest::collection::vec((0..4_u8, 0..40_i64, 0..3_usize, 1..9_i64), 1..60),
    ) {
        let mut registry = Registry::default();
        for (number, (project, account, from, days)) in (1_u64..).zip(changes) {
            let day = |day: i64| crate::calendar::rfc3339(UtcMillis::new(AUGUST + day * DAY));
            let mut text = text(&format!("p{project}"), &[&format!("a{account}")]);
            (text.from, text.to) = (day(from), Some(day(from + days)));
            let change = Change::Put(Box::new(text.read().expect("sound")));
            let _maybe = registry.make(change, (UtcMillis::new(0), number), 900_000);
        }
        let shares = [Share::GpuActive, Share::GpuHeldIdle, Share::Host];
        let whole: i64 = booked.iter().map(|(.., amount)| *amount).sum();
        let bill = |ask: &Ask, by: By| -> (u128, Vec<Key>) {
            let mut bill = Bill::new(ask, by, BTreeMap::new());
            for (account, day, share, amount) in &booked {
                let user = project(&format!("a{account}"), shares[*share]);
                let start = UtcMillis::new(AUGUST + day * DAY);
                if ask.wants(&user) {
                    bill.add(start, &user, Class::Measured, i128::from(*amount));
                }
            }
            let rows = bill.rows();
            (rows.values().map(|used| used.energy().it()).sum(), rows.into_keys().collect())
        };
        let whole = u128::try_from(whole).expect("positive");
        let all = ask(&registry, None);
        for by in [By::Whose, By::Account, By::Day, By::Month] {
            prop_assert_eq!(bill(&all, by).0, whole, "{:?}", by);
        }
        let mut each = 0;
        for key in bill(&all, By::Whose).1 {
            let Key::Whose(Whose::Project(name) | Whose::Account(name)) = key else {
                panic!("{key:?}")
            };
            let name = name.to_string();
            each += bill(&ask(&registry, Some(&name)), By::Whose).0;
        }
        prop_assert_eq!(each, whole);
    }
}
