//! Threads for the pure stages of peeling, fed by one bounded queue in batches of at most 64.
//!
//! Plain threads, not async tasks: a stage takes tens of microseconds of arithmetic a packet
//! and never waits.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
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
    /// Packets in the queue and with the threads.
    in_hand: AtomicUsize,
    capacity: usize,
}

#[derive(Default)]
struct Queue {
    opening: Waiting<Frame>,
    finishing: Waiting<Admitted>,
    closed: bool,
}

/// Batches before a stage, of a bounded number of packets.
struct Waiting<T> {
    batches: VecDeque<Vec<Job<T>>>,
    packets: usize,
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
            in_hand: AtomicUsize::new(0),
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

    /// Packets that were taken and not handed back yet.
    #[must_use]
    pub fn in_hand(&self) -> usize {
        self.shared.in_hand.load(Ordering::Acquire)
    }

    /// A handle that hands in packets from another thread.
    #[must_use]
    pub fn intake(&self) -> Intake {
        Intake(Arc::clone(&self.shared))
    }

    /// Queues packets for stage 3. They go before those that wait for stage 1: what was begun
    /// is finished first.
    ///
    /// # Errors
    /// How many found no room: all of them.
    pub fn finish(&self, packets: Vec<Job<Admitted>>) -> Result<(), usize> {
        self.shared.push(packets, |queue| &mut queue.finishing)
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
        self.0.push(packets, |queue| &mut queue.opening)
    }
}

impl Shared {
    fn push<T>(
        &self,
        packets: Vec<Job<T>>,
        stage: impl Fn(&mut Queue) -> &mut Waiting<T>,
    ) -> Result<(), usize> {
        let count = packets.len();
        let mut queue = self.lock();
        let waiting = stage(&mut queue);
        if waiting.packets + count > self.capacity || queue.closed {
            return Err(count);
        }
        self.in_hand.fetch_add(count, Ordering::AcqRel);
        stage(&mut queue).push(packets);
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
            let work = match queue.finishing.pop() {
                Some(batch) => Some(Work::Finish(batch)),
                None => queue.opening.pop().map(Work::Open),
            };
            if work.is_some() {
                if queue.finishing.packets + queue.opening.packets > 0 {
                    self.filled.notify_one();
                }
                return work;
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

impl<T> Default for Waiting<T> {
    fn default() -> Self {
        Self {
            batches: VecDeque::new(),
            packets: 0,
        }
    }
}

impl<T> Waiting<T> {
    fn push(&mut self, packets: Vec<Job<T>>) {
        self.packets += packets.len();
        if packets.len() <= Workers::BATCH {
            self.batches.push_back(packets);
            return;
        }
        let mut packets = packets.into_iter();
        while packets.len() > 0 {
            let batch = packets.by_ref().take(Workers::BATCH);
            self.batches.push_back(batch.collect());
        }
    }

    fn pop(&mut self) -> Option<Vec<Job<T>>> {
        let batch = self.batches.pop_front()?;
        self.packets -= batch.len();
        Some(batch)
    }
}

fn work(shared: &Shared, done: &impl Fn(Done) -> bool) {
    while let Some(work) = shared.pop() {
        let (count, output) = match work {
            Work::Open(batch) => {
                let opener = shared.opener.read();
                let opener = opener.unwrap_or_else(PoisonError::into_inner).clone();
                let open = |job: Job<Frame>| opener.open(job.arrival, job.item.packet());
                (batch.len(), Done::Opened(each(batch, open)))
            }
            Work::Finish(batch) => {
                let finish = |job: Job<Admitted>| job.item.finish();
                (batch.len(), Done::Finished(each(batch, finish)))
            }
        };
        let taken = done(output);
        shared.in_hand.fetch_sub(count, Ordering::AcqRel);
        if !taken {
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
