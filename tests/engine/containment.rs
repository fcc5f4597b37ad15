//! Failures made at every point: they stay with their request, less at a time is tried where memory is short, and a device that
//! is lost is told.

use std::sync::Arc;
use std::time::Duration;

use serve_florence_2::engine::{Engine, EngineError, EngineSettings, Fault, Faults, Limits, Point};
use serve_florence_2::florence::image::Picture;

use crate::support::engines::{ask, demo_engine, spawn_ask};
use crate::support::random::Random;
use crate::support::scenes::Scene;

/// What the request asks for which failures are made.
const POISON: &str = "<CAPTION_TO_PHRASE_GROUNDING>poison";

/// Pictures and prompts of several requests go together, so that a failure has company.
fn settings(faults: &Faults) -> EngineSettings {
    let limits = Limits {
        answers: 16,
        reserved: 4,
        pictures: 8,
        prompts: 8,
        steps_between_pictures: 2,
        steps_between_prompts: 1,
        shares_steps: true,
    };
    EngineSettings { limits: Some(limits), faults: faults.clone(), ..Default::default() }
}

fn scenes(count: u64) -> Vec<Arc<Picture>> {
    (0..count).map(|seed| Arc::new(Scene::draw(&mut Random::new(seed), 128).picture)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_at_any_point_is_its_requests_alone() {
    let faults = Faults::default();
    let engine = demo_engine(settings(&faults)).await;
    let pictures = scenes(9);
    let mut expected = vec![];
    for picture in &pictures[..8] {
        expected.push(ask(&engine, picture, &["<OD>"]).await.unwrap());
    }
    for point in [Point::Prepare, Point::See, Point::Begin, Point::Step, Point::Read] {
        for fault in [Fault::Panic, Fault::Error(EngineError::Internal("made".to_owned()))] {
            // Without this the features of the round before would be used.
            let engine = demo_engine(settings(&faults)).await;
            let made = fault.clone();
            faults.set(move |at, prompts| (at == point && prompts.contains(&POISON)).then(|| made.clone()));
            let poisoned = spawn_ask(&engine, &pictures[8], &["<OD>", POISON]);
            let others: Vec<_> = pictures[..8].iter().map(|picture| spawn_ask(&engine, picture, &["<OD>"])).collect();
            let error = poisoned.await.unwrap().unwrap_err();
            assert!(matches!(error, EngineError::Internal(_)), "{point:?} {fault:?}: {error}");
            for (other, expected) in others.into_iter().zip(&expected) {
                let replies = other.await.unwrap().unwrap();
                assert_eq!(replies[0].ids, expected[0].ids, "{point:?} {fault:?}");
            }
            assert_eq!((engine.stats().failed, engine.stats().answered), (1, 8));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_together_is_done_in_smaller_parts() {
    for point in [Point::See, Point::Begin, Point::Step] {
        let faults = Faults::default();
        let engine = demo_engine(settings(&faults)).await;
        faults.set(move |at, prompts| {
            (at == point && prompts.len() > 2).then_some(Fault::Error(EngineError::OutOfMemory))
        });
        let asked: Vec<_> = scenes(8).iter().map(|picture| spawn_ask(&engine, picture, &["<OD>"])).collect();
        for answer in asked {
            assert_eq!(answer.await.unwrap().unwrap().len(), 1, "{point:?}");
        }
        assert!(engine.stats().retries > 0, "{point:?}");
        faults.set(move |at, _| (at == point).then_some(Fault::Error(EngineError::OutOfMemory)));
        // Another picture, because the features of those are known.
        let alone = ask(&engine, &scenes(9)[8], &["<OD>"]).await;
        assert_eq!(alone, Err(EngineError::OutOfMemory), "{point:?}");
        faults.set(|_, _| None);
        assert!(ask(&engine, &scenes(9)[8], &["<OD>"]).await.is_ok(), "{point:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_device_is_told_and_nobody_waits_for_it() {
    let faults = Faults::default();
    let engine = demo_engine(settings(&faults)).await;
    let picture = &scenes(1)[0];
    ask(&engine, picture, &["<OD>"]).await.unwrap();
    let gone = || Some(Fault::Error(EngineError::Internal("CUDA_ERROR_ILLEGAL_ADDRESS".to_owned())));
    faults.set(move |at, _| if matches!(at, Point::Step | Point::Canary) { gone() } else { None });
    let asked: Vec<_> = scenes(20).iter().map(|picture| spawn_ask(&engine, picture, &["<OD>"])).collect();
    for answer in asked {
        let error = answer.await.unwrap().unwrap_err();
        assert!(matches!(error, EngineError::DeviceLost(_)), "{error}");
    }
    let reason = tokio::time::timeout(Duration::from_secs(10), engine.lost()).await.unwrap();
    assert!(reason.contains("ILLEGAL_ADDRESS"), "{reason}");
    assert!(engine.deployment().model().is_none() && engine.deployment().lost.is_some(), "not ready any more");
    assert!(matches!(ask(&engine, picture, &["<OD>"]).await, Err(EngineError::DeviceLost(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_is_lost_while_nothing_is_asked_is_noticed() {
    let faults = Faults::default();
    let engine = demo_engine(settings(&faults)).await;
    faults.set(|at, _| (at == Point::Canary).then(|| Fault::Error(EngineError::Internal("off the bus".to_owned()))));
    let reason = tokio::time::timeout(Duration::from_secs(10), engine.lost()).await.unwrap();
    assert!(reason.contains("off the bus"), "{reason}");
}
