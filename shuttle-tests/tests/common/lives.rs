//! Participants that are switched, and die, before any access; and their clock.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use shuttle::current::me;
use slipring::mem::fault;

/// More accesses than any destructor makes; a loop that makes them would not end.
const MOST_WHEN_DEAD: u64 = 100_000;
/// Accesses to a millisecond of the stopped clock: an ended lease, or a look for the dead, falls into most executions.
const ACCESSES_PER_MS: u64 = 8;
/// When an execution begins, by its clock.
const START_MS: u64 = 1_000_000;

#[derive(Clone, Copy, Default)]
struct Life {
    accesses: u64,
    /// Before which access it ends.
    end: Option<u64>,
    dead: bool,
}

#[derive(Default)]
struct World {
    lives: Vec<Life>,
    accesses: u64,
}

thread_local! {
    static WORLD: RefCell<World> = RefCell::default();
}

/// What unwinds when a participant dies.
struct Died;

/// A new execution: everybody alive, the clock at its start.
pub fn begin() {
    WORLD.with_borrow_mut(|world| {
        *world = World {
            lives: vec![Life::default(); 16],
            accesses: 0,
        };
    });
    fault::set_now_ms(Some(START_MS));
    fault::govern(Some(access));
}

/// From here on nobody is switched, and accesses are as always. How many there were.
pub fn end() -> u64 {
    fault::govern(None);
    fault::set_now_ms(None);
    WORLD.with_borrow(|world| world.accesses)
}

enum Next {
    Switch,
    Die,
    Nothing,
}

fn access() -> bool {
    if std::thread::panicking() {
        // The test has failed, or a participant is unwinding its death.
        return WORLD.with_borrow_mut(|world| !count_dead(world));
    }
    let next = WORLD.with_borrow_mut(|world| {
        if count_dead(world) {
            return Next::Nothing;
        }
        world.accesses += 1;
        fault::set_now_ms(Some(START_MS + world.accesses / ACCESSES_PER_MS));
        let life = &mut world.lives[usize::from(me())];
        life.accesses += 1;
        if life.end.is_some_and(|end| life.accesses > end) {
            life.dead = true;
            return Next::Die;
        }
        Next::Switch
    });
    match next {
        Next::Nothing => false,
        Next::Die => resume_unwind(Box::new(Died)),
        Next::Switch => {
            shuttle::thread::sleep(Duration::ZERO);
            true
        }
    }
}

fn count_dead(world: &mut World) -> bool {
    let Some(life) =
        shuttle::current::try_get_current_task().map(|me| &mut world.lives[usize::from(me)])
    else {
        return false;
    };
    if life.dead {
        life.accesses += 1;
        let end = life.end.unwrap_or(0);
        assert!(
            life.accesses < end + MOST_WHEN_DEAD,
            "a loop that does not end, of the dead"
        );
    }
    life.dead
}

/// Runs a life that ends before that access, if it gets so far; then all that it owned is gone, and its destructors have
/// touched nothing. True if it died.
pub fn live(end: Option<u64>, life: impl FnOnce()) -> bool {
    WORLD.with_borrow_mut(|world| world.lives[usize::from(me())].end = end);
    match catch_unwind(AssertUnwindSafe(life)) {
        Ok(()) => false,
        Err(cause) if cause.is::<Died>() => true,
        Err(cause) => resume_unwind(cause),
    }
}
