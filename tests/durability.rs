//! Goal: the public calls of durable queues do what they say: who waits for the disk, what is refused where, what a failed
//! sync does to everybody, and what the first opener after a reboot finds.
//! Method: files on the disk of this machine. A reboot is the header's boot id changed by hand; what a power loss leaves
//! beyond that is `tests/power_loss`. Syncs fail when the test says so.

#![cfg(feature = "crash-points")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "a test may fail loudly"
)]

mod common;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use common::{Backing, MINUTE, directory, role, say, spawn_child, watchdog};
use slipring::layout::FileHeader;
use slipring::layout::geometry::{control, group, slot};
use slipring::mem::fault;
use slipring::{
    AckError, Dump, Durability, GroupError, GroupOptions, Inspector, OpenErrorKind, Options,
    PendingRecovery, PublishError, Queue,
};
use tempfile::TempDir;
use zerocopy::{FromBytes, IntoBytes};

const EIO: i32 = 5;

fn place() -> (TempDir, PathBuf) {
    let dir = directory(Backing::Disk);
    let path = dir.path().join("queue");
    (dir, path)
}

fn small(durability: Durability) -> Options {
    Queue::options().capacity(4).durability(durability)
}

/// Hourly, as far as a test is concerned.
fn rarely() -> Durability {
    Durability::Interval(Duration::from_secs(60))
}

fn word(path: &Path, offset: slipring::layout::Offset) -> u64 {
    let mut bytes = [0; 8];
    let file = File::open(path).unwrap();
    file.read_exact_at(&mut bytes, offset.0).unwrap();
    u64::from_le_bytes(bytes)
}

/// As if the file had been made in another boot.
fn reboot(path: &Path) {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let mut bytes = [0; slipring::layout::header::FILE_HEADER_BYTES];
    file.read_exact_at(&mut bytes, 0).unwrap();
    let length = file.metadata().unwrap().len();
    let mut verified = FileHeader::verify(&bytes, length).unwrap();
    verified.boot_id[0] = verified.boot_id[0].wrapping_add(1);
    file.write_all_at(FileHeader::new(&verified).as_bytes(), 0)
        .unwrap();
    // And nobody has recovered it.
    file.write_all_at(&[0; 8], control::BOOT_CHECK.0).unwrap();
}

/// As if the last to leave had died instead.
fn lose_mark(path: &Path) {
    assert_eq!(word(path, control::CLEAN), 1);
    let file = File::options().write(true).open(path).unwrap();
    file.write_all_at(&[0; 8], control::CLEAN.0).unwrap();
}

fn drain(queue: &Queue) -> Vec<String> {
    let consumer = queue.consumer().unwrap();
    let mut found = Vec::new();
    while let Ok(delivery) = consumer.try_recv() {
        found.push(String::from_utf8(delivery.to_vec()).unwrap());
        delivery.ack().unwrap();
    }
    found
}

#[test]
fn each_publish_of_a_sync_queue_waits_for_the_disk_and_others_only_when_told() {
    let (_dir, path) = place();
    let queue = small(Durability::Sync).create(&path).unwrap();
    let mut producer = queue.producer().unwrap();
    let finished = || word(&path, control::FINISHED);
    producer.publish("a").unwrap();
    assert_eq!(finished(), 1);
    producer.try_publish("b").unwrap();
    assert_eq!(finished(), 2);
    producer.publish_batch(["c", "d"]).unwrap();
    assert_eq!((finished(), word(&path, control::DURABLE)), (3, 4));

    let (_dir, path) = place();
    let queue = small(rarely()).create(&path).unwrap();
    let mut producer = queue.producer().unwrap();
    let finished = || word(&path, control::FINISHED);
    producer.publish("a").unwrap();
    assert_eq!(finished(), 0);
    producer.publish_durable("b").unwrap();
    assert_eq!((finished(), word(&path, control::DURABLE)), (1, 2));
    producer.flush().unwrap();
    assert_eq!(finished(), 2);
    let delivery = queue.consumer().unwrap();
    delivery.recv().unwrap().ack().unwrap();
    assert_eq!(finished(), 2);
    delivery.recv().unwrap().ack_durable().unwrap();
    assert_eq!(finished(), 3);
}

/// Each lap needs one sync, which a producer does that has nothing else in its way.
#[test]
fn a_producer_that_reaches_the_bound_syncs_whether_it_waits_or_not() {
    let (_dir, path) = place();
    let queue = small(rarely()).create(&path).unwrap();
    let mut producer = queue.producer().unwrap();
    for lap in 0..6 {
        for _ in 0..4 {
            if lap % 2 == 0 {
                producer.publish("x").unwrap();
            } else {
                producer.try_publish("x").unwrap();
            }
        }
        assert_eq!(drain(&queue).len(), 4);
    }
    assert!(word(&path, control::FINISHED) >= 5);
    for _ in 0..4 {
        producer.try_publish("x").unwrap();
    }
    let full = producer.try_publish("x").unwrap_err();
    assert_eq!(full.reason, PublishError::Full);
}

#[test]
fn a_queue_with_an_interval_is_synced_by_itself_while_it_changes() {
    let _watchdog = watchdog("interval", MINUTE);
    let (_dir, path) = place();
    let every = Duration::from_millis(1);
    let queue = small(Durability::Interval(every)).create(&path).unwrap();
    let wait_for = |reached: &dyn Fn() -> bool| {
        while !reached() {
            std::thread::sleep(every);
        }
    };
    queue.producer().unwrap().publish("x").unwrap();
    wait_for(&|| word(&path, control::DURABLE) == 1);
    let delivery = queue.consumer().unwrap();
    let before = word(&path, control::FINISHED);
    delivery.recv().unwrap().ack().unwrap();
    wait_for(&|| word(&path, control::FINISHED) > before);
    // One more may be under way; then, with nothing to do, there are no more.
    let settled = || {
        let before = word(&path, control::FINISHED);
        std::thread::sleep(20 * every);
        word(&path, control::FINISHED) == before
    };
    wait_for(&settled);
}

#[test]
fn what_a_leaver_has_published_is_on_the_disk() {
    let (_dir, path) = place();
    let queue = small(rarely()).create(&path).unwrap();
    queue.producer().unwrap().publish("x").unwrap();
    assert_eq!(word(&path, control::DURABLE), 0);
    drop(queue);
    assert_eq!(word(&path, control::DURABLE), 1);
}

#[test]
fn durability_is_refused_where_nothing_is_durable() {
    let volatile = |created: Result<Queue, slipring::OpenError>| {
        let error = created.unwrap_err();
        assert!(
            matches!(error.kind(), OpenErrorKind::Volatile { .. }),
            "{error}"
        );
        assert!(error.to_string().contains("gone after a reboot"), "{error}");
    };
    let memory = directory(Backing::Tmpfs);
    for durability in [Durability::Sync, rarely()] {
        volatile(small(durability).create(memory.path().join("queue")));
        volatile(small(durability).in_memory());
    }
    // A copy there does not become one either.
    let (_dir, path) = place();
    drop(small(Durability::Sync).create(&path).unwrap());
    let copy = memory.path().join("copy");
    std::fs::copy(&path, &copy).unwrap();
    volatile(Queue::open(&copy));
    assert!(Inspector::open(&copy).is_ok());

    let queue = Queue::options().capacity(4).in_memory().unwrap();
    let mut producer = queue.producer().unwrap();
    let refused = Err(PublishError::NotDurable);
    assert_eq!(producer.publish_durable("x"), refused);
    assert_eq!(producer.flush(), Err(PublishError::NotDurable));
    producer.publish("x").unwrap();
    let consumer = queue.consumer().unwrap();
    let delivery = consumer.recv().unwrap();
    assert_eq!(delivery.ack_durable(), Err(AckError::NotDurable));
    assert_eq!(queue.stats().groups[0].lag, 0, "acked all the same");
}

#[test]
fn options_of_durability_are_checked_and_compared() {
    let (_dir, path) = place();
    let odd = Durability::Interval(Duration::from_micros(1500));
    let error = small(odd).create(&path).unwrap_err();
    assert!(error.to_string().contains("whole ms"), "{error}");
    let error = small(Durability::Sync).checksums(false).create(&path);
    let text = error.unwrap_err().to_string();
    assert!(text.contains("checksums is 0, must be 1"), "{text}");
    drop(small(Durability::Sync).create(&path).unwrap());
    let error = small(rarely()).open(&path).unwrap_err();
    assert!(error.to_string().contains("durability sync"), "{error}");
    let queue = Queue::open(&path).unwrap();
    assert_eq!(queue.durability(), Durability::Sync);
}

#[test]
fn a_failed_sync_stops_every_publisher_for_good_and_no_consumer() {
    let (_dir, path) = place();
    let queue = small(rarely()).create(&path).unwrap();
    let other = Queue::open(&path).unwrap();
    let mut producer = queue.producer().unwrap();
    producer.publish_durable("safe").unwrap();
    fault::fail_syncs(Some(EIO));
    let failed = producer.publish_durable("there, and not safe");
    let errno = EIO;
    let published = Some(1);
    assert_eq!(failed, Err(PublishError::SyncFailed { errno, published }));
    fault::fail_syncs(None);
    let refused = PublishError::SyncFailed {
        errno,
        published: None,
    };
    assert!(refused.to_string().contains("create the queue anew"));
    for mut producer in [producer, other.producer().unwrap()] {
        assert_eq!(producer.publish("x"), Err(refused));
        assert_eq!(producer.publish_durable("x"), Err(refused));
        assert_eq!(producer.try_publish("x").unwrap_err().reason, refused);
        assert_eq!(producer.flush(), Err(refused));
    }
    let made = other.create_group("late", GroupOptions::shared());
    assert_eq!(made.unwrap_err(), GroupError::SyncFailed { errno });
    let consumer = other.consumer().unwrap();
    consumer.recv().unwrap().ack().unwrap();
    let acked = consumer.recv().unwrap().ack_durable();
    assert_eq!(acked, Err(AckError::SyncFailed { errno }));
    drop((consumer, queue, other));
    let again = Queue::open(&path).unwrap();
    assert_eq!(again.producer().unwrap().publish("x"), Err(refused));
    assert_eq!(drain(&again), Vec::<String>::new());
    drop(again);
    // The disk says what it has after a reboot.
    reboot(&path);
    let rebooted = Queue::open(&path).unwrap();
    assert!(rebooted.recovery().is_some());
    rebooted.producer().unwrap().publish_durable("x").unwrap();
}

#[test]
fn the_first_opener_after_a_reboot_recovers_and_the_others_find_it_done() {
    let (_dir, path) = place();
    let options = small(Durability::Sync).capacity(16).max_message(8000);
    let queue = options.create(&path).unwrap();
    queue
        .create_group("log", GroupOptions::exclusive())
        .unwrap();
    let brief = GroupOptions::shared().ephemeral(true);
    queue.create_group("brief", brief).unwrap();
    let long = "long ".repeat(1000);
    let mut producer = queue.producer().unwrap();
    producer.publish("acked").unwrap();
    producer.publish(&long).unwrap();
    producer.publish("held").unwrap();
    let consumer = queue.consumer().unwrap();
    consumer.recv().unwrap().ack_durable().unwrap();
    std::mem::forget(consumer.recv().unwrap());
    drop((consumer, producer, queue));
    reboot(&path);

    let queue = Queue::open(&path).unwrap();
    let recovered = queue.recovery().unwrap();
    assert_eq!((recovered.epoch, recovered.records), (1, 3));
    assert_eq!(
        (recovered.torn, recovered.missing, recovered.dropped),
        (0, 0, 0)
    );
    let names: Vec<_> = queue.groups().iter().map(|g| g.name().to_owned()).collect();
    assert_eq!(
        names,
        ["default", "log"],
        "an ephemeral group has nobody left"
    );
    assert_eq!(Queue::open(&path).unwrap().recovery(), None);
    let verified = slipring::verify(&path).unwrap();
    assert_eq!(verified.damage().count(), 0, "{verified:?}");
    let sequence = queue.producer().unwrap().publish("new").unwrap();
    assert!(sequence >= 4, "{sequence}");
    assert_eq!(drain(&queue), [long.as_str(), "held", "new"]);
    let log = queue.group("log").unwrap().consumer().unwrap();
    for expected in ["acked", long.as_str(), "held", "new"] {
        let delivery = log.recv().unwrap();
        assert_eq!(&*delivery, expected.as_bytes());
        delivery.ack().unwrap();
    }
    assert_eq!(queue.stats().published, 4);
}

#[test]
fn a_queue_without_durability_is_empty_after_a_reboot_and_counts_what_it_dropped() {
    let (_dir, path) = place();
    let queue = Queue::options().capacity(4).create(&path).unwrap();
    queue
        .create_group("log", GroupOptions::exclusive())
        .unwrap();
    let mut producer = queue.producer().unwrap();
    producer.publish_batch(["a", "b", "c"]).unwrap();
    drop((producer, queue));
    reboot(&path);
    let queue = Queue::open(&path).unwrap();
    let recovered = queue.recovery().unwrap();
    assert_eq!((recovered.records, recovered.dropped), (0, 3));
    assert_eq!(drain(&queue), Vec::<String>::new());
    let sequence = queue.producer().unwrap().publish("new").unwrap();
    assert!(sequence > 4 << 20, "{sequence}");
    assert_eq!(drain(&queue), ["new"]);
    let log = queue.group("log").unwrap().consumer().unwrap();
    assert_eq!(&*log.recv().unwrap(), b"new");
}

#[test]
fn a_torn_message_is_counted_and_never_delivered() {
    let (_dir, path) = place();
    let queue = small(Durability::Sync).create(&path).unwrap();
    let mut producer = queue.producer().unwrap();
    producer.publish_batch(["one", "two", "six"]).unwrap();
    drop((producer, queue));
    let slot_of_two = Inspector::open(&path).unwrap().geometry().slot(1);
    let file = File::options().write(true).open(&path).unwrap();
    file.write_all_at(b"T", slot_of_two.plus(slot::PAYLOAD).0)
        .unwrap();
    lose_mark(&path);
    reboot(&path);
    let queue = Queue::open(&path).unwrap();
    assert_eq!(queue.recovery().unwrap().torn, 1);
    assert_eq!(drain(&queue), ["one", "six"]);
}

#[test]
fn a_floor_of_a_later_moment_than_the_claims_below_it_is_believed() {
    let (_dir, path) = place();
    let queue = small(rarely()).create(&path).unwrap();
    queue.producer().unwrap().publish_batch(["a", "b"]).unwrap();
    let consumer = queue.consumer().unwrap();
    consumer.recv().unwrap().ack().unwrap();
    drop((consumer, queue));
    let geometry = *Inspector::open(&path).unwrap().geometry();
    let group = slipring::layout::GroupId(0);
    assert_eq!(word(&path, geometry.group(group).plus(group::FLOOR)), 1);
    let file = File::options().write(true).open(&path).unwrap();
    // The disk had the page of the floor written, and that of the claim not yet.
    file.write_all_at(&[0; 8], geometry.claim(group, 0).0)
        .unwrap();
    lose_mark(&path);
    reboot(&path);
    let queue = Queue::open(&path).unwrap();
    assert!(!queue.recovery().unwrap().clean);
    assert_eq!(slipring::verify(&path).unwrap().damage().count(), 0);
    assert_eq!(drain(&queue), ["b"]);
}

#[test]
fn an_opener_that_verifies_refuses_a_message_that_has_changed() {
    let (_dir, path) = place();
    let queue = Queue::options().capacity(4).checksums(true).create(&path);
    let queue = queue.unwrap();
    let mut producer = queue.producer().unwrap();
    producer.publish_batch(["one", "two", "six"]).unwrap();
    let slot_of_two = Inspector::open(&path).unwrap().geometry().slot(1);
    let file = File::options().write(true).open(&path).unwrap();
    file.write_all_at(b"T", slot_of_two.plus(slot::PAYLOAD).0)
        .unwrap();
    let checking = Queue::options().verify(true).open(&path).unwrap();
    let consumer = checking.consumer().unwrap();
    consumer.recv().unwrap().ack().unwrap();
    let error = consumer.recv().unwrap_err().to_string();
    assert!(error.contains("the checksum of the message"), "{error}");
    assert_eq!(&*consumer.recv().unwrap(), b"six");
}

#[test]
fn a_queue_that_was_left_in_order_goes_on_where_it_was_after_a_reboot() {
    let (_dir, path) = place();
    let options = small(rarely()).capacity(16).max_message(8000);
    let queue = options.create(&path).unwrap();
    let leased = GroupOptions::shared().ack_timeout(Duration::from_secs(60));
    queue.create_group("leased", leased).unwrap();
    queue
        .create_group("log", GroupOptions::exclusive())
        .unwrap();
    let brief = GroupOptions::shared().ephemeral(true);
    queue.create_group("brief", brief).unwrap();
    let long = "long ".repeat(1000);
    let mut producer = queue.producer().unwrap();
    producer.publish_batch(["acked", &long, "back"]).unwrap();
    let consumer = queue.consumer().unwrap();
    consumer.recv().unwrap().ack().unwrap();
    let leased = queue.group("leased").unwrap().consumer().unwrap();
    leased.recv().unwrap().nack().unwrap();
    let before = queue.stats();
    drop((consumer, leased, producer, queue));
    assert_eq!(word(&path, control::CLEAN), 1);
    reboot(&path);

    let queue = Queue::open(&path).unwrap();
    let found = queue.recovery().unwrap();
    assert!(found.clean);
    assert_eq!((found.epoch, found.records, found.missing), (1, 0, 0));
    assert_eq!(queue.stats().recovery, Some(found));
    let names: Vec<_> = queue.groups().iter().map(|g| g.name().to_owned()).collect();
    assert_eq!(names, ["default", "leased", "log"]);
    let stats = queue.stats();
    assert_eq!((stats.tail, stats.aborted), (before.tail, before.aborted));
    assert_eq!(queue.producer().unwrap().publish("new"), Ok(3), "no hole");
    assert_eq!(drain(&queue), [long.as_str(), "back", "new"]);
    let leased = queue.group("leased").unwrap().consumer().unwrap();
    let again = leased.recv().unwrap();
    assert_eq!((&*again, again.delivery_count()), (&b"acked"[..], 2));
    again.ack().unwrap();
    drop(leased);
    assert_eq!(slipring::verify(&path).unwrap().damage().count(), 0);
    drop(queue);
    reboot(&path);
    assert!(Queue::open(&path).unwrap().recovery().unwrap().clean);
}

#[test]
fn the_mark_is_taken_back_before_anything_else_and_set_by_the_last() {
    let (dir, path) = place();
    let clean = || word(&path, control::CLEAN);
    let queue = small(rarely()).create(&path).unwrap();
    assert_eq!(clean(), 0);
    let other = Queue::open(&path).unwrap();
    drop(queue);
    assert_eq!(clean(), 0, "somebody else is there");
    drop(other);
    assert_eq!(clean(), 1);
    let queue = Queue::open(&path).unwrap();
    assert_eq!(clean(), 0);
    queue.producer().unwrap().publish_durable("x").unwrap();
    // As a power loss leaves it that loses nothing.
    let copy = dir.path().join("copy");
    std::fs::copy(&path, &copy).unwrap();
    reboot(&copy);
    let copied = Queue::open(&copy).unwrap();
    let found = copied.recovery().unwrap();
    assert_eq!((found.clean, found.records), (false, 1));
    // Without durability there is nothing to mark.
    let plain = dir.path().join("plain");
    drop(Queue::options().capacity(4).create(&plain).unwrap());
    assert_eq!(word(&plain, control::CLEAN), 0);
}

#[test]
fn a_claim_that_a_dead_process_had_is_given_back_before_the_mark() {
    let _watchdog = watchdog("a dead process", MINUTE);
    let (_dir, path) = place();
    let queue = small(rarely()).create(&path).unwrap();
    queue.producer().unwrap().publish("held").unwrap();
    let mut kid = spawn_child("holds", &path, &[]);
    assert_eq!(kid.next_line(), "ready");
    kid.kill();
    drop(queue);
    assert_eq!(word(&path, control::CLEAN), 1);
    reboot(&path);
    let queue = Queue::open(&path).unwrap();
    assert!(queue.recovery().unwrap().clean);
    assert_eq!(drain(&queue), ["held"]);
    // Nobody sees to what the last one leaves that dies.
    drop(queue);
    let mut kid = spawn_child("attaches", &path, &[]);
    assert_eq!(kid.next_line(), "ready");
    kid.kill();
    reboot(&path);
    assert!(!Queue::open(&path).unwrap().recovery().unwrap().clean);
}

#[test]
#[ignore = "a child of other tests"]
fn child() {
    let Some((role, path)) = role() else { return };
    let queue = Queue::open(&path).unwrap();
    let consumer = queue.consumer().unwrap();
    let _held = (role == "holds").then(|| consumer.recv().unwrap());
    say("ready");
    std::thread::sleep(Duration::from_secs(600));
}

#[test]
fn a_disk_that_fails_lets_nobody_in_over_a_mark_and_no_mark_be_set() {
    let (_dir, path) = place();
    let queue = small(rarely()).create(&path).unwrap();
    queue.producer().unwrap().publish("x").unwrap();
    drop(queue);
    fault::fail_syncs(Some(EIO));
    let error = Queue::open(&path).unwrap_err();
    assert!(error.to_string().contains("os error 5"), "{error}");
    assert_eq!(word(&path, control::CLEAN), 2, "the disk may have 1");
    fault::fail_syncs(None);
    let queue = Queue::open(&path).unwrap();
    assert_eq!(word(&path, control::CLEAN), 0);
    assert_eq!(drain(&queue), ["x"]);
    fault::fail_syncs(Some(EIO));
    drop(queue);
    fault::fail_syncs(None);
    assert_eq!(word(&path, control::CLEAN), 0);
    let again = Queue::open(&path).unwrap();
    assert!(again.producer().unwrap().publish("x").is_err());
}

#[test]
fn a_recovery_whose_sync_fails_is_done_again_by_the_next_opener() {
    let (_dir, path) = place();
    let queue = small(rarely()).create(&path).unwrap();
    queue.producer().unwrap().publish("x").unwrap();
    drop(queue);
    lose_mark(&path);
    reboot(&path);
    fault::fail_syncs(Some(EIO));
    for _ in 0..2 {
        let text = Queue::open(&path).unwrap_err().to_string();
        assert!(text.contains("syncing the recovered queue"), "{text}");
    }
    fault::fail_syncs(None);
    let queue = Queue::open(&path).unwrap();
    assert_eq!(queue.recovery().unwrap().records, 1);
    assert_eq!(drain(&queue), ["x"]);
}

/// A process that this boot's kernel says is attached cannot have come from another boot of this machine.
#[test]
fn a_file_that_another_machine_has_attached_is_refused() {
    let (_dir, path) = place();
    let queue = small(Durability::Sync).create(&path).unwrap();
    reboot(&path);
    let error = Queue::open(&path).unwrap_err();
    assert!(matches!(error.kind(), OpenErrorKind::OtherBoot), "{error}");
    drop(queue);
    assert!(Queue::open(&path).unwrap().recovery().is_some());
}

#[test]
fn many_publishers_share_syncs_and_none_waits_for_ever() {
    let _watchdog = watchdog("group commit", 2 * MINUTE);
    let (_dir, path) = place();
    let options = Queue::options().capacity(1024).durability(rarely());
    let queue = options.create(&path).unwrap();
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut producer = queue.producer().unwrap();
                for _ in 0..25 {
                    producer.publish_durable("x").unwrap();
                }
            });
        }
    });
    let syncs = word(&path, control::FINISHED);
    println!("200 messages, {syncs} syncs, {:?}", start.elapsed());
    assert_eq!(word(&path, control::DURABLE), 200);
    assert!(syncs < 200, "{syncs}: nobody shared one");
}

#[test]
fn a_header_of_before_durability_is_read_as_without() {
    let (_dir, path) = place();
    drop(Queue::options().capacity(4).create(&path).unwrap());
    let bytes = std::fs::read(&path).unwrap();
    let (header, _) = FileHeader::read_from_prefix(&bytes).unwrap();
    assert_eq!(
        (header.durability, header.checksums, header.interval_ms),
        (0, 0, 0)
    );
    let zero = [
        control::UNTIL_DISK,
        control::UNTIL_LIVE,
        control::BOOT_CHECK,
    ];
    assert_eq!(zero.map(|offset| word(&path, offset)), [0; 3]);
}

#[test]
fn a_resized_queue_keeps_its_durability_and_seals_its_messages_anew() {
    let (_dir, path) = place();
    let queue = small(Durability::Sync).create(&path).unwrap();
    queue.producer().unwrap().publish("kept").unwrap();
    drop(queue);
    let larger = Queue::options().capacity(64);
    larger.resize(&path, &mut |_, _| {}).unwrap();
    reboot(&path);
    let queue = Queue::open(&path).unwrap();
    assert_eq!(queue.durability(), Durability::Sync);
    assert!(queue.recovery().unwrap().clean, "nobody has used it yet");
    assert_eq!(drain(&queue), ["kept"]);
    drop(queue);
    lose_mark(&path);
    reboot(&path);
    let queue = Queue::open(&path).unwrap();
    let recovered = queue.recovery().unwrap();
    assert_eq!((recovered.records, recovered.torn), (1, 0));
}

#[test]
fn a_resize_keeps_interval_and_checksums_or_changes_them_when_asked() {
    let (_dir, path) = place();
    let kept = || {
        let queue = Queue::open(&path).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let (header, _) = FileHeader::read_from_prefix(&bytes).unwrap();
        (queue.durability(), header.checksums == 1)
    };
    let resize = |options: Options| options.resize(&path, &mut |_, _| {});
    let queue = small(Durability::None).checksums(true).create(&path);
    queue.unwrap().producer().unwrap().publish("x").unwrap();
    resize(Queue::options().capacity(8)).unwrap();
    assert_eq!(kept(), (Durability::None, true));
    resize(Queue::options().durability(rarely())).unwrap();
    assert_eq!(kept(), (rarely(), true));
    resize(Queue::options().capacity(16)).unwrap();
    assert_eq!(kept(), (rarely(), true));
    let error = resize(Queue::options().checksums(false)).unwrap_err();
    assert!(
        error.to_string().contains("1 in a durable queue"),
        "{error}"
    );
    reboot(&path);
    let queue = Queue::open(&path).unwrap();
    assert!(queue.recovery().unwrap().clean);
    assert_eq!(drain(&queue), ["x"]);
    drop(queue);
    resize(Queue::options().durability(Durability::None)).unwrap();
    assert_eq!(kept(), (Durability::None, true));
}

#[test]
fn who_looks_at_a_file_of_another_boot_is_told_that_it_is_what_the_disk_has() {
    let (_dir, path) = place();
    let pending = || {
        let verified = slipring::verify(&path).unwrap().pending_recovery;
        let dumped = Dump::open(&path).unwrap().pending_recovery();
        let inspected = Inspector::open(&path).unwrap().pending_recovery();
        assert_eq!((verified, dumped), (inspected, inspected));
        inspected
    };
    drop(small(rarely()).create(&path).unwrap());
    assert_eq!(pending(), None);
    reboot(&path);
    assert_eq!(pending(), Some(PendingRecovery::Clean));
    lose_mark(&path);
    assert_eq!(pending(), Some(PendingRecovery::Recover));
    let queue = Queue::open(&path).unwrap();
    assert_eq!(pending(), None);
    drop(queue);
    // The stamp of that recovery, of another boot.
    let file = File::options().write(true).open(&path).unwrap();
    file.write_all_at(&[1; 8], control::BOOT_FIRST.0).unwrap();
    assert_eq!(pending(), Some(PendingRecovery::Clean));
    std::fs::remove_file(&path).unwrap();
    drop(small(Durability::None).create(&path).unwrap());
    assert_eq!(pending(), None);
    reboot(&path);
    let found = pending().unwrap();
    assert_eq!(found, PendingRecovery::Drop);
    assert!(found.to_string().contains("another boot"), "{found}");
}
