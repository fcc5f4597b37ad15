//! Where a box is and how it moves: a Kalman filter of constant velocity over centre, width and height.
//!
//! The tracker's noise is independent in the four coordinates, and so is all else, so that one filter of eight numbers is four
//! filters of two.

/// Standard deviation of a position, as a share of the box's side.
const POSITION_NOISE: f64 = 1.0 / 20.0;
/// Standard deviation of a velocity, as a share of the box's side a frame.
const VELOCITY_NOISE: f64 = 1.0 / 160.0;
/// How much less is known of a box that was seen once.
const FIRST_POSITION_FACTOR: f64 = 2.0;
const FIRST_VELOCITY_FACTOR: f64 = 10.0;
/// No box gets thinner.
const LEAST_SIDE: f64 = 1e-3;

/// A coordinate with its velocity, and how sure they are: variances of both, and their covariance.
#[derive(Debug, Clone, Copy)]
struct Coordinate {
    value: f64,
    velocity: f64,
    value_variance: f64,
    covariance: f64,
    velocity_variance: f64,
}

/// The motion of a box.
#[derive(Debug, Clone, Copy)]
pub(super) struct BoxMotion {
    x: Coordinate,
    y: Coordinate,
    width: Coordinate,
    height: Coordinate,
}

impl Coordinate {
    fn new(value: f64, side: f64) -> Self {
        Self {
            value,
            velocity: 0.0,
            value_variance: (FIRST_POSITION_FACTOR * POSITION_NOISE * side).powi(2),
            covariance: 0.0,
            velocity_variance: (FIRST_VELOCITY_FACTOR * VELOCITY_NOISE * side).powi(2),
        }
    }

    fn predict(&mut self, side: f64) {
        self.value += self.velocity;
        self.value_variance += 2.0 * self.covariance + self.velocity_variance + (POSITION_NOISE * side).powi(2);
        self.covariance += self.velocity_variance;
        self.velocity_variance += (VELOCITY_NOISE * side).powi(2);
    }

    fn update(&mut self, measured: f64, side: f64) {
        let variance = self.value_variance + (POSITION_NOISE * side).powi(2);
        if variance <= 0.0 {
            self.value = measured;
            return;
        }
        let (gain, velocity_gain) = (self.value_variance / variance, self.covariance / variance);
        let surprise = measured - self.value;
        self.value += gain * surprise;
        self.velocity += velocity_gain * surprise;
        self.velocity_variance -= velocity_gain * self.covariance;
        self.covariance *= 1.0 - gain;
        self.value_variance *= 1.0 - gain;
    }
}

impl BoxMotion {
    /// A box that stands at `[x1, y1, x2, y2]`.
    pub(super) fn new(corners: [f64; 4]) -> Self {
        let [x, y, width, height] = measures(corners);
        Self {
            x: Coordinate::new(x, width),
            y: Coordinate::new(y, height),
            width: Coordinate::new(width, width),
            height: Coordinate::new(height, height),
        }
    }

    /// One frame later. A box that is not seen keeps its size.
    pub(super) fn predict(&mut self, is_seen: bool) {
        if !is_seen {
            self.width.velocity = 0.0;
            self.height.velocity = 0.0;
        }
        let (width, height) = self.sides();
        self.x.predict(width);
        self.y.predict(height);
        self.width.predict(width);
        self.height.predict(height);
    }

    /// It was seen at `[x1, y1, x2, y2]`.
    pub(super) fn update(&mut self, corners: [f64; 4]) {
        let [x, y, seen_width, seen_height] = measures(corners);
        let (width, height) = self.sides();
        self.x.update(x, width);
        self.y.update(y, height);
        self.width.update(seen_width, width);
        self.height.update(seen_height, height);
    }

    /// The picture moved, and the box with it.
    pub(super) fn shift(&mut self, columns: f64, rows: f64) {
        self.x.value += columns;
        self.y.value += rows;
    }

    /// `[x1, y1, x2, y2]`.
    pub(super) fn corners(&self) -> [f64; 4] {
        let (width, height) = self.sides();
        let (x, y) = (self.x.value, self.y.value);
        [x - width / 2.0, y - height / 2.0, x + width / 2.0, y + height / 2.0]
    }

    fn sides(&self) -> (f64, f64) {
        (self.width.value.max(LEAST_SIDE), self.height.value.max(LEAST_SIDE))
    }
}

fn measures([x1, y1, x2, y2]: [f64; 4]) -> [f64; 4] {
    [x1 + (x2 - x1) / 2.0, y1 + (y2 - y1) / 2.0, x2 - x1, y2 - y1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_box_is_predicted_better_and_better() {
        let at = |frame: f64| [10.0 + 4.0 * frame, 20.0, 50.0 + 4.0 * frame, 40.0];
        let mut motion = BoxMotion::new(at(0.0));
        let mut misses = vec![];
        for frame in 1..30 {
            motion.predict(true);
            misses.push((motion.corners()[0] - at(f64::from(frame))[0]).abs());
            motion.update(at(f64::from(frame)));
        }
        assert!(misses[0] > 3.9 && misses[28] < 0.05, "{misses:?}");
        assert!((motion.x.velocity - 4.0).abs() < 0.05 && motion.width.velocity.abs() < 1e-9);
    }

    #[test]
    fn what_is_known_agrees_with_the_filter_of_eight_numbers() {
        // Computed with the textbook's matrices for one coordinate: initiate, predict, update by hand.
        let mut x = Coordinate::new(0.0, 20.0);
        assert_eq!((x.value_variance, x.velocity_variance), (4.0, 1.5625));
        x.predict(20.0);
        assert_eq!((x.value_variance, x.covariance, x.velocity_variance), (6.5625, 1.5625, 1.578125));
        x.update(2.0, 20.0);
        let gain = 6.5625 / 7.5625;
        assert!((x.value - 2.0 * gain).abs() < 1e-12 && (x.velocity - 2.0 * 1.5625 / 7.5625).abs() < 1e-12);
        assert!((x.velocity_variance - (1.578125 - 1.5625 * 1.5625 / 7.5625)).abs() < 1e-12);
    }

    #[test]
    fn a_box_out_of_sight_moves_on_and_keeps_its_size() {
        let mut motion = BoxMotion::new([0.0, 0.0, 10.0, 10.0]);
        for frame in 1..20 {
            motion.predict(true);
            let frame = f64::from(frame);
            motion.update([3.0 * frame, 0.0, 10.0 + 4.0 * frame, 10.0]);
        }
        let before = motion.corners();
        (0..5).for_each(|_| motion.predict(false));
        let after = motion.corners();
        assert!(after[0] > before[0] + 10.0 && ((after[2] - after[0]) - (before[2] - before[0])).abs() < 1e-9);
        motion.shift(100.0, -50.0);
        assert!((motion.corners()[1] - after[1] + 50.0).abs() < 1e-9);
    }
}
