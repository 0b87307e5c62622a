//! `[[project]]`: what the file says of the registry of projects.

use bijli_wire::Millis;

use super::{Problem, note};
use crate::answers::layout::printable;
use crate::projects::registry::{Change, ProjectError, Registry};
use crate::projects::text::Unregistered;
use crate::projects::{Project, ProjectText};

/// Checks the projects one by one, and that no two of them claim one account at one time.
pub(super) fn check(
    texts: Vec<ProjectText>,
    interval: Millis,
    problems: &mut Vec<Problem>,
) -> Vec<ProjectText> {
    let mut registry = Registry::default();
    for text in &texts {
        let place = format!("project {:?}", text.id);
        let read = text.read();
        if let Ok(Project { id, .. }) = &read
            && registry.now().project(id).is_some()
        {
            note(problems, place, "it is declared twice", "keep one [[project]] section of it");
            continue;
        }
        let made = read.and_then(|project| {
            let change = Change::Put(Box::new(project));
            let when = (bijli_wire::UtcMillis::ZERO, 0);
            registry.make(change, when, interval.get()).map_err(Unregistered::from)
        });
        let Err(error) = made else { continue };
        let remedy = match &error {
            Unregistered::Refused(ProjectError::Claimed { .. }) => {
                "give the one a `to` and the other a `from` where the account changes hands"
            }
            Unregistered::Refused(ProjectError::NoEdge { .. }) => {
                "write a time at which an interval begins, midnight say"
            }
            Unregistered::Budget(_) => "write it with its unit, as in \"120000 kWh\"",
            Unregistered::Refused(_) | Unregistered::Text(_) => "correct it in the file",
        };
        note(problems, place, error.to_string(), remedy);
    }
    texts
}

/// For `check`.
pub(super) fn explain(texts: &[ProjectText]) -> String {
    let read = texts.iter().filter_map(|text| text.read().ok());
    read.map(|project| one(&project)).collect()
}

fn one(project: &Project) -> String {
    let text = ProjectText::of(project);
    let claims: Vec<String> = project.claims().map(|claim| claim.account.to_string()).collect();
    let claims = if claims.is_empty() { "no account".to_owned() } else { claims.join(", ") };
    let to = text.to.unwrap_or_else(|| "no end".to_owned());
    let budget = text.budget.unwrap_or_else(|| "no budget".to_owned());
    let (id, title) = (&project.id, printable(&project.title));
    format!("\nproject {id} ({title})\n    {claims}; {} to {to}; {budget}\n", text.from)
}
