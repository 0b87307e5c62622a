//! Closing and restating a month as people write it (JSON), and as the books are told.
//!
//! The journal keeps the JSON of [`PeriodText`] as it was put. Field order and names are on disk:
//! append only.

use bijli_ledger::leaf::Body;
use bijli_ledger::{Books, ClosePeriod, Month, PeriodError, RestatePeriod};
use bijli_wire::{HubId, UtcMillis};
use serde::{Deserialize, Serialize};

use crate::allocation::{TextError, name};

/// Closes a month; or restates it, if it has a cause.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeriodText {
    /// `2026-07`. May be left out where the address names it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub month: String,
    /// May be left out where there is only one hub.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hub: Option<String>,
    /// Who stands for the figures.
    pub by: String,
    /// Why it is closed although there are doubts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub despite: Option<String>,
    /// Why the figures of a closed month are others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
}

/// What is asked of the books.
#[derive(Clone, Copy, Debug)]
pub enum Said<'a> {
    Close(ClosePeriod<'a>),
    Restate(RestatePeriod<'a>),
}

impl PeriodText {
    const WHAT: &'static str = "a month that is closed or restated";

    /// # Errors
    /// Says which field is wrong.
    pub fn from_json(json: &[u8]) -> Result<Self, TextError> {
        TextError::read(Self::WHAT, json)
    }

    /// The bytes that the journal keeps.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings can be written as JSON")
    }

    /// # Errors
    /// Says which field is wrong.
    pub fn read(&self) -> Result<(HubId, Said<'_>), TextError> {
        let hub = self.hub.as_deref().ok_or(TextError::NoHub)?;
        let refuse = |field, words| TextError::Field { field, words };
        let month = self.month.parse::<Month>();
        let month = month.map_err(|error| refuse("month", error.to_string()))?;
        let (by, despite) = (self.by.as_str(), self.despite.as_deref());
        let said = match self.cause.as_deref() {
            None => Said::Close(ClosePeriod { month, by, despite }),
            Some(cause) if despite.is_none() => Said::Restate(RestatePeriod { month, by, cause }),
            Some(_) => {
                let words = "there is a despite too: a month is restated or closed";
                return Err(refuse("cause", words.to_owned()));
            }
        };
        Ok((name("hub", HubId::new(hub))?, said))
    }
}

impl Said<'_> {
    #[must_use]
    pub const fn month(&self) -> Month {
        match self {
            Self::Close(asked) => asked.month,
            Self::Restate(asked) => asked.month,
        }
    }

    /// Whether the books would change now.
    ///
    /// # Errors
    /// As they would refuse.
    pub fn would_change(&self, books: &Books) -> Result<bool, PeriodError> {
        match self {
            Self::Close(asked) => books.closable(asked, 0).map(|closed| closed.is_some()),
            Self::Restate(asked) => books.is_restatable(asked),
        }
    }

    /// Tells the books; what becomes leaf `leaf`, if anything.
    ///
    /// # Errors
    /// As they refuse.
    pub fn tell(
        &self,
        books: &mut Books,
        leaf: u64,
        at: UtcMillis,
    ) -> Result<Option<Body>, PeriodError> {
        match self {
            Self::Close(asked) => {
                let closed = books.close_period(asked, leaf, at)?;
                Ok(closed.map(|closed| Body::Period(Box::new(closed))))
            }
            Self::Restate(asked) => {
                let restated = books.restate_period(asked, leaf, at)?;
                Ok(restated.map(|restated| Body::Restatement(Box::new(restated))))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_closes_or_restates() {
        let read = |json: &str| PeriodText::from_json(json.as_bytes());
        let close = read(r#"{"month":"2026-07","hub":"isb","by":"A. Khan"}"#).expect("reads");
        assert!(matches!(close.read(), Ok((_, Said::Close(ClosePeriod { despite: None, .. })))));
        let restate = PeriodText { cause: Some("a spool".into()), ..close.clone() };
        assert!(matches!(restate.read(), Ok((_, Said::Restate(_)))));
        let both = PeriodText { despite: Some("why".into()), ..restate };
        assert!(both.read().expect_err("both").to_string().contains("restated or closed"));
        let month = PeriodText { month: "2026-13".into(), ..close.clone() };
        assert!(month.read().expect_err("a month").to_string().contains("like 2026-07"));
        let nowhere = PeriodText { hub: None, ..close };
        assert_eq!(nowhere.read().expect_err("no hub"), TextError::NoHub);
        assert!(read(r#"{"month":"2026-07","by":"A. Khan","dispite":"x"}"#).is_err());
    }
}
