//! A queue whose words change under the library's hands: whatever stands where and whenever it changes, no operation may
//! panic, leave the mapping or go on for ever. What it returns is not looked at.
//!
//! The input is a list of operations of up to three processes, played by one thread, and of writes, which happen between
//! operations or before their n-th access.
#![no_main]

use libfuzzer_sys::fuzz_target;
use slipring_fuzz::crew::Crew;
use slipring_fuzz::input::Input;
use slipring_fuzz::scene::Scene;

/// Operations and writes for one input.
const MOST_STEPS: usize = 150;

fuzz_target!(|data: &[u8]| {
    let mut u = Input(data);
    let Ok(which) = u.below(Scene::COUNT as u64) else {
        return;
    };
    let mut crew = Crew::new(Scene::get(which as usize));
    crew.attach();
    for _ in 0..MOST_STEPS {
        if u.is_empty() || crew.step(&mut u).is_err() {
            break;
        }
    }
    crew.end();
});
