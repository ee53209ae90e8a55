//! A queue's file as a reboot leaves it, with words in it that nobody wrote: opening it must end, say what is wrong or put the
//! queue in order, and never panic; what it then delivers was published, at that sequence, whole; and the queue works.
//!
//! The input is a scene and a list of writes.
#![no_main]

use std::fs::File;
use std::os::unix::fs::FileExt;

use libfuzzer_sys::fuzz_target;
use slipring::layout::FileHeader;
use slipring::layout::geometry::control;
use slipring::layout::header::FILE_HEADER_BYTES;
use slipring::{Inspector, OpenErrorKind, PublishError, Queue};
use slipring_fuzz::input::Input;
use slipring_fuzz::scene::Scene;
use slipring_fuzz::scribble::{Write, counted};
use zerocopy::IntoBytes;

/// Writes for one input.
const MOST_WRITES: usize = 40;

fuzz_target!(|data: &[u8]| {
    let mut u = Input(data);
    let Ok(which) = u.below(Scene::REBOOTED as u64) else {
        return;
    };
    let scene = Scene::get(Scene::COUNT + which as usize);
    scene.restore();
    let known = messages(scene);
    for _ in 0..MOST_WRITES {
        let Ok(write) = Write::arbitrary(&mut u, &scene.geometry) else {
            break;
        };
        // What is wrong with a header, another target looks for.
        if write.offset >= FILE_HEADER_BYTES as u64 {
            write.apply(&scene.window);
        }
    }
    reboot(scene);
    let opened = counted("opening", &scene.window, Vec::new(), || {
        Queue::open(&scene.path)
    });
    match opened {
        Ok(queue) => {
            assert!(queue.recovery().is_some());
            use_it(scene, &queue, &known);
            go_round(scene, &queue);
            drop(queue);
            let again = Queue::open(&scene.path).unwrap();
            assert_eq!(again.recovery(), None);
        }
        Err(error) => assert!(
            matches!(error.kind(), OpenErrorKind::Format(_)),
            "{error:?}"
        ),
    }
});

/// As if the file had been made in another boot, and never recovered.
fn reboot(scene: &Scene) {
    let file = File::options()
        .read(true)
        .write(true)
        .open(&scene.path)
        .unwrap();
    let mut bytes = [0; FILE_HEADER_BYTES];
    file.read_exact_at(&mut bytes, 0).unwrap();
    let size = file.metadata().unwrap().len();
    let mut verified = FileHeader::verify(&bytes, size).unwrap();
    verified.boot_id = [1; 16];
    file.write_all_at(FileHeader::new(&verified).as_bytes(), 0)
        .unwrap();
    scene.window.store(control::BOOT_CHECK.0, 0, 8);
}

/// What was published, by its sequence.
fn messages(scene: &Scene) -> Vec<(u64, Vec<u8>)> {
    let inspector = Inspector::open(&scene.path).unwrap();
    (inspector.oldest()..inspector.tail())
        .filter_map(|sequence| Some((sequence, inspector.peek(sequence).payload()?.to_vec())))
        .collect()
}

fn use_it(scene: &Scene, queue: &Queue, known: &[(u64, Vec<u8>)]) {
    let _stats = queue.stats();
    let capacity = scene.geometry.capacity();
    let mut known = known.to_vec();
    let mut producer = queue.producer().unwrap();
    for group in queue.groups() {
        let Ok(consumer) = group.consumer() else {
            continue;
        };
        for _ in 0..=capacity {
            let Ok(delivery) = consumer.try_recv() else {
                break;
            };
            let was = (delivery.sequence(), delivery.to_vec());
            assert!(
                known.contains(&was),
                "delivered {was:?}, published {known:?}"
            );
            delivery.ack().unwrap();
        }
        let Ok(sequence) = producer.try_publish("new") else {
            continue;
        };
        assert!(known.iter().all(|(before, _)| *before != sequence));
        known.push((sequence, b"new".to_vec()));
        if let Ok(delivery) = consumer.try_recv() {
            assert_eq!(
                (delivery.sequence(), &delivery[..]),
                (sequence, &b"new"[..])
            );
            delivery.ack().unwrap();
        }
    }
}

/// Nothing but what is parked keeps room for ever.
fn go_round(scene: &Scene, queue: &Queue) {
    if queue.stats().groups.iter().any(|group| group.dead > 0) {
        return;
    }
    let consumers: Vec<_> = queue
        .groups()
        .iter()
        .map(|group| group.consumer().unwrap())
        .collect();
    for consumer in &consumers {
        for _ in 0..=scene.geometry.capacity() {
            if let Ok(delivery) = consumer.try_recv() {
                delivery.ack().unwrap();
            }
        }
    }
    let mut producer = queue.producer().unwrap();
    for _ in 0..2 * scene.geometry.capacity() {
        let sequence = match producer.try_publish(&[9; 20]) {
            Ok(sequence) => sequence,
            // A word had made it believe that sequences are used up.
            Err(rejected) if matches!(rejected.reason, PublishError::Corrupt(_)) => return,
            Err(rejected) => panic!("{rejected}"),
        };
        for consumer in &consumers {
            let delivery = consumer.try_recv().unwrap();
            assert_eq!(delivery.sequence(), sequence);
            delivery.ack().unwrap();
        }
    }
}
