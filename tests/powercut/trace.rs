//! Runs a real program under strace and reads what it did: each call on files, names and sockets,
//! with its bytes, in the one order in which the kernel was entered and left.
//!
//! # Time
//! Line `n` of a trace is entered at moment `2n` and left at `2n + 1`, unless another thread's line
//! came between (`<unfinished ...>`, `<... resumed>`): then it is left at that later line. What a
//! call asks may have happened from its entry on; what it promises holds from its return on.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use harness::program::{Program, signal_children};

/// Everything that can change a file, a name or what a peer knows.
const CALLS: &str = "openat,open,creat,close,dup,dup2,dup3,fcntl,lseek,write,pwrite64,pwritev,\
                     pwritev2,writev,sendto,sendmsg,recvfrom,ftruncate,truncate,fallocate,fsync,\
                     fdatasync,sync,syncfs,sync_file_range,rename,renameat,renameat2,unlink,\
                     unlinkat,mkdir,mkdirat,link,linkat,symlink,symlinkat,rmdir,copy_file_range,\
                     sendfile,io_uring_setup";

/// One call.
#[derive(Clone, Debug)]
pub struct Call {
    pub op: Op,
    pub begin: usize,
    /// None: the program was killed inside it.
    pub end: Option<usize>,
}

/// What a call did.
#[derive(Clone, Debug)]
pub enum Op {
    Open {
        path: PathBuf,
        creates: bool,
        truncates: bool,
        appends: bool,
        fd: i64,
    },
    Close {
        fd: i64,
    },
    Duplicate {
        fd: i64,
        to: i64,
    },
    Seek {
        fd: i64,
        to: u64,
    },
    /// `None`: at the file's own position, or to a socket.
    Write {
        fd: i64,
        offset: Option<u64>,
        bytes: Vec<u8>,
    },
    Receive {
        fd: i64,
        bytes: Vec<u8>,
    },
    Truncate {
        fd: i64,
        length: u64,
    },
    Allocate {
        fd: i64,
        length: u64,
    },
    Sync {
        fd: i64,
    },
    Rename {
        from: PathBuf,
        to: PathBuf,
    },
    Unlink {
        path: PathBuf,
    },
    MakeDirectory {
        path: PathBuf,
    },
    RemoveDirectory {
        path: PathBuf,
    },
    /// Of no consequence to a disk: failed calls, questions.
    Nothing,
    /// What the model does not know. A trace with one on a file of ours proves nothing.
    Unknown {
        text: String,
    },
}

/// A program that runs under strace.
pub struct Traced {
    strace: Program,
    file: PathBuf,
}

impl Traced {
    /// Starts it; the trace goes to `folder`/`name`.trace, what it prints to `name`.log.
    pub fn start(
        program: &Path,
        args: &[&str],
        environment: &[(&str, String)],
        (folder, name): (&Path, &str),
    ) -> Self {
        let file = folder.join(format!("{name}.trace"));
        let mut command = Command::new("strace");
        command.args(["-f", "-qq", "--seccomp-bpf", "-xx", "-s", "8000000", "-e", "signal=none"]);
        command.arg("-e").arg(format!("trace={}", CALLS.replace(' ', "")));
        command.arg("-o").arg(&file).arg(program).args(args);
        command.envs(environment.iter().map(|(name, value)| (*name, value)));
        let strace = Program::start(&mut command, &folder.join(format!("{name}.log")));
        Self { strace, file }
    }

    pub fn printed(&self) -> String {
        self.strace.printed()
    }

    pub fn is_running(&mut self) -> bool {
        self.strace.is_running()
    }

    /// Ends the program and reads the trace.
    pub fn end(mut self, how: rustix::process::Signal) -> Vec<Call> {
        signal_children(self.strace.pid(), how);
        self.strace.wait(60);
        let text = std::fs::read_to_string(&self.file).expect("a trace");
        parse(&text)
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        // strace does not take its program with it when it is killed.
        if self.strace.is_running() {
            signal_children(self.strace.pid(), rustix::process::Signal::KILL);
        }
    }
}

/// The calls of a trace, in the order of their entry.
pub fn parse(text: &str) -> Vec<Call> {
    let mut calls: Vec<Call> = Vec::new();
    let mut unfinished: BTreeMap<&str, (usize, String)> = BTreeMap::new();
    for (number, line) in text.lines().enumerate() {
        let Some((pid, rest)) = line.split_once(' ') else { continue };
        let rest = rest.trim_start();
        let now = 2 * number;
        if let Some(begun) = rest.strip_suffix(" <unfinished ...>") {
            calls.push(Call { op: decode(begun, None), begin: now, end: None });
            unfinished.insert(pid, (calls.len() - 1, begun.to_owned()));
        } else if let Some(resumed) = rest.strip_prefix("<... ") {
            let tail = resumed.split_once(" resumed>").map_or("", |(_, tail)| tail);
            if let Some((index, begun)) = unfinished.remove(pid) {
                let whole = format!("{begun}{tail}");
                let op = decode(&whole, returned(&whole));
                calls[index] = Call { op, begin: calls[index].begin, end: Some(now + 1) };
            }
        } else if rest.contains('(') {
            let op = decode(rest, returned(rest));
            calls.push(Call { op, begin: now, end: Some(now + 1) });
        }
    }
    calls
}

/// The number behind the last " = ".
fn returned(text: &str) -> Option<i64> {
    let (_, value) = text.rsplit_once(" = ")?;
    let value = value.split(' ').next()?;
    match value.strip_prefix("0x") {
        Some(hex) => i64::from_str_radix(hex, 16).ok(),
        None => value.parse().ok(),
    }
}

/// `value` None: not returned yet; then it is taken to have done all it was asked.
fn decode(text: &str, value: Option<i64>) -> Op {
    let Some((name, args)) = text.split_once('(') else { return Op::Nothing };
    if value.is_some_and(|value| value < 0) {
        return Op::Nothing;
    }
    let args = Args::new(args);
    let fd = args.number(0);
    match name {
        "openat" | "open" | "creat" => open(name, &args, value),
        "close" => Op::Close { fd },
        "dup" | "dup2" | "dup3" => Op::Duplicate { fd, to: value.unwrap_or(-1) },
        "fcntl" if args.word(1).starts_with("F_DUPFD") => {
            Op::Duplicate { fd, to: value.unwrap_or(-1) }
        }
        "fcntl" => Op::Nothing,
        "lseek" => Op::Seek { fd, to: u64::try_from(value.unwrap_or(0)).unwrap_or(0) },
        "write" | "writev" | "sendto" | "sendmsg" => {
            Op::Write { fd, offset: None, bytes: args.written(value) }
        }
        "pwrite64" | "pwritev" | "pwritev2" => {
            let offset = u64::try_from(args.number(3)).ok();
            Op::Write { fd, offset, bytes: args.written(value) }
        }
        "recvfrom" if value.is_none() || args.text.contains("MSG_PEEK") => Op::Nothing,
        "recvfrom" => Op::Receive { fd, bytes: args.written(value) },
        "ftruncate" => Op::Truncate { fd, length: args.size(1) },
        "fallocate" if args.number(1) == 0 => {
            Op::Allocate { fd, length: args.size(2) + args.size(3) }
        }
        "fsync" | "fdatasync" => Op::Sync { fd },
        "rename" => Op::Rename { from: args.path(0), to: args.path(1) },
        "renameat" | "renameat2" => Op::Rename { from: args.path(1), to: args.path(3) },
        "unlink" => Op::Unlink { path: args.path(0) },
        "unlinkat" if args.text.contains("AT_REMOVEDIR") => {
            Op::RemoveDirectory { path: args.path(1) }
        }
        "unlinkat" => Op::Unlink { path: args.path(1) },
        "rmdir" => Op::RemoveDirectory { path: args.path(0) },
        "mkdir" => Op::MakeDirectory { path: args.path(0) },
        "mkdirat" => Op::MakeDirectory { path: args.path(1) },
        // Killed before strace had read which call it was.
        "???" => Op::Nothing,
        _ => Op::Unknown { text: text.chars().take(200).collect() },
    }
}

fn open(name: &str, args: &Args<'_>, value: Option<i64>) -> Op {
    let (at, flags) = if name == "openat" { (1, args.word(2)) } else { (0, args.word(1)) };
    let has = |flag: &str| flags.split('|').any(|word| word == flag) || name == "creat";
    Op::Open {
        path: args.path(at),
        creates: has("O_CREAT"),
        truncates: has("O_TRUNC"),
        appends: flags.split('|').any(|word| word == "O_APPEND"),
        fd: value.unwrap_or(-1),
    }
}

/// The arguments of one line. Strings are all hexadecimal (`-xx`), so no comma is inside one.
struct Args<'a> {
    text: &'a str,
}

impl<'a> Args<'a> {
    fn new(text: &'a str) -> Self {
        let closed = text.rfind(')').filter(|at| text[*at..].contains('='));
        Self { text: closed.map_or(text, |at| &text[..at]) }
    }

    fn word(&self, index: usize) -> &'a str {
        let mut depth = 0_i32;
        let mut words = self.text.split(|letter: char| {
            match letter {
                '[' | '{' => depth += 1,
                ']' | '}' => depth -= 1,
                _ => {}
            }
            letter == ',' && depth == 0
        });
        words.nth(index).unwrap_or("").trim()
    }

    fn number(&self, index: usize) -> i64 {
        self.word(index).parse().unwrap_or(-1)
    }

    fn size(&self, index: usize) -> u64 {
        u64::try_from(self.number(index)).unwrap_or(0)
    }

    fn path(&self, index: usize) -> PathBuf {
        use std::os::unix::ffi::OsStringExt;
        let bytes = strings(self.word(index)).next().unwrap_or_default();
        PathBuf::from(std::ffi::OsString::from_vec(bytes))
    }

    /// The bytes of all strings, as many as the call said it took.
    fn written(&self, value: Option<i64>) -> Vec<u8> {
        let mut bytes: Vec<u8> = strings(self.text).flatten().collect();
        if let Some(count) = value.and_then(|value| usize::try_from(value).ok()) {
            bytes.truncate(count);
        }
        bytes
    }
}

/// What stands in quotes, `\x2f\x74`, as bytes.
fn strings(text: &str) -> impl Iterator<Item = Vec<u8>> + '_ {
    text.split('"').skip(1).step_by(2).map(|quoted| {
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|n| u8::try_from(n).ok());
        let pairs = quoted.as_bytes().chunks_exact(4);
        pairs.filter_map(|pair| Some((digit(pair[2])? << 4) | digit(pair[3])?)).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_calls_and_halves_are_joined() {
        let text = r#"7 openat(AT_FDCWD, "\x2f\x61", O_WRONLY|O_CREAT|O_CLOEXEC, 0666) = 5
7 pwrite64(5, "\x01\x02", 2, 512 <unfinished ...>
8 writev(9, [{iov_base="\x61", iov_len=1}, {iov_base="\x62\x63", iov_len=2}], 2) = 2
7 <... pwrite64 resumed>)         = 2
7 fdatasync(5)      = -1 EIO (Input/output error)
8 recvfrom(9,  <unfinished ...>
8 <... recvfrom resumed>"\x7a", 128, 0, NULL, NULL) = 1
"#;
        let calls = parse(text);
        let times: Vec<_> = calls.iter().map(|call| (call.begin, call.end)).collect();
        let (first, third) = ((0, Some(1)), (4, Some(5)));
        assert_eq!(times, [first, (2, Some(7)), third, (8, Some(9)), (10, Some(13))]);
        let open = &calls[0].op;
        assert!(matches!(open, Op::Open { path, creates: true, truncates: false, fd: 5, .. }
            if path == Path::new("/a")));
        assert!(matches!(&calls[1].op, Op::Write { fd: 5, offset: Some(512), bytes }
            if bytes == &[1, 2]));
        assert!(matches!(&calls[2].op, Op::Write { fd: 9, offset: None, bytes } if bytes == b"ab"));
        assert!(matches!(calls[3].op, Op::Nothing), "a sync that failed promises nothing");
        assert!(matches!(&calls[4].op, Op::Receive { fd: 9, bytes } if bytes == b"z"));
    }
}
