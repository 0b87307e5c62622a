//! What happened, in few bytes: written down when a seed fails, and compared to show that the same
//! seed gives the same history.

use std::fmt::Write as _;

/// One thing that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Note {
    /// Milliseconds since the history began.
    pub at: u64,
    pub what: &'static str,
    /// The node; none: the collector.
    pub node: Option<usize>,
    /// A sequence, a hash or a length: whatever tells two of a kind apart.
    pub number: u64,
}

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    notes: Vec<Note>,
}

impl History {
    pub fn note(&mut self, note: Note) {
        self.notes.push(note);
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.notes.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.notes.is_empty()
    }

    /// One line each, for people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        for Note { at, what, node, number } in &self.notes {
            let (seconds, millis) = (at / 1_000, at % 1_000);
            let who = node.map_or("collector".to_owned(), |node| format!("node {node}"));
            // Writing to a string does not fail.
            let _written = writeln!(text, "{seconds:>9}.{millis:03} {who:9} {what} {number}");
        }
        text
    }
}
