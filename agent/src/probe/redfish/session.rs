//! A session on one server: opened once, used by every tick, ended by us.
//!
//! A controller has room for few sessions, and one that nobody ends takes a place until it times
//! out. So there is at most one for each `[[redfish]]`; it is ended at the agent's stop, and before
//! another takes its place.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::survey::Link;

/// Where sessions are opened (DSP0266, "Sessions").
pub(super) const SESSIONS: &str = "/redfish/v1/SessionService/Sessions";

/// Shared by whoever asks the server.
#[derive(Clone, Debug, Default)]
pub(super) struct Session(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    open: Option<Open>,
    /// The agent stops: none is opened any more.
    is_over: bool,
}

/// One that the server knows.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Open {
    pub(super) token: String,
    /// Where it is ended; `None`: the server did not say.
    pub(super) link: Option<Link>,
}

/// The token is a password as long as it lives: it is never printed.
impl fmt::Debug for Open {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Open").field("link", &self.link).finish_non_exhaustive()
    }
}

impl Open {
    /// From what a server answers to a login: the token, and the session's address, which may be
    /// a whole URL.
    pub(super) fn of(token: Option<&str>, location: Option<&str>) -> Option<Self> {
        let token = token.map(str::trim).filter(|token| !token.is_empty())?.to_owned();
        let path = location.and_then(|text| text.find("/redfish/").and_then(|at| text.get(at..)));
        Some(Self { token, link: path.and_then(Link::new) })
    }
}

impl Session {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn open(&self) -> Option<Open> {
        self.state().open.clone()
    }

    /// Whether one may be opened.
    pub(super) fn is_wanted(&self) -> bool {
        !self.state().is_over
    }

    /// Keeps a new one. False: the agent stops meanwhile, so it is to be ended at once.
    pub(super) fn keep(&self, open: Open) -> bool {
        let mut state = self.state();
        let is_wanted = !state.is_over;
        if is_wanted {
            state.open = Some(open);
        }
        is_wanted
    }

    /// Lets go of it, so that it can be ended.
    pub(super) fn take(&self) -> Option<Open> {
        self.state().open.take()
    }

    /// As [`Session::take`], for good.
    pub(super) fn close(&self) -> Option<Open> {
        let mut state = self.state();
        state.is_over = true;
        state.open.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_taken_from_what_servers_answer() {
        let link = |location| Open::of(Some("t"), Some(location)).expect("a token").link;
        let own = Link::new("/redfish/v1/SessionService/Sessions/7");
        assert_eq!(link("/redfish/v1/SessionService/Sessions/7"), own);
        assert_eq!(link("https://bmc.isb/redfish/v1/SessionService/Sessions/7"), own);
        assert_eq!(link("7"), None);
        assert_eq!(Open::of(None, Some("/redfish/v1/x")), None);
        assert_eq!(Open::of(Some(" "), None), None);
        let shown = format!("{:?}", Open::of(Some("secret"), None));
        assert!(!shown.contains("secret"), "{shown}");
    }

    #[test]
    fn after_the_end_none_is_kept() {
        let session = Session::default();
        let open = || Open::of(Some("t"), None).expect("a token");
        assert!(session.is_wanted() && session.keep(open()));
        assert_eq!(session.clone().close(), Some(open()));
        assert!(!session.is_wanted() && !session.keep(open()));
        assert_eq!(session.open(), None);
    }
}
