//! A queue from a stream that `export` wrote. The queue has no name until all of it is read, so whoever dies in here, or
//! meets damage, leaves nothing.

use std::io::Read;
use std::path::Path;

use super::build::Builder;
use super::frames::{Frame, Frames};
use super::records::{END, GROUP, MARKS, MESSAGE, QUEUE, QueueRecord, read_marks, read_message};
use super::state::GroupState;
use super::{Progress, TransferError};
use crate::error::OpenError;
use crate::file::NewFile;
use crate::layout::header::Verified;
use crate::options::Options;
use crate::{path, sys};

/// What an import has made.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Imported {
    /// Messages in the new queue.
    pub messages: u64,
    /// Groups in the new queue.
    pub groups: u64,
    /// What was passed over, of a damaged stream.
    pub skipped: Vec<Skipped>,
}

/// A part of a damaged stream that is not in the new queue.
#[derive(Debug)]
#[non_exhaustive]
pub struct Skipped {
    /// What is wrong there.
    pub why: TransferError,
    /// Bytes passed over.
    pub bytes: u64,
}

impl Options {
    /// Makes a queue from an export: its messages with the sequences they had, its groups where they were. Options that are
    /// not set are those of the queue that was exported; the file's name must be free. The new queue has an id of its own.
    ///
    /// With `keep_going`, what is damaged is passed over and told of; without, any damage refuses all of it.
    ///
    /// # Errors
    /// [`TransferError::Damaged`], saying where; `DoesNotFit` if options are set that leave no room; those of creating a
    /// queue, and of reading. There is then no queue.
    ///
    /// # Crash safety
    /// The file has no name before it is whole: who dies in here leaves nothing.
    pub fn import(
        &self,
        path: impl AsRef<Path>,
        from: impl Read,
        keep_going: bool,
        progress: Progress<'_>,
    ) -> Result<Imported, TransferError> {
        let path = path::resolve(path.as_ref())?;
        let mut import = Import {
            options: self,
            path: &path,
            builder: None,
            first: 0,
            next: 0,
            end: 0,
            groups: Vec::new(),
            messages: 0,
            ended: false,
        };
        let mut frames = Frames::new(from)?;
        let mut skipped = Vec::new();
        loop {
            let taken = match frames.next() {
                Ok(None) => break,
                Ok(Some(frame)) => import.take(&frame).map_err(|error| (error, false)),
                Err(error) => Err((error, true)),
            };
            match taken {
                Ok(()) => progress(import.messages, import.end - import.first),
                Err((why @ TransferError::Damaged { .. }, lost)) if keep_going => {
                    let bytes = if lost { frames.find_next()? } else { 0 };
                    skipped.push(Skipped { why, bytes });
                }
                Err((error, _)) => return Err(error),
            }
        }
        if !import.ended {
            let why = TransferError::Damaged {
                offset: frames.position(),
                what: "the end of the stream",
                found: 0,
                expected: "an end frame: the stream was cut off",
            };
            if !keep_going {
                return Err(why);
            }
            skipped.push(Skipped { why, bytes: 0 });
        }
        let no_queue = TransferError::Damaged {
            offset: 16,
            what: "the first frame",
            found: 0,
            expected: "one that describes the queue",
        };
        let groups = import.groups.len() as u64;
        let (file, messages) = import.builder.ok_or(no_queue)?.finish();
        file.publish()?;
        Ok(Imported {
            messages,
            groups,
            skipped,
        })
    }
}

/// An import under way.
struct Import<'a> {
    options: &'a Options,
    path: &'a Path,
    /// Once the stream has said what the queue is.
    builder: Option<Builder>,
    first: u64,
    /// The lowest sequence that may follow.
    next: u64,
    end: u64,
    /// Numbers of the groups in the export.
    groups: Vec<u32>,
    messages: u64,
    ended: bool,
}

impl Import<'_> {
    fn take(&mut self, frame: &Frame) -> Result<(), TransferError> {
        let wrong = |what, expected| TransferError::Damaged {
            offset: frame.offset,
            what,
            found: frame.kind.into(),
            expected,
        };
        if self.ended {
            return Err(wrong("a frame behind the end", "nothing"));
        }
        let Some(builder) = &mut self.builder else {
            if frame.kind != QUEUE {
                return Err(wrong("the first frame", "one that describes the queue"));
            }
            return self.begin(&QueueRecord::read(frame)?);
        };
        match frame.kind {
            GROUP => {
                let (number, group) = GroupState::read(frame)?;
                builder.group(&group)?;
                self.groups.push(number);
            }
            MARKS => {
                let (number, marks) = read_marks(frame)?;
                let known = self.groups.iter().position(|group| *group == number);
                let known = known.ok_or_else(|| wrong("marks", "those of a group before"))?;
                builder.marks(known, marks);
            }
            MESSAGE => {
                let (sequence, header, payload) = read_message(frame)?;
                if !(self.next..self.end).contains(&sequence) {
                    let expected = "above those before, and below the end announced";
                    return Err(wrong("a message's sequence", expected));
                }
                builder.message(sequence, header, payload)?;
                self.next = sequence + 1;
                self.messages += 1;
            }
            END => self.ended = true,
            _ => return Err(wrong("a frame's kind", "2 to 5")),
        }
        Ok(())
    }

    fn begin(&mut self, record: &QueueRecord) -> Result<(), TransferError> {
        let shape = record.shape();
        let options = self
            .options
            .or(&shape, record.full_policy, record.timestamps);
        let fail = |kind| OpenError::new(self.path, kind);
        let geometry = options.geometry().map_err(fail)?;
        let random = sys::random_id();
        let random = random.map_err(|source| {
            fail(crate::OpenErrorKind::from_io(
                "reading random bytes",
                0,
                source,
            ))
        })?;
        let (durability, checksums) = options.durability_and_checksums().map_err(fail)?;
        let verified = Verified {
            durability,
            checksums,
            geometry,
            full_policy: options.full_policy(),
            timestamps: options.timestamp_source(),
            queue_id: random,
            boot_id: sys::boot_id(),
            created_ns: sys::wall_ns(),
        };
        let file = NewFile::create(self.path, &verified, options.mode())?;
        self.builder = Some(Builder::new(file, self.path, &verified, record.end)?);
        (self.first, self.next, self.end) = (record.first, record.first, record.end);
        Ok(())
    }
}
