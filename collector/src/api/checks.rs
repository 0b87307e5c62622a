//! `/v1/checks`: the cross-checks of each hub's metering, failed ones first.

use axum::extract::State;
use axum::http::Uri;
use bijli_wire::{ErrorCode, HubId, UtcMillis};
use serde::Serialize;

use super::amount::time;
use super::query::Parameters;
use super::{Answer, answer, ready};
use crate::crosscheck::{self, Finding, Kind, Measured, Verdict};
use crate::refusal::Refusal;
use crate::state::{Hub, Shared};

#[derive(Debug, Serialize)]
pub(super) struct ChecksAnswer {
    hubs: Vec<HubAnswer>,
}

#[derive(Debug, Serialize)]
struct HubAnswer {
    hub: String,
    failed: usize,
    cannot_say: usize,
    passed: usize,
    checks: Vec<CheckAnswer>,
}

#[derive(Debug, Serialize)]
struct CheckAnswer {
    check: &'static str,
    /// A point, a meter or a node.
    subject: String,
    /// `fail`, `cannot_say` or `pass`.
    verdict: &'static str,
    /// Null: nothing could be compared, or it is no number.
    measured: Option<MeasuredAnswer>,
    words: String,
    /// Null: the latest readings.
    from: Option<String>,
    to: Option<String>,
}

#[derive(Debug, Serialize)]
struct MeasuredAnswer {
    value: String,
    low: String,
    high: String,
    /// ppm, mV, mHz or ms.
    unit: &'static str,
    /// The same for people.
    shown: String,
    band: String,
    /// Who says that the band is this.
    source: &'static str,
}

pub(super) async fn list(State(state): State<Shared>, uri: Uri) -> Answer<ChecksAnswer> {
    answer(move || {
        ready(&state)?;
        let asked = Parameters::of(&uri, &["hub", "verdict", "check"])?;
        let hubs = match asked.text("hub") {
            None => state.hubs(),
            Some(name) => {
                let hub = HubId::new(name).ok().and_then(|id| state.hub(&id));
                let words = "there is no such hub; /v1/hubs lists them";
                vec![hub.ok_or_else(|| Refusal::new(ErrorCode::UnknownHub, words))?]
            }
        };
        let verdict = asked.text("verdict").map(verdict).transpose()?;
        let kind = asked.text("check").map(kind).transpose()?;
        let is_asked = |one: &Finding| {
            verdict.is_none_or(|verdict| verdict == one.verdict)
                && kind.is_none_or(|kind| kind == one.kind)
        };
        let now = state.clock.now();
        Ok(ChecksAnswer { hubs: hubs.iter().map(|hub| of(hub, now, is_asked)).collect() })
    })
    .await
}

fn verdict(word: &str) -> Result<Verdict, Refusal> {
    let all = [Verdict::Fail, Verdict::CannotSay, Verdict::Pass];
    let known = all.into_iter().find(|verdict| verdict.word() == word);
    known.ok_or_else(|| refuse("verdict is fail, cannot_say or pass".to_owned()))
}

fn kind(word: &str) -> Result<Kind, Refusal> {
    let known = Kind::ALL.into_iter().find(|kind| kind.word() == word);
    known.ok_or_else(|| {
        let words: Vec<&str> = Kind::ALL.iter().map(|kind| kind.word()).collect();
        refuse(format!("check is one of {}", words.join(", ")))
    })
}

fn refuse(words: String) -> Refusal {
    Refusal::new(ErrorCode::InvalidRequest, words)
}

fn of(hub: &Hub, now: UtcMillis, is_asked: impl Fn(&Finding) -> bool) -> HubAnswer {
    let findings = crosscheck::findings(hub, now);
    let count = |verdict| findings.iter().filter(|one| one.verdict == verdict).count();
    HubAnswer {
        hub: hub.id.to_string(),
        failed: count(Verdict::Fail),
        cannot_say: count(Verdict::CannotSay),
        passed: count(Verdict::Pass),
        checks: findings.iter().filter(|one| is_asked(one)).map(check).collect(),
    }
}

fn check(finding: &Finding) -> CheckAnswer {
    let period = finding.period;
    CheckAnswer {
        check: finding.kind.word(),
        subject: finding.subject.clone(),
        verdict: finding.verdict.word(),
        measured: finding.measured.map(measured),
        words: finding.words.clone(),
        from: period.map(|(from, _)| time(from)),
        to: period.map(|(_, to)| time(to)),
    }
}

fn measured(measured: Measured) -> MeasuredAnswer {
    let Measured { value, unit, band } = measured;
    MeasuredAnswer {
        value: value.to_string(),
        low: band.low.to_string(),
        high: band.high.to_string(),
        unit: unit.word(),
        shown: unit.show(value),
        band: format!("{} to {}", unit.show(band.low), unit.show(band.high)),
        source: band.source,
    }
}
