//! The frames of an export: each says its kind and length, and carries a checksum, so that damage is found where it is, and
//! what follows it can be found again.

use std::io::{self, Read, Write};

use super::TransferError;

/// The first eight bytes of every export.
pub(super) const MAGIC: [u8; 8] = *b"SLIPEXPT";
/// The only version that is written, and read.
pub(super) const VERSION: u32 = 1;
/// What every frame begins with.
const MARKER: [u8; 4] = *b"slfr";
/// Bytes of a frame before its body.
const HEAD: usize = 20;
/// The longest body: the longest message and what stands in front of it.
const LONGEST: u64 = u32::MAX as u64 + 4096;
/// Bytes read at a time.
const CHUNK: usize = 64 << 10;

/// Begins an export.
pub(super) fn write_preface(to: &mut impl Write) -> io::Result<()> {
    let mut preface = [&MAGIC[..], &VERSION.to_le_bytes()].concat();
    preface.extend(crc32c::crc32c(&preface).to_le_bytes());
    to.write_all(&preface)
}

/// Writes a frame; returns its bytes.
pub(super) fn write_frame(to: &mut impl Write, kind: u16, parts: [&[u8]; 2]) -> io::Result<u64> {
    let length = parts.iter().map(|part| part.len() as u64).sum::<u64>();
    let mut head = MARKER.to_vec();
    head.extend(u32::from(kind).to_le_bytes());
    head.extend(length.to_le_bytes());
    let crc = parts.iter().fold(crc32c::crc32c(&head), |crc, part| {
        crc32c::crc32c_append(crc, part)
    });
    head.extend(crc.to_le_bytes());
    to.write_all(&head)?;
    for part in parts {
        to.write_all(part)?;
    }
    Ok(HEAD as u64 + length)
}

/// A frame that is whole.
#[derive(Debug)]
pub(super) struct Frame {
    /// Where it begins in the stream.
    pub(super) offset: u64,
    pub(super) kind: u16,
    pub(super) body: Vec<u8>,
}

/// Reads an export frame by frame.
pub(super) struct Frames<R> {
    from: R,
    /// Read, and not used yet.
    buffer: Vec<u8>,
    /// Of the buffer, used.
    used: usize,
    /// Where the unused part of the buffer begins in the stream.
    offset: u64,
    ended: bool,
}

impl<R: Read> Frames<R> {
    /// Checks the preface.
    pub(super) fn new(from: R) -> Result<Self, TransferError> {
        let mut frames = Self {
            from,
            buffer: Vec::new(),
            used: 0,
            offset: 0,
            ended: false,
        };
        frames.fill(16)?;
        let found = frames.unused();
        let wrong = |offset, what, found, expected| TransferError::Damaged {
            offset,
            what,
            found,
            expected,
        };
        let magic = number(found, 0, 8);
        if magic != u64::from_le_bytes(MAGIC) {
            return Err(wrong(0, "the beginning", magic, "\"SLIPEXPT\""));
        }
        let version = number(found, 8, 4);
        if version != VERSION.into() {
            return Err(wrong(8, "the version", version, "1"));
        }
        let crc = number(found, 12, 4);
        let expected = found.get(..12).map_or(0, crc32c::crc32c);
        if found.len() < 16 || crc != u64::from(expected) {
            return Err(wrong(
                12,
                "the checksum",
                crc,
                "that of the 12 bytes before",
            ));
        }
        frames.skip(16);
        Ok(frames)
    }

    /// The next frame; `None` at the end of the stream.
    ///
    /// # Errors
    /// `Damaged`: after it, [`Self::find_next`] goes on.
    pub(super) fn next(&mut self) -> Result<Option<Frame>, TransferError> {
        self.fill(HEAD)?;
        let offset = self.offset;
        let wrong = |what, found, expected| TransferError::Damaged {
            offset,
            what,
            found,
            expected,
        };
        let head = self.unused();
        if head.is_empty() {
            return Ok(None);
        }
        let marker = number(head, 0, 4);
        let kind = number(head, 4, 4);
        let length = number(head, 8, 8);
        let crc = number(head, 16, 4);
        if marker != number(&MARKER, 0, 4) {
            return Err(wrong("a frame's marker", marker, "\"slfr\""));
        }
        let (Ok(kind), true) = (u16::try_from(kind), head.len() >= HEAD) else {
            return Err(wrong(
                "a frame's kind",
                kind,
                "a kind below 65536, and a whole frame",
            ));
        };
        if length > LONGEST {
            return Err(wrong("a frame's length", length, "at most 2^32 + 4095"));
        }
        let size = usize::try_from(length)
            .ok()
            .and_then(|length| length.checked_add(HEAD));
        let size = size.ok_or_else(|| wrong("a frame's length", length, "less than the memory"))?;
        self.fill(size)?;
        let Some(whole) = self.unused().get(..size) else {
            return Err(wrong(
                "a frame's length",
                length,
                "no more than the stream has",
            ));
        };
        let (head, body) = whole.split_at(HEAD);
        let covered = head.get(..HEAD - 4).unwrap_or_default();
        let expected = crc32c::crc32c_append(crc32c::crc32c(covered), body);
        if crc != u64::from(expected) {
            return Err(wrong("a frame's checksum", crc, "that of its bytes"));
        }
        let body = body.to_vec();
        self.skip(size);
        Ok(Some(Frame { offset, kind, body }))
    }

    /// After damage: goes on to what could be the next frame. Returns how many bytes that passes.
    pub(super) fn find_next(&mut self) -> Result<u64, TransferError> {
        let start = self.offset;
        self.fill(1)?;
        self.skip(1);
        loop {
            self.fill(CHUNK)?;
            let rest = self.unused();
            let found = rest.windows(MARKER.len()).position(|bytes| bytes == MARKER);
            // The end of the buffer may be the beginning of a marker.
            let passed = found.unwrap_or(rest.len().saturating_sub(MARKER.len() - 1));
            let is_end = self.ended && found.is_none();
            let passed = if is_end { rest.len() } else { passed };
            self.skip(passed);
            if found.is_some() || is_end {
                return Ok(self.offset - start);
            }
        }
    }

    /// Where it is in the stream.
    pub(super) fn position(&self) -> u64 {
        self.offset
    }

    fn unused(&self) -> &[u8] {
        self.buffer.get(self.used..).unwrap_or_default()
    }

    fn skip(&mut self, bytes: usize) {
        let bytes = bytes.min(self.unused().len());
        self.used += bytes;
        self.offset += bytes as u64;
    }

    /// Reads until so many bytes are there, or the stream has ended. What a length claims is read, not allocated before.
    fn fill(&mut self, wanted: usize) -> Result<(), TransferError> {
        if self.used > CHUNK || self.used == self.buffer.len() {
            self.buffer.drain(..self.used);
            self.used = 0;
        }
        while !self.ended && self.unused().len() < wanted {
            let before = self.buffer.len();
            self.buffer.resize(before + CHUNK, 0);
            let read = loop {
                match self
                    .from
                    .read(self.buffer.get_mut(before..).unwrap_or_default())
                {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    other => break other,
                }
            };
            self.buffer.truncate(before + *read.as_ref().unwrap_or(&0));
            self.ended = read.map_err(TransferError::Stream)? == 0;
        }
        Ok(())
    }
}

/// A little-endian number of up to eight bytes; what is missing counts as zero.
fn number(bytes: &[u8], at: usize, size: usize) -> u64 {
    let bytes = bytes.get(at..).unwrap_or_default();
    let bytes = bytes.get(..size).unwrap_or(bytes);
    bytes
        .iter()
        .rev()
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// Takes fields off the front of a frame's body.
pub(super) struct Fields<'a> {
    rest: &'a [u8],
    /// Where the frame begins in the stream.
    offset: u64,
}

impl<'a> Fields<'a> {
    pub(super) fn of(frame: &'a Frame) -> Self {
        Self {
            rest: &frame.body,
            offset: frame.offset,
        }
    }

    /// So many bytes.
    pub(super) fn bytes(&mut self, length: usize) -> Result<&'a [u8], TransferError> {
        let (bytes, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or(TransferError::Damaged {
                offset: self.offset,
                what: "a frame's body",
                found: self.rest.len() as u64,
                expected: "long enough for its fields",
            })?;
        self.rest = rest;
        Ok(bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, TransferError> {
        Ok(number(self.bytes(8)?, 0, 8))
    }

    /// A smaller number: of the size of its type.
    pub(super) fn small<T: TryFrom<u64>>(&mut self) -> Result<T, TransferError> {
        let found = number(self.bytes(size_of::<T>())?, 0, 8);
        T::try_from(found).map_err(|_| self.wrong("a field", found, "a smaller number"))
    }

    pub(super) fn text(&mut self, length: usize) -> Result<String, TransferError> {
        let bytes = self.bytes(length)?;
        let text = std::str::from_utf8(bytes);
        let text = text.map_err(|_| self.wrong("a text", length as u64, "UTF-8"))?;
        Ok(text.to_owned())
    }

    /// What has not been taken.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn wrong(
        &self,
        what: &'static str,
        found: u64,
        expected: &'static str,
    ) -> TransferError {
        TransferError::Damaged {
            offset: self.offset,
            what,
            found,
            expected,
        }
    }
}
