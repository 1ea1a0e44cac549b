//! What the commands say when they are used wrongly: one line, and exit status 2.

use std::path::Path;
use std::process::{Command, Output};

use crate::testnet::PROGRAM;

fn run(arguments: &[&str]) -> Output {
    Command::new(PROGRAM).args(arguments).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn write(dir: &Path, name: &str, text: &str) -> String {
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn help_teaches_the_first_command_and_fits_80_columns() {
    let output = run(&["--help"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success());
    assert!(text.contains("subrosa demo"));
    assert!(!text.contains("compile-module"), "it is not for people");
    for page in [
        vec!["--help"],
        vec!["demo", "--help"],
        vec!["testnet", "--help"],
    ] {
        let text = String::from_utf8(run(&page).stdout).unwrap();
        let long: Vec<&str> = text
            .lines()
            .filter(|line| line.chars().count() > 80)
            .collect();
        assert!(long.is_empty(), "{page:?}: {long:?}");
    }
}

#[test]
fn an_unknown_argument_is_wrong_usage() {
    assert_eq!(run(&["demo", "--colour"]).status.code(), Some(2));
    assert_eq!(run(&["dmeo"]).status.code(), Some(2));
    assert!(said(&run(&["dmeo"])).contains("demo"));
}

#[test]
fn a_loss_that_shows_nothing_is_refused_with_the_reason() {
    for (loss, reason) in [
        ("1", "below 1"),
        ("-0.1", "0 or more"),
        ("NaN", "below 1"),
        ("0.6", "handshakes"),
        ("tenth", "0.1"),
    ] {
        let output = run(&["demo", &format!("--loss={loss}")]);
        assert_eq!(output.status.code(), Some(2), "{loss}");
        assert!(said(&output).contains(reason), "{}", said(&output));
    }
}

#[test]
fn a_missing_network_file_is_named() {
    let arguments = [
        "ask",
        "--network",
        "/nowhere/network.toml",
        "--model",
        "tumour",
    ];
    let output = run(&[&arguments[..], &["--input", "in.csv"]].concat());
    assert_eq!(output.status.code(), Some(2));
    assert!(
        said(&output).starts_with("/nowhere/network.toml: "),
        "{}",
        said(&output)
    );
    assert_eq!(said(&output).lines().count(), 1);
}

#[test]
fn a_misspelt_key_of_a_node_is_named_with_the_likely_intention() {
    let dir = tempfile::tempdir().unwrap();
    let text = "role = \"gateway\"\nname = \"gateway-1\"\nnetwork = \"../network.toml\"\n\
                [link]\nlistn = \"127.0.0.1:1\"\n";
    write(dir.path(), "node.toml", text);
    let output = run(&["gateway", "run", dir.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    let expected = "node.toml: unknown key \"listn\" in [link]; did you mean \"listen\"?\n";
    assert_eq!(said(&output), expected);
}

#[test]
fn a_key_is_made_once() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("family.key");
    let file = file.to_str().unwrap();
    let made = run(&["keys", "new", file]);
    assert!(made.status.success(), "{}", said(&made));
    assert_eq!(String::from_utf8(made.stdout).unwrap().trim().len(), 64);
    let again = run(&["keys", "new", file]);
    assert_eq!(again.status.code(), Some(2));
    assert!(said(&again).contains("already there"));
}

#[test]
fn a_directory_without_a_testnet_is_named() {
    let dir = tempfile::tempdir().unwrap();
    for command in ["status", "down"] {
        let output = run(&["testnet", command, dir.path().to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(2));
        assert!(said(&output).contains("holds no testnet"));
    }
    write(dir.path(), "something", "of the user's");
    let output = run(&["testnet", "up", dir.path().to_str().unwrap()]);
    assert!(said(&output).contains("is not empty"), "{}", said(&output));
    assert!(dir.path().join("something").is_file());
}
