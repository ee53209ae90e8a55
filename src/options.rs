//! What a queue is made with, and how a process attaches to it.

use std::path::Path;

use crate::error::{OpenError, OpenErrorKind};
use crate::layout::geometry::Shape;
use crate::layout::header::{FullPolicy, Timestamps};
use crate::layout::{Durability, Geometry, GeometryError, SLOT_HEADER};
use crate::mem::Access;
use crate::queue::Queue;

/// Builder for a [`Queue`]: [`Queue::options`].
///
/// Options that are not set have these defaults when a queue is created; when one is opened, only those set are compared
/// with the file. `default_group` and `file_mode` speak of creation only, and are not compared.
///
/// | option | default | range |
/// |---|---|---|
/// | [`capacity`](Self::capacity) | 4096 messages | a power of two from 2 to 2^30 |
/// | [`slot_size`](Self::slot_size) | 128 bytes | a multiple of 64 from 64 to 1 MiB |
/// | [`max_message`](Self::max_message) | 256 KiB | 0 to 4 GiB - 1 |
/// | [`arena_size`](Self::arena_size) | 16 times `max_message`, none if slots hold it | to 2^44 bytes |
/// | [`max_groups`](Self::max_groups) | 8 | 1 to 64 |
/// | [`max_participants`](Self::max_participants) | 256 | 1 to 4096 |
/// | [`when_full`](Self::when_full) | block | |
/// | [`timestamps`](Self::timestamps) | coarse | |
/// | [`durability`](Self::durability) | none | none, an interval of 1 to 65535 ms, sync |
/// | [`checksums`](Self::checksums) | in durable queues | |
/// | [`default_group`](Self::default_group) | yes | |
/// | [`file_mode`](Self::file_mode) | 0600 | |
///
/// A queue of the defaults takes 5 MiB.
///
/// # Examples
/// ```
/// use slipring::Queue;
/// # let dir = tempfile::tempdir()?;
/// let path = dir.path().join("orders");
/// let queue = Queue::options().capacity(1024).max_message(64).create(&path)?;
/// assert_eq!(queue.capacity(), 1024);
///
/// let error = Queue::options().capacity(1000).create(dir.path().join("odd")).unwrap_err();
/// assert!(error.to_string().contains("capacity is 1000, must be a power of two"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "options do nothing until create, open or open_or_create"]
pub struct Options {
    capacity: Option<u64>,
    slot_size: Option<u64>,
    max_message: Option<u64>,
    arena_size: Option<u64>,
    max_groups: Option<u32>,
    max_participants: Option<u32>,
    first_sequence: Option<u64>,
    full_policy: Option<FullPolicy>,
    timestamps: Option<Timestamps>,
    durability: Option<Durability>,
    checksums: Option<bool>,
    verify: bool,
    no_default_group: bool,
    file_mode: Option<u32>,
    access: Access,
    name: Option<String>,
}

impl Options {
    /// Messages the queue holds: those published and not yet settled by every group. Each takes a slot, and 8 bytes per
    /// group. A ring of 256 to 1024 slots is fastest (docs/performance.md), a larger one is for bursts.
    pub fn capacity(mut self, messages: u64) -> Self {
        self.capacity = Some(messages);
        self
    }

    /// Bytes of a slot. A message of up to `slot_size - 32` bytes lies in its slot; a longer one goes through the arena,
    /// which costs one more cache line on its way.
    pub fn slot_size(mut self, bytes: u64) -> Self {
        self.slot_size = Some(bytes);
        self
    }

    /// Bytes of the longest message.
    pub fn max_message(mut self, bytes: u64) -> Self {
        self.max_message = Some(bytes);
        self
    }

    /// Bytes for messages that do not fit their slot. It is divided into segments that hold the longest message, at most
    /// 16 of them unless messages are short; each producer that composes one needs a segment.
    pub fn arena_size(mut self, bytes: u64) -> Self {
        self.arena_size = Some(bytes);
        self
    }

    /// Groups the queue can have at a time.
    pub fn max_groups(mut self, groups: u32) -> Self {
        self.max_groups = Some(groups);
        self
    }

    /// Processes that can be attached at a time.
    pub fn max_participants(mut self, participants: u32) -> Self {
        self.max_participants = Some(participants);
        self
    }

    /// What a full queue does.
    pub fn when_full(mut self, policy: FullPolicy) -> Self {
        self.full_policy = Some(policy);
        self
    }

    /// Where the time of a message comes from.
    pub fn timestamps(mut self, timestamps: Timestamps) -> Self {
        self.timestamps = Some(timestamps);
        self
    }

    /// What survives a reboot or a power loss. Anything but `None` needs a file on a disk.
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = Some(durability);
        self
    }

    /// Whether every message has a checksum. In durable queues it always has.
    pub fn checksums(mut self, wanted: bool) -> Self {
        self.checksums = Some(wanted);
        self
    }

    /// Whether this process compares each message it receives with its checksum, in queues that have them. One that differs
    /// is an error, [`ClaimError::Corrupt`](crate::ClaimError::Corrupt), and counts as lost.
    pub fn verify(mut self, wanted: bool) -> Self {
        self.verify = wanted;
        self
    }

    /// Whether a new queue has the shared group `default` from the start. Without any group nothing is kept for anybody:
    /// messages are overwritten after a lap.
    pub fn default_group(mut self, wanted: bool) -> Self {
        self.no_default_group = !wanted;
        self
    }

    /// Permission bits of a new file, whatever the umask.
    pub fn file_mode(mut self, mode: u32) -> Self {
        self.file_mode = Some(mode);
        self
    }

    /// Touch every page when attaching rather than at first use.
    pub fn populate(mut self, wanted: bool) -> Self {
        self.access.populate = wanted;
        self
    }

    /// Ask for huge pages. A hint: where there are none, nothing happens.
    pub fn huge_pages(mut self, wanted: bool) -> Self {
        self.access.huge_pages = wanted;
        self
    }

    /// A name for this process in statistics, up to 63 bytes; longer ones are cut. Default: the executable's.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// The first sequence, a multiple of the capacity: for tests of what happens when laps wrap.
    #[doc(hidden)]
    pub fn first_sequence(mut self, sequence: u64) -> Self {
        self.first_sequence = Some(sequence);
        self
    }

    /// Creates a queue and attaches to it. A bare name (no `/`) is a file in `$SLIPRING_DIR`, or else in this user's own
    /// directory in `/dev/shm`; anything else is a path.
    ///
    /// # Errors
    /// [`OpenErrorKind::AlreadyExists`] if there is such a file; `Option` if the options cannot be; `NoSpace`,
    /// `PermissionDenied`, `ReadOnlyFilesystem` and so on if the file cannot be. No partial file is left behind.
    ///
    /// # Crash safety
    /// The file has no name before it is whole: who dies in here leaves nothing.
    pub fn create(&self, path: impl AsRef<Path>) -> Result<Queue, OpenError> {
        Queue::create_with(path.as_ref(), self)
    }

    /// Attaches to an existing queue.
    ///
    /// # Errors
    /// [`OpenErrorKind::NotFound`] if there is no such file; `Format` if it is not a whole queue; `OptionDiffers` if an
    /// option that is set is not what the file was made with; `ParticipantsFull`, `PermissionDenied` and so on.
    pub fn open(&self, path: impl AsRef<Path>) -> Result<Queue, OpenError> {
        Queue::open_with(path.as_ref(), self)
    }

    /// Attaches to a queue, creating it if there is none. Any number of processes may do so at once and end on one queue.
    ///
    /// # Errors
    /// As [`Self::create`] and [`Self::open`].
    pub fn open_or_create(&self, path: impl AsRef<Path>) -> Result<Queue, OpenError> {
        Queue::open_or_create_with(path.as_ref(), self)
    }

    /// A queue in heap memory, for the threads of this process: same code, no file. For tests.
    ///
    /// # Errors
    /// [`OpenErrorKind::Option`] if the options cannot be; `Io` if there is not that much memory.
    pub fn in_memory(&self) -> Result<Queue, OpenError> {
        Queue::in_memory_with(self)
    }

    pub(crate) fn geometry(&self) -> Result<Geometry, OpenErrorKind> {
        let slot_size = self.slot_size.unwrap_or(128);
        let inline = slot_size.saturating_sub(SLOT_HEADER);
        let max_message = self.max_message.unwrap_or(256 << 10);
        // An absurd length is not this line's to refuse.
        let rounded = max_message
            .checked_next_multiple_of(4096)
            .unwrap_or(max_message);
        let default_arena = if max_message <= inline {
            0
        } else {
            rounded.saturating_mul(16)
        };
        Geometry::new(Shape {
            capacity: self.capacity.unwrap_or(4096),
            slot_size,
            max_message,
            arena_size: self.arena_size.unwrap_or(default_arena),
            max_groups: self.max_groups.unwrap_or(8),
            max_participants: self.max_participants.unwrap_or(256),
            first_sequence: self.first_sequence.unwrap_or(0),
        })
        .map_err(OpenErrorKind::Option)
    }

    /// Compares what was set with what a file has.
    pub(crate) fn compare(
        &self,
        found: &crate::layout::header::Verified,
    ) -> Result<(), OpenErrorKind> {
        let shape = found.geometry.shape();
        let pairs = [
            ("capacity", self.capacity, shape.capacity),
            ("slot_size", self.slot_size, shape.slot_size),
            ("max_message", self.max_message, shape.max_message),
            ("arena_size", self.arena_size, shape.arena_size),
            (
                "max_groups",
                self.max_groups.map(u64::from),
                shape.max_groups.into(),
            ),
            (
                "max_participants",
                self.max_participants.map(u64::from),
                shape.max_participants.into(),
            ),
            ("first_sequence", self.first_sequence, shape.first_sequence),
            (
                "when_full",
                self.full_policy.map(|p| p as u64),
                found.full_policy as u64,
            ),
            (
                "timestamps",
                self.timestamps.map(|t| t as u64),
                found.timestamps as u64,
            ),
            (
                "checksums",
                self.checksums.map(u64::from),
                found.checksums.into(),
            ),
        ];
        if let Some(asked) = self.durability
            && asked != found.durability
        {
            let found = found.durability;
            return Err(OpenErrorKind::DurabilityDiffers { asked, found });
        }
        for (option, asked, found) in pairs {
            if let Some(asked) = asked.filter(|&asked| asked != found) {
                return Err(OpenErrorKind::OptionDiffers {
                    option,
                    asked,
                    found,
                });
            }
        }
        Ok(())
    }

    /// These, and for what is not set those of another queue. The first sequence is that queue's, brought down to the start
    /// of a lap.
    pub(crate) fn or(&self, shape: &Shape, policy: FullPolicy, timestamps: Timestamps) -> Self {
        let capacity = self.capacity.unwrap_or(shape.capacity);
        // Where long messages go depends on what is long.
        let same_slots = self.slot_size.is_none() && self.max_message.is_none();
        let first = shape.first_sequence;
        Self {
            capacity: Some(capacity),
            slot_size: self.slot_size.or(Some(shape.slot_size)),
            max_message: self.max_message.or(Some(shape.max_message)),
            arena_size: self.arena_size.or(same_slots.then_some(shape.arena_size)),
            max_groups: self.max_groups.or(Some(shape.max_groups)),
            max_participants: self.max_participants.or(Some(shape.max_participants)),
            first_sequence: Some(first - first.checked_rem(capacity).unwrap_or(0)),
            full_policy: self.full_policy.or(Some(policy)),
            timestamps: self.timestamps.or(Some(timestamps)),
            ..self.clone()
        }
    }

    /// The same, where nothing is said of what survives a reboot.
    pub(crate) fn or_durability(self, durability: Durability, checksums: bool) -> Self {
        Self {
            durability: self.durability.or(Some(durability)),
            checksums: self.checksums.or(checksums.then_some(true)),
            ..self
        }
    }

    pub(crate) fn full_policy(&self) -> FullPolicy {
        self.full_policy.unwrap_or_default()
    }

    pub(crate) fn timestamp_source(&self) -> Timestamps {
        self.timestamps.unwrap_or_default()
    }

    /// The mode of a new queue, and whether its messages have checksums.
    pub(crate) fn durability_and_checksums(&self) -> Result<(Durability, bool), OpenErrorKind> {
        let durability = self.durability.unwrap_or_default();
        let wrong = |field, found, expected| {
            Err(OpenErrorKind::Option(GeometryError {
                field,
                found,
                expected,
            }))
        };
        if let Durability::Interval(every) = durability
            && durability.to_bits().is_none()
        {
            let ms = u64::try_from(every.as_millis()).unwrap_or(u64::MAX);
            return wrong("durability", ms, "an interval of 1 to 65535 whole ms");
        }
        if durability.is_durable() && self.checksums == Some(false) {
            return wrong("checksums", 0, "1 in a durable queue");
        }
        let checksums = self.checksums.unwrap_or(durability.is_durable());
        Ok((durability, checksums))
    }

    pub(crate) fn verifies(&self) -> bool {
        self.verify
    }

    pub(crate) fn wants_default_group(&self) -> bool {
        !self.no_default_group
    }

    pub(crate) fn mode(&self) -> u32 {
        self.file_mode.unwrap_or(0o600) & 0o777
    }

    pub(crate) fn access(&self) -> Access {
        self.access
    }

    pub(crate) fn participant_name(&self) -> String {
        self.name.clone().unwrap_or_else(|| {
            let exe = std::env::current_exe().unwrap_or_default();
            exe.file_name()
                .map(|name| name.to_string_lossy().into_owned())
                .unwrap_or_default()
        })
    }
}
