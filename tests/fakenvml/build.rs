//! Keeps the fake in memory once loaded. Unloading would forget its clock, and with it the energy
//! registers, which in the real world live in the driver and the device and not in the library.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
}
