//! Which model, which provider, which integers.

use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;
use subrosa_client::{Input, ModelListing, QueryError, Question};
use wire::AnswerClass;

use crate::network::{card, topology};
use crate::world::{cards, document, listed};

fn choose(model: &str, input: impl Into<Input>) -> Result<String, QueryError> {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let question = Question::choose(&mut rng, &document(1), model, &input.into())?;
    Ok(question.model().to_owned())
}

#[test]
fn what_a_person_reads_names_thing_reason_and_way_out() {
    let text = |result: Result<String, QueryError>| result.unwrap_err().to_string();
    assert_eq!(
        text(choose("tumor", [0.0_f32; 30])),
        "no model \"tumor\"; did you mean \"tumour\"? (subrosa models lists 3)"
    );
    assert_eq!(
        text(choose("tumour", [0.0_f32; 29])),
        "tumour: expected 30 numbers, got 29"
    );
    assert_eq!(
        text(choose("digits", [0.0, f32::NAN, 0.0, 0.0])),
        "digits: number 2 of the input is not finite"
    );
    assert_eq!(
        text(choose("digits", [0, 0, 101, 0])),
        "digits: number 3 of the input is outside -100..=100"
    );
}

#[test]
fn a_model_may_be_named_by_its_hash() {
    let hash = cards()[1].graph_hash.to_string();
    assert_eq!(choose(&hash, [0; 30]), Ok("tumour".to_owned()));
}

#[test]
fn two_models_of_one_name_are_not_taken_for_each_other() {
    let mut other = card("digits", 4, 2, AnswerClass::One);
    other.graph_hash.0[31] = 1;
    let services = vec![
        listed("clinic", 0, cards()),
        listed("other", 1, vec![other.clone()]),
    ];
    let topology = topology(1, services);
    let mut rng = ChaCha20Rng::seed_from_u64(2);
    let input = Input::from([0; 4]);
    let mut choose = |asked: &str| {
        let chosen = Question::choose(&mut rng, &topology, asked, &input);
        chosen.map(|question| question.model().to_owned())
    };
    let ambiguous = QueryError::AmbiguousModel {
        model: "digits".to_owned(),
        versions: 2,
    };
    assert_eq!(choose("digits"), Err(ambiguous));
    assert_eq!(
        choose(&other.graph_hash.to_string()),
        Ok("digits".to_owned())
    );
    let listings = ModelListing::of(&topology);
    assert_eq!(listings.iter().filter(|l| l.name == "digits").count(), 2);
}

#[test]
fn every_model_is_listed_once_with_its_providers() {
    let listings = ModelListing::of(&document(1));
    let names: Vec<_> = listings
        .iter()
        .map(|l| (l.name.as_str(), l.providers))
        .collect();
    assert_eq!(names, [("digits", 2), ("pages", 2), ("tumour", 2)]);
    assert_eq!((listings[2].inputs, listings[2].outputs), (30, 2));
    assert_eq!(listings[1].answer_packets, 4);
}

#[test]
fn each_provider_of_a_model_is_as_likely() {
    let topology = document(1);
    let mut rng = ChaCha20Rng::seed_from_u64(3);
    let input = Input::from([0; 4]);
    let first = topology.services()[0].mailbox();
    let chosen = (0..2_000)
        .filter(|_| {
            let question = Question::choose(&mut rng, &topology, "digits", &input).unwrap();
            question.mailbox() == first
        })
        .count();
    // Five standard deviations of Binomial(2,000, 1/2).
    assert!((888..=1_112).contains(&chosen), "{chosen}");
}

#[test]
fn halves_round_away_from_zero() {
    let card = &cards()[0];
    let integers = |numbers: [f32; 4]| Input::from(numbers).quantise(card).unwrap().to_vec();
    assert_eq!(integers([0.5, -0.5, 1.5, 2.5]), [1, -1, 2, 3]);
    assert_eq!(integers([1e30, -1e30, 0.499_999, -0.0]), [100, -100, 0, 0]);
}
