//! The same request gives the same tokens alone and in any company.

use std::sync::Arc;

use candle_core::Device;
use futures_util::stream::{self, StreamExt};
use serve_florence_2::engine::{Engine, EngineSettings, Limits, ModelEngine, Request};
use serve_florence_2::florence::image::Picture;
use serve_florence_2::florence::{Florence, FlorenceError, Precision, Probe};

use crate::support::engines::{ask, demo_engine, demo_files, single};
use crate::support::random::Random;
use crate::support::scenes::Scene;

const PICTURES: usize = 200;
const TASKS: [&str; 7] = [
    "<CAPTION>",
    "<DETAILED_CAPTION>",
    "<OD>",
    "<DENSE_REGION_CAPTION>",
    "<REGION_PROPOSAL>",
    "<CAPTION_TO_PHRASE_GROUNDING>two red stars and a blue cross",
    "what is this?",
];
/// Answers that are written together.
const COMPANIES: [usize; 3] = [2, 8, 16];
/// Two answers whose scores, or whose tokens' where they part, are as close as this are as good as each other.
const TIE: f32 = 1e-4;

/// Many pictures and prompts go together, and join and leave as often as can be.
fn sociable(answers: usize) -> EngineSettings {
    let limits = Limits {
        answers,
        reserved: 0,
        pictures: 4,
        prompts: answers,
        steps_between_pictures: 1,
        steps_between_prompts: 1,
        shares_steps: true,
    };
    // Nothing is kept, so that pictures are encoded together and again.
    EngineSettings { limits: Some(limits), feature_cache_bytes: 0, ..Default::default() }
}

/// A picture with some of the tasks, in any order.
struct Question {
    picture: usize,
    tasks: Vec<usize>,
    /// Whether it is given up on the way.
    is_dropped: bool,
}

/// Every task about every picture, in requests of any size and order, and some that nobody waits for.
fn questions(random: &mut Random) -> Vec<Question> {
    let mut questions = vec![];
    for picture in 0..PICTURES {
        let mut tasks: Vec<usize> = (0..TASKS.len()).collect();
        shuffle(random, &mut tasks);
        while !tasks.is_empty() {
            let rest = tasks.split_off((1 + random.below(5)).min(tasks.len()));
            questions.push(Question { picture, tasks: std::mem::replace(&mut tasks, rest), is_dropped: false });
        }
        if random.below(8) == 0 {
            questions.push(Question { picture, tasks: vec![random.below(TASKS.len())], is_dropped: true });
        }
    }
    shuffle(random, &mut questions);
    questions
}

fn shuffle<T>(random: &mut Random, items: &mut [T]) {
    for last in (1..items.len()).rev() {
        items.swap(last, random.below(last + 1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_do_not_depend_on_company() {
    let mut random = Random::new(17);
    let pictures: Vec<Arc<Picture>> = (0..PICTURES)
        .map(|_| {
            let side = 64 + random.below(200);
            Arc::new(Scene::draw(&mut random, side).picture)
        })
        .collect();
    let engine = demo_engine(EngineSettings::default()).await;
    let mut alone: Vec<Vec<Vec<u32>>> = vec![];
    for picture in &pictures {
        let mut ids = vec![];
        for task in TASKS {
            ids.push(ask(&engine, picture, &[task]).await.unwrap().remove(0).ids);
        }
        alone.push(ids);
    }
    let mut ties = 0;
    for answers in COMPANIES {
        let engine = demo_engine(sociable(answers)).await;
        let mut compared = 0;
        let mut asked = stream::iter(questions(&mut random))
            .map(|question| ask_in_company(&engine, &pictures, question))
            .buffer_unordered(3 * answers);
        while let Some(answered) = asked.next().await {
            for (picture, task, ids) in answered {
                compared += 1;
                let expected = &alone[picture][task];
                if *expected != ids {
                    assert!(
                        tie(&pictures[picture], TASKS[task], expected, &ids),
                        "{}: {expected:?} {ids:?}",
                        TASKS[task]
                    );
                    ties += 1;
                }
            }
        }
        assert_eq!(compared, PICTURES * TASKS.len());
        let stats = engine.stats();
        let (fill, batch) =
            (stats.step_answers as f64 / stats.steps as f64, stats.pictures as f64 / stats.vision_passes as f64);
        println!("{compared} answers in company of {answers}: {fill:.1} a step, {batch:.1} pictures a pass");
        assert!(fill > answers as f64 / 4., "they kept company");
    }
    println!("{ties} ties");
}

async fn ask_in_company(
    engine: &ModelEngine,
    pictures: &[Arc<Picture>],
    question: Question,
) -> Vec<(usize, usize, Vec<u32>)> {
    let prompts: Vec<&str> = question.tasks.iter().map(|task| TASKS[*task]).collect();
    let request: Request = single(engine, &pictures[question.picture], &prompts).unwrap();
    if question.is_dropped {
        let _ = tokio::time::timeout(std::time::Duration::from_millis(20), engine.infer(request)).await;
        return vec![];
    }
    let replies = engine.infer(request).await.unwrap();
    question.tasks.iter().zip(replies).map(|(task, reply)| (question.picture, *task, reply.ids)).collect()
}

/// Whether the model likes both answers the same.
fn tie(picture: &Picture, prompt: &str, one: &[u32], other: &[u32]) -> bool {
    let files = demo_files();
    let model = Florence::load(&files, Precision::F32, &Device::Cpu).unwrap();
    let (one_probs, other_probs) = (log_probs(&model, picture, prompt, one), log_probs(&model, picture, prompt, other));
    let (one_probs, other_probs) = (one_probs.unwrap(), other_probs.unwrap());
    let parted = one.iter().zip(other).skip(1).position(|(a, b)| a != b);
    let local = parted.map_or(f32::INFINITY, |at| (one_probs[at] - other_probs[at]).abs());
    let mean = |probs: &[f32]| probs.iter().sum::<f32>() / probs.len() as f32;
    local < TIE || (mean(&one_probs) - mean(&other_probs)).abs() < TIE
}

/// The log-probability of each token of an answer but the first.
fn log_probs(model: &Florence, picture: &Picture, prompt: &str, ids: &[u32]) -> Result<Vec<f32>, FlorenceError> {
    let processor = model.processor();
    let size = processor.image_size();
    let features = model.encode_pixels(&processor.pixels(picture, size)?, &mut Probe::none())?;
    let prompt = processor.tokenize(prompt, processor.image_tokens(size)?)?;
    let encoded = model.encode(&features, &[prompt], &mut Probe::none())?;
    let mut cache = model.caches(&encoded, &[1])?.remove(0);
    let mut found = vec![];
    for pair in ids.windows(2) {
        let logits = model.step(&pair[..1], &mut [&mut cache], &mut Probe::none())?;
        let logits = candle_nn::ops::log_softmax(&logits, 1)?.squeeze(0)?.to_vec1::<f32>()?;
        found.push(logits[pair[1] as usize]);
    }
    Ok(found)
}

#[test]
fn log_probabilities_are_those_of_the_search() {
    let files = demo_files();
    let model = Florence::load(&files, Precision::F32, &Device::Cpu).unwrap();
    let picture = Scene::draw(&mut Random::new(2), 128).picture;
    assert!(tie(&picture, "<OD>", &[2, 0, 5, 6], &[2, 0, 5, 6]));
    assert!(!tie(&picture, "<OD>", &[2, 0, 5, 6], &[2, 0, 5, 7]));
    let probs = log_probs(&model, &picture, "<OD>", &[2, 0, 5]).unwrap();
    assert!(probs.len() == 2 && probs.iter().all(|prob| *prob <= 0.), "{probs:?}");
}
