//! Running a child step by step, with ptrace: one instruction at a time, or from system call to system call.
#![allow(dead_code, reason = "each test file uses some of it")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::ptr;

/// A child, stopped. Killed when dropped.
pub struct Tracee {
    pid: libc::pid_t,
    ended: bool,
}

const REFUSED: i32 = 77;

fn ptrace(request: libc::c_uint, pid: libc::pid_t, data: libc::c_int) -> io::Result<()> {
    let nowhere = ptr::null_mut::<libc::c_void>();
    match unsafe { libc::ptrace(request, pid, nowhere, libc::c_long::from(data)) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Keeps this process, and its children, on the CPU it runs on: handing a step over to another one takes much longer.
pub fn stay_on_this_cpu() {
    let mut one: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    let cpu = unsafe { libc::sched_getcpu() };
    unsafe { libc::CPU_SET(cpu.try_into().unwrap_or(0), &mut one) };
    // Only slower if it is refused.
    let _refused = unsafe { libc::sched_setaffinity(0, size_of_val(&one), &raw const one) };
}

/// The bytes of a file as they are now, to look at often.
pub struct Window {
    start: *mut libc::c_void,
    length: usize,
}

impl Window {
    pub fn open(path: &Path) -> Self {
        let file = File::open(path).unwrap();
        let length = file.metadata().unwrap().len().try_into().unwrap();
        let (nowhere, fd) = (ptr::null_mut(), file.as_raw_fd());
        let start =
            unsafe { libc::mmap(nowhere, length, libc::PROT_READ, libc::MAP_SHARED, fd, 0) };
        assert!(start != libc::MAP_FAILED);
        Self { start, length }
    }

    /// True if they are these. Nobody may be writing them.
    pub fn is(&self, bytes: &[u8]) -> bool {
        let same = || unsafe { libc::memcmp(self.start, bytes.as_ptr().cast(), self.length) };
        bytes.len() == self.length && same() == 0
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        unsafe { libc::munmap(self.start, self.length) };
    }
}

fn stop() {
    unsafe { libc::raise(libc::SIGSTOP) };
}

impl Tracee {
    /// A child of this process, of one thread, that has run `prepare` and is about to run `operate`, which ends when `step` says
    /// so. `None`: this machine refuses to trace.
    pub fn start<T, U>(
        prepare: impl FnOnce() -> T,
        operate: impl FnOnce(&mut T) -> U,
    ) -> Option<Self> {
        let pid = unsafe { libc::fork() };
        assert!(pid >= 0, "fork: {}", io::Error::last_os_error());
        if pid == 0 {
            if ptrace(libc::PTRACE_TRACEME, 0, 0).is_err() {
                unsafe { libc::_exit(REFUSED) };
            }
            let run = catch_unwind(AssertUnwindSafe(|| {
                let mut prepared = prepare();
                stop();
                let made = operate(&mut prepared);
                stop();
                std::mem::forget((made, prepared));
            }));
            unsafe { libc::_exit(if run.is_ok() { 0 } else { 101 }) };
        }
        let tracee = Self { pid, ended: false };
        let status = tracee.wait();
        if libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == REFUSED {
            return None;
        }
        assert!(
            is_stop(status, libc::SIGSTOP),
            "it failed before the start: {status:#x}"
        );
        ptrace(libc::PTRACE_SETOPTIONS, pid, libc::PTRACE_O_EXITKILL).unwrap();
        Some(tracee)
    }

    fn wait(&self) -> libc::c_int {
        let mut status = 0;
        let waited = unsafe { libc::waitpid(self.pid, &raw mut status, libc::__WALL) };
        assert_eq!(waited, self.pid, "{}", io::Error::last_os_error());
        status
    }

    fn go_on(&mut self, how: libc::c_uint) -> bool {
        if self.ended {
            return false;
        }
        ptrace(how, self.pid, 0).unwrap();
        let status = self.wait();
        self.ended = is_stop(status, libc::SIGSTOP);
        assert!(
            self.ended || is_stop(status, libc::SIGTRAP),
            "it failed on the way: {status:#x}"
        );
        !self.ended
    }

    /// Runs one instruction; false once the operation has ended.
    pub fn step(&mut self) -> bool {
        self.go_on(libc::PTRACE_SINGLESTEP)
    }

    /// Runs up to the next entry into a system call, or the next return from one; false once the operation has ended.
    pub fn step_by_calls(&mut self) -> bool {
        self.go_on(libc::PTRACE_SYSCALL)
    }

    /// SIGKILL, and waits until it is gone. True if the operation had ended.
    pub fn kill(self) -> bool {
        self.ended
    }
}

impl Drop for Tracee {
    fn drop(&mut self) {
        unsafe { libc::kill(self.pid, libc::SIGKILL) };
        let mut status = 0;
        // Bound: whatever else it reports, it ends.
        while unsafe { libc::waitpid(self.pid, &raw mut status, libc::__WALL) } == self.pid
            && !libc::WIFSIGNALED(status)
            && !libc::WIFEXITED(status)
        {}
    }
}

fn is_stop(status: libc::c_int, signal: libc::c_int) -> bool {
    libc::WIFSTOPPED(status) && libc::WSTOPSIG(status) == signal
}
