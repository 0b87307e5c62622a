//! Where the demo stands: the past is being played, is being booked, or is over.

use bijli_ledger::IntervalState;
use bijli_wire::{Millis, UtcMillis};

use crate::state::{Hub, State};

/// What the simulated hubs are at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// So much of the past came in, by the sender that is furthest behind.
    Playing { percent: u64 },
    /// All of it came in; late facts are posted one `close_after` after they came.
    Booking,
    /// One second per second.
    Live,
}

/// Looks for the end of the past; once it is over it stays over.
#[derive(Clone, Debug)]
pub(super) struct Progress {
    started: UtcMillis,
    history: Millis,
    /// The hub that is not simulated.
    real: &'static str,
    is_live: bool,
}

impl Progress {
    pub(super) const fn new(started: UtcMillis, history: Millis, real: &'static str) -> Self {
        Self { started, history, real, is_live: false }
    }

    pub(super) fn look(&mut self, state: &State) -> Phase {
        if self.is_live {
            return Phase::Live;
        }
        let hubs = state.hubs();
        let mut simulated = hubs.iter().filter(|hub| hub.id.as_str() != self.real).peekable();
        if simulated.peek().is_none() {
            return Phase::Playing { percent: 0 };
        }
        let oldest = simulated.clone().map(|hub| oldest(hub)).min().flatten();
        match oldest {
            Some(at) if at >= self.started => {}
            behind => return Phase::Playing { percent: self.percent(behind) },
        }
        if !simulated.all(|hub| self.is_booked(hub)) {
            return Phase::Booking;
        }
        self.is_live = true;
        Phase::Live
    }

    fn percent(&self, at: Option<UtcMillis>) -> u64 {
        let behind = at.and_then(|at| self.started.since(at)).unwrap_or(self.history);
        let played = self.history.get().saturating_sub(behind.get());
        played.saturating_mul(100).checked_div(self.history.get()).unwrap_or(0)
    }

    /// Whether every interval of the past says what is known of it.
    fn is_booked(&self, hub: &Hub) -> bool {
        let books = hub.books();
        let mut past = books
            .intervals()
            .filter(|one| one.state == IntervalState::Closed && one.end <= self.started);
        past.all(|one| books.is_settled(one.start))
    }
}

/// The newest reading of the sender that is furthest behind; `None` until all have sent some.
fn oldest(hub: &Hub) -> Option<UtcMillis> {
    let live = hub.live();
    live.nodes().map(|(_, node)| node.newest).min().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_is_of_the_played_past() {
        let at = UtcMillis::new;
        let progress = Progress::new(at(10_000_000), Millis::new(1_000_000), "this-machine");
        for (newest, percent) in [
            (None, 0),
            (Some(at(9_000_000)), 0),
            (Some(at(9_500_000)), 50),
            (Some(at(9_999_999)), 99),
            (Some(at(1)), 0),
        ] {
            assert_eq!(progress.percent(newest), percent, "{newest:?}");
        }
        let none = Progress::new(at(5), Millis::ZERO, "this-machine");
        assert_eq!(none.percent(None), 0);
    }
}
