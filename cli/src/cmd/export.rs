//! `slipring export`.

use std::fs::File;
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::Serialize;
use slipring::{Exported, Inspector, PendingRecovery};

use super::QueueArg;
use crate::exit::Code;
use crate::output::{Output, complain};
use crate::signals;
use crate::stream::{Interruptible, Progress, stopped};

/// Write a queue's messages and its groups' positions to a stream
///
/// Every message that some group has not settled, and how far each group is: settled out of order, delivered how often,
/// parked and why. Of a queue without groups, all that the ring still holds. Others may work on it meanwhile; what they
/// settle then may come again after an import. Groups that vanish with their last consumer are left out.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    queue: QueueArg,
    /// Where to; - for standard output. A file appears when it is whole, in the place of one there may be
    #[arg(value_name = "FILE", default_value = "-")]
    file: PathBuf,
    /// Print what was written as one JSON object, on stderr if the export goes to standard output
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct View {
    messages: u64,
    groups: u64,
    bytes: u64,
    settled_meanwhile: u64,
    unfinished: u64,
    damaged: Vec<u64>,
    pending_recovery: Option<&'static str>,
}

/// Runs it.
pub fn run(args: &Args) -> anyhow::Result<Code> {
    signals::install()?;
    let inspector = Inspector::open(&args.queue.queue)?;
    let pending = inspector.pending_recovery();
    if let Some(pending) = pending {
        complain(&format!("{}: {pending}", args.queue.name()));
    }
    let mut progress = Progress::new("exported");
    let to_stdout = args.file.as_os_str() == "-";
    let exported = if to_stdout {
        let stream = Interruptible(io::stdout().lock());
        inspector.export(BufWriter::new(stream), &mut |done, all| {
            progress.show(done, all)
        })
    } else {
        let part = part_of(&args.file);
        let file = File::create(&part).with_context(|| part.display().to_string())?;
        let stream = Interruptible(&file);
        let done = inspector.export(BufWriter::new(stream), &mut |done, all| {
            progress.show(done, all)
        });
        let named = done.map_err(anyhow::Error::from).and_then(|exported| {
            let placed = file
                .sync_all()
                .and_then(|()| std::fs::rename(&part, &args.file));
            placed.with_context(|| args.file.display().to_string())?;
            Ok(exported)
        });
        if named.is_err() {
            let _gone_already = std::fs::remove_file(&part);
        }
        return finish_export(args, named?, pending, progress);
    };
    finish_export(args, exported.map_err(stopped)?, pending, progress)
}

fn finish_export(
    args: &Args,
    exported: Exported,
    pending: Option<PendingRecovery>,
    mut progress: Progress,
) -> anyhow::Result<Code> {
    progress.end();
    let code = if exported.damaged.is_empty() {
        Code::Success
    } else {
        Code::Damaged
    };
    for sequence in &exported.damaged {
        complain(&format!("message {sequence} is damaged, and not exported"));
    }
    if args.json {
        let mut output = if args.file.as_os_str() == "-" {
            Output::stderr()?
        } else {
            Output::stdout()?
        };
        output.json(&View {
            messages: exported.messages,
            groups: exported.groups,
            bytes: exported.bytes,
            settled_meanwhile: exported.settled_meanwhile,
            unfinished: exported.unfinished,
            damaged: exported.damaged,
            pending_recovery: pending.map(PendingRecovery::name),
        })?;
        output.flush()?;
    }
    Ok(code)
}

/// Where a file is written before it is whole.
fn part_of(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".part");
    name.into()
}
