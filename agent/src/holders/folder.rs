//! The folder in which hooks leave their records until the spool has them.
#![expect(clippy::disallowed_methods, reason = "this is the folder that hooks and agent share")]

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::record::Record;

/// A record is some hundred bytes.
const BYTES_MAX: u64 = 16 << 10;
const SUFFIX: &str = ".hold";
const REFUSED: &str = ".refused";

/// Puts a record there, durably. The folder is made if it is not there, and belongs to whom its
/// parent belongs to: the agent, which takes the records away, is not root.
///
/// # Errors
/// If the disk does not take it.
pub fn leave(folder: &Path, record: &Record, unique: u32) -> io::Result<()> {
    if !folder.exists() {
        make(folder)?;
    }
    // Sorted by name they are in the order of their times.
    let name = format!("{:020}-{unique}-{:?}", record.at_ms, record.edge).to_ascii_lowercase();
    let (path, temporary) =
        (folder.join(format!("{name}{SUFFIX}")), folder.join(format!("{name}.tmp")));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(&temporary)?;
    file.write_all(&record.to_json())?;
    file.sync_all()?;
    fs::rename(&temporary, &path)?;
    File::open(folder)?.sync_all()
}

fn make(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    if let Some(owner) = folder.parent().and_then(|parent| fs::metadata(parent).ok()) {
        std::os::unix::fs::chown(folder, Some(owner.uid()), Some(owner.gid()))?;
    }
    Ok(())
}

/// Makes the folder for hooks to come.
///
/// # Errors
/// If it cannot be made.
pub(super) fn open(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)
}

/// The records that lie there, eldest first, at most so many.
///
/// # Errors
/// If the folder cannot be read.
pub(super) fn list(
    folder: &Path,
    is_known: impl Fn(&Path) -> bool,
    most: usize,
) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let is_record = path.to_str().is_some_and(|name| name.ends_with(SUFFIX));
        if is_record && !is_known(&path) {
            paths.push(path);
        }
    }
    paths.sort_unstable();
    paths.truncate(most);
    Ok(paths)
}

/// # Errors
/// Says why it cannot be used.
pub(super) fn read(path: &Path) -> Result<Record, String> {
    let mut json = Vec::new();
    let file = File::open(path).map_err(|e| e.to_string())?;
    file.take(BYTES_MAX + 1).read_to_end(&mut json).map_err(|e| e.to_string())?;
    if u64::try_from(json.len()).unwrap_or(u64::MAX) > BYTES_MAX {
        return Err(format!("it has more than {BYTES_MAX} bytes"));
    }
    Record::from_json(&json)
}

/// The spool has it.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    fs::remove_file(path)
}

/// Puts one that cannot be used out of the way, for people.
pub(super) fn refuse(path: &Path) -> io::Result<()> {
    let mut refused = path.as_os_str().to_owned();
    refused.push(REFUSED);
    fs::rename(path, refused)
}

#[cfg(test)]
mod tests {
    use super::super::record::{Edge, When};
    use super::*;

    fn record(at_ms: i64) -> Record {
        let when = When { at_ms, uptime_ms: 1, boot: String::new() };
        Record::of(Edge::Start, when, &|_| Some("7".to_owned())).expect("a record")
    }

    #[test]
    fn records_come_back_eldest_first_and_go_when_told() {
        let home = tempfile::tempdir().expect("a folder");
        let folder = home.path().join("holds");
        for (at, unique) in [(3_000, 9), (1_000, 10), (2_000, 8)] {
            leave(&folder, &record(at), unique).expect("left");
        }
        fs::write(folder.join("half.tmp"), b"{").expect("written");
        let paths = list(&folder, |_| false, 64).expect("a folder");
        let times: Vec<i64> =
            paths.iter().map(|path| read(path).expect("a record").at_ms).collect();
        assert_eq!(times, [1_000, 2_000, 3_000]);
        remove(&paths[0]).expect("removed");
        refuse(&paths[1]).expect("put aside");
        assert_eq!(list(&folder, |_| false, 64).expect("a folder"), paths[2..]);
        assert!(list(&folder, |_| true, 64).expect("a folder").is_empty());
    }

    #[test]
    fn what_is_no_record_says_why() {
        let home = tempfile::tempdir().expect("a folder");
        let path = home.path().join("x.hold");
        fs::write(&path, vec![b' '; 20_000]).expect("written");
        assert!(read(&path).expect_err("large").contains("more than"));
        fs::write(&path, b"{\"version\":1}").expect("written");
        assert!(read(&path).expect_err("half").contains("missing field"));
    }
}
