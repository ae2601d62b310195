//! `cargo stack`: the whole system on this machine, built from this tree.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use stack::{
    bench, demo, faults, flood, host::HostKind, ledger, limits, release, soak, stack::Options, up,
};

/// The KombiSphere gateway with everything around it, on this machine.
#[derive(Parser)]
#[command(name = "cargo stack", bin_name = "cargo stack")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// What runs the filter. Without it: Kong if KONG_BIN names one or Docker answers, else Envoy.
    #[arg(long, global = true, value_enum)]
    host: Option<HostKind>,
}

#[derive(Subcommand)]
enum Command {
    /// Starts everything and keeps it running until Ctrl-C.
    Up,
    /// Runs the gateway's main job once, step by step, and says whether each step was right.
    Demo,
    /// Measures what a request costs the gateway with the filter, without it, and with the host's
    /// own means.
    Bench(bench::Settings),
    /// Measures what it adds to calls of AI models that they are checked and accounted for.
    AiBench(bench::ai::Settings),
    /// Measures what a login through gate and exchange costs, and what the exchange takes in a second.
    ExchangeBench(bench::exchange::Settings),
    /// Runs all benches, one after the other, and writes a page with charts.
    Report(bench::page::Settings),
    /// Shows a limit that several gateways share, under more requests than it allows, and says
    /// whether it held.
    Limits(limits::Settings),
    /// Floods the gateway with made-up tokens, and says whether the issuer and everybody with a good
    /// token were left alone.
    Flood(flood::Settings),
    /// Breaks the exchange on purpose, and says whether what it had acknowledged is still there.
    Faults(faults::Settings),
    /// Calls AI models by the thousand while parts die, and says whether the ledger is right.
    Ledger(ledger::Settings),
    /// Builds what an operator installs: filter, exchange, checksums, bill of materials.
    Release(release::Settings),
    /// Mixed traffic for minutes or hours, with rotations, reloads and faults; says whether memory
    /// stayed where it was, and whether every failure has a reason.
    Soak(soak::Settings),
}

// One thread for everything: the system ends a process with the thread that started it.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let options = Options { host: arguments.host, ..Options::default() };
    let outcome = match arguments.command {
        Command::Up => up::run(options).await.map(|()| true),
        Command::Bench(settings) => bench::run(settings, options.host).await.map(|()| true),
        Command::AiBench(settings) => bench::ai::run(settings, options.host).await.map(|()| true),
        Command::ExchangeBench(settings) => {
            bench::exchange::run(settings, options.host).await.map(|()| true)
        }
        Command::Report(settings) => bench::page::run(settings, options.host).await.map(|()| true),
        Command::Limits(settings) => limits::run(settings, options.host).await,
        Command::Flood(settings) => flood::run(settings, options).await,
        Command::Ledger(settings) => ledger::run(settings, options.host).await,
        Command::Soak(settings) => soak::run(settings, options.host).await,
        Command::Faults(settings) => faults::run(settings, options.host).await,
        Command::Release(settings) => release::run(&settings).map(|()| true),
        Command::Demo => demo::run(options).await,
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
