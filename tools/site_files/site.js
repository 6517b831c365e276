// Runs in the head, before anything is drawn: the colours that were chosen; then what a page gains by a script.
"use strict";

const root = document.documentElement;
const system = matchMedia("(prefers-color-scheme: dark)");

function remembered() {
  try {
    return localStorage.getItem("colours");
  } catch {
    return null; // a browser that keeps nothing
  }
}

if (remembered()) root.dataset.colours = remembered();

function isDark() {
  return root.dataset.colours ? root.dataset.colours === "dark" : system.matches;
}

function makeToggle() {
  const toggle = document.getElementById("dark");
  const show = () => toggle.setAttribute("aria-pressed", String(isDark()));
  toggle.hidden = false;
  show();
  system.addEventListener("change", show);
  toggle.addEventListener("click", () => {
    root.dataset.colours = isDark() ? "light" : "dark";
    show();
    try {
      localStorage.setItem("colours", root.dataset.colours);
    } catch {
      // then it holds for this page alone
    }
  });
}

// What scrolls sideways must be reachable by keyboard; what does not should be no stop on the way.
function markScrollers() {
  for (const box of document.querySelectorAll("pre, .scrolls, .math.block")) {
    if (box.scrollWidth > box.clientWidth) {
      box.tabIndex = 0;
      box.setAttribute("role", "group");
      box.setAttribute("aria-label", "scrolls sideways");
    } else {
      for (const name of ["tabindex", "role", "aria-label"]) box.removeAttribute(name);
    }
  }
}

document.addEventListener("DOMContentLoaded", () => {
  makeToggle();
  const contents = document.querySelector("details.contents");
  if (contents && matchMedia("(min-width: 70rem)").matches) contents.open = true;
  markScrollers();
  addEventListener("resize", markScrollers);
  document.addEventListener("toggle", markScrollers, true); // an answer that is unfolded
});
