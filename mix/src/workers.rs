//! Threads for the pure stages of peeling, fed by one bounded queue in batches of at most 64.
//!
//! Plain threads, not async tasks: a stage takes tens of microseconds of arithmetic a packet
//! and never waits.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::{self, JoinHandle};

use link::{Digest, Frame};
use sphinx::Peeled;
use wire::{Refusal, Time};

use crate::peel::{Admitted, Opener, Unsealed};

/// A packet on its way through the stages, with its name for the tap if there is one.
pub struct Job<T> {
    /// Of the packet as it came; `None` without a tap.
    pub input: Option<Digest>,
    /// When it came.
    pub arrival: Time,
    /// What the next stage needs.
    pub item: T,
}

/// What the threads hand back, batch by batch, in any order.
pub enum Done {
    /// Stage 1 was run.
    Opened(Vec<Job<Result<Unsealed, Refusal>>>),
    /// Stage 3 was run.
    Finished(Vec<Job<Peeled>>),
}

/// The threads. They end when this is dropped; what waits then is lost.
pub struct Workers {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    queue: Mutex<Queue>,
    filled: Condvar,
    opener: RwLock<Opener>,
    capacity: usize,
}

#[derive(Default)]
struct Queue {
    batches: VecDeque<Work>,
    /// Packets that wait for stage 1, and for stage 3.
    waiting: [usize; 2],
    closed: bool,
}

enum Work {
    Open(Vec<Job<Frame>>),
    Finish(Vec<Job<Admitted>>),
}

impl Workers {
    /// Most packets of a batch.
    pub const BATCH: usize = 64;

    /// Starts `count` threads called after `name`, with room for `capacity` packets before each
    /// of the two stages. `done` takes what they did and may block; `false` ends a thread.
    ///
    /// # Errors
    /// What the system says about new threads.
    pub fn start(
        name: &str,
        count: usize,
        capacity: usize,
        opener: Opener,
        done: impl Fn(Done) -> bool + Clone + Send + 'static,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            filled: Condvar::new(),
            opener: RwLock::new(opener),
            capacity,
        });
        let mut workers = Self {
            shared: Arc::clone(&shared),
            threads: Vec::new(),
        };
        for number in 0..count.max(1) {
            let (shared, done) = (Arc::clone(&shared), done.clone());
            let thread = thread::Builder::new().name(format!("{name}-{number}"));
            let thread = thread.spawn(move || work(&shared, &done))?;
            workers.threads.push(thread);
        }
        Ok(workers)
    }

    /// From now on stage 1 uses these keys.
    pub fn set_opener(&self, opener: Opener) {
        let mut current = self.shared.opener.write();
        let current = current.as_mut().map_err(|poisoned| poisoned.get_mut());
        match current {
            Ok(current) => **current = opener,
            Err(current) => **current = opener,
        }
    }

    /// A handle that hands in packets from another thread.
    #[must_use]
    pub fn intake(&self) -> Intake {
        Intake(Arc::clone(&self.shared))
    }

    /// Queues packets for stage 3.
    ///
    /// # Errors
    /// How many found no room: all of them.
    pub fn finish(&self, packets: Vec<Job<Admitted>>) -> Result<(), usize> {
        self.shared
            .push(1, packets.len(), || batches(packets, Work::Finish))
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.filled.notify_all();
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so already.
            let _ = thread.join();
        }
    }
}

/// Hands packets to the threads.
#[derive(Clone)]
pub struct Intake(Arc<Shared>);

impl Intake {
    /// Queues packets for stage 1.
    ///
    /// # Errors
    /// How many found no room: all of them.
    pub fn open(&self, packets: Vec<Job<Frame>>) -> Result<(), usize> {
        self.0
            .push(0, packets.len(), || batches(packets, Work::Open))
    }
}

impl Shared {
    fn push(
        &self,
        stage: usize,
        count: usize,
        batches: impl FnOnce() -> Vec<Work>,
    ) -> Result<(), usize> {
        let mut queue = self.lock();
        if queue.closed || queue.waiting[stage] + count > self.capacity {
            return Err(count);
        }
        queue.waiting[stage] += count;
        queue.batches.extend(batches());
        drop(queue);
        self.filled.notify_one();
        Ok(())
    }

    /// The next batch; `None` when the queue is closed.
    fn pop(&self) -> Option<Work> {
        let mut queue = self.lock();
        loop {
            if queue.closed {
                return None;
            }
            if let Some(work) = queue.batches.pop_front() {
                match &work {
                    Work::Open(batch) => queue.waiting[0] -= batch.len(),
                    Work::Finish(batch) => queue.waiting[1] -= batch.len(),
                }
                if !queue.batches.is_empty() {
                    self.filled.notify_one();
                }
                return Some(work);
            }
            queue = self
                .filled
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn batches<T>(packets: Vec<T>, work: impl Fn(Vec<T>) -> Work) -> Vec<Work> {
    if packets.len() <= Workers::BATCH {
        return vec![work(packets)];
    }
    let mut packets = packets.into_iter();
    let chunks = std::iter::from_fn(|| {
        let chunk: Vec<T> = packets.by_ref().take(Workers::BATCH).collect();
        (!chunk.is_empty()).then_some(chunk)
    });
    chunks.map(work).collect()
}

fn work(shared: &Shared, done: &impl Fn(Done) -> bool) {
    while let Some(work) = shared.pop() {
        let output = match work {
            Work::Open(batch) => {
                let opener = shared.opener.read();
                let opener = opener.unwrap_or_else(PoisonError::into_inner).clone();
                Done::Opened(each(batch, |job| {
                    opener.open(job.arrival, job.item.packet())
                }))
            }
            Work::Finish(batch) => Done::Finished(each(batch, |job| job.item.finish())),
        };
        if !done(output) {
            break;
        }
    }
}

fn each<T, U>(batch: Vec<Job<T>>, stage: impl Fn(Job<T>) -> U) -> Vec<Job<U>> {
    let run = |job: Job<T>| Job {
        input: job.input,
        arrival: job.arrival,
        item: stage(job),
    };
    batch.into_iter().map(run).collect()
}
