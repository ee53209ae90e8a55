//! Goal: on platforms without shared futexes and file locks the library works inside one process, and says plainly that it
//! cannot do more.
//! Method: `RUSTFLAGS="--cfg slipring_fallback" cargo test --test fallback` takes that path on Linux; without the flag
//! there is nothing to test here.

#![cfg(slipring_fallback)]
#![allow(clippy::unwrap_used, missing_docs, reason = "a test may fail loudly")]

use std::time::Duration;

use slipring::{OpenErrorKind, Queue};

#[test]
fn a_file_is_not_even_made() {
    let dir = tempfile::tempdir().unwrap();
    let error = Queue::create(dir.path().join("queue")).unwrap_err();
    assert!(
        matches!(error.kind(), OpenErrorKind::Unsupported),
        "{error}"
    );
    assert!(error.to_string().contains("no file locks"), "{error}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn threads_of_one_process_share_a_queue_in_memory() {
    let queue = Queue::options().in_memory().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut producer = queue.producer().unwrap();
            for n in 0..1000u32 {
                producer.publish(&n.to_le_bytes()).unwrap();
            }
        });
        let consumer = queue.consumer().unwrap();
        for n in 0..1000u32 {
            let delivery = consumer.recv_timeout(Duration::from_secs(30)).unwrap();
            assert_eq!(*delivery, n.to_le_bytes());
            delivery.ack().unwrap();
        }
    });
}
