//! The index lost, behind, damaged and edited by hand: in the end it says what the log says.

use std::path::Path;
use std::sync::{Arc, Mutex};

use bijli_ledger::leaf::{Body, Line, Owner, Posting, PueShown, Source, Summary};
use bijli_ledger::{Class, Leaf};
use bijli_seglog::testing::ModelDisk;
use bijli_seglog::{Disk, DiskFile, Log, RealDisk};
use bijli_wire::{HubId, NodeId, UtcMillis};

use super::thread::{Keeper, Needs};
use super::*;
use crate::clock::Clock;
use crate::disk;
use crate::health::Health;
use crate::leaves::open;

/// 2026-06-30T23:45Z: the second interval is of another month.
const START: i64 = 1_782_863_100_000;
const QUARTER: i64 = 900_000;

fn hub() -> HubId {
    HubId::new("isb").expect("valid")
}

fn leaf(last: u64, body: Body) -> Leaf {
    let source = Source { first: last, last, hash: [7; 32] };
    Leaf { rule_version: 1, hub: Some(hub()), source, body }
}

fn line(seq: u64, debit: &str, credit: &str, amount: u64) -> Line {
    let (debit, credit) = (debit.parse().expect("known"), credit.parse().expect("known"));
    Line { seq, debit, credit, class: Class::Measured, amount, is_reversal: false }
}

fn summary(interval: i64, revision: u32, first_entry: u64, entries: u32) -> Body {
    Body::Summary(Summary {
        interval: UtcMillis::new(interval),
        end: UtcMillis::new(interval + QUARTER),
        revision,
        old_leaf: (revision > 0).then_some(1),
        leaves: 1,
        first_entry,
        entries,
        supplied: 900,
        used: 900,
        pue: PueShown::Withheld(bijli_ledger::Withheld::NoSupplyMeter),
        reasons: Vec::new(),
        reasons_more: 0,
    })
}

/// Six intervals of a node over the turn of a month, and a correction of the first.
fn leaves() -> Vec<Leaf> {
    let posting = |interval, lines| Posting {
        interval: UtcMillis::new(interval),
        owner: Owner::Node(NodeId::new("n1").expect("valid")),
        part: 1,
        parts: 1,
        lines,
    };
    let mut leaves = Vec::new();
    for number in 0..6_u64 {
        let interval = START + QUARTER * i64::try_from(number).expect("small");
        let seq = number * 3 + 1;
        let amount = u64::from(u32::MAX) * 1_000_000 + number;
        let lines = vec![
            line(seq, "node:n1", "point:pdu", amount),
            line(seq + 1, "gpu:G0", "node:n1", amount),
            line(seq + 2, "project:climate/gpu_active", "gpu:G0", amount),
        ];
        leaves.push(leaf(number, Body::Posting(posting(interval, lines))));
        leaves.push(leaf(number, summary(interval, 0, seq, 3)));
    }
    let back = line(20, "gpu:G0", "project:climate/gpu_active", 5);
    let lines = vec![line(19, "idle:unallocated", "gpu:G0", 5), Line { is_reversal: true, ..back }];
    let corrected = Body::Adjustment { old_leaf: 0, corrects: 1, posting: posting(START, lines) };
    leaves.push(leaf(9, corrected));
    leaves.push(leaf(9, summary(START, 1, 19, 2)));
    leaves
}

fn log(leaves: &[Leaf]) -> Arc<Mutex<Log<ModelDisk>>> {
    let (mut log, _) = open(ModelDisk::new(1), Path::new("/ledger")).expect("opens");
    for leaf in leaves {
        log.append(&leaf.encode()).expect("fits");
    }
    log.commit().expect("no fault");
    Arc::new(Mutex::new(log))
}

fn keeper(dir: &Path, leaves: &[Leaf]) -> (Keeper<ModelDisk>, Health) {
    let health = Health::new();
    let (store, _) = Store::open(dir).expect("opens");
    (Keeper::new(store, log(leaves), health.clone()), health)
}

fn scope() -> Scope {
    let (from, to) = (UtcMillis::new(START), UtcMillis::new(START + 6 * QUARTER));
    Scope { hub: hub(), from, to, before: None }
}

fn read(path: &Path) -> Vec<u8> {
    let file = RealDisk.open_read(path).expect("there");
    let mut bytes = vec![0; usize::try_from(file.len().expect("there")).expect("small")];
    assert_eq!(file.read_at(0, &mut bytes).expect("there"), bytes.len());
    bytes
}

fn write(path: &Path, bytes: &[u8]) {
    RealDisk.create(path).expect("made").write_at(0, bytes).expect("written");
}

type Answers = (Vec<EntryRow>, Vec<Sum>, Vec<Sum>);

fn answers(keeper: &mut Keeper<ModelDisk>) -> Answers {
    keeper.up_to_date().expect("small");
    let store = &keeper.store;
    let entries = store.entries(&scope(), 0, 100).expect("whole");
    let sums = store.sums(&scope(), false).expect("whole");
    (entries, sums, store.sums(&scope(), true).expect("whole"))
}

fn compare_all(keeper: &mut Keeper<ModelDisk>) {
    keeper.up_to_date().expect("small");
    keeper.mended(Keeper::compare);
}

#[test]
fn the_rows_are_the_entries_and_pages_join() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut keeper, _) = keeper(dir.path(), &leaves());
    let (entries, sums, by_interval) = answers(&mut keeper);
    assert_eq!(entries.iter().map(|row| row.line.seq).collect::<Vec<_>>(), Vec::from_iter(1..=20));
    let leaves = leaves();
    let lines = leaves.iter().filter_map(Leaf::posting).flat_map(|posting| &posting.lines);
    assert!(entries.iter().map(|row| &row.line).eq(lines));
    assert_eq!(entries[18].corrects, Some(1));
    let page = keeper.store.entries(&scope(), 7, 4).expect("whole");
    assert_eq!(page, entries[7..11]);
    // More than 2^63 in sum, exactly; two files have a part each.
    let fed = |sums: &[Sum]| {
        let to_gpu =
            sums.iter().filter(|sum| sum.debit.to_string() == "gpu:G0" && !sum.is_reversal);
        to_gpu.map(|sum| sum.amount).sum::<u128>()
    };
    let exact = 6 * u128::from(u32::MAX) * 1_000_000 + 15;
    assert_eq!((fed(&sums), fed(&by_interval)), (exact, exact));
    assert_eq!(
        disk::list(dir.path()).expect("there").iter().filter(|n| n.ends_with("ite")).count(),
        2
    );
}

/// Goal: C5. Behind, deleted in part, deleted wholly, of a log that is no more.
#[test]
fn c5_an_index_that_is_behind_lost_or_of_another_log_is_made_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let expected = answers(&mut keeper(dir.path(), &leaves()).0);
    let behind = tempfile::tempdir().expect("a directory");
    answers(&mut keeper(behind.path(), &leaves()[..5]).0);
    assert_eq!(answers(&mut keeper(behind.path(), &leaves()).0), expected, "behind");
    for month in ["2026-06.sqlite", "2026-07.sqlite"] {
        disk::remove(&dir.path().join(month)).expect("removed");
        let (mut after, _) = keeper(dir.path(), &leaves());
        assert_eq!(answers(&mut after), expected, "{month} deleted");
    }
    // The log was restored from a copy, and has fewer leaves than the index.
    let (mut restored, health) = keeper(dir.path(), &leaves()[..4]);
    restored.mended(Keeper::step);
    assert_eq!(health.ledger.index_rebuilds.get(), 1);
    let (entries, ..) = answers(&mut restored);
    assert_eq!(entries.len(), 6);
}

/// Goal: O3. Somebody changes an amount, moves an entry, or deletes one.
#[test]
fn o3_a_row_edited_by_hand_is_found_and_made_again() {
    for edit in [
        "UPDATE entry SET amount_mj = amount_mj - 1 WHERE seq = 9",
        "UPDATE entry SET credit = debit WHERE seq = 9",
        "DELETE FROM entry WHERE seq = 9",
        "UPDATE summary SET used_mj = '1' WHERE leaf = 7",
        "UPDATE account SET name = 'project:me/gpu_active' WHERE name LIKE 'project:%'",
        "UPDATE leaf SET last_record = 1 WHERE leaf = 8",
        "UPDATE used SET amount_mj = amount_mj + 1 WHERE leaf = 7",
        "DELETE FROM used WHERE leaf = 7",
    ] {
        let dir = tempfile::tempdir().expect("a directory");
        let expected = answers(&mut keeper(dir.path(), &leaves()).0);
        let hand = rusqlite::Connection::open(dir.path().join("2026-07.sqlite")).expect("opens");
        assert!(hand.execute(edit, []).expect("done") > 0, "{edit}");
        drop(hand);
        let (mut after, health) = keeper(dir.path(), &leaves());
        compare_all(&mut after);
        assert_eq!(health.ledger.index_differences.get(), 1, "{edit}");
        assert_eq!(answers(&mut after), expected, "{edit}");
    }
}

/// Goal: D5. Whatever byte of a file is spoilt, after a comparison the answers are right.
#[test]
fn d5_a_spoilt_byte_of_a_file_never_survives_a_comparison() {
    let dir = tempfile::tempdir().expect("a directory");
    let expected = answers(&mut keeper(dir.path(), &leaves()).0);
    let path = dir.path().join("2026-07.sqlite");
    let whole = read(&path);
    let mut noticed = 0;
    for at in (0..whole.len()).step_by(whole.len() / 300) {
        let mut spoilt = whole.clone();
        spoilt[at] ^= 0x41;
        write(&path, &spoilt);
        let (mut after, health) = keeper(dir.path(), &leaves());
        compare_all(&mut after);
        assert_eq!(answers(&mut after), expected, "byte {at}");
        noticed += health.ledger.index_rebuilds.get();
    }
    // Most bytes of a small file are unused; those that are used were noticed.
    assert!(noticed > 4, "{noticed}");
}

/// Goal: a leaf that the log has lost has no rows, and keeps its place.
#[test]
fn d5_a_leaf_that_the_log_lost_costs_its_own_rows_only() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut store, _) = Store::open(dir.path()).expect("opens");
    let mut with_gap: Vec<Option<Leaf>> = leaves().into_iter().map(Some).collect();
    with_gap[2] = None;
    store.take(&with_gap).expect("taken");
    drop(store);
    let (again, was_made_anew) = Store::open(dir.path()).expect("opens");
    assert_eq!((again.next(), was_made_anew), (14, false));
    let entries = again.entries(&scope(), 0, 100).expect("whole");
    assert_eq!(entries.len(), 17);
}

/// Goal: no false alarm. Leaves that were written since the index last looked have no rows yet, and
/// a comparison that comes upon them ends there.
#[test]
fn leaves_that_are_newer_than_the_index_are_not_missing_from_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut keeper, health) = keeper(dir.path(), &leaves()[..6]);
    keeper.up_to_date().expect("small");
    keeper.append(&leaves()[6..]);
    keeper.mended(Keeper::compare);
    assert_eq!(health.ledger.index_differences.get(), 0);
    assert_eq!((keeper.store.next(), health.ledger.index_rebuilds.get()), (6, 0));
    compare_all(&mut keeper);
    assert_eq!(health.ledger.index_differences.get(), 0);
}

/// Guards against sums without what was just booked (found by the test of a collector that was
/// down for 40 days, on a busy machine): the books had let go of entries whose leaves the log did
/// not have yet.
#[test]
fn a_question_waits_for_leaves_that_are_made_and_not_in_the_log() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut keeper, _) = keeper(dir.path(), &leaves()[..6]);
    let needs = |leaves| Needs { leaves, until: Clock.instant() };
    keeper.catch_up(needs(0)).expect("they are in the log");
    assert_eq!(keeper.store.next(), 6, "a start that made none yet knows those of the log");
    keeper.append(&leaves()[6..8]);
    let refused = keeper.catch_up(needs(14)).expect_err("six are made and not in the log yet");
    assert!(matches!(refused, Unavailable::Unwritten { done: 8, total: 14 }), "{refused}");
    keeper.append(&leaves()[8..]);
    keeper.catch_up(needs(14)).expect("now they are");
}

/// Sums of use by account, as of so many leaves.
fn used(store: &Store, before: Option<u64>) -> Vec<(String, i128)> {
    let mut sums = std::collections::BTreeMap::new();
    let scope = Scope { before, ..scope() };
    let mut add = |_, user: &bijli_ledger::Account, _, amount: i128| {
        *sums.entry(user.to_string()).or_default() += amount;
    };
    store.used(&scope, &|_| true, &mut add).expect("whole");
    sums.into_iter().filter(|(_, amount)| *amount != 0).collect()
}

/// Goal: O4. What the first leaves say stays what they said when there were no more, by the sums
/// of postings and entry by entry.
#[test]
fn o4_sums_as_of_earlier_leaves_are_those_of_then() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut keeper, _) = keeper(dir.path(), &leaves()[..12]);
    keeper.up_to_date().expect("small");
    let then = (used(&keeper.store, None), keeper.store.sums(&scope(), true).expect("whole"));
    keeper.append(&leaves()[12..]);
    keeper.up_to_date().expect("small");
    let now = used(&keeper.store, None);
    let whole = 6 * i128::from(u32::MAX) * 1_000_000 + 15;
    let climate = "project:climate/gpu_active".to_owned();
    assert_eq!(then.0, [(climate.clone(), whole)]);
    assert_eq!(now, [("idle:unallocated".to_owned(), 5), (climate, whole - 5)]);
    let scope = Scope { before: Some(12), ..scope() };
    assert_eq!(used(&keeper.store, Some(12)), then.0);
    assert_eq!(keeper.store.sums(&scope, true).expect("whole"), then.1);
    assert_eq!(keeper.store.entries(&scope, 0, 100).expect("whole").len(), 18);
    // A posting counts when its summary is there.
    assert_eq!(used(&keeper.store, Some(13)), then.0);
    assert_eq!(used(&keeper.store, Some(1)), []);
    assert_eq!(used(&keeper.store, Some(2)).len(), 1);
    let mut by_node = std::collections::BTreeMap::new();
    let mut add = |one: Posted<'_>| {
        *by_node.entry((one.owner.to_owned(), one.giver.to_string())).or_default() += one.amount;
    };
    let of_climate = |user: &bijli_ledger::Account| user.project().is_some();
    keeper.store.posted(&super::tests::scope(), &of_climate, &mut add).expect("whole");
    let by_node: Vec<((String, String), i128)> = by_node.into_iter().collect();
    assert_eq!(by_node, [(("node n1".to_owned(), "gpu:G0".to_owned()), whole - 5)]);
    assert_eq!(keeper.store.closed(&scope).expect("whole"), 6);
}
