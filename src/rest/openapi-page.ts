/** The page that shows the OpenAPI document to people: it reads it from the node that has served the page, and needs nothing from elsewhere. */

/** Made of text nodes alone: nothing of the document is taken for markup. */
export const OPENAPI_PAGE = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>bunch: operations</title>
<style>
:root { color-scheme: light dark; --line: #8884; --soft: #8882; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 60rem; padding: 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; border-bottom: 1px solid var(--line); }
details { border: 1px solid var(--line); border-radius: 6px; margin: .4rem 0; }
summary { cursor: pointer; padding: .4rem .7rem; display: flex; gap: .7rem; flex-wrap: wrap; }
.method { font: bold .9rem/1.7 ui-monospace, monospace; min-width: 4.5rem; }
.path { font: .95rem/1.6 ui-monospace, monospace; overflow-wrap: anywhere; }
.inside { padding: 0 .7rem .7rem; } pre { background: var(--soft); border-radius: 6px; overflow: auto; padding: .6rem; font-size: .85rem; }
table { border-collapse: collapse; width: 100%; } td, th { border-top: 1px solid var(--line); padding: .25rem .5rem .25rem 0; text-align: left; vertical-align: top; }
</style>
</head>
<body>
<h1>bunch: operations</h1>
<p id="about">Reading <a href="/openapi/json">/openapi/json</a> ...</p>
<main id="operations"></main>
<noscript>The document is at <a href="/openapi/json">/openapi/json</a>.</noscript>
<script>
"use strict";
const make = (name, text, className) => {
  const element = document.createElement(name);
  if (text !== undefined) element.textContent = text;
  if (className !== undefined) element.className = className;
  return element;
};
const rows = (parent, head, cells) => {
  if (cells.length === 0) return;
  const table = parent.appendChild(make("table"));
  const first = table.appendChild(make("tr"));
  for (const each of head) first.appendChild(make("th", each)).scope = "col";
  for (const row of cells) {
    const line = table.appendChild(make("tr"));
    for (const each of row) line.appendChild(make("td", each));
  }
};
const kindOf = (schema) => schema === undefined ? "" : schema.enum ? schema.enum.join(" | ") : schema.type ?? (schema.anyOf ?? []).map(kindOf).join(" | ");
const show = (method, path, operation) => {
  const box = make("details");
  const line = box.appendChild(make("summary"));
  line.append(make("span", method.toUpperCase(), "method"), make("span", path, "path"), make("span", operation.summary));
  const inside = box.appendChild(make("div", undefined, "inside"));
  inside.append(make("p", operation.description));
  rows(inside, ["parameter", "in", "what"], (operation.parameters ?? []).map((each) => [each.name + (each.required ? "" : "?"), each.in, [kindOf(each.schema), each.description ?? ""].join(" ").trim()]));
  for (const [type, { schema }] of Object.entries(operation.requestBody?.content ?? {})) {
    inside.append(make("p", "Body, " + type + ":"), make("pre", JSON.stringify(schema, undefined, 2)));
  }
  for (const [status, answer] of Object.entries(operation.responses)) {
    inside.append(make("p", status + ": " + answer.description));
    if (status >= "300") continue;
    for (const [type, { schema }] of Object.entries(answer.content ?? {})) inside.append(make("pre", type + (schema ? "\\n" + JSON.stringify(schema, undefined, 2) : "")));
  }
  return box;
};
fetch("/openapi/json").then((answer) => answer.json()).then(({ info, paths }) => {
  document.getElementById("about").textContent = info.description;
  const groups = new Map();
  for (const [path, methods] of Object.entries(paths)) {
    const name = path.split("/")[1];
    if (!groups.has(name)) {
      const group = document.getElementById("operations").appendChild(make("section"));
      group.append(make("h2", "/" + name));
      groups.set(name, group);
    }
    for (const [method, operation] of Object.entries(methods)) groups.get(name).append(show(method, path, operation));
  }
}, () => { document.getElementById("about").textContent = "The document could not be read."; });
</script>
</body>
</html>
`;
