//! Objects that move in known ways.

use serde_json::json;

use super::*;
use crate::florence::image::Picture;

fn tracker() -> Tracker {
    Tracker::new(TrackerSettings::default(), 30.0)
}

fn tracker_with(settings: serde_json::Value) -> Tracker {
    Tracker::new(TrackerSettings::from_json(settings.as_object().unwrap()).unwrap(), 30.0)
}

fn seen(x: f64, y: f64, score: f64, class: &str) -> Detection {
    Detection { corners: [x, y, x + 40.0, y + 30.0], score, class: class.to_owned() }
}

/// Numbers between 0 and 1 that look random.
fn noise(seed: &mut u64) -> f64 {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*seed >> 33) as f64 / f64::from(1_u32 << 31)
}

#[test]
fn objects_keep_their_ids_as_they_move_and_tremble() {
    let (mut tracker, mut seed) = (tracker(), 1);
    for frame in 0..60 {
        let at = f64::from(frame);
        let mut tremble = || noise(&mut seed) * 4.0 - 2.0;
        let detections = [
            seen(3.0 * at + tremble(), 50.0 + tremble(), 0.9, "car"),
            seen(400.0 - 5.0 * at + tremble(), 200.0 + tremble(), 0.8, "car"),
            seen(100.0, 300.0 + 2.0 * at + tremble(), 1.0, "person"),
        ];
        assert_eq!(tracker.update(&detections, None), [Some(1), Some(2), Some(3)], "frame {frame}");
    }
}

#[test]
fn the_order_of_boxes_means_nothing_and_classes_do_not_mix() {
    let mut tracker = tracker();
    for frame in 0..40 {
        // The two meet in the middle and go on.
        let (left, right) =
            (seen(5.0 * f64::from(frame), 0.0, 0.9, "a"), seen(200.0 - 5.0 * f64::from(frame), 0.0, 0.9, "b"));
        let ids =
            if frame % 2 == 0 { tracker.update(&[left, right], None) } else { tracker.update(&[right, left], None) };
        assert_eq!(ids, if frame % 2 == 0 { [Some(1), Some(2)] } else { [Some(2), Some(1)] }, "frame {frame}");
    }
}

#[test]
fn an_object_that_returns_in_time_has_its_old_id() {
    let run = |missed: usize| {
        let mut tracker = tracker_with(json!({"track_buffer": 10}));
        let at = |frame: usize| seen(2.0 * frame as f64, 0.0, 0.9, "a");
        (0..20).for_each(|frame| drop(tracker.update(&[at(frame)], None)));
        (20..20 + missed).for_each(|_| drop(tracker.update(&[], None)));
        let ids: Vec<_> = (20 + missed..24 + missed).map(|frame| tracker.update(&[at(frame)], None)[0]).collect();
        (ids, tracker.tracks.len())
    };
    assert_eq!(run(3), (vec![Some(1); 4], 1));
    assert_eq!(run(10), (vec![Some(1); 4], 1));
    // A new one is confirmed when it is seen again.
    assert_eq!(run(12), (vec![None, Some(2), Some(2), Some(2)], 1));
}

#[test]
fn low_scores_keep_a_track_and_begin_none() {
    let mut tracker = tracker();
    tracker.update(&[seen(0.0, 0.0, 0.9, "a")], None);
    for frame in 1..30 {
        let faint = seen(f64::from(frame), 0.0, 0.3, "a");
        assert_eq!(tracker.update(&[faint, seen(300.0, 300.0, 0.5, "a")], None), [Some(1), None], "frame {frame}");
    }
    let unsure = seen(300.0, 300.0, 0.65, "a");
    for _ in 0..3 {
        assert_eq!(
            tracker.update(std::slice::from_ref(&unsure), None),
            [None],
            "enough to follow, too little to begin"
        );
    }
}

#[test]
fn what_is_seen_once_is_forgotten() {
    let mut tracker = tracker();
    tracker.update(&[seen(0.0, 0.0, 0.9, "a")], None);
    assert_eq!(tracker.update(&[seen(0.0, 0.0, 0.9, "a"), seen(200.0, 0.0, 0.9, "a")], None), [Some(1), None]);
    tracker.update(&[seen(0.0, 0.0, 0.9, "a")], None);
    assert_eq!(tracker.tracks.len(), 1);
}

#[test]
fn boxes_without_area_have_no_track() {
    let mut tracker = tracker();
    let small = Detection { corners: [0.0, 0.0, 3.0, 3.0], ..seen(0.0, 0.0, 1.0, "a") };
    let inverted = Detection { corners: [50.0, 0.0, 10.0, 30.0], ..small.clone() };
    let nowhere = Detection { corners: [f64::NAN, 0.0, 10.0, 30.0], ..small.clone() };
    let unscored = Detection { score: f64::NAN, ..seen(0.0, 0.0, 1.0, "a") };
    for _ in 0..3 {
        let detections = [small.clone(), inverted.clone(), nowhere.clone(), unscored.clone(), seen(0.0, 0.0, 1.0, "a")];
        assert_eq!(tracker.update(&detections, None), [None, None, None, None, Some(1)]);
    }
}

#[test]
fn anything_goes_in_and_nothing_grows() {
    let mut seed = 7;
    let mut tracker = tracker_with(json!({"track_buffer": 5, "new_track_thresh": 0}));
    for _ in 0..300 {
        let odd = [0.0, 1.0, -5.0, 1e300, -1e300, f64::NAN, f64::INFINITY, 1e-300];
        let mut any = || match (noise(&mut seed) * 3.0) as usize {
            0 => odd[(noise(&mut seed) * odd.len() as f64) as usize],
            _ => noise(&mut seed) * 500.0,
        };
        let detections: Vec<Detection> = (0..12)
            .map(|number| Detection {
                corners: [any(), any(), any(), any()],
                score: any(),
                class: (number % 3).to_string(),
            })
            .collect();
        let ids: Vec<u64> = tracker.update(&detections, None).into_iter().flatten().collect();
        let distinct: std::collections::HashSet<u64> = ids.iter().copied().collect();
        assert_eq!(distinct.len(), ids.len(), "a track is in one place");
        assert!(tracker.tracks.len() <= 12 * 8);
    }
}

#[test]
fn two_tracks_in_one_place_become_one() {
    let mut tracker = tracker();
    for _ in 0..5 {
        tracker.update(&[seen(0.0, 0.0, 0.9, "a")], None);
    }
    // Lost for a moment, while something begins right there.
    tracker.tracks[0].state = TrackState::Lost;
    let mut newer = Tracker::new(TrackerSettings::default(), 30.0);
    newer.update(&[seen(1.0, 0.0, 0.9, "a")], None);
    tracker.tracks.push(Track { id: 9, ..newer.tracks.remove(0) });
    tracker.drop_duplicates();
    assert_eq!(tracker.tracks.iter().map(|track| track.id).collect::<Vec<_>>(), [1], "the older one stays");
}

/// A piece of a large pattern, as a camera at this place sees it.
fn view(left: usize, top: usize, light: u8) -> GreyFrame {
    let (width, height) = (320_usize, 240_usize);
    // Squares of a brightness that has nothing to do with that of their neighbours.
    let pattern = |x: usize, y: usize| {
        let mut hash = (x / 23 * 7919 + y / 23 * 104_729) as u64;
        for _ in 0..3 {
            hash = (hash ^ (hash >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        }
        (hash >> 40) % 200
    };
    let rgb = (0..width * height).flat_map(|index| {
        let grey = pattern(left + index % width, top + index / width) as u8;
        [grey.saturating_add(light); 3]
    });
    GreyFrame::of(&Picture::new(width as u32, height as u32, rgb.collect()).unwrap())
}

#[test]
fn the_cameras_motion_is_seen() {
    let still = view(100, 100, 0);
    assert_eq!(camera_shift(&still, &view(100, 100, 0)), None);
    for (left, top) in [(112, 100), (88, 95), (100, 140), (130, 121), (99, 100)] {
        let [columns, rows] = camera_shift(&still, &view(left, top, 0)).unwrap();
        // What the camera leaves behind goes the other way.
        let expected = [100.0 - left as f64, 100.0 - top as f64];
        assert!(
            (columns - expected[0]).abs() < 1.0 && (rows - expected[1]).abs() < 1.0,
            "{left} {top}: {columns} {rows}"
        );
    }
    assert_eq!(camera_shift(&still, &view(2000, 2000, 0)), None, "another scene");
    let other_size = GreyFrame::of(&Picture::new(64, 64, vec![0; 64 * 64 * 3]).unwrap());
    assert_eq!(camera_shift(&still, &other_size), None);
}

#[test]
fn small_objects_are_followed_by_a_moving_camera() {
    let ids = |method: &str| {
        let mut tracker = tracker_with(json!({"cmc_method": method}));
        let mut ids = vec![];
        for frame in 0..12 {
            // The camera starts with a jerk, and its objects are smaller than its steps.
            let left = if frame < 3 { 100 } else { 100 + 24 * (frame - 2) };
            let at = |x: usize| {
                let x = x as f64 - left as f64;
                Detection { corners: [x, 60.0, x + 20.0, 80.0], score: 0.9, class: "a".to_owned() }
            };
            ids.push(tracker.update(&[at(380), at(420)], Some(&view(left, 100, 0))));
        }
        ids
    };
    assert!(ids("sparseOptFlow").iter().all(|ids| ids[..] == [Some(1), Some(2)]), "{:?}", ids("sparseOptFlow"));
    assert!(ids("none").iter().any(|ids| ids[..] != [Some(1), Some(2)]));
}

#[test]
fn settings_are_the_originals() {
    let defaults = serde_json::to_value(TrackerSettings::default()).unwrap();
    let expected = json!({
        "track_high_thresh": 0.6, "track_low_thresh": 0.1, "new_track_thresh": 0.7, "track_buffer": 30, "match_thresh": 0.8,
        "min_box_area": 10.0, "with_reid": true, "reid_weights": null, "proximity_thresh": 0.5, "appearance_thresh": 0.25,
        "fuse_score": false, "ablation": false, "mot20": false, "cmc_method": "sparseOptFlow", "fp16": false
    });
    assert_eq!(defaults.to_string(), expected.to_string());
    assert_eq!(TrackerSettings::from_json(defaults.as_object().unwrap()), Ok(TrackerSettings::default()));
    let error = |settings: serde_json::Value| {
        TrackerSettings::from_json(settings.as_object().unwrap()).unwrap_err().to_string()
    };
    assert_eq!(error(json!({"match_thresh": 2})), "tracker_settings.match_thresh must be a number from 0 to 1");
    assert_eq!(error(json!({"fuse_score": 1})), "tracker_settings.fuse_score must be true or false");
    assert!(error(json!({"cmc_method": "orb"})).ends_with("must be \"sparseOptFlow\" or \"none\""));
    assert!(error(json!({"track_buffer": -1})).contains("track_buffer"));
    assert!(TrackerSettings::from_json(json!({"device": "cpu", "cmc_method": null}).as_object().unwrap()).is_ok());
}

#[test]
fn the_buffer_is_a_time() {
    assert_eq!(Tracker::new(TrackerSettings::default(), 6.0).kept_frames, 6);
    assert_eq!(Tracker::new(TrackerSettings::default(), 0.0).kept_frames, 30);
    assert_eq!(Tracker::new(TrackerSettings::default(), f64::NAN).kept_frames, 30);
    assert_eq!(Tracker::new(TrackerSettings::default(), 0.01).kept_frames, 1);
}
