//! `slipring rm`.

use std::path::PathBuf;

use slipring::{OpenErrorKind, Queue};

use crate::exit::{self, Code};

/// Remove queues
///
/// Who is attached keeps the queue until detaching; the name is free at once. A file that was never a queue is left
/// alone.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Bare names, or paths
    #[arg(value_name = "QUEUE", required = true)]
    queues: Vec<PathBuf>,
    /// Say nothing about those that do not exist
    #[arg(short, long)]
    force: bool,
}

/// Runs it.
pub fn run(args: &Args) -> anyhow::Result<Code> {
    let mut code = Code::Success;
    for queue in &args.queues {
        match Queue::unlink(queue) {
            Ok(()) => {}
            Err(error) if args.force && matches!(error.kind(), OpenErrorKind::NotFound) => {}
            // The others are removed all the same; the last failure decides.
            Err(error) => code = exit::explain(&error.into()),
        }
    }
    Ok(code)
}
