//! `subrosa demo`: the whole network on loopback, real questions answered and checked.

pub mod house;
pub mod inspector;
pub mod report;
pub mod screen;

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use client::{Answer, Client};
use compiler::{Model, Sample};
use directory::Parameters;
use futures_util::future::join_all;
use link::Faults;
use wire::Time;

use crate::cli::DemoArgs;
use crate::demo::house::{House, Setting};
use crate::demo::inspector::{Journey, Secrets};
use crate::demo::report::{ASKER, Asked, Datagrams, Followed, Packets, Party, Report};
use crate::exit::Fault;
use crate::plan::Counts;
use crate::progress::Progress;
use crate::services;
use crate::trial::ChildProcess;

/// `subrosa demo`
///
/// # Errors
/// [`Fault`], also if an answer is missing or not exact.
pub async fn run(args: &DemoArgs) -> Result<(), Fault> {
    if std::env::var_os("SUBROSA_LOG").is_some() {
        crate::logging::to_standard_error();
    }
    let trial = ChildProcess::own().map_err(Fault::failed)?;
    let demo = Demo::new(args, Arc::new(trial));
    let outcome = tokio::select! {
        outcome = demo.play() => outcome?,
        _ = tokio::signal::ctrl_c() => return Err(Fault::failed("demo: interrupted; nothing runs")),
    };
    let text = if args.json {
        serde_json::to_string(&outcome).map_err(Fault::failed)? + "\n"
    } else {
        screen::closing(&outcome)
    };
    std::io::stdout()
        .lock()
        .write_all(text.as_bytes())
        .map_err(Fault::output)?;
    if outcome.ok {
        Ok(())
    } else {
        Err(Fault::failed("demo: not every check held; see above"))
    }
}

/// One run of the demo.
pub struct Demo {
    questions: usize,
    at_once: usize,
    progress: Progress,
    services: link::Services,
    trial: Arc<dyn provider::Trial>,
    faults: Option<Faults>,
    started: Time,
}

/// A shipped model with what is asked of it.
struct Exam {
    model: Model,
    samples: Vec<Sample>,
}

/// The clients of a demo: one asks, four stay idle, all send alike.
struct Clients {
    asker: Client,
    idle: Vec<Client>,
}

impl Demo {
    /// A run as the arguments say, whose models `trial` compiles first.
    #[must_use]
    pub fn new(args: &DemoArgs, trial: Arc<dyn provider::Trial>) -> Self {
        let services = services();
        Self {
            questions: args.questions as usize,
            at_once: args.at_once.max(1) as usize,
            progress: Progress::for_people(args.json),
            started: services.clock.now(),
            services,
            trial,
            faults: (args.loss.get() > 0.0).then(|| Faults::losing(args.loss)),
        }
    }

    /// Starts the network, asks, checks, stops.
    ///
    /// # Errors
    /// [`Fault`] if the network does not come up.
    pub async fn play(&self) -> Result<Report, Fault> {
        self.say("a whole network on this machine, over QUIC on loopback");
        if let Some(faults) = self.faults {
            let percent = faults.loss.get() * 100.0;
            self.say(&format!("{percent} % of all datagrams will not arrive"));
        }
        let exams = exams()?;
        let mut parameters = Parameters::demo();
        if self.faults.is_some() {
            parameters.vote_step = VOTE_STEP_ON_BAD_PATHS;
        }
        let parameters = parameters.with_short_first_epoch();
        let setting = Setting {
            faults: self.faults,
            ..Setting::new(Counts::default(), parameters)
        };
        let mut house = House::start(&self.services, &self.trial, setting)?;
        self.say("4 authorities, 9 mixes, 4 gateways and 2 providers started; two votes run");
        let clients = self.join(&mut house).await?;
        self.say("1 asking and 4 idle clients joined, 30 slots a second each, asked or not");
        let (followed, learnt) = self.follow(&house, &clients.asker, &exams).await?;
        self.progress
            .say(&format!("\n{}", screen::followed(&followed)));
        let mut questions = self.ask_all(&clients.asker, &exams, &followed.asked).await;
        questions.insert(0, followed.asked);
        self.say("all asked; clients and nodes stop and settle their accounts");
        let all = clients.idle.into_iter().chain([clients.asker]);
        join_all(all.map(Client::close)).await;
        let inspector = house.inspector().clone();
        let size_bytes = house.plan().network.parameters().geometry.packet_len();
        let datagrams = self.faults.map(|faults| {
            let counts = house.datagrams();
            Datagrams {
                loss: faults.loss.get(),
                came: counts.came,
                dropped: counts.dropped(),
            }
        });
        house.stop().await;
        let accounts = inspector.accounts();
        let packets = Packets {
            size_bytes,
            made: accounts.kinds,
            sent: accounts.sent,
            balanced: accounts.balanced,
            datagrams,
        };
        let wall_s = self.elapsed().as_secs_f64();
        Ok(Report::new(
            questions,
            packets,
            accounts.refused,
            learnt,
            wall_s,
        ))
    }

    async fn join(&self, house: &mut House) -> Result<Clients, Fault> {
        let entry = house.entry_apart_from("provider-1");
        let asker = house.join(ASKER, entry, CLASS).await?;
        self.say("the first document is signed; providers publish through the mixes");
        // The second document is the first that can list them.
        house.listed(&asker, compiler::shipped().len()).await?;
        self.say("a document signed by the authorities lists 9 mixes, 4 gateways, 4 models");
        let mut idle = Vec::new();
        for number in 1..=IDLE {
            idle.push(house.join(&format!("idle-{number}"), number, CLASS).await?);
        }
        Ok(Clients { asker, idle })
    }

    /// Asks one question and looks, in what every node saw, for its way and for who learnt what.
    async fn follow(
        &self,
        house: &House,
        asker: &Client,
        exams: &[Exam],
    ) -> Result<(Followed, Vec<Party>), Fault> {
        let exam = exams
            .first()
            .ok_or_else(|| Fault::failed("no model ships"))?;
        let sample = exam
            .samples
            .first()
            .ok_or_else(|| Fault::failed("no sample ships"))?;
        let before = self.services.clock.now();
        let outcome = ask(asker, exam, 0).await;
        let after = self.services.clock.now();
        let inspector = house.inspector();
        let provider = house.provider_of(&exam.model.name);
        let out = inspector
            .journeys(ASKER, &provider, (before, after))
            .into_iter()
            .next();
        let back = inspector
            .journeys(&provider, ASKER, (before, after))
            .into_iter()
            .next_back();
        let integers = exam
            .model
            .input
            .quantise(&sample.input)
            .map_err(Fault::failed)?;
        let secrets = Secrets {
            address: inspector.address_of(ASKER),
            whom: house.mailbox_of(&provider),
            question: bytes_of(&integers),
            answer: outcome.output.as_deref().map(bytes_of).unwrap_or_default(),
        };
        let learnt = parties(house, &secrets, out.as_ref(), back.as_ref());
        let split_ms = outcome.split_ms;
        Ok((
            Followed {
                asked: outcome.asked,
                out,
                back,
                split_ms,
            },
            learnt,
        ))
    }

    async fn ask_all(&self, asker: &Client, exams: &[Exam], followed: &Asked) -> Vec<Asked> {
        // Every model in turn; the first sample of the first was followed already.
        let rounds = self.questions.div_ceil(exams.len().max(1));
        let wanted: Vec<(usize, usize)> = (0..rounds)
            .flat_map(|sample| (0..exams.len()).map(move |exam| (exam, sample)))
            .take(self.questions)
            .collect();
        let first = exams
            .iter()
            .position(|exam| exam.model.name == followed.model);
        let wanted: Vec<(usize, usize)> = wanted
            .into_iter()
            .filter(|(exam, sample)| (Some(*exam), *sample) != (first, followed.sample))
            .collect();
        let bar = self.progress.bar(wanted.len() as u64);
        let mut asked = Vec::new();
        for group in wanted.chunks(self.at_once) {
            let mut running: Vec<_> = Vec::new();
            for (exam, sample) in group {
                if let Some(exam) = exams.get(*exam) {
                    running.push(ask(asker, exam, sample % exam.samples.len()));
                }
            }
            // All of a group are under way at once; each is awaited in its turn.
            let outcomes = join_all(running).await;
            for outcome in outcomes {
                bar.inc(1);
                asked.push(outcome.asked);
            }
        }
        bar.finish_and_clear();
        asked
    }

    fn say(&self, line: &str) {
        self.progress
            .say(&format!("{:>5.1} s  {line}", self.elapsed().as_secs_f64()));
    }

    fn elapsed(&self) -> Duration {
        self.services.clock.now().since(self.started)
    }
}

struct Outcome {
    asked: Asked,
    output: Option<Vec<i32>>,
    split_ms: Vec<(&'static str, f64)>,
}

/// Asks about one held-out sample and compares with the local reference interpreter.
async fn ask(client: &Client, exam: &Exam, sample: usize) -> Outcome {
    let question = &exam.samples[sample];
    let label = exam
        .model
        .output
        .labels
        .get(question.class)
        .cloned()
        .unwrap_or_default();
    let reply = client
        .query(exam.model.name.clone(), question.input.clone())
        .deadline(DEADLINE)
        .await;
    let mut asked = Asked {
        model: exam.model.name.clone(),
        sample,
        label,
        answer: None,
        exact: false,
        latency_ms: None,
        error: None,
    };
    match reply {
        Ok(answer) => {
            asked.exact = reference(&exam.model, &question.input).as_ref() == Some(&answer.output);
            asked.answer = Some(answer.label.clone().unwrap_or_default());
            asked.latency_ms = Some(ms(answer.latency.total));
            Outcome {
                asked,
                split_ms: split(&answer),
                output: Some(answer.output),
            }
        }
        Err(error) => {
            asked.error = Some(error.to_string());
            Outcome {
                asked,
                output: None,
                split_ms: Vec::new(),
            }
        }
    }
}

fn reference(model: &Model, input: &[f32]) -> Option<Vec<i32>> {
    let integers = model.input.quantise(input).ok()?;
    model.graph.run(&integers).ok()
}

fn split(answer: &Answer) -> Vec<(&'static str, f64)> {
    let latency = &answer.latency;
    vec![
        ("mixing", ms(latency.mixing)),
        ("slots and tick", ms(latency.slots)),
        ("links and gateways", ms(latency.network)),
        ("compute", ms(latency.compute)),
    ]
}

fn ms(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e4).round() / 10.0
}

fn bytes_of(integers: &[i32]) -> Vec<u8> {
    integers
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

/// Who played which part in the followed question, and what each of them learnt of it.
fn parties(
    house: &House,
    secrets: &Secrets,
    out: Option<&Journey>,
    back: Option<&Journey>,
) -> Vec<Party> {
    let mut parts: BTreeMap<(u8, &str), Vec<String>> = BTreeMap::new();
    let mut add = |part: (u8, &'static str), node: &str| {
        let nodes = parts.entry(part).or_default();
        if !nodes.iter().any(|known| known == node) {
            nodes.push(node.to_owned());
        }
    };
    for journey in [out, back].into_iter().flatten() {
        for stage in &journey.stages {
            if stage.node.starts_with("mix") {
                add((2, "mixes on the way"), &stage.node);
            }
        }
    }
    for stage in out.iter().flat_map(|journey| journey.stages.first()) {
        add((1, "entry gateway"), &stage.node);
    }
    if let Some([_, way @ .., provider]) = out.map(|journey| journey.stages.as_slice()) {
        let mut gateways = way.iter().filter(|s| s.node.starts_with("gateway"));
        for (part, stage) in [(3, "mailbox gateway"), (4, "provider's gateway")]
            .into_iter()
            .zip(&mut gateways)
        {
            add(part, &stage.node);
        }
        add((5, PROVIDER), &provider.node);
    }
    for node in house
        .plan()
        .nodes
        .iter()
        .filter(|n| n.role == crate::config::Role::Authority)
    {
        add((6, "authorities"), &node.name);
    }
    parts
        .into_iter()
        .map(|((_, part), nodes)| {
            let mut knowledge = inspector::Knowledge::default();
            for node in &nodes {
                knowledge = knowledge.or(house.inspector().knowledge(node, secrets));
            }
            // Who opened the question knows that it was the one asked.
            knowledge.whom |= part == PROVIDER && knowledge.question;
            Party {
                part: part.to_owned(),
                nodes,
                knowledge,
            }
        })
        .collect()
}

fn exams() -> Result<Vec<Exam>, Fault> {
    compiler::shipped()
        .iter()
        .map(|shipped| {
            let model = shipped
                .model()
                .map_err(|e| Fault::failed(format!("{}: {e}", shipped.name)))?;
            Ok(Exam {
                model,
                samples: shipped.samples(),
            })
        })
        .collect()
}

/// The rate class of the demo's clients: 30 slots a second.
const CLASS: u8 = 1;
const IDLE: usize = 4;
const PROVIDER: &str = "provider";
const DEADLINE: Duration = Duration::from_secs(40);
/// A ballot's connection is made within a step, and its handshake may be sent again twice.
const VOTE_STEP_ON_BAD_PATHS: Duration = Duration::from_millis(1_500);
