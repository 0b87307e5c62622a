//! Reads the journal again, a little at a time, so that a bit that rotted is found within a day and
//! not when somebody needs it. Every record's checksum is checked; what is damaged is named.
//!
//! The ledger log is read again by the index, which compares its rows to it (`index/thread.rs`).

use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::{Duration, Instant};

use bijli_seglog::{Disk, LogError, Reader};

use crate::clock::Clock;
use crate::health::Health;
use crate::journal::chain;

/// From the begin of one pass to the next; a start reads everything anyway.
const EVERY: Duration = Duration::from_secs(24 * 3_600);
/// So much is read at once...
const SLICE_BYTES: usize = 256 << 10;
/// ...and then nothing for so long: a terabyte a day, at most 13 MB in any second.
const REST: Duration = Duration::from_millis(20);

/// Says when the next pass is due, and hands it to a thread of its own.
#[derive(Debug)]
pub struct Scrub<D: Disk> {
    clock: Clock,
    begun: Instant,
    sender: SyncSender<Reader<D>>,
}

impl<D: Disk> Scrub<D> {
    /// Starts the thread; it ends with this handle.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(clock: Clock, health: Health) -> std::io::Result<Self> {
        let (sender, receiver) = sync_channel::<Reader<D>>(1);
        std::thread::Builder::new().name("scrub".into()).spawn(move || {
            while let Ok(reader) = receiver.recv() {
                pass(reader, &health, || std::thread::sleep(REST));
            }
        })?;
        Ok(Self { clock, begun: clock.instant(), sender })
    }

    /// Begins a pass if one is due. One that is still going on is left to it.
    pub fn turn(&mut self, reader: impl FnOnce() -> Reader<D>) {
        if self.begun.elapsed() < EVERY {
            return;
        }
        self.begun = self.clock.instant();
        if self.sender.try_send(reader()).is_err() {
            tracing::warn!("the journal is larger than a day's scrubbing");
        }
    }
}

/// Reads every record once; tells each damage and counts the records that it cost.
fn pass<D: Disk>(reader: Reader<D>, health: &Health, mut rest: impl FnMut()) {
    let (mut lost, mut bytes) = (0_u64, 0_usize);
    for record in reader {
        match record {
            Ok((_, record)) => bytes += record.len(),
            Err(error) => {
                if let LogError::Lost { first, last, .. } = &error {
                    lost += last.get() - first.get() + 1;
                }
                tracing::error!(error = chain(&error), "the journal has rotted");
            }
        }
        if bytes >= SLICE_BYTES {
            bytes = 0;
            rest();
        }
    }
    health.scrub.passes.inc();
    health.scrub.lost_records.set(i64::try_from(lost).unwrap_or(i64::MAX));
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use bijli_seglog::testing::ModelDisk;
    use bijli_seglog::{Log, Options, RecordSeq};

    use super::*;

    /// Goal: D5. A flipped bit in a sealed segment, and one in the active one, are found and
    /// counted, and what is around them is read.
    #[test]
    fn d5_a_pass_finds_what_rotted_in_sealed_and_active_segments() {
        let disk = ModelDisk::new(1);
        let options = Options::new(8 << 10, 1 << 10).expect("valid");
        let (mut log, _) = Log::open(disk.clone(), Path::new("/journal"), options).expect("opens");
        for record in 0..20_u8 {
            log.append(&[record; 1_000]).expect("fits");
            log.commit().expect("no fault");
        }
        let health = Health::new();
        let mut rests = 0;
        pass(log.read_from(RecordSeq::FIRST), &health, || rests += 1);
        assert_eq!((health.scrub.passes.get(), health.scrub.lost_records.get()), (1, 0));
        let segments =
            disk.files().into_iter().filter(|path| path.to_string_lossy().ends_with("seg"));
        let segments: Vec<_> = segments.collect();
        assert!(segments.len() >= 3);
        for path in [&segments[0], segments.last().expect("there")] {
            let mut bytes = disk.contents(path).expect("there");
            bytes[1_500] ^= 1;
            disk.set_contents(path, &bytes);
        }
        pass(log.read_from(RecordSeq::FIRST), &health, || rests += 1);
        assert_eq!((health.scrub.passes.get(), health.scrub.lost_records.get()), (2, 2));
        assert_eq!(rests, 0, "20 kB are less than a slice");
    }
}
