//! `slipring import`.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use anyhow::Context;
use serde::Serialize;
use slipring::Inspector;

use super::QueueArg;
use super::shape::Shape;
use crate::exit::Code;
use crate::output::{Output, complain};
use crate::record::hex;
use crate::signals;
use crate::stream::{Interruptible, Progress, stopped};

/// Make a queue from an export
///
/// Its messages have the sequences they had, its groups are where they were. Options that are not given are those of the
/// queue that was exported. A damaged export makes no queue.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where from; - for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    queue: QueueArg,
    /// Make a queue from what is not damaged, and say on stderr what is
    #[arg(long)]
    keep_going: bool,
    #[command(flatten)]
    shape: Shape,
    /// Print what was made as one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct View {
    id: String,
    messages: u64,
    groups: u64,
    skipped: Vec<SkippedView>,
}

#[derive(Serialize)]
struct SkippedView {
    why: String,
    bytes: u64,
}

/// Runs it.
pub fn run(args: &Args) -> anyhow::Result<Code> {
    signals::install()?;
    let mut progress = Progress::new("imported");
    let stream: Box<dyn Read> = if args.file.as_os_str() == "-" {
        Box::new(io::stdin().lock())
    } else {
        let file = File::open(&args.file);
        Box::new(file.with_context(|| args.file.display().to_string())?)
    };
    let options = args.shape.options();
    let mut show = |done, all| progress.show(done, all);
    let imported = options.import(
        &args.queue.queue,
        Interruptible(stream),
        args.keep_going,
        &mut show,
    );
    let imported = imported.map_err(stopped)?;
    progress.end();
    let skipped: Vec<_> = imported
        .skipped
        .iter()
        .map(|part| SkippedView {
            why: part.why.to_string(),
            bytes: part.bytes,
        })
        .collect();
    for SkippedView { why, bytes } in &skipped {
        complain(&format!("{why}; passed over {bytes} bytes"));
    }
    let code = if skipped.is_empty() {
        Code::Success
    } else {
        Code::Damaged
    };
    if args.json {
        let mut output = Output::stdout()?;
        output.json(&View {
            id: hex(&Inspector::open(&args.queue.queue)?.id()),
            messages: imported.messages,
            groups: imported.groups,
            skipped,
        })?;
        output.flush()?;
    }
    Ok(code)
}
