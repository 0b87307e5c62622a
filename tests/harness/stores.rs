//! Debian's time-series stores, each as its package installs it, with its data in a folder of the
//! test's own; and a shim that lets InfluxDB 1 be spoken to as InfluxDB 2.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::eventually;
use crate::http::ask;
use crate::program::{Program, free_port};

/// VictoriaMetrics that keeps everything.
#[must_use]
pub fn victoria(folder: &Path, port: u16) -> Command {
    let mut command = Command::new("victoria-metrics");
    command.arg(format!("-storageDataPath={}", folder.join("victoria").display()));
    command.arg(format!("-httpListenAddr=127.0.0.1:{port}"));
    command.arg("-retentionPeriod=100y");
    command
}

/// Prometheus that takes remote write, of data as old as `window` ("0s": none that is late).
///
/// # Panics
/// When its configuration cannot be written.
#[must_use]
pub fn prometheus(folder: &Path, port: u16, window: &str) -> Command {
    let config = folder.join("prometheus.yml");
    // It scrapes itself, so that it knows what time it is.
    let text = format!(
        "storage:\n  tsdb:\n    out_of_order_time_window: {window}\nscrape_configs:\n\
         - job_name: self\n  scrape_interval: 1s\n  static_configs:\n  \
         - targets: [\"127.0.0.1:{port}\"]\n"
    );
    std::fs::write(&config, text).expect("written");
    let mut command = Command::new("prometheus");
    command.arg(format!("--config.file={}", config.display()));
    command.arg(format!("--storage.tsdb.path={}", folder.join("prometheus").display()));
    command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
    command.args(["--web.enable-remote-write-receiver", "--storage.tsdb.retention.time=50y"]);
    command
}

/// InfluxDB 1.
///
/// # Panics
/// When its configuration cannot be written.
#[must_use]
pub fn influx(folder: &Path, port: u16) -> Command {
    let (config, data) = (folder.join("influxdb.conf"), folder.join("influx"));
    let data = data.display();
    let text = format!(
        "reporting-disabled = true\nbind-address = \"127.0.0.1:{}\"\n\
         [meta]\ndir = \"{data}/meta\"\n[data]\ndir = \"{data}/data\"\nwal-dir = \"{data}/wal\"\n\
         index-version = \"inmem\"\nmax-series-per-database = 0\n\
         [http]\nbind-address = \"127.0.0.1:{port}\"\nlog-enabled = false\n[monitor]\n\
         store-enabled = false\n",
        free_port()
    );
    std::fs::write(&config, text).expect("written");
    let mut command = Command::new("influxd");
    command.arg("-config").arg(config);
    command
}

/// Starts a store and waits until it answers 2xx at `ready`.
///
/// # Panics
/// When it does not.
#[must_use]
pub fn start(mut command: Command, log: &Path, port: u16, ready: &str) -> Program {
    let program = Program::start(&mut command, log);
    eventually("a ready store", 60, || {
        ask("GET", port, ready, b"").filter(|answer| answer.status < 300)
    });
    program
}

/// Writes of InfluxDB 2 handed to an InfluxDB 1: `/api/v2/write?bucket=b` is `/write?db=b` there.
/// Its thread ends when it is dropped.
#[derive(Debug)]
pub struct Shim {
    pub port: u16,
    stop: Arc<AtomicBool>,
}

impl Shim {
    /// Stands before an InfluxDB 1 at this port.
    ///
    /// # Panics
    /// When no port is free.
    #[must_use]
    pub fn start(upstream: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                // A client that goes away in the middle asks again.
                let _gone = stream.map(|stream| hand_on(stream, upstream));
            }
        });
        Self { port, stop }
    }
}

impl Drop for Shim {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _woken = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn hand_on(stream: TcpStream, upstream: u16) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let path = first.split(' ').nth(1).unwrap_or_default();
    let path = path.replace("/api/v2/write", "/write").replace("bucket=", "db=");
    let answer = ask("POST", upstream, &path, &body);
    let (status, said) = answer.map_or((503, Vec::new()), |answer| (answer.status, answer.body));
    let head = format!(
        "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        if status == 204 { 0 } else { said.len() }
    );
    let mut stream = stream;
    stream.write_all(head.as_bytes())?;
    if status == 204 { Ok(()) } else { stream.write_all(&said) }
}
