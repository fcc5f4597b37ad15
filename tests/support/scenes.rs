//! Draws pictures of coloured shapes as those that the demo model was trained on, with the truth about them.

use super::random::Random;
use serve_florence_2::florence::image::Picture;

const COLOURS: [(&str, [f64; 3]); 8] = [
    ("red", [214., 40., 40.]),
    ("green", [46., 160., 67.]),
    ("blue", [33., 90., 214.]),
    ("yellow", [240., 205., 35.]),
    ("orange", [240., 130., 20.]),
    ("purple", [125., 50., 180.]),
    ("white", [245., 245., 245.]),
    ("black", [20., 20., 20.]),
];
const SHAPES: [&str; 5] = ["circle", "square", "triangle", "star", "cross"];
const NUMBERS: [&str; 6] = ["no", "one", "two", "three", "four", "many"];
/// Samples on each side of a pixel, which smooths edges.
const SAMPLES: usize = 2;

/// A shape in a scene.
#[derive(Debug, Clone)]
pub struct Object {
    pub colour: &'static str,
    pub shape: &'static str,
    /// `[left, top, right, bottom]` in pixels.
    pub corners: [f64; 4],
}

/// A picture with what is in it.
pub struct Scene {
    pub picture: Picture,
    pub objects: Vec<Object>,
}

impl Scene {
    /// One to five shapes on a plain or shaded square ground.
    pub fn draw(random: &mut Random, side: usize) -> Self {
        Self::draw_sized(random, [side; 2])
    }

    /// The same on a ground of `[width, height]` pixels: a square scene, stretched, which the model squeezes again.
    pub fn draw_sized(random: &mut Random, size: [usize; 2]) -> Self {
        let mut pixels = ground(random, size);
        let wanted = [1, 2, 2, 2, 3, 3, 3, 4, 4, 5][random.below(10)];
        let mut objects: Vec<Object> = vec![];
        for _ in 0..60 {
            if objects.len() == wanted {
                break;
            }
            if let Some(object) = place(random, size, &mut pixels, &objects) {
                objects.push(object);
            }
        }
        let rgb = pixels.iter().flatten().map(|value| value.clamp(0., 255.) as u8).collect();
        // From the top in four bands, each from the left: the order in which the captions speak.
        let band = |object: &Object| (object.corners[1] / size[1] as f64 * 4.).round() as i64;
        objects.sort_by(|a, b| (band(a), a.corners[0]).partial_cmp(&(band(b), b.corners[0])).unwrap());
        Self { picture: Picture::new(size[0] as u32, size[1] as u32, rgb).unwrap(), objects }
    }

    /// The kinds of objects, in order of appearance, each with its phrase such as `two red stars`.
    pub fn groups(&self) -> Vec<(String, Vec<&Object>)> {
        let mut groups: Vec<Vec<&Object>> = vec![];
        for object in &self.objects {
            let same = |group: &&mut Vec<&Object>| (group[0].colour, group[0].shape) == (object.colour, object.shape);
            match groups.iter_mut().find(same) {
                Some(group) => group.push(object),
                None => groups.push(vec![object]),
            }
        }
        groups.into_iter().map(|group| (phrase(&group), group)).collect()
    }

    /// The caption that names every object.
    pub fn caption(&self) -> String {
        let phrases: Vec<String> = self.groups().into_iter().map(|(phrase, _)| phrase).collect();
        match phrases.split_last() {
            Some((last, [])) => last.clone(),
            Some((last, first)) => format!("{} and {last}", first.join(", ")),
            None => String::new(),
        }
    }
}

fn phrase(group: &[&Object]) -> String {
    let (colour, shape) = (group[0].colour, group[0].shape);
    if group.len() == 1 {
        let article = if colour.starts_with('o') { "an" } else { "a" };
        return format!("{article} {colour} {shape}");
    }
    let ending = if shape == "cross" { "es" } else { "s" };
    format!("{} {colour} {shape}{ending}", NUMBERS[group.len().min(5)])
}

fn ground(random: &mut Random, [width, height]: [usize; 2]) -> Vec<[f64; 3]> {
    let mut colour = || [0; 3].map(|_| random.within(50., 220.));
    let (from, to) = (colour(), colour());
    let is_plain = random.below(2) == 0;
    let is_upright = random.below(2) == 0;
    let noise = random.within(0., 10.);
    let mut pixels = vec![];
    for y in 0..height {
        for x in 0..width {
            let (step, steps) = if is_upright { (y, height) } else { (x, width) };
            let way = if is_plain { 0. } else { step as f64 / steps as f64 };
            let grain = noise * (random.within(-1., 1.) + random.within(-1., 1.));
            pixels.push([0, 1, 2].map(|channel: usize| from[channel] * (1. - way) + to[channel] * way + grain));
        }
    }
    pixels
}

/// Draws one more shape, unless it would cover another or vanish in the ground.
fn place(random: &mut Random, size: [usize; 2], pixels: &mut [[f64; 3]], others: &[Object]) -> Option<Object> {
    let sides = size.map(|side| side as f64);
    let width = random.within(0.12, 0.5) * sides[0];
    let height = width * random.within(0.7, 1.4) * (sides[1] / sides[0]);
    let x = random.within(width / 2., sides[0] - width / 2.);
    let y = random.within((height / 2.).min(sides[1] / 2.), (sides[1] - height / 2.).max(sides[1] / 2.));
    let shape = SHAPES[random.below(SHAPES.len())];
    let angle = if shape == "circle" { 0. } else { random.within(-0.2, 0.2) };
    let points = outline(shape, [x, y], [width, height], angle);
    let corners = bounds(&points, sides);
    let (name, colour) = COLOURS[random.below(COLOURS.len())];
    let colour = colour.map(|value| value + random.within(-14., 14.));
    let under = pixels[(y as usize).min(size[1] - 1) * size[0] + (x as usize).min(size[0] - 1)];
    let contrast: f64 = under.iter().zip(colour).map(|(a, b)| (a - b).abs()).sum();
    if contrast < 90. || others.iter().any(|other| covers(corners, other.corners)) {
        return None;
    }
    fill(pixels, size, &points, colour);
    Some(Object { colour: name, shape, corners })
}

fn outline(shape: &str, centre: [f64; 2], size: [f64; 2], angle: f64) -> Vec<[f64; 2]> {
    use std::f64::consts::PI;
    const ARM: f64 = 0.36;
    let round = |count: usize, radius: &dyn Fn(usize) -> f64, start: f64| {
        let at = |index: usize| 2. * PI * index as f64 / count as f64 + start;
        (0..count).map(|index| [radius(index) * at(index).cos(), radius(index) * at(index).sin()]).collect()
    };
    let points: Vec<[f64; 2]> = match shape {
        "square" => vec![[-1., -1.], [1., -1.], [1., 1.], [-1., 1.]],
        "triangle" => vec![[0., -1.], [1., 1.], [-1., 1.]],
        "star" => round(10, &|index| if index % 2 == 0 { 1. } else { 0.42 }, -PI / 2.),
        "cross" => {
            let corner = [[-ARM, -1.], [ARM, -1.], [ARM, -ARM]];
            // Each quarter is the one before it, turned.
            let turn = |[x, y]: [f64; 2], times: usize| (0..times).fold([x, y], |[x, y], _| [-y, x]);
            (0..4).flat_map(|times| corner.map(|point| turn(point, times))).collect()
        }
        _ => round(40, &|_| 1., 0.),
    };
    let (sin, cos) = angle.sin_cos();
    let place = |[x, y]: [f64; 2]| {
        [centre[0] + (x * cos - y * sin) * size[0] / 2., centre[1] + (x * sin + y * cos) * size[1] / 2.]
    };
    points.into_iter().map(place).collect()
}

fn bounds(points: &[[f64; 2]], sides: [f64; 2]) -> [f64; 4] {
    let extreme = |axis: usize, pick: fn(f64, f64) -> f64| {
        points.iter().map(|point| point[axis]).reduce(pick).unwrap().clamp(0., sides[axis])
    };
    [extreme(0, f64::min), extreme(1, f64::min), extreme(0, f64::max), extreme(1, f64::max)]
}

fn covers(a: [f64; 4], b: [f64; 4]) -> bool {
    let area = |[left, top, right, bottom]: [f64; 4]| (right - left).max(0.) * (bottom - top).max(0.);
    let common = area([a[0].max(b[0]), a[1].max(b[1]), a[2].min(b[2]), a[3].min(b[3])]);
    common > 0.05 * area(a).min(area(b))
}

/// Intersection over union of two boxes.
pub fn iou(a: [f64; 4], b: [f64; 4]) -> f64 {
    let area = |[left, top, right, bottom]: [f64; 4]| (right - left).max(0.) * (bottom - top).max(0.);
    let common = area([a[0].max(b[0]), a[1].max(b[1]), a[2].min(b[2]), a[3].min(b[3])]);
    common / (area(a) + area(b) - common).max(1e-9)
}

fn fill(pixels: &mut [[f64; 3]], size: [usize; 2], points: &[[f64; 2]], colour: [f64; 3]) {
    // Only where the shape is: most of a large picture is ground.
    let [left, top, right, bottom] = bounds(points, size.map(|side| side as f64));
    for y in top as usize..bottom.ceil() as usize {
        for x in left as usize..right.ceil() as usize {
            let offsets = (0..SAMPLES * SAMPLES).map(|sample| {
                let at = |step: usize| (step as f64 + 0.5) / SAMPLES as f64;
                [x as f64 + at(sample % SAMPLES), y as f64 + at(sample / SAMPLES)]
            });
            let hits = offsets.filter(|point| contains(points, *point)).count();
            let inside = hits as f64 / (SAMPLES * SAMPLES) as f64;
            if inside > 0. {
                let pixel = &mut pixels[y * size[0] + x];
                *pixel = [0, 1, 2].map(|channel: usize| pixel[channel] * (1. - inside) + colour[channel] * inside);
            }
        }
    }
}

/// Whether a ray from the point crosses the outline an odd number of times.
fn contains(points: &[[f64; 2]], [x, y]: [f64; 2]) -> bool {
    let next = points.iter().cycle().skip(1);
    points.iter().zip(next).fold(false, |inside, (a, b)| {
        let crosses = (a[1] > y) != (b[1] > y) && x < (b[0] - a[0]) * (y - a[1]) / (b[1] - a[1]) + a[0];
        inside ^ crosses
    })
}
