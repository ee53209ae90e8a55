//! Completions and man pages: they come out, and know every command.

use crate::support::Sandbox;

const COMMANDS: [&str; 19] = [
    "create",
    "publish",
    "consume",
    "tail",
    "info",
    "group",
    "dead",
    "sweep",
    "verify",
    "repair",
    "dump",
    "export",
    "import",
    "resize",
    "rm",
    "demo",
    "bench",
    "completions",
    "man",
];

#[test]
fn the_help_knows_every_command() {
    let sandbox = Sandbox::new();
    let help = sandbox.ok(["help"]);
    for command in COMMANDS {
        assert!(help.contains(&format!("\n  {command} ")), "{command}");
        assert!(sandbox.ok([command, "--help"]).contains("Usage: slipring"));
    }
    assert!(!help.contains("worker"));
}

#[test]
fn completions_know_every_command() {
    let sandbox = Sandbox::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = sandbox.ok(["completions", shell]);
        let inner = [
            "retry",
            "discard",
            "max-deliveries",
            "dead-letters",
            "ack-timeout",
        ];
        for command in COMMANDS.into_iter().chain(inner) {
            assert!(script.contains(command), "{shell}: {command}");
        }
    }
}

#[test]
fn bash_takes_its_completions() {
    let sandbox = Sandbox::new();
    let script = sandbox.ok(["completions", "bash"]);
    let checked = std::process::Command::new("bash")
        .args(["-n", "-c", &script])
        .status();
    // Not everybody has a bash.
    assert!(checked.map_or(true, |status| status.success()));
}

#[test]
fn the_man_page_knows_every_command_and_exit_code() {
    let sandbox = Sandbox::new();
    let page = sandbox.ok(["man"]);
    assert!(page.contains(".SH \"EXIT STATUS\""));
    for command in COMMANDS {
        assert!(
            page.contains(&format!("slipring\\-{command}(1)")),
            "{command}"
        );
    }
    sandbox.ok(["man", "--dir", "."]);
    let inner = [
        "group-add",
        "group-rm",
        "group-list",
        "dead-list",
        "dead-retry",
        "dead-discard",
    ];
    for command in COMMANDS.into_iter().chain(inner) {
        let page = std::fs::read_to_string(sandbox.path(&format!("slipring-{command}.1"))).unwrap();
        assert!(page.contains(".SH SYNOPSIS"), "{command}");
        assert!(page.contains("EXIT STATUS"), "{command}");
    }
    assert!(sandbox.path("slipring.1").exists());
    for (command, said) in [
        ("group-add", "max\\-deliveries"),
        ("consume", "SLIPRING_DEAD_QUEUE"),
        ("consume", "100 rejects it"),
        ("consume", "{source_sequence}"),
    ] {
        let page = std::fs::read_to_string(sandbox.path(&format!("slipring-{command}.1"))).unwrap();
        assert!(page.contains(said), "{command}: {said}");
    }
}
