// Start the deck, and let each slide be as large as its content allows: --fit scales type and pictures.
const [MOST, LEAST] = [1.3, 0.75]; // at least 21 pixels for prose and 15 for code

function fit(slide) {
  if (!slide || slide.classList.contains("stack")) return;
  const [width, height] = [1280, 720];
  for (let scale = MOST; scale > LEAST - 0.001; scale -= 0.025) {
    slide.style.setProperty("--fit", scale);
    const isWide = [...slide.querySelectorAll("pre, table, math, .prose")].some(
      (element) => element.scrollWidth > element.clientWidth + 1,
    );
    if (!isWide && slide.scrollHeight <= height && slide.scrollWidth <= width) return;
  }
}

Reveal.on("ready", (event) => fit(event.currentSlide));
Reveal.on("slidechanged", (event) => fit(event.currentSlide));
Reveal.initialize({
  width: 1280,
  height: 720,
  margin: 0,
  center: false,
  controls: false,
  hash: true,
  navigationMode: "linear",
  slideNumber: "c/t",
  transition: "none",
  plugins: [RevealNotes],
});
