//! `slipring repair`.

use serde::Serialize;
use slipring::{Finding, Inspector, Severity, Verification, verify};

use super::QueueArg;
use crate::exit::Code;
use crate::finding::{FindingView, code, summary};
use crate::output::Output;

/// Clear up what dead processes left, and say what that was
///
/// What attaching does unasked: reservations that were never completed become holes, claims go back to their groups, halves
/// of groups are freed. No message is dropped by it. What is damaged stays as it is, and is told.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    queue: QueueArg,
    /// Say what would be cleared up, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct View<'a> {
    queue: String,
    dry_run: bool,
    cleared: Vec<FindingView<'a>>,
    left: Vec<FindingView<'a>>,
    holes: u64,
    claims: u64,
}

/// Runs it.
pub fn run(args: &Args) -> anyhow::Result<Code> {
    let before = verify(&args.queue.queue)?;
    // A queue that nobody can open has its damage told all the same.
    let openable = Inspector::open(&args.queue.queue);
    let (after, swept) = match &openable {
        Ok(inspector) if !args.dry_run => {
            let counted = inspector.stats().swept;
            args.queue.open()?.sweep();
            let swept = inspector.stats().swept.since(counted);
            (verify(&args.queue.queue)?, Some(swept))
        }
        _ => (before.clone(), None),
    };
    let still = |one: &&Finding| after.findings.iter().any(|left| left == *one);
    let leftovers = before.findings.iter();
    let leftovers = leftovers.filter(|one| one.severity == Severity::Leftover);
    let cleared: Vec<_> = leftovers
        .filter(|one| args.dry_run || !still(one))
        .collect();
    let left: Vec<_> = after
        .findings
        .iter()
        .filter(|one| !cleared.contains(one))
        .collect();
    let swept = swept.unwrap_or_default();
    let mut output = Output::stdout()?;
    if args.json {
        output.json(&View {
            queue: args.queue.name(),
            dry_run: args.dry_run,
            cleared: cleared.iter().map(|one| FindingView::from(*one)).collect(),
            left: left.iter().map(|one| FindingView::from(*one)).collect(),
            holes: swept.holes,
            claims: swept.claims,
        })?;
    } else {
        show(args, &cleared, &left, &after, &mut output)?;
        for (what, count) in [
            ("reservations made holes", swept.holes),
            ("messages given back", swept.claims),
        ] {
            if count > 0 {
                output.line(format_args!("{what}: {count}"))?;
            }
        }
    }
    output.flush()?;
    Ok(code(&after))
}

fn show(
    args: &Args,
    cleared: &[&Finding],
    left: &[&Finding],
    after: &Verification,
    output: &mut Output,
) -> anyhow::Result<()> {
    let done = if args.dry_run {
        "would clear up"
    } else {
        "cleared up"
    };
    for Finding {
        what,
        offset,
        found,
        ..
    } in cleared
    {
        output.line(format_args!("{done}: {what} at offset {offset}, {found}"))?;
    }
    for finding in left {
        output.line(format_args!("left as it is: {finding}"))?;
    }
    if cleared.is_empty() {
        output.line("nothing to clear up")?;
    }
    output.line(summary(after))
}
