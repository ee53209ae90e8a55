//! What a rival has to offer: an end to send into, and one to receive from.

use std::fs::{File, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::contract::Job;

pub trait Sender {
    /// Copies the message in, or says `false` if there is no room; then the caller comes back with the same one.
    fn try_send(&mut self, message: &[u8]) -> anyhow::Result<bool>;

    /// Copies in as many of the messages, `size` bytes each, as there is room for; the caller comes back with the rest.
    fn try_send_batch(&mut self, messages: &[u8], size: usize) -> anyhow::Result<usize> {
        let mut sent = 0;
        for message in messages.chunks_exact(size) {
            if !self.try_send(message)? {
                break;
            }
            sent += 1;
        }
        Ok(sent)
    }
}

pub trait Receiver {
    /// It sleeps in the queue until there is a message.
    const BLOCKING: bool = false;

    /// Shows up to `most` messages to `take`, settles them, and says how many there were.
    fn try_receive(
        &mut self,
        most: usize,
        take: &mut impl FnMut(&[u8]) -> anyhow::Result<()>,
    ) -> anyhow::Result<usize>;
}

/// A queue between processes.
pub trait Rival {
    type Sender: Sender;
    type Receiver: Receiver;
    fn sender(place: &Place) -> anyhow::Result<Self::Sender>;
    fn receiver(place: &Place) -> anyhow::Result<Self::Receiver>;
}

/// A queue between threads.
pub trait Pair {
    type Sender: Sender + Send;
    type Receiver: Receiver + Send;
    fn pair(place: &Place) -> anyhow::Result<(Self::Sender, Self::Receiver)>;
}

/// Whether the end being opened makes the queue or finds it made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Create,
    Attach,
}

/// One queue of a run: where it is, and how large.
#[derive(Clone, Debug)]
pub struct Place {
    pub dir: PathBuf,
    pub queue: &'static str,
    pub part: Part,
    pub size: usize,
    pub depth: usize,
    pub batch: usize,
}

impl Place {
    pub fn new(job: &Job, queue: &'static str, part: Part) -> Self {
        Self {
            dir: job.dir.clone(),
            queue,
            part,
            size: job.size,
            depth: job.depth(),
            batch: job.batch,
        }
    }

    /// The file that is the queue, or leads to it.
    pub fn file(&self) -> PathBuf {
        self.dir.join(self.queue)
    }

    /// A name that no other run has, for what does not live in a directory.
    pub fn name(&self) -> String {
        let mut hasher = DefaultHasher::new();
        self.dir.hash(&mut hasher);
        format!("slipring-compare-{:016x}-{}", hasher.finish(), self.queue)
    }

    pub fn creates(&self) -> bool {
        self.part == Part::Create
    }

    /// The queue's file, made this large if this end makes it.
    pub fn sized_file(&self, length: usize) -> anyhow::Result<File> {
        let path = self.file();
        let file = open(&path)?;
        if self.creates() {
            file.set_len(length as u64)
                .with_context(|| format!("making {} of {length} bytes", path.display()))?;
        }
        Ok(file)
    }
}

fn open(path: &Path) -> anyhow::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .with_context(|| format!("opening {}", path.display()))
}

/// Held by one process at a time while it opens its ends: of several consumers, the first makes the queue.
#[derive(Debug)]
pub struct Turn {
    file: File,
}

impl Turn {
    pub fn take(dir: &Path) -> anyhow::Result<Self> {
        let file = open(&dir.join("turn"))?;
        file.lock().context("waiting for the other consumers")?;
        Ok(Self { file })
    }

    pub fn part(&self) -> anyhow::Result<Part> {
        let made = self
            .file
            .metadata()
            .context("asking whether the queue is made")?;
        Ok(if made.len() > 0 {
            Part::Attach
        } else {
            Part::Create
        })
    }

    /// The queue is there for whoever comes next.
    pub fn made(self) -> anyhow::Result<()> {
        self.file
            .set_len(1)
            .context("noting that the queue is made")
    }
}

/// For queues whose sender takes along what the receiver has not looked for yet: it stays until the receiver has ended.
#[derive(Debug)]
pub struct Farewell {
    file: PathBuf,
}

/// A receiver that was killed says nothing.
const FAREWELL_WITHIN: Duration = Duration::from_secs(10);

impl Farewell {
    pub fn new(place: &Place) -> Self {
        Self {
            file: place.file().with_extension("received"),
        }
    }

    /// The receiver's.
    pub fn say(&self) {
        let _ = File::create(&self.file);
    }

    /// The sender's.
    pub fn wait(&self) {
        let start = Instant::now();
        while !self.file.exists() && start.elapsed() < FAREWELL_WITHIN {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
