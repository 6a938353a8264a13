"""A network as a self-contained HTML page: its drawing, and the attributes and weights of the selected layer."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from matnet.display.markup import escaped
from matnet.display.records import layer_record
from matnet.display.svg import network_svg
from matnet.display.table import LayerRow, NetworkTable
from matnet.display.text import size_text
from matnet.display.units import count
from matnet.meta import display_name
from matnet.network import Network

BINS = 40
MOST_VALUES = 1 << 20  # per param; histograms of larger params use every k-th value


def network_page(net: Network, table: NetworkTable) -> str:
    """The page as HTML text; it loads no other files.

    To select a layer, click it, search for it, or append `#NAME` to the address. A button unfolds repeated blocks.
    """
    name = display_name(net)
    folded = network_svg(table, name)
    whole = network_svg(table, name, unfold=True)
    drawings = [f'<div id="folded">{folded}</div>']
    if whole != folded:
        other = whole.replace("matnet-arrow", "matnet-arrow-2")  # identifiers must be unique in a page
        drawings.append(f'<div id="whole" hidden>{other}</div>')
    data = {"layers": {row.name: _facts(net, row) for row in table.layers}}
    # Only "<" could end a script element.
    text = json.dumps(data, allow_nan=False).replace("<", "\\u003c")
    page = PAGE.replace("@TITLE@", escaped(name))
    before, _, rest = page.partition("@DRAWINGS@")
    between, _, after = rest.partition("@DATA@")
    return "".join([before, "\n".join(drawings), between, text, after])


def _facts(net: Network, row: LayerRow) -> dict[str, Any]:
    """The panel's content for a layer: pairs of texts, and a histogram of each param."""
    record = layer_record(row)
    pairs = [("type", row.type)]
    keys = ("filters", "window", "method", "stride", "pad", "dilate", "settings")
    pairs += [(key, _text(record[key])) for key in keys]
    pairs += [("inputs", ", ".join(row.inputs)), ("outputs", ", ".join(row.outputs))]
    pairs.append(("output size", ", ".join(map(size_text, row.output_shapes))))
    for name, field in record["receptive_fields"].items():
        if field:
            pairs.append((f"receptive field in {name}", _text(field["size"])))
    pairs.append(("multiply-adds", count(row.multiply_adds) if row.multiply_adds else ""))
    params = [_histogram(name, net.params[name].value) for name in row.params if name in net.params]
    return {"facts": [pair for pair in pairs if pair[1]], "params": params}


def _text(value: Any) -> str:
    return " x ".join(map(str, value)) if isinstance(value, list) else str(value or "")


def _histogram(name: str, values: np.ndarray) -> dict[str, Any]:
    """Counts of finite values in BINS equal bins from minimum to maximum, and the moments."""
    shape = " x ".join(map(str, values.shape))
    step = max(1, values.size // MOST_VALUES)
    seen = values.ravel(order="K")[::step]
    finite = seen[np.isfinite(seen)].astype(np.float64)
    notes = f"every {step}th value" if step > 1 else ""
    if finite.size < seen.size:
        notes = f"{seen.size - finite.size} non-finite values{'; ' if notes else ''}{notes}"
    if not finite.size:
        return {"name": name, "shape": shape, "bins": [], "text": notes or "no values"}
    bins, _ = np.histogram(finite, BINS)
    low, high, mean, spread = (f"{value:.4g}" for value in (finite.min(), finite.max(), finite.mean(), finite.std()))
    text = f"{low} to {high}, mean {mean}, standard deviation {spread}{'; ' if notes else ''}{notes}"
    return {"name": name, "shape": shape, "bins": bins.tolist(), "text": text}


PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>@TITLE@</title>
<style>
* { box-sizing: border-box; }
body { margin: 0; height: 100vh; display: flex; flex-direction: column; }
body { font: 14px Helvetica, Arial, sans-serif; color: #222; }
header { display: flex; flex-wrap: wrap; gap: .5rem; align-items: center; }
header { padding: .5rem .8rem; border-bottom: 1px solid #ccc; }
header input { flex: 1 1 10rem; max-width: 20rem; padding: .3rem .5rem; font: inherit; }
button { font: inherit; padding: .3rem .7rem; }
main { flex: 1; display: flex; min-height: 0; }
#drawing { flex: 1; overflow: hidden; touch-action: none; cursor: grab; background: #fff; min-width: 0; min-height: 0; }
#sheet { transform-origin: 0 0; width: max-content; }
aside { width: 22rem; overflow: auto; padding: .2rem 1rem; border-left: 1px solid #ccc; overflow-wrap: anywhere; }
aside td { vertical-align: top; padding: .15rem .6rem .15rem 0; }
aside td:first-child { color: #666; white-space: nowrap; }
.layer { cursor: pointer; }
.layer:focus { outline: none; }
.layer:focus > rect, .found > rect { stroke: #d08000; stroke-width: 3; }
.chosen > rect { stroke: #c00000; stroke-width: 3.5; }
@media (max-width: 700px) {
  main { flex-direction: column; }
  aside { width: auto; height: 45%; border: 0; border-top: 1px solid #ccc; }
}
</style>
</head>
<body>
<header>
<b>@TITLE@</b>
<input id="search" type="search" placeholder="find a layer by name or type" aria-label="find a layer" list="names">
<datalist id="names"></datalist>
<span id="hits" aria-live="polite"></span>
<button id="smaller" aria-label="smaller">&minus;</button>
<button id="larger" aria-label="larger">+</button>
<button id="fit">fit</button>
<button id="unfold" hidden>unfold</button>
</header>
<main>
<div id="drawing"><div id="sheet">
@DRAWINGS@
</div></div>
<aside id="panel" aria-live="polite"><p>Click a layer, or find it by name.</p></aside>
</main>
<script type="application/json" id="data">@DATA@</script>
<script>
"use strict";
const layers = JSON.parse(document.getElementById("data").textContent).layers;
const byId = id => document.getElementById(id);
const drawing = byId("drawing"), sheet = byId("sheet"), panel = byId("panel"), search = byId("search");
const whole = byId("whole"), folded = byId("folded");
let scale = 1, left = 0, top_ = 0;

function shown() { return whole && !whole.hidden ? whole : folded; }
function place() { sheet.style.transform = `translate(${left}px, ${top_}px) scale(${scale})`; }
function zoom(factor, x, y) {
  const to = Math.min(8, Math.max(0.05, scale * factor));
  left = x - (x - left) * to / scale;
  top_ = y - (y - top_) * to / scale;
  scale = to;
  place();
}
function middle(factor) { zoom(factor, drawing.clientWidth / 2, drawing.clientHeight / 2); }
function fit() {
  const svg = shown().querySelector("svg");
  const width = svg.width.baseVal.value, height = svg.height.baseVal.value;
  scale = Math.min(drawing.clientWidth / width, drawing.clientHeight / height, 1.5);
  left = (drawing.clientWidth - width * scale) / 2;
  top_ = Math.max(0, (drawing.clientHeight - height * scale) / 2);
  place();
}
function element(tag, text, parent) {
  const made = document.createElement(tag);
  made.textContent = text;
  parent.append(made);
  return made;
}
function histogram(bins) {
  const space = "http://www.w3.org/2000/svg", svg = document.createElementNS(space, "svg");
  svg.setAttribute("viewBox", `0 0 ${bins.length} 20`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", "histogram of the values");
  svg.style.cssText = "width: 100%; height: 5rem; background: #f3f3f3";
  const most = Math.max(...bins);
  bins.forEach((number, index) => {
    const bar = document.createElementNS(space, "rect"), height = 20 * number / most;
    for (const [key, value] of Object.entries({x: index, y: 20 - height, width: 0.92, height, fill: "#4a78b5"}))
      bar.setAttribute(key, value);
    svg.append(bar);
  });
  return svg;
}
function choose(name, move) {
  const layer = layers[name];
  if (!layer) return false;
  if (!find(name) && whole) toggle(true);
  document.querySelectorAll(".chosen").forEach(one => one.classList.remove("chosen"));
  const box = find(name);
  if (box) {
    box.classList.add("chosen");
    if (move) {
      scale = Math.max(scale, 0.9);
      place();
      const at = box.getBoundingClientRect(), frame = drawing.getBoundingClientRect();
      left += frame.left + frame.width / 2 - at.left - at.width / 2;
      top_ += frame.top + frame.height / 2 - at.top - at.height / 2;
      place();
    }
  }
  panel.replaceChildren();
  element("h2", name, panel);
  const table = element("table", "", panel);
  for (const [what, text] of layer.facts) {
    const row = element("tr", "", table);
    element("td", what, row);
    element("td", text, row);
  }
  for (const param of layer.params) {
    element("h3", param.name, panel);
    element("p", param.shape, panel);
    if (param.bins.length) panel.append(histogram(param.bins));
    element("p", param.text, panel);
  }
  return true;
}
function find(name) {
  return [...shown().querySelectorAll(".layer")].find(one => one.dataset.name === name);
}
function look(move) {
  const text = search.value.trim().toLowerCase();
  document.querySelectorAll(".found").forEach(one => one.classList.remove("found"));
  const hits = text ? Object.keys(layers).filter(name =>
    name.toLowerCase().includes(text) || layers[name].facts[0][1].toLowerCase().includes(text)) : [];
  hits.forEach(name => { const box = find(name); if (box) box.classList.add("found"); });
  byId("hits").textContent = text ? `${hits.length} found` : "";
  if (move && hits.length) choose(layers[search.value] ? search.value : hits[0], true);
}
function toggle(open) {
  whole.hidden = !open;
  folded.hidden = open;
  byId("unfold").textContent = open ? "fold" : "unfold";
  fit();
}
document.querySelectorAll(".layer").forEach(one => {
  one.setAttribute("tabindex", "0");
  one.setAttribute("role", "button");
  const press = () => { if (!choose(one.dataset.name, false) && whole) toggle(true); };
  one.addEventListener("click", press);
  one.addEventListener("keydown", event => { if (event.key === "Enter") press(); });
});
Object.keys(layers).forEach(name => { element("option", "", byId("names")).value = name; });
// Typing marks layers; Enter or a choice from the list goes to one. Leaving the field must not change the selection.
const isTyped = event => /^(insertText|delete)/.test(event.inputType || "");
search.addEventListener("input", event => look(!isTyped(event) && search.value in layers));
search.addEventListener("keydown", event => { if (event.key === "Enter") look(true); });
byId("smaller").addEventListener("click", () => middle(1 / 1.3));
byId("larger").addEventListener("click", () => middle(1.3));
byId("fit").addEventListener("click", fit);
if (whole) {
  byId("unfold").hidden = false;
  byId("unfold").addEventListener("click", () => toggle(whole.hidden));
}
drawing.addEventListener("wheel", event => {
  event.preventDefault();
  const frame = drawing.getBoundingClientRect();
  zoom(Math.exp(-event.deltaY / 400), event.clientX - frame.left, event.clientY - frame.top);
}, {passive: false});
let held = null;
drawing.addEventListener("pointerdown", event => { held = [event.clientX - left, event.clientY - top_]; });
window.addEventListener("pointermove", event => {
  if (held) { left = event.clientX - held[0]; top_ = event.clientY - held[1]; place(); }
});
window.addEventListener("pointerup", () => { held = null; });
window.addEventListener("hashchange", () => choose(decodeURIComponent(location.hash.slice(1)), true));
fit();
choose(decodeURIComponent(location.hash.slice(1)), true);
</script>
</body>
</html>
"""
