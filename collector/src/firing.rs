//! What fires, as an Alertmanager says: asked in the background, kept for the page.
//!
//! # Invariants
//! - The page never waits for it, and no part of the books knows of it.
//! - Nothing is held: while it cannot be asked, what it said before is not shown as what is.
//! - Bounded: so many alerts, so many characters of each text.

use std::collections::BTreeMap;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bijli_wire::UtcMillis;
use hyper::Method;
use serde::Deserialize;

use crate::caller::{self, Call, Server};
use crate::clock::Clock;

const EVERY: Duration = Duration::from_secs(15);
/// Most alerts that are kept; how many more there are is told.
const ALERTS_MAX: usize = 200;
const TEXT_CHARS_MAX: usize = 300;
/// Fires as long as the rules are evaluated (`alerts/rules/watch.yml`).
const DEAD_MAN: &str = "BijliDeadMan";
/// Neither silenced nor held back by another.
const PATH: &str = "/api/v2/alerts?active=true&silenced=false&inhibited=false&unprocessed=false";

/// What was heard last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// Nothing yet.
    Awaited,
    Told {
        at: UtcMillis,
        /// The most urgent first, then the newest.
        alerts: Vec<Alert>,
        /// How many there are beyond these.
        more: usize,
        /// Whether the rules are evaluated at all: the dead man's alert fires.
        is_alive: bool,
    },
    Failed {
        /// Since when it has been so.
        since: UtcMillis,
        reason: String,
    },
}

/// One alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    pub name: String,
    pub severity: String,
    pub hub: String,
    /// Its labels that name a place, e.g. `node n01, gpu 3`.
    pub place: String,
    pub summary: String,
    /// Where it says what to do; empty: nowhere.
    pub runbook: String,
    /// As the Alertmanager writes it, RFC 3339.
    pub since: String,
}

/// An Alertmanager that is asked again and again, until this is dropped.
#[derive(Debug)]
pub struct Firing {
    server: Server,
    report: Arc<Mutex<Report>>,
    _asked: Sender<()>,
}

impl Firing {
    /// # Errors
    /// When no thread can be started.
    pub fn start(mut server: Server, clock: Clock) -> std::io::Result<Self> {
        server.path.truncate(server.path.trim_end_matches('/').len());
        let report = Arc::new(Mutex::new(Report::Awaited));
        let (asked, stop) = channel();
        let (shared, of) = (Arc::clone(&report), server.clone());
        std::thread::Builder::new().name("firing".into()).spawn(move || {
            loop {
                let heard = hear(&of);
                let mut report = shared.lock().unwrap_or_else(PoisonError::into_inner);
                *report = next(&report, heard, clock.now());
                drop(report);
                // Whoever holds the other end is gone: nobody looks any more.
                if stop.recv_timeout(EVERY) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        })?;
        Ok(Self { server, report, _asked: asked })
    }

    #[must_use]
    pub fn report(&self) -> Report {
        self.report.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Its address, without secrets.
    #[must_use]
    pub fn address(&self) -> String {
        format!("{:?}", self.server)
    }
}

fn next(before: &Report, heard: Result<Report, String>, now: UtcMillis) -> Report {
    match (heard, before) {
        (Ok(Report::Told { alerts, more, is_alive, .. }), _) => {
            Report::Told { at: now, alerts, more, is_alive }
        }
        (Ok(other), _) => other,
        (Err(reason), Report::Failed { since, .. }) => Report::Failed { since: *since, reason },
        (Err(reason), Report::Awaited | Report::Told { .. }) => {
            tracing::warn!(reason, "the Alertmanager cannot be asked; the page says so");
            Report::Failed { since: now, reason }
        }
    }
}

fn hear(server: &Server) -> Result<Report, String> {
    let call = Call { method: Method::GET, path: PATH, headers: &[], body: Vec::new() };
    match caller::ask(server, call)? {
        (200, body) => read(&body),
        (status, _) => Err(format!("it answers {status}")),
    }
}

#[derive(Deserialize)]
struct Text {
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    #[serde(default, rename = "startsAt")]
    since: String,
}

fn read(body: &[u8]) -> Result<Report, String> {
    let texts: Vec<Text> = serde_json::from_slice(body)
        .map_err(|_| "its answer is no list of alerts: is that an Alertmanager?".to_owned())?;
    let is_dead_man =
        |text: &Text| text.labels.get("alertname").is_some_and(|name| name == DEAD_MAN);
    let is_alive = texts.iter().any(is_dead_man);
    let shown = texts.into_iter().filter(|text| !is_dead_man(text));
    let mut alerts: Vec<Alert> = shown.map(|text| alert(&text)).collect();
    alerts.sort_by(|one, other| {
        let urgency = |alert: &Alert| urgency(&alert.severity);
        urgency(one).cmp(&urgency(other)).then_with(|| other.since.cmp(&one.since))
    });
    let more = alerts.len().saturating_sub(ALERTS_MAX);
    alerts.truncate(ALERTS_MAX);
    Ok(Report::Told { at: UtcMillis::ZERO, alerts, more, is_alive })
}

/// The smaller, the more urgent. A site's own rules may have other words.
fn urgency(severity: &str) -> u8 {
    match severity {
        "page" | "critical" => 0,
        "ticket" | "warning" => 1,
        "info" => 3,
        _ => 2,
    }
}

fn alert(text: &Text) -> Alert {
    let label = |name: &str| short(text.labels.get(name).map_or("", String::as_str));
    let annotation = |name: &str| short(text.annotations.get(name).map_or("", String::as_str));
    let places = ["node", "gpu", "xid", "meter", "phase", "project", "instance"];
    let places = places.iter().filter_map(|name| Some((name, text.labels.get(*name)?)));
    let place: Vec<String> = places.map(|(name, value)| format!("{name} {value}")).collect();
    Alert {
        name: label("alertname"),
        severity: label("severity"),
        hub: label("hub"),
        place: short(&place.join(", ")),
        summary: annotation("summary"),
        runbook: annotation("runbook_url"),
        since: short(&text.since),
    }
}

fn short(text: &str) -> String {
    text.chars().take(TEXT_CHARS_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(name: &str, severity: &str, since: &str) -> String {
        format!(
            "{{\"labels\":{{\"alertname\":\"{name}\",\"severity\":\"{severity}\",\"hub\":\"isb\",\
             \"node\":\"n1\",\"gpu\":\"3\"}},\"annotations\":{{\"summary\":\"s\\n{name}\"}},\
             \"startsAt\":\"{since}\"}}"
        )
    }

    #[test]
    fn the_most_urgent_is_first_and_the_dead_man_is_no_fault() {
        let list = [
            told("A", "info", "2026-09-01T00:00:00Z"),
            told("B", "page", "2026-09-01T00:00:00Z"),
            told(DEAD_MAN, "info", "2026-09-01T00:00:00Z"),
            told("C", "page", "2026-09-02T00:00:00Z"),
            told("D", "ticket", "2026-09-03T00:00:00Z"),
        ];
        let heard = read(format!("[{}]", list.join(",")).as_bytes()).expect("a list");
        let Report::Told { alerts, more, is_alive, .. } = heard else { panic!("{heard:?}") };
        let names: Vec<&str> = alerts.iter().map(|alert| alert.name.as_str()).collect();
        assert_eq!((names, more, is_alive), (vec!["C", "B", "D", "A"], 0, true));
        assert_eq!((&*alerts[0].place, &*alerts[0].summary), ("node n1, gpu 3", "s C"));
    }

    #[test]
    fn it_is_bounded_and_what_is_no_list_is_said() {
        let list: Vec<String> = (0..900).map(|n| told(&"x".repeat(n), "page", "")).collect();
        let heard = read(format!("[{}]", list.join(",")).as_bytes()).expect("a list");
        let Report::Told { alerts, more, is_alive, .. } = heard else { panic!("{heard:?}") };
        assert_eq!((alerts.len(), more, is_alive), (ALERTS_MAX, 700, false));
        assert!(alerts.iter().all(|alert| alert.name.chars().count() <= TEXT_CHARS_MAX));
        for body in ["", "<html>", "{}", "[1]"] {
            assert!(read(body.as_bytes()).is_err(), "{body}");
        }
    }

    #[test]
    fn a_failure_is_told_since_its_begin_and_nothing_is_held() {
        let at = UtcMillis::new;
        let told = |at| Report::Told { at, alerts: Vec::new(), more: 0, is_alive: true };
        let failed = next(&told(at(5)), Err("away".into()), at(10));
        assert_eq!(failed, Report::Failed { since: at(10), reason: "away".into() });
        let still = next(&failed, Err("late".into()), at(20));
        assert_eq!(still, Report::Failed { since: at(10), reason: "late".into() });
        assert_eq!(next(&still, Ok(told(UtcMillis::ZERO)), at(30)), told(at(30)));
    }
}
