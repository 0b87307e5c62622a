//! A list of what was asked in vain, line by line in a file, so that a test can tell who asks
//! again.

use std::fs::File;
use std::io::Write as _;
use std::sync::OnceLock;

const LIST_VARIABLE: &str = "BIJLI_FAKENVML_REFUSALS";

/// None: nobody wants to know.
static LIST: OnceLock<Option<File>> = OnceLock::new();

/// One line, if there is a list. It is written at once and as a whole, whichever thread asks.
pub(crate) fn note(uuid: &str, what: impl std::fmt::Debug) {
    if let Some(mut list) = LIST.get_or_init(open).as_ref() {
        let line = format!("{uuid} {what:?}\n");
        if let Err(error) = list.write_all(line.as_bytes()) {
            eprintln!("fake NVML: {LIST_VARIABLE}: {error}");
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the one file that the fake writes")]
fn open() -> Option<File> {
    let path = std::env::var_os(LIST_VARIABLE)?;
    match File::options().create(true).append(true).open(&path) {
        Ok(list) => Some(list),
        Err(error) => {
            eprintln!("fake NVML: {LIST_VARIABLE}={}: {error}", path.display());
            None
        }
    }
}
