//! A hostile export: whatever the bytes, an import refuses them or makes a queue that is sound, can be opened and emptied. The
//! shape is given, since an export may ask for one that fills the disk. Half of the inputs get good checksums first, for
//! without one nothing gets past the first frame.
#![no_main]

use std::path::PathBuf;

use libfuzzer_sys::fuzz_target;
use slipring::{Queue, verify};

/// Bytes of the preface, and of a frame before its body.
const PREFACE: usize = 16;
const HEAD: usize = 20;

thread_local! {
    static PLACE: PathBuf = {
        let shared = PathBuf::from("/dev/shm");
        let base = if shared.is_dir() { shared } else { std::env::temp_dir() };
        base.join(format!("slipring-fuzz-import-{}", std::process::id()))
    };
}

fuzz_target!(|data: &[u8]| {
    let Some((&choice, data)) = data.split_first() else {
        return;
    };
    let mut stream = data.to_vec();
    if choice & 1 != 0 {
        seal(&mut stream);
    }
    PLACE.with(|path| {
        let options = Queue::options()
            .capacity(8)
            .slot_size(64)
            .max_message(200)
            .arena_size(8 * 4096)
            .max_groups(3)
            .max_participants(2);
        let made = options.import(path, &stream[..], choice & 2 != 0, &mut |_, _| {});
        if let Ok(made) = made {
            let found = verify(path).unwrap();
            assert!(found.is_sound(), "{:?}", found.findings);
            assert!(made.messages <= 8);
            let queue = Queue::open(path).unwrap();
            for group in queue.groups() {
                let consumer = group.consumer().unwrap();
                let mut most = 0..64;
                while let Ok(delivery) = consumer.try_recv() {
                    delivery.ack().unwrap();
                    assert!(most.next().is_some(), "more messages than slots");
                }
            }
            std::fs::remove_file(path).unwrap();
        }
        assert!(!path.exists(), "refused, and left behind");
    });
});

/// Gives the preface and every frame, as far as their lengths lead, a good marker and checksum.
fn seal(stream: &mut [u8]) {
    if stream.len() < PREFACE {
        return;
    }
    stream[..12].copy_from_slice(b"SLIPEXPT\x01\0\0\0");
    let crc = crc32c::crc32c(&stream[..12]);
    stream[12..PREFACE].copy_from_slice(&crc.to_le_bytes());
    let mut at = PREFACE;
    while let Some(frame) = stream.get_mut(at..).filter(|rest| rest.len() >= HEAD) {
        frame[..4].copy_from_slice(b"slfr");
        // A length that leads beyond the input is cut, now and then.
        let most = frame.len() - HEAD;
        let length = usize::from(u16::from_le_bytes([frame[8], frame[9]])) % 512;
        let length = length.min(most);
        frame[8..16].copy_from_slice(&(length as u64).to_le_bytes());
        let crc = crc32c::crc32c(&frame[..16]);
        let crc = crc32c::crc32c_append(crc, &frame[HEAD..HEAD + length]);
        frame[16..HEAD].copy_from_slice(&crc.to_le_bytes());
        at += HEAD + length;
    }
}
