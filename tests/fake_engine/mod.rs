//! An engine without a model: it answers by the fixed rules that the recordings were made with.
//!
//! The i-th label of a request, from 0, has the box x1 = i*W div 10, y1 = i*H div 10, x2 = min(W-1, x1 + W div 2),
//! y2 = min(H-1, y1 + H div 2). A few phrases make it misbehave, see [`Phrase`].

#![allow(dead_code, reason = "each suite uses its part of the fake")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use serve_florence_2::engine::{
    BoxFuture, Deployment, Engine, EngineError, ModelPlan, PlaceLimits, Places, Reply, Request, ServedModel, Serving,
    Stage, Stats,
};
use serve_florence_2::florence::answer::{Answer, LabelledBox, StopReason};
use serve_florence_2::florence::task::Task;

/// Phrases with a meaning of their own when they are the whole text of a prompt.
pub struct Phrase;

impl Phrase {
    /// The model fails.
    pub const FAIL: &str = "please fail";
    /// The engine panics.
    pub const PANIC: &str = "please panic";
    /// The engine has no room.
    pub const OVERLOAD: &str = "please overload";
    /// The prompt is refused.
    pub const REFUSE: &str = "please refuse";
    /// The answer never comes.
    pub const HANG: &str = "please hang";
    /// Two boxes with corners out of order around one with no area.
    pub const INVERT: &str = "please invert";
}

/// What the fake was asked: the picture's size and the prompts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    pub width: i64,
    pub height: i64,
    pub prompts: Vec<String>,
    pub max_new_tokens: usize,
}

/// The fake. A clone is the same engine.
#[derive(Clone)]
pub struct FakeEngine {
    deployment: Arc<Mutex<Deployment>>,
    places: Arc<Places>,
    asked: Arc<Mutex<Vec<Asked>>>,
    /// Requests that were given up before their answer.
    given_up: Arc<AtomicUsize>,
    score: Option<f64>,
    /// Whether there is something to be won by freezing.
    can_freeze: bool,
}

impl FakeEngine {
    /// An engine that serves Florence-2-large and scores every box 0.5.
    pub fn new() -> Self {
        Self {
            deployment: Arc::new(Mutex::new(Deployment::ready(served_model()))),
            places: Arc::new(Places::new(PlaceLimits::default())),
            asked: Arc::default(),
            given_up: Arc::default(),
            score: Some(0.5),
            can_freeze: true,
        }
    }

    /// The engine of the recordings: on a CPU, where there is nothing to free, and without scores unless `fake_score` says so.
    pub fn recorded() -> Self {
        Self { score: None, can_freeze: false, ..Self::new() }
    }

    /// An engine with that few places.
    pub fn with_places(limits: PlaceLimits) -> Self {
        Self { places: Arc::new(Places::new(limits)), ..Self::new() }
    }

    pub fn set_deployment(&self, deployment: Deployment) {
        *self.deployment.lock().unwrap_or_else(PoisonError::into_inner) = deployment;
    }

    /// Everything that it was asked so far, in the order of arrival.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn given_up(&self) -> usize {
        self.given_up.load(Ordering::SeqCst)
    }

    fn remember(&self, request: &Request) {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).push(Asked {
            width: request.picture.width().into(),
            height: request.picture.height().into(),
            prompts: request.prompts.clone(),
            max_new_tokens: request.options.max_new_tokens,
        });
    }

    async fn answer(&self, request: Request) -> Result<Vec<Reply>, EngineError> {
        self.remember(&request);
        match request.deadline {
            None => self.answer_in_time(request).await,
            Some(deadline) => tokio::time::timeout_at(deadline.into(), self.answer_in_time(request))
                .await
                .unwrap_or(Err(EngineError::DeadlineExceeded { stage: Stage::Writing })),
        }
    }

    async fn answer_in_time(&self, request: Request) -> Result<Vec<Reply>, EngineError> {
        let setting = |key| request.settings.get(key);
        if let Some(seconds) = setting("fake_delay").and_then(Value::as_f64) {
            tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
        }
        if let Some(message) = setting("fake_error").and_then(Value::as_str) {
            return Err(EngineError::Internal(message.to_owned()));
        }
        let score = setting("fake_score").and_then(Value::as_f64).or(self.score);
        let (width, height) = (request.picture.width().into(), request.picture.height().into());
        let mut index = 0;
        let mut replies = Vec::new();
        for prompt in &request.prompts {
            let answer = match phrase_of(prompt) {
                Some(Phrase::HANG) => self.hang().await,
                Some(Phrase::INVERT) => Ok(inverted_boxes()),
                Some(phrase) => misbehave(phrase).map(|()| boxes(&[phrase], (width, height), &mut index, score)),
                None => answer_task(prompt, (width, height), &mut index, score),
            }?;
            replies.push(Reply { ids: vec![], text: String::new(), answer, stop: StopReason::Stop });
        }
        Ok(replies)
    }

    async fn hang(&self) -> Result<Answer, EngineError> {
        struct GivenUp(Arc<AtomicUsize>);
        impl Drop for GivenUp {
            fn drop(&mut self) {
                self.0.fetch_add(1, Ordering::SeqCst);
            }
        }
        let _given_up = GivenUp(Arc::clone(&self.given_up));
        std::future::pending().await
    }
}

impl Engine for FakeEngine {
    fn infer(&self, request: Request) -> BoxFuture<'_, Result<Vec<Reply>, EngineError>> {
        Box::pin(self.answer(request))
    }

    fn places(&self) -> &Places {
        &self.places
    }

    fn deployment(&self) -> Deployment {
        self.deployment.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Any model is there at once.
    fn deploy(&self, plan: ModelPlan) -> BoxFuture<'_, Result<ServedModel, EngineError>> {
        let name = plan.source.name();
        let model = ServedModel { source: format!("microsoft/{name}"), name, ..served_model() };
        self.set_deployment(Deployment::ready(model.clone()));
        Box::pin(async { Ok(model) })
    }

    fn cancel_loading(&self) -> bool {
        false
    }

    fn freeze(&self) -> BoxFuture<'_, Result<(), EngineError>> {
        if !self.can_freeze {
            return Box::pin(async { Err(EngineError::Device("there is nothing to free on a CPU".to_owned())) });
        }
        let model = self.deployment().model().cloned();
        if let Some(model) = model.clone() {
            self.set_deployment(Deployment { serving: Serving::Frozen(model), ..Deployment::default() });
        }
        Box::pin(async move { model.map(drop).ok_or(EngineError::Undeployed) })
    }

    fn unload(&self) -> BoxFuture<'_, ()> {
        self.set_deployment(Deployment::default());
        Box::pin(async {})
    }

    fn stats(&self) -> Stats {
        Stats::default()
    }
}

fn answer_task(prompt: &str, size: (i64, i64), index: &mut i64, score: Option<f64>) -> Result<Answer, EngineError> {
    let labels: Vec<&str> = match Task::of_prompt(prompt) {
        Task::Caption => return Ok(Answer::Text("car, tree".to_owned())),
        Task::DetailedCaption => return Ok(Answer::Text("car, tree, road".to_owned())),
        Task::MoreDetailedCaption => return Ok(Answer::Text("car, tree, road, sky".to_owned())),
        Task::FreeText => return Ok(Answer::Text(format!("answer to {prompt}"))),
        Task::PhraseGrounding => phrases(prompt.trim_start_matches(Task::PhraseGrounding.token())),
        Task::ObjectDetection => vec!["car", "person"],
        Task::DenseRegionCaption => vec!["green car parked on the street"],
        Task::RegionProposal => vec!["", ""],
        task => return Err(EngineError::Internal(format!("the fake knows no {}", task.token()))),
    };
    Ok(boxes(&labels, size, index, score))
}

fn boxes(labels: &[&str], (width, height): (i64, i64), index: &mut i64, score: Option<f64>) -> Answer {
    let boxes = labels.iter().map(|label| {
        let (x1, y1) = (*index * width / 10, *index * height / 10);
        let (x2, y2) = ((x1 + width / 2).min(width - 1), (y1 + height / 2).min(height - 1));
        *index += 1;
        let corners = [x1, y1, x2, y2].map(|corner| corner as f64);
        LabelledBox { label: (*label).to_owned(), corners, score }
    });
    Answer::Boxes(boxes.collect())
}

/// The model that the recordings were made with.
pub fn served_model() -> ServedModel {
    ServedModel {
        name: "Florence-2-large".to_owned(),
        source: "microsoft/Florence-2-large".to_owned(),
        custom: false,
        device: "cpu".to_owned(),
        precision: "FP16".to_owned(),
        hardware: "fake processor".to_owned(),
        stale: None,
    }
}

fn phrases(text: &str) -> Vec<&str> {
    text.split([',', '.']).map(str::trim).filter(|phrase| !phrase.is_empty()).collect()
}

fn phrase_of(prompt: &str) -> Option<&str> {
    let text = prompt.strip_prefix(Task::PhraseGrounding.token())?;
    text.starts_with("please ").then_some(text)
}

fn misbehave(phrase: &str) -> Result<(), EngineError> {
    match phrase {
        Phrase::FAIL => Err(EngineError::Internal("out of memory\nat line 3".to_owned())),
        Phrase::OVERLOAD => Err(EngineError::Overloaded),
        Phrase::REFUSE => Err(EngineError::InvalidRequest("the prompt is too long".to_owned())),
        Phrase::PANIC => panic!("the fake panics as asked"),
        _ => Ok(()),
    }
}

fn inverted_boxes() -> Answer {
    let boxes = [[9.0, 0.0, 5.0, 9.0], [5.0, 5.0, 5.0, 5.0], [0.0, 9.0, 5.0, 5.0]].map(|corners| LabelledBox {
        label: "box".to_owned(),
        corners,
        score: None,
    });
    Answer::Boxes(boxes.to_vec())
}
