//! What waits is bounded, in number and in time, and what nobody waits for is not worked on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serve_florence_2::engine::{Engine, EngineError, EngineSettings, ModelEngine, PlaceLimits, Request, Stage};
use serve_florence_2::florence::generation::GenerationOptions;
use serve_florence_2::florence::image::Picture;

use crate::support::engines::{ask, ask_in_run, demo_engine, single};
use crate::support::random::Random;
use crate::support::scenes::Scene;

fn small_queue() -> EngineSettings {
    let places = PlaceLimits { pictures: 16, run_pictures: 4, ..Default::default() };
    EngineSettings { places, ..Default::default() }
}

fn scene(seed: u64) -> Arc<Picture> {
    Arc::new(Scene::draw(&mut Random::new(seed), 128).picture)
}

/// A request for answers that never end by themselves.
fn endless(engine: &ModelEngine, picture: &Arc<Picture>, prompts: usize) -> Request {
    let options = GenerationOptions { max_new_tokens: 500, min_new_tokens: 500, ..Default::default() };
    Request { options, ..single(engine, picture, &vec!["<DETAILED_CAPTION>"; prompts]).unwrap() }
}

#[tokio::test]
async fn more_than_can_wait_is_refused_at_once_and_the_rest_is_answered() {
    let engine = demo_engine(small_queue()).await;
    let picture = scene(1);
    let asked: Vec<_> = (0..100)
        .map(|_| {
            let (engine, picture) = (engine.clone(), Arc::clone(&picture));
            tokio::spawn(async move { ask(&engine, &picture, &["<OD>"]).await })
        })
        .collect();
    let (mut answered, mut refused) = (0, 0);
    for answer in asked {
        match answer.await.unwrap() {
            Ok(replies) => answered += replies.len(),
            Err(EngineError::Overloaded) => refused += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(answered >= 16 && refused > 0 && answered + refused == 100, "{answered} answered, {refused} refused");
    assert_eq!(engine.stats().refused, refused as u64);
    assert_eq!((engine.stats().singles, engine.stats().run_pictures), (0, 0), "all places are free again");
}

#[tokio::test]
async fn runs_wait_for_room_and_are_all_answered() {
    let engine = demo_engine(small_queue()).await;
    let asked: Vec<_> = (0..3)
        .flat_map(|_| {
            let run = engine.places().open_run();
            (0..20).map(move |index| (run, index))
        })
        .map(|(run, index)| {
            let engine = engine.clone();
            tokio::spawn(async move { ask_in_run(&engine, run, &scene(index), &["<OD>"]).await })
        })
        .collect();
    for answer in asked {
        assert_eq!(answer.await.unwrap().unwrap().len(), 1);
    }
    assert_eq!(engine.stats().refused, 0);
}

#[tokio::test]
async fn a_deadline_ends_a_request_and_names_its_stage() {
    let engine = demo_engine(small_queue()).await;
    let picture = scene(2);
    let deadline = Some(Instant::now() + Duration::from_millis(1500));
    let late = engine.infer(Request { deadline, ..endless(&engine, &picture, 16) }).await;
    assert_eq!(late, Err(EngineError::DeadlineExceeded { stage: Stage::Writing }));
    assert_eq!(late.unwrap_err().to_string(), "the time for the request ran out while writing the answers");
    let past = engine.infer(Request { deadline: Some(Instant::now()), ..endless(&engine, &picture, 1) }).await;
    assert!(matches!(past, Err(EngineError::DeadlineExceeded { .. })));
    let in_time = Some(Instant::now() + Duration::from_secs(60));
    let request = Request { deadline: in_time, ..single(&engine, &picture, &["<OD>"]).unwrap() };
    assert_eq!(engine.infer(request).await.unwrap().len(), 1);
    assert_eq!(engine.stats().given_up, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_done_for_clients_that_went_away() {
    let engine = demo_engine(EngineSettings::default()).await;
    let clients: Vec<_> = (0..64)
        .map(|seed| {
            let engine = engine.clone();
            tokio::spawn(async move {
                let request = endless(&engine, &scene(seed % 8), 1);
                let asked = tokio::time::timeout(Duration::from_millis(200), engine.infer(request)).await;
                assert!(asked.is_err(), "it would go on");
            })
        })
        .collect();
    for client in clients {
        client.await.unwrap();
    }
    // The step under way ends, and no other begins; neither does anything else for those that had not begun.
    let gone = engine.stats();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let later = engine.stats();
    assert!(later.steps <= gone.steps + 1, "{} steps, then {}", gone.steps, later.steps);
    assert!(later.vision_passes <= gone.vision_passes + 1 && later.encoder_passes <= gone.encoder_passes + 1);
    assert_eq!((later.given_up, later.writing, later.singles), (64, 0, 0));
    assert!(gone.steps > 0, "some were written");
    println!("64 clients dropped: {} steps until the last went, {} after", gone.steps, later.steps - gone.steps);
    assert_eq!(ask(&engine, &scene(1), &["<OD>"]).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_request_that_is_given_up_or_wrong_hurts_no_other() {
    let engine = demo_engine(EngineSettings::default()).await;
    let picture = scene(3);
    let expected = ask(&engine, &picture, &["<OD>"]).await.unwrap();
    let given_up = tokio::spawn({
        let (engine, request) = (engine.clone(), endless(&engine, &picture, 500));
        async move { engine.infer(request).await }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    let (right, wrong) = tokio::join!(ask(&engine, &picture, &["<OD>"]), ask(&engine, &picture, &["<OD>", "<OD>cat"]));
    assert_eq!(right.unwrap(), expected, "hundreds of answers do not stand in the way");
    assert!(matches!(wrong, Err(EngineError::InvalidRequest(_))));
    given_up.abort();
    assert!(given_up.await.unwrap_err().is_cancelled());
    assert_eq!(ask(&engine, &picture, &["<OD>"]).await.unwrap(), expected);
}
