//! Shows a disk to the kernel as the one file of a file system.
//!
//! Whoever serves a file system must not use what lies on it: a thread that waits for the disk cannot be killed, nor then
//! the process whose other thread is to answer it. So this process touches what is on the disk only through children.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context, Result};
use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags,
    Generation, INodeNo, LockOwner, MountOption, OpenFlags, ReplyAttr, ReplyData, ReplyEmpty,
    ReplyEntry, ReplyOpen, ReplyWrite, Request, Session, WriteFlags,
};

use crate::disk::Disk;

const NAME: &str = "disk";
const INODE: INodeNo = INodeNo(2);
/// The size never changes.
const FOREVER: Duration = Duration::from_secs(3600);

struct Served(Arc<Disk>);

impl Served {
    fn attributes(&self, inode: INodeNo) -> FileAttr {
        let is_root = inode == INodeNo::ROOT;
        let size = if is_root { 0 } else { self.0.size() };
        FileAttr {
            ino: inode,
            size,
            blocks: size / 512,
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind: if is_root {
                FileType::Directory
            } else {
                FileType::RegularFile
            },
            perm: if is_root { 0o700 } else { 0o600 },
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        }
    }
}

impl Filesystem for Served {
    fn lookup(&self, _: &Request, _parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        if name == NAME {
            reply.entry(&FOREVER, &self.attributes(INODE), Generation(0));
        } else {
            reply.error(Errno::ENOENT);
        }
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&FOREVER, &self.attributes(inode));
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        // Each access comes here: a cache in front of the disk would hide what it does.
        reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.0.read(offset, size as usize) {
            Ok(bytes) => reply.data(&bytes),
            Err(_) => reply.error(Errno::EIO),
        }
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        bytes: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.0.write(offset, bytes) {
            Ok(()) => reply.written(bytes.len() as u32),
            Err(_) => reply.error(Errno::EIO),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        // Somebody closes the file, which is no flush of the disk.
        reply.ok();
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        match self.0.flush() {
            Ok(()) => reply.ok(),
            Err(_) => reply.error(Errno::EIO),
        }
    }

    fn fallocate(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: u64,
        _: u64,
        _: i32,
        reply: ReplyEmpty,
    ) {
        // The kernel writes zeros instead.
        reply.error(Errno::EOPNOTSUPP);
    }
}

/// A disk while it is plugged in.
#[derive(Debug)]
pub struct Plugged {
    path: PathBuf,
    session: Option<BackgroundSession>,
}

impl Plugged {
    /// Serves it in this directory.
    pub fn new(disk: &Arc<Disk>, directory: &Path) -> Result<Self> {
        std::fs::create_dir_all(directory)?;
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("slipring-disk".to_owned())];
        let session = Session::new(Served(Arc::clone(disk)), directory, &config)
            .and_then(Session::spawn)
            .context("mounting the file system that serves the disk")?;
        Ok(Self {
            path: directory.join(NAME),
            session: Some(session),
        })
    }

    /// The file that is the disk.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Plugged {
    fn drop(&mut self) {
        let ended = self.session.take().map(BackgroundSession::umount_and_join);
        if let Some(Err(error)) = ended {
            eprintln!("slipring-disk: unplugging {}: {error}", self.path.display());
        }
    }
}
