//! Goal: what `fork`, `exec` and threads do to a queue: a child keeps nothing of its parent alive, is told that it may not use its
//! handles, harms nobody by dropping them, and may open the queue for itself; `exec` leaks nothing; a panic gives back.
//! Method: this binary runs itself as children, which fork; the test looks from outside. Bounded by watchdogs.

#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::undocumented_unsafe_blocks,
    clippy::multiple_unsafe_ops_per_block,
    missing_docs,
    reason = "a test may fail loudly"
)]

mod common;
#[path = "common/os.rs"]
mod os;

use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use common::{Backing, MINUTE, directory, say, spawn_child, take, watchdog};
use os::{PID_NAMESPACE, Stranger, fork, may, sleep_for_ever, spawn_under, until, wait_for};
use slipring::{
    AckError, AttachError, ClaimError, FullPolicy, GroupError, GroupOptions, Inspector, Options,
    Peeked, PublishError, Queue,
};

fn small() -> Options {
    Queue::options()
        .capacity(8)
        .max_message(4096)
        .max_groups(4)
        .max_participants(64)
}

#[test]
fn a_sleeping_child_does_not_keep_its_dead_parent_alive() {
    let _watchdog = watchdog("sleeping child", MINUTE);
    for backing in [Backing::Tmpfs, Backing::Disk] {
        // A queue is locked by a file made here, or by one opened.
        for made_by_parent in [false, true] {
            let dir = directory(backing);
            let path = dir.path().join("queue");
            if !made_by_parent {
                drop(small().create(&path).unwrap());
            }
            let mut parent = spawn_child("parent", &path, &[]);
            let child = Stranger::told(&parent.next_line());
            let queue = Queue::open(&path).unwrap();
            assert_eq!(queue.sweep().participants, 0, "its parent lives");
            parent.kill();
            let swept = queue.sweep();
            assert_eq!((swept.participants, swept.claims), (1, 1));
            assert!(child.is_alive());
            let consumer = queue.consumer().unwrap();
            assert_eq!(consumer.try_recv().unwrap().delivery_count(), 2);
        }
    }
}

#[test]
fn children_forked_while_other_threads_open_files_keep_nothing_alive() {
    let _watchdog = watchdog("forks while opening", MINUTE);
    let dir = directory(Backing::Tmpfs);
    let path = dir.path().join("queue");
    let queue = small().create(&path).unwrap();
    for _ in 0..10 {
        let mut parent = spawn_child("parent of many", &path, &[]);
        let mut children = Vec::new();
        loop {
            match parent.next_line().as_str() {
                "all open" => break,
                child => children.push(Stranger::told(child)),
            }
        }
        assert_eq!(queue.stats().participants.len(), 1 + 2 * OPENED_BY_EACH);
        parent.kill();
        queue.sweep();
        assert_eq!(queue.stats().participants.len(), 1);
        assert!(children.iter().all(Stranger::is_alive));
    }
}

/// The limit: no handler runs in a child made by a raw system call, so it shares its parent's lock for as long as it lives.
#[test]
fn a_child_of_a_raw_system_call_keeps_its_parents_lock_until_it_ends() {
    let _watchdog = watchdog("raw fork", MINUTE);
    let dir = directory(Backing::Tmpfs);
    let path = dir.path().join("queue");
    let queue = small().create(&path).unwrap();
    let mut parent = spawn_child("raw parent", &path, &[]);
    let child = Stranger::told(&parent.next_line());
    parent.kill();
    assert_eq!(queue.sweep().participants, 0);
    assert!(child.is_alive());
    child.kill();
    until(|| !child.is_alive());
    assert_eq!(queue.sweep().participants, 1);
}

#[test]
fn a_childs_handles_refuse_and_dropping_them_harms_nobody() {
    let _watchdog = watchdog("drops", MINUTE);
    let dir = directory(Backing::Tmpfs);
    let path = dir.path().join("queue");
    let queue = small().create(&path).unwrap();
    let mut parent = spawn_child("parent of a dropper", &path, &[]);
    for _ in 0..2 {
        assert_eq!(parent.next_line(), "the child has ended");
        assert_eq!(
            queue.sweep().participants,
            0,
            "the parent has kept its locks"
        );
        parent.0.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    }
    parent.finish();
    let consumer = queue.consumer().unwrap();
    assert_eq!(take(&consumer), b"loaned before the fork");
    assert_eq!(consumer.try_recv().unwrap_err(), ClaimError::Empty);
}

#[test]
fn a_child_with_its_parents_process_id_is_still_known_as_a_child() {
    let _watchdog = watchdog("equal pids", MINUTE);
    if !may(&PID_NAMESPACE) {
        return;
    }
    let dir = directory(Backing::Tmpfs);
    let path = dir.path().join("queue");
    let queue = small().create(&path).unwrap();
    let mut parent = spawn_under(&PID_NAMESPACE, "parent of a namesake", &path);
    assert_eq!(parent.next_line(), "the child has ended");
    assert_eq!(queue.sweep().participants, 0);
    parent.finish();
    assert_eq!(queue.stats().participants.len(), 1);
}

#[test]
fn a_child_may_open_the_queue_for_itself_and_outlive_its_parent() {
    let _watchdog = watchdog("child of its own", MINUTE);
    let dir = directory(Backing::Tmpfs);
    let path = dir.path().join("queue");
    let queue = small().create(&path).unwrap();
    queue.producer().unwrap().publish("first").unwrap();
    let mut parent = spawn_child("parent of a user", &path, &[]);
    let child = Stranger::told(&parent.next_line());
    let grandchild = Stranger::told(&parent.next_line());
    assert_eq!(parent.next_line(), "claimed");
    let mut input = parent.0.stdin.take().unwrap();
    parent.kill();
    let swept = queue.sweep();
    assert_eq!(
        (swept.participants, swept.claims),
        (1, 0),
        "only its parent"
    );
    input.write_all(b"\n").unwrap();
    assert_eq!(parent.next_line(), "acked");
    let consumer = queue.consumer().unwrap();
    assert_eq!(take(&consumer), b"from the child");
    child.kill();
    until(|| queue.sweep().participants == 1);
    assert!(grandchild.is_alive());
}

#[test]
fn exec_leaks_no_descriptor_and_ends_the_participant() {
    let _watchdog = watchdog("exec", MINUTE);
    let dir = directory(Backing::Tmpfs);
    let path = dir.path().join("queue");
    let queue = small().create(&path).unwrap();
    let mut parent = spawn_child("executor", &path, &[]);
    let before = parent.next_line();
    assert_eq!(parent.next_line(), before, "spawned");
    assert_eq!(parent.next_line(), before, "executed by a forked child");
    assert_eq!(queue.stats().participants.len(), 3);
    assert_eq!(queue.sweep().participants, 0);
    parent.0.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    assert_eq!(parent.next_line(), before, "executed");
    assert_eq!(
        queue.sweep().participants,
        2,
        "the program that had joined is no more"
    );
    assert!(parent.0.try_wait().unwrap().is_none(), "its process is");
}

#[test]
fn a_panic_in_a_handler_gives_back_what_was_claimed() {
    let queue = small().in_memory().unwrap();
    let log = queue
        .create_group("log", GroupOptions::exclusive())
        .unwrap();
    let mut producer = queue.producer().unwrap();
    producer.publish_batch(["a", "b", "c"]).unwrap();
    let group = queue.group("default").unwrap();
    for group in [&group, &log] {
        let handled = std::thread::scope(|threads| {
            let handler = threads.spawn(|| {
                let consumer = group.consumer().unwrap();
                let mut batch = consumer.recv_batch(2).unwrap();
                let _first = batch.next().unwrap().unwrap();
                let _second = batch.next().unwrap().unwrap();
                panic!("on purpose");
            });
            handler.join()
        });
        handled.unwrap_err();
        let consumer = group.consumer().unwrap();
        for expected in [b"a", b"b", b"c"] {
            assert_eq!(take(&consumer), expected);
        }
    }
    assert_eq!(
        queue
            .stats()
            .groups
            .iter()
            .map(|group| group.lag)
            .sum::<u64>(),
        0
    );
}

#[test]
fn a_panic_while_filling_aborts_the_reservation() {
    let options = small().arena_size(4096).when_full(FullPolicy::Reject);
    let queue = options.in_memory().unwrap();
    for length in [10, 4096] {
        let filling = std::thread::scope(|threads| {
            let filler = threads.spawn(|| {
                let mut producer = queue.producer().unwrap();
                let mut loan = producer.loan(length).unwrap();
                loan.fill(1);
                let mut other = queue.producer().unwrap();
                let full = other.loan(4096).map(drop);
                assert_eq!(full, Err(PublishError::Full), "there is one segment");
                let mut copied = other.reserve(10).unwrap();
                copied.fill(2);
                panic!("on purpose");
            });
            filler.join()
        });
        filling.unwrap_err();
    }
    let mut producer = queue.producer().unwrap();
    producer.loan(4096).unwrap().commit().unwrap();
    let consumer = queue.consumer().unwrap();
    assert_eq!(
        take(&consumer),
        [0; 4096].map(|_: u8| 1),
        "of the arena, as it was left"
    );
    assert_eq!(consumer.try_recv().unwrap_err(), ClaimError::Empty);
}

/// Where this process has mapped the file.
fn mappings(path: &Path) -> Vec<(usize, usize)> {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let ours = maps
        .lines()
        .filter(|line| line.ends_with(path.to_str().unwrap()));
    ours.map(|line| {
        let (start, rest) = line.split_once('-').unwrap();
        let (end, _) = rest.split_once(' ').unwrap();
        let number = |text| usize::from_str_radix(text, 16).unwrap();
        (number(start), number(end))
    })
    .collect()
}

/// Puts memory of our own where a child's parent has its mappings: they are not there any more.
fn occupy(places: &[(usize, usize)]) {
    for &(start, end) in places {
        let place = unsafe {
            libc::mmap(
                start as *mut libc::c_void,
                end - start,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE,
                -1,
                0,
            )
        };
        assert_eq!(place as usize, start, "the mapping was inherited");
        unsafe { place.cast::<u8>().write_bytes(0x5a, end - start) };
    }
}

/// A handle that unmapped its parent's place would have taken ours.
fn is_occupied(places: &[(usize, usize)]) -> bool {
    places.iter().all(|&(start, end)| {
        let bytes = unsafe { std::slice::from_raw_parts(start as *const u8, end - start) };
        bytes.iter().all(|&byte| byte == 0x5a)
    })
}

thread_local! {
    /// Dropped by `exit`.
    static AT_EXIT: std::cell::RefCell<Option<Queue>> = const { std::cell::RefCell::new(None) };
}

/// Forks twice with every kind of handle: one child drops them one by one, the other leaves that to `exit`.
fn fork_droppers(path: &Path) {
    let (queue, inspector) = (Queue::open(path).unwrap(), Inspector::open(path).unwrap());
    let mut producer = queue.producer().unwrap();
    let mut lender = queue.producer().unwrap();
    let consumer = queue.consumer().unwrap();
    let log = queue
        .create_group("log", GroupOptions::exclusive())
        .unwrap();
    let active = log.consumer().unwrap();
    producer.publish_batch(["a", "b", "c"]).unwrap();
    let text = b"loaned before the fork";
    let mut loan = lender.loan(text.len()).unwrap();
    loan.copy_from_slice(text);
    let delivery = consumer.recv().unwrap();
    let batch = consumer.recv_batch(2).unwrap();
    let logged = active.recv().unwrap();
    let spare = Queue::open(path).unwrap();
    let places = mappings(path);
    assert_eq!(places.len(), 3);

    let dropper = unsafe { libc::fork() };
    if dropper == 0 {
        occupy(&places);
        assert_eq!(producer.publish("child"), Err(PublishError::Forked));
        assert_eq!(loan.commit(), Err(PublishError::Forked));
        assert_eq!(delivery.ack(), Err(AckError::Forked));
        assert_eq!(logged.ack(), Err(AckError::Forked));
        assert_eq!(consumer.try_recv().unwrap_err(), ClaimError::Forked);
        assert_eq!(queue.consumer().unwrap_err(), AttachError::Forked);
        assert_eq!(log.clone().delete(), Err(GroupError::Forked));
        assert_eq!((inspector.tail(), inspector.peek(0)), (0, Peeked::NotYet));
        assert!(inspector.stats().groups.is_empty());
        drop(batch);
        drop((producer, lender, consumer, active, queue, log, inspector));
        AT_EXIT.set(Some(spare));
        let checked = is_occupied(&places);
        std::process::exit(if checked { 0 } else { 1 });
    }
    assert_eq!(wait_for(dropper), 0);
    say("the child has ended");
    std::io::stdin().read_exact(&mut [0]).unwrap();

    AT_EXIT.set(Some(spare));
    let leaver = unsafe { libc::fork() };
    if leaver == 0 {
        std::process::exit(0);
    }
    assert_eq!(wait_for(leaver), 0);
    say("the child has ended");
    std::io::stdin().read_exact(&mut [0]).unwrap();

    delivery.ack().unwrap();
    batch.for_each(|delivery| delivery.unwrap().ack().unwrap());
    logged.ack().unwrap();
    assert_eq!(take(&active), b"b");
    loan.commit().unwrap();
    AT_EXIT.take().unwrap().producer().unwrap();
    queue.delete_group("log").unwrap();
}

/// The same process id in the child as in the parent: 1, each in its own namespace.
fn fork_namesake(path: &Path) {
    let queue = Queue::open(path).unwrap();
    let places = mappings(path);
    let pid = unsafe { libc::getpid() };
    assert_eq!(pid, 1);
    assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWPID) }, 0);
    let child = fork(|| {
        assert_eq!(unsafe { libc::getpid() }, pid);
        occupy(&places);
        assert_eq!(queue.producer().unwrap_err(), AttachError::Forked);
        drop(queue.clone());
        drop(unsafe { std::ptr::read(&raw const queue) });
        assert!(is_occupied(&places));
    });
    assert_eq!(wait_for(child), 0);
    say("the child has ended");
    queue
        .producer()
        .unwrap()
        .publish("the parent goes on")
        .unwrap();
    take(&queue.consumer().unwrap());
}

const OPENED_BY_EACH: usize = 30;

/// Two threads open queues and keep them, one forks meanwhile.
fn fork_many(path: &Path) -> ! {
    let open = || {
        let queues = (0..OPENED_BY_EACH).map(|_| Queue::open(path).unwrap());
        std::mem::forget(queues.collect::<Vec<_>>());
    };
    std::thread::scope(|threads| {
        let opening = [threads.spawn(open), threads.spawn(open)];
        while !opening.iter().all(|thread| thread.is_finished()) {
            say(fork(|| sleep_for_ever()));
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    say("all open");
    sleep_for_ever();
}

/// A child that uses the queue, and has a child that does not.
fn fork_user(path: &Path) -> ! {
    let _queue = Queue::open(path).unwrap();
    fork(|| {
        let own = Queue::open(path).unwrap();
        let consumer = own.consumer().unwrap();
        let delivery = consumer.recv().unwrap();
        say(unsafe { libc::getpid() });
        say(fork(|| sleep_for_ever()));
        say("claimed");
        std::io::stdin().read_exact(&mut [0]).unwrap();
        delivery.ack().unwrap();
        own.producer().unwrap().publish("from the child").unwrap();
        say("acked");
        sleep_for_ever();
    });
    sleep_for_ever();
}

/// Descriptors of this process, but for the one that lists them.
fn descriptors() -> String {
    let list = std::fs::read_dir("/proc/self/fd").unwrap();
    let mut found: Vec<String> = list
        .filter_map(|entry| {
            let entry = entry.unwrap();
            let what = std::fs::read_link(entry.path()).ok()?;
            let what = what.to_str().unwrap();
            let lists = what.ends_with("/fd");
            (!lists).then(|| format!("{}={what}", entry.file_name().to_str().unwrap()))
        })
        .collect();
    found.sort();
    found.join(" ")
}

fn execute(path: &Path) {
    say(descriptors());
    let (queue, _inspector) = (Queue::open(path).unwrap(), Inspector::open(path).unwrap());
    let dir = directory(Backing::Tmpfs);
    let _made = small().create(dir.path().join("other")).unwrap();
    let _second = Queue::open(path).unwrap();
    let mut producer = queue.producer().unwrap();
    let _loan = producer.loan(10).unwrap();
    let again = || {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let role = [
            "--exact",
            "child",
            "--ignored",
            "--nocapture",
            "--test-threads=1",
        ];
        command.args(role).env("SLIPRING_TEST_ROLE", "descriptors");
        command
    };
    assert!(again().status().unwrap().success());
    let child = fork(|| panic!("{}", again().exec()));
    assert_eq!(wait_for(child), 0);
    std::io::stdin().read_exact(&mut [0]).unwrap();
    drop((_made, dir));
    panic!(
        "{}",
        again()
            .env("SLIPRING_TEST_ROLE", "descriptors to the end")
            .exec()
    );
}

#[test]
#[ignore = "run by other tests, in a process of its own"]
fn child() {
    let Some((role, path)) = common::role() else {
        return;
    };
    os::end_some_time();
    match role.as_str() {
        "parent" => {
            let queue = Queue::open(&path)
                .or_else(|_| small().create(&path))
                .unwrap();
            queue.producer().unwrap().publish("held").unwrap();
            let consumer = queue.consumer().unwrap();
            let _held = consumer.recv().unwrap();
            say(fork(|| sleep_for_ever()));
            sleep_for_ever();
        }
        "raw parent" => {
            let _queue = Queue::open(&path).unwrap();
            let pid = unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) };
            if pid == 0 {
                os::end_some_time();
                sleep_for_ever();
            }
            say(pid);
            sleep_for_ever();
        }
        "parent of many" => fork_many(&path),
        "parent of a dropper" => fork_droppers(&path),
        "parent of a namesake" => fork_namesake(&path),
        "parent of a user" => fork_user(&path),
        "executor" => execute(&path),
        "descriptors" => say(descriptors()),
        "descriptors to the end" => {
            say(descriptors());
            sleep_for_ever();
        }
        other => panic!("no role {other}"),
    }
}
