//! DaViT, the vision tower: stages of a patch convolution followed by pairs of attention blocks.
//!
//! Feature maps are `[batch, height, width, channels]` all the way.

use candle_core::{Module, Result, Tensor};

use super::block::Block;
use crate::florence::config::VisionConfig;
use crate::florence::error::{CheckpointError, CheckpointResult};
use crate::florence::kernels::{LayerNorm, PatchConv, PatchGeometry};
use crate::florence::probe::Probe;
use crate::florence::weights::Weights;

/// Channels of the picture.
const PICTURE_CHANNELS: usize = 3;

/// The vision tower.
pub struct DaViT {
    stages: Vec<Stage>,
}

struct Stage {
    patches: PatchEmbedding,
    blocks: Vec<(Block, Block)>,
}

/// Convolution to a coarser map, normalised before or after.
struct PatchEmbedding {
    convolution: PatchConv,
    norm: LayerNorm,
    is_prenorm: bool,
}

impl DaViT {
    /// Takes the tower's tensors below `weights`.
    ///
    /// # Errors
    /// A tensor that is missing or does not fit.
    pub fn new(config: &VisionConfig, weights: &Weights) -> CheckpointResult<Self> {
        let stages =
            (0..config.stages()).map(|stage| Stage::new(config, stage, weights)).collect::<CheckpointResult<_>>()?;
        Ok(Self { stages })
    }

    /// Pixels `[batch, 3, height, width]` to the last stage's map `[batch, h, w, channels]`.
    ///
    /// # Errors
    /// The device's.
    pub fn forward(&self, pixels: &Tensor, probe: &mut Probe<'_>) -> Result<Tensor> {
        let mut map = pixels.permute((0, 2, 3, 1))?;
        for (index, stage) in self.stages.iter().enumerate() {
            map = stage.patches.forward(&map)?;
            probe.visit(|| format!("vision.stage{index}.conv"), &map);
            for (pair, (spatial, channel)) in stage.blocks.iter().enumerate() {
                let name = format!("vision.stage{index}.block{pair}");
                map = spatial.forward(&map, &name, probe)?;
                map = channel.forward(&map, &name, probe)?;
            }
        }
        Ok(map)
    }
}

impl Stage {
    fn new(config: &VisionConfig, stage: usize, weights: &Weights) -> CheckpointResult<Self> {
        let depth = config.depths.get(stage).copied().unwrap_or(0);
        let blocks = (0..depth).map(|pair| {
            let at = weights.pp("blocks").pp(stage).pp(pair);
            let spatial = Block::spatial(config, stage, &at.pp("spatial_block"))?;
            let channel = Block::channel(config, stage, &at.pp("channel_block"))?;
            Ok::<_, CheckpointError>((spatial, channel))
        });
        Ok(Self {
            blocks: blocks.collect::<CheckpointResult<_>>()?,
            patches: PatchEmbedding::new(config, stage, &weights.pp("convs").pp(stage))?,
        })
    }
}

impl PatchEmbedding {
    fn new(config: &VisionConfig, stage: usize, weights: &Weights) -> CheckpointResult<Self> {
        let at = |list: &[usize]| list.get(stage).copied().unwrap_or(1);
        let outputs = at(&config.dim_embed);
        let inputs = match stage.checked_sub(1) {
            None => PICTURE_CHANNELS,
            Some(before) => config.dim_embed.get(before).copied().unwrap_or(0),
        };
        let kernel = at(&config.patch_size);
        let is_prenorm = config.patch_prenorm.get(stage).copied().unwrap_or(true);
        let geometry = PatchGeometry { kernel, stride: at(&config.patch_stride), padding: at(&config.patch_padding) };
        let projection = weights.pp("proj");
        let kernels = projection.get((outputs, inputs, kernel, kernel), "weight")?;
        let patches = kernels.permute((0, 2, 3, 1))?.flatten_from(1)?.contiguous()?;
        let bias = Some(projection.get(outputs, "bias")?);
        let product = match stage {
            0 => projection.sensitive_product(patches, bias)?,
            _ => projection.product(patches, bias)?,
        };
        Ok(Self {
            convolution: PatchConv::new(product, geometry),
            norm: weights.pp("norm").layer_norm(if is_prenorm { inputs } else { outputs })?,
            is_prenorm,
        })
    }

    fn forward(&self, map: &Tensor) -> Result<Tensor> {
        let map = if self.is_prenorm { self.norm.forward(map)? } else { map.clone() };
        let map = self.convolution.forward(&map)?;
        if self.is_prenorm { Ok(map) } else { self.norm.forward(&map) }
    }
}
