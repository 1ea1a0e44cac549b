//! Any sequence of calls leaves the account balanced, memory bounded, and runs no id twice.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bolero::TypeGenerator;
use directory::Topology;
use message::Participant;
use subrosa_provider::{Bounds, SandboxFault};
use wire::{AnswerClass, RequestId};

use crate::network::topology;
use crate::world::{World, cards};

#[derive(Debug, TypeGenerator)]
enum Step {
    Wait {
        millis: u16,
    },
    Ask {
        id: u8,
        large: bool,
        class: u8,
        input: Vec<i8>,
    },
    Done {
        place: u8,
        outputs: u8,
    },
    Fault {
        place: u8,
    },
    Noise {
        prefix: u8,
        byte: u8,
        length: u16,
    },
    Loss {
        percent: u8,
    },
    Turn,
    LinkDown,
    LinkUp,
}

const BOUNDS: Bounds = Bounds {
    jobs: 3,
    answers: 6,
    answer_bytes: 40_000,
    releases: 4,
    patience: Duration::from_secs(2),
};

struct Machine {
    world: World,
    topologies: Vec<Arc<Topology>>,
    ran: BTreeSet<RequestId>,
    /// After two turns an id may run again.
    turns: u8,
}

impl Machine {
    fn step(&mut self, step: &Step) {
        let world = &mut self.world;
        let now = world.now;
        match step {
            Step::Wait { millis } => world.run(Duration::from_millis((*millis % 1_000).into())),
            Step::Ask {
                id,
                large,
                class,
                input,
            } => {
                let model = &cards()[usize::from(*large)];
                let class = AnswerClass::ALL[usize::from(class % 3)];
                let input: Vec<i32> = input.iter().take(4).map(|n| i32::from(*n)).collect();
                world.ask_for(id % 8, model, class, &input);
            }
            Step::Done { place, outputs } => {
                if let Some(job) = take(&mut world.jobs, *place) {
                    world.done(&job, vec![1; usize::from(*outputs % 4)]);
                }
            }
            Step::Fault { place } => {
                if let Some(job) = take(&mut world.jobs, *place) {
                    let fault = Err(SandboxFault::Trap);
                    world
                        .provider
                        .job_done(now, job.number, fault, Duration::ZERO);
                }
            }
            Step::Noise {
                prefix,
                byte,
                length,
            } => {
                let mut frame = vec![*byte; usize::from(*length)];
                if *length > 60_000 {
                    frame.resize(sphinx::Geometry::DEFAULT.frame_len(), *byte);
                }
                if let Some(kind) = frame.first_chunk_mut() {
                    *kind = u16::from(prefix % 4).to_be_bytes();
                }
                world.provider.handle_frame(now, &mut world.rng, &frame);
            }
            Step::Loss { percent } => world.net.loss = f64::from(percent % 60) / 100.0,
            Step::Turn => self.turn(),
            Step::LinkDown => world.provider.link_down(),
            Step::LinkUp => world.provider.link_up(),
        }
        self.check();
    }

    fn turn(&mut self) {
        let Some(next) = self.topologies.pop() else {
            return;
        };
        let world = &mut self.world;
        let now = world.now;
        let provider = &mut world.provider;
        provider
            .set_topology(now, &mut world.rng, Arc::clone(&next))
            .unwrap();
        world
            .edge
            .set_topology(now, &mut world.rng, Arc::clone(&next))
            .unwrap();
        world.net.register(0, world.edge.register().handle);
        world.net.register(1, world.provider.register().handle);
        world.net.set_topology(next);
        self.turns += 1;
    }

    fn check(&mut self) {
        let world = &mut self.world;
        while let Some(job) = world.provider.poll_job() {
            world.jobs.push(job);
        }
        if self.turns < 2 {
            let ids = world.job_ids();
            assert!(ids.len() == world.jobs.len(), "an id runs twice at once");
            let counts = world.provider.counts();
            assert!(
                counts.jobs <= 8,
                "an id ran twice: {} jobs of 8 ids",
                counts.jobs
            );
            self.ran.extend(ids);
        }
        assert!(world.provider.answers_kept() <= BOUNDS.answers);
        assert!(world.provider.ledger().balances(world.provider.held()));
    }
}

fn take<T>(list: &mut Vec<T>, place: u8) -> Option<T> {
    (!list.is_empty()).then(|| list.remove(usize::from(place) % list.len()))
}

#[test]
fn any_sequence_of_calls_keeps_the_rules() {
    bolero::check!()
        .with_type::<Vec<Step>>()
        .with_iterations(12)
        .for_each(|steps| {
            let mut machine = Machine {
                world: World::bounded(9, BOUNDS),
                topologies: vec![topology(3, Vec::new()), topology(2, Vec::new())],
                ran: BTreeSet::new(),
                turns: 0,
            };
            for step in steps.iter().take(25) {
                machine.step(step);
            }
        });
}
