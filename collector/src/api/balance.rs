//! The books themselves: trial balance, flows, entries, intervals and events.

use bijli_ledger::{
    Account, AccountSums, Adjusts, Balance, Books, Completeness, Entry, IntervalStatus, Nature,
};
use bijli_wire::message::EventKind as NodeEventKind;
use bijli_wire::units::human_energy;
use bijli_wire::{Millijoules, UtcMillis};
use serde::Serialize;

use super::amount::{Amount, time};
use super::asked::Asked;
use super::past::Past;
use super::query::Period;
use super::{Answer, answer};
use crate::index::EntryRow;

#[derive(Debug, Serialize)]
pub(super) struct BalanceAnswer {
    hub: String,
    from: String,
    to: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    as_of: Option<String>,
    accounts: Vec<AccountAnswer>,
    /// What all sources gave and all sinks received, reversals taken back.
    supplied_mj: String,
    supplied: String,
    used_mj: String,
    used: String,
    /// Supplied minus used, and every account of passage: "0", or the program is wrong.
    imbalance_mj: String,
    is_balanced: bool,
    entries: usize,
    adjustments: usize,
}

#[derive(Debug, Serialize)]
struct AccountAnswer {
    account: String,
    nature: &'static str,
    debits_mj: String,
    credits_mj: String,
}

#[derive(Debug, Serialize)]
pub(super) struct FlowsAnswer {
    hub: String,
    from: String,
    to: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    as_of: Option<String>,
    flows: Vec<FlowAnswer>,
}

#[derive(Debug, Serialize)]
struct FlowAnswer {
    credit: String,
    debit: String,
    #[serde(flatten)]
    amount: Amount,
}

#[derive(Debug, Serialize)]
pub(super) struct EntriesAnswer {
    hub: String,
    from: String,
    to: String,
    entries: Vec<EntryAnswer>,
    /// Ask with `after=` this for the rest; null: there is none.
    next_after: Option<u64>,
}

#[derive(Debug, Serialize)]
struct EntryAnswer {
    seq: u64,
    interval: String,
    debit: String,
    credit: String,
    class: &'static str,
    amount_mj: String,
    rule_version: u32,
    /// First entry of the interval that this one corrects.
    adjusts: Option<u64>,
    is_reversal: bool,
    /// The bytes that a seal covers.
    canonical: String,
}

#[derive(Debug, Serialize)]
pub(super) struct IntervalsAnswer {
    hub: String,
    from: String,
    to: String,
    intervals: Vec<IntervalAnswer>,
}

#[derive(Debug, Serialize)]
struct IntervalAnswer {
    start: String,
    end: String,
    state: &'static str,
    is_complete: Option<bool>,
    reasons: Vec<String>,
    disputes: Vec<String>,
    pue_withheld: Option<String>,
    entries: u64,
    adjustments: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct EventsAnswer {
    hub: String,
    /// What happened to registers, oldest first; the last of each kind are kept.
    registers: Vec<RegisterEventAnswer>,
    /// What nodes said of themselves, oldest first.
    nodes: Vec<NodeEventAnswer>,
}

#[derive(Debug, Serialize)]
struct RegisterEventAnswer {
    seq: u64,
    at: String,
    kind: &'static str,
    subject: String,
    words: String,
}

#[derive(Debug, Serialize)]
struct NodeEventAnswer {
    at: String,
    node: String,
    subject: Option<String>,
    kind: &'static str,
    text: String,
}

pub(super) async fn balance(asked: Asked) -> Answer<BalanceAnswer> {
    answer(move || {
        let (parameters, hub) = (asked.parameters(&["from", "to", "as_of"])?, asked.hub()?);
        let as_of = asked.as_of(&parameters)?;
        let books = hub.books();
        let period = asked.period(&parameters, &books)?;
        let past = Past::of(&asked, (&hub, &books), &period, as_of)?;
        let Period { from, to } = period;
        let (balance, entries, adjustments) = match past {
            None => held_balance(&books, from, to),
            Some(past) => {
                drop(books);
                past.balance()?
            }
        };
        let (supplied, used) = (balance.supplied(), balance.used());
        let held = balance.imbalances().map(|(_, sums)| sums.debits.abs_diff(sums.credits));
        let imbalance = held.fold(supplied.abs_diff(used), u128::saturating_add);
        Ok(BalanceAnswer {
            hub: hub.id.to_string(),
            from: time(from),
            to: time(to),
            as_of: as_of.map(|as_of| as_of.to_string()),
            accounts: balance.accounts.iter().map(account).collect(),
            supplied_mj: supplied.to_string(),
            supplied: human_energy(supplied),
            used_mj: used.to_string(),
            used: human_energy(used),
            imbalance_mj: imbalance.to_string(),
            is_balanced: balance.is_balanced(),
            entries,
            adjustments,
        })
    })
    .await
}

/// The balance, the number of entries and how many of them are adjustments.
fn held_balance(books: &Books, from: UtcMillis, to: UtcMillis) -> (Balance, usize, usize) {
    let (mut entries, mut adjustments) = (0_usize, 0_usize);
    for entry in books.entries(from, to) {
        entries = entries.saturating_add(1);
        adjustments = adjustments.saturating_add(usize::from(entry.adjusts.is_some()));
    }
    (books.balance(from, to), entries, adjustments)
}

fn account((account, sums): (&Account, &AccountSums)) -> AccountAnswer {
    AccountAnswer {
        account: account.to_string(),
        nature: match account.nature() {
            Nature::Source => "source",
            Nature::Through => "through",
            Nature::Sink => "sink",
        },
        debits_mj: sums.debits.to_string(),
        credits_mj: sums.credits.to_string(),
    }
}

pub(super) async fn flows(asked: Asked) -> Answer<FlowsAnswer> {
    answer(move || {
        let (parameters, hub) = (asked.parameters(&["from", "to", "as_of"])?, asked.hub()?);
        let as_of = asked.as_of(&parameters)?;
        let (Period { from, to }, flows) = {
            let books = hub.books();
            let period = asked.period(&parameters, &books)?;
            match Past::of(&asked, (&hub, &books), &period, as_of)? {
                None => (period, books.flows(period.from, period.to)),
                Some(past) => {
                    drop(books);
                    (period, past.flows()?)
                }
            }
        };
        let flow = |((credit, debit), energy): (&(Account, Account), &u128)| FlowAnswer {
            credit: credit.to_string(),
            debit: debit.to_string(),
            amount: Amount::of(*energy),
        };
        let flows = flows.iter().map(flow).collect();
        let (hub, as_of) = (hub.id.to_string(), as_of.map(|as_of| as_of.to_string()));
        Ok(FlowsAnswer { hub, from: time(from), to: time(to), as_of, flows })
    })
    .await
}

pub(super) async fn entries(asked: Asked) -> Answer<EntriesAnswer> {
    answer(move || {
        let parameters = asked.parameters(&["from", "to", "as_of", "after", "limit"])?;
        let as_of = asked.as_of(&parameters)?;
        let (after, limit, hub) = (parameters.after()?, parameters.limit()?, asked.hub()?);
        let books = hub.books();
        let period = asked.period(&parameters, &books)?;
        let past = Past::of(&asked, (&hub, &books), &period, as_of)?;
        let Period { from, to } = period;
        if let Some(past) = past {
            drop(books);
            let rows = past.entries(after, limit.saturating_add(1))?;
            let more = rows.len() > limit;
            let entries: Vec<EntryAnswer> = rows.iter().take(limit).map(past_entry).collect();
            let next_after = entries.last().map(|last| last.seq).filter(|_| more);
            let hub = hub.id.to_string();
            return Ok(EntriesAnswer { hub, from: time(from), to: time(to), entries, next_after });
        }
        // By sequence, so that a reader who remembers the last one misses no later adjustment.
        let mut rest = books
            .entries_since(after.saturating_add(1))
            .filter(|entry| entry.interval >= from && entry.interval < to);
        let entries: Vec<EntryAnswer> = rest.by_ref().take(limit).map(|e| entry(&e)).collect();
        let more = rest.next().is_some();
        let next_after = entries.last().map(|last| last.seq).filter(|_| more);
        let hub = hub.id.to_string();
        Ok(EntriesAnswer { hub, from: time(from), to: time(to), entries, next_after })
    })
    .await
}

fn past_entry(row: &EntryRow) -> EntryAnswer {
    let line = &row.line;
    let is_reversal = line.is_reversal;
    entry(&Entry {
        seq: line.seq,
        interval: row.interval,
        debit: &line.debit,
        credit: &line.credit,
        class: line.class,
        amount: Millijoules::new(line.amount),
        adjusts: row.corrects.map(|first| Adjusts { first, is_reversal }),
        rule_version: row.rule,
    })
}

fn entry(entry: &Entry<'_>) -> EntryAnswer {
    let adjusts = entry.adjusts;
    EntryAnswer {
        seq: entry.seq,
        interval: time(entry.interval),
        debit: entry.debit.to_string(),
        credit: entry.credit.to_string(),
        class: entry.class.word(),
        amount_mj: entry.amount.get().to_string(),
        rule_version: entry.rule_version,
        adjusts: adjusts.map(|adjusts| adjusts.first),
        is_reversal: adjusts.is_some_and(|Adjusts { is_reversal, .. }| is_reversal),
        canonical: entry.to_string(),
    }
}

pub(super) async fn intervals(asked: Asked) -> Answer<IntervalsAnswer> {
    answer(move || {
        let (parameters, hub) = (asked.parameters(&["from", "to"])?, asked.hub()?);
        let books = hub.books();
        let Period { from, to } = asked.period(&parameters, &books)?;
        let is_default = to == books.closed_until().unwrap_or(to);
        // Without an end, the open intervals are listed too.
        let within = |one: &IntervalStatus<'_>| one.start >= from && (is_default || one.start < to);
        let intervals = books.intervals().filter(within).map(|one| interval(&one)).collect();
        Ok(IntervalsAnswer { hub: hub.id.to_string(), from: time(from), to: time(to), intervals })
    })
    .await
}

/// Reasons shown of one interval; a hub without its meters has one per device.
const REASONS_MAX: usize = 50;

fn interval(status: &IntervalStatus<'_>) -> IntervalAnswer {
    let (state, is_complete, reasons) = match &status.completeness {
        Completeness::Complete => ("closed", Some(true), Vec::new()),
        Completeness::NotYet => ("open", None, Vec::new()),
        Completeness::Incomplete { reasons } => {
            let mut words: Vec<String> =
                reasons.iter().take(REASONS_MAX).map(ToString::to_string).collect();
            let more = reasons.len().saturating_sub(REASONS_MAX);
            if more > 0 {
                words.push(format!("and {more} more"));
            }
            ("closed", Some(false), words)
        }
    };
    IntervalAnswer {
        start: time(status.start),
        end: time(status.end),
        state,
        is_complete,
        reasons,
        disputes: status.disputes.iter().take(REASONS_MAX).map(ToString::to_string).collect(),
        pue_withheld: status.pue_withheld.map(ToString::to_string),
        entries: status.entries,
        adjustments: status.adjustments,
    }
}

pub(super) async fn events(asked: Asked) -> Answer<EventsAnswer> {
    answer(move || {
        asked.parameters(&[])?;
        let hub = asked.hub()?;
        let nodes = hub.live().events().list().into_iter().map(node_event).collect();
        let register = |event: &bijli_ledger::RegisterEvent| RegisterEventAnswer {
            seq: event.seq,
            at: time(event.at),
            kind: event.kind.word(),
            subject: event.subject.clone(),
            words: event.words.clone(),
        };
        let registers = hub.books().events().into_iter().map(register).collect();
        Ok(EventsAnswer { hub: hub.id.to_string(), registers, nodes })
    })
    .await
}

fn node_event(event: &crate::events::NodeEvent) -> NodeEventAnswer {
    NodeEventAnswer {
        at: time(event.at),
        node: event.node.to_string(),
        subject: event.subject.as_ref().map(ToString::to_string),
        kind: node_event_word(event.kind),
        text: event.words(),
    }
}

pub(crate) const fn node_event_word(kind: NodeEventKind) -> &'static str {
    match kind {
        NodeEventKind::Unspecified => "unspecified",
        NodeEventKind::AgentStarted => "agent_started",
        NodeEventKind::ProbeFailed => "probe_failed",
        NodeEventKind::ProbeHung => "probe_hung",
        NodeEventKind::ProbeRecovered => "probe_recovered",
        NodeEventKind::BatchesQuarantined => "batches_quarantined",
        NodeEventKind::ResolutionReduced => "resolution_reduced",
        NodeEventKind::SequencesFloored => "sequences_floored",
        NodeEventKind::IdentityForked => "identity_forked",
        NodeEventKind::ClockSet => "clock_set",
        NodeEventKind::ClockCorrected => "clock_corrected",
        NodeEventKind::GpuXid => "gpu_xid",
        NodeEventKind::GpuEvent => "gpu_event",
        NodeEventKind::InventoryChanged => "inventory_changed",
        NodeEventKind::DriverChanged => "driver_changed",
        NodeEventKind::RegisterDoubted => "register_doubted",
        NodeEventKind::RegisterDistrusted => "register_distrusted",
        NodeEventKind::RegisterTrusted => "register_trusted",
        NodeEventKind::ProbePaused => "probe_paused",
        NodeEventKind::MeterChanged => "meter_changed",
        NodeEventKind::MeterReset => "meter_reset",
        NodeEventKind::LeakDetected => "leak_detected",
        NodeEventKind::LeakCleared => "leak_cleared",
        NodeEventKind::LeakUnwatched => "leak_unwatched",
        NodeEventKind::HoldRefused => "hold_refused",
        NodeEventKind::HoldUnresolved => "hold_unresolved",
        NodeEventKind::WitnessChanged => "witness_changed",
    }
}
