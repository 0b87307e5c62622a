//! What people and schedulers put, whatever it is: the id in the address or in the body, and what
//! is asked behind the question mark.

use std::collections::BTreeMap;

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, Request};
use bijli_wire::ErrorCode;

use super::read_body;
use crate::allocation::{PutText, TextError};
use crate::calibration::CalibrationText;
use crate::meterbook::TypedText;
use crate::period::PeriodText;
use crate::projects::ProjectText;
use crate::refusal::Refusal;

pub(super) type PathId = Result<Path<String>, PathRejection>;
pub(super) type Parameters = Result<Query<Vec<(String, String)>>, QueryRejection>;

/// What is put under an id.
pub(super) trait Text: Sized {
    fn from_json(json: &[u8]) -> Result<Self, TextError>;
    fn id(&mut self) -> &mut String;
}

macro_rules! texts {
    ($($text:ty)*) => {
        $(impl Text for $text {
            fn from_json(json: &[u8]) -> Result<Self, TextError> {
                Self::from_json(json)
            }

            fn id(&mut self) -> &mut String {
                &mut self.id
            }
        })*
    };
}

texts! { PutText CalibrationText TypedText ProjectText }

impl Text for PeriodText {
    fn from_json(json: &[u8]) -> Result<Self, TextError> {
        Self::from_json(json)
    }

    fn id(&mut self) -> &mut String {
        &mut self.month
    }
}

/// Reads the body of a put to an address without an id: it is in the body.
pub(super) async fn unnamed<T: Text>(request: Request) -> Result<T, Refusal> {
    T::from_json(&read_body(request).await?).map_err(|error| invalid(&error))
}

/// Reads the body of a put to an address with an id: it may also be in the body, then it is the
/// same.
pub(super) async fn under<T: Text>(path: PathId, request: Request) -> Result<T, Refusal> {
    let path = named(path)?;
    let mut text: T = unnamed(request).await?;
    if text.id().is_empty() {
        *text.id() = path;
    } else if *text.id() != path {
        return Err(invalid(&TextError::OtherId { path, body: text.id().clone() }));
    }
    Ok(text)
}

pub(super) fn invalid(error: &TextError) -> Refusal {
    Refusal::new(ErrorCode::InvalidRequest, error.to_string())
}

pub(super) fn named(path: PathId) -> Result<String, Refusal> {
    let refuse = |_| Refusal::new(ErrorCode::InvalidRequest, "the address names nothing");
    path.map(|Path(id)| id).map_err(refuse)
}

/// Takes `allowed`, each at most once, and nothing else: a misspelt `at` must not mean "now".
pub(super) fn parameters(
    query: Parameters,
    allowed: &[&'static str],
) -> Result<BTreeMap<&'static str, String>, Refusal> {
    let refuse = |words: String| Refusal::new(ErrorCode::InvalidRequest, words);
    let Ok(Query(pairs)) = query else {
        return Err(refuse("the parameters cannot be read".to_owned()));
    };
    let mut parameters = BTreeMap::new();
    for (name, value) in pairs {
        let Some(known) = allowed.iter().find(|known| **known == name) else {
            let name: String = name.chars().take(64).collect();
            let known = allowed.join(", ");
            return Err(refuse(format!(
                "there is no parameter {name:?}; this address takes {known}"
            )));
        };
        if parameters.insert(*known, value).is_some() {
            return Err(refuse(format!("parameter {name:?} is given twice")));
        }
    }
    Ok(parameters)
}
