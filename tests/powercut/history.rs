//! What a traced program did to its directory, replayed on the model: at any moment the disk, and
//! what had left the program or reached it over sockets.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::disk::{Disk, Image, Inode};
use crate::trace::{Call, Op};

/// A defect of the program, planted by reading its trace wrongly: what would have been on the
/// disk had it not made that call, or made it later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    Nothing,
    /// No sync of a file's bytes.
    SkipFileSync,
    /// No sync of a directory.
    SkipDirectorySync,
    /// Answers before the sync: every sync returns so many calls later.
    LateSync,
}

/// A call enters or returns.
#[derive(Clone, Copy, Debug)]
enum Step {
    Enter(usize),
    Return(usize),
}

/// A trace and the directory it began on.
pub struct History {
    root: PathBuf,
    begin: Image,
    calls: Vec<Call>,
    steps: Vec<(usize, Step)>,
}

/// The model at one moment of a history.
pub struct Player<'a> {
    history: &'a History,
    planted: Planted,
    next: usize,
    pub disk: Disk,
    files: BTreeMap<i64, Open>,
    /// By call: the file it made, before its number is known; the time a sync was asked for.
    entered: BTreeMap<usize, u64>,
    made: BTreeMap<usize, Inode>,
    late: Vec<(usize, Inode, u64)>,
}

#[derive(Clone, Copy, Debug)]
struct Open {
    inode: Inode,
    position: u64,
    appends: bool,
}

/// How many steps a sync of [`Planted::LateSync`] is late.
const LATE_STEPS: usize = 40;

impl History {
    /// `root` is where the traced program's directory lay, `begin` what was in it.
    pub fn new(root: &Path, begin: Image, calls: Vec<Call>) -> Self {
        let mut steps = Vec::new();
        for (index, call) in calls.iter().enumerate() {
            steps.push((call.begin, Step::Enter(index)));
            steps.extend(call.end.map(|end| (end, Step::Return(index))));
        }
        steps.sort_by_key(|(at, _)| *at);
        Self { root: root.to_owned(), begin, calls, steps }
    }

    pub fn calls(&self) -> &[Call] {
        &self.calls
    }

    pub fn play(&self, planted: Planted) -> Player<'_> {
        Player {
            history: self,
            planted,
            next: 0,
            disk: Disk::new(&self.begin),
            files: BTreeMap::new(),
            entered: BTreeMap::new(),
            made: BTreeMap::new(),
            late: Vec::new(),
        }
    }

    /// The moments between two steps at which something waits for a sync, and those at which a
    /// program that keeps its word has nothing to lose.
    pub fn moments(&self, planted: Planted) -> (Vec<usize>, Vec<usize>) {
        let mut player = self.play(planted);
        let (mut dirty, mut clean) = (Vec::new(), Vec::new());
        while let Some((at, _)) = self.steps.get(player.next) {
            let moment = at + 1;
            player.advance(moment);
            if player.disk.is_dirty() { dirty.push(moment) } else { clean.push(moment) }
        }
        (dirty, clean)
    }
}

impl Player<'_> {
    /// Plays everything that happened before `moment`.
    pub fn advance(&mut self, moment: usize) {
        while let Some((at, step)) = self.history.steps.get(self.next).copied() {
            if at >= moment {
                break;
            }
            self.next += 1;
            match step {
                Step::Enter(index) => self.enter(index),
                Step::Return(index) => self.leave(index),
            }
            let now = self.next;
            for (_, inode, asked) in self.late.extract_if(.., |late| late.0 <= now) {
                self.disk.sync(inode, asked);
            }
        }
    }

    /// Plays everything.
    pub fn finish(&mut self) {
        self.advance(usize::MAX);
    }

    fn below(&self, path: &Path) -> Option<PathBuf> {
        path.strip_prefix(&self.history.root).ok().map(Path::to_owned)
    }

    fn enter(&mut self, index: usize) {
        let call = &self.history.calls[index];
        match &call.op {
            Op::Open { path, creates, truncates, .. } => {
                let Some(path) = self.below(path) else { return };
                if let Some(inode) = self.disk.open(&path, *creates, *truncates) {
                    self.made.insert(index, inode);
                }
            }
            Op::Close { fd } => {
                self.files.remove(fd);
            }
            Op::Write { fd, offset, bytes } => {
                let Some(open) = self.files.get_mut(fd) else { return };
                let at = match offset {
                    Some(offset) => *offset,
                    None if open.appends => self.disk.length(open.inode),
                    None => open.position,
                };
                if offset.is_none() {
                    open.position = at + u64::try_from(bytes.len()).expect("64 bits");
                }
                self.disk.write(open.inode, at, bytes);
            }
            Op::Truncate { fd, length } => {
                let inode = self.files.get(fd).map(|open| open.inode);
                inode.into_iter().for_each(|inode| self.disk.truncate(inode, *length));
            }
            Op::Allocate { fd, length } => {
                let Some(inode) = self.files.get(fd).map(|open| open.inode) else { return };
                let length = self.disk.length(inode).max(*length);
                self.disk.truncate(inode, length);
            }
            Op::Sync { .. } => {
                self.entered.insert(index, self.disk.now());
            }
            Op::Rename { from, to } => {
                if let (Some(from), Some(to)) = (self.below(from), self.below(to)) {
                    self.disk.rename(&from, &to);
                }
            }
            Op::Unlink { path } | Op::RemoveDirectory { path } => {
                self.below(path).into_iter().for_each(|path| self.disk.unlink(&path));
            }
            Op::MakeDirectory { path } => {
                self.below(path).into_iter().for_each(|path| self.disk.make_directory(&path));
            }
            Op::Duplicate { .. } | Op::Seek { .. } | Op::Receive { .. } | Op::Nothing => {}
            Op::Unknown { text } => panic!("the model does not know this call: {text}"),
        }
    }

    fn leave(&mut self, index: usize) {
        let call = &self.history.calls[index];
        match &call.op {
            Op::Open { fd, appends, .. } => {
                if let Some(inode) = self.made.remove(&index) {
                    self.files.insert(*fd, Open { inode, position: 0, appends: *appends });
                }
            }
            Op::Duplicate { fd, to } => {
                if let Some(open) = self.files.get(fd).copied() {
                    self.files.insert(*to, open);
                }
            }
            Op::Seek { fd, to } => {
                if let Some(open) = self.files.get_mut(fd) {
                    open.position = *to;
                }
            }
            Op::Sync { fd } => {
                let asked = self.entered.remove(&index).unwrap_or(0);
                if let Some(open) = self.files.get(fd).copied() {
                    self.synced(open.inode, asked);
                }
            }
            Op::Close { .. }
            | Op::Write { .. }
            | Op::Receive { .. }
            | Op::Truncate { .. }
            | Op::Allocate { .. }
            | Op::Rename { .. }
            | Op::Unlink { .. }
            | Op::MakeDirectory { .. }
            | Op::RemoveDirectory { .. }
            | Op::Nothing
            | Op::Unknown { .. } => {}
        }
    }

    fn synced(&mut self, inode: Inode, asked: u64) {
        let is_directory = self.disk.is_directory(inode);
        match self.planted {
            Planted::SkipFileSync if !is_directory => {}
            Planted::SkipDirectorySync if is_directory => {}
            Planted::LateSync => self.late.push((self.next + LATE_STEPS, inode, asked)),
            Planted::Nothing | Planted::SkipFileSync | Planted::SkipDirectorySync => {
                self.disk.sync(inode, asked);
            }
        }
    }
}
