//! The spool against the model disk: crashes, damage, a full disk, a full spool.

use std::path::Path;
use std::sync::Arc;

use bijli_seglog::testing::ModelDisk;
use bijli_wire::message::EventKind;
use bijli_wire::{BatchSeq, HubId, Millis, NodeId, SpoolEpoch, UtcMillis, codec};

use super::{BYTES_MIN, Fresh, Limits, Opened, Owner, Page, Reason, Spool, SpoolError, Stored};
use crate::draft::{Draft, EncodedSchema};

pub(super) const NOW: UtcMillis = UtcMillis::new(1_800_000_000_000);
const NEVER: Reason<'_> = Reason { code: "malformed_body", leaves_gap: true, is_bare: false };

pub(super) fn seq(number: u64) -> BatchSeq {
    BatchSeq::new(number).unwrap()
}

pub(super) fn owner() -> Owner {
    Owner {
        hub: HubId::new("h").unwrap(),
        node: NodeId::new("n").unwrap(),
        agent: "test".to_owned(),
    }
}

fn try_open(
    disk: &ModelDisk,
    keep_acked: u64,
    epoch: u8,
) -> Result<(Spool<ModelDisk>, Opened), SpoolError> {
    let limits = Limits { bytes_max: BYTES_MIN, keep_acked: Millis::new(keep_acked) };
    let fresh = Fresh { epoch: SpoolEpoch::new([epoch; 16]), salt: 1 };
    Spool::open(disk.clone(), Path::new("/spool"), limits, owner(), fresh)
}

fn open(disk: &ModelDisk) -> Spool<ModelDisk> {
    try_open(disk, 1_000_000, 1).unwrap().0
}

fn schema(agent: &str) -> Arc<EncodedSchema> {
    let schema = bijli_wire::Schema {
        hub: HubId::new("h").unwrap(),
        node: NodeId::new("n").unwrap(),
        agent: agent.to_owned(),
        subjects: Vec::new(),
        groups: Vec::new(),
    };
    Arc::new(EncodedSchema::new(&schema).unwrap())
}

/// A batch of about `bytes` that does not compress.
pub(super) fn draft_of(bytes: usize, seed: u64) -> Draft {
    let mut dice = crate::uplink::Jitter::new(seed);
    let events = (0..bytes.div_ceil(250))
        .map(|_| {
            let letters = (0..250).map(|_| u8::try_from(dice.up_to(94)).unwrap() + 33);
            let text = letters.map(char::from).collect();
            bijli_wire::batch::Event::plain(NOW, None, EventKind::AgentStarted, text)
        })
        .collect();
    let (schema, matrices, holds) = (schema("test"), Vec::new(), Vec::new());
    Draft { schema, created: NOW, uptime: None, matrices, events, holds }
}

fn store(spool: &mut Spool<ModelDisk>, number: u64) {
    let stored = spool.store(&draft_of(200, number)).unwrap();
    assert_eq!(stored, Stored::Durable { through: seq(number) });
}

/// What a loaded batch says of itself.
fn opened(spool: &mut Spool<ModelDisk>, number: u64) -> codec::Opened {
    codec::open(&spool.load(seq(number)).unwrap().body).unwrap()
}

#[test]
fn batches_are_numbered_from_one_and_read_back_in_any_order() {
    let disk = ModelDisk::new(1);
    let mut spool = open(&disk);
    for number in 1..=100 {
        store(&mut spool, number);
    }
    for number in [1, 2, 3, 70, 5, 100, 99] {
        let found = opened(&mut spool, number).envelope;
        assert_eq!((found.sequence, found.epoch), (seq(number), spool.epoch()));
        assert_eq!(spool.schema_of(seq(number)).unwrap().0, found.schema);
    }
    assert!(matches!(spool.load(seq(101)), Err(SpoolError::Unreadable { .. })));
}

#[test]
fn a16_a_second_agent_is_refused_in_words() {
    let disk = ModelDisk::new(1);
    let _first = open(&disk);
    let refused = try_open(&disk, 0, 2).expect_err("locked");
    assert!(refused.to_string().contains("another bijli-agent uses the spool /spool"), "{refused}");
}

#[test]
fn a1_after_any_power_cut_what_was_stored_is_there_with_the_same_bytes() {
    for cut in 0..60 {
        let disk = ModelDisk::new(cut);
        let mut spool = open(&disk);
        let mut hashes = Vec::new();
        for number in 1..=cut {
            store(&mut spool, number);
            hashes.push(spool.load(seq(number)).unwrap().hash);
            if number % 7 == 0 {
                spool.release(seq(number - 3), NOW).unwrap();
                spool.persist(NOW).unwrap();
            }
        }
        let (epoch, lowest) = (spool.epoch(), spool.lowest());
        drop(spool);
        disk.power_cut();
        let mut spool = try_open(&disk, 1_000_000, 2).unwrap().0;
        assert_eq!(spool.next().get(), cut + 1);
        assert!(spool.lowest() <= lowest, "nothing unreleased is forgotten");
        if cut > 0 {
            assert_eq!(spool.epoch(), epoch);
        }
        for (number, hash) in (1..).zip(&hashes) {
            assert_eq!(spool.load(seq(number)).unwrap().hash, *hash);
        }
        store(&mut spool, cut + 1);
    }
}

#[test]
fn the_release_survives_a_clean_stop() {
    let disk = ModelDisk::new(3);
    let mut spool = open(&disk);
    for number in 1..=10 {
        store(&mut spool, number);
        spool.load(seq(number)).unwrap();
    }
    spool.release(seq(6), NOW).unwrap();
    spool.persist(NOW).unwrap();
    drop(spool);
    let spool = open(&disk);
    assert_eq!((spool.lowest(), spool.next()), (seq(7), seq(11)));
}

#[test]
fn a8_a_deleted_spool_begins_a_new_epoch() {
    let disk = ModelDisk::new(4);
    let mut spool = open(&disk);
    store(&mut spool, 1);
    drop(spool);
    for file in disk.files() {
        disk.remove(&file);
    }
    let (spool, opened) = try_open(&disk, 0, 9).unwrap();
    assert!(opened.is_new_epoch);
    assert_eq!((spool.epoch(), spool.next()), (SpoolEpoch::new([9; 16]), BatchSeq::FIRST));
}

#[test]
fn a7_a_damaged_batch_is_filled_and_the_later_ones_are_still_sent() {
    let disk = ModelDisk::new(5);
    let mut spool = open(&disk);
    for number in 1..=5 {
        store(&mut spool, number);
    }
    drop(spool);
    let segment = disk.files().into_iter().find(|f| f.extension().is_some_and(|e| e == "seg"));
    let segment = segment.expect("one segment");
    let mut bytes = disk.contents(&segment).unwrap();
    // Somewhere in the third batch: past the header, the schema and two batches.
    let at = 1_024 + (bytes.len() - 1_024) / 2;
    bytes[at] ^= 0x40;
    disk.set_contents(&segment, &bytes);

    let (mut spool, found) = try_open(&disk, 1_000_000, 2).unwrap();
    assert!(!found.recovery.is_clean());
    assert_eq!((spool.lowest(), spool.next()), (seq(1), seq(6)));
    let lost: Vec<u64> = (1..=5).filter(|number| spool.load(seq(*number)).is_err()).collect();
    let [lost] = lost.as_slice() else { panic!("one flip costs one batch, not {lost:?}") };
    spool.put_aside(seq(*lost), NEVER, NOW).unwrap();
    assert_eq!(opened(&mut spool, *lost).envelope.sequence, seq(*lost));
    store(&mut spool, 6);
}

/// Guards against a loss that the simulation found (seed 912): one bit flipped in a schema's record
/// made every later batch of its segment unreadable, up to a day of them.
#[test]
fn a7_a_damaged_schema_costs_no_batch() {
    let disk = ModelDisk::new(5);
    let mut spool = open(&disk);
    store(&mut spool, 1);
    let segment = disk.files().into_iter().find(|f| f.extension().is_some_and(|e| e == "seg"));
    let segment = segment.expect("one segment");
    let mut bytes = disk.contents(&segment).unwrap();
    // The schema is the first record behind the header.
    bytes[1_024 + 60] ^= 1;
    disk.set_contents(&segment, &bytes);
    let (id, body) = spool.schema_of(seq(1)).expect("it is at hand");
    // The next batch writes it again, and a start has it for both.
    store(&mut spool, 2);
    drop(spool);
    let (mut spool, _) = try_open(&disk, 1_000_000, 2).unwrap();
    for number in 1..=2 {
        assert_eq!(spool.schema_of(seq(number)).unwrap(), (id, body.clone()));
    }
}

#[test]
fn a_lost_tail_spends_its_sequences() {
    let disk = ModelDisk::new(6);
    let mut spool = open(&disk);
    for number in 1..=4 {
        store(&mut spool, number);
        spool.load(seq(number)).unwrap();
    }
    spool.release(seq(4), NOW).unwrap();
    spool.persist(NOW).unwrap();
    drop(spool);
    let segment = disk.files().into_iter().find(|f| f.extension().is_some_and(|e| e == "seg"));
    let segment = segment.expect("one segment");
    let mut bytes = disk.contents(&segment).unwrap();
    let at = bytes.len() - 10;
    bytes[at] ^= 1;
    disk.set_contents(&segment, &bytes);
    // The fourth was acked and its bytes are gone: no other batch may be its epoch's number four.
    let (mut spool, found) = try_open(&disk, 1_000_000, 2).unwrap();
    assert!(found.is_new_epoch);
    assert_eq!((spool.epoch(), spool.next()), (SpoolEpoch::new([2; 16]), BatchSeq::FIRST));
    store(&mut spool, 1);
    drop(spool);
    let (mut spool, found) = try_open(&disk, 1_000_000, 3).unwrap();
    assert!(!found.is_new_epoch);
    assert_eq!((spool.epoch(), spool.lowest()), (SpoolEpoch::new([2; 16]), seq(1)));
    assert_eq!(opened(&mut spool, 1).envelope.epoch, spool.epoch());
}

/// Goal: with batches waiting the epoch must go on, and no sequence is used twice.
#[test]
fn a_lost_tail_behind_waiting_batches_spends_its_sequences() {
    let disk = ModelDisk::new(6);
    let mut spool = open(&disk);
    for number in 1..=4 {
        store(&mut spool, number);
    }
    let epoch = spool.epoch();
    drop(spool);
    let segment = disk.files().into_iter().find(|f| f.extension().is_some_and(|e| e == "seg"));
    let segment = segment.expect("one segment");
    let whole = disk.contents(&segment).unwrap();
    // A damaged third batch with a good fourth behind it, then a torn fourth.
    for damage_at in [whole.len() - 10, whole.len() - 400] {
        let mut bytes = whole.clone();
        bytes[damage_at] ^= 1;
        disk.set_contents(&segment, &bytes);
        let spool = try_open(&disk.fork(1), 1_000_000, 2).unwrap().0;
        assert_eq!((spool.epoch(), spool.lowest()), (epoch, seq(1)));
        assert!(spool.next() >= seq(4));
    }
}

#[test]
fn a5_a_full_spool_thins_the_eldest_and_goes_on_after_acks() {
    let disk = ModelDisk::new(7);
    let mut spool = open(&disk);
    let stored = 400;
    for number in 1..=stored {
        let outcome = spool.store(&draft_of(60_000, number)).unwrap();
        assert_eq!(outcome, Stored::Durable { through: seq(number) });
        assert!(spool.bytes() <= BYTES_MIN, "{} bytes", spool.bytes());
    }
    let lowest = spool.lowest();
    assert!(lowest > seq(128), "{lowest} is the eldest");
    for number in lowest.get()..=stored {
        spool.load(seq(number)).unwrap();
        spool.release(seq(number), NOW).unwrap();
    }
    let again = spool.store(&draft_of(60_000, 1)).unwrap();
    assert_eq!(again, Stored::Durable { through: seq(stored + 1) });
    assert!(spool.bytes() <= BYTES_MIN);
    assert_eq!(spool.lowest(), seq(stored + 1));
}

#[test]
fn a6_a_full_disk_keeps_batches_in_memory_until_there_is_room() {
    let disk = ModelDisk::new(8);
    let mut spool = open(&disk);
    store(&mut spool, 1);
    disk.set_bytes_max(0);
    assert_eq!(spool.store(&draft_of(200, 2)).unwrap(), Stored::Waiting);
    assert_eq!(spool.store(&draft_of(200, 3)).unwrap(), Stored::Waiting);
    disk.set_bytes_max(u64::MAX);
    let stored = spool.store(&draft_of(200, 4)).unwrap();
    assert_eq!(stored, Stored::Durable { through: seq(4) });
    assert_eq!(opened(&mut spool, 3).envelope.sequence, seq(3));
}

#[test]
fn a_refused_batch_lies_aside_with_its_schema_and_its_place_is_filled() {
    let disk = ModelDisk::new(9);
    let mut spool = open(&disk);
    for number in 1..=3 {
        store(&mut spool, number);
    }
    let original = spool.load(seq(2)).unwrap();
    spool.put_aside(seq(2), NEVER, NOW).unwrap();
    let gap = spool.load(seq(2)).unwrap();
    assert_ne!(gap.hash, original.hash);
    let envelope = codec::open(&gap.body).unwrap().envelope;
    assert_eq!(envelope.sequence, seq(2));
    let (id, schema) = spool.schema_of(seq(2)).unwrap();
    let (_, schema) = codec::decode_schema(&schema).unwrap();
    let batch = codec::open(&gap.body).unwrap().read(id, &schema).unwrap();
    assert!(batch.matrices.is_empty());
    assert_eq!(batch.events[0].kind, EventKind::BatchesQuarantined);

    let kept = disk.files().into_iter().filter(|file| file.starts_with("/spool/refused"));
    let mut kinds: Vec<String> =
        kept.map(|file| file.extension().unwrap().to_string_lossy().into_owned()).collect();
    kinds.sort();
    assert_eq!(kinds, ["batch", "schema"]);

    // A restart knows the gap record, and sends the same bytes.
    drop(spool);
    disk.power_cut();
    let mut spool = open(&disk);
    assert_eq!(spool.load(seq(2)).unwrap().hash, gap.hash);
    assert_eq!(opened(&mut spool, 3).envelope.sequence, seq(3));
}

#[test]
fn a_fork_is_put_aside_without_filling() {
    let disk = ModelDisk::new(10);
    let mut spool = open(&disk);
    store(&mut spool, 1);
    let original = spool.load(seq(1)).unwrap();
    let reason = Reason { code: "identity_fork", leaves_gap: false, is_bare: false };
    spool.put_aside(seq(1), reason, NOW).unwrap();
    assert_eq!(spool.load(seq(1)).unwrap().hash, original.hash);
}

#[test]
fn acked_segments_stay_for_a_while_and_then_go() {
    let disk = ModelDisk::new(11);
    let (mut spool, _) = try_open(&disk, 3_600_000, 1).unwrap();
    for number in 1..=150_u64 {
        spool.store(&draft_of(60_000, number)).unwrap();
        spool.load(seq(number)).unwrap();
        spool.release(seq(number), NOW).unwrap();
    }
    let full = spool.bytes();
    spool.persist(NOW).unwrap();
    assert_eq!(spool.bytes(), full, "acked a moment ago: kept");
    spool.persist(UtcMillis::new(NOW.get() + 3_600_001)).unwrap();
    assert!(spool.bytes() < full / 2, "{} of {full}", spool.bytes());
    assert_eq!(spool.store(&draft_of(100, 1)).unwrap(), Stored::Durable { through: seq(151) });
}

/// Goal: whatever prefix is gone, what is left explains itself.
#[test]
fn every_segment_holds_the_schemas_of_its_batches() {
    let disk = ModelDisk::new(12);
    let (mut spool, _) = try_open(&disk, 0, 1).unwrap();
    for number in 1..=150_u64 {
        let mut draft = draft_of(60_000, number);
        draft.schema = schema(if number % 2 == 0 { "even" } else { "odd" });
        spool.store(&draft).unwrap();
        spool.load(seq(number)).unwrap();
        if number <= 100 {
            spool.release(seq(number), NOW).unwrap();
        }
    }
    spool.persist(UtcMillis::new(NOW.get() + 1)).unwrap();
    drop(spool);
    let mut spool = try_open(&disk, 0, 2).unwrap().0;
    assert!(matches!(spool.load(seq(1)), Err(SpoolError::Unreadable { .. })), "it is unlinked");
    for number in 101..=150 {
        let (id, body) = spool.schema_of(seq(number)).unwrap();
        assert_eq!(codec::decode_schema(&body).unwrap().0, id);
        assert_eq!(opened(&mut spool, number).envelope.schema, id);
    }
}

/// Goal: A5. The alarm sees what waits, not what is kept; and again what is taken back.
#[test]
fn a5_acked_batches_do_not_count_as_waiting() {
    let disk = ModelDisk::new(13);
    let (mut spool, _) = try_open(&disk, 3_600_000, 1).unwrap();
    for number in 1..=150_u64 {
        spool.store(&draft_of(60_000, number)).unwrap();
    }
    let (full, batch) = (spool.bytes(), spool.bytes() / 150);
    for acked in [0, 20, 70, 110, 149] {
        release(&mut spool, acked);
        let (waiting, wanted) = (spool.waiting_bytes(), (150 - acked) * batch);
        assert!(waiting.abs_diff(wanted) <= 2 * batch, "{waiting}, not {wanted}, at {acked}");
    }
    release(&mut spool, 150);
    assert_eq!((spool.waiting_bytes(), spool.bytes()), (0, full));
    spool.rewind(seq(51)).unwrap();
    // A rewind goes to the place before, so never too little waits.
    let rewound = 98 * batch..=(100 + super::PLACE_STRIDE) * batch;
    assert!(rewound.contains(&spool.waiting_bytes()), "{} waits", spool.waiting_bytes());
    drop(spool);
    assert!(rewound.contains(&open(&disk).waiting_bytes()), "after the restart");
}

/// Reads and releases everything through a number.
fn release(spool: &mut Spool<ModelDisk>, through: u64) {
    for number in spool.page().lowest.get()..=through {
        spool.load(seq(number)).unwrap();
        spool.release(seq(number), NOW).unwrap();
    }
}

/// Goal: C10. What was acked is sent again with the same bytes, and a restart goes on with it.
#[test]
fn c10_releases_are_taken_back_durably_and_the_bytes_are_the_same() {
    for cut in 0..20 {
        let disk = ModelDisk::new(cut);
        let mut spool = open(&disk);
        let mut hashes = Vec::new();
        for number in 1..=200 {
            store(&mut spool, number);
            hashes.push(spool.load(seq(number)).unwrap().hash);
        }
        release(&mut spool, 180);
        spool.persist(NOW).unwrap();
        assert_eq!(spool.oldest().unwrap(), seq(1));
        assert_eq!(spool.rewind(seq(190)).unwrap(), seq(181), "it does not go forward");
        let to = 1 + cut * 9;
        assert_eq!(spool.rewind(seq(to)).unwrap(), seq(to));
        assert_eq!((spool.lowest(), spool.waiting()), (seq(to), 201 - to));
        drop(spool);
        disk.power_cut();
        let mut spool = open(&disk);
        assert!(spool.lowest() <= seq(to) && spool.lowest().get() + 32 > to, "{to}");
        for (number, hash) in (1..).zip(&hashes).skip(usize::try_from(to).unwrap() - 1) {
            assert_eq!(spool.load(seq(number)).unwrap().hash, *hash);
        }
        release(&mut spool, 200);
        assert_eq!(spool.waiting(), 0);
        store(&mut spool, 201);
    }
}

/// Goal: C10. After old segments are gone, it goes back as far as there is something.
#[test]
fn c10_what_was_unlinked_is_not_offered() {
    let disk = ModelDisk::new(11);
    let (mut spool, _) = try_open(&disk, 3_600_000, 1).unwrap();
    for number in 1..=150_u64 {
        spool.store(&draft_of(60_000, number)).unwrap();
    }
    release(&mut spool, 150);
    spool.persist(UtcMillis::new(NOW.get() + 3_600_001)).unwrap();
    let oldest = spool.oldest().unwrap();
    assert!(oldest > seq(60) && oldest < seq(150), "{oldest}");
    assert_eq!(spool.rewind(seq(1)).unwrap(), oldest);
    assert!(spool.load(oldest).is_ok());
    drop(spool);
    let (mut spool, _) = try_open(&disk, 3_600_000, 2).unwrap();
    assert_eq!((spool.oldest().unwrap(), spool.lowest()), (oldest, oldest));
    // What is wanted again is not unlinked, however old.
    let bytes = spool.bytes();
    spool.persist(UtcMillis::new(NOW.get() + 9_000_000_000)).unwrap();
    assert_eq!(spool.bytes(), bytes);
}

/// Goal: P1. Acked batches are there for seven days, across restarts, and not for ever.
#[test]
fn p1_acked_batches_are_kept_for_seven_days_across_restarts() {
    const DAY: i64 = 86_400_000;
    const KEEP: u64 = 7 * 86_400_000;
    let disk = ModelDisk::new(21);
    // Twenty batches of 60 kB a day, a restart each day.
    for day in 0..30 {
        let (mut spool, _) = try_open(&disk, KEEP, 1).unwrap();
        let now = UtcMillis::new(NOW.get() + day * DAY);
        for number in 0..20 {
            let draft = Draft { created: now, ..draft_of(60_000, number) };
            let Stored::Durable { through } = spool.store(&draft).unwrap() else {
                panic!("there is room")
            };
            spool.load(through).unwrap();
            spool.release(through, now).unwrap();
        }
        spool.persist(now).unwrap();
        let oldest = spool.oldest().unwrap().get();
        let kept_days = (spool.next().get() - oldest) / 20;
        let expected = u64::try_from(day + 1).unwrap().min(7);
        assert!(kept_days >= expected, "day {day}: {kept_days} days are kept");
        // A segment is unlinked whole, so up to two segments (seven days here) more may stay.
        assert!(kept_days <= 16, "day {day}: {kept_days} days are kept");
        let body = spool.rewind(seq(1)).unwrap();
        assert!(spool.load(body).is_ok());
        let through = spool.next().get() - 1;
        release(&mut spool, through);
    }
}

/// Goal: a gap record that was acked is what is sent again, not the batch it replaced.
#[test]
fn c10_a_rewind_sends_gap_records_and_not_what_they_replaced() {
    let disk = ModelDisk::new(22);
    let mut spool = open(&disk);
    for number in 1..=3 {
        store(&mut spool, number);
    }
    spool.put_aside(seq(2), NEVER, NOW).unwrap();
    let gap = spool.load(seq(2)).unwrap();
    release(&mut spool, 3);
    spool.persist(NOW).unwrap();
    assert_eq!(spool.rewind(seq(1)).unwrap(), seq(1));
    assert_eq!(spool.load(seq(2)).unwrap(), gap);
    drop(spool);
    let mut spool = open(&disk);
    assert_eq!(spool.load(seq(2)).unwrap(), gap);
}

/// Goal: A10. A new epoch begins at 1; what waits of the elder one keeps its numbers and is
/// sent first, before and after a power cut.
#[test]
fn a10_a_new_epoch_begins_behind_what_waits_of_the_elder_one() {
    for cut in 0..6 {
        let disk = ModelDisk::new(cut);
        let mut spool = open(&disk);
        for number in 1..=5 {
            store(&mut spool, number);
        }
        release(&mut spool, 2);
        let elder = spool.epoch();
        let newer = SpoolEpoch::new([7; 16]);
        assert!(spool.renew_epoch(newer));
        assert_eq!((spool.epoch(), spool.next()), (newer, seq(1)));
        assert!(spool.renew_epoch(newer), "an epoch without batches is replaced");
        let last = spool.load(seq(5)).unwrap();
        for number in 1..=cut {
            store(&mut spool, number);
        }
        let page = Page { epoch: elder, lowest: seq(3), next: seq(6), is_last: false };
        assert_eq!((spool.page(), spool.waiting()), (page, 3 + cut));
        if cut == 0 {
            continue;
        }
        drop(spool);
        disk.power_cut();
        let mut spool = open(&disk);
        assert_eq!((spool.epoch(), spool.next().get()), (newer, cut + 1));
        spool.turn_to_first();
        let found = spool.page();
        assert!(found.lowest <= seq(3) && found.next == seq(6) && found.epoch == elder);
        assert_eq!(spool.load(seq(5)).unwrap(), last);
        release(&mut spool, 5);
        spool.turn();
        assert_eq!(spool.page().epoch, newer);
        let envelope = opened(&mut spool, 1).envelope;
        assert_eq!((envelope.epoch, envelope.sequence), (newer, seq(1)));
        release(&mut spool, cut);
        assert_eq!(spool.waiting(), 0);
        // A collector that lost its disk is given both again.
        assert_eq!(spool.rewind(seq(1)).unwrap(), seq(1));
        spool.turn_to_first();
        assert_eq!(spool.rewind(seq(1)).unwrap(), seq(1));
        assert_eq!(spool.waiting(), 5 + cut);
    }
}

/// Goal: A7. A full quarantine stops copying, not sending.
#[test]
fn a7_a_full_quarantine_does_not_hold_the_line_up() {
    let disk = ModelDisk::new(23);
    let mut spool = open(&disk);
    let mut copied = 0;
    // The largest batch of events has 60 kB; the quarantine takes 16 MiB.
    for number in 1..=400_u64 {
        spool.store(&draft_of(60_000, number)).unwrap();
        copied += u64::from(spool.put_aside(seq(number), NEVER, NOW).unwrap());
        assert!(spool.load(seq(number)).unwrap().body.len() < 1_000, "a gap record");
        spool.release(seq(number), NOW).unwrap();
    }
    assert!((300..400).contains(&copied), "{copied} copies");
    store(&mut spool, 401);
}

/// Goal: A7. The barest gap record has nothing that a collector could refuse for its time.
#[test]
fn a7_a_bare_gap_record_says_nothing() {
    let disk = ModelDisk::new(24);
    let mut spool = open(&disk);
    store(&mut spool, 1);
    spool.put_aside(seq(1), NEVER, NOW).unwrap();
    spool.put_aside(seq(1), Reason { is_bare: true, ..NEVER }, NOW).unwrap();
    let (id, schema) = spool.schema_of(seq(1)).unwrap();
    let (_, schema) = codec::decode_schema(&schema).unwrap();
    let body = spool.load(seq(1)).unwrap().body;
    let batch = codec::open(&body).unwrap().read(id, &schema).unwrap();
    assert!(batch.matrices.is_empty() && batch.events.is_empty());
}
