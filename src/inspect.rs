//! Looking at a queue from outside: a read-only mapping, no entry in the participant table, nothing ever written.
//!
//! What it reads it distrusts: messages are copied out and then checked not to have been overwritten meanwhile.

use std::path::Path;

use crate::dead::DeadLetter;
use crate::error::{OpenError, OpenErrorKind};
use crate::file;
use crate::layout::Durability;
use crate::layout::Geometry;
use crate::layout::header::{FullPolicy, Timestamps, Verified};
use crate::mem::Mem;
use crate::participant::{Locks, is_alive};
use crate::path;
use crate::recover::PendingRecovery;
use crate::replay::{self, NoTimestamps, Replay, ReplayFrom, ReplayedMessage};
use crate::ring::{Observed, Ring};
use crate::stats::Stats;
use crate::sync::Ordering;
use crate::sys::ForkGuard;

/// A queue, looked at.
///
/// In a forked child it finds nothing; the child has to open the queue for itself.
///
/// # Examples
/// ```
/// use slipring::{Inspector, Queue};
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("watched");
/// let queue = Queue::create(&path)?;
/// let inspector = Inspector::open(&path)?;
/// queue.producer()?.publish("seen, not taken")?;
/// let message = inspector.peek(0);
/// assert_eq!(message.payload(), Some(&b"seen, not taken"[..]));
/// assert_eq!(inspector.stats().groups[0].ready, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Inspector {
    ring: Ring,
    verified: Verified,
    /// Only asked who holds its locks.
    locks: Locks,
    fork: ForkGuard,
}

/// What is at a sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Peeked {
    /// A message.
    Message {
        /// Its bytes, copied.
        payload: Vec<u8>,
        /// The publisher's tag for its type.
        kind: u16,
        /// The publisher's hash of its key.
        key: u32,
        /// Wall clock, ns since 1970; 0 if the queue takes no times.
        timestamp: u64,
        /// In a dead-letter queue: where it comes from.
        dead_letter: Option<Box<DeadLetter>>,
    },
    /// Nothing yet.
    NotYet,
    /// Nothing ever: its producer died before it published.
    Hole,
    /// Something newer has taken its place, or is about to.
    Overwritten,
    /// Bytes that make no sense.
    Damaged,
}

impl Peeked {
    /// The payload, of a message.
    pub fn payload(&self) -> Option<&[u8]> {
        match self {
            Self::Message { payload, .. } => Some(payload),
            _ => None,
        }
    }
}

impl Inspector {
    /// Maps a queue read-only. Reading permission is enough.
    ///
    /// # Errors
    /// As [`Options::open`](crate::Options::open), but for those of attaching.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        let path = path::resolve(path.as_ref())?;
        let (file, verified) = file::open(&path, false)?;
        let size = verified.geometry.file_size();
        let fail = |source| {
            OpenError::new(
                &path,
                OpenErrorKind::from_io("mapping the file", size, source),
            )
        };
        let mem = Mem::map_read_only(&file, size).map_err(fail)?;
        Ok(Self {
            ring: Ring::new(mem, verified.geometry),
            verified,
            locks: Locks::File(file),
            fork: ForkGuard::get().map_err(fail)?,
        })
    }

    /// How the queue stands: as [`Queue::stats`](crate::Queue::stats).
    pub fn stats(&self) -> Stats {
        if self.fork.is_child() {
            return Stats::default();
        }
        Stats::take(&self.ring, &self.verified, |id| is_alive(&self.locks, id))
    }

    /// What is at a sequence, without claiming it. The oldest message of a full ring counts as overwritten if no group keeps
    /// it: a sole producer may be about to.
    pub fn peek(&self, sequence: u64) -> Peeked {
        if self.fork.is_child() {
            return Peeked::NotYet;
        }
        let mut payload = Vec::new();
        match self.ring.observe(sequence, &mut payload) {
            Observed::Message(header) => {
                let ReplayedMessage {
                    payload,
                    kind,
                    key,
                    timestamp,
                    dead_letter,
                    ..
                } = ReplayedMessage::new(sequence, &header, payload);
                Peeked::Message {
                    payload,
                    kind,
                    key,
                    timestamp,
                    dead_letter,
                }
            }
            Observed::NotYet => Peeked::NotYet,
            Observed::Hole => Peeked::Hole,
            Observed::Overwritten => Peeked::Overwritten,
            Observed::Damaged => Peeked::Damaged,
        }
    }

    /// What the next opener does first, if the file was last used in another boot. Until then all that is shown here is what
    /// the disk has.
    pub fn pending_recovery(&self) -> Option<PendingRecovery> {
        let mem = self.ring.mem();
        // ORDERING: Relaxed; for people to read.
        let word = |offset| mem.word(offset).load(Ordering::Relaxed);
        PendingRecovery::of(word, self.verified.boot_id, self.verified.durability)
    }

    /// The next sequence to be taken.
    pub fn tail(&self) -> u64 {
        if self.fork.is_child() {
            return 0;
        }
        self.ring.true_tail()
    }

    /// The oldest sequence that may still be there.
    pub fn oldest(&self) -> u64 {
        if self.fork.is_child() {
            return 0;
        }
        replay::oldest(&self.ring)
    }

    /// Reads again what the ring still holds: as [`Queue::replay`](crate::Queue::replay).
    ///
    /// # Errors
    /// A time, and the queue takes none of its messages.
    pub fn replay(&self, from: ReplayFrom) -> Result<Replay<'_>, NoTimestamps> {
        let timestamps = self.verified.timestamps;
        Replay::new(&self.ring, timestamps, from, self.fork)
    }

    pub(crate) fn is_forked(&self) -> bool {
        self.fork.is_child()
    }

    pub(crate) fn ring(&self) -> &Ring {
        &self.ring
    }

    pub(crate) fn verified(&self) -> &Verified {
        &self.verified
    }

    /// Where everything lies in the file.
    pub fn geometry(&self) -> &Geometry {
        &self.verified.geometry
    }

    /// What the queue does when it is full.
    pub fn full_policy(&self) -> FullPolicy {
        self.verified.full_policy
    }

    /// Where the times of its messages come from.
    pub fn timestamps(&self) -> Timestamps {
        self.verified.timestamps
    }

    /// What survives a reboot.
    pub fn durability(&self) -> Durability {
        self.verified.durability
    }

    /// Its random name.
    pub fn id(&self) -> [u8; 16] {
        self.verified.queue_id
    }

    /// When it was created, ns since 1970.
    pub fn created_ns(&self) -> u64 {
        self.verified.created_ns
    }
}
