//! Decoding and resizing against golden data made with Pillow.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "what was compared is told")]

mod support;

use std::path::Path;

use serde_json::Value;
use serve_florence_2::florence::image::{Picture, normalize, resize_bicubic};
use serve_florence_2::media::{DecodeOptions, decode};

/// Normalisation of every published checkpoint.
const MEAN: [f32; 3] = [0.485, 0.456, 0.406];
const STD: [f32; 3] = [0.229, 0.224, 0.225];

#[test]
fn pictures_equal_pillows_to_the_last_bit() {
    let mut compared = 0;
    for root in support::golden_roots() {
        let folder = root.join("preprocess");
        for case in support::read_json(&folder.join("preprocess.json")).as_array().unwrap() {
            // Pillow cuts 16-bit grey at 255; the platform keeps the upper byte, and so do we.
            if case["mode"] != "I;16" {
                check(&folder, case);
                compared += 1;
            }
        }
    }
    println!("{compared} pictures compared");
    assert!(compared > 10);
}

fn check(folder: &Path, case: &Value) {
    let file = case["file"].as_str().unwrap();
    // Pillow's `convert` leaves the orientation alone.
    let options = DecodeOptions { apply_orientation: false, ..Default::default() };
    let picture = decode(&std::fs::read(folder.join(file)).unwrap(), &options).unwrap();
    let rgb = match case["rgb"].as_str() {
        Some(rgb) => open(&folder.join(rgb)),
        None => open(&folder.join(file)),
    };
    assert_eq!((picture.width(), picture.height()), (rgb.width(), rgb.height()), "{file}");
    let worst = picture.rgb().iter().zip(rgb.rgb()).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
    // JPEG too: the decoder is Pillow's own.
    assert_eq!(worst, 0, "{file}");
    for output in case["outputs"].as_array().unwrap() {
        let [height, width]: [u32; 2] = serde_json::from_value(output["hw"].clone()).unwrap();
        let resized = resize_bicubic(&rgb, width, height);
        let expected = open(&folder.join(output["resized"].as_str().unwrap()));
        assert!(resized == expected, "{file} at {height}x{width}");
        let values = normalize(&resized, MEAN, STD, 1.0 / 255.0);
        let points: Vec<[usize; 3]> = serde_json::from_value(output["points_chw"].clone()).unwrap();
        for (point, expected) in points.iter().zip(output["values"].as_array().unwrap()) {
            let [channel, y, x] = *point;
            let value = values[(channel * height as usize + y) * width as usize + x];
            assert!((f64::from(value) - expected.as_f64().unwrap()).abs() <= 2e-6, "{file} {point:?}");
        }
    }
}

/// A lossless picture in RGB, through another decoder than ours.
fn open(path: &Path) -> Picture {
    let rgb = image::open(path).unwrap().into_rgb8();
    Picture::new(rgb.width(), rgb.height(), rgb.into_raw()).unwrap()
}

#[test]
fn orientation_tags_turn_the_picture() {
    for root in support::golden_roots() {
        let folder = root.join("preprocess");
        for (file, is_turned) in [("exif_3.png", false), ("exif_6.jpg", true)] {
            let bytes = std::fs::read(folder.join(file)).unwrap();
            let flat = decode(&bytes, &DecodeOptions { apply_orientation: false, ..Default::default() }).unwrap();
            let upright = decode(&bytes, &DecodeOptions::default()).unwrap();
            let pixel = |picture: &Picture, x: u32, y: u32| {
                let at = (y * picture.width() + x) as usize * 3;
                picture.rgb()[at..at + 3].to_vec()
            };
            let (right, bottom) = (flat.width() - 1, flat.height() - 1);
            if is_turned {
                assert_eq!((upright.width(), upright.height()), (flat.height(), flat.width()), "{file}");
                assert_eq!(pixel(&upright, bottom, 0), pixel(&flat, 0, 0), "{file}");
            } else {
                assert_eq!(pixel(&upright, right, bottom), pixel(&flat, 0, 0), "{file}");
            }
        }
    }
}
