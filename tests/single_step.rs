//! Goal: whatever instruction a process is killed at, in any operation, a message is there whole or not at all, nothing is lost,
//! nothing acked comes again, nothing live is taken, and the queue goes on. This sees what the compiler made of the code.
//! Method: a child runs one operation under ptrace, instruction by instruction, on a small queue with some history.
//! 1. The walk: after every instruction the file's bytes are what a death right there would leave. Each time they have changed,
//!    a copy of them is opened, swept and checked, so every instruction is covered.
//! 2. The kills: the child is really killed, at instructions a stride apart from a random start, as many as the time
//!    allows, while the test is attached and holds a claim of its own. `SLIPRING_STEPS=all` kills at every instruction,
//!    `SLIPRING_STEPS=n` only after n, as a failure names them; `SLIPRING_SEED` repeats the random starts.

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
#[path = "common/trace.rs"]
mod trace;

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use common::{Backing, directory, say, spawn_child, watchdog};
use slipring::{
    ClaimError, Consumer, Delivery, FullPolicy, GroupOptions, Message, Options, Producer,
    PublishError, Queue, Start, Swept,
};
use trace::{Tracee, Window, stay_on_this_cpu};

/// How long the kills of one operation may take.
const KILLING: Duration = Duration::from_millis(800);
/// No operation is that long; one that is goes round in circles.
const STEPS_MAX: u64 = 5_000_000;

const SEGMENTS: usize = 4;

fn small() -> Options {
    Queue::options()
        .capacity(8)
        .slot_size(64)
        .max_message(512)
        .arena_size(SEGMENTS as u64 * 4096)
        .when_full(FullPolicy::Reject)
        .max_groups(3)
        .max_participants(4)
}

/// What messages say: their name, over and over. Some are too long for a slot.
const NAMES: [&str; 7] = ["zero", "one", "two", "new", "newer", "newest", "large"];

fn payload(name: &str) -> Vec<u8> {
    let length = if ["two", "large"].contains(&name) {
        300
    } else {
        30
    };
    name.bytes().cycle().take(length).collect()
}

fn name_of(delivery: &Delivery<'_>) -> &'static str {
    let name = NAMES.iter().find(|name| payload(name) == **delivery);
    name.unwrap_or_else(|| panic!("torn: {delivery:?} {:?}", &**delivery))
}

/// A queue in its second lap, with messages zero, one and two for the groups `default` and `log`.
fn history(path: &Path) -> Vec<u8> {
    let queue = small().create(path).unwrap();
    let log = queue
        .create_group("log", GroupOptions::exclusive())
        .unwrap();
    let consumers = [queue.consumer().unwrap(), log.consumer().unwrap()];
    let mut producer = queue.producer().unwrap();
    for n in 0..11 {
        producer.publish(&payload(NAMES[n % NAMES.len()])).unwrap();
        for consumer in &consumers {
            consumer.try_recv().unwrap().ack().unwrap();
        }
    }
    for name in ["zero", "one", "two"] {
        producer.publish(&payload(name)).unwrap();
    }
    drop((producer, consumers, log, queue));
    let bytes = std::fs::read(path).unwrap();
    std::fs::remove_file(path).unwrap();
    bytes
}

/// Whatever segment the dead have held is free again, and writing to it does not reach what is published.
fn scribble_on_free_segments(queue: &Queue) {
    let mut lenders = [(); SEGMENTS].map(|()| queue.producer().unwrap());
    let loans = lenders.each_mut().map(|lender| {
        let mut loan = lender.loan(300).unwrap();
        loan.fill(0xff);
        loan
    });
    let one_more = queue.producer().unwrap().loan(300).map(drop);
    assert_eq!(one_more, Err(PublishError::Full));
    drop(loans);
}

/// What the groups have left, as text: `default: one*1 two*1; log: zero*1 one*1 two*1`, each message with its delivery count.
/// Then the queue must be good for two laps.
fn left_over(queue: &Queue) -> String {
    scribble_on_free_segments(queue);
    let mut groups = queue.groups();
    groups.sort_by(|a, b| a.name().cmp(b.name()));
    let consumers: Vec<Consumer> = groups
        .iter()
        .map(|group| group.consumer().unwrap())
        .collect();
    let mut found = String::new();
    for (group, consumer) in groups.iter().zip(&consumers) {
        write!(found, "; {}:", group.name()).unwrap();
        loop {
            let delivery = match consumer.try_recv() {
                Ok(delivery) => delivery,
                Err(ClaimError::Empty) => break,
                Err(error) => panic!("{error} after {found}"),
            };
            write!(
                found,
                " {}*{}",
                name_of(&delivery),
                delivery.delivery_count()
            )
            .unwrap();
            delivery.ack().unwrap();
        }
    }
    let mut producer = queue.producer().unwrap();
    for n in 0..2 * queue.capacity() as usize {
        let sent = payload(NAMES[n % NAMES.len()]);
        producer.try_publish(&sent).unwrap();
        for consumer in &consumers {
            let delivery = consumer.try_recv().unwrap();
            assert_eq!((&*delivery, delivery.delivery_count()), (&sent[..], 1));
            delivery.ack().unwrap();
        }
    }
    let stats = queue.stats();
    assert_eq!((stats.depth, stats.participants.len()), (0, 1), "{stats:?}");
    found.split_off("; ".len())
}

/// Whether a text is of a pattern, in which counts may be ranges: `one*1-2`.
fn is_like(found: &str, pattern: &str) -> bool {
    let (found, pattern): (Vec<_>, Vec<_>) =
        (found.split(' ').collect(), pattern.split(' ').collect());
    let one_is =
        |(found, pattern): (&&str, &&str)| match (found.split_once('*'), pattern.split_once('*')) {
            (Some((name, count)), Some((like, counts))) => {
                // The group's last one has a semicolon.
                let (count, end) = count.split_at(count.trim_end_matches(';').len());
                let (counts, like_end) = counts.split_at(counts.trim_end_matches(';').len());
                let (least, most) = counts.split_once('-').unwrap_or((counts, counts));
                let number = |text: &str| text.parse::<u32>().unwrap();
                (name, end) == (like, like_end)
                    && (number(least)..=number(most)).contains(&number(count))
            }
            _ => found == pattern,
        };
    found.len() == pattern.len() && found.iter().zip(&pattern).all(one_is)
}

/// One operation, and what may be left over of it.
struct Case<'c> {
    name: &'c str,
    /// If it was killed in time.
    before: Vec<&'c str>,
    /// If it has come to its end.
    after: &'c str,
    /// Another process, killed when the operation is about to begin.
    victim: Option<&'c dyn Fn(&Path) -> Tracee>,
}

const UNTOUCHED: &str = "default: one*1 two*1; log: zero*1 one*1 two*1";

impl<'c> Case<'c> {
    fn new<const N: usize>(name: &'c str, before: [&'c str; N], after: &'c str) -> Self {
        Self {
            name,
            before: before.into(),
            after,
            victim: None,
        }
    }

    /// Whether what was found may be left over before its end, and whether after.
    fn compare(&self, found: &str) -> (bool, bool) {
        let before = self.before.iter().any(|pattern| is_like(found, pattern));
        (before, is_like(found, self.after))
    }

    /// It changes nothing that lasts.
    fn harmless(name: &'c str) -> Self {
        Self::new(name, [UNTOUCHED], UNTOUCHED)
    }
}

/// Where operations are tried.
struct Stage {
    dir: tempfile::TempDir,
    history: Vec<u8>,
    random: u64,
    /// `all`, or a number.
    steps: Option<String>,
}

/// Says where a panic happened.
struct At(String);

impl Drop for At {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.0);
        }
    }
}

struct Walked {
    instructions: u64,
    images: u64,
    time: Duration,
}

impl Stage {
    fn new() -> Self {
        let dir = directory(Backing::Tmpfs);
        let history = history(&dir.path().join("history"));
        let seed = std::env::var("SLIPRING_SEED").map_or_else(
            |_| std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64,
            |seed| seed.parse().unwrap(),
        );
        say(format!("SLIPRING_SEED={seed}"));
        Self {
            dir,
            history,
            random: seed | 1,
            steps: std::env::var("SLIPRING_STEPS").ok(),
        }
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % limit
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.dir.path().join(name);
        // A new file each time: nobody's locks are on it.
        let _first = std::fs::remove_file(&path);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// Tries `operate` after `prepare`, both run by a child. False if that cannot be had here.
    fn explore<T, U>(
        &mut self,
        case: &Case<'_>,
        prepare: impl Fn(&Path) -> T,
        operate: impl Fn(&mut T) -> U,
    ) -> bool {
        let start = |path: &Path| {
            let victim = case.victim.map(|victim| victim(path));
            let child = Tracee::start(|| prepare(path), &operate)?;
            drop(victim);
            Some(child)
        };
        let Some(walked) = self.walk(case, &start) else {
            return false;
        };
        let kills = self.kill_here_and_there(case, &start, &walked);
        say(format!(
            "{}: {} instructions, which leave {} states of the file; killed at {kills}",
            case.name, walked.instructions, walked.images
        ));
        true
    }

    /// Lets a child go through all of the operation, and looks at what its death would leave after each instruction.
    fn walk(&self, case: &Case<'_>, start: &dyn Fn(&Path) -> Option<Tracee>) -> Option<Walked> {
        let path = self.file("walked", &self.history);
        let queue = Queue::open(&path).unwrap();
        let bystander = queue.consumer().unwrap();
        let _zero = bystander.try_recv().unwrap();
        let mut child = start(&path)?;
        let mut walked = Walked {
            instructions: 0,
            images: 0,
            time: Duration::ZERO,
        };
        let begun = Instant::now();
        let window = Window::open(&path);
        let mut last = Vec::new();
        let mut ended = false;
        let mut over = false;
        loop {
            if over || !window.is(&last) {
                let image = std::fs::read(&path).unwrap();
                walked.images += 1;
                let copy = self.file("copied", &image);
                let at = format!("{} after {} instructions", case.name, walked.instructions);
                let _at = At(at);
                let found = left_over(&Queue::open(copy).unwrap());
                // In the copy the bystander is dead as well.
                let found = found.replacen("default: zero*2", "default:", 1);
                let (before, after) = case.compare(&found);
                assert!(after || before && !ended && !over, "{found}");
                ended |= !before;
                last = image;
            }
            if over {
                walked.time = begun.elapsed();
                return Some(walked);
            }
            over = !child.step();
            walked.instructions += 1;
            assert!(
                walked.instructions < STEPS_MAX,
                "{} does not end",
                case.name
            );
        }
    }

    /// Kills children at some of the instructions; how many.
    fn kill_here_and_there(
        &mut self,
        case: &Case<'_>,
        start: &dyn Fn(&Path) -> Option<Tracee>,
        walked: &Walked,
    ) -> u64 {
        let instructions = walked.instructions;
        let kill_at = |stage: &Self, steps: u64| {
            let path = stage.file("killed", &stage.history);
            let _at = At(format!("{} killed after {steps} instructions", case.name));
            let queue = Queue::open(&path).unwrap();
            let bystander = queue.consumer().unwrap();
            let zero = bystander.try_recv().unwrap();
            let mut child = start(&path).unwrap();
            let over = (0..steps).any(|_| !child.step());
            drop(child);
            queue.sweep();
            assert_eq!(queue.sweep(), Swept::default(), "once more");
            zero.ack().unwrap();
            drop(bystander);
            let found = left_over(&queue);
            let (before, after) = case.compare(&found);
            assert!(after || before && !over, "{found}");
        };
        match self.steps.as_deref() {
            Some("all") => {
                // A few more: no two runs are of exactly the same length.
                (0..=instructions + 16).for_each(|steps| kill_at(self, steps));
                return instructions + 17;
            }
            Some(steps) => {
                kill_at(self, steps.parse().unwrap());
                return 1;
            }
            None => {}
        }
        // On average a kill comes half-way.
        let affordable = 2 * KILLING.as_nanos() / walked.time.as_nanos();
        let stride = instructions.div_ceil(affordable.max(2) as u64);
        let first = self.below(stride);
        let places = (first..instructions).step_by(stride as usize);
        let kills = places.clone().count() as u64;
        places.for_each(|steps| kill_at(self, steps));
        kills
    }
}

fn for_ever<T>(value: T) -> &'static mut T {
    Box::leak(Box::new(value))
}

fn producer(path: &Path) -> Producer {
    Queue::open(path).unwrap().producer().unwrap()
}

fn consumer(path: &Path, group: &str) -> &'static Consumer {
    for_ever(
        Queue::open(path)
            .unwrap()
            .group(group)
            .unwrap()
            .consumer()
            .unwrap(),
    )
}

fn received(path: &Path, group: &str) -> Option<Delivery<'static>> {
    Some(consumer(path, group).try_recv().unwrap())
}

const NEW: &str = "default: one*1 two*1 new*1; log: zero*1 one*1 two*1 new*1";
const LARGE: &str = "default: one*1 two*1 large*1; log: zero*1 one*1 two*1 large*1";

fn publishing(stage: &mut Stage) -> bool {
    let (new, large) = (payload("new"), payload("large"));
    let batch = ["newer", "large", "newest"].map(payload);
    let case = Case::new("publish", [UNTOUCHED], NEW);
    if !stage.explore(&case, producer, |p| p.publish(&new).unwrap()) {
        return false;
    }
    let case = Case::new("publish, large", [UNTOUCHED], LARGE);
    stage.explore(&case, producer, |p| p.publish(&large).unwrap());
    let has_published = |path: &Path| {
        let mut producer = producer(path);
        producer.publish(&payload("newer")).unwrap();
        producer
    };
    let one_more = "default: one*1 two*1 newer*1; log: zero*1 one*1 two*1 newer*1";
    let two_more = "default: one*1 two*1 newer*1 new*1; log: zero*1 one*1 two*1 newer*1 new*1";
    let case = Case::new("publish, once more", [one_more], two_more);
    stage.explore(&case, has_published, |p| p.publish(&new).unwrap());
    let sole = |path: &Path| Queue::open(path).unwrap().sole_producer().unwrap();
    let case = Case::new("publish, sole", [UNTOUCHED], NEW);
    stage.explore(&case, sole, |p| p.publish(&new).unwrap());
    let case = Case::new("publish, sole and large", [UNTOUCHED], LARGE);
    stage.explore(&case, sole, |p| p.publish(&large).unwrap());

    let both = "default: one*1 two*1 newer*1 large*1; log: zero*1 one*1 two*1 newer*1 large*1";
    let all = "default: one*1 two*1 newer*1 large*1 newest*1; log: zero*1 one*1 two*1 newer*1 large*1 newest*1";
    let case = Case::new("publish_batch", [UNTOUCHED, one_more, both], all);
    stage.explore(&case, producer, |p| {
        p.publish_batch(batch.iter().map(|payload| Message::new(payload)))
            .unwrap()
    });

    let lend = |path: &Path| {
        let producer = for_ever(producer(path));
        let mut loan = producer.loan(300).unwrap();
        loan.copy_from_slice(&payload("large"));
        Some(loan)
    };
    let case = Case::new("commit of a loan", [UNTOUCHED], LARGE);
    stage.explore(&case, lend, |loan| loan.take().unwrap().commit().unwrap());
    let case = Case::harmless("abort of a loan");
    stage.explore(&case, lend, |loan| drop(loan.take()));
    let case = Case::harmless("loan");
    stage.explore(
        &case,
        |path| for_ever(producer(path)),
        |producer| {
            let mut loan = producer.loan(300).unwrap();
            loan.fill(1);
            std::mem::forget(loan);
        },
    );
    true
}

fn claiming(stage: &mut Stage) -> bool {
    let of_default = |path: &Path| consumer(path, "default");
    let received = |path: &Path| received(path, "default");
    let begun = "default: one*2 two*1; log: zero*1 one*1 two*1";
    let done = "default: two*1; log: zero*1 one*1 two*1";
    let case = Case::new("claim", [UNTOUCHED, begun], begun);
    if !stage.explore(&case, of_default, |consumer| {
        std::mem::forget(consumer.try_recv().unwrap());
    }) {
        return false;
    }
    let case = Case::new("claim of a batch", [UNTOUCHED, begun], begun);
    stage.explore(&case, of_default, |consumer| {
        let mut batch = consumer.try_recv_batch(2).unwrap();
        std::mem::forget(batch.next().unwrap().unwrap());
        std::mem::forget(batch);
    });
    let case = Case::new("batch dropped", [begun], begun);
    stage.explore(
        &case,
        |path| {
            let mut batch = consumer(path, "default").try_recv_batch(2).unwrap();
            std::mem::forget(batch.next().unwrap().unwrap());
            Some(batch)
        },
        |batch| drop(batch.take()),
    );
    let case = Case::new("ack", [begun], done);
    stage.explore(&case, received, |delivery| {
        delivery.take().unwrap().ack().unwrap()
    });
    let case = Case::new("nack", [begun], begun);
    stage.explore(&case, received, |delivery| {
        delivery.take().unwrap().nack().unwrap()
    });
    let case = Case::new("release", [begun], UNTOUCHED);
    stage.explore(&case, received, |delivery| {
        delivery.take().unwrap().release().unwrap()
    });
    true
}

fn in_order(stage: &mut Stage) -> bool {
    let of_log = |path: &Path| consumer(path, "log");
    let received = |path: &Path| received(path, "log");
    let begun = "default: one*1 two*1; log: zero*2 one*1 two*1";
    let done = "default: one*1 two*1; log: one*1 two*1";
    let case = Case::new("exclusive receive and ack", [UNTOUCHED, begun], done);
    if !stage.explore(&case, of_log, |consumer| {
        consumer.try_recv().unwrap().ack().unwrap()
    }) {
        return false;
    }
    // Who dies between counting an attempt and saying so is counted twice.
    let twice = "default: one*1 two*1; log: zero*2-3 one*1 two*1";
    let case = Case::new("exclusive nack", [twice], begun);
    stage.explore(&case, received, |delivery| {
        delivery.take().unwrap().nack().unwrap()
    });
    let two_begun = "default: one*1 two*1; log: zero*2 one*2 two*1";
    let two_done = "default: one*1 two*1; log: two*1";
    let case = Case::new("exclusive ack_up_to", [two_begun], two_done);
    stage.explore(
        &case,
        |path| {
            let consumer = consumer(path, "log");
            consumer.try_recv().unwrap().defer().unwrap();
            Some(consumer.try_recv().unwrap())
        },
        |delivery| delivery.take().unwrap().ack_up_to().unwrap(),
    );
    let handed_over = |path: &Path| Some(consumer_by_value(path, "log"));
    let case = Case::harmless("exclusive consumer leaves");
    stage.explore(&case, handed_over, |consumer| drop(consumer.take()));

    let victim = |path: &Path| {
        let start = Tracee::start(
            || {
                let consumer = consumer(path, "log");
                [(); 2].map(|()| std::mem::forget(consumer.try_recv().unwrap()))
            },
            |_| (),
        );
        start.unwrap()
    };
    let inherited = "default: one*1 two*1; log: zero*2-4 one*2-3 two*1";
    let taken_over = "default: one*1 two*1; log: zero*3 one*2 two*1";
    let case = Case {
        victim: Some(&victim),
        ..Case::new("exclusive take-over from the dead", [inherited], taken_over)
    };
    stage.explore(
        &case,
        |path| (Queue::open(path).unwrap(), consumer(path, "log")),
        |(queue, consumer)| {
            queue.sweep();
            std::mem::forget(consumer.try_recv().unwrap());
        },
    );
    true
}

fn consumer_by_value(path: &Path, group: &str) -> Consumer {
    Queue::open(path)
        .unwrap()
        .group(group)
        .unwrap()
        .consumer()
        .unwrap()
}

fn groups(stage: &mut Stage) -> bool {
    let queue = |path: &Path| Queue::open(path).unwrap();
    let there = "default: one*1 two*1; log: zero*1 one*1 two*1; made:";
    let earliest = "default: one*1 two*1; log: zero*1 one*1 two*1; made: zero*1 one*1 two*1";
    let kinds = [
        ("create_group, shared", GroupOptions::shared(), there),
        ("create_group, exclusive", GroupOptions::exclusive(), there),
        (
            "create_group, from the earliest",
            GroupOptions::shared().start(Start::Earliest),
            earliest,
        ),
        // Nobody joined it, so it goes with its maker.
        (
            "create_group, ephemeral",
            GroupOptions::shared().ephemeral(true),
            UNTOUCHED,
        ),
    ];
    for (name, options, after) in kinds {
        let case = Case::new(name, [UNTOUCHED], after);
        if !stage.explore(&case, queue, |queue| {
            queue.create_group("made", options.clone()).unwrap()
        }) {
            return false;
        }
    }
    let gone = "default: one*1 two*1";
    let case = Case::new("delete_group", [UNTOUCHED], gone);
    stage.explore(&case, queue, |queue| queue.delete_group("log").unwrap());
    let case = Case::new("a member leaves a deleted group", [gone], gone);
    stage.explore(
        &case,
        |path| {
            let consumer = consumer_by_value(path, "log");
            Queue::open(path).unwrap().delete_group("log").unwrap();
            Some(consumer)
        },
        |consumer| drop(consumer.take()),
    );
    let ephemeral = |path: &Path| {
        let options = GroupOptions::exclusive().ephemeral(true);
        Queue::open(path)
            .unwrap()
            .create_group("passing", options)
            .unwrap()
    };
    let case = Case::harmless("the first joins an ephemeral group");
    stage.explore(&case, ephemeral, |group| {
        std::mem::forget(group.consumer().unwrap())
    });
    let case = Case::harmless("the last leaves an ephemeral group");
    stage.explore(
        &case,
        |path| Some(ephemeral(path).consumer().unwrap()),
        |consumer| drop(consumer.take()),
    );
    true
}

fn coming_and_going(stage: &mut Stage) -> bool {
    let queue = |path: &Path| Some(Queue::open(path).unwrap());
    let path = |path: &Path| path.to_owned();
    let case = Case::harmless("open");
    if !stage.explore(&case, path, |path| Queue::open(path).unwrap()) {
        return false;
    }
    stage.explore(&Case::harmless("leave"), queue, |queue| drop(queue.take()));
    for group in ["default", "log"] {
        let name = format!("consumer of {group}");
        let group_of = |path: &Path| Queue::open(path).unwrap().group(group).unwrap();
        stage.explore(&Case::harmless(&name), group_of, |group| {
            group.consumer().unwrap()
        });
    }
    let case = Case::harmless("consumer dropped");
    stage.explore(
        &case,
        |path| Some(consumer_by_value(path, "default")),
        |consumer| drop(consumer.take()),
    );
    let of = |queue: &mut Option<Queue>| queue.take().unwrap();
    stage.explore(&Case::harmless("producer"), queue, |q| {
        of(q).producer().unwrap()
    });
    stage.explore(&Case::harmless("sole producer"), queue, |q| {
        of(q).sole_producer().unwrap()
    });
    let sole = |path: &Path| Some(Queue::open(path).unwrap().sole_producer().unwrap());
    stage.explore(&Case::harmless("sole producer dropped"), sole, |p| {
        drop(p.take())
    });
    true
}

/// A process with a claim, half a batch, an exclusive group's first message, a segment and an ephemeral group, about to publish.
fn rich_victim(path: &Path) -> Option<Tracee> {
    let prepare = || {
        let queue = Queue::open(path).unwrap();
        let consumer = consumer(path, "default");
        let mut batch = consumer.try_recv_batch(2).unwrap();
        std::mem::forget(batch.next().unwrap().unwrap());
        std::mem::forget(batch);
        let options = GroupOptions::shared().ephemeral(true);
        let member = queue.create_group("passing", options).unwrap().consumer();
        let log = queue.group("log").unwrap().consumer().unwrap();
        std::mem::forget(log.try_recv().unwrap());
        let [publishes, lends] = [(); 2].map(|()| for_ever(queue.producer().unwrap()));
        std::mem::forget((lends.loan(300).unwrap(), log, member));
        publishes
    };
    let new = payload("new");
    Tracee::start(prepare, |p: &mut &mut Producer| p.publish(&new).unwrap())
}

/// After how many instructions its death leaves a hole.
fn where_a_hole_is_left(stage: &Stage) -> Option<u64> {
    let path = stage.file("victim", &stage.history);
    let queue = Queue::open(&path).unwrap();
    let bystander = queue.consumer().unwrap();
    let _zero = bystander.try_recv().unwrap();
    let mut victim = rich_victim(&path)?;
    let window = Window::open(&path);
    let mut last = Vec::new();
    for steps in 0..STEPS_MAX {
        if !window.is(&last) {
            last = std::fs::read(&path).unwrap();
            let copy = Queue::open(stage.file("copied", &last)).unwrap();
            if copy.stats().aborted == 1 {
                return Some(steps);
            }
        }
        assert!(
            victim.step(),
            "no publish without a moment that leaves a hole"
        );
    }
    None
}

fn sweeping(stage: &mut Stage) -> bool {
    let Some(steps) = where_a_hole_is_left(stage) else {
        return false;
    };
    say(format!("the victim is killed after {steps} instructions"));
    let victim = |path: &Path| {
        let mut victim = rich_victim(path).unwrap();
        assert!((0..steps).all(|_| victim.step()));
        victim
    };
    let swept = "default: one*2 two*1; log: zero*2 one*1 two*1";
    let of = |name| Case {
        victim: Some(&victim),
        ..Case::new(name, [swept], swept)
    };
    let queue = |path: &Path| Queue::open(path).unwrap();
    stage.explore(&of("sweep"), queue, |queue| queue.sweep());
    let path = |path: &Path| path.to_owned();
    stage.explore(&of("open, which sweeps"), path, |path| {
        Queue::open(path).unwrap()
    });
    true
}

/// Lets a child process, which has nothing else to do, explore one family of operations.
fn explore(family: &str) {
    let all = std::env::var_os("SLIPRING_STEPS").is_some();
    let limit = Duration::from_secs(if all { 6 * 3600 } else { 300 });
    let _watchdog = watchdog("single-stepping", limit);
    for line in spawn_child(family, Path::new(""), &[]).finish() {
        println!("{line}");
    }
}

#[test]
fn a_publish_killed_at_any_instruction_is_whole_or_not_there() {
    explore("publishing");
}

#[test]
fn a_claim_killed_at_any_instruction_comes_again_unless_acked() {
    explore("claiming");
}

#[test]
fn an_exclusive_consumer_killed_at_any_instruction_leaves_no_gap() {
    explore("in order");
}

#[test]
fn a_group_killed_at_any_instruction_of_its_making_is_there_or_not() {
    explore("groups");
}

#[test]
fn a_process_killed_at_any_instruction_of_coming_or_going_leaves_nothing() {
    explore("coming and going");
}

#[test]
fn a_sweep_killed_at_any_instruction_is_finished_by_another() {
    explore("sweeping");
}

#[test]
fn patterns_match_what_they_should() {
    assert!(is_like("a: x*1; b: y*3", "a: x*1; b: y*2-3"));
    assert!(!is_like("a: x*1; b: y*4", "a: x*1; b: y*2-3"));
    assert!(!is_like("a: x*1; b: y*2 z*1", "a: x*1; b: y*2"));
    assert!(!is_like("a: x*1 b: y*2", "a: x*1; b: y*2"));
}

#[test]
#[ignore = "run by other tests, in a process of its own"]
fn child() {
    let Some((role, _)) = common::role() else {
        return;
    };
    stay_on_this_cpu();
    let stage = &mut Stage::new();
    let traced = match role.as_str() {
        "publishing" => publishing(stage),
        "claiming" => claiming(stage),
        "in order" => in_order(stage),
        "groups" => groups(stage),
        "coming and going" => coming_and_going(stage),
        "sweeping" => sweeping(stage),
        other => panic!("no role {other}"),
    };
    if !traced {
        say("skipped: ptrace is refused here");
    }
}
