//! `slipring publish`.

use std::ffi::OsString;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use serde::Serialize;
use slipring::{Durability, FullPolicy, Message, Producer, PublishError, Queue};

use super::{QueueArg, not_created, participant};
use crate::exit::Code;
use crate::input::Pieces;
use crate::output::{Output, Stopped};
use crate::signals;
use crate::units::{parse_duration, parse_rate, parse_size};

/// Publish messages: arguments, lines of stdin, files, or generated ones
///
/// Each MESSAGE is one message. Without any, each line of standard input is one, without its newline; a last line may
/// lack it.
///
/// On a full queue it waits, as long as --timeout says, unless the queue was made to reject or to drop its oldest.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    queue: QueueArg,
    /// Messages, any bytes
    #[arg(value_name = "MESSAGE", conflicts_with_all = ["file", "size"])]
    messages: Vec<OsString>,
    /// Publish a whole file as one message; repeatable; - is standard input
    #[arg(short, long, value_name = "FILE", conflicts_with = "size")]
    file: Vec<PathBuf>,
    /// Pieces of standard input end with a NUL byte, not a newline
    #[arg(short = '0', long, conflicts_with_all = ["messages", "file", "size", "count"])]
    null: bool,
    /// Publish everything N times; without MESSAGE and --file, generate N messages
    #[arg(short = 'n', long, value_name = "N")]
    count: Option<u64>,
    /// Bytes of a generated message [default: 64]
    #[arg(short, long, value_name = "SIZE", value_parser = parse_size)]
    size: Option<u64>,
    /// Messages per second, at most: each has its time, and one that is late does not delay the next
    #[arg(short, long, value_name = "R", value_parser = parse_rate)]
    rate: Option<f64>,
    /// A number to tell types of messages apart
    #[arg(short, long, value_name = "K", default_value_t = 0)]
    kind: u16,
    /// A hash of the message's key
    #[arg(long, value_name = "KEY", default_value_t = 0)]
    key: u32,
    /// Wait so long at most for room: 500ms, 2s, 1m
    #[arg(short, long, value_name = "TIME", value_parser = parse_duration)]
    timeout: Option<Duration>,
    /// Return only when all of it is on the disk; the queue must be made with --durability
    #[arg(long)]
    durable: bool,
    /// Create the queue, with default options, if there is none
    #[arg(short, long)]
    create: bool,
    /// Print the sequence of each message
    #[arg(short, long, conflicts_with = "json")]
    verbose: bool,
    /// Print one JSON object at the end: how many, the first and the last sequence
    #[arg(long)]
    json: bool,
}

/// Where messages come from.
enum Source<'a> {
    Arguments(&'a [OsString]),
    Files(&'a [PathBuf]),
    Generated(usize),
    Pieces(Pieces),
}

#[derive(Debug, Default, Serialize)]
struct Summary {
    published: u64,
    first: Option<u64>,
    last: Option<u64>,
}

/// Runs it.
pub fn run(args: &Args) -> anyhow::Result<Code> {
    signals::install()?;
    let options = Queue::options().name(participant());
    let queue = if args.create {
        options
            .open_or_create(&args.queue.queue)
            .map_err(not_created)?
    } else {
        options.open(&args.queue.queue)?
    };
    let mut output = Output::stdout()?;
    let mut summary = Summary::default();
    let ended = publish_all(args, &queue, &mut summary, &mut output);
    // Also after a failure: how far it came is what the caller has to know.
    if args.json {
        output.json(&summary)?;
    }
    output.flush()?;
    ended.with_context(|| {
        let (name, published) = (args.queue.name(), summary.published);
        format!("{name}: {published} published, then")
    })?;
    Ok(Code::Success)
}

fn publish_all(
    args: &Args,
    queue: &Queue,
    summary: &mut Summary,
    output: &mut Output,
) -> anyhow::Result<()> {
    let mut producer = queue.producer()?;
    if args.durable && queue.durability() == Durability::None {
        return Err(PublishError::NotDurable.into());
    }
    let mut source = Source::choose(args, queue)?;
    let started = Instant::now();
    let mut payload = Vec::new();
    for number in 0.. {
        if signals::caught().is_some() {
            return Err(Stopped.into());
        }
        payload.clear();
        if !source.next(number, args.count, queue.max_message(), &mut payload)? {
            break;
        }
        if let Some(rate) = args.rate {
            // Without it, a pipe would show everything at the end.
            output.flush()?;
            let due = Duration::try_from_secs_f64(number as f64 / rate).unwrap_or(Duration::MAX);
            wait_until(started, due)?;
        }
        let message = Message::new(&payload).kind(args.kind).key(args.key);
        let sequence = send(&mut producer, queue.full_policy(), message, args.timeout)?;
        summary.published += 1;
        summary.first = summary.first.or(Some(sequence));
        summary.last = Some(sequence);
        if args.verbose {
            output.line(sequence)?;
        }
    }
    if args.durable {
        producer.flush()?;
    }
    Ok(())
}

fn wait_until(started: Instant, due: Duration) -> anyhow::Result<()> {
    let ended_well = started.checked_add(due).is_some_and(signals::sleep_until);
    if ended_well {
        Ok(())
    } else {
        Err(Stopped.into())
    }
}

/// Publishes one message; a wait for room is cut in slices that notice a signal.
fn send(
    producer: &mut Producer,
    policy: FullPolicy,
    message: Message<'_>,
    timeout: Option<Duration>,
) -> anyhow::Result<u64> {
    let full = match producer.try_publish(message) {
        Err(rejected) if rejected.reason == PublishError::Full => rejected.reason,
        Err(rejected) => return Err(rejected.reason.into()),
        Ok(sequence) => return Ok(sequence),
    };
    if policy == FullPolicy::Reject && timeout.is_none() {
        return Err(full.into());
    }
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    loop {
        if signals::caught().is_some() {
            return Err(Stopped.into());
        }
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let slice = left.unwrap_or(signals::SLICE).min(signals::SLICE);
        match producer.publish_timeout(message, slice) {
            Err(PublishError::TimedOut) if left != Some(slice) => {}
            other => return Ok(other?),
        }
    }
}

impl<'a> Source<'a> {
    fn choose(args: &'a Args, queue: &Queue) -> anyhow::Result<Self> {
        if !args.messages.is_empty() {
            return Ok(Self::Arguments(&args.messages));
        }
        if !args.file.is_empty() {
            return Ok(Self::Files(&args.file));
        }
        if args.count.is_some() || args.size.is_some() {
            let size = usize::try_from(args.size.unwrap_or(64)).context("--size")?;
            let max = queue.max_message();
            if size as u64 > max {
                let length = size as u64;
                return Err(PublishError::TooLong { length, max }.into());
            }
            return Ok(Self::Generated(size));
        }
        let delimiter = if args.null { 0 } else { b'\n' };
        Pieces::stdin(Some(delimiter), queue.max_message()).map(Self::Pieces)
    }

    /// Appends message `number`; false if there is none.
    fn next(
        &mut self,
        number: u64,
        count: Option<u64>,
        longest: u64,
        payload: &mut Vec<u8>,
    ) -> anyhow::Result<bool> {
        let given = match self {
            Self::Pieces(pieces) => return pieces.next(payload),
            Self::Generated(_) => 1,
            Self::Arguments(messages) => messages.len(),
            Self::Files(files) => files.len(),
        } as u64;
        if number / given >= count.unwrap_or(1) {
            return Ok(false);
        }
        let index = usize::try_from(number % given).unwrap_or_default();
        match self {
            Self::Pieces(_) => {}
            Self::Generated(size) => {
                payload.extend_from_slice(format!("{number} ").as_bytes());
                payload.resize(*size, b'.');
            }
            Self::Arguments(messages) => {
                let message = messages.get(index).map(|message| message.as_bytes());
                payload.extend_from_slice(message.unwrap_or_default());
            }
            Self::Files(files) => {
                if let Some(file) = files.get(index) {
                    read_file(file, longest, payload)
                        .with_context(|| format!("reading {}", file.display()))?;
                }
            }
        }
        Ok(true)
    }
}

/// Reads a file, and no more of it than shows that it is too long.
fn read_file(file: &Path, longest: u64, payload: &mut Vec<u8>) -> anyhow::Result<()> {
    if file == Path::new("-") {
        // Nothing is a message, too: an empty one.
        let _empty = Pieces::stdin(None, longest)?.next(payload)?;
    } else {
        let limit = longest.saturating_add(1);
        std::fs::File::open(file)?
            .take(limit)
            .read_to_end(payload)?;
    }
    Ok(())
}
