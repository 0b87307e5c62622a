//! The configurations of both programs: any text is taken or refused in words, without a panic.

use std::path::PathBuf;
use std::sync::LazyLock;

use bijli_collector::clock::Clock;
use bijli_collector::config::{Config, Overrides};

static FILE: LazyLock<PathBuf> =
    LazyLock::new(|| std::env::temp_dir().join(format!("bijli-fuzz-{}.toml", std::process::id())));

/// The first byte says which program's configuration the rest is.
pub fn check(data: &[u8]) {
    let Some((mode, text)) = data.split_first() else { return };
    // The operator may name another file here, and this is not the place to read it.
    if text.windows(11).any(|word| word == b"allocations") {
        return;
    }
    std::fs::write(&*FILE, text).expect("a temporary file");
    if mode & 1 == 0 {
        match bijli_agent::config::load(&FILE, &|_| None) {
            Ok(config) => assert!(!format!("{config:?}").is_empty()),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    } else {
        match Config::load(&FILE, &Overrides::default()) {
            Ok(config) => assert!(!config.explain(Clock.now()).is_empty()),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
}
