//! Parameters of an address: only the known ones, each once, periods on interval edges.

use std::collections::BTreeMap;

use axum::extract::Query;
use axum::http::Uri;
use bijli_ledger::Rules;
use bijli_wire::{ErrorCode, Millis, UtcMillis};

use crate::calendar;
use crate::refusal::Refusal;

/// Longest period of one answer, in intervals: a leap year of quarter hours.
pub(crate) const RANGE_INTERVALS_MAX: u64 = 35_136;
/// Rows of one answer, unless asked for fewer, and at most.
pub(crate) const ROWS: usize = 1_000;
pub(crate) const ROWS_MAX: usize = 10_000;

/// The parameters of one request.
#[derive(Debug)]
pub(crate) struct Parameters(BTreeMap<String, String>);

/// A stretch of time on interval edges, `to` exclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Period {
    pub(crate) from: UtcMillis,
    pub(crate) to: UtcMillis,
}

impl Parameters {
    /// Takes `allowed` and nothing else.
    pub(crate) fn of(uri: &Uri, allowed: &[&str]) -> Result<Self, Refusal> {
        let Ok(Query(pairs)) = Query::<Vec<(String, String)>>::try_from_uri(uri) else {
            return Err(refuse("the part after ? is not a list of name=value".to_owned()));
        };
        let mut parameters = BTreeMap::new();
        for (name, value) in pairs {
            if !allowed.contains(&name.as_str()) {
                let name: String = name.chars().take(64).collect();
                let known = match allowed {
                    [] => "takes no parameters".to_owned(),
                    names => format!("takes {}", names.join(", ")),
                };
                return Err(refuse(format!(
                    "there is no parameter {name:?}; this address {known}"
                )));
            }
            if parameters.insert(name.clone(), value).is_some() {
                return Err(refuse(format!("parameter {name:?} is given twice")));
            }
        }
        Ok(Self(parameters))
    }

    /// `from` and `to`, floored to intervals; what is not given is the end of `closed`.
    pub(crate) fn period(
        &self,
        rules: &Rules,
        closed: Option<Period>,
        now: UtcMillis,
    ) -> Result<Period, Refusal> {
        let (from, to) = (self.time("from")?, self.time("to")?);
        let floor = |at: UtcMillis| at.floor_to(rules.interval);
        let to = to.or(closed.map(|closed| closed.to)).map_or(floor(now), floor);
        let longest = rules.interval.get().saturating_mul(RANGE_INTERVALS_MAX);
        let from = match from {
            Some(from) => floor(from),
            None => {
                let first = closed.map_or(to, |closed| closed.from).min(to);
                first.max(minus(to, longest))
            }
        };
        check_range(Period { from, to }, longest, self.0.contains_key("from"))?;
        Ok(Period { from, to })
    }

    /// How many rows at most.
    pub(crate) fn limit(&self) -> Result<usize, Refusal> {
        self.limit_or(ROWS)
    }

    /// How many rows at most, `usual` if it is not said.
    pub(crate) fn limit_or(&self, usual: usize) -> Result<usize, Refusal> {
        let Some(text) = self.0.get("limit") else { return Ok(usual) };
        match text.parse::<usize>() {
            Ok(limit) if (1..=ROWS_MAX).contains(&limit) => Ok(limit),
            Ok(_) | Err(_) => Err(refuse(format!("limit is a number from 1 to {ROWS_MAX}"))),
        }
    }

    /// Rows after this sequence number; 0: from the beginning.
    pub(crate) fn after(&self) -> Result<u64, Refusal> {
        let Some(text) = self.0.get("after") else { return Ok(0) };
        text.parse().map_err(|_| refuse("after is the seq of an entry".to_owned()))
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub(crate) fn time(&self, name: &str) -> Result<Option<UtcMillis>, Refusal> {
        let Some(text) = self.0.get(name) else { return Ok(None) };
        // A plus sign that was not percent-encoded arrives as a space.
        let parsed = calendar::parse(&text.replace(' ', "+"));
        parsed.map(Some).map_err(|error| refuse(format!("{name}: {error}")))
    }
}

fn check_range(period: Period, longest: u64, is_asked: bool) -> Result<(), Refusal> {
    match period.to.since(period.from) {
        Some(span) if span > Millis::new(longest) => Err(refuse(format!(
            "the period is longer than {RANGE_INTERVALS_MAX} intervals; ask for it in parts"
        ))),
        Some(span) if span == Millis::ZERO && is_asked => {
            Err(refuse("the period is empty: from and to are in the same interval".to_owned()))
        }
        Some(_) => Ok(()),
        None => {
            let [from, to] = [period.from, period.to].map(calendar::rfc3339);
            Err(refuse(format!(
                "from is after to: {from}, and {to}; unsaid, to is where the books are closed"
            )))
        }
    }
}

fn minus(at: UtcMillis, span: u64) -> UtcMillis {
    UtcMillis::new(at.get().saturating_sub_unsigned(span))
}

fn refuse(words: String) -> Refusal {
    Refusal::new(ErrorCode::InvalidRequest, words)
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUARTER: i64 = 900_000;

    fn parameters(query: &str) -> Result<Parameters, Refusal> {
        let uri: Uri = format!("/v1/hubs?{query}").parse().expect("an address");
        Parameters::of(&uri, &["from", "to", "limit"])
    }

    fn refused(query: &str, words: &str) {
        let closed = Period { from: UtcMillis::new(0), to: UtcMillis::new(4 * QUARTER) };
        let period = parameters(query).and_then(|p| {
            p.limit()?;
            p.period(&Rules::default(), Some(closed), UtcMillis::new(0))
        });
        let refusal = period.expect_err(query);
        assert_eq!(refusal.code, ErrorCode::InvalidRequest);
        assert!(refusal.message.contains(words), "{query}: {}", refusal.message);
    }

    #[test]
    fn wrong_parameters_are_refused_in_words() {
        refused("form=2026-01-01T00:00:00Z", "takes from, to, limit");
        refused("limit=0", "from 1 to 10000");
        refused("limit=1&limit=2", "twice");
        refused("from=yesterday", "from: ");
        refused("from=2026-08-01T09:00:00", "has no offset");
        refused("from=2020-01-01T00:00:00Z&to=2024-01-01T00:00:00Z", "ask for it in parts");
        refused("from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", "after to");
        refused("from=2026-01-01T00:01:00Z&to=2026-01-01T00:14:00Z", "empty");
    }

    #[test]
    fn periods_are_floored_and_default_to_what_is_closed() {
        let closed = Period { from: UtcMillis::new(QUARTER), to: UtcMillis::new(4 * QUARTER) };
        let of = |query, closed| {
            let period = parameters(query)?.period(&Rules::default(), closed, UtcMillis::new(5));
            period.map(|period| (period.from.get(), period.to.get()))
        };
        assert_eq!(of("", Some(closed)), Ok((QUARTER, 4 * QUARTER)));
        assert_eq!(of("", None), Ok((0, 0)));
        assert_eq!(of("from=1970-01-01T05:16:00+05:00", Some(closed)), Ok((QUARTER, 4 * QUARTER)));
        let encoded = "from=1970-01-01T05:31:00%2B05:00&to=1970-01-01T00:59:59Z";
        assert_eq!(of(encoded, Some(closed)), Ok((2 * QUARTER, 3 * QUARTER)));
    }
}
