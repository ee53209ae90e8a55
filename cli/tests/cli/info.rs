//! `slipring create`, `info`, `group`, `sweep` and `rm`: making, looking and removing.

use std::os::unix::fs::PermissionsExt;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::support::{HANG, Sandbox};

#[test]
fn a_queue_is_created_as_asked() {
    let sandbox = Sandbox::new();
    let args = "create q --capacity 8 --slot-size 256 --max-message 64k --arena-size 2m --max-groups 3 \
                --max-participants 9 --when-full drop-oldest --timestamps precise --no-default-group \
                --mode 0640 --json";
    let made = sandbox.run(args.split_whitespace()).json();
    assert_eq!(
        (&made["capacity"], &made["max_message"]),
        (&8.into(), &65_536.into())
    );
    let info = sandbox.info();
    assert_eq!(info["id"], made["id"]);
    assert_eq!(info["when_full"], "drop-oldest");
    assert_eq!(info["timestamps"], "precise");
    assert_eq!(info["groups"], serde_json::json!([]));
    let geometry = &info["geometry"];
    for (field, expected) in [
        ("capacity", 8),
        ("slot_size", 256),
        ("inline_max", 224),
        ("max_message", 65_536),
        ("arena_size", 2 << 20),
        ("max_groups", 3),
        ("max_participants", 9),
    ] {
        assert_eq!(geometry[field], expected, "{field}");
    }
    let found = sandbox.path("q").metadata().unwrap();
    assert_eq!(found.permissions().mode() & 0o777, 0o640);
    assert_eq!(geometry["file_size"], found.len());
}

#[test]
fn creating_twice_fails_unless_it_need_not_be_new() {
    let sandbox = Sandbox::with_queue(&["--capacity", "8"]);
    sandbox.run(["create", "q"]).failed(1, "exists already");
    sandbox.ok(["create", "q", "--if-missing"]);
    sandbox.ok(["create", "q", "--if-missing", "--capacity", "8"]);
    let other = sandbox.run(["create", "q", "--if-missing", "--capacity", "16"]);
    other.failed(1, "exists with capacity 8, asked for 16");
}

#[test]
fn a_path_is_a_path() {
    let sandbox = Sandbox::new();
    std::fs::create_dir(sandbox.path("sub")).unwrap();
    sandbox.ok(["create", "sub/q"]);
    assert!(sandbox.path("sub/q").is_file());
    sandbox.ok(["publish", "./sub/q", "x"]);
    assert_eq!(sandbox.ok(["consume", "sub/q", "--drain"]), "x\n");
}

#[test]
fn info_shows_groups_processes_and_lag() {
    let sandbox = Sandbox::with_queue(&[]);
    sandbox.ok(["publish", "q", "a", "b", "c"]);
    sandbox.ok(["consume", "q", "-n", "1"]);
    let consumer = sandbox.spawn(["consume", "q", "--exec", HANG]);
    crate::support::until(|| sandbox.group()["in_flight"] == 1);
    let info = sandbox.info();
    assert_eq!(info["published"], 3);
    assert_eq!(info["tail"], 3);
    let group = &info["groups"][0];
    assert_eq!(group["name"], "default");
    assert_eq!((&group["lag"], &group["ready"]), (&2.into(), &1.into()));
    assert_eq!(
        (&group["members"], &group["oldest"]),
        (&1.into(), &1.into())
    );
    let participant = &info["participants"][0];
    assert_eq!(participant["name"], "slipring consume");
    assert_eq!(participant["groups"], serde_json::json!(["default"]));
    let page = sandbox.ok(["info", "q"]);
    for expected in [
        "queue            q\n",
        "published        3\n",
        "groups 1 of 8",
        "slipring consume  default",
    ] {
        assert!(page.contains(expected), "{expected:?} is not in\n{page}");
    }
    consumer.signal(Signal::SIGKILL);
}

#[test]
fn info_can_watch() {
    let sandbox = Sandbox::with_queue(&[]);
    let watch = sandbox.spawn(["info", "q", "--watch", "0.05", "--json"]);
    let first: Value = serde_json::from_str(&watch.line()).unwrap();
    assert_eq!(first["published"], 0);
    sandbox.ok(["publish", "q", "x"]);
    loop {
        let next: Value = serde_json::from_str(&watch.line()).unwrap();
        if next["published"] == 1 {
            break;
        }
    }
    let watch = sandbox.spawn(["info", "q", "--watch"]);
    // Not on a terminal: one page after the other, the second with a rate.
    while !watch.line().contains("per second now") {}
}

#[test]
fn groups_come_and_go() {
    let sandbox = Sandbox::with_queue(&[]);
    sandbox.ok(["publish", "q", "a", "b"]);
    sandbox.ok(["group", "add", "q", "late"]);
    sandbox.ok([
        "group",
        "add",
        "q",
        "early",
        "--start",
        "earliest",
        "--exclusive",
    ]);
    sandbox.ok(["group", "add", "q", "exact", "--start", "1"]);
    let listed = sandbox.run(["group", "list", "q", "--json"]).json();
    let lags = listed.as_array().unwrap().iter();
    let lags: Vec<_> = lags
        .map(|group| {
            (
                group["name"].as_str().unwrap(),
                group["lag"].as_u64().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        lags,
        [("default", 2), ("late", 0), ("early", 2), ("exact", 1)]
    );
    assert_eq!(listed[2]["exclusive"], true);
    assert_eq!(
        sandbox.ok(["consume", "q", "-g", "exact", "--drain"]),
        "b\n"
    );
    sandbox.ok(["group", "rm", "q", "exact"]);
    sandbox
        .run(["consume", "q", "-g", "exact"])
        .failed(3, "slipring group add q exact");
    sandbox.ok(["group", "rm", "q", "late"]);
    let table = sandbox.ok(["group", "list", "q"]);
    let names: Vec<_> = table
        .lines()
        .map(|line| line.split(' ').next().unwrap())
        .collect();
    assert_eq!(names, ["name", "default", "early"]);
}

#[test]
fn a_removed_groups_consumers_are_told() {
    let sandbox = Sandbox::with_queue(&[]);
    let consumer = sandbox.spawn(["consume", "q"]);
    sandbox.await_members(1);
    sandbox.ok(["group", "rm", "q", "default"]);
    consumer.wait().failed(1, "the group has been deleted");
}

#[test]
fn sweep_names_the_dead() {
    let sandbox = Sandbox::with_queue(&[]);
    assert_eq!(sandbox.ok(["sweep", "q"]), "no dead process\n");
    let consumer = sandbox.spawn(["consume", "q"]);
    sandbox.await_participants(1);
    let pid = sandbox.info()["participants"][0]["pid"].clone();
    consumer.signal(Signal::SIGKILL);
    consumer.wait_killed(Signal::SIGKILL);
    // Nobody looks after it until somebody attaches.
    assert_eq!(sandbox.info()["participants"].as_array().unwrap().len(), 1);
    let swept = sandbox.run(["sweep", "q", "--json"]).json();
    assert_eq!(swept["participants"][0]["pid"], pid);
    assert_eq!(swept["participants"][0]["name"], "slipring consume");
    assert_eq!(sandbox.info()["participants"], serde_json::json!([]));
}

#[test]
fn rm_removes_all_it_can() {
    let sandbox = Sandbox::with_queue(&[]);
    sandbox.ok(["create", "other"]);
    std::fs::write(sandbox.path("letter"), "Dear queue,").unwrap();
    let done = sandbox.run(["rm", "nowhere", "q"]);
    done.failed(3, "no such queue");
    assert!(!sandbox.path("q").exists());
    sandbox.ok(["rm", "--force", "nowhere", "other"]);
    sandbox.run(["rm", "letter"]).failed(1, "letter");
    assert!(sandbox.path("letter").exists());
}
