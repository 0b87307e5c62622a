//! Who is believed, with the real programs: stolen keys, posing nodes, foreign collectors.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};

use harness::eventually;
use harness::pki::{Pki, run, tls_section};
use harness::program::{Program, binary, free_port};
use harness::site::Site;

const HUB: &str = "[[hub]]\nid = \"lahore\"\n";
const ONLY_HOST: &str = "[nvml]\nenabled = false\n[rapl]\nenabled = false\n";

fn accepted(site: &Site) -> u64 {
    site.number("bijli_collector_batches_total{outcome=\"accepted\"}")
}

fn pki(site: &Site) -> &Pki {
    &site.tls.as_ref().expect("with TLS").1
}

fn tls_port(site: &Site) -> u16 {
    site.tls.as_ref().expect("with TLS").0
}

/// A sender written from the documents alone, as whoever the certificate in `folder` names.
fn stranger(port: u16, folder: &Path) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/stranger.py");
    let start = harness::utc_ms() / 10_000 * 10_000 - 120_000;
    let mut command = Command::new("python3");
    command.arg(script).args([&port.to_string(), "lahore", "lahore/incomer", &start.to_string()]);
    command.arg(folder).output().expect("python3 runs")
}

/// An agent whose certificate is in `folder` and whose collector is at `url`.
fn agent(site: &Site, node: &str, folder: &Path, url: &str) -> Program {
    let config = site.path(&format!("{node}.toml"));
    let text = format!(
        "hub = \"lahore\"\nnode = \"{node}\"\ncollector = \"{url}\"\nbatch = \"1s\"\n\
         {ONLY_HOST}{}[spool]\ndir = \"{}\"\n",
        tls_section(folder),
        site.path(&format!("{node}.spool")).display()
    );
    std::fs::write(&config, text).expect("written");
    let mut command = Command::new(binary("bijli-agent"));
    command.arg("run").arg("--config").arg(&config);
    Program::start(&mut command, &site.path(&format!("{node}.log")))
}

/// Goal: a node writes for itself only; who tries more is refused, counted and put on record.
#[test]
fn x1_a_node_that_poses_as_another_is_refused_and_on_record() {
    let site = Site::start_tls(HUB);
    let own = pki(&site).node("lahore", "stranger");
    let out = stranger(tls_port(&site), &own);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let before = accepted(&site);
    let other = pki(&site).node("lahore", "n2");
    let out = stranger(tls_port(&site), &other);
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(!out.status.success() && said.contains(": 403 "), "{said}");
    assert!(said.contains("foreign_identity") && said.contains("certificate of n2"), "{said}");
    assert_eq!(accepted(&site), before);
    assert_eq!(site.number("bijli_collector_foreign_identities_total"), 1);
    eventually("a record in the journal", 10, || {
        let segments = std::fs::read_dir(site.path("collector/journal")).ok()?;
        let mut bytes = segments.filter_map(|entry| std::fs::read(entry.ok()?.path()).ok());
        let name: &[u8] = b"foreign_identitysent as stranger";
        bytes.any(|bytes| bytes.windows(name.len()).any(|window| window == name)).then_some(())
    });
}

/// Goal: the agents' routes are on their own listener and nowhere else, and nothing there is
/// answered without a certificate.
#[test]
fn without_a_certificate_nobody_is_heard() {
    let site = Site::start_tls(HUB);
    let answer = harness::http::ask("POST", site.port, "/v1/batches", b"x").expect("an answer");
    assert_eq!(answer.status, 404, "{}", answer.text());
    let plain = harness::http::ask("POST", tls_port(&site), "/v1/batches", b"x");
    assert!(plain.is_none(), "{plain:?}");
    assert!(site.number("bijli_collector_handshakes_total{outcome=\"refused\"}") > 0);
}

/// Goal: a key on the deny list gets nothing more, on the connection that it has; off the list,
/// nothing was lost.
#[test]
fn x3_o7_a_denied_key_is_refused_on_an_open_connection() {
    let site = Site::start_tls(HUB);
    let folder = pki(&site).node("lahore", "n1");
    let shown = run(&[
        "ca",
        "issue",
        "--dir",
        &site.path("pki/ca-lahore").display().to_string(),
        "--node",
        "n1",
        "--out",
        &folder.display().to_string(),
    ]);
    std::fs::copy(pki(&site).ca(), folder.join("ca.pem")).expect("copied");
    let key = shown.lines().find(|line| line.contains("key sha256")).expect("shown");
    let key = key.split_whitespace().last().expect("a hash").to_owned();
    let url = format!("https://localhost:{}", tls_port(&site));
    let agent = agent(&site, "n1", &folder, &url);
    eventually("batches", 30, || (accepted(&site) >= 2).then_some(()));
    let handshakes = || site.number("bijli_collector_handshakes_total{outcome=\"accepted\"}");
    let before = handshakes();
    std::fs::write(pki(&site).denied(), format!("# ticket 17\n{key} n1\n")).expect("written");
    eventually("a refusal", 20, || (site.number("bijli_collector_denied_total") > 0).then_some(()));
    assert_eq!(handshakes(), before, "on the connection that was open");
    let stopped_at = accepted(&site);
    std::thread::sleep(std::time::Duration::from_secs(3));
    assert_eq!(accepted(&site), stopped_at);
    assert!(agent.printed().contains("is denied here"), "{}", agent.printed());
    std::fs::write(pki(&site).denied(), "").expect("written");
    eventually("batches again", 60, || (accepted(&site) > stopped_at + 3).then_some(()));
    let quarantine = site.path("n1.spool/quarantine");
    assert!(std::fs::read_dir(quarantine).map_or(0, Iterator::count) == 0, "nothing is put aside");
}

/// Goal: who is not the hub's collector hears nothing and is believed nothing: another authority,
/// another host, a portal that answers everybody.
#[test]
fn n7_n8_a_foreign_collector_is_not_believed() {
    let site = Site::start_tls(HUB);
    let foreign = Site::start_tls(HUB);
    let folder = pki(&site).node("lahore", "n1");
    let url = format!("https://localhost:{}", tls_port(&foreign));
    let first = agent(&site, "n1", &folder, &url);
    eventually("a refusal of the other authority", 30, || {
        first.printed().contains("invalid peer certificate").then_some(())
    });
    assert_eq!(accepted(&foreign), 0);
    drop(first);

    let portal = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let port = portal.local_addr().expect("bound").port();
    std::thread::spawn(move || {
        for stream in portal.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut heard = [0; 512];
            let _some = stream.read(&mut heard);
            let _sent = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        }
    });
    let second =
        agent(&site, "n2", &pki(&site).node("lahore", "n2"), &format!("https://localhost:{port}"));
    eventually("a refusal of the portal", 30, || {
        second.printed().contains("cannot connect").then_some(())
    });
    drop(second);

    // The same spool, sent to the right one: everything is there.
    let url = format!("https://127.0.0.1:{}", tls_port(&site));
    let third = agent(&site, "n1", &folder, &url);
    let found = harness::within(60, || (accepted(&site) >= 5).then_some(()));
    assert!(found.is_some(), "the batches of the time before: {}", third.printed());
}

/// A collector's certificate whose first moment is `days` from now, over the one of the site.
fn serve_from(site: &Site, days: u64) {
    use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair};
    let read = |name: &str| std::fs::read_to_string(site.path(name)).expect("a file");
    let key = KeyPair::from_pem(&read("pki/ca-lahore/ca.key.pem")).expect("a key");
    let issuer =
        Issuer::from_ca_cert_pem(&read("pki/ca-lahore/ca.pem"), key).expect("an authority");
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
    let day = std::time::Duration::from_secs(86_400);
    let from = std::time::SystemTime::now() + day * u32::try_from(days).expect("small");
    params.not_before = from.into();
    params.not_after = (from + day * 30).into();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::from_pem(&read("pki/collector/key.pem")).expect("a key");
    let certificate = params.signed_by(&key, &issuer).expect("signed").pem();
    std::fs::write(site.path("pki/collector/certificate.pem"), certificate).expect("written");
}

/// Goal: a node whose clock is two months behind the authority's is not locked out. (Seen from the
/// node, that its clock is behind and that the certificate is of later are the same; clocks that
/// are set otherwise are in `identity/src/client.rs` and `moment.rs`.)
#[test]
fn k6_a_node_whose_clock_is_behind_is_not_locked_out() {
    let site = Site::start_tls(HUB);
    serve_from(&site, 60);
    eventually("the new certificate", 20, || {
        site.collector.printed().contains("the new certificate is in force").then_some(())
    });
    let folder = pki(&site).node("lahore", "n1");
    let agent = agent(&site, "n1", &folder, &format!("https://localhost:{}", tls_port(&site)));
    let found = harness::within(60, || (accepted(&site) >= 2).then_some(()));
    assert!(found.is_some(), "{}", agent.printed());
}

/// Goal: an authority makes nodes of its own hub only, and another's certificate opens nothing.
#[test]
fn x1_a_certificate_of_another_authority_is_refused() {
    let site = Site::start_tls(HUB);
    let other = tempfile::tempdir().expect("a folder");
    let theirs = Pki::new(other.path(), &["lahore"]);
    let folder = theirs.node("lahore", "n1");
    std::fs::write(
        folder.join("ca.pem"),
        [std::fs::read(theirs.ca()), std::fs::read(pki(&site).ca())].map(Result::unwrap).concat(),
    )
    .expect("written");
    let url = format!("https://localhost:{}", tls_port(&site));
    let agent = agent(&site, "n1", &folder, &url);
    eventually("a refusal", 30, || {
        (site.number("bijli_collector_handshakes_total{outcome=\"refused\"}") > 0).then_some(())
    });
    assert_eq!(accepted(&site), 0);
    drop(agent);
}

/// Goal: an agent says before anything runs that its certificate is another's.
#[test]
fn check_tells_a_certificate_that_is_another_nodes() {
    let folder = tempfile::tempdir().expect("a folder");
    let pki = Pki::new(folder.path(), &["lahore"]);
    let text = format!(
        "hub = \"lahore\"\nnode = \"n2\"\ncollector = \"https://localhost:{}\"\n{ONLY_HOST}{}\
         [spool]\ndir = \"{}\"\n",
        free_port(),
        tls_section(&pki.node("lahore", "n1")),
        folder.path().join("spool").display()
    );
    let config = folder.path().join("agent.toml");
    std::fs::write(&config, text).expect("written");
    let out =
        Command::new(binary("bijli-agent")).arg("check").arg("--config").arg(&config).output();
    let out = out.expect("it runs");
    let said = String::from_utf8_lossy(&out.stdout).replace("\n         ", " ");
    assert!(!out.status.success() && said.contains("is of node n1 of hub lahore"), "{said}");
    assert!(said.contains("as spiffe://bijli/hub/lahore/node/n1, 29 days left"), "{said}");
}
