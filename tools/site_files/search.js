// Finds sections that hold all the words; SECTIONS comes from search_index.js, since a page that was
// opened from a folder may load scripts, but read no files.
"use strict";

const MOST = 50;
const field = document.getElementById("query");
const list = document.getElementById("results");
const count = document.getElementById("count");

function wordsOf(query) {
  return query.toLowerCase().split(/\s+/).filter(Boolean);
}

// A word counts ten times in a title; the number of times in the text counts little.
function score(section, words) {
  const title = `${section.on} ${section.title}`.toLowerCase();
  const text = section.text.toLowerCase();
  let sum = 0;
  for (const word of words) {
    const times = text.split(word).length - 1;
    const inTitle = title.includes(word);
    if (!times && !inTitle) return 0;
    sum += (inTitle ? 10 : 0) + Math.log2(1 + times);
  }
  return sum;
}

// The text around the first word that is found in it, with all words marked.
function excerpt(text, words) {
  const places = words.map((word) => text.toLowerCase().indexOf(word)).filter((at) => at >= 0);
  const near = places.length ? Math.max(0, Math.min(...places) - 60) : 0;
  const from = near && text.indexOf(" ", near) + 1; // at the beginning of a word
  let rest = text.slice(from, from + 200);
  const line = document.createElement("p");
  if (from > 0) line.append("… ");
  while (rest) {
    const lower = rest.toLowerCase();
    const hits = words.map((word) => [lower.indexOf(word), word.length]).filter(([at]) => at >= 0);
    if (!hits.length) break;
    const [at, length] = hits.reduce((first, hit) => (hit[0] < first[0] ? hit : first));
    const mark = document.createElement("mark");
    mark.textContent = rest.slice(at, at + length);
    line.append(rest.slice(0, at), mark);
    rest = rest.slice(at + length);
  }
  line.append(rest, " …");
  return line;
}

function entry(section, words) {
  const link = document.createElement("a");
  link.href = section.at ? `${section.page}#${section.at}` : section.page;
  link.textContent = section.title === section.on ? section.on : `${section.on}: ${section.title}`;
  const item = document.createElement("li");
  item.append(link, excerpt(section.text, words));
  return item;
}

function search() {
  const words = wordsOf(field.value);
  const found = words.length
    ? SECTIONS.map((section) => [score(section, words), section])
        .filter(([points]) => points > 0)
        .sort((a, b) => b[0] - a[0])
    : [];
  list.replaceChildren(...found.slice(0, MOST).map(([, section]) => entry(section, words)));
  const shown = found.length > MOST ? `, the first ${MOST} of them here` : "";
  count.textContent = !words.length
    ? ""
    : found.length === 1
      ? "1 place found."
      : `${found.length || "No"} places found${shown}.`;
}

field.value = new URLSearchParams(location.search).get("q") ?? "";
field.addEventListener("input", search);
search();
