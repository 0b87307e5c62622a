//! bijli-collector. Everything is in the library; this only gives its exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    bijli_collector::cli::main()
}
