//! A network between agents and a collector that does what networks do: delays, stalls, cuts in the
//! middle of a message, lets only one direction through, answers in the collector's place.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::h2::{Bodies, END_HEADERS, END_STREAM, Frame, Frames, SETTINGS};
use crate::rng::Rng;

/// What becomes of a connection's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weather {
    Clear,
    /// Each piece waits.
    Slow,
    /// A few bytes at a time.
    Thin,
    /// Nothing goes either way, and nobody is told: a half-open connection, a black hole.
    Stalled,
    /// Requests arrive, answers never do.
    Deaf,
    /// Half of the next piece goes through, then the connection ends.
    Cut,
    /// Somebody else answers every request with a 200 and a page of his own.
    Portal,
}

const STORMS: [Weather; 6] =
    [Weather::Slow, Weather::Thin, Weather::Stalled, Weather::Deaf, Weather::Cut, Weather::Portal];

const POLL: Duration = Duration::from_millis(50);
const PAGE: &[u8] = b"<html>Please log in to use this network.</html>";

/// The proxy. Its threads end when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    pub port: u16,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    upstream: u16,
    stop: AtomicBool,
    links: Mutex<Vec<Arc<Mutex<Weather>>>>,
    bodies: Mutex<Vec<Vec<u8>>>,
    storms: AtomicU64,
}

/// More are not remembered.
const BODIES_MAX: usize = 4_000;

impl Proxy {
    /// Stands before the collector at this port of loopback.
    ///
    /// # Panics
    /// When no port is free.
    #[must_use]
    pub fn start(upstream: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let shared = Arc::new(Shared {
            upstream,
            stop: AtomicBool::new(false),
            links: Mutex::default(),
            bodies: Mutex::default(),
            storms: AtomicU64::new(0),
        });
        let this = Arc::clone(&shared);
        std::thread::spawn(move || {
            while let Ok((client, _)) = listener.accept() {
                if this.stop.load(Ordering::Relaxed) {
                    break;
                }
                accept(client, &this);
            }
        });
        Self { port, shared }
    }

    /// Swizzle-clog: some links, drawn by chance, get weather of their own; the others clear up.
    pub fn swizzle(&self, rng: &mut Rng) {
        for link in lock(&self.shared.links).iter() {
            let weather =
                if rng.chance(1, 3) { STORMS[rng.index(STORMS.len())] } else { Weather::Clear };
            if weather != Weather::Clear {
                self.shared.storms.fetch_add(1, Ordering::Relaxed);
            }
            *lock(link) = weather;
        }
    }

    /// Fair from now on.
    pub fn clear(&self) {
        for link in lock(&self.shared.links).iter() {
            *lock(link) = Weather::Clear;
        }
    }

    /// How often a link got bad weather.
    #[must_use]
    pub fn storms(&self) -> u64 {
        self.shared.storms.load(Ordering::Relaxed)
    }

    /// A body that went through whole, drawn by chance; for whoever wants to say it again.
    pub fn overheard(&self, rng: &mut Rng) -> Option<Vec<u8>> {
        let bodies = lock(&self.shared.bodies);
        (!bodies.is_empty()).then(|| bodies[rng.index(bodies.len())].clone())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        // Wakes the accept.
        drop(TcpStream::connect(("127.0.0.1", self.port)));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn accept(client: TcpStream, shared: &Arc<Shared>) {
    // Nobody there is what the client finds out by the end of its connection.
    let Ok(server) = TcpStream::connect(("127.0.0.1", shared.upstream)) else { return };
    let weather = Arc::new(Mutex::new(Weather::Clear));
    lock(&shared.links).push(Arc::clone(&weather));
    let pipes = [(&client, &server, true), (&server, &client, false)];
    for (from, to, is_upward) in pipes {
        let (Ok(from), Ok(to)) = (from.try_clone(), to.try_clone()) else { return };
        let pipe = Pipe { from, to, is_upward, weather: Arc::clone(&weather) };
        let shared = Arc::clone(shared);
        std::thread::spawn(move || {
            // However it ends, both sides learn it.
            let _ended = pipe.run(&shared);
            let _gone = (pipe.from.shutdown(Shutdown::Both), pipe.to.shutdown(Shutdown::Both));
            lock(&shared.links).retain(|link| !Arc::ptr_eq(link, &pipe.weather));
        });
    }
}

struct Pipe {
    from: TcpStream,
    to: TcpStream,
    is_upward: bool,
    weather: Arc<Mutex<Weather>>,
}

impl Pipe {
    fn run(&self, shared: &Shared) -> std::io::Result<()> {
        self.from.set_read_timeout(Some(POLL))?;
        self.to.set_nodelay(true)?;
        let (mut frames, mut bodies) = (Frames::of_client(), Bodies::default());
        let mut bytes = [0; 4 << 10];
        let mut was_deaf = false;
        while !shared.stop.load(Ordering::Relaxed) {
            let weather = *lock(&self.weather);
            if was_deaf && weather != Weather::Deaf {
                // What was swallowed is missing: this stream makes no sense any more.
                return Ok(());
            }
            if weather == Weather::Stalled {
                std::thread::sleep(POLL);
                continue;
            }
            let count = match (&self.from).read(&mut bytes) {
                Ok(0) => return Ok(()),
                Ok(count) => count,
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => continue,
                Err(e) => return Err(e),
            };
            let piece = &bytes[..count];
            if weather == Weather::Portal && self.is_upward {
                return self.answer_instead(piece);
            }
            if weather == Weather::Deaf && !self.is_upward {
                was_deaf = true;
                continue;
            }
            if self.is_upward {
                frames.push(piece);
                for frame in frames.by_ref() {
                    remember(bodies.push(&frame), shared);
                }
            }
            self.pass(piece, weather)?;
            if weather == Weather::Cut {
                return Ok(());
            }
        }
        Ok(())
    }

    fn pass(&self, piece: &[u8], weather: Weather) -> std::io::Result<()> {
        let mut to = &self.to;
        match weather {
            Weather::Cut => to.write_all(&piece[..piece.len() / 2]),
            Weather::Slow => {
                std::thread::sleep(Duration::from_millis(150));
                to.write_all(piece)
            }
            Weather::Thin => piece.chunks(200).try_for_each(|part| {
                std::thread::sleep(Duration::from_millis(5));
                to.write_all(part)
            }),
            Weather::Clear | Weather::Stalled | Weather::Deaf | Weather::Portal => {
                to.write_all(piece)
            }
        }
    }

    /// A page for every request in these bytes, in the language they are in.
    fn answer_instead(&self, piece: &[u8]) -> std::io::Result<()> {
        let mut client = &self.from;
        let mut frames = Frames::of_server();
        let is_begin = piece.starts_with(b"PRI ");
        frames.push(if is_begin {
            &piece[crate::h2::PREFACE.len().min(piece.len())..]
        } else {
            piece
        });
        if is_begin {
            client.write_all(&Frame::new(SETTINGS, 0, 0, b"").encode())?;
        }
        for frame in frames {
            if frame.stream > 0 && frame.flags & END_STREAM != 0 {
                let ok = Frame::new(crate::h2::HEADERS, END_HEADERS, frame.stream, &[0x88]);
                client.write_all(&ok.encode())?;
                let page = Frame::new(crate::h2::DATA, END_STREAM, frame.stream, PAGE);
                client.write_all(&page.encode())?;
            }
        }
        std::thread::sleep(POLL);
        Ok(())
    }
}

fn remember(body: Option<Vec<u8>>, shared: &Shared) {
    let Some(body) = body.filter(|body| !body.is_empty()) else { return };
    let mut bodies = lock(&shared.bodies);
    if bodies.len() < BODIES_MAX {
        bodies.push(body);
    }
}
