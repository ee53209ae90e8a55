//! A queue as a stream: every message that some group has not settled, and how far each group is.
//!
//! Taken beside those who work on the queue. First the end is fixed, then the groups are looked at, then the messages are
//! copied. So what is settled meanwhile may be in the stream as not settled, and is delivered again after an import; what
//! is not settled is never missing.

use std::io::Write;

use super::frames::{write_frame, write_preface};
use super::records::{
    END, GROUP, MARKS, MARKS_PER_FRAME, MESSAGE, QUEUE, QueueRecord, marks_to_bytes,
    message_to_bytes,
};
use super::state::GroupState;
use super::{Progress, TransferError};
use crate::dead::DeadLetter;
use crate::inspect::Inspector;
use crate::layout::SlotHeader;
use crate::replay::oldest;
use crate::ring::{Observed, Ring};

/// What an export has in it, and what not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exported {
    /// Messages written.
    pub messages: u64,
    /// Groups written. Those that vanish with their last consumer are not.
    pub groups: u64,
    /// Bytes written.
    pub bytes: u64,
    /// Messages that every group had settled, and that were overwritten, before they could be copied.
    pub settled_meanwhile: u64,
    /// Sequences taken by producers that had not published when the export came by: not in it, and not yet acknowledged to
    /// anybody when it began.
    pub unfinished: u64,
    /// Messages whose bytes make no sense, by sequence; not in it.
    pub damaged: Vec<u64>,
}

impl Inspector {
    /// Writes every message that some group has not settled, and how far each group is, as a stream that
    /// [`Options::import`](crate::Options::import) makes a queue from. Of a queue without groups, all that the ring still
    /// holds. Others may work on the queue meanwhile, and are not held back.
    ///
    /// # Errors
    /// [`TransferError::Stream`]: what writing reports; `Forked`.
    ///
    /// # Examples
    /// ```
    /// use slipring::{Inspector, Queue};
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("orders");
    /// Queue::create(&path)?.producer()?.publish("buy 100")?;
    /// let mut stream = Vec::new();
    /// let exported = Inspector::open(&path)?.export(&mut stream, &mut |_, _| {})?;
    /// assert_eq!(exported.messages, 1);
    ///
    /// let copy = dir.path().join("copy");
    /// Queue::options().import(&copy, &stream[..], false, &mut |_, _| {})?;
    /// assert_eq!(&*Queue::open(&copy)?.consumer()?.recv()?, b"buy 100");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn export(
        &self,
        to: impl Write,
        progress: Progress<'_>,
    ) -> Result<Exported, TransferError> {
        if self.is_forked() {
            return Err(TransferError::Forked);
        }
        let end = self.tail();
        let ring = self.ring();
        let groups = GroupState::of_all(ring, end);
        let first = first_of(ring, &groups, end);
        let record = QueueRecord::new(self.verified(), first, end);
        let mut writer = Writer {
            to,
            exported: Exported::default(),
        };
        writer.head(&record, &groups)?;
        let mut payload = Vec::new();
        for sequence in first..end {
            writer.message(ring, sequence, &mut payload)?;
            progress(sequence + 1 - first, end - first);
        }
        let exported = &writer.exported;
        let counts = [exported.messages, exported.groups].map(u64::to_le_bytes);
        writer.frame(END, [counts.as_flattened(), &[]])?;
        writer.to.flush().map_err(TransferError::Stream)?;
        Ok(writer.exported)
    }
}

/// Where the messages that somebody has not settled begin.
pub(super) fn first_of(ring: &Ring, groups: &[GroupState], end: u64) -> u64 {
    let lowest = groups.iter().map(|group| group.position).min();
    lowest.unwrap_or_else(|| oldest(ring)).min(end)
}

struct Writer<W> {
    to: W,
    exported: Exported,
}

impl<W: Write> Writer<W> {
    fn frame(&mut self, kind: u16, parts: [&[u8]; 2]) -> Result<(), TransferError> {
        let written = write_frame(&mut self.to, kind, parts).map_err(TransferError::Stream)?;
        self.exported.bytes += written;
        Ok(())
    }

    fn head(&mut self, record: &QueueRecord, groups: &[GroupState]) -> Result<(), TransferError> {
        write_preface(&mut self.to).map_err(TransferError::Stream)?;
        self.exported.bytes += 16;
        self.frame(QUEUE, [&record.to_bytes(), &[]])?;
        for (number, group) in (0_u32..).zip(groups) {
            self.frame(GROUP, [&group.to_bytes(number), &[]])?;
            for marks in group.marks.chunks(MARKS_PER_FRAME) {
                self.frame(MARKS, [&marks_to_bytes(number, marks), &[]])?;
            }
            self.exported.groups += 1;
        }
        Ok(())
    }

    fn message(
        &mut self,
        ring: &Ring,
        sequence: u64,
        payload: &mut Vec<u8>,
    ) -> Result<(), TransferError> {
        match ring.observe(sequence, payload) {
            Observed::Message(header)
                if header.flags & SlotHeader::DEAD_LETTER != 0
                    && DeadLetter::split(payload).is_none() =>
            {
                self.exported.damaged.push(sequence);
            }
            Observed::Message(header) => {
                self.frame(MESSAGE, [&message_to_bytes(sequence, &header), payload])?;
                self.exported.messages += 1;
            }
            Observed::Hole => {}
            Observed::NotYet => self.exported.unfinished += 1,
            Observed::Overwritten => self.exported.settled_meanwhile += 1,
            Observed::Damaged => self.exported.damaged.push(sequence),
        }
        Ok(())
    }
}
