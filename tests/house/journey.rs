//! The demo itself, as a test: a whole network, real questions, every check that it makes.

use std::sync::Arc;

use link::Chance;
use subrosa::cli::DemoArgs;
use subrosa::demo::Demo;
use subrosa::trial::ChildProcess;

use crate::ALONE;

#[tokio::test(flavor = "multi_thread")]
async fn every_question_of_a_demo_is_answered_exactly_and_nobody_learns_who_asked() {
    let _alone = ALONE.lock().await;
    let args = DemoArgs {
        json: true,
        questions: 6,
        at_once: 8,
        loss: Chance::default(),
    };
    let trial = ChildProcess::of(env!("CARGO_BIN_EXE_subrosa"));
    let demo = Demo::new(&args, Arc::new(trial));
    let report = demo.play().await.unwrap();
    assert!(
        report.ok,
        "{}",
        serde_json::to_string_pretty(&report).unwrap()
    );
    assert_eq!(report.questions.len(), 6);
    assert!(
        report
            .questions
            .iter()
            .all(|asked| asked.exact && asked.latency_ms.is_some())
    );
    assert_eq!(report.packets.size_bytes, 8540);
    assert!(report.packets.balanced);
    let learnt = |part: &str| {
        let party = report.learnt.iter().find(|party| party.part == part);
        let party = party.unwrap_or_else(|| panic!("{part} has a row"));
        let k = party.knowledge;
        [k.address, k.whom, k.question, k.answer]
    };
    assert_eq!(learnt("entry gateway"), [true, false, false, false]);
    assert_eq!(learnt("mixes on the way"), [false; 4]);
    assert_eq!(learnt("mailbox gateway"), [false, true, false, false]);
    assert_eq!(learnt("provider"), [false, true, true, true]);
    assert_eq!(learnt("authorities"), [false; 4]);
    let object = serde_json::to_value(&report).unwrap();
    for key in [
        "ok",
        "questions",
        "accuracy",
        "packets",
        "refused",
        "wall_s",
    ] {
        assert!(object.get(key).is_some(), "{key}");
    }
    for key in ["model", "sample", "label", "answer", "exact", "latency_ms"] {
        assert!(object["questions"][0].get(key).is_some(), "{key}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_demo_that_loses_a_tenth_of_all_datagrams_answers_as_exactly() {
    let _alone = ALONE.lock().await;
    let args = DemoArgs {
        json: true,
        questions: 4,
        at_once: 8,
        loss: Chance::new(0.1).unwrap(),
    };
    let trial = ChildProcess::of(env!("CARGO_BIN_EXE_subrosa"));
    let report = Demo::new(&args, Arc::new(trial)).play().await.unwrap();
    assert!(
        report.ok,
        "{}",
        serde_json::to_string_pretty(&report).unwrap()
    );
    let datagrams = report.packets.datagrams.unwrap();
    let dropped = datagrams.dropped as f64 / datagrams.came as f64;
    assert!((0.09..0.11).contains(&dropped), "{datagrams:?}");
    assert!(datagrams.came > 10_000, "{datagrams:?}");
}
