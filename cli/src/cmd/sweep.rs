//! `slipring sweep`.

use serde::Serialize;
use slipring::{Inspector, ParticipantStats, Stats};

use super::QueueArg;
use crate::exit::Code;
use crate::output::Output;

/// Clear up after dead processes now
///
/// Nobody needs to: whoever attaches or waits does the same. Use it where nobody does.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    queue: QueueArg,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Cleared {
    participants: Vec<Dead>,
    holes: u64,
    claims: u64,
}

#[derive(Serialize)]
struct Dead {
    id: u16,
    pid: u64,
    name: String,
}

/// Runs it.
pub fn run(args: &Args) -> anyhow::Result<Code> {
    // Attaching sweeps already, so what is cleared shows only from outside.
    let inspector = Inspector::open(&args.queue.queue)?;
    let before = inspector.stats();
    args.queue.open()?.sweep();
    let cleared = compare(before, &inspector.stats());
    let mut output = Output::stdout()?;
    if args.json {
        output.json(&cleared)?;
    } else {
        show(&cleared, &mut output)?;
    }
    output.flush()?;
    Ok(Code::Success)
}

fn show(cleared: &Cleared, output: &mut Output) -> anyhow::Result<()> {
    for dead in &cleared.participants {
        output.line(format_args!("cleared process {} ({})", dead.pid, dead.name))?;
    }
    for (what, count) in [
        ("messages never finished", cleared.holes),
        ("messages given back", cleared.claims),
    ] {
        if count > 0 {
            output.line(format_args!("{what}: {count}"))?;
        }
    }
    if cleared.participants.is_empty() {
        output.line("no dead process")?;
    }
    Ok(())
}

fn compare(before: Stats, after: &Stats) -> Cleared {
    let same = |a: &ParticipantStats, b: &ParticipantStats| {
        (a.id, a.pid, a.attached_ns) == (b.id, b.pid, b.attached_ns)
    };
    let gone = |found: &ParticipantStats| !after.participants.iter().any(|left| same(left, found));
    let swept = after.swept.since(before.swept);
    let participants = before.participants.into_iter().filter(gone);
    Cleared {
        participants: participants
            .map(|found| Dead {
                id: found.id,
                pid: found.pid,
                name: found.name,
            })
            .collect(),
        holes: swept.holes,
        claims: swept.claims,
    }
}
