//! `slipring demo`: its arguments. The work is in `crate::demo`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::bail;

use crate::demo::{self, Chaos, Plan};
use crate::exit::Code;
use crate::units::parse_size;

/// Show it at work: producers and consumers in processes of their own, every message checked
///
/// Makes a queue of its own, starts the processes, moves the messages, and counts: what was published, delivered and
/// acked, and whether anything was lost, came twice, out of order or damaged. Every byte of every message is compared
/// with what it has to be. The queue is removed at the end.
///
/// The exit code is 0 only if nothing was lost, damaged or out of order. While it runs, `slipring info` shows its queue,
/// whose name it prints first.
///
/// With --chaos, it kills them: for some seconds, at random instants, a producer or consumer gets a kill -9, and a new one
/// takes its place a moment later, while the others go on. Each says over a pipe what it is about to publish and what has
/// returned, what it was handed and what it has acked, so that in the end everything adds up to the message: a publish
/// that returned has to have been delivered; one that a kill cut off may have been, whole; an acked message must not come
/// again, one that a killed consumer held may. The exit code is 0 only if that is so.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Kill producers and consumers while they work, and start others in their place
    #[arg(long)]
    chaos: bool,
    /// How long the killing goes on
    #[arg(long, value_name = "S", default_value_t = 10, requires = "chaos")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    seconds: u64,
    /// How often somebody is killed, on average. The last one at work on its side is spared
    #[arg(long, value_name = "R", default_value_t = 20.0, requires = "chaos")]
    #[arg(value_parser = parse_kills)]
    kills_per_second: f64,
    /// Who is killed when, and what everybody does: the same again, as far as the scheduler plays along [default: random]
    #[arg(long, value_name = "N", requires = "chaos")]
    seed: Option<u64>,
    /// Messages to move
    #[arg(
        short = 'n',
        long,
        value_name = "N",
        default_value_t = 10_000_000,
        conflicts_with = "chaos"
    )]
    messages: u64,
    /// Producer processes
    #[arg(short, long, value_name = "N", default_value_t = 3)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100))]
    producers: u32,
    /// Consumer processes
    #[arg(short, long, value_name = "N", default_value_t = 3)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100))]
    consumers: u32,
    /// Bytes of a message, at least 32; in chaos, of the shortest
    #[arg(short, long, value_name = "SIZE", default_value = "64", value_parser = parse_message_size)]
    size: u64,
    /// Messages published or received at a time; in chaos, at most
    // Measured with 6 processes on 2 cores: from 1 to 32 doubles the throughput, 64 adds nothing.
    #[arg(short, long, value_name = "N", default_value_t = 32)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=64))]
    batch: u64,
    /// Messages the queue holds, a power of two
    // A full queue's latency is its length; beyond this, more of it hardly adds throughput.
    #[arg(long, value_name = "N", default_value_t = 1024)]
    capacity: u64,
    /// End with one JSON object on one line; progress goes to stderr
    #[arg(long)]
    json: bool,
}

fn parse_message_size(text: &str) -> Result<u64, String> {
    let size = parse_size(text)?;
    if (demo::SIZES).contains(&size) {
        return Ok(size);
    }
    let (least, most) = (demo::SIZES.start(), demo::SIZES.end());
    Err(format!("{size} bytes: must be {least} to {most}"))
}

fn parse_kills(text: &str) -> Result<f64, String> {
    let parsed = text.parse().ok();
    let rate = parsed.filter(|rate| (0.1..=1000.0).contains(rate));
    rate.ok_or_else(|| format!("{text:?} kills per second: must be 0.1 to 1000"))
}

/// Short enough to be typed, and to be exact in JSON.
fn random_seed() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().subsec_nanos().into()
}

/// Runs it.
pub fn run(args: &Args) -> anyhow::Result<Code> {
    let plan = Plan {
        messages: args.messages,
        producers: args.producers,
        consumers: args.consumers,
        size: args.size,
        batch: args.batch,
        capacity: args.capacity,
    };
    if !args.chaos {
        return demo::run(&plan, args.json);
    }
    if args.producers.max(args.consumers) == 1 {
        bail!("with one producer and one consumer nobody can be spared: ask for more");
    }
    let chaos = Chaos {
        seed: args.seed.unwrap_or_else(random_seed),
        lasts: Duration::from_secs(args.seconds),
        kills_per_second: args.kills_per_second,
    };
    demo::run_chaos(&plan, &chaos, args.json)
}
