//! The command line of the exchange. What it does is in the library.

use std::process::ExitCode;

use clap::Parser;
use kombi_exchange::cli::Cli;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("kombi-exchange: the runtime does not start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(cli.run());
    // A name lookup that hangs in the C library must not keep the process alive.
    runtime.shutdown_background();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("kombi-exchange: {failure}");
            failure.exit_code()
        }
    }
}
