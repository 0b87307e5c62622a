//! What the authority makes, and what it refuses.

use std::os::unix::fs::PermissionsExt as _;

use bijli_identity::client::Learned;
use bijli_identity::{client, server};
use bijli_wire::quantity;

use super::*;

const NOW: UtcMillis = UtcMillis::new(1_800_000_000_000);

fn span(text: &str) -> Millis {
    quantity::duration(text).expect("a duration")
}

fn hub(id: &str) -> HubId {
    HubId::new(id).expect("valid")
}

fn node(id: &str) -> Whom {
    Whom::Node(NodeId::new(id).expect("valid"))
}

struct Desk(tempfile::TempDir);

impl Desk {
    fn new() -> Self {
        let desk = Self(tempfile::tempdir().expect("a folder"));
        init(&desk.init("isb"), NOW).expect("an authority");
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn init(&self, id: &str) -> Init {
        Init { hub: hub(id), dir: self.path("ca"), valid_for: span(AUTHORITY_FOR) }
    }

    fn issue(&self, whom: Whom, out: &str) -> Issue {
        let (dir, out) = (self.path("ca"), self.path(out));
        Issue { dir, hub: None, whom, out, valid_for: span(CERTIFICATE_FOR) }
    }

    fn files(&self, out: &str) -> Files {
        let folder = self.path(out);
        Files { ca: folder.join(CA), certificate: folder.join(CERTIFICATE), key: folder.join(KEY) }
    }

    fn mode(&self, name: &str) -> u32 {
        let found = std::fs::metadata(self.path(name)).expect("there");
        found.permissions().mode() & 0o777
    }
}

#[test]
fn a_node_and_a_collector_get_what_each_needs() {
    let desk = Desk::new();
    let said = issue(&desk.issue(node("rack1/n01"), "n01"), NOW).expect("issued").show();
    assert!(said.starts_with("certificate of node rack1/n01 of hub isb\n"), "{said}");
    let material = desk.files("n01").load().expect("whole");
    client::config(&material, &std::sync::Arc::<Learned>::default()).expect("an agent's");
    assert!(server::config(&material).is_err(), "a node serves nobody");
    assert_eq!(material.own.left(NOW), Some(span(CERTIFICATE_FOR)));
    let hosts = ["c.example", "10.0.0.5", "::1"].map(str::to_owned).to_vec();
    issue(&desk.issue(Whom::Server(hosts.clone()), "c"), NOW).expect("issued");
    let material = desk.files("c").load().expect("whole");
    server::config(&material).expect("a collector's");
    assert_eq!(material.own.hosts, hosts);
    for key in ["ca/ca.key.pem", "n01/key.pem", "c/key.pem"] {
        assert_eq!(desk.mode(key), 0o600, "{key}");
    }
}

/// Goal: nothing that is asked twice destroys a key.
#[test]
fn a_key_is_never_overwritten_and_a_renewal_keeps_it() {
    let desk = Desk::new();
    let again = init(&desk.init("isb"), NOW).expect_err("there already").to_string();
    assert!(again.contains("never overwritten: name another --dir"), "{again}");
    let asked = desk.issue(node("n1"), "n1");
    issue(&asked, NOW).expect("issued");
    let before = desk.files("n1").load().expect("whole").own;
    let said = issue(&asked, NOW.plus(span("20d")).expect("later")).expect("renewed").show();
    let after = desk.files("n1").load().expect("whole").own;
    assert_eq!(before.key, after.key);
    assert_ne!(before.serial, after.serial);
    assert!(after.not_after > before.not_after);
    assert!(said.contains("key.pem  (kept)"), "{said}");
}

#[test]
fn refusals_say_what_to_do() {
    let desk = Desk::new();
    issue(&desk.issue(node("n1"), "n1"), NOW).expect("issued");
    let base = desk.issue(node("n1"), "x");
    for (asked, expected) in [
        (
            desk.issue(node("n2"), "n1"),
            "holds the certificate of node n1 of hub isb, not of node n2",
        ),
        (desk.issue(Whom::Server(vec!["c".into()]), "n1"), "give each its own --out"),
        (Issue { hub: Some(hub("lhe")), ..base.clone() }, "is hub isb's, not lhe's"),
        (Issue { dir: desk.path("none"), ..base.clone() }, "make an authority first"),
        (Issue { dir: desk.path("n1"), ..base.clone() }, "n1/ca.key.pem: make an authority first"),
        (Issue { valid_for: span("1s"), ..base.clone() }, "1 hour to 100 years"),
        (Issue { valid_for: span("3651d"), ..base.clone() }, "shorten --valid-for"),
        (desk.issue(Whom::Server(vec!["a b".into()]), "x"), "\"a b\" is no DNS name or address"),
    ] {
        let error = issue(&asked, NOW).expect_err(expected).to_string();
        assert!(error.contains(expected), "{expected:?} in {error:?}");
    }
    assert!(!desk.path("x").join(KEY).exists(), "a refusal leaves no key");
}
