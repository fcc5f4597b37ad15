/** What the model can be asked. */

const GROUNDING = "<CAPTION_TO_PHRASE_GROUNDING>";

/**
 * @typedef {object} Task
 * @property {string} token value of the setting `task_prompt`
 * @property {string} name
 * @property {string} about one line
 * @property {string} [takes] what its text is, if it takes one; then a class mapping does as well
 * @property {string} [example] such a text
 * @property {boolean} [region] whether it is about a part of the picture
 * @property {boolean} [isText] whether it finds nothing that could be drawn or scored
 */

/** @type {[string, Task[]][]} */
export const GROUPS = [
  ["Find", [
    { token: GROUNDING, name: "Find phrases", about: "Boxes around what the phrases name.", takes: "Phrases", example: "a dog and two red cars" },
    { token: "<OD>", name: "Detect objects", about: "Boxes around everything it knows, by category." },
    { token: "<OPEN_VOCABULARY_DETECTION>", name: "Detect what is named", about: "Boxes, or outlines where the model draws them, of one named thing.", takes: "Name", example: "traffic light" },
    { token: "<DENSE_REGION_CAPTION>", name: "Describe regions", about: "Boxes with a short description each." },
    { token: "<REGION_PROPOSAL>", name: "Propose regions", about: "Boxes around whatever may be an object, without names." },
  ]],
  ["Caption, then find", [
    { token: `<CAPTION>+${GROUNDING}`, name: "Short caption, then its phrases", about: "Writes a caption and finds its phrases. The default of every request." },
    { token: `<DETAILED_CAPTION>+${GROUNDING}`, name: "Detailed caption, then its phrases", about: "Likewise with a caption of two or three sentences." },
    { token: `<MORE_DETAILED_CAPTION>+${GROUNDING}`, name: "Longest caption, then its phrases", about: "Likewise with a whole paragraph." },
  ]],
  ["Outline", [
    { token: "<REFERRING_EXPRESSION_SEGMENTATION>", name: "Outline what is described", about: "Polygons around what the text describes.", takes: "Description", example: "the dog on the left" },
    { token: "<REGION_TO_SEGMENTATION>", name: "Outline what is in a region", about: "Polygons of the object inside the region.", region: true },
  ]],
  ["Ask about a region", [
    { token: "<REGION_TO_CATEGORY>", name: "Name a region", about: "The category of what is in the region.", region: true },
    { token: "<REGION_TO_DESCRIPTION>", name: "Describe a region", about: "A short description of what is in the region.", region: true },
    { token: "<REGION_TO_OCR>", name: "Read a region", about: "The text inside the region.", region: true },
  ]],
  ["Read", [
    { token: "<OCR_WITH_REGION>", name: "Read lines and outline them", about: "A polygon around each line, with its text." },
    { token: "<OCR>", name: "Read everything", about: "All text of the picture, as its tag.", isText: true },
  ]],
  ["Describe", [
    { token: "<CAPTION>", name: "Caption", about: "One sentence, as the picture's tag.", isText: true },
    { token: "<DETAILED_CAPTION>", name: "Detailed caption", about: "Two or three sentences, as the picture's tag.", isText: true },
    { token: "<MORE_DETAILED_CAPTION>", name: "Longest caption", about: "A paragraph, as the picture's tag.", isText: true },
  ]],
];

const TASKS = GROUPS.flatMap(([, tasks]) => tasks);

/** @param {string} token @returns {Task} */
export const taskOf = (token) => TASKS.find((task) => task.token === token) ?? TASKS[0];
