//! What the answer to a request means for the uplink. Pure; whatever is not a collector's own JSON
//! is a lost link.

use bijli_wire::{Ack, BatchSeq, ContentHash, SpoolEpoch, Welcome};

use super::line::{Answer, Ticket};
use super::{Attempt, Event, Fate};

/// The event of an answer, or of there being none.
pub(super) fn event_of(ticket: Ticket, outcome: Result<Answer, String>) -> Event {
    match ticket {
        Ticket::Batch { sequence, attempt, hash } => {
            batch_event((sequence, attempt, hash), outcome)
        }
        Ticket::Schema { attempt } => schema_event(attempt, outcome),
        Ticket::Hello { attempt, epoch } => hello_event(attempt, epoch, outcome),
        // Its answer changes nothing.
        Ticket::Live { .. } => Event::Tick,
    }
}

fn hello_event(attempt: Attempt, epoch: SpoolEpoch, outcome: Result<Answer, String>) -> Event {
    match outcome {
        Ok(Answer::Ok(body)) => {
            let welcome = serde_json::from_slice::<Welcome>(&body).ok();
            match welcome.and_then(|found| Some((found.reached(epoch)?, found.credits))) {
                Some((reached, credits)) => Event::Welcomed { attempt, reached, credits },
                None => {
                    tracing::warn!(
                        "a 200 that is no welcome: something stands before the collector"
                    );
                    Event::LinkLost { attempt }
                }
            }
        }
        Ok(Answer::Refused { code, retry_after, message }) => {
            tracing::debug!(?code, "hello refused: {message}");
            Event::HelloRefused { attempt, code, retry_after }
        }
        Err(reason) => {
            tracing::warn!("{reason}");
            Event::LinkLost { attempt }
        }
    }
}

fn batch_event(
    (sequence, attempt, hash): (BatchSeq, Attempt, ContentHash),
    outcome: Result<Answer, String>,
) -> Event {
    match outcome {
        Ok(Answer::Ok(body)) => match serde_json::from_slice::<Ack>(&body) {
            Ok(ack) => Event::Acked { sequence, attempt, hash, ack },
            Err(_) => {
                tracing::warn!("a 200 that is no ack: something stands before the collector");
                Event::LinkLost { attempt }
            }
        },
        Ok(Answer::Refused { code, retry_after, message }) => {
            match Fate::of(code) {
                // The line goes on by itself, and nothing was wrong with it.
                Fate::TeachSchema | Fate::ElderFirst => {
                    tracing::debug!(%sequence, ?code, "not yet: {message}");
                }
                Fate::Later | Fate::Person | Fate::Never | Fate::Known => {
                    tracing::warn!(%sequence, ?code, "refused: {message}");
                }
            }
            Event::Refused { sequence, attempt, code, retry_after }
        }
        Err(reason) => {
            tracing::warn!("{reason}");
            Event::LinkLost { attempt }
        }
    }
}

fn schema_event(attempt: Attempt, outcome: Result<Answer, String>) -> Event {
    match outcome {
        Ok(Answer::Ok(_)) => Event::SchemaStored { attempt },
        Ok(Answer::Refused { code, retry_after, message }) => {
            tracing::warn!(?code, "schema refused: {message}");
            Event::SchemaRefused { attempt, code, retry_after }
        }
        Err(reason) => {
            tracing::warn!("{reason}");
            Event::LinkLost { attempt }
        }
    }
}
