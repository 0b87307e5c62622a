//! `/v1/hubs/{hub}/projects`: what each project used, and what nobody's was.

use std::collections::BTreeMap;

use bijli_ledger::{Account, Nature, ProjectEnergy};
use bijli_wire::ProjectId;
use bijli_wire::units::human_energy;
use serde::Serialize;

use super::amount::{Amount, ClassAmount, classes, time};
use super::asked::{Asked, missing};
use super::hubs::{InForce, share_policies};
use super::past::Past;
use super::query::Period;
use super::{Answer, answer};

#[derive(Debug, Serialize)]
pub(super) struct ProjectsAnswer {
    hub: String,
    from: String,
    to: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    as_of: Option<String>,
    /// How shared GPUs were split.
    share_policies: Vec<InForce>,
    projects: Vec<ProjectAnswer>,
    /// GPUs that nobody held.
    idle_unallocated: Amount,
    /// Host energy of GPUs that nobody held.
    host_overhead: Amount,
    /// GPUs that were busy and that nobody held.
    unattributed: Amount,
}

#[derive(Debug, Serialize)]
pub(super) struct OneProject {
    hub: String,
    from: String,
    to: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    as_of: Option<String>,
    share_policies: Vec<InForce>,
    #[serde(flatten)]
    project: ProjectAnswer,
}

#[derive(Debug, Serialize)]
struct ProjectAnswer {
    project: String,
    gpu_active_mj: String,
    gpu_held_idle_mj: String,
    host_mj: String,
    it_mj: String,
    it: String,
    by_class: Vec<ClassAmount>,
    facility: Facility,
}

/// The project's IT energy times the PUE of each complete interval. Derived, not metered.
#[derive(Debug, Serialize)]
pub(super) struct Facility {
    class: &'static str,
    energy_mj: String,
    energy: String,
    /// The part of the IT energy that lies in intervals with a PUE.
    it_covered_mj: String,
}

pub(super) async fn list(asked: Asked) -> Answer<ProjectsAnswer> {
    answer(move || {
        let (parameters, hub) = (asked.parameters(&["from", "to", "as_of"])?, asked.hub()?);
        let as_of = asked.as_of(&parameters)?;
        let (Period { from, to }, projects, rest) = {
            let books = hub.books();
            let period = asked.period(&parameters, &books)?;
            match Past::of(&asked, (&hub, &books), &period, as_of)? {
                None => {
                    let rest = of_nobody(&books.balance(period.from, period.to));
                    (period, books.projects(period.from, period.to), rest)
                }
                Some(past) => {
                    drop(books);
                    let (balance, ..) = past.balance()?;
                    (period, past.projects()?, of_nobody(&balance))
                }
            }
        };
        let of = |account: &Account| Amount::of(rest.get(account).copied().unwrap_or(0));
        Ok(ProjectsAnswer {
            hub: hub.id.to_string(),
            from: time(from),
            to: time(to),
            as_of: as_of.map(|as_of| as_of.to_string()),
            share_policies: share_policies(&hub.books(), from, to),
            projects: projects.iter().map(|(id, energy)| project(id, energy)).collect(),
            idle_unallocated: of(&Account::IdleUnallocated),
            host_overhead: of(&Account::HostOverhead),
            unattributed: of(&Account::Unattributed),
        })
    })
    .await
}

pub(super) async fn one(asked: Asked) -> Answer<OneProject> {
    answer(move || {
        let (parameters, hub) = (asked.parameters(&["from", "to", "as_of"])?, asked.hub()?);
        let as_of = asked.as_of(&parameters)?;
        let Ok(id) = ProjectId::new(asked.name()) else {
            return Err(missing("project", asked.name()));
        };
        let books = hub.books();
        let period = asked.period(&parameters, &books)?;
        let Period { from, to } = period;
        let (books, projects) = match Past::of(&asked, (&hub, &books), &period, as_of)? {
            None => {
                let projects = books.projects(from, to);
                (books, projects)
            }
            Some(past) => {
                drop(books);
                let projects = past.projects()?;
                (hub.books(), projects)
            }
        };
        // A project that is allocated and has used nothing yet exists and says zero.
        let is_known = || {
            books.allocations().any(|allocation| allocation.project == id)
                || books.witnessed().any(|allocation| allocation.project == id)
        };
        let energy = match projects.get(&id) {
            Some(energy) => *energy,
            None if is_known() => ProjectEnergy::default(),
            None => return Err(missing("project", asked.name())),
        };
        let share_policies = share_policies(&books, from, to);
        let (hub, project) = (hub.id.to_string(), project(&id, &energy));
        let as_of = as_of.map(|as_of| as_of.to_string());
        Ok(OneProject { hub, from: time(from), to: time(to), as_of, share_policies, project })
    })
    .await
}

fn project(id: &ProjectId, energy: &ProjectEnergy) -> ProjectAnswer {
    ProjectAnswer {
        project: id.to_string(),
        gpu_active_mj: energy.gpu_active.to_string(),
        gpu_held_idle_mj: energy.gpu_held_idle.to_string(),
        host_mj: energy.host.to_string(),
        it_mj: energy.it().to_string(),
        it: human_energy(energy.it()),
        by_class: classes(&energy.by_class),
        facility: Facility::of(energy),
    }
}

impl Facility {
    pub(super) fn of(energy: &ProjectEnergy) -> Self {
        Self {
            class: "derived",
            energy_mj: energy.facility.to_string(),
            energy: human_energy(energy.facility),
            it_covered_mj: energy.it_with_pue.to_string(),
        }
    }
}

/// What sinks that are no project's received, reversals taken back.
fn of_nobody(balance: &bijli_ledger::Balance) -> BTreeMap<Account, u128> {
    let is_sink = |account: &Account| account.nature() == Nature::Sink;
    let accounts = balance.accounts.iter().filter(|(account, _)| is_sink(account));
    let net = |(account, sums): (&Account, &bijli_ledger::AccountSums)| {
        (account.clone(), sums.debits.saturating_sub(sums.credits))
    };
    accounts.map(net).collect()
}
