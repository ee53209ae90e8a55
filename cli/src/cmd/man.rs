//! `slipring man`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Command, CommandFactory};
use clap_mangen::Man;

use crate::args::Cli;
use crate::exit::{CODES, Code};
use crate::output::Output;

/// Print the man page, or write one for each command
///
/// To read it at once: slipring man | man -l -
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Write slipring.1, slipring-create.1 and so on into this directory
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Runs it.
pub fn run(args: &Args) -> anyhow::Result<Code> {
    let mut command = Cli::command().disable_help_subcommand(true);
    // Gives each command its whole name, `slipring group add`.
    command.build();
    match &args.dir {
        Some(dir) => write_all(&command, "slipring", dir)?,
        None => {
            let mut output = Output::stdout()?;
            render(command, output.buffer())?;
            output.flush()?;
        }
    }
    Ok(Code::Success)
}

fn write_all(command: &Command, name: &str, dir: &Path) -> anyhow::Result<()> {
    let path = dir.join(format!("{name}.1"));
    let mut page = Vec::new();
    render(command.clone(), &mut page)?;
    fs::write(&path, page).with_context(|| format!("writing {}", path.display()))?;
    for inner in command.get_subcommands() {
        write_all(inner, &format!("{name}-{}", inner.get_name()), dir)?;
    }
    Ok(())
}

/// As clap_mangen would, but for the exit codes, which get the section where readers look for them.
fn render(command: Command, page: &mut Vec<u8>) -> anyhow::Result<()> {
    let has_commands = command.has_subcommands();
    let man = Man::new(command.after_help(""))
        .source(concat!("slipring ", env!("CARGO_PKG_VERSION")))
        .manual("User Commands");
    man.render_title(page)?;
    man.render_name_section(page)?;
    man.render_synopsis_section(page)?;
    man.render_description_section(page)?;
    man.render_options_section(page)?;
    if has_commands {
        man.render_subcommands_section(page)?;
    }
    page.extend_from_slice(b".SH \"EXIT STATUS\"\n");
    for (code, meaning) in CODES {
        page.extend_from_slice(format!(".TP\n\\fB{code}\\fR\n{meaning}\n").as_bytes());
    }
    Ok(())
}
