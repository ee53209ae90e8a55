//! A lock-free message queue in one memory-mapped file, for the processes of one host.
//!
//! Many producers publish; many consumers claim, process and ack. Any of them may be killed at any instruction: nothing
//! published is lost, nothing hangs, nobody runs a repair tool. There is no daemon.
//!
//! ```
//! use slipring::Queue;
//! # let dir = tempfile::tempdir()?;
//! # let path = dir.path().join("orders");
//!
//! // In one process ...
//! let queue = Queue::open_or_create(&path)?;
//! let mut producer = queue.producer()?;
//! let sequence = producer.publish("buy 100")?;
//!
//! // ... and in another.
//! let queue = Queue::open_or_create(&path)?;
//! let consumer = queue.consumer()?;
//! let delivery = consumer.recv()?;
//! assert_eq!(&*delivery, b"buy 100");
//! assert_eq!((delivery.sequence(), delivery.delivery_count()), (sequence, 1));
//! delivery.ack()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Words
//! A *group* sees every message. In a *shared* group each message goes to one *consumer*, which *acks* it; in an
//! *exclusive* group one consumer sees all of them in strict order. A new queue has the shared group `default`.
//! A message's *sequence* only grows. See [`Queue`], [`Producer`], [`Consumer`], [`Delivery`], [`GroupOptions`].
//!
//! # Guarantees
//! | event | what the others see |
//! |---|---|
//! | a producer dies | its message is there whole, or not at all |
//! | a consumer dies | its unacked messages go to another consumer of the group, with a higher delivery count |
//! | a message cannot be handled | after as many deliveries as its group allows it goes to a dead-letter queue, or is parked |
//! | a process is paused | what it holds stays its own; in a group with an ack time-out its claims go to others |
//! | all die, the file is opened again | everything published and not acked is there |
//! | reboot, power loss | what was confirmed durable and not acked is there; what is torn is counted, and not delivered |
//! | the queue is full | what the queue was created with: wait, reject, or drop the oldest and count it |
//! | the file is damaged | an error that says where |
//!
//! Delivery is at least once per group. The file survives the processes; what survives the machine is chosen at creation
//! ([`Options::durability`]): without durability any reboot, an orderly one too, drops all messages; with it, what was
//! confirmed is there, whatever the disk had of the rest.
//!
//! # Trust
//! Whoever can write the file is trusted to run this code: it may crash, pause or die, but a process that scribbles over
//! a payload while another reads it breaks what Rust promises about `&[u8]`, and whoever truncates a file in use kills its
//! users (SIGBUS). Files are created with mode 0600.
//!
//! # Platforms
//! Linux on x86-64 and aarch64. Other unixes are meant to compile; there, only [`Options::in_memory`] works.
//!
//! Modules hidden from this page are the protocol's insides, public for its own tests only.

#![deny(unsafe_code)]
#![cfg_attr(
    slipring_loom,
    allow(dead_code, unused_imports, reason = "models use the ring alone")
)]

#[cfg(target_endian = "big")]
compile_error!(
    "the file format is little-endian, and so far only written on little-endian machines"
);

#[cfg(not(slipring_loom))]
mod at_hand;
#[cfg(not(slipring_loom))]
mod claims;
#[cfg(not(slipring_loom))]
mod clean;
#[cfg(not(slipring_loom))]
mod consumer;
#[cfg(not(slipring_loom))]
mod dead;
#[cfg(not(slipring_loom))]
mod delivery;
#[cfg(not(slipring_loom))]
mod dump;
#[cfg(not(slipring_loom))]
mod durable;
#[cfg(not(slipring_loom))]
mod error;
#[cfg(not(slipring_loom))]
mod examine;
#[cfg(not(slipring_loom))]
mod file;
#[cfg(not(slipring_loom))]
mod group;
#[cfg(not(slipring_loom))]
mod inspect;
#[doc(hidden)]
pub mod layout;
#[doc(hidden)]
#[expect(unsafe_code, reason = "the only door to the mapping")]
pub mod mem;
#[cfg(not(slipring_loom))]
mod message;
#[cfg(not(slipring_loom))]
mod options;
#[cfg(not(slipring_loom))]
mod participant;
#[cfg(not(slipring_loom))]
#[expect(unsafe_code, reason = "asks the kernel who we are")]
mod path;
#[cfg(not(slipring_loom))]
mod producer;
#[cfg(not(slipring_loom))]
mod queue;
#[cfg(not(slipring_loom))]
mod receive;
#[cfg(not(slipring_loom))]
mod recover;
#[cfg(not(slipring_loom))]
mod replay;
#[cfg(not(slipring_loom))]
mod reservation;
#[doc(hidden)]
pub mod ring;
#[cfg(not(slipring_loom))]
mod sender;
#[cfg(not(slipring_loom))]
mod stats;
#[doc(hidden)]
pub mod sync;
#[cfg(not(slipring_loom))]
#[expect(unsafe_code, reason = "system calls")]
mod sys;
#[cfg(not(slipring_loom))]
mod transfer;
#[cfg(not(slipring_loom))]
mod verify;
#[cfg(not(slipring_loom))]
mod wait;

#[cfg(not(slipring_loom))]
pub use claims::{Claims, Iter};
#[cfg(not(slipring_loom))]
pub use consumer::{BATCH_MAX, Consumer};
#[cfg(not(slipring_loom))]
pub use dead::{DEAD_LETTER_OVERHEAD, DeadLetter};
#[cfg(not(slipring_loom))]
pub use delivery::Delivery;
#[cfg(not(slipring_loom))]
pub use dump::{Dump, DumpEntry, DumpField};
#[cfg(not(slipring_loom))]
pub use error::{
    AckError, AttachError, BatchError, ClaimError, DeadQueueError, FormatError, GeometryError,
    GroupError, OpenError, OpenErrorKind, PublishError, Rejected,
};
#[cfg(not(slipring_loom))]
pub use group::{DEFAULT_GROUP, Group, GroupOptions};
#[cfg(not(slipring_loom))]
pub use inspect::{Inspector, Peeked};
#[cfg(not(slipring_loom))]
pub use layout::header::{FullPolicy, Timestamps};
#[cfg(not(slipring_loom))]
pub use layout::{Durability, Geometry};
#[cfg(not(slipring_loom))]
pub use message::{Message, ValueError};
#[cfg(not(slipring_loom))]
pub use options::Options;
#[cfg(not(slipring_loom))]
pub use path::directory;
#[cfg(not(slipring_loom))]
pub use producer::{Batch, Producer};
#[cfg(not(slipring_loom))]
pub use queue::Queue;
#[cfg(not(slipring_loom))]
pub use recover::PendingRecovery;
#[cfg(not(slipring_loom))]
pub use replay::{NoTimestamps, Replay, ReplayFrom, Replayed, ReplayedMessage};
#[cfg(not(slipring_loom))]
pub use reservation::Reservation;
#[cfg(not(slipring_loom))]
pub use ring::{Cause, Recovered, Start, Swept};
#[cfg(not(slipring_loom))]
pub use stats::{GroupStats, ParticipantStats, Stats};
#[cfg(not(slipring_loom))]
pub use transfer::{Exported, Imported, Progress, Resized, Skipped, TransferError};
#[cfg(not(slipring_loom))]
pub use verify::{Finding, Severity, Verification, verify};
#[cfg(not(slipring_loom))]
pub use wait::WaitStrategy;
/// [`Message::value`] and [`Delivery::value`] speak in its traits.
pub use zerocopy;

/// The examples of the README compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
