//! What tests ask of the operating system: forks, signals, the state of a process, namespaces.
#![allow(dead_code, reason = "each test file uses some of it")]

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::common::Kid;

/// Forks; the child runs `child` and ends at once, without anybody's exit handlers. It kills itself should the test forget it.
pub fn fork(child: impl FnOnce()) -> libc::pid_t {
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "fork: {}", std::io::Error::last_os_error());
    if pid == 0 {
        end_some_time();
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child));
        unsafe { libc::_exit(if ended.is_ok() { 0 } else { 101 }) };
    }
    pid
}

/// SIGALRM ends this process in some minutes, if nothing else has.
pub fn end_some_time() {
    unsafe { libc::alarm(300) };
}

/// Does nothing until it is killed. Safe in a child forked from several threads.
pub fn sleep_for_ever() -> ! {
    loop {
        unsafe { libc::pause() };
    }
}

/// Waits for a forked child; its status as `waitpid` gives it.
pub fn wait_for(pid: libc::pid_t) -> libc::c_int {
    let mut status = 0;
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
    status
}

/// Waits until all threads of a child have ended, and leaves it a zombie.
pub fn wait_for_zombie(kid: &Kid) {
    let mut info = unsafe { std::mem::zeroed() };
    let flags = libc::WEXITED | libc::WNOWAIT;
    let ended = unsafe { libc::waitid(libc::P_PID, kid.0.id(), &raw mut info, flags) };
    assert_eq!(ended, 0);
}

pub fn signal(pid: libc::pid_t, signal: libc::c_int) {
    assert_eq!(unsafe { libc::kill(pid, signal) }, 0, "signal to {pid}");
}

/// `S` sleeping, `T` stopped, `Z` a zombie and so on; `None`: there is no such process.
pub fn state_of(pid: libc::pid_t) -> Option<char> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    text.rsplit_once(") ")?.1.chars().next()
}

/// Looks until it is so. The test's watchdog bounds it.
pub fn until(mut so: impl FnMut() -> bool) {
    while !so() {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Somebody else's child, killed with this.
pub struct Stranger(pub libc::pid_t);

impl Stranger {
    /// Who a child says its own child is; asleep by now, so it has run since it was forked.
    pub fn told(pid: &str) -> Self {
        let told = Self(pid.parse().unwrap());
        until(|| state_of(told.0) == Some('S'));
        told
    }

    pub fn is_alive(&self) -> bool {
        !matches!(state_of(self.0), None | Some('Z' | 'X'))
    }

    pub fn kill(&self) {
        // Gone already is as good.
        let _gone = unsafe { libc::kill(self.0, libc::SIGKILL) };
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.kill();
    }
}

/// As `spawn_child`, by way of a command that executes the rest of its command line.
pub fn spawn_under(launcher: &[&str], role: &str, path: &Path) -> Kid {
    let mut command = Command::new(launcher[0]);
    command
        .args(&launcher[1..])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--ignored", "--nocapture"])
        .arg("--test-threads=1")
        .env("SLIPRING_TEST_ROLE", role)
        .env("SLIPRING_TEST_PATH", path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    Kid(command.spawn().unwrap())
}

/// Whether this machine lets such a command run; says so if not.
pub fn may(launcher: &[&str]) -> bool {
    let run = Command::new(launcher[0])
        .args(&launcher[1..])
        .arg("true")
        .output();
    let refused = match run {
        Ok(output) if output.status.success() => return true,
        Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        Err(error) => error.to_string(),
    };
    println!("skipped: {launcher:?} is refused here: {refused}");
    false
}

/// A PID namespace of its own, in which the first process has number 1.
pub const PID_NAMESPACE: [&str; 6] = [
    "unshare",
    "--user",
    "--map-root-user",
    "--pid",
    "--fork",
    "--kill-child",
];
