//! A queue, attached to: the door to producers, groups, consumers and statistics.

use std::path::Path;
use std::sync::{Arc, Mutex};

use crate::error::{AttachError, OpenError, OpenErrorKind};
use crate::file::{self, NewFile};
use crate::group::{DEFAULT_GROUP, Group, GroupOptions};
use crate::layout::geometry::control;
use crate::layout::header::{FullPolicy, Timestamps, Verified};
use crate::layout::{Durability, EntryState, OwnerId};
use crate::mem::Mem;
use crate::options::Options;
use crate::participant::{Attachment, JoinError, Locks};
use crate::replay::{NoTimestamps, Replay, ReplayFrom};
use crate::ring::{Recovered, Ring, Start, Swept, Terms};
use crate::stats::Stats;
use crate::sync::Ordering;
use crate::{Consumer, Producer, path, recover, sys};

/// A queue this process is attached to.
///
/// Cheap to clone; all clones, producers, consumers and groups made from it share one attachment, which ends with the
/// last of them. Each thread makes its own producers and consumers.
///
/// # Examples
/// ```
/// use slipring::Queue;
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("greetings");
/// let queue = Queue::open_or_create(&path)?;
/// let mut producer = queue.producer()?;
/// let consumer = queue.consumer()?;
///
/// producer.publish("hello")?;
/// let delivery = consumer.recv()?;
/// assert_eq!(&*delivery, b"hello");
/// delivery.ack()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Crash safety
/// A process that dies leaves its unacked messages to others, and its place in the queue is cleared by whoever notices: who
/// attaches, calls [`sweep`](Self::sweep), waits (all of them together look every 50 ms), is stuck behind the dead one (at
/// once), or has tried 32 times in vain. `docs/crash.md` lists every window in which a process can die.
///
/// # Forks
/// Neither the mapping nor the lock that says who lives is inherited: a child made by `fork` keeps nothing of its parent
/// alive. In it every operation that can fail does so with a `Forked` error, and those that cannot find nothing; dropping
/// handles there harms nobody, and it may open the queue for itself. A payload or reservation that the parent had open
/// may not be touched there. The limits: a child made by a raw `clone` system call shares its parent's lock until it exits
/// or executes another program, and so a parent that dies before counts as alive until then; so may a child of a process
/// with more than 1024 queue files open, of one that forks without a pause for seconds while it opens a queue, or whose
/// very first queue is opened while another thread forks.
#[derive(Clone, Debug)]
pub struct Queue {
    attachment: Arc<Attachment>,
    recovered: Option<Recovered>,
}

impl Queue {
    /// Options to create or open a queue with.
    pub fn options() -> Options {
        Options::default()
    }

    /// Creates a queue with default options: [`Options::create`].
    ///
    /// # Errors
    /// As there.
    pub fn create(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        Self::options().create(path)
    }

    /// Attaches to an existing queue: [`Options::open`].
    ///
    /// # Errors
    /// As there.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        Self::options().open(path)
    }

    /// Attaches to a queue, creating it with default options if there is none: [`Options::open_or_create`].
    ///
    /// # Errors
    /// As there.
    pub fn open_or_create(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        Self::options().open_or_create(path)
    }

    /// Removes a queue's file. Who is attached keeps the queue until detaching; the name is free at once.
    ///
    /// # Errors
    /// [`OpenErrorKind::NotFound`] if there is no such file; `Format` if it was never a queue; whatever keeps the file
    /// from being removed.
    ///
    /// # Examples
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("short-lived");
    /// drop(slipring::Queue::create(&path)?);
    /// slipring::Queue::unlink(&path)?;
    /// assert!(slipring::Queue::open(&path).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn unlink(path: impl AsRef<Path>) -> Result<(), OpenError> {
        file::remove(&path::resolve(path.as_ref())?)
    }

    pub(crate) fn create_with(path: &Path, options: &Options) -> Result<Self, OpenError> {
        let path = path::resolve(path)?;
        let fail = |kind| OpenError::new(&path, kind);
        let io = |operation, size| {
            let fail = &fail;
            move |source| fail(OpenErrorKind::from_io(operation, size, source))
        };
        let verified = new_header(
            options,
            sys::random_id().map_err(io("reading random bytes", 0))?,
        )
        .map_err(fail)?;
        let size = verified.geometry.file_size();
        let new = NewFile::create(&path, &verified, options.mode())?;
        let mem =
            Mem::map(new.file(), size, options.access()).map_err(io("mapping the file", size))?;
        let ring = initialised(mem, &verified, options.wants_default_group());
        let file = new.publish()?;
        let locks = Locks::File(file);
        let queue = Self::attach(ring, verified, Some(&path), locks, options, None)
            .map_err(|error| fail(error.into_kind(&verified)))?;
        // It had its name before we were attached: somebody may have resized it already.
        if queue.attachment.is_replaced() {
            return Self::open_with(&path, options);
        }
        Ok(queue)
    }

    pub(crate) fn open_with(path: &Path, options: &Options) -> Result<Self, OpenError> {
        let path = path::resolve(path)?;
        let mut tries = 0;
        loop {
            let queue = Self::open_once(&path, options)?;
            // Resized since we opened the file: what we have attached to is nobody's any more.
            tries += 1;
            if tries == 100 || !queue.attachment.is_replaced() {
                return Ok(queue);
            }
        }
    }

    fn open_once(path: &Path, options: &Options) -> Result<Self, OpenError> {
        let fail = |kind| OpenError::new(path, kind);
        let (file, verified) = file::open(path, true)?;
        options.compare(&verified).map_err(fail)?;
        let size = verified.geometry.file_size();
        let mem = Mem::map(&file, size, options.access())
            .map_err(|source| fail(OpenErrorKind::from_io("mapping the file", size, source)))?;
        let ring = Ring::new(mem, verified.geometry).durable(verified.durability.is_durable());
        let locks = Locks::File(file);
        let recovered =
            recover::after_reboot(&ring, &verified, &locks, sys::boot_id()).map_err(fail)?;
        Self::attach(ring, verified, Some(path), locks, options, recovered)
            .map_err(|error| fail(error.into_kind(&verified)))
    }

    pub(crate) fn open_or_create_with(path: &Path, options: &Options) -> Result<Self, OpenError> {
        let mut tries = 0;
        loop {
            tries += 1;
            match Self::open_with(path, options) {
                Err(error) if matches!(error.kind(), OpenErrorKind::NotFound) => {}
                other => return other,
            }
            match Self::create_with(path, options) {
                // Somebody was quicker; unless somebody else keeps removing it, the next turn opens theirs.
                Err(error)
                    if matches!(error.kind(), OpenErrorKind::AlreadyExists) && tries < 100 => {}
                other => return other,
            }
        }
    }

    pub(crate) fn in_memory_with(options: &Options) -> Result<Self, OpenError> {
        let fail = |kind| OpenError::new("(memory)", kind);
        let verified = new_header(options, [0; 16]).map_err(fail)?;
        if verified.durability.is_durable() {
            let found = "heap memory";
            return Err(fail(OpenErrorKind::Volatile { found }));
        }
        let size = verified.geometry.file_size();
        let mem = Mem::heap(size)
            .map_err(|source| fail(OpenErrorKind::from_io("allocating memory", size, source)))?;
        let ring = initialised(mem, &verified, options.wants_default_group());
        let locks = Locks::Heap(Arc::default(), Mutex::default());
        Self::attach(ring, verified, None, locks, options, None)
            .map_err(|error| fail(error.into_kind(&verified)))
    }

    fn attach(
        ring: Ring,
        verified: Verified,
        path: Option<&Path>,
        locks: Locks,
        options: &Options,
        recovered: Option<Recovered>,
    ) -> Result<Self, JoinError> {
        // The directory may be left later; the dead-letter queues are looked for beside the file.
        let path = path.map(|path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned()));
        let name = options.participant_name();
        let attachment = Attachment::join(ring, verified, path, locks, &name, options.verifies())?;
        Ok(Self {
            attachment,
            recovered,
        })
    }

    /// A producer. Any number may live at once, in any number of processes.
    ///
    /// # Errors
    /// [`AttachError::SoleProducer`] while a live process is the sole producer; `Forked`.
    pub fn producer(&self) -> Result<Producer, AttachError> {
        Producer::new(Arc::clone(&self.attachment))
    }

    /// The only producer: faster, since it need not compete for slots, and it leaves nothing to repair. No other producer
    /// can be made while this process lives and keeps it.
    ///
    /// # Errors
    /// [`AttachError::HasProducers`] while another producer lives, ordinary or sole; `Forked`.
    pub fn sole_producer(&self) -> Result<Producer, AttachError> {
        Producer::sole(Arc::clone(&self.attachment))
    }

    /// A consumer in the group `default`.
    ///
    /// # Errors
    /// [`AttachError::NoDefaultGroup`] if the queue has none; `GroupClosed`, `Forked`.
    pub fn consumer(&self) -> Result<Consumer, AttachError> {
        match self.group(DEFAULT_GROUP) {
            Ok(group) => group.consumer(),
            Err(crate::GroupError::Forked) => Err(AttachError::Forked),
            Err(_) => Err(AttachError::NoDefaultGroup),
        }
    }

    /// Makes a new group.
    ///
    /// # Errors
    /// [`GroupError::AlreadyExists`](crate::GroupError::AlreadyExists) or `Closing`, `Full`, `Name`, `Option`, `Start` if it
    /// cannot start where it should, `ExclusiveOnLossy`, `AckTimeoutOnExclusive`, `DeadQueue`, `Forked`; `Busy` if another process is at it and does not finish within
    /// about 2 s.
    ///
    /// # Crash safety
    /// Who dies in here leaves an entry that the next to attach, or to wait, frees.
    ///
    /// # Examples
    /// Two groups: each sees every message.
    /// ```
    /// use slipring::{GroupOptions, Queue};
    /// # let dir = tempfile::tempdir()?;
    /// let queue = Queue::create(dir.path().join("prices"))?;
    /// let audit = queue.create_group("audit", GroupOptions::exclusive())?;
    /// let (worker, auditor) = (queue.consumer()?, audit.consumer()?);
    ///
    /// queue.producer()?.publish("42")?;
    /// assert_eq!(&*worker.recv()?, b"42");
    /// assert_eq!(&*auditor.recv()?, b"42");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn create_group(
        &self,
        name: &str,
        options: GroupOptions,
    ) -> Result<Group, crate::GroupError> {
        Group::create(&self.attachment, name, &options)
    }

    /// Finds a group.
    ///
    /// # Errors
    /// [`GroupError::NotFound`](crate::GroupError::NotFound) or `Closing`.
    pub fn group(&self, name: &str) -> Result<Group, crate::GroupError> {
        Group::open(&self.attachment, name)
    }

    /// Finds a group, making it if there is none.
    ///
    /// # Errors
    /// As the two others; `KindDiffers` if there is one of the other kind, `OptionDiffers` if it was made with another limit,
    /// time-out or dead-letter queue than one that is set. Its start, and whether it is ephemeral, are not compared.
    pub fn open_or_create_group(
        &self,
        name: &str,
        options: GroupOptions,
    ) -> Result<Group, crate::GroupError> {
        Group::open_or_create(&self.attachment, name, &options)
    }

    /// All groups, as they were while this looked.
    pub fn groups(&self) -> Vec<Group> {
        Group::all(&self.attachment)
    }

    /// Deletes a group: its members are told at their next call, and once they have gone it holds nobody back.
    ///
    /// # Errors
    /// [`GroupError::NotFound`](crate::GroupError::NotFound).
    pub fn delete_group(&self, name: &str) -> Result<(), crate::GroupError> {
        self.group(name)?.delete()
    }

    /// Clears up after dead processes now, rather than when somebody next waits or attaches.
    pub fn sweep(&self) -> Swept {
        if self.attachment.is_forked() {
            return Swept::default();
        }
        self.attachment.sweep()
    }

    /// How the queue stands. Takes a lap of loads for each shared group; nobody is stopped, so the numbers are from
    /// slightly different moments. In a forked child: nothing.
    pub fn stats(&self) -> Stats {
        if self.attachment.is_forked() {
            return Stats::default();
        }
        Stats::take(self.attachment.ring(), self.attachment.verified(), |id| {
            self.attachment.is_alive(id)
        })
    }

    /// Reads again what the ring still holds, from a sequence or a time on, without claiming it. Nobody is held back: what
    /// no group keeps may be gone before it is read, one that lies in the arena before its slot is used again, and is then a
    /// [`Replayed::Gap`](crate::Replayed::Gap).
    ///
    /// By time, it begins at the first message published then or later. Several producers' times need not be in order, and
    /// those of a queue with coarse ones may be some ms early.
    ///
    /// # Errors
    /// A time, and the queue takes none of its messages.
    ///
    /// # Examples
    /// ```
    /// use slipring::{Queue, ReplayFrom, Replayed};
    /// # let dir = tempfile::tempdir()?;
    /// let queue = Queue::create(dir.path().join("orders"))?;
    /// queue.producer()?.publish("buy 100")?;
    /// queue.consumer()?.recv()?.ack()?;
    /// let again: Vec<_> = queue.replay(ReplayFrom::Oldest)?.collect();
    /// assert!(matches!(&again[..], [Replayed::Message(order)] if order.payload == b"buy 100"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn replay(&self, from: ReplayFrom) -> Result<Replay<'_>, NoTimestamps> {
        let attachment = &self.attachment;
        let timestamps = self.timestamps();
        Replay::new(attachment.ring(), timestamps, from, attachment.fork())
    }

    /// The queue's file, as it was called when it was opened; none for a queue in heap memory.
    pub fn path(&self) -> Option<&Path> {
        self.attachment.path()
    }

    /// Messages it can hold.
    pub fn capacity(&self) -> u64 {
        self.attachment.verified().geometry.capacity()
    }

    /// Bytes of its longest message.
    pub fn max_message(&self) -> u64 {
        self.attachment.verified().geometry.shape().max_message
    }

    /// What survives a reboot.
    pub fn durability(&self) -> Durability {
        self.attachment.verified().durability
    }

    /// What was found when this handle, or the one it was cloned from, opened the queue as the first after a reboot.
    pub fn recovery(&self) -> Option<Recovered> {
        self.recovered
    }

    /// What it does when it is full.
    pub fn full_policy(&self) -> FullPolicy {
        self.attachment.verified().full_policy
    }

    /// Where the times of its messages come from.
    pub fn timestamps(&self) -> Timestamps {
        self.attachment.verified().timestamps
    }

    /// Its random name, the same for as long as the file exists.
    pub fn id(&self) -> [u8; 16] {
        self.attachment.verified().queue_id
    }
}

fn new_header(options: &Options, queue_id: [u8; 16]) -> Result<Verified, OpenErrorKind> {
    let (durability, checksums) = options.durability_and_checksums()?;
    Ok(Verified {
        durability,
        checksums,
        geometry: options.geometry()?,
        full_policy: options.full_policy(),
        timestamps: options.timestamp_source(),
        queue_id,
        boot_id: sys::boot_id(),
        created_ns: sys::wall_ns(),
    })
}

/// Sets the few words that do not start at zero. Nobody else can see them yet.
fn initialised(mem: Mem, verified: &Verified, default_group: bool) -> Ring {
    let geometry = verified.geometry;
    let first = geometry.shape().first_sequence;
    let durable = verified.durability.is_durable();
    let ring = Ring::new(mem, geometry).durable(durable);
    let set = |offset, value| {
        // ORDERING: Relaxed; the file has no name yet.
        ring.mem().word(offset).store(value, Ordering::Relaxed);
    };
    set(control::TAIL, first);
    if durable {
        set(control::UNTIL_DISK, first + ring.ahead_of_tail());
        set(control::UNTIL_LIVE, first + ring.ahead_of_tail());
        set(control::DURABLE, first);
    }
    if default_group && let Some(joining) = ring.begin_group(OwnerId(0)) {
        Group::write_name(&ring, joining.id, DEFAULT_GROUP);
        // An empty queue can start nowhere else.
        let _start = ring.finish_group(joining, Terms::default(), Start::Latest);
        debug_assert_eq!(
            ring.group_state(joining.id).entry_state(),
            Some(EntryState::Live)
        );
        debug_assert_eq!(ring.floor(joining.id), first);
    }
    ring
}

impl JoinError {
    fn into_kind(self, verified: &Verified) -> OpenErrorKind {
        match self {
            Self::Full => OpenErrorKind::ParticipantsFull {
                max: verified.geometry.shape().max_participants,
            },
            Self::Busy => OpenErrorKind::Recovering,
            Self::Io(source) => OpenErrorKind::from_io("attaching", 0, source),
        }
    }
}
