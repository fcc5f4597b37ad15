//! Loading checkpoints: what may vary is accepted, what is wrong is named by file and tensor.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use serve_florence_2::florence::{CheckpointFiles, Florence, Precision};

const EMBEDDING: &str = "language_model.model.shared.weight";
const PLAIN: &str = "language_model.model.encoder.layers.0.fc1.weight";

/// A copy of a fixture's folder that a test may spoil.
struct Checkpoint {
    folder: tempfile::TempDir,
}

impl Checkpoint {
    fn copy(layout: &str) -> Self {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/golden/tiny_a").join(layout);
        let folder = tempfile::tempdir().unwrap();
        for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
            std::fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
        }
        Self { folder }
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    /// Rewrites the weights.
    fn change(&self, change: impl FnOnce(&mut HashMap<String, Tensor>)) -> &Self {
        let file = self.path("model.safetensors");
        let mut tensors = candle_core::safetensors::load(&file, &Device::Cpu).unwrap();
        change(&mut tensors);
        candle_core::safetensors::save(&tensors, &file).unwrap();
        self
    }

    fn edit_config(&self, edit: impl FnOnce(&mut serde_json::Value)) -> &Self {
        let mut config = support::read_json(&self.path("config.json"));
        edit(&mut config);
        std::fs::write(self.path("config.json"), config.to_string()).unwrap();
        self
    }

    fn load(&self) -> Result<Florence, String> {
        let files = CheckpointFiles::Folder(self.folder.path().to_owned());
        Florence::load(&files, Precision::F32, &Device::Cpu).map_err(|error| error.to_string())
    }

    /// The error, which must hold each of these.
    fn fails_with(&self, parts: &[&str]) {
        let error = self.load().err().unwrap();
        assert!(parts.iter().all(|part| error.contains(part)), "{error:?} does not hold {parts:?}");
        assert!(!error.contains('\n'), "{error:?} is more than a line");
    }
}

#[test]
fn any_of_the_tied_names_will_do() {
    let others = [
        "language_model.model.encoder.embed_tokens.weight",
        "language_model.model.decoder.embed_tokens.weight",
        "language_model.lm_head.weight",
    ];
    for name in others {
        let checkpoint = Checkpoint::copy("original");
        checkpoint.change(|tensors| {
            let embedding = tensors.remove(EMBEDDING).unwrap();
            tensors.insert(name.to_owned(), embedding);
        });
        assert!(checkpoint.load().is_ok(), "{name}");
        checkpoint.change(|tensors| {
            let embedding = tensors[name].clone();
            tensors.extend(others.map(|name| (name.to_owned(), embedding.clone())));
            tensors.insert(EMBEDDING.to_owned(), embedding);
        });
        assert!(checkpoint.load().is_ok(), "all names");
    }
    let checkpoint = Checkpoint::copy("native");
    checkpoint.change(|tensors| {
        let embedding = tensors.remove("model.language_model.shared.weight").unwrap();
        tensors.insert("lm_head.weight".to_owned(), embedding);
    });
    assert!(checkpoint.load().is_ok());
}

#[test]
fn every_tensor_may_have_a_type_of_its_own() {
    let checkpoint = Checkpoint::copy("original");
    checkpoint.change(|tensors| {
        for (index, tensor) in tensors.values_mut().enumerate() {
            *tensor = tensor.to_dtype([DType::F32, DType::F16, DType::BF16, DType::F64][index % 4]).unwrap();
        }
    });
    assert!(checkpoint.load().is_ok());
}

#[test]
fn constants_may_be_absent_and_strangers_present() {
    let checkpoint = Checkpoint::copy("original");
    checkpoint.change(|tensors| {
        tensors.remove("visual_temporal_embed.pos_idx_to_embed");
        tensors.remove("language_model.final_logits_bias");
        tensors.insert("optimizer.step".to_owned(), Tensor::new(&[1i64], &Device::Cpu).unwrap());
    });
    assert!(checkpoint.load().is_ok());
}

#[test]
fn a_broken_tensor_is_named_with_its_file() {
    let spoil = |change: &dyn Fn(&mut HashMap<String, Tensor>), parts: &[&str]| {
        Checkpoint::copy("original")
            .change(|tensors| change(tensors))
            .fails_with(&[parts, &["model.safetensors"]].concat());
    };
    spoil(&|tensors| drop(tensors.remove(PLAIN)), &[PLAIN, "is missing"]);
    spoil(&|tensors| drop(tensors.remove(EMBEDDING)), &["lm_head", "is missing"]);
    spoil(
        &|tensors| drop(tensors.insert(PLAIN.to_owned(), tensors[PLAIN].t().unwrap().contiguous().unwrap())),
        &[PLAIN, "shape", "expected"],
    );
    for value in [f32::NAN, f32::INFINITY] {
        spoil(
            &|tensors| {
                let shape = tensors[PLAIN].shape().clone();
                tensors.insert(PLAIN.to_owned(), Tensor::full(value, shape, &Device::Cpu).unwrap());
            },
            &[PLAIN, "finite"],
        );
    }
    spoil(
        &|tensors| {
            let shape = tensors[PLAIN].shape().clone();
            tensors.insert(PLAIN.to_owned(), Tensor::ones(shape, DType::I64, &Device::Cpu).unwrap());
        },
        &[PLAIN, "I64"],
    );
    spoil(
        &|tensors| {
            let more = PLAIN.replace("layers.0", "layers.7");
            tensors.insert(more, tensors[PLAIN].clone());
        },
        &["layers.7", "without it"],
    );
}

#[test]
fn files_that_are_cut_or_are_something_else_are_named() {
    let checkpoint = Checkpoint::copy("original");
    let whole = std::fs::read(checkpoint.path("model.safetensors")).unwrap();
    for length in [0, 7, 100, whole.len() / 2, whole.len() - 1] {
        std::fs::write(checkpoint.path("model.safetensors"), &whole[..length]).unwrap();
        checkpoint.fails_with(&["model.safetensors"]);
    }
    std::fs::write(checkpoint.path("model.safetensors"), &whole[..whole.len() - 1]).unwrap();
    checkpoint.fails_with(&["truncated", "tensor"]);

    std::fs::remove_file(checkpoint.path("model.safetensors")).unwrap();
    let whole = std::fs::read(checkpoint.path("pytorch_model.bin")).unwrap();
    for length in [0, 100, whole.len() / 2, whole.len() - 1] {
        std::fs::write(checkpoint.path("pytorch_model.bin"), &whole[..length]).unwrap();
        checkpoint.fails_with(&["pytorch_model.bin"]);
    }
    std::fs::remove_file(checkpoint.path("pytorch_model.bin")).unwrap();
    checkpoint.fails_with(&["model.safetensors or pytorch_model.bin"]);
    std::fs::remove_file(checkpoint.path("tokenizer.json")).unwrap();
    checkpoint.fails_with(&["tokenizer.json"]);
}

#[test]
fn configurations_that_do_not_fit_are_refused() {
    let refused = |edit: &dyn Fn(&mut serde_json::Value), parts: &[&str]| {
        Checkpoint::copy("original").edit_config(|config| edit(config)).fails_with(parts);
    };
    refused(&|config| config["text_config"]["encoder_layers"] = 1.into(), &["without it"]);
    refused(&|config| config["text_config"]["encoder_layers"] = 9.into(), &["layers.", "is missing"]);
    refused(&|config| config["text_config"]["activation_function"] = "relu".into(), &["config.json", "relu"]);
    refused(&|config| config["text_config"]["encoder_attention_heads"] = 7.into(), &["config.json", "7 heads"]);
    refused(
        &|config| config["text_config"]["decoder_start_token_id"] = 4_000_000_000u32.into(),
        &["4000000000", "rows"],
    );
    refused(&|config| config["vision_config"]["window_size"] = 10_000_000.into(), &["config.json", "window"]);
    refused(&|config| config["vision_config"]["patch_padding"][0] = u64::MAX.into(), &["config.json", "kernel"]);
    refused(&|config| config["vision_config"]["depths"] = serde_json::json!([1, 1]), &["config.json", "lists"]);
    refused(&|config| drop(config.as_object_mut().unwrap().remove("vision_config")), &["config.json", "vision_config"]);
}

#[test]
fn a_tokenizer_with_more_tokens_than_the_embedding_is_refused() {
    let checkpoint = Checkpoint::copy("original");
    let mut tokenizer = support::read_json(&checkpoint.path("tokenizer.json"));
    let vocabulary = tokenizer["model"]["vocab"].as_object_mut().unwrap();
    vocabulary.insert("unheard-of".to_owned(), 70_000.into());
    std::fs::write(checkpoint.path("tokenizer.json"), tokenizer.to_string()).unwrap();
    checkpoint.fails_with(&["tokenizer.json", "rows"]);
}

/// The first token of an answer is the configuration's, unless the caller wants another.
#[test]
fn forced_tokens_come_from_the_configuration() {
    use serve_florence_2::florence::Probe;
    use serve_florence_2::florence::generation::{ForcedToken, GenerationOptions};
    use serve_florence_2::florence::image::Picture;

    let checkpoint = Checkpoint::copy("original");
    checkpoint.edit_config(|config| config["text_config"]["forced_bos_token_id"] = 5.into());
    let model = checkpoint.load().unwrap();
    let picture = Picture::new(9, 9, vec![50; 9 * 9 * 3]).unwrap();
    let pixels = model.processor().pixels(&picture, model.processor().image_size()).unwrap();
    let features = model.encode_pixels(&pixels, &mut Probe::none()).unwrap();
    let prompt = model.processor().tokenize("<OD>", features.dim(1).unwrap()).unwrap();
    let encoded = model.encode(&features, &[prompt], &mut Probe::none()).unwrap();
    let first = |forced_bos| {
        let options = GenerationOptions { forced_bos, max_new_tokens: 6, ..Default::default() };
        model.search(&encoded, options).unwrap()[0][0].ids[1]
    };
    assert_eq!((first(ForcedToken::OfModel), first(ForcedToken::Id(8))), (5, 8));
}
