//! The command line as a whole: the list of commands, and what is said about all of them. Each command's own arguments
//! lie beside its code.

use clap::{Parser, Subcommand};

use crate::cmd;
use crate::exit;

const ABOUT: &str = "Message queues in shared memory, from the shell";

const LONG_ABOUT: &str = "\
Message queues in shared memory, from the shell

A queue is a file. Its name is a path, or a bare name, which stands for a file in $SLIPRING_DIR, or else in this user's \
own directory in /dev/shm. Many processes publish, many consume; any of them may be killed at any moment, and nothing \
is lost: what a dead consumer had not acked goes to another one of its group.

Try `slipring demo --chaos` first: it needs nothing set up.";

/// The whole command line.
#[derive(Debug, Parser)]
#[command(name = "slipring", version, about = ABOUT, long_about = LONG_ABOUT)]
#[command(after_help = exit::table(), max_term_width = 100, infer_subcommands = false)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    Create(cmd::create::Args),
    Publish(cmd::publish::Args),
    Consume(cmd::consume::Args),
    Tail(cmd::tail::Args),
    Info(cmd::info::Args),
    Group(cmd::group::Args),
    Dead(cmd::dead::Args),
    Sweep(cmd::sweep::Args),
    Verify(cmd::verify::Args),
    Repair(cmd::repair::Args),
    Dump(cmd::dump::Args),
    Export(cmd::export::Args),
    Import(cmd::import::Args),
    Resize(cmd::resize::Args),
    Rm(cmd::rm::Args),
    Demo(cmd::demo::Args),
    Bench(Box<cmd::bench::Args>),
    Completions(cmd::completions::Args),
    Man(cmd::man::Args),
}
