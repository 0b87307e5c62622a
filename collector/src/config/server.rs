//! A server of others in the configuration: its address, why it is believed, who we are to it.
//! `[remote_write]` and `[alertmanager]` are such sections.

use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bijli_identity::device::{Device, Fingerprint, Trust};
use bijli_identity::disk as secrets;
use bijli_wire::{Millis, quantity};
use hyper::Uri;
use serde::Deserialize;

use super::{Problem, note};
use crate::caller::Server;
use crate::disk;

const TIMEOUT: Duration = Duration::from_secs(10);

/// The section as it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ServerText {
    url: String,
    #[serde(default)]
    token_file: Option<PathBuf>,
    #[serde(default)]
    user: Option<String>,
    #[serde(default)]
    password_file: Option<PathBuf>,
    #[serde(default)]
    ca: Option<PathBuf>,
    #[serde(default)]
    pinned_sha256: Option<String>,
    #[serde(default, deserialize_with = "quantity::de_some_duration")]
    timeout: Option<Millis>,
    #[serde(default)]
    allow_plain_http: bool,
}

/// A section's name, and where its problems are noted.
struct Checks<'a> {
    section: &'static str,
    folder: &'a Path,
    problems: &'a mut Vec<Problem>,
}

impl Checks<'_> {
    fn note(&mut self, key: &str, what: impl Into<String>, remedy: &str) {
        note(self.problems, format!("{}.{key}", self.section), what, remedy);
    }
}

/// `None`: there is no such section, or something is wrong with it.
pub(super) fn check(
    section: &'static str,
    text: Option<ServerText>,
    folder: &Path,
    problems: &mut Vec<Problem>,
) -> Option<Server> {
    let text = text?;
    let mut checks = Checks { section, folder, problems };
    let timeout = text.timeout.map_or(TIMEOUT, |span| Duration::from_millis(span.get()));
    if !(Duration::from_secs(1)..=Duration::from_secs(300)).contains(&timeout) {
        checks.note("timeout", "a request may take 1 s to 5 min", "10s is usual");
    }
    let login = login(&text, &mut checks);
    let address = address(&text.url).map_err(|(what, remedy)| {
        checks.note("url", format!("{:?} {what}", text.url), remedy);
    });
    let Address { is_tls, host, port, path } = address.ok()?;
    let trust = trust(&text, &mut checks);
    if is_tls && trust.is_none() {
        checks.note(
            "ca",
            "nothing says why its certificate is believed",
            "name the authority's PEM file, or give pinned_sha256",
        );
    }
    if !is_tls && trust.is_some() {
        checks.note("ca", "the address is plain HTTP", "write https://, or leave it out");
    }
    if !is_tls && !is_near(&host) && !text.allow_plain_http {
        checks.note(
            "url",
            format!("{host} is another machine: what is sent could be read on the way"),
            "write https://, or set allow_plain_http = true",
        );
    }
    let tls = trust.filter(|_| is_tls).map(|trust| Device { trust, own: None });
    Some(Server { host, port, path, tls, login, timeout })
}

struct Address {
    is_tls: bool,
    host: String,
    port: u16,
    path: String,
}

fn address(url: &str) -> Result<Address, (&'static str, &'static str)> {
    const EXAMPLE: &str = "write it like \"https://metrics.example:8428/api/v1/write\"";
    let uri: Uri = url.parse().map_err(|_| ("is no address", EXAMPLE))?;
    let is_tls = match uri.scheme_str() {
        Some("https") => true,
        Some("http") => false,
        Some(_) | None => return Err(("begins with neither http:// nor https://", EXAMPLE)),
    };
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err(("holds a user", "give user and password_file"));
    }
    let host = uri.host().filter(|host| !host.is_empty()).ok_or(("names no host", EXAMPLE))?;
    let host = host.trim_matches(['[', ']']).to_owned();
    let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    Ok(Address { is_tls, host, port, path: path.to_owned() })
}

fn is_near(host: &str) -> bool {
    host == "localhost"
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn trust(text: &ServerText, checks: &mut Checks<'_>) -> Option<Trust> {
    match (&text.ca, &text.pinned_sha256) {
        (Some(_), Some(_)) => {
            checks.note("ca", "both ca and pinned_sha256 are given", "keep one of them");
            None
        }
        (Some(file), None) => {
            let trust = Trust::Authorities(checks.folder.join(file));
            let device = Device { trust, own: None };
            match device.client() {
                Ok(_) => Some(device.trust),
                Err(error) => {
                    checks.note("ca", error.to_string(), "a PEM file of the authority");
                    None
                }
            }
        }
        (None, Some(digits)) => {
            let found = Fingerprint::parse(digits).map(Trust::PinnedSha256);
            if found.is_none() {
                let what = "it is no SHA-256 in hexadecimal digits";
                checks.note("pinned_sha256", what, "as `openssl x509 -fingerprint` shows it");
            }
            found
        }
        (None, None) => None,
    }
}

/// RFC 6750 or RFC 7617.
fn login(text: &ServerText, checks: &mut Checks<'_>) -> Option<String> {
    match (&text.token_file, &text.user, &text.password_file) {
        (None, None, None) => None,
        (Some(file), None, None) => Some(format!("Bearer {}", secret("token_file", file, checks)?)),
        (None, Some(user), Some(file)) => {
            let password = secret("password_file", file, checks)?;
            Some(format!("Basic {}", BASE64.encode(format!("{user}:{password}"))))
        }
        (..) => {
            let what = "it is not clear who we are to it";
            checks.note("token_file", what, "give token_file, or user and password_file");
            None
        }
    }
}

fn secret(key: &'static str, file: &Path, checks: &mut Checks<'_>) -> Option<String> {
    let file = checks.folder.join(file);
    let secret = match disk::read_text(&file) {
        Ok(text) => text.trim().to_owned(),
        Err(error) => {
            let what = format!("cannot read {}: {error}", file.display());
            checks.note(key, what, "one line, chmod 600");
            return None;
        }
    };
    if secrets::is_open_to_others(&file) {
        let what = format!("every user can read {}", file.display());
        checks.note(key, what, "chmod 600, and change the secret");
    }
    if secret.is_empty() || secret.chars().any(|c| c.is_control() || !c.is_ascii()) {
        checks.note(key, "it holds no secret", "one line of plain characters");
    }
    Some(secret)
}

/// The section in words.
pub(super) fn explain(section: &str, what: &str, server: &Server) -> String {
    let login = match server.login.as_deref().and_then(|login| login.split_once(' ')) {
        None => "no login",
        Some(("Basic", _)) => "with user and password",
        Some(_) => "with a token",
    };
    let trust = match server.tls.as_ref().map(|device| &device.trust) {
        None => "plain HTTP".to_owned(),
        Some(Trust::Authorities(file)) => format!("believed for {}", file.display()),
        Some(Trust::PinnedSha256(pinned)) => format!("pinned to {pinned}"),
        Some(Trust::Pinned(file)) => format!("pinned to {}", file.display()),
    };
    let timeout = server.timeout;
    format!("\n{section}\n    {what} {server:?}, {trust}, {login}, at most {timeout:?} a request\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(toml: &str) -> Vec<String> {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("secret");
        disk::write_secret(&file, "s3cret\n").expect("written");
        let text: ServerText = toml::from_str(toml).expect("TOML");
        let mut problems = Vec::new();
        let server = check("remote_write", Some(text), folder.path(), &mut problems);
        assert!(server.is_some() || !problems.is_empty());
        problems.into_iter().map(|problem| problem.place).collect()
    }

    #[test]
    fn addresses_and_logins_by_table() {
        let pinned = format!("pinned_sha256 = \"{}\"", "ab".repeat(32));
        for (toml, wrong) in [
            ("url = \"http://127.0.0.1:9090/api/v1/write\"".to_owned(), None),
            ("url = \"http://[::1]:9090\"\ntoken_file = \"secret\"".to_owned(), None),
            ("url = \"http://store.example/w\"\nallow_plain_http = true".to_owned(), None),
            (format!("url = \"https://store.example/w?x=1\"\n{pinned}"), None),
            ("url = \"http://store.example/w\"".to_owned(), Some("url")),
            ("url = \"https://store.example/w\"".to_owned(), Some("ca")),
            (format!("url = \"http://127.0.0.1/w\"\n{pinned}"), Some("ca")),
            ("url = \"https://h/w\"\nca = \"none.pem\"".to_owned(), Some("ca")),
            ("url = \"https://h/w\"\npinned_sha256 = \"zz\"".to_owned(), Some("pinned_sha256")),
            ("url = \"ftp://h/w\"".to_owned(), Some("url")),
            ("url = \"http://u:p@localhost/w\"".to_owned(), Some("url")),
            ("url = \"localhost:9090\"".to_owned(), Some("url")),
            ("url = \"http://localhost\"\ntoken_file = \"none\"".to_owned(), Some("token_file")),
            ("url = \"http://localhost\"\nuser = \"u\"".to_owned(), Some("token_file")),
            ("url = \"http://localhost\"\ntimeout = \"10ms\"".to_owned(), Some("timeout")),
        ] {
            let found = problems(&toml);
            let wrong = wrong.map(|key| format!("remote_write.{key}"));
            match wrong {
                None => assert!(found.is_empty(), "{toml}: {found:?}"),
                Some(place) => assert!(found.contains(&place), "{toml}: {found:?}"),
            }
        }
    }

    #[test]
    fn a_secret_is_explained_and_not_shown() {
        let server = Server {
            host: "store.example".into(),
            port: 443,
            path: "/api/v1/write".into(),
            tls: None,
            login: Some("Basic dTpwYXNz".into()),
            timeout: TIMEOUT,
        };
        let words = explain("remote_write", "every reading to", &server);
        assert!(words.contains("with user and password") && !words.contains("dTpw"), "{words}");
        assert!(!format!("{server:?}").contains("dTpw"));
    }
}
