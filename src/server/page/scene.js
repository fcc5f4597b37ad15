/** Example pictures of coloured shapes, which the demo model finds, drawn here: no file is needed to see something. */

/** Colours and shapes that the demo model was trained on. */
const COLORS = { red: "#d62828", green: "#2ea043", blue: "#215ad6", yellow: "#f0cd23", orange: "#f08214", purple: "#7d32b4" };
const SHAPES = { circle, square, triangle, star, cross };
const WIDTH = 640;
const HEIGHT = 560;
/** Cells of the picture, so that shapes do not cover each other. */
const COLUMNS = 3;
const ROWS = 2;

/**
 * Draws the scene of this number; each is another one, and always the same.
 * @param {number} number
 * @returns {Promise<{file: File, phrases: string}>} the picture, and what is in it
 */
export async function drawScene(number) {
  const random = generator(number + 1);
  const canvas = document.createElement("canvas");
  Object.assign(canvas, { width: WIDTH, height: HEIGHT });
  const context = canvas.getContext("2d");
  paintBackground(context, random);
  const objects = pick(random, 3 + Math.floor(random() * 3));
  objects.forEach((object) => paint(context, object, random));
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  const names = objects.map(({ color, shape }) => `${color === "orange" ? "an" : "a"} ${color} ${shape}`);
  const phrases = `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`;
  return { file: new File([blob], `example-scene-${number + 1}.png`, { type: "image/png" }), phrases };
}

/** Numbers from 0 to 1 that depend on the seed alone (mulberry32). */
function generator(seed) {
  let state = Math.imul(seed, 0x9e3779b9);
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

function shuffle(random, items) {
  const keyed = items.map((item) => [random(), item]);
  return keyed.sort(([a], [b]) => a - b).map(([, item]) => item);
}

/** Objects of different colours in different cells. */
function pick(random, count) {
  const cells = shuffle(random, [...Array(COLUMNS * ROWS).keys()]);
  const colors = shuffle(random, Object.keys(COLORS));
  const shapes = shuffle(random, [...Object.keys(SHAPES), "circle"]);
  return Array.from({ length: count }, (_, at) => ({ cell: cells[at], color: colors[at], shape: shapes[at] }));
}

function paintBackground(context, random) {
  const tone = () => 150 + Math.floor(random() * 50);
  const gradient = context.createLinearGradient(0, 0, 0, HEIGHT);
  for (const stop of [0, 1]) gradient.addColorStop(stop, `rgb(${tone()} ${tone()} ${tone()})`);
  context.fillStyle = gradient;
  context.fillRect(0, 0, WIDTH, HEIGHT);
}

function paint(context, { cell, color, shape }, random) {
  const width = WIDTH / COLUMNS;
  const height = HEIGHT / ROWS;
  const radius = Math.min(width, height) * (0.32 + random() * 0.12);
  const slack = (size) => (random() - 0.5) * (size - 2 * radius) * 0.8;
  const x = (cell % COLUMNS) * width + width / 2 + slack(width);
  const y = Math.floor(cell / COLUMNS) * height + height / 2 + slack(height);
  context.save();
  context.translate(x, y);
  context.rotate(shape === "circle" ? 0 : (random() - 0.5) * 0.3);
  context.beginPath();
  SHAPES[shape](context, radius);
  context.fillStyle = COLORS[color];
  context.fill();
  context.restore();
}

function corners(context, points) {
  points.forEach(([x, y]) => context.lineTo(x, y));
  context.closePath();
}

function circle(context, radius) {
  context.arc(0, 0, radius, 0, 2 * Math.PI);
}

function square(context, radius) {
  context.rect(-radius, -radius, 2 * radius, 2 * radius);
}

function triangle(context, radius) {
  corners(context, [[0, -radius], [radius, radius], [-radius, radius]]);
}

function star(context, radius) {
  const point = (_, at) => {
    const reach = at % 2 === 0 ? radius : 0.42 * radius;
    const angle = (Math.PI * at) / 5 - Math.PI / 2;
    return [reach * Math.cos(angle), reach * Math.sin(angle)];
  };
  corners(context, Array.from({ length: 10 }, point));
}

function cross(context, radius) {
  const arm = 0.36 * radius;
  const quarter = [[arm, -radius], [arm, -arm], [radius, -arm]];
  const turned = Array.from({ length: 4 }, (_, turns) => quarter.map((point) => turn(point, turns)));
  corners(context, turned.flat());
}

/** Turns a point by right angles. */
const turn = ([x, y], turns) => (turns === 0 ? [x, y] : turn([-y, x], turns - 1));
