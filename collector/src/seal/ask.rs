//! Speaking with witnesses: plain requests, each bounded in time and size.

use std::time::Duration;

use hyper::Method;

use crate::ask;

const ANSWER_TIME_MAX: Duration = Duration::from_secs(3);

/// Whoever carries a request to a witness.
pub trait Ask: Send {
    /// The status and text of an answer.
    ///
    /// # Errors
    /// Why there is none, in words.
    fn get(&self, url: &str) -> Result<(u16, String), String>;
    /// As [`Ask::get`], of a `POST`.
    ///
    /// # Errors
    /// Why there is none, in words.
    fn post(&self, url: &str, body: String) -> Result<(u16, String), String>;
}

/// Over HTTP.
#[derive(Clone, Copy, Debug)]
pub struct Http;

impl Ask for Http {
    fn get(&self, url: &str) -> Result<(u16, String), String> {
        ask::exchange(url, Method::GET, String::new(), ANSWER_TIME_MAX)
    }

    fn post(&self, url: &str, body: String) -> Result<(u16, String), String> {
        ask::exchange(url, Method::POST, body, ANSWER_TIME_MAX)
    }
}

/// Nobody answers.
#[derive(Clone, Copy, Debug)]
pub struct Nobody;

impl Ask for Nobody {
    fn get(&self, _url: &str) -> Result<(u16, String), String> {
        Err("nobody is asked".to_owned())
    }

    fn post(&self, _url: &str, _body: String) -> Result<(u16, String), String> {
        Err("nobody is asked".to_owned())
    }
}
