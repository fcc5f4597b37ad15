//! stub
pub struct Picture {
    width: u32,
    height: u32,
    rgb: Vec<u8>,
}
impl Picture {
    pub fn new(width: u32, height: u32, rgb: Vec<u8>) -> Result<Self, String> {
        Ok(Self { width, height, rgb })
    }
    pub fn width(&self) -> u32 {
        self.width
    }
    pub fn height(&self) -> u32 {
        self.height
    }
}
fn axis(
    src: &[u8],
    lines: usize,
    n_in: usize,
    n_out: usize,
    line_stride: usize,
    step: usize,
    out: &mut [u8],
    ols: usize,
    ost: usize,
) {
    let scale = n_in as f64 / n_out as f64;
    let fs = scale.max(1.0);
    let sup = 2.0 * fs;
    let ss = 1.0 / fs;
    let f = |x: f64| {
        let x = x.abs();
        if x < 1. {
            ((-0.5 + 2.) * x - (-0.5 + 3.)) * x * x + 1.
        } else if x < 2. {
            (((x - 5.) * x + 8.) * x - 4.) * -0.5
        } else {
            0.
        }
    };
    for o in 0..n_out {
        let c = (o as f64 + 0.5) * scale;
        let lo = ((c - sup + 0.5) as i64).max(0) as usize;
        let hi = ((c + sup + 0.5) as usize).min(n_in);
        let mut k: Vec<f64> = (0..hi - lo).map(|i| f((i as f64 + lo as f64 - c + 0.5) * ss)).collect();
        let t: f64 = {
            let mut t = 0.;
            for v in &k {
                t += v;
            }
            t
        };
        for v in &mut k {
            *v /= t;
        }
        let q: Vec<i64> =
            k.iter().map(|v| if *v < 0. { (v * 4194304. - 0.5) as i64 } else { (v * 4194304. + 0.5) as i64 }).collect();
        for l in 0..lines {
            for ch in 0..3 {
                let mut a = 1i64 << 21;
                for (i, w) in q.iter().enumerate() {
                    a += src[l * line_stride + (lo + i) * step + ch] as i64 * w;
                }
                out[l * ols + o * ost + ch] = (a >> 22).clamp(0, 255) as u8;
            }
        }
    }
}
pub fn resize_bicubic(p: &Picture, width: u32, height: u32) -> Picture {
    let (w, h, ow, oh) = (p.width as usize, p.height as usize, width as usize, height as usize);
    let mut a = p.rgb.clone();
    if w != ow {
        let mut o = vec![0; ow * h * 3];
        axis(&a, h, w, ow, w * 3, 3, &mut o, ow * 3, 3);
        a = o;
    }
    if h != oh {
        let mut o = vec![0; ow * oh * 3];
        axis(&a, ow, h, oh, 3, ow * 3, &mut o, 3, ow * 3);
        a = o;
    }
    Picture { width, height, rgb: a }
}
pub fn normalize(p: &Picture, mean: [f32; 3], std: [f32; 3], rescale: f64) -> Vec<f32> {
    (0..3)
        .flat_map(|c| {
            p.rgb
                .iter()
                .skip(c)
                .step_by(3)
                .map(move |v| (((*v as f64) * rescale) as f32 - mean[c]) / std[c])
                .collect::<Vec<_>>()
        })
        .collect()
}
