//! One provider in the network, and one edge that asks it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use directory::{Identity, ModelCard, ServiceDescriptor};
use message::{Edge, EdgeConfig, EdgeEvent, Participant, Recipient, RequestDraft, SealingKey};
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;
use subrosa_provider::{Bounds, Job, Provider, ProviderConfig, Reach, Service};
use wire::{AnswerClass, Epoch, NodeName, Outcome, RequestFailure, RequestId, Response, Time};

use crate::network::{Net, card, gateway, topology};

pub(crate) const ASKER: usize = 0;
pub(crate) const PROVIDER: usize = 1;
/// The parameters' answer tick.
pub(crate) const TICK: Duration = Duration::from_millis(250);

pub(crate) struct World {
    pub(crate) now: Time,
    pub(crate) net: Net,
    pub(crate) edge: Edge,
    pub(crate) provider: Provider,
    pub(crate) to: Recipient,
    pub(crate) jobs: Vec<Job>,
    pub(crate) responses: Vec<Response>,
    /// Times at which an answer was released.
    pub(crate) releases: Vec<Time>,
    pub(crate) rng: ChaCha20Rng,
}

/// Little-endian, as requests carry it.
pub(crate) fn bytes(values: &[i32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

/// Named by their answer class; each takes 3 numbers.
pub(crate) fn cards() -> Vec<ModelCard> {
    vec![
        card("small", 3, 2, AnswerClass::One),
        card("large", 3, 4_000, AnswerClass::Four),
    ]
}

pub(crate) fn service(rng: &mut ChaCha20Rng, key: &SealingKey) -> Service {
    let name = NodeName::new("clinic").unwrap();
    let mailbox = Identity::generate(rng);
    Service::new(name, mailbox, key.public().clone(), cards()).unwrap()
}

pub(crate) fn recipient(listed: &ServiceDescriptor, key: &SealingKey) -> Recipient {
    Recipient {
        gateways: vec![gateway(1)],
        mailbox: listed.mailbox(),
        sealing_key: key.public().clone(),
    }
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        Self::bounded(seed, Bounds::default())
    }

    pub(crate) fn bounded(seed: u64, bounds: Bounds) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let sealing_key = SealingKey::generate(&mut rng);
        let service = service(&mut rng, &sealing_key);
        let listed = service.descriptor(Epoch(1), vec![gateway(1)]);
        let to = recipient(&listed, &sealing_key);
        let topology = topology(1, vec![listed]);
        let config = ProviderConfig {
            service: Arc::new(service),
            gateway: gateway(1),
            reach: Reach::Attached,
            sealing_key,
            class: 1,
            bounds,
        };
        let now = Time::ZERO;
        let provider = Provider::new(now, &mut rng, config, Arc::clone(&topology)).unwrap();
        let edge_config = EdgeConfig {
            gateway: gateway(0),
            class: 1,
        };
        let edge = Edge::new(now, &mut rng, edge_config, Arc::clone(&topology)).unwrap();
        let mut net = Net::new(seed, topology);
        net.register(ASKER, edge.register().handle);
        net.register(PROVIDER, provider.register().handle);
        net.attach(PROVIDER, to.mailbox);
        Self {
            now,
            net,
            edge,
            provider,
            to,
            jobs: Vec::new(),
            responses: Vec::new(),
            releases: Vec::new(),
            rng,
        }
    }

    /// Asks a model under an id; another call under the same id is another attempt.
    pub(crate) fn ask(&mut self, id: u8, model: &ModelCard, input: &[i32]) {
        self.ask_for(id, model, model.class, input);
    }

    pub(crate) fn ask_for(&mut self, id: u8, model: &ModelCard, class: AnswerClass, input: &[i32]) {
        let draft = RequestDraft {
            id: RequestId([id; 16]),
            model: model.graph_hash,
            class,
            input: bytes(input),
        };
        self.edge
            .send_request(self.now, &mut self.rng, &self.to, &draft, Time::MAX)
            .unwrap();
    }

    pub(crate) fn done(&mut self, job: &Job, output: Vec<i32>) {
        let compute = Duration::from_millis(3);
        self.provider
            .job_done(self.now, job.number, Ok(output), compute);
    }

    /// Runs for `span`; jobs and responses collect in this world.
    pub(crate) fn run(&mut self, span: Duration) {
        let until = self.now.after(span);
        loop {
            let times = [
                self.edge.poll_timeout(),
                self.provider.poll_timeout(),
                self.net.poll_timeout(),
            ];
            let next = times.into_iter().flatten().min().unwrap();
            if next > until {
                self.now = until;
                return;
            }
            self.now = next;
            self.step();
        }
    }

    fn step(&mut self) {
        let now = self.now;
        while let Some((to, frame)) = self.net.deliver(now) {
            match to {
                ASKER => self.edge.handle_frame(now, &mut self.rng, &frame),
                _ => self.provider.handle_frame(now, &mut self.rng, &frame),
            }
        }
        if self.edge.poll_timeout() <= Some(now) {
            self.edge.handle_timeout(now, &mut self.rng);
        }
        if self.provider.poll_timeout() <= Some(now) {
            let before = self.provider.counts().released;
            self.provider.handle_timeout(now, &mut self.rng);
            let released = self.provider.counts().released - before;
            self.releases.extend((0..released).map(|_| now));
        }
        while let Some((first, packet)) = self.edge.poll_transmit(now) {
            self.net.send(now, first, packet);
        }
        while let Some((first, packet)) = self.provider.poll_transmit(now) {
            self.net.send(now, first, packet);
        }
        while let Some(event) = self.edge.poll_event() {
            if let EdgeEvent::Response { response, .. } = event {
                self.responses.push(response);
            }
        }
        while let Some(job) = self.provider.poll_job() {
            self.jobs.push(job);
        }
        assert!(self.provider.ledger().balances(self.provider.held()));
    }

    /// The one response that came, by its failure.
    pub(crate) fn failure(&mut self) -> Option<RequestFailure> {
        assert_eq!(self.responses.len(), 1, "one response");
        match self.responses.pop().unwrap().outcome {
            Outcome::Failed(why) => Some(why),
            _ => None,
        }
    }

    pub(crate) fn job_ids(&self) -> BTreeSet<RequestId> {
        self.jobs.iter().map(|job| job.id).collect()
    }
}
