//! Since when what is held was seen, in a small file beside the spool.
//!
//! Lost, what is held begins anew with the next look.
#![expect(clippy::disallowed_methods, reason = "one small file for each witness")]

use std::path::Path;

use super::course::Known;

/// What was seen when the file was last written.
pub(super) fn load(path: &Path) -> Known {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

/// Whole or not at all.
pub(super) fn store(path: &Path, known: &Known) {
    let temporary = path.with_extension("tmp");
    let text = serde_json::to_string(known).unwrap_or_default();
    let outcome = std::fs::write(&temporary, text).and_then(|()| std::fs::rename(&temporary, path));
    if let Err(e) = outcome {
        tracing::warn!("cannot keep since when GPUs are held in {}: {e}", path.display());
    }
}

#[cfg(test)]
mod tests {
    use super::super::course::Standing;
    use super::*;

    #[test]
    fn what_was_seen_is_there_after_a_restart_and_damage_is_no_memory() {
        let home = tempfile::tempdir().expect("a folder");
        let path = home.path().join("held-kubelet.json");
        assert_eq!(load(&path), Known::default());
        let standing = Standing { began_ms: 7, ids: vec!["GPU-a::0".to_owned()] };
        let known: Known = [("ns/pod".to_owned(), standing)].into();
        store(&path, &known);
        assert_eq!(load(&path), known);
        std::fs::write(&path, "{\"ns/pod\":").expect("written");
        assert_eq!(load(&path), Known::default());
    }
}
