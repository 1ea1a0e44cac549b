//! What a person sees of a demo: 80 columns, the closing screen at most 24 lines.

use std::fmt::Write;

use crate::demo::inspector::{Journey, Knowledge, Stage};
use crate::demo::report::{Followed, Party, Report};

/// One question, hop by hop.
#[must_use]
pub fn followed(followed: &Followed) -> String {
    let mut text = String::new();
    let asked = &followed.asked;
    let answer = asked.answer.as_deref().unwrap_or("no answer");
    let _ = writeln!(
        text,
        "One question, followed: {} sample {}",
        asked.model, asked.sample
    );
    match &followed.out {
        Some(out) => way(&mut text, out, Leg::Out),
        None => text.push_str("  its packet's way could not be followed\n"),
    }
    match &followed.back {
        Some(back) => way(&mut text, back, Leg::Back),
        None => text.push_str("  its answer's way could not be followed\n"),
    }
    let _ = writeln!(
        text,
        "  asker      opens it: {answer} (the true label is {})",
        asked.label
    );
    let parts: Vec<String> = followed
        .split_ms
        .iter()
        .map(|(name, ms)| format!("{name} {ms:.0}"))
        .collect();
    if let Some(total) = asked.latency_ms {
        let _ = writeln!(
            text,
            "  the milliseconds: {} = {total:.0}",
            parts.join(" + ")
        );
    }
    text
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Leg {
    Out,
    Back,
}

fn way(text: &mut String, journey: &Journey, leg: Leg) {
    let _ = match leg {
        Leg::Out => writeln!(
            text,
            "  {:<10} sends it in a slot where cover would go",
            journey.from
        ),
        Leg::Back => writeln!(
            text,
            "  {:<10} answers on its tick, in a slot of its own",
            journey.from
        ),
    };
    let last = journey.stages.len().saturating_sub(1);
    for (place, stage) in journey.stages.iter().enumerate() {
        let place = match place {
            0 => Place::First,
            place if place == last => Place::Last,
            place if place + 1 == last => Place::Delivering,
            _ => Place::Between,
        };
        let _ = writeln!(text, "  {:<10} {}", stage.node, sees(stage, leg, place));
    }
    let _ = writeln!(
        text,
        "  {:<10} {:.0} ms on the way",
        "",
        journey.took().as_secs_f64() * 1e3
    );
}

#[derive(Clone, Copy)]
enum Place {
    First,
    Between,
    /// The gateway that the receiver is at.
    Delivering,
    Last,
}

/// What a node on the way sees of a packet, in its own words.
fn sees(stage: &Stage, leg: Leg, place: Place) -> String {
    let held = stage
        .left
        .map_or(0.0, |left| left.since(stage.came).as_secs_f64() * 1e3);
    let delayed = stage.told.is_some_and(|told| !told.is_zero());
    match (place, leg) {
        (Place::First, Leg::Out) => "sees the asker's address and a sealed packet".to_owned(),
        (Place::First, Leg::Back) => "sees the provider's address and a sealed packet".to_owned(),
        (Place::Last, Leg::Out) => "opens the seal: a question, and no asker".to_owned(),
        (Place::Last, Leg::Back) => "takes it out of a stream of dummies".to_owned(),
        (Place::Between, _) if delayed => {
            let pool = stage.pool.unwrap_or(0);
            format!("holds it {held:>4.0} ms among {pool} packets; sees two neighbours")
        }
        (Place::Between, Leg::Out) => {
            format!("keeps it {held:>4.0} ms for its own clock; sees a mailbox")
        }
        (Place::Between | Place::Delivering, _) => {
            format!("keeps it {held:>4.0} ms for its own clock; sees a handle")
        }
    }
}

/// The closing screen.
#[must_use]
pub fn closing(report: &Report) -> String {
    let mut text = String::new();
    let answered = report
        .questions
        .iter()
        .filter(|a| a.answer.is_some())
        .count();
    let exact = report.questions.iter().filter(|a| a.exact).count();
    let _ = writeln!(
        text,
        "{} questions: {answered} answered, {exact} exact (logits equal the local reference)",
        report.questions.len()
    );
    for (model, score) in &report.accuracy {
        let _ = writeln!(
            text,
            "  {model:<10} {:>3} asked {:>3} answered {:>3} exact   accuracy {:>5.1} %",
            score.asked,
            score.answered,
            score.exact,
            score.accuracy * 100.0
        );
    }
    if let Some([median, most, worst]) = report.latencies() {
        let _ = writeln!(
            text,
            "  latency    median {median:.0} ms, 99 % within {most:.0} ms, worst {worst:.0} ms"
        );
    }
    packets(&mut text, report);
    let _ = writeln!(
        text,
        "who learnt what of the followed question (the asker alone knows it all):"
    );
    let _ = writeln!(
        text,
        "  {:<34}{:>8}{:>12}{:>10}{:>8}",
        "", "address", "whom asked", "question", "answer"
    );
    for party in &report.learnt {
        row(&mut text, party);
    }
    let verdict = if report.ok { "ok" } else { "NOT OK" };
    let _ = writeln!(text, "{verdict} in {:.1} s", report.wall_s);
    text
}

fn packets(text: &mut String, report: &Report) {
    let packets = &report.packets;
    let _ = writeln!(
        text,
        "  packets    {} sent over links, {} bytes each; accounts {}",
        grouped(packets.sent),
        grouped(packets.size_bytes as u64),
        if packets.balanced {
            "balance"
        } else {
            "DO NOT BALANCE"
        }
    );
    if let Some(datagrams) = &packets.datagrams {
        let _ = writeln!(
            text,
            "  datagrams  {} of {} dropped on their way",
            grouped(datagrams.dropped),
            grouped(datagrams.came)
        );
    }
    let kinds: Vec<String> = packets
        .made
        .iter()
        .map(|(kind, count)| format!("{kind} {}", grouped(*count)))
        .collect();
    for line in wrapped(&kinds, 66) {
        let _ = writeln!(text, "             {line}");
    }
    let refused: Vec<String> = report
        .refused
        .iter()
        .map(|(reason, count)| format!("{reason} {count}"))
        .collect();
    let refused = if refused.is_empty() {
        "none".to_owned()
    } else {
        refused.join(", ")
    };
    let _ = writeln!(text, "  refused    {refused}");
}

fn row(text: &mut String, party: &Party) {
    let Knowledge {
        address,
        whom,
        question,
        answer,
    } = party.knowledge;
    let yes = |learnt: bool| if learnt { "yes" } else { "-" };
    let nodes = match party.nodes.as_slice() {
        [] => String::new(),
        [one] => format!(" ({one})"),
        several => format!(" ({} of them)", several.len()),
    };
    let name = format!("{}{nodes}", party.part);
    let _ = writeln!(
        text,
        "  {name:<34}{:>8}{:>12}{:>10}{:>8}",
        yes(address),
        yes(whom),
        yes(question),
        yes(answer)
    );
}

fn wrapped(words: &[String], width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in words {
        match lines.last_mut() {
            Some(line) if line.len() + word.len() + 2 <= width => {
                line.push_str(", ");
                line.push_str(word);
            }
            _ => lines.push(word.clone()),
        }
    }
    lines
}

/// 1234567 as "1,234,567".
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::demo::report::{Asked, Datagrams, Packets};

    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_234_567), "1,234,567");
    }

    #[test]
    fn the_closing_screen_fits_24_lines_of_80_columns() {
        let asked = |model: &str| Asked {
            model: model.into(),
            sample: 0,
            label: "benign".into(),
            answer: Some("benign".into()),
            exact: true,
            latency_ms: Some(500.0),
            error: None,
        };
        let made = [
            "requests",
            "replies",
            "loops",
            "drops",
            "dummies",
            "mix loops",
            "gateway loops",
        ]
        .map(|kind| (kind.to_owned(), 12_345_678));
        let packets = Packets {
            size_bytes: 8540,
            made: made.into_iter().collect(),
            sent: 123_456_789,
            balanced: true,
            datagrams: Some(Datagrams {
                loss: 0.1,
                came: 123_456_789,
                dropped: 12_345_678,
            }),
        };
        let parts = [
            "entry gateway",
            "mixes on the way",
            "mailbox gateway",
            "provider",
            "authorities",
        ];
        let learnt = parts
            .map(|part| Party {
                part: part.to_owned(),
                nodes: vec!["gateway-1".to_owned()],
                knowledge: Knowledge::default(),
            })
            .to_vec();
        let refused = BTreeMap::from([("overload".to_owned(), 3)]);
        let questions = vec![asked("tumour"), asked("digits")];
        let text = closing(&Report::new(questions, packets, refused, learnt, 41.5));
        assert!(text.lines().count() <= 24, "{text}");
        assert!(
            text.lines().all(|line| line.chars().count() <= 80),
            "{text}"
        );
    }
}
