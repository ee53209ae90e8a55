//! Goal: no wake-up is lost between processes, with fences on behalf of others and where the kernel refuses them.
//! Method: a sole producer and an exclusive consumer, each a process that sleeps whenever it has to wait, pass messages
//! through a ring of two slots: tens of thousands of sleeps on either side. The ring is the library's, the sleeping is the
//! test's own: its sleeps have no end but the watchdog's, so that one lost wake-up ends the run. A process is refused
//! `membarrier` by a filter of system calls.

#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::undocumented_unsafe_blocks,
    clippy::multiple_unsafe_ops_per_block,
    missing_docs,
    reason = "a test may fail loudly"
)]

mod common;

use std::fs::File;
use std::path::Path;

use common::{Backing, MINUTE, directory, number, say, spawn_child, watchdog};
use slipring::layout::geometry::Shape;
use slipring::layout::{Geometry, GroupId, OwnerId, SlotHeader};
use slipring::mem::{Access, Event, Mem};
use slipring::ring::{Channel, Ring, Settle, Start, Stuck, Terms, Wake};

const MESSAGES: u64 = 30_000;
const PRODUCER: OwnerId = OwnerId(0);
const CONSUMER: OwnerId = OwnerId(1);

const SHAPE: Shape = Shape {
    capacity: 2,
    slot_size: 64,
    max_message: 32,
    arena_size: 0,
    max_groups: 1,
    max_participants: 2,
    first_sequence: 0,
};

fn ring(path: &Path) -> Ring {
    let geometry = Geometry::new(SHAPE).unwrap();
    let mut options = File::options();
    let file = options.read(true).write(true).create(true).truncate(false);
    let file = file.open(path).unwrap();
    file.set_len(geometry.file_size()).unwrap();
    let mem = Mem::map(&file, geometry.file_size(), Access::default()).unwrap();
    Ring::new(mem, geometry)
}

fn membarrier(command: libc::c_int) -> bool {
    unsafe { libc::syscall(libc::SYS_membarrier, command, 0) == 0 }
}

/// From now on the kernel says of `membarrier` that there is none.
fn refuse_membarrier() {
    let code = |code: u32| u16::try_from(code).unwrap();
    let number = u32::try_from(libc::SYS_membarrier).unwrap();
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let mut filter = [
        step(code(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS), 0, 0, 0),
        step(
            code(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K),
            0,
            1,
            number,
        ),
        step(
            code(libc::BPF_RET | libc::BPF_K),
            0,
            0,
            libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32,
        ),
        step(
            code(libc::BPF_RET | libc::BPF_K),
            0,
            0,
            libc::SECCOMP_RET_ALLOW,
        ),
    ];
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_mut_ptr(),
    };
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        let mode = libc::SECCOMP_MODE_FILTER;
        assert_eq!(
            libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const program),
            0
        );
    }
}

struct Futex;

impl Wake for Futex {
    fn wake(&self, event: Event<'_>, count: i32) -> u64 {
        let word = event.atomic().as_ptr();
        unsafe { libc::syscall(libc::SYS_futex, word, libc::FUTEX_WAKE, count) as u64 }
    }
}

/// What `wait.rs` does, without spinning; who cannot fence for the others sleeps a millisecond at most.
fn wait<T>(ring: &Ring, channel: Channel, mut attempt: impl FnMut() -> Option<T>) -> T {
    loop {
        let ticket = ring.prepare(channel);
        let sure =
            !ring.has_light_fences(channel) || membarrier(libc::MEMBARRIER_CMD_GLOBAL_EXPEDITED);
        if let Some(done) = attempt() {
            return done;
        }
        let millisecond = libc::timespec {
            tv_sec: 0,
            tv_nsec: 1_000_000,
        };
        let limit = if sure {
            std::ptr::null()
        } else {
            &raw const millisecond
        };
        let word = ring.event(channel).atomic().as_ptr();
        unsafe { libc::syscall(libc::SYS_futex, word, libc::FUTEX_WAIT, ticket, limit) };
    }
}

fn produce(ring: &Ring) {
    ring.become_sole(PRODUCER).unwrap();
    let mut p = ring.publisher(PRODUCER, true);
    for n in 0..MESSAGES {
        let reserved = wait(ring, Channel::Space, || match ring.reserve(&mut p) {
            Ok(reserved) => Some(reserved),
            Err(Stuck::Full) => None,
            Err(other) => panic!("{other:?}"),
        });
        let header = SlotHeader {
            length: 8,
            ..SlotHeader::default()
        };
        ring.fill(reserved, &header, &n.to_le_bytes());
        ring.commit(&mut p, reserved).unwrap();
        ring.wake_consumers(&Futex);
    }
}

fn consume(ring: &Ring, group: GroupId) {
    let mut c = ring.take_over(group, CONSUMER).unwrap();
    for n in 0..MESSAGES {
        let handed = wait(ring, Channel::Data(group), || {
            ring.cursor_next(&mut c).unwrap()
        });
        let mut bytes = [0; 8];
        let slot = ring.geometry().slot(handed.claim.sequence);
        ring.mem().copy_out(slot.plus(32), &mut bytes);
        assert_eq!(u64::from_le_bytes(bytes), n);
        assert!(ring.cursor_end(&mut c, handed, Some(Settle::Ack)));
        ring.wake_producer_after(group, handed.claim.sequence, &Futex);
    }
}

/// `refused` says of producer and consumer whether the kernel refuses them to fence for others, and to be made to.
fn all_arrive(refused: [bool; 2]) {
    let _watchdog = watchdog("a wake-up", 2 * MINUTE);
    let dir = directory(Backing::Tmpfs);
    let path = dir.path().join("ring");
    let ring = ring(&path);
    let joining = ring.begin_group(OwnerId(0)).unwrap();
    let terms = Terms {
        exclusive: true,
        ..Terms::default()
    };
    let group = u64::from(joining.id.0);
    ring.finish_group(joining, terms, Start::Latest).unwrap();
    let kids = ["producer", "consumer"].into_iter().zip(refused);
    let kids = kids.map(|(role, refused)| {
        let settings = [
            ("REFUSED", u64::from(refused).to_string()),
            ("GROUP", group.to_string()),
        ];
        spawn_child(role, &path, &settings)
    });
    for kid in kids.collect::<Vec<_>>() {
        assert_eq!(kid.finish(), ["done"]);
    }
}

#[test]
fn every_sleeper_is_woken_who_makes_the_others_fence() {
    all_arrive([false, false]);
}

#[test]
fn every_sleeper_is_woken_where_nobody_may_make_others_fence() {
    all_arrive([true, true]);
}

#[test]
fn every_sleeper_is_woken_where_only_the_producer_may_make_others_fence() {
    all_arrive([false, true]);
}

#[test]
fn every_sleeper_is_woken_where_only_the_consumer_may_make_others_fence() {
    all_arrive([true, false]);
}

#[test]
#[ignore = "run by other tests, in a process of its own"]
fn child() {
    let Some((role, path)) = common::role() else {
        return;
    };
    if number("REFUSED") == 1 {
        refuse_membarrier();
    }
    let mut ring = ring(&path);
    let light = membarrier(libc::MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED);
    ring.let_waiters_fence(light);
    match &*role {
        "producer" => produce(&ring),
        _ => consume(&ring, GroupId(number("GROUP") as u8)),
    }
    say("done");
}
