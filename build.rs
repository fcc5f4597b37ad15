//! Compiles the CUDA kernels when the feature `cuda` asks for them; without it there is nothing to do.
//!
//! Each source becomes machine code for the chips below and PTX that the driver compiles for any other of compute capability
//! 8.0 or later.

use std::env;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;

const FOLDER: &str = "src/florence/kernels/cuda";
const SOURCES: [&str; 5] = ["vision", "attention", "step_products", "step_attention", "step_ranking"];
const HEADERS: [&str; 4] = ["common.cuh", "device.cuh", "step.cuh", "index.h"];
/// Compute capabilities that get machine code of their own.
const CHIPS: [&str; 4] = ["80", "86", "89", "90"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    if env::var_os("CARGO_FEATURE_CUDA").is_none() {
        return Ok(());
    }
    for variable in ["NVCC", "CUDA_HOME", "CUDA_PATH"] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    for header in HEADERS {
        println!("cargo::rerun-if-changed={FOLDER}/{header}");
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    let compiling = SOURCES.map(|name| {
        let (out, nvcc) = (out.clone(), nvcc());
        std::thread::spawn(move || compile(&nvcc, name, &out).map_err(|error| error.to_string()))
    });
    for (source, thread) in SOURCES.iter().zip(compiling) {
        thread.join().map_err(|_| format!("compiling {source} broke off"))??;
    }
    Ok(())
}

fn compile(nvcc: &Path, name: &str, out: &Path) -> Result<(), Box<dyn Error>> {
    let source = format!("{FOLDER}/{name}.cu");
    println!("cargo::rerun-if-changed={source}");
    let mut machine_code = vec!["-fatbin".to_owned()];
    machine_code.extend(CHIPS.map(|chip| format!("-gencode=arch=compute_{chip},code=sm_{chip}")));
    run(nvcc, &machine_code, &source, &out.join(format!("{name}.fatbin")))?;
    run(nvcc, &["--ptx".to_owned(), "-arch=compute_80".to_owned()], &source, &out.join(format!("{name}.ptx")))
}

fn run(nvcc: &Path, how: &[String], source: &str, to: &Path) -> Result<(), Box<dyn Error>> {
    let status = Command::new(nvcc)
        .args(["-std=c++17", "-O3", "--compiler-options", "-Wall"])
        .args(how)
        .args([source, "-o"])
        .arg(to)
        .status()
        .map_err(|error| format!("cannot run {}: {error}", nvcc.display()))?;
    if status.success() { Ok(()) } else { Err(format!("{} failed on {source}", nvcc.display()).into()) }
}

/// The compiler that candle's own kernels are built with.
fn nvcc() -> PathBuf {
    if let Some(nvcc) = env::var_os("NVCC") {
        return nvcc.into();
    }
    let homes = ["CUDA_HOME", "CUDA_PATH"].into_iter().filter_map(env::var_os).map(PathBuf::from);
    let candidates = homes.chain([PathBuf::from("/usr/local/cuda")]).map(|home| home.join("bin/nvcc"));
    candidates.into_iter().find(|path| path.is_file()).unwrap_or_else(|| "nvcc".into())
}
