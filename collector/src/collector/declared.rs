//! What the configuration declares, put into the journal at a start where the journal has it not.

use bijli_wire::{HubId, UtcMillis};

use super::CollectorError;
use crate::allocation::{PutText, Verdict};
use crate::config::Config;
use crate::diagram::Plan;
use crate::frame::Frame;
use crate::ingest::{Ingest, allocations, projects};
use crate::intake::{Note, Reply};
use crate::journal::{Journal, Outcome};
use crate::projects::ProjectText;

/// Journals rules, diagrams, tables, projects and allocations that the journal does not have.
pub(super) fn begin(
    config: &Config,
    ingest: &Ingest,
    journal: &Journal,
) -> Result<(), CollectorError> {
    let received = ingest.state.clock.now();
    let is_new = journal.intake().rules().is_none();
    if is_new {
        append(config, journal, Frame::Rules { received, rules: config.rules }, Note::Other)?;
    }
    for hub in &config.hubs {
        let toml = hub.plan.to_toml();
        let known = journal.intake().diagram(&hub.id).map(str::to_owned);
        let from = match &known {
            Some(known) if *known == toml => continue,
            None if hub.plan == Plan::default() => continue,
            // The first one is in force from the beginning, later ones from the next interval.
            None => UtcMillis::ZERO,
            Some(_) => {
                let start = received.floor_to(config.rules.interval);
                start.plus(config.rules.interval).unwrap_or(received)
            }
        };
        // What was never more than a policy is replaced by another.
        let was_empty = |toml: String| Plan::from_toml(&toml).is_ok_and(|old| old.is_empty());
        let was_empty = known.is_none_or(was_empty);
        if hub.plan.is_empty() && !was_empty {
            tracing::warn!(hub = %hub.id, "no diagram is declared any more; the last one stays");
            continue;
        }
        let frame = Frame::Diagram { received, from, hub: hub.id.clone(), toml };
        append(config, journal, frame, Note::Other)?;
    }
    for hub in &config.hubs {
        let toml = hub.tables.text.clone();
        let known = journal.intake().tables(&hub.id).unwrap_or_default().to_owned();
        if known != toml {
            let frame = Frame::Tables { received, hub: hub.id.clone(), toml };
            append(config, journal, frame, Note::Other)?;
        }
    }
    for text in &config.projects {
        register_from_file(config, ingest, journal, text)?;
    }
    for text in &config.allocations {
        put_from_file(config, ingest, journal, text)?;
    }
    Ok(())
}

fn register_from_file(
    config: &Config,
    ingest: &Ingest,
    journal: &Journal,
    text: &ProjectText,
) -> Result<(), CollectorError> {
    let Some(json) = projects::missing_in_registry(ingest, text) else { return Ok(()) };
    let id = text.id.clone();
    let reply = Reply::new(move |verdict: Verdict| {
        if let Verdict::Registered(Err(error)) = verdict {
            tracing::error!(project = id, %error, "a project of the configuration was refused");
        }
    });
    let received = ingest.state.clock.now();
    append(config, journal, Frame::Project { received, json }, Note::Answer { reply })
}

fn put_from_file(
    config: &Config,
    ingest: &Ingest,
    journal: &Journal,
    text: &PutText,
) -> Result<(), CollectorError> {
    let hub = text.hub.as_deref().and_then(|hub| HubId::new(hub).ok());
    let Some(hub) = hub.and_then(|hub| ingest.state.hub(&hub)) else { return Ok(()) };
    let Some((_, json)) = allocations::missing_in_books(&hub, text) else { return Ok(()) };
    let id = text.id.clone();
    let reply = Reply::new(move |verdict: Verdict| match verdict {
        Verdict::Refused(error) => {
            tracing::error!(allocation = id, %error, "an allocation of the file was refused");
        }
        Verdict::Put(_)
        | Verdict::Ended(_)
        | Verdict::Calibrated(_)
        | Verdict::Typed(_)
        | Verdict::Period(_)
        | Verdict::Registered(_)
        | Verdict::Retired(_)
        | Verdict::Unreadable(_) => {}
    });
    let received = ingest.state.clock.now();
    append(config, journal, Frame::AllocationPut { received, json }, Note::Answer { reply })
}

/// Appends and waits, from a thread of its own.
fn append(
    config: &Config,
    journal: &Journal,
    frame: Frame,
    note: Note,
) -> Result<(), CollectorError> {
    let (sender, receiver) = std::sync::mpsc::channel();
    let reply = Reply::new(move |outcome| {
        let _heard = sender.send(outcome);
    });
    if !journal.append(frame, note, reply) {
        return Err(CollectorError::Ended);
    }
    match receiver.recv() {
        Ok(Outcome::Durable) => Ok(()),
        Ok(Outcome::DiskFull) => Err(CollectorError::NoSpace { dir: config.dir.clone() }),
        Ok(Outcome::Failed) => Err(CollectorError::Opening { dir: config.dir.clone() }),
        Err(_) => Err(CollectorError::Ended),
    }
}
