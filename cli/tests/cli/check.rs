//! `slipring verify`, `repair` and `dump`: what they say of sound queues, of damaged ones, and of what the dead leave.

use std::os::unix::fs::FileExt;

use nix::sys::signal::Signal;

use crate::support::{HANG, Sandbox};

/// Writes one byte of queue `q`.
fn scribble(sandbox: &Sandbox, offset: u64, byte: u8) {
    let file = std::fs::File::options()
        .write(true)
        .open(sandbox.path("q"))
        .unwrap();
    file.write_all_at(&[byte], offset).unwrap();
}

/// Where the slot of the first message is.
fn first_slot(sandbox: &Sandbox) -> u64 {
    let slot = sandbox.run(["dump", "q", "--slots", "0", "--json"]).json();
    slot["offset"].as_u64().unwrap()
}

#[test]
fn damage_has_a_code_of_its_own_and_says_where() {
    let sandbox = Sandbox::with_queue(&["--capacity", "4"]);
    sandbox.ok(["publish", "q", "a", "b"]);
    assert_eq!(
        sandbox.ok(["verify", "q"]),
        "sound: 2 messages, nobody attached\n"
    );
    let slot = first_slot(&sandbox);
    scribble(&sandbox, slot, 0xff);
    let done = sandbox.run(["verify", "q"]);
    assert_eq!((done.code(), done.stderr.as_str()), (6, ""));
    let expected = format!("damage at offset {slot}: slot word of index 0 is ");
    assert!(done.text().starts_with(&expected), "{done:?}");
    let done = sandbox.run(["verify", "q", "--json"]);
    assert_eq!(done.code(), 6);
    let found = done.json();
    assert_eq!(found["sound"], false);
    assert_eq!(found["findings"][0]["severity"], "damage");
    assert_eq!(found["findings"][0]["offset"], slot);
    let done = sandbox.run(["repair", "q"]);
    assert_eq!(done.code(), 6);
    assert!(done.text().starts_with("left as it is: damage"), "{done:?}");
}

#[test]
fn a_file_that_nobody_can_open_is_shown_all_the_same() {
    let sandbox = Sandbox::with_queue(&["--capacity", "4"]);
    sandbox.ok(["publish", "q", "still here"]);
    scribble(&sandbox, 48, 0xff);
    let done = sandbox.run(["dump", "q"]);
    done.failed(6, "damaged header: checksum");
    assert!(done.text().contains("payload: \"still here\""), "{done:?}");
    assert_eq!(sandbox.run(["verify", "q"]).code(), 6);
    assert_eq!(sandbox.run(["repair", "q", "--dry-run"]).code(), 6);
    std::fs::write(sandbox.path("letter"), "Dear queue,").unwrap();
    assert_eq!(sandbox.run(["verify", "letter"]).code(), 6);
    sandbox
        .run(["dump", "letter"])
        .failed(6, "not a slipring queue");
    sandbox.run(["verify", "none"]).failed(3, "no such queue");
    sandbox
        .run(["dump", "q", "--slots", "b"])
        .failed(2, "is no range");
}

#[test]
fn an_export_goes_through_a_pipe_and_a_damaged_one_is_refused() {
    let sandbox = Sandbox::with_queue(&["--capacity", "8"]);
    sandbox.ok(["publish", "q", "a", "b", "c"]);
    let stream = sandbox.run(["export", "q"]);
    assert_eq!(stream.code(), 0);
    let done = sandbox.run_with_input(["import", "-", "copy", "--json"], &stream.stdout);
    assert_eq!(done.code(), 0, "{done:?}");
    assert_eq!(done.json()["messages"], 3);
    assert_eq!(sandbox.ok(["consume", "copy", "--drain"]), "a\nb\nc\n");
    let mut damaged = stream.stdout.clone();
    let last = damaged.len() - 40;
    damaged[last] ^= 1;
    let done = sandbox.run_with_input(["import", "-", "half"], &damaged);
    done.failed(6, "damaged export: a frame's checksum at byte ");
    sandbox.run(["info", "half"]).failed(3, "no such queue");
    let done = sandbox.run_with_input(["import", "-", "half", "--keep-going"], &damaged);
    done.failed(6, "passed over");
    assert_eq!(sandbox.ok(["consume", "half", "--drain"]), "a\nb\n");
    sandbox.run(["import", "none", "x"]).failed(1, "none");
    sandbox.run(["export", "none"]).failed(3, "no such queue");
}

#[test]
fn a_queue_in_use_is_not_resized() {
    let sandbox = Sandbox::with_queue(&["--capacity", "8"]);
    sandbox.ok(["publish", "q", "a", "b"]);
    let consumer = sandbox.spawn(["consume", "q", "--exec", HANG]);
    assert_eq!(consumer.line(), "started");
    sandbox
        .run(["resize", "q", "--capacity", "64"])
        .failed(1, "is attached");
    std::fs::write(sandbox.path("go"), "").unwrap();
    consumer.signal(Signal::SIGTERM);
    consumer.wait();
    let done = sandbox.run(["resize", "q", "--capacity", "64", "--json"]);
    assert_eq!(done.code(), 0, "{done:?}");
    assert_eq!(done.json()["after"]["capacity"], 64);
    assert_eq!(sandbox.info()["geometry"]["capacity"], 64);
    sandbox
        .run(["resize", "q", "--capacity", "9"])
        .failed(1, "must be a power of two");
}

#[test]
fn what_the_dead_leave_is_told_before_it_is_cleared_up() {
    let sandbox = Sandbox::with_queue(&[]);
    sandbox.ok(["publish", "q", "a"]);
    let consumer = sandbox.spawn(["consume", "q", "--exec", HANG]);
    assert_eq!(consumer.line(), "started");
    assert_eq!(
        sandbox.ok(["verify", "q"]),
        "sound: 1 message, 1 process attached\n"
    );
    consumer.signal(Signal::SIGKILL);
    // Its command lives on, and holds its output open.
    std::fs::write(sandbox.path("go"), "").unwrap();
    consumer.wait_killed(Signal::SIGKILL);
    let told = sandbox.ok(["repair", "q", "--dry-run"]);
    assert!(
        told.contains("would clear up: claim word of group 0 at index 0"),
        "{told}"
    );
    assert!(
        told.contains("would clear up: state of participant 0"),
        "{told}"
    );
    assert_eq!(sandbox.group()["in_flight"], 1);
    let told = sandbox.ok(["repair", "q"]);
    assert!(
        told.contains("cleared up: claim word of group 0 at index 0"),
        "{told}"
    );
    assert!(told.contains("messages given back: 1\n"), "{told}");
    assert_eq!(sandbox.group()["ready"], 1);
    let told = sandbox.ok(["repair", "q"]);
    assert!(
        told.starts_with("nothing to clear up\nsound: 1 message"),
        "{told}"
    );
}
