//! A checkpoint's `config.json` and `preprocessor_config.json`, in both key styles.
//!
//! Microsoft's files say `dim_embed` and nest the position tables, transformers' own say `embed_dim` and do not. Sizes
//! that the tensors themselves tell (vocabulary, position tables) are read there and not here.

use serde::Deserialize;

use super::error::CheckpointResult;
use super::files::CheckpointFiles;

/// File that describes the model.
pub const CONFIG_FILE: &str = "config.json";
/// File that describes how pictures are prepared.
pub const PREPROCESSOR_FILE: &str = "preprocessor_config.json";

/// Everything about a checkpoint that its tensors do not tell.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The vision tower.
    pub vision: VisionConfig,
    /// The text model.
    pub text: TextConfig,
    /// How pictures are prepared.
    pub image: ImageConfig,
}

/// DaViT's shape; each list has one entry a stage.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct VisionConfig {
    /// Channels.
    #[serde(alias = "embed_dim")]
    pub dim_embed: Vec<usize>,
    /// Pairs of a spatial and a channel block.
    pub depths: Vec<usize>,
    /// Heads of the window attention.
    pub num_heads: Vec<usize>,
    /// Groups of the channel attention.
    pub num_groups: Vec<usize>,
    /// Kernel of the patch convolution.
    #[serde(default = "default_patch_size")]
    pub patch_size: Vec<usize>,
    /// Its stride.
    #[serde(default = "default_patch_stride")]
    pub patch_stride: Vec<usize>,
    /// Its zero padding on each side.
    #[serde(default = "default_patch_padding")]
    pub patch_padding: Vec<usize>,
    /// Whether the layer norm comes before the convolution.
    #[serde(default = "default_patch_prenorm")]
    pub patch_prenorm: Vec<bool>,
    /// Side of an attention window.
    #[serde(default = "default_window_size")]
    pub window_size: usize,
    /// Width of the MLP's hidden layer over that of the block.
    #[serde(default = "default_mlp_ratio")]
    pub mlp_ratio: f64,
    /// Whether the projection to queries, keys and values has a bias.
    #[serde(default = "default_true")]
    pub qkv_bias: bool,
    /// Only the original style names the sources of image features; only its published pair is known.
    image_feature_source: Option<Vec<String>>,
    #[serde(default = "default_activation")]
    activation_function: String,
}

/// BART's shape.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct TextConfig {
    /// Width of the model.
    pub d_model: usize,
    /// Layers of the encoder.
    pub encoder_layers: usize,
    /// Layers of the decoder.
    pub decoder_layers: usize,
    /// Heads of the encoder's attention.
    pub encoder_attention_heads: usize,
    /// Heads of both attentions of the decoder.
    pub decoder_attention_heads: usize,
    /// Hidden width of the encoder's MLP.
    pub encoder_ffn_dim: usize,
    /// Hidden width of the decoder's MLP.
    pub decoder_ffn_dim: usize,
    /// Id that fills short rows of a batch.
    #[serde(default = "default_pad")]
    pub pad_token_id: u32,
    /// Id that ends an answer.
    #[serde(default = "default_eos")]
    pub eos_token_id: u32,
    /// Id that every answer begins with, unless the caller wants another.
    #[serde(default)]
    pub forced_bos_token_id: Option<u32>,
    /// Id that ends an answer of the greatest length.
    #[serde(default = "default_forced_eos")]
    pub forced_eos_token_id: Option<u32>,
    /// Id that the decoder starts from.
    #[serde(default = "default_eos")]
    pub decoder_start_token_id: u32,
    #[serde(default = "default_activation")]
    activation_function: String,
    #[serde(default)]
    scale_embedding: bool,
    #[serde(default)]
    normalize_before: bool,
    #[serde(default)]
    add_final_layer_norm: bool,
}

/// How pictures become the model's input.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageConfig {
    /// Height of the model's picture.
    pub height: u32,
    /// Width of the model's picture.
    pub width: u32,
    /// Subtracted from each channel, on the scale 0 to 1.
    pub mean: [f32; 3],
    /// Divides each channel.
    pub std: [f32; 3],
    /// Brings 0..=255 to 0..=1.
    pub rescale_factor: f64,
}

#[derive(Deserialize)]
struct ConfigFile {
    vision_config: VisionConfig,
    text_config: TextConfig,
}

#[derive(Deserialize)]
struct PreprocessorFile {
    size: Size,
    image_mean: [f32; 3],
    image_std: [f32; 3],
    #[serde(default = "default_rescale_factor")]
    rescale_factor: f64,
    #[serde(default = "default_resample")]
    resample: u32,
    #[serde(default)]
    do_center_crop: Option<bool>,
    #[serde(default)]
    do_normalize: Option<bool>,
    #[serde(default)]
    do_rescale: Option<bool>,
}

#[derive(Deserialize)]
struct Size {
    height: u32,
    width: u32,
}

/// Pillow's number for bicubic, the only resampling that the checkpoints use.
const BICUBIC: u32 = 3;
/// Sides beyond this are a mistake in the file; the published checkpoints use 768.
const MAX_SIDE: u32 = 8192;
/// Kernels and windows beyond this are a mistake in the file; the published checkpoints use 12 at most.
const MAX_KERNEL: usize = 256;
/// Likewise for the width of a stage; 2048 at most.
const MAX_WIDTH: usize = 1 << 16;
/// DaViT has four stages in every published checkpoint; the code holds no fixed number, this only bounds nonsense.
const MAX_STAGES: usize = 8;

fn default_patch_size() -> Vec<usize> {
    vec![7, 3, 3, 3]
}
fn default_patch_stride() -> Vec<usize> {
    vec![4, 2, 2, 2]
}
fn default_patch_padding() -> Vec<usize> {
    vec![3, 1, 1, 1]
}
fn default_patch_prenorm() -> Vec<bool> {
    vec![false, true, true, true]
}
const fn default_window_size() -> usize {
    12
}
const fn default_mlp_ratio() -> f64 {
    4.0
}
const fn default_true() -> bool {
    true
}
const fn default_pad() -> u32 {
    1
}
const fn default_eos() -> u32 {
    2
}
#[allow(clippy::unnecessary_wraps, reason = "the field may also be null")]
const fn default_forced_eos() -> Option<u32> {
    Some(default_eos())
}
fn default_activation() -> String {
    "gelu".to_owned()
}
const fn default_rescale_factor() -> f64 {
    1.0 / 255.0
}
const fn default_resample() -> u32 {
    BICUBIC
}

impl Config {
    /// Reads both files of a checkpoint.
    ///
    /// # Errors
    /// A file that is missing or not as expected, or a model that this code does not know.
    pub fn load(files: &CheckpointFiles) -> CheckpointResult<Self> {
        let file: ConfigFile = files.read_json(CONFIG_FILE)?;
        let preprocessor: PreprocessorFile = files.read_json(PREPROCESSOR_FILE)?;
        let config = Self {
            vision: file.vision_config,
            text: file.text_config,
            image: ImageConfig {
                height: preprocessor.size.height,
                width: preprocessor.size.width,
                mean: preprocessor.image_mean,
                std: preprocessor.image_std,
                rescale_factor: preprocessor.rescale_factor,
            },
        };
        config.vision.check().map_err(|reason| files.invalid(CONFIG_FILE, reason))?;
        config.text.check().map_err(|reason| files.invalid(CONFIG_FILE, reason))?;
        preprocessor.check().map_err(|reason| files.invalid(PREPROCESSOR_FILE, reason))?;
        Ok(config)
    }
}

/// Why a configuration cannot be served.
type Reason = String;

fn known(found: bool, what: &str) -> Result<(), Reason> {
    if found { Ok(()) } else { Err(format!("{what} is not supported")) }
}

impl VisionConfig {
    /// Number of stages.
    pub fn stages(&self) -> usize {
        self.dim_embed.len()
    }

    /// Rows and columns of the last stage's map for a picture of this size, 0 where the picture is too small for a kernel.
    pub fn map_size(&self, height: usize, width: usize) -> (usize, usize) {
        let geometry = self.patch_size.iter().zip(&self.patch_stride).zip(&self.patch_padding);
        geometry.fold((height, width), |(rows, columns), ((&size, &stride), &padding)| {
            let shrink = |side: usize| (side + 2 * padding).checked_sub(size).map_or(0, |room| room / stride + 1);
            (shrink(rows), shrink(columns))
        })
    }

    fn check(&self) -> Result<(), Reason> {
        let stages = self.stages();
        let lengths = [
            self.depths.len(),
            self.num_heads.len(),
            self.num_groups.len(),
            self.patch_size.len(),
            self.patch_stride.len(),
            self.patch_padding.len(),
            self.patch_prenorm.len(),
        ];
        if stages == 0 || stages > MAX_STAGES || lengths.iter().any(|&length| length != stages) {
            return Err(format!("the lists of vision_config have {stages} and {lengths:?} entries, not one a stage"));
        }
        for (stage, &dim) in self.dim_embed.iter().enumerate() {
            for (name, list) in [("num_heads", &self.num_heads), ("num_groups", &self.num_groups)] {
                let parts = list.get(stage).copied().unwrap_or(0);
                if parts == 0 || !dim.is_multiple_of(parts) {
                    return Err(format!("stage {stage} has {dim} channels, which {name} {parts} does not divide"));
                }
            }
        }
        known(self.patch_stride.iter().all(|&stride| stride > 0), "a patch_stride of 0")?;
        let geometry = self.patch_size.iter().chain(&self.patch_stride).chain(&self.patch_padding);
        known(
            geometry.chain([&self.window_size]).all(|&pixels| pixels <= MAX_KERNEL),
            "a kernel or window of that size",
        )?;
        known(self.window_size > 0 && self.patch_size.iter().all(|&size| size > 0), "a kernel or window of 0")?;
        known(self.dim_embed.iter().all(|&dim| dim <= MAX_WIDTH), "a dim_embed of that size")?;
        known(self.mlp_ratio > 0.0 && self.mlp_ratio <= 64.0, &format!("mlp_ratio {}", self.mlp_ratio))?;
        known(self.activation_function == "gelu", &format!("vision activation {:?}", self.activation_function))?;
        let sources = self.image_feature_source.as_deref();
        known(
            sources.is_none_or(|names| names == ["spatial_avg_pool", "temporal_avg_pool"]),
            &format!("image_feature_source {sources:?}"),
        )
    }
}

impl TextConfig {
    fn check(&self) -> Result<(), Reason> {
        for heads in [self.encoder_attention_heads, self.decoder_attention_heads] {
            if heads == 0 || !self.d_model.is_multiple_of(heads) {
                return Err(format!("d_model {} is not divided by {heads} heads", self.d_model));
            }
        }
        known(self.activation_function == "gelu", &format!("text activation {:?}", self.activation_function))?;
        known(!self.scale_embedding, "scale_embedding")?;
        known(!self.normalize_before, "normalize_before")?;
        known(!self.add_final_layer_norm, "add_final_layer_norm")
    }
}

impl PreprocessorFile {
    fn check(&self) -> Result<(), Reason> {
        let sides = [self.size.height, self.size.width];
        if sides.iter().any(|&side| side == 0 || side > MAX_SIDE) {
            return Err(format!("the picture size {sides:?} is not between 1 and {MAX_SIDE}"));
        }
        known(self.resample == BICUBIC, &format!("resample {}", self.resample))?;
        known(self.do_center_crop != Some(true), "do_center_crop")?;
        known(self.do_normalize != Some(false), "do_normalize false")?;
        known(self.do_rescale != Some(false), "do_rescale false")?;
        known(self.image_std.iter().all(|&std| std > 0.0), "an image_std of 0")
    }
}
