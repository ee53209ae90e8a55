//! A hostile file header: opening must say no, or give a queue whose numbers all fit, and never crash.
//!
//! The checksum is mended, so that the numbers behind it are reached; every other mended file also becomes a real, sparse
//! file of the size its header asks for, and is looked at, opened, published to and read. From numbers that a
//! header may have another queue is made, which has to have the same shape.
#![no_main]

use std::fs::File;
use std::os::unix::fs::FileExt;

use libfuzzer_sys::fuzz_target;
use slipring::layout::FileHeader;
use slipring::layout::header::FILE_HEADER_BYTES;
use slipring::{Durability, Inspector, Queue};

fuzz_target!(|data: &[u8]| {
    let Some((choice, data)) = data.split_first() else {
        return;
    };
    let mut bytes = [0; FILE_HEADER_BYTES];
    let length = data.len().min(bytes.len());
    bytes[..length].copy_from_slice(&data[..length]);
    let size = u64::from_le_bytes(bytes[56..64].try_into().unwrap());
    let _raw = FileHeader::verify(data, size);
    // Offset 12: the checksum, computed with itself as zero.
    bytes[12..16].fill(0);
    let checksum = crc32c(&bytes);
    bytes[12..16].copy_from_slice(&checksum.to_le_bytes());
    if FileHeader::verify(&bytes, size).is_err() || choice % 2 == 0 || size > 1 << 24 {
        return;
    }
    let path = tempfile::NamedTempFile::new().unwrap().into_temp_path();
    let file = File::options().write(true).open(&path).unwrap();
    file.set_len(size).unwrap();
    file.write_all_at(&bytes, 0).unwrap();
    let inspector = Inspector::open(&path).unwrap();
    look(&inspector);
    let queue = match Queue::open(&path) {
        Ok(queue) => queue,
        Err(error) => {
            // What is to be recovered has to be more than a header.
            assert_ne!(inspector.durability(), Durability::None, "{error}");
            return;
        }
    };
    let mut producer = queue.producer().unwrap();
    let _sent = producer.try_publish(&[7; 100]);
    for group in queue.groups() {
        let consumer = group.consumer().unwrap();
        drop(consumer.try_recv());
    }
    let _stats = queue.stats();
    look(&inspector);
    create(&inspector);
});

fn look(inspector: &Inspector) {
    let _stats = inspector.stats();
    for sequence in (inspector.oldest()..=inspector.tail()).take(4) {
        let _seen = inspector.peek(sequence);
    }
}

/// What can be opened can be made.
fn create(inspector: &Inspector) {
    let shape = inspector.geometry().shape();
    let made = Queue::options()
        .capacity(shape.capacity)
        .slot_size(shape.slot_size)
        .max_message(shape.max_message)
        .arena_size(shape.arena_size)
        .max_groups(shape.max_groups)
        .max_participants(shape.max_participants)
        .first_sequence(shape.first_sequence)
        .when_full(inspector.full_policy())
        .timestamps(inspector.timestamps())
        .in_memory()
        .unwrap();
    assert_eq!(made.capacity(), shape.capacity);
    assert_eq!(made.max_message(), shape.max_message);
}

/// CRC32C, bit by bit: independent of the library's.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            (crc >> 1) ^ (0x82f6_3b78 * (crc & 1))
        })
    })
}
