/** The state of the server in a few words. */

/** The step of a load and how far it is, `download` as a word for the bar of the title. */
const STEPS = {
  starting: "starting",
  searching: "looking for weights",
  waiting: "waiting",
  downloading: "downloading",
  checking: "checking",
  loading: "loading",
  trying: "warming up",
};

/** The share of a load's present step that is done, `null` if it is not known. */
export function shareDone(loading) {
  const { done_bytes: done, total_bytes: total } = loading;
  return done === null || !total ? null : done / total;
}

/**
 * @returns {{text: string, short: string, tone: "good" | "wait" | "cold" | "bad" | "off", news: string}} the words of the
 *   pill, of the window's title, their colour, and what is said aloud when it changes
 */
export function describe({ reach, status, isStatic }) {
  if (isStatic) return plain("session ended", "off", "This session has ended.");
  if (reach === "connecting") return plain("connecting", "wait", "");
  if (reach === "none") return plain("unreachable", "bad", "The server does not answer.");
  const { model, loading, failure, lost, stopping } = status;
  if (lost) return plain("failed", "bad", "The device failed.");
  if (stopping) return plain("stopping", "wait", "The server is stopping.");
  if (loading) return describeLoading(model, loading);
  if (model?.state === "frozen") return plain("frozen", "cold", `${model.name} is frozen.`);
  if (model) return plain("ready", "good", `${model.name} is ready.`);
  if (failure) return plain("failed", "bad", `${failure.model_name} could not be loaded.`);
  return plain("not deployed", "off", "No model is served.");
}

function plain(text, tone, news) {
  return { text, short: text, tone, news };
}

function describeLoading(model, loading) {
  const share = shareDone(loading);
  const step = STEPS[loading.step] ?? loading.step;
  const progress = share === null ? step : `${step} ${Math.floor(share * 100)} %`;
  const text = model ? `${model.state}, ${progress}` : progress;
  return { text, short: progress, tone: model?.state === "ready" ? "good" : "wait", news: `${loading.model_name}: ${step}.` };
}
