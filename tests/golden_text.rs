//! Tokenizer and answer parsers against golden data, and against anything at all.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "what was compared is told")]

mod support;

use std::path::PathBuf;

use support::random::Random;

use serve_florence_2::florence::answer::{PictureSize, clean_up, parse};
use serve_florence_2::florence::{CheckpointFiles, Task, Tokenizer, expand_prompt};

/// Whatever comes in, one of these is asked for.
fn tasks() -> impl Iterator<Item = Task> {
    Task::ALL.into_iter().chain([Task::FreeText])
}

#[test]
fn answers_are_read_as_the_original_processor_does() {
    let mut compared = 0;
    for root in support::golden_roots() {
        for file in ["postprocess.json", "postprocess_random.json"] {
            let path = root.join(file);
            if !path.is_file() {
                continue; // Only the repository's own set has random cases.
            }
            for case in support::read_json(&path).as_array().unwrap() {
                let task = Task::from_token(case["task"].as_str().unwrap()).unwrap_or(Task::FreeText);
                let [width, height]: [u32; 2] = serde_json::from_value(case["size"].clone()).unwrap();
                let text = case["text"].as_str().unwrap();
                let answer = parse(task.answer_kind(), text, PictureSize { width, height }, &[]);
                assert_eq!(answer.to_json(), case["original"], "{} {}: {text:?}", case["task"], case["name"]);
                compared += 1;
            }
        }
    }
    println!("{compared} answers compared");
    assert!(compared > 400);
}

#[test]
fn prompts_become_the_same_ids() {
    let mut compared = 0;
    for root in support::golden_roots() {
        // The larger set was made with the published vocabulary, which lies beside it.
        let own = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/models/demo");
        let published = root.join("../../data/tokenizer");
        let folder = if published.join("tokenizer.json").is_file() { published } else { own };
        let tokenizer = Tokenizer::load(&CheckpointFiles::Folder(folder)).unwrap();
        for case in support::read_json(&root.join("tokenizer_cases.json")).as_array().unwrap() {
            let prompt = case["prompt"].as_str().unwrap();
            let is_expanded = case.get("expand").is_none_or(|expand| expand.as_bool().unwrap());
            let text = if is_expanded { expand_prompt(prompt).unwrap() } else { prompt.to_owned() };
            assert_eq!(text, case["text"], "{prompt}");
            let ids = tokenizer.encode(&text).unwrap();
            assert_eq!(serde_json::json!(ids), case["ids"], "{prompt}");
            assert_eq!(tokenizer.decode(&ids).unwrap(), case["decoded"], "{prompt}");
            compared += 1;
        }
    }
    println!("{compared} prompts compared");
    assert!(compared > 20);
}

#[test]
fn no_sequence_of_tokens_panics() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/models/demo");
    let tokenizer = Tokenizer::load(&CheckpointFiles::Folder(folder)).unwrap();
    let mut random = Random::new(1);
    for _ in 0..3000 {
        // Ids beyond the vocabulary are among them.
        let ids: Vec<u32> = (0..random.below(80)).map(|_| random.below(1600) as u32).collect();
        let text = clean_up(&tokenizer.decode(&ids).unwrap());
        let log_probs: Vec<f32> =
            ids.iter().filter(|id| tokenizer.is_location(**id)).map(|_| -(random.below(100) as f32) / 50.).collect();
        let size = PictureSize { width: 1 + random.below(5000) as u32, height: 1 + random.below(5000) as u32 };
        for task in tasks() {
            let answer = parse(task.answer_kind(), &text, size, &log_probs);
            for found in answer.boxes() {
                assert!(found.score.is_some_and(|score| (0.0..=1.0).contains(&score)), "{text:?}");
            }
        }
    }
}

#[test]
fn no_text_panics_and_long_ones_are_read_in_linear_time() {
    let pieces = [
        "<loc_",
        "<loc_1>",
        "<loc_999>",
        "<poly>",
        "</poly>",
        "<sep>",
        "<s>",
        "</s>",
        "<pad>",
        "<od>",
        "<",
        ">",
        "é",
        "\n",
        " ",
        "cat",
        "\u{1f600}",
        "loc_5>",
        "99999999999999999999999999999999999999999999999",
        "<loc_²>",
    ];
    let mut random = Random::new(2);
    let size = PictureSize { width: 640, height: 480 };
    for length in (0..2000).map(|round| round % 60).chain([50_000]) {
        let text: String = (0..length).map(|_| pieces[random.below(pieces.len())]).collect();
        for task in tasks() {
            let json = parse(task.answer_kind(), &text, size, &[]).to_json().to_string();
            assert!(!json.contains("null"), "{text:?}");
        }
    }
    // Runs that a careless scanner reads again from each of their tokens.
    for text in ["<loc_1>".repeat(60_000), "a<loc_1>".repeat(60_000), "<sep>".repeat(60_000), "<".repeat(200_000)] {
        for task in tasks() {
            parse(task.answer_kind(), &text, size, &[]);
        }
    }
}
