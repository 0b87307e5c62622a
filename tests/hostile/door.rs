//! Attackers and bad luck at the collector's door, while an honest sender goes on.

use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use harness::http::ask;
use harness::site::{Site, millijoules};
use harness::{eventually, within};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

use crate::attack;
use crate::sender::{GPU, HUB, Sender, Told};

/// Batches that the honest sender sends during each trouble.
const SENT: usize = 40;
/// Longer than this no honest batch may take. Whoever had to wait until a silent peer is thrown out
/// waits for twice as long; a disk that others write to can take seconds.
const ACK_TIME_MAX: Duration = Duration::from_secs(15);
const MEMORY_KB_MAX: u64 = 300_000;

pub fn assert_served(sender: &mut Sender, what: &str) {
    let times = sender.send_timed(SENT);
    let (middle, worst) = (times[SENT / 2], times[SENT - 1]);
    println!("{what}: ack p50 {} ms, worst {} ms", middle.as_millis(), worst.as_millis());
    assert!(worst < ACK_TIME_MAX, "{what}: {worst:?}");
}

pub fn assert_booked(site: &Site, sender: &Sender) {
    let booked = || -> u128 {
        let flows = site.json("/v1/hubs/isb/flows");
        let flows = flows["flows"].as_array().expect("a list").clone();
        let of_gpu = flows.iter().filter(|flow| flow["debit"] == format!("gpu:{GPU}").as_str());
        of_gpu.map(|flow| millijoules(&flow["energy_mj"])).sum()
    };
    let what = format!("{} mJ booked, not {}", sender.energy_mj(), booked());
    // A tick closes the last interval after half a minute at most.
    eventually(&what, 60, || (booked() == sender.energy_mj()).then_some(()));
}

/// Connections that say nothing, too little or too slowly.
fn silent_ones(port: u16) -> Vec<TcpStream> {
    let connect = || {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
        stream.set_read_timeout(Some(Duration::from_millis(1))).expect("set");
        stream
    };
    let mut all: Vec<TcpStream> = (0..60).map(|_| connect()).collect();
    let beginnings: [&[u8]; 3] = [
        b"POST /v1/batches HTTP/1.1\r\nho",
        b"POST /v1/batches HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\nx",
        b"PRI * HTTP/2.0\r\n",
    ];
    for beginning in beginnings {
        for _ in 0..60 {
            let mut stream = connect();
            stream.write_all(beginning).expect("sent");
            all.push(stream);
        }
    }
    all.extend((0..60).map(|_| attack::polite(port).expect("a connection")));
    all
}

/// Goal: N5. Three hundred peers that are silent, drip or are half-open cost the others nothing,
/// and their connections are ended.
#[test]
fn n5_silent_and_slow_peers_are_ended_and_others_not_delayed() {
    let mut site = Site::start(HUB);
    let mut sender = Sender::new(site.port);
    assert_served(&mut sender, "nobody else");
    let mut silent = silent_ones(site.port);
    assert_served(&mut sender, "300 silent peers");
    // Half a minute for a header, twenty seconds for a body, and for a ping and its answer.
    let ended = within(60, || {
        silent.retain_mut(|stream| !attack::is_ended(stream));
        silent.is_empty().then_some(())
    });
    assert!(ended.is_some(), "{} silent connections are still open", silent.len());
    assert_served(&mut sender, "after them");
    assert_booked(&site, &sender);
    assert!(site.collector.is_running());
}

/// Goal: X5. Floods of HTTP/2 end with their connection; an honest sender is served meanwhile.
#[test]
fn x5_floods_of_http2_end_their_connection_and_nobody_elses() {
    let mut site = Site::start(HUB);
    let port = site.port;
    let mut sender = Sender::new(port);
    type Attack = fn(u16, u64) -> bool;
    let attacks: [(&str, Attack); 3] = [
        ("rapid reset", attack::rapid_reset),
        ("empty DATA", attack::empty_data),
        ("CONTINUATION", attack::continuation),
    ];
    for (what, attack) in attacks {
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let floods: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        // The attacker comes again as often as it is thrown out.
                        let mut ended = 0;
                        loop {
                            ended += u32::from(attack(port, 25));
                            if is_over.load(Ordering::Relaxed) {
                                return ended;
                            }
                        }
                    })
                })
                .collect();
            assert_served(&mut sender, what);
            is_over.store(true, Ordering::Relaxed);
            for flood in floods {
                let ended = flood.join().expect("an attacker's thread");
                assert!(ended > 0, "{what}: no connection of this attacker was ended");
            }
        });
    }
    let memory = site.collector.peak_memory_kb();
    println!("memory at most {memory} kB");
    assert!(memory < MEMORY_KB_MAX, "{memory} kB");
    assert_booked(&site, &sender);
    assert!(site.collector.is_running() && !site.collector.printed().contains("panicked"));
}

/// Goal: C6. People who ask much cost the senders little.
#[test]
fn c6_heavy_questions_do_not_hold_up_acks() {
    let mut site = Site::start(HUB);
    let port = site.port;
    let mut sender = Sender::new(port);
    assert_served(&mut sender, "nobody asks");
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let asking: Vec<_> = ["/v1/hubs/isb/flows", "/v1/hubs/isb/balance", "/metrics", "/"]
            .iter()
            .flat_map(|path| [*path; 2])
            .map(|path| {
                scope.spawn(|| {
                    let mut answered = 0_u32;
                    while !is_over.load(Ordering::Relaxed) {
                        answered += u32::from(ask("GET", port, path, b"").is_some());
                    }
                    answered
                })
            })
            .collect();
        assert_served(&mut sender, "eight who ask without pause");
        is_over.store(true, Ordering::Relaxed);
        let answered: u32 = asking.into_iter().map(|thread| thread.join().expect("asked")).sum();
        println!("{answered} questions answered meanwhile");
        assert!(answered > 0);
    });
    assert_booked(&site, &sender);
    assert!(site.collector.is_running());
}

/// Goal: D10. Out of file descriptors, the collector keeps who is there, and takes others when
/// there is room again, without a hand.
#[test]
fn d10_no_file_descriptors_left_is_survived() {
    let mut site = Site::start(HUB);
    let mut sender = Sender::new(site.port);
    assert_served(&mut sender, "room");
    let pid = site.collector.pid();
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs").count();
    let limit = u64::try_from(open + 8).expect("few");
    let limit = Rlimit { current: Some(limit), maximum: getrlimit(Resource::Nofile).maximum };
    let process = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let before = prlimit(process, Resource::Nofile, limit).expect("may be set");
    let crowd: Vec<TcpStream> = (0..64)
        .map(|_| TcpStream::connect(("127.0.0.1", site.port)).expect("the kernel takes it"))
        .collect();
    let refused =
        within(10, || site.collector.printed().contains("cannot be accepted").then_some(()));
    assert!(refused.is_some(), "it never was out of descriptors: {}", site.collector.printed());
    assert_served(&mut sender, "no descriptor left");
    drop(crowd);
    let answered = within(20, || ask("GET", site.port, "/readyz", b"").filter(|a| a.status == 200));
    assert!(answered.is_some(), "nobody new is served afterwards");
    prlimit(process, Resource::Nofile, before).expect("may be set back");
    assert_eq!(sender.send(), Told::Acked);
    let lines = site.collector.printed().lines().count();
    assert!(lines < 40, "{lines} lines in its log");
    assert_booked(&site, &sender);
    assert!(site.collector.is_running());
}
