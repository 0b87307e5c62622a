//! Every trap of NVML that is known to have cost somebody's figures, sprung on the real agent (and
//! the real collector, where energy is booked) by a fake `libnvidia-ml`. Which test shows which is
//! in `docs/faults.md`.

#[path = "traps/late.rs"]
mod late;
#[path = "traps/node.rs"]
mod node;
#[path = "traps/told.rs"]
mod told;

const HUB: &str = "[[hub]]\nid = \"lahore\"\ntitle = \"Lahore\"\n";
/// What else the machine may have is not read.
const ONLY_GPUS: &str =
    "[rapl]\nenabled = false\n[host]\nenabled = false\n[kernel_log]\nenabled = false\n";
