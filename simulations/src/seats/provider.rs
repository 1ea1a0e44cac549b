//! A provider's owner: runs the models by their reference, in no time but the law's.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use compiler::Model;
use directory::{Descriptor, Topology};
use message::{EdgeError, SealingKey};
use provider::{Bounds, Job, JobDone, Provider, ProviderConfig, Reach, SandboxFault, Service};
use rand_chacha::ChaCha20Rng;
use wire::{Encode, Epoch, NodeId, RequestId, Time};

use crate::questions;
use crate::seat::{Asked, Input, Output, Way};
use crate::uplink::Owner;

/// Who runs a [`Provider`]'s jobs.
pub(crate) struct ProviderOwner {
    service: Arc<Service>,
    reach: Reach,
    sealing_seed: [u8; 32],
    class: u8,
    models: Arc<BTreeMap<&'static str, Model>>,
    /// Ids of jobs that were run: on disk.
    run: BTreeSet<RequestId>,
    /// Jobs since it was asked last whose input is one of the questions'.
    questions: usize,
}

impl ProviderOwner {
    pub(crate) fn new(
        service: Arc<Service>,
        reach: Reach,
        sealing_seed: [u8; 32],
        class: u8,
        models: Arc<BTreeMap<&'static str, Model>>,
    ) -> Self {
        Self {
            service,
            reach,
            sealing_seed,
            class,
            models,
            run: BTreeSet::new(),
            questions: 0,
        }
    }

    fn run(&self, job: &Job) -> Result<Vec<i32>, SandboxFault> {
        let asked = |model: &&Model| model.graph_hash == job.model;
        let model = self.models.values().find(asked);
        let model = model.ok_or(SandboxFault::Trap)?;
        let output = model.graph.run(&job.input);
        output.map_err(|_| SandboxFault::BadInput)
    }
}

impl Owner for ProviderOwner {
    type Core = Provider;

    fn make(
        &mut self,
        now: Time,
        rng: &mut ChaCha20Rng,
        topology: Arc<Topology>,
        gateway: NodeId,
    ) -> Result<Provider, EdgeError> {
        let config = ProviderConfig {
            service: Arc::clone(&self.service),
            gateway,
            reach: self.reach,
            sealing_key: SealingKey::from_bytes(&self.sealing_seed),
            class: self.class,
            bounds: Bounds::default(),
        };
        let mut provider = Provider::new(now, rng, config, topology)?;
        for id in &self.run {
            provider.remember(*id);
        }
        Ok(provider)
    }

    fn news(&mut self, now: Time, job: Job, outputs: &mut Vec<Output>) {
        self.run.insert(job.id);
        self.questions += usize::from(questions::is_asked(&job.input));
        let done = JobDone {
            number: job.number,
            result: self.run(&job),
            compute: COMPUTE,
        };
        outputs.push(Output::Later(now.after(COMPUTE), Input::JobDone(done)));
    }

    fn ask(
        &mut self,
        _: Time,
        _: &mut ChaCha20Rng,
        _: Option<&mut Provider>,
        _: Asked,
        _: &mut Vec<Output>,
    ) {
    }

    fn truth(&mut self, _: &Provider) -> Vec<Way> {
        vec![Way::In; std::mem::take(&mut self.questions)]
    }

    fn publishes(&self) -> Option<Reach> {
        Some(self.reach)
    }

    fn descriptor(&self, epoch: Epoch, gateway: NodeId) -> Option<Vec<u8>> {
        (self.reach == Reach::Attached).then(|| {
            let descriptor = self.service.descriptor(epoch, vec![gateway]);
            Descriptor::Service(Box::new(descriptor)).to_bytes()
        })
    }

    fn command(&mut self, input: Input) -> Option<JobDone> {
        match input {
            Input::JobDone(done) => Some(done),
            _ => None,
        }
    }

    fn crash(&mut self) {}
}

/// How long a model runs.
const COMPUTE: Duration = Duration::from_millis(2);
