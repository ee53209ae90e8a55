//! `slipring consume`.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use slipring::{ClaimError, Consumer, DEFAULT_GROUP, Delivery, GroupStats};

use super::lease::Lease;
use super::settle::{self, Settled, Verdict, Way};
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
/// first), SLIPRING_KIND, SLIPRING_KEY, SLIPRING_TIMESTAMP (ns since 1970) and SLIPRING_GROUP in its environment; for a
/// message in a dead-letter queue also SLIPRING_DEAD_QUEUE (the id of the queue it comes from), _GROUP, _SEQUENCE,
/// _TIMESTAMP, _DELIVERIES, _CAUSE (rejected or too-many-deliveries) and _REASON.
///
/// Exit code 0 acks the message. 100 rejects it as no good, whoever gets it: it goes to the group's dead-letter queue, or
/// is parked, with "command exited with 100" as the reason. Anything else gives it back: it comes again, here or at
/// another consumer, with a higher count, until the deliveries that the group allows are used up; then it is dead, too. In
/// a group without such a limit it comes again for ever, but for --drain: there a run tries each message once, and gives
/// back at its end those whose command failed; in an exclusive group, where nothing may go ahead of a message that failed,
/// the run ends there.
///
/// In a group with an ack time-out, a message stays this consumer's while its command runs.
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
    ///
    /// With --exec, and no limit on deliveries, those that this run has failed on are not claimed again.
    #[arg(short, long, conflicts_with = "timeout")]
    drain: bool,
    /// Run CMD for each message; exit code 0 acks it, 100 rejects it, anything else gives it back
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

/// Runs it.
pub fn run(args: &Args) -> anyhow::Result<Code> {
    signals::install()?;
    let queue = args.queue.open()?;
    let path: &PathBuf = &args.queue.queue;
    let group = find_group(&queue, path, &args.group)?;
    let consumer = group
        .consumer()
        .with_context(|| format!("{}: group {:?}", path.display(), args.group))?;
    let mut stats = queue.stats().groups.into_iter();
    let terms = stats.find(|found| found.name == args.group);
    let way = match &args.exec {
        Some(command) => Way::Run(command),
        None => Way::Print(
            Style::choose(args.format.as_ref(), args.json, args.null),
            Output::stdout()?,
        ),
    };
    Run::new(args, &consumer, way, &terms.unwrap_or_default())
        .finish()
        .with_context(|| format!("{}: group {:?}", path.display(), args.group))
}

/// One run, and how many deliveries ended how.
struct Run<'a> {
    args: &'a Args,
    consumer: &'a Consumer,
    way: Way<'a>,
    lease: Lease,
    exclusive: bool,
    /// Tries each message once: it would not come to an end otherwise.
    tries_once: bool,
    /// Failed, and given back at the end.
    aside: Vec<Delivery<'a>>,
    handled: u64,
    given_back: u64,
}

impl<'a> Run<'a> {
    fn new(args: &'a Args, consumer: &'a Consumer, way: Way<'a>, terms: &GroupStats) -> Self {
        Self {
            args,
            consumer,
            way,
            lease: Lease::new(terms.ack_timeout),
            exclusive: terms.exclusive,
            tries_once: args.drain && terms.max_deliveries.is_none(),
            aside: Vec::new(),
            handled: 0,
            given_back: 0,
        }
    }

    fn finish(mut self) -> anyhow::Result<Code> {
        let ended = self.consume();
        for delivery in std::mem::take(&mut self.aside) {
            settle(delivery, Verdict::Failed)?;
        }
        ended?;
        if self.given_back > 0 {
            bail!(
                "--exec failed for {} of {} deliveries: given back",
                self.given_back,
                self.handled
            );
        }
        Ok(Code::Success)
    }

    fn consume(&mut self) -> anyhow::Result<()> {
        while self.args.count.is_none_or(|count| self.handled < count) {
            let Some(delivery) = self.next()? else {
                // A count not reached is something to tell the caller, an empty queue alone is not.
                return match self.args.count {
                    Some(count) => Err(ClaimError::Empty)
                        .with_context(|| format!("{} of {count} messages", self.handled)),
                    None => Ok(()),
                };
            };
            // Set aside, and lost since the queue gave it to another: there is no end in that.
            if self.is_aside(delivery.sequence()) {
                return Ok(());
            }
            let Self {
                way, lease, aside, ..
            } = self;
            let verdict = settle::handle(&delivery, &self.args.group, way, lease, aside)?;
            self.handled += 1;
            let once = self.tries_once && verdict == Verdict::Failed;
            self.given_back += u64::from(verdict == Verdict::Failed);
            if once && !self.exclusive {
                self.aside.push(delivery);
                continue;
            }
            settle(delivery, verdict)?;
            if once {
                return Ok(());
            }
        }
        Ok(())
    }

    fn is_aside(&self, sequence: u64) -> bool {
        let mut aside = self.aside.iter();
        aside.any(|delivery| delivery.sequence() == sequence)
    }

    /// The next message, waiting in slices that notice a signal; `None` if none came and --drain asks for that.
    fn next(&mut self) -> anyhow::Result<Option<Delivery<'a>>> {
        // A slice is long enough to notice and clear up after a consumer that died with messages in its hands.
        let patience = if self.args.drain {
            Some(signals::SLICE)
        } else {
            self.args.timeout
        };
        let deadline = patience.and_then(|patience| Instant::now().checked_add(patience));
        loop {
            if signals::caught().is_some() {
                return Err(Stopped.into());
            }
            self.lease.prolong(&self.aside);
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let mut slice = left.unwrap_or(signals::SLICE).min(signals::SLICE);
            if !self.aside.is_empty() {
                slice = self.lease.rest().unwrap_or(slice).min(slice);
            }
            match self.consumer.recv_timeout(slice) {
                Err(ClaimError::TimedOut) if left != Some(slice) => {
                    if let Way::Print(_, output) = &self.way {
                        output.check_reader()?;
                    }
                }
                Err(ClaimError::TimedOut) if self.args.drain => return Ok(None),
                other => return Ok(Some(other?)),
            }
        }
    }
}

fn settle(delivery: Delivery<'_>, verdict: Verdict) -> anyhow::Result<()> {
    let sequence = delivery.sequence();
    match settle::settle(delivery, verdict)? {
        Settled::Stale => output::complain(&format!(
            "message {sequence} was taken from this consumer before it could settle it: it may come twice"
        )),
        Settled::InTime if verdict == Verdict::NoGood => {
            output::complain(&format!("message {sequence} rejected: {}", settle::REASON));
        }
        Settled::InTime => {}
    }
    Ok(())
}
