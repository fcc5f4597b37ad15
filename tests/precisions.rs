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
    let mut distances = COARSE.map(|precision| (precision, Distance::default()));
    for folder in folders {
        let files = CheckpointFiles::Folder(folder);
        let exact = Asked::of(load(&files, Precision::F32));
        for (precision, distance) in &mut distances {
            distance.note(&exact, &Asked::of(load(&files, *precision)));
        }
    }
    for ((precision, distance), (hidden, logits)) in distances.into_iter().zip([(0.1, 0.3), (0.3, 0.7)]) {
        println!("golden checkpoints in {precision}: {distance:.3?}");
        assert!(distance.tokens > 20);
        assert!(distance.hidden < hidden && distance.logits < logits, "{precision}: {distance:?}");
    }
}

/// A model that was asked about two pictures.
struct Asked {
    model: Florence,
    encoded: Encoded,
    /// Ids of the best answers.
    answers: Vec<Vec<u32>>,
}

impl Asked {
    fn of(model: Florence) -> Self {
        let (height, width) = model.processor().image_size();
        let mut random = Random::new(5);
        let values = (0..2 * 3 * height * width).map(|_| random.within(-2., 2.) as f32).collect();
        let pixels = Tensor::from_vec(values, (2, 3, height as usize, width as usize), &Device::Cpu).unwrap();
        let features = model.encode_pixels(&pixels, &mut Probe::none()).unwrap();
        let encoded = model.encode(&features, &[vec![0, 7, 8, 9, 2], vec![0, 5, 2]], &mut Probe::none()).unwrap();
        let options = GenerationOptions { max_new_tokens: TOKENS, ..GenerationOptions::default() };
        let found = model.search(&encoded, options).unwrap();
        Self { model, encoded, answers: found.into_iter().map(|mut answers| answers.remove(0).ids).collect() }
    }

    /// The encoder's output for a row.
    fn hidden(&self, row: usize) -> Tensor {
        self.encoded.hidden.get(row).unwrap().narrow(0, 0, self.encoded.lengths[row]).unwrap()
    }

    /// The logits of a row along an answer, token by token.
    fn logits(&self, row: usize, ids: &[u32]) -> Tensor {
        let mut caches = self.model.caches(&self.encoded, &vec![1; self.answers.len()]).unwrap();
        let step = |id: &u32| self.model.step(&[*id], &mut [&mut caches[row]], &mut Probe::none()).unwrap();
        Tensor::cat(&ids.iter().map(step).collect::<Vec<_>>(), 0).unwrap()
    }
}

impl Distance {
    fn note(&mut self, exact: &Asked, coarse: &Asked) {
        for (row, (expected, found)) in exact.answers.iter().zip(&coarse.answers).enumerate() {
            self.tokens += expected.len();
            self.equal_tokens += found.iter().zip(expected).filter(|(a, b)| a == b).count();
            self.hidden = self.hidden.max(relative(&coarse.hidden(row), &exact.hidden(row)));
            self.logits = self.logits.max(relative(&coarse.logits(row, expected), &exact.logits(row, expected)));
        }
    }
}

/// |a - b| / |b|.
fn relative(a: &Tensor, b: &Tensor) -> f64 {
    let length = |tensor: &Tensor| {
        let sum = tensor.to_dtype(DType::F64).unwrap().sqr().unwrap().sum_all().unwrap();
        sum.to_scalar::<f64>().unwrap().sqrt()
    };
    length(&(a - b).unwrap()) / length(b)
}
