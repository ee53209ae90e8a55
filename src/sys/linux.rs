//! Linux: shared futexes, OFD byte locks, unnamed files.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;
use std::time::Duration;

use nix::fcntl::{FallocateFlags, FcntlArg, fallocate, fcntl};
use nix::sys::statfs::{self, FsType, fstatfs};

use crate::mem::fault;
use crate::sync::{AtomicPtr, AtomicU32, AtomicU64, Ordering};

/// Sleeps while `*word == expected`, at most `timeout`; false if it slept that long. May return early; the caller looks
/// again.
pub fn futex_wait(word: &AtomicU32, expected: u32, timeout: Duration) -> bool {
    let timeout = libc::timespec {
        tv_sec: timeout.as_secs().try_into().unwrap_or(libc::time_t::MAX),
        tv_nsec: timeout.subsec_nanos().into(),
    };
    // SAFETY: FUTEX_WAIT (never PRIVATE: others map the file too) reads a live, aligned 32-bit word and a timespec.
    let result = unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAIT,
            expected,
            &raw const timeout,
        )
    };
    result == 0 || io::Error::last_os_error().raw_os_error() != Some(libc::ETIMEDOUT)
}

/// Wakes up to `count` sleepers on `word`; returns how many there were.
pub fn futex_wake(word: &AtomicU32, count: i32) -> u64 {
    // SAFETY: FUTEX_WAKE takes only the address of a live, aligned 32-bit word.
    let woken = unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, count) };
    u64::try_from(woken).unwrap_or(0)
}

/// Lets [`fence_everybody`] reach this process. False: it does not.
pub fn let_others_fence() -> bool {
    membarrier(libc::MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED)
}

/// Every thread of every process that lets it passes a full fence before this returns. False: it may not have.
pub fn fence_everybody() -> bool {
    membarrier(libc::MEMBARRIER_CMD_GLOBAL_EXPEDITED)
}

fn membarrier(command: libc::c_int) -> bool {
    // SAFETY: takes two numbers and touches no memory of ours; what is not known or allowed is an error.
    unsafe { libc::syscall(libc::SYS_membarrier, command, 0) == 0 }
}

fn byte_lock(byte: u64, kind: libc::c_int) -> io::Result<libc::flock> {
    let narrow = |value: libc::c_int| libc::c_short::try_from(value).unwrap_or(0);
    Ok(libc::flock {
        l_type: narrow(kind),
        l_whence: narrow(libc::SEEK_SET),
        l_start: byte
            .try_into()
            .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?,
        l_len: 1,
        l_pid: 0,
    })
}

/// Takes the lock on one byte for the open file description of `file`, if nobody else has it.
pub fn lock_byte(file: &File, byte: u64) -> io::Result<bool> {
    if !fault::touches() {
        return Ok(false);
    }
    let lock = byte_lock(byte, libc::F_WRLCK)?;
    match fcntl(file.as_fd(), FcntlArg::F_OFD_SETLK(&lock)) {
        Ok(_) => Ok(true),
        Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EACCES) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Whether another open file description has the lock on one byte. Needs only reading permission.
pub fn byte_is_locked(file: &File, byte: u64) -> io::Result<bool> {
    let mut lock = byte_lock(byte, libc::F_WRLCK)?;
    fcntl(file.as_fd(), FcntlArg::F_OFD_GETLK(&mut lock))?;
    Ok(libc::c_int::from(lock.l_type) != libc::F_UNLCK)
}

/// Gives it back.
pub fn unlock_byte(file: &File, byte: u64) -> io::Result<()> {
    // The dead do not: it goes when the file is closed.
    if !fault::touches() {
        return Ok(());
    }
    let lock = byte_lock(byte, libc::F_UNLCK)?;
    fcntl(file.as_fd(), FcntlArg::F_OFD_SETLK(&lock))?;
    Ok(())
}

/// Allocates every block of the file, so that a full disk is an error now and not SIGBUS later.
pub fn allocate(file: &File, length: u64) -> io::Result<()> {
    let length = length
        .try_into()
        .map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
    fallocate(file.as_fd(), FallocateFlags::empty(), 0, length)?;
    Ok(())
}

/// Opens the same file once more, to read and write, with locks of its own. `None` where that cannot be, as without `/proc`.
pub fn open_again(file: &File) -> Option<File> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    File::options().read(true).write(true).open(path).ok()
}

/// Creates a file without a name in `directory`: it vanishes with its last user unless it is given one.
pub fn open_unnamed(directory: &Path, mode: u32) -> io::Result<File> {
    let path = CString::new(directory.as_os_str().as_bytes())?;
    let flags = libc::O_TMPFILE | libc::O_RDWR | libc::O_CLOEXEC;
    // SAFETY: `path` is NUL-terminated; with O_TMPFILE open takes a mode.
    let fd = unsafe { libc::open(path.as_ptr(), flags, mode) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a fresh descriptor that nobody else has.
    Ok(unsafe { File::from_raw_fd(fd) })
}

/// Gives an unnamed file its name, unless the name is taken.
pub fn link_unnamed(file: &File, path: &Path) -> io::Result<()> {
    let source = CString::new(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
    let target = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: both paths are NUL-terminated.
    let result = unsafe {
        libc::linkat(
            libc::AT_FDCWD,
            source.as_ptr(),
            libc::AT_FDCWD,
            target.as_ptr(),
            libc::AT_SYMLINK_FOLLOW,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// The kernel's random name for this boot; zeros where it does not tell.
pub fn boot_id() -> [u8; 16] {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    u128::from_str_radix(&digits, 16).unwrap_or(0).to_be_bytes()
}

/// The name of a file system whose locks or mappings do not work between processes of several hosts.
pub fn filesystem_without_locks(file: &File) -> Option<&'static str> {
    const CIFS: FsType = FsType(0xff53_4d42);
    const SMB2: FsType = FsType(0xfe53_4d42);
    match fstatfs(file.as_fd()).ok()?.filesystem_type() {
        statfs::NFS_SUPER_MAGIC => Some("nfs"),
        CIFS | SMB2 => Some("smb"),
        _ => None,
    }
}

/// The name of a file system that is gone after a reboot.
pub fn volatile_filesystem(file: &File) -> Option<&'static str> {
    const RAMFS: FsType = FsType(0x8584_58f6);
    match fstatfs(file.as_fd()).ok()?.filesystem_type() {
        statfs::TMPFS_MAGIC => Some("tmpfs"),
        statfs::HUGETLBFS_MAGIC => Some("hugetlbfs"),
        RAMFS => Some("ramfs"),
        _ => None,
    }
}

/// Waits until all of the file's pages that anybody has written are on the disk.
pub fn sync_data(file: &File) -> io::Result<()> {
    // The dead sync nothing.
    if !fault::touches() {
        return Ok(());
    }
    if let Some(number) = fault::sync_error() {
        return Err(io::Error::from_raw_os_error(number));
    }
    // Bound: an interrupted sync has not failed; each turn is a signal.
    loop {
        match file.sync_data() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

/// A word on a page that forked children find zeroed; one per process. No lock: a child forked while another thread
/// held it could never attach.
pub fn wiped_on_fork() -> io::Result<&'static AtomicU64> {
    static PAGE: AtomicPtr<AtomicU64> = AtomicPtr::new(ptr::null_mut());
    // ORDERING: Acquire; pairs with the exchange below; the page is set up.
    let mut page = PAGE.load(Ordering::Acquire);
    if page.is_null() {
        let mine = new_wiped_page()?;
        // ORDERING: AcqRel, or Acquire if another thread was quicker; as above.
        match PAGE.compare_exchange(page, mine, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => page = mine,
            Err(first) => {
                page = first;
                // SAFETY: exactly the mapping just made, and nobody has seen it.
                unsafe { libc::munmap(mine.cast(), PAGE_SIZE) };
            }
        }
    }
    // SAFETY: a zeroed, aligned page that is never unmapped and only ever accessed as this atomic.
    Ok(unsafe { &*page })
}

const PAGE_SIZE: usize = 4096;

fn new_wiped_page() -> io::Result<*mut AtomicU64> {
    // SAFETY: asks for a new anonymous mapping anywhere.
    let start = unsafe {
        libc::mmap(
            ptr::null_mut(),
            PAGE_SIZE,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if start == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: exactly the mapping just made.
    if unsafe { libc::madvise(start, PAGE_SIZE, libc::MADV_WIPEONFORK) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(start.cast())
}
