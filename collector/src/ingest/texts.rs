//! What people and schedulers put, whatever it is: the id in the address or in the body, and what
//! is asked behind the question mark.

use std::collections::BTreeMap;

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts as _, Path, Query, Request};
use bijli_wire::ErrorCode;

use super::read_body;
use crate::allocation::{PutText, TextError};
use crate::calibration::CalibrationText;
use crate::meterbook::TypedText;
use crate::period::PeriodText;
use crate::projects::ProjectText;
use crate::refusal::Refusal;
use crate::retirement::RetirementText;

pub(super) type PathId = Result<Path<String>, PathRejection>;
pub(super) type Parameters = Result<Query<Vec<(String, String)>>, QueryRejection>;

/// What is put under an id.
pub(crate) trait Text: Sized {
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

impl Text for RetirementText {
    fn from_json(json: &[u8]) -> Result<Self, TextError> {
        Self::from_json(json)
    }

    fn id(&mut self) -> &mut String {
        &mut self.node
    }
}

impl Text for PeriodText {
    fn from_json(json: &[u8]) -> Result<Self, TextError> {
        Self::from_json(json)
    }

    fn id(&mut self) -> &mut String {
        &mut self.month
    }
}

/// A text that is put. Its id is in the address, and may be in the body too, then it is the same;
/// or the address has none, then it is in the body.
pub(crate) struct Put<T>(pub(crate) T);

impl<S: Send + Sync, T: Text> FromRequest<S> for Put<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        let (mut parts, body) = request.into_parts();
        let path = Option::<Path<String>>::from_request_parts(&mut parts, state).await;
        let path = path.map_err(|_| nameless())?;
        let body = read_body(Request::from_parts(parts, body)).await?;
        let mut text = T::from_json(&body).map_err(|error| invalid(&error))?;
        match path {
            None => {}
            Some(Path(path)) if text.id().is_empty() => *text.id() = path,
            Some(Path(path)) if *text.id() == path => {}
            Some(Path(path)) => {
                return Err(invalid(&TextError::OtherId { path, body: text.id().clone() }));
            }
        }
        Ok(Self(text))
    }
}

pub(super) fn invalid(error: &TextError) -> Refusal {
    Refusal::new(ErrorCode::InvalidRequest, error.to_string())
}

pub(super) fn named(path: PathId) -> Result<String, Refusal> {
    path.map(|Path(id)| id).map_err(|_| nameless())
}

fn nameless() -> Refusal {
    Refusal::new(ErrorCode::InvalidRequest, "the address names nothing")
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
