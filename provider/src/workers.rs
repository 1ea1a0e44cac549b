//! The threads that run models: few, fixed in number, each with one job at a time.

use std::collections::BTreeMap;
use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use link::Clock;
use tokio::sync::mpsc;
use wire::GraphHash;

use crate::{Job, JobDone, LoadedModel, SandboxFault};

/// Models by graph, loaded and ready to run.
pub(crate) type LoadedModels = BTreeMap<GraphHash, LoadedModel>;

/// The models that are served now. Clones share it.
#[derive(Clone)]
pub(crate) struct Shelf(Arc<Mutex<Arc<LoadedModels>>>);

impl Shelf {
    pub(crate) fn new(models: LoadedModels) -> Self {
        Self(Arc::new(Mutex::new(Arc::new(models))))
    }

    /// Serves `models` from now on. What runs goes on.
    pub(crate) fn replace(&self, models: LoadedModels) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(models);
    }

    fn get(&self, graph: &GraphHash) -> Option<LoadedModel> {
        let models = Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner));
        models.get(graph).cloned()
    }
}

/// A pool of threads. They end when it is dropped, each after the job that it runs.
pub(crate) struct Workers {
    jobs: SyncSender<Job>,
}

impl Workers {
    /// Starts `threads` threads with room for `queue` jobs; their results go to `results`.
    ///
    /// # Errors
    /// What the system says if it gives no more threads.
    pub(crate) fn start(
        threads: usize,
        queue: usize,
        models: &Shelf,
        clock: &Arc<dyn Clock>,
        results: &mpsc::Sender<JobDone>,
    ) -> io::Result<Self> {
        let (jobs, queue) = sync_channel(queue);
        let queue = Arc::new(Mutex::new(queue));
        for number in 0..threads.max(1) {
            let worker = Worker {
                queue: Arc::clone(&queue),
                models: models.clone(),
                clock: Arc::clone(clock),
                results: results.clone(),
            };
            thread::Builder::new()
                .name(format!("model-{number}"))
                .spawn(move || worker.run())?;
        }
        Ok(Self { jobs })
    }

    /// Queues a job; gives it back as done, with [`SandboxFault::Busy`], if there is no room.
    ///
    /// # Errors
    /// The job's end.
    pub(crate) fn submit(&self, job: Job) -> Result<(), JobDone> {
        let number = job.number;
        self.jobs.try_send(job).map_err(|_| JobDone {
            number,
            result: Err(SandboxFault::Busy),
            compute: std::time::Duration::ZERO,
        })
    }
}

struct Worker {
    queue: Arc<Mutex<Receiver<Job>>>,
    models: Shelf,
    clock: Arc<dyn Clock>,
    results: mpsc::Sender<JobDone>,
}

impl Worker {
    fn run(self) {
        while let Some(job) = self.next() {
            let began = self.clock.now();
            let model = self.models.get(&job.model);
            // Removed since it was asked for: it has no answer.
            let run = model.map_or(Err(SandboxFault::Trap), |model| model.run(&job.input));
            let done = JobDone {
                number: job.number,
                result: run.map(|run| run.output),
                compute: self.clock.now().since(began),
            };
            if self.results.blocking_send(done).is_err() {
                return;
            }
        }
    }

    fn next(&self) -> Option<Job> {
        // A receiver is whole whoever panicked beside it.
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.recv().ok()
    }
}
