//! Taking a queue's messages and its groups' positions out of a file and into another one: as a stream (`export`, `import`),
//! or straight into a file of another shape (`resize`).
//!
//! Relies on `ring` for reading and for making groups, and on `file` for making files that are whole or not there. The
//! stream is described in `docs/format.md`.

mod build;
mod export;
mod frames;
mod import;
mod records;
mod resize;
mod state;

use std::fmt;
use std::io;

use crate::error::{FORKED, GeometryError, OpenError};

pub use export::Exported;
pub use import::{Imported, Skipped};
pub use resize::Resized;

/// How far a transfer has come: messages, of at most so many.
pub type Progress<'a> = &'a mut dyn FnMut(u64, u64);

/// An export, import or resize that has not been done. The target is then as it was.
#[derive(Debug)]
#[non_exhaustive]
pub enum TransferError {
    /// A file cannot be opened or made.
    Open(OpenError),
    /// The stream cannot be read or written.
    Stream(io::Error),
    /// The stream is no export, or is damaged.
    Damaged {
        /// Bytes from the start of the stream.
        offset: u64,
        /// What was looked at.
        what: &'static str,
        /// What stands there.
        found: u64,
        /// What should.
        expected: &'static str,
    },
    /// The messages that are not settled do not fit the new shape.
    DoesNotFit(GeometryError),
    /// More groups than the new shape has room for, or one that it cannot have.
    Group(crate::error::GroupError),
    /// A live process is attached, and resizing needs the queue for itself.
    InUse {
        /// Its process id, as it sees itself.
        pid: u64,
    },
    /// The queue is damaged, says [`verify`](crate::verify()): resizing would carry that on, or lose what it hides.
    Unsound {
        /// The first finding's place, in bytes from the start of the file.
        offset: u64,
    },
    /// This process is a forked child of the one that opened the queue: open it anew.
    Forked,
    /// A message cannot be read.
    Unreadable {
        /// Its sequence.
        sequence: u64,
    },
}

impl fmt::Display for TransferError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(error) => error.fmt(f),
            Self::Stream(error) => write!(f, "the stream: {error}"),
            Self::Damaged {
                offset,
                what,
                found,
                expected,
            } => write!(
                f,
                "damaged export: {what} at byte {offset} is {found:#x}, expected {expected}"
            ),
            Self::DoesNotFit(error) => write!(f, "what is not settled does not fit: {error}"),
            Self::Group(error) => error.fmt(f),
            Self::InUse { pid } => write!(
                f,
                "process {pid} is attached: a queue is resized when nobody uses it"
            ),
            Self::Unsound { offset } => write!(
                f,
                "damaged at offset {offset}: see what `verify` says; an export takes out what can be read"
            ),
            Self::Forked => FORKED.fmt(f),
            Self::Unreadable { sequence } => write!(f, "message {sequence} cannot be read"),
        }
    }
}

impl std::error::Error for TransferError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Open(error) => Some(error),
            Self::Stream(error) => Some(error),
            Self::DoesNotFit(error) => Some(error),
            Self::Group(error) => Some(error),
            _ => None,
        }
    }
}

impl From<OpenError> for TransferError {
    fn from(error: OpenError) -> Self {
        Self::Open(error)
    }
}

fn does_not_fit(field: &'static str, found: u64, expected: &'static str) -> TransferError {
    TransferError::DoesNotFit(GeometryError {
        field,
        found,
        expected,
    })
}
