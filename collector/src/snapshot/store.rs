//! The directory of snapshots: written whole or not at all, the newest two kept.

use std::io;
use std::path::{Path, PathBuf};

use bijli_seglog::{Disk, DiskFile, RecordSeq};

use super::Taken;
use super::file::{self, FileError, Read};

const SUFFIX: &str = ".snapshot";
const UNFINISHED: &str = ".unfinished";
const DIGITS: usize = 20;
/// The newest may be damaged: the one before it must do, and the journal from there on.
const KEPT: usize = 2;

/// Snapshots on a disk.
#[derive(Clone, Debug)]
pub struct Store<D: Disk> {
    disk: D,
    dir: PathBuf,
}

impl<D: Disk> Store<D> {
    /// In a directory, which is made if need be.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(disk: D, dir: &Path) -> io::Result<Self> {
        disk.create_dir_all(dir)?;
        Ok(Self { disk, dir: dir.to_owned() })
    }

    /// The records of the snapshots that there are, newest first.
    ///
    /// # Errors
    /// When the directory cannot be listed.
    pub fn list(&self) -> io::Result<Vec<RecordSeq>> {
        let names = self.disk.list(&self.dir)?;
        let mut records: Vec<RecordSeq> = names.iter().filter_map(|name| record_of(name)).collect();
        records.sort_unstable_by(|a, b| b.cmp(a));
        Ok(records)
    }

    pub(super) fn load(&self, record: RecordSeq) -> Result<Read, FileError> {
        let bytes = self.read(&self.path(record)).map_err(FileError::Read)?;
        let read = file::decode(&bytes)?;
        if read.loaded.record != record {
            return Err(FileError::Misplaced { record: read.loaded.record });
        }
        Ok(read)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let file = self.disk.open_read(path)?;
        let length = usize::try_from(file.len()?).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let mut bytes = vec![0; length];
        let mut done = 0;
        while let Some(rest) = bytes.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let offset = u64::try_from(done).expect("a length fits");
            match file.read_at(offset, rest)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                more => done += more,
            }
        }
        Ok(bytes)
    }

    /// Writes one, durably, and removes those that two newer ones make needless. Returns the
    /// record of the eldest that is kept, if there are as many as should be.
    ///
    /// # Errors
    /// When the disk fails; what was there before is there still.
    pub fn save(&self, taken: &Taken) -> io::Result<Option<RecordSeq>> {
        let path = self.path(taken.record);
        let mut unfinished = path.clone().into_os_string();
        unfinished.push(UNFINISHED);
        let unfinished = PathBuf::from(unfinished);
        let file = self.disk.create(&unfinished)?;
        file.write_at(0, &file::encode(taken))?;
        file.sync()?;
        self.disk.rename(&unfinished, &path)?;
        self.disk.sync_dir(&self.dir)?;
        self.tidy()
    }

    fn tidy(&self) -> io::Result<Option<RecordSeq>> {
        let records = self.list()?;
        for record in records.iter().skip(KEPT) {
            self.disk.unlink(&self.path(*record))?;
        }
        for name in self.disk.list(&self.dir)? {
            if name.ends_with(UNFINISHED) {
                self.disk.unlink(&self.dir.join(name))?;
            }
        }
        self.disk.sync_dir(&self.dir)?;
        Ok(records.get(KEPT - 1).copied())
    }

    fn path(&self, record: RecordSeq) -> PathBuf {
        self.dir.join(format!("{:0DIGITS$}{SUFFIX}", record.get()))
    }
}

fn record_of(name: &str) -> Option<RecordSeq> {
    let digits = name.strip_suffix(SUFFIX)?;
    let is_ours = digits.len() == DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| is_ours).map(RecordSeq::new)
}
