"use strict";
// Everything that comes from a file is put in as text, never as HTML.

const byId = id => document.getElementById(id);
const imageEnding = /\.(jpe?g|png|gif|bmp|webp|tiff?|pgm|ppm)$/i;
let model = null;     // all about the network that is shown
let offered = null;   // what the page offers
let working = 0;

// -- asking the server --------------------------------------------------------------------------

class Refusal extends Error {
  constructor(found) {
    super(found.error || "the server does not answer");
    this.findings = found.findings || [];
  }
}

async function ask(address, options = {}) {
  let answer;
  try {
    answer = await fetch(address, options);
  } catch {
    const alive = await fetch("/api/page").then(other => other.ok, () => false);
    throw new Refusal({error: alive ? "the browser ended the transfer (was the file changed or removed?); try it again"
      : "the server does not answer; is `matnet demo` still running?"});
  }
  if (answer.ok) return answer;
  let found = {};
  try { found = await answer.json(); } catch { /* no sentence */ }
  throw new Refusal(found);
}

function post(address, body, type = "application/octet-stream") {
  return ask(address, {method: "POST", body, headers: {"Content-Type": type}});
}

const size = bytes => `${Math.round(bytes / 1e5) / 10} MB`;

function checkSize(file, kind) {
  const most = offered.largest[kind];
  if (file.size > most) throw new Refusal({error: `${file.name}: has ${size(file.size)}; this page takes at most ${size(most)}`});
}

async function busy(text, work) {
  working += 1;
  byId("status").textContent = text;
  document.body.setAttribute("aria-busy", "true");
  try {
    return await work();
  } finally {
    working -= 1;
    if (!working) {
      byId("status").textContent = "";
      document.body.removeAttribute("aria-busy");
    }
  }
}

// -- showing ------------------------------------------------------------------------------------

function make(tag, parent, text = "", name = "") {
  const made = document.createElement(tag);
  made.textContent = text;
  if (name) made.className = name;
  parent.append(made);
  return made;
}

function complain(place, error) {
  place.textContent = error ? error.message : "";
  place.hidden = !error;
}

function showFindings(list, findings) {
  list.replaceChildren();
  for (const one of findings) {
    const item = make("li", list, "", one.level);
    make("b", item, `${one.level}, ${one.part}: `);
    item.append(one.what);
    if (one.remedy) make("i", item, one.remedy);
  }
  if (!findings.length) make("li", list, "nothing found");
}

async function showPicture(place, address, alt) {
  place.replaceChildren();
  try {
    const answer = await busy("drawing ...", () => ask(address));
    const image = make("img", place);
    image.alt = alt;
    image.src = URL.createObjectURL(await answer.blob());
    image.addEventListener("load", () => URL.revokeObjectURL(image.src));
  } catch (error) {
    complain(make("p", place, "", "error"), error);
  }
}

// -- networks -----------------------------------------------------------------------------------

const dropped = () => model && !/^(given|known)-/.test(model.id);

function leave() {
  if (dropped()) navigator.sendBeacon(`/api/models/${model.id}/close`);
}

async function open(text, work) {
  complain(byId("network-error"), null);
  byId("broken-findings").hidden = true;
  try {
    const found = await busy(text, work);
    leave();
    showNetwork(found);
  } catch (error) {
    byId("known").value = "";
    complain(byId("network-error"), error);
    if (error.findings && error.findings.length) {
      byId("broken-findings").hidden = false;
      showFindings(byId("broken-findings"), error.findings.filter(one => one.what !== error.message));
    }
  }
}

function openNamed(value) {
  return open("reading ...", async () => {
    if (value.startsWith("given-")) return (await ask(`/api/models/${value}`)).json();
    return (await post("/api/models", JSON.stringify({name: value}), "application/json")).json();
  });
}

function openFiles(files) {
  byId("known").value = "";
  return open("sending ...", async () => {
    const tokens = [];
    for (const file of files) {
      checkSize(file, "network");
      const answer = await post(`/api/files?name=${encodeURIComponent(file.name)}`, file);
      tokens.push((await answer.json()).file);
    }
    byId("status").textContent = "reading ...";
    return (await post("/api/models", JSON.stringify({files: tokens}), "application/json")).json();
  });
}

function showNetwork(found) {
  model = found;
  byId("network").hidden = byId("images").hidden = false;
  byId("network-title").textContent = found.name;
  document.title = `${found.name} - matnet`;
  complain(byId("summary-error"), found.error ? {message: found.error} : null);
  const summary = byId("summary");
  summary.replaceChildren();
  for (const [label, text] of found.summary) {
    const row = make("tr", summary);
    make("td", row, label);
    make("td", row, text);
  }
  showLayers();
  showFindings(byId("findings"), found.findings);
  const problems = found.findings.filter(one => one.level === "problem").length;
  byId("tab-doctor").textContent = problems ? `Doctor (${problems})` : "Doctor";
  byId("panel-drawing").replaceChildren();
  byId("panel-filters").replaceChildren();
  complain(byId("download-error"), null);
  complain(byId("image-error"), null);
  complain(byId("steps-error"), found.steps.error ? {message: found.steps.error} : null);
  const steps = byId("steps");
  steps.replaceChildren();
  for (const step of found.steps.steps || []) make("li", steps, step);
  byId("preparation").open = Boolean(found.steps.error);
  byId("results").replaceChildren();
  for (const id of ["stated-size", "stated-mean", "stated-color", "stated-classes", "layer-search"]) byId(id).value = "";
  select(byId("tab-summary"), false);
}

function showLayers() {
  const head = byId("layers").tHead, body = byId("layers").tBodies[0];
  const wanted = byId("layer-search").value.trim().toLowerCase();
  const classes = model.columns.map(column => column.numeric ? "number" : "");
  head.replaceChildren();
  body.replaceChildren();
  const heading = make("tr", head);
  model.columns.forEach((column, index) => { make("th", heading, column.title, classes[index]).scope = "col"; });
  const rows = model.rows.filter(row => row.some(cell => cell.toLowerCase().includes(wanted)));
  for (const cells of rows) {
    const row = make("tr", body);
    cells.forEach((cell, index) => make("td", row, cell, classes[index]));
  }
  byId("layer-count").textContent = wanted ? `${rows.length} of ${model.rows.length}` : `${model.rows.length} layers`;
}

const tabs = [...document.querySelectorAll("[role=tab]")];

function select(tab, move = true) {
  for (const one of tabs) {
    const chosen = one === tab;
    one.setAttribute("aria-selected", chosen);
    one.tabIndex = chosen ? 0 : -1;
    byId(one.getAttribute("aria-controls")).hidden = !chosen;
  }
  if (move) tab.focus();
  const drawing = byId("panel-drawing"), filters = byId("panel-filters");
  if (tab.id === "tab-drawing" && !drawing.children.length) {
    if (model.error) {
      complain(make("p", drawing, "", "error"), {message: model.error});
      return;
    }
    const frame = document.createElement("iframe");
    frame.title = `drawing of ${model.name}`;
    frame.sandbox = "allow-scripts";
    frame.src = `/api/models/${model.id}/drawing`;
    drawing.append(frame);
  }
  if (tab.id === "tab-filters" && !filters.children.length)
    showPicture(filters, `/api/models/${model.id}/filters`, `first filters of ${model.name}`);
}

tabs.forEach((tab, index) => {
  tab.addEventListener("click", () => select(tab));
  tab.addEventListener("keydown", event => {
    const to = {ArrowRight: index + 1, ArrowLeft: index - 1, Home: 0, End: tabs.length - 1}[event.key];
    if (to === undefined) return;
    event.preventDefault();
    select(tabs[(to + tabs.length) % tabs.length]);
  });
});

for (const button of document.querySelectorAll("[data-kind]")) button.addEventListener("click", async () => {
  complain(byId("download-error"), null);
  try {
    const answer = await busy("converting ...", () => post(`/api/models/${model.id}/convert/${button.dataset.kind}`, ""));
    const link = document.createElement("a");
    link.href = `/api/files/${(await answer.json()).file}`;
    link.download = "";
    document.body.append(link);
    link.click();
    link.remove();
  } catch (error) {
    complain(byId("download-error"), error);
  }
});

// -- images -------------------------------------------------------------------------------------

function stated() {
  const found = new URLSearchParams();
  for (const name of ["size", "mean", "color", "classes"]) if (byId(`stated-${name}`).value.trim()) found.set(name, byId(`stated-${name}`).value);
  return found;
}

async function openImages(files) {
  complain(byId("image-error"), null);
  const faults = [];
  for (const file of files) {
    try {
      await openImage(file);
    } catch (error) {
      faults.push(error.message);
    }
  }
  if (faults.length) complain(byId("image-error"), {message: faults.join("\n")});
}

async function openImage(file) {
  checkSize(file, "image");
  const query = stated(), shown = model;
  query.set("name", file.name);
  const answer = await busy("looking at it ...", () => post(`/api/models/${model.id}/images?${query}`, file));
  const found = await answer.json();
  if (model === shown) showResult(file, found, stated());
}

function showResult(file, found, query) {
  const article = byId("result").content.firstElementChild.cloneNode(true);
  const part = name => article.querySelector(name);
  const address = picture => `/api/models/${model.id}/images/${found.image}/${picture}?${query}`;
  part("h3").textContent = file.name;
  const image = part(".given");
  image.alt = file.name;
  image.src = URL.createObjectURL(file);
  image.addEventListener("load", () => image.classList.toggle("tiny", image.naturalWidth < 64));
  showBars(part(".bars"), found);
  for (const note of found.notes) make("li", part(".notes"), note);
  complain(article.querySelector(":scope > .error"), found.error ? {message: found.error} : null);
  const once = (name, picture, alt) => part(name).addEventListener("toggle", () => {
    const place = part(`${name} .picture`);
    if (part(name).open && !place.children.length) showPicture(place, address(picture), alt);
  });
  once(".prepared", "steps", `${file.name} at each step of the preprocessing`);
  const layers = part(".maps select");
  for (const name of model.layers) make("option", layers, name).value = name;
  const maps = () => {
    const query_ = `${address("maps")}&layer=${encodeURIComponent(layers.value)}`;
    showPicture(part(".maps .picture"), query_, `feature maps of ${layers.value}`);
  };
  part(".maps").addEventListener("toggle", () => {
    if (part(".maps").open && !part(".maps .picture").children.length) maps();
  });
  layers.addEventListener("change", maps);
  if (found.segments) {
    part(".segmentation").hidden = false;
    once(".segmentation", "segmentation", `the classes of the pixels over ${file.name}`);
    part(".segmentation").open = true;
  }
  if (found.detects) {
    part(".objects").hidden = false;
    once(".objects", "objects", `the boxes of the objects in ${file.name}`);
    part(".objects").open = true;
  }
  byId("results").prepend(article);
}

function showBars(place, found) {
  for (const row of found.top) {
    const bar = make("div", place, "", "bar");
    make("span", bar, row.class);
    make("span", bar, row.value === null ? "not finite" : row.value.toFixed(4));
    const meter = make("meter", bar);
    const values = found.top.map(one => one.value).filter(value => value !== null);
    meter.min = found.measure === "probability" ? 0 : Math.min(0, ...values);
    meter.max = found.measure === "probability" ? 1 : Math.max(...values) || 1;
    meter.value = row.value ?? meter.min;
    meter.setAttribute("aria-label", `${found.measure} of ${row.class}`);
  }
}

// -- dropping, choosing, the camera -------------------------------------------------------------

function take(files) {
  const pictures = files.filter(file => imageEnding.test(file.name)), others = files.filter(file => !pictures.includes(file));
  if (others.length) openFiles(others);
  else if (model) openImages(pictures);
  else complain(byId("network-error"), {message: "choose a network first, then drop images"});
}

document.addEventListener("dragover", event => {
  event.preventDefault();
  for (const place of document.querySelectorAll(".drop")) place.classList.toggle("over", place.contains(event.target));
});
document.addEventListener("dragleave", event => {
  if (!event.relatedTarget) for (const place of document.querySelectorAll(".drop")) place.classList.remove("over");
});
document.addEventListener("drop", event => {
  event.preventDefault();
  for (const place of document.querySelectorAll(".drop")) place.classList.remove("over");
  const files = [...event.dataTransfer.files];
  if (byId("drop-network").contains(event.target)) openFiles(files);
  else if (model && byId("drop-image").contains(event.target)) openImages(files);
  else if (files.length) take(files);
});
byId("network-files").addEventListener("change", event => {
  const files = [...event.target.files];
  event.target.value = "";
  if (files.length) openFiles(files);
});
byId("image-files").addEventListener("change", event => {
  const files = [...event.target.files];
  event.target.value = "";
  if (files.length) openImages(files);
});
let choosing = 0;
byId("known").addEventListener("change", event => {
  clearTimeout(choosing);  // arrow keys pass over other names on their way
  choosing = setTimeout(() => { if (event.target.value) openNamed(event.target.value); }, 400);
});
byId("layer-search").addEventListener("input", showLayers);

let stream = null;
function endCamera() {
  if (stream) for (const track of stream.getTracks()) track.stop();
  stream = null;
  byId("camera-view").hidden = true;
  byId("camera").disabled = false;
}
byId("camera").addEventListener("click", async () => {
  complain(byId("image-error"), null);
  if (!navigator.mediaDevices) {
    complain(byId("image-error"), {message: "a browser gives its camera only to pages of this machine (127.0.0.1) or over https"});
    return;
  }
  try {
    stream = await navigator.mediaDevices.getUserMedia({video: {facingMode: "environment"}});
  } catch (error) {
    complain(byId("image-error"), {message: `the camera cannot be used: ${error.message}`});
    return;
  }
  byId("video").srcObject = stream;
  byId("camera-view").hidden = false;
  byId("camera").disabled = true;
  byId("shoot").focus();
});
byId("camera-end").addEventListener("click", () => { endCamera(); byId("camera").focus(); });
byId("shoot").addEventListener("click", () => {
  const video = byId("video"), canvas = document.createElement("canvas");
  if (!video.videoWidth) return;
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  canvas.getContext("2d").drawImage(video, 0, 0);
  canvas.toBlob(blob => openImages([new File([blob], "camera.png", {type: "image/png"})]), "image/png");
});
window.addEventListener("pagehide", event => { if (!event.persisted) leave(); });

// -- the start ----------------------------------------------------------------------------------

(async () => {
  try {
    offered = await (await ask("/api/page")).json();
  } catch (error) {
    complain(byId("network-error"), error);
    return;
  }
  const known = byId("known");
  for (const given of offered.given) make("option", known, given.name).value = given.id;
  for (const name of offered.known) make("option", known, name).value = name;
  byId("known-label").hidden = known.options.length < 2;
  byId("download-note").textContent = offered.torch;
  document.querySelector("[data-kind=torch]").disabled = Boolean(offered.torch);
  document.body.dataset.ready = "true";
  if (offered.given.length) {
    known.value = offered.given[0].id;
    await openNamed(known.value);
  }
})();
