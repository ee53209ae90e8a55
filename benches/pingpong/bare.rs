//! What the machine itself can do: one word back and forth, and a ring of two processes with nothing but a word and a
//! value in each slot. Limits to compare with.

use std::hint::{black_box, spin_loop};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::{MESSAGES, Peer, TRIPS, per};

/// Slots of a bare ring, and the bytes from one to the next: as the queues beside it have.
const SLOTS: u64 = 1024;
const STRIDE: usize = 128;
/// A ring begins with the reader's cursor.
const FIRST_SLOT: usize = 4096;
const RING: usize = FIRST_SLOT + SLOTS as usize * STRIDE;

fn mapped(path: &Path, size: usize) -> memmap2::MmapRaw {
    let mut options = std::fs::OpenOptions::new();
    let file = options.read(true).write(true).create(true).truncate(false);
    let file = file.open(path).expect("a file");
    file.set_len(size as u64).expect("pages");
    memmap2::MmapRaw::map_raw(&file).expect("a mapping")
}

fn word(map: &memmap2::MmapRaw, offset: usize) -> &AtomicU64 {
    // SAFETY: within the mapping, aligned, and only ever accessed as this atomic.
    unsafe { AtomicU64::from_ptr(map.as_mut_ptr().add(offset).cast()) }
}

pub fn hop(number: usize, dir: &Path) -> f64 {
    let map = mapped(&dir.join("bare"), 4096);
    let (there, back) = (word(&map, 0), word(&map, 512));
    let _peer = Peer::spawn(number, dir);
    let trip = |n: u64| {
        there.store(n, Ordering::Release);
        while back.load(Ordering::Acquire) != n {
            black_box(());
        }
    };
    (1..=TRIPS / 10).for_each(trip);
    let start = Instant::now();
    (TRIPS / 10 + 1..=TRIPS / 10 + TRIPS).for_each(trip);
    per(start, 2 * TRIPS)
}

pub fn hop_peer(dir: &Path) {
    let map = mapped(&dir.join("bare"), 4096);
    let (there, back) = (word(&map, 0), word(&map, 512));
    for n in 1..=TRIPS + TRIPS / 10 {
        while there.load(Ordering::Acquire) != n {
            black_box(());
        }
        back.store(n, Ordering::Release);
    }
}

/// One end of a ring: slot word and value side by side, and the reader's cursor on a line of its own.
struct End {
    map: memmap2::MmapRaw,
    next: u64,
    limit: u64,
}

impl End {
    fn open(path: &Path) -> Self {
        Self {
            map: mapped(path, RING),
            next: 0,
            limit: SLOTS,
        }
    }

    fn slot(&self) -> usize {
        FIRST_SLOT + (self.next % SLOTS) as usize * STRIDE
    }

    fn value(&self) -> *mut [u64; 8] {
        // SAFETY: a slot has room for its word and the value behind it.
        unsafe { self.map.as_mut_ptr().add(self.slot() + 8).cast() }
    }

    fn send(&mut self, value: [u64; 8]) {
        while self.next == self.limit {
            self.limit = word(&self.map, 0).load(Ordering::Acquire) + SLOTS;
            spin_loop();
        }
        // SAFETY: the reader has passed this slot and waits for its word.
        unsafe { self.value().write(value) };
        word(&self.map, self.slot()).store(self.next + 1, Ordering::Release);
        self.next += 1;
    }

    /// Tells the writer, if the reader says so.
    fn receive(&mut self, tell: bool) -> [u64; 8] {
        while word(&self.map, self.slot()).load(Ordering::Acquire) != self.next + 1 {
            black_box(());
        }
        // SAFETY: the writer has passed this slot and waits for the cursor.
        let value = unsafe { self.value().read() };
        self.next += 1;
        if tell {
            word(&self.map, 0).store(self.next, Ordering::Release);
        }
        value
    }
}

pub fn round_trip(number: usize, dir: &Path) -> f64 {
    let (mut there, mut back) = (End::open(&dir.join("there")), End::open(&dir.join("back")));
    let _peer = Peer::spawn(number, dir);
    let mut trip = |n| {
        there.send([n; 8]);
        assert_eq!(back.receive(true), [n; 8]);
    };
    (0..TRIPS / 10).for_each(&mut trip);
    let start = Instant::now();
    (0..TRIPS).for_each(&mut trip);
    per(start, 2 * TRIPS)
}

pub fn round_trip_peer(dir: &Path) {
    let (mut there, mut back) = (End::open(&dir.join("there")), End::open(&dir.join("back")));
    for _ in 0..TRIPS + TRIPS / 10 {
        let value = there.receive(true);
        back.send(value);
    }
}

pub fn one_way(number: usize, dir: &Path, batch: u64) -> f64 {
    let mut ring = End::open(&dir.join("there"));
    let _peer = Peer::spawn(number, dir);
    let mut start = Instant::now();
    for n in 0..MESSAGES {
        if n == MESSAGES / 10 {
            start = Instant::now();
        }
        assert_eq!(ring.receive((n + 1) % batch == 0), [n; 8]);
    }
    per(start, MESSAGES - MESSAGES / 10)
}

pub fn one_way_peer(dir: &Path, batch: u64) {
    let mut ring = End::open(&dir.join("there"));
    for first in (0..MESSAGES).step_by(batch as usize) {
        let values: Vec<[u64; 8]> = (first..first + batch).map(|n| [n; 8]).collect();
        values.into_iter().for_each(|value| ring.send(value));
    }
}
