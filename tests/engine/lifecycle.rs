//! Models come and go: a swap under requests, a swap that fails, freezing and waking, unloading.

use std::path::Path;
use std::sync::Arc;

use serve_florence_2::engine::{Engine, EngineError, EngineSettings, ModelEngine, ModelPlan, Serving};
use serve_florence_2::florence::image::Picture;
use serve_florence_2::models::{ModelSource, RandomSize};

use crate::support::engines::{ask, demo_engine, plan, single, spawn_ask};
use crate::support::random::Random;
use crate::support::scenes::Scene;

/// A checkpoint with other weights than the demo's.
fn other_model() -> ModelSource {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/golden");
    let mut sets: Vec<_> = std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    sets.sort();
    let folder = sets.into_iter().map(|set| set.join("native")).find(|folder| folder.join("config.json").is_file());
    ModelSource::Folder(folder.unwrap())
}

fn scene() -> Arc<Picture> {
    Arc::new(Scene::draw(&mut Random::new(31), 128).picture)
}

async fn caption(engine: &ModelEngine) -> Result<String, EngineError> {
    Ok(ask(engine, &scene(), &["<CAPTION>"]).await?.remove(0).text)
}

#[tokio::test]
async fn nothing_answers_before_a_model_is_deployed_and_after_it_is_unloaded() {
    let engine = ModelEngine::new(EngineSettings::default());
    assert_eq!(caption(&engine).await, Err(EngineError::Undeployed));
    let served = engine.deploy(plan(ModelSource::Demo)).await.unwrap();
    assert_eq!((served.name.as_str(), served.device.as_str(), served.precision.as_str()), ("demo", "cpu", "FP32"));
    assert_eq!(engine.deployment().serving, Serving::Ready(served));
    assert!(caption(&engine).await.is_ok());
    engine.unload().await;
    assert_eq!(caption(&engine).await, Err(EngineError::Undeployed));
    assert_eq!(engine.freeze().await, Err(EngineError::Undeployed));
}

#[tokio::test]
async fn while_the_first_model_loads_callers_are_told_so() {
    let engine = ModelEngine::new(EngineSettings::default());
    let picture = scene();
    let deploying = engine.deploy(plan(ModelSource::Demo));
    let asking = async {
        // The load has begun once its stage is told.
        while engine.deployment().loading.is_none() {
            assert!(engine.deployment().model().is_none(), "it was not that quick");
            tokio::task::yield_now().await;
        }
        ask(&engine, &picture, &["<CAPTION>"]).await
    };
    let (deployed, asked) = tokio::join!(deploying, asking);
    assert!(deployed.is_ok());
    assert_eq!(asked, Err(EngineError::Loading));
}

#[tokio::test]
async fn a_model_that_fails_leaves_the_one_before_in_place() {
    let engine = demo_engine(EngineSettings::default()).await;
    let expected = caption(&engine).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    for (file, content) in [("config.json", "{}"), ("model.safetensors", "no weights")] {
        std::fs::write(folder.path().join(file), content).unwrap();
    }
    let failed = engine.deploy(plan(ModelSource::Folder(folder.path().to_owned()))).await;
    assert!(matches!(failed, Err(EngineError::Load(_))), "{failed:?}");
    let deployment = engine.deployment();
    assert_eq!(deployment.model().unwrap().name, "demo");
    assert!(deployment.loading.is_none() && deployment.failure.unwrap().message.contains("config.json"));
    assert_eq!(caption(&engine).await.unwrap(), expected);
    assert!(engine.deploy(plan(ModelSource::Demo)).await.is_ok());
    assert_eq!(engine.deployment().failure, None, "a load that succeeds is the end of it");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_asks_for_the_same_model_shares_the_load() {
    let engine = ModelEngine::new(EngineSettings::default());
    let plans = || [plan(ModelSource::Demo), plan(ModelSource::Demo), plan(ModelSource::Demo)];
    let deployments = plans().map(|plan| engine.deploy(plan));
    let served = futures_util::future::join_all(deployments).await;
    assert!(served.iter().all(|served| served.as_ref().is_ok_and(|served| served.name == "demo")));
    engine.deploy(plan(ModelSource::Demo)).await.unwrap();
    assert_eq!(engine.stats().loads, 1, "it is served already");
    engine.deploy(ModelPlan { update: true, ..plan(ModelSource::Demo) }).await.unwrap();
    assert_eq!(engine.stats().loads, 2, "there may be newer files");
    for _ in 0..2 {
        engine.deploy(plan(other_model())).await.unwrap();
    }
    assert_eq!(engine.stats().loads, 4, "a user's folder may have changed");

    let absent = || plan(ModelSource::Folder("absent".into()));
    let failures = futures_util::future::join_all([absent(), absent()].map(|plan| engine.deploy(plan))).await;
    assert!(failures.iter().all(|failure| matches!(failure, Err(EngineError::Load(_)))), "{failures:?}");
    assert_eq!(engine.stats().failed_loads, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_can_be_broken_off() {
    let engine = demo_engine(EngineSettings::default()).await;
    assert!(!engine.cancel_loading(), "nothing is loading");
    let expected = caption(&engine).await.unwrap();
    let loading = engine.deploy(plan(ModelSource::Random(RandomSize::Base)));
    let cancelling = async {
        begun(&engine).await;
        assert!(engine.cancel_loading());
    };
    let (result, ()) = tokio::join!(loading, cancelling);
    assert_eq!(result, Err(EngineError::Cancelled));
    let deployment = engine.deployment();
    assert!(deployment.loading.is_none() && deployment.failure.is_none());
    assert_eq!(caption(&engine).await, Ok(expected), "the model before it stays");
}

/// Waits until a load is well under way.
async fn begun(engine: &ModelEngine) {
    while engine.deployment().loading.is_none_or(|loading| loading.step.amount().is_none()) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn breaking_off_ends_what_waits_and_nothing_that_comes_later() {
    let engine = demo_engine(EngineSettings::default()).await;
    let random = || plan(ModelSource::Random(RandomSize::Base));
    let loading = engine.deploy(random());
    let (same, other) = (engine.deploy(random()), engine.deploy(plan(other_model())));
    let cancelling = async {
        begun(&engine).await;
        assert!(engine.cancel_loading());
        // It comes while the load is still breaking off.
        engine.deploy(plan(other_model())).await
    };
    let (first, same, other, later) = tokio::join!(loading, same, other, cancelling);
    for ended in [first, same, other] {
        assert_eq!(ended, Err(EngineError::Cancelled));
    }
    assert!(later.is_ok());
    assert_eq!(engine.stats().loads, 2, "the demo model, and the last");
}

#[tokio::test(flavor = "multi_thread")]
async fn freezing_is_about_the_model_that_is_there() {
    let engine = demo_engine(EngineSettings::default()).await;
    let loading = engine.deploy(plan(ModelSource::Random(RandomSize::Base)));
    let freezing = async {
        begun(&engine).await;
        engine.freeze().await
    };
    let (loaded, frozen) = tokio::join!(loading, freezing);
    assert_eq!((loaded.is_ok(), frozen), (true, Ok(())));
    assert!(matches!(engine.deployment().serving, Serving::Ready(_)), "it took over in between");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swap_under_requests_loses_none_and_mixes_none() {
    let engine = demo_engine(EngineSettings::default()).await;
    let of_demo = caption(&engine).await.unwrap();
    engine.deploy(plan(other_model())).await.unwrap();
    let of_other = caption(&engine).await.unwrap();
    assert_ne!(of_demo, of_other);
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let (engine, known) = (engine.clone(), [of_demo.clone(), of_other.clone()]);
            tokio::spawn(async move {
                let mut seen = [0, 0];
                for _ in 0..30 {
                    let text = caption(&engine).await.unwrap();
                    seen[known.iter().position(|one| *one == text).expect("an answer of neither model")] += 1;
                }
                seen
            })
        })
        .collect();
    for source in [ModelSource::Demo, other_model(), ModelSource::Demo] {
        engine.deploy(plan(source)).await.unwrap();
        // From here on nothing but the new model answers.
        let expected = if engine.deployment().model().unwrap().name == "demo" { &of_demo } else { &of_other };
        assert_eq!(caption(&engine).await.as_ref(), Ok(expected));
    }
    let mut seen = [0, 0];
    for client in clients {
        let [demo, other] = client.await.unwrap();
        seen = [seen[0] + demo, seen[1] + other];
    }
    println!("answers of either model while they were swapped: {seen:?}");
    assert_eq!(seen[0] + seen[1], 240);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_model_wakes_once_for_all_that_ask() {
    let engine = demo_engine(EngineSettings::default()).await;
    let expected = caption(&engine).await.unwrap();
    engine.freeze().await.unwrap();
    let deployment = engine.deployment();
    assert!(matches!(deployment.serving, Serving::Frozen(_)));
    assert_eq!(deployment.model().unwrap().name, "demo", "it still counts as deployed");
    let picture = scene();
    let asked: Vec<_> = (0..5).map(|_| spawn_ask(&engine, &picture, &["<CAPTION>"])).collect();
    for answer in asked {
        assert_eq!(answer.await.unwrap().unwrap()[0].text, expected);
    }
    assert!(matches!(engine.deployment().serving, Serving::Ready(_)));
    engine.freeze().await.unwrap();
    engine.freeze().await.unwrap();
    assert_eq!(caption(&engine).await.as_ref(), Ok(&expected), "freezing twice is freezing once");
    engine.freeze().await.unwrap();
    engine.deploy(plan(other_model())).await.unwrap();
    assert_ne!(caption(&engine).await.unwrap(), expected, "a frozen model can be replaced");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_model_that_cannot_wake_says_so_and_may_wake_later() {
    let ModelSource::Folder(original) = other_model() else { unreachable!() };
    let parent = tempfile::tempdir().unwrap();
    let (folder, elsewhere) = (parent.path().join("model"), parent.path().join("elsewhere"));
    std::fs::create_dir(&folder).unwrap();
    for file in std::fs::read_dir(original).unwrap().map(Result::unwrap) {
        std::fs::copy(file.path(), folder.join(file.file_name())).unwrap();
    }
    let engine = ModelEngine::new(EngineSettings::default());
    engine.deploy(plan(ModelSource::Folder(folder.clone()))).await.unwrap();
    let expected = caption(&engine).await.unwrap();
    engine.freeze().await.unwrap();
    std::fs::rename(&folder, &elsewhere).unwrap();
    let picture = scene();
    let asked: Vec<_> = (0..3).map(|_| spawn_ask(&engine, &picture, &["<CAPTION>"])).collect();
    for answer in asked {
        assert!(matches!(answer.await.unwrap(), Err(EngineError::Load(_))));
    }
    assert!(engine.deployment().failure.is_some());
    std::fs::rename(&elsewhere, &folder).unwrap();
    assert_eq!(caption(&engine).await, Ok(expected));
    assert_eq!(engine.deployment().failure, None);
}

/// A cascade that began with one model ends with it.
#[tokio::test(flavor = "multi_thread")]
async fn all_that_is_asked_about_a_picture_is_answered_by_one_model() {
    let engine = demo_engine(EngineSettings::default()).await;
    let of_demo = caption(&engine).await.unwrap();
    let picture = scene();
    let first = single(&engine, &picture, &["<CAPTION>"]).unwrap();
    let second = first.clone();
    assert_eq!(engine.infer(first).await.unwrap()[0].text, of_demo);
    engine.deploy(plan(other_model())).await.unwrap();
    assert_ne!(caption(&engine).await.unwrap(), of_demo);
    assert_eq!(engine.infer(second).await.unwrap()[0].text, of_demo);
}

/// What a model was asked when it is frozen or unloaded, it answers.
#[tokio::test(flavor = "multi_thread")]
async fn requests_under_way_survive_freezing_and_unloading() {
    let engine = demo_engine(EngineSettings::default()).await;
    for round in 0..12 {
        // Its features are known from the second round on, which goes another way through the engine.
        let asked: Vec<_> = (0..1 + round % 4)
            .map(|_| {
                let engine = engine.clone();
                tokio::spawn(async move { caption(&engine).await })
            })
            .collect();
        tokio::time::sleep(std::time::Duration::from_millis(3 * round)).await;
        if round % 3 == 2 {
            engine.unload().await;
        } else {
            engine.freeze().await.unwrap();
        }
        for answer in asked {
            let answer = answer.await.unwrap();
            // Whoever came after the model went is told so, and never left alone.
            assert!(matches!(answer, Ok(_) | Err(EngineError::Undeployed | EngineError::Loading)), "{answer:?}");
        }
        engine.deploy(plan(ModelSource::Demo)).await.unwrap();
    }
}
