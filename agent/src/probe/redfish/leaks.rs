//! Leak detectors of a cooling unit, or of a chassis that liquid cools: what they say, and what of
//! it is news.
//!
//! # Invariants
//! - Dry is what every detector says, and nothing less: one that does not tell makes the state of
//!   the whole missing, unless another one says that it leaks.
//! - Told is a change. After a start, a leak that is there is a change from nothing.

use std::collections::BTreeMap;

use bijli_wire::SubjectId;
use bijli_wire::message::EventKind;

use super::http::Http;
use super::json::Json;
use super::survey::{Failure, Link, document, members, parsed, perhaps};
use crate::probe::{Happening, Witness, short};

/// Detectors of one device.
const DETECTORS_MAX: usize = 64;

/// What a detector says (`DetectorState`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum State {
    Dry,
    Warning,
    Critical,
}

impl State {
    fn from_word(word: &str) -> Option<Self> {
        match word {
            "OK" => Some(Self::Dry),
            "Warning" => Some(Self::Warning),
            "Critical" => Some(Self::Critical),
            // `Unavailable`, `Absent`, and what newer versions say.
            _ => None,
        }
    }

    /// In the catalogue's number.
    pub(super) const fn number(self) -> i64 {
        match self {
            Self::Dry => 0,
            Self::Warning => 1,
            Self::Critical => 2,
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Dry => "OK",
            Self::Warning => "Warning",
            Self::Critical => "Critical",
        }
    }
}

/// Where detectors are read at each tick.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// One document has them all, in groups.
    Groups(Link),
    /// Each is a document.
    Each(Vec<Link>),
}

/// What each detector says, by name; `None`: nothing.
pub(super) type Told = BTreeMap<String, Option<State>>;

/// Finds the detectors of a cooling unit, or of a chassis by its ThermalSubsystem.
pub(super) async fn find(http: &mut Http, device: Json<'_>) -> Result<Option<Place>, Failure> {
    let mut link = Link::of(device, "LeakDetection")?;
    if link.is_none() {
        let subsystem = Link::of(device, "ThermalSubsystem")?;
        let Some(text) = perhaps(http, subsystem.as_ref()).await? else { return Ok(None) };
        link = Link::of(parsed(&text)?, "LeakDetection")?;
    }
    let Some(text) = perhaps(http, link.as_ref()).await? else { return Ok(None) };
    let json = parsed(&text)?;
    if !in_groups(json).is_empty() {
        return Ok(link.map(Place::Groups));
    }
    let all = Link::of(json, "LeakDetectors")?;
    let Some(text) = perhaps(http, all.as_ref()).await? else { return Ok(None) };
    let each = members(parsed(&text)?)?;
    if each.len() > DETECTORS_MAX {
        let words = format!("it has more than {DETECTORS_MAX} leak detectors");
        return Err(Failure::Useless { words });
    }
    Ok((!each.is_empty()).then_some(Place::Each(each)))
}

pub(super) async fn read(http: &mut Http, place: &Place) -> Result<Told, Failure> {
    match place {
        Place::Groups(link) => Ok(in_groups(parsed(&document(http, link).await?)?)),
        Place::Each(links) => {
            let mut told = Told::new();
            for link in links {
                let text = document(http, link).await;
                let json = text.as_deref().ok().and_then(Json::document);
                let last = link.as_str().rsplit('/').next().unwrap_or_default();
                told.insert(last.to_owned(), json.and_then(state));
            }
            Ok(told)
        }
    }
}

fn state(detector: Json<'_>) -> Option<State> {
    State::from_word(&detector.member("DetectorState").and_then(Json::text)?)
}

fn in_groups(json: Json<'_>) -> Told {
    let mut told = Told::new();
    for group in json.member("LeakDetectorGroups").map(Json::items).unwrap_or_default() {
        for detector in group.member("Detectors").map(Json::items).unwrap_or_default() {
            if told.len() < DETECTORS_MAX {
                let name = detector.member("DeviceName").and_then(Json::text);
                let name = name.unwrap_or_else(|| format!("number {}", told.len() + 1));
                told.insert(short(&name), state(detector));
            }
        }
    }
    told
}

/// Of all detectors together; `None`: one does not tell, and none says that it leaks.
pub(super) fn worst(told: &Told) -> Option<State> {
    let worst = told.values().flatten().max().copied();
    let is_whole = told.values().all(Option::is_some);
    worst.filter(|worst| is_whole || *worst > State::Dry)
}

/// What was last known of each detector.
#[derive(Debug, Default)]
pub(super) struct Watch {
    known: Told,
}

impl Watch {
    /// Takes what is told now; what of it is news.
    pub(super) fn take(&mut self, told: Told, subject: Option<&SubjectId>) -> Vec<Happening> {
        let before = std::mem::take(&mut self.known);
        let news = told.iter().filter_map(|(name, now)| {
            let (kind, code, words) = news(before.get(name).copied(), *now)?;
            let text = short(&format!("leak detector {name:?}: {words}"));
            let (subject, witness) = (subject.cloned(), Witness::Driver);
            Some(Happening { subject, kind, code, text, witness })
        });
        let news = news.collect();
        self.known = told;
        news
    }
}

/// From what was known of a detector, if it was, to what it says.
fn news(before: Option<Option<State>>, now: Option<State>) -> Option<(EventKind, u32, String)> {
    let was = before.map(|state| state.map_or("silent", State::word));
    let words =
        |now: &str| was.map_or_else(|| now.to_owned(), |was| format!("{was} was, {now} is"));
    match (before, now) {
        (before, now) if before == Some(now) => None,
        (_, Some(State::Critical)) => Some((EventKind::LeakDetected, 2, words("Critical"))),
        (_, Some(State::Warning)) => Some((EventKind::LeakDetected, 1, words("Warning"))),
        (Some(Some(State::Warning | State::Critical)), Some(State::Dry)) => {
            Some((EventKind::LeakCleared, 0, words("OK")))
        }
        (_, Some(State::Dry)) => None,
        (_, None) => {
            let words = "it tells no state: nobody watches there".to_owned();
            Some((EventKind::LeakUnwatched, 0, words))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(states: &[Option<State>]) -> Told {
        let named = |(index, state): (usize, &Option<State>)| (format!("d{index}"), *state);
        states.iter().enumerate().map(named).collect()
    }

    #[test]
    fn dry_is_what_every_detector_says_and_nothing_less() {
        let (dry, warning, critical) = (State::Dry, State::Warning, State::Critical);
        for (states, expected) in [
            (&[Some(dry), Some(dry)][..], Some(dry)),
            (&[Some(dry), None], None),
            (&[None, None], None),
            (&[Some(warning), None], Some(warning)),
            (&[Some(warning), Some(critical)], Some(critical)),
            (&[], None),
        ] {
            assert_eq!(worst(&told(states)), expected, "{states:?}");
        }
    }

    #[test]
    fn a_change_is_told_once() {
        let mut watch = Watch::default();
        let mut told = |state: Option<State>| {
            let news = watch.take(told(&[state]), None);
            news.into_iter().map(|one| (one.kind, one.code)).collect::<Vec<_>>()
        };
        assert_eq!(told(Some(State::Dry)), []);
        assert_eq!(told(Some(State::Warning)), [(EventKind::LeakDetected, 1)]);
        assert_eq!(told(Some(State::Warning)), []);
        assert_eq!(told(Some(State::Critical)), [(EventKind::LeakDetected, 2)]);
        assert_eq!(told(Some(State::Dry)), [(EventKind::LeakCleared, 0)]);
        assert_eq!(told(None), [(EventKind::LeakUnwatched, 0)]);
        assert_eq!(told(None), []);
        assert_eq!(told(Some(State::Dry)), []);
        // After a start: what leaks is told.
        let mut fresh = Watch::default();
        let news = fresh.take(super::tests::told(&[Some(State::Critical)]), None);
        assert_eq!(news.len(), 1);
    }
}
