//! A run of thousands of pictures does not stand in the way of somebody who asks about one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serve_florence_2::engine::{Engine, EngineSettings, ModelEngine};
use serve_florence_2::florence::image::Picture;

use crate::support::engines::{ask, ask_in_run, demo_engine};
use crate::support::random::Random;
use crate::support::scenes::Scene;

/// Single pictures that are asked about, without and with a run.
const SINGLES: usize = 40;

fn scenes(seed: u64, count: usize) -> Vec<Arc<Picture>> {
    let mut random = Random::new(seed);
    (0..count).map(|_| Arc::new(Scene::draw(&mut random, 160).picture)).collect()
}

/// Asks about one picture after the other, with pauses; the median time of an answer, and the median count of actions for
/// runs that were done meanwhile.
async fn ask_singly(engine: &ModelEngine, pictures: &[Arc<Picture>]) -> (Duration, u64) {
    let mut times = vec![];
    let mut actions = vec![];
    for picture in pictures {
        tokio::time::sleep(Duration::from_millis(23)).await;
        let (start, before) = (Instant::now(), engine.stats().run_actions);
        ask(engine, picture, &["<OD>"]).await.unwrap();
        times.push(start.elapsed());
        actions.push(engine.stats().run_actions - before);
    }
    times.sort();
    actions.sort();
    (times[times.len() / 2], actions[actions.len() / 2])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_delays_single_pictures_by_what_is_under_way() {
    let engine = demo_engine(EngineSettings::default()).await;
    let pictures = scenes(21, 2 * SINGLES);
    let (alone, _) = ask_singly(&engine, &pictures[..SINGLES]).await;

    let stop = Arc::new(AtomicBool::new(false));
    let run = engine.places().open_run();
    let pictures_of_run: Arc<Vec<_>> = Arc::new(scenes(22, 64));
    let clients: Vec<_> = (0..16)
        .map(|client| {
            let (engine, stop, pictures) = (engine.clone(), Arc::clone(&stop), Arc::clone(&pictures_of_run));
            tokio::spawn(async move {
                let mut answered = 0;
                for picture in pictures.iter().cycle().skip(client * 4) {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    answered += ask_in_run(&engine, run, picture, &["<OD>", "<CAPTION>"]).await.unwrap().len();
                }
                answered
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let (beside_run, actions) = ask_singly(&engine, &pictures[SINGLES..]).await;
    stop.store(true, Ordering::Relaxed);
    let mut answered = 0;
    for client in clients {
        answered += client.await.unwrap();
    }
    println!("a single picture: {alone:?} alone, {beside_run:?} beside a run; {actions} of its actions meanwhile");
    // What is under way when it comes or begins while it is prepared, what runs are owed now and then, and what begins before
    // its caller has looked at the counter again. How much that is for one picture depends on how busy the machine is; the
    // rule itself is tested with the policy. In the order of coming, hundreds of the run's actions would go before it.
    assert!(actions <= 4, "{actions} actions");
    assert!(answered > 0, "the run goes on");
}
