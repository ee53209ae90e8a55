//! `slipring verify`.

use serde::Serialize;
use slipring::{PendingRecovery, Verification, verify};

use super::QueueArg;
use crate::exit::Code;
use crate::finding::{FindingView, code, summary};
use crate::output::Output;

/// Check that a queue's file keeps the rules
///
/// Reads only, and others may work on the queue meanwhile: what moves is looked at again, and only what stays wrong is told.
/// Each finding is damage; or was left by a process that died, for the next sweep to clear up; or cannot be told from a
/// paused process while the queue is in use. Payloads are not checked: version 1 of the format has no checksum for them.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    queue: QueueArg,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct View<'a> {
    queue: String,
    sound: bool,
    online: u64,
    messages: u64,
    payloads_checked: u64,
    findings: Vec<FindingView<'a>>,
    more_findings: u64,
    pending_recovery: Option<&'static str>,
}

/// Runs it.
pub fn run(args: &Args) -> anyhow::Result<Code> {
    let found = verify(&args.queue.queue)?;
    let mut output = Output::stdout()?;
    if args.json {
        output.json(&View::new(args.queue.name(), &found))?;
    } else {
        if let Some(pending) = found.pending_recovery {
            output.line(pending)?;
        }
        for finding in &found.findings {
            output.line(finding)?;
        }
        output.line(summary(&found))?;
    }
    output.flush()?;
    Ok(code(&found))
}

impl<'a> View<'a> {
    fn new(queue: String, found: &'a Verification) -> Self {
        Self {
            queue,
            sound: found.is_sound(),
            online: found.online,
            messages: found.messages,
            payloads_checked: found.payloads,
            findings: found.findings.iter().map(Into::into).collect(),
            more_findings: found.more_findings,
            pending_recovery: found.pending_recovery.map(PendingRecovery::name),
        }
    }
}
