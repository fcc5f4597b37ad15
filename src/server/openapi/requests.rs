//! What requests hold. The handlers read it key by key, because clients spell keys in many ways and send more than is asked.

#![allow(dead_code, reason = "these are descriptions, nothing is made of them")]

use serde_json::{Map, Value};
use utoipa::ToSchema;

/// The platform's envelope around the arguments. Every part but the state may be missing.
#[derive(ToSchema)]
pub(in crate::server) struct Envelope<State: ToSchema> {
    state: State,
    /// What the platform says about the call.
    context: Option<Map<String, Value>>,
    /// The caller's token on the platform. Without one, ours is used.
    api_token: Option<String>,
    /// The platform that the caller means.
    server_address: Option<String>,
}

/// The platform's envelope for a route without arguments. It may be empty, and missing.
#[derive(ToSchema)]
pub(in crate::server) struct EmptyEnvelope {
    state: Option<Map<String, Value>>,
    context: Option<Map<String, Value>>,
    api_token: Option<String>,
    server_address: Option<String>,
}

/// How each picture is treated. What is missing or null has its default.
#[derive(ToSchema)]
pub(in crate::server) struct Settings {
    /// A task of the model, or a cascade of two. With a text and no task the text is grounded.
    #[schema(default = "<CAPTION>+<CAPTION_TO_PHRASE_GROUNDING>")]
    task_prompt: Option<String>,
    /// Phrases to find, for tasks that take some.
    #[schema(default = "")]
    text: Option<String>,
    /// Classes to look for, `{class: prompt}` or `{class: [prompt, …]}`; `{class: null}` for tasks that take no text. Goes before `text`.
    mapping: Option<Map<String, Value>>,
    /// Region of interest of every picture.
    rectangle: Option<Region>,
    /// Region of interest of each picture, in order.
    rectangles: Option<Vec<Option<Region>>>,
    /// Most tokens of an answer.
    #[schema(default = 1024, minimum = 1)]
    max_new_tokens: Option<u64>,
    /// Whether each label carries the tag `confidence`.
    #[schema(default = false)]
    scores: Option<bool>,
    /// Labels that score less are dropped; above 0 the tag is on as well.
    #[schema(default = 0, minimum = 0, maximum = 1)]
    conf: Option<f64>,
    /// Of labels of one class that overlap by more (intersection over union) only the best stays.
    #[schema(minimum = 0, maximum = 1)]
    nms_iou: Option<f64>,
    /// Labels that cover a larger share of the picture or region are dropped.
    #[schema(default = 1, exclusive_minimum = 0, maximum = 1)]
    max_box_area: Option<f64>,
    /// Labels whose shorter side has fewer pixels are dropped.
    #[schema(default = 0, minimum = 0)]
    min_box_px: Option<f64>,
}

/// A rectangle in whole pixels, both corners inclusive and in any order.
#[derive(ToSchema)]
pub(in crate::server) struct Region {
    points: Corners,
}

#[derive(ToSchema)]
struct Corners {
    /// Two corners `[x, y]`.
    #[schema(min_items = 2, max_items = 2)]
    exterior: Vec<Vec<f64>>,
    interior: Option<Vec<Value>>,
}

/// An upload: pictures, and how they are treated.
#[derive(ToSchema)]
pub(in crate::server) struct Upload {
    /// The pictures, a part each, of at most 64 MiB.
    #[schema(value_type = Vec<String>, format = Binary)]
    files: Vec<Vec<u8>>,
    /// `{"settings": {…}}` as JSON text: how the pictures are treated.
    settings: Option<String>,
    /// The same under its other name; goes first unless it is empty.
    state: Option<String>,
}

/// An upload of a video of at most 8 GiB, and which of its frames are meant.
#[derive(ToSchema)]
pub(in crate::server) struct VideoUpload {
    /// The video.
    #[schema(value_type = Vec<String>, format = Binary)]
    files: Vec<Vec<u8>>,
    /// The arguments of a video as JSON text. The end frame counts.
    state: Option<String>,
    /// The same under its other name.
    settings: Option<String>,
}

/// A picture of the platform.
#[derive(ToSchema)]
pub(in crate::server) struct PictureState {
    /// Also as `imageId`.
    image_id: i64,
    settings: Option<Settings>,
}

/// Pictures of the platform, and where their predictions go.
#[derive(ToSchema)]
pub(in crate::server) struct PicturesState {
    /// Also as `image_ids`, `images_ids`, `imageIds`, `image_id` or `imageId`, a number or a list; the first that is there counts.
    batch_ids: Vec<i64>,
    settings: Option<Settings>,
    /// Pictures that are worked on at a time.
    #[schema(default = 16, minimum = 1)]
    batch_size: Option<u64>,
    /// `append`, `iou_merge`, `replace` or `create`: predictions go to the platform in place of the answer.
    upload_mode: Option<String>,
    /// Project that gets copies of the pictures and their predictions.
    output_project_id: Option<i64>,
    /// Ending of a class whose name the project uses for another geometry.
    #[schema(default = "_nn")]
    model_prediction_suffix: Option<String>,
}

/// A picture at a public address.
#[derive(ToSchema)]
pub(in crate::server) struct AddressState {
    /// http or https, and not of a private network unless the server was told to allow it.
    image_url: String,
    settings: Option<Settings>,
}

/// A project, or some of its datasets.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(in crate::server) struct ProjectState {
    /// Also as `project_id`.
    #[schema(rename = "projectId")]
    project_id: i64,
    /// Also as `datasetIds`. Missing or null means all, nested ones too.
    dataset_ids: Option<Vec<i64>>,
    settings: Option<Settings>,
    #[schema(default = 16, minimum = 1)]
    batch_size: Option<u64>,
    /// `append`, `iou_merge`, `replace` or `create`.
    upload_mode: Option<String>,
    output_project_id: Option<i64>,
    #[schema(default = "_nn")]
    model_prediction_suffix: Option<String>,
}

/// A project whose pictures are predicted to see how long that takes.
#[derive(ToSchema)]
pub(in crate::server) struct SpeedTestState {
    /// Also as `project_id`.
    #[schema(rename = "projectId")]
    project_id: i64,
    dataset_ids: Option<Vec<i64>>,
    #[schema(minimum = 1, maximum = 1000)]
    batch_size: u64,
    /// Batches that count.
    #[schema(minimum = 1, maximum = 10_000)]
    num_iterations: u64,
    /// Batches before them.
    #[schema(default = 3, maximum = 10_000)]
    num_warmup: Option<u64>,
    settings: Option<Settings>,
}

/// Frames of a video of the platform. Of frame count, end frame and duration the first that is there counts; without any the
/// whole video is meant.
#[derive(ToSchema)]
pub(in crate::server) struct VideoState {
    /// Also as `video_id`.
    #[schema(rename = "videoId")]
    video_id: i64,
    /// Also as `start_frame_index`, `start_frame` or `frameIndex`.
    #[schema(rename = "startFrameIndex", default = 0)]
    start_frame_index: Option<u64>,
    /// Frames of the video that are covered. Also as `frames_count` or `num_frames`.
    #[schema(rename = "framesCount")]
    frames_count: Option<u64>,
    /// The first frame that is not covered. Also as `end_frame_index` or `end_frame`.
    #[schema(rename = "endFrameIndex")]
    end_frame_index: Option<u64>,
    /// Seconds that are covered.
    duration: Option<f64>,
    /// Distance from one frame to the next. Also as `step`.
    #[schema(default = 1, minimum = 1)]
    stride: Option<u64>,
    /// `forward` or `backward`.
    #[schema(default = "forward")]
    direction: Option<String>,
    /// `botsort`, or null for none.
    tracker: Option<String>,
    /// What differs from the defaults of `/get_tracking_settings`.
    tracker_settings: Option<Map<String, Value>>,
    settings: Option<Settings>,
}

/// What the labelling tool asks for: a video as in `/inference_video_id`, and the track that it shows.
#[derive(ToSchema)]
pub(in crate::server) struct TrackingState {
    #[schema(rename = "videoId")]
    video_id: i64,
    /// Id of the tool's track. Also as `track_id`.
    #[schema(rename = "trackId")]
    track_id: Option<String>,
    #[schema(rename = "frameIndex")]
    frame_index: Option<u64>,
    #[schema(rename = "framesCount")]
    frames_count: Option<u64>,
    /// `forward` or `backward`.
    direction: Option<String>,
    #[schema(default = "botsort")]
    tracker: Option<String>,
    settings: Option<Settings>,
}

/// One run.
#[derive(ToSchema)]
pub(in crate::server) struct RunState {
    /// As the route answered that started the run.
    inference_request_uuid: String,
}

/// A picture of the platform, of a folder that the server was given, or in the request; and a prompt.
#[derive(ToSchema)]
pub(in crate::server) struct QuestionState {
    /// Goes to the model as it is; a task at its beginning decides how the answer is read.
    text_prompt: String,
    image_id: Option<i64>,
    /// Inside the folder that `--picture-folder` names.
    image_path: Option<String>,
    /// The picture's file in base64.
    image_encoding: Option<String>,
}

/// Pictures by id or hash, or a video, whole or in parts, that will be needed soon.
#[derive(ToSchema)]
pub(in crate::server) struct CacheState {
    image_ids: Option<Vec<i64>>,
    image_hashes: Option<Vec<String>>,
    video_id: Option<i64>,
    frame_indexes: Option<Vec<u64>>,
    /// Pairs `[first, last]`, both inclusive.
    frame_ranges: Option<Vec<Vec<u64>>>,
}

/// A model, and how it is served.
#[derive(ToSchema)]
pub(in crate::server) struct DeployState {
    /// A published model in any case. May be missing where the parameters name it.
    model_name: Option<String>,
    deploy_params: DeployOrder,
}

/// How a model is served.
#[derive(ToSchema)]
struct DeployOrder {
    /// `Pretrained models`.
    model_source: Option<String>,
    /// `cpu`, `cuda`, `cuda:N`, `all`, `auto`, or null for what the server was started with.
    device: Option<String>,
    /// `PyTorch`: the one name that clients know and that is accepted here.
    runtime: Option<String>,
    /// `{"checkpoint": …}`.
    model_files: Option<Map<String, Value>>,
    /// A row of `/list_pretrained_model_infos`.
    model_info: Option<Map<String, Value>>,
}
