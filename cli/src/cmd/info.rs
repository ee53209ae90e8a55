//! `slipring info`: what there is to know about a queue, for people and for programs. The tables are in `info_text`.

use std::io::{IsTerminal, stdout};
use std::time::{Duration, Instant};

use serde::Serialize;
use slipring::{GroupStats, Inspector, ParticipantStats, PendingRecovery, Stats};

use super::{QueueArg, policy_name, timestamps_name};
use crate::exit::Code;
use crate::output::{Output, Stopped};
use crate::record::hex;
use crate::signals;
use crate::units::parse_duration;

pub use super::info_text::group_table;
use super::info_text::page;
use super::obstacle::{Obstacle, obstacles};

/// Show a queue: its shape, groups and lag, and which process holds what
///
/// Reads only. The numbers are from slightly different moments, and counters of busy processes lag by up to 64.
/// A process that died is shown, with what it held, until somebody clears up after it, as whoever attaches or waits does.
/// When the queue is full, the page says which message holds producers back, and who has it.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    queue: QueueArg,
    /// Show it again and again, every second or so often as TIME says
    #[arg(
        short,
        long,
        value_name = "TIME",
        num_args = 0..=1,
        default_missing_value = "1s",
        value_parser = parse_duration
    )]
    watch: Option<Duration>,
    /// Print one JSON object on one line
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub fn run(args: &Args) -> anyhow::Result<Code> {
    let inspector = Inspector::open(&args.queue.queue)?;
    let mut output = Output::stdout()?;
    let Some(every) = args.watch else {
        show(args, &inspector, None, &mut output)?;
        return Ok(Code::Success);
    };
    signals::install()?;
    // Faster than anybody reads, it would only burn a core.
    let every = every.max(Duration::from_millis(50));
    let mut before: Option<(Instant, Stats)> = None;
    loop {
        let now = Instant::now();
        if !args.json && stdout().is_terminal() {
            output.buffer().extend_from_slice(b"\x1b[H\x1b[2J");
        } else if !args.json && before.is_some() {
            output.line("")?;
        }
        let since = before.as_ref();
        let stats = show(args, &inspector, since, &mut output)?;
        before = Some((now, stats));
        if !signals::sleep_until(now + every) {
            return Err(Stopped.into());
        }
    }
}

fn show(
    args: &Args,
    inspector: &Inspector,
    before: Option<&(Instant, Stats)>,
    output: &mut Output,
) -> anyhow::Result<Stats> {
    let stats = inspector.stats();
    if args.json {
        output.json(&View::new(&args.queue.name(), inspector, &stats))?;
    } else {
        let rate = before.map(|(at, before)| {
            let published = stats.published.saturating_sub(before.published);
            published as f64 / at.elapsed().as_secs_f64().max(1e-9)
        });
        output.line(page(&args.queue.name(), inspector, &stats, rate))?;
    }
    output.flush()?;
    Ok(stats)
}

/// A queue, as JSON.
#[derive(Serialize)]
struct View<'a> {
    queue: &'a str,
    id: String,
    created_ns: u64,
    when_full: &'static str,
    timestamps: &'static str,
    durability: String,
    durable_until: u64,
    sync_error: Option<i32>,
    recovery: Option<RecoveryView>,
    pending_recovery: Option<&'static str>,
    geometry: GeometryView,
    tail: u64,
    published: u64,
    aborted: u64,
    swept: SweptView,
    depth: u64,
    bytes_in_use: u64,
    full: Vec<Obstacle<'a>>,
    groups: Vec<GroupView<'a>>,
    participants: Vec<ParticipantView<'a>>,
}

#[derive(Serialize)]
struct GeometryView {
    capacity: u64,
    slot_size: u64,
    inline_max: u64,
    max_message: u64,
    arena_size: u64,
    segment_size: u64,
    segment_count: u64,
    max_groups: u32,
    max_participants: u32,
    first_sequence: u64,
    file_size: u64,
}

#[derive(Serialize)]
struct RecoveryView {
    epoch: u64,
    records: u64,
    torn: u64,
    missing: u64,
    clean: bool,
}

#[derive(Serialize)]
struct SweptView {
    participants: u64,
    holes: u64,
    claims: u64,
}

/// A group, as JSON.
#[derive(Serialize)]
pub struct GroupView<'a> {
    name: &'a str,
    exclusive: bool,
    ephemeral: bool,
    closing: bool,
    start: u64,
    floor: u64,
    lag: u64,
    ready: u64,
    in_flight: u64,
    dead: u64,
    members: u64,
    active: Option<u16>,
    delivered: u64,
    redelivered: u64,
    acked: u64,
    lost: u64,
    dead_lettered: u64,
    expired: u64,
    max_deliveries: Option<u8>,
    ack_timeout_ns: Option<u64>,
    dead_letters: Option<&'a str>,
    oldest: Option<u64>,
    oldest_age_ns: u64,
}

#[derive(Serialize)]
struct ParticipantView<'a> {
    id: u16,
    pid: u64,
    name: &'a str,
    alive: bool,
    attached_ns: u64,
    producer: bool,
    sole_producer: bool,
    groups: &'a [String],
    published: u64,
    writing: u64,
    holds: u64,
    oldest_held: Option<u64>,
    oldest_held_age_ns: u64,
    highest_count: u8,
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl<'a> View<'a> {
    fn new(queue: &'a str, inspector: &Inspector, stats: &'a Stats) -> Self {
        let geometry = inspector.geometry();
        let shape = geometry.shape();
        Self {
            queue,
            id: hex(&inspector.id()),
            created_ns: inspector.created_ns(),
            when_full: policy_name(inspector.full_policy()),
            timestamps: timestamps_name(inspector.timestamps()),
            durability: inspector.durability().to_string(),
            durable_until: stats.durable_until,
            sync_error: stats.sync_error,
            recovery: stats.recovery.map(|recovered| RecoveryView {
                epoch: recovered.epoch,
                records: recovered.records,
                torn: recovered.torn,
                missing: recovered.missing,
                clean: recovered.clean,
            }),
            pending_recovery: inspector.pending_recovery().map(PendingRecovery::name),
            geometry: GeometryView {
                capacity: shape.capacity,
                slot_size: shape.slot_size,
                inline_max: geometry.inline_max(),
                max_message: shape.max_message,
                arena_size: shape.arena_size,
                segment_size: geometry.segment_size(),
                segment_count: geometry.segment_count(),
                max_groups: shape.max_groups,
                max_participants: shape.max_participants,
                first_sequence: shape.first_sequence,
                file_size: stats.file_size,
            },
            tail: stats.tail,
            published: stats.published,
            aborted: stats.aborted,
            swept: SweptView {
                participants: stats.swept.participants,
                holes: stats.swept.holes,
                claims: stats.swept.claims,
            },
            depth: stats.depth,
            bytes_in_use: stats.bytes_in_use,
            full: obstacles(inspector, stats),
            groups: stats.groups.iter().map(GroupView::from).collect(),
            participants: stats.participants.iter().map(Into::into).collect(),
        }
    }
}

impl<'a> From<&'a GroupStats> for GroupView<'a> {
    fn from(group: &'a GroupStats) -> Self {
        Self {
            name: &group.name,
            exclusive: group.exclusive,
            ephemeral: group.ephemeral,
            closing: group.closing,
            start: group.start,
            floor: group.floor,
            lag: group.lag,
            ready: group.ready,
            in_flight: group.in_flight,
            dead: group.dead,
            members: group.members,
            active: group.active,
            delivered: group.delivered,
            redelivered: group.redelivered,
            acked: group.acked,
            lost: group.lost,
            dead_lettered: group.dead_lettered,
            expired: group.expired,
            max_deliveries: group.max_deliveries,
            ack_timeout_ns: group.ack_timeout.map(nanoseconds),
            dead_letters: group.dead_letters.as_deref(),
            oldest: group.oldest,
            oldest_age_ns: nanoseconds(group.oldest_age),
        }
    }
}

impl<'a> From<&'a ParticipantStats> for ParticipantView<'a> {
    fn from(participant: &'a ParticipantStats) -> Self {
        Self {
            id: participant.id,
            pid: participant.pid,
            name: &participant.name,
            alive: participant.alive,
            attached_ns: participant.attached_ns,
            producer: participant.producer,
            sole_producer: participant.sole_producer,
            groups: &participant.groups,
            published: participant.published,
            writing: participant.writing,
            holds: participant.holds,
            oldest_held: participant.oldest_held,
            oldest_held_age_ns: nanoseconds(participant.oldest_held_age),
            highest_count: participant.highest_count,
        }
    }
}
