//! `generate`: the model's own output, for comparing it with other implementations.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::{Path, PathBuf};

use candle_core::Tensor;
use serde_json::json;

use super::args::GenerateArgs;
use super::error::{CliError, CliResult};
use super::locate::locate;
use super::{picture, print_line};
use crate::engine::OpenDevice;
use crate::florence::answer::PictureSize;
use crate::florence::{Florence, FlorenceError, Generation, Probe};
use crate::telemetry::{self, LogStyle};

/// Pairs that are decoded together.
const MAX_BATCH: usize = 16;

/// Prints one line for each pair of picture and prompt.
pub fn run(args: &GenerateArgs) -> CliResult<()> {
    telemetry::start(LogStyle::Text);
    let pairs = pair(&args.image, &args.prompt)?;
    let plan = args.model.plan()?;
    let device = OpenDevice::open(&plan.devices, plan.precision)?;
    let found = locate(&plan.source, false)?;
    let model = Florence::load(&found.files, device.precision, &device.device)?;
    for batch in pairs.chunks(MAX_BATCH) {
        for generation in answer(&model, batch, args)? {
            print_line(&render(&generation))?;
        }
    }
    Ok(())
}

fn answer(model: &Florence, batch: &[(&Path, &str)], args: &GenerateArgs) -> CliResult<Vec<Generation>> {
    let mut encoded: HashMap<&Path, (Tensor, PictureSize)> = HashMap::new();
    let mut features = vec![];
    let mut questions = vec![];
    for (file, prompt) in batch {
        // A picture with several prompts is encoded once.
        let (known, size) = match encoded.entry(file) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(encode(model, file, args)?),
        };
        features.push(known.clone());
        questions.push((*prompt, *size));
    }
    let features = Tensor::cat(&features, 0).map_err(FlorenceError::from)?;
    Ok(model.generate(&features, &questions, args.options())?)
}

fn encode(model: &Florence, file: &Path, args: &GenerateArgs) -> CliResult<(Tensor, PictureSize)> {
    let picture = picture::decode(file, &picture::read(file)?)?;
    let processor = model.processor();
    let pixels = processor
        .pixels(&picture, args.image_size.map_or_else(|| processor.image_size(), |(width, height)| (height, width)))?;
    Ok((model.encode_pixels(&pixels, &mut Probe::none())?, PictureSize::of(&picture)))
}

/// Pictures with their prompts; a single one of either serves all of the others.
fn pair<'a>(images: &'a [PathBuf], prompts: &'a [String]) -> CliResult<Vec<(&'a Path, &'a str)>> {
    let count = images.len().max(prompts.len());
    if ![1, count].contains(&images.len()) || ![1, count].contains(&prompts.len()) {
        let (images, prompts) = (images.len(), prompts.len());
        return Err(CliError::Usage(format!(
            "{images} pictures and {prompts} prompts are no pairs; name as many of each"
        )));
    }
    let images = images.iter().map(PathBuf::as_path).cycle();
    Ok(images.zip(prompts.iter().map(String::as_str).cycle()).take(count).collect())
}

fn render(generation: &Generation) -> String {
    let scores: Vec<_> = generation.answer.boxes().iter().map(|found| found.score).collect();
    json!({
        "prompt_ids": generation.prompt_ids,
        "ids": generation.ids,
        "score": generation.score,
        "text": generation.text,
        "stop": generation.stop,
        "answer": generation.answer.to_json(),
        "box_scores": scores,
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_either_serves_all_of_the_others() {
        let images = |count| vec![PathBuf::from("a"); count];
        let prompts = |count| vec!["<OD>".to_owned(); count];
        for (images_given, prompts_given, pairs) in [(1, 1, 1), (1, 3, 3), (3, 1, 3), (3, 3, 3)] {
            assert_eq!(pair(&images(images_given), &prompts(prompts_given)).unwrap().len(), pairs);
        }
        assert!(pair(&images(2), &prompts(3)).is_err());
    }
}
