//! Reading a queue file without believing it: for `verify` and `dump`, which must work on files that nobody can open.
//!
//! Relies on `layout`, `mem` and the locks. A file whose size is what its header asks for is mapped, read-only, and its
//! words are loaded atomically, beside whoever works on it. Any other is read piece by piece: its users, if it has any,
//! are beyond help, and no read leaves the file.

pub(crate) mod decode;

use std::path::Path;

use zerocopy::FromBytes;

use crate::error::{OpenError, OpenErrorKind};
use crate::file;
use crate::layout::header::FILE_HEADER_BYTES;
use crate::layout::{
    Durability, EntryState, FileHeader, FormatError, Geometry, Offset, OwnedWord, OwnerId,
};
use crate::mem::Mem;
use crate::participant::{Locks, is_alive};
use crate::path;
use crate::recover::PendingRecovery;
use crate::sync::{Ordering, fence};
use crate::sys::OwnFile;

/// A file, and what can be made of its header.
#[derive(Debug)]
pub(crate) struct Examined {
    /// Bytes of the file.
    pub(crate) size: u64,
    /// As it stands there; `None` if the file is shorter.
    pub(crate) header: Option<FileHeader>,
    /// Why nobody can open it.
    pub(crate) refused: Option<FormatError>,
    /// Where everything would lie; `None` if the header's numbers are impossible.
    pub(crate) geometry: Option<Geometry>,
    /// The file as a whole, if it has the size its header asks for.
    mem: Option<Mem>,
    locks: Locks,
}

/// What a participant number stands for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// No entry has that number.
    Nobody,
    /// The entry is not in use.
    Free,
    /// Attached, and its lock is held.
    Alive,
    /// Attached, says the entry, and its lock is free.
    Dead,
}

impl Examined {
    /// Opens it for reading. Only what keeps the file from being read is an error.
    pub(crate) fn open(path: &Path) -> Result<Self, OpenError> {
        let path = path::resolve(path)?;
        let (file, size) = file::open_any(&path, false)?;
        let fail = |operation| {
            let path = &path;
            move |source| OpenError::new(path, OpenErrorKind::from_io(operation, size, source))
        };
        let mut bytes = [0; FILE_HEADER_BYTES];
        let length =
            file::read_at_most(&file, &mut bytes, 0).map_err(fail("reading the header"))?;
        let bytes = bytes.get(..length).unwrap_or_default();
        let refused = FileHeader::verify(bytes, size).err();
        let header = FileHeader::read_from_bytes(bytes).ok();
        // A geometry is safe to address by, whatever the checksum says of the numbers it was made from. What begins with
        // something else, or has another version, is laid out otherwise.
        let is_ours = !matches!(
            refused,
            Some(FormatError::Magic { .. } | FormatError::Version { .. })
        );
        let geometry = header
            .filter(|_| is_ours)
            .and_then(|header| Geometry::new(header.shape()).ok());
        let whole = geometry.filter(|geometry| geometry.file_size() == size);
        let mem = match whole {
            Some(_) => Some(Mem::map_read_only(&file, size).map_err(fail("mapping the file"))?),
            None => None,
        };
        Ok(Self {
            size,
            header,
            refused,
            geometry,
            mem,
            locks: Locks::File(file),
        })
    }

    /// Everything, if the file is whole.
    pub(crate) fn whole(&self) -> Option<Whole<'_>> {
        Some(Whole {
            mem: self.mem.as_ref()?,
            geometry: self.geometry.as_ref()?,
            locks: &self.locks,
        })
    }

    /// What the next opener does first, if the file was last used in another boot.
    pub(crate) fn pending_recovery(&self) -> Option<PendingRecovery> {
        let header = self.header.filter(|_| self.refused.is_none())?;
        let durability = Durability::from_bits(header.durability, header.interval_ms)?;
        let word = |offset| self.word(offset).unwrap_or(0);
        PendingRecovery::of(word, header.boot_id, durability)
    }

    fn file(&self) -> Option<&OwnFile> {
        match &self.locks {
            Locks::File(file) => Some(file),
            Locks::Heap(..) => None,
        }
    }

    /// The word at an offset, if the file has one there.
    pub(crate) fn word(&self, offset: Offset) -> Option<u64> {
        if let Some(mem) = &self.mem {
            return Some(load(mem, offset));
        }
        let bytes = self.bytes(offset, 8);
        Some(u64::from_le_bytes(bytes.try_into().ok()?))
    }

    /// As many of `length` bytes as the file has there.
    pub(crate) fn bytes(&self, offset: Offset, length: u64) -> Vec<u8> {
        let most = length.min(self.size.saturating_sub(offset.0));
        let mut bytes = vec![0; usize::try_from(most).unwrap_or(0)];
        if let Some(mem) = &self.mem {
            mem.copy_out_torn(offset, &mut bytes);
            return bytes;
        }
        let read = self
            .file()
            .and_then(|file| file::read_at_most(file, &mut bytes, offset.0).ok());
        bytes.truncate(read.unwrap_or(0));
        bytes
    }

    /// What a participant number stands for.
    pub(crate) fn standing(&self, owner: OwnerId) -> Option<Standing> {
        let geometry = self.geometry.as_ref()?;
        if u32::from(owner.0) >= geometry.shape().max_participants {
            return Some(Standing::Nobody);
        }
        let word = self.word(geometry.participant(owner))?;
        Some(standing(word, || is_alive(&self.locks, owner)))
    }
}

fn standing(word: u64, alive: impl Fn() -> bool) -> Standing {
    match OwnedWord(word).entry_state() {
        Some(EntryState::Free) => Standing::Free,
        _ if alive() => Standing::Alive,
        _ => Standing::Dead,
    }
}

fn load(mem: &Mem, offset: Offset) -> u64 {
    // ORDERING: Acquire; pairs with whatever the protocol releases by this word: what is loaded after it is not older.
    mem.word(offset).load(Ordering::Acquire)
}

/// A whole file, mapped: every offset of its geometry can be read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Whole<'a> {
    mem: &'a Mem,
    pub(crate) geometry: &'a Geometry,
    locks: &'a Locks,
}

impl Whole<'_> {
    /// The word at an offset. Words loaded one after the other are seen in that order.
    pub(crate) fn word(&self, offset: Offset) -> u64 {
        load(self.mem, offset)
    }

    /// Copies bytes that others may be writing. Words loaded afterwards are not older.
    pub(crate) fn bytes<const N: usize>(&self, offset: Offset) -> [u8; N] {
        let mut bytes = [0; N];
        self.copy(offset, &mut bytes);
        bytes
    }

    /// The same, as many as fit.
    pub(crate) fn copy(&self, offset: Offset, bytes: &mut [u8]) {
        self.mem.copy_out_torn(offset, bytes);
        // ORDERING: Acquire fence; pairs with the Release fences of reserve and try_hold, as in `ring/observe.rs`.
        fence(Ordering::Acquire);
    }

    /// What a participant number stands for.
    pub(crate) fn standing(&self, owner: OwnerId) -> Standing {
        if u32::from(owner.0) >= self.geometry.shape().max_participants {
            return Standing::Nobody;
        }
        let word = self.word(self.geometry.participant(owner));
        standing(word, || is_alive(self.locks, owner))
    }

    /// Every participant number with what it stands for.
    pub(crate) fn standings(&self) -> impl Iterator<Item = (OwnerId, Standing)> + '_ {
        let ids = self.geometry.participant_ids();
        ids.map(|id| (id, self.standing(id)))
    }
}
