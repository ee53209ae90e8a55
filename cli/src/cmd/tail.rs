//! `slipring tail`.

use std::time::{Duration, Instant, SystemTime};

use anyhow::Context;
use slipring::{ClaimError, Inspector, Peeked, ReplayFrom, Replayed};

use super::QueueArg;
use crate::exit::Code;
use crate::output::{self, Output, Stopped};
use crate::record::{Record, Style};
use crate::signals;
use crate::template::{self, Template};
use crate::units::parse_instant;

/// Watch messages go by without claiming them
///
/// Reads only: it holds nobody back, and nobody knows that it looks. So messages may be overwritten before it has seen
/// them; it says on stderr which. A placeholder {count} is 0 and {group} is empty here.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    queue: QueueArg,
    /// Where to start: oldest, latest, a sequence, or a time [default: latest; with --no-follow, oldest]
    ///
    /// A time as RFC 3339 has it, 2026-01-31T12:00:00Z, or so long ago: 5m, 90s, 1.5h. What the ring still holds of it is
    /// shown.
    #[arg(long, value_name = "WHERE", value_parser = parse_from)]
    from: Option<From>,
    /// Stop after so many messages
    #[arg(short = 'n', long, value_name = "N")]
    count: Option<u64>,
    /// Stop at the end of what is there
    #[arg(long)]
    no_follow: bool,
    #[arg(short, long, value_name = "TEMPLATE", help = template::SHORT, long_help = template::HELP)]
    format: Option<Template>,
    /// Print each message as a JSON object on a line of its own
    #[arg(long, conflicts_with = "format")]
    json: bool,
    /// Print a NUL byte after each message, not a newline
    #[arg(short = '0', long, conflicts_with_all = ["format", "json"])]
    null: bool,
}

#[derive(Clone, Copy, Debug)]
enum From {
    Oldest,
    Latest,
    Sequence(u64),
    Time(SystemTime),
}

fn parse_from(text: &str) -> Result<From, String> {
    match text {
        "oldest" => Ok(From::Oldest),
        "latest" => Ok(From::Latest),
        other => other
            .parse()
            .map(From::Sequence)
            .or_else(|_| parse_instant(other).map(From::Time))
            .map_err(|why| {
                format!("{text:?} is neither oldest, latest, a sequence nor a time: {why}")
            }),
    }
}

/// How long to wait before looking again: less while messages come.
const PAUSE: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(50));

/// Runs it.
pub fn run(args: &Args) -> anyhow::Result<Code> {
    signals::install()?;
    let inspector = Inspector::open(&args.queue.queue)?;
    let mut view = View {
        next: start(args, &inspector)?,
        inspector,
        style: Style::choose(args.format.as_ref(), args.json, args.null),
        output: Output::stdout()?,
        left: args.count,
    };
    let end = args.no_follow.then(|| view.inspector.tail());
    let mut pause = PAUSE.0;
    loop {
        let before = view.next;
        view.show_available(end)?;
        view.output.flush()?;
        view.output.check_reader()?;
        if view.left == Some(0) {
            return Ok(Code::Success);
        }
        if end.is_some() {
            return view.end(args);
        }
        pause = if view.next == before {
            (pause * 2).min(PAUSE.1)
        } else {
            PAUSE.0
        };
        if !signals::sleep_until(Instant::now() + pause) {
            return Err(Stopped.into());
        }
    }
}

fn start(args: &Args, inspector: &Inspector) -> anyhow::Result<u64> {
    let default = if args.no_follow {
        From::Oldest
    } else {
        From::Latest
    };
    Ok(match args.from.unwrap_or(default) {
        From::Oldest => inspector.oldest(),
        From::Latest => inspector.tail(),
        From::Sequence(sequence) => sequence,
        From::Time(time) => {
            let mut replay = inspector.replay(ReplayFrom::Time(time))?;
            let first = replay.find_map(|found| match found {
                Replayed::Message(message) => Some(message.sequence),
                _ => None,
            });
            first.unwrap_or(replay.position())
        }
    })
}

struct View {
    inspector: Inspector,
    style: Style,
    output: Output,
    /// The sequence to show next.
    next: u64,
    /// Messages still to show.
    left: Option<u64>,
}

impl View {
    /// Shows what is there now, or, with an end, what is there before it.
    fn show_available(&mut self, end: Option<u64>) -> anyhow::Result<()> {
        while self.left != Some(0) && end.is_none_or(|end| self.next < end) {
            if signals::caught().is_some() {
                return Err(Stopped.into());
            }
            match self.inspector.peek(self.next) {
                Peeked::Message {
                    payload,
                    kind,
                    key,
                    timestamp,
                    dead_letter,
                } => {
                    let record = Record {
                        payload: &payload,
                        sequence: self.next,
                        count: None,
                        kind,
                        key,
                        timestamp,
                        group: None,
                        dead_letter: dead_letter.as_deref(),
                    };
                    self.style.write(&record, self.output.buffer())?;
                    self.output.flush_if_long()?;
                    self.left = self.left.map(|left| left - 1);
                }
                // Taken by a producer that is not done yet.
                Peeked::NotYet if end.is_none() => return Ok(()),
                Peeked::NotYet | Peeked::Hole => {}
                Peeked::Overwritten => {
                    self.skip_overwritten(end)?;
                    continue;
                }
                _ => output::complain(&format!("message {} is damaged", self.next)),
            }
            self.next += 1;
        }
        Ok(())
    }

    fn end(&self, args: &Args) -> anyhow::Result<Code> {
        let (Some(left), Some(count)) = (self.left, args.count) else {
            return Ok(Code::Success);
        };
        let (queue, seen) = (args.queue.name(), count - left);
        Err(ClaimError::Empty).with_context(|| format!("{queue}: {seen} of {count} messages"))
    }

    fn skip_overwritten(&mut self, end: Option<u64>) -> anyhow::Result<()> {
        self.output.flush()?;
        let first = self.next;
        let oldest = self.inspector.oldest().max(first + 1);
        self.next = end.map_or(oldest, |end| oldest.min(end));
        let last = self.next - 1;
        output::complain(&if first == last {
            format!("message {first} was overwritten before it could be read")
        } else {
            format!("messages {first} to {last} were overwritten before they could be read")
        });
        Ok(())
    }
}
