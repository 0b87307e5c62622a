//! What is journalled or said in words: frames, allocations, diagrams, hellos. Whatever is read can
//! be written and read again, and a journal of any records replays without a panic, twice alike.

use std::sync::Arc;

use bijli_collector::allocation::{EndText, PutText};
use bijli_collector::bookkeeper::Bookkeeper;
use bijli_collector::clock::Clock;
use bijli_collector::diagram::Plan;
use bijli_collector::frame::Frame;
use bijli_collector::health::Health;
use bijli_collector::intake::Intake;
use bijli_collector::replay::digest;
use bijli_collector::state::State;
use bijli_ledger::Rules;
use bijli_seglog::RecordSeq;
use bijli_wire::codec;
use bijli_wire::hello::Hello;

/// The first byte says what the rest is.
pub fn check(data: &[u8]) {
    let Some((mode, rest)) = data.split_first() else { return };
    match mode % 5 {
        0 => put(rest),
        1 => end(rest),
        2 => plan(rest),
        3 => {
            if let Ok(hello) = serde_json::from_slice::<Hello>(rest) {
                let _greeting = hello.read();
            }
        }
        _ => journal(rest),
    }
}

fn put(json: &[u8]) {
    let Ok(text) = PutText::from_json(json) else { return };
    assert_eq!(PutText::from_json(&text.to_json()).ok(), Some(text.clone()));
    if let Ok((hub, allocation)) = text.read() {
        let again = PutText::of(&hub, &allocation).read().ok();
        assert_eq!(again, Some((hub, allocation)), "an allocation changed on its way");
    }
}

fn end(json: &[u8]) {
    let Ok(text) = EndText::from_json(json) else { return };
    assert_eq!(EndText::from_json(&text.to_json()).ok(), Some(text.clone()));
    let _end = text.read();
}

fn plan(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    let Ok(plan) = Plan::from_toml(text) else { return };
    let canonical = plan.to_toml();
    let again = Plan::from_toml(&canonical).expect("what was written can be read");
    assert_eq!(again.to_toml(), canonical, "a canonical text stays as it is");
    if plan.diagram().is_ok() {
        assert!(!plan.tree().is_empty());
    }
}

/// Records of two bytes of length and their bytes; bodies are put in their frames here, because no
/// chance finds a zstd frame.
fn journal(mut rest: &[u8]) {
    let mut records = Vec::new();
    while let Some((length, behind)) = rest.split_first_chunk::<2>() {
        let length = usize::from(u16::from_le_bytes(*length)).min(behind.len());
        let (record, behind) = behind.split_at(length);
        rest = behind;
        records.push(with_frame(record));
    }
    records.retain(|record| !has_many_intervals(record));
    for record in &records {
        if let Ok(frame) = Frame::decode(record) {
            let again = Frame::decode(&frame.encode());
            assert_eq!(again.as_ref(), Ok(&frame), "a frame changed on its way");
        }
    }
    assert_eq!(replay(&records), replay(&records), "two replays differ");
}

/// Rules may keep a month of seconds, and when time jumps that far all of them are closed at once:
/// minutes and gigabytes, and no finding. The usual rules have 3,360 intervals.
fn has_many_intervals(record: &[u8]) -> bool {
    const INTERVALS_MAX: u64 = 5_000;
    let is_many = |rules: Rules| rules.keep.get() / rules.interval.get() > INTERVALS_MAX;
    matches!(Frame::decode(record), Ok(Frame::Rules { rules, .. }) if is_many(rules))
}

fn with_frame(record: &[u8]) -> Vec<u8> {
    const HEAD: usize = 9;
    // Schemas and batches.
    let is_body = record.first().is_some_and(|kind| matches!(kind, 1 | 2));
    match record.split_at_checked(HEAD) {
        Some((head, plain)) if is_body => {
            [head, &codec::compress(plain).unwrap_or_default()].concat()
        }
        Some(_) | None => record.to_vec(),
    }
}

fn replay(records: &[Vec<u8>]) -> String {
    let state = Arc::new(State::new(Clock, Rules::default(), Health::new(), None));
    let mut bookkeeper = Bookkeeper::new(Arc::clone(&state));
    let mut intake = Intake::default();
    for (index, record) in (1..).zip(records) {
        let mut facts = Vec::new();
        let _unusable = intake.replay(RecordSeq::new(index), record, &mut facts);
        facts.into_iter().for_each(|fact| bookkeeper.book(fact));
    }
    digest(&state).sha256
}
