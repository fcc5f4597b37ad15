//! How far bf16 and int8 on a CPU are from f32: the demo model's boxes on fresh scenes, and tokens on the golden checkpoints.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "the shares are told")]

mod support;

use candle_core::{Device, Tensor};
use serve_florence_2::florence::answer::PictureSize;
use serve_florence_2::florence::generation::GenerationOptions;
use serve_florence_2::florence::image::Picture;
use serve_florence_2::florence::{CheckpointFiles, Florence, Generation, Precision, Probe};
use support::engines::demo_files;
use support::random::Random;
use support::scenes::{Scene, iou};

const COARSE: [Precision; 2] = [Precision::Bf16, Precision::Int8];
const SCENES: usize = 25;
/// Side of a scene in pixels, as in the model's own figures.
const SIDE: usize = 384;
const TOKENS: usize = 24;

fn load(files: &CheckpointFiles, precision: Precision) -> Florence {
    Florence::load(files, precision, &Device::Cpu).unwrap()
}

fn answer(model: &Florence, picture: &Picture, prompt: &str) -> Generation {
    let pixels = model.processor().pixels(picture, model.processor().image_size()).unwrap();
    let features = model.encode_pixels(&pixels, &mut Probe::none()).unwrap();
    let size = PictureSize { width: picture.width(), height: picture.height() };
    model.generate(&features, &[(prompt, size)], GenerationOptions::default()).unwrap().remove(0)
}

#[derive(Debug, Default)]
struct Agreement {
    tokens: usize,
    equal_tokens: usize,
    boxes: usize,
    /// Boxes of f32 that a box of the same label overlaps by at least a half.
    found: usize,
    overlap: f64,
}

impl Agreement {
    fn count(&mut self, coarse: &Generation, exact: &Generation) {
        self.tokens += exact.ids.len();
        self.equal_tokens += coarse.ids.iter().zip(&exact.ids).filter(|(a, b)| a == b).count();
        for one in exact.answer.boxes() {
            self.boxes += 1;
            let same = coarse.answer.boxes().iter().filter(|other| other.label == one.label);
            let best = same.map(|other| iou(other.corners, one.corners)).fold(0., f64::max);
            if best >= 0.5 {
                self.found += 1;
                self.overlap += best;
            }
        }
    }
}

#[test]
fn the_demo_model_finds_the_same_shapes() {
    let exact = load(&demo_files(), Precision::F32);
    let mut random = Random::new(77);
    let scenes: Vec<Scene> = (0..SCENES).map(|_| Scene::draw(&mut random, SIDE)).collect();
    let prompt = |scene: &Scene| format!("<CAPTION_TO_PHRASE_GROUNDING>{}", scene.caption());
    let expected: Vec<Generation> = scenes.iter().map(|scene| answer(&exact, &scene.picture, &prompt(scene))).collect();
    for precision in COARSE {
        let model = load(&demo_files(), precision);
        let mut agreement = Agreement::default();
        for (scene, expected) in scenes.iter().zip(&expected) {
            agreement.count(&answer(&model, &scene.picture, &prompt(scene)), expected);
        }
        let overlap = agreement.overlap / agreement.found as f64;
        println!("demo in {precision}: {agreement:?}, mean IoU {overlap:.3}");
        assert!(agreement.boxes > 2 * SCENES);
        assert!(agreement.found as f64 >= 0.97 * agreement.boxes as f64, "{precision}: {agreement:?}");
        assert!(overlap > 0.9, "{precision}: {overlap}");
    }
}

/// Random weights make near ties of most choices, so shares are told and only their order of size is asserted.
#[test]
fn tokens_of_golden_checkpoints_are_mostly_the_same() {
    let mut folders: Vec<_> = support::golden_roots()
        .iter()
        .flat_map(|root| std::fs::read_dir(root).unwrap())
        .map(|entry| entry.unwrap().path().join("native"))
        .filter(|folder| folder.join("model.safetensors").is_file())
        .collect();
    folders.sort();
    assert!(!folders.is_empty());
    let options = GenerationOptions { max_new_tokens: TOKENS, ..GenerationOptions::default() };
    let mut shares = COARSE.map(|precision| (precision, 0, 0));
    for folder in folders {
        let files = CheckpointFiles::Folder(folder);
        let exact = load(&files, Precision::F32);
        let (height, width) = exact.processor().image_size();
        let shape = (2, 3, height as usize, width as usize);
        let pixels = Tensor::randn(0f32, 1., shape, &Device::Cpu).unwrap();
        let ids = |model: &Florence| {
            let features = model.encode_pixels(&pixels, &mut Probe::none()).unwrap();
            let prompts = [vec![0, 7, 8, 9, 2], vec![0, 5, 2]];
            let encoded = model.encode(&features, &prompts, &mut Probe::none()).unwrap();
            let found = model.search(&encoded, options).unwrap();
            found.into_iter().map(|answers| answers[0].ids.clone()).collect::<Vec<_>>()
        };
        let expected = ids(&exact);
        for (precision, equal, all) in &mut shares {
            for (found, expected) in ids(&load(&files, *precision)).iter().zip(&expected) {
                *all += expected.len();
                *equal += found.iter().zip(expected).filter(|(a, b)| a == b).count();
            }
        }
    }
    for (precision, equal, all) in shares {
        println!("golden checkpoints in {precision}: {equal} of {all} tokens equal");
        assert!(all > 20 && 2 * equal > all, "{precision}: {equal} of {all}");
    }
}
