//! The small table of cross-checks: how many of each kind stand how, and every one that fails.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::view::HubView;
use crate::crosscheck::{Finding, Kind, Verdict};

/// Failed checks on the page; the rest is behind the link.
const FAILED_MAX: usize = 12;

pub(super) fn table(hub: &HubView) -> Markup {
    let mut counts: BTreeMap<Kind, [usize; 3]> = BTreeMap::new();
    for one in &hub.checks {
        let [failed, silent, passed] = counts.entry(one.kind).or_default();
        match one.verdict {
            Verdict::Fail => *failed += 1,
            Verdict::CannotSay => *silent += 1,
            Verdict::Pass => *passed += 1,
        }
    }
    let failed = || hub.checks.iter().filter(|one| one.verdict == Verdict::Fail);
    let more = failed().count().saturating_sub(FAILED_MAX);
    html! {
        table.stack {
            thead { tr { th { "Check" } th.n { "Fail" } th.n { "Cannot say" } th.n { "Pass" } } }
            tbody {
                @for (kind, [failed, silent, passed]) in &counts {
                    tr { td { (kind.word().replace('_', " ")) }
                        td.n.bad[*failed > 0] data-l="fail" { (failed) }
                        td.n.soft data-l="cannot say" { (silent) }
                        td.n data-l="pass" { (passed) } }
                }
            }
        }
        ul.doubts {
            @for one in failed().take(FAILED_MAX) { (line(one)) }
            @if more > 0 { li { "and " (more) " more" } }
        }
        p.hint { a href={ "/v1/checks?hub=" (hub.id) } { "All checks of this hub, with their bands" } }
    }
}

fn line(one: &Finding) -> Markup {
    html! {
        li { span { b.bad { (one.kind.word().replace('_', " ")) " " (one.subject) }
            @if let Some(measured) = one.measured {
                " · " (measured.unit.show(measured.value)) ", band "
                (measured.unit.show(measured.band.low)) " to "
                (measured.unit.show(measured.band.high))
            }
            " · " (one.words) } }
    }
}
