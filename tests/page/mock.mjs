// A stand-in for the server that shows the page what a real one cannot show at once: slow downloads, several GPUs, failures.
// Tests change `status`, `models`, `devices`, `log` and `answer` as they like; `requests` is what the page sent.
import { createServer } from "node:http";
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";

const PAGE = new URL("../../src/server/page/", import.meta.url);
const TYPES = { html: "text/html", css: "text/css", js: "text/javascript", svg: "image/svg+xml" };
export const GIB = 2 ** 30;

const pretrained = (name, size, map, location, description) => ({
  name, description, size, map, date: "2024-12-10", repository: `microsoft/${name}`, kind: "pretrained", location,
});

/** A server without a model, with two GPUs. */
export function emptyState() {
  return {
    status: {
      app: { name: "Serve Florence-2", version: "0.1.0", session_id: 777, mode: "production", uptime_s: 5025 },
      model: null, loading: null, failure: null, lost: null, stopping: false,
      memory: {
        resident_bytes: 0.3 * GIB, peak_bytes: 2.1 * GIB, total_bytes: 128 * GIB,
        gpus: [
          { id: "cuda:0", used_bytes: 3.1 * GIB, total_bytes: 79.2 * GIB },
          { id: "cuda:1", used_bytes: 61.4 * GIB, total_bytes: 79.2 * GIB },
        ],
      },
      requests: { answered: 0, failed: 0, refused: 0, given_up: 0, held: 0, runs: 0 },
      latency_ms: null, idle_freeze_s: 3600,
    },
    models: {
      default: "Florence-2-large",
      models: [
        pretrained("Florence-2-base", "0.23B", 34.7, "image", "Pretrained model with FLD-5B"),
        pretrained("Florence-2-large", "0.77B", 37.5, "disk", "Pretrained model with FLD-5B"),
        pretrained("Florence-2-base-ft", "0.23B", 41.4, "hub", "Finetuned model on a collection of downstream tasks"),
        pretrained("Florence-2-large-ft", "0.77B", 43.4, "hub", "Finetuned model on a collection of downstream tasks"),
        { name: "demo", description: "Coloured shapes, to try the app without a download", size: null, map: null, date: null, repository: null, kind: "demo", location: "program" },
        { name: "potholes-v3", description: "A checkpoint of your own", size: null, map: null, date: null, repository: null, kind: "folder", location: "disk" },
      ],
    },
    devices: {
      default: "auto",
      devices: [
        { id: "cpu", name: "AMD EPYC 9654", used_bytes: null, total_bytes: 128 * GIB, precisions: ["f32", "bf16", "int8"] },
        { id: "cuda:0", name: "NVIDIA H100 80GB HBM3", used_bytes: 3.1 * GIB, total_bytes: 79.2 * GIB, precisions: ["f16", "bf16", "f32"] },
        { id: "cuda:1", name: "NVIDIA H100 80GB HBM3", used_bytes: 61.4 * GIB, total_bytes: 79.2 * GIB, precisions: ["f16", "bf16", "f32"] },
      ],
    },
    log: [],
    requests: [],
    refusal: null,
    answer: null,
  };
}

export const servedModel = (name = "Florence-2-large", change = {}) => ({
  name, source: `microsoft/${name}`, custom: false, device: "cuda:0", precision: "FP16", hardware: "NVIDIA H100 80GB HBM3", state: "ready", stale: null, cause: "page", deployed_s: 754, ...change,
});

/** One answer of each kind: rectangles, polygons, and texts. */
export function prediction(width, height, kind = "boxes") {
  const label = (classTitle, geometryType, exterior, tags) => ({
    classTitle, description: "", tags, points: { exterior, interior: [] }, geometryType, shape: geometryType, nnCreated: true, nnUpdated: true,
  });
  const score = (value) => ({ name: "confidence", value });
  const at = (...shares) => shares.map(([x, y]) => [Math.round(x * width), Math.round(y * height)]);
  const kinds = {
    boxes: [
      label("car_bbox", "rectangle", at([0.1, 0.4], [0.45, 0.8]), [score(0.9312)]),
      label("car_bbox", "rectangle", at([0.55, 0.45], [0.8, 0.75]), [score(0.8044)]),
      label("traffic light_bbox", "rectangle", at([0.62, 0.08], [0.68, 0.28]), [score(0.7121)]),
    ],
    polygons: [label("the dog on the left_polygon", "polygon", at([0.2, 0.3], [0.4, 0.2], [0.5, 0.5], [0.45, 0.8], [0.25, 0.75]), [])],
    lines: [
      label("text_polygon", "polygon", at([0.1, 0.1], [0.6, 0.12], [0.6, 0.22], [0.1, 0.2]), [{ name: "text", value: "OPEN 24 HOURS" }]),
      label("text_polygon", "polygon", at([0.1, 0.3], [0.4, 0.3], [0.4, 0.4], [0.1, 0.4]), [{ name: "text", value: "coffee & cake" }]),
    ],
    caption: [],
  };
  const tags = kind === "caption" ? [{ name: "caption", value: "A quiet street with two parked cars and a traffic light." }] : [];
  return {
    annotation: { description: "", size: { height, width }, tags, objects: kinds[kind], customBigData: {} },
    data: {}, image_id: null, name: null,
  };
}

const META = {
  classes: [["object_bbox", "#FF0000"], ["car_bbox", "#1565D8"], ["traffic light_bbox", "#F2B705"], ["the dog on the left_polygon", "#12B886"], ["text_polygon", "#AE3EC9"]]
    .map(([title, color]) => ({ title, color, shape: title.endsWith("bbox") ? "rectangle" : "polygon", description: "", geometry_config: {}, hotkey: "" })),
  tags: [{ name: "confidence", color: "#00FF00", value_type: "any_number" }],
};

const INFO = {
  app_name: "Serve Florence-2", session_id: 777, number_of_classes: 1, sliding_window_support: "none", videos_support: true,
  async_video_inference_support: true, tracking_on_videos_support: true, async_image_inference_support: true,
  tracking_algorithms: ["botsort"], batch_inference_support: true, max_batch_size: null, "task type": "prompt-based object detection",
};

function deployInfo({ name, source, device, precision, hardware }) {
  return {
    checkpoint_name: name, model_name: name, architecture: "Florence-2", checkpoint_url: source, custom_checkpoint_path: null,
    model_source: "Pretrained models", task_type: "prompt-based object detection", device, runtime: "PyTorch", model_precision: precision, hardware,
    deploy_params: { model_files: { checkpoint: `checkpoints/${name}` }, model_source: "Pretrained models", model_info: { Model: name }, device, runtime: "PyTorch" },
  };
}

/** What a route answers: a status and a body. */
async function route(method, path, query, body, state) {
  const { status } = state;
  const refuse = (code, title, message) => [code, { detail: { title, message }, message, success: false }];
  switch (`${method} ${path}`) {
    case "GET api/status": return [200, status];
    case "GET api/models": return [200, state.models];
    case "GET api/devices": return [200, state.devices];
    case "GET api/log": {
      const after = Number(query.get("after") ?? 0);
      return [200, { last: state.log.at(-1)?.seq ?? 0, lines: state.log.filter(({ seq }) => seq > after) }];
    }
    case "POST api/serve": {
      if (state.refusal) return refuse(400, "Invalid request", state.refusal);
      const order = JSON.parse(body);
      status.failure = null;
      status.loading = { model_name: order.model, step: "starting", text: "starting", done_bytes: null, total_bytes: null, cause: "page" };
      return [202, { accepted: true }];
    }
    case "POST api/cancel": {
      const cancelled = status.loading !== null;
      status.loading = null;
      return [200, { cancelled }];
    }
    case "POST api/stop":
      Object.assign(status, { model: null, loading: null });
      return [200, { stopped: true }];
    case "POST freeze_model":
      if (status.model) status.model.state = "frozen";
      return [200, { message: "Model is frozen." }];
    case "POST get_custom_inference_settings":
      return [200, { settings: await readFile(new URL("../../src/supervisely/settings/inference_settings.yaml", import.meta.url), "utf8") }];
  }
  if (!status.model) return refuse(409, "Call undeployed model error", "The model has not yet been deployed.");
  switch (`${method} ${path}`) {
    case "POST get_session_info": return [200, INFO];
    case "POST get_deploy_info": return [200, deployInfo(status.model)];
    case "POST get_model_meta": return [200, META];
    case "POST inference_image":
      status.requests.answered += 1;
      return typeof state.answer === "function" ? state.answer(body) : [200, state.answer ?? prediction(640, 560)];
    default: return [404, { detail: "Not Found" }];
  }
}

/** Starts one on a free port of this machine. */
export async function startMock(state = emptyState(), port = 0) {
  const server = createServer(async (request, response) => {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    const body = Buffer.concat(chunks).toString("latin1");
    const url = new URL(request.url, "http://mock");
    const path = url.pathname.slice(1);
    const file = path === "" && request.method === "GET" ? (url.searchParams.get("page") ?? "index.html") : path.match(/^page\/([\w.]+)$/)?.[1];
    if (file) return sendFile(file, response);
    if (request.method === "POST") state.requests.push({ path, body });
    const [status, answer] = await route(request.method, path, url.searchParams, body, state);
    response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(answer));
  });
  await new Promise((resolve) => server.listen(port, "127.0.0.1", resolve));
  const stop = () => new Promise((resolve) => {
    server.close(resolve);
    server.closeAllConnections();
  });
  return { url: `http://127.0.0.1:${server.address().port}/`, port: server.address().port, state, stop };
}

async function sendFile(name, response) {
  const text = await readFile(new URL(name, PAGE)).catch(() => null);
  if (text === null) return response.writeHead(404).end();
  response.writeHead(200, {
    "content-type": `${TYPES[name.split(".").at(-1)]}; charset=utf-8`,
    "content-security-policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none'",
  });
  response.end(text);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { url } = await startMock(emptyState(), Number(process.argv[2] ?? 8010));
  console.log(url);
}
