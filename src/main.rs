//! The program: see [`serve_florence_2::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    serve_florence_2::engine::keep_freed_memory();
    serve_florence_2::outgoing::forget_empty_variables();
    serve_florence_2::cli::run(std::env::args_os())
}
