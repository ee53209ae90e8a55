//! Making and checking queue files.
//!
//! A new file has no name until it is whole: allocated, filled, synced. It then gets one without replacing anything, so
//! of two creators one wins, and one that dies leaves nothing. Where files cannot be nameless it leaves a temporary name,
//! which the next to create that queue clears.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use zerocopy::IntoBytes;

use crate::error::{OpenError, OpenErrorKind};
use crate::layout::FileHeader;
use crate::layout::header::{FILE_HEADER_BYTES, Verified};
use crate::sys::{self, OwnFile};

/// A file that is being made.
pub struct NewFile {
    file: OwnFile,
    target: PathBuf,
    /// Where it is meanwhile, if it could not be nameless.
    temporary: Option<Temporary>,
    size: u64,
}

/// A name that goes with this.
struct Temporary(PathBuf);

impl NewFile {
    /// Allocates the file and writes its header.
    pub fn create(target: &Path, verified: &Verified, mode: u32) -> Result<Self, OpenError> {
        Self::create_by(sys::open_unnamed, target, verified, mode)
    }

    fn create_by(
        open_unnamed: impl Fn(&Path, u32) -> io::Result<File>,
        target: &Path,
        verified: &Verified,
        mode: u32,
    ) -> Result<Self, OpenError> {
        let size = verified.geometry.file_size();
        let fail = |operation| {
            move |source| OpenError::new(target, OpenErrorKind::from_io(operation, size, source))
        };
        if target.symlink_metadata().is_ok() {
            return Err(OpenError::new(target, OpenErrorKind::AlreadyExists));
        }
        let directory = directory_of(target);
        let (file, temporary) = match OwnFile::open(|| open_unnamed(directory, mode)) {
            Ok(file) => (file, None),
            Err(error) if has_no_unnamed_files(&error) => {
                let (file, name) = open_temporary(target).map_err(fail("creating the file"))?;
                (file, Some(name))
            }
            Err(error) => return Err(fail("creating the file")(error)),
        };
        // From here on an early return removes the temporary, if there is one.
        let new = Self {
            file,
            target: target.to_owned(),
            temporary,
            size,
        };
        new.filled(verified, mode)
    }

    /// The same, to take the place of the file there is. It has a temporary name, for only what has a name can do that.
    pub fn create_successor(
        target: &Path,
        verified: &Verified,
        mode: u32,
    ) -> Result<Self, OpenError> {
        let size = verified.geometry.file_size();
        let (file, name) = open_temporary(target).map_err(|source| {
            OpenError::new(
                target,
                OpenErrorKind::from_io("creating the file", size, source),
            )
        })?;
        let new = Self {
            file,
            target: target.to_owned(),
            temporary: Some(name),
            size,
        };
        new.filled(verified, mode)
    }

    fn filled(self, verified: &Verified, mode: u32) -> Result<Self, OpenError> {
        let new = self;
        let (target, size) = (&new.target, new.size);
        let fail = |operation| {
            move |source| OpenError::new(target, OpenErrorKind::from_io(operation, size, source))
        };
        if let Some(found) = sys::filesystem_without_locks(&new.file) {
            return Err(OpenError::new(target, OpenErrorKind::Filesystem { found }));
        }
        refuse_volatile(&new.file, target, verified)?;
        let permissions = std::fs::Permissions::from_mode(mode);
        new.file
            .set_permissions(permissions)
            .map_err(fail("setting the file mode"))?;
        sys::allocate(&new.file, size).map_err(fail("allocating the file"))?;
        if verified.durability.is_durable() {
            write_zeros(&new.file, size).map_err(fail("writing the file"))?;
        }
        // Without locks nobody could attach; better no file than one like that.
        sys::lock_byte(&new.file, 0)
            .and_then(|_| sys::unlock_byte(&new.file, 0))
            .map_err(fail("locking the file"))?;
        let header = FileHeader::new(verified);
        new.file
            .write_all_at(header.as_bytes(), 0)
            .map_err(fail("writing the header"))?;
        Ok(new)
    }

    /// The file, to map and fill.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Syncs it and puts it in the place of the file there is, at once for everybody.
    pub fn replace(self) -> Result<(), OpenError> {
        let fail = |operation| {
            let (target, size) = (&self.target, self.size);
            move |source| OpenError::new(target, OpenErrorKind::from_io(operation, size, source))
        };
        self.file.sync_all().map_err(fail("syncing the file"))?;
        let directory =
            File::open(directory_of(&self.target)).map_err(fail("opening the directory"))?;
        if let Some(Temporary(path)) = &self.temporary {
            std::fs::rename(path, &self.target).map_err(fail("naming the file"))?;
        }
        directory.sync_all().map_err(fail("syncing the directory"))
    }

    /// Syncs it and gives it its name, unless that is taken.
    pub fn publish(self) -> Result<OwnFile, OpenError> {
        let fail = |operation| {
            let (target, size) = (&self.target, self.size);
            move |source| OpenError::new(target, OpenErrorKind::from_io(operation, size, source))
        };
        self.file.sync_all().map_err(fail("syncing the file"))?;
        // All that can fail comes before the name.
        let directory =
            File::open(directory_of(&self.target)).map_err(fail("opening the directory"))?;
        match &self.temporary {
            None => sys::link_unnamed(&self.file, &self.target).map_err(fail("naming the file"))?,
            Some(Temporary(path)) => {
                std::fs::hard_link(path, &self.target).map_err(fail("naming the file"))?;
            }
        }
        if let Err(error) = directory.sync_all() {
            let _left_behind = std::fs::remove_file(&self.target);
            return Err(fail("syncing the directory")(error));
        }
        Ok(self.file)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // Nothing to be done if it fails; the name says what it is.
        let _left_behind = std::fs::remove_file(&self.0);
    }
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn has_no_unnamed_files(error: &io::Error) -> bool {
    let unnamed_refused = [libc::EOPNOTSUPP, libc::EISDIR, libc::EINVAL];
    error.kind() == io::ErrorKind::Unsupported
        || error
            .raw_os_error()
            .is_some_and(|code| unnamed_refused.contains(&code))
}

/// Lock byte of whoever is making a file under a temporary name.
const MAKER_LOCK: u64 = 1;

fn open_temporary(target: &Path) -> io::Result<(OwnFile, Temporary)> {
    clear_abandoned(target);
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    // Bound: each turn somebody has cleared our name just before we locked it.
    for _ in 0..16 {
        let id = u128::from_ne_bytes(sys::random_id()?);
        let path = target.with_file_name(format!("{}{id:032x}.tmp", temporary_prefix(target)));
        options.clone().create_new(true).open(&path)?;
        let temporary = Temporary(path);
        match OwnFile::open(|| options.open(&temporary.0)) {
            Ok(file) if sys::lock_byte(&file, MAKER_LOCK)? && file.metadata()?.nlink() > 0 => {
                return Ok((file, temporary));
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(_) | Err(_) => {}
        }
    }
    Err(io::ErrorKind::ResourceBusy.into())
}

fn temporary_prefix(target: &Path) -> String {
    let name = target.file_name().unwrap_or_default();
    format!(".{}.", name.to_string_lossy())
}

/// Removes the temporary files of those who died while they made this one. What cannot be removed stays.
fn clear_abandoned(target: &Path) {
    let prefix = temporary_prefix(target);
    let is_temporary = |name: &str| {
        let id = name
            .strip_prefix(&prefix)
            .and_then(|rest| rest.strip_suffix(".tmp"));
        id.is_some_and(|id| id.len() == 32 && id.bytes().all(|digit| digit.is_ascii_hexdigit()))
    };
    let entries = std::fs::read_dir(directory_of(target))
        .into_iter()
        .flatten();
    for entry in entries.flatten() {
        if !entry.file_name().to_str().is_some_and(is_temporary) {
            continue;
        }
        let path = entry.path();
        let open = || File::options().read(true).write(true).open(&path);
        let is_abandoned = |file: OwnFile| {
            sys::lock_byte(&file, MAKER_LOCK)
                .unwrap_or(false)
                .then_some(file)
        };
        if let Some(_locked) = OwnFile::open(open).ok().and_then(is_abandoned) {
            let _left_behind = std::fs::remove_file(&path);
        }
    }
}

/// Opens a regular file on a file system whose locks work; whether it is a queue is not looked at. Returns its size, too.
pub fn open_any(path: &Path, writable: bool) -> Result<(OwnFile, u64), OpenError> {
    let fail = |operation| {
        move |source| OpenError::new(path, OpenErrorKind::from_io(operation, 0, source))
    };
    // Without O_NONBLOCK, opening a FIFO would wait for a writer.
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(writable)
        .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC | libc::O_NOCTTY);
    let file =
        OwnFile::open(|| options.open(path)).map_err(|source| match source.raw_os_error() {
            Some(libc::ENXIO) => OpenError::new(
                path,
                OpenErrorKind::NotAFile {
                    found: "a socket or device",
                },
            ),
            _ => fail("opening the file")(source),
        })?;
    let metadata = file.metadata().map_err(fail("reading the file's size"))?;
    let kind = metadata.file_type();
    if !kind.is_file() {
        let found = match () {
            () if kind.is_dir() => "a directory",
            () if kind.is_fifo() => "a FIFO",
            () if kind.is_socket() => "a socket",
            () => "a device",
        };
        return Err(OpenError::new(path, OpenErrorKind::NotAFile { found }));
    }
    if let Some(found) = sys::filesystem_without_locks(&file) {
        return Err(OpenError::new(path, OpenErrorKind::Filesystem { found }));
    }
    Ok((file, metadata.size()))
}

/// Reads as much of `bytes` as the file has there; returns how much.
pub fn read_at_most(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut length = 0;
    while let Some(rest) = bytes.get_mut(length..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset.saturating_add(length as u64)) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

/// Device and number of a file.
pub fn identity(metadata: &std::fs::Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

/// Whether another file has come under this name since it was opened.
pub fn is_replaced(file: &File, path: &Path) -> bool {
    let now = path.metadata().map(|metadata| identity(&metadata));
    let opened = file.metadata().map(|metadata| identity(&metadata));
    matches!((now, opened), (Ok(now), Ok(opened)) if now != opened)
}

/// Opens a queue file and checks all that can be checked from outside.
pub fn open(path: &Path, writable: bool) -> Result<(OwnFile, Verified), OpenError> {
    let (file, size) = open_any(path, writable)?;
    let mut bytes = [0; FILE_HEADER_BYTES];
    let length = read_at_most(&file, &mut bytes, 0).map_err(|source| {
        OpenError::new(
            path,
            OpenErrorKind::from_io("reading the header", 0, source),
        )
    })?;
    let header = bytes.get(..length).unwrap_or_default();
    let verified = FileHeader::verify(header, size)
        .map_err(|error| OpenError::new(path, OpenErrorKind::Format(error)))?;
    if writable {
        refuse_volatile(&file, path, &verified)?;
    }
    Ok((file, verified))
}

/// What has been written once takes a sync no changes of the file system's own.
fn write_zeros(file: &File, size: u64) -> io::Result<()> {
    static CHUNK: [u8; 1 << 16] = [0; 1 << 16];
    let mut at = 0;
    while at < size {
        let length = usize::try_from(size - at).map_or(CHUNK.len(), |left| left.min(CHUNK.len()));
        file.write_all_at(CHUNK.get(..length).unwrap_or(&CHUNK), at)?;
        at += length as u64;
    }
    Ok(())
}

fn refuse_volatile(file: &File, path: &Path, verified: &Verified) -> Result<(), OpenError> {
    let volatile = sys::volatile_filesystem(file).filter(|_| verified.durability.is_durable());
    volatile.map_or(Ok(()), |found| {
        Err(OpenError::new(path, OpenErrorKind::Volatile { found }))
    })
}

/// Removes a queue file, if it is one. Who has it open keeps it.
pub fn remove(path: &Path) -> Result<(), OpenError> {
    let fail = |operation| {
        move |source| OpenError::new(path, OpenErrorKind::from_io(operation, 0, source))
    };
    match open(path, false) {
        Ok(_) => {}
        // A damaged queue may go; what was never one may not.
        Err(error) => match error.kind() {
            OpenErrorKind::Format(
                crate::error::FormatError::TooShort { .. }
                | crate::error::FormatError::Magic { .. },
            ) => return Err(error),
            OpenErrorKind::Format(_) => {}
            _ => return Err(error),
        },
    }
    std::fs::remove_file(path).map_err(fail("removing the file"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Options;

    #[test]
    fn where_files_need_names_the_temporary_one_is_gone_afterwards() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("queue");
        let verified = Verified {
            geometry: Options::default().capacity(2).geometry().unwrap(),
            full_policy: Default::default(),
            timestamps: Default::default(),
            durability: Default::default(),
            checksums: false,
            queue_id: [1; 16],
            boot_id: [2; 16],
            created_ns: 3,
        };
        let names = || std::fs::read_dir(dir.path()).unwrap().count();
        let create = || {
            let refused = |_: &Path, _| Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP));
            NewFile::create_by(refused, &target, &verified, 0o640)
        };
        let abandoned = create().unwrap();
        assert_eq!(names(), 1, "a temporary name");
        drop(abandoned);
        assert_eq!(names(), 0);

        // As one that dies leaves it: the name is there, the lock is not.
        std::mem::forget(create().unwrap().temporary.take());
        assert_eq!(names(), 1);
        drop(create().unwrap());
        assert_eq!(names(), 0, "the next one clears up");

        let (first, second) = (create().unwrap(), create().unwrap());
        first.publish().unwrap();
        let late = second.publish().unwrap_err();
        assert!(matches!(late.kind(), OpenErrorKind::AlreadyExists));
        assert_eq!(names(), 1);
        let (file, found) = open(&target, true).unwrap();
        assert_eq!(found, verified);
        assert_eq!(file.metadata().unwrap().mode() & 0o777, 0o640);
        remove(&target).unwrap();
        assert_eq!(names(), 0);
    }
}
