//! Durable queues: made, published to, and shown; and refused where nothing is durable.

use crate::support::Sandbox;

/// A place on a disk, as far as the build is on one.
fn queue() -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = dir.path().join("q").to_str().unwrap().to_owned();
    (dir, path)
}

#[test]
fn a_durable_queue_shows_its_mode_and_what_is_on_the_disk() {
    let sandbox = Sandbox::new();
    let (_dir, q) = queue();
    let mode = "interval:60s";
    sandbox.ok(["create", &q, "--capacity", "8", "--durability", mode]);
    sandbox.ok(["publish", &q, "--durable", "a", "b"]);
    let info = sandbox.run(["info", &q, "--json"]).json();
    assert_eq!(info["durability"], "interval:60000ms");
    assert_eq!(info["durable_until"], 2);
    assert!(info["sync_error"].is_null() && info["recovery"].is_null());
    let text = sandbox.ok(["info", &q]);
    assert!(
        text.contains("interval:60000ms, on the disk up to 2"),
        "{text}"
    );
    assert_eq!(sandbox.ok(["consume", &q, "--drain"]), "a\nb\n");
}

#[test]
fn durability_is_asked_for_in_vain_where_there_is_none() {
    let sandbox = Sandbox::with_queue(&[]);
    let done = sandbox.run(["publish", "q", "--durable", "a"]);
    assert_ne!(done.code(), 0);
    assert!(
        format!("{done:?}").contains("made without durability"),
        "{done:?}"
    );
    assert_eq!(sandbox.info()["tail"], 0, "not published either");
    let done = sandbox.run(["create", "other", "--durability", "hourly"]);
    assert!(
        format!("{done:?}").contains("write none, interval:TIME or sync"),
        "{done:?}"
    );
}
