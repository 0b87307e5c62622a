//! What fires, where the configuration names an Alertmanager to ask.

use bijli_wire::UtcMillis;
use maud::{Markup, html};

use super::view::minute;
use crate::firing::{Alert, Firing, Report};

/// What the page shows of it.
#[derive(Clone, Debug)]
pub(crate) struct FiringView {
    address: String,
    report: Report,
}

impl FiringView {
    pub(crate) fn of(firing: &Firing) -> Self {
        Self { address: firing.address(), report: firing.report() }
    }
}

pub(super) fn section(view: &FiringView, now: UtcMillis) -> Markup {
    let address = view.address.split_once("://").map_or(&*view.address, |(_, place)| place);
    html! {
        section.hub #firing {
            header { h2 { "Firing" } p.hint { "as the Alertmanager at " (address) " says" } }
            @match &view.report {
                Report::Awaited => { p.hint { "It has not answered yet." } }
                Report::Failed { since, reason } => {
                    p.banner role="alert" {
                        "The Alertmanager cannot be asked since " (minute(*since)) ": " (reason)
                        ". What fires now is not known here."
                    }
                }
                Report::Told { at, alerts, more, is_alive } => {
                    @if !is_alive {
                        p.banner role="alert" {
                            "BijliDeadMan does not fire: no Prometheus evaluates the rules, or it "
                            "does not reach this Alertmanager. That nothing else fires says nothing."
                        }
                    }
                    (table(alerts))
                    @if *more > 0 { p.hint { "And " (more) " more." } }
                    p.hint { "Asked " ((now.get() - at.get()).max(0) / 1_000) " s ago; silenced "
                        "alerts, and those that another holds back, are not here." }
                }
            }
        }
    }
}

fn table(alerts: &[Alert]) -> Markup {
    html! {
        @if alerts.is_empty() { p.hint { "Nothing fires." } }
        @else {
            table.stack {
                thead { tr { th { "Since, UTC" } th { "Severity" } th { "Hub" } th { "Where" }
                    th { "What" } th { "Runbook" } } }
                tbody { @for alert in alerts { (row(alert)) } }
            }
        }
    }
}

fn row(alert: &Alert) -> Markup {
    let Alert { name, severity, hub, place, summary, runbook, since } = alert;
    // `2026-11-27T09:30:00.123Z` to the minute.
    let since = since.get(..16).map_or_else(|| since.clone(), |minute| minute.replace('T', " "));
    html! {
        tr {
            td { time { (since) } }
            td data-l="severity" { span.tag.bad[severity == "page" || severity == "critical"]
                .open[severity == "ticket" || severity == "warning"] { (severity) } }
            td data-l="hub" { (hub) }
            td.full data-l="where" { (place) }
            td.full { b { (name) } br; span.soft { (summary) } }
            td.full data-l="runbook" { span.soft { (runbook) } }
        }
    }
}
