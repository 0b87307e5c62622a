//! A disk as POSIX lets it be: what was synced is there after a power cut, everything else
//! may be, sector by sector.
//!
//! # What is modelled
//! - **Bytes**: 512-byte sectors. Each sector written since the file's last sync keeps, by chance,
//!   its synced bytes or any version written since; sectors do not wait for each other.
//! - **Lengths**: the synced length or any since. A length without its bytes shows zeros.
//! - **Names**: creating, renaming, unlinking are durable after the directory's sync. Before
//!   it each survives by chance: in half of the cuts as a journalling file system does it (the
//!   first so many), in the other half each for itself. A rename happens wholly or not at all.
//!
//! # What is not
//! Sectors torn inside, drives that lie about a sync, rot, damaged metadata, a sync that persists
//! more than it must by its own choice. The first three are `seglog/tests`' work.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use harness::rng::Rng;

const SECTOR: usize = 512;

pub type Inode = usize;

/// The files and directories below one root.
#[derive(Clone, Debug)]
pub struct Disk {
    nodes: Vec<Node>,
    names: Vec<NameOp>,
    /// Rises with everything that happens.
    clock: u64,
}

#[derive(Clone, Debug)]
enum Node {
    File(File),
    Directory { synced: BTreeMap<String, Inode>, now: BTreeMap<String, Inode> },
}

#[derive(Clone, Debug, Default)]
struct File {
    synced: Vec<u8>,
    now: Vec<u8>,
    /// By sector, what was written since the last sync, with its time.
    sectors: BTreeMap<usize, Vec<(u64, Vec<u8>)>>,
    lengths: Vec<(u64, usize)>,
}

/// One change of names that no sync has covered yet.
#[derive(Clone, Debug)]
struct NameOp {
    at: u64,
    /// (directory, name, what it names from then on)
    changes: Vec<(Inode, String, Option<Inode>)>,
}

/// How much of what was not synced survives.
#[derive(Clone, Copy, Debug)]
struct Luck {
    /// Of 8: the share of sectors, lengths and names that made it.
    share: u64,
    names_in_order: bool,
}

/// What lies on a disk: directories (`None`) and files.
pub type Image = BTreeMap<PathBuf, Option<Vec<u8>>>;

pub const ROOT: Inode = 0;

impl Disk {
    /// Everything in `image` is durable.
    pub fn new(image: &Image) -> Self {
        let directory = Node::Directory { synced: BTreeMap::new(), now: BTreeMap::new() };
        let mut disk = Self { nodes: vec![directory.clone()], names: Vec::new(), clock: 0 };
        for (path, content) in image {
            let node = match content {
                Some(bytes) => Node::File(File {
                    synced: bytes.clone(),
                    now: bytes.clone(),
                    ..File::default()
                }),
                None => directory.clone(),
            };
            disk.nodes.push(node);
            let inode = disk.nodes.len() - 1;
            let (parent, name) = disk.place(path).expect("parents stand before their children");
            if let Some(Node::Directory { synced, now }) = disk.nodes.get_mut(parent) {
                synced.insert(name.clone(), inode);
                now.insert(name, inode);
            }
        }
        disk
    }

    /// Time, for [`Disk::sync`].
    pub fn now(&self) -> u64 {
        self.clock
    }

    /// Whether anything waits for a sync.
    pub fn is_dirty(&self) -> bool {
        let dirty = |node: &Node| match node {
            Node::File(file) => !file.sectors.is_empty() || !file.lengths.is_empty(),
            Node::Directory { .. } => false,
        };
        !self.names.is_empty() || self.nodes.iter().any(dirty)
    }

    pub fn find(&self, path: &Path) -> Option<Inode> {
        path.iter().try_fold(ROOT, |inode, name| match self.nodes.get(inode)? {
            Node::Directory { now, .. } => now.get(name.to_str()?).copied(),
            Node::File(_) => None,
        })
    }

    fn place(&self, path: &Path) -> Option<(Inode, String)> {
        let parent = self.find(path.parent()?)?;
        Some((parent, path.file_name()?.to_str()?.to_owned()))
    }

    pub fn is_directory(&self, inode: Inode) -> bool {
        matches!(self.nodes.get(inode), Some(Node::Directory { .. }))
    }

    pub fn length(&self, inode: Inode) -> u64 {
        match self.nodes.get(inode) {
            Some(Node::File(file)) => u64::try_from(file.now.len()).expect("64 bits"),
            Some(Node::Directory { .. }) | None => 0,
        }
    }

    /// The file of that name, made if there is none and `creates`.
    pub fn open(&mut self, path: &Path, creates: bool, truncates: bool) -> Option<Inode> {
        if let Some(inode) = self.find(path) {
            if truncates {
                self.truncate(inode, 0);
            }
            return Some(inode);
        }
        creates.then(|| self.make(path, Node::File(File::default()))).flatten()
    }

    pub fn make_directory(&mut self, path: &Path) {
        if self.find(path).is_none() {
            let empty = Node::Directory { synced: BTreeMap::new(), now: BTreeMap::new() };
            self.make(path, empty);
        }
    }

    fn make(&mut self, path: &Path, node: Node) -> Option<Inode> {
        let (parent, name) = self.place(path)?;
        self.nodes.push(node);
        let inode = self.nodes.len() - 1;
        self.rename_all(vec![(parent, name, Some(inode))]);
        Some(inode)
    }

    pub fn unlink(&mut self, path: &Path) {
        if let Some((parent, name)) = self.place(path) {
            self.rename_all(vec![(parent, name, None)]);
        }
    }

    pub fn rename(&mut self, from: &Path, to: &Path) {
        let inode = self.find(from);
        if let (Some((from, old)), Some((to, new))) = (self.place(from), self.place(to)) {
            self.rename_all(vec![(from, old, None), (to, new, inode)]);
        }
    }

    fn rename_all(&mut self, changes: Vec<(Inode, String, Option<Inode>)>) {
        self.clock += 1;
        for change in &changes {
            if let Some(Node::Directory { now, .. }) = self.nodes.get_mut(change.0) {
                apply(now, &change.1, change.2);
            }
        }
        self.names.push(NameOp { at: self.clock, changes });
    }

    pub fn write(&mut self, inode: Inode, offset: u64, bytes: &[u8]) {
        self.clock += 1;
        let at = self.clock;
        let Some(Node::File(file)) = self.nodes.get_mut(inode) else { return };
        let offset = usize::try_from(offset).expect("files fit into memory");
        let end = offset + bytes.len();
        if end > file.now.len() {
            file.now.resize(end, 0);
            file.lengths.push((at, end));
        }
        file.now[offset..end].copy_from_slice(bytes);
        file.dirty(at, offset, end);
    }

    pub fn truncate(&mut self, inode: Inode, length: u64) {
        self.clock += 1;
        let at = self.clock;
        let Some(Node::File(file)) = self.nodes.get_mut(inode) else { return };
        let length = usize::try_from(length).expect("files fit into memory");
        let before = file.now.len();
        if length == before {
            return;
        }
        file.now.resize(length, 0);
        file.lengths.push((at, length));
        // What is cut off reads as zeros if the file grows again.
        file.dirty(at, length, before);
    }

    /// The sync of a file or directory that was asked for at the time `asked` has returned: what
    /// was done to it before then is durable.
    pub fn sync(&mut self, inode: Inode, asked: u64) {
        match self.nodes.get_mut(inode) {
            Some(Node::File(file)) => file.sync(asked),
            Some(Node::Directory { .. }) => self.sync_names(inode, asked),
            None => {}
        }
    }

    fn sync_names(&mut self, directory: Inode, asked: u64) {
        let mut waiting = Vec::new();
        for mut op in std::mem::take(&mut self.names) {
            let touches = op.changes.iter().any(|change| change.0 == directory);
            if op.at > asked || !touches {
                waiting.push(op);
                continue;
            }
            for (parent, name, target) in op.changes.drain(..) {
                if let Some(Node::Directory { synced, .. }) = self.nodes.get_mut(parent) {
                    apply(synced, &name, target);
                }
            }
        }
        self.names = waiting;
    }

    /// What the running program sees.
    pub fn seen(&self) -> Image {
        let tree = |inode| match self.nodes.get(inode) {
            Some(Node::Directory { now, .. }) => now.clone(),
            Some(Node::File(_)) | None => BTreeMap::new(),
        };
        self.image(&tree, &mut |file| file.now.clone())
    }

    /// What is left after a power cut now.
    pub fn cut(&self, rng: &mut Rng) -> Image {
        let luck =
            Luck { share: [0, 1, 4, 4, 7, 8][rng.index(6)], names_in_order: rng.chance(1, 2) };
        let mut trees: BTreeMap<Inode, BTreeMap<String, Inode>> = BTreeMap::new();
        for (inode, node) in self.nodes.iter().enumerate() {
            if let Node::Directory { synced, .. } = node {
                trees.insert(inode, synced.clone());
            }
        }
        for op in &self.names {
            if rng.chance(luck.share, 8) {
                for (parent, name, target) in &op.changes {
                    apply(trees.entry(*parent).or_default(), name, *target);
                }
            } else if luck.names_in_order {
                break;
            }
        }
        let tree = |inode: Inode| trees.get(&inode).cloned().unwrap_or_default();
        self.image(&tree, &mut |file| file.cut(luck, rng))
    }

    fn image(
        &self,
        tree: &dyn Fn(Inode) -> BTreeMap<String, Inode>,
        content: &mut dyn FnMut(&File) -> Vec<u8>,
    ) -> Image {
        let mut image = Image::new();
        let mut open = vec![(PathBuf::new(), ROOT)];
        while let Some((path, directory)) = open.pop() {
            for (name, inode) in tree(directory) {
                let path = path.join(name);
                match self.nodes.get(inode) {
                    Some(Node::File(file)) => {
                        image.insert(path, Some(content(file)));
                    }
                    Some(Node::Directory { .. }) => {
                        image.insert(path.clone(), None);
                        open.push((path, inode));
                    }
                    None => {}
                }
            }
        }
        image
    }
}

fn apply(names: &mut BTreeMap<String, Inode>, name: &str, target: Option<Inode>) {
    match target {
        Some(inode) => names.insert(name.to_owned(), inode),
        None => names.remove(name),
    };
}

/// One sector, with zeros behind the end.
fn sector(bytes: &[u8], index: usize) -> Vec<u8> {
    let start = (index * SECTOR).min(bytes.len());
    let end = (start + SECTOR).min(bytes.len());
    let mut sector = bytes[start..end].to_vec();
    sector.resize(SECTOR, 0);
    sector
}

fn set_sector(bytes: &mut [u8], index: usize, content: &[u8]) {
    let start = (index * SECTOR).min(bytes.len());
    let end = (start + SECTOR).min(bytes.len());
    bytes[start..end].copy_from_slice(&content[..end - start]);
}

impl File {
    fn dirty(&mut self, at: u64, from: usize, to: usize) {
        for index in from / SECTOR..to.div_ceil(SECTOR) {
            let version = (at, sector(&self.now, index));
            self.sectors.entry(index).or_default().push(version);
        }
    }

    fn sync(&mut self, asked: u64) {
        let length = self.lengths.iter().rfind(|(at, _)| *at <= asked);
        let length = length.map_or(self.synced.len(), |(_, length)| *length);
        self.lengths.retain(|(at, _)| *at > asked);
        self.synced.resize(length, 0);
        for (index, versions) in &mut self.sectors {
            if let Some((_, bytes)) = versions.iter().rfind(|(at, _)| *at <= asked) {
                set_sector(&mut self.synced, *index, bytes);
            }
            versions.retain(|(at, _)| *at > asked);
        }
        self.sectors.retain(|_, versions| !versions.is_empty());
    }

    fn cut(&self, luck: Luck, rng: &mut Rng) -> Vec<u8> {
        let mut bytes = self.synced.clone();
        let longest = self.lengths.iter().map(|(_, length)| *length).max().unwrap_or(0);
        let mut length = bytes.len();
        if !self.lengths.is_empty() && rng.chance(luck.share, 8) {
            length = match luck.share {
                8 => self.now.len(),
                _ => self.lengths[rng.index(self.lengths.len())].1,
            };
        }
        bytes.resize(longest.max(length).max(bytes.len()), 0);
        for (index, versions) in &self.sectors {
            if rng.chance(luck.share, 8) {
                let which =
                    if luck.share == 8 { versions.len() - 1 } else { rng.index(versions.len()) };
                set_sector(&mut bytes, *index, &versions[which].1);
            }
        }
        bytes.truncate(length);
        bytes
    }
}

/// The files below a folder, as they are.
pub fn read(folder: &Path) -> Image {
    let mut image = Image::new();
    let mut open = vec![folder.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(&directory).expect("a readable folder") {
            let path = entry.expect("an entry").path();
            let name = path.strip_prefix(folder).expect("below it").to_owned();
            if path.is_dir() {
                image.insert(name, None);
                open.push(path);
            } else {
                image.insert(name, Some(std::fs::read(&path).expect("a readable file")));
            }
        }
    }
    image
}

/// Makes the files of an image below a folder.
pub fn write(image: &Image, folder: &Path) {
    std::fs::create_dir_all(folder).expect("a folder");
    for (path, content) in image {
        let path = folder.join(path);
        match content {
            Some(bytes) => std::fs::write(&path, bytes).expect("written"),
            None => std::fs::create_dir_all(&path).expect("a folder"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cuts(disk: &Disk) -> Vec<Image> {
        let mut rng = Rng::new(1);
        (0..200).map(|_| disk.cut(&mut rng)).collect()
    }

    /// Goal: the model can lose everything that was not synced, and nothing that was.
    #[test]
    fn what_is_synced_stays_and_what_is_not_may_go() {
        let mut disk = Disk::new(&Image::new());
        let file = disk.open(Path::new("f"), true, false).expect("made");
        disk.write(file, 0, &[1; 1_024]);
        disk.sync(file, disk.now());
        assert!(cuts(&disk).iter().any(Image::is_empty), "a name without the directory's sync");
        disk.sync(ROOT, disk.now());
        assert!(!disk.is_dirty());
        let asked = disk.now();
        disk.write(file, 512, &[2; 1_024]);
        // A sync that began before the write does not cover it.
        disk.sync(file, asked);
        let mut found = std::collections::BTreeSet::new();
        for image in cuts(&disk) {
            let bytes = image[Path::new("f")].clone().expect("a file");
            assert_eq!(bytes[..512], [1; 512]);
            found.insert((bytes.len(), bytes[512], bytes.get(1_024).copied()));
        }
        let all = [(1_024, 1, None), (1_024, 2, None)];
        let grown = [(1, 0), (1, 2), (2, 0), (2, 2)].map(|(a, b)| (1_536, a, Some(b)));
        assert_eq!(found, all.into_iter().chain(grown).collect());
    }

    #[test]
    fn a_rename_happens_wholly_or_not_at_all() {
        let old = (PathBuf::from("c"), Some(b"old".to_vec()));
        let mut disk = Disk::new(&Image::from([old]));
        let file = disk.open(Path::new("c.tmp"), true, true).expect("made");
        disk.write(file, 0, b"new");
        disk.sync(file, disk.now());
        disk.rename(Path::new("c.tmp"), Path::new("c"));
        let mut found = std::collections::BTreeSet::new();
        for image in cuts(&disk) {
            found.insert((image[Path::new("c")].clone(), image.contains_key(Path::new("c.tmp"))));
        }
        let (old, new) = (Some(b"old".to_vec()), Some(b"new".to_vec()));
        assert_eq!(found, [(old.clone(), false), (old, true), (new, false)].into());
        disk.sync(ROOT, disk.now());
        assert!(cuts(&disk).iter().all(|image| image[Path::new("c")] == Some(b"new".to_vec())));
    }
}
