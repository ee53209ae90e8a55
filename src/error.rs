//! What can go wrong, one enum per family of operations. Numbers, not prose; no `String`, no `Box<dyn>`.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::layout::Durability;
pub use crate::layout::{FormatError, GeometryError};

/// A queue file that could not be created, opened or removed.
#[derive(Debug)]
pub struct OpenError {
    path: PathBuf,
    kind: OpenErrorKind,
}

impl OpenError {
    pub(crate) fn new(path: impl Into<PathBuf>, kind: OpenErrorKind) -> Self {
        Self {
            path: path.into(),
            kind,
        }
    }

    /// The file it is about, a bare name resolved.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is wrong with it.
    #[must_use]
    pub fn kind(&self) -> &OpenErrorKind {
        &self.kind
    }
}

/// What is wrong with a queue file.
#[derive(Debug)]
#[non_exhaustive]
pub enum OpenErrorKind {
    /// A bare name that is empty, too long, or holds a character it may not.
    Name {
        /// What it has to be.
        expected: &'static str,
    },
    /// An option out of its range, or one that does not fit the others.
    Option(GeometryError),
    /// The file exists, made with another value of an option that was set.
    OptionDiffers {
        /// The option.
        option: &'static str,
        /// What was asked for.
        asked: u64,
        /// What the file has.
        found: u64,
    },
    /// No such file.
    NotFound,
    /// A file of that name exists.
    AlreadyExists,
    /// Something that is not a regular file.
    NotAFile {
        /// What it is instead.
        found: &'static str,
    },
    /// Not a queue, or a damaged one.
    Format(FormatError),
    /// A file system on which locks do not tell who lives.
    Filesystem {
        /// Its name.
        found: &'static str,
    },
    /// The file exists, made with another durability than the one that was set.
    DurabilityDiffers {
        /// What was asked for.
        asked: Durability,
        /// What the file has.
        found: Durability,
    },
    /// Memory, or a file system in memory: nothing there can be durable.
    Volatile {
        /// Its name.
        found: &'static str,
    },
    /// After a reboot, a process that another boot knows is still attached: another machine has the file system, too.
    OtherBoot,
    /// Another process puts the queue in order, after a reboot or before it leaves, and does not finish.
    Recovering,
    /// Not enough room on the file system for a file of this size.
    NoSpace {
        /// Bytes needed.
        needed: u64,
    },
    /// Not allowed.
    PermissionDenied,
    /// The file system is read-only.
    ReadOnlyFilesystem,
    /// The directory for bare names is not this user's own and private.
    UnsafeDirectory {
        /// Its owner.
        owner: u32,
        /// Its permission bits.
        mode: u32,
    },
    /// Every entry of the participant table belongs to a live process.
    ParticipantsFull {
        /// Entries.
        max: u32,
    },
    /// This platform has no way to tell which processes live.
    Unsupported,
    /// Anything else the operating system says.
    Io {
        /// What was tried.
        operation: &'static str,
        /// What it said.
        source: io::Error,
    },
}

impl OpenErrorKind {
    /// Sorts an operating system's error.
    pub(crate) fn from_io(operation: &'static str, needed: u64, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::NotFound => Self::NotFound,
            io::ErrorKind::AlreadyExists => Self::AlreadyExists,
            io::ErrorKind::PermissionDenied => Self::PermissionDenied,
            io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnlyFilesystem,
            io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge => Self::NoSpace { needed },
            io::ErrorKind::IsADirectory => Self::NotAFile {
                found: "a directory",
            },
            io::ErrorKind::Unsupported => Self::Unsupported,
            _ => Self::Io { operation, source },
        }
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.kind)
    }
}

impl fmt::Display for OpenErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name { expected } => write!(f, "not a queue name: must be {expected}"),
            Self::Option(error) => write!(f, "impossible options: {error}"),
            Self::OptionDiffers {
                option,
                asked,
                found,
            } => write!(
                f,
                "exists with {option} {found}, asked for {asked}: open it without that option, or remove it"
            ),
            Self::DurabilityDiffers { asked, found } => write!(
                f,
                "exists with durability {found}, asked for {asked}: open it without that option, or remove it"
            ),
            Self::Volatile { found } => write!(
                f,
                "{found} is gone after a reboot, so a queue there cannot be durable: create it on a disk, or without durability"
            ),
            Self::OtherBoot => f.write_str(
                "attached by a process of another boot: open it on the machine that has it, or stop that process",
            ),
            Self::Recovering => f.write_str(
                "another process puts it in order and does not finish: stop that process, and open it again",
            ),
            Self::NotFound => f.write_str("no such queue: create it first"),
            Self::AlreadyExists => f.write_str("exists already: open it, or remove it first"),
            Self::NotAFile { found } => write!(f, "is {found}, not a regular file"),
            Self::Format(error) => error.fmt(f),
            Self::Filesystem { found } => {
                write!(
                    f,
                    "on {found}, where locks cannot tell who lives: use a local file system"
                )
            }
            Self::NoSpace { needed } => {
                write!(
                    f,
                    "no room for {needed} bytes: free some, or create a smaller queue"
                )
            }
            Self::PermissionDenied => {
                f.write_str("permission denied: the queue must be readable and writable")
            }
            Self::ReadOnlyFilesystem => {
                f.write_str("read-only file system: a queue has to be writable")
            }
            Self::UnsafeDirectory { owner, mode } => write!(
                f,
                "owned by user {owner} with mode {mode:03o}, must be this user's with mode 700: set SLIPRING_DIR"
            ),
            Self::ParticipantsFull { max } => {
                write!(
                    f,
                    "all {max} participant entries are taken by live processes: recreate it with more"
                )
            }
            Self::Unsupported => {
                f.write_str("this platform has no file locks that tell which processes live")
            }
            Self::Io { operation, source } => write!(f, "{operation} failed: {source}"),
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.kind {
            OpenErrorKind::Io { source, .. } => Some(source),
            OpenErrorKind::Format(error) => Some(error),
            OpenErrorKind::Option(error) => Some(error),
            _ => None,
        }
    }
}

/// A producer or consumer that could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AttachError {
    /// A live process is the sole producer.
    SoleProducer {
        /// Its process id, as it sees itself.
        pid: u64,
    },
    /// A sole producer was asked for, and a live process has an ordinary one.
    HasProducers {
        /// Its process id, as it sees itself.
        pid: u64,
    },
    /// The group has been deleted.
    GroupClosed,
    /// The queue has no default group; name one.
    NoDefaultGroup,
    /// This process is a forked child: open the queue anew.
    Forked,
}

impl fmt::Display for AttachError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SoleProducer { pid } => {
                write!(f, "process {pid} is the sole producer of this queue")
            }
            Self::HasProducers { pid } => {
                write!(
                    f,
                    "process {pid} has a producer, so there can be no sole one"
                )
            }
            Self::GroupClosed => f.write_str("the group has been deleted"),
            Self::NoDefaultGroup => f.write_str("the queue has no group \"default\": name one"),
            Self::Forked => FORKED.fmt(f),
        }
    }
}

impl std::error::Error for AttachError {}

pub(crate) const FORKED: &str =
    "this is a forked child of the process that opened the queue: open it anew";

/// A group that could not be made, found or deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GroupError {
    /// Not a group name.
    Name {
        /// Bytes in the name.
        length: usize,
        /// What it has to be.
        expected: &'static str,
    },
    /// A group of that name exists.
    AlreadyExists,
    /// A group of that name exists and is of the other kind.
    KindDiffers {
        /// True if the existing one is exclusive.
        exclusive: bool,
    },
    /// A group of that name exists, made with another value of an option that was set.
    OptionDiffers {
        /// The option.
        option: &'static str,
    },
    /// No group of that name.
    NotFound,
    /// A group of that name is being deleted and has members left.
    Closing,
    /// Every entry of the group table is taken.
    Full {
        /// Entries.
        max: u32,
    },
    /// The start is older than what is kept, or in the future.
    Start {
        /// Asked for.
        asked: u64,
        /// The oldest sequence that can be had.
        earliest: u64,
        /// The newest.
        latest: u64,
    },
    /// An exclusive group on a queue that drops its oldest messages.
    ExclusiveOnLossy,
    /// An option out of its range.
    Option(GeometryError),
    /// An ack time-out for an exclusive group, whose active consumer keeps its place as long as it lives.
    AckTimeoutOnExclusive,
    /// The dead-letter queue cannot be opened or made.
    DeadQueue(DeadQueueError),
    /// No such message is parked.
    NotDead {
        /// The message.
        sequence: u64,
    },
    /// Syncing the file failed, or had failed before: of the change the disk may have anything.
    SyncFailed {
        /// The operating system's error number.
        errno: i32,
    },
    /// Another process is making a group and does not finish: paused, perhaps.
    Busy,
    /// This process is a forked child: open the queue anew.
    Forked,
}

impl fmt::Display for GroupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name { length, expected } => {
                write!(f, "not a group name ({length} bytes): must be {expected}")
            }
            Self::AlreadyExists => f.write_str("a group of that name exists"),
            Self::KindDiffers { exclusive } => {
                write!(f, "the group exists and is {}", if *exclusive { "exclusive" } else { "shared" })
            }
            Self::OptionDiffers { option } => write!(f, "the group exists with another {option}"),
            Self::NotFound => f.write_str("no group of that name"),
            Self::Closing => f.write_str("a group of that name is being deleted and still has members"),
            Self::Full { max } => {
                write!(f, "all {max} groups are taken: delete one, or recreate the queue with more")
            }
            Self::Start { asked, earliest, latest } => {
                write!(f, "cannot start at {asked}: the queue has {earliest} to {latest}")
            }
            Self::ExclusiveOnLossy => {
                f.write_str("an exclusive group sees every message, and this queue drops its oldest: use a shared one")
            }
            Self::Option(error) => error.fmt(f),
            Self::AckTimeoutOnExclusive => {
                f.write_str("the active consumer of an exclusive group keeps its place: an ack time-out needs a shared one")
            }
            Self::DeadQueue(error) => write!(f, "the dead-letter queue: {error}"),
            Self::NotDead { sequence } => write!(f, "message {sequence} is not parked in this group"),
            Self::SyncFailed { errno } => sync_failed(f, *errno),
            Self::Busy => f.write_str("another process is making a group: try again"),
            Self::Forked => FORKED.fmt(f),
        }
    }
}

impl std::error::Error for GroupError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::DeadQueue(DeadQueueError(error)) => Some(error.as_ref()),
            Self::Option(error) => Some(error),
            _ => None,
        }
    }
}

/// Why a dead-letter queue cannot be used.
#[derive(Clone, Debug)]
pub struct DeadQueueError(pub(crate) Arc<OpenError>);

impl DeadQueueError {
    /// The error of opening or making it.
    #[must_use]
    pub fn error(&self) -> &OpenError {
        &self.0
    }
}

impl PartialEq for DeadQueueError {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for DeadQueueError {}

impl fmt::Display for DeadQueueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A message that is not in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PublishError {
    /// Longer than the queue takes.
    TooLong {
        /// Bytes in the message.
        length: u64,
        /// Bytes the queue takes.
        max: u64,
    },
    /// No room: some group has not settled enough, or the arena is in use.
    Full,
    /// No room within the time given.
    TimedOut,
    /// To be made durable in a queue that was made without durability.
    NotDurable,
    /// Syncing the file has failed, here or in another process, and nothing can be made durable any more.
    SyncFailed {
        /// The operating system's error number.
        errno: i32,
        /// The message's sequence, if it was published all the same; it may be lost at a power loss.
        published: Option<u64>,
    },
    /// This producer was taken for dead: it lost its lock on the file. Open the queue anew.
    Fenced,
    /// The file is damaged.
    Corrupt(FormatError),
    /// This process is a forked child: open the queue anew.
    Forked,
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { length, max } => {
                write!(f, "message of {length} bytes, the queue takes {max}")
            }
            Self::Full => f.write_str("queue full"),
            Self::TimedOut => f.write_str("queue full until the time-out"),
            Self::NotDurable => f.write_str(NOT_DURABLE),
            Self::SyncFailed { errno, published: None } => sync_failed(f, *errno),
            Self::SyncFailed { errno, published: Some(sequence) } => {
                write!(f, "message {sequence} is published and may not be on the disk: ")?;
                sync_failed(f, *errno)
            }
            Self::Fenced => f.write_str("this producer lost its lock on the file and was taken for dead: open the queue anew"),
            Self::Corrupt(error) => error.fmt(f),
            Self::Forked => FORKED.fmt(f),
        }
    }
}

impl std::error::Error for PublishError {}

const NOT_DURABLE: &str =
    "the queue was made without durability, so a reboot drops its messages: create it with one";

fn sync_failed(f: &mut fmt::Formatter<'_>, errno: i32) -> fmt::Result {
    let error = io::Error::from_raw_os_error(errno);
    write!(
        f,
        "syncing the file failed ({error}), and nothing is known of what the disk has: consume what there is, and create the queue anew"
    )
}

/// What did not fit, handed back with the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected<M> {
    /// What was to be published.
    pub message: M,
    /// Why it was not.
    pub reason: PublishError,
}

impl<M> fmt::Display for Rejected<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason.fmt(f)
    }
}

impl<M: fmt::Debug> std::error::Error for Rejected<M> {}

impl<M> From<Rejected<M>> for PublishError {
    fn from(rejected: Rejected<M>) -> Self {
        rejected.reason
    }
}

/// A batch that is only partly in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchError {
    /// How many of its first messages are in.
    pub published: u64,
    /// Why the next one is not.
    pub reason: PublishError,
}

impl fmt::Display for BatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} messages published, the next one not: {}",
            self.published, self.reason
        )
    }
}

impl std::error::Error for BatchError {}

/// No message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClaimError {
    /// None there now; or this consumer stands by for another.
    Empty,
    /// None within the time given.
    TimedOut,
    /// The group has been deleted.
    GroupClosed,
    /// The file is damaged.
    Corrupt(FormatError),
    /// This process is a forked child: open the queue anew.
    Forked,
}

impl fmt::Display for ClaimError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("no message"),
            Self::TimedOut => f.write_str("no message until the time-out"),
            Self::GroupClosed => f.write_str("the group has been deleted"),
            Self::Corrupt(error) => error.fmt(f),
            Self::Forked => FORKED.fmt(f),
        }
    }
}

impl std::error::Error for ClaimError {}

/// A delivery that could not be settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AckError {
    /// The claim is no longer this consumer's: settled already, or given to another because its lease had ended.
    Stale {
        /// The message.
        sequence: u64,
    },
    /// Only exclusive groups can settle several at once or later.
    NotExclusive,
    /// Acked, in a queue that was made without durability.
    NotDurable,
    /// Acked, but syncing the file has failed: it may come again after a power loss.
    SyncFailed {
        /// The operating system's error number.
        errno: i32,
    },
    /// This process is a forked child: its parent holds the claim.
    Forked,
}

impl fmt::Display for AckError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stale { sequence } => {
                write!(
                    f,
                    "the claim on message {sequence} is no longer this consumer's"
                )
            }
            Self::NotExclusive => f.write_str("only an exclusive group can do that"),
            Self::NotDurable => f.write_str(NOT_DURABLE),
            Self::SyncFailed { errno } => sync_failed(f, *errno),
            Self::Forked => FORKED.fmt(f),
        }
    }
}

impl std::error::Error for AckError {}
