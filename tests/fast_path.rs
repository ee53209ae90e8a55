//! Goal: publish, claim and ack make no system call and no allocation.
//! Method: a counting allocator; and a child that asks the kernel (strict seccomp) to be killed at any system call other
//! than read, write and exit, then publishes, claims and acks.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::undocumented_unsafe_blocks,
    clippy::multiple_unsafe_ops_per_block,
    missing_docs,
    reason = "a test may fail loudly"
)]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use common::{Backing, MINUTE, directory, spawn_child, watchdog};
use slipring::{Consumer, GroupOptions, Producer, Queue, Timestamps};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Several laps of everything that belongs to the fast path.
fn work(producer: &mut Producer, consumers: &[Consumer]) {
    for n in 0..200u64 {
        producer.publish(&[1; 64]).unwrap();
        producer.try_publish(&[2; 8]).unwrap();
        producer.publish_batch([&[3u8; 16], &[4u8; 16]]).unwrap();
        let mut reservation = producer.reserve(32).unwrap();
        reservation.fill(5);
        reservation.commit().unwrap();
        producer.publish(&[6; 5000]).unwrap();
        for consumer in consumers {
            for _ in 0..3 {
                consumer.recv().unwrap().ack().unwrap();
            }
            for delivery in consumer.recv_batch(3).unwrap() {
                delivery.unwrap().ack().unwrap();
            }
            assert!(consumer.try_recv().is_err(), "round {n}");
        }
    }
}

fn make(path: &std::path::Path) -> (Queue, Producer, Vec<Consumer>) {
    // A precise clock may be a system call where the kernel cannot map it.
    let options = Queue::options()
        .capacity(16)
        .timestamps(Timestamps::Coarse)
        .max_message(8000);
    let queue = options.create(path).unwrap();
    let log = queue
        .create_group("log", GroupOptions::exclusive())
        .unwrap();
    let producer = queue.producer().unwrap();
    let consumers = vec![queue.consumer().unwrap(), log.consumer().unwrap()];
    (queue, producer, consumers)
}

#[test]
fn the_fast_path_allocates_nothing() {
    for backing in [Backing::Tmpfs, Backing::Disk] {
        let dir = directory(backing);
        let (_queue, mut producer, consumers) = make(&dir.path().join("queue"));
        // The first round may make room for later ones.
        work(&mut producer, &consumers);
        let before = ALLOCATIONS.get();
        work(&mut producer, &consumers);
        assert_eq!(ALLOCATIONS.get() - before, 0);
    }
}

#[test]
#[cfg(target_os = "linux")]
fn the_fast_path_makes_no_system_call() {
    let _watchdog = watchdog("strict child", MINUTE);
    let dir = directory(Backing::Tmpfs);
    for role in ["strict", "strict-then-sleep"] {
        let mut child = spawn_child(role, &dir.path().join(role), &[]);
        let status = child.0.wait().unwrap();
        // The second shows that the first could have failed.
        assert_eq!(status.success(), role == "strict", "{role}: {status}");
    }
}

#[test]
#[ignore = "run by other tests, in a process of its own"]
fn child() {
    let Some((role, path)) = common::role() else {
        return;
    };
    // The mode holds for a thread, so this needs a process with only one.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0);
    if pid == 0 {
        strict(&role, &path);
    }
    let mut status = 0;
    assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
    if status != 0 {
        // No panic: of one of the two this is expected, and a log should have nothing that looks like a failure.
        std::process::exit(1);
    }
}

fn strict(role: &str, path: &std::path::Path) -> ! {
    let (_queue, mut producer, consumers) = make(path);
    work(&mut producer, &consumers);
    assert_eq!(
        unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_STRICT) },
        0
    );
    work(&mut producer, &consumers);
    if role == "strict-then-sleep" {
        // Waiting may sleep, and then has to ask the kernel.
        drop(
            consumers
                .first()
                .map(|c| c.recv_timeout(std::time::Duration::from_millis(1))),
        );
    }
    // Not even a clean exit is allowed: exit_group is another call than exit.
    unsafe { libc::syscall(libc::SYS_exit, 0) };
    unreachable!()
}
