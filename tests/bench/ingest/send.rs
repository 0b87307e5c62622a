//! The load generator: a few threads, each with its lines, in turn and pipelined.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use harness::now;

use super::report::micros;
use crate::process::own_cpu_ns;

/// Threads of the load generator.
pub(crate) const SENDERS: usize = 2;

/// A connection with requests to make.
pub(crate) trait Line {
    /// Sends up to so many requests at once; how many it still had.
    fn send(&mut self, burst: usize) -> usize;
    /// Waits for one answer, which must be a good one.
    fn hear(&mut self);
}

/// How a run is sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Requests that a line sends at once when it is its turn.
    pub(crate) burst: usize,
    /// Lines that wait for their answers at once, per thread.
    pub(crate) waiting: usize,
    pub(crate) time_max: Duration,
}

/// What a run gave.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    /// How long each answer took.
    pub(crate) acks_us: Vec<u64>,
    /// CPU time of the senders.
    pub(crate) load_ns: u64,
}

/// Sends until the first line has nothing more or the time is up.
pub(crate) fn send<L: Line + Send>(lines: Vec<L>, pace: Pace) -> Sent {
    let mut shares: Vec<Vec<L>> = (0..SENDERS).map(|_| Vec::new()).collect();
    for (index, line) in lines.into_iter().enumerate() {
        shares[index % SENDERS].push(line);
    }
    let until = now() + pace.time_max;
    std::thread::scope(|scope| {
        let senders: Vec<_> = shares
            .into_iter()
            .map(|lines| scope.spawn(move || send_in_turn(lines, pace, until)))
            .collect();
        let mut all = Sent::default();
        for sender in senders {
            let sent = sender.join().expect("every answer was good");
            all.acks_us.extend(sent.acks_us);
            all.load_ns += sent.load_ns;
        }
        all
    })
}

/// Line after line sends its burst; its answers are read when `waiting` others have sent since.
fn send_in_turn<L: Line>(mut lines: Vec<L>, pace: Pace, until: Instant) -> Sent {
    let mut acks_us = Vec::new();
    let mut waiting: VecDeque<(usize, usize, Instant)> = VecDeque::new();
    let count = lines.len();
    for turn in 0.. {
        let started = now();
        let sent = lines[turn % count].send(pace.burst);
        waiting.push_back((turn % count, sent, started));
        if sent < pace.burst || started >= until {
            break;
        }
        if waiting.len() > pace.waiting {
            hear(&mut lines, waiting.pop_front(), &mut acks_us);
        }
    }
    while !waiting.is_empty() {
        hear(&mut lines, waiting.pop_front(), &mut acks_us);
    }
    // A sender's thread does nothing else.
    Sent { acks_us, load_ns: own_cpu_ns() }
}

fn hear<L: Line>(lines: &mut [L], sent: Option<(usize, usize, Instant)>, acks_us: &mut Vec<u64>) {
    let Some((line, count, started)) = sent else { return };
    for _ in 0..count {
        lines[line].hear();
        acks_us.push(micros(started.elapsed()));
    }
}
