//! What is asked: pictures with phrases that are in them, as ready bodies, and the shares of the kinds.
//!
//! Everything is drawn and encoded once, before the first request: while load runs, the server has the processor.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Bytes;
use clap::ValueEnum;
use image::ExtendedColorType;
use image::codecs::jpeg::JpegEncoder;
use serde_json::{Value, json};

use crate::support::random::Random;
use crate::support::scenes::Scene;

/// Pictures are of these sizes, half of the requests each: `[width, height]` in pixels.
pub const PICTURE_SIZES: [[u32; 2]; 2] = [[640, 480], [1920, 1080]];
/// Enough distinct pictures that nothing is answered from what was just seen.
pub const PICTURES_OF_EACH_SIZE: usize = 16;
/// Of the bodies' JPEG files.
const JPEG_QUALITY: u8 = 85;
/// Between the parts of a form; no JPEG holds it by chance.
const BOUNDARY: &str = "serve-florence-2-load-edge";

/// A kind of question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Find one phrase.
    Grounding,
    /// Find objects by category.
    Detection,
    /// Write a caption and find its phrases: the default settings.
    Cascade,
}

impl Kind {
    /// All of them, in the order of reports.
    pub const ALL: [Self; 3] = [Self::Grounding, Self::Detection, Self::Cascade];

    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Grounding => "grounding",
            Self::Detection => "od",
            Self::Cascade => "cascade",
        }
    }

    fn settings(self, phrase: &str) -> Value {
        match self {
            Self::Grounding => json!({ "text": phrase }),
            Self::Detection => json!({ "task_prompt": "<OD>" }),
            Self::Cascade => json!({}),
        }
    }
}

/// How often each kind is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Mix {
    /// 50 % grounding, 30 % object detection, 20 % caption cascades
    Default,
    /// Object detection alone
    Od,
    /// Grounding alone
    Grounding,
    /// Caption cascades alone
    Cascade,
}

impl Mix {
    /// Percent of the requests that are of each kind, which sum to 100.
    pub const fn shares_percent(self) -> [(Kind, usize); 3] {
        let [grounding, detection, cascade] = match self {
            Self::Default => [50, 30, 20],
            Self::Od => [0, 100, 0],
            Self::Grounding => [100, 0, 0],
            Self::Cascade => [0, 0, 100],
        };
        [(Kind::Grounding, grounding), (Kind::Detection, detection), (Kind::Cascade, cascade)]
    }

    /// The kind of the next request.
    pub fn pick(self, random: &mut Random) -> Kind {
        let mut place = random.below(100);
        for (kind, share) in self.shares_percent() {
            if place < share {
                return kind;
            }
            place -= share;
        }
        unreachable!("the shares sum to 100")
    }
}

/// One question about one picture, ready to be sent as often as wanted.
#[derive(Debug)]
pub struct Ask {
    pub kind: Kind,
    /// `[width, height]` of the picture, which the answer has to repeat.
    pub size: [u32; 2],
    /// What `Grounding` looks for.
    pub phrase: String,
    /// The whole form.
    pub body: Bytes,
}

impl Ask {
    /// The body's type.
    pub fn content_type() -> String {
        format!("multipart/form-data; boundary={BOUNDARY}")
    }
}

/// All that may be asked.
pub struct Traffic {
    mix: Mix,
    asks: BTreeMap<(Kind, [u32; 2]), Vec<Arc<Ask>>>,
}

impl Traffic {
    /// Draws the pictures and makes a body for each of them and each kind in the mix.
    pub fn draw(mix: Mix, pictures_of_each_size: usize, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut asks: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for size in PICTURE_SIZES {
            for _ in 0..pictures_of_each_size {
                let (jpeg, phrase) = draw_picture(&mut random, size);
                for (kind, _) in mix.shares_percent().into_iter().filter(|(_, share)| *share > 0) {
                    let body = form(&jpeg, &kind.settings(&phrase));
                    let ask = Ask { kind, size, phrase: phrase.clone(), body };
                    asks.entry((kind, size)).or_default().push(Arc::new(ask));
                }
            }
        }
        Self { mix, asks }
    }

    /// The next question.
    pub fn pick(&self, random: &mut Random) -> Arc<Ask> {
        let kind = self.mix.pick(random);
        let size = PICTURE_SIZES[random.below(PICTURE_SIZES.len())];
        let asks = &self.asks[&(kind, size)];
        Arc::clone(&asks[random.below(asks.len())])
    }

    /// Mean bytes of a body with a picture of each size.
    pub fn mean_body_bytes(&self) -> [usize; PICTURE_SIZES.len()] {
        PICTURE_SIZES.map(|wanted| {
            let of_size = self.asks.iter().filter(|((_, size), _)| *size == wanted).flat_map(|(_, asks)| asks);
            let (count, bytes) = of_size.fold((0, 0), |(count, bytes), ask| (count + 1, bytes + ask.body.len()));
            bytes / count.max(1)
        })
    }
}

/// A JPEG of a scene, and a phrase that is in it.
fn draw_picture(random: &mut Random, size: [u32; 2]) -> (Vec<u8>, String) {
    let scene = Scene::draw_sized(random, size.map(|side| side as usize));
    let groups = scene.groups();
    let phrase = groups[random.below(groups.len())].0.clone();
    let mut jpeg = vec![];
    JpegEncoder::new_with_quality(&mut jpeg, JPEG_QUALITY)
        .encode(scene.picture.rgb(), size[0], size[1], ExtendedColorType::Rgb8)
        .unwrap();
    (jpeg, phrase)
}

/// The upload form. It is written by hand so that its bytes are shared by all requests that send it.
fn form(jpeg: &[u8], settings: &Value) -> Bytes {
    let mut body = format!(
        "--{BOUNDARY}\r\ncontent-disposition: form-data; name=\"files\"; filename=\"scene.jpg\"\r\n\
         content-type: image/jpeg\r\n\r\n"
    )
    .into_bytes();
    body.extend_from_slice(jpeg);
    let settings = json!({ "settings": settings });
    let tail = format!(
        "\r\n--{BOUNDARY}\r\ncontent-disposition: form-data; name=\"settings\"\r\n\r\n{settings}\r\n--{BOUNDARY}--\r\n"
    );
    body.extend_from_slice(tail.as_bytes());
    body.into()
}
