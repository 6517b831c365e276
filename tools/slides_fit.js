// Start the deck, and let each slide be as large as its content allows: --fit scales type and pictures.
const [MOST, LEAST] = [1.3, 0.75]; // at least 21 pixels for prose and 15 for code
const SMALLEST = 15;

function widthOf(element) {
  const range = document.createRange();
  range.selectNodeContents(element);
  return range.getBoundingClientRect().width;
}

function fit(slide) {
  if (!slide || slide.classList.contains("stack")) return;
  const zoom = Reveal.getScale();
  slide.style.setProperty("--fit", 1);
  for (const code of slide.querySelectorAll("pre")) {
    // Long lines make their own cell smaller, not the whole slide; 36 is its padding and a little air.
    code.classList.remove("wraps");
    code.style.setProperty("--widest", "20px");
    const widest = (20 * (code.clientWidth - 36)) / (widthOf(code) / zoom);
    const isTooWide = widest < SMALLEST && !code.closest(".input");
    code.classList.toggle("wraps", isTooWide);
    code.style.setProperty("--widest", isTooWide ? "20px" : `${Math.max(widest, SMALLEST)}px`);
  }
  for (let scale = MOST; scale > LEAST - 0.001; scale -= 0.025) {
    slide.style.setProperty("--fit", scale.toFixed(3));
    const isWide = [...slide.querySelectorAll("pre, table, math")].some(
      (element) => element.scrollWidth > element.clientWidth + 1 || widthOf(element) / zoom > 1161,
    );
    if (!isWide && slide.scrollHeight <= 720 && slide.scrollWidth <= 1280) return;
  }
}

Reveal.on("ready", (event) => fit(event.currentSlide));
Reveal.on("slidechanged", (event) => fit(event.currentSlide));
Reveal.on("pdf-ready", () => Reveal.getSlides().forEach(fit)); // NAME.html?print-pdf, for a handout
Reveal.initialize({
  width: 1280,
  height: 720,
  margin: 0,
  center: false,
  controls: false,
  hash: true,
  navigationMode: "linear",
  pdfMaxPagesPerSlide: 1,
  pdfSeparateFragments: false,
  slideNumber: "c/t",
  transition: "none",
  plugins: [RevealNotes],
});
