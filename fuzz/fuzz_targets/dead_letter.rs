//! A hostile producer's dead letters: the message at the head of a queue says of itself whatever the input says (length, flags,
//! dead-letter header, lengths of group and reason, payload, pointer into the arena), and is read in every way there is. What
//! comes out has to lie in what was there, and to fit itself.
#![no_main]

use libfuzzer_sys::fuzz_target;
use slipring::layout::geometry::slot;
use slipring::{Delivery, Inspector, Message, Peeked, Queue};
use slipring_fuzz::scribble::{Window, counted};

/// A message that lies in its slot, and one that lies in the arena.
const LENGTHS: [usize; 2] = [96, 400];

struct Place {
    queue: Queue,
    inspector: Inspector,
    window: &'static Window,
}

fn place() -> Place {
    let base = if std::fs::exists("/dev/shm").unwrap() {
        "/dev/shm".into()
    } else {
        std::env::temp_dir()
    };
    let directory = tempfile::tempdir_in(base).unwrap().keep();
    let path = directory.join("dead");
    let options = Queue::options()
        .capacity(2)
        .max_message(400)
        .arena_size(4 * 4096)
        .max_groups(1);
    let queue = options.max_participants(1).create(&path).unwrap();
    let inspector = Inspector::open(&path).unwrap();
    let window = Box::leak(Box::new(Window::open(&path)));
    // What is open stays; nobody else has to find it.
    std::fs::remove_dir_all(directory).unwrap();
    Place {
        queue,
        inspector,
        window,
    }
}

thread_local! {
    static PLACE: Place = place();
}

fuzz_target!(|data: &[u8]| {
    let Some((&choice, data)) = data.split_first() else {
        return;
    };
    PLACE.with(|place| run(place, choice, data));
});

fn run(place: &Place, choice: u8, data: &[u8]) {
    let length = LENGTHS[usize::from(choice % 2)];
    // The slot header, as far as the input goes, then the payload.
    let (header, body) = data.split_at(data.len().min(24));
    let mut payload = vec![0; length];
    let given = body.len().min(length);
    payload[..given].copy_from_slice(&body[..given]);
    let mut producer = place.queue.producer().unwrap();
    let sequence = producer.publish(Message::new(&payload)).unwrap();
    let start = place.inspector.geometry().slot(sequence).0;
    if choice & 2 == 0 {
        // Only what makes it a dead letter: else hardly any input gets past the length.
        let flags = place.window.load(start + slot::HEADER) | 2 << 32;
        place.window.store(start + slot::HEADER, flags, 8);
    } else {
        for (at, byte) in (start + slot::HEADER..).zip(header) {
            place.window.store(at, (*byte).into(), 1);
        }
    }
    if choice & 4 != 0 {
        for (at, byte) in (start + slot::PAYLOAD..).zip(body.iter().take(16)) {
            place.window.store(at, (*byte).into(), 1);
        }
    }
    let max = place.inspector.geometry().shape().max_message;
    let peeked = counted("peek", place.window, Vec::new(), || {
        place.inspector.peek(sequence)
    });
    if let Peeked::Message {
        payload,
        dead_letter,
        ..
    } = &peeked
    {
        let enclosed = dead_letter
            .as_ref()
            .map_or(0, |letter| 40 + letter.group.len().min(letter.reason.len()));
        assert!(payload.len() as u64 <= max && (enclosed == 0 || payload.len() as u64 + 40 <= max));
    }
    let consumer = place.queue.consumer().unwrap();
    let received = counted("receive", place.window, Vec::new(), || consumer.try_recv());
    if let Ok(delivery) = received {
        agrees(&delivery, &peeked);
        delivery.ack().unwrap();
    }
}

/// The consumer and the observer saw the same, or the observer saw damage where the consumer could look.
fn agrees(delivery: &Delivery<'_>, peeked: &Peeked) {
    let Peeked::Message {
        payload,
        dead_letter,
        ..
    } = peeked
    else {
        return;
    };
    assert_eq!(delivery.payload(), payload);
    assert_eq!(delivery.dead_letter().as_ref(), dead_letter.as_deref());
}
