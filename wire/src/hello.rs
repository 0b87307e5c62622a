//! What a sender says first on a connection, and what the collector answers: how far each is.
//!
//! A hello releases nothing: only an [`crate::Ack`] that names the hash does. It tells the sender
//! that it must go back (the collector lost its disk) or begin a new epoch (its own disk was
//! rolled back, or there are two of it), and the collector which sequences will never come.

use serde::{Deserialize, Serialize};

use crate::id::{BatchSeq, HubId, NodeId, SpoolEpoch};
use crate::units::UtcMillis;

/// Batches that one sender may ever have under way.
pub const CREDITS_MAX: u8 = 16;

/// Body of `POST /v1/hello`, as JSON. Numbers of 64 bits are decimal strings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    pub hub: String,
    pub node: String,
    /// Spool epoch, 32 hexadecimal digits.
    pub epoch: String,
    /// The eldest sequence that can still be sent, acknowledged ones that are kept included.
    pub oldest: String,
    /// What the next new batch of this epoch gets.
    pub next: String,
    /// This boot of the sender's machine, 32 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<String>,
    /// Milliseconds since that boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uptime_ms: Option<String>,
    /// The sender's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub utc_ms: Option<String>,
}

/// The sequences of a hello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub oldest: BatchSeq,
    pub next: BatchSeq,
}

/// A hello that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Greeting {
    pub hub: HubId,
    pub node: NodeId,
    pub epoch: SpoolEpoch,
    pub span: Span,
}

impl Hello {
    #[must_use]
    pub fn new(greeting: &Greeting, utc: UtcMillis) -> Self {
        Self {
            hub: greeting.hub.to_string(),
            node: greeting.node.to_string(),
            epoch: greeting.epoch.to_string(),
            oldest: greeting.span.oldest.to_string(),
            next: greeting.span.next.to_string(),
            boot: None,
            uptime_ms: None,
            utc_ms: Some(utc.get().to_string()),
        }
    }

    /// What it says, if every field is what it must be and `oldest` is not above `next`.
    #[must_use]
    pub fn read(&self) -> Option<Greeting> {
        let sequence = |text: &str| text.parse::<u64>().ok().and_then(BatchSeq::new);
        let span = Span { oldest: sequence(&self.oldest)?, next: sequence(&self.next)? };
        if span.oldest > span.next {
            return None;
        }
        Some(Greeting {
            hub: HubId::new(&self.hub).ok()?,
            node: NodeId::new(&self.node).ok()?,
            epoch: self.epoch.parse().ok()?,
            span,
        })
    }
}

/// How far a collector is in one epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reached {
    /// Everything through this is durable or will never come; 0: nothing.
    pub contiguous: u64,
    /// The highest that is durable; 0: none.
    pub newest: u64,
}

/// Body of the 200 to a hello, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The epoch that was greeted in.
    pub epoch: String,
    /// Everything of the epoch through this is durable here or will never come; "0": nothing.
    pub contiguous: String,
    /// The highest sequence of the epoch that is durable here; "0": none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest: Option<String>,
    /// The collector's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub utc_ms: Option<String>,
    /// How many batches this sender may have under way now, 1 to [`CREDITS_MAX`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credits: Option<u8>,
}

impl Welcome {
    #[must_use]
    pub fn new(epoch: SpoolEpoch, reached: Reached, utc: UtcMillis, credits: u8) -> Self {
        Self {
            epoch: epoch.to_string(),
            contiguous: reached.contiguous.to_string(),
            newest: Some(reached.newest.to_string()),
            utc_ms: Some(utc.get().to_string()),
            credits: Some(credits),
        }
    }

    /// How far the collector is, if this answers a hello of that epoch.
    #[must_use]
    pub fn reached(&self, epoch: SpoolEpoch) -> Option<Reached> {
        if self.epoch.parse() != Ok(epoch) {
            return None;
        }
        let contiguous = self.contiguous.parse().ok()?;
        let newest = self.newest.as_ref().map_or(Some(contiguous), |text| text.parse().ok())?;
        Some(Reached { contiguous, newest })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn greeting() -> Greeting {
        let seq = |n| BatchSeq::new(n).expect("from 1");
        Greeting {
            hub: HubId::new("isb").expect("valid"),
            node: NodeId::new("n01").expect("valid"),
            epoch: SpoolEpoch::new([7; 16]),
            span: Span { oldest: seq(3), next: seq(u64::MAX) },
        }
    }

    #[test]
    fn a_hello_reads_back_and_nonsense_does_not() {
        let hello = Hello::new(&greeting(), UtcMillis::new(-1));
        let text = serde_json::to_string(&hello).expect("encodes");
        assert_eq!(
            text,
            "{\"hub\":\"isb\",\"node\":\"n01\",\"epoch\":\"07070707070707070707070707070707\",\
             \"oldest\":\"3\",\"next\":\"18446744073709551615\",\"utc_ms\":\"-1\"}"
        );
        let back: Hello = serde_json::from_str(&text).expect("decodes");
        assert_eq!(back.read(), Some(greeting()));
        for (oldest, next) in [("0", "1"), ("4", "3"), ("1", "x"), ("1", "18446744073709551616")] {
            let (oldest, next) = (oldest.to_owned(), next.to_owned());
            assert_eq!(Hello { oldest, next, ..hello.clone() }.read(), None);
        }
        assert_eq!(Hello { hub: "no hub".to_owned(), ..hello }.read(), None);
    }

    #[test]
    fn a_welcome_to_another_epoch_says_nothing() {
        let (mine, other) = (SpoolEpoch::new([7; 16]), SpoolEpoch::new([8; 16]));
        let reached = Reached { contiguous: 12, newest: 14 };
        let welcome = Welcome::new(mine, reached, UtcMillis::new(5), 4);
        let text = serde_json::to_string(&welcome).expect("encodes");
        let later = text.replace("\"credits\":4", "\"credits\":4,\"of_a_later_version\":true");
        let back: Welcome = serde_json::from_str(&later).expect("unknown fields are passed over");
        assert_eq!((back.reached(mine), back.reached(other)), (Some(reached), None));
    }
}
