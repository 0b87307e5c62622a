//! Checks many cuts at a time: a start waits more than it works.

use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};

/// Programs that are started at once.
pub const WORKERS: usize = 12;

/// Hands each item to a worker; returns what the workers complained about.
pub fn each<T: Send>(
    items: impl Iterator<Item = T>,
    check: impl Fn(T) -> Result<(), String> + Sync,
) -> Vec<String> {
    let (sender, receiver) = mpsc::sync_channel::<T>(WORKERS);
    let receiver = Mutex::new(receiver);
    let complaints = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                loop {
                    let item = lock(&receiver).recv();
                    let Ok(item) = item else { break };
                    if let Err(complaint) = check(item) {
                        lock(&complaints).push(complaint);
                    }
                }
            });
        }
        for item in items {
            sender.send(item).expect("workers live as long as this");
        }
        drop(sender);
    });
    complaints.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// A worker that panicked fails the test by itself.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
