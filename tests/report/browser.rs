//! The page in a real browser: nothing sticks out at a telephone's width, the contents lead
//! somewhere, no serious fault of accessibility, and it prints on A4.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::site;

fn chromium(arguments: &[&str], page: &Path) -> Vec<u8> {
    let profile = tempfile::tempdir().expect("a temporary folder");
    let out = Command::new("chromium")
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .args(["--allow-file-access-from-files", "--hide-scrollbars"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .args(arguments)
        .arg(format!("file://{}", page.display()))
        .output()
        .expect("chromium is installed");
    out.stdout
}

/// The JavaScript of axe, as its Python package brings it.
fn axe() -> String {
    let lib = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.venv/lib");
    let versions = std::fs::read_dir(lib).expect("tests/install.sh made it");
    let mut found = versions.map(|entry| {
        entry.expect("an entry").path().join("site-packages/axe_core_python/axe.min.js")
    });
    let path = found.find(|path| path.exists()).expect("axe-core-python of tests/requirements.txt");
    std::fs::read_to_string(path).expect("readable")
}

/// Looks at the page within a frame of a width, and tells what it found as JSON.
const LOOK: &str = r#"
addEventListener('load', async () => {
  const box = e => e.getBoundingClientRect();
  const inScroll = e => e.closest('.scroll') !== null && !e.matches('.scroll');
  const out = [...document.querySelectorAll('body *')].filter(e =>
    !inScroll(e) && !e.matches('.skip') && !e.closest('svg') &&
    box(e).width > 0 && box(e).right > innerWidth + 1);
  const links = [...document.querySelectorAll('nav a')].map(a => a.getAttribute('href'));
  const ids = [...document.querySelectorAll('[id]')].map(e => e.id);
  const urdu = document.querySelector('#urdu');
  const serious = v => ['serious', 'critical'].includes(v.impact);
  const faults = (await axe.run(document)).violations.filter(serious);
  parent.postMessage(JSON.stringify({
    width: innerWidth, scroll: document.documentElement.scrollWidth,
    out: out.slice(0, 5).map(e => e.outerHTML.slice(0, 120)),
    links: links.length, dead: links.filter(l => !document.querySelector(l)),
    twice: ids.filter((id, place) => ids.indexOf(id) !== place),
    urdu: { lang: urdu.lang, dir: getComputedStyle(urdu).direction, text: urdu.textContent },
    headings: [...document.querySelectorAll('h1, h2')].length,
    faults: faults.map(v => [v.id, ...v.nodes.slice(0, 3).map(n => n.html.slice(0, 160))]),
  }), '*');
});
"#;

fn look(width: u32) -> Value {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let page = site().text("report.html");
    let (before, rest) = page.split_once("<meta http-equiv").expect("a policy");
    let (_, after) = rest.split_once('>').expect("its end");
    let script = format!("<script>{}</script><script>{LOOK}</script></body>", axe());
    let scripted = format!("{before}{after}").replace("</body>", &script);
    std::fs::write(folder.path().join("page.html"), scripted).expect("written");
    let frame = format!(
        "<!DOCTYPE html><title>frame</title><pre id=found></pre>\
         <iframe src=page.html width={width} height=900 style='border:0'></iframe><script>\
         onmessage = m => document.querySelector('#found').textContent = 'FOUND' + m.data + 'END'\
         </script>"
    );
    std::fs::write(folder.path().join("frame.html"), frame).expect("written");
    let arguments = ["--window-size=1200,1000", "--virtual-time-budget=30000", "--dump-dom"];
    let dom = chromium(&arguments, &folder.path().join("frame.html"));
    let dom = String::from_utf8(dom).expect("UTF-8");
    let found = dom.split("FOUND").nth(1).and_then(|rest| rest.split("END<").next());
    let found = found.unwrap_or_else(|| panic!("the page told nothing: {:.2000}", dom));
    let text = found.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
    serde_json::from_str(&text).expect("JSON")
}

/// Goal: on a telephone and on a screen nothing sticks out, every line of the contents leads to a
/// heading, axe finds no serious fault, and the Urdu page is Urdu and runs from right to left.
#[test]
fn the_page_is_whole_on_a_telephone_and_axe_finds_no_serious_fault() {
    for width in [390, 1_180] {
        let found = look(width);
        assert_eq!(found["width"], width, "{found}");
        assert_eq!(found["scroll"], width, "sticks out: {}", found["out"]);
        assert_eq!(found["out"], serde_json::json!([]));
        assert_eq!(found["faults"], serde_json::json!([]));
        assert_eq!(found["twice"], serde_json::json!([]), "ids that stand twice");
        assert_eq!((&found["links"], &found["dead"]), (&14.into(), &serde_json::json!([])));
        assert_eq!(found["headings"], 1 + 1 + 13 + 1);
        let urdu = &found["urdu"];
        assert_eq!((&urdu["lang"], &urdu["dir"]), (&"ur".into(), &"rtl".into()));
        let text = urdu["text"].as_str().expect("text");
        let is_urdu = |letter: char| ('\u{0600}'..='\u{06FF}').contains(&letter);
        assert!(text.chars().filter(|letter| is_urdu(*letter)).count() > 300, "{text}");
        assert!(text.contains("جولائی 2026") && text.contains("iPUE1 (2026-07-01"), "{text}");
    }
}

/// Where pictures are kept for a person to look at.
fn pictures() -> Option<PathBuf> {
    std::env::var_os("BIJLI_REPORT_PICTURES").map(PathBuf::from)
}

/// Goal: the page prints: an A4 file of several pages.
#[test]
fn the_page_prints_on_a4() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let out = pictures().unwrap_or_else(|| folder.path().to_owned());
    let page = site().path("first/report.html");
    let pdf = out.join("report.pdf");
    let print = format!("--print-to-pdf={}", pdf.display());
    let _printed = chromium(&["--no-pdf-header-footer", &print], &page);
    let bytes = std::fs::read(&pdf).expect("it printed");
    let text = String::from_utf8_lossy(&bytes);
    let sheets = text.matches("/Type /Page\n").count().max(text.matches("/Type /Page ").count());
    assert!((6..=30).contains(&sheets), "{sheets} sheets");
    // A4 is 595 by 842 points.
    assert!(text.contains("/MediaBox [0 0 594.95996 841.91998]"), "not A4");
    if pictures().is_some() {
        let mut copy = Command::new("cp");
        let copied = copy.arg("-rT").arg(site().path("first")).arg(out.join("report")).status();
        assert!(copied.expect("cp").success());
        for (name, size) in [("wide", "1180,2600"), ("narrow", "500,3000")] {
            let shot = format!("--screenshot={}", out.join(format!("{name}.png")).display());
            let _taken = chromium(&[&shot, &format!("--window-size={size}")], &page);
        }
    }
}
