//! Small files that are whole or not there, and tiles among them.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use bijli_seglog::{Disk, DiskFile};
use bijli_tlog::Tile;

const UNFINISHED: &str = ".unfinished";

/// A folder of files that are replaced as a whole.
#[derive(Clone, Debug)]
pub struct Files<D: Disk> {
    disk: D,
    dir: PathBuf,
    /// Folders that are known to be there.
    made: BTreeSet<PathBuf>,
}

/// A file that cannot be had or kept.
#[derive(Debug, thiserror::Error)]
#[error("{}", path.display())]
pub struct FileError {
    pub path: PathBuf,
    pub source: io::Error,
}

impl<D: Disk> Files<D> {
    pub fn new(disk: D, dir: &Path) -> Self {
        Self { disk, dir: dir.to_owned(), made: BTreeSet::new() }
    }

    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The bytes of a file; `None`: it is not there.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>, FileError> {
        let path = self.dir.join(name);
        match self.bytes(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(FileError { path, source }),
        }
    }

    /// As [`Files::read`], of a text; one that is no text is there, and empty.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub fn text(&self, name: &str) -> Result<Option<String>, FileError> {
        let bytes = self.read(name)?;
        Ok(bytes.map(|bytes| String::from_utf8(bytes).unwrap_or_default()))
    }

    fn bytes(&self, path: &Path) -> io::Result<Vec<u8>> {
        let file = self.disk.open_read(path)?;
        let length = usize::try_from(file.len()?).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let mut bytes = vec![0; length];
        let mut done = 0;
        while let Some(rest) = bytes.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match file.read_at(u64::try_from(done).unwrap_or(u64::MAX), rest)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                more => done += more,
            }
        }
        Ok(bytes)
    }

    /// Writes a file durably; who reads meanwhile, and a start after a cut, sees the old one or
    /// the new one.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn write(&mut self, name: &str, bytes: &[u8]) -> Result<(), FileError> {
        let path = self.dir.join(name);
        self.put(&path, bytes).map_err(|source| FileError { path, source })
    }

    fn put(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let folder = path.parent().unwrap_or(&self.dir).to_owned();
        if !self.made.contains(&folder) {
            self.disk.create_dir_all(&folder)?;
            self.made.insert(folder.clone());
        }
        let mut unfinished = path.as_os_str().to_owned();
        unfinished.push(UNFINISHED);
        let unfinished = PathBuf::from(unfinished);
        let file = self.disk.create(&unfinished)?;
        file.write_at(0, bytes)?;
        file.sync()?;
        self.disk.rename(&unfinished, path)?;
        self.disk.sync_dir(&folder)
    }

    /// A tile's file. Where a tile that is not full has become full, the beginning of that.
    ///
    /// # Errors
    /// When neither is there, or cannot be read.
    pub fn tile(&self, tile: Tile) -> io::Result<Vec<u8>> {
        match self.bytes(&self.dir.join(tile.path())) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && !tile.is_full() => {
                let full = self.bytes(&self.dir.join(tile.full().path()))?;
                let part = tile.part_of_full(&full);
                part.map(<[u8]>::to_vec).map_err(|_| io::ErrorKind::InvalidData.into())
            }
            read => read,
        }
    }

    /// Removes what a tile was while it was not full. That it stays does no harm.
    pub fn forget_parts(&self, tile: Tile) {
        let folder = self.dir.join(format!("{}.p", tile.full().path()));
        let names = self.disk.list(&folder).unwrap_or_default();
        for name in names {
            if let Err(error) = self.disk.unlink(&folder.join(name)) {
                tracing::debug!(%tile, %error, "a part of a full tile stays");
            }
        }
    }

    /// Makes the folder, if need be.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn make(&self) -> Result<(), FileError> {
        let path = self.dir.clone();
        self.disk.create_dir_all(&path).map_err(|source| FileError { path, source })
    }

    /// The folders and files in this one, which must be there.
    ///
    /// # Errors
    /// When it cannot be listed.
    pub fn list(&self) -> Result<Vec<String>, FileError> {
        let path = self.dir.clone();
        self.disk.list(&path).map_err(|source| FileError { path, source })
    }
}
