//! `slipring consume`.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use slipring::{ClaimError, Consumer, DEFAULT_GROUP, Delivery};

use super::settle::{self, Settled, Way};
use super::{QueueArg, find_group};
use crate::exit::Code;
use crate::output::{self, Output, Stopped};
use crate::record::Style;
use crate::signals;
use crate::template::{self, Template};
use crate::units::parse_duration;

/// Receive messages, print them or run a command for each, and ack them
///
/// A message is acked after it has been written, so a crash in between shows it again rather than losing it. Without
/// --count, --drain or --timeout it goes on for ever.
///
/// With --exec, a shell runs CMD with the message on its standard input, and SLIPRING_SEQUENCE, SLIPRING_COUNT (1 at
/// first), SLIPRING_KIND, SLIPRING_KEY, SLIPRING_TIMESTAMP (ns since 1970) and SLIPRING_GROUP in its environment. Exit
/// code 0 acks the message. Anything else gives it back: it comes again, here or at another consumer, with a higher
/// count.
///
/// On SIGINT or SIGTERM the message in hand is finished or given back, and the queue is left in order. A command that
/// runs is waited for (a terminal's Ctrl-C reaches it, too). A second signal ends it at once; what it held goes to another
/// consumer then.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    queue: QueueArg,
    /// The group to consume in
    #[arg(short, long, value_name = "GROUP", default_value = DEFAULT_GROUP)]
    group: String,
    /// Stop after so many messages; with --exec, given back ones included
    #[arg(short = 'n', long, value_name = "N")]
    count: Option<u64>,
    /// Give up when no message has come for so long: 500ms, 2s, 1m
    #[arg(short, long, value_name = "TIME", value_parser = parse_duration)]
    timeout: Option<Duration>,
    /// Stop when no message is left to claim
    #[arg(short, long, conflicts_with = "timeout")]
    drain: bool,
    /// Run CMD for each message; exit code 0 acks it, anything else gives it back
    #[arg(short, long, value_name = "CMD", conflicts_with_all = ["format", "json", "null"])]
    exec: Option<String>,
    #[arg(short, long, value_name = "TEMPLATE", help = template::SHORT, long_help = template::HELP)]
    format: Option<Template>,
    /// Print each message as a JSON object on a line of its own
    ///
    /// `payload` if it is UTF-8, else `payload_hex`.
    #[arg(long, conflicts_with = "format")]
    json: bool,
    /// Print a NUL byte after each message, not a newline
    #[arg(short = '0', long, conflicts_with_all = ["format", "json"])]
    null: bool,
}

/// How many messages ended how.
#[derive(Debug, Default)]
struct Tally {
    handled: u64,
    given_back: u64,
}

/// Runs it.
pub fn run(args: &Args) -> anyhow::Result<Code> {
    signals::install()?;
    let queue = args.queue.open()?;
    let path: &PathBuf = &args.queue.queue;
    let group = find_group(&queue, path, &args.group)?;
    let consumer = group
        .consumer()
        .with_context(|| format!("{}: group {:?}", path.display(), args.group))?;
    let mut way = match &args.exec {
        Some(command) => Way::Run(command),
        None => Way::Print(
            Style::choose(args.format.as_ref(), args.json, args.null),
            Output::stdout()?,
        ),
    };
    consume(args, &consumer, &mut way)
        .with_context(|| format!("{}: group {:?}", path.display(), args.group))
}

fn consume(args: &Args, consumer: &Consumer, way: &mut Way<'_>) -> anyhow::Result<Code> {
    let mut tally = Tally::default();
    while args.count.is_none_or(|count| tally.handled < count) {
        let Some(delivery) = next(args, consumer, way)? else {
            // A count not reached is something to tell the caller, an empty queue alone is not.
            return match args.count {
                Some(count) => Err(ClaimError::Empty)
                    .with_context(|| format!("{} of {count} messages", tally.handled)),
                None => Ok(Code::Success),
            };
        };
        let sequence = delivery.sequence();
        match settle::settle(delivery, &args.group, way)? {
            Settled::Acked => {}
            Settled::GivenBack => tally.given_back += 1,
            Settled::Stale => output::complain(&format!(
                "message {sequence} was taken from this consumer before it could ack: it may come twice"
            )),
        }
        tally.handled += 1;
    }
    if tally.given_back > 0 {
        bail!(
            "--exec failed for {} of {} messages: given back",
            tally.given_back,
            tally.handled
        );
    }
    Ok(Code::Success)
}

/// The next message, waiting in slices that notice a signal; `None` if none came and --drain asks for that.
fn next<'c>(
    args: &Args,
    consumer: &'c Consumer,
    way: &Way<'_>,
) -> anyhow::Result<Option<Delivery<'c>>> {
    let deadline = args
        .timeout
        .and_then(|timeout| Instant::now().checked_add(timeout));
    loop {
        if signals::caught().is_some() {
            return Err(Stopped.into());
        }
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let slice = left.unwrap_or(signals::SLICE).min(signals::SLICE);
        match consumer.recv_timeout(slice) {
            // A slice is long enough to notice and clear up after a consumer that died with messages in its hands.
            Err(ClaimError::TimedOut) if args.drain => return Ok(None),
            Err(ClaimError::TimedOut) if left != Some(slice) => {
                if let Way::Print(_, output) = way {
                    output.check_reader()?;
                }
            }
            other => return Ok(Some(other?)),
        }
    }
}
