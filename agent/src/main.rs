//! bijli-agent: see `bijli-agent --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    bijli_agent::cli::main()
}
