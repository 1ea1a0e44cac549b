//! A writer stops for good before and after each of its syncs: killed with SIGKILL, or with a
//! disk that fails from then on. Whatever it had said was done is there when the state is opened
//! again, at most the step that it was at besides, and the work goes on to its end.
//!
//! The writer that is killed is this test binary, started again.
#![allow(clippy::unwrap_used, reason = "a test, helpers included")]

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use subrosa_store::{
    Batch, BootId, Bytes, Disk, LogOrigin, ShortTag, StateDir, StoreError, SystemDisk, Table,
};
use wire::Epoch;

const KEYS: Table<Epoch, [u8; 16]> = Table::new("keys");
const SPENT: Table<Epoch, Bytes> = Table::new("spent");
const COUNTER: Table<[u8; 1], Epoch> = Table::new("counter");
const CACHE: Table<Epoch, Bytes> = Table::new("cache");

const EPOCHS: u64 = 2;
const TAGS: u64 = 3;
const SPENT_AN_EPOCH: u64 = 2;

/// A step of the work that is said to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Done {
    Key,
    Tag,
    Spent,
    Rolled,
    Closed,
    Erased,
    All,
}

/// How often each step was said to be done.
#[derive(Debug, Default, Clone)]
struct Said(Vec<Done>);

impl Said {
    fn count(&self, done: Done) -> u64 {
        self.0.iter().filter(|said| **said == done).count() as u64
    }
}

fn origin(epoch: Epoch) -> LogOrigin {
    LogOrigin {
        epoch,
        fingerprint: [epoch.0 as u8; 16],
    }
}

fn key_name(epoch: Epoch) -> String {
    format!("sphinx-{epoch}")
}

/// What a node does with its state, in the order in which nodes do it; takes up what it finds.
fn work(state: &StateDir, say: &mut dyn FnMut(Done)) -> Result<(), StoreError> {
    let durable = state.durable()?;
    for epoch in (1..=EPOCHS).map(Epoch) {
        let key = state.key_file(&key_name(epoch));
        if durable.get(&KEYS, &epoch)?.is_none() {
            key.erase()?;
            state.remove_replay_log(epoch)?;
            state.create_replay_log(&origin(epoch))?;
            key.create(&[epoch.0 as u8; 32])?;
            let mut batch = Batch::new();
            batch.insert(&KEYS, &epoch, &origin(epoch).fingerprint);
            durable.commit(batch)?;
        }
        say(Done::Key);
        let (mut log, tags) = state.open_replay_log(&origin(epoch))?;
        for number in 0..TAGS {
            if number >= tags.len() as u64 {
                log.append(&[ShortTag(number)])?;
            }
            say(Done::Tag);
        }
        log.syncer()?.sync()?;
        for number in (epoch.0 - 1) * SPENT_AN_EPOCH..epoch.0 * SPENT_AN_EPOCH {
            if durable.get(&SPENT, &Epoch(number))?.is_none() {
                let mut batch = Batch::new();
                batch.insert(&SPENT, &Epoch(number), &Bytes(vec![number as u8; 300]));
                batch.put(&COUNTER, &[0], &Epoch(number));
                durable.commit(batch)?;
            }
            say(Done::Spent);
        }
        state.key_file("rolling").replace(&epoch.0.to_be_bytes())?;
        say(Done::Rolled);
        log.close()?;
        say(Done::Closed);
    }
    let first = Epoch(1);
    state.key_file(&key_name(first)).erase()?;
    state.remove_replay_log(first)?;
    let mut batch = Batch::new();
    batch.remove_below(&KEYS, &first.next());
    durable.commit(batch)?;
    say(Done::Erased);
    say(Done::All);
    Ok(())
}

/// What must hold of a state in which `said` was done.
fn check(path: &Path, said: &Said) {
    let state = StateDir::open(path).unwrap();
    let durable = state.durable().unwrap();
    let (keys, tags) = (said.count(Done::Key), said.count(Done::Tag));

    for epoch in 1..=keys {
        let tags_of_epoch = tags.saturating_sub((epoch - 1) * TAGS).min(TAGS);
        check_key(&state, &durable, Epoch(epoch), tags_of_epoch, said);
    }
    if said.count(Done::Erased) == 1 {
        assert!(!state.key_file(&key_name(Epoch(1))).exists());
        assert_eq!(durable.get(&KEYS, &Epoch(1)).unwrap(), None);
    }

    // The spent set has no gap, and the counter is that of the same batch.
    let done = said.count(Done::Spent);
    let spent = durable.scan(&SPENT, .., usize::MAX).unwrap();
    let there = spent.len() as u64;
    assert!((done..=done + 1).contains(&there), "{done} {there}");
    assert!(
        (0..)
            .zip(&spent)
            .all(|(n, (k, v))| k.0 == n && v.0 == [n as u8; 300])
    );
    let counter = durable.get(&COUNTER, &[0]).unwrap();
    assert_eq!(counter, there.checked_sub(1).map(Epoch));
    for number in 0..done {
        let mut again = Batch::new();
        again.insert(&SPENT, &Epoch(number), &Bytes(Vec::new()));
        let refused = durable.commit(again);
        assert!(matches!(refused, Err(StoreError::AlreadyThere { .. })));
    }

    let done = said.count(Done::Rolled);
    let rolled = match state.key_file("rolling").read() {
        Ok(key) => u64::from_be_bytes(key[..].try_into().unwrap()),
        Err(StoreError::Missing { .. }) => 0,
        Err(other) => panic!("{other}"),
    };
    assert!((done..=done + 1).contains(&rolled), "{done} {rolled}");
}

/// What may be lost is lost or right. Opened once a process: its engine lets go of the files
/// some time after it is dropped.
fn check_scratch(path: &Path) {
    let scratch = StateDir::open(path).unwrap().scratch().unwrap();
    for number in 0..EPOCHS * SPENT_AN_EPOCH {
        let cached = scratch.get(&CACHE, &Epoch(number)).unwrap();
        assert!(cached.is_none_or(|value| value.0 == [number as u8; 50]));
    }
}

fn check_key(
    state: &StateDir,
    durable: &subrosa_store::Durable,
    epoch: Epoch,
    tags: u64,
    said: &Said,
) {
    let secret = state.key_file(&key_name(epoch)).read();
    let erasing = epoch == Epoch(1) && said.count(Done::Closed) == EPOCHS;
    if erasing && secret.as_ref().map(|key| key[0]) != Ok(1) {
        // Half erased or gone; what is left of it is not a key.
        assert!(secret.is_err());
        return;
    }
    assert_eq!(secret.unwrap()[..], [epoch.0 as u8; 32]);
    if !erasing {
        let entered = durable.get(&KEYS, &epoch).unwrap();
        assert_eq!(entered, Some(origin(epoch).fingerprint));
    }
    let (log, found) = state.open_replay_log(&origin(epoch)).unwrap();
    let there = found.len() as u64;
    assert!((tags..=tags + 1).contains(&there), "{tags} {there}");
    let expected: Vec<_> = (0..there).map(ShortTag).collect();
    assert_eq!(found, expected);
    drop(log);
}

/// After a stop, the work goes on to its end.
fn go_on(path: &Path) {
    let mut said = Said::default();
    let state = StateDir::open(path).unwrap();
    let second = state.durable().unwrap().get(&KEYS, &Epoch(2)).unwrap();
    if second.is_some() && !state.key_file(&key_name(Epoch(1))).exists() {
        // Nobody takes up a key that was erased.
        return;
    }
    work(&state, &mut |done| said.0.push(done)).unwrap();
    drop(state);
    assert_eq!(said.count(Done::All), 1);
    check(path, &said);
}

/// Calls `stop` before and after the syncs, at the point of one number.
struct Stopping<F> {
    points: AtomicU64,
    at: u64,
    stop: F,
}

impl<F> std::fmt::Debug for Stopping<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Stopping")
    }
}

impl<F: Fn(bool) -> io::Result<()>> Stopping<F> {
    fn around(&self, sync: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        self.point()?;
        sync()?;
        self.point()
    }

    fn point(&self) -> io::Result<()> {
        let number = self.points.fetch_add(1, Ordering::SeqCst);
        (self.stop)(number >= self.at)
    }
}

impl<F: Fn(bool) -> io::Result<()> + Send + Sync> Disk for Stopping<F> {
    fn sync_data(&self, file: &File) -> io::Result<()> {
        self.around(|| SystemDisk.sync_data(file))
    }

    fn sync_all(&self, file: &File) -> io::Result<()> {
        self.around(|| SystemDisk.sync_all(file))
    }
}

/// In memory where there is such a place: a kill does not tell it from a disk, and its syncs are
/// soon over.
fn home() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

fn open(path: &Path, disk: impl Disk + 'static) -> Result<StateDir, StoreError> {
    StateDir::open_on(path, BootId::current(), Arc::new(disk))
}

const WHERE: &str = "SUBROSA_SYNC_TEST_DIR";
const POINT: &str = "SUBROSA_SYNC_TEST_POINT";
/// Steps as the writer says them.
const WORDS: [(&str, Done); 7] = [
    ("done key", Done::Key),
    ("done tag", Done::Tag),
    ("done spent", Done::Spent),
    ("done rolled", Done::Rolled),
    ("done closed", Done::Closed),
    ("done erased", Done::Erased),
    ("done all", Done::All),
];

/// Does nothing unless started by the test below; then works until its point, says so, and waits
/// to be killed.
#[test]
fn writer() {
    let Some(path) = std::env::var_os(WHERE) else {
        return;
    };
    let line = |text: &str| {
        let mut out = io::stdout().lock();
        writeln!(out, "{text}").unwrap();
        out.flush().unwrap();
    };
    let disk = Stopping {
        points: AtomicU64::new(0),
        at: std::env::var(POINT).unwrap().parse().unwrap(),
        stop: move |reached: bool| {
            if reached {
                line("stopped");
                loop {
                    std::thread::park();
                }
            }
            Ok(())
        },
    };
    let state = open(Path::new(&path), disk).unwrap();
    let scratch = state.scratch().unwrap();
    let mut spent = 0;
    let mut say = |done| {
        if done == Done::Spent {
            let value = Bytes(vec![spent as u8; 50]);
            scratch.put(&CACHE, &Epoch(spent), &value).unwrap();
            spent += 1;
        }
        let word = WORDS.iter().find(|(_, step)| *step == done);
        line(word.unwrap().0);
    };
    work(&state, &mut say).unwrap();
}

/// What the writer said before it was killed at `point`.
fn killed_at(path: &Path, point: u64) -> Said {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "writer", "--nocapture"])
        .env(WHERE, path)
        .env(POINT, point.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = Said::default();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        if line == "stopped" {
            child.kill().unwrap();
        } else if let Some((_, done)) = WORDS.iter().find(|(word, _)| line == *word) {
            said.0.push(*done);
        }
    }
    child.wait().unwrap();
    said
}

#[test]
fn a_kill_at_any_sync_loses_nothing_that_was_said_to_be_done() {
    let _alone = ALONE.lock();
    for point in 0.. {
        let home = home();
        let path = home.path().join("state");
        let said = killed_at(&path, point);
        check(&path, &said);
        check_scratch(&path);
        go_on(&path);
        if said.count(Done::All) == 1 {
            assert!(point > FEWEST_POINTS, "{point} points");
            return;
        }
    }
}

#[test]
fn a_disk_that_fails_at_any_sync_is_never_taken_for_one_that_wrote() {
    let _alone = ALONE.lock();
    for point in 0.. {
        let home = home();
        let path = home.path().join("state");
        let disk = Stopping {
            points: AtomicU64::new(0),
            at: point,
            stop: |reached: bool| match reached {
                true => Err(io::ErrorKind::StorageFull.into()),
                false => Ok(()),
            },
        };
        let mut said = Said::default();
        let outcome =
            open(&path, disk).and_then(|state| work(&state, &mut |done| said.0.push(done)));
        check(&path, &said);
        go_on(&path);
        if outcome.is_ok() {
            assert!(point > FEWEST_POINTS, "{point} points");
            return;
        }
        assert_eq!(said.count(Done::All), 0);
    }
}

/// A process that is being started holds the locks of this one until it runs its own program.
static ALONE: Mutex<()> = Mutex::new(());
/// A work with fewer points would be one whose syncs go past the disk that they are to go through.
const FEWEST_POINTS: u64 = 60;
