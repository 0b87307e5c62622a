//! The real programs in a hostile world: a network that stalls, cuts, swallows and lies, kill -9
//! and SIGSTOP, attackers at the collector's door, disks that are full, slow or read-only. At the
//! end every energy is exact, and nothing is booked twice.

#[path = "hostile/attack.rs"]
mod attack;
#[path = "hostile/disks.rs"]
mod disks;
#[path = "hostile/door.rs"]
mod door;
#[path = "hostile/network.rs"]
mod network;
#[path = "hostile/sender.rs"]
mod sender;
#[path = "hostile/slow.rs"]
mod slow;
