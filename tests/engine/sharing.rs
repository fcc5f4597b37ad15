//! A picture is encoded once, whoever asks about it and however often.

use std::sync::Arc;

use serde_json::json;
use serve_florence_2::engine::{Engine, EngineSettings};
use serve_florence_2::session::{Inquiry, Session, SessionSettings};
use serve_florence_2::supervisely::InferenceSettings;

use crate::support::engines::{ask, demo_engine};
use crate::support::random::Random;
use crate::support::scenes::Scene;

#[tokio::test]
async fn many_classes_a_cascade_and_repeated_calls_take_one_vision_pass() {
    let engine = demo_engine(EngineSettings::default()).await;
    let session = Session::new(Arc::new(engine.clone()), SessionSettings::default());
    let mut random = Random::new(5);
    let mut expected = 0;
    let classes: serde_json::Map<_, _> = (0..10).map(|n| (format!("class {n}"), json!("a red circle"))).collect();
    for settings in [json!({ "mapping": classes }), json!({})] {
        let picture = Arc::new(Scene::draw(&mut random, 200).picture);
        let settings = InferenceSettings::parse(settings.as_object().unwrap().clone()).unwrap();
        let inquiry = Inquiry::new(&settings).unwrap();
        expected += 1;
        // The second time the pixels are the same, but not the picture.
        for picture in [Arc::clone(&picture), Arc::new((*picture).clone())] {
            session.infer_picture(picture, None, &inquiry, session.open_run()).await.unwrap();
            let stats = engine.stats();
            assert_eq!((stats.vision_passes, stats.pictures), (expected, expected));
        }
    }
    assert!(engine.stats().feature_bytes > 0 && engine.stats().feature_hits >= 4);
}

#[tokio::test]
async fn requests_about_one_picture_at_the_same_time_share_its_pass() {
    let engine = demo_engine(EngineSettings::default()).await;
    let picture = Arc::new(Scene::draw(&mut Random::new(8), 200).picture);
    let prompts = ["<OD>", "<CAPTION>", "<REGION_PROPOSAL>", "<OD>", "<CAPTION>"];
    let asked: Vec<_> = prompts
        .into_iter()
        .map(|prompt| {
            let (engine, picture) = (engine.clone(), Arc::new((*picture).clone()));
            tokio::spawn(async move { ask(&engine, &picture, &[prompt]).await.unwrap() })
        })
        .collect();
    for answer in asked {
        assert_eq!(answer.await.unwrap().len(), 1);
    }
    assert_eq!(engine.stats().vision_passes, 1);
}

#[tokio::test]
async fn without_room_for_features_every_request_is_still_answered() {
    let engine = demo_engine(EngineSettings { feature_cache_bytes: 0, ..Default::default() }).await;
    let picture = Arc::new(Scene::draw(&mut Random::new(8), 100).picture);
    let first = ask(&engine, &picture, &["<OD>", "<CAPTION>"]).await.unwrap();
    assert_eq!(ask(&engine, &picture, &["<OD>", "<CAPTION>"]).await.unwrap(), first);
    assert_eq!((engine.stats().vision_passes, engine.stats().feature_bytes), (2, 0));
}

/// As several devices are: each replica has its features, and a cascade stays where its picture is.
#[tokio::test(flavor = "multi_thread")]
async fn several_replicas_share_the_queue_and_keep_to_their_pictures() {
    // More threads than this machine has, which a CPU splits into two replicas.
    let engine = demo_engine(EngineSettings { threads: Some(16), ..Default::default() }).await;
    let alone = demo_engine(EngineSettings::default()).await;
    let mut random = Random::new(9);
    let pictures: Vec<_> = (0..12).map(|_| Arc::new(Scene::draw(&mut random, 128).picture)).collect();
    for round in 1..=2 {
        let asked: Vec<_> = pictures
            .iter()
            .map(|picture| {
                let (engine, picture) = (engine.clone(), Arc::clone(picture));
                tokio::spawn(async move { ask(&engine, &picture, &["<OD>"]).await.unwrap() })
            })
            .collect();
        for (answer, picture) in asked.into_iter().zip(&pictures) {
            assert_eq!(answer.await.unwrap()[0].ids, ask(&alone, picture, &["<OD>"]).await.unwrap()[0].ids);
        }
        assert_eq!(engine.stats().vision_passes, 12, "round {round}");
    }
}
