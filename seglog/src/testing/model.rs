//! A disk in memory that keeps apart what programs see and what a power cut leaves.
//!
//! # What it models
//! - Bytes: 512-byte sectors. An unsynced sector survives a cut or does not, each for itself;
//!   an unsynced length likewise. A sync that fails leaves the sectors visible and clean, and
//!   a later sync does not write them (as ext4, XFS and Btrfs do).
//! - Names: an unsynced change of a name survives or does not, each for itself. Directories
//!   themselves are durable when made, as [`Disk::create_dir_all`] promises.
//! - Faults: at the Nth operation, whatever it is; a full disk; a sync that lies; a write that is
//!   lost or lands elsewhere; a bit that flips.
//!
//! Seeded, no clock: the same calls and the same seed give the same disk.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::disk::{Disk, DiskFile};
use crate::window::{as_u64, as_usize};

const SECTOR_BYTES: usize = 512;
const EIO: i32 = 5;
const ENOSPC: i32 = 28;
const EROFS: i32 = 30;

/// What happens at an operation chosen with [`ModelDisk::fail_at`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The operation fails; a write has half happened.
    Io,
    /// The disk is full, if the operation needs room; a write has half happened.
    Full,
    /// The operation fails, if it is a sync.
    Sync,
    /// The power goes: this operation and all after it fail until [`ModelDisk::power_cut`].
    PowerCut,
    /// A write succeeds and leaves no trace; other operations are spared.
    Lost,
    /// A write succeeds and lands one sector further; other operations are spared.
    Misdirected,
}

/// A handle; clones show the same disk.
#[derive(Clone, Debug)]
pub struct ModelDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Clone, Debug)]
pub struct ModelFile {
    disk: ModelDisk,
    inode: u64,
}

/// Unlocks when dropped.
#[derive(Debug)]
pub struct ModelLock {
    disk: ModelDisk,
    path: PathBuf,
    /// A lock from before a crash unlocks nothing after it.
    boot: u64,
}

#[derive(Debug)]
struct State {
    random: u64,
    inodes: BTreeMap<u64, Inode>,
    next_inode: u64,
    /// Names as programs see them, and as they are on the platter.
    seen: BTreeMap<PathBuf, u64>,
    kept: BTreeMap<PathBuf, u64>,
    dirs: BTreeSet<PathBuf>,
    locks: BTreeSet<PathBuf>,
    boot: u64,
    operations: u64,
    syncs: u64,
    fault: Option<(u64, Fault)>,
    /// What the write under way is to do instead.
    lie: Option<Fault>,
    is_off: bool,
    sync_lies: bool,
    is_read_only: bool,
    bytes_max: u64,
}

#[derive(Clone, Debug, Default)]
struct Inode {
    seen: Vec<u8>,
    kept: Vec<u8>,
    /// Sectors that differ and will be written by a sync.
    dirty: BTreeSet<usize>,
    /// Bytes that the drive cannot read any more.
    spoilt: Range<u64>,
}

/// The kinds of operation that faults tell apart.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Operation {
    Read,
    /// Needs no room, and changes the disk.
    Cut,
    /// Needs room: a name.
    Room,
    /// Needs room: bytes.
    Write,
    Sync,
}

impl ModelDisk {
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            state: Arc::new(Mutex::new(State {
                random: seed,
                inodes: BTreeMap::new(),
                next_inode: 1,
                seen: BTreeMap::new(),
                kept: BTreeMap::new(),
                dirs: BTreeSet::new(),
                locks: BTreeSet::new(),
                boot: 0,
                operations: 0,
                syncs: 0,
                fault: None,
                lie: None,
                is_off: false,
                sync_lies: false,
                is_read_only: false,
                bytes_max: u64::MAX,
            })),
        }
    }

    /// Operations so far, of all kinds.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// Successful syncs of files so far.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.state().syncs
    }

    /// Plans a fault for the `nth` operation from now, counting from 0.
    pub fn fail_at(&self, nth: u64, fault: Fault) {
        let mut state = self.state();
        state.fault = Some((state.operations + nth, fault));
    }

    /// Takes back a fault that has not happened.
    pub fn clear_fault(&self) {
        self.state().fault = None;
    }

    /// From now on nothing can be changed (or can again): a remount after an error of the file
    /// system. A write under way has half happened.
    pub fn set_read_only(&self, is_read_only: bool) {
        self.state().is_read_only = is_read_only;
    }

    /// From now on syncs succeed and do nothing (or work again).
    pub fn set_sync_lies(&self, sync_lies: bool) {
        self.state().sync_lies = sync_lies;
    }

    /// The room for the bytes of all files.
    pub fn set_bytes_max(&self, bytes_max: u64) {
        self.state().bytes_max = bytes_max;
    }

    /// Whether a planned [`Fault::PowerCut`] has struck and the power is still away.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.state().is_off
    }

    /// The process dies and the machine lives: all writes are still seen, all locks are free.
    pub fn kill(&self) {
        let mut state = self.state();
        state.locks.clear();
        state.boot += 1;
    }

    /// The power goes and comes back: of what was not synced, chance decides.
    pub fn power_cut(&self) {
        self.kill();
        let mut state = self.state();
        state.is_off = false;
        state.fault = None;
        state.lose_names();
        state.lose_sectors();
    }

    /// The bytes of a file as programs see them.
    #[must_use]
    pub fn contents(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.state();
        state.seen.get(path).and_then(|inode| state.inodes.get(inode)).map(|it| it.seen.clone())
    }

    /// Puts bytes under a name, durably, past all faults: bit rot, a restored backup, a hand.
    pub fn set_contents(&self, path: &Path, bytes: &[u8]) {
        let mut state = self.state();
        let inode = state.seen.get(path).copied().unwrap_or(state.next_inode);
        state.next_inode = state.next_inode.max(inode + 1);
        let (seen, kept) = (bytes.to_vec(), bytes.to_vec());
        state.inodes.insert(inode, Inode { seen, kept, ..Inode::default() });
        state.seen.insert(path.to_owned(), inode);
        state.kept.insert(path.to_owned(), inode);
    }

    /// Flips one bit of one file, chosen by `choice`, durably; false if there are no bytes.
    #[must_use]
    pub fn flip(&self, choice: u64) -> bool {
        let mut state = self.state();
        let total: u64 = state.inodes.values().map(|inode| as_u64(inode.kept.len())).sum();
        if total == 0 {
            return false;
        }
        let mut at = as_usize((choice / 8) % total);
        for inode in state.inodes.values_mut() {
            if let Some(byte) = inode.kept.get_mut(at) {
                *byte ^= 1 << (choice % 8);
                let flipped = *byte;
                if let Some(seen) = inode.seen.get_mut(at) {
                    *seen = flipped;
                }
                return true;
            }
            at -= inode.kept.len();
        }
        false
    }

    /// From now on reads that touch these bytes of a file fail.
    ///
    /// # Panics
    /// If there is no such file.
    pub fn spoil(&self, path: &Path, bytes: Range<u64>) {
        let mut state = self.state();
        let inode = *state.seen.get(path).expect("a file to spoil");
        state.inodes.get_mut(&inode).expect("a name has an inode").spoilt = bytes;
    }

    /// Removes a file durably, past all faults.
    pub fn remove(&self, path: &Path) {
        let mut state = self.state();
        state.seen.remove(path);
        state.kept.remove(path);
    }

    /// All files as programs see them, sorted by name.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        self.state().seen.keys().cloned().collect()
    }

    /// A second disk with the same bytes, visible and durable, and its own chances.
    #[must_use]
    pub fn fork(&self, seed: u64) -> Self {
        let copy = Self::new(seed);
        {
            let (from, mut to) = (self.state(), copy.state());
            to.inodes.clone_from(&from.inodes);
            to.next_inode = from.next_inode;
            to.seen.clone_from(&from.seen);
            to.kept.clone_from(&from.kept);
            to.dirs.clone_from(&from.dirs);
        }
        copy
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self, path: &Path) -> io::Result<ModelFile> {
        let mut state = self.state();
        state.begin(Operation::Read)?;
        let inode = *state.seen.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(ModelFile { disk: self.clone(), inode })
    }
}

impl State {
    /// Counts an operation and lets the planned fault strike.
    fn begin(&mut self, operation: Operation) -> io::Result<()> {
        let number = self.operations;
        self.operations += 1;
        if let Some((_, fault)) = self.fault.take_if(|(at, _)| *at == number) {
            match fault {
                Fault::Io => return Err(io::Error::from_raw_os_error(EIO)),
                Fault::Full if matches!(operation, Operation::Room | Operation::Write) => {
                    return Err(io::Error::from_raw_os_error(ENOSPC));
                }
                Fault::Sync if operation == Operation::Sync => {
                    return Err(io::Error::from_raw_os_error(EIO));
                }
                Fault::Lost | Fault::Misdirected if operation == Operation::Write => {
                    self.lie = Some(fault);
                }
                Fault::Full | Fault::Sync | Fault::Lost | Fault::Misdirected => {}
                Fault::PowerCut => self.is_off = true,
            }
        }
        if self.is_read_only && operation != Operation::Read {
            return Err(io::Error::from_raw_os_error(EROFS));
        }
        if self.is_off { Err(io::Error::from_raw_os_error(EIO)) } else { Ok(()) }
    }

    /// `SplitMix64`: small, seeded, and good enough to decide what a cut leaves.
    fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = self.random;
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        word ^ (word >> 31)
    }

    fn toss(&mut self) -> bool {
        self.draw() & 1 == 0
    }

    fn lose_names(&mut self) {
        let names: BTreeSet<PathBuf> = self.seen.keys().chain(self.kept.keys()).cloned().collect();
        for name in names {
            let survives = self.toss();
            match (survives, self.seen.get(&name).copied()) {
                (true, Some(inode)) => drop(self.kept.insert(name, inode)),
                (true, None) => drop(self.kept.remove(&name)),
                (false, _) => {}
            }
        }
        self.seen = self.kept.clone();
        let named: BTreeSet<u64> = self.kept.values().copied().collect();
        self.inodes.retain(|inode, _| named.contains(inode));
    }

    fn lose_sectors(&mut self) {
        let inodes: Vec<u64> = self.inodes.keys().copied().collect();
        for number in inodes {
            let mut inode = self.inodes.remove(&number).unwrap_or_default();
            let length = if self.toss() { inode.seen.len() } else { inode.kept.len() };
            for sector in std::mem::take(&mut inode.dirty) {
                if self.toss() {
                    inode.write_back(sector);
                }
            }
            inode.kept.resize(length, 0);
            inode.seen.clone_from(&inode.kept);
            self.inodes.insert(number, inode);
        }
    }

    fn room_left(&self) -> u64 {
        let taken = self.inodes.values().map(|inode| as_u64(inode.seen.len())).sum();
        self.bytes_max.saturating_sub(taken)
    }

    fn inode(&mut self, number: u64) -> io::Result<&mut Inode> {
        // A handle from before a power cut may show a file that is gone.
        self.inodes.get_mut(&number).ok_or_else(|| io::Error::from_raw_os_error(EIO))
    }
}

impl Inode {
    /// One sector, as seen, onto the platter.
    fn write_back(&mut self, sector: usize) {
        let start = sector * SECTOR_BYTES;
        let end = (start + SECTOR_BYTES).min(self.seen.len());
        if let Some(bytes) = self.seen.get(start..end) {
            let length = self.kept.len().max(end);
            self.kept.resize(length, 0);
            if let Some(place) = self.kept.get_mut(start..end) {
                place.copy_from_slice(bytes);
            }
        }
    }

    fn write(&mut self, offset: usize, bytes: &[u8]) {
        let end = offset + bytes.len();
        let length = self.seen.len().max(end);
        self.seen.resize(length, 0);
        if let Some(place) = self.seen.get_mut(offset..end) {
            place.copy_from_slice(bytes);
        }
        self.dirty.extend(offset / SECTOR_BYTES..end.div_ceil(SECTOR_BYTES));
    }

    fn sync(&mut self) {
        for sector in std::mem::take(&mut self.dirty) {
            self.write_back(sector);
        }
        self.kept.resize(self.seen.len(), 0);
    }
}

impl Disk for ModelDisk {
    type File = ModelFile;
    type Lock = ModelLock;

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        if !state.dirs.contains(dir) {
            state.begin(Operation::Room)?;
            state.dirs.insert(dir.to_owned());
        }
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut state = self.state();
        state.begin(Operation::Read)?;
        let ours = state.seen.keys().filter(|path| path.parent() == Some(dir));
        let names = ours.filter_map(|path| path.file_name()?.to_str().map(str::to_owned));
        Ok(names.collect())
    }

    fn create(&self, path: &Path) -> io::Result<ModelFile> {
        let mut state = self.state();
        state.begin(Operation::Room)?;
        let existing = state.seen.get(path).copied();
        let inode = existing.unwrap_or(state.next_inode);
        state.next_inode = state.next_inode.max(inode + 1);
        state.inodes.entry(inode).or_default().seen.clear();
        state.seen.insert(path.to_owned(), inode);
        Ok(ModelFile { disk: self.clone(), inode })
    }

    fn open_read(&self, path: &Path) -> io::Result<ModelFile> {
        self.open(path)
    }

    fn open_write(&self, path: &Path) -> io::Result<ModelFile> {
        self.open(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.begin(Operation::Room)?;
        let inode = state.seen.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.seen.insert(to.to_owned(), inode);
        Ok(())
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.begin(Operation::Read)?;
        state.seen.remove(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.begin(Operation::Sync)?;
        if state.sync_lies {
            return Ok(());
        }
        let State { seen, kept, .. } = &mut *state;
        let is_inside = |path: &PathBuf| path.parent() == Some(dir);
        kept.retain(|path, _| !is_inside(path));
        kept.extend(seen.iter().filter(|(path, _)| is_inside(path)).map(|(p, i)| (p.clone(), *i)));
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<ModelLock> {
        let mut state = self.state();
        state.begin(Operation::Read)?;
        if !state.locks.insert(path.to_owned()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(ModelLock { disk: self.clone(), path: path.to_owned(), boot: state.boot })
    }
}

impl Drop for ModelLock {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        if state.boot == self.boot {
            state.locks.remove(&self.path);
        }
    }
}

impl DiskFile for ModelFile {
    fn len(&self) -> io::Result<u64> {
        let mut state = self.disk.state();
        state.begin(Operation::Read)?;
        Ok(as_u64(state.inode(self.inode)?.seen.len()))
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let mut state = self.disk.state();
        state.begin(Operation::Read)?;
        let inode = state.inode(self.inode)?;
        if offset < inode.spoilt.end && offset + as_u64(buf.len()) > inode.spoilt.start {
            return Err(io::Error::from_raw_os_error(EIO));
        }
        let there = inode.seen.get(as_usize(offset)..).unwrap_or_default();
        let count = there.len().min(buf.len());
        if let (Some(into), Some(bytes)) = (buf.get_mut(..count), there.get(..count)) {
            into.copy_from_slice(bytes);
        }
        Ok(count)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.disk.state();
        let begun = state.begin(Operation::Write);
        let room = state.room_left();
        let lie = state.lie.take();
        let inode = state.inode(self.inode)?;
        let offset = match lie {
            Some(Fault::Lost) => return Ok(()),
            Some(Fault::Misdirected) => as_usize(offset) + SECTOR_BYTES,
            Some(Fault::Io | Fault::Full | Fault::Sync | Fault::PowerCut) | None => {
                as_usize(offset)
            }
        };
        if let Err(e) = begun {
            inode.write(offset, bytes.get(..bytes.len() / 2).unwrap_or_default());
            return Err(e);
        }
        let grown = as_u64((offset + bytes.len()).saturating_sub(inode.seen.len()));
        if grown > room {
            let fitting = bytes.len().saturating_sub(as_usize(grown - room));
            inode.write(offset, bytes.get(..fitting).unwrap_or_default());
            return Err(io::Error::from_raw_os_error(ENOSPC));
        }
        inode.write(offset, bytes);
        Ok(())
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.begin(Operation::Cut)?;
        let inode = state.inode(self.inode)?;
        inode.seen.resize(as_usize(len), 0);
        inode.dirty.insert(as_usize(len) / SECTOR_BYTES);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        let begun = state.begin(Operation::Sync);
        let (is_off, sync_lies) = (state.is_off, state.sync_lies);
        let inode = state.inode(self.inode)?;
        if let Err(e) = begun {
            if !is_off {
                inode.dirty.clear();
            }
            return Err(e);
        }
        if !sync_lies {
            inode.sync();
            state.syncs += 1;
        }
        Ok(())
    }
}
