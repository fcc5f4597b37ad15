//! The model against golden data: every stage tensor, every id, text, score and answer, in both layouts and from the
//! pickle, in f32 on the CPU.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "what was compared is told")]

mod support;

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use serde_json::Value;
use serve_florence_2::florence::answer::PictureSize;
use serve_florence_2::florence::generation::{EarlyStopping, ForcedToken, GenerationOptions};
use serve_florence_2::florence::image::Picture;
use serve_florence_2::florence::{CheckpointFiles, Encoded, Florence, Precision, Probe};

/// Scores below this belong to beams that only fill the list.
const FILLER_SCORE: f64 = -1e8;

#[test]
fn every_case_equals_the_reference_in_every_layout() {
    let mut compared = Compared::default();
    for root in support::golden_roots() {
        for set in sets(&root) {
            for checkpoint in checkpoints(&set) {
                check_set(&root, &set, &checkpoint, &mut compared);
            }
        }
    }
    println!("{compared:?}");
    assert!(compared.tensors > 200 && compared.answers > 200, "too little was compared: {compared:?}");
}

/// The CPU, or the GPU if the environment says so.
fn device() -> Device {
    #[cfg(feature = "cuda")]
    if std::env::var_os("FLORENCE_TEST_GPU").is_some() {
        return serve_florence_2::florence::open_cuda(0).unwrap();
    }
    Device::Cpu
}

#[derive(Debug, Default)]
struct Compared {
    checkpoints: usize,
    tensors: usize,
    searches: usize,
    scores: usize,
    answers: usize,
}

struct CheckpointCase {
    folder: PathBuf,
    is_native: bool,
    /// Keeps the folder of a pickle alone alive.
    _temporary: Option<tempfile::TempDir>,
}

fn sets(root: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path());
    let mut sets: Vec<_> = entries.filter(|path| path.join("golden.json").is_file()).collect();
    sets.sort();
    assert!(!sets.is_empty(), "{} holds no set", root.display());
    sets
}

fn checkpoints(set: &Path) -> Vec<CheckpointCase> {
    let mut cases = vec![];
    for (name, is_native) in [("original", false), ("native", true)] {
        let folder = set.join(name);
        if folder.join("model.safetensors").is_file() {
            cases.push(CheckpointCase { folder: folder.clone(), is_native, _temporary: None });
        }
        if folder.join("pytorch_model.bin").is_file() {
            let temporary = tempfile::tempdir().unwrap();
            for entry in std::fs::read_dir(&folder).unwrap().map(Result::unwrap) {
                if entry.file_name() != "model.safetensors" {
                    std::fs::copy(entry.path(), temporary.path().join(entry.file_name())).unwrap();
                }
            }
            let folder = temporary.path().to_owned();
            cases.push(CheckpointCase { folder, is_native, _temporary: Some(temporary) });
        }
    }
    assert!(!cases.is_empty(), "{} holds no checkpoint", set.display());
    cases
}

fn check_set(root: &Path, set: &Path, checkpoint: &CheckpointCase, compared: &mut Compared) {
    let files = CheckpointFiles::Folder(checkpoint.folder.clone());
    let model = Florence::load(&files, Precision::F32, &device()).unwrap();
    compared.checkpoints += 1;
    for case in support::read_json(&set.join("golden.json"))["cases"].as_array().unwrap() {
        let name = format!("{} {} {}", set.display(), checkpoint.folder.display(), case["name"]);
        let tensors = candle_core::safetensors::load(set.join(case["file"].as_str().unwrap()), &Device::Cpu).unwrap();
        let seen = RefCell::default();
        let case = Case { name, json: case, tensors, model: &model, is_native: checkpoint.is_native, seen };
        case.check(root, compared);
    }
}

struct Case<'a> {
    name: String,
    json: &'a Value,
    tensors: HashMap<String, Tensor>,
    model: &'a Florence,
    is_native: bool,
    /// Names of the golden tensors that were compared.
    seen: RefCell<HashSet<String>>,
}

impl Case<'_> {
    fn check(&self, root: &Path, compared: &mut Compared) {
        let size: [u32; 2] = serde_json::from_value(self.json["image_hw"].clone()).unwrap();
        let pictures: Vec<Picture> =
            strings(&self.json["images"]).iter().map(|file| picture(&root.join("images").join(file))).collect();
        let prompts = strings(&self.json["prompts"]);
        let pixels: Vec<Tensor> = pictures
            .iter()
            .map(|picture| self.model.processor().pixels(picture, (size[0], size[1])).unwrap())
            .collect();
        let pixels = Tensor::cat(&pixels, 0).unwrap();
        compared.tensors += self.compare("pixel_values", &pixels);

        let mut seen: Vec<(String, Tensor)> = vec![];
        let mut visitor = |name: &str, tensor: &Tensor| seen.push((name.to_owned(), tensor.clone()));
        let mut probe = Probe::new(&mut visitor);
        let features = self.model.encode_pixels(&pixels, &mut probe).unwrap();
        let image_tokens = features.dim(1).unwrap();
        let ids: Vec<_> =
            prompts.iter().map(|prompt| self.model.processor().tokenize(prompt, image_tokens).unwrap()).collect();
        assert_eq!(serde_json::json!(ids), self.json["input_ids"], "{}", self.name);
        let encoded = self.model.encode(&features, &ids, &mut probe).unwrap();
        self.first_steps(&encoded, &mut probe, compared);
        for (name, tensor) in seen {
            compared.tensors += self.compare(&name, &tensor);
        }
        self.teacher(&encoded, compared);
        for generate in self.json["generate"].as_array().unwrap() {
            self.search(&encoded, generate, &prompts, &pictures, compared);
        }
        self.check_nothing_left();
    }

    /// Every golden tensor was compared, but for those that tell how to read the others.
    fn check_nothing_left(&self) {
        let is_help =
            |name: &str| ["input_ids", "attention_mask", "teacher_ids"].contains(&name) || name.ends_with("_ids");
        let seen = self.seen.borrow();
        let left: Vec<_> = self.tensors.keys().filter(|name| !is_help(name) && !seen.contains(*name)).collect();
        assert!(left.is_empty(), "{}: {left:?} were not compared", self.name);
    }

    /// Compares a tensor with the golden one of that name, if there is one.
    fn compare(&self, name: &str, tensor: &Tensor) -> usize {
        // The last pair of a stage stands for the stage where only those were kept.
        let stage = name.strip_prefix("vision.").and_then(|rest| rest.split_once(".block"));
        let alias = stage.map(|(stage, _)| format!("vision.{stage}.out"));
        let Some(expected) = self.tensors.get(name) else {
            let alias_name = alias.filter(|_| name.ends_with(".channel")).unwrap_or_default();
            return match self.tensors.get(&alias_name) {
                Some(expected) if is_last_pair(name, self.model) => {
                    self.seen.borrow_mut().insert(alias_name);
                    self.compare_values(name, tensor, expected)
                }
                _ => 0,
            };
        };
        self.seen.borrow_mut().insert(name.to_owned());
        self.compare_values(name, tensor, expected)
    }

    fn compare_values(&self, name: &str, tensor: &Tensor, expected: &Tensor) -> usize {
        let tensor = &tensor.to_device(&Device::Cpu).unwrap();
        let tensor = match (tensor.rank(), expected.rank()) {
            (4, 4) if name.starts_with("vision.") => tensor.permute((0, 3, 1, 2)).unwrap(),
            (4, 3) => tensor.flatten(1, 2).unwrap(),
            // A step's rows are sequences of one token to the reference.
            (2, 3) => tensor.unsqueeze(1).unwrap(),
            _ => tensor.clone(),
        };
        let tensor = match (tensor.dims(), expected.dims()) {
            // Native checkpoints have more rows of vocabulary than the reference was computed with.
            ([rows, wide], [_, narrow]) if wide > narrow => {
                tensor.narrow(1, 0, *narrow).unwrap().reshape((*rows, *narrow)).unwrap()
            }
            _ => tensor,
        };
        assert_eq!(tensor.dims(), expected.dims(), "{} {name}", self.name);
        let mut difference = (tensor - expected.to_dtype(DType::F32).unwrap()).unwrap().abs().unwrap();
        if name.starts_with("encoder") || name == "inputs_embeds" {
            // Masked positions hold whatever they hold.
            let mask = self.tensors["attention_mask"].to_dtype(DType::F32).unwrap().unsqueeze(2).unwrap();
            difference = difference.broadcast_mul(&mask).unwrap();
        }
        let worst = difference.flatten_all().unwrap().max(0).unwrap().to_scalar::<f32>().unwrap();
        let tolerance = tolerance(name);
        assert!(worst <= tolerance, "{} {name}: {worst} is more than {tolerance}", self.name);
        1
    }

    /// Logits after the start token, and after the start and the beginning.
    fn first_steps(&self, encoded: &Encoded, probe: &mut Probe<'_>, compared: &mut Compared) {
        let rows = encoded.hidden.dim(0).unwrap();
        let mut caches = self.model.caches(encoded, &vec![1; rows]).unwrap();
        let mut caches: Vec<_> = caches.iter_mut().collect();
        for (step, token) in [2u32, 0].into_iter().enumerate() {
            let logits = self.model.step(&vec![token; rows], &mut caches, probe).unwrap();
            compared.tensors += self.compare(&format!("logits_step{step}"), &logits);
            compared.tensors += self.compare_top(&format!("logits_step{step}_top64"), &logits);
            if !self.is_native {
                // A native checkpoint's further rows of vocabulary belong to the sum.
                compared.tensors += self.compare(&format!("logits_step{step}_lse"), &logits.log_sum_exp(1).unwrap());
            } else {
                self.seen.borrow_mut().insert(format!("logits_step{step}_lse"));
            }
        }
    }

    /// Where the vocabulary is large only the greatest logits were kept, as `PREFIX_ids` and `PREFIX_values`.
    fn compare_top(&self, prefix: &str, logits: &Tensor) -> usize {
        let Some(ids) = self.tensors.get(&format!("{prefix}_ids")) else { return 0 };
        self.seen.borrow_mut().insert(format!("{prefix}_values"));
        let picked = logits.gather(&ids.to_dtype(DType::U32).unwrap().contiguous().unwrap(), 1).unwrap();
        self.compare_values("logits", &picked, &self.tensors[&format!("{prefix}_values")])
    }

    /// The logits along the greedy path of the first row, token by token over the cache.
    fn teacher(&self, encoded: &Encoded, compared: &mut Compared) {
        let mut caches = self.model.caches(encoded, &vec![1; encoded.lengths.len()]).unwrap();
        let path = self.tensors["teacher_ids"].to_vec1::<i64>().unwrap();
        let logits: Vec<_> = path
            .iter()
            .map(|&token| {
                let token = [u32::try_from(token).unwrap()];
                self.model.step(&token, &mut [&mut caches[0]], &mut Probe::none()).unwrap()
            })
            .collect();
        let logits = Tensor::cat(&logits, 0).unwrap();
        let found = self.compare("teacher_logits", &logits) + self.compare_top("teacher_top16", &logits);
        assert_eq!(found, 1, "{}", self.name);
        compared.tensors += found;
    }

    fn search(
        &self,
        encoded: &Encoded,
        generate: &Value,
        prompts: &[String],
        pictures: &[Picture],
        compared: &mut Compared,
    ) {
        let (options, returned) = options(&generate["args"]);
        let name = format!("{} {}", self.name, generate["args"]);
        let found = self.model.search(encoded, options).unwrap();
        let sequences = match generate.get("native_sequences") {
            Some(native) if self.is_native => native,
            _ => &generate["sequences"],
        };
        let scores = generate.get(if self.is_native { "native_scores" } else { "scores" });
        let sequences: Vec<Vec<Vec<u32>>> = serde_json::from_value(sequences.clone()).unwrap();
        assert_eq!(found.len(), sequences.len());
        for (row, (found, expected)) in found.iter().zip(&sequences).enumerate() {
            assert!(found.len() >= expected.len().min(returned), "{name} row {row} found only {}", found.len());
            // With one new token the lower ranks tie at minus infinity.
            let compared_ranks = if options.max_new_tokens == 1 { 1 } else { returned };
            for (rank, (found, expected)) in found.iter().zip(expected).take(compared_ranks).enumerate() {
                let score = scores.map(|scores| scores[row][rank].as_f64().unwrap());
                if score.is_some_and(|score| score < FILLER_SCORE) {
                    continue;
                }
                assert_eq!(&found.ids, expected, "{name} row {row} rank {rank}");
                assert_eq!(found.log_probs.len() + 1, found.ids.len());
                compared.searches += 1;
                if let Some(score) = score {
                    let relative = (f64::from(found.score) - score).abs() / score.abs().max(1e-6);
                    assert!(relative <= 1e-3, "{name} row {row} rank {rank}: {} is not {score}", found.score);
                    compared.scores += 1;
                }
            }
        }
        if self.is_native && generate.get("native_sequences").is_some() {
            return; // The texts and answers belong to the other sequences.
        }
        for (row, found) in found.iter().enumerate() {
            let best = &found[0];
            let size = PictureSize { width: pictures[row].width(), height: pictures[row].height() };
            let (text, answer) = self.model.processor().read(&prompts[row], best, size).unwrap();
            assert_eq!(text, generate["decoded"][row], "{name} row {row}");
            let expected = generate["parsed_original"][row].as_object().unwrap().values().next().unwrap();
            assert_eq!(&answer.to_json(), expected, "{name} row {row}");
            let boxes = answer.boxes();
            assert!(boxes.iter().all(|found| found.score.is_some_and(|score| score > 0.0 && score <= 1.0)));
            compared.answers += 1;
        }
    }
}

fn is_last_pair(name: &str, model: &Florence) -> bool {
    let numbers: Vec<usize> =
        name.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect();
    model.processor().config().vision.depths[numbers[0]] == numbers[1] + 1
}

/// The tolerances of the golden data's own table.
fn tolerance(name: &str) -> f32 {
    match name {
        "pixel_values" => 2e-6,
        "inputs_embeds" | "image_features" => 1e-4,
        _ if name.starts_with("vision.stage0.conv") || name.starts_with("vision.stage0.block0.") => 2e-5,
        _ if name.starts_with("vision.") => 1e-4,
        _ if name.contains("logits") => 2e-3,
        _ => 3e-4,
    }
}

/// Options of a golden case, whose defaults are not ours, and how many answers it kept.
fn options(args: &Value) -> (GenerationOptions, usize) {
    let count = |key: &str, default: usize| args.get(key).map_or(default, |value| value.as_u64().unwrap() as usize);
    let forced = |key: &str| match args.get(key).map(|value| value.as_i64().unwrap()) {
        None => ForcedToken::OfModel,
        Some(id) => u32::try_from(id).map_or(ForcedToken::Off, ForcedToken::Id),
    };
    let early_stopping = match args.get("early_stopping") {
        None | Some(Value::Bool(true)) => EarlyStopping::Always,
        Some(Value::Bool(false)) => EarlyStopping::Heuristic,
        Some(_) => EarlyStopping::Never,
    };
    let options = GenerationOptions {
        min_new_tokens: 0,
        num_beams: count("num_beams", 3),
        max_new_tokens: count("max_new_tokens", 0),
        length_penalty: args.get("length_penalty").map_or(1.0, |value| value.as_f64().unwrap() as f32),
        no_repeat_ngram_size: count("no_repeat_ngram_size", 3),
        early_stopping,
        forced_bos: forced("forced_bos_token_id"),
        forced_eos: forced("forced_eos_token_id"),
    };
    (options, count("num_return_sequences", options.num_beams))
}

fn strings(list: &Value) -> Vec<String> {
    serde_json::from_value(list.clone()).unwrap()
}

fn picture(path: &Path) -> Picture {
    let rgb = image::open(path).unwrap().into_rgb8();
    Picture::new(rgb.width(), rgb.height(), rgb.into_raw()).unwrap()
}
