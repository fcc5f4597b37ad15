//! Follows objects from frame to frame: the motion part of BoT-SORT.
//!
//! Each track predicts where its box will be (a Kalman filter of constant velocity, moved along with the camera). Boxes of high
//! scores are matched with tracks first, boxes of low scores keep tracks alive that found none, and what is new becomes a track
//! once it is seen again. There is no model of appearance: a track is found again by where it must be.
//!
//! It knows nothing of models or pictures but grey ones, gives the same answer for the same input, and takes any numbers.

mod assignment;
mod camera;
mod kalman;
mod settings;
#[cfg(test)]
mod tests;

pub use camera::GreyFrame;
pub use settings::{TrackerSettings, TrackerSettingsError};

use self::assignment::{Candidate, assign, overlap};
use self::camera::camera_shift;
use self::kalman::BoxMotion;

/// Greatest distance, as 1 - IoU, of a low-scored box from its track.
const LOW_MATCH_DISTANCE: f64 = 0.5;
/// The same for a track that was seen once.
const UNCONFIRMED_MATCH_DISTANCE: f64 = 0.7;
/// Two tracks that overlap by more follow one object.
const DUPLICATE_OVERLAP: f64 = 0.85;
/// The rate that the settings' buffer is meant for.
const BUFFER_FRAMES_PER_SECOND: f64 = 30.0;

/// A box on a frame.
#[derive(Debug, Clone, PartialEq)]
pub struct Detection {
    /// `[x1, y1, x2, y2]` in pixels.
    pub corners: [f64; 4],
    /// From 0 to 1.
    pub score: f64,
    /// Only boxes of one class belong to one track.
    pub class: String,
}

/// Follows the objects of one video.
#[derive(Debug)]
pub struct Tracker {
    settings: TrackerSettings,
    /// Frames for which a lost track is kept.
    kept_frames: u64,
    tracks: Vec<Track>,
    /// The frame before, as far as the camera's motion is looked at.
    previous: Option<GreyFrame>,
    frame: u64,
    next_id: u64,
}

/// How a track stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TrackState {
    /// Seen once.
    Unconfirmed,
    /// Seen on the frame before.
    Followed,
    /// Not seen for a while.
    Lost,
}

/// An object.
#[derive(Debug)]
struct Track {
    id: u64,
    class: String,
    motion: BoxMotion,
    state: TrackState,
    first_frame: u64,
    last_frame: u64,
    /// The detection of this frame, by its number.
    matched: Option<usize>,
}

impl Tracker {
    /// A tracker for a video of so many frames a second; 0 where that is not known.
    pub fn new(settings: TrackerSettings, frames_per_second: f64) -> Self {
        let rate = if frames_per_second > 0.0 { frames_per_second } else { BUFFER_FRAMES_PER_SECOND };
        let kept_frames = (rate / BUFFER_FRAMES_PER_SECOND * settings.track_buffer as f64).max(1.0) as u64;
        Self { settings, kept_frames, tracks: vec![], previous: None, frame: 0, next_id: 1 }
    }

    /// The track of each detection of the next frame, in order; none where it belongs to no confirmed track. `frame` shows how
    /// the camera moved.
    pub fn update(&mut self, detections: &[Detection], frame: Option<&GreyFrame>) -> Vec<Option<u64>> {
        self.frame += 1;
        self.predict(frame);
        let usable = |detection: &Detection| is_usable(detection, self.settings.min_box_area);
        let (mut high, mut low) = (vec![], vec![]);
        for (index, detection) in detections.iter().enumerate().filter(|(_, detection)| usable(detection)) {
            if detection.score >= self.settings.track_high_thresh {
                high.push(index);
            } else if detection.score > self.settings.track_low_thresh {
                low.push(index);
            }
        }
        let fuses = self.settings.fuse_score;
        let known = |track: &Track| track.state != TrackState::Unconfirmed;
        self.match_with(detections, &mut high, known, (self.settings.match_thresh, fuses));
        let followed = |track: &Track| track.state == TrackState::Followed;
        self.match_with(detections, &mut low, followed, (LOW_MATCH_DISTANCE, false));
        let unconfirmed = |track: &Track| track.state == TrackState::Unconfirmed;
        self.match_with(detections, &mut high, unconfirmed, (UNCONFIRMED_MATCH_DISTANCE, fuses));
        self.settle();
        self.begin_tracks(detections, &high);
        self.drop_duplicates();
        let mut ids = vec![None; detections.len()];
        for track in self.tracks.iter().filter(|track| track.state == TrackState::Followed) {
            if let Some(id) = track.matched.and_then(|index| ids.get_mut(index)) {
                *id = Some(track.id);
            }
        }
        ids
    }

    /// Moves every track to where it should be now.
    fn predict(&mut self, frame: Option<&GreyFrame>) {
        let shift = match (&self.previous, frame) {
            (Some(before), Some(now)) if self.settings.follows_camera() => camera_shift(before, now),
            _ => None,
        };
        for track in &mut self.tracks {
            track.matched = None;
            track.motion.predict(track.state == TrackState::Followed);
            if let Some([columns, rows]) = shift {
                track.motion.shift(columns, rows);
            }
        }
        self.previous = frame.filter(|_| self.settings.follows_camera()).cloned();
    }

    /// Matches tracks that are not matched yet with detections, which then leave the list.
    fn match_with(
        &mut self,
        detections: &[Detection],
        indices: &mut Vec<usize>,
        is_meant: impl Fn(&Track) -> bool,
        (max_distance, fuses_score): (f64, bool),
    ) {
        let tracks: Vec<Candidate<'_>> = self
            .tracks
            .iter()
            .enumerate()
            .filter(|(_, track)| track.matched.is_none() && is_meant(track))
            .map(|(index, track)| Candidate {
                index,
                corners: track.motion.corners(),
                class: &track.class,
                weight: 1.0,
            })
            .collect();
        let boxes: Vec<Candidate<'_>> = indices
            .iter()
            .filter_map(|index| {
                let Detection { corners, score, class } = detections.get(*index)?;
                let weight = if fuses_score { *score } else { 1.0 };
                Some(Candidate { index: *index, corners: *corners, class, weight })
            })
            .collect();
        let matches = assign(&tracks, &boxes, max_distance);
        for (track, index) in matches {
            if let (Some(track), Some(detection)) = (self.tracks.get_mut(track), detections.get(index)) {
                track.motion.update(detection.corners);
                track.matched = Some(index);
                track.last_frame = self.frame;
            }
            indices.retain(|other| *other != index);
        }
    }

    /// Tracks that were seen are followed, others are lost for a while, and what was seen only once is forgotten.
    fn settle(&mut self) {
        let (frame, kept_frames) = (self.frame, self.kept_frames);
        self.tracks.retain_mut(|track| match (track.matched, track.state) {
            (Some(_), _) => {
                track.state = TrackState::Followed;
                true
            }
            (None, TrackState::Unconfirmed) => false,
            (None, _) => {
                track.state = TrackState::Lost;
                frame - track.last_frame <= kept_frames
            }
        });
    }

    fn begin_tracks(&mut self, detections: &[Detection], indices: &[usize]) {
        for index in indices {
            let Some(detection) = detections.get(*index) else { continue };
            if detection.score < self.settings.new_track_thresh {
                continue;
            }
            // On the first frame there is nothing to tell new from old.
            let state = if self.frame == 1 { TrackState::Followed } else { TrackState::Unconfirmed };
            self.tracks.push(Track {
                id: self.next_id,
                class: detection.class.clone(),
                motion: BoxMotion::new(detection.corners),
                state,
                first_frame: self.frame,
                last_frame: self.frame,
                matched: Some(*index),
            });
            self.next_id += 1;
        }
    }

    /// Of a followed and a lost track in one place, the one that has been there for longer stays.
    fn drop_duplicates(&mut self) {
        let mut dropped = vec![];
        for followed in self.tracks.iter().filter(|track| track.state == TrackState::Followed) {
            for lost in self.tracks.iter().filter(|track| track.state == TrackState::Lost) {
                let is_same = followed.class == lost.class
                    && overlap(followed.motion.corners(), lost.motion.corners()) > DUPLICATE_OVERLAP;
                if is_same {
                    let age = |track: &Track| track.last_frame - track.first_frame;
                    dropped.push(if age(followed) > age(lost) { lost.id } else { followed.id });
                }
            }
        }
        self.tracks.retain(|track| !dropped.contains(&track.id));
    }
}

/// Corners in order, a number for a score, and some area.
fn is_usable(detection: &Detection, min_area: f64) -> bool {
    let [x1, y1, x2, y2] = detection.corners;
    let is_box = detection.corners.iter().all(|corner| corner.is_finite()) && x1 < x2 && y1 < y2;
    is_box && detection.score.is_finite() && (x2 - x1) * (y2 - y1) >= min_area
}
