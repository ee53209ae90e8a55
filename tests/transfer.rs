//! Goal: what an export has taken out of a queue an import puts into another one, and a resize into another shape: every
//! message that some group has not settled, with its sequence, and every group where it was. Damage refuses, says where, and
//! leaves nothing; so does dying.
//! Method: a queue with something in every state, taken apart before and after; every byte of its export changed, and the
//! export cut everywhere; exports beside those who work on the queue; resizes that are killed.

#![cfg(not(slipring_loom))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a test may fail loudly"
)]

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use common::{Backing, MINUTE, Stop, directory, role, say, spawn_child, watchdog};
use slipring::{
    FullPolicy, GroupOptions, Imported, Inspector, Message, Options, Queue, ReplayFrom, Replayed,
    Start, TransferError, verify,
};
use tempfile::TempDir;

const GROUPS: [&str; 4] = ["default", "log", "leases", "late"];

fn options() -> Options {
    let options = Queue::options().capacity(16).slot_size(64).max_message(300);
    options.max_groups(5).max_participants(4)
}

/// In the middle of its second lap: given back, parked, acked out of order, long and short.
fn scene() -> (TempDir, PathBuf) {
    let dir = directory(Backing::Tmpfs);
    let path = dir.path().join("queue");
    let queue = options().create(&path).unwrap();
    queue
        .create_group("log", GroupOptions::exclusive())
        .unwrap();
    let leases = GroupOptions::shared().ack_timeout(Duration::from_secs(60));
    queue
        .create_group("leases", leases.max_deliveries(9))
        .unwrap();
    let mut producer = queue.producer().unwrap();
    let consumers =
        ["default", "log", "leases"].map(|name| queue.group(name).unwrap().consumer().unwrap());
    for number in 0..25_u8 {
        let payload = vec![number; usize::from(number) * 12];
        let message = Message::new(&payload).kind(number.into()).key(77);
        producer.publish(message).unwrap();
        if number < 13 {
            for consumer in &consumers {
                consumer.recv().unwrap().ack().unwrap();
            }
        }
    }
    let late = GroupOptions::shared().start(Start::At(20));
    queue.create_group("late", late).unwrap();
    for consumer in &consumers {
        let exclusive = std::ptr::eq(consumer, &raw const consumers[1]);
        let held: Vec<_> = (0..8).map(|_| consumer.recv().unwrap()).collect();
        let mut number = 8;
        // From the last, for in strict order what is given back takes with it what comes after.
        for delivery in held.into_iter().rev() {
            number -= 1;
            match number {
                1 | 6 if !exclusive => delivery.ack().unwrap(),
                2 => delivery.reject("no good").unwrap(),
                3 => delivery.release().unwrap(),
                _ => delivery.nack().unwrap(),
            }
        }
        let again = consumer.recv().unwrap();
        assert_eq!((again.sequence(), again.delivery_count()), (13, 2));
        again.nack().unwrap();
    }
    (dir, path)
}

/// What a queue has for its groups: messages with their counts, and what is parked.
type Contents = BTreeMap<String, Vec<String>>;

/// Takes all there is, on a copy.
fn contents(path: &Path) -> Contents {
    let copy = path.with_file_name("copy");
    std::fs::copy(path, &copy).unwrap();
    let queue = Queue::open(&copy).unwrap();
    let mut found = Contents::new();
    for group in queue.groups() {
        let mut lines = Vec::new();
        for letter in group.dead_letters() {
            let (sequence, reason) = (letter.sequence, letter.reason);
            lines.push(format!(
                "{sequence} parked after {}: {reason}",
                letter.deliveries
            ));
            group.discard(sequence).unwrap();
        }
        let consumer = group.consumer().unwrap();
        while let Ok(delivery) = consumer.try_recv() {
            lines.push(format!(
                "{} delivery {} of {} bytes {:?}, kind {}, key {}, at {}",
                delivery.sequence(),
                delivery.delivery_count(),
                delivery.len(),
                delivery.first(),
                delivery.kind(),
                delivery.key(),
                delivery.timestamp(),
            ));
            delivery.ack().unwrap();
        }
        found.insert(group.name().to_owned(), lines);
    }
    found
}

/// A queue's groups as its statistics have them, less what only its past explains.
fn settings(path: &Path) -> Vec<String> {
    let stats = Inspector::open(path).unwrap().stats();
    let groups = stats.groups.into_iter().map(|mut group| {
        group.start = 0;
        group.oldest_age = Duration::ZERO;
        group.members = 0;
        format!("{group:?}")
    });
    groups.collect()
}

fn export(path: &Path) -> Vec<u8> {
    let mut stream = Vec::new();
    let inspector = Inspector::open(path).unwrap();
    let exported = inspector.export(&mut stream, &mut |_, _| {}).unwrap();
    assert_eq!(exported.bytes, stream.len() as u64);
    assert!(exported.damaged.is_empty());
    stream
}

fn import(options: &Options, path: &Path, stream: &[u8]) -> Result<Imported, TransferError> {
    options.import(path, stream, false, &mut |_, _| {})
}

fn sound(path: &Path) {
    assert_eq!(verify(path).unwrap().findings, [], "{}", path.display());
}

#[test]
fn an_import_is_what_was_exported() {
    let (dir, path) = scene();
    sound(&path);
    let expected = contents(&path);
    assert_eq!(expected.keys().len(), GROUPS.len());
    let stream = export(&path);
    let shapes = [
        Queue::options(),
        Queue::options().capacity(1024),
        Queue::options().slot_size(512),
        Queue::options().max_message(100_000).max_groups(64),
    ];
    for (number, shape) in shapes.iter().enumerate() {
        let copy = dir.path().join(format!("import {number}"));
        let mut last = (0, 0);
        let done = shape.import(&copy, &stream[..], false, &mut |done, all| {
            last = (done, all)
        });
        let done = done.unwrap();
        assert_eq!((done.messages, done.groups), (12, 4));
        assert!(done.skipped.is_empty());
        assert_eq!(last, (12, 12));
        sound(&copy);
        assert_eq!(settings(&copy), settings(&path));
        assert_eq!(contents(&copy), expected);
        assert_eq!(export(&copy).len(), stream.len());
        // It goes on where it was.
        let queue = Queue::open(&copy).unwrap();
        assert_ne!(queue.id(), Queue::open(&path).unwrap().id());
        assert_eq!(queue.producer().unwrap().try_publish("next").unwrap(), 25);
        sound(&copy);
    }
    let taken = import(&Queue::options(), &path, &stream).unwrap_err();
    assert!(taken.to_string().contains("exists already"), "{taken}");
    let narrow = dir.path().join("narrow");
    for (options, why) in [
        (Queue::options().capacity(8), "messages from the oldest"),
        (Queue::options().max_message(100), "length of a message"),
        (Queue::options().max_groups(3), "all 3 groups are taken"),
        (Queue::options().capacity(9), "must be a power of two"),
    ] {
        let error = import(&options, &narrow, &stream).unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
        assert!(!narrow.exists());
    }
    let lossy = Queue::options().when_full(FullPolicy::DropOldest);
    let error = import(&lossy, &narrow, &stream).unwrap_err();
    assert!(matches!(error, TransferError::Group(_)), "{error}");
}

#[test]
fn a_queue_without_messages_or_groups_survives_too() {
    let dir = directory(Backing::Tmpfs);
    for (groups, messages) in [(true, 0), (false, 0), (false, 3), (false, 20), (true, 20)] {
        let path = dir.path().join(format!("{groups} {messages}"));
        let queue = options().default_group(groups).create(&path).unwrap();
        let mut producer = queue.producer().unwrap();
        let consumer = queue.consumer();
        for number in 0..messages {
            let sequence = producer.publish(&[number; 20]).unwrap();
            if let Ok(consumer) = &consumer {
                assert_eq!(consumer.recv().unwrap().sequence(), sequence);
                consumer.recv().unwrap().ack().unwrap();
            }
        }
        let copy = dir.path().join("import");
        let done = import(&Queue::options(), &copy, &export(&path)).unwrap();
        let kept = if groups {
            0
        } else {
            u64::from(messages).min(15)
        };
        assert_eq!(done.messages, kept);
        sound(&copy);
        let copied = Queue::open(&copy).unwrap();
        let sequence = copied.producer().unwrap().publish("next").unwrap();
        assert_eq!(sequence, u64::from(messages));
        let again = copied.replay(ReplayFrom::Oldest).unwrap();
        let again = again.filter(|found| matches!(found, Replayed::Message(_)));
        assert_eq!(again.count() as u64, (kept + 1).min(15));
        sound(&copy);
        std::fs::remove_file(&copy).unwrap();
    }
}

fn number(bytes: &[u8], at: usize, size: usize) -> u64 {
    let bytes = bytes[at..at + size].iter().rev();
    bytes.fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// Read by `docs/format.md` alone.
#[test]
fn the_stream_is_as_its_page_says() {
    let (_dir, path) = scene();
    let stream = export(&path);
    assert_eq!((&stream[..8], number(&stream, 8, 4)), (&b"SLIPEXPT"[..], 1));
    assert_eq!(number(&stream, 12, 4), crc32c::crc32c(&stream[..12]).into());
    let mut frames = Vec::new();
    let mut at = 16;
    while at < stream.len() {
        let frame = &stream[at..];
        assert_eq!(&frame[..4], b"slfr");
        let length = usize::try_from(number(frame, 8, 8)).unwrap();
        let body = &frame[20..20 + length];
        let crc = crc32c::crc32c_append(crc32c::crc32c(&frame[..16]), body);
        assert_eq!(number(frame, 16, 4), crc.into());
        frames.push((number(frame, 4, 4), body));
        at += 20 + length;
    }
    let kinds: Vec<_> = frames.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds[..8], [1, 2, 3, 2, 3, 2, 3, 2]);
    assert_eq!(kinds[8..], [[4; 12].as_slice(), &[5]].concat());
    let queue = frames[0].1;
    let id = Inspector::open(&path).unwrap().id();
    assert_eq!((queue.len(), &queue[..16]), (88, &id[..]));
    // Capacity, slot size, longest message, first and end.
    let longs = [24, 32, 40, 56, 64].map(|at| number(queue, at, 8));
    assert_eq!(longs, [16, 64, 300, 13, 25]);
    let leases = frames[5].1;
    let words = [0, 4, 8, 12, 16].map(|at| number(leases, at, 4));
    assert_eq!(words, [2, 0, 9, 6, 0]);
    assert_eq!((number(leases, 20, 8), number(leases, 28, 8)), (60_000, 13));
    assert_eq!(&leases[84..], b"leases");
    let marks = frames[2].1;
    assert_eq!((number(marks, 0, 4), number(marks, 4, 8)), (0, 13));
    // Delivered twice and given back.
    assert_eq!(marks[12..14], [2, 2]);
    let message = frames[8].1;
    assert_eq!((number(message, 0, 8), number(message, 16, 4)), (13, 77));
    assert_eq!((number(message, 20, 2), number(message, 22, 2)), (13, 0));
    assert_eq!(message[24..], [13; 13 * 12]);
    let end = frames.last().unwrap().1;
    assert_eq!(
        (number(end, 0, 8), number(end, 8, 8), end.len()),
        (12, 4, 16)
    );
}

/// Well sealed, and nonsense: sequences further apart than words can tell, a policy that there is not.
#[test]
fn an_export_that_no_queue_has_written_is_refused() {
    let (dir, path) = scene();
    let good = export(&path);
    let copy = dir.path().join("import");
    let body = 36..36 + 88;
    for (field, value) in [(56, 26), (64, 1 << 53), (64, u64::MAX), (64, 12), (80, 9)] {
        let mut bytes = good.clone();
        let at = body.start + field;
        bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[16..32]);
        let crc = crc32c::crc32c_append(crc, &bytes[body.clone()]);
        bytes[32..36].copy_from_slice(&crc.to_le_bytes());
        let error = import(&Queue::options(), &copy, &bytes).unwrap_err();
        let refused = matches!(error, TransferError::Damaged { offset: 16, .. });
        assert!(refused, "{field}: {error}");
        assert!(!copy.exists());
    }
}

#[test]
fn any_damage_refuses_all_and_leaves_nothing() {
    let (dir, path) = scene();
    let stream = export(&path);
    let copy = dir.path().join("import");
    let mut bytes = stream.clone();
    for at in 0..bytes.len() {
        bytes[at] ^= 0x10;
        let error = import(&Queue::options(), &copy, &bytes).unwrap_err();
        let TransferError::Damaged { offset, .. } = error else {
            panic!("byte {at}: {error}");
        };
        assert!(offset <= at as u64, "byte {at}: {error}");
        bytes[at] = stream[at];
    }
    for length in 0..stream.len() {
        let error = import(&Queue::options(), &copy, &stream[..length]).unwrap_err();
        assert!(
            matches!(error, TransferError::Damaged { .. }),
            "{length}: {error}"
        );
    }
    let longer = [&stream[..], b"more"].concat();
    assert!(import(&Queue::options(), &copy, &longer).is_err());
    let left = dir.path().read_dir().unwrap().count();
    assert_eq!(left, 1, "only the queue itself");
}

#[test]
fn what_is_not_damaged_can_be_had_and_the_rest_is_told() {
    let (dir, path) = scene();
    let stream = export(&path);
    let copy = dir.path().join("import");
    let mut bytes = stream.clone();
    let mut made = 0;
    for at in (16..stream.len()).step_by(7) {
        bytes[at] ^= 0x10;
        let done = Queue::options().import(&copy, &bytes[..], true, &mut |_, _| {});
        bytes[at] = stream[at];
        // Without the frame that describes the queue there is none.
        let Ok(done) = done else {
            assert!(at < 200, "byte {at}");
            continue;
        };
        made += 1;
        assert!(!done.skipped.is_empty(), "byte {at}");
        let lost = 12 - done.messages;
        assert!(lost <= 1 && done.groups >= 3, "byte {at}: {done:?}");
        assert!(verify(&copy).unwrap().is_sound(), "byte {at}");
        std::fs::remove_file(&copy).unwrap();
    }
    assert!(made > 100);
}

#[test]
fn an_export_beside_those_who_work_lacks_nothing_that_is_not_settled() {
    let _watchdog = watchdog("exporting a busy queue", 3 * MINUTE);
    let dir = directory(Backing::Tmpfs);
    let path = dir.path().join("queue");
    let queue = options().capacity(64).create(&path).unwrap();
    queue
        .create_group("log", GroupOptions::exclusive())
        .unwrap();
    let stop = &AtomicBool::new(false);
    let published = &AtomicU64::new(0);
    // What was settled before an export began need not be in it.
    let settled = &AtomicU64::new(0);
    std::thread::scope(|scope| {
        let _stop = Stop(stop);
        let mut producer = queue.producer().unwrap();
        scope.spawn(move || {
            while !stop.load(Ordering::SeqCst) {
                let number = published.load(Ordering::SeqCst);
                if let Ok(sequence) = producer.try_publish(&number.to_le_bytes().repeat(9)) {
                    assert_eq!(sequence, number);
                    published.store(number + 1, Ordering::SeqCst);
                }
            }
        });
        let worker = queue.clone();
        scope.spawn(move || {
            let shared = worker.consumer().unwrap();
            let log = worker.group("log").unwrap().consumer().unwrap();
            while !stop.load(Ordering::SeqCst) {
                for delivery in shared.try_recv_batch(7).into_iter().flatten().flatten() {
                    delivery.ack().unwrap();
                }
                if let Ok(delivery) = log.try_recv() {
                    // Counted first: nothing says when an ack begins to hold.
                    settled.store(delivery.sequence() + 1, Ordering::SeqCst);
                    delivery.ack().unwrap();
                }
            }
        });
        for number in 0..60 {
            let before = published.load(Ordering::SeqCst);
            let stream = export(&path);
            let gone = settled.load(Ordering::SeqCst);
            let copy = dir.path().join(format!("import {number}"));
            import(&Queue::options(), &copy, &stream).unwrap();
            assert_eq!(verify(&copy).unwrap().findings, []);
            let copied = Queue::open(&copy).unwrap();
            let log = copied.group("log").unwrap().consumer().unwrap();
            let mut next = None;
            let mut last = 0;
            while let Ok(delivery) = log.try_recv() {
                let sequence = delivery.sequence();
                assert_eq!(delivery[..8], sequence.to_le_bytes());
                // What was overwritten before it was copied had been settled; what follows may have been so since.
                assert!(next.is_none_or(|next| next == sequence) || sequence <= gone);
                next = Some(sequence + 1);
                last = sequence + 1;
                delivery.ack().unwrap();
            }
            assert!(
                last >= before || gone >= before,
                "to {last}, not {before}; settled to {gone}"
            );
            std::fs::remove_file(&copy).unwrap();
        }
    });
}

fn resize(options: &Options, path: &Path) -> Result<slipring::Resized, TransferError> {
    options.resize(path, &mut |_, _| {})
}

#[test]
fn a_resized_queue_has_all_it_had() {
    let (dir, path) = scene();
    let expected = contents(&path);
    let (id, groups) = (Inspector::open(&path).unwrap().id(), settings(&path));
    for (number, shape) in [
        Queue::options().capacity(64),
        Queue::options().slot_size(1024).arena_size(0),
        Queue::options().capacity(16).max_participants(2),
        Queue::options().slot_size(64).max_message(4000),
        Queue::options(),
    ]
    .iter()
    .enumerate()
    {
        let done = resize(shape, &path).unwrap();
        assert_eq!((done.messages, done.groups), (12, 4), "{number}");
        sound(&path);
        assert_eq!(contents(&path), expected, "{number}");
        assert_eq!(settings(&path), groups, "{number}");
        assert_eq!(Inspector::open(&path).unwrap().id(), id);
    }
    let whole = std::fs::read(&path).unwrap();
    let error = resize(&Queue::options().capacity(8), &path).unwrap_err();
    assert!(matches!(error, TransferError::DoesNotFit(_)), "{error}");
    let users = Queue::open(&path).unwrap();
    let error = resize(&Queue::options().capacity(32), &path).unwrap_err();
    assert!(matches!(error, TransferError::InUse { .. }), "{error}");
    drop(users);
    // What was refused has changed nothing but who came and went.
    assert_eq!(std::fs::read(&path).unwrap().len(), whole.len());
    assert_eq!(contents(&path), expected);
    let mut damaged = whole;
    let slot = Inspector::open(&path).unwrap().geometry().slot(14).0;
    damaged[usize::try_from(slot).unwrap()] = 0xff;
    std::fs::write(&path, damaged).unwrap();
    let error = resize(&Queue::options().capacity(32), &path).unwrap_err();
    assert!(
        matches!(error, TransferError::Unsound { offset } if offset == slot),
        "{error}"
    );
    let names = dir.path().read_dir().unwrap().count();
    assert_eq!(names, 2, "the queue, and the copy that was looked at");
}

#[test]
#[ignore = "a child of other tests"]
fn child() {
    let Some((role, path)) = role() else { return };
    assert_eq!(role, "resizes");
    say("ready");
    for capacity in [32, 64].into_iter().cycle() {
        resize(&Queue::options().capacity(capacity), &path).unwrap();
    }
}

#[test]
fn who_dies_resizing_leaves_one_queue_or_the_other() {
    let _watchdog = watchdog("resizes being killed", 3 * MINUTE);
    let (dir, path) = scene();
    let expected = contents(&path);
    for round in 0..40_u64 {
        let mut kid = spawn_child("resizes", &path, &[]);
        assert_eq!(kid.next_line(), "ready");
        std::thread::sleep(Duration::from_micros(round * 737 % 9000));
        kid.kill();
        // Dead where a sweep has something to do, or nowhere.
        drop(Queue::open(&path).unwrap());
        sound(&path);
        assert_eq!(contents(&path), expected, "round {round}");
    }
    resize(&Queue::options().capacity(128), &path).unwrap();
    assert_eq!(contents(&path), expected);
    let names = dir.path().read_dir().unwrap();
    let hidden = names.filter(|name| {
        let name = name.as_ref().unwrap().file_name();
        name.to_string_lossy().starts_with('.')
    });
    assert_eq!(hidden.count(), 0, "temporary files are cleared");
}

/// Whoever opened the old file and attaches late must not publish into it.
#[test]
fn nobody_publishes_into_a_file_that_has_been_replaced() {
    let _watchdog = watchdog("publishing beside resizes", 2 * MINUTE);
    let dir = directory(Backing::Tmpfs);
    let path = dir.path().join("queue");
    drop(options().capacity(8192).create(&path).unwrap());
    let resized = &AtomicU64::new(0);
    let published = &AtomicU64::new(0);
    let done = || resized.load(Ordering::SeqCst) >= 150 || published.load(Ordering::SeqCst) > 8000;
    std::thread::scope(|scope| {
        let resizer = path.clone();
        scope.spawn(move || {
            for capacity in [16_384, 8192].into_iter().cycle() {
                if done() {
                    break;
                }
                let tried = resize(&Queue::options().capacity(capacity), &resizer);
                resized.fetch_add(u64::from(tried.is_ok()), Ordering::SeqCst);
            }
        });
        for _ in 0..2 {
            scope.spawn(|| {
                while !done() {
                    // While it is resized nobody can attach, and the other way round.
                    if let Ok(queue) = Queue::open(&path) {
                        let sent = queue.producer().unwrap().publish("m");
                        published.fetch_add(u64::from(sent.is_ok()), Ordering::SeqCst);
                        drop(queue);
                        std::thread::sleep(Duration::from_micros(500));
                    }
                }
            });
        }
    });
    let queue = Queue::open(&path).unwrap();
    let consumer = queue.consumer().unwrap();
    let mut found = 0;
    while let Ok(delivery) = consumer.try_recv() {
        delivery.ack().unwrap();
        found += 1;
    }
    println!("{} resizes", resized.load(Ordering::SeqCst));
    assert_eq!(found, published.load(Ordering::SeqCst));
}
