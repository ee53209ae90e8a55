//! Durable queues: made, published to, and shown; and refused where nothing is durable.

use std::os::unix::fs::FileExt;

use slipring::layout::geometry::control;

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

/// As if the file had been used in another boot: the check beside the last recovery's boot is of none.
fn reboot(path: &str) {
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.write_all_at(&1_u64.to_le_bytes(), control::BOOT_CHECK.0)
        .unwrap();
}

#[test]
fn a_file_of_another_boot_says_so_and_then_what_its_recovery_found() {
    let sandbox = Sandbox::new();
    let (dir, q) = queue();
    sandbox.ok([
        "create",
        &q,
        "--capacity",
        "8",
        "--durability",
        "interval:60s",
    ]);
    sandbox.ok(["publish", &q, "a", "b"]);
    let export = dir.path().join("export").to_str().unwrap().to_owned();
    let commands: [&[&str]; 4] = [
        &["verify", &q],
        &["dump", &q, "--only", "control"],
        &["export", &q, &export],
        &["info", &q],
    ];
    let is_told = || {
        commands.map(|command| {
            let done = sandbox.run(command);
            format!("{}{done:?}", done.text()).contains("in another boot")
        })
    };
    assert_eq!(is_told(), [false; 4]);
    reboot(&q);
    assert_eq!(is_told(), [true; 4]);
    for command in commands {
        let command: Vec<&str> = command.iter().copied().chain(["--json"]).collect();
        let done = sandbox.run(&command);
        let json = done.json_lines().remove(0);
        let found = match command[0] {
            "dump" => &json["fields"][0]["text"],
            _ => &json["pending_recovery"],
        };
        assert_eq!(found, "clean", "{command:?}: {json}");
    }
    assert_eq!(sandbox.ok(["consume", &q, "--drain"]), "a\nb\n");
    assert_eq!(is_told(), [false; 4]);
    let info = sandbox.run(["info", &q, "--json"]).json();
    assert_eq!(info["recovery"]["clean"], true);
    assert!(sandbox.ok(["info", &q]).contains("recovery 1: clean"));
}

#[test]
fn a_resize_and_an_import_choose_durability() {
    let sandbox = Sandbox::new();
    let (dir, q) = queue();
    sandbox.ok(["create", &q, "--capacity", "8"]);
    sandbox.ok(["publish", &q, "a"]);
    sandbox.ok(["resize", &q, "--durability", "sync"]);
    let shown = |q: &str| sandbox.run(["info", q, "--json"]).json()["durability"].clone();
    assert_eq!(shown(&q), "sync");
    let export = dir.path().join("export").to_str().unwrap().to_owned();
    sandbox.ok(["export", &q, &export]);
    let other = dir.path().join("other").to_str().unwrap().to_owned();
    sandbox.ok(["import", &export, &other, "--durability", "interval:5ms"]);
    assert_eq!(shown(&other), "interval:5ms");
}
