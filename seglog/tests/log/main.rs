//! The log under power cuts, faults, damage and on the real disk.

mod crash;
mod damage;
mod faults;
mod golden;
mod real_disk;
mod world;
