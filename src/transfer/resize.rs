//! A queue in a file of another shape, under the same name: made beside the old one, and put in its place at once.
//!
//! Nobody is attached meanwhile, and nobody can attach: every participant's lock is taken. Who dies in here leaves the old
//! queue, or the new one, whole; the locks end with it. Who had opened the old file, and attaches to it when the new one is
//! there, notices and opens again (`Queue::open`).

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::build::Builder;
use super::export::first_of;
use super::state::GroupState;
use super::{Progress, TransferError};
use crate::error::{OpenError, OpenErrorKind};
use crate::file::{self, NewFile};
use crate::layout::Geometry;
use crate::layout::header::Verified;
use crate::mem::Mem;
use crate::options::Options;
use crate::participant::{Attachment, Locks, lock_everybody_out};
use crate::path;
use crate::queue::Queue;
use crate::ring::{Observed, Ring};
use crate::sys;
use crate::verify::verify;

/// What a resize has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Resized {
    /// The shape before.
    pub before: Geometry,
    /// The shape now.
    pub after: Geometry,
    /// Messages taken along: all that some group had not settled, with the sequences they had.
    pub messages: u64,
    /// Groups taken along, with their settings, counters, parked messages and delivery counts.
    pub groups: u64,
}

impl Options {
    /// Gives an existing queue another shape, another policy for when it is full, or another durability. What is not set
    /// stays. Nobody may be attached; the dead are cleared up after first.
    ///
    /// Kept are its id, all messages that some group has not settled, with their sequences, and all groups. What every group
    /// had settled is not, so there is less to read again. Inspectors that were open go on looking at the old file.
    ///
    /// # Errors
    /// [`TransferError::InUse`]; `DoesNotFit` if the new shape has no room for what is not settled; `Unsound` if the queue is
    /// damaged; those of opening and creating files. The queue is then as it was.
    ///
    /// # Crash safety
    /// The new file takes the old one's name in one step: who dies in here leaves one of them, whole, and at most a hidden
    /// temporary file, which the next resize removes.
    ///
    /// # Examples
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("orders");
    /// use slipring::Queue;
    /// Queue::options().capacity(4).create(&path)?.producer()?.publish("kept")?;
    /// let resized = Queue::options().capacity(1024).resize(&path, &mut |_, _| {})?;
    /// assert_eq!((resized.messages, resized.groups), (1, 1));
    ///
    /// let queue = Queue::open(&path)?;
    /// assert_eq!(queue.capacity(), 1024);
    /// assert_eq!(&*queue.consumer()?.recv()?, b"kept");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn resize(
        &self,
        path: impl AsRef<Path>,
        progress: Progress<'_>,
    ) -> Result<Resized, TransferError> {
        let path = path::resolve(path.as_ref())?;
        // The name that is taken over must be the file's, not that of a link to it.
        let path = path.canonicalize().unwrap_or(path);
        let queue = Queue::open(&path)?;
        queue.sweep();
        drop(queue);
        if let Some(finding) = verify(&path)?.damage().next() {
            let offset = finding.offset;
            return Err(TransferError::Unsound { offset });
        }
        let old = Old::alone(&path)?;
        let groups = GroupState::of_all(&old.ring, old.ring.true_tail());
        old.rebuilt(self, &path, &groups, progress)
    }
}

/// The file there is, with everybody locked out.
struct Old {
    ring: Ring,
    verified: Verified,
    locks: Locks,
}

impl Old {
    fn alone(path: &Path) -> Result<Self, TransferError> {
        let (file, verified) = file::open(path, true)?;
        let size = verified.geometry.file_size();
        let fail = |operation| {
            move |source| OpenError::new(path, OpenErrorKind::from_io(operation, size, source))
        };
        let mem = Mem::map_read_only(&file, size).map_err(fail("mapping the file"))?;
        let ring = Ring::new(mem, verified.geometry);
        let locks = Locks::File(file);
        let alone = lock_everybody_out(&ring, &locks).map_err(fail("locking the file"))?;
        if let Err(id) = alone {
            let pid = Attachment::pid_in(&ring, id);
            return Err(TransferError::InUse { pid });
        }
        let old = Self {
            ring,
            verified,
            locks,
        };
        // Somebody else has resized it since we opened it.
        if old.file().is_some_and(|file| file::is_replaced(file, path)) {
            return Err(TransferError::InUse { pid: 0 });
        }
        Ok(old)
    }

    fn file(&self) -> Option<&std::fs::File> {
        match &self.locks {
            Locks::File(file) => Some(file),
            Locks::Heap(..) => None,
        }
    }

    fn rebuilt(
        &self,
        options: &Options,
        path: &Path,
        groups: &[GroupState],
        progress: Progress<'_>,
    ) -> Result<Resized, TransferError> {
        let ring = &self.ring;
        let end = ring.true_tail();
        let first = first_of(ring, groups, end);
        let mut shape = *self.verified.geometry.shape();
        shape.first_sequence = first;
        let old = &self.verified;
        let options = options
            .or(&shape, old.full_policy, old.timestamps)
            .or_durability(old.durability, old.checksums);
        let fail = |kind| OpenError::new(path, kind);
        let geometry = options.geometry().map_err(fail)?;
        let (durability, checksums) = options.durability_and_checksums().map_err(fail)?;
        let verified = Verified {
            geometry,
            durability,
            checksums,
            full_policy: options.full_policy(),
            timestamps: options.timestamp_source(),
            // The new file begins in this boot, whichever the old one was recovered in.
            boot_id: sys::boot_id(),
            ..self.verified
        };
        let mode = self.file().and_then(|file| file.metadata().ok());
        let mode = mode.map_or(0o600, |metadata| metadata.permissions().mode() & 0o777);
        let new = NewFile::create_successor(path, &verified, mode)?;
        let mut builder = Builder::new(new, path, &verified, end)?;
        for group in groups {
            builder.group(group)?;
        }
        let mut payload = Vec::new();
        for sequence in first..end {
            match ring.observe(sequence, &mut payload) {
                Observed::Message(header) => builder.message(sequence, header, &payload)?,
                Observed::Hole => {}
                // Without groups the oldest may be half written over, and is nobody's.
                Observed::Overwritten if groups.is_empty() => {}
                _ => return Err(TransferError::Unreadable { sequence }),
            }
            progress(sequence + 1 - first, end - first);
        }
        let (file, messages) = builder.finish();
        file.replace()?;
        Ok(Resized {
            before: self.verified.geometry,
            after: geometry,
            messages,
            groups: groups.len() as u64,
        })
    }
}
