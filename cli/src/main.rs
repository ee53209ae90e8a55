//! The `slipring` command: queues from the shell.
//!
//! Uses the library's public API only. This file parses, dispatches, and turns results into exit codes; each command is
//! one file in `cmd`.

#![deny(unsafe_code)]

mod args;
mod bench;
mod cmd;
mod dead_letter;
mod demo;
mod exit;
mod finding;
mod input;
mod output;
mod record;
#[expect(unsafe_code, reason = "installs signal handlers")]
mod signals;
mod stream;
mod table;
mod template;
mod units;

use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Command};
use exit::Code;

fn main() -> ExitCode {
    if let Some(code) = demo::worker_main().or_else(bench::worker_main) {
        return code.into();
    }
    let cli = Cli::parse();
    run(cli.command)
        .unwrap_or_else(|error| exit::explain(&error))
        .into()
}

fn run(command: Command) -> anyhow::Result<Code> {
    match command {
        Command::Create(args) => cmd::create::run(&args),
        Command::Publish(args) => cmd::publish::run(&args),
        Command::Consume(args) => cmd::consume::run(&args),
        Command::Tail(args) => cmd::tail::run(&args),
        Command::Info(args) => cmd::info::run(&args),
        Command::Group(args) => cmd::group::run(&args),
        Command::Dead(args) => cmd::dead::run(&args),
        Command::Sweep(args) => cmd::sweep::run(&args),
        Command::Verify(args) => cmd::verify::run(&args),
        Command::Repair(args) => cmd::repair::run(&args),
        Command::Dump(args) => cmd::dump::run(&args),
        Command::Export(args) => cmd::export::run(&args),
        Command::Import(args) => cmd::import::run(&args),
        Command::Resize(args) => cmd::resize::run(&args),
        Command::Rm(args) => cmd::rm::run(&args),
        Command::Demo(args) => cmd::demo::run(&args),
        Command::Bench(args) => cmd::bench::run(&args),
        Command::Completions(args) => cmd::completions::run(&args),
        Command::Man(args) => cmd::man::run(&args),
    }
}
