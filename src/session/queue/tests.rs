//! The queue without a model.

use std::time::Duration;

use serde_json::{Value, json};

use super::*;

async fn finished(queue: &Queue, id: &str) -> RequestStatus {
    loop {
        let status = queue.get(id).unwrap().status();
        if status.is_finished {
            return status;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn results_are_taken_once_and_progress_follows() {
    let queue = Queue::default();
    let id = queue
        .start(|request| async move {
            request.begin(RunStage::Running, 2);
            request.push(&json!({"a": 1}))?;
            request.push(&json!({"a": 2}))?;
            request.set_final_result(json!({"video_ann": null}));
            Ok(())
        })
        .unwrap();
    assert_eq!(id.len(), 32);
    let status = finished(&queue, &id).await;
    assert_eq!((status.progress.current, status.progress.total, status.pending_results), (2, 2, 2));
    let request = queue.get(&id).unwrap();
    assert_eq!(request.take_results().len(), 2);
    assert_eq!((request.take_results().len(), request.status().pending_results), (0, 0));
    let status = Value::Object(request.status().progress_json());
    assert_eq!(status["progress"], json!({"current": 0, "total": 1}), "no progress outside the running stage");
    assert_eq!((&status["stage"], &status["is_inferring"]), (&json!("Finished"), &json!(false)));
    assert_eq!((&status["result"], &request.final_result()), (&json!(true), &json!({"video_ann": null})));
}

#[tokio::test]
async fn failures_and_panics_end_a_request() {
    let queue = Queue::default();
    let failing = queue.start(|_| async { Err(SessionError::UnknownImage { id: 7 }) }).unwrap();
    let status = Value::Object(finished(&queue, &failing).await.progress_json());
    assert_eq!((&status["stage"], &status["exception"]["type"]), (&json!("Error"), &json!("KeyError")));
    assert!(status["exception"]["message"].as_str().unwrap().starts_with("\"Image (id: 7) is either archived"));
    let panicking = queue.start(|_| async { panic!("as asked") }).unwrap();
    let status = finished(&queue, &panicking).await;
    assert_eq!(status.stage, RunStage::Error);
    assert!(matches!(queue.get("nothing"), Err(SessionError::UnknownRequest { .. })));
}

#[tokio::test]
async fn stopping_cancels() {
    let queue = Queue::default();
    let id = queue
        .start(|request| async move {
            request.stopped().cancelled().await;
            Ok(())
        })
        .unwrap();
    queue.get(&id).unwrap().stop();
    let status = finished(&queue, &id).await;
    assert_eq!((status.stage, status.is_stopped), (RunStage::Cancelled, true));
}

#[tokio::test]
async fn a_run_pauses_until_results_are_taken() {
    let queue = Queue::new(QueueSettings { max_pending: 2, ..QueueSettings::default() });
    let id = queue
        .start(|request| async move {
            request.begin(RunStage::Running, 5);
            for number in 0..5 {
                request.wait_for_room().await?;
                request.push(&number)?;
            }
            Ok(())
        })
        .unwrap();
    let request = queue.get(&id).unwrap();
    let mut taken = 0;
    let mut was_paused = false;
    while taken < 5 {
        tokio::time::sleep(Duration::from_millis(1)).await;
        let status = request.peek();
        assert!(status.pending_results <= 2);
        if status.is_paused || status.is_finished {
            was_paused |= status.is_paused;
            taken += request.take_results().len();
        }
    }
    assert!(was_paused);
    assert_eq!(finished(&queue, &id).await.stage, RunStage::Finished);
}

#[tokio::test]
async fn a_pause_without_end_is_an_error() {
    let settings = QueueSettings { max_pending: 0, max_pause: Duration::from_millis(5), ..QueueSettings::default() };
    let queue = Queue::new(settings);
    let id = queue.start(|request| async move { request.wait_for_room().await }).unwrap();
    let status = Value::Object(finished(&queue, &id).await.progress_json());
    assert_eq!(status["exception"]["message"], "Inference request cancelled due to long pause.");
}

#[tokio::test]
async fn cleared_and_old_entries_are_removed() {
    let settings = QueueSettings { cleared_lifetime: Duration::from_millis(10), ..QueueSettings::default() };
    let queue = Queue::new(settings);
    let cleared = queue.start(|_| async { Ok(()) }).unwrap();
    let kept = queue.start(|_| async { Ok(()) }).unwrap();
    finished(&queue, &cleared).await;
    queue.clear(&cleared);
    queue.clear("unknown");
    assert!(queue.get(&cleared).is_ok(), "it stays readable for a while");
    while queue.get(&cleared).is_ok() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(queue.get(&kept).is_ok());
}

#[tokio::test]
async fn too_many_runs_are_refused() {
    let queue = Queue::default();
    let start = || {
        queue.start(|request| async move {
            request.stopped().cancelled().await;
            Ok(())
        })
    };
    let ids: Vec<String> = (0..MAX_UNFINISHED).map(|_| start().unwrap()).collect();
    assert_eq!(start(), Err(EngineError::Overloaded.into()));
    assert_eq!(queue.running(), None, "none of them has begun");
    queue.stop_all();
    finished(&queue, &ids[0]).await;
    while start().is_err() {
        tokio::task::yield_now().await;
    }
}
