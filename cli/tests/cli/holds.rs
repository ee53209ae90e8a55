//! `slipring info` on who holds what, on who is in producers' way, and `slipring sweep` on what it gave back.

use nix::sys::signal::Signal;
use serde_json::json;

use crate::support::{HANG, Running, Sandbox, until};

/// A consumer that has the next message in hand and does not let go of it.
fn holder(sandbox: &Sandbox) -> Running {
    let consumer = sandbox.spawn(["consume", "q", "--exec", HANG]);
    assert_eq!(consumer.line(), "started");
    consumer
}

fn kill(sandbox: &Sandbox, process: Running) {
    process.signal(Signal::SIGKILL);
    // Its command, an orphan now, may end; until then it keeps the output open.
    std::fs::write(sandbox.path("go"), "").unwrap();
    process.wait_killed(Signal::SIGKILL);
    std::fs::remove_file(sandbox.path("go")).unwrap();
}

/// The value after a label of the page.
fn row(page: &str, label: &str) -> Option<String> {
    let found = page.lines().find_map(|line| line.strip_prefix(label));
    found.map(|rest| rest.trim().to_owned())
}

#[test]
fn a_dead_consumer_is_shown_with_what_it_held_until_it_is_swept() {
    let sandbox = Sandbox::with_queue(&[]);
    sandbox.ok(["publish", "q", "a", "b"]);
    for deliveries in 1..=2 {
        let consumer = holder(&sandbox);
        let held = sandbox.info()["participants"][0].clone();
        assert_eq!(held["alive"], true);
        assert_eq!((&held["holds"], &held["writing"]), (&1.into(), &0.into()));
        assert_eq!(held["oldest_held"], 0);
        assert_eq!(held["highest_count"], deliveries);
        assert!(held["oldest_held_age_ns"].as_u64() > Some(0));
        let pid = held["pid"].to_string();
        kill(&sandbox, consumer);

        let dead = sandbox.info()["participants"][0].clone();
        assert_eq!((&dead["alive"], &dead["holds"]), (&false.into(), &1.into()));
        assert_eq!(dead["pid"], held["pid"]);
        let page = sandbox.ok(["info", "q"]);
        let line = page.lines().find(|line| line.contains(&pid)).unwrap();
        let cells: Vec<_> = line.split_whitespace().collect();
        assert_eq!(cells[..4], ["slipring", "consume", "default", "dead"]);
        let swept = sandbox.ok(["sweep", "q"]);
        assert_eq!(
            swept,
            format!("cleared process {pid} (slipring consume)\nmessages given back: 1\n")
        );
    }
    let expected = json!({"participants": 2, "holes": 0, "claims": 2});
    assert_eq!(sandbox.info()["swept"], expected);
    let page = sandbox.ok(["info", "q"]);
    assert_eq!(
        row(&page, "swept").unwrap(),
        "2 dead processes, 0 messages never finished, 2 given back"
    );
}

#[test]
fn sweep_counts_what_it_gave_back() {
    let sandbox = Sandbox::with_queue(&[]);
    sandbox.ok(["publish", "q", "a"]);
    let consumer = holder(&sandbox);
    let nothing = sandbox.run(["sweep", "q", "--json"]).json();
    assert_eq!(
        nothing,
        json!({"participants": [], "holes": 0, "claims": 0})
    );
    kill(&sandbox, consumer);
    let swept = sandbox.run(["sweep", "q", "--json"]).json();
    assert_eq!((&swept["holes"], &swept["claims"]), (&0.into(), &1.into()));
    assert_eq!(swept["participants"][0]["name"], "slipring consume");
}

#[test]
fn a_full_queue_names_who_is_in_the_way() {
    let sandbox = Sandbox::with_queue(&["--capacity", "4"]);
    let full = || row(&sandbox.ok(["info", "q"]), "full");
    sandbox.ok(["publish", "q", "a", "b", "c"]);
    assert_eq!((full(), &sandbox.info()["full"]), (None, &json!([])));
    sandbox.ok(["publish", "q", "d"]);
    let blocked = |why: &str| {
        let expected = format!("group \"default\" has not settled message 0: {why}");
        // How long ago it was published may follow.
        assert!(full().unwrap().starts_with(&expected), "{:?}", full());
        sandbox.info()["full"][0].clone()
    };
    let waiting = json!({"group": "default", "sequence": 0, "why": "waiting", "members": 0});
    assert_eq!(blocked("the group has no consumer"), waiting);

    let consumer = holder(&sandbox);
    let pid = sandbox.info()["participants"][0]["pid"].clone();
    let held = blocked(&format!("process {pid} (slipring consume) holds it"));
    assert_eq!((&held["why"], &held["pid"]), (&"held".into(), &pid));
    kill(&sandbox, consumer);
    let died = format!(
        "process {pid} (slipring consume) died with it, and whoever attaches or waits next gives it back"
    );
    assert_eq!(blocked(&died)["alive"], false);
    sandbox.ok(["sweep", "q"]);
    assert_eq!(blocked("the group has no consumer"), waiting);

    let reject = ["consume", "q", "-n", "1", "--exec", "exit 100"];
    sandbox.run(reject).failed(0, "message 0 rejected");
    let unsure = "it waits for a consumer, or is one of 1 parked, see `slipring dead list`";
    assert_eq!(blocked(unsure)["why"], "parked-or-waiting");
    sandbox.ok(["consume", "q", "--drain"]);
    assert_eq!(
        blocked("it is parked, see `slipring dead list`")["why"],
        "parked"
    );
    sandbox.ok(["dead", "discard", "q", "0"]);
    assert_eq!(full(), None);
}

#[test]
fn a_queue_that_drops_its_oldest_is_not_in_anybodys_way() {
    let sandbox = Sandbox::with_queue(&["--capacity", "4", "--when-full", "drop-oldest"]);
    sandbox.ok(["publish", "q", "a", "b", "c", "d", "e"]);
    assert_eq!(sandbox.info()["full"], json!([]));
    let _consumer = holder(&sandbox);
    assert_eq!(sandbox.info()["full"][0]["why"], "held");
    std::fs::write(sandbox.path("go"), "").unwrap();
}

#[test]
fn a_process_paused_or_dead_inside_a_publish_is_named() {
    let sandbox = Sandbox::with_queue(&["--capacity", "4096"]);
    let consumer = sandbox.spawn(["consume", "q", "--format", ""]);
    let publisher = sandbox.spawn(["publish", "q", "--size", "20", "-n", "4000000000"]);
    let inspector = slipring::Inspector::open(sandbox.path("q")).unwrap();
    let writing = || {
        let mut found = inspector.stats().participants.into_iter();
        found.any(|found| found.writing == 1)
    };
    // Whether a stop comes within those few ns is luck, which many tries make certain.
    let mut tries = 0;
    until(|| {
        (0..20).any(|_| {
            tries += 1;
            publisher.signal(Signal::SIGCONT);
            std::thread::sleep(std::time::Duration::from_millis(1));
            publisher.stop();
            writing()
        })
    });
    println!("stopped inside a publish at try {tries}");
    let page = sandbox.ok(["info", "q"]);
    let paused = "(slipring publish) is stuck inside a publish: paused, perhaps\n";
    assert!(page.contains(paused), "{page}");
    // Everybody gets past it, until it is a lap behind.
    until(|| sandbox.group()["lag"] == 0);
    sandbox.ok(["publish", "q", "--size", "20", "-n", "4095"]);
    let page = sandbox.ok(["info", "q"]);
    assert_eq!(sandbox.info()["full"][0]["why"], "unfinished", "{page}");
    assert!(
        row(&page, "full")
            .unwrap()
            .ends_with("its producer has not finished it"),
        "{page}"
    );
    // It would clear up at once.
    consumer.stop();
    publisher.signal(Signal::SIGKILL);
    publisher.wait_killed(Signal::SIGKILL);
    let page = sandbox.ok(["info", "q"]);
    let died =
        "(slipring publish) died inside a publish: whoever attaches or waits next clears it up";
    assert!(page.contains(died), "{page}");
    let swept = sandbox.run(["sweep", "q", "--json"]).json();
    assert_eq!((&swept["holes"], &swept["claims"]), (&1.into(), &0.into()));
    assert_eq!(sandbox.info()["full"], json!([]));
}
