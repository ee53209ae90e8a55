//! Goal: whatever is wrong with a file, its options or its place is a clear error, and nothing is left behind.
//! Method: every kind of wrong file by hand; races and missing rights with real processes.

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

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::sync::Barrier;

use common::{Backing, MINUTE, directory, watchdog};
use slipring::{
    FormatError, FullPolicy, GroupOptions, Inspector, OpenError, OpenErrorKind, Options, Queue,
    Timestamps,
};

fn small() -> Options {
    Queue::options()
        .capacity(4)
        .max_message(64)
        .max_groups(1)
        .max_participants(2)
}

fn files(dir: &Path) -> usize {
    fs::read_dir(dir).unwrap().count()
}

/// Every way to open a file says the same.
fn open_error(path: &Path) -> OpenError {
    let looked_at = Inspector::open(path).unwrap_err();
    let opened = Queue::open(path).unwrap_err();
    assert_eq!(looked_at.to_string(), opened.to_string());
    assert_eq!(
        Queue::open_or_create(path).unwrap_err().to_string(),
        opened.to_string()
    );
    assert_eq!(opened.path(), path);
    opened
}

fn format_error(path: &Path) -> FormatError {
    match open_error(path).kind() {
        OpenErrorKind::Format(error) => *error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_queue_is_what_its_options_say() {
    for backing in [Backing::Tmpfs, Backing::Disk] {
        let dir = directory(backing);
        let path = dir.path().join("queue");
        let options = small()
            .when_full(FullPolicy::Reject)
            .timestamps(Timestamps::Off)
            .file_mode(0o640);
        let queue = options.create(&path).unwrap();
        assert_eq!((queue.capacity(), queue.max_message()), (4, 64));
        assert_eq!(queue.full_policy(), FullPolicy::Reject);
        assert_eq!(queue.timestamps(), Timestamps::Off);
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o640
        );
        assert_eq!(files(dir.path()), 1);
        let again = options.open(&path).unwrap();
        assert_eq!(again.id(), queue.id());
        assert_eq!(Inspector::open(&path).unwrap().id(), queue.id());
        Queue::unlink(&path).unwrap();
        assert_eq!(files(dir.path()), 0);
        // Who is attached keeps it.
        again.producer().unwrap().publish("still there").unwrap();
        assert_eq!(&*queue.consumer().unwrap().recv().unwrap(), b"still there");
    }
}

#[test]
fn the_default_mode_is_private() {
    let dir = directory(Backing::Tmpfs);
    let path = dir.path().join("queue");
    small()
        .populate(true)
        .huge_pages(true)
        .create(&path)
        .unwrap();
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
}

#[test]
fn impossible_options_leave_no_file() {
    let dir = directory(Backing::Tmpfs);
    let path = dir.path().join("queue");
    let cases = [
        ("capacity", small().capacity(0)),
        ("capacity", small().capacity(1)),
        ("capacity", small().capacity(3)),
        ("capacity", small().capacity(u64::MAX)),
        ("capacity", small().capacity(1 << 63)),
        ("slot_size", small().slot_size(0)),
        ("slot_size", small().slot_size(63)),
        ("slot_size", small().slot_size(u64::MAX)),
        ("max_message", small().max_message(u64::MAX)),
        ("arena_size", small().max_message(1 << 20).arena_size(4096)),
        (
            "arena_size",
            small().max_message(1 << 20).arena_size(u64::MAX),
        ),
        ("arena_size", small().arena_size(1)),
        ("max_groups", small().max_groups(0)),
        ("max_groups", small().max_groups(65)),
        ("max_participants", small().max_participants(0)),
        ("max_participants", small().max_participants(5000)),
        ("first_sequence", small().first_sequence(3)),
        ("first_sequence", small().first_sequence(u64::MAX - 3)),
    ];
    for (field, options) in cases {
        let error = options.create(&path).unwrap_err();
        let OpenErrorKind::Option(found) = error.kind() else {
            panic!("{error}")
        };
        assert_eq!(found.field, field);
        assert!(error.to_string().contains(field), "{error}");
        assert!(options.in_memory().is_err());
    }
    assert_eq!(files(dir.path()), 0);
}

#[test]
fn a_queue_that_does_not_fit_leaves_no_file() {
    for backing in [Backing::Tmpfs, Backing::Disk] {
        let dir = directory(backing);
        let options = small().max_message(1 << 20).arena_size(1 << 44);
        let error = options.create(dir.path().join("huge")).unwrap_err();
        let OpenErrorKind::NoSpace { needed } = error.kind() else {
            panic!("{error}")
        };
        assert!(*needed > 1 << 44);
        assert_eq!(files(dir.path()), 0);
    }
}

#[test]
fn what_exists_is_not_replaced_and_what_is_missing_not_made() {
    let dir = directory(Backing::Tmpfs);
    let path = dir.path().join("queue");
    assert!(matches!(
        small().open(&path).unwrap_err().kind(),
        OpenErrorKind::NotFound
    ));
    assert!(matches!(
        Queue::unlink(&path).unwrap_err().kind(),
        OpenErrorKind::NotFound
    ));
    let missing = dir.path().join("no/such/directory");
    assert!(matches!(
        small().create(missing).unwrap_err().kind(),
        OpenErrorKind::NotFound
    ));
    let id = small().create(&path).unwrap().id();
    assert!(matches!(
        small().create(&path).unwrap_err().kind(),
        OpenErrorKind::AlreadyExists
    ));
    assert_eq!(small().open_or_create(&path).unwrap().id(), id);
    std::os::unix::fs::symlink("nowhere", dir.path().join("link")).unwrap();
    let error = small().create(dir.path().join("link")).unwrap_err();
    assert!(matches!(error.kind(), OpenErrorKind::AlreadyExists));
}

#[test]
fn other_options_than_the_files_are_named() {
    let dir = directory(Backing::Tmpfs);
    let path = dir.path().join("queue");
    let _queue = small().create(&path).unwrap();
    let differing = [
        ("capacity", Queue::options().capacity(8), 8, 4),
        ("slot_size", Queue::options().slot_size(64), 64, 128),
        ("max_message", Queue::options().max_message(65), 65, 64),
        ("arena_size", Queue::options().arena_size(1), 1, 0),
        ("max_groups", Queue::options().max_groups(2), 2, 1),
        (
            "max_participants",
            Queue::options().max_participants(9),
            9,
            2,
        ),
        (
            "when_full",
            Queue::options().when_full(FullPolicy::Reject),
            1,
            0,
        ),
        (
            "timestamps",
            Queue::options().timestamps(Timestamps::Off),
            0,
            1,
        ),
    ];
    for (name, options, wanted, there) in differing {
        for error in [
            options.open(&path).unwrap_err(),
            options.open_or_create(&path).unwrap_err(),
        ] {
            let OpenErrorKind::OptionDiffers {
                option,
                asked,
                found,
            } = error.kind()
            else {
                panic!("{error}")
            };
            assert_eq!((*option, *asked, *found), (name, wanted, there));
        }
    }
}

#[test]
fn what_is_not_a_queue_is_refused() {
    let dir = directory(Backing::Tmpfs);
    let path = dir.path().join("file");
    fs::write(&path, b"").unwrap();
    assert!(matches!(
        format_error(&path),
        FormatError::TooShort { found: 0, .. }
    ));
    fs::write(&path, b"SLIPRING but no more").unwrap();
    assert!(matches!(
        format_error(&path),
        FormatError::TooShort { found: 20, .. }
    ));
    fs::write(&path, [b'#'; 5000]).unwrap();
    assert_eq!(format_error(&path), FormatError::Magic { found: [b'#'; 8] });
    let error = Queue::unlink(&path).unwrap_err();
    assert!(matches!(
        error.kind(),
        OpenErrorKind::Format(FormatError::Magic { .. })
    ));
    assert_eq!(
        fs::read(&path).unwrap(),
        [b'#'; 5000],
        "a foreign file stays what it is"
    );

    let found = |path: &Path| match open_error(path).kind() {
        OpenErrorKind::NotAFile { found } => *found,
        other => panic!("{other:?}"),
    };
    assert_eq!(found(dir.path()), "a directory");
    let fifo = dir.path().join("fifo");
    let name = std::ffi::CString::new(fifo.to_str().unwrap()).unwrap();
    assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
    assert_eq!(found(&fifo), "a FIFO");
    let socket = dir.path().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    assert_eq!(found(&socket), "a socket or device");
    assert_eq!(found(Path::new("/dev/null")), "a device");
}

#[test]
fn a_damaged_queue_is_refused() {
    let dir = directory(Backing::Disk);
    let path = dir.path().join("queue");
    drop(small().create(&path).unwrap());
    let good = fs::read(&path).unwrap();
    let size = good.len() as u64;
    let with = |at: u64, bytes: &[u8]| {
        fs::write(&path, &good).unwrap();
        OpenOptions::new()
            .write(true)
            .open(&path)
            .unwrap()
            .write_all_at(bytes, at)
            .unwrap();
        format_error(&path)
    };
    assert_eq!(
        with(8, &9u32.to_le_bytes()),
        FormatError::Version {
            found: 9,
            supported: 1
        }
    );
    assert!(matches!(with(64, &[0xff]), FormatError::Checksum { .. }));
    assert!(matches!(
        with(12, &[0; 4]),
        FormatError::Checksum { found: 0, .. }
    ));
    assert_eq!(
        with(size, &[0]),
        FormatError::Size {
            found: size + 1,
            expected: size
        }
    );
    fs::write(&path, &good[..good.len() - 1]).unwrap();
    assert_eq!(
        format_error(&path),
        FormatError::Size {
            found: size - 1,
            expected: size
        }
    );
    let text = format_error(&path).to_string();
    assert!(text.ends_with("recreate the queue"), "{text}");
    // A damaged queue can still be removed.
    Queue::unlink(&path).unwrap();
    assert_eq!(files(dir.path()), 0);
}

#[test]
fn every_participant_entry_taken_is_an_error() {
    let dir = directory(Backing::Tmpfs);
    let path = dir.path().join("queue");
    let one = small().create(&path).unwrap();
    let two = Queue::open(&path).unwrap();
    let error = Queue::open(&path).unwrap_err();
    assert!(
        matches!(error.kind(), OpenErrorKind::ParticipantsFull { max: 2 }),
        "{error}"
    );
    drop(two);
    let three = Queue::open(&path).unwrap();
    assert_eq!(one.stats().participants.len(), 2);
    drop(three);
}

#[test]
fn a_thousand_can_attach() {
    let dir = directory(Backing::Tmpfs);
    let path = dir.path().join("queue");
    let first = small().max_participants(1000).create(&path).unwrap();
    let others: Vec<_> = (1..1000).map(|_| Queue::open(&path).unwrap()).collect();
    assert_eq!(first.stats().participants.len(), 1000);
    assert!(Queue::open(&path).is_err());
    let last = others.last().unwrap();
    last.producer().unwrap().publish("hello").unwrap();
    assert_eq!(&*first.consumer().unwrap().recv().unwrap(), b"hello");
}

#[test]
fn sixty_four_groups_each_see_every_message() {
    let queue = small().max_groups(64).in_memory().unwrap();
    for n in 1..64 {
        let kind = if n % 2 == 0 {
            GroupOptions::shared()
        } else {
            GroupOptions::exclusive()
        };
        queue.create_group(&format!("group {n}"), kind).unwrap();
    }
    let mut producer = queue.producer().unwrap();
    let consumers: Vec<_> = queue
        .groups()
        .iter()
        .map(|group| group.consumer().unwrap())
        .collect();
    assert_eq!(consumers.len(), 64);
    for round in 0..10u8 {
        producer.publish(&[round]).unwrap();
        for consumer in &consumers {
            let delivery = consumer.try_recv().unwrap();
            assert_eq!(*delivery, [round]);
            delivery.ack().unwrap();
        }
    }
}

#[test]
fn handles_can_go_to_other_threads() {
    fn is_send<T: Send>() {}
    fn is_shared<T: Send + Sync>() {}
    is_shared::<Queue>();
    is_shared::<slipring::Group>();
    is_shared::<Inspector>();
    is_send::<slipring::Producer>();
    is_send::<slipring::Consumer>();
}

#[test]
fn racing_creators_end_on_one_queue() {
    let _watchdog = watchdog("racing creators", MINUTE);
    for backing in [Backing::Tmpfs, Backing::Disk] {
        let dir = directory(backing);
        for round in 0..10 {
            let path = dir.path().join(format!("queue-{round}"));
            let barrier = Barrier::new(8);
            let ids: Vec<_> = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..8)
                    .map(|_| {
                        scope.spawn(|| {
                            barrier.wait();
                            small().max_participants(8).open_or_create(&path).unwrap()
                        })
                    })
                    .collect();
                threads
                    .into_iter()
                    .map(|thread| thread.join().unwrap().id())
                    .collect()
            });
            assert!(ids.iter().all(|id| *id == ids[0]), "one queue");
        }
        assert_eq!(files(dir.path()), 10, "nothing else is left");
    }
}

#[test]
fn racing_processes_end_on_one_queue() {
    let _watchdog = watchdog("racing processes", MINUTE);
    let dir = directory(Backing::Tmpfs);
    let path = dir.path().join("queue");
    let children: Vec<_> = (0..4)
        .map(|_| common::spawn_child("race", &path, &[]))
        .collect();
    let ids: Vec<_> = children.into_iter().flat_map(common::Kid::finish).collect();
    assert_eq!(ids.len(), 4);
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
}

#[test]
fn missing_rights_are_an_error() {
    // The superuser may do anything; ask as somebody who may not.
    if unsafe { libc::geteuid() } != 0 {
        return eprintln!("skipped: only the superuser can become somebody else");
    }
    let _watchdog = watchdog("missing rights", MINUTE);
    let dir = directory(Backing::Tmpfs);
    let path = dir.path().join("queue");
    let _queue = small().create(&path).unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    // The test binary itself may lie where nobody else can read; take it along.
    let binary = dir.path().join("binary");
    fs::copy(std::env::current_exe().unwrap(), &binary).unwrap();
    let output = std::process::Command::new(&binary)
        .args(["--exact", "child", "--ignored", "--nocapture"])
        .env("SLIPRING_TEST_ROLE", "stranger")
        .env("SLIPRING_TEST_PATH", &path)
        .uid(65534)
        .gid(65534)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Runs a script in a mount namespace of its own; `None` where that is not allowed.
fn in_own_mounts(script: &str, role: &str, path: &Path) -> Option<bool> {
    let output = std::process::Command::new("unshare")
        .args([
            "--mount",
            "sh",
            "-ec",
            &format!("{script}\nexec \"$@\"; "),
            "sh",
        ])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--ignored", "--nocapture"])
        .env("SLIPRING_TEST_ROLE", role)
        .env("SLIPRING_TEST_PATH", path)
        .output()
        .ok()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    if errors.contains("Operation not permitted") || errors.contains("must be superuser") {
        eprintln!("skipped: no mount namespaces here");
        return None;
    }
    if !output.status.success() {
        eprintln!("{}{errors}", String::from_utf8_lossy(&output.stdout));
    }
    Some(output.status.success())
}

#[test]
fn a_read_only_file_system_and_a_full_one_are_errors() {
    let _watchdog = watchdog("file systems", MINUTE);
    let dir = directory(Backing::Disk);
    let place = dir.path().to_str().unwrap();
    let read_only = format!("mount --bind '{place}' '{place}'\nmount -o remount,bind,ro '{place}'");
    drop(small().create(dir.path().join("queue")).unwrap());
    assert_ne!(
        in_own_mounts(&read_only, "read-only", &dir.path().join("queue")),
        Some(false)
    );
    let tiny = format!("mount -t tmpfs -o size=64k tmpfs '{place}'");
    assert_ne!(
        in_own_mounts(&tiny, "tiny", &dir.path().join("other")),
        Some(false)
    );
}

#[test]
#[ignore = "run by other tests, in a process of its own"]
fn child() {
    let Some((role, path)) = common::role() else {
        return;
    };
    match role.as_str() {
        "race" => common::say(format!("{:?}", Queue::open_or_create(&path).unwrap().id())),
        "stranger" => {
            assert!(matches!(
                open_error(&path).kind(),
                OpenErrorKind::PermissionDenied
            ));
            let error = Queue::create(path.with_file_name("other")).unwrap_err();
            assert!(
                matches!(error.kind(), OpenErrorKind::PermissionDenied),
                "{error}"
            );
            assert!(Queue::unlink(&path).is_err());
        }
        "read-only" => {
            let error = Queue::create(path.with_file_name("other")).unwrap_err();
            assert!(
                matches!(error.kind(), OpenErrorKind::ReadOnlyFilesystem),
                "{error}"
            );
            let error = Queue::open(&path).unwrap_err();
            assert!(
                matches!(error.kind(), OpenErrorKind::ReadOnlyFilesystem),
                "{error}"
            );
            // Looking needs no right to write.
            Inspector::open(&path).unwrap();
        }
        "tiny" => {
            let error = Queue::create(&path).unwrap_err();
            assert!(
                matches!(error.kind(), OpenErrorKind::NoSpace { .. }),
                "{error}"
            );
            assert_eq!(files(path.parent().unwrap()), 0);
            small().create(&path).unwrap();
        }
        other => panic!("no role {other}"),
    }
}
