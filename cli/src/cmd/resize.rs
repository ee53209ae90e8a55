//! `slipring resize`.

use anyhow::Context;
use serde::Serialize;
use slipring::Geometry;

use super::QueueArg;
use super::shape::Shape;
use crate::exit::Code;
use crate::output::Output;
use crate::stream::Progress;
use crate::units;

/// Give a queue that nobody uses another shape
///
/// All that some group has not settled is kept, with its sequences, delivery counts, parked messages and settings. The new
/// file takes the name of the old one in one step; dying before leaves the old queue as it was. What is not given stays.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    queue: QueueArg,
    #[command(flatten)]
    shape: Shape,
    /// Print the shapes before and after as one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct View {
    messages: u64,
    groups: u64,
    before: ShapeView,
    after: ShapeView,
}

#[derive(Serialize)]
struct ShapeView {
    capacity: u64,
    slot_size: u64,
    max_message: u64,
    arena_size: u64,
    file_size: u64,
}

impl ShapeView {
    fn of(geometry: &Geometry) -> Self {
        let shape = geometry.shape();
        Self {
            capacity: shape.capacity,
            slot_size: shape.slot_size,
            max_message: shape.max_message,
            arena_size: shape.arena_size,
            file_size: geometry.file_size(),
        }
    }
}

/// Runs it.
pub fn run(args: &Args) -> anyhow::Result<Code> {
    let mut progress = Progress::new("moved");
    let options = args.shape.options();
    let mut show = |done, all| progress.show(done, all);
    let resized = options.resize(&args.queue.queue, &mut show);
    let resized = resized.with_context(|| args.queue.name())?;
    progress.end();
    let mut output = Output::stdout()?;
    if args.json {
        output.json(&View {
            messages: resized.messages,
            groups: resized.groups,
            before: ShapeView::of(&resized.before),
            after: ShapeView::of(&resized.after),
        })?;
    } else {
        output.line(format_args!(
            "{} and {} moved from a capacity of {} to {}, {}",
            units::counted(resized.messages, "message"),
            units::counted(resized.groups, "group"),
            resized.before.capacity(),
            resized.after.capacity(),
            units::size(resized.after.file_size()),
        ))?;
    }
    output.flush()?;
    Ok(Code::Success)
}
