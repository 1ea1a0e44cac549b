//! A writer killed with SIGKILL in the middle of its work loses nothing that it had said was
//! done. The writer is this test binary, started again.
#![allow(clippy::unwrap_used, reason = "a test, helpers included")]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use subrosa_store::{Batch, Bytes, LogOrigin, ShortTag, StateDir, Table};
use wire::Epoch;

const WRITES: Table<Epoch, Bytes> = Table::new("writes");
const LAST: Table<[u8; 1], Epoch> = Table::new("last");
const ORIGIN: LogOrigin = LogOrigin {
    epoch: Epoch(1),
    fingerprint: [9; 16],
};
const WHERE: &str = "SUBROSA_CRASH_TEST_DIR";

/// Does nothing unless started by the tests below; then writes until it is killed.
#[test]
fn writer() {
    let Some(path) = std::env::var_os(WHERE) else {
        return;
    };
    let state = StateDir::open(path).unwrap();
    let durable = state.durable().unwrap();
    let (mut log, tags) = state.open_replay_log(&ORIGIN).unwrap();
    let mut out = std::io::stdout();
    for number in tags.len() as u64.. {
        log.append(&[ShortTag(number)]).unwrap();
        let mut batch = Batch::new();
        batch.insert(&WRITES, &Epoch(number), &Bytes(vec![number as u8; 300]));
        batch.put(&LAST, &[0], &Epoch(number));
        durable.commit(batch).unwrap();
        state
            .key_file("rolling")
            .replace(&number.to_be_bytes())
            .unwrap();
        writeln!(out, "done {number}").unwrap();
        out.flush().unwrap();
    }
}

#[test]
fn what_was_done_before_the_kill_is_there_after_it() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("state");
    StateDir::open(&path)
        .unwrap()
        .create_replay_log(&ORIGIN)
        .unwrap();
    for round in 0..6 {
        let done = write_and_kill(&path, 3 + 5 * round);
        let state = StateDir::open(&path).unwrap();
        let durable = state.durable().unwrap();

        let (log, tags) = state.open_replay_log(&ORIGIN).unwrap();
        drop(log);
        let expected: Vec<_> = (0..tags.len() as u64).map(ShortTag).collect();
        assert_eq!(tags, expected);
        assert!(tags.len() as u64 > done, "a tag is missing");

        // Both tables of a batch, or neither.
        let last = durable.get(&LAST, &[0]).unwrap().unwrap().0;
        let writes = durable.scan(&WRITES, .., usize::MAX).unwrap();
        assert!(last >= done, "a batch is missing");
        assert_eq!(writes.len() as u64, last + 1);
        assert!(writes.iter().all(|(n, v)| v.0 == [n.0 as u8; 300]));

        let key = state.key_file("rolling").read().unwrap();
        let key = u64::from_be_bytes(key[..].try_into().unwrap());
        assert!(key >= done && key <= last);

        // The writer goes on after the last tag; let the table do the same.
        let mut batch = Batch::new();
        for number in last + 1..tags.len() as u64 {
            batch.insert(&WRITES, &Epoch(number), &Bytes(vec![number as u8; 300]));
            batch.put(&LAST, &[0], &Epoch(number));
        }
        durable.commit(batch).unwrap();
    }
}

/// Starts the writer, kills it after `lines` steps and returns the last step that it said was
/// done.
fn write_and_kill(path: &Path, lines: usize) -> u64 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "writer", "--nocapture"])
        .env(WHERE, path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let stdout = BufReader::new(child.stdout.take().unwrap());
    let mut done = None;
    let mut seen = 0;
    // After the kill, the pipe still holds what was said before it.
    for line in stdout.lines() {
        if let Some(number) = line.unwrap().strip_prefix("done ") {
            done = Some(number.parse().unwrap());
            seen += 1;
            if seen == lines {
                child.kill().unwrap();
            }
        }
    }
    child.wait().unwrap();
    done.expect("the writer got to its first step")
}
