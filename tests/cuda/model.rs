//! The model on a GPU against itself on the CPU, alone and in company, recorded and launched one by one, and when memory runs
//! out. `tests/cuda/check` runs it on a machine that has a GPU.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "what was compared is told")]

#[path = "../support/mod.rs"]
mod support;

use std::path::PathBuf;
use std::sync::LazyLock;

use candle_core::{DType, Device, Tensor};
use serve_florence_2::florence::cuda::{device_memory, trim_pool};
use serve_florence_2::florence::generation::{GenerationOptions, Hypothesis};
use serve_florence_2::florence::image::Picture;
use serve_florence_2::florence::{CheckpointFiles, Encoded, Florence, FlorenceError, Precision, Probe, open_cuda};
use serve_florence_2::models::RandomSize;

static GPU: LazyLock<Device> = LazyLock::new(|| open_cuda(0).unwrap());

/// Tokens of the answers that are compared.
const TOKENS: usize = 24;

fn golden_checkpoints() -> Vec<PathBuf> {
    let mut found = vec![];
    for root in support::golden_roots() {
        for set in std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()) {
            let folders = ["original", "native"].map(|name| set.join(name));
            found.extend(folders.into_iter().filter(|folder| folder.join("model.safetensors").is_file()));
        }
    }
    found.sort();
    found
}

fn load(files: &CheckpointFiles, dtype: DType, device: &Device) -> Florence {
    let precision = match dtype {
        DType::F16 => Precision::F16,
        DType::BF16 => Precision::Bf16,
        _ => Precision::F32,
    };
    Florence::load(files, precision, device).unwrap()
}

fn base(dtype: DType, device: &Device) -> Florence {
    load(&RandomSize::Base.files(), dtype, device)
}

/// Pictures of noise, each other than the rest.
fn pixels(count: usize, (height, width): (usize, usize)) -> Tensor {
    let value = |index: usize| {
        let mixed = (index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        ((mixed ^ (mixed >> 29)) >> 40) as f32 / (1u32 << 23) as f32 - 1.
    };
    let smooth = |index: usize| value(index / 61) + 0.5 * value(index);
    let values: Vec<f32> = (0..count * 3 * height * width).map(smooth).collect();
    Tensor::from_vec(values, (count, 3, height, width), &Device::Cpu).unwrap()
}

fn prompts(count: usize, words: u32, length: impl Fn(usize) -> usize) -> Vec<Vec<u32>> {
    (0..count)
        .map(|row| (0..length(row)).map(|place| 4 + (row * 7919 + place * 104_729) as u32 % (words - 4)).collect())
        .collect()
}

fn on_cpu(tensor: &Tensor) -> Tensor {
    tensor.to_device(&Device::Cpu).unwrap().to_dtype(DType::F32).unwrap()
}

/// |a - b| / |b|.
fn distance(a: &Tensor, b: &Tensor) -> f64 {
    let (a, b) = (on_cpu(a).to_dtype(DType::F64).unwrap(), on_cpu(b).to_dtype(DType::F64).unwrap());
    let norm = |tensor: &Tensor| tensor.sqr().unwrap().sum_all().unwrap().to_scalar::<f64>().unwrap().sqrt();
    let far = norm(&(a - &b).unwrap()) / norm(&b);
    if far.is_finite() { far } else { f64::INFINITY }
}

fn are_same(a: &Tensor, b: &Tensor) -> bool {
    let bits = |tensor: &Tensor| -> Vec<u32> {
        on_cpu(tensor).flatten_all().unwrap().to_vec1::<f32>().unwrap().into_iter().map(f32::to_bits).collect()
    };
    bits(a) == bits(b)
}

fn options(beams: usize, tokens: usize) -> GenerationOptions {
    GenerationOptions { num_beams: beams, max_new_tokens: tokens, ..GenerationOptions::default() }
}

/// The score that a model gives to an answer which another has found, token by token, without those that are forced.
fn score_of(model: &Florence, encoded: &Encoded, row: usize, answer: &Hypothesis) -> f32 {
    let one = Encoded {
        hidden: encoded.hidden.narrow(0, row, 1).unwrap().contiguous().unwrap(),
        lengths: vec![encoded.lengths[row]],
    };
    let mut caches = model.caches(&one, &[1]).unwrap();
    let mut sum = 0.;
    for (pair, found) in answer.ids.windows(2).zip(&answer.log_probs) {
        let logits = model.step(&pair[..1], &mut caches.iter_mut().collect::<Vec<_>>(), &mut Probe::none()).unwrap();
        let logits = logits.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let total: f32 = logits.iter().map(|logit| (logit - most).exp()).sum();
        // A forced token costs nothing.
        if *found != 0. {
            sum += logits[pair[1] as usize] - most - total.ln();
        }
    }
    sum / answer.log_probs.len() as f32
}

/// How answers compare with those of the checkpoint's f32 twin on the CPU.
#[derive(Default)]
struct Agreement {
    /// Tokens that are equal, and tokens in all.
    equal: usize,
    all: usize,
    /// How much worse an answer is, by what the twin thinks of it, than the twin's own.
    worst: f32,
}

/// Where an answer parts from that of its f32 twin, the twin says what it thinks of both.
fn agreement(twin: &Florence, encoded: &Encoded, found: &[Vec<Hypothesis>], name: &str) -> Agreement {
    let expected = twin.search(encoded, options(3, TOKENS)).unwrap();
    let Agreement { mut equal, mut all, mut worst } = Agreement::default();
    for (row, (found, expected)) in found.iter().zip(&expected).enumerate() {
        let (found, expected) = (&found[0], &expected[0]);
        all += expected.ids.len();
        equal += found.ids.iter().zip(&expected.ids).filter(|(a, b)| a == b).count();
        if found.ids == expected.ids {
            continue;
        }
        let same = found.ids.iter().zip(&expected.ids).take_while(|(a, b)| a == b).count();
        let (own, other) = (score_of(twin, encoded, row, expected), score_of(twin, encoded, row, found));
        println!(
            "  {name} row {row} parts at token {same} of {}: f32 scores its own answer {own:.5}, the other {other:.5}",
            expected.ids.len()
        );
        worst = worst.max(own - other);
    }
    Agreement { equal, all, worst }
}

/// Everything between pixels and answers on small checkpoints, whose sizes the quick kernels do not know.
fn compare_small(dtype: DType, tolerance: f64) -> Agreement {
    let mut total = Agreement::default();
    for folder in golden_checkpoints() {
        let files = CheckpointFiles::Folder(folder.clone());
        let (here, there) = (load(&files, DType::F32, &Device::Cpu), load(&files, dtype, &GPU));
        for (size, count) in [((64, 64), 3), ((80, 112), 1)] {
            let pixels = pixels(count, size);
            let images = here.encode_pixels(&pixels, &mut Probe::none());
            let Ok(expected) = images else { continue }; // the original accepts square pictures only
            let found = there.encode_pixels(&pixels, &mut Probe::none()).unwrap();
            let far = distance(&found, &expected);
            assert!(far < tolerance, "{} {size:?}: features are {far:e} off", folder.display());
            let prompts = prompts(count, here.vocabulary() as u32, |row| 3 + 4 * row);
            let encoded = here.encode(&expected, &prompts, &mut Probe::none()).unwrap();
            let on_gpu = there.encode(&found, &prompts, &mut Probe::none()).unwrap();
            let found = there.search(&on_gpu, options(3, TOKENS)).unwrap();
            let set: Vec<_> = folder.iter().rev().take(2).map(|part| part.to_string_lossy()).collect();
            let found = agreement(&here, &encoded, &found, &format!("{}/{} {dtype:?}", set[1], set[0]));
            total.equal += found.equal;
            total.all += found.all;
            total.worst = total.worst.max(found.worst);
        }
    }
    total
}

#[test]
fn small_f32() {
    let Agreement { equal, all, .. } = compare_small(DType::F32, 1e-4);
    println!("small checkpoints in f32: {equal} of {all} tokens equal");
    assert!(equal == all && all > 100);
}

#[test]
fn small_halves() {
    for (dtype, tolerance, near) in [(DType::F16, 1e-2, 5e-3), (DType::BF16, 8e-2, 5e-2)] {
        let Agreement { equal, all, worst } = compare_small(dtype, tolerance);
        println!(
            "small checkpoints in {dtype:?}: {equal} of {all} tokens equal, an answer is at most {worst:.1e} worse"
        );
        assert!(all > 100 && worst < near);
    }
}

/// The published size with random weights: every stage against the CPU.
#[test]
fn base_stages() {
    let (here, there) = (base(DType::F32, &Device::Cpu), base(DType::F16, &GPU));
    let pixels = pixels(1, (768, 768));
    let mut expected: Vec<(String, Tensor)> = vec![];
    let mut see = |name: &str, tensor: &Tensor| expected.push((name.to_owned(), tensor.clone()));
    let features = here.encode_pixels(&pixels, &mut Probe::new(&mut see)).unwrap();
    let mut found = vec![];
    let mut see = |name: &str, tensor: &Tensor| found.push((name.to_owned(), on_cpu(tensor)));
    let on_gpu = there.encode_pixels(&pixels, &mut Probe::new(&mut see)).unwrap();
    for ((name, expected), (_, found)) in expected.iter().zip(&found) {
        let far = distance(found, expected);
        if far > 5e-3 || name.ends_with("conv") {
            println!("  {name}: {far:.1e}");
        }
    }
    let far = distance(&on_gpu, &features);
    println!("base features in f16: {far:.1e} off");
    assert!(far < 2e-2);
    let prompts = prompts(1, 50_000, |_| 20);
    let encoded = here.encode(&features, &prompts, &mut Probe::none()).unwrap();
    let on_gpu = there.encode(&on_gpu, &prompts, &mut Probe::none()).unwrap();
    let far = distance(&on_gpu.hidden, &encoded.hidden);
    println!("base encoder in f16: {far:.1e} off");
    assert!(far < 2e-2);
    let found = there.search(&on_gpu, options(3, TOKENS)).unwrap();
    let Agreement { equal, all, worst } = agreement(&here, &encoded, &found, "base f16");
    println!("base in f16: {equal} of {all} tokens equal, the answer is {worst:.1e} worse");
    assert!(worst < 5e-3);
}

/// Bytes of pictures, normalised on the GPU, give what pixels give that were normalised on the CPU.
#[test]
fn bytes() {
    for (dtype, count) in [(DType::F16, 1), (DType::F32, 3)] {
        let model = base(dtype, &GPU);
        let picture = |row: usize| {
            let rgb = (0..61 * 47 * 3).map(|index| (index * (7 + row) + index / 97) as u8).collect();
            Picture::new(61, 47, rgb).unwrap()
        };
        let (processor, size) = (model.processor(), (768, 768));
        let bytes: Vec<_> = (0..count).map(|row| processor.bytes(&picture(row), size).unwrap()).collect();
        let pixels: Vec<_> = (0..count).map(|row| processor.pixels(&picture(row), size).unwrap()).collect();
        let bytes = model.together(&bytes.iter().collect::<Vec<_>>()).unwrap();
        let features = model.encode_pixels(&bytes, &mut Probe::none()).unwrap();
        let expected = model.encode_pixels(&Tensor::cat(&pixels, 0).unwrap(), &mut Probe::none()).unwrap();
        println!("{count} pictures as bytes in {dtype:?}: bits equal {}", are_same(&features, &expected));
        assert!(are_same(&features, &expected));
    }
}

/// A picture, a prompt and an answer give the same alone and in company.
#[test]
fn company() {
    let model = base(DType::F16, &GPU);
    let all = pixels(5, (768, 768));
    let together = model.encode_pixels(&all, &mut Probe::none()).unwrap();
    let mut bits = vec![];
    for row in 0..5 {
        let alone = model.encode_pixels(&all.narrow(0, row, 1).unwrap(), &mut Probe::none()).unwrap();
        let row = together.narrow(0, row, 1).unwrap();
        let far = distance(&alone, &row);
        bits.push(are_same(&alone, &row));
        assert!(far < 2e-3, "a picture in company is {far:e} off");
    }
    println!("pictures in company of five: bits equal {bits:?}");
    let prompts = prompts(5, 50_000, |row| 5 + 9 * row);
    let encoded = model.encode(&together, &prompts, &mut Probe::none()).unwrap();
    let found = model.search(&encoded, options(3, TOKENS)).unwrap();
    let (mut bits, mut tokens, mut scores) = (vec![], vec![], vec![]);
    for (row, prompt) in prompts.iter().enumerate() {
        let one = together.narrow(0, row, 1).unwrap();
        let alone = model.encode(&one, std::slice::from_ref(prompt), &mut Probe::none()).unwrap();
        let length = encoded.lengths[row];
        let row_of = |tensor: &Tensor, row| tensor.narrow(0, row, 1).unwrap().narrow(1, 0, length).unwrap();
        bits.push(are_same(&row_of(&alone.hidden, 0), &row_of(&encoded.hidden, row)));
        let answer = &model.search(&alone, options(3, TOKENS)).unwrap()[0][0];
        tokens.push(answer.ids == found[row][0].ids);
        scores.push(answer.score.to_bits() == found[row][0].score.to_bits());
    }
    println!("prompts in company of five: bits equal {bits:?}; answers equal {tokens:?}; scores' bits {scores:?}");
    assert!(tokens.iter().all(|same| *same));
    // The same encoder output, alone and in company: the decoder alone.
    let narrowed = Encoded {
        hidden: encoded.hidden.narrow(0, 2, 1).unwrap().contiguous().unwrap(),
        lengths: vec![encoded.lengths[2]],
    };
    let alone = &model.search(&narrowed, options(3, TOKENS)).unwrap()[0][0];
    assert_eq!((&alone.ids, alone.score.to_bits()), (&found[2][0].ids, found[2][0].score.to_bits()));
    println!("the decoder alone gives the same bits in company");
}

/// Recorded steps give what plain launches give, for all sizes.
#[test]
fn graphs() {
    let model = base(DType::F16, &GPU);
    let features = model.encode_pixels(&pixels(1, (768, 768)), &mut Probe::none()).unwrap();
    for (rows, beams) in [(1, 1), (1, 3), (7, 3), (20, 3), (30, 5), (40, 16)] {
        let prompts = prompts(rows, 50_000, |row| 4 + row % 9);
        let features = features.repeat((rows, 1, 1)).unwrap();
        let encoded = model.encode(&features, &prompts, &mut Probe::none()).unwrap();
        let mut answers = vec![];
        for are_used in [false, true] {
            model.gpu().unwrap().set_graphs(are_used).unwrap();
            let found = model.search(&encoded, options(beams, 12)).unwrap();
            let flat = found.into_iter().flatten().map(|one| (one.ids, one.score.to_bits()));
            answers.push(flat.collect::<Vec<_>>());
        }
        assert_eq!(answers[0], answers[1], "{rows} inputs of {beams} beams");
        println!("{rows} inputs of {beams} beams: recorded and plain steps give the same");
    }
}

/// A full device is an error that says so, and the device works afterwards.
#[test]
fn out_of_memory() {
    let model = base(DType::F16, &GPU);
    let Device::Cuda(cuda) = &*GPU else { panic!("no GPU") };
    let small = pixels(1, (768, 768));
    let expected = model.encode_pixels(&small, &mut Probe::none()).unwrap();
    trim_pool(cuda).unwrap();
    let free = device_memory(cuda).unwrap().free;
    let hog = Tensor::zeros(free - (700 << 20), DType::U8, &GPU).unwrap();
    let error = model.encode_pixels(&pixels(24, (768, 768)), &mut Probe::none()).unwrap_err();
    assert!(error.is_out_of_memory(), "{error}");
    let found = model.encode_pixels(&small, &mut Probe::none());
    println!("with 700 MB free 24 pictures do not fit: {}", error.to_string().lines().next().unwrap());
    let fits = found.as_ref().map_or_else(FlorenceError::to_string, |found| are_same(found, &expected).to_string());
    println!("  one picture then: {}", fits.lines().next().unwrap());
    drop(hog);
    let again = model.encode_pixels(&small, &mut Probe::none()).unwrap();
    assert!(are_same(&again, &expected));
}

/// Memory of a model is given back when it goes.
#[test]
fn memory() {
    let Device::Cuda(cuda) = &*GPU else { panic!("no GPU") };
    let used = || {
        trim_pool(cuda).unwrap();
        device_memory(cuda).unwrap()
    };
    let before = used();
    for round in 0..3 {
        let model = base(DType::F16, &GPU);
        let loaded = used();
        let features = model.encode_pixels(&pixels(4, (768, 768)), &mut Probe::none()).unwrap();
        let encoded = model.encode(&features, &prompts(4, 50_000, |_| 12), &mut Probe::none()).unwrap();
        model.search(&encoded, options(3, 8)).unwrap();
        let kept = device_memory(cuda).unwrap().kept_here >> 20;
        drop((features, encoded, model));
        let after = used();
        let mib = |memory: u64| memory >> 20;
        println!(
            "round {round}: used {} MiB, loaded {}, kept after four pictures {kept}, unloaded {}; free {} then {}",
            mib(before.used_here),
            mib(loaded.used_here),
            mib(after.used_here),
            before.free >> 20,
            after.free >> 20
        );
        assert!(after.used_here <= before.used_here + (1 << 20) && after.kept_here <= before.kept_here + (64 << 20));
    }
}
