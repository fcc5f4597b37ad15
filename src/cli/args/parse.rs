//! Options of `parse`.

use clap::Args;

use super::parse_size;

/// Options of `parse`.
#[derive(Debug, Args)]
pub struct ParseArgs {
    /// Task token, `OD` in angle brackets for one; an unknown one is pure text
    #[arg(long, allow_hyphen_values = true)]
    pub task: String,
    /// Size of the picture, width first
    #[arg(long, value_name = "WxH", value_parser = parse_size)]
    pub size: (u32, u32),
}
