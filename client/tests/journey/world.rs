//! One asker and two providers of the same models, in the network.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use directory::{Document, Identity, ModelCard, ServiceDescriptor, Topology};
use message::{EdgeConfig, Participant, SealingKey};
use provider::{Bounds, Job, Provider, ProviderConfig, Reach, Service};
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;
use subrosa_client::{Answer, Asker, AskerConfig, Input, QueryError, QueryId, Question};
use wire::{AnswerClass, Epoch, NodeName, RequestId, Time};

use crate::network::{Net, card, gateway, topology};

pub(crate) const ASKER: usize = 2;
pub(crate) const MAX_QUESTIONS: usize = 64;

pub(crate) struct World {
    pub(crate) now: Time,
    pub(crate) net: Net,
    pub(crate) asker: Asker,
    pub(crate) providers: Vec<Provider>,
    pub(crate) events: Vec<(Time, QueryId, Result<Answer, QueryError>)>,
    /// How often each id ran, by provider.
    pub(crate) runs: BTreeMap<(usize, RequestId), u32>,
    /// The inputs of all that ran.
    pub(crate) inputs: Vec<Vec<i32>>,
    /// What a provider does with a job, by its input; the sum and its opposite if nothing else.
    pub(crate) model: fn(&[i32]) -> Vec<i32>,
    pub(crate) rng: ChaCha20Rng,
}

pub(crate) fn cards() -> Vec<ModelCard> {
    vec![
        card("digits", 4, 2, AnswerClass::One),
        card("tumour", 30, 2, AnswerClass::One),
        card("pages", 4, 4_000, AnswerClass::Four),
    ]
}

pub(crate) fn sum(input: &[i32]) -> Vec<i32> {
    let sum = input.iter().sum::<i32>();
    vec![-sum, sum]
}

pub(crate) fn service(name: &str, number: u8, cards: Vec<ModelCard>) -> (Service, SealingKey) {
    let mut rng = ChaCha20Rng::seed_from_u64(u64::from(number) + 1_000);
    let sealing_key = SealingKey::generate(&mut rng);
    let name = NodeName::new(name).unwrap();
    let mailbox = Identity::generate(&mut rng);
    let public = sealing_key.public().clone();
    let service = Service::new(name, mailbox, public, cards).unwrap();
    (service, sealing_key)
}

/// The document of an epoch that lists both providers.
pub(crate) fn document(epoch: u64) -> Arc<Topology> {
    let listed = |number| {
        service("clinic", number, cards())
            .0
            .descriptor(Epoch(epoch), vec![gateway(number % 2)])
    };
    topology(epoch, vec![listed(0), listed(1)])
}

pub(crate) fn listed(name: &str, number: u8, cards: Vec<ModelCard>) -> ServiceDescriptor {
    service(name, number, cards)
        .0
        .descriptor(Epoch(1), vec![gateway(number % 2)])
}

/// The same for a network whose participants send no loops: none is missed, nothing withheld.
pub(crate) fn document_without_loops() -> Arc<Topology> {
    let listed = document(1);
    let mut document = Document::clone(listed.document());
    document.parameters.rates.client_loop = 0;
    Topology::new(Arc::new(document), Epoch(1)).unwrap()
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        Self::with_served(seed, &cards())
    }

    /// Where packets may get lost for as long as one likes.
    pub(crate) fn without_loops(seed: u64) -> Self {
        Self::in_network(seed, &cards(), document_without_loops())
    }

    /// Providers that serve something else than the document lists.
    pub(crate) fn with_served(seed: u64, served: &[ModelCard]) -> Self {
        Self::in_network(seed, served, document(1))
    }

    fn in_network(seed: u64, served: &[ModelCard], topology: Arc<Topology>) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let now = Time::ZERO;
        let mut net = Net::new(seed, Arc::clone(&topology));
        let mut providers = Vec::new();
        for number in 0..2 {
            let (service, sealing_key) = service("clinic", number, served.to_vec());
            net.attach(usize::from(number), service.mailbox());
            let config = ProviderConfig {
                service: Arc::new(service),
                gateway: gateway(number % 2),
                reach: Reach::Attached,
                sealing_key,
                class: 1,
                bounds: Bounds::default(),
            };
            let provider = Provider::new(now, &mut rng, config, Arc::clone(&topology)).unwrap();
            net.register(usize::from(number), provider.register().handle);
            providers.push(provider);
        }
        let config = AskerConfig {
            edge: EdgeConfig {
                gateway: gateway(0),
                class: 1,
            },
            max_questions: MAX_QUESTIONS,
        };
        let asker = Asker::new(now, &mut rng, config, topology).unwrap();
        net.register(ASKER, asker.register().handle);
        Self {
            now,
            net,
            asker,
            providers,
            events: Vec::new(),
            runs: BTreeMap::new(),
            inputs: Vec::new(),
            model: sum,
            rng,
        }
    }

    pub(crate) fn ask(
        &mut self,
        model: &str,
        input: &Input,
        deadline: Duration,
    ) -> Result<QueryId, QueryError> {
        let topology = Arc::clone(self.asker.edge().topology());
        let question = Question::choose(&mut self.rng, &topology, model, input)?;
        let deadline = self.now.after(deadline);
        self.asker.ask(self.now, &mut self.rng, question, deadline)
    }

    /// Runs for `span`; what comes of questions collects in this world.
    pub(crate) fn run(&mut self, span: Duration) {
        let until = self.now.after(span);
        loop {
            let times = [self.asker.poll_timeout(), self.net.poll_timeout()];
            let providers = self.providers.iter().map(Participant::poll_timeout);
            let next = times.into_iter().chain(providers).flatten().min().unwrap();
            if next > until {
                self.now = until;
                return;
            }
            self.now = next;
            self.step();
        }
    }

    pub(crate) fn turn(&mut self, next: &Arc<Topology>) {
        let now = self.now;
        for (number, provider) in self.providers.iter_mut().enumerate() {
            provider
                .set_topology(now, &mut self.rng, Arc::clone(next))
                .unwrap();
            self.net.register(number, provider.register().handle);
        }
        self.asker
            .set_topology(now, &mut self.rng, Arc::clone(next))
            .unwrap();
        self.net.register(ASKER, self.asker.register().handle);
        self.net.set_topology(Arc::clone(next));
    }

    fn step(&mut self) {
        let now = self.now;
        while let Some((to, frame)) = self.net.deliver(now) {
            match self.providers.get_mut(to) {
                Some(provider) => provider.handle_frame(now, &mut self.rng, &frame),
                None => self.asker.handle_frame(now, &mut self.rng, &frame),
            }
        }
        for number in 0..self.providers.len() {
            self.serve(number);
        }
        if self.asker.poll_timeout() <= Some(now) {
            self.asker.handle_timeout(now, &mut self.rng);
        }
        while let Some((first, packet)) = self.asker.poll_transmit(now) {
            self.net.send(now, first, packet);
        }
        self.collect();
    }

    fn serve(&mut self, number: usize) {
        let (now, provider) = (self.now, &mut self.providers[number]);
        while let Some(Job {
            number: job,
            id,
            input,
            ..
        }) = provider.poll_job()
        {
            *self.runs.entry((number, id)).or_default() += 1;
            self.inputs.push(input.to_vec());
            let output = (self.model)(&input);
            provider.job_done(now, job, Ok(output), Duration::from_millis(2));
        }
        if provider.poll_timeout() <= Some(now) {
            provider.handle_timeout(now, &mut self.rng);
        }
        while let Some((first, packet)) = provider.poll_transmit(now) {
            self.net.send(now, first, packet);
        }
        assert!(provider.ledger().balances(provider.held()));
    }

    pub(crate) fn collect(&mut self) {
        while let Some(event) = self.asker.poll_event() {
            self.events.push((self.now, event.id, event.result));
        }
        assert!(self.asker.ledger().balances(self.asker.held()));
    }
}
