//! Wrong requests.

use std::sync::Arc;

use serve_florence_2::engine::{Engine, EngineError, EngineSettings, Request};
use serve_florence_2::florence::generation::GenerationOptions;
use serve_florence_2::florence::image::Picture;

use crate::support::engines::{ask, demo_engine, single};

#[tokio::test]
async fn wrong_prompts_and_options_are_the_callers_fault() {
    let engine = demo_engine(EngineSettings::default()).await;
    let picture = Arc::new(Picture::new(1, 1, vec![9; 3]).unwrap());
    let too_long = ask(&engine, &picture, &[&"a red circle ".repeat(400)]).await;
    let is_clear = |error: &EngineError| matches!(error, EngineError::PromptTooLong { message, .. } if message.contains("at most 495"));
    assert!(too_long.as_ref().is_err_and(is_clear), "{too_long:?}");
    // Megabytes are refused without being read.
    let endless = ask(&engine, &picture, &[&"a red circle ".repeat(1 << 18)]).await;
    assert!(endless.as_ref().is_err_and(is_clear), "{endless:?}");
    assert!(matches!(ask(&engine, &picture, &["<OD>cat"]).await, Err(EngineError::InvalidRequest(_))));
    let options = GenerationOptions { num_beams: 0, ..Default::default() };
    let no_beams = engine.infer(Request { options, ..single(&engine, &picture, &["<OD>"]).unwrap() }).await;
    assert!(matches!(no_beams, Err(EngineError::InvalidRequest(_))));
    assert_eq!(ask(&engine, &picture, &[]).await, Ok(vec![]), "nothing was asked");
    // And the engine goes on.
    assert_eq!(ask(&engine, &picture, &["<OD>"]).await.unwrap().len(), 1);
    let stats = engine.stats();
    assert_eq!((stats.requests, stats.answered, stats.failed, stats.given_up), (5, 1, 4, 0));
}

#[tokio::test]
async fn a_request_is_timed_in_every_stage_that_it_comes_through() {
    let engine = demo_engine(EngineSettings::default()).await;
    let picture = Arc::new(Picture::new(1, 1, vec![9; 3]).unwrap());
    ask(&engine, &picture, &["<OD>", "<CAPTION>"]).await.unwrap();
    let stats = engine.stats();
    let count = |stage: &str| stats.stage_times.iter().find(|(name, _)| *name == stage).map(|(_, times)| times.count);
    for stage in ["waiting", "preparing", "waiting_for_device", "encoding_picture", "writing", "reading"] {
        assert_eq!(count(stage), Some(1), "{stage}");
    }
    assert_eq!((count("waking"), count("decoding")), (Some(0), None), "it was awake, and decoding comes before");
    let sum = |of: &str| stats.batches.iter().find(|(name, _)| *name == of).map(|(_, sizes)| sizes.sum);
    assert_eq!((sum("pictures"), sum("prompts")), (Some(1.), Some(2.)));
    assert_eq!(sum("answers"), Some(stats.step_answers as f64));
}
