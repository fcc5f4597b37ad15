//! How far bf16 and int8 on a CPU are from f32: the demo model's boxes on fresh scenes, states and logits on the golden
//! checkpoints.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "the shares are told")]

mod support;

use candle_core::{DType, Device, Tensor};
use serve_florence_2::florence::answer::PictureSize;
use serve_florence_2::florence::generation::GenerationOptions;
use serve_florence_2::florence::image::Picture;
use serve_florence_2::florence::{CheckpointFiles, Encoded, Florence, Generation, Precision, Probe};
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

/// How far a precision is from f32 on random weights, at most over all checkpoints and pictures.
#[derive(Debug, Default)]
struct Distance {
    /// The encoder's output: length of the difference by length of f32's.
    hidden: f64,
    /// Logits along f32's answers, likewise.
    logits: f64,
    tokens: usize,
    equal_tokens: usize,
}

/// Random weights make near ties of most choices, so which tokens are equal says little and is only told. What a coarser sum
/// changes is bounded where it is computed.
#[test]
fn states_and_logits_of_golden_checkpoints_are_near() {
    let mut folders: Vec<_> = support::golden_roots()
        .iter()
        .flat_map(|root| std::fs::read_dir(root).unwrap())
        .map(|entry| entry.unwrap().path().join("native"))
        .filter(|folder| folder.join("model.safetensors").is_file())
        .collect();
    folders.sort();
    assert!(!folders.is_empty());
    for (precision, hidden, logits) in [(Precision::Bf16, 0.1, 0.3), (Precision::Int8, 0.3, 0.7)] {
        let mut distance = Distance::default();
        for folder in &folders {
            let files = CheckpointFiles::Folder(folder.clone());
            compare(&load(&files, Precision::F32), &load(&files, precision), &mut distance);
        }
        println!("golden checkpoints in {precision}: {distance:.3?}");
        assert!(distance.tokens > 20);
        assert!(distance.hidden < hidden && distance.logits < logits, "{precision}: {distance:?}");
    }
}

fn compare(exact: &Florence, coarse: &Florence, distance: &mut Distance) {
    let (height, width) = exact.processor().image_size();
    let mut random = Random::new(5);
    let values = (0..2 * 3 * height * width).map(|_| random.within(-2., 2.) as f32).collect();
    let pixels = Tensor::from_vec(values, (2, 3, height as usize, width as usize), &Device::Cpu).unwrap();
    let encode = |model: &Florence| {
        let features = model.encode_pixels(&pixels, &mut Probe::none()).unwrap();
        model.encode(&features, &[vec![0, 7, 8, 9, 2], vec![0, 5, 2]], &mut Probe::none()).unwrap()
    };
    let encoded = [exact, coarse].map(encode);
    let options = GenerationOptions { max_new_tokens: TOKENS, ..GenerationOptions::default() };
    let [expected, found] =
        [(exact, &encoded[0]), (coarse, &encoded[1])].map(|(model, encoded)| model.search(encoded, options).unwrap());
    for (row, (expected, found)) in expected.iter().zip(&found).enumerate() {
        let (expected, found) = (&expected[0].ids, &found[0].ids);
        distance.tokens += expected.len();
        distance.equal_tokens += found.iter().zip(expected).filter(|(a, b)| a == b).count();
        let hidden = encoded
            .each_ref()
            .map(|encoded| encoded.hidden.get(row).unwrap().narrow(0, 0, encoded.lengths[row]).unwrap());
        distance.hidden = distance.hidden.max(relative(&hidden[1], &hidden[0]));
        let logits = [(exact, &encoded[0]), (coarse, &encoded[1])]
            .map(|(model, encoded)| logits_along(model, encoded, row, expected));
        distance.logits = distance.logits.max(relative(&logits[1], &logits[0]));
    }
}

/// The logits of a row along an answer, token by token.
fn logits_along(model: &Florence, encoded: &Encoded, row: usize, ids: &[u32]) -> Tensor {
    let mut caches = model.caches(encoded, &vec![1; encoded.lengths.len()]).unwrap();
    let logits: Vec<_> =
        ids.iter().map(|id| model.step(&[*id], &mut [&mut caches[row]], &mut Probe::none()).unwrap()).collect();
    Tensor::cat(&logits, 0).unwrap()
}

/// |a - b| / |b|.
fn relative(a: &Tensor, b: &Tensor) -> f64 {
    let length = |tensor: &Tensor| {
        let sum = tensor.to_dtype(DType::F64).unwrap().sqr().unwrap().sum_all().unwrap();
        sum.to_scalar::<f64>().unwrap().sqrt()
    };
    length(&(a - b).unwrap()) / length(b)
}
