//! `kpis = "isb-kpis.toml"`: the tables of the figures beside PUE, in a file of their own.

use std::path::Path;

use bijli_ledger::{Date, Role};
use bijli_wire::Millis;

use super::{HubConfig, Problem, note};
use crate::disk;
use crate::kpi::Tables;

/// The tables in a hub's file; none without one.
pub(super) fn check(
    file: Option<&Path>,
    folder: &Path,
    interval: Millis,
    problems: &mut Vec<Problem>,
) -> Tables {
    let Some(file) = file else { return Tables::default() };
    let path = folder.join(file);
    let text = match disk::read_text(&path) {
        Ok(text) => text,
        Err(error) => {
            let what = format!("cannot read {}: {error}", path.display());
            note(problems, "kpis", what, "write it: docs/kpis.md shows every key");
            return Tables::default();
        }
    };
    let within = |mut problem: Problem| {
        problem.place = format!("{}: {}", path.display(), problem.place);
        problem
    };
    match Tables::read(&text) {
        Ok(tables) => {
            problems.extend(tables.misfits(interval).into_iter().map(within));
            tables
        }
        Err(found) => {
            problems.extend(found.into_iter().map(within));
            Tables::default()
        }
    }
}

/// What the tables of a hub that has any leave open today.
pub(super) fn warnings(hub: &HubConfig, today: Date) -> Vec<String> {
    if hub.tables.is_empty() {
        return Vec::new();
    }
    let roles = hub.plan.points.iter().map(|point| point.role.of_ledger());
    let mut sources: Vec<Role> = roles.filter(|role| role.is_supply()).collect();
    sources.sort_unstable();
    sources.dedup();
    hub.tables.warnings(today, &sources)
}
