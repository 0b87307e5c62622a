//! Authorities and certificates of a site under test, made by the real `bijli-collector ca`.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::program::binary;

/// One authority for each hub, and what they signed.
#[derive(Debug)]
pub struct Pki {
    folder: PathBuf,
}

impl Pki {
    /// Makes an authority for each hub, and a collector's certificate for loopback.
    ///
    /// # Panics
    /// When the program refuses.
    #[must_use]
    pub fn new(folder: &Path, hubs: &[&str]) -> Self {
        let pki = Self { folder: folder.to_owned() };
        for hub in hubs {
            let dir = pki.path(&format!("ca-{hub}"));
            run(&["ca", "init", "--hub", hub, "--dir", &dir]);
            let pem = std::fs::read_to_string(Path::new(&dir).join("ca.pem")).expect("written");
            let before = std::fs::read_to_string(pki.ca()).unwrap_or_default();
            std::fs::write(pki.ca(), before + &pem).expect("written");
        }
        pki.server(hubs.first().expect("a hub"), &["127.0.0.1", "localhost"], "collector");
        std::fs::write(pki.denied(), "").expect("written");
        pki
    }

    fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    /// All authorities: what everybody believes here.
    #[must_use]
    pub fn ca(&self) -> PathBuf {
        self.folder.join("all.pem")
    }

    /// The deny list.
    #[must_use]
    pub fn denied(&self) -> PathBuf {
        self.folder.join("denied")
    }

    /// A collector's certificate, into the folder `out`.
    pub fn server(&self, hub: &str, hosts: &[&str], out: &str) {
        let (dir, out) = (self.path(&format!("ca-{hub}")), self.path(out));
        let words = ["ca", "issue", "--dir", &dir, "--out", &out, "--server"];
        run(&[&words[..], hosts].concat());
    }

    /// A node's certificate, new or renewed; returns its folder.
    pub fn node(&self, hub: &str, node: &str) -> PathBuf {
        self.node_into(hub, node, &format!("nodes/{node}"))
    }

    /// A node's certificate into the folder `out`; returns that.
    pub fn node_into(&self, hub: &str, node: &str, out: &str) -> PathBuf {
        let (dir, out) = (self.path(&format!("ca-{hub}")), self.path(out));
        run(&["ca", "issue", "--dir", &dir, "--node", node, "--out", &out]);
        // The collector's certificate may be of another hub's authority.
        std::fs::copy(self.ca(), Path::new(&out).join("ca.pem")).expect("copied");
        PathBuf::from(out)
    }

    /// The collector's section of this site.
    #[must_use]
    pub fn agents_section(&self, port: u16) -> String {
        let file = |name: &str| self.folder.join("collector").join(name).display().to_string();
        format!(
            "[agents]\nlisten = \"127.0.0.1:{port}\"\nca = \"{}\"\ncertificate = \"{}\"\n\
             key = \"{}\"\ndenied = \"{}\"\n",
            self.ca().display(),
            file("certificate.pem"),
            file("key.pem"),
            self.denied().display(),
        )
    }
}

/// An agent's section for the certificate in `folder`.
#[must_use]
pub fn tls_section(folder: &Path) -> String {
    let file = |name: &str| folder.join(name).display().to_string();
    format!(
        "[tls]\nca = \"{}\"\ncertificate = \"{}\"\nkey = \"{}\"\n",
        file("ca.pem"),
        file("certificate.pem"),
        file("key.pem")
    )
}

/// Runs the collector's program to its end; gives what it said.
///
/// # Panics
/// When it fails.
pub fn run(words: &[&str]) -> String {
    let out = Command::new(binary("bijli-collector")).args(words).output().expect("it starts");
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(out.status.success(), "{words:?}: {}", String::from_utf8_lossy(&out.stderr));
    said
}
