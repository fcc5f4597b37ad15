//! Options of `parse`.

use clap::Args;

use super::{parse_size, parse_task};

/// Options of `parse`.
#[derive(Debug, Args)]
pub struct ParseArgs {
    /// Task such as OD; an unknown one is pure text
    #[arg(long, value_name = "TASK", allow_hyphen_values = true, value_parser = parse_task)]
    pub task: String,
    /// Size of the picture, width first
    #[arg(long, value_name = "WxH", value_parser = parse_size)]
    pub size: (u32, u32),
}
