//! The `[influx]` section: the time-series store that readings are handed on to.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bijli_identity::disk as secrets;
use bijli_wire::{Millis, quantity};
use hyper::Uri;
use serde::Deserialize;

use super::{Problem, note};
use crate::disk;
use crate::feed::{HAS_INFLUX, Target};

const TIMEOUT: Duration = Duration::from_secs(10);
const EXAMPLE: &str = "write it like \"http://127.0.0.1:8086\"";

/// The section as it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct InfluxText {
    url: String,
    org: String,
    bucket: String,
    #[serde(default)]
    token_file: Option<PathBuf>,
    #[serde(default, deserialize_with = "quantity::de_some_duration")]
    timeout: Option<Millis>,
    #[serde(default)]
    allow_plain_http: bool,
}

/// `None`: there is no such section, or something is wrong with it.
pub(super) fn check(
    text: Option<InfluxText>,
    folder: &Path,
    problems: &mut Vec<Problem>,
) -> Option<Target> {
    let text = text?;
    if !HAS_INFLUX {
        let what = "this build has no InfluxDB client";
        note(problems, "influx", what, "build with the feature `influx`, or leave the section out");
    }
    if let Err((what, remedy)) = check_url(&text.url, text.allow_plain_http) {
        note(problems, "influx.url", format!("{:?} {what}", text.url), remedy);
    }
    for (place, value) in [("influx.org", &text.org), ("influx.bucket", &text.bucket)] {
        if value.trim().is_empty() {
            note(problems, place, "it is empty", "name it as the store does");
        }
    }
    let timeout = text.timeout.map_or(TIMEOUT, |span| Duration::from_millis(span.get()));
    if !(Duration::from_secs(1)..=Duration::from_secs(300)).contains(&timeout) {
        note(problems, "influx.timeout", "a request may take 1 s to 5 min", "10s is usual");
    }
    let token = match text.token_file.map(|file| folder.join(file)) {
        None => String::new(),
        Some(file) => read_token(&file, problems)?,
    };
    let InfluxText { url, org, bucket, .. } = text;
    Some(Target { url, org, bucket, token, timeout })
}

fn read_token(file: &Path, problems: &mut Vec<Problem>) -> Option<String> {
    let place = "influx.token_file";
    let token = match disk::read_text(file) {
        Ok(text) => text.trim().to_owned(),
        Err(error) => {
            let what = format!("cannot read {}: {error}", file.display());
            note(problems, place, what, "one line with the token, chmod 600");
            return None;
        }
    };
    if secrets::is_open_to_others(file) {
        let what = format!("every user can read {}", file.display());
        note(problems, place, what, "chmod 600, and ask the store for a new token");
    }
    if token.is_empty() || token.chars().any(|c| c.is_control() || !c.is_ascii()) {
        note(problems, place, "it holds no token", "one line as the store gave it");
    }
    Some(token)
}

/// The client has no TLS of its own here (docs/decisions/0025) and drops what stands behind the
/// port.
fn check_url(url: &str, allow_plain_http: bool) -> Result<(), (&'static str, &'static str)> {
    if url.starts_with("https:") {
        return Err((
            "is TLS, which this client does not speak",
            "name a local proxy that does (http://127.0.0.1:PORT); docs/feed.md shows one",
        ));
    }
    let uri: Uri = url.parse().map_err(|_| ("is no address", EXAMPLE))?;
    if uri.scheme_str() != Some("http") || uri.path() != "/" || uri.query().is_some() {
        return Err(("is more or less than http, host and port", EXAMPLE));
    }
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let is_near = host == "localhost"
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    if !is_near && !allow_plain_http {
        return Err((
            "is another machine: readings and token could be read on the way",
            "name a local TLS proxy, or set allow_plain_http = true",
        ));
    }
    Ok(())
}

/// The section in words.
pub(super) fn explain(target: &Target) -> String {
    let Target { url, org, bucket, token, timeout } = target;
    let token = if token.is_empty() { "no token" } else { "with a token" };
    format!(
        "\ninflux\n    every reading to bucket {bucket} of {org} at {url}, {token}, at most {timeout:?} \
         a request\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_by_table() {
        for (url, allow, is_good) in [
            ("http://127.0.0.1:8086", false, true),
            ("http://localhost:8086/", false, true),
            ("http://[::1]:8086", false, true),
            ("http://influx.example:8086", false, false),
            ("http://influx.example:8086", true, true),
            ("https://influx.example", true, false),
            ("http://127.0.0.1:8086/prefix", false, false),
            ("http://127.0.0.1:8086?x=1", false, false),
            ("127.0.0.1:8086", false, false),
            ("http://", false, false),
            ("", false, false),
        ] {
            assert_eq!(check_url(url, allow).is_ok(), is_good, "{url:?}");
        }
    }

    #[test]
    fn a_token_is_one_line_that_only_its_owner_reads() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("token");
        let problems = |mode: u32| {
            use std::os::unix::fs::PermissionsExt as _;
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).expect("set");
            let mut problems = Vec::new();
            let token = read_token(&file, &mut problems);
            (token, problems.len())
        };
        disk::write_text(&file, "s3cret\n").expect("written");
        assert_eq!(problems(0o600), (Some("s3cret".to_owned()), 0));
        assert_eq!(problems(0o644), (Some("s3cret".to_owned()), 1));
        let mut none = Vec::new();
        assert_eq!(read_token(&folder.path().join("none"), &mut none), None);
        assert_eq!(none.len(), 1);
    }
}
