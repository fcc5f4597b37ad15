//! Inference requests against an engine that answers by fixed rules.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod fake_engine;

use std::sync::Arc;

use fake_engine::{FakeEngine, Phrase};
use serde_json::{Value, json};
use serve_florence_2::engine::EngineError;
use serve_florence_2::florence::image::Picture;
use serve_florence_2::session::{Inquiry, Session, SessionError, SessionSettings};
use serve_florence_2::supervisely::{Annotation, InferenceSettings, Rectangle};

fn session() -> (Session, FakeEngine) {
    let engine = FakeEngine::new();
    (Session::new(Arc::new(engine.clone()), SessionSettings::default()), engine)
}

async fn infer(session: &Session, settings: Value) -> Result<Annotation, SessionError> {
    let settings = InferenceSettings::parse(settings.as_object().unwrap().clone())?;
    let inquiry = Inquiry::new(&settings)?;
    let picture = Arc::new(Picture::new(100, 80, vec![0; 100 * 80 * 3]).unwrap());
    session
        .infer_picture(picture, settings.regions.of_picture(0), &inquiry, session.open_run())
        .await
        .map(|found| found.annotation)
}

fn boxes(annotation: &Annotation) -> Vec<(&str, [[i64; 2]; 2])> {
    annotation.objects.iter().map(|label| (label.class_title.as_str(), label.geometry.bounds().exterior())).collect()
}

fn prompts(engine: &FakeEngine) -> Vec<Vec<String>> {
    engine.asked().into_iter().map(|asked| asked.prompts).collect()
}

#[tokio::test]
async fn the_default_captions_and_grounds_the_caption() {
    let (session, engine) = session();
    let annotation = infer(&session, json!({})).await.unwrap();
    assert_eq!(prompts(&engine), [["<CAPTION>"], ["<CAPTION_TO_PHRASE_GROUNDING>car, tree"]]);
    assert_eq!(boxes(&annotation), [("car_bbox", [[0, 0], [50, 40]]), ("tree_bbox", [[10, 8], [60, 48]])]);
}

#[tokio::test]
async fn a_text_without_a_task_is_grounded() {
    let (session, engine) = session();
    let annotation = infer(&session, json!({"mapping": null, "mode": "text_prompt", "text": "wheel"})).await.unwrap();
    assert_eq!(prompts(&engine), [["<CAPTION_TO_PHRASE_GROUNDING>wheel"]]);
    assert_eq!(boxes(&annotation), [("wheel_bbox", [[0, 0], [50, 40]])]);
}

#[tokio::test]
async fn a_mapping_is_one_request_and_names_the_labels() {
    let (session, engine) = session();
    let settings = json!({"mapping": {"Vehicle": "car, bus", "Plant": ["tree", "bush"]}, "text": ""});
    let annotation = infer(&session, settings).await.unwrap();
    let texts = ["car, bus", "tree", "bush"].map(|text| format!("<CAPTION_TO_PHRASE_GROUNDING>{text}"));
    assert_eq!(prompts(&engine), [texts]);
    let titles: Vec<&str> = boxes(&annotation).iter().map(|(title, _)| *title).collect();
    assert_eq!(titles, ["Vehicle_bbox", "Vehicle_bbox", "Plant_bbox", "Plant_bbox"]);
}

#[tokio::test]
async fn an_empty_mapping_asks_nothing() {
    let (session, engine) = session();
    let annotation = infer(&session, json!({"mapping": {}})).await.unwrap();
    assert_eq!(boxes(&annotation), []);
    assert_eq!(engine.asked(), []);
}

#[tokio::test]
async fn inverted_boxes_are_dropped_in_every_mode() {
    let (session, _) = session();
    for settings in [json!({"text": Phrase::INVERT}), json!({"mapping": {"box": Phrase::INVERT}})] {
        let annotation = infer(&session, settings).await.unwrap();
        assert_eq!(boxes(&annotation), [("box_bbox", [[5, 5], [5, 5]])]);
    }
}

#[tokio::test]
async fn a_region_is_all_that_the_model_sees() {
    let (session, engine) = session();
    let region = json!({"points": {"exterior": [[20, 10], [59, 29]], "interior": []}});
    let annotation = infer(&session, json!({"text": "car", "rectangle": region})).await.unwrap();
    let asked = engine.asked();
    assert_eq!((asked[0].width, asked[0].height), (40, 20));
    assert_eq!(boxes(&annotation), [("car_bbox", [[20, 10], [40, 20]])]);
    assert_eq!((annotation.size.width, annotation.size.height), (100, 80));
}

#[tokio::test]
async fn a_region_outside_the_picture_is_refused() {
    let (session, engine) = session();
    for exterior in [[[0, 0], [100, 20]], [[-1, 0], [20, 20]], [[200, 200], [300, 300]]] {
        let region = json!({"points": {"exterior": exterior}});
        let error = infer(&session, json!({"text": "car", "rectangle": region})).await.unwrap_err();
        assert_eq!(error.to_string(), "Rectangle for crop out of image area!");
    }
    assert_eq!(engine.asked(), []);
    assert!(Rectangle::from_corners([0.0, 0.0, 99.0, 79.0]).is_some());
}

#[tokio::test]
async fn settings_reach_the_engine_and_the_labels() {
    let (session, engine) = session();
    let annotation = infer(&session, json!({"text": "car", "scores": true, "max_new_tokens": 7})).await.unwrap();
    assert_eq!(engine.asked()[0].max_new_tokens, 7);
    assert_eq!(annotation.objects[0].tags[0].value, json!(0.5));
    let annotation = infer(&session, json!({"text": "car", "conf": 0.6})).await.unwrap();
    assert_eq!(boxes(&annotation), []);
}

/// The fake's boxes are 51x41 pixels; those of neighbours overlap by 0.48, of the next but one by 0.23.
#[tokio::test]
async fn of_overlapping_boxes_of_one_class_one_stays() {
    let (session, _) = session();
    let titles = async |settings: Value| {
        let annotation = infer(&session, settings).await.unwrap();
        boxes(&annotation).into_iter().map(|(title, [[left, _], _])| format!("{title} {left}")).collect::<Vec<_>>()
    };
    let mapping = json!({"Vehicle": ["car", "bus"], "Plant": "tree"});
    let all = ["Vehicle_bbox 0", "Vehicle_bbox 10", "Plant_bbox 20"];
    assert_eq!(titles(json!({"mapping": mapping})).await, all);
    assert_eq!(titles(json!({"mapping": mapping, "nms_iou": 0.5})).await, all);
    assert_eq!(titles(json!({"mapping": mapping, "nms_iou": 0.4})).await, ["Vehicle_bbox 0", "Plant_bbox 20"]);
    assert_eq!(
        titles(json!({"text": "car, car, bus, car", "nms_iou": 0.4})).await,
        ["car_bbox 0", "bus_bbox 20", "car_bbox 30"]
    );
    assert_eq!(titles(json!({"task_prompt": "<REGION_PROPOSAL>", "nms_iou": 0.4})).await, ["object_bbox 0"]);
}

#[tokio::test]
async fn boxes_of_a_wrong_size_are_dropped() {
    let (session, _) = session();
    let count = async |settings: Value| infer(&session, settings).await.unwrap().objects.len();
    assert_eq!(count(json!({"text": "car", "min_box_px": 41})).await, 1);
    assert_eq!(count(json!({"text": "car", "min_box_px": 42})).await, 0);
    assert_eq!(count(json!({"text": "car", "max_box_area": 0.27})).await, 1);
    assert_eq!(count(json!({"text": "car", "max_box_area": 0.26})).await, 0);
    // 21x11 of a region of 40x20 pixels: what the model saw counts.
    let region = json!({"points": {"exterior": [[20, 10], [59, 29]], "interior": []}});
    assert_eq!(count(json!({"text": "car", "rectangle": region, "max_box_area": 0.28})).await, 0);
}

#[tokio::test]
async fn the_meta_grows_with_what_was_named() {
    let (session, _) = session();
    infer(&session, json!({"text": "zebra, ox"})).await.unwrap();
    infer(&session, json!({"text": "ox"})).await.unwrap();
    let titles: Vec<String> = session.project_meta().classes.into_iter().map(|class| class.title).collect();
    assert_eq!(titles, ["object", "zebra_bbox", "ox_bbox"]);
}

#[tokio::test]
async fn the_engines_errors_come_through() {
    let (session, _) = session();
    let error = infer(&session, json!({"text": Phrase::OVERLOAD})).await.unwrap_err();
    assert_eq!(error, SessionError::Engine(EngineError::Overloaded));
}
