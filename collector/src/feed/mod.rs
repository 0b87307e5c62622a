//! The feed: every reading of the journal, handed on to a time-series store as it comes.
//!
//! # Invariants
//! - It reads what is durable, on a thread of its own, and holds up neither acks nor books: a store
//!   that is slow or gone for a week costs the feed's own lateness.
//! - Its cursor is on disk and moves only when the store has taken everything before it. A crash
//!   between the two sends some readings again; a point is its series and its time, so a second
//!   one replaces the first.
//! - What a store refuses for ever is set apart, line by line, and never blocks the line.
//!
//! `line` is the text of line protocol, `shape` what a schema leads to, `follow` the way through
//! the journal, `deliver` what is sent again and what is given up, `influx` and `remote` the
//! stores.

mod cursor;
mod deliver;
mod follow;
#[cfg(feature = "influx")]
mod influx;
mod line;
mod remote;
mod shape;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::caller::Server;
use crate::health::{FeedHealth, Health};
use crate::journal::Journal;

pub use deliver::{Delivery, Fate, Form, Store};
pub use follow::Follower;

/// Where readings are handed on to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// `http://host:port`, nothing behind it.
    pub url: String,
    pub org: String,
    pub bucket: String,
    /// Empty where the store asks for none.
    pub token: String,
    /// How long one request may take.
    pub timeout: Duration,
}

/// A feed at work.
#[derive(Debug)]
pub struct Feed {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

/// Waits between two looks; also hears that it is to stop.
#[derive(Debug)]
pub struct Pause(std::sync::mpsc::Receiver<()>);

impl Pause {
    /// False: stop.
    #[must_use]
    pub fn rest(&self, span: Duration) -> bool {
        matches!(self.0.recv_timeout(span), Err(RecvTimeoutError::Timeout))
    }
}

impl Feed {
    /// To a store that takes InfluxDB's API; what is kept is in `dir`.
    ///
    /// # Errors
    /// When the directory or the thread cannot be made.
    pub fn influx(
        target: &Target,
        dir: &Path,
        journal: Journal,
        health: &Health,
    ) -> std::io::Result<Self> {
        Self::start(open(target)?, dir, journal, health.feed("influx"))
    }

    /// To a store that takes remote write.
    ///
    /// # Errors
    /// When the directory or the thread cannot be made.
    pub fn remote_write(
        server: &Server,
        dir: &Path,
        journal: Journal,
        health: &Health,
    ) -> std::io::Result<Self> {
        let store = remote::RemoteWrite(server.clone());
        Self::start(store, dir, journal, health.feed("remote_write"))
    }

    fn start(
        store: impl Store,
        dir: &Path,
        journal: Journal,
        health: FeedHealth,
    ) -> std::io::Result<Self> {
        crate::disk::make_dir(dir)?;
        let (stop, stopped) = channel();
        let delivery = Delivery::new(store, refused_path(dir), health.clone());
        let mut follower = Follower::new(dir, journal, delivery, health);
        let thread = std::thread::Builder::new().name("feed".into()).spawn(move || {
            follower.run(&Pause(stopped));
        })?;
        Ok(Self { stop, thread })
    }

    /// Lets the request under way end, and ends.
    pub fn stop(self) {
        drop(self.stop);
        if self.thread.join().is_err() {
            tracing::error!("the feed ended by a panic");
        }
    }
}

/// Where lines are kept that the store refuses for ever.
fn refused_path(dir: &Path) -> PathBuf {
    dir.join("refused.txt")
}

/// Whether this build has the client at all.
pub const HAS_INFLUX: bool = cfg!(feature = "influx");

#[cfg(feature = "influx")]
fn open(target: &Target) -> std::io::Result<impl Store + use<>> {
    influx::Influx::open(target)
}

#[cfg(not(feature = "influx"))]
fn open(_: &Target) -> std::io::Result<deliver::NoStore> {
    Err(std::io::Error::other("this build has no InfluxDB client: build with the feature influx"))
}
