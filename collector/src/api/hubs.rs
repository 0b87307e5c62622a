//! `/v1/hubs` and `/v1/hubs/{hub}`: which hubs there are and how they stand.

use axum::extract::State;
use axum::http::Uri;
use bijli_ledger::{Books, RULE_VERSION};
use bijli_wire::{Millis, UtcMillis};
use serde::Serialize;

use super::amount::time;
use super::asked::{Asked, closed};
use super::query::Parameters;
use super::{Answer, answer, ready};
use crate::state::{Hub, Shared, State as Collector};

/// A node that sent a batch within this time is up.
pub(crate) const UP: i64 = 60_000;

#[derive(Debug, Serialize)]
pub(super) struct Hubs {
    /// What every page says at its top, for instance that the readings are simulated.
    banner: Option<String>,
    hubs: Vec<HubAnswer>,
}

#[derive(Debug, Serialize)]
pub(super) struct HubAnswer {
    hub: String,
    title: String,
    is_configured: bool,
    interval_s: u64,
    close_after_s: u64,
    rule_version: u32,
    /// How shared GPUs are split, from the first interval on.
    share_policies: Vec<InForce>,
    /// The first interval that is closed.
    closed_from: Option<String>,
    /// Everything that starts before is closed.
    closed_until: Option<String>,
    /// Receive time of the newest journalled frame.
    booked_until: Option<String>,
    nodes_expected: Option<u32>,
    nodes_reporting: usize,
    pue_category: Option<u8>,
    /// Zero, or the program is wrong.
    imbalance_mj: String,
    faults: Vec<String>,
}

/// A policy for shared GPUs.
#[derive(Debug, Serialize)]
pub(super) struct InForce {
    policy: &'static str,
    /// `None`: nobody declared one, it is the usual one.
    from: Option<String>,
}

/// The policies of a period.
pub(super) fn share_policies(books: &Books, from: UtcMillis, to: UtcMillis) -> Vec<InForce> {
    let policies = books.share_policies(from, to).into_iter();
    let shown =
        policies.map(|(from, policy)| InForce { policy: policy.word(), from: from.map(time) });
    shown.collect()
}

pub(super) async fn list(State(state): State<Shared>, uri: Uri) -> Answer<Hubs> {
    answer(move || {
        Parameters::of(&uri, &[])?;
        ready(&state)?;
        let hubs = state.hubs().iter().map(|hub| of(&state, hub)).collect();
        Ok(Hubs { banner: state.banner.clone(), hubs })
    })
    .await
}

pub(super) async fn one(asked: Asked) -> Answer<HubAnswer> {
    answer(move || {
        asked.parameters(&[])?;
        Ok(of(&asked.state, &*asked.hub()?))
    })
    .await
}

fn of(state: &Collector, hub: &Hub) -> HubAnswer {
    let nodes_reporting = hub.live().reporting(minus(state.clock.now(), UP));
    let (booked_until, pue_category) = {
        let view = hub.view();
        (view.booked_until, view.plan.pue_category)
    };
    let books = hub.books();
    let (rules, closed) = (books.rules(), closed(&books));
    HubAnswer {
        hub: hub.id.to_string(),
        title: hub.title.clone(),
        is_configured: hub.is_configured,
        interval_s: seconds(rules.interval),
        close_after_s: seconds(rules.close_after),
        rule_version: RULE_VERSION,
        share_policies: share_policies(&books, UtcMillis::ZERO, UtcMillis::new(i64::MAX)),
        closed_from: closed.map(|period| time(period.from)),
        closed_until: closed.map(|period| time(period.to)),
        booked_until: booked_until.map(time),
        nodes_expected: hub.nodes_expected,
        nodes_reporting,
        pue_category,
        imbalance_mj: books.imbalance().to_string(),
        faults: books.faults().map(ToString::to_string).collect(),
    }
}

fn seconds(span: Millis) -> u64 {
    span.get() / 1_000
}

pub(crate) fn minus(at: UtcMillis, ms: i64) -> UtcMillis {
    UtcMillis::new(at.get().saturating_sub(ms))
}
