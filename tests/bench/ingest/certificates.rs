//! A certificate for every node and for the collector, by the collector's own `ca`.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use bijli_identity::client::{Learned, config};
use bijli_identity::{Files, Material};
use harness::program::{binary, free_port};
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use tempfile::TempDir;

use super::load::{HUB, NODES, node_name};

/// Files in a temporary folder.
#[derive(Debug)]
pub(crate) struct Certificates {
    folder: TempDir,
}

impl Certificates {
    pub(crate) fn make() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let authority = folder.path().join("ca");
        ca(&["init", "--hub", HUB], &authority, None);
        let issue = |whom: [&str; 2], name: &str| {
            ca(&["issue", whom[0], whom[1]], &authority, Some(&folder.path().join(name)));
        };
        issue(["--server", "127.0.0.1"], "server");
        for node in 0..NODES {
            issue(["--node", &node_name(node)], &node_name(node));
        }
        Self { folder }
    }

    fn files(&self, name: &str) -> Files {
        let file = |file: &str| self.folder.path().join(name).join(file);
        Files { ca: file("ca.pem"), certificate: file("certificate.pem"), key: file("key.pem") }
    }

    /// The collector's section, and the port that agents come to.
    pub(crate) fn section(&self) -> (String, u16) {
        let port = free_port();
        let Files { ca, certificate, key } = self.files("server");
        let show = |path: &PathBuf| path.display().to_string();
        let text = format!(
            "[agents]\nlisten = \"127.0.0.1:{port}\"\nca = \"{}\"\ncertificate = \"{}\"\n\
             key = \"{}\"\n",
            show(&ca),
            show(&certificate),
            show(&key)
        );
        (text, port)
    }

    /// A node's side of TLS, made beforehand.
    pub(crate) fn node(&self, node: usize) -> Arc<ClientConfig> {
        let material: Material = self.files(&node_name(node)).load().expect("just made");
        config(&material, &Arc::new(Learned::default())).expect("just made")
    }
}

/// A stream that proved itself both ways.
pub(crate) fn encrypt(
    mut stream: TcpStream,
    config: Arc<ClientConfig>,
) -> StreamOwned<ClientConnection, TcpStream> {
    let host = "127.0.0.1".try_into().expect("an address");
    let mut tls = ClientConnection::new(config, host).expect("a good configuration");
    while tls.is_handshaking() {
        tls.complete_io(&mut stream).expect("a handshake");
    }
    StreamOwned::new(tls, stream)
}

fn ca(words: &[&str], dir: &Path, out: Option<&Path>) {
    let mut command = Command::new(binary("bijli-collector"));
    command.arg("ca").args(words).arg("--dir").arg(dir);
    if let Some(out) = out {
        command.arg("--out").arg(out);
    }
    let done = command.output().expect("it starts");
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
}
