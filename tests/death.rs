//! Goal: who is dead, and who only looks so. Zombies, processes whose main thread has gone, crashing and stopped ones, two
//! attachments of one process, other PID namespaces and other paths to the file are judged rightly; creation and
//! hand-over survive death at any moment.
//! Method: this binary runs itself as children, which the test kills, stops and looks at from outside. Bounded by watchdogs.

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
#[path = "common/trace.rs"]
mod trace;

use std::io::{BufRead, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::time::{Duration, Instant};

use common::{Backing, Kid, MINUTE, directory, say, spawn_child, take, watchdog};
use os::{
    PID_NAMESPACE, fork, may, signal, sleep_for_ever, spawn_under, state_of, until, wait_for,
    wait_for_zombie,
};
use slipring::{ClaimError, GroupOptions, Options, PublishError, Queue};
use trace::Tracee;

fn small() -> Options {
    Queue::options()
        .capacity(16)
        .max_message(4096)
        .max_groups(4)
        .max_participants(16)
}

fn pid_of(kid: &Kid) -> libc::pid_t {
    kid.0.id().try_into().unwrap()
}

/// A line to a child's input.
fn tell(kid: &mut Kid) {
    kid.0.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
}

/// In a child: waits for one. Without input it is about to be killed.
fn be_told() {
    if std::io::stdin().read_exact(&mut [0]).is_err() {
        sleep_for_ever();
    }
}

/// A queue with one message, claimed by a child of that role.
fn claimed_by(role: &str, path: &Path) -> (Queue, Kid) {
    let queue = small().create(path).unwrap();
    queue.producer().unwrap().publish("claimed").unwrap();
    let mut kid = spawn_child(role, path, &[]);
    assert_eq!(kid.next_line(), "claimed");
    assert_eq!(queue.sweep().participants, 0);
    (queue, kid)
}

/// The dead one's claim comes to us.
fn take_from_the_dead(queue: &Queue) {
    let swept = queue.sweep();
    assert_eq!((swept.participants, swept.claims), (1, 1));
    let consumer = queue.consumer().unwrap();
    let delivery = consumer.try_recv().unwrap();
    assert_eq!(
        (&*delivery, delivery.delivery_count()),
        (&b"claimed"[..], 2)
    );
    delivery.ack().unwrap();
}

#[test]
fn a_zombie_is_dead() {
    let _watchdog = watchdog("zombie", MINUTE);
    for backing in [Backing::Tmpfs, Backing::Disk] {
        let dir = directory(backing);
        let (queue, mut kid) = claimed_by("claimer", &dir.path().join("queue"));
        kid.0.kill().unwrap();
        wait_for_zombie(&kid);
        take_from_the_dead(&queue);
        assert_eq!(
            state_of(pid_of(&kid)),
            Some('Z'),
            "it has not been waited for"
        );
    }
}

#[test]
fn a_process_lives_as_long_as_its_last_thread() {
    let _watchdog = watchdog("main thread gone", MINUTE);
    let dir = directory(Backing::Tmpfs);
    let path = dir.path().join("queue");
    let queue = small().create(&path).unwrap();
    let mut kid = spawn_child("headless", &path, &[]);
    let pid = kid.next_line().parse().unwrap();
    queue.producer().unwrap().publish("claimed").unwrap();
    assert_eq!(kid.next_line(), "claimed");
    until(|| state_of(pid) == Some('Z'));
    assert_eq!(queue.sweep().participants, 0, "another thread goes on");
    queue.producer().unwrap().publish("more").unwrap();
    assert_eq!(kid.next_line(), "received more");
    assert_eq!(state_of(pid), Some('Z'));
    assert_eq!(queue.sweep().participants, 0);
    tell(&mut kid);
    assert_eq!(kid.next_line(), "ended");
    take_from_the_dead(&queue);
}

#[test]
fn a_process_that_crashes_is_dead_when_it_has_dumped_its_core() {
    let _watchdog = watchdog("crash", MINUTE);
    for how in [libc::SIGABRT, libc::SIGSEGV] {
        let dir = directory(Backing::Tmpfs);
        let (queue, mut kid) = claimed_by("crasher", &dir.path().join("queue"));
        writeln!(kid.0.stdin.as_mut().unwrap(), "{how}").unwrap();
        assert_eq!(kid.0.wait().unwrap().signal(), Some(how));
        take_from_the_dead(&queue);
    }
}

#[test]
fn a_process_stopped_for_ten_seconds_keeps_what_it_holds() {
    let _watchdog = watchdog("stopped owner", 2 * MINUTE);
    let dir = directory(Backing::Tmpfs);
    let path = dir.path().join("queue");
    let (queue, mut kid) = claimed_by("owner", &path);
    signal(pid_of(&kid), libc::SIGSTOP);
    until(|| state_of(pid_of(&kid)) == Some('T'));
    let (mut producer, consumer) = (queue.producer().unwrap(), queue.consumer().unwrap());
    let mut published = 0;
    let stopped = Instant::now();
    while stopped.elapsed() < Duration::from_secs(10) {
        // Up to a lap beyond its claim; then the ring waits.
        match producer.try_publish("meanwhile") {
            Ok(_) => {
                published += 1;
                assert_eq!(take(&consumer), b"meanwhile");
            }
            Err(rejected) => {
                assert_eq!(rejected.reason, PublishError::Full);
                let timeout = Duration::from_millis(500);
                let waited = consumer.recv_timeout(timeout).map(drop);
                assert_eq!(waited.unwrap_err(), ClaimError::TimedOut);
            }
        }
        assert_eq!(queue.sweep(), slipring::Swept::default());
    }
    assert_eq!(published, queue.capacity() - 1);
    signal(pid_of(&kid), libc::SIGCONT);
    tell(&mut kid);
    kid.finish();
    assert_eq!(take(&consumer), [7; 4096]);
    assert_eq!(consumer.try_recv().unwrap_err(), ClaimError::Empty);
}

#[test]
fn two_attachments_of_one_process_are_two_participants() {
    let _watchdog = watchdog("two attachments", MINUTE);
    for backing in [Backing::Tmpfs, Backing::Disk] {
        let dir = directory(backing);
        let path = dir.path().join("queue");
        let first = small().create(&path).unwrap();
        first.producer().unwrap().publish_batch(["a", "b"]).unwrap();
        let mut outside = spawn_child("sweeper", &path, &[]);
        assert_eq!(outside.next_line(), "swept 0");
        let second = Queue::open(&path).unwrap();
        let nobody_is_dead = |outside: &mut Kid, attached: &[&Queue]| {
            tell(outside);
            assert_eq!(outside.next_line(), "swept 0");
            for queue in attached {
                assert_eq!(queue.sweep().participants, 0);
                assert_eq!(queue.stats().participants.len(), attached.len() + 1);
            }
        };
        let (one, other) = (first.consumer().unwrap(), second.consumer().unwrap());
        let (a, b) = (one.recv().unwrap(), other.recv().unwrap());
        nobody_is_dead(&mut outside, &[&first, &second]);
        drop(b);
        drop((other, second));
        nobody_is_dead(&mut outside, &[&first]);
        let third = Queue::open(&path).unwrap();
        let again = third.consumer().unwrap();
        let b = again.recv().unwrap();
        a.ack().unwrap();
        drop((one, first));
        nobody_is_dead(&mut outside, &[&third]);
        b.ack().unwrap();
        assert_eq!(third.stats().depth, 0);
    }
}

/// Both of them see themselves as process 1.
#[test]
fn process_numbers_of_other_namespaces_do_not_matter() {
    let _watchdog = watchdog("PID namespaces", MINUTE);
    if !may(&PID_NAMESPACE) {
        return;
    }
    let dir = directory(Backing::Tmpfs);
    let path = dir.path().join("queue");
    let queue = small().create(&path).unwrap();
    queue
        .producer()
        .unwrap()
        .publish_batch(["claimed", "other"])
        .unwrap();
    let [mut dying, mut living] = [(); 2].map(|()| {
        let mut kid = spawn_under(&PID_NAMESPACE, "claimer", &path);
        assert_eq!(kid.next_line(), "claimed");
        kid
    });
    let pids = || {
        queue
            .stats()
            .participants
            .iter()
            .map(|found| found.pid)
            .collect::<Vec<_>>()
    };
    assert_eq!(pids(), [u64::from(std::process::id()), 1, 1]);
    assert_eq!(queue.sweep().participants, 0);
    dying.kill();
    // That was its launcher, and the kernel sees to the rest.
    until(|| queue.sweep().participants == 1);
    assert_eq!(pids().len(), 2);
    let consumer = queue.consumer().unwrap();
    let delivery = consumer.try_recv().unwrap();
    assert_eq!(
        (&*delivery, delivery.delivery_count()),
        (&b"claimed"[..], 2)
    );
    assert_eq!(consumer.try_recv().unwrap_err(), ClaimError::Empty);
    tell(&mut living);
    living.finish();
    delivery.ack().unwrap();
    assert_eq!(queue.stats().depth, 0);
}

/// A child that attaches by another path is seen alive, and seen dead.
fn by_another_path(queue: &Queue, mut kid: Kid) {
    queue.producer().unwrap().publish("claimed").unwrap();
    assert_eq!(kid.next_line(), "claimed");
    assert_eq!(queue.sweep().participants, 0);
    assert_eq!(queue.stats().participants.len(), 2);
    kid.kill();
    take_from_the_dead(queue);
}

#[test]
fn the_path_to_the_file_does_not_matter() {
    let _watchdog = watchdog("other paths", MINUTE);
    for backing in [Backing::Tmpfs, Backing::Disk] {
        let dir = directory(backing);
        let path = dir.path().join("queue");
        let queue = small().create(&path).unwrap();
        let (hard, soft) = (dir.path().join("hard"), dir.path().join("soft"));
        std::fs::hard_link(&path, &hard).unwrap();
        std::os::unix::fs::symlink(&path, &soft).unwrap();
        for other in [hard, soft] {
            by_another_path(&queue, spawn_child("claimer", &other, &[]));
        }
        let (from, to) = (dir.path().to_str().unwrap(), dir.path().join("mounted"));
        std::fs::create_dir(&to).unwrap();
        let mount = "mount --bind \"$0\" \"$1\" && shift && exec \"$@\"";
        let to_text = to.to_str().unwrap();
        let own_mounts = ["unshare", "--user", "--map-root-user", "--mount"];
        let bind = [&own_mounts[..], &["sh", "-c", mount, from, to_text]].concat();
        if may(&bind) {
            by_another_path(&queue, spawn_under(&bind, "claimer", &to.join("queue")));
        }
    }
}

/// Each says what it gets before it acks it, and is killed at some moment after that.
#[test]
fn a_stand_by_goes_on_where_the_killed_one_was() {
    let _watchdog = watchdog("hand-over", 2 * MINUTE);
    let seed = u64::from(std::process::id());
    println!("seed {seed}");
    for backing in [Backing::Tmpfs, Backing::Disk] {
        let dir = directory(backing);
        let path = dir.path().join("queue");
        let queue = small().default_group(false).create(&path).unwrap();
        queue
            .create_group("log", GroupOptions::exclusive())
            .unwrap();
        let _producing = spawn_child("producer", &path, &[]);
        let next = || {
            let mut kid = spawn_child("logger", &path, &[]);
            assert_eq!(kid.next_line(), "standing by");
            kid
        };
        let mut expected = 0;
        let mut killed = Instant::now();
        let mut active = next();
        for round in 0..12 {
            let mut lines = vec![active.next_line()];
            if round > 0 {
                println!("a message {:?} after the kill", killed.elapsed());
            }
            let stand_by = next();
            lines.extend((0..(seed >> (round % 8)) % 9).map(|_| active.next_line()));
            active.0.kill().unwrap();
            killed = Instant::now();
            let rest = std::io::read_to_string(active.0.stdout.take().unwrap()).unwrap();
            // Cut off in the middle of a line, it is as if unsaid.
            let whole = rest.rsplit_once('\n').map_or("", |(whole, _)| whole);
            let said = whole.lines().filter_map(|line| line.split_once("> "));
            lines.extend(said.map(|(_, said)| said.to_owned()));
            for (at, line) in lines.iter().enumerate() {
                let (sequence, count) = line.split_once(' ').unwrap();
                let (sequence, count): (u64, u64) =
                    (sequence.parse().unwrap(), count.parse().unwrap());
                if at == 0 && sequence + 1 == expected {
                    // Said, but not acked.
                    assert!((2..=3).contains(&count), "{line}");
                } else {
                    assert_eq!(sequence, expected, "neither a gap nor a duplicate");
                    // The first may have been opened, and not said.
                    let most = if at == 0 && round > 0 { 3 } else { 1 };
                    assert!((1..=most).contains(&count), "{line}");
                    expected += 1;
                }
            }
            active = stand_by;
        }
    }
}

#[test]
fn creation_killed_at_any_system_call_leaves_nothing_or_a_whole_queue() {
    let _watchdog = watchdog("killed creators", 2 * MINUTE);
    for backing in [Backing::Tmpfs, Backing::Disk] {
        let dir = directory(backing);
        for line in spawn_child("tracer of creators", dir.path(), &[]).finish() {
            println!("{backing:?}: {line}");
        }
    }
}

fn trace_creators(dir: &Path) {
    let path = dir.join("queue");
    let (mut stops, mut left) = (0, 0);
    loop {
        let Some(mut creator) = Tracee::start(|| (), |()| small().create(&path).unwrap()) else {
            say("skipped: ptrace is refused here");
            return;
        };
        for _ in 0..stops {
            creator.step_by_calls();
        }
        let done = creator.kill();
        let names: Vec<_> = std::fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert!(
            names.is_empty() || names == ["queue"],
            "stop {stops}: {names:?}"
        );
        assert!(!done || !names.is_empty(), "it has returned");
        left += names.len();
        let queue = small().open_or_create(&path).unwrap();
        assert_eq!(queue.stats().participants.len(), 1);
        let (mut producer, consumer) = (queue.producer().unwrap(), queue.consumer().unwrap());
        for _ in 0..2 * queue.capacity() {
            producer.try_publish("usable").unwrap();
            assert_eq!(take(&consumer), b"usable");
        }
        Queue::unlink(&path).unwrap();
        if done {
            break;
        }
        stops += 1;
    }
    assert!(stops > 20, "{stops}");
    say(format!("{stops} moments, {left} with a whole queue"));
}

/// The main thread ends, as `pthread_exit` would end it, but without unwinding through Rust; another one goes on. In a
/// forked child, since the main thread of this process is the test harness.
fn lose_the_main_thread(path: &Path) {
    let child = fork(|| {
        let path = path.to_owned();
        std::thread::spawn(move || {
            let queue = Queue::open(path).unwrap();
            let consumer = queue.consumer().unwrap();
            let _claimed = consumer.recv().unwrap();
            say("claimed");
            let more = consumer.recv().unwrap();
            say(format!("received {}", String::from_utf8_lossy(&more)));
            more.ack().unwrap();
            be_told();
            unsafe { libc::syscall(libc::SYS_exit, 0) };
        });
        unsafe { libc::syscall(libc::SYS_exit, 0) };
    });
    say(child);
    wait_for(child);
    say("ended");
    sleep_for_ever();
}

fn crash(path: &Path) {
    let consumer = Queue::open(path).unwrap().consumer().unwrap();
    let _claimed = consumer.recv().unwrap();
    // Where a core file vanishes.
    std::env::set_current_dir(path.parent().unwrap()).unwrap();
    say("claimed");
    let how = std::io::stdin().lock().lines().next().unwrap().unwrap();
    let how = how.parse().unwrap();
    unsafe { libc::signal(how, libc::SIG_DFL) };
    unsafe { libc::raise(how) };
}

#[test]
#[ignore = "run by other tests, in a process of its own"]
fn child() {
    let Some((role, path)) = common::role() else {
        return;
    };
    os::end_some_time();
    match role.as_str() {
        "claimer" => {
            let consumer = Queue::open(&path).unwrap().consumer().unwrap();
            let claimed = consumer.recv().unwrap();
            say("claimed");
            be_told();
            claimed.ack().unwrap();
        }
        "headless" => lose_the_main_thread(&path),
        "crasher" => crash(&path),
        "owner" => {
            let queue = Queue::open(&path).unwrap();
            let (mut producer, consumer) = (queue.producer().unwrap(), queue.consumer().unwrap());
            let claimed = consumer.recv().unwrap();
            let mut loan = producer.loan(4096).unwrap();
            loan[..2048].fill(7);
            say("claimed");
            be_told();
            loan[2048..].fill(7);
            claimed.ack().unwrap();
            loan.commit().unwrap();
        }
        "sweeper" => {
            let queue = Queue::open(&path).unwrap();
            loop {
                say(format!("swept {}", queue.sweep().participants));
                be_told();
            }
        }
        "producer" => {
            let mut producer = Queue::open(&path).unwrap().producer().unwrap();
            loop {
                producer.publish("logged").unwrap();
            }
        }
        "logger" => {
            let group = Queue::open(&path).unwrap().group("log").unwrap();
            let consumer = group.consumer().unwrap();
            say("standing by");
            loop {
                let delivery = consumer.recv().unwrap();
                say(format!(
                    "{} {}",
                    delivery.sequence(),
                    delivery.delivery_count()
                ));
                delivery.ack().unwrap();
            }
        }
        "tracer of creators" => trace_creators(&path),
        other => panic!("no role {other}"),
    }
}
