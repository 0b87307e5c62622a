//! What a device may say to a question, apart from how it is asked.

use std::collections::BTreeMap;

/// A name in the device's tree: `1.3.6.1.2.1.1.2.0`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ObjectId(pub(super) Vec<u32>);

impl ObjectId {
    /// No name is longer (RFC 2578, 3.5).
    const PARTS_MAX: usize = 128;

    /// Digits and dots, as MIB browsers print it; a leading dot is allowed.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = text.strip_prefix('.').unwrap_or(text);
        let is_number = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
        let part = |part: &str| if is_number(part) { part.parse().ok() } else { None };
        let parts: Option<Vec<u32>> = text.split('.').map(part).collect();
        let parts = parts.filter(|parts| (2..=Self::PARTS_MAX).contains(&parts.len()))?;
        // So is the tree's root: what does not fit it cannot be sent.
        let fits = match parts.as_slice() {
            [0 | 1, second, ..] => *second < 40,
            [2, second, ..] => *second <= u32::MAX - 80,
            [..] => false,
        };
        fits.then_some(Self(parts))
    }
}

impl std::fmt::Display for ObjectId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let parts: Vec<String> = self.0.iter().map(u32::to_string).collect();
        f.write_str(&parts.join("."))
    }
}

/// What one object showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Whatever width and sign it came in.
    Integer(i128),
    Text(String),
    Name(ObjectId),
    /// noSuchObject, noSuchInstance, endOfMibView.
    Absent,
    /// Something that is neither number, text nor name: its kind.
    Other(&'static str),
}

/// What was answered. An object that is not here was asked for and not answered.
pub(super) type Answers = BTreeMap<ObjectId, Answer>;

/// Why a value is missing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Missing {
    #[error("the device has no such object")]
    Absent,
    #[error("the answer was cut short")]
    Unanswered,
    #[error("not a number but {0}")]
    Kind(&'static str),
    #[error("{0} cannot be true")]
    Untrue(i128),
    #[error("code {0} is of no known meaning")]
    Code(i128),
    #[error("{name} is {found}")]
    Unfit { name: String, found: String },
    #[error("its scale is not what it was declared with")]
    Rescaled,
}

/// The integer that `name` showed.
pub(super) fn integer(answers: &Answers, name: &ObjectId) -> Result<i128, Missing> {
    match answers.get(name) {
        Some(Answer::Integer(value)) => Ok(*value),
        Some(Answer::Text(_)) => Err(Missing::Kind("a text")),
        Some(Answer::Name(_)) => Err(Missing::Kind("an object's name")),
        Some(Answer::Other(kind)) => Err(Missing::Kind(kind)),
        Some(Answer::Absent) => Err(Missing::Absent),
        None => Err(Missing::Unanswered),
    }
}

/// The text or number that `name` showed, for people; `None`: it shows none.
pub(super) fn words(answers: &Answers, name: &ObjectId) -> Option<String> {
    match answers.get(name)? {
        Answer::Integer(value) => Some(value.to_string()),
        Answer::Text(text) => Some(text.clone()).filter(|text| !text.is_empty()),
        Answer::Name(name) => Some(name.to_string()),
        Answer::Absent | Answer::Other(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_by_table() {
        for text in ["1.3.6.1.2.1.1.2.0", ".1.3", "0.0", "2.999.3", "1.3.4294967295"] {
            let name = ObjectId::parse(text).expect(text);
            assert_eq!(name.to_string(), text.trim_start_matches('.'));
        }
        for text in ["", "1", "..1", "1.3.", "1.-3", "1.+3", "3.1", "1.40", "1.3.4294967296", "a.b"]
        {
            assert_eq!(ObjectId::parse(text), None, "{text}");
        }
        assert_eq!(ObjectId::parse(&"1.".repeat(128)), None);
    }

    proptest! {
        #[test]
        fn any_text_is_a_name_that_prints_back_or_none(text in "[0-9.]{0,40}") {
            if let Some(name) = ObjectId::parse(&text) {
                prop_assert_eq!(ObjectId::parse(&name.to_string()), Some(name));
            }
        }
    }
}
