//! `slipring completions`.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::args::Cli;
use crate::exit::Code;
use crate::output::Output;

/// Print a completion script for a shell
///
/// For example: slipring completions bash > ~/.local/share/bash-completion/completions/slipring
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which shell
    shell: Shell,
}

/// Runs it.
pub fn run(args: &Args) -> anyhow::Result<Code> {
    let mut output = Output::stdout()?;
    clap_complete::generate(args.shell, &mut Cli::command(), "slipring", output.buffer());
    output.flush()?;
    Ok(Code::Success)
}
