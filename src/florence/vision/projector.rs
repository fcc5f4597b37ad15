//! From the vision tower's map to the features that stand before the prompt.

use candle_core::{DType, Device, Module, Result, Tensor};

use crate::florence::config::Config;
use crate::florence::error::CheckpointResult;
use crate::florence::kernels::{LayerNorm, Linear};
use crate::florence::weights::{IMAGE_PROJECTION, Weights};

/// Positions, pooling and the projection to the text model's width.
pub struct Projector {
    /// `[rows, channels / 2]`.
    rows: Tensor,
    /// `[columns, channels - channels / 2]`.
    columns: Tensor,
    /// `[channels]`: the embedding of the first and only frame.
    frame: Tensor,
    /// From channels to `d_model`.
    projection: Linear,
    norm: LayerNorm,
}

impl Projector {
    /// Takes the projector's tensors from the root of `weights`.
    ///
    /// # Errors
    /// A tensor that is missing or does not fit.
    pub fn new(config: &Config, weights: &Weights) -> CheckpointResult<Self> {
        let channels = config.vision.dim_embed.last().copied().unwrap_or(0);
        let d_model = config.text.d_model;
        let positions = weights.pp("image_pos_embed");
        let projection = weights.get((channels, d_model), IMAGE_PROJECTION)?;
        let frame = match weights.contains("visual_temporal_embed.pos_idx_to_embed") {
            true => weights.table(channels, "visual_temporal_embed.pos_idx_to_embed")?.get(0)?,
            false => first_frame(channels, projection.dtype(), projection.device())?,
        };
        Ok(Self {
            rows: positions.table(channels / 2, "row_embeddings.weight")?,
            columns: positions.table(channels - channels / 2, "column_embeddings.weight")?,
            frame,
            projection: weights.product(projection.t()?.contiguous()?, None)?,
            norm: weights.pp("image_proj_norm").layer_norm(d_model)?,
        })
    }

    /// Most rows and columns of the last map.
    pub fn max_map_size(&self) -> (usize, usize) {
        (self.rows.dims().first().copied().unwrap_or(0), self.columns.dims().first().copied().unwrap_or(0))
    }

    /// A map `[batch, h, w, channels]` to features `[batch, 1 + h·w, d_model]`: the mean first, then the map row by row.
    ///
    /// # Errors
    /// The device's, and a map that is larger than the position tables.
    pub fn forward(&self, map: &Tensor) -> Result<Tensor> {
        let (batch, height, width, channels) = map.dims4()?;
        let tokens = map.broadcast_add(&self.positions(height, width)?)?.broadcast_add(&self.frame)?;
        let tokens = tokens.reshape((batch, height * width, channels))?;
        let mean = tokens.to_dtype(DType::F32)?.mean_keepdim(1)?.to_dtype(tokens.dtype())?;
        let features = Tensor::cat(&[&mean, &tokens], 1)?;
        self.norm.forward(&self.projection.forward(&features)?)
    }

    /// `[h, w, channels]`: the column's embedding, followed by the row's.
    fn positions(&self, height: usize, width: usize) -> Result<Tensor> {
        let columns = self.columns.narrow(0, 0, width)?.unsqueeze(0)?;
        let rows = self.rows.narrow(0, 0, height)?.unsqueeze(1)?;
        let columns = columns.expand((height, width, columns.dim(2)?))?;
        let rows = rows.expand((height, width, rows.dim(2)?))?;
        Tensor::cat(&[&columns, &rows], 2)
    }
}

/// The sinusoid of frame 0: sin 0 on even channels, cos 0 on odd ones.
fn first_frame(channels: usize, dtype: DType, device: &Device) -> Result<Tensor> {
    let values: Vec<f32> = (0..channels).map(|channel| if channel % 2 == 0 { 0. } else { 1. }).collect();
    Tensor::new(values, device)?.to_dtype(dtype)
}
