//! Any sequence of calls leaves the account balanced, memory bounded, and one event a question.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bolero::TypeGenerator;
use directory::Topology;
use message::Participant;
use subrosa_client::{Input, QueryId};

use crate::world::{MAX_QUESTIONS, World, document};

#[derive(Debug, TypeGenerator)]
enum Step {
    Wait { millis: u16 },
    Ask { model: u8, input: i8, seconds: u8 },
    Forget { place: u8 },
    Noise { prefix: u8, byte: u8, length: u16 },
    WrongOutput { wrong: bool },
    Loss { percent: u8 },
    Prepare,
    Turn,
    LinkDown,
    LinkUp,
}

struct Machine {
    world: World,
    topologies: Vec<Arc<Topology>>,
    asked: Vec<QueryId>,
    forgotten: BTreeSet<QueryId>,
}

impl Machine {
    fn step(&mut self, step: &Step) {
        let world = &mut self.world;
        let now = world.now;
        match step {
            Step::Wait { millis } => world.run(Duration::from_millis((*millis % 1_000).into())),
            Step::Ask {
                model,
                input,
                seconds,
            } => {
                let model = ["digits", "pages", "nothing"][usize::from(model % 3)];
                let input = Input::from([i32::from(*input); 4]);
                let deadline = Duration::from_secs(u64::from(*seconds % 10));
                self.asked.extend(world.ask(model, &input, deadline));
            }
            Step::Forget { place } => {
                if let Some(id) = self.asked.get(usize::from(*place)) {
                    world.asker.forget(now, *id);
                    self.forgotten.insert(*id);
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
                world.asker.handle_frame(now, &mut world.rng, &frame);
            }
            Step::WrongOutput { wrong } => {
                world.model = if *wrong {
                    |_| vec![1]
                } else {
                    crate::world::sum
                };
            }
            Step::Loss { percent } => world.net.loss = f64::from(percent % 60) / 100.0,
            Step::Prepare => drop(world.asker.prepare(&mut world.rng)),
            Step::Turn => {
                if let Some(next) = self.topologies.pop() {
                    world.turn(&next);
                }
            }
            Step::LinkDown => world.asker.link_down(),
            Step::LinkUp => world.asker.link_up(),
        }
        world.collect();
        let under_way = world.asker.under_way();
        assert!(under_way <= MAX_QUESTIONS);
        let ended: BTreeSet<QueryId> = world.events.iter().map(|(_, id, _)| *id).collect();
        assert_eq!(ended.len(), world.events.len(), "one event a question");
    }

    /// At the end every question has ended, by an event or because it was forgotten.
    fn finish(mut self) {
        self.world.run(Duration::from_secs(11));
        assert_eq!(self.world.asker.under_way(), 0);
        let ended: BTreeSet<QueryId> = self.world.events.iter().map(|(_, id, _)| *id).collect();
        for id in &self.asked {
            assert!(ended.contains(id) || self.forgotten.contains(id));
        }
        assert!(self.world.runs.values().all(|runs| *runs == 1));
    }
}

#[test]
fn any_sequence_of_calls_keeps_the_rules() {
    bolero::check!()
        .with_type::<Vec<Step>>()
        .with_iterations(6)
        .for_each(|steps| {
            let mut machine = Machine {
                world: World::new(20),
                topologies: vec![document(3), document(2)],
                asked: Vec::new(),
                forgotten: BTreeSet::new(),
            };
            for step in steps.iter().take(20) {
                machine.step(step);
            }
            machine.finish();
        });
}
