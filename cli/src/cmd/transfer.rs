//! `slipring export`, `import` and `resize`: messages and positions out of a queue, into a new one, or into another shape.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Read, Write, stderr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use serde::Serialize;
use slipring::{Inspector, Options, Queue};

use super::QueueArg;
use super::create::When;
use crate::exit::Code;
use crate::output::{Output, Stopped, complain};
use crate::record::hex;
use crate::signals;
use crate::units::{self, parse_size};

/// Write a queue's messages and its groups' positions to a stream
///
/// Every message that some group has not settled, and how far each group is: settled out of order, delivered how often,
/// parked and why. Of a queue without groups, all that the ring still holds. Others may work on it meanwhile; what they
/// settle then may come again after an import. Groups that vanish with their last consumer are left out.
#[derive(Debug, clap::Args)]
pub struct ExportArgs {
    #[command(flatten)]
    queue: QueueArg,
    /// Where to; - for standard output. A file appears when it is whole, in the place of one there may be
    #[arg(value_name = "FILE", default_value = "-")]
    file: PathBuf,
    /// Print what was written as one JSON object, on stderr if the export goes to standard output
    #[arg(long)]
    json: bool,
}

/// Make a queue from an export
///
/// Its messages have the sequences they had, its groups are where they were. Options that are not given are those of the
/// queue that was exported. A damaged export makes no queue.
#[derive(Debug, clap::Args)]
pub struct ImportArgs {
    /// Where from; - for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    queue: QueueArg,
    /// Make a queue from what is not damaged, and say on stderr what is
    #[arg(long)]
    keep_going: bool,
    #[command(flatten)]
    shape: Shape,
    /// Print what was made as one JSON object
    #[arg(long)]
    json: bool,
}

/// Give a queue that nobody uses another shape
///
/// All that some group has not settled is kept, with its sequences, delivery counts, parked messages and settings. The new
/// file takes the name of the old one in one step; dying before leaves the old queue as it was. What is not given stays.
#[derive(Debug, clap::Args)]
pub struct ResizeArgs {
    #[command(flatten)]
    queue: QueueArg,
    #[command(flatten)]
    shape: Shape,
    /// Print the shapes before and after as one JSON object
    #[arg(long)]
    json: bool,
}

/// The options of a queue that can be chosen anew.
#[derive(Debug, clap::Args)]
struct Shape {
    /// Messages it holds, a power of two
    #[arg(long, value_name = "N", value_parser = parse_size)]
    capacity: Option<u64>,
    /// Bytes of a slot
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    slot_size: Option<u64>,
    /// Bytes of the longest message
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    max_message: Option<u64>,
    /// Bytes for messages longer than a slot
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    arena_size: Option<u64>,
    /// Groups it can have
    #[arg(long, value_name = "N")]
    max_groups: Option<u32>,
    /// Processes that can be attached at a time
    #[arg(long, value_name = "N")]
    max_participants: Option<u32>,
    /// What publishing to a full queue does
    #[arg(long, value_name = "POLICY")]
    when_full: Option<When>,
}

impl Shape {
    fn options(&self) -> Options {
        let mut options = Queue::options();
        if let Some(capacity) = self.capacity {
            options = options.capacity(capacity);
        }
        if let Some(bytes) = self.slot_size {
            options = options.slot_size(bytes);
        }
        if let Some(bytes) = self.max_message {
            options = options.max_message(bytes);
        }
        if let Some(bytes) = self.arena_size {
            options = options.arena_size(bytes);
        }
        if let Some(groups) = self.max_groups {
            options = options.max_groups(groups);
        }
        if let Some(participants) = self.max_participants {
            options = options.max_participants(participants);
        }
        if let Some(when) = self.when_full {
            options = options.when_full(when.into());
        }
        options
    }
}

#[derive(Serialize)]
struct ExportView {
    messages: u64,
    groups: u64,
    bytes: u64,
    settled_meanwhile: u64,
    unfinished: u64,
    damaged: Vec<u64>,
}

/// Runs `slipring export`.
pub fn export(args: &ExportArgs) -> anyhow::Result<Code> {
    signals::install()?;
    let inspector = Inspector::open(&args.queue.queue)?;
    let mut progress = Progress::new("exported");
    let to_stdout = args.file.as_os_str() == "-";
    let exported = if to_stdout {
        let stream = Interruptible(io::stdout().lock());
        inspector.export(BufWriter::new(stream), &mut |done, all| {
            progress.show(done, all)
        })
    } else {
        let part = part_of(&args.file);
        let file = File::create(&part).with_context(|| part.display().to_string())?;
        let stream = Interruptible(&file);
        let done = inspector.export(BufWriter::new(stream), &mut |done, all| {
            progress.show(done, all)
        });
        let named = done.map_err(anyhow::Error::from).and_then(|exported| {
            let placed = file
                .sync_all()
                .and_then(|()| std::fs::rename(&part, &args.file));
            placed.with_context(|| args.file.display().to_string())?;
            Ok(exported)
        });
        if named.is_err() {
            let _gone_already = std::fs::remove_file(&part);
        }
        return finish_export(args, named?, progress);
    };
    finish_export(args, exported.map_err(stopped)?, progress)
}

fn finish_export(
    args: &ExportArgs,
    exported: slipring::Exported,
    mut progress: Progress,
) -> anyhow::Result<Code> {
    progress.end();
    let code = if exported.damaged.is_empty() {
        Code::Success
    } else {
        Code::Damaged
    };
    for sequence in &exported.damaged {
        complain(&format!("message {sequence} is damaged, and not exported"));
    }
    if args.json {
        let mut output = if args.file.as_os_str() == "-" {
            Output::stderr()?
        } else {
            Output::stdout()?
        };
        output.json(&ExportView {
            messages: exported.messages,
            groups: exported.groups,
            bytes: exported.bytes,
            settled_meanwhile: exported.settled_meanwhile,
            unfinished: exported.unfinished,
            damaged: exported.damaged,
        })?;
        output.flush()?;
    }
    Ok(code)
}

/// Where a file is written before it is whole.
fn part_of(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".part");
    name.into()
}

#[derive(Serialize)]
struct ImportView {
    id: String,
    messages: u64,
    groups: u64,
    skipped: Vec<SkippedView>,
}

#[derive(Serialize)]
struct SkippedView {
    why: String,
    bytes: u64,
}

/// Runs `slipring import`.
pub fn import(args: &ImportArgs) -> anyhow::Result<Code> {
    signals::install()?;
    let mut progress = Progress::new("imported");
    let stream: Box<dyn Read> = if args.file.as_os_str() == "-" {
        Box::new(io::stdin().lock())
    } else {
        let file = File::open(&args.file);
        Box::new(file.with_context(|| args.file.display().to_string())?)
    };
    let options = args.shape.options();
    let mut show = |done, all| progress.show(done, all);
    let imported = options.import(
        &args.queue.queue,
        Interruptible(stream),
        args.keep_going,
        &mut show,
    );
    let imported = imported.map_err(stopped)?;
    progress.end();
    let skipped: Vec<_> = imported
        .skipped
        .iter()
        .map(|part| SkippedView {
            why: part.why.to_string(),
            bytes: part.bytes,
        })
        .collect();
    for SkippedView { why, bytes } in &skipped {
        complain(&format!("{why}; passed over {bytes} bytes"));
    }
    let code = if skipped.is_empty() {
        Code::Success
    } else {
        Code::Damaged
    };
    if args.json {
        let mut output = Output::stdout()?;
        output.json(&ImportView {
            id: hex(&Inspector::open(&args.queue.queue)?.id()),
            messages: imported.messages,
            groups: imported.groups,
            skipped,
        })?;
        output.flush()?;
    }
    Ok(code)
}

#[derive(Serialize)]
struct ResizeView {
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
    fn of(geometry: &slipring::Geometry) -> Self {
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

/// Runs `slipring resize`.
pub fn resize(args: &ResizeArgs) -> anyhow::Result<Code> {
    let mut progress = Progress::new("moved");
    let options = args.shape.options();
    let mut show = |done, all| progress.show(done, all);
    let resized = options.resize(&args.queue.queue, &mut show);
    let resized = resized.with_context(|| args.queue.name())?;
    progress.end();
    let mut output = Output::stdout()?;
    if args.json {
        output.json(&ResizeView {
            messages: resized.messages,
            groups: resized.groups,
            before: ShapeView::of(&resized.before),
            after: ShapeView::of(&resized.after),
        })?;
    } else {
        output.line(format_args!(
            "{} messages and {} groups moved from a capacity of {} to {}, {}",
            resized.messages,
            resized.groups,
            resized.before.capacity(),
            resized.after.capacity(),
            units::size(resized.after.file_size()),
        ))?;
    }
    output.flush()?;
    Ok(Code::Success)
}

/// An error that a signal has caused ends as that signal does.
fn stopped(error: slipring::TransferError) -> anyhow::Error {
    if signals::caught().is_some() {
        return Stopped.into();
    }
    match &error {
        slipring::TransferError::Stream(io) if io.kind() == io::ErrorKind::BrokenPipe => {
            crate::output::ClosedPipe.into()
        }
        _ => error.into(),
    }
}

/// A stream that ends when a signal comes.
struct Interruptible<T>(T);

impl<T> Interruptible<T> {
    fn check() -> io::Result<()> {
        match signals::caught() {
            Some(_) => Err(io::Error::other("stopped by a signal")),
            None => Ok(()),
        }
    }
}

impl<T: Read> Read for Interruptible<T> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        Self::check()?;
        self.0.read(to)
    }
}

impl<T: Write> Write for Interruptible<T> {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        Self::check()?;
        self.0.write(from)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// A line on the terminal that says how far it is; nothing elsewhere.
struct Progress {
    what: &'static str,
    shown: Option<Instant>,
    terminal: bool,
}

impl Progress {
    const EVERY: Duration = Duration::from_millis(200);

    fn new(what: &'static str) -> Self {
        Self {
            what,
            shown: None,
            terminal: stderr().is_terminal(),
        }
    }

    fn show(&mut self, done: u64, all: u64) {
        if self.terminal && self.shown.is_none_or(|shown| shown.elapsed() > Self::EVERY) {
            self.shown = Some(Instant::now());
            let (done, all) = (units::count(done), units::count(all));
            let _nobody_there = write!(stderr(), "\r\x1b[K{} {done} of {all}", self.what);
        }
    }

    fn end(&mut self) {
        if self.shown.take().is_some() {
            let _nobody_there = write!(stderr(), "\r\x1b[K");
        }
    }
}
