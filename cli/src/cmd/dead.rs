//! `slipring dead`.

use clap::Subcommand;
use serde::Serialize;
use slipring::{DEFAULT_GROUP, DeadLetter, Group, GroupError, Inspector, Peeked, Queue};

use super::{QueueArg, find_group};
use crate::dead_letter::cause_name;
use crate::exit::{self, Code};
use crate::output::Output;
use crate::record::{Payload, preview};
use crate::table::Table;
use crate::units;

/// List, retry and discard parked messages
///
/// A message that was delivered too often, or rejected, goes to its group's dead-letter queue, which is consumed like any
/// queue. Without one, or if that has no room, it is parked where it is: nobody gets it, and one lap of the queue later it
/// is in producers' way, until somebody decides on it here.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List parked messages, oldest first
    List(List),
    /// Give parked messages back to their group, as if never delivered
    Retry(Decide),
    /// Drop parked messages for good
    Discard(Decide),
}

#[derive(Debug, clap::Args)]
struct List {
    #[command(flatten)]
    queue: QueueArg,
    /// Only of this group
    #[arg(short, long, value_name = "GROUP")]
    group: Option<String>,
    /// Print one JSON array
    ///
    /// `payload` if it is UTF-8, else `payload_hex`; neither if it cannot be read.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Decide {
    #[command(flatten)]
    queue: QueueArg,
    /// Sequences, as `slipring dead list` shows them
    #[arg(value_name = "SEQ", required_unless_present = "all")]
    sequences: Vec<u64>,
    /// The group they are parked in
    #[arg(short, long, value_name = "GROUP", default_value = DEFAULT_GROUP)]
    group: String,
    /// All that are parked in the group
    #[arg(long, conflicts_with = "sequences")]
    all: bool,
}

/// Runs it.
pub fn run(args: &Args) -> anyhow::Result<Code> {
    match &args.action {
        Action::List(args) => list(args),
        Action::Retry(args) => decide(args, Group::retry, "given back"),
        Action::Discard(args) => decide(args, Group::discard, "discarded"),
    }
}

/// A parked message, and what could be read of it.
struct Parked {
    letter: DeadLetter,
    payload: Option<Vec<u8>>,
}

#[derive(Serialize)]
struct View<'a> {
    group: &'a str,
    sequence: u64,
    deliveries: u16,
    cause: &'static str,
    reason: &'a str,
    timestamp_ns: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    length: Option<usize>,
    #[serde(flatten)]
    payload: Option<Payload<'a>>,
}

fn list(args: &List) -> anyhow::Result<Code> {
    let queue = args.queue.open()?;
    let groups = match &args.group {
        Some(name) => vec![find_group(&queue, &args.queue.queue, name)?],
        None => with_dead(&queue),
    };
    let inspector = Inspector::open(&args.queue.queue)?;
    let letters = groups.iter().flat_map(Group::dead_letters);
    let parked: Vec<_> = letters
        .map(|letter| Parked {
            payload: match inspector.peek(letter.sequence) {
                Peeked::Message { payload, .. } => Some(payload),
                _ => None,
            },
            letter,
        })
        .collect();
    let mut output = Output::stdout()?;
    if args.json {
        let views: Vec<_> = parked.iter().map(View::from).collect();
        output.json(&views)?;
    } else {
        output.line(table(&parked))?;
    }
    output.flush()?;
    Ok(Code::Success)
}

/// To ask a group is to join it for a moment, which only those need that have something to tell.
fn with_dead(queue: &Queue) -> Vec<Group> {
    let stats = queue.stats();
    let mut groups = queue.groups();
    groups.retain(|group| {
        let mut found = stats.groups.iter();
        found.any(|found| found.name == group.name() && found.dead > 0)
    });
    groups
}

impl<'a> From<&'a Parked> for View<'a> {
    fn from(Parked { letter, payload }: &'a Parked) -> Self {
        Self {
            group: &letter.group,
            sequence: letter.sequence,
            deliveries: letter.deliveries,
            cause: cause_name(letter.cause),
            reason: &letter.reason,
            timestamp_ns: letter.timestamp,
            length: payload.as_ref().map(Vec::len),
            payload: payload.as_deref().map(Into::into),
        }
    }
}

fn table(parked: &[Parked]) -> String {
    let table = Table::of(parked)
        .left("group", |found| found.letter.group.clone())
        .right("sequence", |found| found.letter.sequence.to_string())
        .right("deliveries", |found| found.letter.deliveries.to_string())
        .right("age", |found| units::age(found.letter.timestamp))
        .left("cause", |found| cause_name(found.letter.cause).to_owned())
        .left("reason", |found| match found.letter.reason.as_str() {
            "" => "-".to_owned(),
            reason => preview(reason.as_bytes()),
        })
        .left("payload", |found| match &found.payload {
            Some(payload) => preview(payload),
            None => "?".to_owned(),
        });
    table.text()
}

type Decision = fn(&Group, u64) -> Result<(), GroupError>;

fn decide(args: &Decide, decision: Decision, what: &str) -> anyhow::Result<Code> {
    let queue = args.queue.open()?;
    let group = find_group(&queue, &args.queue.queue, &args.group)?;
    let sequences = if args.all {
        let parked = group.dead_letters();
        parked.iter().map(|letter| letter.sequence).collect()
    } else {
        args.sequences.clone()
    };
    let mut code = Code::Success;
    let mut decided = 0;
    for sequence in sequences {
        match decision(&group, sequence) {
            Ok(()) => decided += 1,
            // Somebody else has decided meanwhile.
            Err(GroupError::NotDead { .. }) if args.all => {}
            // The others are decided on all the same; the last failure decides how it ends.
            Err(error) => code = exit::explain(&in_group(args, error)),
        }
    }
    let mut output = Output::stdout()?;
    output.line(format_args!("{what}: {decided}"))?;
    output.flush()?;
    Ok(code)
}

fn in_group(args: &Decide, error: GroupError) -> anyhow::Error {
    let (queue, group) = (args.queue.name(), &args.group);
    anyhow::Error::from(error).context(format!("{queue}: group {group:?}"))
}
