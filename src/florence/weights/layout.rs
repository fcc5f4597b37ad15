//! The two ways in which checkpoints name the same tensors.
//!
//! The model asks for the names of Microsoft's own files, which are the published ones; this is the one place that
//! knows how transformers' native classes renamed them.

/// Canonical name of the token embedding, which four names of a file may hold.
pub const TOKEN_EMBEDDING: &str = "language_model.model.shared.weight";

/// Canonical name of the vision features' projection, the one tensor that the layouts store transposed.
pub const IMAGE_PROJECTION: &str = "image_projection";

/// BART's position tables begin with two rows that no position uses.
pub const POSITION_OFFSET: usize = 2;

/// The names that share the token embedding's values. A file holds any of them.
const TIED_EMBEDDINGS: [&str; 4] = [
    TOKEN_EMBEDDING,
    "language_model.model.encoder.embed_tokens.weight",
    "language_model.model.decoder.embed_tokens.weight",
    "language_model.lm_head.weight",
];

/// Tensors that a model can do without: constants and biases that are zero in every published file.
const OPTIONAL: [&str; 2] = ["visual_temporal_embed.pos_idx_to_embed", "language_model.final_logits_bias"];

/// A naming scheme.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Of the files that Microsoft published.
    Original,
    /// Of transformers' `Florence2ForConditionalGeneration`.
    Native,
}

impl Layout {
    /// Recognises a file by its vision tower; `None` where there is none.
    pub fn detect<'a>(names: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        names.into_iter().find_map(|name| {
            if name.starts_with("vision_tower.") {
                Some(Self::Original)
            } else if name.starts_with("model.vision_tower.") {
                Some(Self::Native)
            } else {
                None
            }
        })
    }

    /// The names under which a file of this layout may hold a tensor, most usual first.
    pub fn file_names(self, canonical: &str) -> Vec<String> {
        if canonical == TOKEN_EMBEDDING {
            return TIED_EMBEDDINGS.iter().map(|name| self.file_name(name)).collect();
        }
        vec![self.file_name(canonical)]
    }

    /// Whether a file of this layout holds the tensor with rows and columns exchanged.
    pub fn is_transposed(self, canonical: &str) -> bool {
        self == Self::Native && canonical == IMAGE_PROJECTION
    }

    /// Whether a tensor that nobody asked for is a sign that the configuration does not describe the file.
    ///
    /// Tied copies and constants are not; tensors outside the model's own names are somebody else's business.
    pub fn is_unexpected(self, file_name: &str) -> bool {
        let harmless = TIED_EMBEDDINGS.iter().chain(&OPTIONAL).any(|name| self.file_name(name) == file_name);
        let own = match self {
            Self::Original => ["vision_tower.", "language_model.", "image_"].as_slice(),
            Self::Native => ["model.vision_tower.", "model.language_model.", "model.multi_modal_projector."].as_slice(),
        };
        !harmless && own.iter().any(|prefix| file_name.starts_with(prefix))
    }

    fn file_name(self, canonical: &str) -> String {
        match self {
            Self::Original => canonical.to_owned(),
            Self::Native => native_name(canonical),
        }
    }
}

fn native_name(canonical: &str) -> String {
    if canonical == "language_model.lm_head.weight" {
        return "lm_head.weight".to_owned();
    }
    if let Some(rest) = canonical.strip_prefix("language_model.model.") {
        return format!("model.language_model.{rest}");
    }
    if canonical.starts_with("vision_tower.convs.") {
        return format!("model.{}", canonical.replace(".proj.", ".conv."));
    }
    if canonical.starts_with("vision_tower.") {
        let renamed = canonical
            .replace(".fn.dw.", ".")
            .replace(".window_attn.norm.", ".norm1.")
            .replace(".channel_attn.norm.", ".norm1.")
            .replace(".ffn.norm.", ".norm2.")
            .replace(".fn.net.", ".")
            .replace("_attn.fn.", "_attn.");
        return format!("model.{renamed}");
    }
    let renamed = match canonical {
        IMAGE_PROJECTION => "image_projection.weight".to_owned(),
        _ => canonical.replace("image_pos_embed.", "image_position_embed."),
    };
    format!("model.multi_modal_projector.{renamed}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn native_names_follow_the_renaming() {
        let cases = [
            ("vision_tower.convs.1.proj.weight", "model.vision_tower.convs.1.conv.weight"),
            ("vision_tower.convs.0.norm.bias", "model.vision_tower.convs.0.norm.bias"),
            (
                "vision_tower.blocks.2.8.spatial_block.conv1.fn.dw.weight",
                "model.vision_tower.blocks.2.8.spatial_block.conv1.weight",
            ),
            (
                "vision_tower.blocks.0.0.spatial_block.window_attn.norm.weight",
                "model.vision_tower.blocks.0.0.spatial_block.norm1.weight",
            ),
            (
                "vision_tower.blocks.0.0.channel_block.channel_attn.fn.qkv.bias",
                "model.vision_tower.blocks.0.0.channel_block.channel_attn.qkv.bias",
            ),
            (
                "vision_tower.blocks.0.0.channel_block.ffn.fn.net.fc1.weight",
                "model.vision_tower.blocks.0.0.channel_block.ffn.fc1.weight",
            ),
            (
                "vision_tower.blocks.0.0.channel_block.ffn.norm.weight",
                "model.vision_tower.blocks.0.0.channel_block.norm2.weight",
            ),
            ("image_projection", "model.multi_modal_projector.image_projection.weight"),
            ("image_proj_norm.bias", "model.multi_modal_projector.image_proj_norm.bias"),
            (
                "image_pos_embed.row_embeddings.weight",
                "model.multi_modal_projector.image_position_embed.row_embeddings.weight",
            ),
            (
                "language_model.model.decoder.layers.3.encoder_attn.q_proj.bias",
                "model.language_model.decoder.layers.3.encoder_attn.q_proj.bias",
            ),
        ];
        for (canonical, native) in cases {
            assert_eq!(Layout::Native.file_names(canonical), [native]);
            assert_eq!(Layout::Original.file_names(canonical), [canonical]);
        }
    }

    #[test]
    fn the_embedding_has_four_names() {
        assert_eq!(
            Layout::Native.file_names(TOKEN_EMBEDDING),
            [
                "model.language_model.shared.weight",
                "model.language_model.encoder.embed_tokens.weight",
                "model.language_model.decoder.embed_tokens.weight",
                "lm_head.weight"
            ]
        );
    }

    #[test]
    fn surplus_layers_are_noticed_and_tied_copies_are_not() {
        assert!(Layout::Original.is_unexpected("language_model.model.encoder.layers.6.fc1.weight"));
        assert!(Layout::Native.is_unexpected("model.vision_tower.blocks.2.9.spatial_block.conv1.weight"));
        assert!(!Layout::Original.is_unexpected("language_model.lm_head.weight"));
        assert!(!Layout::Native.is_unexpected("lm_head.weight"));
        assert!(!Layout::Original.is_unexpected("optimizer.step"));
    }
}
